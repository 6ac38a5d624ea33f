//! What `/openapi.json` says is what is answered, field by field, and what is taken: every answer that a test reads is held
//! against it. `every_route.rs` makes nearly all of them answer something.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::HeaderMap;
use reqwest::{Body, Method, Request};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use uuid::Uuid;

const JSON: &str = "application/json";

/// The same for every API of this build.
static DESCRIPTION: OnceCell<Description> = OnceCell::const_new();
/// Operations of which an answer was held against it.
static HELD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Reads the description, once.
pub(super) async fn learn(http: SocketAddr) {
    let read = move || async move {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("http://{http}/openapi.json")).send().await.unwrap();
        Description(answer.json().await.unwrap())
    };
    DESCRIPTION.get_or_init(read).await;
}

/// The operations that answer JSON, and those of which an answer was held against the description in this process.
pub(super) fn described_and_held() -> (BTreeSet<String>, BTreeSet<String>) {
    (DESCRIPTION.get().expect("an API is open").of_json(), HELD.lock().unwrap().clone())
}

/// What was asked.
#[derive(Debug)]
pub(super) struct Asked {
    method: Method,
    path: String,
    /// As far as it is an object of JSON.
    body: Option<Value>,
}

impl Asked {
    pub(super) fn of(request: &Request) -> Self {
        let is_json = request.headers().get("content-type").is_some_and(|media| media == JSON);
        let bytes = request.body().and_then(Body::as_bytes).filter(|_| is_json);
        let body = bytes.and_then(|bytes| serde_json::from_slice(bytes).ok()).filter(Value::is_object);
        Self { body, ..Self::nothing_of(request.method().clone(), request.url().path()) }
    }

    /// Without what was sent.
    pub(super) fn nothing_of(method: Method, path: &str) -> Self {
        let path = path.split('?').next().unwrap_or_default().to_owned();
        Self { method, path, body: None }
    }
}

/// Holds an answer, and what was taken, against the description. What is none of the API's is let be.
#[track_caller]
pub(super) fn hold(asked: &Asked, status: u16, headers: &HeaderMap, told: &Value) {
    let description = DESCRIPTION.get().expect("an API is open");
    let media = headers.get("content-type").map_or("", |media| media.to_str().unwrap());
    let mut faults = Vec::new();
    if media == "application/problem+json" {
        description.check(&json!({"$ref": "#/components/schemas/Problem"}), told, "problem", &mut faults);
    } else if let Some((route, operation)) = description.operation(&asked.method, &asked.path) {
        let answer = &operation["responses"][status.to_string()]["content"][JSON]["schema"];
        if answer.is_null() {
            faults.push(format!("nothing is said of what {status} holds"));
        } else {
            description.check(answer, told, "answer", &mut faults);
        }
        let taken = &operation["requestBody"]["content"][JSON]["schema"];
        if let (Some(body), true) = (&asked.body, taken.is_object()) {
            description.check(taken, body, "body", &mut faults);
        }
        HELD.lock().unwrap().insert(route);
    }
    assert!(faults.is_empty(), "{} {} {status}: {faults:#?}", asked.method, asked.path);
}

/// A description in OpenAPI 3.1, as far as ours goes.
struct Description(Value);

impl Description {
    /// The operation that a path means, with its name.
    fn operation(&self, method: &Method, path: &str) -> Option<(String, &Value)> {
        let asked: Vec<&str> = path.split('/').collect();
        let fits = |pattern: &str| {
            let parts: Vec<&str> = pattern.split('/').collect();
            parts.len() == asked.len()
                && parts.iter().zip(&asked).all(|(part, asked)| part.starts_with('{') || part == asked)
        };
        let paths = self.0["paths"].as_object().unwrap().iter().filter(|(pattern, _)| fits(pattern));
        // A path that names it all goes before one with a parameter.
        let (pattern, operations) = paths.min_by_key(|(pattern, _)| pattern.matches('{').count())?;
        let operation = operations.get(method.as_str().to_ascii_lowercase())?;
        Some((format!("{method} {pattern}"), operation))
    }

    /// Every operation that answers JSON.
    fn of_json(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for (path, operations) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let mut answers = operation["responses"].as_object().unwrap().values();
                if answers.any(|answer| answer["content"][JSON].is_object()) {
                    all.insert(format!("{} {path}", method.to_uppercase()));
                }
            }
        }
        all
    }

    /// Notes all in which `value` is not as `schema` says; a field of which it says nothing, too.
    fn check(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        if *schema == json!(true) {
            return;
        }
        for (keyword, rule) in schema.as_object().unwrap() {
            let fits = match keyword.as_str() {
                "$ref" => {
                    let target = rule.as_str().unwrap().trim_start_matches('#');
                    self.check(self.0.pointer(target).unwrap(), value, at, faults);
                    true
                }
                "type" => is_of(rule, value),
                "enum" => rule.as_array().unwrap().contains(value),
                "format" => has_format(rule, value),
                "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
                "minItems" => length(value).is_none_or(|length| length >= rule.as_u64().unwrap()),
                "maxItems" => length(value).is_none_or(|length| length <= rule.as_u64().unwrap()),
                "anyOf" => self.fitting(rule, value) > 0,
                "oneOf" => self.fitting(rule, value) == 1,
                "items" => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{at}[{n}]"), faults);
                    }
                    true
                }
                "prefixItems" => {
                    let items = value.as_array().into_iter().flatten();
                    for (n, (item, rule)) in items.zip(rule.as_array().unwrap()).enumerate() {
                        self.check(rule, item, &format!("{at}[{n}]"), faults);
                    }
                    true
                }
                "required" => {
                    let names = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                    let missing = names.filter(|name| value.is_object() && value.get(name).is_none());
                    faults.extend(missing.map(|name| format!("{at}.{name} is missing")));
                    true
                }
                "properties" | "additionalProperties" => true,
                other => panic!("{at}: these tests cannot tell what {other} asks for"),
            };
            if !fits {
                faults.push(format!("{at} breaks {keyword} {rule}: {value}"));
            }
        }
        let (named, others) = (schema.get("properties"), schema.get("additionalProperties"));
        let fields = value.as_object().filter(|_| named.is_some() || others.is_some());
        for (name, value) in fields.into_iter().flatten() {
            let at = format!("{at}.{name}");
            let rule =
                named.and_then(|named| named.get(name)).or(others.filter(|rule| **rule != json!(false)));
            match rule {
                Some(rule) => self.check(rule, value, &at, faults),
                None => faults.push(format!("nothing is said of {at}")),
            }
        }
    }

    fn fitting(&self, schemas: &Value, value: &Value) -> usize {
        let fits = |schema: &&Value| {
            let mut faults = Vec::new();
            self.check(schema, value, "", &mut faults);
            faults.is_empty()
        };
        schemas.as_array().unwrap().iter().filter(fits).count()
    }
}

/// One of the types, or the only one.
fn is_of(kinds: &Value, value: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    };
    if kinds.is_array() { kinds.as_array().unwrap().iter().any(is) } else { is(kinds) }
}

fn has_format(format: &Value, value: &Value) -> bool {
    let Some(text) = value.as_str() else { return true };
    match format.as_str().unwrap() {
        "uuid" => Uuid::parse_str(text).is_ok(),
        "date-time" => text.parse::<Timestamp>().is_ok(),
        "date" => text.parse::<Date>().is_ok(),
        "duration" => text.parse::<SignedDuration>().is_ok(),
        other => panic!("these tests do not know the format {other}"),
    }
}

fn length(value: &Value) -> Option<u64> {
    value.as_array().map(|items| u64::try_from(items.len()).unwrap())
}

#[test]
fn what_is_not_as_described_is_found() {
    let one = json!({
        "type": "object", "required": ["id", "name"], "additionalProperties": false,
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "name": {"type": ["string", "null"]},
            "state": {"type": ["string", "null"], "enum": ["open", "closed", null]},
            "pairs": {"type": "array", "items": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}],
                "minItems": 2, "maxItems": 2}},
            "either": {"oneOf": [{"type": "integer", "minimum": 1}, {"type": "object", "properties": {"local": {}}}]},
            "free": {"type": "object", "additionalProperties": true},
        },
    });
    let description = Description(json!({"components": {"schemas": {"One": one}}}));
    let good = json!({"id": "0196f3c0-7d1e-7c41-9a53-2f6d1f0f4a10", "name": null, "state": null, "pairs": [["a", 1]],
        "either": {"local": 7}, "free": {"x": [1]}});
    let faults = |value: &Value| {
        let mut faults = Vec::new();
        description.check(&json!({"$ref": "#/components/schemas/One"}), value, "one", &mut faults);
        faults
    };
    assert_eq!(faults(&good), Vec::<String>::new());
    for (field, value, told) in [
        ("id", json!("7"), "one.id breaks format"),
        ("id", json!(null), "one.id breaks type"),
        ("name", json!(7), "one.name breaks type"),
        ("state", json!("shut"), "one.state breaks enum"),
        ("pairs", json!([["a", "b"]]), "one.pairs[0][1] breaks type"),
        ("pairs", json!([["a"]]), "one.pairs[0] breaks minItems"),
        ("either", json!(0), "one.either breaks oneOf"),
        ("either", json!({"other": 7}), "one.either breaks oneOf"),
        ("colour", json!("red"), "nothing is said of one.colour"),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        let faults = faults(&bad);
        assert!(faults.len() == 1 && faults[0].starts_with(told), "{field}: {faults:?}");
    }
    let mut less = good.clone();
    less.as_object_mut().unwrap().remove("name");
    assert_eq!(faults(&less), ["one.name is missing"]);
}
