//! Replies as they go into the ledger, and what became of them.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::domain::ids::{AnswerName, MessageId, SiteId, WorkItemId};
use crate::domain::phi::Phi;
use crate::domain::reply::{Intent, Offer, Reply};
use crate::domain::words::Purpose;
use crate::policy::reply::Meaning;

/// What patients send back.
#[async_trait]
pub trait Replies {
    /// Writes a reply, once, and all that follows from what it means, in one transaction: the opt-out and who stands
    /// behind it, contacts that are wrong, a language, work for people, and the events.
    async fn reply(&self, ask: &ReplyAsk) -> Result<ReplyOutcome>;

    /// What a patient wrote and from where, where a work item is about that.
    async fn reply_text(&self, item: WorkItemId) -> Result<Option<ReplyText>>;
}

/// A reply, and what it was read as.
#[derive(Clone, Debug)]
pub struct ReplyAsk {
    pub reply: Reply,
    pub meaning: Meaning,
    /// Purposes that nothing is sent for until the patient agrees: a START is no such agreement.
    pub opt_in: Vec<Purpose>,
    /// From then on a stop by text or call ends both; `None`: never.
    pub stops_all_from: Option<Timestamp>,
    /// When it came, where that is a while ago: by this it is known what the patient said last.
    pub said_at: Option<Timestamp>,
}

/// What a message is about to ask.
#[derive(Clone, Debug)]
pub struct QuestionAsk {
    pub message: MessageId,
    /// The number at which no digit may mean two things; `None`: a call or a mail, whose answers tell what they answer.
    pub address: Option<Phi>,
    pub offers: Vec<Offer>,
}

/// One of several messages that a reply may answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// That answers it so.
    pub digit: u8,
    pub site: Option<SiteId>,
    pub purpose: Purpose,
}

/// What the answer to a reply depends on beside its words, from the moment in which it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerFacts {
    /// As the answer to the message that it follows.
    pub intent: Intent,
    /// Of that message's text, BCP-47; `None`: nothing was ever sent to that number.
    pub locale: Option<String>,
    /// That message's.
    pub site: Option<SiteId>,
    /// Where it is unclear which message is meant: what it can be, in the order in which they were sent.
    pub choices: Vec<Choice>,
    /// When something that people read last came from there.
    pub wrote_before: Option<Timestamp>,
    /// The ledger's clock, when it came first.
    pub now: Timestamp,
    /// A stop was one of texts and calls alike.
    pub stops_all: bool,
}

/// What became of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyOutcome {
    /// It is on record already, and nothing has changed.
    Known {
        /// What its answer depended on; `None`: it is a mail, whose answer is on record with it, or its patient was
        /// erased since.
        first: Option<Box<AnswerFacts>>,
    },
    /// It is on record, and all that follows from it.
    New {
        /// As the answer to the message that it follows.
        meaning: Meaning,
        facts: Box<AnswerFacts>,
        /// A record has changed by it.
        changed: bool,
    },
    /// A key that is none of the answers which its call offers. It says nothing, and nothing is on record.
    OtherKey,
}

/// What a patient wrote and from where, for those who look after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplyText {
    pub intent: Intent,
    /// Which of the message's answers it is.
    pub answer: Option<AnswerName>,
    /// `None` where the patient was erased since.
    pub text: Option<Phi>,
    /// The number or address that it came from; of an answer to a mail the one that was written to: anybody can write any
    /// From. `None` where the number was withheld, a mail came from elsewhere than where ours went, or the patient was
    /// erased since.
    pub from: Option<Phi>,
    pub received_at: Timestamp,
}
