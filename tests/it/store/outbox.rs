//! Events leave in order, each by one hand.

use std::collections::{HashMap, HashSet};

use outreachd::domain::ids::WorkerId;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::store::rows::{OutboxEvent, Then};

use super::ledger::{Ledger, batch, worker};
use super::make::{cancel_job, job, seconds};

pub(super) async fn events_of_a_message_leave_in_order(ledger: Ledger) {
    let store = ledger.telling(&[MessageStatus::Unknown]);
    let mut under_way = Vec::new();
    for n in 0..5 {
        under_way.push(ledger.begun(job(&format!("j{n}"))).await);
    }
    for (status, then) in [(AttemptStatus::Unknown, Then::Unknown), (AttemptStatus::Sent, Then::Sent)] {
        let mut rows = Vec::new();
        for (hand, attempt) in under_way.iter().rev() {
            rows.push(ledger.settlement(hand, *attempt, status, then).await);
        }
        store.settle(&rows).await.unwrap();
    }
    let events = ledger.outbox(worker(), &[], 100).await.unwrap();
    assert_eq!(events.len(), 10);
    assert!(events.windows(2).all(|pair| pair[0].ord < pair[1].ord));
    let mut last: HashMap<String, (u32, i16)> = HashMap::new();
    for event in &events {
        let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
        let id = body["message_id"].as_str().unwrap().to_owned();
        let (seq, shard) = last.get(&id).copied().unwrap_or((0, event.shard));
        assert_eq!((event.seq, event.shard), (seq + 1, shard));
        last.insert(id, (event.seq, event.shard));
    }
}

pub(super) async fn what_is_published_is_not_read_again(ledger: Ledger) {
    for n in 0..6 {
        ledger.sent(job(&format!("j{n}"))).await;
    }
    let first = ledger.outbox(worker(), &[], 4).await.unwrap();
    assert_eq!(first.len(), 4);
    assert_eq!(
        ords(&ledger.outbox(worker(), &[], 4).await.unwrap()),
        ords(&first),
        "not confirmed: comes again"
    );
    let rest = ledger.outbox(worker(), &ords(&first), 4).await.unwrap();
    assert_eq!(rest.len(), 2);
    assert!(rest[0].ord > first[3].ord);
    assert_eq!(ledger.counts().await.unwrap().outbox, 2);
    assert!(ledger.outbox(worker(), &ords(&rest), 4).await.unwrap().is_empty());
    assert!(ledger.outbox(worker(), &[], 4).await.unwrap().is_empty());
    assert_eq!(ledger.counts().await.unwrap().outbox, 0);
}

pub(super) async fn two_workers_never_share_a_lane(ledger: Ledger) {
    let jobs: Vec<_> = (0..100).map(|n| job(&format!("j{n}"))).collect();
    let cancels: Vec<_> = (0..100).map(|n| cancel_job(&format!("j{n}"))).collect();
    ledger.cancel(&cancels).await.unwrap();
    ledger.admit(&batch(jobs, 0)).await.unwrap();
    let mut readers = Vec::new();
    for _ in 0..3 {
        let store = ledger.another();
        readers.push(tokio::spawn(async move {
            let me = WorkerId::generate();
            let (mut seen, mut lanes) = (Vec::new(), HashSet::new());
            for _ in 0..20 {
                let done: Vec<i64> = seen.clone();
                let events = store.outbox(me, &done, 7).await.unwrap();
                lanes.extend(events.iter().map(|e| e.shard));
                seen.extend(ords(&events));
            }
            (seen, lanes)
        }));
    }
    let (mut events, mut lanes) = (HashSet::new(), HashSet::new());
    for reader in readers {
        let (seen, mine) = reader.await.unwrap();
        for ord in seen {
            assert!(events.insert(ord), "published twice");
        }
        for lane in mine {
            assert!(lanes.insert(lane), "lane {lane} in two hands");
        }
    }
    assert_eq!(events.len(), 100);
}

pub(super) async fn a_dead_workers_lanes_are_taken_over(ledger: Ledger) {
    for n in 0..3 {
        ledger.sent(job(&format!("j{n}"))).await;
    }
    let first = ledger.outbox(worker(), &[], 10).await.unwrap();
    assert_eq!(first.len(), 3);
    let heir = WorkerId::generate();
    assert!(ledger.outbox(heir, &[], 10).await.unwrap().is_empty());
    ledger.pass(seconds(11)).await;
    assert_eq!(ords(&ledger.outbox(heir, &[], 10).await.unwrap()), ords(&first));
    assert!(ledger.outbox(worker(), &[], 10).await.unwrap().is_empty(), "they are the heir's now");
}

pub(super) async fn who_leaves_hands_the_lanes_on_at_once(ledger: Ledger) {
    for n in 0..3 {
        ledger.sent(job(&format!("j{n}"))).await;
    }
    let all = ords(&ledger.outbox(worker(), &[], 10).await.unwrap());
    let heir = WorkerId::generate();
    assert!(ledger.outbox(heir, &[], 10).await.unwrap().is_empty());
    ledger.leave_outbox(worker(), &all[..1]).await.unwrap();
    assert_eq!(ords(&ledger.outbox(heir, &[], 10).await.unwrap()), all[1..]);
    ledger.leave_outbox(worker(), &[]).await.unwrap();
    assert_eq!(
        ords(&ledger.outbox(heir, &[], 10).await.unwrap()),
        all[1..],
        "nobody gives away what others hold"
    );
}

fn ords(events: &[OutboxEvent]) -> Vec<i64> {
    events.iter().map(|e| e.ord).collect()
}
