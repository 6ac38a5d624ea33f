//! What waits for one reader is one message, and nothing that it tells is lost or told to somebody else.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outreachd::app::{self, Worker};
use outreachd::dispatch::explain;
use outreachd::domain::ids::{AnswerName, HoldId};
use outreachd::domain::phi::Phi;
use outreachd::domain::reply::Offer;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::{Channel, Reason};
use outreachd::simulator::{ProviderKind, SimulatorConfig, SmsEnd, TextDigest};
use outreachd::store::rows::{Hold, HoldScope, MessageFilter, MessageRow, OnRelease, QuestionAsk};
use serde_json::{Value, json};

use super::stories::{ruled, sms};
use super::{calling_back, free_address, message, with_webhooks};
use crate::support::copy_templates;
use crate::support::house::{House, job, patient};

/// A reminder of a visit at this hour.
fn visit(id: &str, patient: &str, hour: u32) -> Value {
    let mut job = job(id, patient);
    job["data"]["starts_at"] = json!(format!("2036-12-01T{hour}:30:00-06:00"));
    job
}

fn with(mut patient: Value, more: &Value) -> Value {
    patient.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    patient
}

async fn rows(house: &House) -> Vec<MessageRow> {
    let filter = MessageFilter { limit: 100, ..MessageFilter::default() };
    house.store.messages(&filter).await.unwrap()
}

async fn until(house: &House, what: &str, done: impl Fn(&[MessageRow]) -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let rows = rows(house).await;
        if done(&rows) {
            return;
        }
        let standing: Vec<_> = rows.iter().map(|r| (&r.facts.job_id, r.status, r.reason)).collect();
        assert!(Instant::now() < end, "waited in vain for {what}: {standing:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Two workers share what is let go in one instant, and each takes what it gets hold of: whoever has two visits hears of
/// them in one message all the same.
#[tokio::test(flavor = "multi_thread")]
async fn two_workers_that_hold_one_each_send_one_message() {
    const PEOPLE: u32 = 20;
    let house = House::open_with(SimulatorConfig::default(), |config| {
        config.policy.digest.most = 6;
        // Small claims: those of one person seldom are in one.
        config.worker.batch = 16;
    })
    .await;
    let catalogue = app::load_catalogue(&house.config.templates.dir).unwrap();
    let store = app::open_store(&house.config).await.unwrap();
    let other = Worker::start(house.config.clone(), store, catalogue).await.unwrap();
    let hold = hold();
    house.store.place_hold(&hold).await.unwrap();
    let people: Vec<Value> =
        (0..PEOPLE).map(|n| patient(&format!("P{n}"), "sms", &format!("+1312555{:04}", 100 + n))).collect();
    house.publish("patient.upsert", &people).await;
    let visits = |hour: u32| (0..PEOPLE).map(move |n| visit(&format!("v{n}-{hour}"), &format!("P{n}"), hour));
    let jobs: Vec<Value> = visits(14).chain(visits(15)).collect();
    house.publish("job", &jobs).await;
    let held = |row: &MessageRow| row.reason == Some(Reason::OperatorHold);
    until(&house, "all of them", |rows| rows.len() == jobs.len() && rows.iter().all(held)).await;
    assert!(house.store.release_hold(hold.id, "u17", None).await.unwrap());
    let over = |row: &MessageRow| {
        row.status.is_final() || (row.status == MessageStatus::Sent && row.due_at.is_none())
    };
    until(&house, "their end", |rows| rows.iter().all(over)).await;
    let merged = rows(&house).await.iter().filter(|row| row.reason == Some(Reason::Merged)).count();
    let hits = house.simulator.hits().len();
    assert_eq!(merged + hits, 40, "each is told once");
    // On a machine that others use, too, a hand may be slower than a second.
    assert!(merged >= 16, "of twenty people {merged} got one message");
    other.stop().await;
    house.close().await;
}

/// Everything stands still.
fn hold() -> Hold {
    Hold {
        id: HoldId::generate(),
        scope: HoldScope::All,
        value: String::new(),
        cause: Reason::OperatorHold,
        reason: "drill".to_owned(),
        placed_by: "u17".to_owned(),
        placed_at: Timestamp::now(),
        until: None,
        on_release: OnRelease::Send,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_one_reader_is_one_message_and_names_nobody_elses() {
    let listen = free_address();
    let simulator = ruled(&[("+13125550149", sms(SmsEnd::Undelivered, 30006))]);
    let house = House::open_with(calling_back(simulator, listen), |config| {
        with_webhooks(config, listen);
        config.policy.digest.most = 6;
    })
    .await;
    let hold = hold();
    house.store.place_hold(&hold).await.unwrap();

    let mother = json!([{"patient_id": "P6", "relationship": "mother", "authority": "guardian",
        "mode": "instead", "purposes": ["*"]}]);
    let child = |id: &str, name: &str| {
        let more =
            json!({"name": {"given": name}, "birth_date": "2019-05-01", "proxies": mother, "contacts": []});
        with(patient(id, "sms", "+13125550100"), &more)
    };
    let both = json!({"preferred_channels": ["sms", "email"], "contacts": [
        {"channel": "sms", "address": "+13125550149"}, {"channel": "email", "address": "ana@example.org"}]});
    let people = [
        patient("P1", "sms", "+13125550141"),
        patient("P2", "sms", "+13125550142"),
        patient("P3", "sms", "+13125550142"),
        with(patient("P7", "sms", "+13125550142"), &json!({"preferences": {"appointment": []}})),
        child("P4", "Ana"),
        child("P5", "Ben"),
        patient("P6", "sms", "+13125550143"),
        with(patient("P8", "sms", "+13125550149"), &both),
        patient("P9", "email", "home@example.org"),
        patient("P10", "email", "home@example.org"),
        patient("P11", "sms", "+13125550145"),
        with(patient("P12", "sms", "+13125550145"), &json!({"language": "es"})),
    ];
    house.publish("patient.upsert", &people).await;
    let jobs = [
        visit("hers-1", "P1", 14),
        visit("hers-2", "P1", 15),
        visit("hers-3", "P1", 16),
        visit("house-1", "P2", 14),
        visit("house-2", "P3", 15),
        visit("stopped", "P7", 16),
        visit("child-1", "P4", 14),
        visit("child-2", "P5", 15),
        visit("back-1", "P8", 14),
        visit("back-2", "P8", 15),
        visit("mail-1", "P9", 14),
        visit("mail-2", "P10", 15),
        visit("english", "P11", 14),
        visit("spanish", "P12", 15),
    ];
    house.publish("job", &jobs).await;
    let held = |row: &MessageRow| row.reason == Some(Reason::OperatorHold);
    until(&house, "all of them", |rows| rows.len() == jobs.len() && rows.iter().all(held)).await;
    assert!(house.store.release_hold(hold.id, "u17", None).await.unwrap());
    let over = |row: &MessageRow| match row.status {
        MessageStatus::Sent => row.channel == Some(Channel::Email) && row.due_at.is_none(),
        status => status.is_final(),
    };
    until(&house, "their end", |rows| rows.iter().all(over)).await;

    use MessageStatus::{Cancelled, Delivered, Sent, Suppressed};
    let merged = (Cancelled, Some(Reason::Merged));
    for (name, expected) in [
        ("hers-1", (Delivered, None)),
        ("hers-2", merged),
        ("hers-3", merged),
        ("house-1", (Delivered, None)),
        ("house-2", merged),
        ("stopped", (Suppressed, Some(Reason::OptedOut))),
        ("child-1", (Delivered, None)),
        ("child-2", merged),
        ("mail-1", (Sent, None)),
        ("mail-2", (Sent, None)),
        ("english", (Delivered, None)),
        ("spanish", (Delivered, None)),
    ] {
        let (row, _) = message(&house, name).await;
        assert_eq!((row.status, row.reason), expected, "{name}");
    }
    // What no telephone takes goes by mail: the one and the other, together or each by itself.
    let back = [message(&house, "back-1").await.0, message(&house, "back-2").await.0];
    assert!(back.iter().any(|row| row.status == Sent), "{back:?}");
    assert!(back.iter().all(|row| row.status == Sent || row.reason == Some(Reason::Merged)), "{back:?}");

    let seen: Vec<TextDigest> = house.simulator.hits().iter().map(|hit| hit.body).collect();
    let also = |rest: &str| {
        let text = format!(
            "Lakeside Health: Reminder: {rest}. To change one, reply to this message. Reply STOP to opt out."
        );
        seen.iter().filter(|body| **body == TextDigest::of(text.as_bytes())).count()
    };
    let two = "Mon, Dec 1, 2:30 PM with Dr. Chen. Also: Mon, Dec 1, 3:30 PM with Dr. Chen";
    let hers = format!("your visit is {two}; Mon, Dec 1, 4:30 PM with Dr. Chen");
    assert_eq!(also(&hers), 1, "all three of hers");
    let unnamed = also(&format!("your visit is {two}"));
    assert!((2..=3).contains(&unnamed), "the household, and what came back: {unnamed}");
    let named = "your child Ana's visit is Mon, Dec 1, 2:30 PM with Dr. Chen. Also: Ben: Mon, Dec 1, 3:30 PM with Dr. Chen";
    assert_eq!(also(named), 1, "a mother reads whose visit it is");
    assert!(house.simulator.stats().of(ProviderKind::Smtp).taken >= 3);

    let (carrier, rider) = (message(&house, "house-1").await.0, message(&house, "house-2").await.0);
    let told = explain(house.store.as_ref(), carrier.facts.id).await.unwrap().unwrap().to_text();
    assert!(told.contains(&format!("carries  {}  cancelled (merged)", rider.facts.id)), "{told}");
    let told = explain(house.store.as_ref(), rider.facts.id).await.unwrap().unwrap().to_text();
    assert!(told.contains(&format!("merged   into {}", carrier.facts.id)), "{told}");
    assert!(told.contains("message.cancelled.lakeside-ehr"), "{told}");
    house.close().await;
}

/// The product's templates, and one that asks and may be told together.
fn templates(dir: &Path) {
    copy_templates(&dir.join("templates"));
    let own = dir.join("templates/free-time");
    std::fs::create_dir_all(own.join("en")).unwrap();
    let manifest = r#"
title = "A free time"
purposes = ["appointment"]
phi = "minimal"
channels = ["sms", "email"]
default_locale = "en"
approved = ["en"]
digest = true
answers = ["take", "leave"]

[variables.slot]
type = "text"
required = true
examples = ["ten"]
"#;
    let text = "There is time at {{data.slot}}.{{#each also}} And at {{this}}.{{/each}}";
    let asks = format!("{text} Reply {{{{answer.take}}}} or {{{{answer.leave}}}}.");
    for (file, text) in [
        ("template.toml", manifest),
        ("en/also.hbs", "{{data.slot}}"),
        ("en/sms.hbs", asks.as_str()),
        ("en/email.subject.hbs", "A free time"),
        ("en/email.txt.hbs", text),
        ("en/email.html.hbs", text),
    ] {
        std::fs::write(own.join(file), text).unwrap();
    }
}

/// So much waits for an answer at a number that a text can ask nothing more there: who was to be carried by it does not wait
/// for its lease to end, and all go by mail.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_to_ride_on_what_cannot_ask_is_free_at_once() {
    let dir = tempfile::tempdir().unwrap();
    templates(dir.path());
    let house = House::open_with(SimulatorConfig::default(), |config| {
        config.templates.dir = dir.path().join("templates");
        config.policy.digest.most = 6;
        // Longer than anybody waits here.
        config.worker.lease = Duration::from_secs(600);
    })
    .await;
    let hold = hold();
    house.store.place_hold(&hold).await.unwrap();
    let both = json!({"preferred_channels": ["sms", "email"], "contacts": [
        {"channel": "sms", "address": "+13125550142"}, {"channel": "email", "address": "ana@example.org"}]});
    let people = [with(patient("P1", "sms", "+13125550142"), &both), patient("P2", "sms", "+13125550143")];
    house.publish("patient.upsert", &people).await;
    let free = |slot: &str| {
        json!({
            "id": slot, "source": "lakeside-ehr", "patient_id": "P1", "template": "free-time",
            "data": {"slot": slot}, "expires_at": "2036-12-01T00:00:00Z",
        })
    };
    let jobs = [free("nine"), free("ten"), free("eleven"), visit("elsewhere", "P2", 14)];
    house.publish("job", &jobs).await;
    let held = |row: &MessageRow| row.reason == Some(Reason::OperatorHold);
    until(&house, "all of them", |rows| rows.len() == jobs.len() && rows.iter().all(held)).await;

    // Every digit of the number stands for something else.
    let offer = |n: u32| Offer {
        name: AnswerName::parse(&format!("a{n}")).unwrap(),
        words: Vec::new(),
        staff: false,
    };
    let ask = QuestionAsk {
        message: message(&house, "elsewhere").await.0.facts.id,
        address: Some(Phi::new("+13125550142")),
        offers: (0..98).map(offer).collect(),
    };
    assert!(house.store.allot(&ask).await.unwrap().is_some());

    assert!(house.store.release_hold(hold.id, "u17", None).await.unwrap());
    let over = |row: &MessageRow| {
        row.status.is_final() || (row.status == MessageStatus::Sent && row.due_at.is_none())
    };
    until(&house, "their end", |rows| rows.iter().all(over)).await;
    for name in ["nine", "ten", "eleven"] {
        let (row, attempts) = message(&house, name).await;
        assert!(row.status == MessageStatus::Sent || row.reason == Some(Reason::Merged), "{row:?}");
        assert!(attempts.iter().all(|attempt| attempt.channel == Channel::Email), "{attempts:?}");
    }
    house.close().await;
}
