//! `/openapi.json`, made from the table of routes and the schemas here.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::body::Media;
use super::problem::Kind;
use super::route::{Door, Route, Verb};
use super::table;
use crate::domain::campaign::{CampaignState, PauseReason};
use crate::domain::patient::{ConsentSource, LEAVE_MESSAGE};
use crate::domain::phone::PhoneKind;
use crate::domain::reply::Intent;
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{
    Authority, Channel, ContactStatus, Priority, ProxyMode, Purpose, Reason, WorkKind, WorkOutcome, WorkState,
};
use crate::policy::decide::Gate;
use crate::store::rows::{CallbackState, HoldScope, HoldState, OnRelease};
use crate::template::Sample;

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
            let schema =
                if *media == Media::Json { reference(route.doc.body) } else { json!({"type": "string"}) };
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

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn id() -> Value {
    json!({"type": "string", "format": "uuid"})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn whole() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn word<T: std::fmt::Display>(all: &[T]) -> Value {
    json!({"type": "string", "enum": all.iter().map(ToString::to_string).collect::<Vec<_>>()})
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

/// An object; names with `?` need not be given.
fn object(fields: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).filter(|n| !n.ends_with('?')).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|(name, schema)| (name.trim_end_matches('?').to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

/// What a caller may send of such an object: nothing but these fields.
fn strict(fields: &[(&str, Value)]) -> Value {
    let mut out = object(fields);
    if let Value::Object(out) = &mut out {
        out.insert("additionalProperties".to_owned(), false.into());
    }
    out
}

fn schemas() -> Value {
    let mut all = Map::new();
    for part in [
        problems(),
        jobs(),
        messages(),
        patients(),
        campaigns(),
        operations(),
        work(),
        callbacks(),
        console(),
    ] {
        all.extend(part.into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    }
    Value::Object(all)
}

fn problems() -> Vec<(&'static str, Value)> {
    let kinds: Vec<String> = Kind::ALL.iter().map(|kind| kind.uri()).collect();
    vec![
        (
            "Problem",
            object(&[
                ("type", word(&kinds)),
                ("title", text()),
                ("status", whole()),
                ("detail", text()),
                ("errors", list(reference("Fault"))),
            ]),
        ),
        (
            "Fault",
            object(&[("field", text()), ("reason", word(Reason::ALL)), ("rule", text()), ("cure", text())]),
        ),
    ]
}

fn jobs() -> Vec<(&'static str, Value)> {
    let when = json!({"anyOf": [time(), strict(&[("local", text())])]});
    let job = strict(&[
        ("id", text()),
        ("source?", text()),
        ("patient_id?", text()),
        ("template", text()),
        ("about?", text()),
        ("replaces?", text()),
        ("site?", text()),
        ("purpose?", word(Purpose::ALL)),
        ("priority?", word(Priority::ALL)),
        ("data?", json!({"type": "object"})),
        ("channels?", list(word(Channel::ALL))),
        ("not_before?", when.clone()),
        ("expires_at?", when),
        ("test?", flag()),
        ("campaign_id?", text()),
        ("override_reason?", text()),
        ("patient?", reference("Patient")),
    ]);
    let cancel = strict(&[
        ("action?", text()),
        ("source?", text()),
        ("id?", text()),
        ("about?", text()),
        ("reason?", text()),
    ]);
    let result = object(&[
        ("id", json!({"type": ["string", "null"]})),
        ("message_id?", id()),
        ("result", word(&["accepted", "duplicate", "conflict", "refused"])),
        ("reason?", word(Reason::ALL)),
        ("problem?", reference("Problem")),
    ]);
    vec![
        ("Job", job),
        (
            "Jobs",
            json!({"oneOf": [reference("Job"), {"type": "array", "maxItems": 1000, "items": reference("Job")}]}),
        ),
        ("Cancel", cancel),
        ("JobResult", result),
        ("JobResults", json!({"oneOf": [reference("JobResult"), list(reference("JobResult"))]})),
        ("Cancelled", object(&[("result", word(&["cancelled", "remembered"])), ("message_ids", list(id()))])),
    ]
}

fn messages() -> Vec<(&'static str, Value)> {
    let message = object(&[
        ("id", id()),
        ("source", text()),
        ("job_id", text()),
        ("patient_id", text()),
        ("template", text()),
        ("purpose", word(Purpose::ALL)),
        ("priority", word(Priority::ALL)),
        ("status", word(MessageStatus::ALL)),
        ("accepted_at", time()),
        ("changed_at", time()),
        ("expires_at", time()),
        ("receipt_by?", time()),
        ("copy_of?", id()),
        ("merged_into?", id()),
    ]);
    let gate = object(&[("gate", word(Gate::ALL)), ("passed", flag())]);
    let told = || object(&[("id", id()), ("status", word(MessageStatus::ALL))]);
    let attempt = object(&[
        ("id", id()),
        ("channel", word(Channel::ALL)),
        ("provider", text()),
        ("status", word(AttemptStatus::ALL)),
        ("address", text()),
        ("pointer", flag()),
        ("begun_at", time()),
    ]);
    vec![
        // Whatever the provider sends; what is not known is let be.
        ("Webhook", json!({"type": "object"})),
        ("Message", message),
        (
            "Messages",
            object(&[
                ("messages", list(reference("Message"))),
                ("next", json!({"type": ["string", "null"]})),
                ("looked_back_to", json!({"type": ["string", "null"], "format": "date-time"})),
            ]),
        ),
        (
            "Lookup",
            strict(&[
                ("source?", text()),
                ("ids", json!({"type": "array", "maxItems": 1000, "items": text()})),
            ]),
        ),
        ("LookedUp", object(&[("messages", list(reference("Message"))), ("missing", list(text()))])),
        (
            "Explained",
            object(&[
                ("message", reference("Message")),
                ("copies?", list(told())),
                ("carries?", list(told())),
                ("decision", json!({"type": ["object", "null"]})),
                ("gates", list(gate)),
                ("hold?", json!({"type": "object"})),
                ("attempts", list(attempt)),
                (
                    "events",
                    list(object(&[("seq", whole()), ("routing_key", text()), ("created_at", time())])),
                ),
                ("came_back?", flag()),
                (
                    "next",
                    object(&[("action", text()), ("at?", time()), ("unless?", text()), ("channel?", text())]),
                ),
            ]),
        ),
        ("CancelOne", strict(&[("reason?", text())])),
        ("Retry", strict(&[("accept_duplicate?", flag())])),
        (
            "Retried",
            object(&[
                ("id", text()),
                ("message_id", id()),
                ("retry_of", id()),
                ("result", word(&["accepted", "duplicate"])),
            ]),
        ),
    ]
}

fn campaigns() -> Vec<(&'static str, Value)> {
    let pace = strict(&[("per_minute?", whole()), ("per_hour?", whole()), ("hours?", text())]);
    let when = json!({"oneOf": [time(), strict(&[("local", text())])]});
    let map = || json!({"type": "object"});
    let plan = strict(&[
        ("id", text()),
        ("title?", text()),
        ("source?", text()),
        ("template", text()),
        ("purpose?", word(Purpose::ALL)),
        ("site?", text()),
        ("data?", map()),
        ("channels?", list(word(Channel::ALL))),
        ("audience?", reference("Audience")),
        ("start?", when.clone()),
        ("end?", when),
        ("pace?", reference("Pace")),
        ("waves?", list(reference("Wave"))),
        ("canary?", whole()),
        ("auto_pause?", reference("AutoPause")),
    ]);
    let audience = strict(&[
        ("min_age?", whole()),
        ("max_age?", whole()),
        ("languages?", list(text())),
        ("postcodes?", list(text())),
        ("tags?", list(text())),
        ("site?", text()),
        ("received?", text()),
        ("not_received?", text()),
    ]);
    let wave = strict(&[
        ("min_age?", whole()),
        ("tags?", list(text())),
        ("postcodes?", list(text())),
        ("gap_minutes?", whole()),
    ]);
    let percent = || json!({"type": "number", "minimum": 0, "maximum": 100});
    let auto_pause = strict(&[
        ("error_percent?", percent()),
        ("opt_out_percent?", percent()),
        ("complaint_percent?", percent()),
        ("after?", whole()),
    ]);
    let campaign = object(&[
        ("plan", map()),
        ("state", word(CampaignState::ALL)),
        ("reason?", word(PauseReason::ALL)),
        ("created_by", text()),
        ("changed_by", list(text())),
        ("created_at", time()),
        ("recipients", whole()),
        ("size", whole()),
        ("expanded", whole()),
        ("refused", whole()),
        ("no_longer_needed", whole()),
        ("needs_approval", flag()),
        ("approval?", map()),
    ]);
    vec![
        ("Empty", strict(&[])),
        ("Plan", plan),
        ("Audience", audience),
        ("Pace", pace),
        ("Wave", wave),
        ("AutoPause", auto_pause),
        ("Campaign", campaign),
        ("Campaigns", object(&[("campaigns", list(reference("Campaign")))])),
        (
            "Brought",
            object(&[
                ("read", whole()),
                ("added", whole()),
                ("changed", whole()),
                ("known", whole()),
                ("refused", whole()),
                ("refusals", list(map())),
                ("refused_file?", text()),
                ("first_rows", map()),
            ]),
        ),
        ("Approve", strict(&[("recipients", whole()), ("hash?", text())])),
        ("Done", strict(&[("patient_ids", list(text()))])),
        ("LeftOut", object(&[("left_out", whole())])),
        (
            "Forecast",
            object(&[
                ("recipients", whole()),
                ("hash", text()),
                ("would_get", whole()),
                ("by_proxy", whole()),
                ("excluded", map()),
                ("by_channel", map()),
                ("by_language", map()),
                ("by_hour", map()),
                ("segments", whole()),
                ("cost", text()),
                ("last_send_at?", time()),
                ("samples", list(map())),
            ]),
        ),
        (
            "CampaignReport",
            object(&[
                ("campaign", reference("Campaign")),
                ("report", json!({"type": ["object", "null"]})),
                ("counted_seconds_ago?", json!({"type": ["integer", "null"]})),
            ]),
        ),
        ("Recipients", object(&[("recipients", list(map()))])),
    ]
}

fn patients() -> Vec<(&'static str, Value)> {
    let name = || strict(&[("given?", text()), ("family?", text())]);
    let day = || json!({"type": "string", "format": "date"});
    let contact = strict(&[
        ("channel", word(Channel::ALL)),
        ("address", text()),
        ("rank?", whole()),
        ("use?", text()),
        ("kind?", word(PhoneKind::ALL)),
        ("status?", word(ContactStatus::ALL)),
        ("verified_at?", time()),
        ("valid_until?", time()),
        ("private?", flag()),
        ("only?", flag()),
        ("leave_message?", word(&LEAVE_MESSAGE)),
        ("extension?", text()),
    ]);
    let consent = strict(&[
        ("purpose?", text()),
        ("channel?", text()),
        ("address?", text()),
        ("granted", flag()),
        ("at", time()),
        ("source", word(ConsentSource::ALL)),
        ("by?", text()),
        ("evidence?", text()),
        ("expires_at?", time()),
    ]);
    let person = strict(&[
        ("name?", name()),
        ("language?", text()),
        ("timezone?", text()),
        ("contacts?", list(reference("Contact"))),
    ]);
    let proxy = strict(&[
        ("patient_id?", text()),
        ("person?", person),
        ("relationship?", text()),
        ("authority", word(Authority::ALL)),
        ("mode", word(ProxyMode::ALL)),
        ("purposes", list(text())),
        ("from?", day()),
        ("until?", day()),
        ("evidence?", text()),
    ]);
    let patient = strict(&[
        ("id?", text()),
        ("updated_at?", time()),
        ("name?", name()),
        ("birth_date?", day()),
        ("language?", text()),
        ("timezone?", text()),
        ("address?", strict(&[("postal_code?", text()), ("state?", text()), ("country?", text())])),
        ("site?", text()),
        ("tags?", list(text())),
        ("identifiers?", list(strict(&[("system", text()), ("value", text())]))),
        ("active?", flag()),
        ("deceased?", flag()),
        ("do_not_contact?", text()),
        ("pause_until?", time()),
        ("preferred_channels?", list(word(Channel::ALL))),
        ("preferences?", json!({"type": "object", "additionalProperties": list(word(Channel::ALL))})),
        ("quiet_hours?", strict(&[("start", text()), ("end", text())])),
        ("contacts?", list(reference("Contact"))),
        ("consents?", list(reference("Consent"))),
        ("proxies?", list(reference("Proxy"))),
    ]);
    vec![
        ("Patient", patient),
        ("Contact", contact),
        ("Consent", consent),
        ("Proxy", proxy),
        ("PatientResult", object(&[("id", text()), ("into?", text()), ("result", text())])),
        ("Merge", strict(&[("action?", text()), ("id?", text()), ("into", text())])),
        (
            "Imported",
            object(&[
                ("read", whole()),
                ("created", whole()),
                ("updated", whole()),
                ("unchanged", whole()),
                ("stale", whole()),
                ("refused", whole()),
                ("refusals", list(object(&[("line", whole()), ("errors", list(reference("Fault")))]))),
                ("refusals_not_listed", whole()),
            ]),
        ),
    ]
}

fn operations() -> Vec<(&'static str, Value)> {
    let hold = [
        ("scope", word(HoldScope::ALL)),
        ("value?", text()),
        ("reason?", text()),
        ("until?", time()),
        ("on_release?", word(OnRelease::ALL)),
    ];
    let mut placed = hold.to_vec();
    placed.extend([
        ("id", id()),
        ("cause", word(&[Reason::OperatorHold, Reason::SurgeHold, Reason::AwaitingApproval])),
        ("placed_by", text()),
        ("placed_at", time()),
        ("state", word(HoldState::ALL)),
        ("held", whole()),
        ("asked_by?", list(text())),
    ]);
    let dead = object(&[
        ("id", id()),
        ("reason", word(Reason::ALL)),
        ("field", text()),
        ("errors", list(reference("Fault"))),
        ("parked_at", time()),
    ]);
    let cursor = json!({"type": ["string", "null"]});
    vec![
        ("NewHold", strict(&[&hold[..], &[("minutes?", whole())]].concat())),
        ("Hold", object(&placed)),
        ("Holds", object(&[("holds", list(reference("Hold"))), ("known?", json!({"type": "object"}))])),
        ("Dead", object(&[("dead", list(dead)), ("next", cursor)])),
        (
            "Replay",
            strict(&[
                ("ids?", list(id())),
                ("reason?", word(Reason::ALL)),
                ("source?", text()),
                ("dry_run?", flag()),
            ]),
        ),
        ("Replayed", json!({"type": "object"})),
        ("Templates", object(&[("bundle_hash", text()), ("templates", list(reference("Template")))])),
        (
            "Preview",
            strict(&[
                ("sample?", word(Sample::ALL)),
                ("channel?", word(Channel::ALL)),
                ("locale?", text()),
                ("site?", text()),
            ]),
        ),
        ("Template", json!({"type": "object"})),
        ("SignOff", strict(&[("locale", text()), ("hash", text()), ("note", text())])),
        ("TakeBack", strict(&[("locale", text()), ("note", text())])),
        ("Previews", object(&[("template", text()), ("previews", list(json!({"type": "object"})))])),
        (
            "Providers",
            object(&[
                ("mode", text()),
                ("providers", list(json!({"type": "object"}))),
                ("workers", list(json!({"type": "object"}))),
            ]),
        ),
        ("Ready", object(&[("status", text()), ("checks", json!({"type": "object"}))])),
    ]
}

fn work() -> Vec<(&'static str, Value)> {
    let item = object(&[
        ("id", id()),
        ("kind", word(WorkKind::ALL)),
        ("state", word(WorkState::ALL)),
        ("priority", word(Priority::ALL)),
        ("source", json!({"type": ["string", "null"]})),
        ("site", json!({"type": ["string", "null"]})),
        ("message_id", json!({"type": ["string", "null"]})),
        ("patient_id", json!({"type": ["string", "null"]})),
        ("hold_id", json!({"type": ["string", "null"]})),
        ("reply_id", json!({"type": ["string", "null"]})),
        // What the patient wrote; only where one item is asked for.
        (
            "reply?",
            object(&[
                ("intent", word(Intent::ALL)),
                ("answer", json!({"type": ["string", "null"]})),
                ("text", json!({"type": ["string", "null"]})),
                ("received_at", time()),
            ]),
        ),
        ("opened_at", time()),
        ("due_at", time()),
        ("claimed_by", json!({"type": ["string", "null"]})),
        ("closed_by", json!({"type": ["string", "null"]})),
        ("outcome", json!({"type": ["string", "null"]})),
        ("alerts", whole()),
    ]);
    vec![
        ("WorkItem", item),
        (
            "WorkItems",
            object(&[
                ("work_items", list(reference("WorkItem"))),
                ("next", json!({"type": ["string", "null"]})),
            ]),
        ),
        ("CloseWork", strict(&[("outcome", word(WorkOutcome::ALL))])),
    ]
}

fn callbacks() -> Vec<(&'static str, Value)> {
    let optional = || json!({"type": ["string", "null"]});
    let callback = object(&[
        ("id", id()),
        ("source", text()),
        ("state", word(CallbackState::ALL)),
        ("type", text()),
        ("message_id", optional()),
        ("seq", whole()),
        ("tries", whole()),
        ("since", time()),
        ("due_at", time()),
        ("code", optional()),
        ("dead_at", optional()),
    ]);
    vec![
        ("Callbacks", object(&[("callbacks", list(callback)), ("next", optional())])),
        ("RetryCallbacks", strict(&[("ids?", list(id())), ("source?", text())])),
        ("RetriedCallbacks", object(&[("retried", whole())])),
    ]
}

fn console() -> Vec<(&'static str, Value)> {
    let filter = json!({"type": "object", "additionalProperties": text()});
    vec![
        ("SignIn", strict(&[("name", text()), ("password", text()), ("code", text())])),
        ("Reveal", strict(&[("reason", text())])),
        ("Repair", strict(&[("body", text()), ("reason", text())])),
        ("Snooze", strict(&[("minutes", whole())])),
        (
            "Actions",
            strict(&[
                ("action", word(&["cancel", "retry"])),
                ("filter", filter),
                ("dry_run?", flag()),
                ("accept_duplicate?", flag()),
            ]),
        ),
    ]
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
}
