//! What people look after, and what the console shows them.

use serde_json::{Value, json};

use super::shape::{
    Fields, Schemas, flag, id, list, maybe, number, object, pair, reference, strict, text, time, whole, word,
    yes,
};
use crate::config::api::Scope;
use crate::domain::alert::{Level, Trouble};
use crate::domain::people::Role;
use crate::domain::reply::Intent;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Priority, Reason, SafetyMode, WorkKind, WorkOutcome, WorkState};

pub(super) fn schemas() -> Schemas {
    let entry = object(&[
        ("ord", whole()),
        ("at", time()),
        ("who", text()),
        ("act", text()),
        ("subject", text()),
        ("detail", text()),
        ("hash", text()),
    ]);
    vec![
        ("Empty", strict(&[])),
        ("WorkItem", work_item()),
        ("WorkItems", object(&[("work_items", list(reference("WorkItem"))), ("next", maybe(text()))])),
        ("CloseWork", strict(&[("outcome", word(WorkOutcome::ALL))])),
        ("Reply", reply()),
        ("RevealedReply", object(&[("reply", reference("Reply"))])),
        ("Now", now()),
        ("Alerts", object(&[("at", time()), ("alerts", list(alert(true)))])),
        ("Alert", alert(false)),
        ("Snooze", strict(&[("minutes", whole())])),
        ("Audit", object(&[("audit", list(entry))])),
        ("Reveal", strict(&[("reason", text())])),
        ("SignIn", strict(&[("name", text()), ("password", text()), ("code", text())])),
        ("Session", session()),
        ("WayOut", object(&[("continue", text())])),
    ]
}

fn work_item() -> Value {
    object(&[
        ("id", id()),
        ("kind", word(WorkKind::ALL)),
        ("state", word(WorkState::ALL)),
        ("priority", word(Priority::ALL)),
        ("source", maybe(text())),
        ("site", maybe(text())),
        ("message_id", maybe(id())),
        ("patient_id", maybe(text())),
        ("hold_id", maybe(id())),
        ("reply_id", maybe(id())),
        // Only where one item is asked for.
        ("reply?", reference("Reply")),
        ("opened_at", time()),
        ("due_at", time()),
        ("claimed_by", maybe(text())),
        ("claimed_at", maybe(time())),
        ("closed_at", maybe(time())),
        ("closed_by", maybe(text())),
        ("outcome", maybe(word(WorkOutcome::ALL))),
        ("alerts", whole()),
    ])
}

/// What a patient wrote, and from where.
fn reply() -> Value {
    object(&[
        ("intent", word(Intent::ALL)),
        ("answer", maybe(text())),
        ("text", maybe(text())),
        ("from", maybe(text())),
        ("received_at", time()),
    ])
}

/// What is wrong; an alert is that, and what people said of it.
fn finding() -> Fields {
    vec![("kind", word(Trouble::ALL)), ("level", word(Level::ALL)), ("what", text())]
}

/// Where it leads.
fn lead() -> Fields {
    vec![("page", text()), ("link", text()), ("first", text())]
}

/// `listed`: with where it leads.
fn alert(listed: bool) -> Value {
    let mut fields = finding();
    fields.extend([
        ("key", text()),
        ("subject", text()),
        ("extent", whole()),
        ("since", time()),
        ("gone_since", maybe(time())),
        ("ended_at", maybe(time())),
        ("told_at", maybe(time())),
        ("owed_since", maybe(time())),
        ("acknowledged_by", maybe(text())),
        ("acknowledged_at", maybe(time())),
        ("acknowledged_below", maybe(whole())),
        ("snoozed_by", maybe(text())),
        ("snoozed_until", maybe(time())),
    ]);
    if listed {
        fields.extend(lead());
        fields.push(("runbook", text()));
    }
    object(&fields)
}

fn now() -> Value {
    let mut found = finding();
    found.extend(lead());
    let oldest = object(&[("channel", text()), ("priority", word(Priority::ALL)), ("seconds", number())]);
    let provider = object(&[
        ("name", text()),
        ("channel", word(Channel::ALL)),
        ("weight", whole()),
        ("limits", list(text())),
    ]);
    let span = object(&[
        ("at", time()),
        ("channel", text()),
        ("provider", text()),
        ("what", text()),
        ("reason", text()),
        ("count", whole()),
    ]);
    let pulse = object(&[("step_minutes", whole()), ("minutes", whole()), ("rows", list(span))]);
    object(&[
        ("at", time()),
        ("mode", word(SafetyMode::ALL)),
        ("findings", list(object(&found))),
        ("healthy", flag()),
        // Null where none is configured.
        ("broker", maybe(flag())),
        ("oldest", list(oldest)),
        ("workers", list(reference("Worker"))),
        ("providers", list(provider)),
        ("stale_seconds", whole()),
        ("pulse", pulse),
        ("counts", maybe(counts())),
        ("counted_seconds_ago", maybe(whole())),
    ])
}

fn counts() -> Value {
    let messages = object(&[
        ("channel", text()),
        ("status", word(MessageStatus::ALL)),
        ("reason", maybe(word(Reason::ALL))),
        ("count", whole()),
    ]);
    let results =
        object(&[("source", text()), ("waiting", whole()), ("dead", whole()), ("oldest_seconds", number())]);
    object(&[
        ("messages", list(messages)),
        ("backlog", whole()),
        ("parked", whole()),
        ("outbox", whole()),
        ("callbacks", list(results)),
        ("oldest_due_seconds", number()),
        ("address_consents_known", flag()),
        ("work", list(pair(word(WorkKind::ALL), whole()))),
    ])
}

/// Who is signed in, or what the door offers.
fn session() -> Value {
    let somebody = object(&[
        ("signed_in", yes()),
        ("name", text()),
        ("role", maybe(word(Role::ALL))),
        ("sites", maybe(list(text()))),
        ("scopes", list(word(Scope::ALL))),
        ("csrf", maybe(text())),
        ("local", flag()),
        ("mode", word(SafetyMode::ALL)),
        ("organisation", text()),
        ("version", text()),
        ("idle_seconds", whole()),
    ]);
    let nobody = object(&[
        ("signed_in", json!({"type": "boolean", "enum": [false]})),
        ("password", flag()),
        ("oidc", maybe(text())),
    ]);
    json!({"oneOf": [somebody, nobody]})
}
