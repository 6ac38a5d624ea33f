//! `[[site]]`: a place: who signs, where to call back, when it is open.

use std::collections::BTreeMap;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;

use super::fault::Broken;
use super::kind::{Parsed, text};
use super::money::{Amount, Money};
use super::organisation::OrganisationSection;
use super::read::Section;
use super::rules;
use crate::domain::ids::SiteId;
use crate::domain::outbound::Sender;
use crate::domain::patient::QuietHours;

/// One place.
#[derive(Clone, Debug)]
pub struct SiteSection {
    pub id: SiteId,
    pub name: LocalText,
    /// Where patients call back, E.164.
    pub phone: Option<String>,
    /// The organisation's where it names none, which is UTC where nobody has said one: what patients are told goes by
    /// [`Self::zone`].
    pub timezone: TimeZone,
    /// ISO 3166-1 alpha-2, for numbers written without a country; the organisation's where it names none.
    pub region: String,
    /// BCP-47; the organisation's where it names none.
    pub language: String,
    pub senders: SiteSenders,
    /// When it is open, by its own clock; empty where nothing is said.
    pub hours: Vec<OpenRange>,
    /// Days on which it is closed.
    pub holidays: Vec<Date>,
    /// When its patients are not disturbed, by their own clock.
    pub quiet_hours: Option<QuietHours>,
    /// For the foot of a commercial mail.
    pub postal_address: Option<String>,
    /// Where its patients' portal is, https.
    pub portal_url: Option<String>,
    /// Its own words for the opt-out line, in the place of the templates'.
    pub opt_out: Option<LocalText>,
    /// In one calendar day; `[limits]` holds where it says nothing.
    pub budget_per_day: Option<Money>,
}

/// A text in one language or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalText {
    fallback: String,
    by_language: BTreeMap<String, String>,
}

impl LocalText {
    /// Every text by its tag; the empty tag is for every other language.
    #[must_use]
    pub fn by_tag(&self) -> BTreeMap<String, String> {
        let mut texts = self.by_language.clone();
        texts.insert(String::new(), self.fallback.clone());
        texts
    }

    /// The text for a BCP-47 language: itself, its parent (`es-MX` -> `es`), else the organisation's.
    #[must_use]
    pub fn get(&self, language: &str) -> &str {
        let mut tag = language;
        loop {
            if let Some(text) = self.by_language.get(tag) {
                return text;
            }
            match tag.rsplit_once('-') {
                Some((parent, _)) => tag = parent,
                None => return &self.fallback,
            }
        }
    }
}

/// Whom its messages come from; empty: the provider's own.
#[derive(Clone, Debug, Default)]
pub struct SiteSenders {
    /// Numbers, short codes or names; one patient keeps one.
    pub sms: Vec<String>,
    /// Numbers, E.164.
    pub voice: Vec<String>,
    pub email: Option<Sender>,
    /// A FHIR reference.
    pub portal: Option<String>,
}

/// Open from `start` to `end`; midnight as an end is the day's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRange {
    pub day: Weekday,
    pub start: Time,
    pub end: Time,
}

pub(super) const SITE: Parsed<SiteId> = Parsed { parse: site_id, show: |id| id.as_str().to_owned() };

pub(super) fn site_id(text: &str) -> Result<SiteId, Broken> {
    SiteId::parse(text).ok_or_else(|| Broken::new(format!("must be {}", SiteId::RULE), "choose such an id"))
}

impl SiteSection {
    /// The zone of the place; `None` where neither it nor its organisation names one. UTC stands there then, by which no
    /// patient lives.
    #[must_use]
    pub fn zone(&self) -> Option<&TimeZone> {
        Some(&self.timezone).filter(|zone| **zone != TimeZone::UTC)
    }

    pub(super) fn read(id: SiteId, s: &mut Section<'_>, organisation: &OrganisationSection) -> Self {
        let timezone = s.or("timezone", rules::ZONE, organisation.timezone.clone());
        let region = s.or("region", text(rules::region), organisation.default_region.clone());
        let language = s.or("language", text(rules::language), organisation.language.clone());
        Self {
            id,
            name: LocalText::read(s, "name", &language),
            phone: s.optional("phone", text(rules::e164)),
            timezone,
            region,
            senders: s.section("senders", SiteSenders::read),
            hours: s.section("hours", read_hours),
            holidays: s.list("holidays", DATE).unwrap_or_default(),
            quiet_hours: read_quiet_hours(s),
            postal_address: s.optional("postal_address", text(rules::line)),
            portal_url: s.optional("portal_url", text(rules::web_url)),
            opt_out: s.raw("opt_out").is_some().then(|| LocalText::read(s, "opt_out", &language)),
            budget_per_day: s.optional("budget_per_day", Amount),
            language,
        }
    }
}

impl LocalText {
    /// One text, or a table of them by language, of which one is in `language` or its parent.
    fn read(s: &mut Section<'_>, key: &str, language: &str) -> Self {
        if !s.is_table(key) {
            let fallback = s.required(key, text(rules::line)).unwrap_or_default();
            return Self { fallback, by_language: BTreeMap::new() };
        }
        let by_language: BTreeMap<String, String> = s.section(key, |s| {
            let mut texts = BTreeMap::new();
            for tag in s.given_keys() {
                let words = s.required(&tag, text(rules::line)).unwrap_or_default();
                match rules::language(&tag) {
                    Ok(language) => drop(texts.insert(language, words)),
                    Err(broken) => s.fault(&tag, broken),
                }
            }
            texts
        });
        let own = Self { fallback: String::new(), by_language };
        let fallback = own.get(language).to_owned();
        if fallback.is_empty() {
            let rule = "must have a text in the site's own language";
            s.fault(key, Broken::new(rule, format!("add {key}.{language} = \"...\"")));
        }
        Self { fallback, ..own }
    }
}

impl SiteSenders {
    fn read(s: &mut Section<'_>) -> Self {
        Self {
            sms: s.list("sms", text(rules::sms_sender)).unwrap_or_default(),
            voice: s.list("voice", text(rules::e164)).unwrap_or_default(),
            email: s.optional("email", MAILBOX),
            portal: s.optional("portal", text(rules::fhir_reference)),
        }
    }
}

const MAILBOX: Parsed<Sender> = Parsed {
    parse: |text| {
        let mailbox: lettre::message::Mailbox = rules::mailbox(text)?.parse().map_err(|_| {
            Broken::new("must be an email address", "write \"Name <address>\" or the address alone")
        })?;
        Ok(Sender { address: mailbox.email.to_string(), name: mailbox.name })
    },
    show: |sender| match &sender.name {
        Some(name) => format!("{name} <{}>", sender.address),
        None => sender.address.clone(),
    },
};

const DATE: Parsed<Date> = Parsed {
    parse: |text| text.parse().map_err(|_| Broken::new("must be a date", "write it as \"2026-12-25\"")),
    show: Date::to_string,
};

const TIME: Parsed<Time> = Parsed { parse: time, show: |time| time.strftime("%H:%M").to_string() };

const RANGE: Parsed<(Time, Time)> = Parsed {
    parse: |text| {
        let (start, end) = text
            .split_once('-')
            .and_then(|(s, e)| Some((time(s).ok()?, time(e).ok()?)))
            .ok_or_else(|| Broken::new("must be a span of hours", "write it as \"08:00-17:00\""))?;
        if start < end || end == Time::midnight() {
            return Ok((start, end));
        }
        Err(Broken::new("must end after it starts", "split a span that passes midnight over two days"))
    },
    show: |(start, end)| format!("{}-{}", start.strftime("%H:%M"), end.strftime("%H:%M")),
};

fn time(text: &str) -> Result<Time, Broken> {
    let broken = || Broken::new("must be a time of day", "write it as \"08:00\"");
    if text.len() != 5 {
        return Err(broken());
    }
    Time::strptime("%H:%M", text).map_err(|_| broken())
}

fn read_hours(s: &mut Section<'_>) -> Vec<OpenRange> {
    let days = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];
    let mut hours = Vec::new();
    for (key, day) in days {
        let spans = s.list(key, RANGE).unwrap_or_default();
        hours.extend(spans.into_iter().map(|(start, end)| OpenRange { day, start, end }));
    }
    hours
}

fn read_quiet_hours(s: &mut Section<'_>) -> Option<QuietHours> {
    s.section("quiet_hours", |s| {
        if !s.is_given() {
            s.optional("start", TIME);
            s.optional("end", TIME);
            return None;
        }
        let (start, end) = (s.required("start", TIME)?, s.required("end", TIME)?);
        if start == end {
            s.fault(
                "end",
                Broken::new("must differ from `start`", "leave quiet_hours out where there are none"),
            );
        }
        Some(QuietHours { start, end })
    })
}
