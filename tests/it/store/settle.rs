//! Results land, whenever they come, and never twice.

use outreachd::domain::failure::Failure;
use outreachd::domain::ids::AttemptId;
use outreachd::domain::receipt::Said;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason};
use outreachd::store::rows::{Admission, Begin, Settlement, Then};
use serde_json::{Value, json};

use super::ledger::{InHand, Ledger, batch, worker};
use super::make::{job, release, seconds};
use super::receive::about;

pub(super) async fn sent_is_on_record_and_told(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    let row = Settlement {
        code: Some("queued".to_owned()),
        ..ledger.settlement(&hand, attempt, AttemptStatus::Sent, Then::Sent).await
    };
    ledger.settle(&[row]).await.unwrap();
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.reason, row.due_at), (MessageStatus::Sent, None, None));
    let attempts = ledger.attempts(hand.facts.id).await.unwrap();
    assert_eq!(attempts[0].status, AttemptStatus::Sent);
    assert_eq!(
        (attempts[0].provider_ref.as_deref(), attempts[0].code.as_deref()),
        (Some("SM1"), Some("queued"))
    );
    assert!(attempts[0].settled_at.is_some());
    assert_eq!(ledger.told(hand.facts.id).await, ["message.sent.ehr"]);
    ledger.pass(seconds(3600)).await;
    assert!(claimed(&ledger).await.is_none(), "nothing more to do");
}

/// Whoever asked for a beginning and got no answer takes back whatever stands: nothing is under way without a lease.
pub(super) async fn what_may_have_begun_is_taken_back_with_its_lease(ledger: Ledger) {
    let (begun, attempt) = ledger.begun(job("a")).await;
    let other = ledger.lease(job("b")).await;
    let row = ledger.plan(&other).await;
    let failed = async |hand: &InHand, attempt| Settlement {
        failure: Some(Failure::NotSent),
        ..ledger.settlement(hand, attempt, AttemptStatus::Failed, Then::Retry(ledger.now().await)).await
    };
    let results = [failed(&begun, attempt).await, failed(&other, row.attempt).await];
    ledger.undo(&[release(&begun), release(&other)], &results).await.unwrap();

    let attempts = ledger.attempts(begun.facts.id).await.unwrap();
    assert_eq!((attempts[0].status, attempts[0].failure), (AttemptStatus::Failed, Some(Failure::NotSent)));
    assert!(ledger.attempts(other.facts.id).await.unwrap().is_empty(), "it had not begun");
    assert!(!ledger.try_begin(row).await, "and does not begin any more");
    for (channel, id) in [(Some(Channel::Sms), begun.facts.id), (None, other.facts.id)] {
        let due = ledger.claim_as(channel, Priority::Normal, 10).await.messages;
        assert_eq!(due.iter().map(|m| m.facts.id).collect::<Vec<_>>(), [id], "it is due again");
    }
}

/// Every step on the way is told to whoever wants to hear of it, once and in order.
pub(super) async fn each_status_that_is_wanted_is_told(ledger: Ledger) {
    use MessageStatus::{Accepted, Scheduled, Sending};
    let store = ledger.telling(&[Accepted, Scheduled, Sending]);
    let (soon, later) = (job("a"), Admission { due_at: Some(ledger.now().await + seconds(60)), ..job("b") });
    let (now, then) = (soon.facts.id, later.facts.id);
    store.admit(&batch(vec![soon, later], 0)).await.unwrap();
    assert_eq!(ledger.told(now).await, ["message.accepted.ehr"]);
    assert_eq!(ledger.told(then).await, ["message.scheduled.ehr"]);

    let hand: InHand = ledger.claim_new(10).await.pop().expect("due").into();
    let row = ledger.plan(&hand).await;
    let attempt = row.attempt;
    assert_eq!(store.begin(worker(), &[row]).await.unwrap().attempts, [attempt]);
    let again = ledger.now().await;
    let failed = ledger.settlement(&hand, attempt, AttemptStatus::Failed, Then::Retry(again)).await;
    store.settle(&[failed]).await.unwrap();
    let hand = claimed(&ledger).await.expect("due again");
    let row = ledger.plan(&hand).await;
    let attempt = row.attempt;
    assert_eq!(store.begin(worker(), &[row]).await.unwrap().attempts, [attempt]);
    let sent = ledger.settlement(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    store.settle(&[sent]).await.unwrap();
    assert_eq!(
        ledger.told(now).await,
        ["message.accepted.ehr", "message.sending.ehr", "message.sent.ehr"],
        "another try is no other status"
    );
}

/// What a try is reckoned at is told with what became of it, by whoever it is told.
pub(super) async fn what_is_sent_is_told_with_what_it_is_reckoned_at(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Awaits).await;
    ledger.receive(&[about(hand.facts.id, 0, "SM1", Said::Delivered)]).await.unwrap();
    let events = ledger.outbox(worker(), &[], 100).await.unwrap();
    let told: Vec<Value> = events.iter().map(|event| serde_json::from_str(&event.body).unwrap()).collect();
    let shown: Vec<Value> =
        told.iter().map(|body| json!([body["type"], body["segments"], body["cost"]])).collect();
    assert_eq!(shown, [json!(["message.sent", 1, 0.0079]), json!(["message.delivered", 1, 0.0079])]);
}

pub(super) async fn a_retry_waits_for_its_time(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    let later = ledger.now().await + seconds(30);
    ledger.settle_one(&hand, attempt, AttemptStatus::Failed, Then::Retry(later)).await;
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.due_at, row.step, row.tries), (MessageStatus::Sending, Some(later), 0, 1));
    assert_eq!(ledger.attempts(hand.facts.id).await.unwrap()[0].failure, Some(Failure::Transient));
    assert!(claimed(&ledger).await.is_none());
    ledger.pass(seconds(31)).await;
    let hand = claimed(&ledger).await.expect("due");
    assert_eq!((hand.work.step, hand.work.tries), (0, 1));
    assert!(ledger.try_begin(ledger.plan(&hand).await).await);
    assert!(ledger.told(hand.facts.id).await.is_empty());
    // What a provider puts off costs no try, nor does what never left.
    for (name, failure) in [("b", Failure::Throttled), ("c", Failure::Misconfigured), ("d", Failure::NotSent)]
    {
        let (hand, attempt) = ledger.begun(job(name)).await;
        let row = ledger.settlement(&hand, attempt, AttemptStatus::Failed, Then::Retry(later)).await;
        ledger.settle(&[Settlement { failure: Some(failure), ..row }]).await.unwrap();
        assert_eq!(ledger.row(hand.facts.id).await.tries, 0, "{failure}");
    }
}

pub(super) async fn an_unknown_outcome_waits_for_news(ledger: Ledger) {
    let store = ledger.telling(&[MessageStatus::Unknown]);
    let (hand, attempt) = ledger.begun(job("a")).await;
    let row = ledger.settlement(&hand, attempt, AttemptStatus::Unknown, Then::Unknown).await;
    store.settle(&[row]).await.unwrap();
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.reason), (MessageStatus::Unknown, Some(Reason::OutcomeUnknown)));
    assert_eq!(row.due_at, None);
    assert_eq!(ledger.told(hand.facts.id).await, ["message.unknown.ehr"]);
    // The news.
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    assert_eq!(ledger.standing(hand.facts.id).await, (MessageStatus::Sent, None));
    assert_eq!(ledger.told(hand.facts.id).await, ["message.unknown.ehr", "message.sent.ehr"]);
}

pub(super) async fn an_unknown_outcome_may_be_tried_again(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    let later = ledger.now().await + seconds(5);
    ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::UnknownRetry(later)).await;
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.due_at), (MessageStatus::Unknown, Some(later)));
    // Should it come to light that nothing had been sent, it is due as any other.
    ledger.settle_one(&hand, attempt, AttemptStatus::Failed, Then::Retry(later)).await;
    ledger.pass(seconds(6)).await;
    let hand = claimed(&ledger).await.expect("due");
    assert!(ledger.try_begin(ledger.plan(&hand).await).await);
}

pub(super) async fn a_given_up_route_leads_to_the_next_step(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    let next = Then::NextStep(Reason::InvalidAddress);
    ledger.settle_one(&hand, attempt, AttemptStatus::Failed, next).await;
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.reason), (MessageStatus::Sending, Some(Reason::InvalidAddress)));
    assert_eq!((row.step, row.tries), (1, 0));
    assert!(ledger.told(hand.facts.id).await.is_empty());
    let hand = claimed(&ledger).await.expect("due at once");
    assert_eq!(hand.work.step, 1);
}

pub(super) async fn a_late_result_lands_after_a_take_over(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    ledger.pass(seconds(61)).await;
    assert_eq!(ledger.take_over(10).await.unwrap().unknown, 1);
    assert_eq!(ledger.standing(hand.facts.id).await.0, MessageStatus::Unknown);
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    assert_eq!(ledger.standing(hand.facts.id).await, (MessageStatus::Sent, None));
    assert_eq!(ledger.told(hand.facts.id).await, ["message.sent.ehr"]);
}

pub(super) async fn two_results_for_one_message_in_one_batch_both_count(ledger: Ledger) {
    let store = ledger.telling(&[MessageStatus::Unknown]);
    let (hand, attempt) = ledger.begun(job("a")).await;
    let (other, second) = ledger.begun(job("b")).await;
    let rows = [
        ledger.settlement(&hand, attempt, AttemptStatus::Unknown, Then::Unknown).await,
        ledger.settlement(&other, second, AttemptStatus::Sent, Then::Sent).await,
        ledger.settlement(&hand, attempt, AttemptStatus::Sent, Then::Sent).await,
    ];
    store.settle(&rows).await.unwrap();
    assert_eq!(ledger.told(hand.facts.id).await, ["message.unknown.ehr", "message.sent.ehr"]);
    assert_eq!(ledger.told(other.facts.id).await, ["message.sent.ehr"]);
    assert_eq!(ledger.attempts(hand.facts.id).await.unwrap()[0].status, AttemptStatus::Sent);
}

pub(super) async fn no_result_lowers_a_status(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    let now = ledger.now().await;
    for (status, then) in [
        (AttemptStatus::Unknown, Then::UnknownRetry(now)),
        (AttemptStatus::Sending, Then::Retry(now)),
        (AttemptStatus::Failed, Then::Retry(now)),
        (AttemptStatus::Failed, Then::NextStep(Reason::Unreachable)),
    ] {
        ledger.settle_one(&hand, attempt, status, then).await;
        let row = ledger.row(hand.facts.id).await;
        assert_eq!((row.status, row.due_at), (MessageStatus::Sent, None), "{then:?}");
        assert_eq!(row.step, 0);
    }
    assert_eq!(ledger.told(hand.facts.id).await, ["message.sent.ehr"]);
}

pub(super) async fn a_result_twice_is_told_once(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    let row = ledger.settlement(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    ledger.settle(&[row.clone(), row.clone()]).await.unwrap();
    ledger.settle(&[row]).await.unwrap();
    ledger.settle(&[]).await.unwrap();
    assert_eq!(ledger.told(hand.facts.id).await, ["message.sent.ehr"]);
}

pub(super) async fn what_was_sent_is_not_tried_again(ledger: Ledger) {
    // A portal that knows repeats: the first try is unknown, the second one is under way, then news of the first.
    let (hand, first, second) = tried_twice(&ledger).await;
    ledger.settle_one(&hand, first, AttemptStatus::Sent, Then::Sent).await;
    let now = ledger.now().await;
    ledger.settle_one(&hand, second, AttemptStatus::Failed, Then::Retry(now)).await;
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.due_at), (MessageStatus::Sent, None));
    ledger.pass(seconds(3600)).await;
    ledger.take_over(10).await.unwrap();
    assert!(claimed(&ledger).await.is_none());
}

pub(super) async fn a_late_result_of_an_earlier_attempt_leaves_the_later_one_in_hand(ledger: Ledger) {
    let (hand, first, second) = tried_twice(&ledger).await;
    let now = ledger.now().await;
    ledger.settle_one(&hand, first, AttemptStatus::Failed, Then::Retry(now)).await;
    assert!(claimed(&ledger).await.is_none(), "the second attempt is still under way");
    ledger.settle_one(&hand, second, AttemptStatus::Sent, Then::Sent).await;
    assert_eq!(ledger.standing(hand.facts.id).await, (MessageStatus::Sent, None));
    ledger.release(&[release(&hand)]).await.unwrap();
    assert!(claimed(&ledger).await.is_none());
}

async fn tried_twice(ledger: &Ledger) -> (InHand, AttemptId, AttemptId) {
    let hand = ledger.lease(job("a")).await;
    let row = Begin { dedupes: true, ..ledger.plan(&hand).await };
    let first = row.attempt;
    assert!(ledger.try_begin(row).await);
    let now = ledger.now().await;
    ledger.settle_one(&hand, first, AttemptStatus::Unknown, Then::UnknownRetry(now)).await;
    let hand = claimed(ledger).await.expect("due");
    let row = Begin { dedupes: true, ..ledger.plan(&hand).await };
    let second = row.attempt;
    assert!(ledger.try_begin(row).await);
    (hand, first, second)
}

async fn claimed(ledger: &Ledger) -> Option<InHand> {
    ledger.claim_as(Some(Channel::Sms), Priority::Normal, 1).await.messages.pop().map(InHand::from)
}
