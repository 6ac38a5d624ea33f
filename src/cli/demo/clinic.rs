//! The sample clinic: 200 people who do not exist, and what is to be told to them. The same seed gives the same.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::house::SOURCE;
use super::texts::SETS;
use crate::domain::words::Channel;

/// How many patients there are.
pub(super) const PATIENTS: u64 = 200;

/// The languages that they speak.
pub(super) const LANGUAGES: [&str; 3] = ["en", "es", "zh-Hans"];

/// Everything about one demo that is chosen rather than given.
pub(super) struct Clinic {
    pub(super) seed: u64,
    pub(super) now: Timestamp,
    /// Stands in job ids, so that a second demo on the same ledger brings new jobs.
    pub(super) run: String,
}

/// A patient's id.
pub(super) fn patient_id(number: u64) -> String {
    format!("DEMO-{:04}", number + 1)
}

/// The language of the patient of this number: half speak English, three tenths Spanish, two tenths Chinese.
pub(super) const fn language(number: u64) -> &'static str {
    match number % 10 {
        0..=4 => "en",
        5..=7 => "es",
        _ => "zh-Hans",
    }
}

/// The number in a patient's id.
pub(super) fn number_of(patient_id: &str) -> Option<u64> {
    patient_id.strip_prefix("DEMO-")?.parse::<u64>().ok()?.checked_sub(1)
}

impl Clinic {
    /// One patient, as a record system would send them.
    pub(super) fn patient(&self, number: u64) -> Value {
        let (given, family) = name(number);
        let mut patient = json!({
            "id": patient_id(number),
            "updated_at": self.now.to_string(),
            "name": { "given": given, "family": family },
            "birth_date": format!("{}-{:02}-{:02}", 1935 + number % 70, 1 + number % 12, 1 + number % 28),
            "language": tag(number),
            "timezone": "America/Chicago",
            "site": site(number),
            "active": number != 142,
            "deceased": number % 100 == 33,
            "do_not_contact": if number == 91 { json!("asked at the desk") } else { Value::Null },
            "preferred_channels": wishes(number),
            "contacts": contacts(number),
        });
        if number % 50 == 7 {
            let opt_out = json!([{ "granted": false, "at": self.now.to_string(), "source": "patient" }]);
            set(&mut patient, "consents", opt_out);
        }
        patient
    }

    /// One job.
    pub(super) fn job(&self, number: u64) -> Value {
        let dice = mixed(self.seed, number);
        let patient = dice % PATIENTS;
        let index = usize::try_from(number % 5).unwrap_or(0);
        let template = SETS.get(index).copied().unwrap_or("appointment-reminder");
        json!({
            "id": format!("{}-{number}", self.run),
            "source": SOURCE,
            "patient_id": patient_id(patient),
            "template": template,
            "about": format!("visit-{}-{number}", self.run),
            "site": site(patient),
            "data": self.data(template, dice / PATIENTS),
        })
    }

    fn data(&self, template: &str, dice: u64) -> Value {
        const DOCTORS: [&str; 4] = ["Dr. Chen", "Dr. Okafor", "Dr. Rivera", "Dr. Lind"];
        let doctor = one_of(&DOCTORS, dice);
        let mut data = Map::new();
        match template {
            "appointment-reminder" => {
                data.insert("starts_at".to_owned(), json!(self.visit(2 + dice % 9, 8 + dice % 9)));
                data.insert("practitioner".to_owned(), json!(doctor));
                if dice.is_multiple_of(3) {
                    data.insert("arrive_early".to_owned(), json!(15));
                }
            }
            "discharge-follow-up" => {
                data.insert("discharged_on".to_owned(), json!(self.day(-1)));
                data.insert("follow_up_at".to_owned(), json!(self.visit(7, 10)));
            }
            "preferences-changed" => {
                let what = one_of(&["contact", "channels", "language", "messages"], dice);
                data.insert("what".to_owned(), json!(what));
                data.insert("changed_at".to_owned(), json!(self.visit(0, 9)));
            }
            "result-available" => {
                data.insert("test_name".to_owned(), json!("Lipid panel"));
                data.insert("collected_on".to_owned(), json!(self.day(-3)));
                data.insert("practitioner".to_owned(), json!(doctor));
            }
            _ => {
                data.insert("vaccine".to_owned(), json!(one_of(&["influenza", "tetanus", "shingles"], dice)));
                data.insert("until".to_owned(), json!(self.day(40)));
                data.insert("free".to_owned(), json!(true));
            }
        }
        Value::Object(data)
    }

    /// A moment so many days from now, at a full hour, with the clinic's offset.
    fn visit(&self, days: u64, hour: u64) -> String {
        let day = self.day(i64::try_from(days).unwrap_or(0));
        // Chicago is six hours behind UTC in winter; an offset that is an hour off in summer is still an instant.
        format!("{day}T{hour:02}:00:00-06:00")
    }

    fn day(&self, days: i64) -> String {
        let there = self.now.checked_add(SignedDuration::from_hours(24 * days)).unwrap_or(self.now);
        let zone = TimeZone::get("America/Chicago").unwrap_or(TimeZone::UTC);
        there.to_zoned(zone).date().to_string()
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): neighbours come out far apart, and always the same.
const fn mixed(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn one_of<'a>(choices: &[&'a str], dice: u64) -> &'a str {
    let count = u64::try_from(choices.len()).unwrap_or(1).max(1);
    usize::try_from(dice % count).ok().and_then(|at| choices.get(at)).copied().unwrap_or_default()
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

fn name(number: u64) -> (&'static str, &'static str) {
    let (given, family): ([&str; 5], [&str; 5]) = match language(number) {
        "es" => (["Ana", "Luis", "Marta", "Jorge", "Elena"], ["López", "Rivera", "Santos", "Vega", "Núñez"]),
        "zh-Hans" => (["伟", "芳", "敏", "静", "磊"], ["王", "李", "张", "刘", "陈"]),
        _ => (["Grace", "Omar", "Ruth", "Peter", "Nia"], ["Novak", "Haddad", "Olsen", "Brooks", "Mensah"]),
    };
    (one_of(&given, number), one_of(&family, number / 5))
}

fn tag(number: u64) -> &'static str {
    match language(number) {
        "en" => "en-US",
        "es" => "es-US",
        other => other,
    }
}

const fn site(number: u64) -> &'static str {
    if number.is_multiple_of(2) { "lakeside-north" } else { "lakeside-south" }
}

/// Every channel is somebody's first.
fn wishes(number: u64) -> Vec<Channel> {
    let mut wishes = Channel::ALL.to_vec();
    wishes.rotate_left(usize::try_from(number % 4).unwrap_or(0));
    wishes
}

/// Numbers of the block that is reserved for fiction, mail at a domain that nobody owns. Three people have none.
fn contacts(number: u64) -> Value {
    if number % 67 == 50 {
        return json!([]);
    }
    let area = if number < 100 { 312 } else { 773 };
    let phone = format!("+1{area}55501{:02}", number % 100);
    json!([
        { "channel": "sms", "address": phone, "use": "mobile" },
        { "channel": "email", "address": format!("demo-{:04}@patients.example.org", number + 1) },
        { "channel": "voice", "address": phone },
        { "channel": "portal", "address": format!("Patient/demo-{:04}", number + 1) },
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::job::Job;
    use crate::domain::patient::Patient;
    use crate::domain::phone::Region;
    use crate::domain::reader::{Expect, ParseDefaults};

    fn clinic(seed: u64) -> Clinic {
        Clinic { seed, now: "2026-11-22T18:00:00Z".parse().unwrap(), run: "t".to_owned() }
    }

    #[test]
    fn every_patient_and_job_is_good_input() {
        let defaults = ParseDefaults::new(None, Region::US);
        let expect = Expect { id: None, updated_at: true };
        let mut addresses = BTreeSet::new();
        for number in 0..PATIENTS {
            let body = clinic(1).patient(number).to_string();
            let patient = Patient::parse(body.as_bytes(), &defaults, expect).unwrap();
            assert_eq!(number_of(patient.id.as_str()), Some(number));
            for contact in &patient.contacts {
                assert!(addresses.insert((contact.channel, contact.address.clone())), "{number}");
            }
        }
        let first: BTreeSet<_> = (0..PATIENTS).map(|n| wishes(n)[0]).collect();
        assert_eq!(first.len(), Channel::ALL.len());
        let spoken: BTreeSet<_> = (0..PATIENTS).map(language).collect();
        assert_eq!(spoken, BTreeSet::from(LANGUAGES));
        for number in 0..50 {
            Job::parse(clinic(1).job(number).to_string().as_bytes(), &defaults).unwrap();
        }
    }

    #[test]
    fn a_seed_stands_for_one_sequence_of_jobs() {
        let jobs = |seed| (0..20).map(|n| clinic(seed).job(n).to_string()).collect::<Vec<_>>();
        assert_eq!(jobs(7), jobs(7));
        assert_ne!(jobs(7), jobs(8));
    }
}
