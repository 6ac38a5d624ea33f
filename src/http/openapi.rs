//! `/openapi.json`, made from the table of routes and the schemas in this folder. Every answer of the tests over HTTP is held
//! against it.

mod campaigns;
mod jobs;
mod messages;
mod operations;
mod patients;
mod people;
mod shape;
mod templates;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::shape::{reference, text};
use super::body::Media;
use super::route::{Door, Route, Verb};
use super::{reveal, table};

/// The whole description (OpenAPI 3.1).
pub(super) fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in table::all() {
        let operations = paths.entry(route.path).or_default();
        operations.insert(route.method.word().to_ascii_lowercase(), operation(route));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "outreachd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Patient outreach: jobs in, results and explanations out. Times are RFC 3339 with offset. \
                Unknown fields are refused by name.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http", "scheme": "bearer",
                    "description": "Not needed on the machine itself while the listener is on loopback and has no \
                        public address.",
                },
            },
            "responses": {"Problem": {"description": "What went wrong", "content": problem_content()}},
            "schemas": schemas(),
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    parameters.extend(route.doc.query.iter().map(|(name, meaning)| {
        json!({"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}})
    }));
    // What can be asked for masked is shown whole to a program that says why.
    if route.doc.query.iter().any(|(name, _)| *name == "masked") {
        parameters.push(json!({
            "name": reveal::REASON_HEADER, "in": "header", "schema": {"type": "string"},
            "description": "why what is masked otherwise is read, in 4 to 200 characters; with the scope patients:read",
        }));
    }
    let mut answers = Map::new();
    for (status, meaning, schema) in route.doc.answers {
        answers.insert(status.to_string(), response(*status, meaning, schema));
    }
    answers.entry("default").or_insert_with(|| json!({"$ref": "#/components/responses/Problem"}));
    let mut out = json!({"summary": route.doc.summary, "parameters": parameters, "responses": answers});
    if let Value::Object(out) = &mut out {
        if let Door::AnyOf(scopes) = route.door {
            // Any one of them is enough.
            let any: Vec<Value> = scopes.iter().map(|scope| json!({"token": [scope.as_str()]})).collect();
            out.insert("security".to_owned(), any.into());
        }
        if !route.takes.is_empty() {
            out.insert("requestBody".to_owned(), request_body(route));
        }
    }
    out
}

fn request_body(route: &Route) -> Value {
    let content: Map<String, Value> = route
        .takes
        .iter()
        .map(|media| {
            let schema = if *media == Media::Json { reference(route.doc.body) } else { text() };
            (media.name().to_owned(), json!({"schema": schema}))
        })
        .collect();
    json!({"required": route.method != Verb::Delete, "content": content})
}

fn response(status: u16, meaning: &str, schema: &str) -> Value {
    match (schema, status) {
        ("", _) => json!({"description": meaning}),
        ("Problem", _) => json!({"description": meaning, "content": problem_content()}),
        (schema, _) => {
            json!({"description": meaning, "content": {"application/json": {"schema": reference(schema)}}})
        }
    }
}

fn problem_content() -> Value {
    json!({"application/problem+json": {"schema": reference("Problem")}})
}

fn schemas() -> Value {
    let all = [
        jobs::schemas(),
        messages::schemas(),
        patients::schemas(),
        campaigns::schemas(),
        templates::schemas(),
        operations::schemas(),
        people::schemas(),
    ];
    all.into_iter()
        .flatten()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect::<Map<String, Value>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` in a tree.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    if let (true, Some(target)) = (name == "$ref", value.as_str()) {
                        found.push(target.to_owned());
                    }
                    references(value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        for target in &found {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            let target = format!("#/components/schemas/{name}");
            assert!(found.contains(&target), "{name} is used nowhere");
        }
    }

    /// Objects of which nothing is said.
    fn mute<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
        match value {
            Value::Object(map) => {
                let is = |name: &str| map.contains_key(name);
                let is_object = map
                    .get("type")
                    .is_some_and(|kind| *kind == "object" || *kind == json!(["object", "null"]));
                if is_object && !is("properties") && !is("additionalProperties") {
                    found.push(value);
                }
                map.values().for_each(|value| mute(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| mute(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_object_says_what_stands_in_it_and_null_is_allowed_by_name() {
        let document = document();
        let mut found = Vec::new();
        mute(&document, &mut found);
        assert!(found.is_empty(), "{found:#?}");
        let message = &document["components"]["schemas"]["Message"]["properties"];
        assert_eq!(message["due_at"], json!({"type": ["string", "null"], "format": "date-time"}));
        assert_eq!(message["channel"]["enum"], json!(["sms", "email", "portal", "voice", null]));
        let job = &document["components"]["schemas"]["Job"]["properties"];
        assert_eq!(job["id"], json!({"type": "string"}), "what is needed is not null");
        assert_eq!(job["patient"]["anyOf"][1], json!({"type": "null"}));
    }

    #[test]
    fn whoever_says_why_says_it_in_a_header() {
        let document = document();
        for path in ["/v1/patients/{id}", "/v1/work-items/{id}"] {
            let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
            assert!(
                parameters.iter().any(|p| p["in"] == "header" && p["name"] == "x-outreach-reason"),
                "{path}"
            );
        }
    }
}
