//! What the operator decides: one section a file; defaults, then TOML, then the environment; every fault
//! reported at once.
//!
//! A setting is read where its section is built: [`read`] looks in the environment, then in the file, [`kind`]
//! and [`rules`] judge it, [`validate`] judges what only several settings together can break. Relative paths
//! count from the working directory. Lists are known by name: `auth_token` of `[[provider]] name =
//! "twilio-main"` is `OUTREACHD_PROVIDER__TWILIO_MAIN__AUTH_TOKEN`.

pub mod amqp;
pub mod api;
pub mod bounces;
pub mod callback;
pub mod campaigns;
pub mod console;
pub mod events;
pub mod fault;
pub mod http;
pub mod limits;
pub mod log;
pub mod money;
pub mod notify;
pub mod oidc;
pub mod organisation;
pub mod policy;
pub mod provider;
pub mod replies;
pub mod retention;
pub mod safety;
pub mod secret;
pub mod security;
pub mod site;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod templates;
pub mod work;
pub mod worker;

mod context;
mod hours;
mod kind;
mod load;
mod read;
mod rules;
mod validate;

pub use fault::ConfigFault;
pub use load::LoadOptions;
pub(crate) use rules::is_loopback;

use crate::domain::alert::Trouble;
use crate::domain::ids::{ProviderName, SiteId, SourceName, UserName};
use crate::domain::people::is_reserved;
use crate::domain::words::Channel;
use provider::ProviderSection;
use read::Section;
use site::SiteSection;
use source::SourceSection;

/// The whole configuration, valid.
#[derive(Clone, Debug)]
pub struct Config {
    pub safety: safety::SafetySection,
    pub organisation: organisation::OrganisationSection,
    pub store: store::StoreSection,
    /// `None`: no broker.
    pub amqp: Option<amqp::AmqpSection>,
    pub http: http::HttpSection,
    pub templates: templates::TemplatesSection,
    pub api: api::ApiSection,
    pub console: console::ConsoleSection,
    pub security: security::SecuritySection,
    pub policy: policy::PolicySection,
    pub events: events::EventsSection,
    pub limits: limits::LimitsSection,
    pub log: log::LogSection,
    pub telemetry: telemetry::TelemetrySection,
    pub work: work::WorkSection,
    pub campaigns: campaigns::CampaignsSection,
    pub replies: replies::RepliesSection,
    pub bounces: bounces::BouncesSection,
    pub notify: notify::NotifySection,
    pub retention: retention::RetentionSection,
    pub worker: worker::WorkerSection,
    /// None: every local caller may use everything.
    pub sources: Vec<SourceSection>,
    pub sites: Vec<SiteSection>,
    pub providers: Vec<ProviderSection>,
    open_source: Option<SourceSection>,
    shown: toml::Table,
}

/// A configured length of time, as arithmetic with instants of the ledger takes it.
#[must_use]
pub fn span(duration: std::time::Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}

impl Config {
    /// Chooses the file, reads it and the environment, and checks all of it.
    ///
    /// # Errors
    /// Every fault there is, in one go.
    pub fn load(options: &LoadOptions) -> Result<Self, Vec<ConfigFault>> {
        load::load(options).result
    }

    /// Reads a configuration from text, without any environment.
    ///
    /// # Errors
    /// Every fault there is, in one go.
    pub fn from_toml(text: &str) -> Result<Self, Vec<ConfigFault>> {
        load::load_text(text, &LoadOptions::default()).result
    }

    /// Whether a name stands on record for somebody else than a person of that name: a token of the API, or this system.
    #[must_use]
    pub fn is_spoken_for(&self, name: &UserName) -> bool {
        let name = name.as_str();
        is_reserved(name) || self.api.tokens.iter().any(|token| token.name.eq_ignore_ascii_case(name))
    }

    /// What holds for a source; `None`: it is unknown and refused. While no source is configured, any name is
    /// good and may use everything.
    #[must_use]
    pub fn source(&self, name: &SourceName) -> Option<&SourceSection> {
        self.open_source.as_ref().or_else(|| self.sources.iter().find(|source| source.name == *name))
    }

    /// The source of a job that names none: `default` while no source is configured, else none.
    #[must_use]
    pub fn default_source(&self) -> Option<&SourceName> {
        self.open_source.as_ref().map(|source| &source.name)
    }

    /// The source that the broker vouches for by its user.
    #[must_use]
    pub fn source_of_amqp_user(&self, user: &str) -> Option<&SourceSection> {
        self.sources.iter().find(|source| source.amqp_user.as_deref() == Some(user))
    }

    /// Where the runbook's line for a trouble is.
    #[must_use]
    pub fn runbook_of(&self, trouble: Trouble) -> String {
        self.notify.runbook_of(trouble, &self.http.own_url())
    }

    /// A site.
    #[must_use]
    pub fn site(&self, id: &SiteId) -> Option<&SiteSection> {
        self.sites.iter().find(|site| site.id == *id)
    }

    /// A provider.
    #[must_use]
    pub fn provider(&self, name: &ProviderName) -> Option<&ProviderSection> {
        self.providers.iter().find(|provider| provider.name == *name)
    }

    /// The providers of a channel, in the file's order.
    pub fn providers_for(&self, channel: Channel) -> impl Iterator<Item = &ProviderSection> {
        self.providers.iter().filter(move |provider| provider.settings.channel() == channel)
    }

    /// All settings in force, defaults included, secrets and patients' addresses masked.
    #[must_use]
    pub fn redacted_toml(&self) -> String {
        // A table of tables, texts, numbers and flags always has a spelling.
        toml::to_string(&self.shown).unwrap_or_default()
    }

    fn read(root: &mut Section<'_>) -> Self {
        let safety = root.section("safety", safety::SafetySection::read);
        let mode = safety.mode;
        let organisation = root.section("organisation", |s| organisation::OrganisationSection::read(s, mode));
        let http = root.section("http", http::HttpSection::read);
        let public_url = http.public_url.clone();
        let sources = root.items("source", "name", source::source_name, SourceSection::read);
        let security = root.section("security", |s| security::SecuritySection::read(s, mode));
        let given_sources = root.in_file("source").is_some();
        Self {
            store: root.section("store", store::StoreSection::read),
            amqp: root.section("amqp", amqp::AmqpSection::read),
            templates: root.section("templates", templates::TemplatesSection::read),
            api: root.section("api", api::ApiSection::read),
            console: root.section("console", console::ConsoleSection::read),
            policy: root.section("policy", policy::PolicySection::read),
            events: root.section("events", events::EventsSection::read),
            limits: root.section("limits", |s| limits::LimitsSection::read(s, &organisation.default_region)),
            log: root.section("log", log::LogSection::read),
            telemetry: root.section("telemetry", telemetry::TelemetrySection::read),
            work: root.section("work", work::WorkSection::read),
            campaigns: root.section("campaigns", campaigns::CampaignsSection::read),
            replies: root.section("replies", replies::RepliesSection::read),
            bounces: root.section("bounces", bounces::BouncesSection::read),
            notify: root.section("notify", notify::NotifySection::read),
            retention: root.section("retention", retention::RetentionSection::read),
            worker: root.section("worker", worker::WorkerSection::read),
            sites: root.items("site", "id", site::site_id, |id, s| SiteSection::read(id, s, &organisation)),
            providers: root
                .items("provider", "name", provider::provider_name, |name, s| {
                    ProviderSection::read(name, s, public_url.as_deref(), security.key.as_ref())
                })
                .into_iter()
                .flatten()
                .collect(),
            open_source: if given_sources { None } else { SourceSection::open() },
            shown: toml::Table::new(),
            safety,
            organisation,
            http,
            security,
            sources,
        }
    }
}
