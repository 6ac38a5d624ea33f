//! The answers that a machine gives to mail, as the ledger keeps them until they are sent.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Result;
use crate::domain::ids::{ProviderName, ReplyId, SiteId};
use crate::domain::phi::Phi;
use crate::domain::reply::{Intent, Thread};
use crate::domain::words::{Channel, Purpose};

/// Answers to mail, each sent once.
#[async_trait]
pub trait MailAnswers {
    /// Takes answers to mail in hand that are due, for a while.
    async fn take_mail_answers(&self, limit: u32) -> Result<Vec<MailAnswer>>;

    /// Writes down that an answer is sent now. False: it may not be, others have it, or as many have gone there lately
    /// as may; then nothing is ever sent for it.
    async fn begin_mail_answer(&self, id: ReplyId) -> Result<bool>;

    /// Writes down what became of an answer.
    async fn end_mail_answer(&self, id: ReplyId, end: MailAnswerEnd) -> Result<()>;
}

/// What an answer depends on, from the moment in which the mail was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailAnswerFacts {
    pub intent: Intent,
    /// Nothing more goes to this address.
    pub revokes: bool,
    /// The channel that is asked for.
    pub asked: Option<Channel>,
    /// BCP-47: the language it is in, or the one that is asked for.
    pub language: Option<String>,
    /// Of the text that it answers, BCP-47.
    pub locale: Option<String>,
    pub site: Option<SiteId>,
    pub purpose: Purpose,
    /// When something that people read last came from there.
    pub wrote_before: Option<Timestamp>,
    /// The send key of the mail that it answers.
    pub about: String,
    /// What it answers was a test: it goes to the simulator.
    pub test: bool,
    pub thread: Thread,
}

/// How long an answer is of use: one that comes later is none.
pub const ANSWER_USEFUL: SignedDuration = SignedDuration::from_hours(4);

/// An answer that is due.
#[derive(Clone, Debug)]
pub struct MailAnswer {
    pub id: ReplyId,
    /// That the mail came back to.
    pub provider: ProviderName,
    /// What the mail that they answer went to; never what theirs came from, which anybody can write.
    pub to: Phi,
    pub facts: MailAnswerFacts,
    pub received_at: Timestamp,
    /// How often it was begun before.
    pub tries: u16,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailAnswerEnd {
    /// There is nothing to be said.
    None,
    Sent,
    Failed,
    /// It may have been sent, and is never sent again.
    Unknown,
    /// It was not sent, and is tried again after so long.
    Again(SignedDuration),
}

impl MailAnswerEnd {
    /// In a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Again(_) => "again",
        }
    }
}
