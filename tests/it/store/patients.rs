//! The directory is merged, never overwritten: what a patient took back stays taken back.

use outreachd::domain::consent::{Answer, answer};
use outreachd::domain::patient::{Consent, ConsentSource, Patient};
use outreachd::domain::phi::Phi;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::{Channel, Purpose, Reason};
use outreachd::store::StoreError;
use outreachd::store::rows::{AddressConsent, Decided, Directory, Subject, UpsertOutcome};
use sqlx::Connection as _;

use super::ledger::{Ledger, subject};
use super::make::{PHONE, Shape, at, contact, decided, job, patient, patient_id, revocation, seconds, stop};

pub(super) async fn an_upsert_creates_then_updates_then_changes_nothing(ledger: Ledger) {
    let first = patient("P1", "2026-01-01T00:00:00Z");
    assert_eq!(upsert(&ledger, first.clone()).await, UpsertOutcome::Created);
    assert_eq!(upsert(&ledger, first.clone()).await, UpsertOutcome::Unchanged);
    let newer = Patient { language: Some("es-US".to_owned()), ..patient("P1", "2026-01-02T00:00:00Z") };
    assert_eq!(upsert(&ledger, newer).await, UpsertOutcome::Updated);
    let stored = stored(&ledger, "P1").await;
    assert_eq!((stored.language.as_deref(), stored.contacts.len()), (Some("es-US"), 1));
    assert!(ledger.patient(&patient_id("P2")).await.unwrap().is_none());
}

pub(super) async fn an_older_upsert_is_stale_and_its_consents_count(ledger: Ledger) {
    upsert(&ledger, patient("P1", "2026-02-01T00:00:00Z")).await;
    let older = Patient { language: Some("fr".to_owned()), ..patient("P1", "2026-01-01T00:00:00Z") };
    assert_eq!(upsert(&ledger, older.clone()).await, UpsertOutcome::Stale);
    assert_eq!(stored(&ledger, "P1").await.language, None);
    let before = revision(&ledger, "P1").await;
    let revoking = Patient { consents: vec![revocation(None, "2026-01-15T00:00:00Z")], ..older };
    assert_eq!(upsert(&ledger, revoking).await, UpsertOutcome::Stale);
    assert_eq!(stored(&ledger, "P1").await.consents.len(), 1);
    assert!(revision(&ledger, "P1").await > before, "what was planned before is planned anew");
}

pub(super) async fn a_batch_may_name_a_patient_twice(ledger: Ledger) {
    let twice = vec![
        patient("P1", "2026-01-01T00:00:00Z"),
        patient("P2", "2026-01-01T00:00:00Z"),
        Patient { language: Some("es".to_owned()), ..patient("P1", "2026-01-02T00:00:00Z") },
    ];
    let outcomes = ledger.upsert_patients(twice).await.unwrap();
    assert_eq!(outcomes, [UpsertOutcome::Created, UpsertOutcome::Created, UpsertOutcome::Updated]);
    assert_eq!(stored(&ledger, "P1").await.language.as_deref(), Some("es"));
    assert!(ledger.upsert_patients(Vec::new()).await.unwrap().is_empty());
}

pub(super) async fn a_revocation_outlives_an_older_upsert_and_a_snapshot(ledger: Ledger) {
    upsert(&ledger, patient("P1", "2026-01-01T00:00:00Z")).await;
    ledger.record_address_consents(&[stop("2026-03-01T00:00:00Z")]).await.unwrap();
    let granting = Patient {
        consents: vec![Consent {
            granted: true,
            source: ConsentSource::Import,
            channel: Some(Channel::Sms),
            ..revocation(None, "2026-04-01T00:00:00Z")
        }],
        ..patient("P1", "2026-02-01T00:00:00Z")
    };
    upsert(&ledger, granting).await;
    let snapshot = Subject { inline_addresses: vec![Phi::new(PHONE)], ..asking("P1") };
    for subject in [asking("P1"), snapshot] {
        let directory = ledger.directory(&[subject]).await.unwrap();
        assert!(is_revoked(&directory), "an import lifts no STOP");
    }
    // The patient's own later word does.
    let start = outreachd::store::rows::AddressConsent { granted: true, ..stop("2026-05-01T00:00:00Z") };
    ledger.record_address_consents(&[start]).await.unwrap();
    assert!(!is_revoked(&ledger.directory(&[asking("P1")]).await.unwrap()));
}

pub(super) async fn a_new_patient_wakes_the_messages_that_waited(ledger: Ledger) {
    let hand = ledger.lease(job("a").patient("P7")).await;
    let other = ledger.lease(job("b").patient("P8")).await;
    let now = ledger.now().await;
    for hand in [&hand, &other] {
        let wait = Decided {
            due_at: Some(now + seconds(120)),
            ..decided(hand, MessageStatus::Held, Some(Reason::UnknownPatient), now)
        };
        ledger.decide_one(wait).await;
    }
    assert!(ledger.claim_new(10).await.is_empty());
    upsert(&ledger, patient("P7", "2026-01-01T00:00:00Z")).await;
    let claimed = ledger.claim_new(10).await;
    assert_eq!(claimed.iter().map(|m| m.facts.id).collect::<Vec<_>>(), [hand.facts.id]);
}

pub(super) async fn a_patient_who_comes_while_a_decision_is_written_wakes_its_message(ledger: Ledger) {
    let hand = ledger.lease(job("a").patient("P7")).await;
    let now = ledger.now().await;
    let wait = Decided {
        due_at: Some(now + seconds(120)),
        ..decided(&hand, MessageStatus::Held, Some(Reason::UnknownPatient), now)
    };
    let Some(mut lock) = ledger.locking(hand.facts.id).await else {
        upsert(&ledger, patient("P7", "2026-01-01T00:00:00Z")).await;
        ledger.decide_one(wait).await;
        assert_eq!(ledger.claim_new(10).await.len(), 1, "one comes after the other here");
        return;
    };
    let store = ledger.store.clone();
    let writing = tokio::spawn(async move { store.decide(&[wait]).await });
    // It has read what it reads, and waits for the row.
    let waits = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid)";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut lock).await.unwrap() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    upsert(&ledger, patient("P7", "2026-01-01T00:00:00Z")).await;
    lock.close().await.unwrap();
    writing.await.unwrap().unwrap();
    let claimed = ledger.claim_new(10).await;
    assert_eq!(claimed.iter().map(|m| m.facts.id).collect::<Vec<_>>(), [hand.facts.id]);
}

pub(super) async fn a_merged_patient_answers_under_both_names(ledger: Ledger) {
    let old = Patient {
        contacts: vec![contact(Channel::Email, "ana@example.org")],
        consents: vec![revocation(Some(Purpose::Marketing), "2026-01-15T00:00:00Z")],
        ..patient("P1", "2026-01-01T00:00:00Z")
    };
    upsert(&ledger, old).await;
    upsert(&ledger, patient("P2", "2026-01-01T00:00:00Z")).await;
    assert!(ledger.merge_patients(&patient_id("P1"), &patient_id("P2")).await.unwrap());
    for name in ["P1", "P2"] {
        let kept = stored(&ledger, name).await;
        assert_eq!((kept.id.as_str(), kept.contacts.len(), kept.consents.len()), ("P2", 2, 1));
    }
    // Again, and the other way round: they are one already.
    assert!(ledger.merge_patients(&patient_id("P1"), &patient_id("P2")).await.unwrap());
    assert!(ledger.merge_patients(&patient_id("P2"), &patient_id("P1")).await.unwrap());
    // A word at the old record's address binds the kept one.
    let before = revision(&ledger, "P2").await;
    let mail = outreachd::store::rows::AddressConsent {
        channel: Channel::Email,
        address: Phi::new("ana@example.org"),
        ..stop("2026-03-01T00:00:00Z")
    };
    ledger.record_address_consents(&[mail]).await.unwrap();
    assert!(revision(&ledger, "P2").await > before);
    assert_eq!(revision(&ledger, "P1").await, revision(&ledger, "P2").await);
}

pub(super) async fn a_mailbox_spelt_in_two_ways_is_one(ledger: Ledger) {
    let mail = |address| contact(Channel::Email, address);
    let twice = Patient {
        contacts: vec![mail("Ana@example.org"), mail("ana@example.org")],
        ..patient("P1", "2026-01-01T00:00:00Z")
    };
    upsert(&ledger, twice).await;
    let other = Patient { contacts: vec![mail("ANA@example.org")], ..patient("P2", "2026-01-01T00:00:00Z") };
    upsert(&ledger, other).await;
    // A word at the mailbox binds both, however it is spelt.
    let before = (revision(&ledger, "P1").await, revision(&ledger, "P2").await);
    let word = outreachd::store::rows::AddressConsent {
        channel: Channel::Email,
        address: Phi::new("aNa@example.org"),
        ..stop("2026-03-01T00:00:00Z")
    };
    ledger.record_address_consents(&[word]).await.unwrap();
    assert!(revision(&ledger, "P1").await > before.0 && revision(&ledger, "P2").await > before.1);
    assert!(ledger.merge_patients(&patient_id("P2"), &patient_id("P1")).await.unwrap());
    assert_eq!(stored(&ledger, "P1").await.contacts.len(), 2, "nothing new came with it");
}

pub(super) async fn what_the_one_was_sent_the_merged_one_has_had(ledger: Ledger) {
    for name in ["P1", "P2"] {
        upsert(&ledger, patient(name, "2026-01-01T00:00:00Z")).await;
    }
    for (name, entry) in [("P1", "1760000000000/a"), ("P2", "1760000000001/b")] {
        let had = format!("UPDATE patient_state SET recent_sends = '{entry}' WHERE subject = '{name}'");
        ledger.execute(&had).await.unwrap();
    }
    assert!(ledger.merge_patients(&patient_id("P1"), &patient_id("P2")).await.unwrap());
    let hand = ledger.lease(job("a").patient("P2")).await;
    let directory = ledger.directory(&[subject(&hand)]).await.unwrap();
    assert_eq!(directory.entries[0].recent[0].as_deref(), Some("1760000000001/b 1760000000000/a"));
}

pub(super) async fn a_chain_of_merges_leads_to_the_last(ledger: Ledger) {
    for name in ["P1", "P2", "P3"] {
        upsert(&ledger, patient(name, "2026-01-01T00:00:00Z")).await;
    }
    assert!(ledger.merge_patients(&patient_id("P1"), &patient_id("P2")).await.unwrap());
    assert!(ledger.merge_patients(&patient_id("P1"), &patient_id("P3")).await.unwrap());
    for name in ["P1", "P2", "P3"] {
        assert_eq!(stored(&ledger, name).await.id, patient_id("P3"));
    }
}

pub(super) async fn unknown_patients_do_not_merge(ledger: Ledger) {
    upsert(&ledger, patient("P1", "2026-01-01T00:00:00Z")).await;
    assert!(!ledger.merge_patients(&patient_id("P1"), &patient_id("P9")).await.unwrap());
    assert!(!ledger.merge_patients(&patient_id("P9"), &patient_id("P1")).await.unwrap());
    assert!(!ledger.merge_patients(&patient_id("P9"), &patient_id("P9")).await.unwrap());
    assert_eq!(stored(&ledger, "P1").await.id, patient_id("P1"));
}

pub(super) async fn of_an_upsert_under_an_old_name_only_the_wishes_count(ledger: Ledger) {
    for name in ["P1", "P2"] {
        upsert(&ledger, patient(name, "2026-01-01T00:00:00Z")).await;
    }
    assert!(ledger.merge_patients(&patient_id("P1"), &patient_id("P2")).await.unwrap());
    // As record systems close the one that is no more.
    let closed = Patient {
        language: Some("zh".to_owned()),
        active: false,
        contacts: Vec::new(),
        ..patient("P1", "2026-02-01T00:00:00Z")
    };
    let before = stored(&ledger, "P2").await;
    assert_eq!(upsert(&ledger, closed.clone()).await, UpsertOutcome::Stale);
    assert_eq!(stored(&ledger, "P2").await, before);
    let no = Some("asked by letter".to_owned());
    let wishes = Patient {
        consents: vec![revocation(Some(Purpose::Marketing), "2026-02-01T00:00:00Z")],
        do_not_contact: no.clone(),
        ..closed
    };
    assert_eq!(upsert(&ledger, wishes).await, UpsertOutcome::Stale);
    let after = stored(&ledger, "P2").await;
    assert_eq!((after.consents.len(), &after.do_not_contact), (1, &no));
    assert!(after.active && !after.contacts.is_empty() && after.language.is_none());
    // Under the name that stayed it is kept up as ever.
    let newer = Patient { language: Some("zh".to_owned()), ..patient("P2", "2026-02-01T00:00:00Z") };
    assert_eq!(upsert(&ledger, newer).await, UpsertOutcome::Updated);
    assert_eq!(stored(&ledger, "P1").await.language.as_deref(), Some("zh"));
}

pub(super) async fn an_erased_patient_is_gone_and_their_wishes_stay(ledger: Ledger) {
    let leaving = Patient {
        consents: vec![revocation(None, "2026-01-15T00:00:00Z")],
        ..patient("P1", "2026-01-01T00:00:00Z")
    };
    upsert(&ledger, leaving).await;
    // Somebody with the telephone starts texts again: that was no word about what the patient wants.
    let start = AddressConsent {
        channel: Channel::Sms,
        address: Phi::new(PHONE),
        purpose: Some(Purpose::Appointment),
        granted: true,
        at: at("2026-02-01T00:00:00Z"),
        source: ConsentSource::Patient,
        by: None,
        evidence: Some("reply twilio SM1: start".to_owned()),
    };
    ledger.record_address_consents(&[start]).await.unwrap();
    upsert(&ledger, patient("P2", "2026-01-01T00:00:00Z")).await;
    assert!(ledger.merge_patients(&patient_id("P2"), &patient_id("P1")).await.unwrap());
    let before = revision(&ledger, "P1").await;
    assert!(ledger.erase_patient(&patient_id("P1")).await.unwrap());
    for name in ["P1", "P2"] {
        assert!(ledger.patient(&patient_id(name)).await.unwrap().is_none(), "{name}");
        assert!(!ledger.erase_patient(&patient_id(name)).await.unwrap());
    }
    assert!(revision(&ledger, "P1").await > before);
    // Somebody brings the number back.
    upsert(&ledger, patient("P5", "2026-06-01T00:00:00Z")).await;
    assert!(is_revoked(&ledger.directory(&[asking("P5")]).await.unwrap()));
}

pub(super) async fn upserts_at_once_lose_nothing(ledger: Ledger) {
    // Each brings one consent of its own for the same patients; none may be lost.
    let purposes = [Purpose::Appointment, Purpose::Care, Purpose::Results, Purpose::Billing, Purpose::Survey];
    let mut callers = Vec::new();
    for (n, purpose) in purposes.into_iter().enumerate() {
        let store = ledger.another();
        callers.push(tokio::spawn(async move {
            let mut names = ["P1", "P2", "P3", "P4"];
            names.rotate_left(n % 4);
            let batch: Vec<Patient> = names
                .iter()
                .map(|name| Patient {
                    consents: vec![revocation(Some(purpose), "2026-01-15T00:00:00Z")],
                    ..patient(name, "2026-01-01T00:00:00Z")
                })
                .collect();
            while let Err(error) = store.upsert_patients(batch.clone()).await {
                assert!(matches!(error, StoreError::Contention), "{error}");
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    for name in ["P1", "P2", "P3", "P4"] {
        assert_eq!(stored(&ledger, name).await.consents.len(), purposes.len());
    }
}

async fn upsert(ledger: &Ledger, patient: Patient) -> UpsertOutcome {
    ledger.upsert_patients(vec![patient]).await.unwrap()[0]
}

async fn stored(ledger: &Ledger, name: &str) -> Patient {
    ledger.patient(&patient_id(name)).await.unwrap().expect("a patient")
}

async fn revision(ledger: &Ledger, name: &str) -> i64 {
    ledger.directory(&[asking(name)]).await.unwrap().entries[0].state.revision
}

fn asking(name: &str) -> Subject {
    let facts = job("q").facts;
    Subject {
        message: facts.id,
        patient: patient_id(name),
        inline_addresses: Vec::new(),
        step: 0,
        tried: false,
        yields: false,
    }
}

fn is_revoked(directory: &Directory) -> bool {
    let entry = &directory.entries[0];
    let mut said = entry.address_consents.clone();
    said.extend(entry.patient.iter().flat_map(|p| p.consents.clone()));
    let asked =
        answer(&said, Purpose::Appointment, Channel::Sms, &Phi::new(PHONE), at("2026-11-01T00:00:00Z"));
    matches!(asked, Answer::Revoked(_))
}

pub(super) async fn what_was_said_at_an_address_twice_is_on_record_once(ledger: Ledger) {
    ledger.upsert_patients(vec![patient("P1", "2026-01-01T00:00:00Z")]).await.unwrap();
    let hand = ledger.lease(job("j1")).await;
    let said = |at| AddressConsent { by: Some("import".to_owned()), ..stop(at) };
    let first = said("2026-03-01T00:00:00Z");
    let marketing = AddressConsent { purpose: Some(Purpose::Marketing), ..first.clone() };
    let batch = [first.clone(), marketing.clone(), first.clone()];
    assert_eq!(ledger.record_address_consents(&batch).await.unwrap(), [true, true, false]);

    let planned = ledger.plan(&hand).await;
    let moved = AddressConsent { evidence: Some("stop.csv line 9".to_owned()), ..first.clone() };
    assert_eq!(ledger.record_address_consents(&[moved, marketing]).await.unwrap(), [false, false]);
    assert_eq!(ledger.plan(&hand).await.state.revision, planned.state.revision, "nothing is planned anew");

    let news = [said("2026-04-01T00:00:00Z"), AddressConsent { by: None, ..first.clone() }, first];
    assert_eq!(ledger.record_address_consents(&news).await.unwrap(), [true, true, false]);
    assert!(ledger.plan(&hand).await.state.revision > planned.state.revision);
    assert_eq!(ledger.execute("UPDATE address_consents SET channel = channel").await.unwrap(), 4);
}
