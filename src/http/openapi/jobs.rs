//! Jobs and cancels, what becomes of them, and what can be wrong with them.

use serde_json::{Value, json};

use super::shape::{
    Fields, Schemas, anything, flag, id, list, maybe, object, reference, strict, text, when, whole, word,
};
use crate::domain::words::{Channel, Priority, Purpose, Reason, WorkState};
use crate::http::problem::Kind;

pub(super) fn schemas() -> Schemas {
    let job = job();
    let unnamed: Fields = job.iter().filter(|(name, _)| *name != "template").cloned().collect();
    let cancel = strict(&[
        ("action?", word(&["cancel"])),
        ("source?", text()),
        ("id?", text()),
        ("about?", text()),
        ("reason?", text()),
    ]);
    let mut among_jobs = reference("Cancel");
    if let Some(fields) = among_jobs.as_object_mut() {
        fields.insert("required".to_owned(), json!(["action"]));
    }
    let result = object(&[
        ("id", maybe(text())),
        ("message_id?", id()),
        ("result", word(&["accepted", "duplicate", "conflict", "refused"])),
        ("reason?", word(Reason::ALL)),
        ("problem?", reference("Problem")),
    ]);
    vec![
        ("Problem", problem()),
        (
            "Fault",
            object(&[("field", text()), ("reason", word(Reason::ALL)), ("rule", text()), ("cure", text())]),
        ),
        ("Job", strict(&job)),
        ("TemplateJob", strict(&unnamed)),
        ("Cancel", cancel),
        ("JobOrCancel", json!({"anyOf": [reference("Job"), among_jobs]})),
        (
            "Jobs",
            json!({"anyOf": [
                reference("JobOrCancel"),
                {"type": "array", "maxItems": 1000, "items": reference("JobOrCancel")},
            ]}),
        ),
        ("JobResult", result),
        (
            "JobResults",
            json!({"anyOf": [reference("JobResult"), list(reference("JobResult")), reference("Cancelled")]}),
        ),
        ("Cancelled", object(&[("result", word(&["cancelled", "remembered"])), ("message_ids", list(id()))])),
    ]
}

fn job() -> Fields {
    vec![
        ("id", text()),
        ("source?", text()),
        ("patient_id?", text()),
        ("template", text()),
        ("about?", text()),
        ("replaces?", text()),
        ("site?", text()),
        ("purpose?", word(Purpose::ALL)),
        ("priority?", word(Priority::ALL)),
        ("data?", anything()),
        ("channels?", list(word(Channel::ALL))),
        ("not_before?", when()),
        ("expires_at?", when()),
        ("test?", flag()),
        ("campaign_id?", text()),
        ("override_reason?", text()),
        ("patient?", reference("Patient")),
    ]
}

fn problem() -> Value {
    let kinds: Vec<String> = Kind::ALL.iter().map(|kind| kind.uri()).collect();
    object(&[
        ("type", word(&kinds)),
        ("title", text()),
        ("status", whole()),
        ("detail", text()),
        ("errors", list(reference("Fault"))),
        // Seconds, of what time will cure.
        ("retry_after?", whole()),
        // What a cancel came too late for.
        ("message_ids?", list(id())),
        // Of a work item that is not as it was thought.
        ("state?", word(WorkState::ALL)),
        // Of a file that broke off: what was written stays.
        ("so_far?", reference("Imported")),
    ])
}
