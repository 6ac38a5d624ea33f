//! What is due is leased: once, fairly, and in order.

use std::collections::HashSet;

use outreachd::domain::ids::WorkerId;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::{Channel, Priority, Reason};
use outreachd::store::rows::{Claim, LeasedMessage, MessageFilter, Release, WorkFilter};

use super::ledger::{InHand, Ledger, worker};
use super::make::{Shape, cancel_job, decided, job, release, seconds};

pub(super) async fn what_is_due_is_leased_once(ledger: Ledger) {
    let admission = job("a").about("visit").site("north");
    let (facts, body) = (admission.facts.clone(), admission.body.clone());
    ledger.accept(admission).await;
    let claimed = ledger.claim_as(None, Priority::Normal, 10).await;
    assert_eq!(claimed.messages.len(), 1);
    let message = &claimed.messages[0];
    assert_eq!((&message.facts, &message.body), (&facts, &body));
    assert_eq!((message.work.status, message.work.step, message.work.tries), (MessageStatus::Accepted, 0, 0));
    assert!(message.work.accepted_at <= claimed.now);
    assert!(ledger.claim_new(10).await.is_empty());
}

pub(super) async fn sources_take_turns(ledger: Ledger) {
    let flood = (0..50).map(|n| job(&format!("f{n}")).asked_by("flood")).collect();
    ledger.admit_all(flood, 0).await;
    for name in ["x", "y"] {
        ledger.accept(job("one").asked_by(name)).await;
        ledger.accept(job("two").asked_by(name)).await;
    }
    let claimed = ledger.claim_new(9).await;
    let of = |name: &str| claimed.iter().filter(|m| m.facts.source.as_str() == name).count();
    assert_eq!((claimed.len(), of("x"), of("y"), of("flood")), (9, 2, 2, 5));
}

pub(super) async fn where_one_finds_room_it_is_not_always_of_the_same_source(ledger: Ledger) {
    let flood = (0..50).map(|n| job(&format!("f{n}")).asked_by("flood")).collect();
    ledger.admit_all(flood, 0).await;
    ledger.accept(job("one").asked_by("lab")).await;
    // Once in a million runs it is not among them.
    let mut claimed = Vec::new();
    for _ in 0..20 {
        claimed.extend(ledger.claim_new(1).await);
    }
    let of_the_lab = claimed.iter().filter(|m| m.facts.source.as_str() == "lab").count();
    assert_eq!((claimed.len(), of_the_lab), (20, 1));
}

pub(super) async fn urgent_and_bulk_are_asked_for_apart(ledger: Ledger) {
    for priority in [Priority::Bulk, Priority::Urgent, Priority::Normal] {
        ledger.accept(job(priority.as_str()).priority(priority)).await;
    }
    for &priority in Priority::ALL {
        let claimed = ledger.claim_as(None, priority, 10).await.messages;
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].facts.priority, priority);
    }
}

pub(super) async fn channels_are_asked_for_apart(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    ledger.accept(job("b")).await;
    let parked = Release { channel: Some(Channel::Email), ..release(&hand) };
    ledger.release(&[parked]).await.unwrap();
    assert_eq!(ledger.row(hand.facts.id).await.channel, Some(Channel::Email));
    assert!(ledger.claim_as(Some(Channel::Sms), Priority::Normal, 10).await.messages.is_empty());
    let email = ledger.claim_as(Some(Channel::Email), Priority::Normal, 10).await.messages;
    assert_eq!(email.iter().map(|m| m.facts.id).collect::<Vec<_>>(), [hand.facts.id]);
    assert_eq!(ledger.claim_new(10).await.len(), 1);
}

pub(super) async fn the_oldest_due_come_first(ledger: Ledger) {
    let now = ledger.now().await;
    for n in [3, 1, 2] {
        ledger.accept(job(&format!("j{n}")).due(now + seconds(n))).await;
    }
    ledger.pass(seconds(10)).await;
    for n in [1, 2, 3] {
        let claimed = ledger.claim_new(1).await;
        assert_eq!(claimed[0].facts.job_id.as_str(), format!("j{n}"));
    }
}

pub(super) async fn two_workers_never_lease_the_same(ledger: Ledger) {
    for source in ["x", "y", "z"] {
        let jobs = (0..200).map(|n| job(&format!("j{n}")).asked_by(source)).collect();
        ledger.admit_all(jobs, 0).await;
    }
    let mut workers = Vec::new();
    for _ in 0..4 {
        let store = ledger.another();
        workers.push(tokio::spawn(async move {
            let ask =
                Claim { worker: WorkerId::generate(), channel: None, priority: Priority::Normal, room: 17 };
            let mut mine = Vec::new();
            let mut empty = 0;
            while empty < 3 {
                let claimed = store.claim(&ask).await.unwrap().messages;
                empty = if claimed.is_empty() { empty + 1 } else { 0 };
                mine.extend(claimed.into_iter().map(|m| m.facts.id));
            }
            mine
        }));
    }
    let mut seen = HashSet::new();
    for worker in workers {
        for id in worker.await.unwrap() {
            assert!(seen.insert(id), "leased twice");
        }
    }
    assert_eq!(seen.len(), 600);
}

pub(super) async fn what_is_given_back_is_due_again(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    ledger.release(&[release(&hand)]).await.unwrap();
    let claimed = ledger.claim_new(10).await;
    assert_eq!(claimed.len(), 1);
    assert!(claimed[0].work.token > hand.work.token);
    let later = ledger.now().await + seconds(60);
    let hand: InHand = claimed[0].clone().into();
    ledger.release(&[Release { due_at: Some(later), ..release(&hand) }]).await.unwrap();
    assert!(ledger.claim_new(10).await.is_empty());
    assert_eq!(ledger.row(hand.facts.id).await.due_at, Some(later));
}

pub(super) async fn a_stale_lease_gives_nothing_back(ledger: Ledger) {
    let first = ledger.lease(job("a")).await;
    ledger.release(&[release(&first)]).await.unwrap();
    let second: InHand = ledger.claim_new(1).await.remove(0).into();
    ledger.release(&[release(&first)]).await.unwrap();
    assert!(ledger.claim_new(10).await.is_empty(), "the second lease stands");
    ledger
        .decide_one(decided(&second, MessageStatus::Suppressed, Some(Reason::NoContact), ledger.now().await))
        .await;
    ledger.release(&[release(&second)]).await.unwrap();
    assert_eq!(ledger.row(second.facts.id).await.due_at, None, "nothing final becomes due");
}

pub(super) async fn a_claimed_job_that_was_cancelled_meanwhile_says_so(ledger: Ledger) {
    ledger.accept(job("a")).await;
    // As when the cancel and the job came in side by side and neither saw the other.
    ledger.cancel(&[cancel_job("b")]).await.unwrap();
    ledger.execute("UPDATE tombstones SET name = 'a'").await.unwrap();
    let claimed = ledger.claim_new(1).await;
    assert_eq!(claimed[0].work.cancelled, Some(Reason::Cancelled));
}

pub(super) async fn one_that_cannot_be_read_keeps_nobody_else_waiting(ledger: Ledger) {
    let bad = ledger.accept(job("bad")).await;
    let bulk = ledger.accept(job("bulk").priority(Priority::Bulk)).await;
    let good = ledger.accept(job("good")).await;
    let cut = "UPDATE messages SET body = substr(body, 1, 2) WHERE job_id IN ('bad', 'bulk')";
    assert_eq!(ledger.execute(cut).await.unwrap(), 2);
    let ids = |claimed: Vec<LeasedMessage>| claimed.iter().map(|m| m.facts.id).collect::<Vec<_>>();
    assert_eq!(ids(ledger.claim_new(10).await), [good]);
    assert!(ledger.claim_as(None, Priority::Bulk, 10).await.messages.is_empty());
    let held = (MessageStatus::Held, Some(Reason::Malformed));
    assert_eq!((ledger.standing(bad).await, ledger.standing(bulk).await), (held, held));
    let called = async || {
        let work = ledger.work_items(&WorkFilter { limit: 10, ..WorkFilter::default() }).await.unwrap();
        work.iter().map(|item| item.message_id).collect::<Vec<_>>()
    };
    assert_eq!(called().await, [Some(bad)]);
    // It does not come again and again, and a page that shows it shows the others too.
    assert!(ledger.claim_new(10).await.is_empty());
    let all = MessageFilter { limit: 10, ..MessageFilter::default() };
    assert_eq!(ledger.messages(&all).await.unwrap().len(), 3);

    ledger.pass(seconds(16 * 60)).await;
    assert!(ledger.claim_new(10).await.is_empty(), "still not");
    assert_eq!(called().await, [Some(bad)], "once");
    ledger
        .execute("UPDATE messages SET body = (SELECT body FROM messages WHERE job_id = 'good')")
        .await
        .unwrap();
    ledger.pass(seconds(16 * 60)).await;
    assert!(ids(ledger.claim_new(10).await).contains(&bad), "once it can be read it goes on");
}

/// As while two versions run side by side.
pub(super) async fn a_word_of_a_newer_program_keeps_nobody_else_waiting(ledger: Ledger) {
    let newer = ledger.accept(job("newer")).await;
    let good = ledger.accept(job("good")).await;
    ledger.execute("UPDATE messages SET purpose = 'tomorrow' WHERE job_id = 'newer'").await.unwrap();
    let ids = |claimed: Vec<LeasedMessage>| claimed.iter().map(|m| m.facts.id).collect::<Vec<_>>();
    assert_eq!(ids(ledger.claim_new(10).await), [good]);
    assert!(ledger.claim_new(10).await.is_empty(), "it does not come again at once");
    ledger.execute("UPDATE messages SET purpose = 'care' WHERE job_id = 'newer'").await.unwrap();
    assert!(ledger.claim_new(10).await.is_empty());
    ledger.pass(seconds(60)).await;
    assert_eq!(ids(ledger.claim_new(10).await), [newer], "whoever can read it takes it");
}

/// The plan is kept by the session: it must be good whatever the tables were when it was made, and here they were empty.
pub(super) async fn a_claim_and_a_begin_read_what_they_take_and_not_the_whole_table(ledger: Ledger) {
    ledger.claim_new(1).await;
    let many = (0..2_000).map(|n| job(&format!("j{n}"))).collect();
    ledger.admit_all(many, 0).await;
    let Some(before) = ledger.entries_read("messages").await else { return };
    // The planner has heard that next to nothing is leased.
    ledger.execute("ANALYZE messages").await.unwrap();
    for _ in 0..10 {
        assert_eq!(ledger.claim_new(5).await.len(), 5);
    }
    let read = ledger.entries_read("messages").await.unwrap() - before;
    assert!((50..2_000).contains(&read), "{read} entries read for 50 messages");
    let hands: Vec<InHand> = ledger.claim_new(500).await.into_iter().map(InHand::from).collect();
    let before = ledger.entries_read("messages").await.unwrap();
    for hands in hands[..50].chunks(5) {
        let mut rows = Vec::new();
        for hand in hands {
            rows.push(ledger.plan(hand).await);
        }
        assert_eq!(ledger.begin(worker(), &rows).await.unwrap().attempts.len(), 5);
    }
    let read = ledger.entries_read("messages").await.unwrap() - before;
    assert!(read < 2_000, "{read} entries read to begin 50 messages");
}
