//! What is seen: the page, and why there is none.

use axum::http::{HeaderValue, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use handlebars::Handlebars;
use jiff::civil::Time;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Sorry;
use super::texts::{LANGUAGES, PerChannel, Texts};
use crate::config::Config;
use crate::config::site::SiteSection;
use crate::domain::consent::{Answer, answer};
use crate::domain::patient::Patient;
use crate::domain::wish::{CHOSEN, Terms, Wish, is_wanted};
use crate::domain::words::{Channel, Purpose};
use crate::store::rows::PageRow;
use crate::template::{reads, show_phone};

const STYLE: &str = include_str!("style.css");
/// Where a link tells nothing of the place: so many numbers to call are shown at most.
const MAX_PHONES: usize = 6;

/// What is said of the last act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Changed,
    Unchanged,
    Outdated,
    Unclear,
    TwoTimes,
}

/// Everything a page shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    pub(super) config: &'a Config,
    pub(super) uri: &'a Uri,
    pub(super) row: &'a PageRow,
    pub(super) expired: bool,
    pub(super) notice: Option<Notice>,
    pub(super) opt_in: &'a [Purpose],
}

/// The compiled pages, and the policy under which browsers show them.
pub(super) struct Views {
    registry: Handlebars<'static>,
    policy: HeaderValue,
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Views")
    }
}

impl Views {
    pub(super) fn new() -> Self {
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        for (name, text) in [
            ("page", include_str!("page.hbs")),
            ("sorry", include_str!("sorry.hbs")),
            ("call", include_str!("call.hbs")),
        ] {
            if let Err(error) = registry.register_template_string(name, text) {
                tracing::error!(%error, name, "a page does not compile");
            }
        }
        // Nothing runs and nothing is fetched; the one style is known by its hash.
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            STANDARD.encode(Sha256::digest(STYLE.as_bytes()))
        );
        let policy = HeaderValue::try_from(policy)
            .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
        Self { registry, policy }
    }

    pub(super) fn policy(&self) -> &HeaderValue {
        &self.policy
    }

    pub(super) fn page(&self, sight: &Sight<'_>) -> Option<String> {
        self.render("page", &Page::of(sight))
    }

    /// The same in every language: nothing tells which one its reader speaks.
    pub(super) fn sorry(&self, config: &Config, sorry: Sorry) -> Option<String> {
        let says = LANGUAGES.map(|t| {
            let (title, help) = match sorry {
                Sorry::NoLink => (t.sorry.no_link, t.sorry.no_link_help),
                Sorry::Later(_) => (t.sorry.later, t.sorry.later_help),
                Sorry::Refused(_) => (t.sorry.refused, t.sorry.refused_help),
            };
            Says { t, title, help, phones: phones_of_all(config, t.lang) }
        });
        self.render("sorry", &SorryPage { style: STYLE, site: &config.organisation.name, says })
    }

    fn render(&self, name: &str, page: &impl Serialize) -> Option<String> {
        let rendered = self.registry.render(name, page);
        // What the engine says of it holds names of fields only.
        rendered.inspect_err(|error| tracing::error!(%error, name, "a page does not render")).ok()
    }
}

#[derive(Serialize)]
struct SorryPage<'a> {
    style: &'static str,
    site: &'a str,
    says: [Says; 3],
}

#[derive(Serialize)]
struct Says {
    t: &'static Texts,
    title: &'static str,
    help: &'static str,
    phones: Vec<Phone>,
}

/// A number to call.
#[derive(Serialize)]
struct Phone {
    /// Whose; empty where it is the page's own place.
    name: String,
    number: String,
    shown: String,
}

#[derive(Serialize)]
struct Page<'a> {
    t: &'static Texts,
    style: &'static str,
    site: &'a str,
    phones: Vec<Phone>,
    languages: Vec<Language>,
    notice: Option<&'static str>,
    warning: bool,
    expired: bool,
    came_by: &'static str,
    ending: Option<String>,
    address_stopped: bool,
    everything_stopped: bool,
    this_stopped: bool,
    stop_this: &'static str,
    offers: Offers,
    /// More than stopping is possible.
    settings: bool,
    revision: i64,
    ways: Vec<Way>,
    kinds: Vec<Kind>,
    kinds_open: bool,
    firsts: Vec<Choice>,
    quiet_from: Vec<Hour>,
    quiet_to: Vec<Hour>,
}

#[derive(Serialize)]
struct Offers {
    start_all: bool,
}

#[derive(Serialize)]
struct Language {
    lang: &'static str,
    name: &'static str,
    /// The page is written in it.
    here: bool,
    /// The patient's messages are.
    ticked: bool,
}

#[derive(Serialize)]
struct Way {
    channel: Channel,
    name: &'static str,
    state: &'static str,
    stop: Option<&'static str>,
    start: Option<&'static str>,
}

#[derive(Serialize)]
struct Kind {
    name: &'static str,
    ways: Vec<Tick>,
}

#[derive(Serialize)]
struct Tick {
    purpose: Purpose,
    channel: Channel,
    name: &'static str,
    ticked: bool,
}

#[derive(Serialize)]
struct Choice {
    channel: &'static str,
    name: &'static str,
    ticked: bool,
}

#[derive(Serialize)]
struct Hour {
    value: String,
    name: String,
    ticked: bool,
}

impl<'a> Page<'a> {
    fn of(sight: &Sight<'a>) -> Self {
        let row = sight.row;
        // Whoever is not on record has nothing set; what they may stop is shown all the same.
        let nobody = Patient::bare(row.facts.patient_id.clone());
        let patient = row.patient.as_ref().unwrap_or(&nobody);
        let terms = Terms { opt_in: sight.opt_in, now: row.now, evidence: "" };
        let place = place(sight);
        let t = texts(sight, place);
        let would = |wish: Wish| !wish.grant(patient, &terms).changes.is_empty();
        let wanted = |purpose, channel| is_wanted(patient, purpose, channel, &terms);
        let at_address = |purpose| {
            matches!(answer(&row.said, purpose, row.channel, &row.address, row.now), Answer::Revoked(_))
        };
        let address_stopped = CHOSEN.iter().all(|purpose| at_address(*purpose));
        let by_patient = CHOSEN.iter().all(|p| Channel::ALL.iter().all(|c| !wanted(*p, *c)));
        let settings = row.patient.is_some() && !sight.expired;
        Self {
            t,
            style: STYLE,
            site: place.map_or(&sight.config.organisation.name, |place| place.name.get(t.lang)),
            phones: place.map_or_else(|| phones_of_all(sight.config, t.lang), phones_of),
            languages: languages(t, patient),
            notice: sight.notice.map(|notice| said(t, notice)),
            warning: !matches!(sight.notice, Some(Notice::Changed | Notice::Unchanged)),
            expired: sight.expired,
            came_by: t.came_by.of(row.channel),
            ending: ending(row),
            // Of somebody who is not on record, the address is where their own word stands.
            address_stopped: address_stopped && row.patient.is_some(),
            everything_stopped: by_patient,
            this_stopped: !wanted(row.facts.purpose, row.channel)
                || (row.patient.is_none() && at_address(row.facts.purpose)),
            stop_this: t.stop_this.of(row.channel),
            offers: Offers { start_all: settings && would(Wish::Start { channel: None }) },
            settings,
            revision: row.revision,
            ways: Channel::ALL.iter().map(|c| way(t, *c, &wanted, &would, sight.opt_in)).collect(),
            kinds: CHOSEN.iter().map(|p| kind(t, *p, &wanted)).collect(),
            kinds_open: sight.notice == Some(Notice::Outdated),
            firsts: firsts(t, patient),
            quiet_from: hours(t, patient.quiet_hours.map(|hours| hours.start)),
            quiet_to: hours(t, patient.quiet_hours.map(|hours| hours.end)),
        }
    }
}

/// The place that the message was about, else the patient's own.
fn place<'a>(sight: &Sight<'a>) -> Option<&'a SiteSection> {
    let own = sight.row.patient.as_ref().and_then(|patient| patient.site.as_ref());
    sight.config.site(sight.row.facts.site.as_ref().or(own)?)
}

/// In the language that the reader asks for, else the patient's, else that of the message.
fn texts(sight: &Sight<'_>, place: Option<&SiteSection>) -> &'static Texts {
    let asked = sight.uri.query().and_then(|query| query.strip_prefix("lang="));
    let exact = |tag: &str| LANGUAGES.into_iter().find(|t| t.lang == tag);
    let read = |tag: &str| LANGUAGES.into_iter().find(|t| reads(tag, t.lang));
    let own = || sight.row.patient.as_ref().and_then(|patient| read(patient.language.as_deref()?));
    let here = place.map_or(sight.config.organisation.language.as_str(), |place| place.language.as_str());
    let [first, ..] = LANGUAGES;
    asked
        .and_then(exact)
        .or_else(own)
        .or_else(|| read(&sight.row.locale))
        .or_else(|| read(here))
        .unwrap_or(first)
}

const fn said(t: &Texts, notice: Notice) -> &'static str {
    match notice {
        Notice::Changed => t.notices.changed,
        Notice::Unchanged => t.notices.unchanged,
        Notice::Outdated => t.notices.outdated,
        Notice::Unclear => t.notices.unclear,
        Notice::TwoTimes => t.notices.two_times,
    }
}

/// Two digits of a number, by which its owner knows it. Of an email address nothing is shown: where it leads may
/// say where somebody works.
fn ending(row: &PageRow) -> Option<String> {
    let number = row.address.expose();
    let is_number = matches!(row.channel, Channel::Sms | Channel::Voice) && number.len() >= 9;
    number.get(number.len().checked_sub(2)?..).filter(|_| is_number).map(str::to_owned)
}

fn phones_of(place: &SiteSection) -> Vec<Phone> {
    place.phone.as_deref().map(|number| phone("", number, &place.region)).into_iter().collect()
}

/// Where the place is not known: every one that can be called, by its name where there are several.
fn phones_of_all(config: &Config, lang: &str) -> Vec<Phone> {
    let called = config.sites.iter().filter_map(|site| Some((site, site.phone.as_deref()?)));
    let mut phones: Vec<Phone> =
        called.map(|(site, number)| phone(site.name.get(lang), number, &site.region)).collect();
    match phones.as_mut_slice() {
        [only] => only.name.clear(),
        several if several.len() > MAX_PHONES => phones.clear(),
        _ => {}
    }
    phones
}

fn phone(name: &str, number: &str, region: &str) -> Phone {
    let name = if name.is_empty() { String::new() } else { format!("{name}:") };
    Phone { name, number: number.to_owned(), shown: show_phone(number, Some(region)) }
}

fn languages(t: &Texts, patient: &Patient) -> Vec<Language> {
    let own = patient.language.as_deref();
    LANGUAGES
        .into_iter()
        .map(|each| Language {
            lang: each.lang,
            name: each.language_name,
            here: each.lang == t.lang,
            ticked: own.is_some_and(|own| reads(own, each.lang)),
        })
        .collect()
}

fn way(
    t: &Texts,
    channel: Channel,
    wanted: &impl Fn(Purpose, Channel) -> bool,
    would: &impl Fn(Wish) -> bool,
    opt_in: &[Purpose],
) -> Way {
    let free = CHOSEN.iter().filter(|p| !opt_in.contains(p));
    let (all, any) = (free.clone().all(|p| wanted(*p, channel)), CHOSEN.iter().any(|p| wanted(*p, channel)));
    Way {
        channel,
        name: t.way.of(channel),
        state: match (all, any) {
            (true, _) => t.on,
            (false, true) => t.some,
            (false, false) => t.off,
        },
        stop: any.then(|| t.stop_way.of(channel)),
        start: (!all && would(Wish::Start { channel: Some(channel) })).then(|| t.start_way.of(channel)),
    }
}

fn kind(t: &Texts, purpose: Purpose, wanted: &impl Fn(Purpose, Channel) -> bool) -> Kind {
    let name = match purpose {
        Purpose::Appointment => t.kinds.appointment,
        Purpose::Care | Purpose::Emergency => t.kinds.care,
        Purpose::Results => t.kinds.results,
        Purpose::Billing => t.kinds.billing,
        Purpose::Prevention => t.kinds.prevention,
        Purpose::Survey => t.kinds.survey,
        Purpose::Marketing => t.kinds.marketing,
    };
    let tick = |channel: &Channel| Tick {
        purpose,
        channel: *channel,
        name: t.short_way.of(*channel),
        ticked: wanted(purpose, *channel),
    };
    Kind { name, ways: Channel::ALL.iter().map(tick).collect() }
}

fn firsts(t: &Texts, patient: &Patient) -> Vec<Choice> {
    let first = patient.preferred_channels.first();
    let any = Choice { channel: "any", name: t.first_any, ticked: first.is_none() };
    let each = Channel::ALL.iter().map(|channel| Choice {
        channel: channel.as_str(),
        name: t.way.of(*channel),
        ticked: first == Some(channel),
    });
    each.chain([any]).collect()
}

/// The full hours of a day, with `chosen` among them, and none at all in front.
fn hours(t: &Texts, chosen: Option<Time>) -> Vec<Hour> {
    let none = Hour { value: String::new(), name: t.quiet_none.to_owned(), ticked: chosen.is_none() };
    let mut times: Vec<Time> = (0..24).filter_map(|hour| Time::new(hour, 0, 0, 0).ok()).collect();
    times.extend(chosen.filter(|time| !times.contains(time)));
    times.sort_unstable();
    let each = times.into_iter().map(|time| Hour {
        value: format!("{:02}:{:02}", time.hour(), time.minute()),
        name: clock(t, time),
        ticked: chosen == Some(time),
    });
    std::iter::once(none).chain(each).collect()
}

/// As people of the language in the Americas, and in China, tell the time.
fn clock(t: &Texts, time: Time) -> String {
    let (am, pm) = match t.lang {
        "en" => ("AM", "PM"),
        "es" => ("a. m.", "p. m."),
        _ => return format!("{:02}:{:02}", time.hour(), time.minute()),
    };
    let hour = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    format!("{hour}:{:02} {}", time.minute(), if time.hour() < 12 { am } else { pm })
}

impl PerChannel {
    const fn of(self, channel: Channel) -> &'static str {
        match channel {
            Channel::Sms => self.sms,
            Channel::Email => self.email,
            Channel::Portal => self.portal,
            Channel::Voice => self.voice,
        }
    }
}
