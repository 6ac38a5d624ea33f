//! How often somebody was disturbed is counted with the attempt: exactly, whoever else sends at the same moment.

use std::sync::Arc;

use outreachd::domain::phi::Phi;
use outreachd::domain::words::{Priority, Purpose};
use outreachd::policy::cap::Recent;
use outreachd::store::Store;
use outreachd::store::rows::{Begin, Count, Counted, Directory, Rider};

use super::ledger::{InHand, Ledger, subject, worker};
use super::make::{PHONE, Shape, begin_of, job, patient, patient_id, seconds};

pub(super) async fn what_was_counted_is_seen(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let hand = ledger.lease(job("a")).await;
    let directory = ledger.directory(&[subject(&hand)]).await.unwrap();
    assert!(recent(&directory).iter().all(|kept| kept.kept().is_none()), "nothing was sent");
    let row = counted(&hand, &directory);
    assert!(ledger.try_begin(row).await);
    let after = ledger.directory(&[subject(&hand)]).await.unwrap();
    assert!(recent(&after).iter().all(|kept| kept.has(hand.facts.id)), "by person and by address");
    assert_eq!(after.entries[0].state, directory.entries[0].state, "what is planned elsewhere still stands");
}

pub(super) async fn of_two_that_saw_the_same_the_second_is_refused(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let (one, two) = (ledger.lease(job("a")).await, ledger.lease(job("b")).await);
    let directory = ledger.directory(&[subject(&one), subject(&two)]).await.unwrap();
    let rows = [counted(&one, &directory), counted(&two, &directory)];
    let begun = ledger.begin(worker(), &rows).await.unwrap();
    assert_eq!(begun.attempts, [rows[0].attempt], "in one batch");
    assert!(!ledger.try_begin(rows[1].clone()).await, "or in the next");
    let directory = ledger.directory(&[subject(&two)]).await.unwrap();
    assert!(
        ledger.try_begin(counted(&two, &directory)).await,
        "decided upon again, it may go if the cap allows"
    );
}

pub(super) async fn a_household_shares_its_number_and_its_cap(ledger: Ledger) {
    let people = vec![patient("P1", "2026-01-01T00:00:00Z"), patient("P2", "2026-01-01T00:00:00Z")];
    ledger.upsert_patients(people).await.unwrap();
    let (one, two) = (ledger.lease(job("a")).await, ledger.lease(job("b").patient("P2")).await);
    let directory = ledger.directory(&[subject(&one), subject(&two)]).await.unwrap();
    assert!(directory.entries[0].addresses[0].shared);
    let mut second = counted(&one, &directory);
    assert!(ledger.try_begin(second.clone()).await);
    let mut count = second.count.take().unwrap();
    count.person.as_mut().unwrap().subject = "P2".to_owned();
    count.person.as_mut().unwrap().before = None;
    let row = Begin {
        count: Some(count),
        ..begin_of(&two, directory.entries[1].state.clone(), second.valid_until)
    };
    assert!(!ledger.try_begin(row).await);
}

/// A household's message tells two people of theirs: both are counted, and where one of them was written to meanwhile
/// nothing of it begins.
pub(super) async fn whoever_is_told_along_is_counted(ledger: Ledger) {
    let people = ["P1", "P2"].map(|id| patient(id, "2026-01-01T00:00:00Z"));
    ledger.upsert_patients(people.to_vec()).await.unwrap();
    let of = async |hand: &InHand| {
        let directory = ledger.directory(&[subject(hand)]).await.unwrap();
        Recent::parse(directory.entries[0].recent[0].as_deref())
    };
    for (n, disturbed) in [false, true].into_iter().enumerate() {
        let carrier = ledger.lease(job(&format!("carrier-{n}"))).await;
        let rider = ledger.lease(job(&format!("rider-{n}")).patient("P2")).await;
        let directory = ledger.directory(&[subject(&carrier), subject(&rider)]).await.unwrap();
        let mut row = counted(&carrier, &directory);
        row.riders.push(Rider {
            message: rider.facts.id,
            site: None,
            token: rider.work.token,
            step: rider.work.step,
            state: directory.entries[1].state.clone(),
            valid_until: row.valid_until,
            explanation: "{}".to_owned(),
        });
        let before = directory.entries[1].recent[0].clone();
        row.count.as_mut().unwrap().others.push(Counted {
            subject: "P2".to_owned(),
            after: Recent::parse(before.as_deref()).with(rider.facts.id, directory.now),
            before,
            entry: Recent::entry(directory.now, rider.facts.id),
        });
        if disturbed {
            // Somebody else writes to them in this moment.
            let other = ledger.lease(job("other").patient("P2")).await;
            let mut second = begin_of(&other, directory.entries[1].state.clone(), row.valid_until);
            let person = row.count.as_ref().unwrap().others[0].clone();
            second.count = Some(Count { person: None, address: Some(person), others: Vec::new() });
            assert!(ledger.try_begin(second).await);
        }
        let (count, begun) = (row.count.clone().unwrap(), ledger.try_begin(row).await);
        assert_eq!(begun, !disturbed);
        assert_eq!(of(&carrier).await.has(carrier.facts.id), begun);
        if !disturbed {
            assert!(of(&rider).await.has(rider.facts.id), "as its own, should it go by itself one day");
            ledger.uncount(&count).await.unwrap();
            assert_eq!(of(&rider).await.kept(), None, "what was not sent is forgotten for all of them");
            assert_eq!(of(&carrier).await.kept(), None);
        }
    }
}

pub(super) async fn what_was_not_sent_is_forgotten(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let mut counts = Vec::new();
    for id in ["a", "b", "c"] {
        let hand = ledger.lease(job(id)).await;
        let directory = ledger.directory(&[subject(&hand)]).await.unwrap();
        let row = counted(&hand, &directory);
        counts.push((hand.facts.id, row.count.clone().unwrap()));
        assert!(ledger.try_begin(row).await);
    }
    let hand = ledger.lease(job("d")).await;
    ledger.uncount(&counts[1].1).await.unwrap();
    for kept in recent(&ledger.directory(&[subject(&hand)]).await.unwrap()) {
        assert_eq!([0, 1, 2].map(|n| kept.has(counts[n].0)), [true, false, true]);
    }
    for n in [0, 2, 2] {
        ledger.uncount(&counts[n].1).await.unwrap();
    }
    assert!(
        recent(&ledger.directory(&[subject(&hand)]).await.unwrap()).iter().all(|kept| kept.kept().is_none())
    );
}

pub(super) async fn what_is_due_within_a_day_is_known_to_those_that_yield(ledger: Ledger) {
    let hand = ledger.lease(job("a")).await;
    let now = ledger.now().await;
    ledger.accept(job("b").due(now + seconds(3_600))).await;
    ledger.accept(job("c").due(now + seconds(30 * 3_600))).await;
    ledger.accept(job("d").patient("P2").due(now + seconds(3_600))).await;
    // What nobody waits for takes no place.
    for (id, purpose) in [("e", Purpose::Marketing), ("f", Purpose::Survey)] {
        let mut offer = job(id).due(now + seconds(3_600));
        offer.facts.purpose = purpose;
        ledger.accept(offer).await;
    }
    ledger.accept(job("g").priority(Priority::Bulk).due(now + seconds(3_600))).await;
    let mut asked = subject(&hand);
    let reserved = |directory: Directory| directory.entries[0].reserved;
    assert_eq!(reserved(ledger.directory(&[asked.clone()]).await.unwrap()), 0);
    asked.yields = true;
    // Itself it has in hand: it stands among what is due, too.
    assert_eq!(reserved(ledger.directory(&[asked]).await.unwrap()), 2);
}

/// Three workers, fifty jobs for one patient, all at once: what they may not send, they do not.
pub(super) async fn many_at_once_never_cross_a_cap(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let mut hands = Vec::new();
    for n in 0..50 {
        hands.push(ledger.lease(job(&format!("j{n}"))).await);
    }
    let stores: Vec<Arc<dyn Store>> = (0..3).map(|_| ledger.another()).collect();
    let most = 3;
    let tasks: Vec<_> = hands
        .into_iter()
        .enumerate()
        .map(|(n, hand)| tokio::spawn(until_the_cap(stores[n % 3].clone(), hand, most)))
        .collect();
    let mut sent = 0;
    for task in tasks {
        sent += usize::from(task.await.unwrap());
    }
    assert_eq!(sent, most);
}

/// Decides and begins again and again, as a worker would, until it is sent or the cap is reached.
async fn until_the_cap(store: Arc<dyn Store>, hand: InHand, most: usize) -> bool {
    loop {
        let directory = store.directory(&[subject(&hand)]).await.unwrap();
        let row = counted(&hand, &directory);
        if recent(&directory)[0].kept().unwrap_or_default().split_whitespace().count() >= most {
            return false;
        }
        if store.begin(worker(), std::slice::from_ref(&row)).await.unwrap().attempts == [row.attempt] {
            return true;
        }
    }
}

/// The patient's own, and the address's.
fn recent(directory: &Directory) -> Vec<Recent> {
    let entry = &directory.entries[0];
    let address = entry.addresses.iter().find(|a| a.address == Phi::new(PHONE)).unwrap();
    [&entry.recent[0], &address.recent].map(|kept| Recent::parse(kept.as_deref())).into()
}

fn counted(hand: &InHand, directory: &Directory) -> Begin {
    let kept = recent(directory);
    let entry = &directory.entries[0];
    let after = |kept: &Recent| kept.with(hand.facts.id, directory.now);
    let counts = Recent::entry(directory.now, hand.facts.id);
    let count = Count {
        person: Some(Counted {
            subject: patient_id("P1").as_str().to_owned(),
            before: kept[0].kept().map(str::to_owned),
            after: after(&kept[0]),
            entry: counts.clone(),
        }),
        address: Some(Counted {
            subject: entry.addresses[0].subject.clone(),
            before: kept[1].kept().map(str::to_owned),
            after: after(&kept[1]),
            entry: counts,
        }),
        others: Vec::new(),
    };
    Begin { count: Some(count), ..begin_of(hand, entry.state.clone(), directory.now + seconds(60)) }
}
