//! An attempt begins only while every reason to send still stands.

use outreachd::domain::ids::{AttemptId, SiteId};
use outreachd::domain::phi::Phi;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason};
use outreachd::store::rows::{Begin, HoldScope, Subject, Then, Timings};

use super::ledger::{InHand, Ledger, subject, worker};
use super::make::{
    PHONE, Shape, begin_of, cancel_about, decided, hold, job, patient, patient_id, provider, release,
    seconds, stop,
};

pub(super) async fn an_attempt_is_on_record_before_it_is_sent(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    let row = ledger.row(hand.facts.id).await;
    assert_eq!((row.status, row.reason, row.tries), (MessageStatus::Sending, None, 1));
    assert_eq!((row.channel, row.step), (Some(Channel::Sms), 0));
    assert_eq!(row.explanation.as_deref(), Some("{\"verdict\":\"send\"}"));
    let attempts = ledger.attempts(hand.facts.id).await.unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(
        (attempts[0].id, attempts[0].status, attempts[0].number),
        (attempt, AttemptStatus::Sending, 1)
    );
    assert_eq!(attempts[0].address, Phi::new(PHONE));
    assert_eq!((attempts[0].settled_at, attempts[0].failure), (None, None));
}

pub(super) async fn a_lost_lease_begins_nothing(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let row = ledger.plan(&hand).await;
    ledger.release(&[release(&hand)]).await.unwrap();
    assert!(!ledger.try_begin(row.clone()).await, "given back");
    ledger.claim_new(1).await;
    refused(&ledger, row).await;
}

pub(super) async fn a_lease_with_too_little_left_begins_nothing(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let row = ledger.plan(&hand).await;
    // The lease lasts a minute; a send may take twenty seconds of it.
    ledger.pass(seconds(45)).await;
    assert!(!ledger.try_begin(row.clone()).await);
    let quick = ledger.timed(Timings { send: seconds(5), ..Timings::default() });
    let begun = quick.begin(worker(), std::slice::from_ref(&row)).await.unwrap();
    assert_eq!(begun.attempts, [row.attempt]);
}

pub(super) async fn an_answer_that_is_due_to_change_begins_nothing(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let row = ledger.plan(&hand).await;
    refused(&ledger, Begin { valid_until: ledger.now().await, ..row }).await;
}

pub(super) async fn a_change_of_the_patient_begins_nothing(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let unknown = ledger.plan(&hand).await;
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    refused(&ledger, unknown).await;
    let known = ledger.plan(&hand).await;
    ledger.upsert_patients(vec![patient("P2", "2026-01-01T00:00:00Z")]).await.unwrap();
    let mut newer = patient("P1", "2026-02-01T00:00:00Z");
    newer.deceased = true;
    ledger.upsert_patients(vec![newer]).await.unwrap();
    refused(&ledger, known).await;
    assert!(ledger.try_begin(ledger.plan(&hand).await).await, "planned anew");
}

pub(super) async fn a_stop_at_the_address_begins_nothing(ledger: Ledger) {
    let both = ["P1", "P2"].map(|name| patient(name, "2026-01-01T00:00:00Z"));
    ledger.upsert_patients(both.to_vec()).await.unwrap();
    let one = ledger.lease(job("a")).await;
    let other = ledger.lease(job("b").patient("P2")).await;
    let rows = [ledger.plan(&one).await, ledger.plan(&other).await];
    ledger.record_address_consents(&[stop("2026-02-01T00:00:00Z")]).await.unwrap();
    for row in rows {
        refused(&ledger, row).await;
    }
}

pub(super) async fn a_stop_at_a_snapshots_address_begins_nothing(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let asked =
        Subject { inline_addresses: vec![Phi::new(PHONE), Phi::new("+13125550143")], ..subject(&hand) };
    let directory = ledger.directory(&[asked]).await.unwrap();
    let row = begin_of(&hand, directory.entries[0].state.clone(), directory.now + seconds(60));
    ledger.record_address_consents(&[stop("2026-02-01T00:00:00Z")]).await.unwrap();
    refused(&ledger, row).await;
}

pub(super) async fn a_merge_begins_nothing(ledger: Ledger) {
    let both = ["P1", "P2"].map(|name| patient(name, "2026-01-01T00:00:00Z"));
    ledger.upsert_patients(both.to_vec()).await.unwrap();
    let one = ledger.lease(job("a")).await;
    let other = ledger.lease(job("b").patient("P2")).await;
    let rows = [ledger.plan(&one).await, ledger.plan(&other).await];
    assert!(ledger.merge_patients(&patient_id("P1"), &patient_id("P2")).await.unwrap());
    for row in rows {
        refused(&ledger, row).await;
    }
}

pub(super) async fn a_cancel_begins_nothing(ledger: Ledger) {
    let hand = ledger.lease(job("a").about("visit")).await;
    let row = ledger.plan(&hand).await;
    ledger.cancel(&[cancel_about("visit")]).await.unwrap();
    refused(&ledger, row).await;
    // As when cancel and job came in side by side: the tombstone alone is enough.
    for (kind, name) in [("job", "b"), ("about", "matter")] {
        let hand = ledger.lease(job("b").about("matter").asked_by(kind)).await;
        let row = ledger.plan(&hand).await;
        ledger.cancel(&[cancel_about("nobody")]).await.unwrap();
        let sql = format!(
            "UPDATE tombstones SET source = '{kind}', kind = '{kind}', name = '{name}' WHERE name = 'nobody'"
        );
        assert_eq!(ledger.execute(&sql).await.unwrap(), 1);
        refused(&ledger, row).await;
    }
}

pub(super) async fn every_scope_of_hold_begins_nothing(ledger: Ledger) {
    let scopes = [
        (HoldScope::All, ""),
        (HoldScope::Source, "ehr"),
        (HoldScope::Site, "north"),
        (HoldScope::Template, "appointment-reminder"),
        (HoldScope::Purpose, "appointment"),
        (HoldScope::Channel, "sms"),
        (HoldScope::Provider, "twilio-main"),
        (HoldScope::Campaign, "flu"),
    ];
    assert_eq!(scopes.len(), HoldScope::ALL.len());
    let hand = ledger.lease(job("campaign:flu:1").site("north").campaign("flu")).await;
    for (scope, value) in scopes {
        let placed = hold(scope, value);
        ledger.place_hold(&placed).await.unwrap();
        refused(&ledger, ledger.plan(&hand).await).await;
        assert!(ledger.release_hold(placed.id, "u1", None).await.unwrap());
    }
    assert!(ledger.try_begin(ledger.plan(&hand).await).await);

    // What only bears the campaign's name goes: it is its caller's.
    let labelled = ledger.lease(job("a").campaign("flu")).await;
    let paused = hold(HoldScope::Campaign, "flu");
    ledger.place_hold(&paused).await.unwrap();
    assert!(ledger.try_begin(ledger.plan(&labelled).await).await);
    assert!(ledger.release_hold(paused.id, "u1", None).await.unwrap());

    // Its patient's site, which it was given when it was planned, is its own from then on.
    let mut planned = ledger.lease(job("b")).await;
    let placed = hold(HoldScope::Site, "north");
    ledger.place_hold(&placed).await.unwrap();
    std::sync::Arc::make_mut(&mut planned.facts).site = SiteId::parse("north");
    refused(&ledger, ledger.plan(&planned).await).await;
    assert!(ledger.release_hold(placed.id, "u1", None).await.unwrap());
    assert!(ledger.try_begin(ledger.plan(&planned).await).await);
    assert_eq!(ledger.row(planned.facts.id).await.facts.site, SiteId::parse("north"));
    let waiting = ledger.lease(job("c")).await;
    let now = ledger.now().await;
    let mut held = decided(&waiting, MessageStatus::Held, Some(Reason::QuietHours), now);
    held.facts.site = SiteId::parse("north");
    ledger.decide_one(held).await;
    assert_eq!(ledger.row(waiting.facts.id).await.facts.site, SiteId::parse("north"));
}

pub(super) async fn a_hold_on_others_does_not_matter(ledger: Ledger) {
    let mut ended = hold(HoldScope::All, "");
    ended.until = Some(ledger.now().await);
    ledger.place_hold(&ended).await.unwrap();
    for (scope, value) in [
        (HoldScope::Source, "lab"),
        (HoldScope::Site, "south"),
        (HoldScope::Template, "other"),
        (HoldScope::Purpose, "marketing"),
        (HoldScope::Channel, "email"),
        (HoldScope::Provider, "twilio-other"),
        (HoldScope::Campaign, "other"),
    ] {
        ledger.place_hold(&hold(scope, value)).await.unwrap();
    }
    let at_a_site = ledger.lease(job("a").site("north")).await;
    let nowhere = ledger.lease(job("b")).await;
    for hand in [at_a_site, nowhere] {
        assert!(ledger.try_begin(ledger.plan(&hand).await).await);
    }
}

pub(super) async fn a_final_message_begins_nothing(ledger: Ledger) {
    let finals = [
        MessageStatus::Sent,
        MessageStatus::Failed,
        MessageStatus::Delivered,
        MessageStatus::Read,
        MessageStatus::Suppressed,
        MessageStatus::Expired,
        MessageStatus::Cancelled,
    ];
    for status in finals {
        let hand = ledger.lease(job(status.as_str())).await;
        let row = ledger.plan(&hand).await;
        // As when a receipt or a decision lands while the lease lasts.
        let sql = format!("UPDATE messages SET status = '{status}' WHERE job_id = '{status}'");
        assert_eq!(ledger.execute(&sql).await.unwrap(), 1);
        refused(&ledger, row).await;
        assert_eq!(ledger.standing(hand.facts.id).await.0, status);
    }
    let hand = ledger.lease(job("a")).await;
    let row = ledger.plan(&hand).await;
    ledger
        .decide_one(decided(&hand, MessageStatus::Suppressed, Some(Reason::NoContact), ledger.now().await))
        .await;
    refused(&ledger, row).await;
}

pub(super) async fn an_unknown_outcome_is_not_sent_again_blindly(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    // In flight.
    let again = Begin { attempt: AttemptId::generate(), number: 2, ..ledger.plan(&hand).await };
    refused(&ledger, again).await;
    let now = ledger.now().await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::UnknownRetry(now)).await;
    let hand = claimed(&ledger).await;
    refused(&ledger, ledger.plan(&hand).await).await;
    assert_eq!(ledger.attempts(hand.facts.id).await.unwrap().len(), 1);
}

pub(super) async fn an_unknown_outcome_is_sent_again_where_repeats_are_recognised(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let row = Begin { dedupes: true, provider: provider("portal"), ..ledger.plan(&hand).await };
    let attempt = row.attempt;
    assert!(ledger.try_begin(row).await);
    let now = ledger.now().await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::UnknownRetry(now)).await;
    let hand = claimed(&ledger).await;
    assert_eq!(hand.work.bound_to, Some(provider("portal")));
    let elsewhere = Begin { dedupes: true, provider: provider("portal-2"), ..ledger.plan(&hand).await };
    refused(&ledger, elsewhere).await;
    let row = Begin { dedupes: true, provider: provider("portal"), ..ledger.plan(&hand).await };
    assert!(ledger.try_begin(row).await, "only its own provider recognises the repeat");
    let row = ledger.row(hand.facts.id).await;
    assert_eq!(
        (row.status, row.tries),
        (MessageStatus::Unknown, 2),
        "what is unknown stays so while it is tried"
    );
}

pub(super) async fn one_refusal_does_not_stop_the_others(ledger: Ledger) {
    let hands = [ledger.lease(job("a")).await, ledger.lease(job("b")).await, ledger.lease(job("c")).await];
    let mut rows = Vec::new();
    for hand in &hands {
        rows.push(ledger.plan(hand).await);
    }
    rows[1].token += 1000;
    let begun = ledger.begin(worker(), &rows).await.unwrap();
    let mut expected = vec![rows[0].attempt, rows[2].attempt];
    let mut attempts = begun.attempts;
    expected.sort();
    attempts.sort();
    assert_eq!(attempts, expected);
    assert!(ledger.begin(worker(), &[]).await.unwrap().attempts.is_empty());
}

async fn refused(ledger: &Ledger, row: Begin) {
    let attempt = row.attempt;
    let id = row.facts.id;
    assert!(!ledger.try_begin(row).await);
    assert!(ledger.attempts(id).await.unwrap().iter().all(|a| a.id != attempt), "no attempt is on record");
}

async fn claimed(ledger: &Ledger) -> InHand {
    let mut claimed = ledger.claim_as(Some(Channel::Sms), Priority::Normal, 1).await.messages;
    claimed.remove(0).into()
}
