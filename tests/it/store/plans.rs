//! Plans: what was sent is followed up after a while, unless what it waits for comes first.

use jiff::SignedDuration;
use outreachd::domain::failure::Failure;
use outreachd::domain::ids::{AttemptId, MessageId, SendKey, SourceName};
use outreachd::domain::job::{Cancel, CancelTarget};
use outreachd::domain::patience::{Patience, Until};
use outreachd::domain::phi::Phi;
use outreachd::domain::receipt::{Receipt, Said};
use outreachd::domain::reply::Reply;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason};
use outreachd::policy::reply::{More, read};
use outreachd::store::rows::{Begin, Decided, LookUpAsk, Over, ReplyAsk, Settlement, TakenOver, Then};
use serde_json::Value;

use super::ledger::{InHand, Ledger, subject, worker};
use super::make::{PHONE, Shape as _, decided, job, patient, provider, release, seconds};

const HOUR: i64 = 3_600;

fn patience(until: Until) -> Option<Patience> {
    Some(Patience { wait: SignedDuration::from_hours(4), until })
}

impl Ledger {
    /// Begins a step that is waited for until then.
    async fn step(&self, hand: &InHand, until: Until) -> Option<AttemptId> {
        let row = Begin { patience: patience(until), ..self.plan(hand).await };
        let attempt = row.attempt;
        self.try_begin(row).await.then_some(attempt)
    }

    async fn answer(
        &self,
        hand: &InHand,
        attempt: AttemptId,
        (status, then): (AttemptStatus, Then),
        until: Until,
    ) {
        let row = Settlement {
            patience: patience(until),
            provider_ref: Some(format!("SM{}", hand.work.step)),
            ..self.settlement(hand, attempt, status, then).await
        };
        self.settle(&[row]).await.unwrap();
    }

    /// A job whose first step is sent and waited for.
    async fn under_way(&self, id: &str, until: Until) -> InHand {
        let hand = self.lease(job(id)).await;
        let attempt = self.step(&hand, until).await.expect("begins");
        self.answer(&hand, attempt, (AttemptStatus::Sent, Then::Awaits), until).await;
        hand
    }

    async fn hear_of(&self, message: MessageId, step: u16, said: Said) {
        let receipt = Receipt {
            provider: provider("twilio-main"),
            key: SendKey { message, step },
            reference: Some(format!("SM{step}")),
            said,
            code: None,
            named: Vec::new(),
        };
        self.receive(&[receipt]).await.unwrap();
    }

    async fn due(&self) -> Option<InHand> {
        self.claim_as(Some(Channel::Sms), Priority::Normal, 1).await.messages.pop().map(InHand::from)
    }

    async fn is_over(&self, hand: &InHand, reason: Reason) {
        let (now, over) = (self.now().await, Over { awaits: hand.work.awaits });
        self.decide_one(Decided { over: Some(over), ..decided(hand, hand.work.status, Some(reason), now) })
            .await;
    }

    /// What was told of a message: status, and whether it is final.
    async fn said(&self, message: MessageId) -> Vec<String> {
        self.told(message).await;
        let events = self.outbox(worker(), &[], 10_000).await.unwrap();
        let bodies = events.iter().map(|event| serde_json::from_str::<Value>(&event.body).unwrap());
        bodies
            .filter(|body| body["message_id"] == message.to_string())
            .map(|body| {
                let kind = body["type"].as_str().unwrap().trim_start_matches("message.").to_owned();
                if body["final"].as_bool().unwrap() { format!("{kind}, final") } else { kind }
            })
            .collect()
    }
}

pub(super) async fn the_next_step_is_due_after_its_wait_and_the_end_is_told_once(ledger: Ledger) {
    let hand = ledger.under_way("a", Until::Delivered).await;
    let id = hand.facts.id;
    let row = ledger.row(id).await;
    assert_eq!((row.status, row.step, row.tries), (MessageStatus::Sent, 1, 0));
    assert!(row.due_at.is_some_and(|due| due > row.changed_at + seconds(3 * HOUR)), "{:?}", row.due_at);
    ledger.pass(seconds(3 * HOUR)).await;
    assert!(ledger.due().await.is_none(), "it is waited for");
    ledger.pass(seconds(HOUR + 1)).await;
    let second = ledger.due().await.expect("the second step");
    assert_eq!((second.work.status, second.work.step, second.work.reached), (MessageStatus::Sent, 1, true));
    assert!(second.work.awaits);
    let directory = ledger.directory(&[subject(&second)]).await.unwrap();
    assert_eq!(directory.entries[0].tried[0].1, Reason::PlanExhausted, "it has not failed");
    let attempt = ledger.step(&second, Until::Answered).await.expect("begins");
    ledger.answer(&second, attempt, (AttemptStatus::Sent, Then::Sent), Until::Answered).await;
    // It fails no more, whatever the third one comes to.
    ledger.pass(seconds(4 * HOUR + 1)).await;
    let third = ledger.due().await.expect("the third step");
    let attempt = ledger.step(&third, Until::Answered).await.expect("begins");
    let refused = (AttemptStatus::Failed, Then::NextStep(Reason::InvalidAddress));
    ledger.answer(&third, attempt, refused, Until::Answered).await;
    let last = ledger.due().await.expect("what has failed is followed at once");
    assert_eq!((last.work.status, last.work.step, last.work.awaits), (MessageStatus::Sent, 3, false));
    ledger.is_over(&last, Reason::PlanExhausted).await;
    let row = ledger.row(id).await;
    assert_eq!(
        (row.status, row.reason, row.due_at),
        (MessageStatus::Sent, Some(Reason::PlanExhausted), None)
    );
    assert_eq!(ledger.said(id).await, ["sent", "sent", "sent, final"]);
    ledger.pass(seconds(100 * HOUR)).await;
    assert_eq!((ledger.end_receipt_waits(10).await.unwrap(), ledger.due().await.is_some()), (1, false));
    assert_eq!(ledger.said(id).await.len(), 3, "it is awaited no more, and that is all");

    // While a receipt is awaited, that makes it final; what was heard since is decided upon again.
    let hand = ledger.under_way("b", Until::Answered).await;
    let id = hand.facts.id;
    ledger.pass(seconds(4 * HOUR + 1)).await;
    let early = ledger.due().await.expect("the second step");
    ledger.pass(seconds(-1)).await;
    ledger.hear_of(id, 0, Said::Delivered).await;
    ledger.release(&[release(&early)]).await.unwrap();
    let again = ledger.due().await.expect("its receipt has let the lease go");
    assert_eq!((again.work.status, again.work.awaits), (MessageStatus::Delivered, false));
    let stale = InHand {
        work: outreachd::store::rows::Work {
            status: MessageStatus::Sent,
            awaits: true,
            ..again.work.clone()
        },
        ..again
    };
    ledger.is_over(&stale, Reason::PlanExhausted).await;
    assert_eq!(ledger.row(id).await.reason, None, "decided of what was no longer so");
    let again = ledger.due().await.expect("decided upon again");
    ledger.is_over(&again, Reason::PlanExhausted).await;
    assert_eq!(ledger.said(id).await, ["sent", "delivered", "delivered, final"]);
}

/// What comes while a plan waits for its second step, and what is then.
pub(super) async fn what_ends_a_plan_and_what_does_not(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let (failed, gone) = (Said::Undelivered(Failure::Unreachable), Some(0));
    use MessageStatus::{Delivered, Read, Sent};
    for (name, until, said, status, waits) in [
        ("delivered", Until::Delivered, Some(Said::Delivered), Delivered, None),
        ("read", Until::Delivered, Some(Said::Read), Read, None),
        ("not-answered", Until::Answered, Some(Said::Delivered), Delivered, Some(4)),
        ("answered", Until::Answered, Some(Said::Read), Read, None),
        ("replied", Until::Answered, None, Read, None),
        ("undelivered", Until::Answered, Some(failed), Sent, gone),
    ] {
        let hand = ledger.under_way(name, until).await;
        let id = hand.facts.id;
        match said {
            Some(said) => ledger.hear_of(id, 0, said).await,
            None => reply(&ledger, name, "yes I will").await,
        }
        let row = ledger.row(id).await;
        assert_eq!((row.status, row.step), (status, 1), "{name}");
        let hours = row.due_at.map(|due| (due.as_second() - row.accepted_at.as_second() + 60) / HOUR);
        assert_eq!(hours, waits, "{name}");
        let told = ledger.said(id).await;
        let last = told.iter().rfind(|told| !told.starts_with("reply")).unwrap();
        assert_eq!(last.ends_with("final"), waits.is_none(), "{name}: {last}");
        // Whatever was planned before: nothing begins once it has ended, and nothing before its time.
        ledger.execute(&format!("UPDATE messages SET due_at = NULL WHERE id = '{id}'")).await.unwrap();
    }
    // A stranger has read what was meant for somebody else: the next step is due.
    let hand = ledger.under_way("stranger", Until::Answered).await;
    reply(&ledger, "stranger", "wrong number").await;
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.due_at.is_some_and(|due| due < row.accepted_at + seconds(60))), (Sent, true));
    ledger.execute("UPDATE messages SET due_at = NULL").await.unwrap();

    // A stop that comes between the claim and the send.
    let hand = ledger.under_way("late", Until::Delivered).await;
    ledger.pass(seconds(4 * HOUR + 1)).await;
    let mut claimed = Vec::new();
    while let Some(one) = ledger.due().await {
        claimed.push(one);
    }
    let second = claimed.into_iter().find(|one| one.facts.id == hand.facts.id).expect("the second step");
    let planned = Begin { patience: patience(Until::Answered), ..ledger.plan(&second).await };
    ledger.hear_of(hand.facts.id, 0, Said::Delivered).await;
    assert!(!ledger.try_begin(planned).await, "it has arrived");

    // A step that is on the wire when the plan ends is kept, and raises nothing.
    let hand = ledger.under_way("wire", Until::Delivered).await;
    let id = hand.facts.id;
    ledger.pass(seconds(4 * HOUR + 1)).await;
    let second = ledger.due().await.expect("the second step");
    let attempt = ledger.step(&second, Until::Answered).await.expect("begins");
    ledger.hear_of(id, 0, Said::Delivered).await;
    ledger.answer(&second, attempt, (AttemptStatus::Sent, Then::Awaits), Until::Answered).await;
    let row = ledger.row(id).await;
    assert_eq!((row.status, row.due_at), (MessageStatus::Delivered, None));
    assert_eq!(ledger.said(id).await, ["sent", "delivered, final"]);
    ledger.hear_of(id, 1, Said::Read).await;
    assert_eq!(ledger.row(id).await.status, MessageStatus::Read, "more than that was heard");
}

async fn reply(ledger: &Ledger, reference: &str, text: &str) {
    let reply = Reply {
        provider: provider("twilio-main"),
        channel: Channel::Sms,
        reference: reference.to_owned(),
        from: Phi::new(PHONE),
        about: None,
        text: Phi::new(text),
        keyword: None,
        thread: None,
    };
    let ask = ReplyAsk {
        reply,
        meaning: read(text, None, &More::default()),
        opt_in: Vec::new(),
        stops_all_from: None,
        said_at: None,
    };
    ledger.reply(&ask).await.unwrap();
}

pub(super) async fn a_late_cancel_drops_what_has_not_begun_and_an_unknown_step_is_followed(ledger: Ledger) {
    let cancel = |id: &str| Cancel {
        source: SourceName::parse("ehr").unwrap(),
        target: CancelTarget::Job(outreachd::domain::ids::JobId::parse(id).unwrap()),
        reason: None,
    };
    let hand = ledger.under_way("a", Until::Answered).await;
    let id = hand.facts.id;
    ledger.hear_of(id, 0, Said::Delivered).await;
    ledger.cancel(&[cancel("a")]).await.unwrap();
    let row = ledger.row(id).await;
    assert_eq!((row.status, row.due_at), (MessageStatus::Delivered, None), "the status stays");
    assert_eq!(ledger.said(id).await, ["sent", "delivered", "delivered, final"]);

    // In the worker's hands, it begins no more; on the wire, it is followed by nothing.
    let hand = ledger.under_way("b", Until::Answered).await;
    ledger.pass(seconds(4 * HOUR + 1)).await;
    let second = ledger.due().await.expect("the second step");
    let planned = Begin { patience: patience(Until::Answered), ..ledger.plan(&second).await };
    ledger.cancel(&[cancel("b")]).await.unwrap();
    assert!(!ledger.try_begin(planned).await);
    ledger.release(&[release(&second)]).await.unwrap();
    assert_eq!(ledger.row(hand.facts.id).await.due_at, None);

    // Nobody knows whether the first step got through: the plan need not know.
    let hand = ledger.lease(job("c")).await;
    let id = hand.facts.id;
    let attempt = ledger.step(&hand, Until::Delivered).await.expect("begins");
    ledger.answer(&hand, attempt, (AttemptStatus::Unknown, Then::Unknown), Until::Delivered).await;
    let row = ledger.row(id).await;
    assert_eq!((row.status, row.step, row.due_at.is_some()), (MessageStatus::Unknown, 1, true));
    // So it is with what a dead worker leaves.
    let dead = ledger.lease(job("d")).await;
    ledger.step(&dead, Until::Delivered).await.expect("begins");
    ledger.pass(seconds(61)).await;
    assert_eq!(ledger.take_over(10).await.unwrap(), TakenOver { released: 0, unknown: 1 });
    ledger.pass(seconds(4 * HOUR)).await;
    for _ in 0..2 {
        let second = ledger.due().await.expect("the second step");
        assert!(second.work.reached, "it may have been");
        let attempt = ledger.step(&second, Until::Delivered).await.expect("begins");
        ledger.answer(&second, attempt, (AttemptStatus::Sent, Then::Awaits), Until::Delivered).await;
        ledger.hear_of(second.facts.id, 1, Said::Delivered).await;
        assert_eq!(ledger.said(second.facts.id).await, ["sent", "delivered, final"]);
        assert_eq!(ledger.row(second.facts.id).await.due_at, None);
    }
}

pub(super) async fn what_a_person_sends_again_is_followed_by_nothing_of_the_first(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let attempt = ledger.step(&hand, Until::Delivered).await.expect("begins");
    ledger.answer(&hand, attempt, (AttemptStatus::Unknown, Then::Unknown), Until::Delivered).await;
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.due_at.is_some()), (MessageStatus::Unknown, true));
    let providers = ledger.attempts(hand.facts.id).await.unwrap().into_iter().map(|a| a.provider).collect();
    let ask = LookUpAsk { providers, after: seconds(1), limit: 10 };
    ledger.pass(seconds(2)).await;
    assert_eq!(ledger.take_lost(&ask).await.unwrap().len(), 1);

    ledger.accept(job("a").retry_of(hand.facts.id)).await;
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.due_at), (MessageStatus::Unknown, None));
    // Were it not found, it would go out beside the second.
    ledger.pass(seconds(2)).await;
    assert!(ledger.take_lost(&ask).await.unwrap().is_empty());
}
