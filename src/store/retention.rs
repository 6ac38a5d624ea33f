//! How long what has ended is kept.

use async_trait::async_trait;
use jiff::SignedDuration;

use super::Result;
use crate::domain::ids::WorkerId;

/// Erasing by age.
#[async_trait]
pub trait Retention {
    /// Erases the next rows of a class that have ended and are old enough, their texts or the whole rows; one worker at a
    /// time, and what is written is written together: cut anywhere, the next turn goes on. Answers how many, and whether
    /// there may be more.
    async fn erase_old(&self, ask: &Expiry) -> Result<Erased>;
}

/// What is erased together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Data of jobs and how they were decided, of messages that are final; rows of campaigns that are over.
    Messages,
    /// Where attempts went, of messages that are final.
    Attempts,
    /// What patients wrote, and from where, unless somebody still has to look after it.
    Replies,
    /// Bodies that could not be accepted, mended or not.
    Rejected,
    /// Whole: events that were published, and posted where they were to be.
    Events,
    /// Whole: messages that are final and have expired, after all that points at them, with their attempts, events, job keys,
    /// dead callbacks and closed work items; then campaigns of which no message is left, with their audience.
    Rows,
    /// Whole: replies whose message is gone, with their closed work items.
    ReplyRows,
    /// Whole: bodies that could not be accepted, where they were mended or erased.
    RejectedRows,
    /// Whole: workers that were not seen for so long.
    Workers,
}

impl Class {
    /// All of them: whole rows after their texts, replies after their messages.
    pub const ALL: &'static [Self] = &[
        Self::Messages,
        Self::Attempts,
        Self::Replies,
        Self::Rejected,
        Self::Events,
        Self::Rows,
        Self::ReplyRows,
        Self::RejectedRows,
        Self::Workers,
    ];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Attempts => "attempts",
            Self::Replies => "replies",
            Self::Rejected => "rejected",
            Self::Events => "events",
            Self::Rows => "rows",
            Self::ReplyRows => "reply_rows",
            Self::RejectedRows => "rejected_rows",
            Self::Workers => "workers",
        }
    }
}

/// A turn at erasing.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    pub worker: WorkerId,
    pub class: Class,
    /// What is older than this goes, by the ledger's clock.
    pub age: SignedDuration,
    /// Rows in one transaction.
    pub limit: u32,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    pub rows: u32,
    /// Another turn may find more.
    pub more: bool,
}
