//! The events of Amazon SES, for a relay that is SES: it publishes them to a topic of SNS, which posts each to us.
//!
//! Which mail an event is about its original Message-ID tells (SES gives mails another one), else the envelope sender
//! (`mail.source`): both have our mark.
//!
//! | `eventType`, or `notificationType` | says |
//! |---|---|
//! | Send, `DeliveryDelay` | on its way |
//! | Delivery | it arrived |
//! | Bounce | it did not, and SES has given up: by the code in `status` or `diagnosticCode`, else by the type of the bounce |
//! | Bounce, Transient and General, without a report of delivery | nothing: somebody's absence is told so, too |
//! | Reject, Rendering Failure | SES did not try |
//! | Complaint | the recipient wants no more of that; "not-spam" takes it back |
//! | Open, Click, Subscription, anything else | nothing: machines open mails, too |
//!
//! Source: Amazon SES developer guide, "Contents of event data that Amazon SES publishes to Amazon SNS".

mod certificate;
mod sns;

use jiff::Timestamp;
use serde::Deserialize;

use self::sns::{Delivered, Sns};
use super::reply::Reply as Refusal;
use super::token::Tokens;
use super::webhook::about;
use crate::config::provider::EventTopic;
use crate::domain::failure::Failure;
use crate::domain::ids::{ProviderName, SendKey};
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::receipt::{Named, Receipt, Said};
use crate::domain::reply::{Keyword, Reply};
use crate::domain::words::Channel;
use crate::provider::webhook::{Heard, News, Unheard, Webhook};

/// On each request of SNS.
pub(super) const TYPE: &str = "x-amz-sns-message-type";

/// Hears the events of one topic.
pub(super) struct Ses {
    sns: Sns,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(alias = "notificationType")]
    event_type: String,
    mail: Mail,
    bounce: Option<Bounce>,
    complaint: Option<Complaint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mail {
    /// The envelope sender.
    source: Option<String>,
    common_headers: Option<CommonHeaders>,
    #[serde(default)]
    headers: Vec<Header>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommonHeaders {
    message_id: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    bounce_type: String,
    #[serde(default)]
    bounce_sub_type: String,
    #[serde(default)]
    bounced_recipients: Vec<Bounced>,
}

/// Our mails have one recipient.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounced {
    /// The final recipient, where there is a report of delivery.
    email_address: Option<String>,
    action: Option<String>,
    status: Option<String>,
    diagnostic_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    feedback_id: Option<String>,
    complaint_sub_type: Option<String>,
    complaint_feedback_type: Option<String>,
}

impl Ses {
    /// Opens no connection.
    pub(super) fn new(provider: &ProviderName, topic: &EventTopic) -> Result<Self, Problem> {
        Ok(Self { sns: Sns::new(provider, topic.clone())? })
    }

    /// Verifies and reads one request; a subscription of our topic is confirmed.
    pub(super) async fn hear(
        &self,
        provider: &ProviderName,
        tokens: Option<&Tokens>,
        call: &Webhook<'_>,
        now: Timestamp,
    ) -> Result<Heard, Unheard> {
        let message = match self.sns.open(call.body, now).await? {
            Delivered::Message(message) => message,
            Delivered::Subscription { token } => {
                self.sns.confirm(&token).await?;
                tracing::info!(%provider, "the topic of events is subscribed");
                return Ok(Heard::of(News::Nothing));
            }
            Delivered::Ended => {
                tracing::warn!(%provider, "the topic of events is no longer subscribed: receipts of mails will not come");
                return Ok(Heard::of(News::Nothing));
            }
        };
        Ok(Heard::of(read(provider, tokens, &message).unwrap_or(News::Nothing)))
    }
}

/// What an event says; `None`: it is about none of our mails, or moves nothing. SES tells when a topic was set by a
/// sentence that is no JSON.
fn read(provider: &ProviderName, tokens: Option<&Tokens>, message: &str) -> Option<News> {
    let event: Event = serde_json::from_str(message).ok()?;
    let key = event.mail.about(tokens)?;
    let named = event.bounce.as_ref().map(Bounce::named).unwrap_or_default();
    let (said, code) = match event.event_type.as_str() {
        "Send" | "DeliveryDelay" => (Said::Sent, None),
        "Delivery" => (Said::Delivered, None),
        "Bounce" => event.bounce?.said(),
        "Reject" | "Rendering Failure" => (Said::Undelivered(Failure::Rejected), None),
        "Complaint" => {
            let complaint = event.complaint?;
            match (complaint.complaint_sub_type.as_deref(), complaint.complaint_feedback_type.as_deref()) {
                // It was not sent: they had complained before.
                (Some("OnAccountSuppressionList"), _) => (Said::Undelivered(Failure::OptedOut), None),
                (_, Some("not-spam")) => return None,
                _ => return Some(complaint.wish(provider, key)),
            }
        }
        _ => return None,
    };
    Some(News::Receipt(Receipt { provider: provider.clone(), key, reference: None, said, code, named }))
}

impl Mail {
    fn about(&self, tokens: Option<&Tokens>) -> Option<SendKey> {
        let common = self.common_headers.as_ref().and_then(|headers| headers.message_id.as_deref());
        let plain = self.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("message-id"));
        let ids = common.into_iter().chain(plain.map(|header| header.value.as_str()));
        let by_id = ids.into_iter().find_map(|id| about(None, Some(id), tokens));
        by_id.or_else(|| tokens?.find(self.source.as_deref()?.as_bytes()))
    }
}

impl Bounce {
    fn named(&self) -> Vec<Named> {
        let addresses = self.bounced_recipients.iter().filter_map(|one| one.email_address.as_deref());
        addresses.map(|address| Named::Address(Phi::new(address))).collect()
    }

    /// The code says more than the type, where it says more than that it failed.
    fn said(&self) -> (Said, Option<String>) {
        let first = self.bounced_recipients.first();
        let told =
            first.map(|one| [one.status.as_deref(), one.diagnostic_code.as_deref()]).unwrap_or_default();
        let refusals = || told.into_iter().flatten().filter_map(Refusal::within);
        let refusal = refusals().find(|refusal| refusal.tells()).or_else(|| refusals().next());
        let failure = match (self.bounce_type.as_str(), self.bounce_sub_type.as_str(), refusal) {
            ("Transient", "General", None) if first.is_none_or(|one| one.action.is_none()) => {
                return (Said::Sent, None);
            }
            (_, "MailboxFull", _) => Failure::MailboxFull,
            (_, "MessageTooLarge" | "ContentRejected" | "AttachmentRejected", _) => Failure::Rejected,
            // SES knows it as bad and did not try.
            (_, "Suppressed" | "OnAccountSuppressionList", _) => Failure::BadAddress,
            (_, _, Some(refusal)) if refusal.tells() => refusal.bounced(),
            ("Permanent", ..) => Failure::BadAddress,
            _ => Failure::Unreachable,
        };
        (Said::Undelivered(failure), refusal.map(Refusal::code_text))
    }
}

impl Complaint {
    fn wish(&self, provider: &ProviderName, key: SendKey) -> News {
        let plain = |id: &&str| {
            (1..=100).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let id = self.feedback_id.as_deref().filter(plain);
        News::Reply(Reply {
            provider: provider.clone(),
            channel: Channel::Email,
            reference: id.map_or_else(|| format!("ses-complaint-{key}"), |id| format!("ses-{id}")),
            from: Phi::new(""),
            about: Some(key),
            text: Phi::new(""),
            keyword: Some(Keyword::Complaint),
            thread: None,
        })
    }
}

#[cfg(test)]
mod tests;
