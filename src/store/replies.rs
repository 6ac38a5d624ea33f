//! Replies as they go into the ledger, and what became of them.

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::ids::{AnswerName, MessageId, SiteId};
use crate::domain::phi::Phi;
use crate::domain::reply::{Intent, Offer, Reply};
use crate::domain::words::Purpose;
use crate::policy::reply::Meaning;

/// A reply, and what it was read as.
#[derive(Clone, Debug)]
pub struct ReplyAsk {
    pub reply: Reply,
    pub meaning: Meaning,
    /// Purposes that nothing is sent for until the patient agrees: a START is no such agreement.
    pub opt_in: Vec<Purpose>,
    /// When it came, where that is a while ago: by this it is known what the patient said last.
    pub said_at: Option<Timestamp>,
}

/// What a message is about to ask at a number.
#[derive(Clone, Debug)]
pub struct QuestionAsk {
    pub message: MessageId,
    pub address: Phi,
    pub offers: Vec<Offer>,
}

/// One of several messages that a reply may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// That answers it so.
    pub digit: u8,
    pub site: Option<SiteId>,
    pub purpose: Purpose,
}

/// What became of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyOutcome {
    /// It is on record already, and nothing has changed.
    Known,
    /// It is on record, and all that follows from it.
    New {
        /// As the answer to the message that it follows.
        meaning: Meaning,
        /// Of that message's text, BCP-47; `None`: nothing was ever sent to that number.
        locale: Option<String>,
        /// That message's.
        site: Option<SiteId>,
        /// Where it is unclear which message is meant: what it can be, in the order in which they were sent.
        choices: Vec<Choice>,
        /// When something that people read last came from there.
        wrote_before: Option<Timestamp>,
        /// A record has changed by it.
        changed: bool,
        /// The ledger's clock.
        now: Timestamp,
    },
}

/// What a patient wrote, for those who look after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplyText {
    pub intent: Intent,
    /// Which of the message's answers it is.
    pub answer: Option<AnswerName>,
    /// `None` where the patient was erased since.
    pub text: Option<Phi>,
    pub received_at: Timestamp,
}
