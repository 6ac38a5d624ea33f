//! Two records of one person become one.

use super::consent;
use super::patient::{Contact, Patient, Preference};

/// What is kept of `kept` once `other` turns out to be the same person: everything of `kept`, what only `other` had, and of
/// all wishes the stricter one; of preferences and of what they set themselves, the later.
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
    for contact in &other.contacts {
        match patient
            .contacts
            .iter_mut()
            .find(|c| c.channel == contact.channel && c.address.is_same_address(&contact.address))
        {
            Some(known) => {
                let rank = known.rank.or(contact.rank);
                let extension = known.extension.clone().or_else(|| contact.extension.clone());
                *known = Contact { rank, extension, ..consent::strictest(known, contact) };
            }
            None => patient.contacts.push(contact.clone()),
        }
    }
    add(&mut patient.tags, &other.tags);
    add(&mut patient.identifiers, &other.identifiers);
    add(&mut patient.proxies, &other.proxies);
    patient
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
    use crate::domain::patient::{Identifier, OwnWords, QuietHours};
    use crate::domain::phi::Phi;
    use crate::domain::words::{Channel, Purpose};

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
