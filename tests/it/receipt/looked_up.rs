//! Answers are lost, and no receipt ever comes: what became of a send is looked up, and what never arrived is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use outreachd::domain::status::MessageStatus;
use outreachd::simulator::{Faults, ProviderKind, Receipts, SimulatorConfig, TextDigest};

use super::message;
use crate::support::house::{House, job, of, patient};

const PEOPLE: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_is_found_and_what_was_not_is_sent_once() {
    let faults = Faults { error_taken: 0.1, lost: 0.1, error: 0.1, ..Faults::default() };
    let simulator = SimulatorConfig {
        receipts: Receipts { enabled: false, ..Receipts::default() },
        faults_for: [(ProviderKind::TwilioSms, faults)].into(),
        ..SimulatorConfig::default()
    };
    let house =
        House::open_with(simulator, |config| config.policy.look_up_after = Duration::from_millis(200)).await;
    let number = |n: u64| format!("+1312555{n:04}");
    let people: Vec<_> = (0..PEOPLE).map(|n| patient(&format!("P{n}"), "sms", &number(n))).collect();
    house.publish("patient.upsert", &people).await;
    let jobs: Vec<_> = (0..PEOPLE).map(|n| job(&format!("j{n}"), &format!("P{n}"))).collect();
    house.publish("job", &jobs).await;
    house
        .until("every outcome known", |counts| {
            of(counts, MessageStatus::Sent) + of(counts, MessageStatus::Delivered) == PEOPLE
        })
        .await;

    let mut taken: BTreeMap<TextDigest, u32> = BTreeMap::new();
    let (mut hidden, mut nowhere) = (0, 0);
    for hit in house.simulator.hits() {
        if hit.taken {
            *taken.entry(hit.to).or_default() += 1;
            hidden += u32::from(hit.status == 500 || format!("{:?}", hit.reply) == "Lost");
        } else {
            nowhere += 1;
        }
    }
    assert_eq!(taken.len() as u64, PEOPLE, "everybody has theirs");
    assert!(taken.values().all(|times| *times == 1), "and nobody has it twice: {taken:?}");
    assert!(hidden > 0 && nowhere > 0, "{hidden} were taken and not said so, {nowhere} were not taken");
    let mut tried_again = 0;
    for n in 0..PEOPLE {
        let (_, attempts) = message(&house, &format!("j{n}")).await;
        tried_again += attempts.len() - 1;
        let last = attempts.last().unwrap();
        assert!(last.provider_ref.as_deref().is_some_and(|sid| sid.starts_with("SM")), "{last:?}");
    }
    assert_eq!(tried_again, nowhere, "only what was nowhere was sent again");
    house.close().await;
}
