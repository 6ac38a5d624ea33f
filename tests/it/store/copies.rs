//! Copies for proxies who are written to beside the patient: once each, and taken back with their job.

use std::sync::Arc;

use outreachd::domain::ids::MessageId;
use outreachd::domain::phi::Phi;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason, Recipient};
use outreachd::store::Store;
use outreachd::store::rows::{CancelOutcome, CopyFor, MessageFilter, MessageRow, NewCopy, Then};

use super::ledger::{InHand, Ledger};
use super::make::{Shape, cancel_about, cancel_job, job};

/// The copy of what is in hand for one proxy, as a planner asks for it.
async fn copy(ledger: &Ledger, hand: &InHand, proxy: &str) -> NewCopy {
    let mut body = ledger.row(hand.facts.id).await.body;
    body.copy = Some(CopyFor { message: hand.facts.id, proxy: Phi::new(proxy) });
    NewCopy { id: MessageId::generate(), of: hand.facts.id, token: hand.work.token, body }
}

async fn copies(ledger: &Ledger, of: MessageId) -> Vec<MessageRow> {
    let filter = MessageFilter { copies_of: vec![of], limit: 10, ..MessageFilter::default() };
    ledger.messages(&filter).await.unwrap()
}

pub(super) async fn a_proxy_gets_one_copy_however_often_it_is_asked_for(ledger: Ledger) {
    let hand = ledger.lease(job("a").about("visit")).await;
    let (luis, rosa) = (copy(&ledger, &hand, "patient:P7").await, copy(&ledger, &hand, "name:Rosa\n").await);
    // A worker that died after it wrote them asks again with ids of its own; two may do so at once.
    let again = copy(&ledger, &hand, "patient:P7").await;
    let asks: Vec<(Arc<dyn Store>, Vec<NewCopy>)> = vec![
        (ledger.another(), vec![luis.clone(), rosa.clone()]),
        (ledger.another(), vec![rosa.clone(), again.clone()]),
        (ledger.another(), vec![again]),
    ];
    let asks = asks.into_iter().map(|(store, copies)| tokio::spawn(async move { store.copy(&copies).await }));
    for ask in asks.collect::<Vec<_>>() {
        ask.await.unwrap().unwrap();
    }
    let rows = copies(&ledger, hand.facts.id).await;
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!((row.copy_of, row.recipient()), (Some(hand.facts.id), Recipient::Proxy));
        assert_eq!((row.status, row.step), (MessageStatus::Accepted, 0));
        let (theirs, original) = (&row.facts, &hand.facts);
        assert_eq!(
            (&theirs.job_id, &theirs.about, &theirs.patient_id),
            (&original.job_id, &original.about, &original.patient_id)
        );
        assert_eq!(row.body.data, ledger.row(hand.facts.id).await.body.data);
    }
    let mut claimed: Vec<MessageId> = ledger.claim_new(10).await.iter().map(|m| m.facts.id).collect();
    claimed.sort_unstable();
    let mut written: Vec<MessageId> = rows.iter().map(|row| row.facts.id).collect();
    written.sort_unstable();
    assert_eq!(claimed, written, "they go their own way");
    let by_name =
        MessageFilter { job_ids: vec![hand.facts.job_id.clone()], limit: 10, ..MessageFilter::default() };
    let named = ledger.messages(&by_name).await.unwrap();
    assert_eq!(
        named.iter().map(|row| row.facts.id).collect::<Vec<_>>(),
        [hand.facts.id],
        "the job's name is the patient's"
    );

    // In another hand, or sent: no more.
    let lost = NewCopy { token: hand.work.token + 1, ..copy(&ledger, &hand, "patient:P8").await };
    ledger.copy(&[lost]).await.unwrap();
    let (sent, _) = ledger.begun(job("b")).await;
    let late = copy(&ledger, &sent, "patient:P7").await;
    ledger.copy(&[late]).await.unwrap();
    assert_eq!(
        (copies(&ledger, hand.facts.id).await.len(), copies(&ledger, sent.facts.id).await.len()),
        (2, 0)
    );
}

pub(super) async fn whoever_takes_a_job_back_takes_its_copies_back(ledger: Ledger) {
    for (name, cancel) in [("a", cancel_job("a")), ("b", cancel_about("visit"))] {
        let hand = ledger.lease(job(name).about("visit")).await;
        let theirs = copy(&ledger, &hand, "patient:P7").await;
        ledger.copy(std::slice::from_ref(&theirs)).await.unwrap();
        let outcomes = ledger.cancel(&[cancel]).await.unwrap();
        let CancelOutcome::Cancelled(mut gone) = outcomes[0].clone() else { panic!("{outcomes:?}") };
        gone.sort_unstable();
        let mut both = vec![hand.facts.id, theirs.id];
        both.sort_unstable();
        assert_eq!(gone, both);
        let cancelled = (MessageStatus::Cancelled, Some(Reason::Cancelled));
        assert_eq!(ledger.standing(theirs.id).await, cancelled);
        assert_eq!(ledger.told(theirs.id).await, ["message.cancelled.ehr"]);
        // Whoever still has it in hand can write no copy any more.
        ledger.copy(&[copy(&ledger, &hand, "patient:P8").await]).await.unwrap();
        assert_eq!(copies(&ledger, hand.facts.id).await.len(), 1);
    }
}

pub(super) async fn a_copy_that_waits_is_taken_back_though_the_patient_has_theirs(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let theirs = copy(&ledger, &hand, "patient:P7").await;
    ledger.copy(std::slice::from_ref(&theirs)).await.unwrap();
    assert!(ledger.try_begin(ledger.plan(&hand).await).await);
    let b = ledger.lease(job("b").replacing("a")).await;
    assert!(b.facts.is_change, "the patient has read it");
    assert_eq!(ledger.standing(theirs.id).await, (MessageStatus::Cancelled, Some(Reason::Superseded)));
    assert_eq!(ledger.standing(hand.facts.id).await.0, MessageStatus::Sending);
}

pub(super) async fn a_cancel_of_a_matter_binds_a_copy_on_its_way(ledger: Ledger) {
    let hand = ledger.lease(job("a").about("visit")).await;
    ledger.copy(&[copy(&ledger, &hand, "patient:P7").await]).await.unwrap();
    let theirs = InHand::from(ledger.claim_new(10).await.remove(0));
    let row = ledger.plan(&theirs).await;
    let attempt = row.attempt;
    assert!(ledger.try_begin(row).await);
    ledger.cancel(&[cancel_about("visit")]).await.unwrap();
    assert_eq!(ledger.standing(hand.facts.id).await.0, MessageStatus::Cancelled);
    // The provider was busy: it is due again, and goes nowhere.
    ledger.settle_one(&theirs, attempt, AttemptStatus::Failed, Then::Retry(ledger.now().await)).await;
    let again =
        InHand::from(ledger.claim_as(Some(Channel::Sms), Priority::Normal, 10).await.messages.remove(0));
    assert_eq!(again.work.cancelled, Some(Reason::Cancelled));
    assert!(!ledger.try_begin(ledger.plan(&again).await).await);
}

pub(super) async fn a_second_try_of_a_copy_is_a_copy(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let theirs = copy(&ledger, &hand, "patient:P7").await;
    ledger.copy(std::slice::from_ref(&theirs)).await.unwrap();
    let again = ledger.accept(job("a").retry_of(theirs.id)).await;
    let row = ledger.row(again).await;
    assert_eq!((row.copy_of, row.recipient()), (Some(hand.facts.id), Recipient::Proxy));
    let own = ledger.accept(job("a").retry_of(hand.facts.id)).await;
    assert_eq!(ledger.row(own).await.copy_of, None);
    // Whoever takes the job back takes it back, too.
    ledger.cancel(&[cancel_job("a")]).await.unwrap();
    assert_eq!(ledger.standing(again).await.0, MessageStatus::Cancelled);
}

pub(super) async fn a_cancel_and_a_copy_at_once_leave_nothing_to_send(ledger: Ledger) {
    for n in 0..20 {
        let hand = ledger.lease(job(&format!("a{n}"))).await;
        let theirs = copy(&ledger, &hand, "patient:P7").await;
        let (one, other) = (ledger.another(), ledger.another());
        let cancel = cancel_job(&format!("a{n}"));
        let (copied, cancelled) =
            tokio::join!(async { one.copy(&[theirs]).await }, async { other.cancel(&[cancel]).await });
        copied.unwrap();
        cancelled.unwrap();
        let rows = copies(&ledger, hand.facts.id).await;
        assert!(rows.iter().all(|row| row.status == MessageStatus::Cancelled), "{rows:?}");
    }
}
