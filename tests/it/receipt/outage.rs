//! The database stops while receipts come in: none is answered as heard, and none is lost.

use std::time::{Duration, Instant};

use outreachd::domain::status::MessageStatus;
use outreachd::simulator::{Receipts, SimulatorConfig, twilio_signature};
use serde_json::json;

use super::{PUBLIC, calling_back, free_address, with_webhooks};
use crate::support::house::{House, job, of, patient};
use crate::support::servers::Postgres;
use crate::support::shared::TestDatabase;

/// So many receipts over so many seconds, the database away for some of them.
pub(crate) async fn stopped(name: &str, messages: u64, over: Duration, away: Duration) {
    let mut postgres = Postgres::start().await;
    let listen = free_address();
    let first = Duration::from_secs(6);
    let settings = SimulatorConfig {
        receipts: Receipts {
            // Nothing but the last one, spread over the whole time.
            sent_ms: u64::try_from(first.as_millis()).unwrap(),
            final_ms: u64::try_from(first.as_millis()).unwrap(),
            jitter_ms: u64::try_from(over.as_millis()).unwrap(),
            retries: 1_000,
            retry_ms: 300,
            ..Receipts::default()
        },
        ..SimulatorConfig::default()
    };
    let database = TestDatabase::create_on(&postgres.url()).await;
    let house =
        House::open_on(calling_back(settings, listen), database, |config| with_webhooks(config, listen))
            .await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
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
    tokio::time::sleep(away).await;
    let then = house.simulator.stats().receipts;
    assert_eq!(
        then.delivered, heard.delivered,
        "nothing was answered as heard while nothing could be written"
    );
    let slowest = slowest_refusal(&house).await;
    postgres.start_again().await;

    let back = Instant::now();
    let end = back + over + Duration::from_secs(60);
    loop {
        let counts = house.store.counts().await;
        let delivered = counts.as_ref().map_or(0, |c| of(c, MessageStatus::Delivered));
        if delivered == messages {
            break;
        }
        assert!(Instant::now() < end, "{delivered} of {messages}: {:?}", house.simulator.stats().receipts);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let receipts = house.simulator.stats().receipts;
    println!(
        "{}",
        json!({ "run": name, "messages": messages, "away_seconds": away.as_secs_f64(), "slowest_refusal": slowest,
            "heard_before": heard.delivered, "receipts": receipts, "all_after_seconds": back.elapsed().as_secs_f64(),
            "seconds": started.elapsed().as_secs_f64() })
    );
    assert_eq!((receipts.failed, receipts.dropped), (0, 0));
    assert!(heard.delivered < messages * 2, "some had to come again");
    assert!(slowest < 5.0, "503 comes fast: {slowest}");
    house.close().await;
}

/// Seconds that a genuine webhook takes to be told to come again, the longest of some.
async fn slowest_refusal(house: &House) -> f64 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let query = format!("send_key={}-0", "0".repeat(32));
    let fields = [("MessageSid", "SM1"), ("MessageStatus", "delivered")];
    let token = &house.simulator.config().twilio.auth_token;
    let signature = twilio_signature(token.expose(), &format!("{PUBLIC}/webhooks/sim-sms?{query}"), &fields);
    let mut slowest = 0.0_f64;
    for _ in 0..20 {
        let started = Instant::now();
        let url = format!("http://{}/webhooks/sim-sms?{query}", house.config.http.listen);
        let request = client.post(url).header("x-twilio-signature", &signature).form(&fields);
        assert_eq!(request.send().await.unwrap().status().as_u16(), 503);
        slowest = slowest.max(started.elapsed().as_secs_f64());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_come_while_the_database_is_away_come_again() {
    stopped("database stopped, short", 400, Duration::from_secs(6), Duration::from_secs(3)).await;
}
