//! One alert, as people on call read it: by webhook and by mail. Names of ours, counts and times; nothing of a patient.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::callback::{Courier, Letter};
use crate::client::NoTls;
use crate::config::Config;
use crate::config::callback::Callback;
use crate::config::events::CallbacksSection;
use crate::config::notify::NotifySection;
use crate::domain::alert::{Alert, Level, Telling, Way};
use crate::domain::destination::Exception;
use crate::domain::ids::{AttemptId, EventId, MessageId, ProviderName, SendKey};
use crate::domain::outbound::{Content, OutboundMessage, in_html};
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::words::Purpose;
use crate::policy::callback::Answer;
use crate::provider::Provider;
use crate::provider::smtp::Smtp;

/// A receiver or relay that takes longer is tried again at the next look.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A mail of an alert is of use for so long.
const USEFUL: SignedDuration = SignedDuration::from_hours(4);

/// Why nobody can be told.
#[derive(Debug, thiserror::Error)]
pub enum Undeliverable {
    #[error(transparent)]
    Tls(#[from] NoTls),
    #[error("[notify.smtp] {0}")]
    Relay(Problem),
}

/// Tells people on call.
#[derive(Debug)]
pub struct Teller {
    courier: Courier,
    webhook: Option<Callback>,
    heartbeat: Option<Callback>,
    relay: Option<Smtp>,
    mailboxes: Vec<String>,
    organisation: String,
    notify: NotifySection,
    own_url: String,
    /// The console's page of alerts, where it has a public address.
    console: Option<String>,
}

impl Teller {
    /// Reads `[notify]`; opens no connection.
    ///
    /// # Errors
    /// TLS cannot be set up, or the relay's settings cannot work.
    pub fn new(config: &Config) -> Result<Self, Undeliverable> {
        let notify = &config.notify;
        let hosts = [&notify.webhook, &notify.heartbeat].into_iter().flatten().filter_map(|to| host(&to.url));
        // The operator names these themselves: they are reached wherever they lie.
        let rules = CallbacksSection {
            allow: hosts.filter_map(|host| Exception::parse(&host)).collect(),
            timeout: TIMEOUT,
            ..config.events.callbacks.clone()
        };
        let relay = match (&notify.smtp, ProviderName::parse("notify")) {
            (Some(settings), Some(name)) if !notify.email.is_empty() => {
                Some(Smtp::new(name, settings, TIMEOUT).map_err(Undeliverable::Relay)?)
            }
            _ => None,
        };
        let public = config.http.public_url.as_ref();
        Ok(Self {
            courier: Courier::new(&rules)?,
            webhook: notify.webhook.clone(),
            heartbeat: notify.heartbeat.clone(),
            relay,
            mailboxes: notify.email.clone(),
            organisation: config.organisation.name.clone(),
            notify: notify.clone(),
            own_url: config.http.own_url(),
            console: public.map(|url| format!("{}/#/alerts", url.trim_end_matches('/'))),
        })
    }

    /// The ways that are set.
    #[must_use]
    pub fn ways(&self) -> Vec<Way> {
        let mailboxes = if self.relay.is_some() { self.mailboxes.len() } else { 0 };
        let webhook = self.webhook.as_ref().map(|_| Way::Webhook);
        let email = (0..mailboxes).filter_map(|place| u16::try_from(place).ok().map(Way::Email));
        webhook.into_iter().chain(email).collect()
    }

    /// Tells one alert one way; whether it was taken.
    pub async fn tell(&self, way: Way, alert: &Alert, telling: Telling, now: Timestamp) -> bool {
        let notice = self.notice(alert, telling, now);
        // What is not set any more was when it came to be owed: nobody is there to be told.
        match way {
            Way::Webhook => {
                let Some(to) = &self.webhook else { return true };
                let letter = Letter {
                    id: notice_id(alert, telling),
                    body: &notice.to_string(),
                    traceparent: None,
                    now,
                };
                let posted = self.courier.post(to, &letter).await;
                if posted.answer != Answer::Taken {
                    tracing::warn!(code = posted.code, "the receiver of alerts did not take one");
                }
                posted.answer == Answer::Taken
            }
            Way::Email(place) => match self.mailboxes.get(usize::from(place)) {
                Some(mailbox) => self.mail(mailbox, &notice).await,
                None => true,
            },
        }
    }

    /// Says that all is well looked at; whether it was taken. Where nobody listens, it is.
    pub async fn beat(&self, now: Timestamp) -> bool {
        let Some(to) = &self.heartbeat else { return true };
        let body = json!({"type": "heartbeat", "at": now, "organisation": self.organisation}).to_string();
        let letter = Letter { id: EventId::generate(), body: &body, traceparent: None, now };
        let posted = self.courier.post(to, &letter).await;
        if posted.answer != Answer::Taken {
            tracing::warn!(code = posted.code, "the receiver of the heartbeat did not take it");
        }
        posted.answer == Answer::Taken
    }

    /// What a webhook gets; `text` says all of it in one line, for receivers that only pass it on.
    fn notice(&self, alert: &Alert, telling: Telling, now: Timestamp) -> Value {
        let finding = &alert.finding;
        let severity = match finding.told_as() {
            Level::Bad => "page",
            Level::Look => "look",
        };
        let head = match telling {
            Telling::Raised => severity,
            Telling::Again => "still",
            Telling::Cleared => "over",
        };
        let runbook = self.notify.runbook_of(finding.trouble, &self.own_url);
        let text = format!(
            "[{head}] {}: {} Since {}. First: {}. Runbook: {runbook}",
            self.organisation,
            finding.what,
            alert.since.strftime("%Y-%m-%d %H:%M UTC"),
            finding.trouble.first_step(),
        );
        json!({
            "type": format!("alert.{telling}"), "key": alert.key, "kind": finding.trouble, "subject": finding.subject,
            "severity": severity, "what": finding.what, "since": alert.since, "at": now, "ended_at": alert.ended_at,
            "first": finding.trouble.first_step(), "runbook": runbook, "console": self.console,
            "acknowledge": format!("outreachd alerts acknowledge {}", alert.key),
            "organisation": self.organisation, "text": text,
        })
    }

    /// To one mailbox; whether the relay took it.
    async fn mail(&self, mailbox: &str, notice: &Value) -> bool {
        let Some(relay) = &self.relay else { return true };
        let text = |name: &str| notice.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let head = text("text");
        let subject = head.split(" Since ").next().unwrap_or_default().to_owned();
        let mut lines = vec![text("what"), String::new(), format!("Since: {}", text("since"))];
        if text("type") != "alert.cleared" {
            lines.push(format!("First: {}", text("first")));
            lines.push(format!("Runbook: {}", text("runbook")));
            lines.push(format!("To say that you look after it: {}", text("acknowledge")));
        }
        lines.extend(notice.get("console").and_then(Value::as_str).map(|url| format!("Console: {url}")));
        let body = lines.join("\n") + "\n";
        match relay.send(&letter(mailbox, &subject, &body)).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "a mail to people on call was not taken");
                false
            }
        }
    }
}

/// A mail to one of us: it belongs to no message, and counts for no limit of what patients get.
fn letter(mailbox: &str, subject: &str, body: &str) -> OutboundMessage {
    let html = in_html(body);
    OutboundMessage {
        attempt_id: AttemptId::generate(),
        send_key: SendKey { message: MessageId::generate(), step: 0 },
        to: Phi::new(mailbox),
        to_name: None,
        from: None,
        language: "en".to_owned(),
        purpose: Purpose::Care,
        valid_for: USEFUL,
        content: Content::Email {
            subject: Phi::new(subject),
            text: Phi::new(body),
            html: Phi::new(format!("<!doctype html><html lang=\"en\"><body><pre>{html}</pre></body></html>")),
            unsubscribe_url: None,
        },
        answers: None,
    }
}

/// The same however often one and the same thing is told, so that a receiver can throw repeats away.
fn notice_id(alert: &Alert, telling: Telling) -> EventId {
    let told = alert.told_at.map(|at| at.as_microsecond()).unwrap_or_default();
    let name = format!("{}|{}|{telling}|{told}", alert.key, alert.since.as_microsecond());
    let mut half = [0; 16];
    half.iter_mut().zip(Sha256::digest(name)).for_each(|(slot, byte)| *slot = byte);
    EventId(Uuid::from_bytes(half))
}

fn host(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    Some(url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned())
}
