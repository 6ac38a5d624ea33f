//! One message as it goes over the wire: headers, text and HTML, envelope, signature.

use std::time::SystemTime;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use lettre::{Address, address::Envelope};
use reqwest::Url;

use super::dkim::Signer;
use super::incoming::{Incoming, UNSUBSCRIBE};
use super::token;
use crate::config::is_loopback;
use crate::domain::outbound::{Content, FailureKind, OutboundMessage, SendError};
use crate::domain::phi::Phi;

/// Characters of a subject.
const MAX_SUBJECT_CHARS: usize = 998;
/// Bytes of the unsubscribe URL: it cannot be folded, and a line has 998.
const MAX_URL_BYTES: usize = 900;
/// Characters of a name; a longer one is cut.
const MAX_NAME_CHARS: usize = 128;

/// Whom mail comes from, as configured.
pub(super) struct Identity {
    pub(super) from: Mailbox,
    pub(super) return_path: Option<Address>,
    pub(super) reply_to: Option<Mailbox>,
    /// How mail comes back; `None`: to nobody who reads it here.
    pub(super) incoming: Option<Incoming>,
    /// The relay is SendGrid: not all of its events name the Message-ID, but all give back what a mail takes along for it.
    pub(super) is_sendgrid: bool,
    pub(super) signer: Option<Signer>,
}

/// Ready to be sent.
pub(super) struct Mail {
    /// `None`: the null path, where an answer's bounce would come back as somebody's (RFC 3834, 3.3).
    pub(super) sender: Option<Address>,
    pub(super) recipient: Address,
    pub(super) bytes: Vec<u8>,
    /// Without its angle brackets.
    pub(super) message_id: String,
}

/// Builds and signs the mail for `message`.
pub(super) fn compose(identity: &Identity, message: &OutboundMessage) -> Result<Mail, SendError> {
    let Content::Email { subject, text, html, unsubscribe_url } = &message.content else {
        return Err(SendError::new(FailureKind::Misconfigured, "channel"));
    };
    let recipient =
        address(message.to.expose()).ok_or_else(|| SendError::new(FailureKind::BadAddress, "address"))?;
    let from = from(identity, message)?;
    let subject = one_line(subject.expose());
    if subject.chars().count() > MAX_SUBJECT_CHARS {
        return Err(SendError::new(FailureKind::Rejected, "too_long"));
    }
    let incoming = identity.incoming.as_ref();
    let key = message.send_key;
    let answered = message.answers.as_ref();
    let sender = incoming.and_then(|incoming| incoming.marked(incoming.bounce.as_ref(), key)).or_else(|| {
        let plain = || identity.return_path.clone().unwrap_or_else(|| from.email.clone());
        answered.is_none().then(plain)
    });
    let mark = incoming.map_or_else(|| key.to_string(), |incoming| incoming.tokens.mark(key));
    let message_id = format!("{mark}@{}", from.email.domain());
    let envelope = Envelope::new(sender.clone(), vec![recipient.clone()]).map_err(|_| unbuilt())?;

    let mut builder = Message::builder()
        .envelope(envelope)
        .from(from)
        .to(Mailbox::new(to_name(message), recipient.clone()))
        .subject(subject)
        .message_id(Some(format!("<{message_id}>")))
        .date(SystemTime::now())
        // RFC 3834: no vacation reply is to come back.
        .raw_header(header(
            "Auto-Submitted",
            if answered.is_some() { "auto-replied" } else { "auto-generated" },
        ))
        .raw_header(header("Content-Language", &message.language));
    if let Some(thread) = answered.map(|answered| &answered.thread) {
        for (name, ids) in [("In-Reply-To", &thread.message_id), ("References", &thread.references)] {
            if !ids.expose().is_empty() {
                builder = builder.raw_header(header(name, ids.expose()));
            }
        }
    }
    let about = answered.map_or(key, |answered| answered.about);
    let answer_to = incoming.and_then(|incoming| incoming.marked(incoming.reply.as_ref(), about));
    let answers = answer_to.clone().map(|address| Mailbox::new(identity.from.name.clone(), address));
    if let Some(reply_to) = answers.or_else(|| identity.reply_to.clone()) {
        builder = builder.reply_to(reply_to);
    }
    if let Some(url) = unsubscribe_url {
        let ways = [Some(unsubscribe(url)?), answer_to.as_ref().and_then(unsubscribe_by_mail)];
        let ways: Vec<String> = ways.into_iter().flatten().map(|way| format!("<{way}>")).collect();
        builder = builder
            .raw_header(header("List-Unsubscribe", &ways.join(", ")))
            .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"));
    }
    if identity.is_sendgrid {
        let along = serde_json::json!({ "unique_args": { "send_key": key.to_string() } });
        builder = builder.raw_header(header("X-SMTPAPI", &along.to_string()));
    }
    let body = MultiPart::alternative_plain_html(lines(text.expose()), lines(html.expose()));
    let mail = builder.multipart(body).map_err(|_| unbuilt())?.formatted();
    Ok(Mail { sender, recipient, bytes: signed(identity.signer.as_ref(), mail)?, message_id })
}

/// An address that can stand in a command and a header. Names outside ASCII would need SMTPUTF8, which
/// many servers lack.
pub(super) fn address(text: &str) -> Option<Address> {
    let plain =
        text.len() <= 254 && text.bytes().all(|b| b.is_ascii_graphic() && !b"<>\",;:\\()[]".contains(&b));
    if plain { text.parse().ok() } else { None }
}

/// Characters that the name in an address has before `+` and a mark (RFC 5321, 4.5.3.1.1).
pub(super) const fn room_for_name() -> usize {
    64 - token::LONGEST
}

fn from(identity: &Identity, message: &OutboundMessage) -> Result<Mailbox, SendError> {
    let Some(sender) = &message.from else { return Ok(identity.from.clone()) };
    let email = address(&sender.address).ok_or_else(|| SendError::new(FailureKind::Misconfigured, "from"))?;
    Ok(Mailbox::new(sender.name.as_deref().and_then(name), email))
}

fn to_name(message: &OutboundMessage) -> Option<String> {
    let person = message.to_name.as_ref()?;
    let parts = [person.given.as_ref(), person.family.as_ref()];
    name(&parts.into_iter().flatten().map(Phi::expose).collect::<Vec<_>>().join(" "))
}

/// A name for a header; `None` where nothing is left of it.
fn name(text: &str) -> Option<String> {
    let name: String = one_line(text).chars().take(MAX_NAME_CHARS).collect();
    (!name.trim().is_empty()).then(|| name.trim().to_owned())
}

/// Control characters as spaces: a line end in a name must never begin a header.
fn one_line(text: &str) -> String {
    let spaced = text.replace(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'), " ");
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text whose lines end one way only. lettre lets a lone CR through, which some servers take for a line
/// end and some do not: what one reads as text, the next may read as the end of the mail (RFC 5322, 2.3
/// forbids it, and NUL too).
fn lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.replace(|c: char| c.is_ascii_control() && c != '\n' && c != '\t', "")
}

/// RFC 8058 wants https; plain http is for a trial on this machine. Longer than a line it cannot be.
fn unsubscribe(text: &str) -> Result<String, SendError> {
    let url = Url::parse(text).ok().filter(|url| match url.scheme() {
        "https" => true,
        "http" => url.host_str().is_some_and(is_loopback),
        _ => false,
    });
    url.map(String::from)
        .filter(|url| url.len() <= MAX_URL_BYTES)
        .ok_or_else(|| SendError::new(FailureKind::Rejected, "unsubscribe_url"))
}

/// For mail programs that would rather write (RFC 2369): a stop, as any other answer. `None` where the address has what a
/// URL would take for something else (RFC 6068, 2).
fn unsubscribe_by_mail(to: &Address) -> Option<String> {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+".contains(&b));
    let fits = plain(to.user()) && plain(to.domain());
    fits.then(|| format!("mailto:{to}?subject={UNSUBSCRIBE}"))
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), one_line(value))
}

fn signed(signer: Option<&Signer>, mail: Vec<u8>) -> Result<Vec<u8>, SendError> {
    let Some(signer) = signer else { return Ok(mail) };
    let unsigned = || SendError::new(FailureKind::Misconfigured, "dkim");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|_| unsigned())?;
    let text = std::str::from_utf8(&mail).map_err(|_| unsigned())?;
    let signature = signer.sign(text, now.as_secs()).ok_or_else(unsigned)?;
    Ok([signature.as_bytes(), &mail].concat())
}

fn unbuilt() -> SendError {
    SendError::new(FailureKind::Rejected, "mail")
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::token::Tokens;
    use super::*;
    use crate::domain::ids::{AttemptId, MessageId, ProviderName, SendKey};
    use crate::domain::outbound::InAnswer;
    use crate::domain::reply::Thread;
    use crate::domain::words::Purpose;

    #[test]
    fn an_address_is_one_word_without_tricks() {
        for good in ["ana@example.org", "a.b+c@xn--bcher-kva.example"] {
            assert!(address(good).is_some(), "{good}");
        }
        for bad in
            ["ana", "a@b>\r\nRCPT TO:<c@d", "a b@c.org", "ána@example.org", "<a@b.org>", "\"a b\"@c.org", ""]
        {
            assert!(address(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_stays_on_its_line() {
        assert_eq!(name("Ana\r\nBcc: eve@example.org\0").as_deref(), Some("Ana Bcc: eve@example.org"));
        assert_eq!(name("\r\n\t\0"), None);
        assert_eq!(name(&"é".repeat(500)).map(|n| n.chars().count()), Some(MAX_NAME_CHARS));
    }

    /// RFC 3834, 3: in the thread, marked as a machine's, and by a path from which nothing comes back as somebody's.
    #[test]
    fn an_answer_names_what_it_answers_and_bounces_to_nobody() {
        let text = |text: &str| Phi::new(text);
        let key = SendKey { message: MessageId::generate(), step: 0 };
        let about = SendKey { message: MessageId::generate(), step: 2 };
        let thread =
            Thread { message_id: text("<b@phone>"), references: text(&["<a@clinic.example>"; 9].join(" ")) };
        let name = ProviderName::parse("mail").unwrap();
        let identity = |bounce: Option<&str>| Identity {
            from: "Clinic <clinic@clinic.example>".parse().unwrap(),
            return_path: Some("returns@clinic.example".parse().unwrap()),
            reply_to: None,
            incoming: Some(Incoming {
                provider: name.clone(),
                bounce: bounce.map(|address| address.parse().unwrap()),
                reply: Some("reply@clinic.example".parse().unwrap()),
                tokens: Tokens::new(&[1; 32], &name),
                ours: Vec::new(),
            }),
            is_sendgrid: bounce.is_some(),
            signer: None,
        };
        let mut message = OutboundMessage {
            attempt_id: AttemptId::generate(),
            send_key: key,
            to: text("ana@example.net"),
            to_name: None,
            from: None,
            language: "en".to_owned(),
            purpose: Purpose::Care,
            valid_for: SignedDuration::from_hours(1),
            content: Content::Email {
                subject: text("x"),
                text: text("x"),
                html: text("x"),
                unsubscribe_url: None,
            },
            answers: Some(InAnswer { about, thread }),
        };
        let tokens = Tokens::new(&[1; 32], &name);
        let mail = compose(&identity(None), &message).unwrap();
        assert_eq!(mail.sender, None);
        let whole = String::from_utf8(mail.bytes).unwrap();
        assert!(whole.lines().all(|line| line.len() <= 120), "folded: {whole}");
        let head = whole.replace("\r\n ", " ");
        for line in [
            "Auto-Submitted: auto-replied\r\n".to_owned(),
            "In-Reply-To: <b@phone>\r\n".to_owned(),
            format!("References: {}\r\n", ["<a@clinic.example>"; 9].join(" ")),
            format!("Reply-To: Clinic <reply+{}@clinic.example>\r\n", tokens.mark(about)),
        ] {
            assert!(head.contains(&line), "{line}\n{head}");
        }
        let by_mark = compose(&identity(Some("bounces@clinic.example")), &message).unwrap();
        let sender = by_mark.sender.unwrap().to_string();
        assert_eq!(sender, format!("bounces+{}@clinic.example", tokens.mark(key)));
        let along = format!("X-SMTPAPI: {{\"unique_args\":{{\"send_key\":\"{key}\"}}}}\r\n");
        assert!(String::from_utf8(by_mark.bytes).unwrap().contains(&along), "{along}");
        assert!(!whole.contains("X-SMTPAPI"), "another relay need not know");
        message.answers = None;
        let plain = compose(&identity(None), &message).unwrap();
        assert_eq!(plain.sender.unwrap().to_string(), "returns@clinic.example");
    }
}
