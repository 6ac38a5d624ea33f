//! Decisions other than to send.

use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason};
use outreachd::store::rows::{Decided, Then};

use super::ledger::Ledger;
use super::make::{decided, job, release, seconds};

pub(super) async fn a_decision_moves_the_status_and_ends_the_lease(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let now = ledger.now().await;
    let decision = Decided {
        channel: Some(Channel::Email),
        explanation: "{\"why\":1}".to_owned(),
        due_at: Some(now + seconds(60)),
        ..decided(&hand, MessageStatus::Held, Some(Reason::QuietHours), now)
    };
    ledger.decide_one(decision).await;
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.reason), (MessageStatus::Held, Some(Reason::QuietHours)));
    assert_eq!((row.channel, row.due_at), (Some(Channel::Email), Some(now + seconds(60))));
    assert_eq!(row.explanation.as_deref(), Some("{\"why\":1}"));
    assert!(row.changed_at >= now);
    assert!(ledger.told(hand.facts.id).await.is_empty(), "held is told only where it is asked for");
    ledger.release(&[release(&hand)]).await.unwrap();
    assert_eq!(ledger.row(hand.facts.id).await.due_at, Some(now + seconds(60)), "the lease is over");
}

pub(super) async fn a_final_decision_is_told(ledger: Ledger) {
    for status in [MessageStatus::Suppressed, MessageStatus::Expired, MessageStatus::Failed] {
        let hand = ledger.lease(job(status.as_str())).await;
        let decision = decided(&hand, status, Some(Reason::NoContact), ledger.now().await);
        ledger.decide_one(decision).await;
        assert_eq!(ledger.told(hand.facts.id).await, [format!("message.{status}.ehr")]);
        assert_eq!(ledger.row(hand.facts.id).await.due_at, None);
    }
}

pub(super) async fn a_decision_on_a_lost_lease_is_ignored(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    ledger.release(&[release(&hand)]).await.unwrap();
    ledger.claim_new(1).await;
    let decision = decided(&hand, MessageStatus::Suppressed, Some(Reason::NoContact), ledger.now().await);
    ledger.decide_one(decision).await;
    assert_eq!(ledger.standing(hand.facts.id).await, (MessageStatus::Accepted, None));
    assert!(ledger.told(hand.facts.id).await.is_empty());
}

pub(super) async fn a_hold_is_due_again_when_it_says(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let now = ledger.now().await;
    let decision = Decided {
        due_at: Some(now + seconds(60)),
        ..decided(&hand, MessageStatus::Held, Some(Reason::QuietHours), now)
    };
    ledger.decide_one(decision).await;
    assert!(ledger.claim_new(1).await.is_empty());
    ledger.pass(seconds(61)).await;
    let claimed = ledger.claim_new(1).await;
    assert_eq!(claimed[0].work.status, MessageStatus::Held);
    // A hold without an end is due never.
    let hand = claimed[0].clone().into();
    let endless = Decided {
        due_at: Some(jiff::Timestamp::MAX),
        ..decided(&hand, MessageStatus::Held, Some(Reason::OperatorHold), now)
    };
    ledger.decide_one(endless).await;
    assert_eq!(ledger.standing(hand.facts.id).await.0, MessageStatus::Held);
    assert!(ledger.claim_new(1).await.is_empty());
}

pub(super) async fn a_message_under_way_keeps_its_status_while_it_waits(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    let now = ledger.now().await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Failed, Then::Retry(now)).await;
    let mut claimed = ledger.claim_as(Some(Channel::Sms), Priority::Normal, 1).await.messages;
    let hand = claimed.remove(0).into();
    let wait = Decided {
        due_at: Some(now + seconds(60)),
        ..decided(&hand, MessageStatus::Held, Some(Reason::QuietHours), now)
    };
    ledger.decide_one(wait).await;
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.reason), (MessageStatus::Sending, Some(Reason::QuietHours)));
    assert_eq!(row.due_at, Some(now + seconds(60)));
}

pub(super) async fn the_same_decision_again_is_not_told_again(ledger: Ledger) {
    let store = ledger.telling(&[MessageStatus::Held]);
    let hand = ledger.lease(job("a")).await;
    let now = ledger.now().await;
    let held =
        |reason| Decided { due_at: Some(now), ..decided(&hand, MessageStatus::Held, Some(reason), now) };
    store.decide(&[held(Reason::QuietHours)]).await.unwrap();
    for reason in [Reason::QuietHours, Reason::OperatorHold] {
        let claimed = ledger.claim_new(1).await.remove(0);
        store.decide(&[Decided { token: claimed.work.token, ..held(reason) }]).await.unwrap();
    }
    let held_twice = ["message.held.ehr", "message.held.ehr"];
    assert_eq!(ledger.told(hand.facts.id).await, held_twice, "once for each reason");
}
