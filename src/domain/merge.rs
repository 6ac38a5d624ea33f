//! Two records of one person become one.

use super::consent;
use super::patient::{Contact, Patient};

/// What is kept of `kept` once `other` turns out to be the same person: everything of `kept`, what only `other` had, and of
/// all wishes the stricter one; of what they set themselves, the later.
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
            // An empty list is an opt-out: it wins over an order.
            Some(known) if preference.channels.is_empty() => known.channels.clear(),
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
    for proxy in &other.proxies {
        if !patient.proxies.contains(proxy) {
            patient.proxies.push(proxy.clone());
        }
    }
    patient
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
    use crate::domain::patient::{OwnWords, QuietHours};
    use crate::domain::words::Channel;

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
