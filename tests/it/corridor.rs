//! One message's walk through the whole house: RabbitMQ in, PostgreSQL, a provider on the wire, and an event out.

use outreachd::domain::status::MessageStatus;
use outreachd::simulator::{ProviderKind, SimulatorConfig, measure};
use serde_json::json;

use crate::support::house::{House, job, of, patient};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_becomes_a_message_on_the_preferred_channel() {
    let house = House::open(SimulatorConfig::default(), "").await;
    let both = json!({
        "id": "P1", "updated_at": "2026-11-20T08:00:00Z", "language": "es", "preferred_channels": ["email", "sms"],
        "contacts": [{"channel": "sms", "address": "+13125550142"}, {"channel": "email", "address": "ana@example.org"}],
    });
    house.publish("patient.upsert", &[both, patient("P2", "voice", "+13125550143")]).await;
    house
        .publish(
            "patient.upsert",
            &[patient("P3", "portal", "Patient/42"), patient("P4", "sms", "+13125550144")],
        )
        .await;
    let jobs: Vec<_> = (1..=4).map(|n| job(&format!("j{n}"), &format!("P{n}"))).collect();
    house.publish("job", &jobs).await;

    let counts = house.until_status(MessageStatus::Sent, 4).await;
    assert_eq!(of(&counts, MessageStatus::Sent), 4);
    let stats = house.simulator.stats();
    for kind in ProviderKind::ALL {
        assert_eq!(stats.of(kind).hits, 1, "{kind:?}");
    }
    house.until("an empty outbox", |c| c.outbox == 0).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_jobs_three_times_are_sent_once() {
    let house = House::open(SimulatorConfig::default(), "").await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    let jobs: Vec<_> = (0..500).map(|n| job(&format!("j{n}"), "P1")).collect();
    for _ in 0..3 {
        house.publish("job", &jobs).await;
    }
    house.until_status(MessageStatus::Sent, 500).await;
    let hits = house.simulator.hits();
    assert_eq!(hits.len(), 500);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_unknown_at_first_is_waited_for() {
    let house = House::open(SimulatorConfig::default(), "").await;
    house.publish("job", &[job("early", "P1")]).await;
    house.until_status(MessageStatus::Held, 1).await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    house.until_status(MessageStatus::Sent, 1).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn good_jobs_go_out_though_bad_ones_stand_among_them() {
    let house = House::open(SimulatorConfig::default(), "").await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    let mut bodies: Vec<Vec<u8>> =
        (0..100).map(|n| job(&format!("j{n}"), "P1").to_string().into_bytes()).collect();
    let bad: [&[u8]; 5] = [
        b"not json",
        b"{\"id\":\"x\"}",
        b"\xff\xfe",
        br#"{"id":"n1","source":"lakeside-ehr","patient_id":"P1","template":"no-such-template","data":{}}"#,
        br#"{"id":"n2","source":"lakeside-ehr","patient_id":"P1","template":"appointment-reminder","data":{}}"#,
    ];
    for (n, body) in bad.iter().enumerate() {
        bodies.insert(n * 20, body.to_vec());
    }
    house.publish_raw("job", bodies).await;
    let counts =
        house.until("100 sent and 5 parked", |c| of(c, MessageStatus::Sent) == 100 && c.parked == 5).await;
    assert_eq!(counts.parked, 5);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_kept_at_the_wire() {
    let house = House::open_with(SimulatorConfig::default(), |config| {
        for provider in &mut config.providers {
            provider.limits = vec![outreachd::config::provider::Limit {
                count: 50,
                per: outreachd::config::provider::Period::Second,
                per_sender: false,
            }];
        }
    })
    .await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    let jobs: Vec<_> = (0..250).map(|n| job(&format!("j{n}"), "P1")).collect();
    house.publish("job", &jobs).await;
    house.until_status(MessageStatus::Sent, 250).await;
    let times: Vec<u64> = house.simulator.hits().iter().map(|h| h.at_us).collect();
    let worst = measure::worst_sliding_second(&times);
    // The sink shares this machine with the rest of the tests: what it sees may be a timer late. The exact figure is
    // taken on a quiet machine, by tests/proof.
    assert!(worst <= 52, "{worst} in one second");
    let took = (times.iter().max().unwrap() - times.iter().min().unwrap()) as f64 / 1e6;
    assert!(took < 250.0 / 50.0 * 1.5, "used too little of the limit: {took} s");
    house.close().await;
}
