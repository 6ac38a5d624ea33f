//! Whom a message is for, and who reads it in their place.

use jiff::Timestamp;
use jiff::civil::Date;

use super::zones;
use crate::domain::hours::Area;
use crate::domain::ids::{PatientId, SiteId};
use crate::domain::patient::{
    Consent, Contact, Name, Patient, PostalAddress, Preference, Proxy, ProxyPerson, QuietHours,
};
use crate::domain::words::{Authority, Channel, ProxyMode, Purpose, Recipient};

/// Whose states an age of majority is set for, and the country of addresses that name none.
const UNITED_STATES: &str = "US";

/// The one who is written to: the patient, or a proxy, who may be a patient or just a person.
#[derive(Clone, Debug)]
pub struct Addressee<'a> {
    pub recipient: Recipient,
    /// Under which their wishes and their history stand in the directory; a person who is no patient has none.
    pub id: Option<&'a PatientId>,
    pub name: Option<&'a Name>,
    pub language: Option<&'a str>,
    pub timezone: Option<&'a str>,
    pub address: Option<&'a PostalAddress>,
    pub site: Option<&'a SiteId>,
    pub quiet_hours: Option<QuietHours>,
    pub contacts: &'a [Contact],
    pub consents: &'a [Consent],
    pub preferences: &'a [Preference],
    pub preferred_channels: &'a [Channel],
}

impl<'a> Addressee<'a> {
    /// The patient themselves.
    #[must_use]
    pub fn patient(patient: &'a Patient) -> Self {
        Self {
            recipient: Recipient::Patient,
            id: Some(&patient.id),
            name: patient.name.as_ref(),
            language: patient.language.as_deref(),
            timezone: patient.timezone.as_deref(),
            address: patient.address.as_ref(),
            site: patient.site.as_ref(),
            quiet_hours: patient.quiet_hours,
            contacts: &patient.contacts,
            consents: &patient.consents,
            preferences: &patient.preferences,
            preferred_channels: &patient.preferred_channels,
        }
    }

    /// A proxy; `known` is their own record where they are a patient. `None`: they cannot be written to, now or at all.
    #[must_use]
    pub fn proxy(proxy: &'a Proxy, known: Option<&'a Patient>, now: Timestamp) -> Option<Self> {
        match &proxy.person {
            ProxyPerson::Patient(_) => {
                let known = known.filter(|p| may_be_written_to(p) && !is_paused(p, now))?;
                Some(Self { recipient: Recipient::Proxy, ..Self::patient(known) })
            }
            ProxyPerson::Person(person) => Some(Self {
                recipient: Recipient::Proxy,
                id: None,
                name: person.name.as_ref(),
                language: person.language.as_deref(),
                timezone: person.timezone.as_deref(),
                address: None,
                site: None,
                quiet_hours: None,
                contacts: &person.contacts,
                consents: &[],
                preferences: &[],
                preferred_channels: &[],
            }),
        }
    }

    /// Whether they said that they want nothing for this purpose. An emergency is nobody's preference.
    #[must_use]
    pub fn wants_none(&self, purpose: Purpose) -> bool {
        purpose != Purpose::Emergency
            && self.preferences.iter().any(|p| p.purpose == purpose && p.channels.is_empty())
    }
}

/// When a proxy who could be written to is back, who wants to be left in peace for a while.
#[must_use]
pub fn back_at(proxy: &Proxy, known: Option<&Patient>, now: Timestamp) -> Option<Timestamp> {
    match &proxy.person {
        ProxyPerson::Patient(_) => known.filter(|p| may_be_written_to(p) && is_paused(p, now))?.pause_until,
        ProxyPerson::Person(_) => None,
    }
}

fn may_be_written_to(patient: &Patient) -> bool {
    patient.active && !patient.deceased && patient.do_not_contact.is_none()
}

fn is_paused(patient: &Patient, now: Timestamp) -> bool {
    patient.pause_until.is_some_and(|until| now < until)
}

/// Whether a proxy stands in for `patient` in `mode` on this day, for this purpose. A guardian's word ends when the
/// patient comes of age, whatever their record says.
#[must_use]
pub fn stands_in(
    proxy: &Proxy,
    patient: &Patient,
    mode: ProxyMode,
    purpose: Purpose,
    today: Date,
    majority: &MajorityAge,
) -> bool {
    let in_time =
        proxy.from.is_none_or(|from| from <= today) && proxy.until.is_none_or(|until| today < until);
    let of_age =
        patient.birth_date.is_some_and(|born| majority.reached(born, patient.address.as_ref(), today));
    proxy.mode == mode
        && proxy.purposes.as_ref().is_none_or(|purposes| purposes.contains(&purpose))
        && in_time
        && !(proxy.authority == Authority::Guardian && of_age)
}

/// The first day after `today` on which somebody else may stand in for `patient`: a proxy's time begins or ends, or they
/// come of age.
#[must_use]
pub fn changes_on(patient: &Patient, today: Date, majority: &MajorityAge) -> Option<Date> {
    let guarded = patient.proxies.iter().any(|proxy| proxy.authority == Authority::Guardian);
    let born = patient.birth_date.filter(|_| guarded);
    let of_age = born.and_then(|born| majority.day(born, patient.address.as_ref()));
    let dates = patient.proxies.iter().flat_map(|proxy| [proxy.from, proxy.until]).flatten();
    dates.chain(of_age).filter(|date| *date > today).min()
}

/// The age from which people decide for themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MajorityAge {
    pub years: i16,
    /// Where it differs, by state of the United States (`NE`).
    pub by_state: Vec<(String, i16)>,
}

impl MajorityAge {
    /// Whether somebody born on `born` has reached it by `today`. Born on 29 February, they do on 1 March.
    #[must_use]
    pub fn reached(&self, born: Date, address: Option<&PostalAddress>, today: Date) -> bool {
        self.day(born, address).is_some_and(|day| day <= today)
    }

    /// The first day on which somebody born on `born` has reached it.
    fn day(&self, born: Date, address: Option<&PostalAddress>) -> Option<Date> {
        let year = born.year().checked_add(self.years(address))?;
        Date::new(year, born.month(), born.day()).or_else(|_| Date::new(year, 3, 1)).ok()
    }

    fn years(&self, address: Option<&PostalAddress>) -> i16 {
        let state = address.and_then(|address| zones::state_of(address, UNITED_STATES));
        let lives_there =
            |name: &str| state.is_some() && Area::parse(&format!("{UNITED_STATES}-{name}")) == state;
        self.by_state.iter().find(|(name, _)| lives_there(name)).map_or(self.years, |state| state.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::phone::Region;
    use crate::domain::reader::{Expect, ParseDefaults};

    fn child(json: &str) -> Patient {
        let text = format!(r#"{{"id":"P1","updated_at":"2026-11-20T08:00:00Z"{json}}}"#);
        let defaults = ParseDefaults::new(None, Region::US);
        Patient::parse(text.as_bytes(), &defaults, Expect { id: None, updated_at: true }).unwrap()
    }

    fn mother(more: &str, born: &str, state: &str) -> Patient {
        let more =
            if more.contains("purposes") { more.to_owned() } else { format!(r#"{more},"purposes":["*"]"#) };
        child(&format!(
            r#","birth_date":"{born}","address":{{"state":"{state}","country":"US"}},"proxies":[{{"patient_id":"P2","authority":"guardian","mode":"instead"{more}}}]"#
        ))
    }

    #[test]
    fn a_guardian_stands_in_until_the_child_is_of_age() {
        let on = |patient: &Patient, day: &str, purpose| {
            let majority = MajorityAge { years: 18, by_state: vec![("NE".to_owned(), 19)] };
            stands_in(
                &patient.proxies[0],
                patient,
                ProxyMode::Instead,
                purpose,
                day.parse().unwrap(),
                &majority,
            )
        };
        let care = Purpose::Care;
        for (why, patient, day, expected) in [
            ("a child", mother("", "2016-05-01", "IL"), "2026-12-01", true),
            ("the day before", mother("", "2008-12-02", "IL"), "2026-12-01", true),
            ("the birthday", mother("", "2008-12-01", "IL"), "2026-12-01", false),
            ("in Nebraska a year later", mother("", "2008-12-01", "NE"), "2026-12-01", true),
            ("born on a leap day", mother("", "2008-02-29", "IL"), "2026-02-28", true),
            ("born on a leap day, the day after", mother("", "2008-02-29", "IL"), "2026-03-01", false),
            ("not yet", mother(r#","from":"2027-01-01""#, "2016-05-01", "IL"), "2026-12-01", false),
            ("from this day on", mother(r#","from":"2026-12-01""#, "2016-05-01", "IL"), "2026-12-01", true),
            ("on the last day", mother(r#","until":"2026-12-02""#, "2016-05-01", "IL"), "2026-12-01", true),
            ("no longer", mother(r#","until":"2026-12-01""#, "2016-05-01", "IL"), "2026-12-01", false),
            (
                "for other matters",
                mother(r#","purposes":["billing"]"#, "2016-05-01", "IL"),
                "2026-12-01",
                false,
            ),
        ] {
            assert_eq!(on(&patient, day, care), expected, "{why}");
        }
        assert!(on(
            &mother(r#","purposes":["billing"]"#, "2016-05-01", "IL"),
            "2026-12-01",
            Purpose::Billing
        ));
    }

    #[test]
    fn the_age_of_majority_is_that_of_the_state_however_it_is_written() {
        let majority = MajorityAge { years: 18, by_state: vec![("AL".to_owned(), 19)] };
        for (address, years) in [
            (r#"{"state":"AL","country":"US"}"#, 19),
            (r#"{"state":"AL"}"#, 19),
            (r#"{"state":" al ","country":"us"}"#, 19),
            (r#"{"state":"US-AL"}"#, 19),
            (r#"{"state":"us-al","country":"US"}"#, 19),
            (r#"{"state":"AL","country":"BR"}"#, 18),
            (r#"{"state":"BR-AL","country":"BR"}"#, 18),
            (r#"{"state":"BR-AL","country":"US"}"#, 18),
            (r#"{"state":"AK","country":"US"}"#, 18),
            (r#"{"country":"US"}"#, 18),
        ] {
            let address = child(&format!(r#","address":{address}"#)).address;
            assert_eq!(majority.years(address.as_ref()), years, "{address:?}");
        }
        assert_eq!(majority.years(None), 18);
    }

    #[test]
    fn a_decision_knows_the_day_on_which_somebody_else_may_read() {
        let majority = MajorityAge { years: 18, by_state: vec![("NE".to_owned(), 19)] };
        for (why, patient, expected) in [
            ("nobody reads for them", child(r#","birth_date":"2010-05-01""#), None),
            ("until they come of age", mother("", "2010-05-01", "IL"), Some("2028-05-01")),
            ("a year later in Nebraska", mother("", "2010-05-01", "NE"), Some("2029-05-01")),
            ("born on a leap day", mother("", "2012-02-29", "IL"), Some("2030-03-01")),
            ("of age for long", mother("", "1949-03-02", "IL"), None),
            ("until a day", mother(r#","until":"2027-01-15""#, "2016-05-01", "IL"), Some("2027-01-15")),
            ("from a day on", mother(r#","from":"2026-12-24""#, "2016-05-01", "IL"), Some("2026-12-24")),
            ("since a day", mother(r#","from":"2026-12-01""#, "2016-05-01", "IL"), Some("2034-05-01")),
        ] {
            let today = "2026-12-01".parse().unwrap();
            let found = changes_on(&patient, today, &majority);
            assert_eq!(found, expected.map(|day| day.parse().unwrap()), "{why}");
            if let (Some(day), Some(born)) = (found, patient.birth_date) {
                let before = day.yesterday().unwrap();
                let of_age = |day| majority.reached(born, patient.address.as_ref(), day);
                assert!(!of_age(before), "{why}");
                assert_eq!(of_age(day), patient.proxies[0].until.is_none() && day.year() > 2027, "{why}");
            }
        }
    }

    #[test]
    fn a_proxy_who_has_died_or_left_cannot_be_written_to() {
        let patient = mother("", "2016-05-01", "IL");
        let proxy = &patient.proxies[0];
        let (theirs, now) = (child(""), "2026-12-01T12:00:00Z".parse().unwrap());
        let written_to = Addressee::proxy(proxy, Some(&theirs), now);
        assert_eq!(written_to.map(|to| to.recipient), Some(Recipient::Proxy));
        assert!(Addressee::proxy(proxy, None, now).is_none());
        for gone in [r#","deceased":true"#, r#","active":false"#, r#","do_not_contact":"asked""#] {
            let gone = child(gone);
            assert!(Addressee::proxy(proxy, Some(&gone), now).is_none());
            assert_eq!(back_at(proxy, Some(&gone), now), None);
        }
        let away = child(r#","pause_until":"2026-12-03T00:00:00Z""#);
        assert!(Addressee::proxy(proxy, Some(&away), now).is_none());
        assert_eq!(back_at(proxy, Some(&away), now), away.pause_until);
        let back = away.pause_until.unwrap();
        assert!(Addressee::proxy(proxy, Some(&away), back).is_some());
        assert_eq!(back_at(proxy, Some(&away), back), None, "they are back");
    }
}
