//! Faults by configuration, and outages switched while it runs.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use outreachd::simulator::{Faults, Outage, ProviderKind, Reply, Simulator, SimulatorConfig};
use serde_json::json;

use super::{PATIENT, SENDER, client, look_up, send, start};
use crate::support::measure::worst_sliding_second;

const SMS: ProviderKind = ProviderKind::TwilioSms;
const MESSAGE: [(&str, &str); 3] = [("To", PATIENT), ("From", SENDER), ("Body", "Hi")];

fn with(faults: Faults) -> SimulatorConfig {
    SimulatorConfig { faults, seed: 20, ..SimulatorConfig::default() }
}

/// The statuses of so many requests, one after the other; 0 for a connection lost.
async fn statuses(simulator: &Simulator, count: usize) -> Vec<u16> {
    let account = &simulator.config().twilio;
    let client = client();
    let url = format!("{}/2010-04-01/Accounts/{}/Messages.json", simulator.twilio_url(), account.account_sid);
    stream::iter(0..count)
        .then(async |_| {
            let request =
                client.post(&url).basic_auth(&account.account_sid, Some(account.auth_token.expose()));
            request.form(&MESSAGE).send().await.map_or(0, |response| response.status().as_u16())
        })
        .collect()
        .await
}

#[tokio::test]
async fn shares_come_out_as_asked_replay_and_are_all_counted() {
    let faults = Faults {
        throttled: 0.10,
        unavailable: 0.05,
        error: 0.05,
        error_taken: 0.05,
        lost: 0.05,
        ..Faults::default()
    };
    let simulator = start(with(faults.clone())).await;
    let seen = statuses(&simulator, 1_000).await;
    let share = |status| seen.iter().filter(|s| **s == status).count();
    for (status, low, high) in [(429, 70, 130), (503, 30, 70), (500, 70, 130), (0, 30, 70), (201, 650, 750)] {
        assert!((low..=high).contains(&share(status)), "{status}: {}", share(status));
    }
    let stats = simulator.stats().of(SMS);
    assert_eq!(stats.hits, 1_000);
    assert_eq!(stats.throttled, share(429) as u64);
    assert_eq!(stats.errored, (share(500) + share(503)) as u64);
    assert_eq!(stats.lost, share(0) as u64);
    let hidden = simulator.hits().iter().filter(|hit| hit.taken && hit.status == 500).count();
    assert_eq!(stats.taken, (share(201) + share(0) + hidden) as u64);

    let again = start(with(faults)).await;
    assert_eq!(statuses(&again, 1_000).await, seen);
}

#[tokio::test]
async fn a_429_says_when_to_come_back() {
    let simulator = start(with(Faults { throttled: 1.0, retry_after_s: Some(7), ..Faults::default() })).await;
    let response = send(&simulator, &MESSAGE).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(response.json::<serde_json::Value>().await.unwrap()["code"], 20429);
}

#[tokio::test]
async fn a_lost_reply_is_a_reset_after_the_message_was_taken() {
    let simulator = start(with(Faults { lost: 1.0, ..Faults::default() })).await;
    let error = send(&simulator, &MESSAGE).await.unwrap_err();
    assert!(!error.is_timeout() && !error.is_connect(), "{error:?}");
    let hit = simulator.hits()[0];
    assert_eq!((hit.taken, hit.status, hit.reply), (true, 201, Reply::Lost));
    // Another request, on a connection of its own, finds it.
    let found = look_up(&simulator, "/Messages.json?To=%2B13125550142").await;
    assert_eq!(found["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_stalled_request_is_taken_and_never_answered() {
    let simulator = start(with(Faults { stalled: 1.0, ..Faults::default() })).await;
    let waiting = tokio::time::timeout(Duration::from_millis(300), send(&simulator, &MESSAGE)).await;
    assert!(waiting.is_err(), "it was answered");
    let hit = simulator.hits()[0];
    assert_eq!((hit.taken, hit.reply), (true, Reply::Stalled));
    let stats = simulator.shutdown().await.unwrap();
    assert_eq!(stats.of(SMS).stalled, 1);
}

#[tokio::test]
async fn latency_is_added_to_every_answer() {
    let simulator = start(with(Faults { latency_ms: 120, ..Faults::default() })).await;
    let before = std::time::Instant::now();
    send(&simulator, &MESSAGE).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn an_outage_is_switched_over_the_control_api() {
    let simulator = start(SimulatorConfig::default()).await;
    let control = |body: serde_json::Value| client().post(simulator.control_url()).json(&body).send();

    let answer = control(json!({ "provider": "twilio_sms", "outage": "unavailable" })).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(send(&simulator, &MESSAGE).await.unwrap().status(), 503);
    control(json!({ "outage": "reset" })).await.unwrap();
    assert!(send(&simulator, &MESSAGE).await.is_err());
    control(json!({ "outage": "none", "faults": { "throttled": 1.0 } })).await.unwrap();
    assert_eq!(send(&simulator, &MESSAGE).await.unwrap().status(), 429);
    control(json!({ "faults": {} })).await.unwrap();
    assert_eq!(send(&simulator, &MESSAGE).await.unwrap().status(), 201);
    let stats = simulator.stats().of(SMS);
    assert_eq!((stats.hits, stats.taken), (4, 1));

    assert_eq!(control(json!({ "faults": { "lost": 2.0 } })).await.unwrap().status(), 422);
    assert_eq!(control(json!({ "outages": "none" })).await.unwrap().status(), 422);
    let foreign =
        client().get(simulator.control_url()).header("host", "evil.example.org").send().await.unwrap();
    assert_eq!(foreign.status(), 403);
    let counts: serde_json::Value =
        client().get(simulator.control_url()).send().await.unwrap().json().await.unwrap();
    assert_eq!(counts["kinds"]["twilio_sms"]["hits"], 4);
}

#[tokio::test]
async fn a_hang_ends_with_its_outage_and_other_kinds_go_on() {
    let simulator = start(SimulatorConfig::default()).await;
    simulator.set_outage(Some(SMS), Outage::Hang);
    let waiting = tokio::time::timeout(Duration::from_millis(200), send(&simulator, &MESSAGE)).await;
    assert!(waiting.is_err());
    assert!(!simulator.hits()[0].taken);
    let call = [("To", PATIENT), ("From", SENDER), ("Twiml", "<Response/>")];
    assert_eq!(super::post(&simulator, "Calls", &call).await.unwrap().status(), 201);
    simulator.set_outage(None, Outage::None);
    assert_eq!(send(&simulator, &MESSAGE).await.unwrap().status(), 201);
}

#[tokio::test]
async fn the_pace_is_enforced_in_every_second() {
    let simulator = start(with(Faults { limit_per_s: Some(50), ..Faults::default() })).await;
    let seen = statuses(&simulator, 400).await;
    assert!(seen.contains(&429));
    let taken: Vec<u64> = simulator.hits().iter().filter(|hit| hit.taken).map(|hit| hit.at_us).collect();
    assert!(taken.len() >= 50);
    assert_eq!(worst_sliding_second(&taken), 50);
}
