//! What patients write back, over the wire: signed as Twilio does, answered once.

use std::time::{Duration, Instant};

use outreachd::config::Config;
use outreachd::config::provider::{Limit, OptOutReply, Period};
use outreachd::domain::phi::Phi;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::SafetyMode;
use outreachd::receipt::{Spooled, spooled};
use outreachd::simulator::{ProviderKind, SimulatorConfig, TextDigest, twilio_signature};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{PUBLIC, calling_back, free_address, message, with_webhooks};
use crate::support::house::{House, job, of, patient};

pub(super) const PHONE: &str = "+13125550142";

/// A house to whose number patients may write.
pub(super) async fn open(change: impl FnOnce(&mut Config)) -> House {
    let listen = free_address();
    House::open_with(calling_back(SimulatorConfig::default(), listen), |config| {
        with_webhooks(config, listen);
        change(config);
    })
    .await
}

/// Posts a patient's message as Twilio does; answers the status and the document.
pub(super) async fn write(house: &House, sid: &str, text: &str, more: &[(&str, &str)]) -> (u16, String) {
    post(house, sid, text, more, house.simulator.config().twilio.auth_token.expose()).await
}

async fn post(house: &House, sid: &str, text: &str, more: &[(&str, &str)], token: &str) -> (u16, String) {
    let named = |name: &str| more.iter().any(|(given, _)| *given == name);
    let mut fields = vec![
        ("MessageSid", sid),
        ("SmsSid", sid),
        ("SmsStatus", "received"),
        ("From", PHONE),
        ("To", "+13125550100"),
        ("Body", text),
        ("NumMedia", "0"),
        ("ApiVersion", "2010-04-01"),
    ];
    fields.retain(|(name, _)| !named(name));
    fields.extend(more);
    let signature = twilio_signature(token, &format!("{PUBLIC}/webhooks/sim-sms"), &fields);
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("http://{}/webhooks/sim-sms", house.config.http.listen))
        .header("x-twilio-signature", signature)
        .form(&fields)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

pub(super) const NOTHING: &str = "<Response/>";

#[track_caller]
pub(super) fn says(answer: &(u16, String), expected: &str) {
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert!(answer.1.starts_with("<Response><Message>") && answer.1.contains(expected), "{}", answer.1);
    assert_eq!(answer.1.matches("<Message>").count(), 1, "{}", answer.1);
}

pub(super) async fn get(house: &House, path: &str) -> Value {
    let url = format!("http://{}{path}", house.config.http.listen);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{path}");
    answer.json().await.unwrap()
}

pub(super) async fn told(house: &House, job: &str) -> Vec<String> {
    let (row, _) = message(house, job).await;
    house.store.events(row.facts.id).await.unwrap().into_iter().map(|event| event.routing_key).collect()
}

fn person(id: &str, channels: &[(&str, &str)]) -> Value {
    let contacts: Vec<Value> =
        channels.iter().map(|(channel, address)| json!({"channel": channel, "address": address})).collect();
    json!({
        "id": id, "updated_at": "2026-11-20T08:00:00Z", "language": "en", "preferred_channels": ["sms", "email"],
        "timezone": "America/Chicago", "contacts": contacts,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_a_blast_ends_it_at_that_number_and_start_restores() {
    let house = open(|config| {
        let sms = config.providers.iter_mut().find(|p| p.name.as_str() == "sim-sms").unwrap();
        sms.limits = vec![Limit { count: 40, per: Period::Second, per_sender: false }];
    })
    .await;
    // Mother and son share the number; hers is the mail. Somebody else is somebody else.
    let mother = person("P1", &[("sms", PHONE), ("email", "ana@example.org")]);
    let son = person("P2", &[("sms", PHONE)]);
    let other = person("P3", &[("sms", "+13125550199")]);
    house.publish("patient.upsert", &[mother, son, other]).await;
    let jobs: Vec<Value> = (0..300).map(|n| job(&format!("j{n}"), ["P1", "P2", "P3"][n % 3])).collect();
    house.publish("job", &jobs).await;
    house
        .until("a blast under way", |_| house.simulator.stats().of(ProviderKind::TwilioSms).taken >= 40)
        .await;
    let stop = write(&house, "SMstop1", "STOP", &[]).await;
    let answered_us = house.simulator.now_us();
    says(&stop, "Reply START");
    let other_phone = TextDigest::of(b"+13125550199");
    house
        .until("nothing due", |c| {
            c.backlog == 0 && of(c, MessageStatus::Accepted) == 0 && of(c, MessageStatus::Sending) == 0
        })
        .await;
    let texts: Vec<_> =
        house.simulator.hits().into_iter().filter(|hit| hit.kind == ProviderKind::TwilioSms).collect();
    let late =
        texts.iter().filter(|hit| hit.to != other_phone && hit.at_us > answered_us + 1_000_000).count();
    assert_eq!(late, 0, "texts to that number later than a second after the answer");
    assert_eq!(texts.iter().filter(|hit| hit.to == other_phone).count(), 100, "the others get theirs");
    let stopped = texts.iter().filter(|hit| hit.to != other_phone).count();
    assert!(stopped < 150, "{stopped} had gone out when it came");
    let mails = house.simulator.stats().of(ProviderKind::Smtp).taken;
    assert!(mails > 30, "the mother's go on by mail: {mails}");

    // The webhook comes again: our answer to it was lost.
    assert_eq!(write(&house, "SMstop1", "STOP", &[]).await, stop);
    house.publish("job", &[job("silent", "P2")]).await;
    house.until("a suppressed message", |c| of(c, MessageStatus::Suppressed) > 0).await;
    says(&write(&house, "SMstart", "START", &[]).await, "again");
    let before = house.simulator.stats().of(ProviderKind::TwilioSms).taken;
    house.publish("job", &[job("again", "P2")]).await;
    house.until("a text again", |_| house.simulator.stats().of(ProviderKind::TwilioSms).taken > before).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_patients_write_reaches_people_and_is_answered_once() {
    let house = open(|_| {}).await;
    house.publish("patient.upsert", &[patient("P1", "sms", PHONE)]).await;
    house.publish("job", &[job("visit", "P1")]).await;
    house.until_status(MessageStatus::Delivered, 1).await;

    // Forged: refused, and nothing of it is anywhere.
    assert_eq!(post(&house, "SMforged", "STOP", &[], "another-token").await.0, 403);
    // For people to read.
    assert_eq!(write(&house, "SM1", "Can I bring my son?", &[]).await, (200, NOTHING.to_owned()));
    let items = get(&house, "/v1/work-items?kind=reply").await;
    let item = &items["work_items"][0];
    assert_eq!((&item["kind"], &item["patient_id"]), (&json!("reply"), &json!("P1")));
    assert!(!items.to_string().contains("son"), "the list says that there is a text, not what it says");
    let one = get(&house, &format!("/v1/work-items/{}", item["id"].as_str().unwrap())).await;
    assert_eq!(
        (&one["reply"]["text"], &one["reply"]["intent"]),
        (&json!("Can I bring my son?"), &json!("text"))
    );

    // A picture alone is no empty item, and what a telephone says by itself is none at all.
    assert_eq!(write(&house, "SM1b", "", &[("NumMedia", "1")]).await, (200, NOTHING.to_owned()));
    let driving = "I'm driving with Focus turned on. I'll see your message when I get where I'm going.";
    for (sid, text) in [("SM1c", driving), ("SM1d", "Liked \u{201c}In an emergency call 911.\u{201d}")] {
        assert_eq!(write(&house, sid, text, &[]).await, (200, NOTHING.to_owned()));
    }
    let items = get(&house, "/v1/work-items?kind=reply").await;
    assert_eq!(items["work_items"].as_array().unwrap().len(), 2);
    let one =
        get(&house, &format!("/v1/work-items/{}", items["work_items"][1]["id"].as_str().unwrap())).await;
    assert!(one["reply"]["text"].as_str().unwrap().contains("cannot be seen here"), "{one}");

    // Danger: answered at once, and people are called.
    let danger = write(&house, "SM2", "I can't breathe", &[]).await;
    says(&danger, "Nobody reads this right now");
    says(&danger, "call 911 now");
    assert_eq!(write(&house, "SM2", "I can't breathe", &[]).await, danger, "asked again, we say it again");
    let items = get(&house, "/v1/work-items?kind=safety").await;
    assert_eq!(
        (&items["work_items"][0]["priority"], &items["work_items"][1]),
        (&json!("urgent"), &Value::Null)
    );

    says(&write(&house, "SM3", "Ayuda", &[]).await, "Lakeside Health le escribe");
    says(&write(&house, "SM4", "ESPAÑOL", &[]).await, "en español");
    says(&write(&house, "SM5", "Cancel", &[]).await, "If you meant your visit");
    assert_eq!(
        get(&house, "/v1/work-items?kind=maybe_cancel_visit").await["work_items"].as_array().unwrap().len(),
        1
    );
    assert_eq!(write(&house, "SM6", "Número equivocado", &[]).await, (200, NOTHING.to_owned()));
    let keys = told(&house, "visit").await;
    let replies: Vec<&str> =
        keys.iter().filter_map(|key| key.strip_prefix("reply.")?.strip_suffix(".lakeside-ehr")).collect();
    assert_eq!(
        replies,
        ["text", "text", "machine", "reaction", "safety", "help", "language", "cancel", "wrong_number"]
    );
    house.publish("job", &[job("next", "P1")]).await;
    house.until_status(MessageStatus::Suppressed, 1).await;

    // No webhook of a reply is read where it lacks what makes it one.
    assert_eq!(write(&house, "not a sid", "hello", &[]).await.0, 400);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_provider_confirms_we_are_silent_and_strangers_hear_nothing() {
    let house = open(|config| {
        config.safety.mode = SafetyMode::AllowList;
        config.safety.allow = vec![Phi::new(PHONE)];
        for provider in &mut config.providers {
            provider.opt_out_reply = OptOutReply::Provider;
        }
    })
    .await;
    house.publish("patient.upsert", &[patient("P1", "sms", PHONE)]).await;
    house.publish("job", &[job("j1", "P1")]).await;
    house.until_status(MessageStatus::Delivered, 1).await;
    for (n, (text, kind)) in
        [("STOP", "STOP"), ("START", "START"), ("HELP", "HELP"), ("Arret", "STOP")].into_iter().enumerate()
    {
        let answer = write(&house, &format!("SM{n}"), text, &[("OptOutType", kind)]).await;
        assert_eq!(answer, (200, NOTHING.to_owned()), "{text}");
    }
    // Without Advanced Opt-Out it answers its own words; all else is ours to answer.
    for (n, text) in ["STOP", " Unsubscribe ", "START", "info"].into_iter().enumerate() {
        assert_eq!(write(&house, &format!("SMown{n}"), text, &[]).await, (200, NOTHING.to_owned()), "{text}");
    }
    for (n, (text, expected)) in [
        ("ALTO", "No recibirá más mensajes"),
        ("Iniciar", "otra vez"),
        ("stpo", "no more texts"),
        ("AYUDA", "le escribe sobre citas"),
        ("Please stop texting me", "no more texts"),
        ("Stop.", "no more texts"),
        ("chest pain", "911"),
    ]
    .into_iter()
    .enumerate()
    {
        says(&write(&house, &format!("SMours{n}"), text, &[]).await, expected);
    }
    // A machine would go on without end: there is an end to what is owed to one number. Danger is another matter.
    says(&write(&house, "SMfifth", "Stop texting", &[]).await, "no more texts");
    assert_eq!(write(&house, "SMsixth", "Stop texting", &[]).await, (200, NOTHING.to_owned()));
    says(&write(&house, "SMmore", "I can't breathe", &[]).await, "911");
    // Who is not on the list is heard, and not written to.
    let stranger = [("From", "+13125550177")];
    assert_eq!(write(&house, "SMs1", "chest pain", &stranger).await, (200, NOTHING.to_owned()));
    assert_eq!(get(&house, "/v1/work-items?kind=safety").await["work_items"].as_array().unwrap().len(), 3);
    house.publish("job", &[job("j2", "P1")]).await;
    house.until_status(MessageStatus::Suppressed, 1).await;
    house.close().await;
}

/// What the ledger did not take at once was said when it came: a word that comes while it is tried is the later one.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_tried_in_vain_was_said_when_it_came() {
    let house = open(|_| {}).await;
    house.publish("patient.upsert", &[patient("P1", "sms", PHONE)]).await;
    house.publish("job", &[job("j1", "P1")]).await;
    house.until_status(MessageStatus::Delivered, 1).await;
    let mut connection = PgConnection::connect(house.config.store.url.expose()).await.unwrap();
    let mut busy = connection.begin().await.unwrap();
    sqlx::query("LOCK TABLE replies IN EXCLUSIVE MODE").execute(&mut *busy).await.unwrap();
    let came: String =
        sqlx::query_scalar("SELECT clock_timestamp()::text").fetch_one(&mut *busy).await.unwrap();
    let began = Instant::now();
    assert_eq!(write(&house, "SM1", "START", &[]).await, (200, NOTHING.to_owned()));
    assert!(began.elapsed() > Duration::from_secs(4), "it was tried");
    busy.rollback().await.unwrap();
    let spool = &house.config.worker.spool;
    house.until("it is on record", |_| spooled(spool) == Spooled::default()).await;
    let said = format!(
        "SELECT bool_and(at < '{came}'::timestamptz + interval '2 seconds') FROM address_consents WHERE granted"
    );
    let said: Option<bool> =
        sqlx::query_scalar(AssertSqlSafe(said)).fetch_one(&mut connection).await.unwrap();
    assert_eq!(said, Some(true));
    connection.close().await.unwrap();
    house.close().await;
}
