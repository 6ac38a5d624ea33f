//! `template.toml`: what a template is for, which variables it takes, and what each channel may carry.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::domain::reply::Offer;
use crate::domain::words::{Channel, PhiClass, Priority, Purpose, words};

use super::alphabet::Alphabet;
use super::answers;
use super::finding::Finding;
use super::formatters::tongue;
use super::plan::Plan;
use super::section::{Section, Source, count};
use super::variable::Variable;

words! {
    /// What happens to a reader whose language the template lacks.
    OnMissingLocale {
        /// They get the default locale.
        Default = "default",
        /// They get nothing over this channel: `no_translation`.
        Refuse = "refuse",
    }
}

words! {
    /// Which of its messages become one, where they may be put together at all.
    Within {
        /// Those that may go in the same moment: nothing is told before the time that its caller asked for.
        Moment = "moment",
        /// Those of one day, with the first of them: the hour that a caller asked for holds for what goes alone.
        Day = "day",
    }
}

/// The parsed and checked `template.toml`.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub title: String,
    pub description: String,
    /// What it may be sent for; the first is the default.
    pub purposes: Vec<Purpose>,
    /// A job may lower it.
    pub priority: Priority,
    /// What its texts reveal, where the channel says nothing else.
    pub phi: PhiClass,
    /// Only to contacts that are the patient's own.
    pub confidential: bool,
    /// The order of channels where the patient has none.
    pub channels: Vec<Channel>,
    pub default_locale: String,
    pub on_missing_locale: OnMissingLocale,
    /// Locales whose texts somebody answers for; others are sent in tests only, unless people have signed them off.
    pub approved: BTreeSet<String>,
    /// The datetime variable after which the message is of no use.
    pub expires_from: Option<String>,
    /// The boolean variable that says the visit is remote: times are then shown in the recipient's zone.
    pub remote_from: Option<String>,
    /// For urgent ones: people are called unless it is acknowledged so long after it was accepted, or after the time
    /// before which it may not be sent.
    pub urgent_deadline: Option<SignedDuration>,
    /// May be put together with others for one recipient.
    pub digest: bool,
    /// With which others.
    pub digest_within: Within,
    /// May go to an address that several patients share.
    pub shared_address: bool,
    /// Each text must say how to opt out.
    pub opt_out_line: bool,
    /// What recipients may answer, in the order of the digits.
    pub answers: Vec<Offer>,
    /// What follows while nothing has failed.
    pub plan: Plan,
    pub variables: BTreeMap<String, Variable>,
    limits: BTreeMap<Channel, ChannelLimits>,
}

/// What one channel may carry.
#[derive(Clone, Debug, Default)]
pub struct ChannelLimits {
    /// Instead of the template's class: a portal may hold what a text message only points to.
    pub phi: Option<PhiClass>,
    /// Segments of an SMS, by locale; the empty name is every other locale.
    pub max_segments: BTreeMap<String, u32>,
    pub alphabet: Option<Alphabet>,
}

impl Manifest {
    /// Reads `text`; `file` names it in the findings. Every fault is reported at once.
    ///
    /// # Errors
    /// All that is wrong with it, by line.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Finding>> {
        let source = Source::new(file, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map(|span| source.line(&span));
            source.fault(line, format!("not TOML: {}", error.message()), "correct the syntax");
        }
        let manifest = if source.findings.borrow().is_empty() {
            Some(read(&Section::new(&source, table.get_ref(), String::new(), 1)))
        } else {
            None
        };
        match (manifest, source.findings.into_inner()) {
            (Some(manifest), findings) if findings.is_empty() => Ok(manifest),
            (_, findings) => Err(findings),
        }
    }

    /// The instant after which a message with this data is of no use; `None` where the template names no such
    /// variable or the data lacks it.
    #[must_use]
    pub fn expires_at(&self, data: &Map<String, Value>) -> Option<Timestamp> {
        data.get(self.expires_from.as_ref()?)?.as_str()?.parse().ok()
    }

    /// The class of what goes over `channel`.
    #[must_use]
    pub fn phi(&self, channel: Channel) -> PhiClass {
        self.limits.get(&channel).and_then(|limits| limits.phi).unwrap_or(self.phi)
    }

    /// How many segments an SMS in `locale` may take.
    #[must_use]
    pub fn max_segments(&self, locale: &str) -> u32 {
        let by_locale = self.limits.get(&Channel::Sms).map(|limits| &limits.max_segments);
        by_locale.and_then(|m| m.get(locale).or_else(|| m.get(""))).copied().unwrap_or(DEFAULT_MAX_SEGMENTS)
    }

    /// How an SMS is fitted to the network's alphabets.
    #[must_use]
    pub fn alphabet(&self) -> Alphabet {
        self.limits.get(&Channel::Sms).and_then(|limits| limits.alphabet).unwrap_or(Alphabet::Auto)
    }
}

/// Twilio's own advice is to stay within 320 characters.
const DEFAULT_MAX_SEGMENTS: u32 = 2;

/// Purposes whose every text must say how to opt out.
const OPT_OUT_PURPOSES: &[Purpose] = &[Purpose::Prevention, Purpose::Survey, Purpose::Marketing];

fn read(top: &Section<'_, '_>) -> Manifest {
    let purposes = required_list(top, "purposes", Purpose::from_word, Purpose::ALL);
    let channels = required_list(top, "channels", Channel::from_word, Channel::ALL);
    let title = required_text(top, "title", "say in a few words what it tells");
    let default_locale = required_text(top, "default_locale", "name one of its locales, such as \"en\"");
    let variables: BTreeMap<_, _> = top
        .tables("variables")
        .into_iter()
        .filter_map(|(name, section)| Some((name.clone(), Variable::read(&name, &section)?)))
        .collect();
    let opt_out_line = top.flag("opt_out_line");
    if opt_out_line == Some(false) && purposes.iter().any(|p| OPT_OUT_PURPOSES.contains(p)) {
        top.fault("opt_out_line", "prevention, survey and marketing need an opt-out line", "remove this key");
    }
    let digest = top.flag("digest").unwrap_or(false);
    if top.get("digest_within").is_some() && !digest {
        top.fault("digest_within", "needs digest = true", "write digest = true, or remove this key");
    }
    let manifest = Manifest {
        opt_out_line: opt_out_line.unwrap_or_else(|| purposes.iter().any(|p| OPT_OUT_PURPOSES.contains(p))),
        title,
        answers: answers::read(top, &channels),
        plan: Plan::read(top, &purposes, &channels),
        description: top.text("description").unwrap_or_default(),
        purposes,
        priority: word(top, "priority", Priority::from_word, Priority::ALL).unwrap_or(Priority::Normal),
        phi: word(top, "phi", PhiClass::from_word, PhiClass::ALL).unwrap_or_else(|| {
            if top.get("phi").is_none() {
                top.fault("phi", "is required", "say what its texts reveal: minimal, limited or sensitive");
            }
            PhiClass::Sensitive
        }),
        confidential: top.flag("confidential").unwrap_or(false),
        channels,
        default_locale,
        on_missing_locale: word(top, "on_missing_locale", OnMissingLocale::from_word, OnMissingLocale::ALL)
            .unwrap_or(OnMissingLocale::Default),
        approved: top
            .list("approved", "locales, such as \"en\"", |t| tongue(t).map(|_| t.to_owned()))
            .unwrap_or_default()
            .into_iter()
            .collect(),
        expires_from: variable_of(top, "expires_from", &variables, super::variable::Kind::Datetime),
        remote_from: variable_of(top, "remote_from", &variables, super::variable::Kind::Boolean),
        urgent_deadline: duration(top, "urgent_deadline"),
        digest,
        digest_within: word(top, "digest_within", Within::from_word, Within::ALL).unwrap_or(Within::Moment),
        shared_address: top.flag("shared_address").unwrap_or(false),
        limits: limits(top),
        variables,
    };
    top.finish();
    manifest
}

fn required_text(top: &Section<'_, '_>, key: &'static str, cure: &str) -> String {
    let text = top.text(key).unwrap_or_default();
    if text.trim().is_empty() && top.get(key).is_none_or(|(value, _)| value.is_str()) {
        top.fault(key, "is required", cure);
    }
    text
}

fn required_list<T: Copy + PartialEq + std::fmt::Display>(
    top: &Section<'_, '_>,
    key: &'static str,
    parse: impl Fn(&str) -> Option<T>,
    all: &[T],
) -> Vec<T> {
    let known = join(all);
    let list = top.list(key, &format!("these words: {known}"), parse);
    if list.as_ref().is_some_and(Vec::is_empty) || top.get(key).is_none() {
        top.fault(key, "needs at least one", format!("list some of: {known}"));
    }
    let list = list.unwrap_or_default();
    if list.iter().enumerate().any(|(at, item)| list.iter().take(at).any(|earlier| earlier == item)) {
        top.fault(key, "names one twice", "name each once");
    }
    list
}

pub(super) fn word<T: std::fmt::Display>(
    top: &Section<'_, '_>,
    key: &'static str,
    parse: impl Fn(&str) -> Option<T>,
    all: &[T],
) -> Option<T> {
    top.word(key, parse, &join(all))
}

pub(super) fn join<T: std::fmt::Display>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A key that names a declared variable of a certain type.
fn variable_of(
    top: &Section<'_, '_>,
    key: &'static str,
    variables: &BTreeMap<String, Variable>,
    kind: super::variable::Kind,
) -> Option<String> {
    let name = top.text(key)?;
    if variables.get(&name).is_none_or(|variable| variable.kind != kind) {
        top.fault(key, format_args!("must name a {kind} variable"), format!("declare [variables.{name}]"));
    }
    Some(name)
}

fn duration(top: &Section<'_, '_>, key: &'static str) -> Option<SignedDuration> {
    let want = "a positive span, such as \"30m\" or \"2h\"";
    let parsed = top.text(key)?.parse::<SignedDuration>().ok().filter(|d| d.is_positive());
    if parsed.is_none() {
        top.fault(key, format_args!("must be {want}"), format!("write it as {want}"));
    }
    parsed
}

fn limits(top: &Section<'_, '_>) -> BTreeMap<Channel, ChannelLimits> {
    let mut all = BTreeMap::new();
    for (name, section) in top.tables("channel") {
        let Some(channel) = Channel::from_word(&name) else {
            top.fault("channel", "names no channel", format!("use one of: {}", join(Channel::ALL)));
            continue;
        };
        let mut limits = ChannelLimits {
            phi: word(&section, "phi", PhiClass::from_word, PhiClass::ALL),
            ..ChannelLimits::default()
        };
        if channel == Channel::Sms {
            limits.alphabet = word(&section, "alphabet", Alphabet::from_word, Alphabet::ALL);
            limits.max_segments = max_segments(&section);
        }
        section.finish();
        all.insert(channel, limits);
    }
    all
}

/// A number, or a table of numbers by locale with `default` for the others.
fn max_segments(section: &Section<'_, '_>) -> BTreeMap<String, u32> {
    const KEY: &str = "max_segments";
    match section.get(KEY) {
        None => BTreeMap::new(),
        Some((DeValue::Table(table), _)) => {
            let mut by_locale = BTreeMap::new();
            for (locale, value) in table {
                let name = locale.get_ref().as_ref();
                match (tongue(name).is_some() || name == "default", count(value.get_ref())) {
                    (true, Some(n)) => {
                        by_locale.insert(if name == "default" { String::new() } else { name.to_owned() }, n);
                    }
                    _ => {
                        section.fault(KEY, "holds numbers from 1, by locale", "write { default = 2, en = 1 }")
                    }
                }
            }
            by_locale
        }
        Some(_) => section.count(KEY).map(|n| (String::new(), n)).into_iter().collect(),
    }
}
