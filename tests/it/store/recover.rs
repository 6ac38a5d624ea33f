//! After a restore: what the dump has forgotten is settled by whoever knows, and by nobody else.

use jiff::SignedDuration;
use outreachd::domain::ids::{MessageId, SendKey, TemplateName};
use outreachd::domain::patience::{Patience, Until};
use outreachd::domain::receipt::{Receipt, Said};
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason};
use outreachd::store::recover::{
    Ended, LostJob, RecoveryAsk, RecoveryRow, SEQ_SKIPPED, Testified, Witness, Word,
};
use outreachd::store::rows::{AdmitOutcome, Begin, HoldScope, Settlement, Then};
use outreachd::store::rules::LedgerRules;

use super::ledger::{InHand, Ledger, worker};
use super::make::{Shape, job, job_id, provider, source};

fn witness(message: MessageId, said: Word) -> Witness {
    let provider = Some((provider("twilio-main"), Channel::Sms));
    Witness { message, step: None, said, reason: Some(Reason::Superseded), provider, at: None }
}

/// All workers are gone, and what they held is taken over; what may have moved is noted.
async fn recovering(ledger: &Ledger) -> RecoveryRow {
    recovering_together(ledger, &[]).await
}

/// The same where messages of these templates go out together with others of their day.
async fn recovering_together(ledger: &Ledger, together: &[TemplateName]) -> RecoveryRow {
    let now = ledger.now().await;
    let ask = RecoveryAsk {
        restored_to: now,
        down_since: now,
        by: "cli:ana".to_owned(),
        reason: "restored".to_owned(),
    };
    let row = ledger.begin_recovery(&ask).await.unwrap();
    assert_eq!(ledger.recovery(now).await.unwrap(), Some(row.clone()));
    assert_eq!(row.begun_by, "cli:ana");
    while ledger.take_over(100).await.unwrap() != outreachd::store::rows::TakenOver::default() {}
    let mut last = None;
    loop {
        last = ledger.gather(&row, together, last, 2).await.unwrap();
        if last.is_none() {
            return row;
        }
    }
}

pub(super) async fn what_a_restore_forgot_is_settled_by_whoever_knows(ledger: Ledger) {
    ledger.beat(worker()).await;
    let sent_before = ledger.sent(job("sent-before")).await;
    let (in_flight, _) = ledger.begun(job("in-flight")).await;
    let in_flight = in_flight.facts.id;
    let [taken, delivered, superseded, failed, lost, silent] = {
        let mut ids = Vec::new();
        for name in ["taken", "delivered", "superseded", "failed", "lost", "silent"] {
            ids.push(ledger.accept(job(name)).await);
        }
        <[MessageId; 6]>::try_from(ids).unwrap()
    };
    let tomorrow =
        ledger.accept(job("tomorrow").due(ledger.now().await + SignedDuration::from_hours(24))).await;
    let row = recovering(&ledger).await;

    let strange = MessageId::generate();
    let heard = ledger
        .testify(&[
            witness(taken, Word::Taken),
            witness(delivered, Word::Delivered),
            witness(superseded, Word::Ended(Ended::Cancelled)),
            witness(failed, Word::Failed),
            witness(lost, Word::Unknown),
            witness(in_flight, Word::Sent),
            witness(sent_before, Word::Taken),
            witness(strange, Word::Sent),
        ])
        .await
        .unwrap();
    assert_eq!(heard, Testified { settled: 6, known: 1, strange: vec![strange] });
    let again = ledger.testify(&[witness(taken, Word::Taken), witness(failed, Word::Failed)]).await.unwrap();
    assert_eq!((again.settled, again.known), (0, 2), "a word twice is a word once");
    assert_eq!(ledger.doubt(&row, 100).await.unwrap(), 1, "nobody has spoken for one");
    assert_eq!(ledger.doubt(&row, 100).await.unwrap(), 0);

    use MessageStatus::{Cancelled, Delivered, Failed, Scheduled, Sent, Unknown};
    for (id, status, reason, due, attempts) in [
        (sent_before, Sent, None, false, 1),
        (in_flight, Sent, None, false, 1),
        (taken, Sent, None, false, 1),
        (delivered, Delivered, None, false, 1),
        (superseded, Cancelled, Some(Reason::Superseded), false, 0),
        (failed, Failed, Some(Reason::Superseded), false, 0),
        (lost, Unknown, Some(Reason::OutcomeUnknown), false, 0),
        (silent, Unknown, Some(Reason::OutcomeUnknown), false, 0),
        (tomorrow, Scheduled, None, true, 0),
    ] {
        let message = ledger.row(id).await;
        let stands = (message.status, message.reason, message.due_at.is_some());
        assert_eq!(stands, (status, reason, due), "{}", message.facts.job_id);
        assert_eq!(ledger.attempts(id).await.unwrap().len(), attempts, "{}", message.facts.job_id);
        let skipped = message.seq >= SEQ_SKIPPED;
        assert_eq!(skipped, id != sent_before, "{}: {}", message.facts.job_id, message.seq);
        let events = ledger.events(id).await.unwrap();
        let numbers: Vec<u32> = events.iter().map(|e| e.seq).filter(|seq| *seq > SEQ_SKIPPED).collect();
        assert!(numbers.iter().zip(SEQ_SKIPPED + 1..).all(|(seq, expected)| *seq == expected), "{numbers:?}");
    }
    assert_eq!(ledger.claim_new(10).await.len(), 0, "nothing is due");

    // A receipt finds a message of which no attempt is on record.
    let knowing = ledger.ruled(LedgerRules {
        channels: [(provider("twilio-main"), Channel::Sms)].into(),
        ..LedgerRules::default()
    });
    let receipt = |said| Receipt {
        provider: provider("twilio-main"),
        key: SendKey { message: silent, step: 0 },
        reference: Some("SM7".to_owned()),
        said,
        code: None,
        named: Vec::new(),
    };
    let heard = knowing.receive(&[receipt(Said::Sent), receipt(Said::Delivered)]).await.unwrap();
    assert_eq!((heard.moved, heard.parked), (1, 0));
    assert_eq!(ledger.standing(silent).await.0, Delivered);
    let attempts = ledger.attempts(silent).await.unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].status, attempts[0].channel), (AttemptStatus::Delivered, Channel::Sms));
}

/// Whether the next step was taken since the dump nobody knows; a repeat that the provider recognises may come once more.
pub(super) async fn the_plan_of_what_is_unknown_ends(ledger: Ledger) {
    let patience = Some(Patience { wait: SignedDuration::from_mins(10), until: Until::Delivered });
    let mut unknown = Vec::new();
    for (name, dedupes) in [("plan", false), ("repeat", true)] {
        let hand = ledger.lease(job(name)).await;
        let row = Begin { patience, dedupes, ..ledger.plan(&hand).await };
        let attempt = row.attempt;
        assert!(ledger.try_begin(row).await);
        let now = ledger.now().await;
        let then = if dedupes { Then::UnknownRetry(now) } else { Then::Unknown };
        let lost = ledger.settlement(&hand, attempt, AttemptStatus::Unknown, then).await;
        ledger.settle(&[Settlement { patience, ..lost }]).await.unwrap();
        assert!(ledger.row(hand.facts.id).await.due_at.is_some(), "{name} goes on");
        unknown.push(hand.facts.id);
    }
    let row = recovering(&ledger).await;
    assert_eq!(ledger.doubt(&row, 100).await.unwrap(), 1);
    assert_eq!(ledger.doubt(&row, 100).await.unwrap(), 0);
    let due: Vec<bool> = [ledger.row(unknown[0]).await, ledger.row(unknown[1]).await]
        .iter()
        .map(|message| {
            assert_eq!(message.status, MessageStatus::Unknown);
            message.due_at.is_some()
        })
        .collect();
    assert_eq!(due, [false, true]);
}

/// An event names no step: one of before the dump is about the step that the dump knows to be sent, not about the next.
pub(super) async fn a_word_of_before_the_dump_ends_no_plan(ledger: Ledger) {
    let patience = Some(Patience { wait: SignedDuration::from_hours(4), until: Until::Answered });
    let mut ids = Vec::new();
    for name in ["told-before", "told-since", "failed-since", "taken-since"] {
        let hand = ledger.lease(job(name)).await;
        let row = Begin { patience, ..ledger.plan(&hand).await };
        let attempt = row.attempt;
        assert!(ledger.try_begin(row).await);
        let sent = ledger.settlement(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
        ledger.settle(&[Settlement { patience, ..sent }]).await.unwrap();
        ids.push(hand.facts.id);
    }
    let fresh = ledger.accept(job("fresh")).await;
    ledger.pass(SignedDuration::from_secs(60)).await;
    let (before, since) = (ledger.row(ids[0]).await.changed_at, ledger.now().await);
    let row = recovering(&ledger).await;

    let at = |message, said, at| Witness { at: Some(at), ..witness(message, said) };
    // The last one had not come as far when the dump was taken, whatever its time.
    let taken_at = ledger.row(fresh).await.changed_at;
    let words = [
        at(ids[0], Word::Sent, before),
        at(ids[1], Word::Sent, since),
        at(ids[2], Word::Failed, since),
        at(fresh, Word::Sent, taken_at),
    ];
    let heard = ledger.testify(&words).await.unwrap();
    assert_eq!((heard.settled, heard.known), (3, 1));
    // A log names the step: of what the dump has, the next one is still to come.
    let step = Witness { step: Some(0), ..at(ids[3], Word::Taken, since) };
    assert_eq!(ledger.testify(&[step]).await.unwrap().known, 1);
    use MessageStatus::{Failed, Sent};
    let stands = async |id| {
        let message = ledger.row(id).await;
        (message.status, message.due_at.is_some(), ledger.attempts(id).await.unwrap().len())
    };
    assert_eq!(stands(ids[0]).await, (Sent, true, 1));
    assert_eq!(stands(ids[1]).await, (Sent, false, 2), "its next step was taken");
    assert_eq!(stands(ids[2]).await, (Failed, false, 1), "every step was");
    assert_eq!(stands(ids[3]).await, (Sent, true, 1));
    assert_eq!(stands(fresh).await, (Sent, false, 1));
    // The same files once more say the same.
    assert_eq!(ledger.testify(&words).await.unwrap().settled, 0);
    assert_eq!(ledger.doubt(&row, 1).await.unwrap(), 1, "whether the others' next step was, nobody has said");
    assert_eq!(ledger.acquit(&row, 100).await.unwrap(), 0);
    let due = [stands(ids[0]).await.1, stands(ids[3]).await.1];
    assert!(
        due.contains(&true) && due.contains(&false),
        "and whoever has the whole log says that it was not"
    );
}

pub(super) async fn what_may_have_gone_along_with_another_does_not_go_again(ledger: Ledger) {
    let now = ledger.now().await;
    let due = |hours| now + SignedDuration::from_hours(hours);
    let together = job("today").facts.template;
    let today = ledger.accept(job("today").due(due(5))).await;
    let mut other = job("other").due(due(5));
    other.facts.template = TemplateName::parse("lab-result").unwrap();
    let apart = [ledger.accept(other).await, ledger.accept(job("far").due(due(30))).await];
    let row = recovering_together(&ledger, &[together]).await;
    assert_eq!(ledger.doubt(&row, 100).await.unwrap(), 1);
    assert_eq!(ledger.standing(today).await.0, MessageStatus::Unknown);
    for id in apart {
        assert_eq!(ledger.standing(id).await.0, MessageStatus::Scheduled);
    }
}

pub(super) async fn what_was_not_sent_goes_out_after_the_release(ledger: Ledger) {
    let [doubted, spared] = [ledger.accept(job("doubted")).await, ledger.accept(job("spared")).await];
    let token = ledger.lease(job("before")).await.work.token;
    let row = recovering(&ledger).await;
    assert_eq!(ledger.doubt(&row, 100).await.unwrap(), 3);
    ledger.testify(&[witness(spared, Word::Taken)]).await.unwrap();
    // Whoever has the whole log says that nothing else left.
    assert_eq!(ledger.acquit(&row, 100).await.unwrap(), 2);
    assert_eq!(ledger.acquit(&row, 100).await.unwrap(), 0);
    assert_eq!(ledger.standing(spared).await.0, MessageStatus::Sent);

    let claimed = ledger.claim_new(10).await;
    let hand = claimed.into_iter().find(|m| m.facts.id == doubted).map(InHand::from).unwrap();
    assert!(hand.work.token > token + 1_000_000, "no token of before the restore is given out again");
    assert!(!ledger.try_begin(ledger.plan(&hand).await).await, "everything is held");
    let holds = ledger.holds().await.unwrap();
    assert_eq!(
        holds.iter().map(|h| (h.hold.id, h.hold.scope)).collect::<Vec<_>>(),
        [(row.hold, HoldScope::All)]
    );
    assert!(ledger.release_hold(row.hold, "cli:ben", None).await.unwrap());
    let begin = ledger.plan(&hand).await;
    let attempt = begin.attempt;
    assert!(ledger.try_begin(begin).await, "and goes out once it is let go");
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, outreachd::store::rows::Then::Sent).await;
    assert_eq!(ledger.standing(doubted).await.0, MessageStatus::Sent);
    let newest = ledger.stream_end().await.unwrap();
    assert!(newest > 1_000_000, "no event has the number of one that was told: {newest}");

    // Jobs of which only events are left: what was sent is refused when it comes again, what was not is welcome.
    let lost = |name: &str, reason| LostJob { source: source("ehr"), job_id: job_id(name), reason };
    let jobs = [
        lost("doubted", Some(Reason::Duplicate)),
        lost("gone-and-sent", Some(Reason::Duplicate)),
        lost("gone", None),
    ];
    assert_eq!(ledger.bury_lost(&jobs).await.unwrap(), [false, true, true]);
    let outcomes = ledger.admit_all(vec![job("gone-and-sent"), job("gone")], 0).await.outcomes;
    assert!(matches!(outcomes[0], AdmitOutcome::TakenBack(_, Reason::Duplicate)), "{outcomes:?}");
    assert!(matches!(outcomes[1], AdmitOutcome::Accepted(_)), "{outcomes:?}");
    assert_eq!(ledger.claim_as(None, Priority::Normal, 10).await.messages.len(), 1);
}
