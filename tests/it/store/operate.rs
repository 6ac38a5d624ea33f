//! What people do to the ledger.

use outreachd::domain::ids::{HoldId, WorkerId};
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::Reason;
use outreachd::store::rows::{Decided, HoldScope, ParkedFilter, ParkedRow};

use super::ledger::{Ledger, rejects};
use super::make::{decided, hold, job, reject, seconds, source};

pub(super) async fn a_hold_is_listed_until_it_is_released(ledger: Ledger) {
    let (one, other) = (hold(HoldScope::Site, "north"), hold(HoldScope::All, ""));
    ledger.place_hold(&one).await.unwrap();
    ledger.place_hold(&other).await.unwrap();
    let placed: Vec<HoldId> = ledger.holds().await.unwrap().iter().map(|h| h.hold.id).collect();
    assert_eq!(placed, [one.id, other.id]);
    assert!(ledger.release_hold(one.id, "u1", None).await.unwrap());
    assert!(!ledger.release_hold(one.id, "u1", None).await.unwrap(), "it is over");
    assert!(!ledger.release_hold(HoldId::generate(), "u1", None).await.unwrap());
    let left = ledger.holds().await.unwrap();
    assert_eq!((left.len(), left[0].hold.id, left[0].hold.scope), (1, other.id, HoldScope::All));
}

pub(super) async fn a_hold_ends_by_itself(ledger: Ledger) {
    let mut until = hold(HoldScope::All, "");
    until.until = Some(ledger.now().await + seconds(60));
    ledger.place_hold(&until).await.unwrap();
    assert_eq!(ledger.holds().await.unwrap().len(), 1);
    ledger.pass(seconds(61)).await;
    assert!(ledger.holds().await.unwrap().is_empty());
}

pub(super) async fn releasing_a_hold_wakes_what_it_held(ledger: Ledger) {
    let placed = hold(HoldScope::All, "");
    ledger.place_hold(&placed).await.unwrap();
    let now = ledger.now().await;
    let held = ledger.lease(job("a")).await;
    let quiet = ledger.lease(job("b")).await;
    for (hand, reason) in [(&held, Reason::OperatorHold), (&quiet, Reason::QuietHours)] {
        let wait = Decided {
            due_at: Some(jiff::Timestamp::MAX),
            held_by: (reason == Reason::OperatorHold).then_some(placed.id),
            ..decided(hand, MessageStatus::Held, Some(reason), now)
        };
        ledger.decide_one(wait).await;
    }
    assert!(ledger.claim_new(10).await.is_empty());
    assert!(ledger.release_hold(placed.id, "u1", None).await.unwrap());
    let woken = ledger.claim_new(10).await;
    assert_eq!(woken.iter().map(|m| m.facts.id).collect::<Vec<_>>(), [held.facts.id]);
}

pub(super) async fn parked_bodies_are_listed_and_marked(ledger: Ledger) {
    let (mut first, second, mut third) = (reject(b"1", false), reject(b"2", false), reject(b"3", false));
    first.problems[0].reason = Reason::Malformed;
    third.source = Some(source("lab"));
    let ids = [first.id, second.id, third.id];
    ledger.admit(&rejects(vec![first, second, third])).await.unwrap();
    let list = async |filter: ParkedFilter| {
        let rows = ledger.parked(&ParkedFilter { limit: 10, ..filter }).await.unwrap();
        rows.into_iter().map(|r| r.id).collect::<Vec<_>>()
    };
    assert_eq!(list(ParkedFilter::default()).await, ids);
    assert_eq!(list(ParkedFilter { reason: Some(Reason::Malformed), ..Default::default() }).await, ids[..1]);
    assert_eq!(list(ParkedFilter { source: Some(source("lab")), ..Default::default() }).await, ids[2..]);
    assert_eq!(list(ParkedFilter { after: Some(ids[0]), ..Default::default() }).await, ids[1..]);
    assert_eq!(list(ParkedFilter { ids: vec![ids[1]], ..Default::default() }).await, ids[1..2]);
    assert_eq!(ledger.parked(&ParkedFilter { limit: 2, ..Default::default() }).await.unwrap().len(), 2);
    ledger.mark_replayed(&ids[..2]).await.unwrap();
    ledger.mark_replayed(&[]).await.unwrap();
    assert_eq!(list(ParkedFilter::default()).await, ids[2..]);
    assert_eq!(ledger.counts().await.unwrap().parked, 1);
}

pub(super) async fn a_parked_body_that_cannot_be_opened_keeps_nobody_from_the_others(ledger: Ledger) {
    let rows = [reject(b"1", false), reject(b"2", false), reject(b"3", false)];
    let [_, closed, untold] = rows.each_ref().map(|row| row.id);
    let said = rows[0].problems.clone();
    ledger.admit(&rejects(rows.into())).await.unwrap();
    for sql in [
        format!("UPDATE parked SET body = substr(body, 2) WHERE id = '{closed}'"),
        format!("UPDATE parked SET problems = 'what?' WHERE id = '{untold}'"),
    ] {
        assert_eq!(ledger.execute(&sql).await.unwrap(), 1);
    }
    let parked = ledger.parked(&ParkedFilter { limit: 10, ..Default::default() }).await.unwrap();
    let seen: Vec<(bool, &[u8])> = parked.iter().map(|row| (row.unread, row.body.as_slice())).collect();
    assert_eq!(seen, [(false, &b"1"[..]), (true, b""), (false, b"3")]);
    assert_eq!(parked[1].problems, [said, vec![ParkedRow::closed()]].concat());
    assert_eq!(parked[2].problems.len(), 1, "that they cannot be read is all that can be said");
}

pub(super) async fn a_worker_is_seen(ledger: Ledger) {
    let (one, other) = (WorkerId::generate(), WorkerId::generate());
    let first = ledger.heartbeat(one, "one", "{\"lanes\":1}").await.unwrap();
    ledger.heartbeat(other, "other", "{}").await.unwrap();
    let later = ledger.heartbeat(one, "one", "{\"lanes\":2}").await.unwrap();
    assert!(later >= first);
    let workers = ledger.workers().await.unwrap();
    assert_eq!(workers.len(), 2);
    let seen = workers.iter().find(|w| w.id == one).unwrap();
    assert_eq!((seen.name.as_str(), seen.state["lanes"].as_i64()), ("one", Some(2)));
    assert_eq!((seen.started_at, seen.seen_at), (first, later));
    ledger.pass(seconds(86_401)).await;
    ledger.beat(other).await;
    assert_eq!(ledger.workers().await.unwrap().len(), 1);
}
