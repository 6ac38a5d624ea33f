//! Two records of one person become one.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::consent;
use super::patient::{Consent, Contact, Patient, Preference};
use super::words::Channel;

/// What is kept of `kept` once `other` turns out to be the same person: everything of `kept`, what only `other` had, and of
/// all wishes the stricter one; of preferences and of what they set themselves, the later. An agreement that names no
/// address speaks of those of its own record, and not of a number that only the other one has.
#[must_use]
pub fn combine(kept: &Patient, other: &Patient) -> Patient {
    let mut patient = kept.clone();
    fill(&mut patient, other);
    patient.consents = consent::merge(&kept.consents, other.consents.clone());
    patient.active = kept.active && other.active;
    patient.deceased = kept.deceased || other.deceased;
    patient.do_not_contact = kept.do_not_contact.clone().or_else(|| other.do_not_contact.clone());
    patient.pause_until = kept.pause_until.max(other.pause_until);
    patient.updated_at = kept.updated_at.max(other.updated_at);
    for preference in &other.preferences {
        match patient.preferences.iter_mut().find(|p| p.purpose == preference.purpose) {
            Some(known) if outweighs(preference, known) => {
                let updated_at = known.updated_at.max(preference.updated_at);
                *known = Preference { updated_at, ..preference.clone() };
            }
            Some(_) => {}
            None => patient.preferences.push(preference.clone()),
        }
    }
    for contact in &mut patient.contacts {
        if !other.contacts.iter().any(|theirs| theirs.is_same(contact)) {
            contact.since = after_agreements(contact, kept, other);
        }
    }
    for contact in &other.contacts {
        match patient.contacts.iter_mut().find(|known| known.is_same(contact)) {
            Some(known) => {
                let rank = known.rank.or(contact.rank);
                let extension = known.extension.clone().or_else(|| contact.extension.clone());
                *known = Contact { rank, extension, ..consent::strictest(known, contact) };
            }
            None => {
                let since = after_agreements(contact, other, kept);
                patient.contacts.push(Contact { since, ..contact.clone() });
            }
        }
    }
    let former: BTreeSet<Channel> =
        kept.former_channels.iter().chain(&other.former_channels).copied().collect();
    let is_gone = |channel: &Channel| !patient.contacts.iter().any(|c| c.channel == *channel);
    patient.former_channels = former.into_iter().filter(is_gone).collect();
    add(&mut patient.tags, &other.tags);
    add(&mut patient.identifiers, &other.identifiers);
    add(&mut patient.proxies, &other.proxies);
    patient
}

/// From when on a contact of its `own` record counts beside what was agreed to in `another`, which does not have it. What
/// its own record agreed to as well counts from then. (A date knows no purpose: where `another` agrees to one more, the
/// contact's own agreements of before count no longer either.)
fn after_agreements(contact: &Contact, own: &Patient, another: &Patient) -> Option<Timestamp> {
    let is_wide = |consent: &Consent| consent.granted && consent.address.is_none();
    let over = |channel: Option<Channel>| channel.is_none_or(|channel| channel == contact.channel);
    let is_own = |consent: &Consent| {
        consent::records(&own.consents).any(|said| {
            is_wide(said)
                && said.purpose == consent.purpose
                && said.channel == consent.channel
                && said.is_of(contact)
        })
    };
    let wide = consent::records(&another.consents)
        .filter(|consent| is_wide(consent) && over(consent.channel) && !is_own(consent));
    let latest = wide.map(|consent| consent.at).max();
    let after = |at: Timestamp| at.checked_add(SignedDuration::from_micros(1)).unwrap_or(at);
    contact.since.max(latest.map(after))
}

/// Whether what the other record says of a purpose counts: the later word. Where nobody knows which that is, an empty list,
/// which is an opt-out, wins over an order.
fn outweighs(other: &Preference, kept: &Preference) -> bool {
    match (other.updated_at, kept.updated_at) {
        (Some(said), Some(known)) if said != known => said > known,
        _ => other.channels.is_empty(),
    }
}

/// Adds what is not there yet.
fn add<T: Clone + PartialEq>(known: &mut Vec<T>, more: &[T]) {
    for one in more {
        if !known.contains(one) {
            known.push(one.clone());
        }
    }
}

/// Takes from `other` what `patient` says nothing of, and what the patient set there later than here.
fn fill(patient: &mut Patient, other: &Patient) {
    macro_rules! fill {
        ($($field:ident),+ $(,)?) => {
            $(if patient.$field.is_none() { patient.$field.clone_from(&other.$field); })+
        };
    }
    fill!(name, birth_date, language, timezone, address, site, quiet_hours);
    if patient.preferred_channels.is_empty() {
        patient.preferred_channels.clone_from(&other.preferred_channels);
    }
    macro_rules! later_own_word {
        ($($field:ident),+ $(,)?) => {
            $(if other.own_words.$field > patient.own_words.$field {
                patient.$field.clone_from(&other.$field);
                patient.own_words.$field = other.own_words.$field;
            })+
        };
    }
    later_own_word!(language, preferred_channels, quiet_hours);
}

#[cfg(test)]
mod tests {
    use jiff::civil::{date, time};
    use serde_json::json;

    use super::*;
    use crate::domain::ids::PatientId;
    use crate::domain::patient::{Consent, ConsentSource, Identifier, OwnWords, QuietHours};
    use crate::domain::phi::Phi;
    use crate::domain::words::Purpose;

    fn patient() -> Patient {
        Patient::bare(PatientId::parse("P1").unwrap())
    }

    fn contact(fields: &serde_json::Value) -> Contact {
        let mut all = json!({"channel": "voice", "address": "+13125550142", "rank": null, "use": null, "kind": null,
            "status": "ok", "verified_at": null, "valid_until": null, "private": false, "only": false,
            "leave_message": null, "extension": null});
        for (name, value) in fields.as_object().unwrap() {
            all[name] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn what_only_one_record_says_is_kept_and_of_own_words_the_later() {
        let at = |time: &str| Some(time.parse().unwrap());
        let (language, order) = (at("2026-03-01T00:00:00Z"), at("2026-01-01T00:00:00Z"));
        let other = Patient {
            birth_date: Some(date(2012, 1, 1)),
            language: Some("es".to_owned()),
            timezone: Some("America/Chicago".to_owned()),
            quiet_hours: Some(QuietHours { start: time(19, 0, 0, 0), end: time(10, 0, 0, 0) }),
            preferred_channels: vec![Channel::Email],
            own_words: OwnWords { language, preferred_channels: order, quiet_hours: None },
            ..patient()
        };
        let english = || Patient { language: Some("en".to_owned()), ..patient() };
        let kept = Patient {
            preferred_channels: vec![Channel::Sms],
            own_words: OwnWords { preferred_channels: at("2026-02-01T00:00:00Z"), ..OwnWords::default() },
            ..english()
        };
        let both = combine(&kept, &other);
        assert_eq!(both.language.as_deref(), Some("es"), "they chose it on their page");
        assert_eq!(both.preferred_channels, kept.preferred_channels, "here they chose later");
        assert_eq!((both.birth_date, both.quiet_hours), (other.birth_date, other.quiet_hours));
        assert_eq!(both.timezone, other.timezone);
        assert_eq!(both.own_words.language, other.own_words.language, "no nightly record takes it back");
        // Of what both records say without a word of their own, the kept one's stands.
        assert_eq!(combine(&english(), &kept).language.as_deref(), Some("en"));
    }

    #[test]
    fn labels_and_ids_of_both_records_are_kept_once_each() {
        let mrn = |value: &str| Identifier { system: "urn:mrn".to_owned(), value: Phi::new(value) };
        let with = |tags: [&str; 2], mrns: [&str; 2]| Patient {
            tags: tags.map(str::to_owned).into(),
            identifiers: mrns.map(mrn).into(),
            ..patient()
        };
        let both =
            combine(&with(["risk-1", "oncology"], ["77120", "5"]), &with(["oncology", "asthma"], ["5", "6"]));
        assert_eq!(both.tags, ["risk-1", "oncology", "asthma"]);
        assert_eq!(both.identifiers, ["77120", "5", "6"].map(mrn));
    }

    #[test]
    fn of_a_purpose_in_both_records_the_later_word_stands() {
        const NONE: &[Channel] = &[];
        let said = |day: &str| (!day.is_empty()).then(|| format!("2026-01-{day}T00:00:00Z").parse().unwrap());
        let with = |(channels, day): (&[Channel], &str)| Patient {
            preferences: vec![Preference {
                purpose: Purpose::Care,
                channels: channels.to_vec(),
                updated_at: said(day),
            }],
            ..patient()
        };
        let (sms, email) = (&[Channel::Sms][..], &[Channel::Email][..]);
        for (kept, other, expected) in [
            ((sms, "01"), (email, "02"), (email, "02")),
            ((sms, "02"), (email, "01"), (sms, "02")),
            ((NONE, "01"), (email, "02"), (email, "02")),
            ((sms, "02"), (NONE, "01"), (sms, "02")),
            // At the same time, or nobody knows when.
            ((sms, "01"), (email, "01"), (sms, "01")),
            ((sms, "01"), (NONE, "01"), (NONE, "01")),
            ((NONE, ""), (email, "02"), (NONE, "")),
            ((sms, ""), (email, "02"), (sms, "")),
            ((sms, "02"), (NONE, ""), (NONE, "02")),
        ] {
            let both = combine(&with(kept), &with(other));
            assert_eq!(both.preferences, with(expected).preferences, "{kept:?} {other:?}");
        }
    }

    /// The law asks for an agreement to each number: that of one record is no word about a number of the other.
    #[test]
    fn what_was_agreed_to_in_one_record_does_not_move_to_a_number_of_the_other() {
        let at = |day: &str| format!("2026-01-{day}T00:00:00Z").parse::<Timestamp>().unwrap();
        let sms = |number: &str| Contact::bare(Channel::Sms, number);
        let agreed = |channel, address: Option<&str>, day: &str| Consent {
            purpose: Some(Purpose::Marketing),
            channel,
            address: address.map(Phi::new),
            granted: true,
            at: at(day),
            source: ConsentSource::Patient,
            by: None,
            evidence: None,
            expires_at: None,
            shadow: None,
        };
        let (here, there, both) = ("+13125550142", "+13125550143", "+13125550144");
        let record = |number: &str, consents: Vec<Consent>| Patient {
            contacts: vec![sms(number), sms(both)],
            consents,
            ..patient()
        };
        let holds = |merged: &Patient, number: &str| {
            let contact = merged.contacts.iter().find(|c| c.address == Phi::new(number)).unwrap();
            merged.consents.iter().any(|consent| consent.is_of(contact))
        };
        for (grants, other_grants, expected) in [
            (vec![agreed(Some(Channel::Sms), None, "02")], vec![], [true, false, true]),
            (vec![], vec![agreed(None, None, "02")], [false, true, true]),
            (vec![agreed(Some(Channel::Sms), Some(there), "02")], vec![], [true, true, true]),
            // Each record agreed to its own.
            (
                vec![agreed(Some(Channel::Sms), None, "02")],
                vec![agreed(Some(Channel::Sms), None, "03")],
                [true, true, true],
            ),
        ] {
            let merged = combine(&record(here, grants), &record(there, other_grants));
            let found = [here, there, both].map(|number| holds(&merged, number));
            assert_eq!(found, expected, "{:?}", merged.consents);
        }
        // What is agreed to for another channel dates nothing, and an earlier date does not take the place of a later one.
        let mail = vec![agreed(Some(Channel::Email), None, "02")];
        assert_eq!(combine(&record(here, mail), &record(there, vec![])).contacts[2].since, None);
        let mut newer = record(there, vec![]);
        newer.contacts[0].since = Some(at("05"));
        let merged = combine(&record(here, vec![agreed(None, None, "02")]), &newer);
        assert_eq!(merged.contacts[2].since, Some(at("05")));
    }

    #[test]
    fn a_channel_that_either_record_had_before_is_remembered_until_it_comes_back() {
        let with = |former: &[Channel], contacts: Vec<Contact>| Patient {
            former_channels: former.to_vec(),
            contacts,
            ..patient()
        };
        let (sms, email) = (Channel::Sms, Channel::Email);
        let here = with(&[sms], vec![]);
        assert_eq!(combine(&here, &with(&[email], vec![])).former_channels, [sms, email]);
        let there = with(&[], vec![Contact::bare(sms, "+13125550142")]);
        assert!(combine(&here, &there).former_channels.is_empty());
        assert!(combine(&there, &here).former_channels.is_empty());
    }

    #[test]
    fn of_a_contact_in_both_records_the_stricter_word_stands() {
        let wrong =
            contact(&json!({"status": "wrong", "status_at": "2026-01-01T00:00:00Z", "leave_message": "none",
            "valid_until": "2026-06-01T00:00:00Z", "only": true}));
        let good = contact(&json!({"leave_message": "full", "rank": 2}));
        let with = |contact: &Contact| Patient { contacts: vec![contact.clone()], ..patient() };
        let expected = Contact { rank: Some(2), ..wrong.clone() };
        for (kept, other) in [(&wrong, &good), (&good, &wrong)] {
            let both = combine(&with(kept), &with(other));
            assert_eq!(both.contacts, std::slice::from_ref(&expected));
            // The sender's next record says nothing of the status: what was found out stands.
            let mut nightly = Patient { updated_at: Some(jiff::Timestamp::MAX), ..with(&good) };
            nightly.contacts[0].leave_message = Some("none".to_owned());
            let merged = consent::merge_patient(&both, nightly).patient;
            assert_eq!(merged.contacts[0].status, wrong.status);
        }
    }
}
