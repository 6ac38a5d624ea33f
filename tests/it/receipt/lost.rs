//! Answers that are lost, and receipts that lie: every attempt is settled by what comes back, and nothing is sent twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outreachd::domain::status::MessageStatus;
use outreachd::simulator::{Faults, ProviderKind, Receipts, SimulatorConfig};
use serde_json::json;

use super::open;
use crate::support::house::{job, of, patient};

/// Sends so many, with 5 % of the answers lost and 5 % of the last receipts lying.
pub(crate) async fn lost_answers(name: &str, messages: u64, limit: Duration) {
    let keep = usize::try_from(messages).unwrap() * 2;
    let house = open(SimulatorConfig {
        receipts: Receipts {
            lying: 0.05,
            repeated: 0.2,
            shuffled: 0.2,
            jitter_ms: 50,
            retries: Some(20),
            ..Receipts::default()
        },
        faults_for: [(ProviderKind::TwilioSms, Faults { lost: 0.05, ..Faults::default() })].into(),
        keep_hits: keep,
        ..SimulatorConfig::default()
    })
    .await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    let started = Instant::now();
    for from in (0..messages).step_by(1_000) {
        let jobs: Vec<_> = (from..messages.min(from + 1_000)).map(|n| job(&format!("j{n}"), "P1")).collect();
        house.publish("job", &jobs).await;
    }
    let end = started + limit;
    let counts = loop {
        let counts = house.store.counts().await.unwrap();
        if of(&counts, MessageStatus::Delivered) + of(&counts, MessageStatus::Failed) == messages {
            break counts;
        }
        assert!(Instant::now() < end, "not every attempt is settled: {:?}", counts.messages);
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let stats = house.simulator.stats();
    let sms = stats.of(ProviderKind::TwilioSms);
    let mut hits: BTreeMap<String, u32> = BTreeMap::new();
    for hit in house.simulator.hits() {
        *hits.entry(hit.send_key.expect("each names its key").as_str().to_owned()).or_default() += 1;
    }
    let twice = hits.values().filter(|count| **count > 1).count();
    println!(
        "{}",
        json!({ "run": name, "messages": messages, "hits": sms.hits, "answers_lost": sms.lost, "sent_twice": twice,
            "delivered": of(&counts, MessageStatus::Delivered), "failed_by_a_lie": of(&counts, MessageStatus::Failed),
            "receipts": stats.receipts, "seconds": started.elapsed().as_secs_f64() })
    );
    assert_eq!(twice, 0);
    assert_eq!(hits.len() as u64, messages);
    assert!(sms.lost > messages / 40, "answers were lost: {}", sms.lost);
    let lies = of(&counts, MessageStatus::Failed);
    assert!((messages / 50..messages / 10).contains(&lies), "every twentieth is a lie: {lies}");
    assert_eq!(stats.receipts.failed + stats.receipts.dropped, 0);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_lost_and_receipts_lie_and_nothing_is_sent_twice() {
    lost_answers("lost answers, short", 600, Duration::from_secs(60)).await;
}
