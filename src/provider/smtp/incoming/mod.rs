//! Mail that comes back: bounces (RFC 3464, and what servers send instead), complaints (RFC 5965), answers.
//!
//! | it is | and has a mark of ours | so |
//! |---|---|---|
//! | a report of a complaint | anywhere in it | the recipient wants no more of that |
//! | a report of delivery, or what reads like one | in the address it came to, else anywhere in it | what became of the attempt; a delay is no outcome |
//! | sent by a mail program that unsubscribes (RFC 2369) | in the address it came to | no more mail there |
//! | sent by a machine in somebody's absence (RFC 3834), a list | | nothing |
//! | anything else | in the address it came to, else in what it answers (`In-Reply-To`, `References`) | an answer for people, or a wish |
//!
//! Which attempt a report is about its mark tells, and nothing else. Whom it names is compared with whom that was sent to,
//! by the ledger: a mailbox may hand on what it gets, and then the one that is gone is not the one that we have.
//!
//! What has no mark of ours is nobody's answer: no patient is known by the From of a mail, which anybody can write.

mod answer;
mod courtesy;
mod report;

use lettre::Address;
use mail_parser::{HeaderValue, Message, MessageParser, MessagePart, MimeHeaders as _};
use sha2::{Digest as _, Sha256};

use super::token::Tokens;
use crate::domain::ids::{ProviderName, SendKey};
use crate::domain::phi::Phi;
use crate::domain::receipt::{Named, Receipt, Said};
use crate::domain::reply::{Keyword, Reply};
use crate::domain::words::Channel;
use crate::provider::mail::IncomingMail;
use crate::provider::webhook::{News, Unheard};
use report::Outcome;

/// The subject by which a mail program unsubscribes: of these, the one kind of machine's mail that is somebody's wish.
pub(super) const UNSUBSCRIBE: &str = "unsubscribe";
/// Messages within messages are looked into so deep.
const DEPTH: usize = 4;

/// The addresses by which mail comes back to one provider.
pub(super) struct Incoming {
    pub(super) provider: ProviderName,
    pub(super) bounce: Option<Address>,
    pub(super) reply: Option<Address>,
    pub(super) tokens: Tokens,
    /// Every address of ours that is known here: what comes from one of them is never answered.
    pub(super) ours: Vec<Address>,
}

/// Where a mail came in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// At an address of ours with a mark in it.
    Marked(SendKey),
    /// At an address of ours without one.
    Bare,
    /// Somewhere else: a mailbox for complaints, an office that hands on what it gets.
    Elsewhere,
}

impl Incoming {
    /// The address that stands for `key`; `None` where there is none of the kind.
    pub(super) fn marked(&self, address: Option<&Address>, key: SendKey) -> Option<Address> {
        let address = address?;
        Address::new(format!("{}+{}", address.user(), self.tokens.mark(key)), address.domain()).ok()
    }

    pub(super) fn hear(&self, mail: &IncomingMail<'_>) -> Result<News, Unheard> {
        let at = self.at(mail.to)?;
        let parsed = MessageParser::default().parse(mail.bytes).filter(|parsed| !parsed.parts.is_empty());
        let parsed = parsed.ok_or(Unheard::Unreadable)?;
        let anywhere = || match at {
            At::Marked(key) => Some(key),
            At::Bare | At::Elsewhere => self.mark_in(&parsed, DEPTH),
        };
        if let Some(is_complaint) = report::complaint(&parsed) {
            let key = anywhere().ok_or(Unheard::NoWebhook)?;
            let wish = || self.reply(key, (mail, &parsed), "", String::new(), Some(Keyword::Complaint));
            return Ok(if is_complaint { News::Reply(wish()) } else { News::Nothing });
        }
        let by_machine = is_by_machine(&parsed, mail.from);
        if let Some(outcome) = report::outcome(&parsed, by_machine) {
            let Some(key) = anywhere() else { return unmarked(at) };
            return Ok(self.became(key, outcome, report::named(&parsed)));
        }
        if by_machine || is_automatic(&parsed) {
            let At::Marked(key) = at else { return unmarked(at) };
            let unsubscribes =
                parsed.subject().is_some_and(|subject| subject.trim().eq_ignore_ascii_case(UNSUBSCRIBE));
            let stop = || self.reply(key, (mail, &parsed), "", String::new(), Some(Keyword::Stop));
            return Ok(if unsubscribes { News::Reply(stop()) } else { News::Nothing });
        }
        let key = match at {
            At::Marked(key) => Some(key),
            At::Bare | At::Elsewhere => self.answered(&parsed),
        };
        let key = key.ok_or(Unheard::NoWebhook)?;
        let from = parsed.from().and_then(|from| from.first()?.address()).unwrap_or_default();
        let reply = self.reply(key, (mail, &parsed), from, answer::text(&parsed), None);
        let thread = courtesy::thread(&parsed, mail, &self.ours);
        Ok(News::Reply(Reply { thread, ..reply }))
    }

    /// An address of ours with a mark that is none is forged.
    fn at(&self, to: &str) -> Result<At, Unheard> {
        let Some((local, domain)) = to.trim().trim_matches(['<', '>']).rsplit_once('@') else {
            return Ok(At::Elsewhere);
        };
        let (name, mark) = local.split_once('+').map_or((local, None), |(name, mark)| (name, Some(mark)));
        let is = |ours: &&Address| {
            ours.user().eq_ignore_ascii_case(name) && ours.domain().eq_ignore_ascii_case(domain)
        };
        match (self.bounce.iter().chain(&self.reply).find(is), mark) {
            (None, _) => Ok(At::Elsewhere),
            (Some(_), None) => Ok(At::Bare),
            (Some(_), Some(mark)) => self.tokens.read(mark).map(At::Marked).ok_or(Unheard::Forged),
        }
    }

    /// A mark in the mail: in its head, in a text, in what was sent back with it.
    fn mark_in(&self, mail: &Message<'_>, depth: usize) -> Option<SendKey> {
        let within = |part: &MessagePart<'_>| match part.message() {
            Some(inner) if depth > 0 => self.mark_in(inner, depth - 1),
            Some(_) => None,
            None => self.tokens.find(part.contents()),
        };
        let head = mail.parts.first().map_or(0, |root| root.offset_body);
        let head = mail.raw_message.get(..usize::try_from(head).unwrap_or(usize::MAX));
        head.and_then(|head| self.tokens.find(head)).or_else(|| mail.parts.iter().find_map(within))
    }

    /// The mail of ours that this one answers.
    fn answered(&self, mail: &Message<'_>) -> Option<SendKey> {
        let ids = [mail.in_reply_to(), mail.references()].into_iter();
        ids.flat_map(texts).find_map(|id| self.tokens.read(id.split('@').next().unwrap_or_default()))
    }

    fn became(&self, key: SendKey, outcome: Outcome, named: Vec<Named>) -> News {
        let (said, code) = match outcome {
            Outcome::Failed(failure, code) => (Said::Undelivered(failure), code),
            Outcome::Delivered => (Said::Delivered, None),
            Outcome::Open => return News::Nothing,
        };
        // Which of the step's attempts: the one that was sent is the last, for nothing is sent again after that.
        News::Receipt(Receipt { provider: self.provider.clone(), key, reference: None, said, code, named })
    }

    fn reply(
        &self,
        key: SendKey,
        (mail, parsed): (&IncomingMail<'_>, &Message<'_>),
        from: &str,
        text: String,
        keyword: Option<Keyword>,
    ) -> Reply {
        Reply {
            provider: self.provider.clone(),
            channel: Channel::Email,
            reference: reference(mail, parsed),
            from: Phi::new(from),
            about: Some(key),
            text: Phi::new(&text),
            keyword,
            thread: None,
        }
    }
}

/// What stands for a mail that comes a second time. Never its Message-ID itself: people's machines have names.
fn reference(mail: &IncomingMail<'_>, parsed: &Message<'_>) -> String {
    let known = parsed.message_id().map_or(mail.bytes, str::as_bytes);
    let digest = hex::encode(Sha256::digest(known));
    format!("mail-{}", digest.get(..32).unwrap_or_default())
}

/// A machine's mail that tells nothing ends here, where it came to an address of ours.
const fn unmarked(at: At) -> Result<News, Unheard> {
    match at {
        At::Marked(_) | At::Bare => Ok(News::Nothing),
        At::Elsewhere => Err(Unheard::NoWebhook),
    }
}

/// It comes from a mail server itself: nobody is behind it, and nobody is to be told anything.
fn is_by_machine(mail: &Message<'_>, from: Option<&str>) -> bool {
    // Postfix hands the null path on under a name of its own, where it is not told another.
    let empty = |path: &str| {
        let path = path.trim().trim_matches(['<', '>']);
        path.is_empty() || path.eq_ignore_ascii_case("mailer-daemon")
    };
    let sender = mail.from().and_then(|from| from.first()?.address()).unwrap_or_default();
    let name = sender.split('@').next().unwrap_or_default().to_ascii_lowercase();
    from.is_some_and(empty)
        || mail.header_raw("Return-Path").is_some_and(empty)
        || matches!(name.as_str(), "mailer-daemon" | "postmaster" | "microsoftexchange" | "mail-daemon")
        || name.starts_with("microsoftexchange")
}

/// RFC 3834, and what was in use before and beside it.
fn is_automatic(mail: &Message<'_>) -> bool {
    let says = |name: &'static str| mail.header_raw(name).map(|value| value.trim().to_ascii_lowercase());
    let submitted = says("Auto-Submitted").is_some_and(|value| !value.is_empty() && !value.starts_with("no"));
    let precedence = says("Precedence").is_some_and(|value| {
        ["bulk", "junk", "list", "auto_reply", "auto-reply"].iter().any(|word| value.starts_with(word))
    });
    let others = ["List-Id", "X-Autoreply", "X-Autorespond", "X-Auto-Reply-From", "X-Mail-Autoreply"];
    submitted || precedence || others.into_iter().any(|name| says(name).is_some())
}

/// The texts of a header that may have several.
fn texts<'m>(value: &'m HeaderValue<'_>) -> Vec<&'m str> {
    match value {
        HeaderValue::Text(text) => vec![text],
        HeaderValue::TextList(list) => list.iter().map(AsRef::as_ref).collect(),
        _ => Vec::new(),
    }
}

/// Whether a part is of this type, such as `message/delivery-status`.
fn is_type(part: &MessagePart<'_>, kind: &str, subtypes: &[&str]) -> bool {
    part.content_type().is_some_and(|found| {
        let subtype = found.subtype().unwrap_or_default();
        found.ctype().eq_ignore_ascii_case(kind) && subtypes.iter().any(|s| s.eq_ignore_ascii_case(subtype))
    })
}
