//! How a `[[provider]]` is read: the part that all share here, each kind's own below.

use std::time::Duration;

use super::event_key::EVENT_KEY;
use super::event_topic::EVENT_TOPIC;
use super::limit::read_limits;
use super::{
    BreakerSettings, CaptureSettings, DkimAlgorithm, DkimSettings, FhirPortalSettings, JwtAlgorithm,
    MAX_IN_FLIGHT, On5xx, OptOutReply, ProviderSection, ProviderSettings, SmtpSettings, SmtpTls,
    TwilioSettings,
};
use crate::config::callback::SigningKey;
use crate::config::fault::{Broken, closest};
use crate::config::kind::{Flag, Int, Parsed, Span, one_of, text, word};
use crate::config::read::Section;
use crate::config::rules;
use crate::config::secret::{Secret, unreadable};
use crate::config::security::Key;
use crate::domain::ids::ProviderName;

word!(OptOutReply);

/// Every `kind` that can be configured.
pub(in crate::config) const KINDS: &[&str] =
    &["smtp", "twilio_sms", "twilio_voice", "fhir_portal", "capture"];

/// What Twilio's own service is called.
const TWILIO: &str = "https://api.twilio.com";

pub(in crate::config) fn provider_name(text: &str) -> Result<ProviderName, Broken> {
    ProviderName::parse(text)
        .ok_or_else(|| Broken::new(format!("must be {}", ProviderName::RULE), "choose such a name"))
}

impl ProviderSection {
    /// Reads one provider. `public_url` is where its receipts can reach us, `key` the ledger's.
    pub(in crate::config) fn read(
        name: ProviderName,
        s: &mut Section<'_>,
        public_url: Option<&str>,
        key: Option<&Key>,
    ) -> Option<Self> {
        let shared = Self {
            limits: read_limits(s),
            weight: s.or("weight", Int(1..=1_000), 100),
            baa: s.or("baa", Flag, false),
            max_in_flight: s.or("max_in_flight", Int(1..=4_096), MAX_IN_FLIGHT),
            timeout: s.or("timeout", SECONDS, Duration::from_secs(15)),
            opt_out_reply: s.or("opt_out_reply", one_of(), OptOutReply::Provider),
            breaker: s.section("breaker", BreakerSettings::read),
            settings: ProviderSettings::Capture(CaptureSettings {
                channel: crate::domain::words::Channel::Sms,
            }),
            name,
        };
        let kind = s.required("kind", text(kind));
        let settings = match kind.as_deref() {
            Some("smtp") => ProviderSettings::Smtp(SmtpSettings::read(s, key)),
            Some("twilio_sms") => {
                let twilio = TwilioSettings::read(s, &shared.name, public_url, rules::sms_sender);
                ProviderSettings::TwilioSms(twilio)
            }
            Some("twilio_voice") => {
                ProviderSettings::TwilioVoice(TwilioSettings::read(s, &shared.name, public_url, rules::e164))
            }
            Some("fhir_portal") => ProviderSettings::FhirPortal(FhirPortalSettings::read(s)),
            Some("capture") => {
                let channel = s.required("channel", one_of())?;
                ProviderSettings::Capture(CaptureSettings { channel })
            }
            _ => {
                // Which settings belong here hangs on the kind: nothing else can be judged.
                s.overlook();
                return None;
            }
        };
        Some(Self { settings, ..shared })
    }
}

impl SmtpSettings {
    /// A relay for a few mails to people of ours: no marks, no signature, no reports.
    pub(in crate::config) fn for_notices(s: &mut Section<'_>) -> Self {
        let (host, port, tls) = Self::relay(s);
        let (username, password) = Self::credentials(s);
        Self {
            port,
            host,
            tls,
            username,
            password,
            from: s.required("from", text(rules::mailbox)).unwrap_or_default(),
            return_path: None,
            reply_to: None,
            bounce_address: None,
            reply_address: None,
            mark_key: None,
            webhook_secret: None,
            sendgrid_key: None,
            ses_topic: None,
            dkim: None,
            pool_size: 1,
            ca_file: read_ca_file(s),
        }
    }

    fn relay(s: &mut Section<'_>) -> (String, u16, SmtpTls) {
        let host = s.required("host", text(rules::host)).unwrap_or_default();
        let tls = s.or("tls", TLS, SmtpTls::StartTls);
        if tls == SmtpTls::None && !host.is_empty() && !rules::is_loopback(&host) {
            let rule = "must not be none: only a relay on this machine is reached without TLS";
            s.fault("tls", Broken::new(rule, "set tls = \"starttls\" or \"tls\""));
        }
        let default_port = match tls {
            SmtpTls::StartTls => 587,
            SmtpTls::Tls => 465,
            SmtpTls::None => 25,
        };
        (host, s.or("port", Int(1..=u16::MAX), default_port), tls)
    }

    fn credentials(s: &mut Section<'_>) -> (Option<String>, Option<Secret>) {
        let username = s.optional("username", text(rules::line));
        let password = s.secret("password");
        if username.is_some() != password.is_some()
            && (s.raw("username").is_some() != s.has_secret("password"))
        {
            let missing = if username.is_none() { "username" } else { "password" };
            s.fault(
                missing,
                Broken::new("is required: user and password go together", format!("set `{missing}`")),
            );
        }
        (username, password)
    }

    fn read(s: &mut Section<'_>, key: Option<&Key>) -> Self {
        let (host, port, tls) = Self::relay(s);
        let (username, password) = Self::credentials(s);
        let bounce_address = marked(s, "bounce_address", key);
        let reply_address = marked(s, "reply_address", key);
        Self {
            port,
            host,
            tls,
            username,
            password,
            from: s.required("from", text(rules::mailbox)).unwrap_or_default(),
            return_path: s.optional("return_path", text(rules::email)),
            reply_to: s.optional("reply_to", text(rules::mailbox)),
            bounce_address,
            reply_address,
            mark_key: key.cloned(),
            webhook_secret: SigningKey::read(s, "webhook_secret"),
            sendgrid_key: s.optional("sendgrid_key", EVENT_KEY).map(Box::new),
            ses_topic: s.optional("ses_topic", EVENT_TOPIC).map(Box::new),
            dkim: s.section("dkim", DkimSettings::read),
            pool_size: s.or("pool_size", Int(1..=256), 8),
            ca_file: read_ca_file(s),
        }
    }
}

/// An address behind whose name each mail puts its mark.
fn marked(s: &mut Section<'_>, field: &'static str, key: Option<&Key>) -> Option<String> {
    let address = s.optional(field, text(rules::short_email))?;
    if key.is_none() {
        let rule = "signs what it puts into addresses, and there is no key";
        s.fault(field, Broken::new(rule, "set `key` in [security]"));
    }
    Some(address)
}

impl DkimSettings {
    fn read(s: &mut Section<'_>) -> Option<Self> {
        let given = s.is_given();
        let algorithm = s.or("algorithm", DKIM_ALGORITHM, DkimAlgorithm::Rsa);
        if !given {
            s.hide();
            s.optional("domain", text(rules::host));
            s.optional("selector", text(rules::host));
            s.secret("private_key");
            return None;
        }
        let domain = s.required("domain", text(rules::host));
        let selector = s.required("selector", text(rules::host));
        let private_key = s.required_secret("private_key");
        if algorithm == DkimAlgorithm::Rsa {
            check_pem(s, private_key.as_ref());
        }
        Some(Self { domain: domain?, selector: selector?, private_key: private_key?, algorithm })
    }
}

impl TwilioSettings {
    fn read(
        s: &mut Section<'_>,
        name: &ProviderName,
        public_url: Option<&str>,
        sender: fn(&str) -> Result<String, Broken>,
    ) -> Self {
        let base_url = s.or("base_url", text(rules::web_base), TWILIO.to_owned());
        let account_sid = s.required("account_sid", text(account_sid)).unwrap_or_default();
        if base_url == TWILIO && !account_sid.is_empty() && !is_real_sid(&account_sid) {
            let rule = "must be AC and 32 hexadecimal digits";
            s.fault("account_sid", Broken::new(rule, "copy it from the provider's console"));
        }
        let from = s.list("from", text(sender));
        let messaging_service_sid = s.optional("messaging_service_sid", text(account_sid_like));
        if s.lists_nothing("from") && s.raw("messaging_service_sid").is_none() {
            s.fault("from", Broken::new("must name at least one sender", "list the numbers to send from"));
        }
        let webhook = public_url.map(|url| format!("{url}/webhooks/{name}"));
        let gather = webhook.as_ref().map(|url| format!("{url}/gather"));
        Self {
            base_url,
            account_sid,
            auth_token: s.required_secret("auth_token").unwrap_or_else(|| Secret::new("")),
            auth_token_previous: s.secret("auth_token_previous"),
            webhook_shared_key: s.secret("webhook_shared_key"),
            from: from.unwrap_or_default(),
            messaging_service_sid,
            status_callback: derived(s, "status_callback", webhook),
            gather_action: derived(s, "gather_action", gather),
            on_5xx: s.or("on_5xx", ON_5XX, On5xx::Unknown),
        }
    }
}

impl FhirPortalSettings {
    fn read(s: &mut Section<'_>) -> Self {
        let private_key = s.required_secret("private_key");
        check_pem(s, private_key.as_ref());
        Self {
            base_url: s.required("base_url", text(rules::web_base)).unwrap_or_default(),
            token_url: s.optional("token_url", text(rules::web_url)),
            client_id: s.required("client_id", text(rules::line)).unwrap_or_default(),
            private_key: private_key.unwrap_or_else(|| Secret::new("")),
            key_id: s.required("key_id", text(rules::line)).unwrap_or_default(),
            scope: s.or("scope", text(rules::line), "system/Communication.cru".to_owned()),
            algorithm: s.or("algorithm", JWT_ALGORITHM, JwtAlgorithm::Es384),
            sender: s.optional("sender", text(rules::fhir_reference)),
        }
    }
}

/// The setting, else what follows from `[http] public_url`.
fn derived(s: &mut Section<'_>, key: &str, default: Option<String>) -> Option<String> {
    match default {
        Some(default) => Some(s.or(key, text(rules::web_url), default)),
        None => s.optional(key, text(rules::web_url)),
    }
}

fn read_ca_file(s: &mut Section<'_>) -> Option<std::path::PathBuf> {
    let path = s.context.cwd.join(s.optional("ca_file", rules::PATH)?);
    match std::fs::read_to_string(&path) {
        Err(error) => s.fault("ca_file", unreadable(&error)),
        Ok(pem) if !pem.contains("-----BEGIN CERTIFICATE-----") => {
            s.fault("ca_file", Broken::new("must name a file of PEM certificates", "export the root as PEM"));
        }
        Ok(_) => {}
    }
    Some(path)
}

fn check_pem(s: &Section<'_>, key: Option<&Secret>) {
    if key.is_some_and(|key| !key.expose().trim_start().starts_with("-----BEGIN ")) {
        let cure = "give the whole file, from -----BEGIN to END-----, best by private_key_file";
        s.fault("private_key", Broken::new("must be a private key in PEM", cure));
    }
}

fn kind(text: &str) -> Result<String, Broken> {
    if KINDS.contains(&text) {
        return Ok(text.to_owned());
    }
    let cure = closest(text, KINDS.iter().copied())
        .map_or_else(|| "choose one of them".to_owned(), |near| format!("did you mean \"{near}\"?"));
    Err(Broken::new(format!("must be one of: {}", KINDS.join(", ")), cure))
}

/// Stands in a path of the provider's API, so it is letters and digits only.
fn account_sid(text: &str) -> Result<String, Broken> {
    account_sid_like(text).and_then(|sid| match sid.starts_with("AC") {
        true => Ok(sid),
        false => Err(Broken::new("must start with AC", "give the account's SID, not a key's or a service's")),
    })
}

fn account_sid_like(text: &str) -> Result<String, Broken> {
    match (2..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        true => Ok(text.to_owned()),
        false => {
            Err(Broken::new("must be 2 to 64 letters and digits", "copy it from the provider's console"))
        }
    }
}

fn is_real_sid(sid: &str) -> bool {
    sid.strip_prefix("AC").is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Longer than a worker trusts its lease would let a send outlive its claim.
const SECONDS: Span = Span(Duration::from_secs(1)..=Duration::from_secs(30));

const TLS: Parsed<SmtpTls> = Parsed {
    parse: |text| match text {
        "starttls" => Ok(SmtpTls::StartTls),
        "tls" => Ok(SmtpTls::Tls),
        "none" => Ok(SmtpTls::None),
        _ => Err(Broken::new(
            "must be one of: starttls, tls, none",
            "choose starttls (port 587) or tls (port 465)",
        )),
    },
    show: |tls| match tls {
        SmtpTls::StartTls => "starttls".to_owned(),
        SmtpTls::Tls => "tls".to_owned(),
        SmtpTls::None => "none".to_owned(),
    },
};

const DKIM_ALGORITHM: Parsed<DkimAlgorithm> = Parsed {
    parse: |text| match text {
        "rsa" => Ok(DkimAlgorithm::Rsa),
        "ed25519" => Ok(DkimAlgorithm::Ed25519),
        _ => Err(Broken::new("must be one of: rsa, ed25519", "choose the key's kind")),
    },
    show: |algorithm| match algorithm {
        DkimAlgorithm::Rsa => "rsa".to_owned(),
        DkimAlgorithm::Ed25519 => "ed25519".to_owned(),
    },
};

const JWT_ALGORITHM: Parsed<JwtAlgorithm> = Parsed {
    parse: |text| match text {
        "RS384" => Ok(JwtAlgorithm::Rs384),
        "ES384" => Ok(JwtAlgorithm::Es384),
        _ => Err(Broken::new(
            "must be one of: RS384, ES384",
            "choose the one that fits the key (RSA or P-384)",
        )),
    },
    show: |algorithm| match algorithm {
        JwtAlgorithm::Rs384 => "RS384".to_owned(),
        JwtAlgorithm::Es384 => "ES384".to_owned(),
    },
};

const ON_5XX: Parsed<On5xx> = Parsed {
    parse: |text| match text {
        "unknown" => Ok(On5xx::Unknown),
        "not_sent" => Ok(On5xx::NotSent),
        _ => Err(Broken::new(
            "must be one of: unknown, not_sent",
            "keep unknown unless the provider promises more",
        )),
    },
    show: |on_5xx| match on_5xx {
        On5xx::Unknown => "unknown".to_owned(),
        On5xx::NotSent => "not_sent".to_owned(),
    },
};
