//! `[[source]]`: a system that asks for outreach, and what it may ask for.

use super::callback::Callback;
use super::fault::Broken;
use super::kind::{Flag, Int, Parsed, one_of, text};
use super::money::{Amount, Money};
use super::read::Section;
use super::rules;
use super::site::SITE;
use crate::domain::ids::{SiteId, SourceName, TemplateName};
use crate::domain::words::{Priority, Purpose};

/// One caller.
#[derive(Clone, Debug)]
pub struct SourceSection {
    pub name: SourceName,
    /// The broker user whose messages are this source's; the broker vouches for it.
    pub amqp_user: Option<String>,
    /// The site of its jobs that name none.
    pub site: Option<SiteId>,
    /// `None`: every template.
    pub templates: Option<Vec<TemplateName>>,
    /// `None`: every purpose but `emergency`, which passes what protects patients and has to be named.
    pub purposes: Option<Vec<Purpose>>,
    /// The highest priority it may use.
    pub max_priority: Priority,
    /// Messages in one calendar day of the organisation's zone. `None`: no limit.
    pub per_day: Option<u64>,
    /// Emergencies for more recipients in an hour wait for a second person. `None`: as `[policy]` says.
    pub second_person_above: Option<u64>,
    /// In one calendar day; `[limits]` holds where it says nothing.
    pub budget_per_day: Option<Money>,
    /// Where its results are posted, beside the events on the broker.
    pub callback: Option<Callback>,
    /// A job may bring its patient along.
    pub allow_inline: bool,
}

pub(super) const SOURCE: Parsed<SourceName> =
    Parsed { parse: source_name, show: |name| name.as_str().to_owned() };

const TEMPLATE: Parsed<TemplateName> = Parsed {
    parse: |text| {
        TemplateName::parse(text).ok_or_else(|| {
            Broken::new(format!("must be {}", TemplateName::RULE), "write the template's folder name")
        })
    },
    show: |name| name.as_str().to_owned(),
};

pub(super) fn source_name(text: &str) -> Result<SourceName, Broken> {
    SourceName::parse(text)
        .ok_or_else(|| Broken::new(format!("must be {}", SourceName::RULE), "choose such a name"))
}

impl SourceSection {
    pub(super) fn read(name: SourceName, s: &mut Section<'_>) -> Self {
        Self {
            name,
            amqp_user: s.optional("amqp_user", text(rules::line)),
            site: s.optional("site", SITE),
            templates: s.list("templates", TEMPLATE),
            purposes: s.list("purposes", one_of()),
            max_priority: s.or("max_priority", one_of(), Priority::Normal),
            per_day: s.optional("per_day", Int(1..=1_000_000_000)),
            second_person_above: s.optional("second_person_above", Int(0..=1_000_000_000)),
            budget_per_day: s.optional("budget_per_day", Amount),
            callback: Callback::read(s),
            allow_inline: s.or("allow_inline", Flag, false),
        }
    }

    /// What every local caller may do while no source is configured: everything.
    pub(super) fn open() -> Option<Self> {
        Some(Self {
            name: SourceName::parse("default")?,
            amqp_user: None,
            site: None,
            templates: None,
            purposes: Some(Purpose::ALL.to_vec()),
            max_priority: Priority::Urgent,
            per_day: None,
            second_person_above: None,
            budget_per_day: None,
            callback: None,
            allow_inline: true,
        })
    }

    /// Whether it may use `template`.
    #[must_use]
    pub fn may_use(&self, template: &TemplateName) -> bool {
        self.templates.as_ref().is_none_or(|templates| templates.contains(template))
    }

    /// Whether it may write for `purpose`.
    #[must_use]
    pub fn may_write_for(&self, purpose: Purpose) -> bool {
        match &self.purposes {
            None => purpose != Purpose::Emergency,
            Some(purposes) => purposes.contains(&purpose),
        }
    }
}
