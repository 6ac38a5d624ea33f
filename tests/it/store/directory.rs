//! What decisions rest on.

use outreachd::domain::failure::Failure;
use outreachd::domain::ids::AttemptId;
use outreachd::domain::patient::{Person, Proxy, ProxyPerson};
use outreachd::domain::phi::Phi;
use outreachd::domain::status::AttemptStatus;
use outreachd::domain::words::{Channel, Priority, ProxyMode, Purpose, Reason};
use outreachd::store::StoreError;
use outreachd::store::rows::{AddressConsent, Begin, HoldScope, OnRelease, Settlement, Subject, Then};

use super::ledger::{InHand, Ledger, subject};
use super::make::{PHONE, Shape, guardian, hold, job, patient, patient_id, route, seconds, stop};

pub(super) async fn a_patient_is_found_under_every_name(ledger: Ledger) {
    let old = patient("P1", "2026-01-01T00:00:00Z");
    let kept = patient("P2", "2026-01-01T00:00:00Z");
    ledger.upsert_patients(vec![old, kept]).await.unwrap();
    let (one, two) = (asking("P1"), asking("P2"));
    let before = ledger.directory(&[one.clone(), two.clone()]).await.unwrap();
    assert_eq!(before.entries[0].patient.as_ref().unwrap().id, patient_id("P1"));
    assert!(ledger.merge_patients(&patient_id("P1"), &patient_id("P2")).await.unwrap());
    let after = ledger.directory(&[one, two]).await.unwrap();
    for entry in &after.entries {
        assert_eq!(entry.patient.as_ref().unwrap().id, patient_id("P2"));
        assert_eq!(entry.state, after.entries[1].state);
    }
    assert_ne!(before.entries[0].state, after.entries[0].state);
    assert_ne!(before.entries[1].state, after.entries[1].state);
}

pub(super) async fn a_number_is_of_those_whose_own_it_is(ledger: Ledger) {
    // Two children, whose mother has a number that is also the own one of so many.
    let child = |id: &str| {
        let mut child = patient(id, "2026-01-01T00:00:00Z");
        let contacts = std::mem::take(&mut child.contacts);
        let mother = Person { name: None, language: None, timezone: None, contacts };
        let mother = ProxyPerson::Person(Box::new(mother));
        child.proxies = vec![Proxy { mode: ProxyMode::Also, ..guardian(mother) }];
        child
    };
    ledger.upsert_patients(vec![child("P1"), child("P2")]).await.unwrap();
    for (others, shared, of_several) in
        [(&[] as &[&str], true, false), (&["P3"], true, false), (&["P4"], true, true)]
    {
        let people: Vec<_> = others.iter().map(|id| patient(id, "2026-01-01T00:00:00Z")).collect();
        let others = people.len();
        ledger.upsert_patients(people).await.unwrap();
        let directory = ledger.directory(&[asking("P1")]).await.unwrap();
        let seen = &directory.entries[0].addresses[0];
        assert_eq!((seen.shared, seen.of_several), (shared, of_several));
        let behind: Vec<(&str, bool)> = seen.behind.iter().map(|b| (b.patient.id.as_str(), b.own)).collect();
        let own = if of_several { &[("P3", true), ("P4", true)] as &[_] } else { &[("P3", true)] };
        let own = if others == 0 { &[] } else { own };
        assert_eq!(behind, [&[("P1", false), ("P2", false)], own].concat());
    }
}

pub(super) async fn a_guardian_who_was_merged_is_known_at_a_shared_number(ledger: Ledger) {
    let child = |id: &str| {
        let mut child = patient(id, "2026-01-01T00:00:00Z");
        child.proxies = vec![guardian(ProxyPerson::Patient(patient_id("M1")))];
        child
    };
    let [mother, kept] = ["M1", "M2"].map(|id| patient(id, "2026-01-01T00:00:00Z"));
    ledger.upsert_patients(vec![child("P1"), child("P2"), mother, kept]).await.unwrap();
    assert!(ledger.merge_patients(&patient_id("M1"), &patient_id("M2")).await.unwrap());
    for id in ["P1", "M2"] {
        let directory = ledger.directory(&[asking(id)]).await.unwrap();
        let behind = &directory.entries[0].addresses[0].behind;
        let ids: Vec<&str> = behind.iter().map(|b| b.patient.id.as_str()).collect();
        assert_eq!(ids, ["M2", "P1", "P2"]);
        let guardians = behind.iter().flat_map(|b| &b.patient.proxies).map(Proxy::key);
        assert_eq!(
            guardians.collect::<Vec<_>>(),
            [Proxy::key_of(&patient_id("M2")), Proxy::key_of(&patient_id("M2"))]
        );
    }
}

pub(super) async fn an_unknown_patient_has_a_revision_all_the_same(ledger: Ledger) {
    let before = ledger.directory(&[asking("P9")]).await.unwrap();
    assert!(before.entries[0].patient.is_none());
    ledger.upsert_patients(vec![patient("P9", "2026-01-01T00:00:00Z")]).await.unwrap();
    let after = ledger.directory(&[asking("P9")]).await.unwrap();
    assert_eq!(before.entries[0].state.subjects, after.entries[0].state.subjects);
    assert!(after.entries[0].state.revision > before.entries[0].state.revision);
}

pub(super) async fn what_was_said_at_an_address_is_found(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let before = ledger.directory(&[asking("P1")]).await.unwrap();
    assert!(before.entries[0].address_consents.is_empty());
    let about_marketing =
        AddressConsent { purpose: Some(Purpose::Marketing), ..stop("2026-03-01T00:00:00Z") };
    ledger.record_address_consents(&[stop("2026-02-01T00:00:00Z"), about_marketing]).await.unwrap();
    let after = ledger.directory(&[asking("P1")]).await.unwrap();
    let mut said = after.entries[0].address_consents.clone();
    said.sort_by_key(|c| c.at);
    assert_eq!(said.len(), 2);
    assert_eq!((said[0].purpose, said[0].channel, said[0].granted), (None, Some(Channel::Sms), false));
    assert_eq!(said[0].address, Some(Phi::new(PHONE)));
    assert_eq!((said[0].by.as_deref(), said[0].evidence.as_deref()), (Some("reply"), Some("STOP")));
    assert_eq!(said[1].purpose, Some(Purpose::Marketing));
    assert!(after.entries[0].state.revision > before.entries[0].state.revision);
}

pub(super) async fn what_was_said_at_a_snapshots_address_is_found(ledger: Ledger) {
    ledger.record_address_consents(&[stop("2026-02-01T00:00:00Z")]).await.unwrap();
    let snapshot = Subject { inline_addresses: vec![Phi::new(PHONE)], ..asking("P9") };
    let directory = ledger.directory(&[snapshot.clone(), asking("P9")]).await.unwrap();
    assert_eq!(directory.entries[0].address_consents.len(), 1);
    assert_eq!(directory.entries[0].state.subjects.len(), 2);
    assert!(directory.entries[1].address_consents.is_empty());
    ledger.record_address_consents(&[stop("2026-02-02T00:00:00Z")]).await.unwrap();
    let later = ledger.directory(&[snapshot]).await.unwrap();
    assert!(later.entries[0].state.revision > directory.entries[0].state.revision);
    // An address is the same however it is spelt.
    let mail = AddressConsent {
        channel: Channel::Email,
        address: Phi::new("Ana@Example.org"),
        ..stop("2026-02-01T00:00:00Z")
    };
    ledger.record_address_consents(&[mail]).await.unwrap();
    let snapshot = Subject { inline_addresses: vec![Phi::new("ana@example.org")], ..asking("P9") };
    let directory = ledger.directory(&[snapshot]).await.unwrap();
    assert_eq!(directory.entries[0].address_consents[0].address, Some(Phi::new("ana@example.org")));
}

pub(super) async fn routes_that_were_given_up_are_remembered(ledger: Ledger) {
    let (hand, first) = ledger.begun(job("a")).await;
    let retry = Then::Retry(ledger.now().await);
    ledger.settle_one(&hand, first, AttemptStatus::Failed, retry).await;
    let hand = again(&ledger).await;
    let row = Begin { attempt: AttemptId::generate(), ..ledger.plan(&hand).await };
    let second = row.attempt;
    assert!(ledger.try_begin(row).await);
    let refused = Settlement {
        failure: Some(Failure::BadAddress),
        ..ledger
            .settlement(&hand, second, AttemptStatus::Failed, Then::NextStep(Reason::InvalidAddress))
            .await
    };
    ledger.settle(&[refused]).await.unwrap();
    let hand = again(&ledger).await;
    assert_eq!((hand.work.step, hand.work.tries), (1, 0));
    let directory = ledger.directory(&[subject(&hand)]).await.unwrap();
    assert_eq!(directory.entries[0].tried, [(route(), Reason::InvalidAddress)]);
}

pub(super) async fn holds_in_force_are_seen(ledger: Ledger) {
    assert!(ledger.directory(&[asking("P1")]).await.unwrap().holds.is_empty());
    let mut expected = hold(HoldScope::Source, "lab");
    expected.until = Some(ledger.now().await + seconds(600));
    expected.on_release = OnRelease::Review;
    ledger.place_hold(&expected).await.unwrap();
    let seen = ledger.directory(&[asking("P1")]).await.unwrap().holds;
    assert_eq!(seen.len(), 1);
    expected.placed_at = seen[0].placed_at;
    assert_eq!(seen[0], expected);
    assert!(ledger.directory(&[]).await.unwrap().entries.is_empty());
}

pub(super) async fn answers_come_in_the_order_of_the_questions(ledger: Ledger) {
    for name in ["P3", "P1", "P2"] {
        ledger.upsert_patients(vec![patient(name, "2026-01-01T00:00:00Z")]).await.unwrap();
    }
    let names = ["P2", "P9", "P1", "P2", "P3"];
    let subjects: Vec<Subject> = names.iter().map(|n| asking(n)).collect();
    let directory = ledger.directory(&subjects).await.unwrap();
    let found: Vec<Option<String>> =
        directory.entries.iter().map(|e| e.patient.as_ref().map(|p| p.id.as_str().to_owned())).collect();
    let expected = ["P2", "", "P1", "P2", "P3"].map(|n| (!n.is_empty()).then(|| n.to_owned()));
    assert_eq!(found, expected);
}

async fn again(ledger: &Ledger) -> InHand {
    let mut claimed = ledger.claim_as(Some(Channel::Sms), Priority::Normal, 1).await.messages;
    claimed.remove(0).into()
}

pub(super) async fn a_record_that_cannot_be_read_is_told_and_hides_no_other(ledger: Ledger) {
    let people = ["P1", "P2", "P3"].map(|id| patient(id, "2026-01-01T00:00:00Z"));
    let mut apart = people[2].clone();
    apart.contacts[0].address = Phi::new("+13125550199");
    let [first, second, _] = people;
    ledger.upsert_patients(vec![first, second, apart]).await.unwrap();
    let unread = async || {
        let asked = ["P1", "P2", "P3", "P9"].map(asking);
        let entries = ledger.directory(&asked).await.unwrap().entries;
        entries.iter().map(|entry| (entry.patient.is_some(), entry.unread)).collect::<Vec<_>>()
    };
    assert_eq!(unread().await, [(true, false), (true, false), (true, false), (false, false)]);
    let cut = "UPDATE patients SET document = substr(document, 1, 2) WHERE id = 'P1'";
    assert_eq!(ledger.execute(cut).await.unwrap(), 1);
    // Whoever shares a number with them depends on what they have said there.
    assert_eq!(unread().await, [(false, true), (true, true), (true, false), (false, false)]);
    // What is told of them is refused by itself: it must not take the place of what they have said.
    let later = |id| patient(id, "2026-01-02T00:00:00Z");
    let refused = ledger.upsert_patients(vec![later("P1"), later("P2")]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Data(_)), "{refused}");
    ledger.upsert_patients(vec![later("P2")]).await.unwrap();
    assert_eq!(unread().await[0], (false, true), "nothing was written over it");
}

fn asking(patient: &str) -> Subject {
    Subject {
        message: job("q").patient(patient).facts.id,
        patient: patient_id(patient),
        inline_addresses: Vec::new(),
        step: 0,
        tried: false,
        yields: false,
    }
}
