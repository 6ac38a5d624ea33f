//! `[[provider]]`: who carries messages, how fast, with which account.

mod breaker;
mod event_key;
mod event_topic;
mod limit;
mod read;

pub use breaker::BreakerSettings;
pub use event_key::EventKey;
pub use event_topic::EventTopic;
#[cfg(test)]
pub(in crate::config) use read::KINDS;
pub(in crate::config) use read::provider_name;

use std::time::Duration;

use crate::config::callback::SigningKey;
use crate::config::secret::Secret;
use crate::config::security::Key;
use crate::domain::ids::ProviderName;
use crate::domain::words::{Channel, words};

/// Requests under way at once, where nothing else is said.
pub const MAX_IN_FLIGHT: usize = 256;

/// One provider.
#[derive(Clone, Debug)]
pub struct ProviderSection {
    pub name: ProviderName,
    pub settings: ProviderSettings,
    /// All hold at once.
    pub limits: Vec<Limit>,
    /// Share among the providers of one channel.
    pub weight: u32,
    /// A business associate agreement is signed; without it nothing above PHI class `minimal` goes there.
    pub baa: bool,
    /// Requests under way at once.
    pub max_in_flight: usize,
    /// From the first byte of the request to the last of the answer.
    pub timeout: Duration,
    /// Who answers a patient's STOP.
    pub opt_out_reply: OptOutReply,
    /// When it is left alone.
    pub breaker: BreakerSettings,
}

words! {
    /// Who sends the one confirmation that a STOP is owed.
    OptOutReply {
        /// The provider does; a second one from us would break the rule of one.
        Provider = "provider",
        Ours = "ours",
    }
}

/// A limit on the wire, such as `10/s`, `1/s per sender`, `2000/day`. SMS count by segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub count: u32,
    pub per: Period,
    /// For each sender number or address on its own.
    pub per_sender: bool,
}

/// The span of a [`Limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    Second,
    Minute,
    Hour,
    /// The calendar day in UTC.
    Day,
}

/// What each kind needs, by `kind = "..."`.
#[derive(Clone, Debug)]
pub enum ProviderSettings {
    Smtp(SmtpSettings),
    TwilioSms(TwilioSettings),
    TwilioVoice(TwilioSettings),
    FhirPortal(FhirPortalSettings),
    Capture(CaptureSettings),
}

/// `kind = "smtp"`.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    pub host: String,
    pub port: u16,
    pub tls: SmtpTls,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// `Name <address>` or an address: the From header where the site has none.
    pub from: String,
    /// The envelope sender (return path); the From address when absent.
    pub return_path: Option<String>,
    pub reply_to: Option<String>,
    /// Before `return_path`: each mail's return path is this address with a mark of its own (VERP), so that a bounce
    /// finds its mail.
    pub bounce_address: Option<String>,
    /// Before `reply_to`: each mail's Reply-To is this address with its mark, so that an answer finds its mail.
    pub reply_address: Option<String>,
    /// Marks are signed under a key that is derived from this one: `[security] key`.
    pub mark_key: Option<Key>,
    /// Verifies what the relay reports by webhook; `None`: it reports nothing.
    pub webhook_secret: Option<SigningKey>,
    /// Verifies the events of a relay that is SendGrid.
    pub sendgrid_key: Option<Box<EventKey>>,
    /// Where a relay that is Amazon SES publishes its events.
    pub ses_topic: Option<Box<EventTopic>>,
    pub dkim: Option<DkimSettings>,
    pub pool_size: u32,
    /// PEM of an extra root to trust, beside the public ones.
    pub ca_file: Option<std::path::PathBuf>,
}

/// How the connection is secured. Never falls back to less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// Plain first, then STARTTLS or nothing (port 587).
    StartTls,
    /// TLS from the first byte (port 465).
    Tls,
    /// No TLS: loopback relays and tests only.
    None,
}

/// Signs outgoing mail.
#[derive(Clone, Debug)]
pub struct DkimSettings {
    pub domain: String,
    pub selector: String,
    /// PEM (RSA, PKCS#1 or PKCS#8) or base64 (Ed25519).
    pub private_key: Secret,
    pub algorithm: DkimAlgorithm,
}

/// The key's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DkimAlgorithm {
    Rsa,
    Ed25519,
}

/// `kind = "twilio_sms"` and `kind = "twilio_voice"`.
#[derive(Clone, Debug)]
pub struct TwilioSettings {
    pub base_url: String,
    pub account_sid: String,
    pub auth_token: Secret,
    /// The one before it: webhooks that it signs are still believed.
    pub auth_token_previous: Option<Secret>,
    /// The secret of the SharedKey that a rule at Twilio has webhooks signed by, instead of the auth token.
    pub webhook_shared_key: Option<Secret>,
    /// Numbers to send from; one patient keeps one.
    pub from: Vec<String>,
    /// Chooses the number of an SMS itself, whatever stands in `from`.
    pub messaging_service_sid: Option<String>,
    /// Where the provider reports, as it calls it: its signature covers this. Derived from `[http] public_url`.
    pub status_callback: Option<String>,
    /// Where a pressed key goes; derived from `[http] public_url`.
    pub gather_action: Option<String>,
    /// What an HTTP 5xx other than 503 means; the safe answer is `Unknown`.
    pub on_5xx: On5xx,
}

/// How to read an answer that does not say whether the message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On5xx {
    Unknown,
    NotSent,
}

/// `kind = "fhir_portal"`.
#[derive(Clone, Debug)]
pub struct FhirPortalSettings {
    pub base_url: String,
    /// Absent: asked of `/.well-known/smart-configuration`.
    pub token_url: Option<String>,
    pub client_id: String,
    /// PEM of the key whose public half the server knows (RSA or P-384).
    pub private_key: Secret,
    pub key_id: String,
    pub scope: String,
    pub algorithm: JwtAlgorithm,
    /// `Organization/…` reference of the sender.
    pub sender: Option<String>,
}

/// How the client assertion is signed (SMART Backend Services).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtAlgorithm {
    Rs384,
    Es384,
}

/// `kind = "capture"`: takes what would have been sent, sends nothing.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    pub channel: Channel,
}

impl ProviderSettings {
    /// The word that stands for it in `kind = "..."`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Smtp(_) => "smtp",
            Self::TwilioSms(_) => "twilio_sms",
            Self::TwilioVoice(_) => "twilio_voice",
            Self::FhirPortal(_) => "fhir_portal",
            Self::Capture(_) => "capture",
        }
    }

    /// The one channel this kind serves.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Smtp(_) => Channel::Email,
            Self::TwilioSms(_) => Channel::Sms,
            Self::TwilioVoice(_) => Channel::Voice,
            Self::FhirPortal(_) => Channel::Portal,
            Self::Capture(capture) => capture.channel,
        }
    }
}
