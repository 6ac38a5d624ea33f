//! Amazon SNS, which carries the events of SES: an envelope in JSON, signed with RSA over some of its members, each as
//! its name and its value on lines of their own, in the order of their names (`SignatureVersion` 1: SHA-1, 2: SHA-256).
//! Which certificate it is signed by the envelope says itself, so that only this is believed of it: it lies at the host
//! of the region of our topic (`https://sns.us-east-1.amazonaws.com/....pem`), and is fetched from there, over TLS, once.
//!
//! Source: Amazon SNS developer guide, "Verifying the signatures of Amazon SNS messages" and "HTTP/HTTPS notification
//! JSON format".

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::certificate::Certificate;
use crate::config::provider::EventTopic;
use crate::domain::ids::ProviderName;
use crate::domain::problem::Problem;
use crate::provider::http;
use crate::provider::webhook::Unheard;

/// SNS goes on trying for an hour at most. What is older was recorded by somebody, and is played back.
const OLDEST: SignedDuration = SignedDuration::from_mins(65);
/// A clock may be off by so much.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// How long SNS may take to give a certificate, or to confirm. It waits 15 s for our own answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Certificates that are kept. SNS changes its own about once a year.
const MOST_KEPT: usize = 8;
/// SNS is asked for certificates so often within a minute at most, whatever is posted here.
const MOST_ASKED: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// What was posted. Other members are let be.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope {
    #[serde(rename = "Type")]
    kind: String,
    message: String,
    message_id: String,
    subject: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    timestamp: String,
    token: Option<String>,
    topic_arn: String,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
}

/// What a genuine envelope is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// It carries a message.
    Message(String),
    /// Somebody wants the topic to be posted here; it is confirmed with this.
    Subscription { token: String },
    /// The topic is posted here no more.
    Ended,
}

/// Verifies what one topic posts.
pub(super) struct Sns {
    topic: EventTopic,
    /// Where the topic's host is reached.
    origin: String,
    client: reqwest::Client,
    kept: RwLock<VecDeque<(String, Arc<Certificate>)>>,
    /// When SNS was asked; held by whoever asks.
    asked: Mutex<VecDeque<Instant>>,
}

impl Sns {
    pub(super) fn new(provider: &ProviderName, topic: EventTopic) -> Result<Self, Problem> {
        let origin = format!("https://{}", topic.host());
        Self::at(provider, topic, origin)
    }

    fn at(provider: &ProviderName, topic: EventTopic, origin: String) -> Result<Self, Problem> {
        let client = http::client(provider, PATIENCE)?;
        Ok(Self { topic, origin, client, kept: RwLock::default(), asked: Mutex::default() })
    }

    /// The same, with its host somewhere on this machine.
    #[cfg(test)]
    pub(super) fn on_loopback(provider: &ProviderName, topic: EventTopic, port: u16) -> Self {
        Self::at(provider, topic, format!("http://127.0.0.1:{port}")).unwrap()
    }

    /// Verifies and opens an envelope. What cannot be the topic's is refused before anything is fetched for it.
    pub(super) async fn open(&self, body: &[u8], now: Timestamp) -> Result<Delivered, Unheard> {
        let envelope: Envelope = serde_json::from_slice(body).map_err(|_| Unheard::Forged)?;
        let to_sign = envelope.to_sign().ok_or(Unheard::Forged)?;
        let algorithm = envelope.algorithm().ok_or(Unheard::Forged)?;
        let signature = STANDARD.decode(&envelope.signature).map_err(|_| Unheard::Forged)?;
        if envelope.topic_arn != self.topic.arn() || !envelope.is_fresh(now) {
            return Err(Unheard::Forged);
        }
        let path = self.certificate_path(&envelope.signing_cert_url).ok_or(Unheard::Forged)?;
        let certificate = self.certificate(path).await?;
        let fits = UnparsedPublicKey::new(algorithm, &certificate.key)
            .verify(to_sign.as_bytes(), &signature)
            .is_ok();
        if !fits || !certificate.holds(now) {
            return Err(Unheard::Forged);
        }
        envelope.delivered().ok_or(Unheard::Unreadable)
    }

    /// Confirms that the topic is to be posted here. Never by the URL that was posted: it is made anew, of our topic and
    /// the token that was signed.
    pub(super) async fn confirm(&self, token: &str) -> Result<(), Unheard> {
        let query = [("Action", "ConfirmSubscription"), ("TopicArn", self.topic.arn()), ("Token", token)];
        let request = self.client.get(format!("{}/", self.origin)).query(&query);
        let answer = http::exchange(request).await.map_err(|_| Unheard::Later)?;
        if answer.status.is_success() { Ok(()) } else { Err(Unheard::Later) }
    }

    /// The path of a certificate at the topic's host; `None`: it lies elsewhere, or is none.
    fn certificate_path<'u>(&self, url: &'u str) -> Option<&'u str> {
        let path = url.strip_prefix("https://")?.strip_prefix(self.topic.host())?;
        let name = path.strip_prefix('/')?.strip_suffix(".pem")?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        ((1..=128).contains(&name.len()) && name.bytes().all(plain)).then_some(path)
    }

    /// The certificate at `path`: kept, or fetched by one at a time.
    async fn certificate(&self, path: &str) -> Result<Arc<Certificate>, Unheard> {
        if let Some(kept) = self.kept(path) {
            return Ok(kept);
        }
        let mut asked =
            tokio::time::timeout(PATIENCE, self.asked.lock()).await.map_err(|_| Unheard::Later)?;
        if let Some(kept) = self.kept(path) {
            return Ok(kept);
        }
        let now = Instant::now();
        asked.retain(|at| now.duration_since(*at) < MINUTE);
        if asked.len() >= MOST_ASKED {
            return Err(Unheard::Later);
        }
        asked.push_back(now);
        let request = self.client.get(format!("{}{path}", self.origin));
        let answer = http::exchange(request).await.map_err(|_| Unheard::Later)?;
        match answer.status {
            StatusCode::OK => {}
            // There is no such certificate.
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                return Err(Unheard::Forged);
            }
            _ => return Err(Unheard::Later),
        }
        let certificate = Arc::new(Certificate::from_pem(&answer.body).ok_or(Unheard::Forged)?);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.pop_front();
        }
        kept.push_back((path.to_owned(), certificate.clone()));
        Ok(certificate)
    }

    fn kept(&self, path: &str) -> Option<Arc<Certificate>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| known == path).map(|(_, certificate)| certificate.clone())
    }
}

impl Envelope {
    /// What is signed; `None`: it is of no type that is known, or lacks what its type has.
    fn to_sign(&self) -> Option<String> {
        let of = |name: &str, value: &str| format!("{name}\n{value}\n");
        let subject = self.subject.as_deref();
        let mut text = of("Message", &self.message) + &of("MessageId", &self.message_id);
        match self.kind.as_str() {
            "Notification" => text += &subject.map(|subject| of("Subject", subject)).unwrap_or_default(),
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
                text += &of("SubscribeURL", self.subscribe_url.as_deref()?);
            }
            _ => return None,
        }
        text += &of("Timestamp", &self.timestamp);
        if self.kind != "Notification" {
            text += &of("Token", self.token.as_deref()?);
        }
        Some(text + &of("TopicArn", &self.topic_arn) + &of("Type", &self.kind))
    }

    fn algorithm(&self) -> Option<&'static RsaParameters> {
        match self.signature_version.as_str() {
            "1" => Some(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY),
            "2" => Some(&RSA_PKCS1_2048_8192_SHA256),
            _ => None,
        }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        let sent = self.timestamp.parse::<Timestamp>();
        sent.is_ok_and(|sent| (-AHEAD..=OLDEST).contains(&now.duration_since(sent)))
    }

    fn delivered(self) -> Option<Delivered> {
        Some(match self.kind.as_str() {
            "Notification" => Delivered::Message(self.message),
            "SubscriptionConfirmation" => Delivered::Subscription { token: self.token? },
            _ => Delivered::Ended,
        })
    }
}
