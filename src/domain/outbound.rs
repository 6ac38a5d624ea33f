//! What goes to a provider, and what it may answer.

use jiff::SignedDuration;

use super::ids::{AttemptId, SendKey};
use super::patient::Name;
use super::phi::Phi;
use super::reply::Thread;
use super::words::{Channel, Purpose};

/// One rendered message for one address.
#[derive(Clone, Debug)]
pub struct OutboundMessage {
    pub attempt_id: AttemptId,
    /// The same for every attempt of this plan step.
    pub send_key: SendKey,
    /// E.164, an email address, or a portal reference.
    pub to: Phi,
    /// The recipient's name, where the channel shows one.
    pub to_name: Option<Name>,
    /// Who signs: the place, or a number of the provider's; `None` is the provider's own default.
    pub from: Option<Sender>,
    /// BCP-47, the language in which `content` is written.
    pub language: String,
    /// Why it is sent.
    pub purpose: Purpose,
    /// How long it is of use from now on, by the ledger's clock; providers with a validity period are told.
    pub valid_for: SignedDuration,
    pub content: Content,
    /// A machine's answer to a mail; `None`: it comes of itself.
    pub answers: Option<InAnswer>,
}

/// What a mail answers (RFC 3834).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InAnswer {
    /// The step whose mail they wrote about: what they write next is about that, too.
    pub about: SendKey,
    pub thread: Thread,
}

/// Who a message comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// A number, or an email address.
    pub address: String,
    /// As shown to the recipient.
    pub name: Option<String>,
}

/// The text, per channel, escaped for it and within its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Sms {
        text: Phi,
        segments: u32,
    },
    Email {
        subject: Phi,
        text: Phi,
        html: Phi,
        /// One-click unsubscribe page (RFC 8058), where there is one.
        unsubscribe_url: Option<String>,
    },
    Voice {
        /// What is said to a person: XML-escaped, may hold SSML.
        speech: Phi,
        /// What is said to a machine; `None` leaves no message.
        voicemail: Option<Phi>,
        /// Keys to press once answered.
        extension: Option<String>,
    },
    Portal {
        subject: Phi,
        text: Phi,
    },
}

impl Content {
    /// What a person reads or hears.
    #[must_use]
    pub const fn text(&self) -> &Phi {
        match self {
            Self::Sms { text, .. } | Self::Email { text, .. } | Self::Portal { text, .. } => text,
            Self::Voice { speech, .. } => speech,
        }
    }

    /// The channel this content is for.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Sms { .. } => Channel::Sms,
            Self::Email { .. } => Channel::Email,
            Self::Voice { .. } => Channel::Voice,
            Self::Portal { .. } => Channel::Portal,
        }
    }
}

/// A text, as it may stand between two tags of HTML.
#[must_use]
pub fn in_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The provider has taken it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The provider's own id, by which receipts come back.
    pub reference: Option<String>,
}

/// The provider has not taken it, or may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?} ({})", code.as_deref().unwrap_or("no code"))]
pub struct SendError {
    pub kind: FailureKind,
    /// The provider's own code, such as `21610` or `5.1.1`; never a body.
    pub code: Option<String>,
}

impl SendError {
    /// A failure with the provider's code.
    pub fn new(kind: FailureKind, code: impl Into<String>) -> Self {
        Self { kind, code: Some(code.into()) }
    }
}

/// What a failure means for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Not sent; worth another try.
    Transient,
    /// Not sent; the provider asks for a pause.
    Throttled { retry_after: Option<SignedDuration> },
    /// May have been sent.
    Ambiguous,
    /// Not sent; this address will never work.
    BadAddress,
    /// Not sent; the recipient has told the provider to stop.
    OptedOut,
    /// Not sent; the provider will not take this text.
    Rejected,
    /// Not sent; our account, sender or credentials are wrong. Nothing else will get through either.
    Misconfigured,
}

/// Where a message goes: over which channel, to which address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub channel: Channel,
    pub address: Phi,
    /// Keys to press once answered.
    pub extension: Option<String>,
}
