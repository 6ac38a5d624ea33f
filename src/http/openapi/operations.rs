//! Holds, bodies and results that did not get through, providers and probes.

use serde_json::{Value, json};

use super::shape::{
    Fields, Schemas, anything, flag, id, list, map, maybe, object, reference, strict, text, time, whole,
    word, yes,
};
use crate::domain::words::{Channel, Reason, SafetyMode};
use crate::store::rows::{CallbackState, HoldScope, HoldState, OnRelease};

pub(super) fn schemas() -> Schemas {
    let mut all = holds();
    all.extend(dead());
    all.extend(callbacks());
    all.extend(health());
    all
}

/// A hold and where it stands.
pub(super) fn hold() -> Fields {
    let causes = [Reason::OperatorHold, Reason::SurgeHold, Reason::AwaitingApproval, Reason::CampaignPaused];
    vec![
        ("id", id()),
        ("scope", word(HoldScope::ALL)),
        // Empty for `all`.
        ("value", text()),
        ("cause", word(&causes)),
        ("reason", text()),
        ("placed_by", text()),
        ("placed_at", time()),
        ("until", maybe(time())),
        ("on_release", word(OnRelease::ALL)),
        ("state", word(HoldState::ALL)),
    ]
}

fn holds() -> Schemas {
    // Campaigns have a control of their own.
    let scopes: Vec<HoldScope> =
        HoldScope::ALL.iter().copied().filter(|scope| *scope != HoldScope::Campaign).collect();
    let new = strict(&[
        ("scope", word(&scopes)),
        ("value?", text()),
        ("reason?", text()),
        ("until?", time()),
        ("minutes?", whole()),
        ("on_release?", word(OnRelease::ALL)),
    ]);
    let mut standing = hold();
    standing.extend([("held", whole()), ("asked_by?", list(text()))]);
    vec![
        ("NewHold", new),
        ("Hold", object(&standing)),
        ("Holds", object(&[("holds", list(reference("Hold"))), ("known?", map(list(text())))])),
    ]
}

fn dead() -> Schemas {
    let body = object(&[
        ("id", id()),
        ("reason", maybe(word(Reason::ALL))),
        ("field", maybe(text())),
        ("errors", list(reference("Fault"))),
        ("source", maybe(text())),
        ("job_id", maybe(text())),
        ("origin", text()),
        ("correlation_id", maybe(text())),
        ("parked_at", time()),
        ("bytes", whole()),
    ]);
    let replay = strict(&[
        ("ids?", list(id())),
        ("reason?", word(Reason::ALL)),
        ("source?", text()),
        ("dry_run?", flag()),
    ]);
    let one = object(&[
        ("id", id()),
        ("result", word(&["accepted", "duplicate", "conflict", "refused"])),
        ("message_id?", id()),
        ("errors?", list(reference("Fault"))),
    ]);
    let counted = object(&[("dry_run", yes()), ("dead", list(reference("DeadBody")))]);
    let done = object(&[("replayed", whole()), ("refused", whole()), ("results", list(reference("Tried")))]);
    vec![
        ("Dead", object(&[("dead", list(reference("DeadBody"))), ("next", maybe(text()))])),
        ("DeadBody", body),
        ("Replay", replay),
        ("Replayed", json!({"oneOf": [counted, done]})),
        ("Tried", one),
        ("Repair", strict(&[("body", text()), ("reason", text())])),
        ("RevealedBody", object(&[("id", id()), ("body", text())])),
    ]
}

fn callbacks() -> Schemas {
    let callback = object(&[
        ("id", id()),
        ("source", text()),
        ("state", word(CallbackState::ALL)),
        ("type", text()),
        ("message_id", maybe(id())),
        ("seq", whole()),
        ("tries", whole()),
        ("since", time()),
        ("due_at", time()),
        ("code", maybe(text())),
        ("dead_at", maybe(time())),
    ]);
    vec![
        ("Callbacks", object(&[("callbacks", list(callback)), ("next", maybe(text()))])),
        ("RetryCallbacks", strict(&[("ids?", list(id())), ("source?", text())])),
        ("RetriedCallbacks", object(&[("retried", whole())])),
        // Whatever the provider sends; what is not known is let be.
        ("Webhook", anything()),
    ]
}

fn health() -> Schemas {
    let provider = object(&[("name", text()), ("channel", word(Channel::ALL)), ("weight", whole())]);
    let checks = object(&[
        ("ledger", text()),
        ("templates", text()),
        ("broker?", text()),
        ("queues_not_consumed?", list(text())),
        ("channels_without_provider?", list(word(Channel::ALL))),
    ]);
    vec![
        (
            "Providers",
            object(&[
                ("mode", word(SafetyMode::ALL)),
                ("providers", list(provider)),
                ("workers", list(reference("Worker"))),
            ]),
        ),
        ("Worker", worker()),
        ("Ready", object(&[("status", word(&["ready", "not ready"])), ("checks", checks)])),
        ("Alive", object(&[("status", word(&["ok"]))])),
        // OpenAPI 3.1 describes itself.
        ("Description", anything()),
    ]
}

/// A worker, and its lanes as of its last sign of life.
fn worker() -> Value {
    let limit = object(&[("limit", text()), ("used", whole()), ("of", whole()), ("shared", flag())]);
    let lane = object(&[
        ("provider", text()),
        ("channel", word(Channel::ALL)),
        ("sender", maybe(text())),
        ("live", flag()),
        ("baa", flag()),
        ("waiting", whole()),
        ("in_flight", whole()),
        ("breaker", text()),
        ("share_percent", whole()),
        ("in_use", flag()),
        ("limits", list(limit)),
    ]);
    object(&[
        ("id", id()),
        ("name", text()),
        ("started_at", time()),
        ("seen_at", time()),
        ("state", object(&[("lanes?", list(lane)), ("room?", whole())])),
    ])
}
