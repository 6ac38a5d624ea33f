//! After a restore from a dump: what the ledger must be told, and what it answers.
//!
//! A dump knows nothing of what happened after it was taken. What waited then may have been sent since, and by whom
//! nobody here knows: it becomes `unknown`, and is settled by a receipt, by a witness, or by a person.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::Result;
use crate::domain::ids::{HoldId, JobId, MessageId, ProviderName, SourceName, TemplateName};
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Channel, Reason};

/// By so much an event's `seq` goes on after a restore: further than any message can have come meanwhile, so that no
/// number tells two things.
pub const SEQ_SKIPPED: u32 = 1_000;

/// What a recovery asks of the ledger.
#[async_trait]
pub trait Recovery {
    /// When something was last written, as far as rows tell. `None`: nothing ever was.
    async fn last_trace(&self) -> Result<Option<Timestamp>>;

    /// The recovery from a dump of this instant, where one was begun.
    async fn recovery(&self, restored_to: Timestamp) -> Result<Option<RecoveryRow>>;

    /// Places the hold over all, has numbers go on without reuse, forgets workers and sessions.
    async fn begin_recovery(&self, ask: &RecoveryAsk) -> Result<RecoveryRow>;

    /// Notes which messages may have moved since, from after `after` on, `limit` at most; answers the last one that was
    /// looked at. `None`: all are noted. What was due later on the day of the end may have gone along with an earlier message
    /// where its template is one of `together`.
    async fn gather(
        &self,
        row: &RecoveryRow,
        together: &[TemplateName],
        after: Option<MessageId>,
        limit: u32,
    ) -> Result<Option<MessageId>>;

    /// Writes what is known from elsewhere: one witness a message and step. Answers what it was worth.
    async fn testify(&self, witnesses: &[Witness]) -> Result<Testified>;

    /// Makes unknown what nobody has spoken for, `limit` messages at most: none of it is sent again by itself. Answers
    /// how many.
    async fn doubt(&self, row: &RecoveryRow, limit: u32) -> Result<u32>;

    /// Takes what nobody has spoken for as not sent: what was made unknown is due again, `limit` messages at most.
    /// Answers how many.
    async fn acquit(&self, row: &RecoveryRow, limit: u32) -> Result<u32>;

    /// Has these jobs, which the ledger does not know, refused should they come again. Answers how many were not known.
    async fn bury_lost(&self, jobs: &[LostJob]) -> Result<Vec<bool>>;
}

/// What a recovery begins with.
#[derive(Clone, Debug)]
pub struct RecoveryAsk {
    /// When the dump was taken.
    pub restored_to: Timestamp,
    /// From when on no worker ran.
    pub down_since: Timestamp,
    pub by: String,
    /// Stands with the hold.
    pub reason: String,
}

/// A recovery on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryRow {
    pub id: uuid::Uuid,
    pub restored_to: Timestamp,
    pub down_since: Timestamp,
    pub begun_at: Timestamp,
    pub begun_by: String,
    pub hold: HoldId,
    pub gathered: bool,
}

/// What became of one step of a message, by word of somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    pub message: MessageId,
    /// `None`: the step that the ledger knows of.
    pub step: Option<u16>,
    pub said: Word,
    pub reason: Option<Reason>,
    pub provider: Option<(ProviderName, Channel)>,
    /// When it was said; `None`: now. Without a step, what was said before the message last moved in the dump is in it.
    pub at: Option<Timestamp>,
}

/// What a witness says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// A provider may have it.
    Unknown,
    /// It ended before anything was sent.
    Ended(Ended),
    /// A provider has it, and may say more of it.
    Taken,
    /// A provider has it, and that is the last word.
    Sent,
    /// Every route was tried.
    Failed,
    Delivered,
    Read,
}

/// How a message ends that is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    Suppressed,
    Expired,
    Cancelled,
}

impl Word {
    /// What the attempt has come to; `None`: it says nothing of one.
    #[must_use]
    pub const fn attempt(self) -> Option<AttemptStatus> {
        match self {
            Self::Taken | Self::Sent => Some(AttemptStatus::Sent),
            Self::Delivered => Some(AttemptStatus::Delivered),
            Self::Read => Some(AttemptStatus::Read),
            Self::Unknown | Self::Ended(_) | Self::Failed => None,
        }
    }

    /// The status to which the message has come as something left, or may have; `None`: it ended otherwise.
    #[must_use]
    pub const fn status(self) -> Option<MessageStatus> {
        match self {
            Self::Unknown => Some(MessageStatus::Unknown),
            Self::Taken | Self::Sent => Some(MessageStatus::Sent),
            Self::Delivered => Some(MessageStatus::Delivered),
            Self::Read => Some(MessageStatus::Read),
            Self::Failed | Self::Ended(_) => None,
        }
    }

    /// The status in which the message ends without an attempt of ours; `None`: it does not.
    #[must_use]
    pub const fn end(self) -> Option<MessageStatus> {
        match self {
            Self::Failed => Some(MessageStatus::Failed),
            Self::Ended(Ended::Suppressed) => Some(MessageStatus::Suppressed),
            Self::Ended(Ended::Expired) => Some(MessageStatus::Expired),
            Self::Ended(Ended::Cancelled) => Some(MessageStatus::Cancelled),
            Self::Unknown | Self::Taken | Self::Sent | Self::Delivered | Self::Read => None,
        }
    }

    /// Whether somebody has it, or may have.
    #[must_use]
    pub const fn may_have_left(self) -> bool {
        matches!(self, Self::Unknown | Self::Taken | Self::Sent | Self::Delivered | Self::Read)
    }
}

/// What witnesses were worth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Testified {
    /// The ledger knows now.
    pub settled: u64,
    /// The ledger knew.
    pub known: u64,
    /// The ledger does not have the message: it came in after the dump.
    #[serde(skip)]
    pub strange: Vec<MessageId>,
}

/// A job that came in after the dump, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LostJob {
    pub source: SourceName,
    pub job_id: JobId,
    /// Why it is refused should it come again; `None`: it is welcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_furthest_word_is_the_greatest_and_what_left_is_never_less_than_what_ended() {
        let order = [
            Word::Unknown,
            Word::Ended(Ended::Suppressed),
            Word::Ended(Ended::Cancelled),
            Word::Taken,
            Word::Sent,
            Word::Failed,
            Word::Delivered,
            Word::Read,
        ];
        assert!(order.is_sorted());
        for word in order {
            assert!(word.attempt().is_none() || (word.may_have_left() && word.end().is_none()), "{word:?}");
        }
    }
}
