//! `twilio_sms`: SMS by Twilio's Messages resource.
//!
//! `POST /2010-04-01/Accounts/{sid}/Messages.json`, a form, HTTP Basic. The sender is the message's own, else the messaging
//! service, which keeps one number per recipient by itself. What is no longer of use is dropped by Twilio after
//! `ValidityPeriod`.
//!
//! **Receipts** come to `status_callback`, in any order and more than once:
//!
//! | `MessageStatus` | says |
//! |---|---|
//! | accepted, scheduled, queued, sending, sent | taken, on its way. Some carriers never say more |
//! | delivered, read | arrived, opened |
//! | undelivered, failed, canceled | it did not arrive, for the reason of `ErrorCode` |
//! | partially_delivered, receiving, received, anything new | nothing |
//!
//! **What patients send** comes to the same address without a send key, where it is entered at Twilio for the number or
//! the messaging service ("A message comes in"): `MessageSid`, `From`, `Body`, and with Advanced Opt-Out `OptOutType`
//! (STOP, START, HELP). Twilio reads the answer as TwiML: one `<Message>` to send back, or an empty `<Response/>`. Some words
//! it answers by itself ([`CONFIRMED`]), and what else its Advanced Opt-Out is told. Pictures (`NumMedia`) are not fetched:
//! whoever reads the text is told that they came.
//!
//! Twilio keeps what came in, and can be asked for it afterwards (`said.rs`), by the numbers that are written in `from`. Which
//! ones a messaging service has, and what came to those of it, nothing here tells.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Url;

use super::look_up::{By, Search};
use super::webhook::Fields;
use super::{Account, Form, is_number, twiml, undelivered};
use crate::config::provider::TwilioSettings;
use crate::domain::failure::Failure;
use crate::domain::ids::ProviderName;
use crate::domain::look_up::{Looked, Lost};
use crate::domain::outbound::{Accepted, Content, FailureKind, OutboundMessage, SendError};
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::receipt::{Receipt, Said};
use crate::domain::reply::{Keyword, Reply};
use crate::domain::words::Channel;
use crate::provider::webhook::{Answer, Door, Heard, News, Unheard, Webhook};
use crate::provider::{Provider, http};

/// Characters of a body that Twilio takes.
const MAX_BODY_CHARS: usize = 1_600;
/// Seconds that Twilio keeps a message at most.
const MAX_VALIDITY_SECONDS: i64 = 36_000;

/// What Twilio answers by itself where nobody has changed that: the whole text, in any case ("Twilio support for opt-out
/// keywords"). ALTO, a slip of the finger, a stop in plain language are none of these.
const CONFIRMED: &[&str] = &[
    "stop",
    "unsubscribe",
    "end",
    "quit",
    "stopall",
    "revoke",
    "optout",
    "cancel",
    "start",
    "yes",
    "unstop",
    "help",
    "info",
];

/// Stands in the place of pictures, and below what was written with them.
const FILE_CAME: &str = "[A picture or another file came with this. It cannot be seen here.]";

/// Sends SMS.
pub struct TwilioSms {
    name: ProviderName,
    account: Account,
    messages: Url,
    from: Vec<String>,
    service: Option<String>,
}

impl TwilioSms {
    /// Reads the settings.
    ///
    /// # Errors
    /// The first fault, with its field.
    pub fn new(name: ProviderName, settings: &TwilioSettings, timeout: Duration) -> Result<Self, Problem> {
        if settings.from.is_empty() && settings.messaging_service_sid.is_none() {
            let cure = "list at least one number, or give `messaging_service_sid`";
            return Err(http::fault(&name, "from", "a sender is needed", cure));
        }
        let account = Account::new(&name, settings, timeout)?;
        Ok(Self {
            messages: http::url(&name, "base_url", &account.place("Messages.json"))?,
            account,
            name,
            from: settings.from.clone(),
            service: settings.messaging_service_sid.clone(),
        })
    }

    /// A message that came in.
    fn reply(&self, fields: &Fields) -> Result<Option<Reply>, Unheard> {
        if fields.get("MessageStatus").is_some() {
            // A receipt that has lost its send key.
            return Err(Unheard::Unreadable);
        }
        let reference = fields.sid("MessageSid")?;
        let from = fields.get("From").ok_or(Unheard::Unreadable)?;
        let body = fields.get("Body").unwrap_or_default();
        let has_files = fields.code("NumMedia").is_some_and(|count| count > 0);
        let reply = self.written(reference, from, (body, has_files));
        let keyword = fields.get("OptOutType").and_then(keyword);
        Ok(reply.map(|reply| Reply { keyword, ..reply }))
    }

    /// What somebody wrote. From anything but a number (a short code, a name) nothing follows for anybody.
    fn written(&self, reference: String, from: &str, (body, has_files): (&str, bool)) -> Option<Reply> {
        let text = match has_files {
            false => body.to_owned(),
            true => format!("{body}\n{FILE_CAME}").trim_start().to_owned(),
        };
        is_number(from).then(|| Reply {
            provider: self.name.clone(),
            channel: Channel::Sms,
            reference,
            from: Phi::new(from),
            about: None,
            text: Phi::new(text),
            keyword: None,
            thread: None,
        })
    }

    fn form(&self, message: &OutboundMessage) -> Result<Form, SendError> {
        let Content::Sms { text, .. } = &message.content else {
            return Err(SendError::new(FailureKind::Misconfigured, "channel"));
        };
        if text.expose().chars().count() > MAX_BODY_CHARS {
            return Err(SendError::new(FailureKind::Rejected, "too_long"));
        }
        let mut form = vec![("To", message.to.expose().to_owned())];
        match (&message.from, &self.service) {
            (Some(sender), _) => form.push(("From", sender.address.clone())),
            (None, Some(service)) => form.push(("MessagingServiceSid", service.clone())),
            (None, None) => return Err(SendError::new(FailureKind::Misconfigured, "from")),
        }
        form.push(("Body", text.expose().to_owned()));
        let seconds = message.valid_for.as_secs().clamp(1, MAX_VALIDITY_SECONDS);
        form.push(("ValidityPeriod", seconds.to_string()));
        if let Some(callback) = &self.account.status_callback {
            form.push(("StatusCallback", callback.with_key(message.send_key, None)));
        }
        Ok(form)
    }
}

impl std::fmt::Debug for TwilioSms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TwilioSms").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for TwilioSms {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn dedupes(&self) -> bool {
        false
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Accepted, SendError> {
        self.account.post(self.messages.clone(), &self.form(message)?).await
    }

    fn confirms(&self, text: &str) -> bool {
        is_confirmed(text)
    }

    fn answering(&self, answer: Option<&Answer>) -> String {
        twiml::message(answer.map(|answer| answer.text.as_str()))
    }

    async fn check(&self) -> Result<(), SendError> {
        self.account.check().await
    }

    fn reports(&self) -> bool {
        self.account.status_callback.is_some()
    }

    fn looks_up(&self) -> bool {
        true
    }

    async fn look_up(&self, lost: &Lost) -> Result<Looked, SendError> {
        let found = match self.account.search("Messages.json", "messages", lost, By::Text).await? {
            Search::Found(found) => found,
            Search::NotThere => return Ok(Looked::NotThere),
            Search::Unclear => return Ok(Looked::Unclear),
        };
        let said = said(&found.status, found.error_code).unwrap_or(Said::Sent);
        Ok(Looked::Taken(found.receipt(lost, said)))
    }

    async fn said_since(&self, since: Timestamp) -> Result<Option<Vec<(Reply, Timestamp)>>, SendError> {
        if self.service.is_some() {
            return Ok(None);
        }
        let mut said = Vec::new();
        // Nobody can write to a sender that is a name.
        for number in
            self.from.iter().filter(|from| from.starts_with(|c: char| c == '+' || c.is_ascii_digit()))
        {
            let written = self.account.written_to(number, since).await?;
            said.extend(written.into_iter().rev().filter_map(|one| {
                let (at, has_files) = (one.at().unwrap_or(since), one.has_files());
                let body = one.body.as_ref().map_or("", Phi::expose);
                let reply = self.written(one.sid, one.from.as_ref()?.expose(), (body, has_files));
                reply.map(|reply| (reply, at))
            }));
        }
        said.sort_by_key(|(_, at)| *at);
        Ok(Some(said))
    }

    async fn hear(&self, call: &Webhook<'_>) -> Result<Heard, Unheard> {
        if call.door != Door::Status {
            return Err(Unheard::NoWebhook);
        }
        let asked = self.account.asked(self.account.status_callback.as_ref(), call)?;
        let Some(key) = asked.key else {
            return Ok(Heard::of(self.reply(&asked.fields)?.map_or(News::Nothing, News::Reply)));
        };
        let code = asked.fields.code("ErrorCode");
        let Some(said) = said(asked.fields.get("MessageStatus").ok_or(Unheard::Unreadable)?, code) else {
            return Ok(Heard::of(News::Nothing));
        };
        let reference = Some(asked.fields.sid("MessageSid")?);
        let code = code.filter(|_| said.failure().is_some()).map(|code| code.to_string());
        let provider = self.name.clone();
        Ok(Heard::of(News::Receipt(Receipt { provider, key, reference, said, code, named: Vec::new() })))
    }
}

fn is_confirmed(text: &str) -> bool {
    CONFIRMED.contains(&text.trim().to_ascii_lowercase().as_str())
}

/// What Twilio's own reading of stop words came to (`OptOutType`).
fn keyword(word: &str) -> Option<Keyword> {
    Keyword::from_word(&word.to_ascii_lowercase())
}

/// The table above.
fn said(status: &str, code: Option<u32>) -> Option<Said> {
    Some(match status {
        "accepted" | "scheduled" | "queued" | "sending" | "sent" => Said::Sent,
        "delivered" => Said::Delivered,
        "read" => Said::Read,
        "undelivered" | "failed" => Said::Undelivered(undelivered(code)),
        // Nobody here takes back what Twilio has; somebody at its console may.
        "canceled" => Said::Undelivered(Failure::Rejected),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_write_as_patients() {
        for (from, expected) in [
            ("+13125550142", true),
            ("+442071838750", true),
            ("13125550142", false),
            ("72345", false),
            ("whatsapp:+13125550142", false),
            ("LAKESIDE", false),
            ("+1312555014x", false),
        ] {
            assert_eq!(is_number(from), expected, "{from}");
        }
        assert_eq!(
            ["STOP", "START", "HELP", "x"].map(keyword),
            [Some(Keyword::Stop), Some(Keyword::Start), Some(Keyword::Help), None]
        );
    }

    #[test]
    fn what_stands_for_a_picture_means_nothing_by_itself() {
        use crate::domain::reply::Intent;
        use crate::policy::reply::{More, read};
        for (with, intent) in [("", Intent::Text), ("STOP\n", Intent::Stop), ("1\n", Intent::Text)] {
            assert_eq!(read(&format!("{with}{FILE_CAME}"), None, &More::default()).intent, intent, "{with}");
        }
    }

    #[test]
    fn twilio_answers_its_own_words_and_no_others() {
        assert!([" STOP ", "Cancel", "unstop", "YES", "info\n"].into_iter().all(is_confirmed));
        assert!(!["ALTO", "stpo", "stop please", "stop.", "ayuda", ""].into_iter().any(is_confirmed));
    }

    #[test]
    fn every_status_says_what_the_table_says() {
        let undelivered = |failure| Some(Said::Undelivered(failure));
        for (status, code, expected) in [
            ("accepted", None, Some(Said::Sent)),
            ("queued", None, Some(Said::Sent)),
            ("sending", None, Some(Said::Sent)),
            ("sent", None, Some(Said::Sent)),
            ("delivered", None, Some(Said::Delivered)),
            ("read", None, Some(Said::Read)),
            ("undelivered", Some(30005), undelivered(Failure::BadAddress)),
            ("undelivered", None, undelivered(Failure::Unreachable)),
            ("failed", Some(30007), undelivered(Failure::Blocked)),
            ("failed", Some(21610), undelivered(Failure::OptedOut)),
            ("canceled", None, undelivered(Failure::Rejected)),
            ("partially_delivered", None, None),
            ("received", None, None),
            ("something-new", None, None),
        ] {
            assert_eq!(said(status, code), expected, "{status} {code:?}");
        }
    }
}
