//! Receipts land in whatever order they come, however often, and what follows from them happens once.

use outreachd::domain::failure::Failure;
use outreachd::domain::ids::{AttemptId, MessageId, SendKey};
use outreachd::domain::patient::Patient;
use outreachd::domain::receipt::{Receipt, Said};
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, ContactStatus, Priority, Reason, Recipient, WorkKind};
use outreachd::store::rows::{Admission, Begin, Received, Settlement, Subject, Then, WorkFilter, WorkItem};
use serde_json::Value;

use super::ledger::{InHand, Ledger, worker};
use super::make::{
    Shape, contact as a_contact, decided, job, patient, patient_id, provider, release, seconds,
};

const UNREACHABLE: Said = Said::Undelivered(Failure::Unreachable);
const BLOCKED: Said = Said::Undelivered(Failure::Blocked);
const GONE: Said = Said::Undelivered(Failure::BadAddress);

pub(super) fn about(message: MessageId, step: u16, reference: &str, said: Said) -> Receipt {
    Receipt {
        provider: provider("twilio-main"),
        key: SendKey { message, step },
        reference: Some(reference.to_owned()),
        said,
        code: match said {
            UNREACHABLE => Some("30003".to_owned()),
            Said::Undelivered(Failure::Blocked) => Some("30007".to_owned()),
            Said::Undelivered(_) => Some("30005".to_owned()),
            _ => None,
        },
        named: Vec::new(),
    }
}

impl Ledger {
    /// One receipt for the first step, with the reference that [`super::make::settlement`] gives.
    async fn hear(&self, message: MessageId, said: Said) -> Received {
        self.receive(&[about(message, 0, "SM1", said)]).await.unwrap()
    }

    /// Sends one job whose provider reports.
    async fn awaited(&self, id: &str) -> (InHand, AttemptId) {
        let (hand, attempt) = self.begun(job(id)).await;
        self.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Awaits).await;
        (hand, attempt)
    }

    /// What was told of a message: status and whether it is final.
    async fn finals(&self, message: MessageId) -> Vec<(String, bool)> {
        self.told(message).await;
        let events = self.outbox(worker(), &[], 10_000).await.unwrap();
        let bodies = events.iter().map(|event| serde_json::from_str::<Value>(&event.body).unwrap());
        bodies
            .filter(|body| body["message_id"] == message.to_string())
            .map(|body| (body["type"].as_str().unwrap().to_owned(), body["final"].as_bool().unwrap()))
            .collect()
    }

    async fn claimed(&self) -> Option<InHand> {
        self.claim_as(Some(Channel::Sms), Priority::Normal, 1).await.messages.pop().map(InHand::from)
    }
}

fn told(list: &[(&str, bool)]) -> Vec<(String, bool)> {
    list.iter().map(|(kind, is_final)| ((*kind).to_owned(), *is_final)).collect()
}

fn one(moved: u32, known: u32, parked: u32) -> Received {
    Received { moved, known, parked, let_go: 0 }
}

pub(super) async fn what_has_come_is_awaited_no_more(ledger: Ledger) {
    let awaited = async || ledger.execute("UPDATE awaited SET until = until").await.unwrap();
    let (first, _) = ledger.awaited("a").await;
    let (_, attempt) = ledger.awaited("b").await;
    let (lost, _) = ledger.begun(job("lost")).await;
    ledger.awaited("c").await;
    assert_eq!(awaited().await, 3);
    ledger.hear(first.facts.id, Said::Delivered).await;
    assert_eq!(awaited().await, 2);
    // Whatever else ends the wait, its row goes when it is over; what is late is told once.
    let sql = format!(
        "UPDATE messages SET receipt_by = NULL WHERE id = (SELECT message_id FROM attempts WHERE id = '{}')",
        attempt.0
    );
    ledger.execute(&sql).await.unwrap();
    ledger.pass(seconds(73 * 3_600)).await;
    assert_eq!(ledger.end_receipt_waits(10).await.unwrap(), 2);
    assert_eq!(ledger.end_receipt_waits(10).await.unwrap(), 0);
    assert_eq!(awaited().await, 0);
    assert_eq!(ledger.standing(lost.facts.id).await.0, MessageStatus::Sending);
}

pub(super) async fn a_receipt_moves_its_message_and_is_told(ledger: Ledger) {
    let (hand, _) = ledger.awaited("a").await;
    let id = hand.facts.id;
    let row = ledger.row(id).await;
    assert_eq!((row.status, row.due_at), (MessageStatus::Sent, None));
    assert!(row.receipt_by.is_some_and(|by| by > row.changed_at + seconds(71 * 3_600)));
    assert_eq!(ledger.hear(id, Said::Sent).await, one(0, 1, 0), "known already");
    assert_eq!(ledger.hear(id, Said::Delivered).await, one(1, 0, 0));
    let row = ledger.row(id).await;
    assert_eq!(
        (row.status, row.reason, row.due_at, row.receipt_by),
        (MessageStatus::Delivered, None, None, None)
    );
    // Again, late, and less: nothing moves.
    for said in [Said::Delivered, Said::Sent, UNREACHABLE] {
        assert_eq!(ledger.hear(id, said).await, one(0, 1, 0), "{said:?}");
    }
    assert_eq!(ledger.hear(id, Said::Read).await, one(1, 0, 0));
    assert_eq!(
        ledger.finals(id).await,
        told(&[("message.sent", false), ("message.delivered", true), ("message.read", true)])
    );
    assert!(ledger.claimed().await.is_none());
}

pub(super) async fn a_receipt_that_comes_before_the_answer_lands(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    let id = hand.facts.id;
    assert_eq!(ledger.hear(id, Said::Delivered).await, one(1, 0, 0));
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Awaits).await;
    let row = ledger.row(id).await;
    assert_eq!((row.status, row.due_at, row.receipt_by), (MessageStatus::Delivered, None, None));
    let attempts = ledger.attempts(id).await.unwrap();
    assert_eq!(
        (attempts[0].status, attempts[0].provider_ref.as_deref()),
        (AttemptStatus::Delivered, Some("SM1"))
    );
    ledger.release(&[release(&hand)]).await.unwrap();
    assert!(ledger.claimed().await.is_none());
    assert_eq!(ledger.finals(id).await, told(&[("message.delivered", true)]));
}

pub(super) async fn an_unknown_outcome_is_settled_by_a_receipt(ledger: Ledger) {
    for (name, said, status, due) in [
        ("a", Said::Sent, MessageStatus::Sent, false),
        ("b", Said::Delivered, MessageStatus::Delivered, false),
        ("c", GONE, MessageStatus::Sent, true),
    ] {
        let (hand, attempt) = ledger.begun(job(name)).await;
        let id = hand.facts.id;
        ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::Unknown).await;
        assert_eq!(ledger.hear(id, said).await, one(1, 0, 0));
        let row = ledger.row(id).await;
        assert_eq!((row.status, row.due_at.is_some()), (status, due), "{said:?}");
        assert_eq!(row.receipt_by.is_some(), said == Said::Sent);
        assert_eq!(ledger.attempts(id).await.unwrap().len(), 1, "nothing is sent again");
    }
}

/// Every order of six things (Heap's algorithm).
fn orders(six: [Said; 6]) -> Vec<[Said; 6]> {
    fn go(k: usize, six: &mut [Said; 6], all: &mut Vec<[Said; 6]>) {
        if k == 1 {
            return all.push(*six);
        }
        for i in 0..k {
            go(k - 1, six, all);
            six.swap(if k.is_multiple_of(2) { i } else { 0 }, k - 1);
        }
    }
    let mut all = Vec::new();
    go(6, &mut six.clone(), &mut all);
    all
}

/// One message for each of the 720 orders; the answer to the send comes after `answer_after` receipts, and each
/// receipt comes twice.
async fn play(ledger: &Ledger, six: [Said; 6], answer_after: usize, name: &str) -> Vec<MessageId> {
    let orders = orders(six);
    assert_eq!(orders.len(), 720);
    let jobs: Vec<_> = (0..orders.len()).map(|n| job(&format!("{name}-{n}"))).collect();
    let facts: Vec<_> = jobs.iter().map(|job| std::sync::Arc::new(job.facts.clone())).collect();
    let report = ledger.admit_all(jobs, orders.len()).await;
    let hands: Vec<InHand> = report
        .leased
        .iter()
        .map(|l| InHand { facts: facts[l.place].clone(), work: l.work.clone() })
        .collect();
    let plan = ledger.plan(&hands[0]).await;
    let begins: Vec<Begin> = hands
        .iter()
        .map(|hand| Begin {
            facts: hand.facts.clone(),
            token: hand.work.token,
            attempt: AttemptId::generate(),
            ..plan.clone()
        })
        .collect();
    assert_eq!(ledger.begin(worker(), &begins).await.unwrap().attempts.len(), 720);
    for turn in 0..=6 {
        if turn == answer_after {
            let now = ledger.now().await;
            let answers: Vec<Settlement> = hands
                .iter()
                .zip(&begins)
                .map(|(hand, begin)| {
                    super::make::settlement(hand, begin.attempt, AttemptStatus::Sent, Then::Awaits, now)
                })
                .collect();
            ledger.settle(&answers).await.unwrap();
        }
        if turn < 6 {
            let receipts: Vec<Receipt> = hands
                .iter()
                .zip(&orders)
                .map(|(hand, order)| about(hand.facts.id, 0, "SM1", order[turn]))
                .collect();
            ledger.receive(&receipts).await.unwrap();
            assert_eq!(ledger.receive(&receipts).await.unwrap().moved, 0, "a repeat moves nothing");
        }
    }
    hands.iter().map(|hand| hand.facts.id).collect()
}

pub(super) async fn all_orders_of_six_receipts_end_alike(ledger: Ledger) {
    for answer_after in [0, 3, 6] {
        let six = [Said::Sent, Said::Sent, UNREACHABLE, Said::Delivered, Said::Delivered, Said::Read];
        // All of them are counted below; what each has told is looked at in one of eleven.
        for id in
            play(&ledger, six, answer_after, &format!("read-{answer_after}")).await.into_iter().step_by(11)
        {
            let row = ledger.row(id).await;
            assert_eq!((row.status, row.reason, row.due_at), (MessageStatus::Read, None, None));
            assert_eq!(row.receipt_by, None);
            let attempts = ledger.attempts(id).await.unwrap();
            assert_eq!(attempts.len(), 1);
            assert_eq!((attempts[0].status, attempts[0].failure), (AttemptStatus::Read, None));
            let told = ledger.told(id).await;
            assert_eq!(told.last().map(String::as_str), Some("message.read.ehr"));
            assert_eq!(told.iter().filter(|key| *key == "message.read.ehr").count(), 1);
        }
    }
    let same = [
        "UPDATE messages SET step = step WHERE status = 'read' AND reason IS NULL AND due_at IS NULL AND receipt_by IS NULL",
        "UPDATE attempts SET step = step WHERE status = 'read' AND failure IS NULL",
    ];
    for sql in same {
        assert_eq!(ledger.execute(sql).await.unwrap(), 3 * 720, "{sql}");
    }
    assert!(ledger.claimed().await.is_none(), "nothing is due");
}

pub(super) async fn receipts_with_an_undelivered_one_end_alike_in_all_orders(ledger: Ledger) {
    for answer_after in [0, 2, 6] {
        // Two failures: the one that says more of the number stands, and the contact is judged by that one alone.
        let six = [Said::Sent, Said::Sent, BLOCKED, UNREACHABLE, UNREACHABLE, BLOCKED];
        let all = play(&ledger, six, answer_after, &format!("undelivered-{answer_after}")).await;
        for id in all.into_iter().step_by(11) {
            let row = ledger.row(id).await;
            assert_eq!((row.status, row.reason), (MessageStatus::Sent, Some(Reason::Unreachable)));
            assert_eq!((row.step, row.tries, row.receipt_by), (1, 0, None), "one step on, once");
            assert!(row.due_at.is_some());
            assert_eq!(ledger.told(id).await, ["message.sent.ehr"]);
            let attempt = ledger.attempts(id).await.unwrap().remove(0);
            assert_eq!(
                (attempt.failure, attempt.code.as_deref()),
                (Some(Failure::Unreachable), Some("30003"))
            );
        }
    }
    let same = [
        "UPDATE messages SET step = step WHERE status = 'sent' AND reason = 'unreachable' AND step = 1 AND tries = 0
             AND receipt_by IS NULL AND due_at IS NOT NULL",
        "UPDATE attempts SET step = step WHERE failure = 'unreachable' AND code = '30003'",
    ];
    for sql in same {
        assert_eq!(ledger.execute(sql).await.unwrap(), 3 * 720, "{sql}");
    }
    // A mail that its relay calls delivered may come back all the same, and whoever opens it has it.
    for (name, order) in [("m1", [Said::Delivered, GONE]), ("m2", [GONE, Said::Delivered])] {
        let (hand, _) = ledger.awaited(name).await;
        let id = hand.facts.id;
        ledger
            .execute(&format!("UPDATE attempts SET channel = 'email' WHERE message_id = '{id}'"))
            .await
            .unwrap();
        for said in order.into_iter().chain(order) {
            ledger.hear(id, said).await;
        }
        let attempt = ledger.attempts(id).await.unwrap().remove(0);
        assert_eq!(
            (attempt.status, attempt.failure),
            (AttemptStatus::Undelivered, Some(Failure::BadAddress))
        );
        let faults = format!("UPDATE contact_faults SET code = code WHERE attempt_id = '{}'", attempt.id);
        assert_eq!(ledger.execute(&faults).await.unwrap(), 1, "it counts against the address");
        ledger.hear(id, Said::Read).await;
        ledger.hear(id, GONE).await;
        let attempt = ledger.attempts(id).await.unwrap().remove(0);
        assert_eq!((attempt.status, attempt.failure), (AttemptStatus::Read, None));
        assert_eq!(ledger.execute(&faults).await.unwrap(), 0);
    }
    let faults = "UPDATE contact_faults SET code = code WHERE failure = 'unreachable' AND code = '30003'";
    assert_eq!(ledger.execute(faults).await.unwrap(), 3 * 720);
    assert_eq!(ledger.execute("UPDATE contact_faults SET code = code").await.unwrap(), 3 * 720);
}

pub(super) async fn what_is_undelivered_goes_its_next_way(ledger: Ledger) {
    let (hand, _) = ledger.awaited("a").await;
    let id = hand.facts.id;
    assert_eq!(ledger.hear(id, UNREACHABLE).await, one(1, 0, 0));
    let hand = ledger.claimed().await.expect("due at once");
    assert_eq!((hand.work.status, hand.work.step, hand.work.tries), (MessageStatus::Sent, 1, 0));
    let directory = ledger.directory(&[super::ledger::subject(&hand)]).await.unwrap();
    let tried: Vec<Reason> = directory.entries[0].tried.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(tried, [Reason::Unreachable]);
    // Held for the night it stays what it is, and is not told as sent again.
    let until = ledger.now().await + seconds(60);
    let held = decided(&hand, MessageStatus::Sent, Some(Reason::QuietHours), ledger.now().await);
    ledger.decide_one(outreachd::store::rows::Decided { due_at: Some(until), ..held }).await;
    assert!(ledger.claimed().await.is_none());
    ledger.pass(seconds(61)).await;
    let hand = ledger.claimed().await.expect("due again");
    let row = ledger.plan(&hand).await;
    let attempt = row.attempt;
    assert!(ledger.try_begin(row).await);
    let answer = Settlement {
        provider_ref: Some("SM2".to_owned()),
        ..ledger.settlement(&hand, attempt, AttemptStatus::Sent, Then::Awaits).await
    };
    ledger.settle(&[answer]).await.unwrap();
    let row = ledger.row(id).await;
    assert_eq!((row.status, row.reason, row.due_at), (MessageStatus::Sent, None, None));
    assert!(row.receipt_by.is_some());
    let receipt = about(id, 1, "SM2", Said::Delivered);
    assert_eq!(ledger.receive(&[receipt]).await.unwrap(), one(1, 0, 0));
    assert_eq!(
        ledger.finals(id).await,
        told(&[("message.sent", false), ("message.sent", false), ("message.delivered", true)])
    );
}

/// What a message was told as: whether it came back, and why.
async fn told_as(ledger: &Ledger, id: MessageId) -> Vec<(String, bool, Option<String>)> {
    ledger.told(id).await;
    let events = ledger.outbox(worker(), &[], 10_000).await.unwrap();
    let bodies = events.iter().map(|event| serde_json::from_str::<Value>(&event.body).unwrap());
    let of_it = bodies.filter(|body| body["message_id"] == id.to_string() && !body["status"].is_null());
    of_it
        .map(|body| {
            let reason = body["reason"].as_str().map(str::to_owned);
            (body["status"].as_str().unwrap().to_owned(), body["came_back"] == true, reason)
        })
        .collect()
}

async fn open_items(ledger: &Ledger, id: MessageId) -> Vec<WorkItem> {
    let filter = WorkFilter { message: Some(id), limit: 10, ..WorkFilter::default() };
    ledger.work_items(&filter).await.unwrap()
}

/// A mail that its relay has called delivered.
async fn delivered_mail(ledger: &Ledger, admission: Admission) -> MessageId {
    let (hand, attempt) = ledger.begun(admission).await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Awaits).await;
    let id = hand.facts.id;
    let is_mail = format!("UPDATE attempts SET channel = 'email' WHERE message_id = '{id}'");
    ledger.execute(&is_mail).await.unwrap();
    ledger.hear(id, Said::Delivered).await;
    assert_eq!(ledger.standing(id).await, (MessageStatus::Delivered, None));
    id
}

/// The next way, as far as the provider's answer.
async fn next_way(ledger: &Ledger, answer: AttemptStatus, then: Then) -> u16 {
    let hand = ledger.claimed().await.expect("its next way is due");
    assert_eq!((hand.work.status, hand.work.reached), (MessageStatus::Delivered, false));
    let row = ledger.plan(&hand).await;
    let (attempt, step) = (row.attempt, row.step);
    assert!(ledger.try_begin(row).await);
    let answer = Settlement {
        provider_ref: Some(format!("SM{}", step + 1)),
        ..ledger.settlement(&hand, attempt, answer, then).await
    };
    ledger.settle(&[answer]).await.unwrap();
    step
}

pub(super) async fn what_was_told_as_delivered_and_comes_back_goes_on(ledger: Ledger) {
    let id = delivered_mail(&ledger, job("a")).await;
    assert_eq!(ledger.hear(id, GONE).await, one(1, 0, 0));
    assert_eq!(ledger.hear(id, GONE).await, one(0, 1, 0), "known");
    assert_eq!(ledger.hear(id, Said::Delivered).await, one(0, 1, 0), "a bounce says more");
    assert_eq!(ledger.standing(id).await, (MessageStatus::Delivered, Some(Reason::InvalidAddress)));
    let so_far = [
        ("sent".to_owned(), false, None),
        ("delivered".to_owned(), false, None),
        ("delivered".to_owned(), true, Some("invalid_address".to_owned())),
    ];
    assert_eq!(told_as(&ledger, id).await, so_far);
    let items = open_items(&ledger, id).await;
    let [item] = &items[..] else { panic!("one item: {items:?}") };
    assert_eq!(item.kind, WorkKind::CameBack);
    assert_eq!(item.due_at.duration_since(item.opened_at), seconds(4 * 3_600));
    assert_eq!(ledger.sweep_work(10).await.unwrap().opened.len(), 1);

    // One way takes it and loses it, the next one is due; nobody is told of that.
    assert_eq!(next_way(&ledger, AttemptStatus::Sent, Then::Awaits).await, 1);
    assert!(ledger.claimed().await.is_none());
    assert!(ledger.sweep_work(10).await.unwrap().resolved.is_empty(), "sent is not delivered");
    assert_eq!(ledger.receive(&[about(id, 1, "SM2", UNREACHABLE)]).await.unwrap(), one(1, 0, 0));
    assert_eq!(next_way(&ledger, AttemptStatus::Sent, Then::Awaits).await, 2);
    assert_eq!(told_as(&ledger, id).await.len(), 3);
    // It arrives.
    assert_eq!(ledger.receive(&[about(id, 2, "SM3", Said::Delivered)]).await.unwrap(), one(1, 0, 0));
    assert_eq!(ledger.standing(id).await, (MessageStatus::Delivered, None));
    let told = told_as(&ledger, id).await;
    assert_eq!(told.last(), Some(&("delivered".to_owned(), false, None)));
    assert!(ledger.claimed().await.is_none());
    assert_eq!(ledger.sweep_work(10).await.unwrap().resolved.len(), 1, "and nobody need call");
    // Now that somebody has it, a weightier bounce of the mail is no news.
    let stopped = Said::Undelivered(Failure::OptedOut);
    assert_eq!(ledger.hear(id, stopped).await, one(1, 0, 0));
    assert_eq!(ledger.standing(id).await, (MessageStatus::Delivered, None));
    assert!(ledger.claimed().await.is_none() && open_items(&ledger, id).await.is_empty());
    assert_eq!(ledger.finals(id).await.iter().filter(|(kind, _)| kind == "message.delivered").count(), 3);
}

pub(super) async fn of_what_came_back_and_has_no_way_left_people_know(ledger: Ledger) {
    // The plan ends where it stands, without a word: it was said, and people have it until somebody reads it.
    let id = delivered_mail(&ledger, job("a")).await;
    ledger.hear(id, GONE).await;
    let hand = ledger.claimed().await.expect("due at once");
    let now = ledger.now().await;
    ledger.decide_one(decided(&hand, MessageStatus::Delivered, Some(Reason::InvalidAddress), now)).await;
    assert_eq!(ledger.standing(id).await, (MessageStatus::Delivered, Some(Reason::InvalidAddress)));
    ledger.sweep_work(10).await.unwrap();
    assert!(ledger.sweep_work(10).await.unwrap().is_empty(), "open until a person closes it");
    assert!(ledger.claimed().await.is_none());
    assert_eq!(ledger.hear(id, Said::Read).await, one(1, 0, 0));
    assert_eq!(ledger.sweep_work(10).await.unwrap().resolved.len(), 1);

    // Another way is under way: it is told, and nothing more is sent until that has failed.
    let id = delivered_mail(&ledger, job("b")).await;
    let other = format!("UPDATE messages SET step = 1, due_at = accepted_at WHERE id = '{id}'");
    ledger.execute(&other).await.unwrap();
    let hand = ledger.claimed().await.expect("a plan that goes on");
    assert!(hand.work.reached, "the mail is there");
    let row = Begin { step: 1, ..ledger.plan(&hand).await };
    let attempt = row.attempt;
    ledger
        .execute(&format!("UPDATE attempts SET awaits = 'answered' WHERE message_id = '{id}'"))
        .await
        .unwrap();
    assert!(ledger.try_begin(row).await);
    assert_eq!(ledger.hear(id, GONE).await, one(1, 0, 0));
    assert_eq!(open_items(&ledger, id).await.len(), 1);
    assert!(ledger.claimed().await.is_none(), "a text is on its way");
    let answer = Settlement {
        provider_ref: Some("SM2".to_owned()),
        ..ledger.settlement(&hand, attempt, AttemptStatus::Sent, Then::Awaits).await
    };
    ledger.settle(&[answer]).await.unwrap();
    assert!(ledger.claimed().await.is_none());
    assert_eq!(ledger.receive(&[about(id, 1, "SM2", UNREACHABLE)]).await.unwrap().moved, 1);
    assert_eq!(next_way(&ledger, AttemptStatus::Sent, Then::Sent).await, 2);

    // Bulk calls nobody, and is told all the same; so is a test.
    let mut test = job("t");
    test.facts.test = true;
    for admission in [job("c").priority(Priority::Bulk), test] {
        let id = delivered_mail(&ledger, admission).await;
        ledger.hear(id, GONE).await;
        assert!(open_items(&ledger, id).await.is_empty());
        assert!(told_as(&ledger, id).await.last().is_some_and(|(_, came_back, _)| *came_back));
    }

    // What it carried was told as read with it.
    let carrier = delivered_mail(&ledger, job("d")).await;
    let rider = ledger.accept(job("e")).await;
    let attempt = ledger.attempts(carrier).await.unwrap().remove(0).id;
    let rode = format!(
        "UPDATE messages SET status = 'cancelled', reason = 'merged', due_at = NULL, merged_into = '{carrier}', \
         last_attempt = '{attempt}' WHERE id = '{rider}'"
    );
    ledger.execute(&rode).await.unwrap();
    ledger.hear(carrier, GONE).await;
    assert_eq!(open_items(&ledger, rider).await.len(), 1);
    assert_eq!(ledger.standing(rider).await.0, MessageStatus::Cancelled);
}

pub(super) async fn a_message_whose_last_way_is_gone_has_failed(ledger: Ledger) {
    let (hand, _) = ledger.awaited("a").await;
    let id = hand.facts.id;
    ledger.hear(id, GONE).await;
    let hand = ledger.claimed().await.expect("due at once");
    let failed = decided(&hand, MessageStatus::Failed, Some(Reason::InvalidAddress), ledger.now().await);
    ledger.decide_one(failed).await;
    assert_eq!(ledger.standing(id).await, (MessageStatus::Failed, Some(Reason::InvalidAddress)));
    assert_eq!(ledger.finals(id).await, told(&[("message.sent", false), ("message.failed", true)]));
    // It had arrived after all.
    assert_eq!(ledger.hear(id, Said::Delivered).await, one(1, 0, 0));
    assert_eq!(ledger.standing(id).await, (MessageStatus::Delivered, None));
}

pub(super) async fn a_second_way_that_is_lost_calls_people(ledger: Ledger) {
    let (hand, _) = ledger.awaited("a").await;
    let id = hand.facts.id;
    ledger.hear(id, UNREACHABLE).await;
    let hand = ledger.claimed().await.expect("due at once");
    let row = ledger.plan(&hand).await;
    let attempt = row.attempt;
    assert!(ledger.try_begin(row).await);
    ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::Unknown).await;
    let row = ledger.row(id).await;
    assert_eq!((row.status, row.due_at), (MessageStatus::Sent, None));
    assert!(row.receipt_by.is_some(), "I2: it has a deadline");
    ledger.pass(seconds(73 * 3_600)).await;
    assert_eq!(ledger.end_receipt_waits(10).await.unwrap(), 1);
    assert_eq!(ledger.standing(id).await, (MessageStatus::Sent, Some(Reason::OutcomeUnknown)));
    assert_eq!(ledger.finals(id).await.last(), Some(&("message.sent".to_owned(), true)));
    ledger.sweep_work(10).await.unwrap();
    ledger.sweep_work(10).await.unwrap();
    let filter = WorkFilter { message: Some(id), limit: 10, ..WorkFilter::default() };
    assert_eq!(ledger.work_items(&filter).await.unwrap().len(), 1, "open, and not closed by itself");
}

pub(super) async fn what_goes_on_survives_its_worker(ledger: Ledger) {
    // Given back, and taken over: still due. Begun and left behind: waits for a receipt of the second way.
    let (hand, _) = ledger.awaited("a").await;
    let id = hand.facts.id;
    ledger.hear(id, UNREACHABLE).await;
    let hand = ledger.claimed().await.expect("due at once");
    ledger.release(&[release(&hand)]).await.unwrap();
    ledger.claimed().await.expect("due again");
    ledger.pass(seconds(61)).await;
    assert_eq!(ledger.take_over(10).await.unwrap().released, 1);
    let hand = ledger.claimed().await.expect("due once more");
    let row = ledger.plan(&hand).await;
    assert!(ledger.try_begin(row).await);
    ledger.pass(seconds(61)).await;
    assert_eq!(ledger.take_over(10).await.unwrap().unknown, 1);
    let row = ledger.row(id).await;
    assert_eq!((row.status, row.due_at), (MessageStatus::Sent, None));
    assert!(row.receipt_by.is_some());
    assert!(ledger.claimed().await.is_none(), "not sent again blindly");
    assert_eq!(ledger.receive(&[about(id, 1, "SM2", Said::Delivered)]).await.unwrap().moved, 1);
    assert_eq!(ledger.standing(id).await.0, MessageStatus::Delivered);
}

pub(super) async fn one_that_finds_nothing_is_kept_and_matched(ledger: Ledger) {
    let admission = job("a");
    let id = admission.facts.id;
    // Of a message that is not there, and of an attempt by somebody else.
    assert_eq!(ledger.hear(id, Said::Delivered).await, one(0, 0, 1));
    assert_eq!(ledger.hear(id, Said::Delivered).await, one(0, 1, 0));
    assert_eq!(ledger.match_receipts(10).await.unwrap(), 0);
    assert_eq!(ledger.execute("UPDATE receipts SET step = step").await.unwrap(), 1, "kept once");
    let (hand, attempt) = ledger.begun(admission).await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Awaits).await;
    assert_eq!(ledger.match_receipts(10).await.unwrap(), 1);
    assert_eq!(ledger.standing(id).await.0, MessageStatus::Delivered);
    assert_eq!(ledger.execute("UPDATE receipts SET step = step").await.unwrap(), 0);
    // Another reference is another attempt's, another provider's key is none of ours.
    let strange = about(id, 0, "SM9", Said::Read);
    let other = Receipt { provider: provider("other"), ..about(id, 0, "SM1", Said::Read) };
    assert_eq!(ledger.receive(&[strange, other]).await.unwrap(), one(0, 0, 2));
    assert_eq!(ledger.standing(id).await.0, MessageStatus::Delivered);
    ledger.pass(seconds(49 * 3_600)).await;
    ledger.match_receipts(10).await.unwrap();
    assert_eq!(ledger.execute("UPDATE receipts SET step = step").await.unwrap(), 0, "not for ever");
}

pub(super) async fn no_receipt_in_time_and_sent_is_final(ledger: Ledger) {
    let (hand, _) = ledger.awaited("a").await;
    let id = hand.facts.id;
    assert_eq!(ledger.end_receipt_waits(10).await.unwrap(), 0);
    ledger.pass(seconds(73 * 3_600)).await;
    assert_eq!(ledger.end_receipt_waits(10).await.unwrap(), 1);
    assert_eq!(ledger.end_receipt_waits(10).await.unwrap(), 0);
    let row = ledger.row(id).await;
    assert_eq!((row.status, row.reason, row.receipt_by), (MessageStatus::Sent, None, None));
    assert_eq!(ledger.finals(id).await, told(&[("message.sent", false), ("message.sent", true)]));
    assert_eq!(ledger.hear(id, Said::Delivered).await, one(1, 0, 0), "late is better than never");
    assert_eq!(ledger.standing(id).await.0, MessageStatus::Delivered);
}

pub(super) async fn what_does_not_report_is_final_at_once(ledger: Ledger) {
    let id = ledger.sent(job("a")).await;
    assert_eq!(ledger.row(id).await.receipt_by, None);
    assert_eq!(ledger.finals(id).await, told(&[("message.sent", true)]));
}

async fn contact(ledger: &Ledger) -> (ContactStatus, Patient) {
    let patient = ledger.patient(&super::make::patient_id("P1")).await.unwrap().expect("on record");
    (patient.contacts[0].status, patient)
}

pub(super) async fn a_contact_that_fails_again_is_given_up(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let (first, _) = ledger.awaited("a").await;
    ledger.hear(first.facts.id, GONE).await;
    assert_eq!(ledger.judge_contacts(10).await.unwrap(), 0, "once proves nothing");
    // Planned on the contact as it was.
    let waiting = ledger.lease(job("w")).await;
    let planned = ledger.plan(&waiting).await;
    ledger.pass(seconds(2 * 3_600)).await;
    // The second time it is said at once, when it is sent, for somebody to read who stands in for them.
    let second = ledger.lease(job("b")).await;
    let row = Begin { recipient: Recipient::Proxy, ..ledger.plan(&second).await };
    let attempt = row.attempt;
    assert!(ledger.try_begin(row).await);
    let refused = Settlement {
        failure: Some(Failure::BadAddress),
        code: Some("21211".to_owned()),
        ..ledger
            .settlement(&second, attempt, AttemptStatus::Failed, Then::NextStep(Reason::InvalidAddress))
            .await
    };
    ledger.settle(&[refused.clone(), refused]).await.unwrap();
    assert_eq!(contact(&ledger).await.0, ContactStatus::Ok);
    assert_eq!(ledger.judge_contacts(10).await.unwrap(), 1);
    assert_eq!(ledger.judge_contacts(10).await.unwrap(), 0);
    assert_eq!(contact(&ledger).await.0, ContactStatus::Bad);
    assert_eq!(ledger.told(second.facts.id).await, ["contact.bad.ehr"]);
    let events = ledger.outbox(worker(), &[], 100).await.unwrap();
    let bad = events.iter().find(|event| event.routing_key == "contact.bad.ehr").unwrap();
    assert!(bad.body.contains("\"recipient\":\"proxy\""), "{}", bad.body);
    assert!(!ledger.try_begin(planned).await, "what was planned on it is planned anew");
    let id = second.facts.id;
    let kept = format!(
        "UPDATE messages SET about = about WHERE id = '{id}' AND EXISTS (SELECT 1 FROM preference_changes
         WHERE patient_id = 'P1' AND changed_by = 'outreachd' AND what = 'contact sms bad'
         AND evidence = 'bad_address, code 21211, message {id}')"
    );
    assert_eq!(ledger.execute(&kept).await.unwrap(), 1, "on record in its words");
    // The same record sent once more knows less than we do, and a later one that says nothing of it knows no more; one
    // that calls it good knows better.
    only_a_newer_record_that_says_so_makes_good(&ledger, async || contact(&ledger).await.0).await;
}

pub(super) async fn what_cannot_be_read_keeps_no_other_contact_from_being_judged(ledger: Ledger) {
    let people = ["P1", "P2", "P3"];
    ledger.upsert_patients(people.map(|id| patient(id, "2026-01-01T00:00:00Z")).to_vec()).await.unwrap();
    for round in ["first", "again"] {
        assert_eq!(ledger.judge_contacts(10).await.unwrap(), 0);
        ledger.pass(seconds(2 * 3_600)).await;
        for of in people {
            let (hand, attempt) = ledger.begun(job(&format!("{round}-{of}")).patient(of)).await;
            ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Awaits).await;
            ledger.hear(hand.facts.id, GONE).await;
        }
    }
    for cut in [
        "UPDATE messages SET body = substr(body, 1, 2) WHERE job_id = 'again-P1'",
        "UPDATE patients SET document = substr(document, 1, 2) WHERE id = 'P2'",
    ] {
        assert_eq!(ledger.execute(cut).await.unwrap(), 1);
    }
    assert_eq!(ledger.judge_contacts(10).await.unwrap(), 1);
    assert_eq!(ledger.judge_contacts(10).await.unwrap(), 0);
    let judged = ledger.patient(&patient_id("P3")).await.unwrap().unwrap();
    assert_eq!(judged.contacts[0].status, ContactStatus::Bad);
}

/// Sends P1's record again and again; `status` is how the contact stands.
async fn only_a_newer_record_that_says_so_makes_good(
    ledger: &Ledger,
    status: impl AsyncFn() -> ContactStatus,
) {
    for (updated_at, says_status, expected) in [
        ("2026-01-02T00:00:00Z", true, ContactStatus::Bad),
        ("2098-01-01T00:00:00Z", false, ContactStatus::Bad),
        ("2098-01-02T00:00:00Z", true, ContactStatus::Ok),
    ] {
        let mut sent = patient("P1", updated_at);
        sent.contacts[0].says_status = says_status;
        ledger.upsert_patients(vec![sent]).await.unwrap();
        assert_eq!(status().await, expected, "{updated_at}");
    }
}

/// How a snapshot with [`super::make::PHONE`] stands for somebody; the revision that is planned on.
async fn snapshot_of(ledger: &Ledger, name: &str) -> (ContactStatus, i64) {
    let snapshot = patient(name, "2026-01-01T00:00:00Z");
    let subject = Subject {
        message: job("q").facts.id,
        patient: patient_id(name),
        inline_addresses: snapshot.addresses().cloned().collect(),
        step: 0,
        tried: false,
        yields: false,
    };
    let entry = ledger.directory(&[subject]).await.unwrap().entries.remove(0);
    (entry.narrowed(&snapshot).contacts[0].status, entry.state.revision)
}

pub(super) async fn a_contact_that_jobs_bring_is_given_up_by_its_address(ledger: Ledger) {
    // In the directory, with another contact than the one that their jobs bring along.
    let mut known = patient("P1", "2026-01-01T00:00:00Z");
    known.contacts = vec![a_contact(Channel::Email, "ana@example.org")];
    ledger.upsert_patients(vec![known.clone()]).await.unwrap();
    let brought = |name: &str| {
        let mut admission = job(name);
        admission.body.patient = Some(Box::new(patient("P1", "2026-01-01T00:00:00Z")));
        admission
    };
    let fail = async |admission: Admission| {
        let (hand, attempt) = ledger.begun(admission).await;
        ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Awaits).await;
        ledger.hear(hand.facts.id, GONE).await;
        ledger.pass(seconds(2 * 3_600)).await;
        (hand.facts.id, ledger.judge_contacts(10).await.unwrap())
    };
    // Of what no job brings, and no record has any more, nothing is kept.
    for name in ["a", "b"] {
        assert_eq!(fail(job(name)).await.1, 0, "{name}: another contact stands there now");
    }
    let (_, before) = snapshot_of(&ledger, "P1").await;
    let (id, given_up) = fail(brought("c")).await;
    assert_eq!(given_up, 1);
    assert_eq!(ledger.told(id).await, ["message.sent.ehr", "contact.bad.ehr"]);
    assert_eq!(fail(brought("d")).await.1, 0, "told once");
    assert_eq!(contact(&ledger).await.1.contacts, known.contacts, "their record has another one");
    let (status, revision) = snapshot_of(&ledger, "P1").await;
    assert_eq!(status, ContactStatus::Bad);
    assert!(revision > before, "whoever is planned for is planned anew");
    assert_eq!(snapshot_of(&ledger, "P7").await.0, ContactStatus::Bad, "whoever brings it");

    // The record gets it. What is older, or says nothing of it, does not make it good.
    only_a_newer_record_that_says_so_makes_good(&ledger, async || snapshot_of(&ledger, "P1").await.0).await;
    // From now on it is the record that is marked.
    assert_eq!(fail(brought("e")).await.1, 1);
    assert_eq!(contact(&ledger).await.0, ContactStatus::Bad);
    assert_eq!(snapshot_of(&ledger, "P7").await.0, ContactStatus::Ok, "a record speaks for its patient");
}

pub(super) async fn what_arrives_wipes_the_slate(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    for (name, said) in [("a", GONE), ("b", Said::Delivered), ("c", GONE), ("d", Said::Delivered)] {
        let (hand, _) = ledger.awaited(name).await;
        ledger.hear(hand.facts.id, said).await;
        ledger.pass(seconds(2 * 3_600)).await;
        assert_eq!(ledger.judge_contacts(10).await.unwrap(), 0, "{name}");
    }
    assert_eq!(contact(&ledger).await.0, ContactStatus::Ok);
}

pub(super) async fn receipts_and_answers_at_once_lose_nothing(ledger: Ledger) {
    let mut begun = Vec::new();
    for n in 0..60 {
        begun.push(ledger.begun(job(&format!("j{n}"))).await);
    }
    let now = ledger.now().await;
    let answers: Vec<Settlement> = begun
        .iter()
        .map(|(hand, attempt)| {
            super::make::settlement(hand, *attempt, AttemptStatus::Sent, Then::Awaits, now)
        })
        .collect();
    let of = |said| -> Vec<Receipt> {
        begun.iter().rev().map(|(hand, _)| about(hand.facts.id, 0, "SM1", said)).collect()
    };
    let (sent, delivered) = (of(Said::Sent), of(Said::Delivered));
    let (one, two, three) = (ledger.another(), ledger.another(), ledger.another());
    let (a, b, c, d) = tokio::join!(
        ledger.settle(&answers),
        one.receive(&sent),
        two.receive(&delivered),
        three.receive(&delivered)
    );
    a.unwrap();
    let moved = b.unwrap().moved + c.unwrap().moved + d.unwrap().moved;
    assert!((60..=120).contains(&moved), "each arrived once: {moved}");
    for (hand, _) in &begun {
        assert_eq!(ledger.standing(hand.facts.id).await, (MessageStatus::Delivered, None));
        let told = ledger.told(hand.facts.id).await;
        assert_eq!(told.iter().filter(|key| *key == "message.delivered.ehr").count(), 1, "{told:?}");
    }
}
