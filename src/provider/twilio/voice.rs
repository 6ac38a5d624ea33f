//! `twilio_voice`: calls by Twilio's Calls resource, the text spoken from TwiML in the request itself.
//!
//! `POST /2010-04-01/Accounts/{sid}/Calls.json`, a form, HTTP Basic.
//!
//! **Person or machine.** TwiML in the request is fixed before anyone picks up, so it cannot branch on who
//! did. What a person hears may say more than may be left on a machine. Therefore:
//!
//! | `gather_action` | voicemail text | what is done |
//! |---|---|---|
//! | set | any | The person's text, said at once, keys listened to. Detection runs beside the call (`AsyncAmd`); at the end of a machine's greeting Twilio reports to the webhook, which calls [`Provider::machine_answered`]: the call is given the voicemail text, or ended where there is none |
//! | not set | some | Nobody can be asked, so everyone hears the text that is fit for a machine, after the beep if it is one |
//! | not set | none | Refused as `Rejected` (`no_webhook`): nothing may be left on a machine, and nobody could stop it |
//!
//! What stays: between the beep and the webhook's answer (under a second when all is well) a machine may
//! record a piece of the person's text, and the rest of it while the webhook is down. A text that must never
//! be on a machine does not belong in a call. `gather_action` is to be set only where a webhook answers.
//!
//! **Receipts.** `completed` says that the call ended, not that it was heard:
//!
//! | told | says |
//! |---|---|
//! | queued, initiated, ringing, in-progress | on its way |
//! | a key was pressed | it was answered (`read`) |
//! | answered by a person | it arrived: they hear the text from the first moment on |
//! | answered by a machine, `gather_action` set | nothing yet: the text that may be left is spoken (then it arrived), or there is none (then nobody answered) |
//! | completed, by a machine, `gather_action` not set | it arrived: everybody hears the text that is fit for a machine, after the beep |
//! | completed, by a fax | nobody answered |
//! | completed after 0 s, by nobody that is named | nobody answered |
//! | completed, by `unknown` or nobody that is named | that it ended. Whether it was heard nobody knows: it stays sent |
//! | busy, no-answer | nobody answered |
//! | failed | by the SIP code: 404, 484, 604 there is no such number; else it was not reachable |
//! | canceled | it was taken back at Twilio |
//!
//! **Keys and calls.** `9` during a call, ours or theirs, asks for no more calls to that number. Another key during ours is
//! one of the answers that the text offers ([`Keyword::Key`]); one that is none has the text said again
//! ([`Provider::saying_again`]). Whoever calls a number of ours is told who we are ([`Keyword::Call`]), in general words:
//! who is calling is not known.

use std::time::Duration;

use async_trait::async_trait;

use super::look_up::{By, Search};
use super::webhook::{Asked, Fields};
use super::{Account, Form, is_number, is_sid, twiml, undelivered};
use crate::config::provider::TwilioSettings;
use crate::domain::failure::Failure;
use crate::domain::ids::{ProviderName, SendKey};
use crate::domain::look_up::{Looked, Lost};
use crate::domain::outbound::{Accepted, Content, FailureKind, OutboundMessage, SendError};
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::receipt::{Receipt, Said};
use crate::domain::reply::{Keyword, Reply};
use crate::domain::words::Channel;
use crate::provider::webhook::{Answer, Door, Heard, News, Unheard, Webhook};
use crate::provider::{Provider, http};

/// Seconds after which a call is ended whatever happens: a stuck line costs money.
const TIME_LIMIT_SECONDS: &str = "300";
/// Characters that `SendDigits` takes.
const MAX_DIGITS: usize = 32;
/// Waits (half a second each) before an extension is dialled: the far end must pick up first.
const BEFORE_EXTENSION: &str = "wwww";
/// The key that stops the calls, as the texts say it.
const STOP_KEY: &str = "9";
/// Whose press it is that comes in: of somebody who has called us.
const STOP: &str = "stop";
/// What the caller of a key hears: nothing more.
const GOODBYE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Hangup/></Response>";

/// Makes calls.
pub struct TwilioVoice {
    name: ProviderName,
    account: Account,
}

impl TwilioVoice {
    /// Reads the settings.
    ///
    /// # Errors
    /// The first fault, with its field.
    pub fn new(name: ProviderName, settings: &TwilioSettings, timeout: Duration) -> Result<Self, Problem> {
        if settings.from.is_empty() {
            return Err(http::fault(&name, "from", "a caller number is needed", "list at least one number"));
        }
        Ok(Self { account: Account::new(&name, settings, timeout)?, name })
    }

    /// Somebody calls us, or has pressed a key while they do. Where their number is withheld nothing follows for anybody.
    fn called(&self, door: Door, asked: &Asked, reference: &str) -> Result<News, Unheard> {
        let from = asked.fields.get("From").filter(|from| is_number(from));
        let stops = asked.fields.get("Digits") == Some(STOP_KEY);
        match (door, asked.event.as_deref()) {
            (Door::Status, None) if asked.fields.get("Direction") == Some("inbound") => {
                let begins = matches!(asked.fields.get("CallStatus"), Some("ringing" | "in-progress"));
                let call = || News::Reply(self.wish(from, None, reference, Keyword::Call));
                Ok(if begins { call() } else { News::Nothing })
            }
            (Door::Gather, Some(STOP)) => {
                let wish = |from| self.wish(Some(from), None, &format!("{reference}-key"), Keyword::Stop);
                Ok(from.filter(|_| stops).map_or(News::Nothing, |from| News::Reply(wish(from))))
            }
            _ => Err(Unheard::Unreadable),
        }
    }

    fn wish(&self, from: Option<&str>, about: Option<SendKey>, reference: &str, keyword: Keyword) -> Reply {
        Reply {
            provider: self.name.clone(),
            channel: Channel::Voice,
            reference: reference.to_owned(),
            from: Phi::new(from.unwrap_or_default()),
            about,
            text: Phi::new(""),
            keyword: Some(keyword),
            thread: None,
        }
    }

    fn form(&self, message: &OutboundMessage) -> Result<Form, SendError> {
        let Content::Voice { voicemail, extension, .. } = &message.content else {
            return Err(SendError::new(FailureKind::Misconfigured, "channel"));
        };
        let Some(from) = &message.from else {
            return Err(SendError::new(FailureKind::Misconfigured, "from"));
        };
        let mut form = vec![
            ("To", message.to.expose().to_owned()),
            ("From", from.address.clone()),
            ("Twiml", self.document(message)?),
            ("TimeLimit", TIME_LIMIT_SECONDS.to_owned()),
        ];
        if let Some(extension) = extension {
            form.push(("SendDigits", digits(extension)?));
        }
        match &self.account.gather_action {
            Some(action) => form.extend([
                ("MachineDetection", "DetectMessageEnd".to_owned()),
                ("AsyncAmd", "true".to_owned()),
                ("AsyncAmdStatusCallback", action.with_key(message.send_key, Some("machine"))),
                ("AsyncAmdStatusCallbackMethod", "POST".to_owned()),
            ]),
            None if voicemail.is_some() => {
                form.push(("MachineDetection", "DetectMessageEnd".to_owned()));
            }
            None => return Err(SendError::new(FailureKind::Rejected, "no_webhook")),
        }
        if let Some(callback) = &self.account.status_callback {
            form.push(("StatusCallback", callback.with_key(message.send_key, None)));
            let events = ["initiated", "ringing", "answered", "completed"];
            form.extend(events.map(|event| ("StatusCallbackEvent", event.to_owned())));
        }
        Ok(form)
    }

    /// What is said when someone picks up.
    fn document(&self, message: &OutboundMessage) -> Result<String, SendError> {
        let Content::Voice { speech, voicemail, .. } = &message.content else {
            return Err(SendError::new(FailureKind::Misconfigured, "channel"));
        };
        match (&self.account.gather_action, voicemail) {
            (Some(action), _) => {
                let action = action.with_key(message.send_key, Some("key"));
                twiml::with_keys(speech.expose(), &message.language, &action)
            }
            (None, text) => twiml::plain(text.as_ref().unwrap_or(speech).expose(), &message.language),
        }
    }
}

impl std::fmt::Debug for TwilioVoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TwilioVoice").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for TwilioVoice {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn channel(&self) -> Channel {
        Channel::Voice
    }

    fn dedupes(&self) -> bool {
        false
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Accepted, SendError> {
        self.account.post(self.account.place("Calls.json"), &self.form(message)?).await
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
        let found = match self.account.search("Calls.json", "calls", lost, By::Time).await? {
            Search::Found(found) => found,
            Search::NotThere => return Ok(Looked::NotThere),
            Search::Unclear => return Ok(Looked::Unclear),
        };
        let said = looked_up(&found.status, found.answered_by.as_deref());
        Ok(Looked::Taken(found.receipt(lost, said)))
    }

    async fn hear(&self, call: &Webhook<'_>) -> Result<Heard, Unheard> {
        let given = match call.door {
            Door::Status => self.account.status_callback.as_ref(),
            Door::Gather => self.account.gather_action.as_ref(),
        };
        let asked = self.account.asked(given, call)?;
        let reference = asked.fields.sid("CallSid")?;
        let Some(key) = asked.key else {
            return self.called(call.door, &asked, &reference).map(|news| Heard { news, answer: GOODBYE });
        };
        let who = asked.fields.get("AnsweredBy");
        let said = match (call.door, asked.event.as_deref()) {
            (Door::Status, _) => ended(&asked.fields, who, self.account.gather_action.is_some()),
            (Door::Gather, Some("machine")) if who.is_some_and(|who| who.starts_with("machine")) => {
                return Ok(Heard::of(News::Machine { key, reference }));
            }
            (Door::Gather, Some("machine")) => answered(who),
            (Door::Gather, Some("key")) => asked.fields.get("Digits").map(|_| Said::Read),
            (Door::Gather, _) => return Err(Unheard::Unreadable),
        };
        let answer = if asked.event.as_deref() == Some("key") { GOODBYE } else { "" };
        let Some(said) = said else { return Ok(Heard { news: News::Nothing, answer }) };
        let failed = || asked.fields.code("ErrorCode").or_else(|| asked.fields.code("SipResponseCode"));
        let code = said.failure().and_then(|_| failed()).map(|code| code.to_string());
        let provider = self.name.clone();
        let pressed = asked.fields.get("Digits").filter(|_| answer == GOODBYE);
        let reply = pressed.map(|pressed| {
            let said =
                |reference: &str, keyword| self.wish(asked.fields.get("To"), Some(key), reference, keyword);
            match pressed {
                STOP_KEY => said(&format!("{reference}-key"), Keyword::Stop),
                pressed => Reply {
                    text: Phi::new(pressed),
                    // Another one may follow in the same call.
                    ..said(&format!("{reference}-key-{pressed}"), Keyword::Key)
                },
            }
        });
        let receipt =
            Receipt { provider, key, reference: Some(reference.clone()), said, code, named: Vec::new() };
        let news = match reply {
            Some(reply) => News::Key { receipt, reply },
            None => News::Receipt(receipt),
        };
        Ok(Heard { news, answer })
    }

    fn answering(&self, answer: Option<&Answer>) -> String {
        let said = answer.and_then(|answer| {
            // Where the key goes that is pressed by somebody who has called us.
            let action = self.account.gather_action.as_ref().filter(|_| answer.listens);
            let action = action.map(|action| action.with_event(STOP));
            twiml::answer(&answer.text, answer.language, action.as_deref()).ok()
        });
        said.unwrap_or_else(|| GOODBYE.to_owned())
    }

    fn saying_again(&self, key: SendKey, speech: &Phi, language: &str) -> String {
        let action = self.account.gather_action.as_ref().map(|action| action.with_key(key, Some("key")));
        let said = action.and_then(|action| twiml::with_keys(speech.expose(), language, &action).ok());
        said.unwrap_or_else(|| GOODBYE.to_owned())
    }

    async fn machine_answered(
        &self,
        reference: &str,
        content: &Content,
        language: &str,
    ) -> Result<(), SendError> {
        if !is_sid(reference) {
            return Err(SendError::new(FailureKind::Misconfigured, "reference"));
        }
        let form = match content {
            Content::Voice { voicemail: Some(text), .. } => {
                vec![("Twiml", twiml::plain(text.expose(), language)?)]
            }
            _ => vec![("Status", "completed".to_owned())],
        };
        self.account.post(self.account.place(&format!("Calls/{reference}.json")), &form).await.map(drop)
    }
}

/// What the call's progress says, by the table above.
fn ended(fields: &Fields, who: Option<&str>, others_tell: bool) -> Option<Said> {
    let nobody = Some(Said::Undelivered(Failure::NoAnswer));
    match fields.get("CallStatus")? {
        "queued" | "initiated" | "ringing" | "in-progress" => Some(Said::Sent),
        "completed" => match who {
            Some("human" | "fax") => answered(who),
            Some(who) if who.starts_with("machine") && !others_tell => Some(Said::Delivered),
            Some(who) if who.starts_with("machine") => Some(Said::Sent),
            _ if fields.code("CallDuration") == Some(0) => nobody,
            _ => Some(Said::Sent),
        },
        "busy" | "no-answer" => nobody,
        "failed" => {
            Some(Said::Undelivered(match (fields.code("ErrorCode"), fields.code("SipResponseCode")) {
                (Some(code), _) => undelivered(Some(code)),
                (None, Some(404 | 484 | 604)) => Failure::BadAddress,
                (None, _) => Failure::Unreachable,
            }))
        }
        "canceled" => Some(Said::Undelivered(Failure::Rejected)),
        _ => None,
    }
}

/// What a look-up says of a call. Whether one that has ended was heard it tells only of a person.
fn looked_up(status: &str, who: Option<&str>) -> Said {
    match status {
        "busy" | "no-answer" => Said::Undelivered(Failure::NoAnswer),
        "failed" => Said::Undelivered(Failure::Unreachable),
        "canceled" => Said::Undelivered(Failure::Rejected),
        "completed" => answered(who).unwrap_or(Said::Sent),
        _ => Said::Sent,
    }
}

/// Who picked up, where that alone decides.
fn answered(who: Option<&str>) -> Option<Said> {
    match who? {
        "human" => Some(Said::Delivered),
        "fax" => Some(Said::Undelivered(Failure::NoAnswer)),
        _ => None,
    }
}

/// What `SendDigits` gets for an extension: digits, `#`, `*`, and `w` or `W` to wait. The comma by which others wait it
/// does not have.
fn digits(extension: &str) -> Result<String, SendError> {
    let extension = extension.replace(',', "w");
    let digits = format!("{BEFORE_EXTENSION}{extension}");
    let valid = extension.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'#' | b'*' | b'w' | b'W'));
    if extension.is_empty() || !valid || digits.len() > MAX_DIGITS {
        return Err(SendError::new(FailureKind::Rejected, "extension"));
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_call_ended_does_not_say_that_it_was_heard() {
        let nobody = Some(Said::Undelivered(Failure::NoAnswer));
        let (sent, there) = (Some(Said::Sent), Some(Said::Delivered));
        for (fields, machine_door, expected) in [
            (&[("CallStatus", "queued")][..], true, sent),
            (&[("CallStatus", "ringing")], true, sent),
            (&[("CallStatus", "in-progress")], true, sent),
            (&[("CallStatus", "completed"), ("AnsweredBy", "human"), ("CallDuration", "9")], true, there),
            (&[("CallStatus", "completed"), ("AnsweredBy", "machine_end_beep")], true, sent),
            (&[("CallStatus", "completed"), ("AnsweredBy", "machine_end_beep")], false, there),
            (&[("CallStatus", "completed"), ("AnsweredBy", "fax")], true, nobody),
            (&[("CallStatus", "completed"), ("AnsweredBy", "unknown"), ("CallDuration", "9")], true, sent),
            (&[("CallStatus", "completed"), ("CallDuration", "9")], true, sent),
            (&[("CallStatus", "completed"), ("CallDuration", "0")], true, nobody),
            (&[("CallStatus", "busy")], true, nobody),
            (&[("CallStatus", "no-answer")], true, nobody),
            (
                &[("CallStatus", "failed"), ("SipResponseCode", "404")],
                true,
                Some(Said::Undelivered(Failure::BadAddress)),
            ),
            (
                &[("CallStatus", "failed"), ("SipResponseCode", "503")],
                true,
                Some(Said::Undelivered(Failure::Unreachable)),
            ),
            (&[("CallStatus", "canceled")], true, Some(Said::Undelivered(Failure::Rejected))),
            (&[("CallStatus", "something-new")], true, None),
            (&[], true, None),
        ] {
            let fields = Fields::of(fields);
            let who = fields.get("AnsweredBy").map(str::to_owned);
            assert_eq!(ended(&fields, who.as_deref(), machine_door), expected);
        }
    }
}
