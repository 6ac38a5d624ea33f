//! `[policy.hours]`: when recipients may be disturbed, by their own clock.

use std::time::Duration;

use toml::{Table, Value};

use super::fault::Broken;
use super::kind::{Parsed, Span, one_of, text};
use super::read::Section;
use super::rules;
use crate::domain::hours::{Area, Holiday, HoursRule, HoursTable, WeekHours};
use crate::domain::words::{Channel, Purpose};

/// Names that explanations use for hours that stand elsewhere.
const TAKEN: [&str; 2] = ["site", "patient"];

/// A rule of the shipped table: its id, which for those of one state is the state's code; hours; source.
type Shipped = (&'static str, &'static str, &'static str);

/// Hours for everything that disturbs. The law speaks of telephone solicitation; care keeps to the same hours,
/// because a phone that rings at night is a nuisance whatever it says.
const SHIPPED: [Shipped; 16] = [
    ("everywhere", "08:00-21:00", "47 CFR 64.1200(c)(1)"),
    ("us-al", "08:00-20:00", "Ala. Code 8-19A-14"),
    ("us-ct", "09:00-20:00", "Conn. Gen. Stat. 42-288a"),
    ("us-fl", "08:00-20:00", "Fla. Stat. 501.616(6)(a)"),
    ("us-ky", "10:00-21:00", "Ky. Rev. Stat. 367.46955"),
    ("us-la", "08:00-20:00", "La. PSC General Order R-29617"),
    ("us-ma", "08:00-20:00", "Mass. Gen. Laws ch. 159C, 3"),
    ("us-md", "08:00-20:00", "Md. Code, Com. Law 14-4501 ff."),
    ("us-mn", "09:00-21:00", "Minn. Stat. 325E.30"),
    ("us-ms", "08:00-20:00", "Miss. Code 77-3-723"),
    ("us-nj", "08:00-20:00", "as compliance guides have it; N.J. Stat. 56:8-128 says 21:00"),
    ("us-ok", "08:00-20:00", "Okla. Stat. tit. 15, 775C"),
    ("us-or", "08:00-20:00", "Or. Laws 2025, HB 3865"),
    ("us-ri", "mon-fri 09:00-18:00, sat-sun 10:00-17:00", "R.I. Gen. Laws 5-61-2"),
    ("us-tx", "mon-sat 09:00-21:00, sun 12:00-21:00", "Tex. Bus. & Com. Code 301.051"),
    ("us-wa", "08:00-20:00", "Wash. Rev. Code 80.36.390"),
];

/// Days on which states let nobody be solicited. They hold for what is no care.
const SHIPPED_DAYS: [(&str, &[&str], &str, &str); 2] = [
    (
        "us-sundays",
        &["US-AL", "US-LA", "US-MS", "US-RI", "US-UT"],
        "mon-sat always, sun closed",
        "the laws above; Utah Code 13-25a-103; Alabama as compliance guides have it",
    ),
    (
        "us-holidays",
        &["US-AL", "US-LA", "US-PA", "US-RI", "US-UT"],
        "always, holidays closed",
        "the laws above; Pa. Act 52 of 2019; Alabama as compliance guides have it",
    ),
];

/// The legal public holidays of the United States (5 USC 6103).
const HOLIDAYS: [&str; 11] = [
    "01-01",
    "3rd mon jan",
    "3rd mon feb",
    "last mon may",
    "06-19",
    "07-04",
    "1st mon sep",
    "2nd mon oct",
    "11-11",
    "4th thu nov",
    "12-25",
];

const AREA: Parsed<Area> = Parsed {
    parse: |text| {
        Area::parse(text).ok_or_else(|| {
            Broken::new("must be a country or one of its states", "write \"US\" or \"US-TX\" (ISO 3166)")
        })
    },
    show: |area| area.as_str().to_owned(),
};

const HOURS: Parsed<WeekHours> = Parsed {
    parse: |text| {
        WeekHours::parse(text).map_err(|rule| {
            Broken::new(rule, "write it as \"08:00-21:00\" or \"mon-sat 09:00-21:00, sun closed\"")
        })
    },
    show: WeekHours::to_string,
};

const HOLIDAY: Parsed<Holiday> = Parsed {
    parse: |text| {
        Holiday::parse(text).ok_or_else(|| {
            let cure = "write \"12-25\", \"4th thu nov\", \"last mon may\" or, for one year, \"2026-12-24\"";
            Broken::new("must be a holiday", cure)
        })
    },
    show: Holiday::to_string,
};

/// Reads the table. A rule of the file takes the place of the shipped one of its id; the other shipped ones stay, so
/// that whoever adds a rule loses no law.
pub(super) fn read(s: &mut Section<'_>) -> HoursTable {
    let spread = Span(Duration::ZERO..=Duration::from_secs(4 * 3_600));
    let spread = s.or("spread", spread, Duration::from_secs(600));
    let disturbing = s.list("channels", one_of::<Channel>());
    let disturbing = disturbing.unwrap_or_else(|| vec![Channel::Sms, Channel::Voice]);
    s.show("channels", words(disturbing.iter().map(|channel| channel.as_str())));
    let holidays = s.list("holidays", HOLIDAY);
    let holidays = holidays.unwrap_or_else(|| HOLIDAYS.iter().copied().filter_map(Holiday::parse).collect());
    s.show("holidays", words(holidays.iter().map(Holiday::to_string)));
    let mut rules: Vec<HoursRule> = shipped();
    for rule in s.items("rule", "id", rule_id, read_rule).into_iter().flatten() {
        match rules.iter_mut().find(|shipped| shipped.id == rule.id) {
            Some(shipped) => *shipped = rule,
            None => rules.push(rule),
        }
    }
    s.show("rule", Value::Array(rules.iter().map(|rule| Value::Table(shown(rule))).collect()));
    HoursTable { rules, holidays, disturbing, spread }
}

fn rule_id(text: &str) -> Result<String, Broken> {
    let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !plain || !(1..=40).contains(&text.len()) {
        let rule = "must be 1 to 40 small letters, digits and hyphens";
        return Err(Broken::new(rule, "choose an id such as \"us-tx\""));
    }
    if TAKEN.contains(&text) {
        return Err(Broken::new(
            "must not be `site` or `patient`: those have hours of their own",
            "rename it",
        ));
    }
    Ok(text.to_owned())
}

fn read_rule(id: String, s: &mut Section<'_>) -> Option<HoursRule> {
    let areas = some(s, "areas", AREA);
    let purposes = some(s, "purposes", one_of::<Purpose>());
    if purposes.contains(&Purpose::Emergency) {
        let rule = "must not name `emergency`, which passes at any hour";
        s.fault("purposes", Broken::new(rule, "remove it"));
    }
    let channels = some(s, "channels", one_of::<Channel>());
    let source = s.optional("source", text(rules::line));
    let open = s.required("open", HOURS)?;
    Some(HoursRule { id, areas, purposes, channels, open, source })
}

/// A list that narrows; absent, it narrows nothing, and an empty one would leave nothing.
fn some<T>(s: &mut Section<'_>, key: &str, kind: Parsed<T>) -> Vec<T> {
    let given = s.list(key, kind);
    if given.is_some() && s.lists_nothing(key) {
        s.fault(key, Broken::new("must name at least one", "leave it out for all of them"));
    }
    given.unwrap_or_default()
}

fn shipped() -> Vec<HoursRule> {
    let hours = SHIPPED.iter().map(|(id, open, source)| {
        let areas: Vec<Area> =
            if id.contains('-') { Area::parse(id).into_iter().collect() } else { Vec::new() };
        (*id, areas, Vec::new(), *open, *source)
    });
    let days = SHIPPED_DAYS.iter().map(|(id, areas, open, source)| {
        let areas = areas.iter().copied().filter_map(Area::parse).collect();
        (*id, areas, vec![Purpose::Survey, Purpose::Marketing], *open, *source)
    });
    let rule = |(id, areas, purposes, open, source): (&str, Vec<Area>, Vec<Purpose>, &str, &str)| {
        let open = WeekHours::parse(open).ok()?;
        let source = Some(source.to_owned());
        Some(HoursRule { id: id.to_owned(), areas, purposes, channels: Vec::new(), open, source })
    };
    hours.chain(days).filter_map(rule).collect()
}

/// The rule as it would be written.
fn shown(rule: &HoursRule) -> Table {
    let lists = [
        ("areas", words(rule.areas.iter().map(Area::as_str))),
        ("purposes", words(rule.purposes.iter().map(|purpose| purpose.as_str()))),
        ("channels", words(rule.channels.iter().map(|channel| channel.as_str()))),
    ];
    let given = lists.into_iter().filter(|(_, list)| list.as_array().is_some_and(|list| !list.is_empty()));
    let mut table: Table = given.map(|(key, list)| (key.to_owned(), list)).collect();
    table.insert("id".to_owned(), Value::String(rule.id.clone()));
    table.insert("open".to_owned(), Value::String(rule.open.to_string()));
    if let Some(source) = &rule.source {
        table.insert("source".to_owned(), Value::String(source.clone()));
    }
    table
}

fn words(words: impl IntoIterator<Item = impl Into<String>>) -> Value {
    Value::Array(words.into_iter().map(|word| Value::String(word.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_rule_and_holiday_reads() {
        assert_eq!(shipped().len(), SHIPPED.len() + SHIPPED_DAYS.len());
        assert!(SHIPPED.iter().all(|(id, ..)| *id == "everywhere" || Area::parse(id).is_some()));
        assert!(
            SHIPPED_DAYS.iter().all(|(_, areas, ..)| areas.iter().all(|area| Area::parse(area).is_some()))
        );
        assert!(HOLIDAYS.iter().all(|text| Holiday::parse(text).is_some()));
    }
}
