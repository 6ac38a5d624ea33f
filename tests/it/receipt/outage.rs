//! The database stops while receipts and replies come in from a provider that soon gives up: all are answered as heard,
//! none is lost, and none is readable meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outreachd::app;
use outreachd::config::Config;
use outreachd::config::secret::Secret;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::WorkKind;
use outreachd::provider::registry;
use outreachd::provider::webhook::{Door, Webhook};
use outreachd::receipt::{Desk, Spooled, spooled};
use outreachd::simulator::{Receipts, SimulatorConfig, twilio_signature};
use outreachd::store::rows::WorkFilter;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::json;

use super::{PUBLIC, calling_back, free_address, with_webhooks};
use crate::support::house::{House, job, of, patient};
use crate::support::servers::Postgres;
use crate::support::shared::TestDatabase;

const PHONE: &str = "+13125550142";
/// Somebody who writes what must be answered at once.
const IN_DANGER: &str = "+13125550177";

/// So many receipts over so many seconds, the database away for some of them.
pub(crate) async fn stopped(name: &str, messages: u64, over: Duration, away: Duration) {
    let mut postgres = Postgres::start().await;
    let listen = free_address();
    let first = Duration::from_secs(6);
    let settings = SimulatorConfig {
        receipts: Receipts {
            // Nothing but the last one, spread over the whole time. It comes again as Twilio does: for 15 s at most.
            sent_ms: u64::try_from(first.as_millis()).unwrap(),
            final_ms: u64::try_from(first.as_millis()).unwrap(),
            jitter_ms: u64::try_from(over.as_millis()).unwrap(),
            ..Receipts::default()
        },
        ..SimulatorConfig::default()
    };
    let database = TestDatabase::create_on(&postgres.url()).await;
    let mut house =
        House::open_on(calling_back(settings, listen), database, |config| with_webhooks(config, listen))
            .await;
    house.publish("patient.upsert", &[patient("P1", "sms", PHONE)]).await;
    let started = Instant::now();
    for from in (0..messages).step_by(1_000) {
        let jobs: Vec<_> = (from..messages.min(from + 1_000)).map(|n| job(&format!("j{n}"), "P1")).collect();
        house.publish("job", &jobs).await;
    }
    house
        .until("all sent", |c| of(c, MessageStatus::Sent) + of(c, MessageStatus::Delivered) == messages)
        .await;
    house.until("the first receipts", |c| of(c, MessageStatus::Delivered) > messages / 20).await;

    postgres.stop();
    // Answers to what was committed just before.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let heard = house.simulator.stats().receipts;
    let stop = write(&house.config, PHONE, "SMstop", "STOP").over_http().await;
    assert!(stop.0 == 200 && stop.1.contains("<Response/>"), "{stop:?}");
    let danger = write(&house.config, IN_DANGER, "SMdanger", "I want to die").over_http().await;
    assert!(danger.0 == 200 && danger.1.contains("Nobody reads this right now"), "{danger:?}");
    tokio::time::sleep(away).await;
    let slowest = slowest_answer(&house).await;
    let (then, waits) = (house.simulator.stats().receipts, spooled(&house.config.worker.spool));
    assert!(then.delivered > heard.delivered && waits.webhooks > 2, "{then:?} {waits:?}");
    assert_unreadable(&house.config);
    postgres.start_again().await;

    let back = Instant::now();
    let end = back + over + Duration::from_secs(60);
    loop {
        let counts = house.store.counts().await;
        let delivered =
            counts.as_ref().map_or(0, |c| of(c, MessageStatus::Delivered) + of(c, MessageStatus::Read));
        if delivered == messages {
            break;
        }
        assert!(Instant::now() < end, "{delivered} of {messages}: {:?}", house.simulator.stats().receipts);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let receipts = house.simulator.stats().receipts;
    println!(
        "{}",
        json!({ "run": name, "messages": messages, "away_seconds": away.as_secs_f64(), "slowest_answer": slowest,
            "heard_before": heard.delivered, "spooled": waits, "receipts": receipts,
            "all_after_seconds": back.elapsed().as_secs_f64(), "seconds": started.elapsed().as_secs_f64() })
    );
    assert_eq!((receipts.failed, receipts.dropped), (0, 0), "the provider gave up on none");
    assert!(slowest < 5.0, "the answer comes fast: {slowest}");
    emptied(&house).await;
    let filter = WorkFilter { kind: Some(WorkKind::Safety), limit: 10, ..WorkFilter::default() };
    assert_eq!(house.store.work_items(&filter).await.unwrap().len(), 1, "somebody is called, once");
    house.publish("job", &[job("after-the-stop", "P1")]).await;
    house.until_status(MessageStatus::Suppressed, 1).await;
    the_next_start(&mut house).await;
    house.close().await;
}

/// What one process could not write the next one writes: one that never reaches the ledger takes a START.
async fn the_next_start(house: &mut House) {
    house.stop().await;
    let mut config = Config::clone(&house.config);
    config.store.url = Secret::new("postgres://nobody@127.0.0.1:1/nowhere");
    config.store.acquire_timeout = Duration::from_millis(100);
    let config = Arc::new(config);
    let providers: Vec<_> =
        config.providers.iter().map(|section| registry::build(section).unwrap()).collect();
    let desk = Desk::open(providers, app::open_store(&config).await.unwrap(), None, config.clone());
    let start = write(&config, PHONE, "SMstart", "START");
    let (headers, body) = start.parts();
    let call = Webhook { door: Door::Status, query: "", headers: &headers, body: body.as_bytes() };
    let answer = desk.take("sim-sms", &call).await.unwrap();
    assert!(answer.contains("<Response/>"), "{answer}");
    drop(desk);
    assert_eq!(spooled(&config.worker.spool).webhooks, 1);

    house.start().await;
    emptied(house).await;
    house.publish("job", &[job("after-the-start", "P1")]).await;
    house.until("the text after the start", |c| of(c, MessageStatus::Sent) == 1).await;
}

async fn emptied(house: &House) {
    let end = Instant::now() + Duration::from_secs(20);
    while spooled(&house.config.worker.spool) != Spooled::default() {
        assert!(Instant::now() < end, "{:?}", spooled(&house.config.worker.spool));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Nothing in the folder shows a number, a word or a status.
fn assert_unreadable(config: &Config) {
    for entry in std::fs::read_dir(&config.worker.spool).unwrap() {
        let entry = entry.unwrap();
        let bytes = [entry.file_name().as_encoded_bytes(), &std::fs::read(entry.path()).unwrap()].concat();
        for word in ["3125550142", "3125550177", "STOP", "want to die", "delivered", "SMstop"] {
            assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{word}");
        }
    }
}

/// A webhook as Twilio signs it.
struct Signed {
    url: String,
    signature: String,
    fields: Vec<(&'static str, String)>,
}

impl Signed {
    fn new(config: &Config, path: &str, fields: Vec<(&'static str, String)>) -> Self {
        let token = SimulatorConfig::default().twilio.auth_token;
        let pairs: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let signature = twilio_signature(token.expose(), &format!("{PUBLIC}{path}"), &pairs);
        Self { url: format!("http://{}{path}", config.http.listen), signature, fields }
    }

    async fn over_http(&self) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(&self.url).header("x-twilio-signature", &self.signature).form(&self.fields);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    fn parts(&self) -> (HeaderMap, String) {
        let mut headers = HeaderMap::new();
        headers.insert("x-twilio-signature", HeaderValue::from_str(&self.signature).unwrap());
        let body: Vec<String> =
            self.fields.iter().map(|(name, value)| format!("{name}={}", value.replace('+', "%2B"))).collect();
        (headers, body.join("&"))
    }
}

/// A patient's text.
fn write(config: &Config, from: &str, sid: &str, text: &str) -> Signed {
    let fields = [("MessageSid", sid), ("From", from), ("To", "+13125550100"), ("Body", text)];
    Signed::new(config, "/webhooks/sim-sms", fields.map(|(name, value)| (name, value.to_owned())).into())
}

/// Seconds that a genuine webhook takes to be heard, the longest of some.
async fn slowest_answer(house: &House) -> f64 {
    let path = format!("/webhooks/sim-sms?send_key={}-0", "0".repeat(32));
    let fields = [("MessageSid", "SM1"), ("MessageStatus", "delivered")];
    let receipt = Signed::new(&house.config, &path, fields.map(|(n, v)| (n, v.to_owned())).into());
    let mut slowest = 0.0_f64;
    for _ in 0..10 {
        let started = Instant::now();
        assert_eq!(receipt.over_http().await.0, 204);
        slowest = slowest.max(started.elapsed().as_secs_f64());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_the_database_is_away_is_kept_and_written() {
    stopped("database stopped, short", 400, Duration::from_secs(6), Duration::from_secs(3)).await;
}
