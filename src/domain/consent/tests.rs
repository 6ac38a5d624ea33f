use proptest::prelude::*;

use super::*;
use crate::domain::ids::PatientId;
use crate::domain::patient::{Name, Person, Proxy, ProxyPerson, Unsaid};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn consent(granted: bool, second: i64, source: ConsentSource) -> Consent {
    Consent { channel: Some(Channel::Sms), ..Consent::bare(granted, at(second), source) }
}

fn stop(second: i64) -> Consent {
    consent(false, second, ConsentSource::Patient)
}

fn with_evidence(record: Consent) -> Consent {
    Consent { evidence: Some("form 12".to_owned()), ..record }
}

fn patient(second: i64) -> Patient {
    Patient { updated_at: Some(at(second)), ..Patient::bare(PatientId::parse("P1").unwrap()) }
}

fn may_sms(consents: &[Consent]) -> bool {
    !matches!(
        answer(consents, Purpose::Care, Channel::Sms, &Phi::new("+13125550142"), at(1_000)),
        Answer::Revoked(_)
    )
}

#[test]
fn who_may_lift_what_the_patient_took_back() {
    use ConsentSource::{Ehr, Import, Patient, Staff};
    for (name, later, lifted) in [
        ("the patient", consent(true, 2, Patient), true),
        ("staff with evidence", with_evidence(consent(true, 2, Staff)), true),
        ("staff without", consent(true, 2, Staff), false),
        ("the record system", with_evidence(consent(true, 2, Ehr)), false),
        ("an import", with_evidence(consent(true, 2, Import)), false),
        ("the patient, earlier", consent(true, 0, Patient), false),
        ("the patient, at the same time", consent(true, 1, Patient), false),
    ] {
        let merged = merge(&[stop(1)], vec![later]);
        assert_eq!(merged.len(), 1, "{name}");
        assert_eq!((merged[0].granted, may_sms(&merged)), (lifted, lifted), "{name}");
    }
    // What staff or a list took back, the next list may give again.
    let merged = merge(&[consent(false, 1, Staff)], vec![consent(true, 2, Import)]);
    assert!(merged[0].granted && may_sms(&merged));
}

#[test]
fn a_late_record_of_the_patients_grant_finds_what_came_after_it() {
    let import = consent(true, 3, ConsentSource::Import);
    let merged = merge(&merge(&[stop(1)], vec![import]), vec![consent(true, 2, ConsentSource::Patient)]);
    assert_eq!((merged[0].granted, merged[0].source), (true, ConsentSource::Import));
    let revoked = consent(false, 3, ConsentSource::Ehr);
    let merged = merge(&merge(&[stop(1)], vec![revoked]), vec![consent(true, 2, ConsentSource::Patient)]);
    assert_eq!((merged[0].granted, merged[0].source), (false, ConsentSource::Ehr));
}

#[test]
fn a_wider_grant_does_not_lift_a_narrower_revocation() {
    let address = Phi::new("+13125550142");
    let this_number = Consent { address: Some(address.clone()), ..stop(1) };
    let any_number = consent(true, 2, ConsentSource::Patient);
    let care = Consent { purpose: Some(Purpose::Care), address: Some(address), ..any_number.clone() };
    assert!(!may_sms(&merge(std::slice::from_ref(&this_number), vec![any_number])));
    assert!(may_sms(&merge(&[this_number], vec![care])), "a grant within it does");
}

#[test]
fn an_answer_knows_scope_and_time() {
    let grant = Consent { expires_at: Some(at(10)), ..consent(true, 1, ConsentSource::Patient) };
    let ask = |channel, now| {
        answer(std::slice::from_ref(&grant), Purpose::Care, channel, &Phi::new("+13125550142"), at(now))
    };
    assert_eq!(ask(Channel::Sms, 9), Answer::Granted(&grant));
    assert_eq!(ask(Channel::Sms, 10), Answer::Expired(&grant));
    assert_eq!(ask(Channel::Email, 9), Answer::Unsaid);
}

#[test]
fn an_upsert_replaces_what_it_mentions_and_nothing_else() {
    let mut stored = patient(1);
    stored.language = Some("es".to_owned());
    stored.deceased = true;
    stored.tags = vec!["risk-1".to_owned()];
    stored.consents = vec![stop(1)];
    stored.preferences =
        vec![Preference { purpose: Purpose::Care, channels: vec![], updated_at: Some(at(1)) }];
    let mut upsert = patient(2);
    upsert.name = Some(Name { given: Some(Phi::new("Ana")), family: None });
    for field in [DirectoryField::Language, DirectoryField::Deceased] {
        upsert.unsaid.add(field);
    }
    let merged = merge_patient(&stored, upsert);
    assert!(merged.changed && !merged.stale);
    let now = merged.patient;
    assert!(now.name.is_some() && now.deceased && now.tags.is_empty());
    assert_eq!((now.language.as_deref(), now.updated_at), (Some("es"), Some(at(2))));
    assert_eq!((&now.consents, &now.preferences), (&stored.consents, &stored.preferences));
    assert_eq!(now.unsaid, Unsaid::default());
    assert!(!merge_patient(&now, now.clone()).changed, "the same again changes nothing");
}

#[test]
fn an_older_upsert_is_stale_but_a_revocation_in_it_is_not_lost() {
    let mut stored = patient(5);
    stored.language = Some("es".to_owned());
    stored.preferences =
        vec![Preference { purpose: Purpose::Care, channels: vec![Channel::Sms], updated_at: Some(at(5)) }];
    let mut older = patient(4);
    older.language = Some("en".to_owned());
    older.consents = vec![stop(3)];
    older.preferences = vec![
        Preference { purpose: Purpose::Care, channels: vec![], updated_at: Some(at(4)) },
        Preference { purpose: Purpose::Marketing, channels: vec![], updated_at: Some(at(4)) },
    ];
    let merged = merge_patient(&stored, older);
    assert!(merged.stale && merged.changed);
    assert_eq!((merged.patient.language.as_deref(), merged.patient.updated_at), (Some("es"), Some(at(5))));
    assert!(!may_sms(&merged.patient.consents));
    let channels: Vec<_> = merged.patient.preferences.iter().map(|p| p.channels.len()).collect();
    assert_eq!(channels, [1, 0], "the later word on care stands, the first on marketing is taken");
}

#[test]
fn stop_then_an_older_upsert_then_a_snapshot_is_still_stopped() {
    let mut stored = patient(10);
    stored.consents = vec![stop(10)];
    let mut older = patient(5);
    older.consents = vec![consent(true, 5, ConsentSource::Patient)];
    let merged = merge_patient(&stored, older).patient;
    let mut snapshot = patient(20);
    snapshot.consents = vec![with_evidence(consent(true, 20, ConsentSource::Patient))];
    assert!(!may_sms(&narrow(Some(&merged), &snapshot).consents));
}

#[test]
fn a_snapshot_of_somebody_unknown_lifts_no_stop_at_the_address_that_it_names() {
    let mut snapshot = patient(20);
    for grant in [
        consent(true, 20, ConsentSource::Patient),
        with_evidence(consent(true, 20, ConsentSource::Staff)),
        consent(true, 20, ConsentSource::Ehr),
    ] {
        snapshot.consents = vec![grant];
        let seen = narrow(None, &snapshot);
        assert!(may_sms(&seen.consents), "its grants serve where nobody said otherwise");
        let asked = (Purpose::Care, Channel::Sms, &Phi::new("+13125550142"));
        let said = [stop(10)];
        assert!(matches!(answer_of_both(&seen.consents, &said, asked, at(30)), Answer::Revoked(_)));
    }
}

#[test]
fn a_snapshot_may_narrow_and_never_widen() {
    let sms = |number: &str| Contact {
        verified_at: Some(at(0)),
        private: true,
        ..Contact::bare(Channel::Sms, number)
    };
    let mut stored = patient(1);
    stored.pause_until = Some(at(50));
    stored.active = false;
    stored.do_not_contact = Some("asked".to_owned());
    stored.timezone = Some("America/Chicago".to_owned());
    stored.preferences = vec![Preference { purpose: Purpose::Care, channels: vec![], updated_at: None }];
    stored.contacts = vec![Contact { status: ContactStatus::Wrong, private: false, ..sms("+13125550142") }];
    let mut snapshot = patient(2);
    snapshot.name = Some(Name { given: Some(Phi::new("Ana")), family: None });
    snapshot.timezone = Some("Asia/Tokyo".to_owned());
    snapshot.pause_until = Some(at(40));
    snapshot.preferences =
        vec![Preference { purpose: Purpose::Care, channels: vec![Channel::Sms], updated_at: None }];
    snapshot.contacts = vec![sms("+13125550142"), sms("+13125550143")];
    let seen = narrow(Some(&stored), &snapshot);
    assert!(!seen.active && seen.do_not_contact.is_some() && seen.name.is_some());
    assert_eq!((seen.pause_until, seen.timezone.as_deref()), (Some(at(50)), Some("America/Chicago")));
    assert!(seen.preferences[0].channels.is_empty());
    assert_eq!(seen.contacts[0].status, ContactStatus::Wrong);
    assert!(!seen.contacts[0].private && !seen.contacts[1].private && seen.contacts[1].verified_at.is_none());

    stored.contacts[0].only = true;
    assert_eq!(narrow(Some(&stored), &snapshot).contacts, stored.contacts, "confidential stays confidential");
    snapshot.deceased = true;
    assert!(narrow(Some(&stored), &snapshot).deceased);
    assert_eq!(narrow(None, &snapshot), snapshot);
}

#[test]
fn what_we_found_out_of_a_contact_stands_until_its_sender_knows_better() {
    let contact = |status, found: Option<i64>| Contact {
        status,
        status_at: found.map(at),
        ..Contact::bare(Channel::Sms, "+13125550142")
    };
    let sent = |when, status, says_status| {
        let mut patient = patient(when);
        patient.contacts = vec![Contact { says_status, ..contact(status, None) }];
        patient
    };
    let mut stored = patient(10);
    stored.contacts = vec![contact(ContactStatus::Bad, Some(20))];
    let after = |incoming: Patient| merge_patient(&stored, incoming).patient.contacts;
    let (ok, wrong) = (ContactStatus::Ok, ContactStatus::Wrong);
    assert_eq!(after(sent(15, ok, true)), stored.contacts, "sent before we found out");
    assert_eq!(after(sent(21, ok, false)), stored.contacts, "an update that says nothing of it");
    assert_eq!(after(sent(21, ok, true)), vec![contact(ok, None)], "the sender knows better");
    assert_eq!(after(sent(15, wrong, true))[0].status, wrong, "the sender says more");
    let verified = |second| {
        let mut patient = sent(21, ok, false);
        patient.contacts[0].verified_at = Some(at(second));
        after(patient)[0].status
    };
    assert_eq!((verified(19), verified(21)), (ContactStatus::Bad, ok), "verified before, and since");
    let mail = |address: &str| Contact::bare(Channel::Email, address);
    let mut spelt = patient(21);
    spelt.contacts = vec![mail("ana@example.org")];
    let bad = Contact { status_at: Some(at(20)), status: ContactStatus::Bad, ..mail("Ana@Example.org") };
    let found = Patient { contacts: vec![bad], ..patient(10) };
    let merged = merge_patient(&found, spelt.clone()).patient;
    assert_eq!(merged.contacts[0].status, ContactStatus::Bad, "one mailbox, spelt in another way");
    assert_eq!(narrow(Some(&found), &spelt).contacts[0].status, ContactStatus::Bad);
    let mut moved = sent(15, ok, false);
    moved.contacts[0].address = Phi::new("+13125550143");
    assert_eq!(after(moved)[0].status, ok, "another address");
    // The same of somebody who stands in for them.
    let mother = |status, found| {
        let contacts = vec![contact(status, found)];
        let person = Person { name: None, language: None, timezone: None, contacts };
        Proxy::bare(ProxyPerson::Person(Box::new(person)))
    };
    stored.contacts.clear();
    stored.proxies = vec![mother(wrong, Some(20))];
    let mut again = patient(21);
    again.proxies = vec![mother(ok, None)];
    assert_eq!(merge_patient(&stored, again).patient.proxies, stored.proxies);
}

fn any_consent() -> impl Strategy<Value = Consent> {
    let purpose = prop::sample::select(vec![None, Some(Purpose::Care)]);
    let source = prop::sample::select(ConsentSource::ALL);
    (purpose, any::<bool>(), 0..6_i64, source, any::<bool>(), prop::option::of(6..9_i64)).prop_map(
        |(purpose, granted, second, source, evidence, end)| Consent {
            purpose,
            evidence: evidence.then(|| "form 12".to_owned()),
            expires_at: end.map(at),
            ..consent(granted, second, source)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_order_of_arrival_does_not_matter(
        (records, shuffled) in prop::collection::vec(any_consent(), 0..10)
            .prop_flat_map(|records| (Just(records.clone()), Just(records).prop_shuffle())),
    ) {
        let whole = merge(&[], records);
        let arrived = shuffled.into_iter().fold(Vec::new(), |stored, record| merge(&stored, vec![record]));
        prop_assert_eq!(&arrived, &whole);
        prop_assert_eq!(merge(&arrived, whole.clone()), whole, "the same again changes nothing");
    }

    #[test]
    fn no_list_ever_lifts_what_the_patient_took_back(records in prop::collection::vec(any_consent(), 0..12)) {
        let lists = records.into_iter().map(|record| Consent {
            source: if record.source == ConsentSource::Import { ConsentSource::Import } else { ConsentSource::Ehr },
            ..record
        });
        let merged = merge(&[stop(3)], lists.collect());
        prop_assert!(!may_sms(&merged));
        let mut stored = patient(1);
        stored.consents = merged;
        let mut snapshot = patient(2);
        snapshot.consents = vec![with_evidence(consent(true, 9, ConsentSource::Patient))];
        prop_assert!(!may_sms(&narrow(Some(&stored), &snapshot).consents));
    }

    #[test]
    fn what_is_in_force_agrees_with_the_answer(records in prop::collection::vec(any_consent(), 1..8)) {
        // Of one scope, so that nothing wider or narrower speaks too.
        let same = records.into_iter().map(|r| Consent { purpose: None, address: None, expires_at: None, ..r });
        let merged = merge(&[], same.collect());
        prop_assert_eq!(merged.len(), 1);
        prop_assert_eq!(merged[0].granted, may_sms(&merged));
    }
}

/// The law asks for an agreement to each number: what was said of every address speaks of those there were.
#[test]
fn what_was_agreed_to_before_does_not_move_to_a_new_number() {
    let sms = |number: &str| Contact::bare(Channel::Sms, number);
    let (old, new) = ("+13125550142", "+13125550143");
    let record = |when: Option<i64>, numbers: &[&str]| {
        let mut patient = patient(0);
        patient.updated_at = when.map(at);
        patient.contacts = numbers.iter().map(|number| sms(number)).collect();
        patient
    };
    let wide = |when| Consent { address: None, ..consent(true, when, ConsentSource::Patient) };
    let since = |patient: &Patient, number: &str| {
        patient.contacts.iter().find(|c| c.address == Phi::new(number)).unwrap().since
    };
    // The first number that a record brings is no new one, nor is one that was there.
    let known = merge_patient(&record(Some(1), &[]), record(Some(5), &[old])).patient;
    assert_eq!(since(&known, old), None);
    let known = Patient { consents: vec![wide(3)], ..known };
    let both = merge_patient(&known, record(Some(10), &[old, new])).patient;
    assert_eq!((since(&both, old), since(&both, new)), (None, Some(at(10))));
    let contact = |number: &str| both.contacts.iter().find(|c| c.address == Phi::new(number)).unwrap();
    for (grant, number, holds) in [
        (wide(3), old, true),
        (wide(3), new, false),
        (wide(10), new, true),
        (Consent { address: Some(Phi::new(new)), ..wide(3) }, new, true),
    ] {
        assert_eq!(grant.is_of(contact(number)), holds, "{grant:?} {number}");
    }
    // It stays dated, and a sender who gives no time is taken to be later than what is on record.
    let again = merge_patient(&both, record(Some(20), &[new])).patient;
    assert_eq!(since(&again, new), Some(at(10)));
    let undated = merge_patient(&known, record(None, &[new])).patient;
    assert!(!wide(3).is_of(&undated.contacts[0]) && wide(4).is_of(&undated.contacts[0]));
    // Nor does it where the old number is taken away first.
    let none = merge_patient(&known, record(Some(10), &[])).patient;
    let late = merge_patient(&none, record(Some(20), &[new])).patient;
    assert_eq!(
        (none.former_channels.as_slice(), late.former_channels.as_slice()),
        (&[Channel::Sms][..], &[][..])
    );
    assert_eq!(since(&late, new), Some(at(20)));
    // Of an address in a snapshot that nobody knows nothing was said.
    let seen = narrow(Some(&known), &record(Some(20), &[new]));
    assert!(!wide(15).is_of(&seen.contacts[0]));
}
