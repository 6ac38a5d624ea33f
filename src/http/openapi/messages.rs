//! Messages, why they are where they are, and what people and programs do with them.

use serde_json::{Value, json};

use super::operations::hold;
use super::shape::{
    Fields, Schemas, anything, flag, id, list, map, maybe, object, reference, strict, text, time, whole,
    word, yes,
};
use crate::dispatch::NextAction;
use crate::domain::failure::Failure;
use crate::domain::patience::Until;
use crate::domain::receipt::Report;
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Channel, Priority, Purpose, Reason, Recipient};
use crate::policy::decide::Gate;
use crate::policy::zones::ZoneSource;

pub(super) fn schemas() -> Schemas {
    let page = object(&[
        ("messages", list(reference("Message"))),
        ("next", maybe(text())),
        ("looked_back_to", maybe(time())),
    ]);
    let lookup =
        strict(&[("source?", text()), ("ids", json!({"type": "array", "maxItems": 1000, "items": text()}))]);
    let retried = object(&[
        ("id", text()),
        ("message_id", id()),
        ("retry_of", id()),
        ("result", word(&["accepted", "duplicate"])),
    ]);
    let actions = strict(&[
        ("action", word(&["cancel", "retry"])),
        ("filter", map(text())),
        ("dry_run?", flag()),
        ("accept_duplicate?", flag()),
    ]);
    vec![
        ("Message", message()),
        ("Messages", page),
        ("Lookup", lookup),
        ("LookedUp", object(&[("messages", list(reference("Message"))), ("missing", list(text()))])),
        ("Explained", explained()),
        ("Decision", decision()),
        ("CancelOne", strict(&[("reason?", text())])),
        ("Retry", strict(&[("accept_duplicate?", flag())])),
        ("Retried", retried),
        ("NextRoute", object(&[("message_id", id()), ("result", word(&["given_up"]))])),
        ("Actions", actions),
        ("Acted", acted()),
        ("RevealedMessage", revealed()),
    ]
}

fn message() -> Value {
    object(&[
        ("id", id()),
        ("source", text()),
        ("job_id", text()),
        ("patient_id", text()),
        ("template", text()),
        ("purpose", word(Purpose::ALL)),
        ("priority", word(Priority::ALL)),
        ("about", maybe(text())),
        ("site", maybe(text())),
        ("campaign_id", maybe(text())),
        ("correlation_id", maybe(text())),
        ("test", flag()),
        ("is_change", flag()),
        ("retry_of", maybe(id())),
        ("status", word(MessageStatus::ALL)),
        ("reason", maybe(word(Reason::ALL))),
        ("channel", maybe(word(Channel::ALL))),
        ("step", whole()),
        ("tries", whole()),
        ("seq", whole()),
        ("accepted_at", time()),
        ("changed_at", time()),
        ("expires_at", time()),
        ("due_at", maybe(time())),
        ("receipt_by?", time()),
        ("copy_of?", id()),
        ("merged_into?", id()),
        ("held_by?", id()),
    ])
}

fn explained() -> Value {
    let told = || {
        object(&[("id", id()), ("status", word(MessageStatus::ALL)), ("reason", maybe(word(Reason::ALL)))])
    };
    let event =
        object(&[("seq", whole()), ("routing_key", text()), ("created_at", time()), ("published", flag())]);
    let mut held: Fields = hold();
    // The command that ends it.
    held.push(("end", text()));
    object(&[
        ("message", reference("Message")),
        ("copies?", list(told())),
        ("carries?", list(told())),
        ("decision", maybe(reference("Decision"))),
        ("gates", list(object(&[("gate", word(Gate::ALL)), ("passed", flag())]))),
        ("hold?", object(&held)),
        ("attempts", list(attempt())),
        ("events", list(event)),
        ("came_back?", flag()),
        (
            "next",
            object(&[
                ("action", word(NextAction::ALL)),
                ("at?", time()),
                ("unless?", word(Until::ALL)),
                ("channel?", word(Channel::ALL)),
            ]),
        ),
    ])
}

fn attempt() -> Value {
    object(&[
        ("id", id()),
        ("step", whole()),
        ("number", whole()),
        ("status", word(AttemptStatus::ALL)),
        ("provider", text()),
        ("channel", word(Channel::ALL)),
        ("recipient", word(Recipient::ALL)),
        // Masked.
        ("address", text()),
        ("segments", whole()),
        ("locale", text()),
        ("pointer", flag()),
        ("template_hash", text()),
        ("provider_ref", maybe(text())),
        ("failure", maybe(word(Failure::ALL))),
        ("code", maybe(text())),
        ("report?", word(Report::ALL)),
        ("begun_at", time()),
        ("settled_at", maybe(time())),
    ])
}

fn decision() -> Value {
    let hours = object(&[
        ("zones", list(text())),
        ("from", list(word(ZoneSource::ALL))),
        ("by?", object(&[("rule", text()), ("zone", text())])),
        ("until?", time()),
    ]);
    let way = object(&[
        ("channel", word(Channel::ALL)),
        // Masked.
        ("address", text()),
        ("gate?", word(Gate::ALL)),
        ("reason?", word(Reason::ALL)),
        ("until?", time()),
        ("because?", text()),
        ("hours?", hours),
    ]);
    let wait = json!({"type": "string", "format": "duration"});
    object(&[
        ("rules", whole()),
        ("gate", word(Gate::ALL)),
        ("at", time()),
        ("reason?", word(Reason::ALL)),
        ("until?", time()),
        ("recipient?", word(Recipient::ALL)),
        ("patience?", object(&[("wait", wait), ("until", word(Until::ALL))])),
        ("ways?", list(way)),
    ])
}

/// What a dry run counts, or what was done.
fn acted() -> Value {
    let action = || ("action", word(&["cancel", "retry"]));
    let counted = object(&[("dry_run", yes()), action(), ("matching", whole()), ("at_least", flag())]);
    let done = object(&[action(), ("done", whole()), ("refused", whole()), ("more", flag())]);
    json!({"oneOf": [counted, done]})
}

fn revealed() -> Value {
    let name = object(&[("given?", text()), ("family?", text())]);
    let sent = object(&[("id", id()), ("channel", word(Channel::ALL)), ("address", text())]);
    let content = json!({"oneOf": [
        object(&[
            ("channel", word(Channel::ALL)),
            ("locale", text()),
            ("texts", map(text())),
            ("templates_changed", flag()),
        ]),
        object(&[("problem", text())]),
    ]});
    object(&[
        ("patient", object(&[("id", text()), ("name", maybe(name))])),
        ("data", anything()),
        ("attempts", list(sent)),
        ("content", content),
    ])
}
