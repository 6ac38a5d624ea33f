//! `smtp`: mail by a relay.
//!
//! One conversation a message, one recipient an envelope. TLS as configured and never less: with STARTTLS a
//! server that does not offer it is not used. The Message-ID is the send key at the sender's domain, the
//! same for every attempt, so that a mailbox can fold repeats; SMTP itself deduplicates nothing.
//!
//! | what happened | class |
//! |---|---|
//! | no connection, no TLS, loss or time-out before the final dot | `Transient`: not sent |
//! | a 4xx or 5xx reply at any stage, to the final dot as well | see `reply.rs`: not sent |
//! | loss, time-out or nonsense after the final dot | `Ambiguous` |
//!
//! What comes back by mail is told in [`incoming`], which mail it is about in [`token`], what a relay reports in
//! [`webhook`], or [`sendgrid`] or [`ses`] where it is that.

mod dkim;
mod incoming;
mod mail;
mod pool;
mod reply;
mod sendgrid;
mod ses;
mod token;
mod webhook;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use jiff::Timestamp;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use tokio::time::timeout;

use self::dkim::Signer;
use self::incoming::Incoming;
use self::mail::Identity;
use self::pool::Pool;
use self::ses::Ses;
use self::token::Tokens;
use super::mail::IncomingMail;
use super::webhook::{Door, Heard, News, Unheard, Webhook};
use super::{Provider, http};
use crate::config::callback::SigningKey;
use crate::config::is_loopback;
use crate::config::provider::{EventKey, SmtpSettings, SmtpTls};
use crate::domain::ids::ProviderName;
use crate::domain::outbound::{Accepted, FailureKind, OutboundMessage, SendError};
use crate::domain::problem::Problem;
use crate::domain::words::Channel;

/// Sends mail.
pub struct Smtp {
    name: ProviderName,
    identity: Identity,
    pool: Pool,
    timeout: Duration,
    webhook_secret: Option<SigningKey>,
    sendgrid_key: Option<Box<EventKey>>,
    ses: Option<Ses>,
}

impl Smtp {
    /// Reads the settings and the certificate file; opens no connection.
    ///
    /// # Errors
    /// The first fault, with its field.
    pub fn new(name: ProviderName, settings: &SmtpSettings, timeout: Duration) -> Result<Self, Problem> {
        if settings.tls == SmtpTls::None && !is_loopback(&settings.host) {
            let cure = "set `tls` to \"starttls\" or \"tls\"";
            return Err(http::fault(&name, "tls", "mail without TLS stays on this machine", cure));
        }
        let credentials = match (&settings.username, &settings.password) {
            (Some(user), Some(password)) => {
                Some(Credentials::new(user.clone(), password.expose().to_owned()))
            }
            (None, None) => None,
            _ => {
                let cure = "give both or neither";
                return Err(http::fault(&name, "password", "a user name needs a password", cure));
            }
        };
        Ok(Self {
            identity: identity(&name, settings)?,
            pool: Pool::new(
                (settings.host.clone(), settings.port),
                (settings.tls, tls_parameters(&name, settings)?),
                credentials,
                usize::try_from(settings.pool_size).unwrap_or(usize::MAX),
            ),
            ses: settings.ses_topic.as_deref().map(|topic| Ses::new(&name, topic)).transpose()?,
            name,
            timeout,
            webhook_secret: settings.webhook_secret.clone(),
            sendgrid_key: settings.sendgrid_key.clone(),
        })
    }
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for Smtp {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn channel(&self) -> Channel {
        Channel::Email
    }

    fn dedupes(&self) -> bool {
        false
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Accepted, SendError> {
        let mail = mail::compose(&self.identity, message)?;
        let dot = AtomicBool::new(false);
        let delivered = crate::faults::amid("on_the_wire", self.pool.deliver(&mail, &dot));
        match timeout(self.timeout, delivered).await {
            Ok(Ok(())) => Ok(Accepted { reference: Some(mail.message_id) }),
            Ok(Err(error)) => Err(error),
            Err(_) if dot.load(Ordering::SeqCst) => Err(SendError::new(FailureKind::Ambiguous, "timeout")),
            Err(_) => Err(SendError::new(FailureKind::Transient, "timeout")),
        }
    }

    fn reports(&self) -> bool {
        self.webhook_secret.is_some() || self.sendgrid_key.is_some() || self.ses.is_some()
    }

    async fn hear(&self, call: &Webhook<'_>) -> Result<Heard, Unheard> {
        if call.door != Door::Status {
            return Err(Unheard::NoWebhook);
        }
        let tokens = self.identity.incoming.as_ref().map(|incoming| &incoming.tokens);
        // Several may be set while one relay takes the place of another: each names itself.
        let says = |header: &str| call.headers.contains_key(header);
        if let Some(ses) = &self.ses
            && says(ses::TYPE)
        {
            let now = Timestamp::try_from(SystemTime::now()).map_err(|_| Unheard::Later)?;
            return ses.hear(&self.name, tokens, call, now).await;
        }
        match (&self.sendgrid_key, &self.webhook_secret) {
            (Some(key), other) if other.is_none() || says(sendgrid::SIGNATURE) => {
                sendgrid::hear(&self.name, key, tokens, call)
            }
            (_, Some(key)) => webhook::hear(&self.name, key, tokens, call),
            _ if self.ses.is_some() => Err(Unheard::Forged),
            _ => Err(Unheard::NoWebhook),
        }
    }

    fn hear_mail(&self, mail: &IncomingMail<'_>) -> Result<News, Unheard> {
        self.identity.incoming.as_ref().ok_or(Unheard::NoWebhook)?.hear(mail)
    }

    async fn check(&self) -> Result<(), SendError> {
        let checked = timeout(self.timeout, self.pool.check()).await;
        checked.unwrap_or_else(|_| Err(SendError::new(FailureKind::Transient, "timeout")))
    }
}

fn identity(name: &ProviderName, settings: &SmtpSettings) -> Result<Identity, Problem> {
    let mailbox = |field: &str, text: &str| {
        let parsed =
            text.parse::<Mailbox>().ok().filter(|found| mail::address(found.email.as_ref()).is_some());
        let cure = "write it as Name <user@example.org>";
        parsed.ok_or_else(|| http::fault(name, field, "must be an email address in ASCII", cure))
    };
    let signer = settings
        .dkim
        .as_ref()
        .map(|dkim| {
            let cure = "RSA: PEM of 2048 bit and up; Ed25519: base64 of 32 bytes, or PEM";
            let rule = "does not fit `algorithm`";
            Signer::new(dkim).ok_or_else(|| http::fault(name, "dkim.private_key", rule, cure))
        })
        .transpose()?;
    Ok(Identity {
        from: mailbox("from", &settings.from)?,
        return_path: settings
            .return_path
            .as_deref()
            .map(|text| mailbox("return_path", text))
            .transpose()?
            .map(|mailbox| mailbox.email),
        reply_to: settings.reply_to.as_deref().map(|text| mailbox("reply_to", text)).transpose()?,
        incoming: incoming(name, settings)?,
        is_sendgrid: settings.sendgrid_key.is_some(),
        signer,
    })
}

/// The addresses by which mail comes back, where there are any.
fn incoming(name: &ProviderName, settings: &SmtpSettings) -> Result<Option<Incoming>, Problem> {
    let address = |field: &str, text: &Option<String>| {
        let Some(text) = text else { return Ok(None) };
        let found = mail::address(text).filter(|address| address.user().len() < mail::room_for_name());
        let rule = "must be an email address in ASCII whose name is short enough for a mark behind it";
        let cure = "write it as bounces@example.org";
        found.map(Some).ok_or_else(|| http::fault(name, field, rule, cure))
    };
    let bounce = address("bounce_address", &settings.bounce_address)?;
    let reply = address("reply_address", &settings.reply_address)?;
    if bounce.is_none() && reply.is_none() {
        return Ok(None);
    }
    let key = settings.mark_key.as_ref().ok_or_else(|| {
        let rule = "signs what it puts into addresses, and there is no key";
        http::fault(name, "bounce_address", rule, "set `key` in [security]")
    })?;
    let tokens = Tokens::new(key.expose(), name);
    let others = [Some(&settings.from), settings.return_path.as_ref(), settings.reply_to.as_ref()];
    let others = others.into_iter().flatten().filter_map(|text| text.parse::<Mailbox>().ok());
    let ours = bounce.iter().chain(&reply).cloned().chain(others.map(|mailbox| mailbox.email)).collect();
    Ok(Some(Incoming { provider: name.clone(), bounce, reply, tokens, ours }))
}

fn tls_parameters(name: &ProviderName, settings: &SmtpSettings) -> Result<Option<TlsParameters>, Problem> {
    if settings.tls == SmtpTls::None {
        return Ok(None);
    }
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(file) = &settings.ca_file {
        let pem = std::fs::read(file)
            .map_err(|_| http::fault(name, "ca_file", "cannot be read", "check its path and mode"))?;
        let root = Certificate::from_pem(&pem)
            .map_err(|_| http::fault(name, "ca_file", "is not PEM", "give a certificate in PEM"))?;
        builder = builder.add_root_certificate(root);
    }
    let unusable = |_| http::fault(name, "tls", "no TLS on this machine", "install its root certificates");
    builder.build_rustls().map(Some).map_err(unusable)
}
