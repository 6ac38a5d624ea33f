//! `deploy/integration.md`, which callers write their programs by: what it shows is taken, and nothing is left out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use outreachd::broker::QueueRole;
use outreachd::broker::topology::binding_keys;
use outreachd::domain::campaign::{AutoPause, CampaignState, Plan};
use outreachd::domain::event::{Cost, Event, EventKind, Word, with_seq};
use outreachd::domain::ids::{
    About, AnswerName, CampaignId, JobId, MessageId, ParkedId, PatientId, ProviderName, SiteId, SourceName,
};
use outreachd::domain::reply::Intent;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::{Channel, Purpose, Reason, Recipient, WorkEvent};
use serde_json::{Value, json};
use uuid::Uuid;

use super::api::Api;

const GUIDE: &str = include_str!("../../../deploy/integration.md");

/// The JSON that the guide shows under this word.
pub(super) fn shown(word: &str) -> Value {
    let (_, rest) = GUIDE.split_once(&format!("```json {word}\n")).unwrap();
    serde_json::from_str(rest.split_once("```").unwrap().0).unwrap()
}

/// What stands under a heading.
fn under(heading: &str) -> &'static str {
    let (_, rest) = GUIDE.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// The names in the first column of a section's tables.
fn names(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    rows.flat_map(|first| first.split(['`', ',', ' ']).filter(|part| !part.is_empty()))
        .map(str::to_owned)
        .collect()
}

/// The calls of a section's table, each with the scopes of which it needs one.
fn calls(section: &str) -> BTreeMap<String, BTreeSet<String>> {
    let quoted =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut all = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').collect();
        for call in quoted(cells[1]) {
            let before = all.insert(call.clone(), quoted(cells[2]).into_iter().collect());
            assert!(before.is_none(), "{call} stands there twice");
        }
    }
    all
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

/// Every key that one of these objects has.
fn all_keys(objects: &Value) -> BTreeSet<String> {
    objects.as_array().unwrap().iter().flat_map(keys).collect()
}

/// Tells the patient of the guide, and the one who stands in for them.
pub(super) async fn tell_patients(api: &Api) {
    for id in ["P0000077", "P0000042"] {
        let mut patient = shown("patient");
        patient["id"] = json!(id);
        if id == "P0000077" {
            patient["proxies"] = json!([]);
        }
        api.put(&format!("/v1/patients/{id}"), &patient).await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guide_shows_is_taken() {
    let api = Api::open("", "").await;
    tell_patients(&api).await;
    let mut job = shown("job");
    // The days of the guide come, and pass.
    let (day, end) = (
        Timestamp::now() + SignedDuration::from_hours(24),
        Timestamp::now() + SignedDuration::from_hours(96),
    );
    job["not_before"]["local"] = json!(day.strftime("%Y-%m-%dT09:00").to_string());
    job["expires_at"] = json!(end.to_string());
    let told = api.post("/v1/jobs", &job).await.expect(202);
    assert_eq!(told["result"], "accepted");
    let cancelled = api.post("/v1/jobs/cancel", &shown("cancel")).await.expect(200);
    assert_eq!(cancelled, json!({"result": "cancelled", "message_ids": [told["message_id"]]}));
    // A name that nobody has used yet.
    let mut other = shown("cancel");
    other["id"] = json!("never-there");
    assert_eq!(api.post("/v1/jobs/cancel", &other).await.expect(200)["result"], "remembered");
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_leaves_nothing_out() {
    let api = Api::open("", "").await;
    let document = api.get("/openapi.json").await.expect(200);
    let fields = |schema: &str| keys(&document["components"]["schemas"][schema]["properties"]);
    assert_eq!(names(under("A job")), fields("Job"));
    let patient = shown("patient");
    assert_eq!(keys(&patient), fields("Patient"));
    assert_eq!(all_keys(&patient["contacts"]), fields("Contact"));
    assert_eq!(all_keys(&patient["consents"]), fields("Consent"));
    assert_eq!(all_keys(&patient["proxies"]), fields("Proxy"));
    assert!(Purpose::ALL.iter().all(|purpose| under("A job").contains(&format!("`{purpose}`"))));
    let plan = shown("plan");
    assert_eq!(keys(&plan), fields("Plan"));
    assert_eq!(keys(&plan["audience"]), fields("Audience"));
    assert_eq!(all_keys(&plan["waves"]), fields("Wave"));
    assert_eq!(keys(&plan["auto_pause"]), fields("AutoPause"));
    assert!(fields("Pace").iter().all(|field| under("A campaign").contains(field)));

    let bound: BTreeSet<String> = [QueueRole::Jobs, QueueRole::Urgent]
        .into_iter()
        .flat_map(|role| binding_keys(role).iter().map(|key| (*key).to_owned()))
        .chain(["patient", "patient.merge"].map(str::to_owned))
        .collect();
    let told = names(under("Where it goes in RabbitMQ"));
    assert!(bound.is_subset(&told), "{bound:?} {told:?}");

    let back = under("What comes back");
    assert!(MessageStatus::ALL.iter().all(|status| back.contains(&format!("`{status}`"))));
    assert!(WorkEvent::ALL.iter().all(|event| back.contains(&format!("`{event}`"))));
    assert!(Intent::ALL.iter().all(|intent| back.contains(&format!("`{intent}`"))));
    assert!(CampaignState::ALL.iter().all(|state| back.contains(&format!("`{state}`"))));

    // All that a token opens; sessions are the console's.
    let mut opened: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if let (Some(any), false) = (operation["security"].as_array(), path.starts_with("/v1/session")) {
                let scopes = any.iter().map(|one| one["token"][0].as_str().unwrap().to_owned());
                opened.insert(format!("{} {path}", method.to_uppercase()), scopes.collect());
            }
        }
    }
    assert_eq!(calls(under("Every call")), opened);
    api.close().await;
}

#[test]
fn the_plan_that_the_guide_shows_can_be_read() {
    let plan = Plan::parse(shown("plan").to_string().as_bytes(), None, 0).unwrap();
    // As it says there: what is shown is what counts where nothing is given.
    assert_eq!(plan.auto_pause, AutoPause::default());
    assert_eq!((plan.waves.len(), plan.canary), (2, 50));
}

#[test]
fn the_guide_knows_every_field_of_an_event() {
    let (id, at) = (Uuid::now_v7(), Timestamp::UNIX_EPOCH);
    let event = Event {
        reason: Some(Reason::Merged),
        campaign_id: CampaignId::parse("flu"),
        came_back: true,
        merged_into: Some(MessageId(id)),
        retry_of: Some(MessageId(id)),
        intent: Word::parse("answer"),
        answer: AnswerName::parse("confirm"),
        state: Word::parse("opened"),
        work_item_id: Some(id),
        field: Some("data".to_owned()),
        parked_id: Some(ParkedId(id)),
        ..Event::new(id, EventKind::JobRejected, at)
    };
    let back = under("What comes back");
    for field in keys(&serde_json::from_str(&event.to_json().unwrap()).unwrap()) {
        assert!(back.contains(&format!("`{field}`")) || back.contains(&format!("\"{field}\"")), "{field}");
    }
}

#[test]
fn an_event_is_written_as_the_guide_shows_it() {
    let shown = shown("event");
    let text = |name: &str| shown[name].as_str().unwrap();
    let at: Timestamp = text("at").parse().unwrap();
    let id = Uuid::parse_str(text("id")).unwrap();
    let event = Event {
        occurred_at: text("occurred_at").parse().unwrap(),
        message_id: Some(MessageId(Uuid::parse_str(text("message_id")).unwrap())),
        job_id: JobId::parse(text("job_id")),
        about: About::parse(text("about")),
        source: SourceName::parse(text("source")),
        site: SiteId::parse(text("site")),
        patient_id: PatientId::parse(text("patient_id")),
        recipient: Recipient::from_word(text("recipient")),
        channel: Channel::from_word(text("channel")),
        provider: ProviderName::parse(text("provider")),
        attempt: Some(1),
        segments: Some(2),
        cost: Some(Cost { micros: 15_800 }),
        correlation_id: Some(text("correlation_id").to_owned()),
        ..Event::new(id, EventKind::Message(MessageStatus::Delivered), at)
    };
    let written: Value = serde_json::from_str(&with_seq(&event.to_json().unwrap(), 2)).unwrap();
    assert_eq!(written, shown);
    assert!(under("What comes back").contains("`message.<status>.<source>`"));
    assert_eq!(event.routing_key(), "message.delivered.lakeside-ehr");
}
