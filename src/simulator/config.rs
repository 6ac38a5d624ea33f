//! What the simulator pretends to be, and how badly it behaves. Reads from TOML or JSON; every field has a
//! default, so `SimulatorConfig::default()` is a well-behaved provider on free loopback ports.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::faults::Faults;
use crate::config::secret::Secret;
use crate::domain::phi::Phi;

/// The provider kinds the simulator speaks, by the words of `[[provider]] kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    TwilioSms,
    TwilioVoice,
    FhirPortal,
    Smtp,
}

impl ProviderKind {
    /// All kinds, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::TwilioSms, Self::TwilioVoice, Self::FhirPortal, Self::Smtp];

    /// The word used in configuration and hit logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TwilioSms => "twilio_sms",
            Self::TwilioVoice => "twilio_voice",
            Self::FhirPortal => "fhir_portal",
            Self::Smtp => "smtp",
        }
    }
}

/// The whole simulator.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatorConfig {
    /// Loopback only; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// Loopback only; port 0 takes a free one.
    pub smtp_listen: SocketAddr,
    /// The same seed gives the n-th request the same fate.
    pub seed: u64,
    pub twilio: TwilioAccount,
    pub fhir: FhirServer,
    pub smtp: SmtpServer,
    /// For every kind that `faults_for` does not name.
    pub faults: Faults,
    pub faults_for: BTreeMap<ProviderKind, Faults>,
    pub receipts: Receipts,
    pub calls: Calls,
    pub answers: Answers,
    /// What happens at one number, whatever the shares say. Keys are E.164.
    pub numbers: BTreeMap<Phi, NumberRule>,
    /// Append every hit here as NDJSON. Without it only the last `keep_hits` are kept, in memory.
    pub hit_log: Option<PathBuf>,
    /// Hits kept in memory.
    pub keep_hits: usize,
    /// Messages kept in memory, with their texts, for look-ups and the console.
    pub keep_messages: usize,
    /// Audit one hit in this many; 1 audits each.
    pub audit_every: u64,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        let free_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            http_listen: free_port,
            smtp_listen: free_port,
            seed: 1,
            twilio: TwilioAccount::default(),
            fhir: FhirServer::default(),
            smtp: SmtpServer::default(),
            faults: Faults::default(),
            faults_for: BTreeMap::new(),
            receipts: Receipts::default(),
            calls: Calls::default(),
            answers: Answers::default(),
            numbers: BTreeMap::new(),
            hit_log: None,
            keep_hits: 100_000,
            keep_messages: 10_000,
            audit_every: 1,
        }
    }
}

/// The one account that may send.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwilioAccount {
    /// `AC` and 32 hexadecimal digits.
    pub account_sid: String,
    pub auth_token: Secret,
}

impl Default for TwilioAccount {
    fn default() -> Self {
        Self {
            account_sid: "AC5149d3f1c0ffee0000000000000000ab".to_owned(),
            auth_token: Secret::new("simulator-token"),
        }
    }
}

/// The portal's FHIR server and its token endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FhirServer {
    /// The only client that gets a token; any when absent.
    pub client_id: Option<String>,
    /// PEM of the client's public key (RSA or P-384). Without it the assertion's signature is not checked.
    pub public_key_pem: Option<String>,
    /// Life of an access token, in seconds.
    pub token_seconds: u32,
    /// Communications kept for conditional create and search; the oldest go first.
    pub keep_resources: usize,
}

impl Default for FhirServer {
    fn default() -> Self {
        Self { client_id: None, public_key_pem: None, token_seconds: 300, keep_resources: 100_000 }
    }
}

/// The mail server. A local part of `bounce-XYZ` is refused at RCPT with the enhanced code X.Y.Z,
/// `reject-XYZ` after the message.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpServer {
    /// With both, AUTH is required.
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// Largest message, in bytes, as announced by SIZE.
    pub max_bytes: usize,
}

impl Default for SmtpServer {
    fn default() -> Self {
        Self { username: None, password: None, max_bytes: 10 * 1024 * 1024 }
    }
}

/// How SMS receipts come back. Delays count from the moment the message is taken; shares run from 0 to 1.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Receipts {
    /// No receipts at all when false.
    pub enabled: bool,
    /// Also report `queued`, after this long.
    pub queued_ms: Option<u64>,
    pub sent_ms: u64,
    pub final_ms: u64,
    /// Up to this much is added to each delay.
    pub jitter_ms: u64,
    pub undelivered: f64,
    pub undelivered_codes: Vec<u32>,
    pub failed: f64,
    pub failed_codes: Vec<u32>,
    /// Stays `sent`: some carriers never confirm.
    pub silent: f64,
    /// The last receipt comes `late_ms` later.
    pub late: f64,
    pub late_ms: u64,
    /// Every receipt comes twice.
    pub repeated: f64,
    /// `delivered` for what was not, and the reverse; a look-up tells the truth.
    pub lying: f64,
    /// The last receipt overtakes `sent`.
    pub shuffled: f64,
    /// Tries after a failed callback, whatever has failed and however long it takes. Not set: as Twilio does it, by the
    /// overrides in the URL's fragment (`rc`, `rp`, `tt`): one more, and only where it could not connect, for 15 s in all.
    pub retries: Option<u32>,
    /// Between two tries.
    pub retry_ms: u64,
    /// Callbacks waiting at once; more are dropped and counted.
    pub max_pending: usize,
    /// Callbacks under way at once.
    pub max_in_flight: usize,
    /// Post all callbacks to this loopback base URL instead (path and query are kept, the signature still covers
    /// the URL as given): for a worker whose public URL is elsewhere.
    pub deliver_to: Option<String>,
}

impl Default for Receipts {
    fn default() -> Self {
        Self {
            enabled: true,
            queued_ms: None,
            sent_ms: 20,
            final_ms: 80,
            jitter_ms: 0,
            undelivered: 0.0,
            undelivered_codes: vec![30003, 30005, 30006],
            failed: 0.0,
            failed_codes: vec![30007, 30008],
            silent: 0.0,
            late: 0.0,
            late_ms: 60_000,
            repeated: 0.0,
            lying: 0.0,
            shuffled: 0.0,
            retries: None,
            retry_ms: 500,
            max_pending: 200_000,
            max_in_flight: 64,
            deliver_to: None,
        }
    }
}

/// What patients write back to texts that name a status callback. Shares run from 0 to 1; the rest writes nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answers {
    /// After the text has arrived.
    pub after_ms: u64,
    /// The first answer that the text offers, else "Yes".
    pub yes: f64,
    /// The second one, else "No".
    pub no: f64,
    pub stop: f64,
    pub wrong_number: f64,
    pub help: f64,
    /// One of `texts`.
    pub text: f64,
    pub texts: Vec<String>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            after_ms: 100,
            yes: 0.0,
            no: 0.0,
            stop: 0.0,
            wrong_number: 0.0,
            help: 0.0,
            text: 0.0,
            texts: ["Can I bring my son?", "ok thanks", "Is parking free?", "¿Puedo ir más tarde?"]
                .map(str::to_owned)
                .into(),
        }
    }
}

/// How telephone calls go. Shares run from 0 to 1; the rest is answered by a person.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Calls {
    pub ring_ms: u64,
    /// From the ringing to the answer, or to nobody.
    pub answer_ms: u64,
    /// From the start of the prompt to the key.
    pub key_ms: u64,
    /// Length of what is listened to.
    pub talk_ms: u64,
    pub busy: f64,
    pub no_answer: f64,
    pub failed: f64,
    pub machine: f64,
    /// Of the people who answer, those who press a key.
    pub pressing: f64,
    /// Pressed one after the other, one each time the call asks.
    pub keys: String,
    /// Calls under way at once; more are refused with 429.
    pub max_under_way: usize,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            ring_ms: 20,
            answer_ms: 40,
            key_ms: 20,
            talk_ms: 20,
            busy: 0.0,
            no_answer: 0.0,
            failed: 0.0,
            machine: 0.0,
            pressing: 1.0,
            keys: "1".to_owned(),
            max_under_way: 1_000,
        }
    }
}

/// What happens at one number.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NumberRule {
    /// Refuse at once with this Twilio error code.
    pub refuse: Option<u32>,
    /// How an SMS ends.
    pub sms: Option<SmsEnd>,
    /// The code of an SMS that ends badly.
    pub error_code: Option<u32>,
    /// How a call ends.
    pub call: Option<CallEnd>,
    /// Keys pressed, one each time the call asks; empty presses none.
    pub keys: Option<String>,
}

/// How an SMS ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmsEnd {
    Delivered,
    Undelivered,
    Failed,
    /// `sent`, and nothing more is heard.
    Silent,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEnd {
    Human,
    Machine,
    Fax,
    Busy,
    NoAnswer,
    Failed,
}

impl SimulatorConfig {
    /// What happens for a kind at the start.
    #[must_use]
    pub fn faults_of(&self, kind: ProviderKind) -> &Faults {
        self.faults_for.get(&kind).unwrap_or(&self.faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_from_toml_and_names_unknown_fields() {
        let config: SimulatorConfig = toml::from_str(
            r#"
            seed = 42
            hit_log = "hits.ndjson"
            [faults]
            latency_ms = 5
            throttled = 0.05
            [faults_for.smtp]
            lost = 0.1
            [receipts]
            undelivered = 0.02
            [numbers."+13125550142"]
            call = "no_answer"
            "#,
        )
        .unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.faults_of(ProviderKind::TwilioSms).latency_ms, 5);
        assert!((config.faults_of(ProviderKind::Smtp).lost - 0.1).abs() < 1e-9);
        assert!(toml::from_str::<SimulatorConfig>("sed = 1").is_err());
        assert!(!format!("{config:?}").contains("5550142"));
    }
}
