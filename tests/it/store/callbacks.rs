//! Results by HTTP: every event of a source with a callback waits, in order, for one worker at a time.

use std::collections::BTreeSet;

use jiff::Timestamp;
use outreachd::domain::ids::{EventId, MessageId, WorkerId};
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::Reason;
use outreachd::policy::callback::Health;
use outreachd::store::rows::{
    CallbackAsk, CallbackCount, CallbackFilter, CallbackRound, CallbackState, CallbacksClaimed, DueCallback,
    FailedCallback, Then,
};
use outreachd::store::rules::LedgerRules;

use super::ledger::{Ledger, rejects, worker};
use super::make::{SOURCE, cancel_job, decided, job, reject, seconds, source};

/// How long one event is tried, in seconds.
const GIVE_UP_AFTER: i64 = 3 * 24 * 3_600;

/// The ledger of a house that tells `ehr` by HTTP.
fn calling(mut ledger: Ledger) -> Ledger {
    let rules = LedgerRules { callbacks: BTreeSet::from([source(SOURCE)]), ..LedgerRules::default() };
    ledger.store = ledger.ruled(rules);
    ledger
}

async fn claim(ledger: &Ledger, worker: WorkerId) -> CallbacksClaimed {
    let ask = CallbackAsk { worker, source: source(SOURCE), room: 100 };
    let nothing = CallbacksClaimed { events: Vec::new(), failures: 0, now: Timestamp::UNIX_EPOCH };
    ledger.claim_callbacks(&ask).await.unwrap().unwrap_or(nothing)
}

fn round(worker: WorkerId, taken: &[&DueCallback], failed: Vec<FailedCallback>) -> CallbackRound {
    CallbackRound {
        worker,
        source: source(SOURCE),
        taken: taken.iter().map(|event| event.id).collect(),
        failed,
        health: Health::default(),
        give_up_after: seconds(GIVE_UP_AFTER),
    }
}

fn failed(event: &DueCallback, due_at: Option<Timestamp>) -> FailedCallback {
    FailedCallback { id: event.id, due_at, code: "http_500".to_owned() }
}

/// A round in which everything is taken: message and number of each event.
async fn all_taken(ledger: &Ledger) -> Vec<(Option<String>, u32)> {
    let claimed = claim(ledger, worker()).await;
    let taken: Vec<&DueCallback> = claimed.events.iter().collect();
    ledger.settle_callbacks(&round(worker(), &taken, Vec::new())).await.unwrap();
    claimed.events.iter().map(|event| (message_of(event), event.seq)).collect()
}

fn message_of(event: &DueCallback) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
    assert_eq!((body["id"].as_str(), body["source"].as_str()), (Some(&*event.id.to_string()), Some(SOURCE)));
    body["message_id"].as_str().map(str::to_owned)
}

/// A message with two events: that it was sent, and that it could not be taken back any more.
async fn sent_and_too_late(ledger: &Ledger, id: &str) -> MessageId {
    let message = ledger.sent(job(id)).await;
    ledger.cancel(&[cancel_job(id)]).await.unwrap();
    assert_eq!(ledger.told(message).await.len(), 2);
    message
}

pub(super) async fn every_event_of_a_source_with_a_callback_waits_to_be_posted(ledger: Ledger) {
    let ledger = calling(ledger);
    let sent = ledger.sent(job("sent")).await;
    let hand = ledger.lease(job("failed")).await;
    ledger
        .decide_one(decided(&hand, MessageStatus::Failed, Some(Reason::NoContact), ledger.now().await))
        .await;
    let cancelled = ledger.accept(job("cancelled")).await;
    ledger.cancel(&[cancel_job("cancelled")]).await.unwrap();
    let mut foreign = job("foreign");
    foreign.facts.source = source("lab");
    ledger.sent(foreign).await;
    ledger.admit(&rejects(vec![reject(b"{}", false)])).await.unwrap();
    ledger.sweep_work(100).await.unwrap();

    let mut told = all_taken(&ledger).await;
    told.extend(all_taken(&ledger).await);
    let of = |id: MessageId| {
        let id = Some(id.to_string());
        told.iter().filter(|(message, _)| *message == id).map(|(_, seq)| *seq).collect::<Vec<_>>()
    };
    assert_eq!((of(sent), of(cancelled)), (vec![1], vec![1]));
    assert_eq!(of(hand.facts.id), [1, 2], "the failure, and the work item about it");
    assert_eq!(told.iter().filter(|(message, _)| message.is_none()).count(), 1, "the refused job");
    assert_eq!(told.len(), 5, "nothing of another source");
    assert!(all_taken(&ledger).await.is_empty());
    assert_eq!(ledger.counts().await.unwrap().outbox, 6, "the broker is told all the same");
}

pub(super) async fn a_source_without_a_callback_has_nothing_to_be_posted(ledger: Ledger) {
    ledger.sent(job("j1")).await;
    assert!(claim(&ledger, worker()).await.events.is_empty());
    assert!(ledger.counts().await.unwrap().callbacks.is_empty());
}

pub(super) async fn events_of_a_message_are_posted_one_after_the_other(ledger: Ledger) {
    let ledger = calling(ledger);
    let (one, two) = (sent_and_too_late(&ledger, "j1").await, sent_and_too_late(&ledger, "j2").await);
    let first = claim(&ledger, worker()).await.events;
    assert_eq!(first.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 1]);
    // That of the first message fails: its second event waits, whatever happens to the other's.
    let later = ledger.now().await + seconds(30);
    let done = round(worker(), &[&first[1]], vec![failed(&first[0], Some(later))]);
    ledger.settle_callbacks(&done).await.unwrap();
    assert_eq!(all_taken(&ledger).await, [(Some(two.to_string()), 2)]);
    assert!(all_taken(&ledger).await.is_empty());
    ledger.pass(seconds(31)).await;
    assert_eq!(all_taken(&ledger).await, [(Some(one.to_string()), 1)]);
    assert_eq!(all_taken(&ledger).await, [(Some(one.to_string()), 2)]);
}

pub(super) async fn a_dead_event_holds_back_its_message_until_it_is_tried_again(ledger: Ledger) {
    let ledger = calling(ledger);
    let message = sent_and_too_late(&ledger, "j1").await;
    let first = claim(&ledger, worker()).await.events;
    ledger.settle_callbacks(&round(worker(), &[], vec![failed(&first[0], None)])).await.unwrap();
    ledger.pass(seconds(100_000)).await;
    assert!(all_taken(&ledger).await.is_empty(), "no gap is made");

    let counts = ledger.counts().await.unwrap().callbacks;
    assert!(matches!(&counts[..], [CallbackCount { waiting: 1, dead: 1, .. }]), "{counts:?}");
    assert!(counts[0].oldest_seconds >= 100_000.0);
    let dead = CallbackFilter { state: Some(CallbackState::Dead), limit: 10, ..CallbackFilter::default() };
    let listed = ledger.callbacks(&dead).await.unwrap();
    assert_eq!(listed.len(), 1);
    let row = &listed[0];
    assert_eq!((row.id, row.message_id, row.seq, row.tries), (first[0].id, Some(message), 1, 1));
    assert_eq!((row.kind.as_str(), row.code.as_deref()), ("message.sent", Some("http_500")));

    let of = |name| CallbackFilter { sources: vec![source(name)], limit: 10, ..dead.clone() };
    assert_eq!(ledger.retry_callbacks(&of("lab")).await.unwrap(), 0);
    assert_eq!(ledger.retry_callbacks(&of(SOURCE)).await.unwrap(), 1);
    let id = Some(message.to_string());
    assert_eq!(all_taken(&ledger).await, [(id.clone(), 1)]);
    assert_eq!(all_taken(&ledger).await, [(id, 2)]);
}

pub(super) async fn callbacks_are_found_by_every_filter(ledger: Ledger) {
    let ledger = calling(ledger);
    for n in 0..5 {
        ledger.sent(job(&format!("j{n}"))).await;
    }
    let claimed = claim(&ledger, worker()).await.events;
    let dead = vec![failed(&claimed[3], None), failed(&claimed[4], None)];
    ledger.settle_callbacks(&round(worker(), &[], dead)).await.unwrap();
    let all = CallbackFilter { limit: 3, ..CallbackFilter::default() };
    let ids = |rows: &[outreachd::store::rows::CallbackRow]| -> Vec<EventId> {
        rows.iter().map(|r| r.id).collect()
    };
    let first = ledger.callbacks(&all).await.unwrap();
    let rest = ledger.callbacks(&CallbackFilter { after: Some(first[2].id), ..all.clone() }).await.unwrap();
    let expected: Vec<EventId> = claimed.iter().map(|event| event.id).collect();
    assert_eq!([ids(&first), ids(&rest)].concat(), expected);
    for (filter, count) in [
        (CallbackFilter { state: Some(CallbackState::Dead), ..all.clone() }, 2),
        (CallbackFilter { state: Some(CallbackState::Waiting), ..all.clone() }, 3),
        (CallbackFilter { sources: vec![source("lab")], ..all.clone() }, 0),
        (CallbackFilter { sources: vec![source("lab"), source(SOURCE)], ..all.clone() }, 3),
        (CallbackFilter { ids: vec![claimed[1].id], ..all.clone() }, 1),
    ] {
        assert_eq!(ledger.callbacks(&filter).await.unwrap().len(), count, "{filter:?}");
    }
    let one = CallbackFilter { ids: vec![claimed[3].id, claimed[0].id], ..all };
    assert_eq!(ledger.retry_callbacks(&one).await.unwrap(), 1, "what is not dead is left as it is");
}

pub(super) async fn a_round_belongs_to_one_worker(ledger: Ledger) {
    let ledger = calling(ledger);
    ledger.sent(job("j1")).await;
    let other = WorkerId::generate();
    ledger.beat(worker()).await;
    let first = claim(&ledger, worker()).await.events;
    assert!(claim(&ledger, other).await.events.is_empty(), "another has it");
    ledger.pass(seconds(5)).await;
    assert!(claim(&ledger, other).await.events.is_empty(), "and lives");
    ledger.pass(seconds(6)).await;
    let taken_over = claim(&ledger, other).await.events;
    assert_eq!(taken_over[0].id, first[0].id, "a silent worker loses its round: posted again, never lost");
    // The one that was thought dead has posted it after all, and does not end the other's round.
    ledger.settle_callbacks(&round(worker(), &[&first[0]], Vec::new())).await.unwrap();
    ledger.sent(job("j2")).await;
    ledger.beat(other).await;
    assert!(claim(&ledger, worker()).await.events.is_empty(), "the other has the round still");
    ledger.settle_callbacks(&round(other, &[&taken_over[0]], Vec::new())).await.unwrap();
    assert_eq!(all_taken(&ledger).await.len(), 1);
}

pub(super) async fn a_round_that_nobody_ended_ends_by_itself(ledger: Ledger) {
    let ledger = calling(ledger);
    ledger.sent(job("j1")).await;
    let gone = WorkerId::generate();
    assert_eq!(claim(&ledger, gone).await.events.len(), 1);
    assert!(all_taken(&ledger).await.is_empty());
    ledger.pass(seconds(61)).await;
    assert_eq!(all_taken(&ledger).await.len(), 1);
}

pub(super) async fn a_receiver_that_is_away_is_asked_with_one_event_after_its_rest(ledger: Ledger) {
    let ledger = calling(ledger);
    for n in 0..5 {
        ledger.sent(job(&format!("j{n}"))).await;
    }
    let now = ledger.now().await;
    let first = claim(&ledger, worker()).await.events;
    let away = CallbackRound {
        health: Health { failures: 1, rests_until: Some(now + seconds(20)) },
        ..round(worker(), &[], vec![failed(&first[0], Some(now + seconds(5)))])
    };
    ledger.settle_callbacks(&away).await.unwrap();
    ledger.pass(seconds(10)).await;
    assert!(claim(&ledger, worker()).await.events.is_empty(), "it rests");
    ledger.pass(seconds(11)).await;
    let probe = claim(&ledger, worker()).await;
    assert_eq!((probe.events.len(), probe.failures), (1, 1));
    assert_eq!(probe.events[0].id, first[1].id, "the least tried first");
    ledger.settle_callbacks(&round(worker(), &[&probe.events[0]], Vec::new())).await.unwrap();
    assert_eq!(all_taken(&ledger).await.len(), 4, "it is back");
}

pub(super) async fn what_nothing_takes_for_too_long_is_dead_and_begins_anew(ledger: Ledger) {
    let ledger = calling(ledger);
    let message = sent_and_too_late(&ledger, "j1").await;
    ledger.sent(job("j2")).await;
    let all = CallbackFilter { limit: 10, ..CallbackFilter::default() };
    let dead = async || {
        let rows = ledger.callbacks(&all).await.unwrap();
        rows.iter().map(|row| row.dead_at.is_some()).collect::<Vec<_>>()
    };
    let away = |failures, failed| CallbackRound {
        health: Health { failures, rests_until: None },
        ..round(worker(), &[], failed)
    };
    // It was down for longer than an event is tried, and of these none was ever tried.
    ledger.pass(seconds(GIVE_UP_AFTER + 3_600)).await;
    let now = ledger.now().await;
    let first = claim(&ledger, worker()).await.events;
    ledger.settle_callbacks(&away(1, vec![failed(&first[0], Some(now))])).await.unwrap();
    assert_eq!(dead().await, [false; 3]);
    assert!(ledger.callbacks(&all).await.unwrap()[0].since >= now, "its time begins with its first try");
    ledger.pass(seconds(GIVE_UP_AFTER)).await;
    assert_eq!(claim(&ledger, worker()).await.events.len(), 1);
    ledger.settle_callbacks(&away(2, Vec::new())).await.unwrap();
    assert_eq!(dead().await, [false, true, true], "what never had its turn is given up");
    assert_eq!(ledger.retry_callbacks(&all).await.unwrap(), 2);

    // What waits behind one that is revived waits from then on.
    let again = claim(&ledger, worker()).await.events;
    assert_eq!(again[0].id, first[0].id);
    ledger.settle_callbacks(&round(worker(), &[], vec![failed(&again[0], None)])).await.unwrap();
    ledger.pass(seconds(2 * GIVE_UP_AFTER)).await;
    let now = ledger.now().await;
    assert_eq!(ledger.retry_callbacks(&all).await.unwrap(), 1);
    let rows = ledger.callbacks(&all).await.unwrap();
    let of_message: Vec<bool> =
        rows.iter().filter(|row| row.message_id == Some(message)).map(|row| row.since >= now).collect();
    assert_eq!(of_message, [true, true]);
}

pub(super) async fn while_anything_gets_through_nothing_is_given_up(ledger: Ledger) {
    let ledger = calling(ledger);
    for name in ["a", "b", "c"] {
        ledger.sent(job(name)).await;
    }
    ledger.pass(seconds(2 * GIVE_UP_AFTER + 3_600)).await;
    let first = claim(&ledger, worker()).await.events;
    let slow = CallbackRound {
        health: Health { failures: 1, rests_until: None },
        ..round(worker(), &[&first[0]], vec![failed(&first[1], Some(ledger.now().await))])
    };
    ledger.settle_callbacks(&slow).await.unwrap();
    let left = ledger.callbacks(&CallbackFilter { limit: 10, ..CallbackFilter::default() }).await.unwrap();
    assert_eq!(left.iter().map(|row| row.dead_at).collect::<Vec<_>>(), [None, None]);
}

pub(super) async fn many_workers_post_each_event_once(ledger: Ledger) {
    let ledger = calling(ledger);
    for n in 0..40 {
        ledger.sent(job(&format!("j{n}"))).await;
    }
    let mut posting = Vec::new();
    for _ in 0..4 {
        let store = ledger.store.clone();
        posting.push(tokio::spawn(async move {
            let me = WorkerId::generate();
            let mut posted = Vec::new();
            while !store.counts().await.unwrap().callbacks.is_empty() {
                let ask = CallbackAsk { worker: me, source: source(SOURCE), room: 3 };
                let Some(claimed) = store.claim_callbacks(&ask).await.unwrap() else { continue };
                let taken: Vec<&DueCallback> = claimed.events.iter().collect();
                store.settle_callbacks(&round(me, &taken, Vec::new())).await.unwrap();
                posted.extend(claimed.events.iter().map(|event| event.id));
            }
            posted
        }));
    }
    let mut all = Vec::new();
    for one in posting {
        all.extend(one.await.unwrap());
    }
    let unique: BTreeSet<EventId> = all.iter().copied().collect();
    assert_eq!((all.len(), unique.len()), (40, 40));
}

pub(super) async fn an_unknown_outcome_and_its_news_are_told_in_order(ledger: Ledger) {
    let ledger = calling(ledger);
    let (hand, attempt) = ledger.begun(job("j1")).await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::Unknown).await;
    assert!(all_taken(&ledger).await.is_empty(), "a status that is not told is not posted");
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    assert_eq!(all_taken(&ledger).await, [(Some(hand.facts.id.to_string()), 1)]);
}
