//! Jobs are taken back by replacement or cancel, in whatever order things come.

use outreachd::domain::campaign::Plan;
use outreachd::domain::ids::{CampaignId, MessageId};
use outreachd::domain::job::{Cancel, CancelTarget};
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason};
use outreachd::store::rows::{Admission, AdmitOutcome, CancelOutcome, Then, Timings};

use super::ledger::{InHand, Ledger, batch};
use super::make::{Shape, cancel_about, cancel_job, job, seconds};

const SUPERSEDED: (MessageStatus, Option<Reason>) = (MessageStatus::Cancelled, Some(Reason::Superseded));
const CANCELLED: (MessageStatus, Option<Reason>) = (MessageStatus::Cancelled, Some(Reason::Cancelled));
const ACCEPTED: (MessageStatus, Option<Reason>) = (MessageStatus::Accepted, None);
const SENT: (MessageStatus, Option<Reason>) = (MessageStatus::Sent, None);

pub(super) async fn a_replacement_takes_the_place_of_what_waits(ledger: Ledger) {
    let a = ledger.accept(job("a")).await;
    let b = ledger.accept(job("b").replacing("a")).await;
    assert_eq!(ledger.standing(a).await, SUPERSEDED);
    assert_eq!(ledger.standing(b).await, ACCEPTED);
    assert!(!ledger.row(b).await.facts.is_change);
    assert_eq!(ledger.told(a).await, ["message.cancelled.ehr"]);
    assert_eq!(ledger.row(a).await.due_at, None);
    // In one batch, in hand at once: what is replaced is not handed out.
    let report = ledger.admit_all(vec![job("d").replacing("c"), job("c")], 10).await;
    assert_eq!(report.leased.iter().map(|l| l.place).collect::<Vec<_>>(), [0]);
    assert_eq!(ledger.claim_new(10).await.len(), 1, "only b is left");
}

pub(super) async fn a_replacement_of_what_was_sent_is_a_change(ledger: Ledger) {
    let a = ledger.sent(job("a")).await;
    let hand = ledger.lease(job("b").replacing("a")).await;
    assert!(hand.facts.is_change);
    assert!(ledger.row(hand.facts.id).await.facts.is_change);
    assert_eq!(ledger.standing(a).await, SENT);
}

pub(super) async fn a_change_of_a_change_is_a_change(ledger: Ledger) {
    ledger.sent(job("a")).await;
    let b = ledger.accept(job("b").replacing("a")).await;
    let hand = ledger.lease(job("c").replacing("b")).await;
    assert_eq!(ledger.standing(b).await, SUPERSEDED);
    assert!(hand.facts.is_change, "the patient has read `a`, so `c` is news of a change");
    assert!(ledger.row(hand.facts.id).await.facts.is_change);
}

pub(super) async fn a_change_of_a_change_that_reached_nobody_is_a_change(ledger: Ledger) {
    ledger.sent(job("a")).await;
    let b = ledger.accept(job("b").replacing("a")).await;
    ledger.cancel(&[cancel_job("b")]).await.unwrap();
    assert_eq!(ledger.standing(b).await, CANCELLED);
    let hand = ledger.lease(job("c").replacing("b")).await;
    assert!(hand.facts.is_change, "the patient has read `a`, whatever became of `b`");
    assert!(ledger.row(hand.facts.id).await.facts.is_change);
    // What follows a job that ended without anything before it changes nothing.
    ledger.accept(job("d")).await;
    ledger.cancel(&[cancel_job("d")]).await.unwrap();
    assert!(!ledger.lease(job("e").replacing("d")).await.facts.is_change);
}

pub(super) async fn a_replacement_that_comes_first_wins(ledger: Ledger) {
    let b = ledger.accept(job("b").replacing("a")).await;
    let a = taken_back(&ledger, job("a"), Reason::Superseded).await;
    assert_eq!(ledger.standing(a).await, SUPERSEDED);
    assert_eq!(ledger.told(a).await, ["message.cancelled.ehr"]);
    assert_eq!(ledger.standing(b).await, ACCEPTED);
}

pub(super) async fn a_cancel_by_name_takes_the_job_back(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let a = hand.facts.id;
    let outcomes = ledger.cancel(&[cancel_job("a")]).await.unwrap();
    assert_eq!(outcomes, [CancelOutcome::Cancelled(vec![a])]);
    assert_eq!(ledger.standing(a).await, CANCELLED);
    assert_eq!(ledger.told(a).await, ["message.cancelled.ehr"]);
    assert!(ledger.claim_new(10).await.is_empty());
    // The same job again is what it was: taken back.
    let again = ledger.admit_all(vec![job("a")], 10).await;
    assert_eq!(again.outcomes, [AdmitOutcome::Duplicate(a)]);
    assert!(again.leased.is_empty());
}

pub(super) async fn a_cancel_that_comes_first_waits_for_its_job(ledger: Ledger) {
    let outcomes = ledger.cancel(&[cancel_job("a")]).await.unwrap();
    assert_eq!(outcomes, [CancelOutcome::Tombstone]);
    let a = taken_back(&ledger, job("a"), Reason::Cancelled).await;
    assert_eq!(ledger.standing(a).await, CANCELLED);
    assert_eq!(ledger.told(a).await, ["message.cancelled.ehr"]);
    ledger.accept(job("b")).await;
}

pub(super) async fn a_cancel_of_a_matter_takes_back_all_of_it(ledger: Ledger) {
    let a = ledger.accept(job("a").about("visit")).await;
    let b = ledger.accept(job("b").about("visit")).await;
    let other = ledger.accept(job("c").about("other")).await;
    let outcomes = ledger.cancel(&[cancel_about("visit")]).await.unwrap();
    let [CancelOutcome::Cancelled(mut ids)] = <[_; 1]>::try_from(outcomes).unwrap() else { panic!() };
    ids.sort();
    assert_eq!(ids, [a, b]);
    assert_eq!(ledger.standing(other).await, ACCEPTED);
}

pub(super) async fn a_cancel_of_a_matter_that_comes_first_waits_for_its_jobs(ledger: Ledger) {
    let outcomes = ledger.cancel(&[cancel_about("visit")]).await.unwrap();
    assert_eq!(outcomes, [CancelOutcome::Tombstone]);
    taken_back(&ledger, job("a").about("visit"), Reason::Cancelled).await;
    taken_back(&ledger, job("b").about("visit"), Reason::Cancelled).await;
    ledger.accept(job("c").about("other")).await;
    // A job of the matter's name is no job about the matter.
    ledger.accept(job("visit")).await;
}

pub(super) async fn a_cancel_that_is_too_late_is_told_and_changes_nothing(ledger: Ledger) {
    let a = ledger.sent(job("a")).await;
    let outcomes = ledger.cancel(&[cancel_job("a")]).await.unwrap();
    assert_eq!(outcomes, [CancelOutcome::TooLate(vec![a])]);
    assert_eq!(ledger.standing(a).await, SENT);
    assert_eq!(ledger.told(a).await, ["message.sent.ehr", "message.sent.ehr"]);
    let events = ledger.outbox(super::ledger::worker(), &[], 10).await.unwrap();
    assert!(events[1].body.contains("\"reason\":\"too_late\""), "{}", events[1].body);
}

pub(super) async fn after_a_late_cancel_of_a_matter_a_new_job_is_welcome(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a").about("visit")).await;
    let outcomes = ledger.cancel(&[cancel_about("visit")]).await.unwrap();
    assert_eq!(outcomes, [CancelOutcome::TooLate(vec![hand.facts.id])]);
    ledger.accept(job("b").about("visit")).await;
    // The steps that have not begun are dropped: the attempt fails, and nothing begins again.
    let retry = Then::Retry(ledger.now().await);
    ledger.settle_one(&hand, attempt, AttemptStatus::Failed, retry).await;
    follows_nothing(&ledger, Reason::Cancelled).await;
}

pub(super) async fn a_cancel_twice_is_the_same_as_once(ledger: Ledger) {
    let a = ledger.accept(job("a")).await;
    let outcomes = ledger.cancel(&[cancel_job("a"), cancel_job("a")]).await.unwrap();
    assert_eq!(outcomes[0], CancelOutcome::Cancelled(vec![a]));
    assert!(matches!(outcomes[1], CancelOutcome::Cancelled(_)), "{outcomes:?}");
    ledger.cancel(&[cancel_job("a")]).await.unwrap();
    assert_eq!(ledger.told(a).await, ["message.cancelled.ehr"]);
}

pub(super) async fn a_cancel_of_one_source_leaves_the_others_alone(ledger: Ledger) {
    let lab = ledger.accept(job("a").asked_by("lab").about("visit")).await;
    assert_eq!(
        ledger.cancel(&[cancel_job("a"), cancel_about("visit")]).await.unwrap(),
        [CancelOutcome::Tombstone, CancelOutcome::Tombstone]
    );
    assert_eq!(ledger.standing(lab).await, ACCEPTED);
    ledger.accept(job("b").asked_by("lab").about("visit")).await;
}

pub(super) async fn a_job_on_its_way_out_can_not_be_taken_back(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    let outcomes = ledger.cancel(&[cancel_job("a")]).await.unwrap();
    assert_eq!(outcomes, [CancelOutcome::TooLate(vec![hand.facts.id])]);
    assert_eq!(ledger.standing(hand.facts.id).await.0, MessageStatus::Sending);
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    assert_eq!(ledger.standing(hand.facts.id).await, SENT);
}

pub(super) async fn a_cancel_and_a_begin_at_once_never_both_win(ledger: Ledger) {
    for n in 0..40 {
        let name = format!("j{n}");
        let hand = ledger.lease(job(&name)).await;
        let row = ledger.plan(&hand).await;
        let (begins, cancels) = (ledger.another(), ledger.another());
        // Both connect first, so that both statements arrive together.
        begins.ping().await.unwrap();
        cancels.ping().await.unwrap();
        let begin = tokio::spawn(async move { begins.begin(super::ledger::worker(), &[row]).await.unwrap() });
        let cancel = tokio::spawn(async move { cancels.cancel(&[cancel_job(&name)]).await.unwrap() });
        let has_begun = !begin.await.unwrap().attempts.is_empty();
        let outcome = cancel.await.unwrap().remove(0);
        let expected = if has_begun {
            CancelOutcome::TooLate(vec![hand.facts.id])
        } else {
            CancelOutcome::Cancelled(vec![hand.facts.id])
        };
        assert_eq!(outcome, expected);
    }
}

pub(super) async fn a_job_whose_attempt_failed_can_be_taken_back(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    let retry = Then::Retry(ledger.now().await);
    ledger.settle_one(&hand, attempt, AttemptStatus::Failed, retry).await;
    let outcomes = ledger.cancel(&[cancel_job("a")]).await.unwrap();
    assert_eq!(outcomes, [CancelOutcome::Cancelled(vec![hand.facts.id])]);
    assert_eq!(ledger.standing(hand.facts.id).await, CANCELLED);
}

pub(super) async fn what_a_person_sends_once_more_is_bound_by_what_is_said_later(ledger: Ledger) {
    let first = ledger.sent(job("a")).await;
    assert_eq!(ledger.cancel(&[cancel_job("a")]).await.unwrap(), [CancelOutcome::TooLate(vec![first])]);
    // Somebody has decided since: it goes.
    let (hand, attempt) = ledger.begun(job("a").retry_of(first)).await;
    // Now the visit itself is off, and nothing follows what is on its way.
    let retry = hand.facts.id;
    let both = [CancelOutcome::TooLate(vec![first, retry])];
    assert_eq!(ledger.cancel(&[cancel_job("a")]).await.unwrap(), both);
    ledger.settle_one(&hand, attempt, AttemptStatus::Failed, Then::Retry(ledger.now().await)).await;
    follows_nothing(&ledger, Reason::Cancelled).await;
}

pub(super) async fn what_a_person_has_sent_once_more_begins_no_more_by_itself(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::Unknown).await;
    let second = ledger.sent(job("a").retry_of(hand.facts.id)).await;
    // A look-up that was under way finds nothing, and asks for it to be sent again.
    ledger.settle_one(&hand, attempt, AttemptStatus::Failed, Then::Retry(ledger.now().await)).await;
    follows_nothing(&ledger, Reason::Superseded).await;
    assert_eq!(ledger.standing(second).await, SENT);
}

pub(super) async fn of_a_cancelled_campaign_nothing_follows(ledger: Ledger) {
    for name in ["flu", "measles"] {
        let plan = serde_json::json!({ "id": name, "template": "appointment-reminder" }).to_string();
        let plan = Plan::parse(plan.as_bytes(), Some(&super::make::source("ehr")), 50).unwrap();
        assert!(ledger.create_campaign(&plan, "ana").await.unwrap());
    }
    let (gone, attempt) = ledger.begun(job("campaign:flu:1").campaign("flu")).await;
    let (stays, other) = ledger.begun(job("campaign:measles:1").campaign("measles")).await;
    ledger.execute("UPDATE campaigns SET state = 'cancelled' WHERE id = 'flu'").await.unwrap();
    for (hand, attempt) in [(&gone, attempt), (&stays, other)] {
        ledger.settle_one(hand, attempt, AttemptStatus::Failed, Then::Retry(ledger.now().await)).await;
    }
    let claimed = ledger.claim_as(Some(Channel::Sms), gone.facts.priority, 10).await.messages;
    let reason = |hand: &InHand| claimed.iter().find(|m| m.facts.id == hand.facts.id).unwrap().work.cancelled;
    assert_eq!((reason(&gone), reason(&stays)), (Some(Reason::Cancelled), None));
    // What was not in the ledger yet does not come in any more.
    taken_back(&ledger, job("campaign:flu:2").campaign("flu"), Reason::Cancelled).await;
    // What a caller has labelled so is the caller's; and a person may send to one of them all the same.
    let labelled = ledger.accept(job("c").campaign("flu")).await;
    ledger.pass(seconds(200)).await;
    let flu = CampaignId::parse("flu").unwrap();
    let again = ledger.accept(job("campaign:flu:1").campaign("flu").retry_of(gone.facts.id)).await;
    ledger.sweep_campaign(&flu, 10).await.unwrap();
    assert_eq!((ledger.standing(labelled).await, ledger.standing(again).await), (ACCEPTED, ACCEPTED));
}

pub(super) async fn a_cancel_of_the_first_leaves_the_second_try_alone(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::Unknown).await;
    let second = ledger.accept(job("a").retry_of(hand.facts.id)).await;
    let target = CancelTarget::Message(hand.facts.id);
    let cancel = Cancel { target, ..cancel_job("a") };
    assert_eq!(ledger.cancel(&[cancel]).await.unwrap(), [CancelOutcome::TooLate(vec![hand.facts.id])]);
    assert_eq!(ledger.claim_new(10).await.len(), 1);
    assert_eq!(ledger.standing(second).await, ACCEPTED);
}

/// What is due is taken in hand, is known as taken back, and does not begin.
async fn follows_nothing(ledger: &Ledger, reason: Reason) {
    let mut claimed = ledger.claim_as(Some(Channel::Sms), Priority::Normal, 10).await.messages;
    assert_eq!(claimed.len(), 1);
    let hand: InHand = claimed.remove(0).into();
    assert_eq!(hand.work.cancelled, Some(reason));
    assert!(!ledger.try_begin(ledger.plan(&hand).await).await);
}

pub(super) async fn a_tombstone_does_not_last_forever(ledger: Ledger) {
    let hour = ledger.timed(Timings { tombstone: seconds(3600), ..Timings::default() });
    hour.cancel(&[cancel_job("a"), cancel_job("b")]).await.unwrap();
    ledger.pass(seconds(3500)).await;
    taken_back(&ledger, job("b"), Reason::Cancelled).await;
    ledger.pass(seconds(101)).await;
    ledger.accept(job("a")).await;
}

pub(super) async fn what_was_taken_back_too_late_is_bound_until_it_expires(ledger: Ledger) {
    let hour = ledger.timed(Timings { tombstone: seconds(3600), ..Timings::default() });
    let (hand, attempt) = ledger.begun(job("a")).await;
    let replaced = hour.admit(&batch(vec![job("b").replacing("a")], 0)).await.unwrap();
    assert!(matches!(replaced.outcomes[..], [AdmitOutcome::Accepted(_)]));
    hour.cancel(&[cancel_job("a"), cancel_job("c")]).await.unwrap();
    ledger.settle_one(&hand, attempt, AttemptStatus::Failed, Then::Retry(ledger.now().await)).await;
    ledger.cancel(&[cancel_job("b")]).await.unwrap();
    ledger.pass(seconds(3601)).await;
    ledger.prune_arrivals(10).await.unwrap();
    ledger.accept(job("c")).await;
    ledger.cancel(&[cancel_job("c")]).await.unwrap();
    follows_nothing(&ledger, Reason::Superseded).await;
}

/// What may come, in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    A,
    B,
    CancelA,
    CancelB,
    SendA,
}

async fn take(ledger: &Ledger, step: Step, matter: &str) {
    let (a, b) = (format!("{matter}-a"), format!("{matter}-b"));
    let admit = |admission: Admission| async { ledger.admit(&batch(vec![admission], 0)).await.unwrap() };
    match step {
        Step::A => drop(admit(job(&a)).await),
        Step::B => drop(admit(job(&b).replacing(&a)).await),
        Step::CancelA => drop(ledger.cancel(&[cancel_job(&a)]).await.unwrap()),
        Step::CancelB => drop(ledger.cancel(&[cancel_job(&b)]).await.unwrap()),
        Step::SendA => send_if_open(ledger, &a).await,
    }
}

/// The worker sends the job, if it still may.
async fn send_if_open(ledger: &Ledger, name: &str) {
    for message in ledger.claim_new(1000).await {
        let is_it = message.facts.job_id.as_str() == name && message.work.cancelled.is_none();
        let hand = message.into();
        if is_it {
            let row = ledger.plan(&hand).await;
            let attempt = row.attempt;
            assert!(ledger.try_begin(row).await);
            ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
        } else {
            ledger.release(&[super::make::release(&hand)]).await.unwrap();
        }
    }
}

/// How the two jobs must stand: nothing that was taken back waits, nothing that was sent is called back.
async fn check(ledger: &Ledger, steps: &[Step], matter: &str) {
    let place = |step: Step| steps.iter().position(|s| *s == step);
    let a = find(ledger, &format!("{matter}-a")).await;
    let b = find(ledger, &format!("{matter}-b")).await;
    let a_was_sent = match (place(Step::SendA), place(Step::A)) {
        (Some(sent), Some(came)) => {
            came < sent
                && place(Step::B).is_none_or(|p| p > sent)
                && place(Step::CancelA).is_none_or(|p| p > sent)
        }
        _ => false,
    };
    if let Some(a) = a {
        let (status, _) = ledger.standing(a).await;
        let gone = steps.contains(&Step::B) || steps.contains(&Step::CancelA);
        let expected = match (a_was_sent, gone) {
            (true, _) => MessageStatus::Sent,
            (false, true) => MessageStatus::Cancelled,
            (false, false) => MessageStatus::Accepted,
        };
        assert_eq!(status, expected, "a after {steps:?}");
        ledger.told(a).await;
    }
    if let Some(b) = b {
        let row = ledger.row(b).await;
        let expected = if steps.contains(&Step::CancelB) { CANCELLED } else { ACCEPTED };
        assert_eq!((row.status, row.reason), expected, "b after {steps:?}");
        assert_eq!(row.facts.is_change, a_was_sent, "b after {steps:?}");
        ledger.told(b).await;
    }
}

async fn find(ledger: &Ledger, name: &str) -> Option<MessageId> {
    let filter = outreachd::store::rows::MessageFilter {
        job_ids: vec![super::make::job_id(name)],
        limit: 10,
        ..Default::default()
    };
    let found = ledger.messages(&filter).await.unwrap();
    assert!(found.len() <= 1, "{name} twice");
    found.first().map(|m| m.facts.id)
}

pub(super) async fn job_replacement_and_cancels_end_alike_in_every_order(ledger: Ledger) {
    let steps = [Step::A, Step::B, Step::CancelA, Step::CancelB];
    for (n, order) in orders(&steps).into_iter().enumerate() {
        let matter = format!("m{n}");
        for step in &order {
            take(&ledger, *step, &matter).await;
        }
        check(&ledger, &order, &matter).await;
    }
}

pub(super) async fn random_orders_of_job_replacement_and_cancel_end_as_the_rules_say(ledger: Ledger) {
    let steps = [Step::A, Step::B, Step::CancelA, Step::CancelB, Step::SendA];
    let all = orders(&steps);
    for (n, order) in all.iter().enumerate() {
        // Of every order only the first few steps as well, so that each part is left out now and then; and things
        // come twice, as from a broker.
        let matter = format!("r{n}");
        let order = &order[..=(n % steps.len())];
        for (i, step) in order.iter().enumerate() {
            take(&ledger, *step, &matter).await;
            if i % 2 == 0 && *step != Step::SendA {
                take(&ledger, *step, &matter).await;
            }
        }
        check(&ledger, order, &matter).await;
    }
}

fn orders(steps: &[Step]) -> Vec<Vec<Step>> {
    if steps.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (i, first) in steps.iter().enumerate() {
        let mut rest = steps.to_vec();
        rest.remove(i);
        for tail in orders(&rest) {
            all.push(std::iter::once(*first).chain(tail).collect());
        }
    }
    all
}

async fn taken_back(ledger: &Ledger, admission: Admission, reason: Reason) -> MessageId {
    let report = ledger.admit_all(vec![admission], 10).await;
    let [AdmitOutcome::TakenBack(id, because)] = report.outcomes[..] else { panic!("{:?}", report.outcomes) };
    assert_eq!(because, reason);
    assert!(report.leased.is_empty());
    id
}
