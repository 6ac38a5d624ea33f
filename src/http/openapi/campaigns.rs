//! Campaigns: plans as they come in, and how far they have come.

use serde_json::{Value, json};

use super::shape::{
    Schemas, anything, flag, id, list, map, maybe, object, pair, percent, reference, strict, text, time,
    when, whole, word,
};
use crate::domain::campaign::{CampaignState, FollowUp, PaceUnit, PauseReason};
use crate::domain::reply::Intent;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Purpose, Reason};

pub(super) fn schemas() -> Schemas {
    let approve = strict(&[("recipients", whole()), ("hash?", text())]);
    let told = object(&[
        ("campaign", reference("Campaign")),
        ("report", maybe(report())),
        ("counted_seconds_ago?", maybe(whole())),
    ]);
    let recipient = object(&[
        ("ordinal", whole()),
        ("patient_id", text()),
        ("wave", maybe(whole())),
        ("message_id", maybe(id())),
        ("status", maybe(word(MessageStatus::ALL))),
        ("reason", maybe(word(Reason::ALL))),
        ("channel", maybe(word(Channel::ALL))),
    ]);
    let mut all = plans();
    all.extend([
        ("Campaign", campaign()),
        ("KeptPlan", kept_plan()),
        ("Campaigns", object(&[("campaigns", list(reference("Campaign")))])),
        ("Brought", brought()),
        ("Approve", approve),
        ("Done", strict(&[("patient_ids", list(text()))])),
        ("LeftOut", object(&[("left_out", whole())])),
        ("Forecast", forecast()),
        ("Sample", sample()),
        ("Samples", object(&[("recipients", whole()), ("samples", list(reference("Sample")))])),
        ("CampaignReport", told),
        ("Recipients", object(&[("recipients", list(recipient))])),
    ]);
    all
}

fn plans() -> Schemas {
    let plan = strict(&[
        ("id", text()),
        ("title?", text()),
        ("source?", text()),
        ("template", text()),
        ("purpose?", word(Purpose::ALL)),
        ("site?", text()),
        ("data?", anything()),
        ("channels?", list(word(Channel::ALL))),
        ("audience?", reference("Audience")),
        ("start?", when()),
        ("end?", when()),
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
    let auto_pause = strict(&[
        ("error_percent?", percent()),
        ("opt_out_percent?", percent()),
        ("complaint_percent?", percent()),
        ("after?", whole()),
    ]);
    vec![
        ("Plan", plan),
        ("Audience", audience),
        ("Pace", strict(&[("per_minute?", whole()), ("per_hour?", whole()), ("hours?", text())])),
        ("Wave", wave),
        ("AutoPause", auto_pause),
    ]
}

/// A plan with all that was left out.
fn kept_plan() -> Value {
    let moment = || json!({"oneOf": [object(&[("at", time())]), object(&[("local", text())])]});
    let audience = object(&[
        ("min_age", maybe(whole())),
        ("max_age", maybe(whole())),
        ("languages", list(text())),
        ("postcodes", list(text())),
        ("tags", list(text())),
        ("site", maybe(text())),
        ("received", maybe(text())),
        ("not_received", maybe(text())),
    ]);
    let pace = object(&[("count", whole()), ("per", word(PaceUnit::ALL)), ("hours", maybe(text()))]);
    let wave = object(&[
        ("min_age", maybe(whole())),
        ("tags", list(text())),
        ("postcodes", list(text())),
        ("gap_minutes", whole()),
    ]);
    let auto_pause = object(&[
        ("error_percent", percent()),
        ("opt_out_percent", percent()),
        ("complaint_percent", percent()),
        ("after", whole()),
    ]);
    object(&[
        ("id", text()),
        ("title", text()),
        ("source", text()),
        ("template", text()),
        ("purpose", maybe(word(Purpose::ALL))),
        ("site", maybe(text())),
        ("data", anything()),
        ("channels", maybe(list(word(Channel::ALL)))),
        ("audience", maybe(audience)),
        ("start", maybe(moment())),
        ("end", maybe(moment())),
        ("pace", maybe(pace)),
        ("waves", list(wave)),
        ("canary", whole()),
        ("auto_pause", auto_pause),
        ("follows", maybe(pair(word(FollowUp::ALL), text()))),
    ])
}

fn campaign() -> Value {
    let approval = object(&[("by", text()), ("at", time()), ("hash", text()), ("texts", maybe(text()))]);
    object(&[
        ("plan", reference("KeptPlan")),
        ("state", word(CampaignState::ALL)),
        ("reason", maybe(word(PauseReason::ALL))),
        ("created_by", text()),
        ("changed_by", list(text())),
        ("created_at", time()),
        ("changed_at", time()),
        ("started_at", maybe(time())),
        ("recipients", whole()),
        ("size", whole()),
        ("expanded", whole()),
        ("refused", whole()),
        ("no_longer_needed", whole()),
        ("needs_approval", flag()),
        ("approval", maybe(approval)),
        ("canary_passed", flag()),
        ("wave", whole()),
        ("wave_opens_at", time()),
        // Only where one campaign is asked for.
        ("due_now?", whole()),
        ("expected_end?", maybe(time())),
    ])
}

fn brought() -> Value {
    let refusal = object(&[("line", whole()), ("errors", list(reference("Fault")))]);
    let row = object(&[("line", whole()), ("cells", list(text()))]);
    object(&[
        ("read", whole()),
        ("added", whole()),
        ("changed", whole()),
        ("known", whole()),
        ("refused", whole()),
        ("refusals", list(refusal)),
        ("refused_file?", text()),
        ("first_rows", object(&[("columns", list(text())), ("rows", list(row))])),
    ])
}

fn forecast() -> Value {
    let counts = || map(whole());
    object(&[
        ("hash", text()),
        ("recipients", whole()),
        ("needs_approval", flag()),
        ("would_get", whole()),
        ("by_proxy", whole()),
        ("excluded", counts()),
        ("by_channel", counts()),
        ("by_language", counts()),
        ("by_hour", counts()),
        ("segments", whole()),
        ("cost", text()),
        ("currency", text()),
        ("first_send_at", maybe(time())),
        ("last_send_at", maybe(time())),
        ("samples", list(reference("Sample"))),
    ])
}

fn sample() -> Value {
    object(&[
        ("channel", word(Channel::ALL)),
        ("language", text()),
        ("pointer", flag()),
        // Null where it is masked.
        ("text", maybe(text())),
        ("segments", whole()),
    ])
}

fn report() -> Value {
    let line = object(&[
        ("status", word(MessageStatus::ALL)),
        ("reason", maybe(word(Reason::ALL))),
        ("channel", maybe(word(Channel::ALL))),
        ("locale", text()),
        ("hour", maybe(time())),
        ("count", whole()),
    ]);
    let reply = object(&[
        ("intent", word(Intent::ALL)),
        ("channel", maybe(word(Channel::ALL))),
        ("locale", text()),
        ("hour", maybe(time())),
        ("count", whole()),
    ]);
    object(&[
        ("lines", list(line)),
        ("replies", list(reply)),
        ("refused", list(pair(word(Reason::ALL), whole()))),
    ])
}
