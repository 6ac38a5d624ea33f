//! Messages and calls with everything that their receipts do to them.

use std::time::Duration;

use outreachd::config::provider::{Limit, Period};
use outreachd::domain::failure::Failure;
use outreachd::domain::phi::Phi;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Reason};
use outreachd::simulator::{CallEnd, NumberRule, ProviderKind, Receipts, Simulator, SimulatorConfig, SmsEnd};
use outreachd::store::rows::Counts;
use serde_json::json;

use super::{calling_back, free_address, message, open, with_webhooks};
use crate::support::house::{House, job, of, patient};

pub(super) fn ruled(rules: &[(&str, NumberRule)]) -> SimulatorConfig {
    SimulatorConfig {
        numbers: rules.iter().map(|(number, rule)| (Phi::new(*number), rule.clone())).collect(),
        ..SimulatorConfig::default()
    }
}

pub(super) fn sms(end: SmsEnd, code: u32) -> NumberRule {
    NumberRule { sms: Some(end), error_code: Some(code), ..NumberRule::default() }
}

pub(super) fn call(end: CallEnd, keys: &str) -> NumberRule {
    NumberRule { call: Some(end), keys: Some(keys.to_owned()), ..NumberRule::default() }
}

/// How often each event was told of a job's message.
async fn told(house: &House, job: &str) -> Vec<String> {
    let (row, _) = message(house, job).await;
    house.store.events(row.facts.id).await.unwrap().into_iter().map(|event| event.routing_key).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_are_late_repeated_and_out_of_order_end_in_delivered() {
    let receipts = Receipts {
        repeated: 1.0,
        shuffled: 0.5,
        late: 0.3,
        late_ms: 1_500,
        jitter_ms: 60,
        queued_ms: Some(0),
        ..Receipts::default()
    };
    let house = open(SimulatorConfig { receipts, ..SimulatorConfig::default() }).await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    let jobs: Vec<_> = (0..80).map(|n| job(&format!("j{n}"), "P1")).collect();
    house.publish("job", &jobs).await;
    let counts = house.until_status(MessageStatus::Delivered, 80).await;
    assert_eq!(of(&counts, MessageStatus::Delivered), 80);
    assert_eq!(house.simulator.hits().len(), 80, "each was sent once");
    for n in 0..80 {
        let told = told(&house, &format!("j{n}")).await;
        assert_eq!(told.last().map(String::as_str), Some("message.delivered.lakeside-ehr"), "{told:?}");
        assert!(told.len() <= 2, "{told:?}");
        let (row, attempts) = message(&house, &format!("j{n}")).await;
        // On a machine that is overloaded one may come too late to leave, and is begun anew.
        let left = attempts.iter().filter(|attempt| attempt.failure != Some(Failure::NotSent)).count();
        assert_eq!((row.due_at, row.receipt_by, left), (None, None, 1), "{attempts:?}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_carrier_does_not_deliver_goes_by_mail_or_has_failed_with_its_reason() {
    let house = open(ruled(&[
        ("+13125550142", sms(SmsEnd::Undelivered, 30006)),
        ("+13125550143", sms(SmsEnd::Failed, 30007)),
        ("+13125550144", sms(SmsEnd::Undelivered, 30003)),
    ]))
    .await;
    let both = json!({
        "id": "P1", "updated_at": "2026-11-20T08:00:00Z", "language": "en", "preferred_channels": ["sms", "email"],
        "contacts": [{"channel": "sms", "address": "+13125550142"}, {"channel": "email", "address": "ana@example.org"}],
    });
    let others = [patient("P2", "sms", "+13125550143"), patient("P3", "sms", "+13125550144")];
    house.publish("patient.upsert", &[both]).await;
    house.publish("patient.upsert", &others).await;
    house.publish("job", &[job("mail", "P1"), job("blocked", "P2"), job("off", "P3")]).await;
    house.until_status(MessageStatus::Failed, 2).await;
    house.until("a mail", |_| house.simulator.stats().of(ProviderKind::Smtp).taken == 1).await;
    house.until("nothing due", |c| c.backlog == 0).await;

    let mut standing = message(&house, "mail").await;
    for _ in 0..100 {
        if standing.0.due_at.is_none() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        standing = message(&house, "mail").await;
    }
    let (row, attempts) = standing;
    assert_eq!((row.status, row.reason, row.channel), (MessageStatus::Sent, None, Some(Channel::Email)));
    assert_eq!(
        (row.step, row.due_at, row.receipt_by),
        (1, None, None),
        "mail has no receipts here: it is final"
    );
    let seen: Vec<_> = attempts.iter().map(|a| (a.channel, a.status, a.failure)).collect();
    assert_eq!(
        seen,
        [
            (Channel::Sms, AttemptStatus::Undelivered, Some(Failure::Landline)),
            (Channel::Email, AttemptStatus::Sent, None)
        ]
    );
    assert_eq!(attempts[0].code.as_deref(), Some("30006"));
    assert_eq!(told(&house, "mail").await, ["message.sent.lakeside-ehr", "message.sent.lakeside-ehr"]);
    for (name, reason) in [("blocked", Reason::CarrierBlocked), ("off", Reason::Unreachable)] {
        let (row, _) = message(&house, name).await;
        assert_eq!((row.status, row.reason), (MessageStatus::Failed, Some(reason)), "{name}");
        let told = told(&house, name).await;
        assert_eq!(told[..2], ["message.sent.lakeside-ehr", "message.failed.lakeside-ehr"], "{told:?}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_out_of_time_in_the_providers_queue_is_sent_that_way_again_three_times_at_most() {
    let house = open(ruled(&[("+13125550142", sms(SmsEnd::Failed, 30036))])).await;
    let both = json!({
        "id": "P1", "updated_at": "2026-11-20T08:00:00Z", "language": "en", "preferred_channels": ["sms", "email"],
        "contacts": [{"channel": "sms", "address": "+13125550142"}, {"channel": "email", "address": "ana@example.org"}],
    });
    house.publish("patient.upsert", &[both]).await;
    house.publish("job", &[job("late", "P1")]).await;
    house.until("a mail", |_| house.simulator.stats().of(ProviderKind::Smtp).taken == 1).await;
    house.until("nothing due", |c| c.backlog == 0).await;
    let (row, attempts) = message(&house, "late").await;
    assert_eq!((row.status, row.step), (MessageStatus::Sent, 3), "{attempts:?}");
    let left = attempts.iter().filter(|a| a.status != AttemptStatus::Failed);
    let seen: Vec<_> = left.map(|a| (a.channel, a.status, a.failure)).collect();
    let unsent = (Channel::Sms, AttemptStatus::Undelivered, Some(Failure::NotSent));
    assert_eq!(seen[..3], [unsent; 3]);
    assert_eq!(seen[3..].iter().map(|(channel, ..)| *channel).collect::<Vec<_>>(), [Channel::Email]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_what_its_answer_makes_it() {
    let house = open(ruled(&[
        ("+13125550141", call(CallEnd::Human, "1")),
        ("+13125550142", call(CallEnd::Human, "")),
        ("+13125550143", call(CallEnd::Machine, "")),
        ("+13125550144", call(CallEnd::Busy, "")),
        ("+13125550145", call(CallEnd::Fax, "")),
        ("+13125550146", call(CallEnd::Failed, "")),
        ("+13125550147", call(CallEnd::Machine, "")),
    ]))
    .await;
    let people: Vec<_> =
        (1..=6).map(|n| patient(&format!("P{n}"), "voice", &format!("+1312555014{n}"))).collect();
    house.publish("patient.upsert", &people).await;
    let silent = json!({
        "id": "P7", "updated_at": "2026-11-20T08:00:00Z", "language": "en", "timezone": "America/Chicago",
        "contacts": [{"channel": "voice", "address": "+13125550147", "leave_message": "none"}],
    });
    house.publish("patient.upsert", &[silent]).await;
    let jobs: Vec<_> = (1..=7).map(|n| job(&format!("j{n}"), &format!("P{n}"))).collect();
    house.publish("job", &jobs).await;
    house
        .until("seven ends", |c| {
            let ends = [MessageStatus::Read, MessageStatus::Delivered, MessageStatus::Failed];
            ends.iter().map(|status| of(c, *status)).sum::<u64>() == 7 && of(c, MessageStatus::Read) == 1
        })
        .await;
    for (n, status, reason) in [
        (1, MessageStatus::Read, None),
        (2, MessageStatus::Delivered, None),
        (3, MessageStatus::Delivered, None),
        (4, MessageStatus::Failed, Some(Reason::NoAnswer)),
        (5, MessageStatus::Failed, Some(Reason::NoAnswer)),
        (6, MessageStatus::Failed, Some(Reason::InvalidAddress)),
        (7, MessageStatus::Failed, Some(Reason::NoAnswer)),
    ] {
        let (row, attempts) = message(&house, &format!("j{n}")).await;
        assert_eq!((row.status, row.reason), (status, reason), "j{n}: {attempts:?}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_messages_do_not_arrive_is_left_alone_while_another_delivers() {
    let listen = free_address();
    let silent = Receipts { silent: 1.0, ..Receipts::default() };
    let (mute, good) =
        (SimulatorConfig { receipts: silent, ..SimulatorConfig::default() }, SimulatorConfig::default());
    let backup = Simulator::start(calling_back(good, listen)).await.unwrap();
    let house = House::open_with(calling_back(mute, listen), |config| {
        let other = backup.providers("backup").unwrap().into_iter();
        config.providers.extend(other.filter(|provider| provider.name.as_str() == "backup-sms"));
        for provider in &mut config.providers {
            provider.breaker.receipt_within = Duration::from_secs(1);
            provider.breaker.receipt_last = 5;
            if provider.name.as_str() == "sim-sms" {
                provider.weight = 1_000;
                provider.limits = vec![Limit { count: 20, per: Period::Second, per_sender: false }];
            }
        }
        config.worker.heartbeat = Duration::from_millis(200);
        with_webhooks(config, listen);
    })
    .await;
    let people: Vec<_> =
        (0..180).map(|n| patient(&format!("P{n}"), "sms", &format!("+1312555{:04}", 1_000 + n))).collect();
    house.publish("patient.upsert", &people).await;
    let jobs: Vec<_> = (0..180).map(|n| job(&format!("j{n}"), &format!("P{n}"))).collect();
    house.publish("job", &jobs).await;
    house.until("the backup delivers", |c| of(c, MessageStatus::Delivered) >= 30).await;
    let taken = || house.simulator.stats().of(ProviderKind::TwilioSms).taken;
    let arrived = |c: &Counts| {
        of(c, MessageStatus::Sent) == taken() && of(c, MessageStatus::Delivered) + taken() == 180
    };
    house.until("what the backup took has arrived", arrived).await;
    assert!((5..=150).contains(&taken()), "{} were taken by the one that delivers none", taken());
    house.close().await;
    backup.shutdown().await.unwrap();
}
