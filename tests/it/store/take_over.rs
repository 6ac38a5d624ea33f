//! What dead workers leave behind.

use outreachd::domain::ids::WorkerId;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason};
use outreachd::store::rows::{Begin, TakenOver, Then};

use super::ledger::{Ledger, worker};
use super::make::{job, release, seconds};

const NOTHING: TakenOver = TakenOver { released: 0, unknown: 0 };

pub(super) async fn a_live_worker_keeps_what_it_holds(ledger: Ledger) {
    ledger.beat(worker()).await;
    ledger.lease(job("a")).await;
    ledger.begun(job("b")).await;
    assert_eq!(ledger.take_over(10).await.unwrap(), NOTHING);
    ledger.pass(seconds(6)).await;
    assert_eq!(ledger.take_over(10).await.unwrap(), NOTHING);
    ledger.pass(seconds(6)).await;
    ledger.beat(worker()).await;
    assert_eq!(ledger.take_over(10).await.unwrap(), NOTHING);
}

pub(super) async fn a_silent_worker_loses_what_it_holds(ledger: Ledger) {
    ledger.beat(worker()).await;
    let hand = ledger.lease(job("a")).await;
    ledger.pass(seconds(11)).await;
    ledger.beat(WorkerId::generate()).await;
    let taken = ledger.take_over(10).await.unwrap();
    assert_eq!(taken, TakenOver { released: 1, unknown: 0 });
    assert_eq!(ledger.standing(hand.facts.id).await, (MessageStatus::Accepted, None));
    assert!(!ledger.try_begin(ledger.plan(&hand).await).await, "the old lease is worth nothing");
    let claimed = ledger.claim_new(10).await;
    assert!(claimed[0].work.token > hand.work.token);
}

pub(super) async fn a_lease_that_ended_is_anybodys(ledger: Ledger) {
    ledger.lease(job("a")).await;
    ledger.pass(seconds(61)).await;
    ledger.beat(worker()).await;
    assert_eq!(ledger.take_over(10).await.unwrap().released, 1, "however alive its worker is");
    assert_eq!(ledger.take_over(10).await.unwrap(), NOTHING);
    assert_eq!(ledger.claim_new(10).await.len(), 1);
}

pub(super) async fn a_lease_goes_once_it_has_ended_and_nothing_is_had_of_it(ledger: Ledger) {
    let leases = async || ledger.execute("UPDATE leases SET token = token").await.unwrap();
    let back = ledger.lease(job("a")).await;
    ledger.lease(job("b")).await;
    assert_eq!(leases().await, 2);
    ledger.release(&[release(&back)]).await.unwrap();
    ledger.pass(seconds(61)).await;
    ledger.beat(worker()).await;
    assert_eq!(ledger.take_over(10).await.unwrap().released, 1, "what was given back is not taken over");
    assert_eq!(leases().await, 1);
    assert_eq!(ledger.claim_new(10).await.len(), 2);
    assert_eq!(ledger.take_over(10).await.unwrap(), NOTHING);
    assert_eq!(leases().await, 1, "the one that stands");
}

pub(super) async fn what_had_begun_is_unknown(ledger: Ledger) {
    let store = ledger.telling(&[MessageStatus::Unknown]);
    let (hand, _) = ledger.begun(job("a")).await;
    ledger.pass(seconds(61)).await;
    assert_eq!(store.take_over(10).await.unwrap(), TakenOver { released: 0, unknown: 1 });
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.reason), (MessageStatus::Unknown, Some(Reason::OutcomeUnknown)));
    assert_eq!(row.due_at, None, "nobody sends it again by himself");
    assert_eq!(ledger.attempts(hand.facts.id).await.unwrap()[0].status, AttemptStatus::Unknown);
    assert_eq!(ledger.told(hand.facts.id).await, ["message.unknown.ehr"]);
}

pub(super) async fn what_had_begun_is_due_where_repeats_are_recognised(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let row = Begin { dedupes: true, ..ledger.plan(&hand).await };
    assert!(ledger.try_begin(row).await);
    ledger.pass(seconds(61)).await;
    assert_eq!(ledger.take_over(10).await.unwrap().unknown, 1);
    assert_eq!(ledger.standing(hand.facts.id).await.0, MessageStatus::Unknown);
    assert_eq!(ledger.claim_as(Some(Channel::Sms), Priority::Normal, 1).await.messages.len(), 1);
}

pub(super) async fn what_was_sent_meanwhile_stays_sent(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let row = Begin { dedupes: true, ..ledger.plan(&hand).await };
    let first = row.attempt;
    assert!(ledger.try_begin(row).await);
    let now = ledger.now().await;
    ledger.settle_one(&hand, first, AttemptStatus::Unknown, Then::UnknownRetry(now)).await;
    let mut claimed = ledger.claim_as(Some(Channel::Sms), Priority::Normal, 1).await.messages;
    let again = claimed.remove(0).into();
    assert!(ledger.try_begin(Begin { dedupes: true, ..ledger.plan(&again).await }).await);
    // The first one did get through, and the worker dies before the second one is settled.
    ledger.settle_one(&hand, first, AttemptStatus::Sent, Then::Sent).await;
    ledger.pass(seconds(61)).await;
    ledger.take_over(10).await.unwrap();
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.reason, row.due_at), (MessageStatus::Sent, None, None));
}

pub(super) async fn a_clock_that_is_set_back_leaves_nothing_to_the_dead(ledger: Ledger) {
    ledger.beat(worker()).await;
    ledger.sent(job("told")).await;
    assert_eq!(ledger.outbox(worker(), &[], 10).await.unwrap().len(), 1);
    let waits = ledger.lease(job("a")).await;
    ledger.begun(job("b")).await;
    ledger.pass(seconds(-3_600)).await;
    // Whoever lives is seen again at once; the other one will not be.
    let alive = WorkerId::generate();
    ledger.beat(alive).await;
    assert_eq!(ledger.take_over(10).await.unwrap(), TakenOver { released: 1, unknown: 1 });
    assert_eq!(ledger.standing(waits.facts.id).await, (MessageStatus::Accepted, None));
    assert_ne!(ledger.outbox(alive, &[], 10).await.unwrap().len(), 0, "and its share of the events");
}

pub(super) async fn many_workers_take_over_once(ledger: Ledger) {
    for n in 0..10 {
        ledger.begun(job(&format!("b{n}"))).await;
        ledger.lease(job(&format!("l{n}"))).await;
    }
    ledger.pass(seconds(61)).await;
    let takers = [ledger.another(), ledger.another(), ledger.another()];
    let takers = takers.map(|store| {
        tokio::spawn(async move {
            let mut total = NOTHING;
            loop {
                let taken = store.take_over(3).await.unwrap();
                if taken == NOTHING {
                    break total;
                }
                total.released += taken.released;
                total.unknown += taken.unknown;
            }
        })
    });
    let mut total = NOTHING;
    for taker in takers {
        let taken = taker.await.unwrap();
        total.released += taken.released;
        total.unknown += taken.unknown;
    }
    assert_eq!(total, TakenOver { released: 10, unknown: 10 });
}
