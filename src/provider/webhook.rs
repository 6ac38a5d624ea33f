//! What a provider posts to us, and what is made of it.

use reqwest::header::HeaderMap;

use crate::domain::ids::SendKey;
use crate::domain::receipt::Receipt;
use crate::domain::reply::Reply;

/// A request that claims to come from a provider. Nothing of it is believed before [`super::Provider::hear`] has
/// verified it.
#[derive(Clone, Copy)]
pub struct Webhook<'a> {
    pub door: Door,
    /// As it came, still encoded; empty where there is none.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

impl std::fmt::Debug for Webhook<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The body holds a number, and until it is verified anything at all.
        f.debug_struct("Webhook").field("door", &self.door).finish_non_exhaustive()
    }
}

/// Which of a provider's addresses was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/webhooks/{provider}`
    Status,
    /// `/webhooks/{provider}/gather`: who picked up, which key was pressed.
    Gather,
}

/// A genuine request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub news: News,
    /// What the provider wants to read; empty: nothing. A reply is answered by [`super::Provider::answering`].
    pub answer: &'static str,
}

impl Heard {
    /// News that wants no answer.
    #[must_use]
    pub const fn of(news: News) -> Self {
        Self { news, answer: "" }
    }
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// What became of an attempt.
    Receipt(Receipt),
    /// A machine took the call that is known by this reference: it must be told what may be left, or hung up on.
    Machine { key: SendKey, reference: String },
    /// What a patient sent back.
    Reply(Reply),
    /// A key was pressed: an answer, or a wish.
    Key { receipt: Receipt, reply: Reply },
    /// All of these, receipts and replies.
    Several(Vec<News>),
    /// Nothing that moves anything.
    Nothing,
}

/// What a patient is to be told at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    /// BCP-47, of the text.
    pub language: &'static str,
    /// A key may be pressed while it is said.
    pub listens: bool,
}

/// Why nothing was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// This provider has no such address.
    NoWebhook,
    /// Not from the provider, or changed on its way.
    Forged,
    /// Genuine, and not of a form that is known.
    Unreadable,
    /// What it takes to verify or to answer it cannot be had now: it must come again.
    Later,
}
