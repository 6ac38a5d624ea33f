//! Results that are posted by HTTP: what waits, what a round of posting takes and leaves, what is dead.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Result;
use crate::domain::ids::{EventId, MessageId, SourceName, WorkerId};
use crate::domain::words::words;
use crate::policy::callback::Health;

/// Results by HTTP, round by round.
#[async_trait]
pub trait Callbacks {
    /// Takes the next round of a source's callbacks in hand, for this worker alone. `None`: nothing is due, the receiver
    /// rests, or another worker has the round.
    async fn claim_callbacks(&self, ask: &CallbackAsk) -> Result<Option<CallbacksClaimed>>;

    /// Writes what became of a round, and ends it. What was taken is written whoever has the next round by now.
    async fn settle_callbacks(&self, round: &CallbackRound) -> Result<()>;

    /// Callbacks that were not taken yet, oldest first.
    async fn callbacks(&self, filter: &CallbackFilter) -> Result<Vec<CallbackRow>>;

    /// Has dead callbacks tried again from the start, at once. Answers how many.
    async fn retry_callbacks(&self, filter: &CallbackFilter) -> Result<u64>;
}

/// Who asks for a round, and of which source.
#[derive(Clone, Debug)]
pub struct CallbackAsk {
    pub worker: WorkerId,
    pub source: SourceName,
    /// At most so many events; one only while the receiver has to show whether it is back.
    pub room: u32,
}

/// A round in hand: at most one event of each message, the first that has not been taken.
#[derive(Clone, Debug)]
pub struct CallbacksClaimed {
    /// Never empty.
    pub events: Vec<DueCallback>,
    /// Rounds in a row, before this one, in which nothing got through.
    pub failures: u32,
    pub now: Timestamp,
}

/// An event to be posted.
#[derive(Clone, Debug)]
pub struct DueCallback {
    pub id: EventId,
    pub seq: u32,
    /// JSON without `seq`.
    pub body: String,
    /// Tries before this one.
    pub tries: u32,
    /// It waits since then: since it was told, or since its first try.
    pub since: Timestamp,
}

/// What a round left behind.
#[derive(Clone, Debug)]
pub struct CallbackRound {
    pub worker: WorkerId,
    pub source: SourceName,
    pub taken: Vec<EventId>,
    pub failed: Vec<FailedCallback>,
    pub health: Health,
    /// While nothing gets through, what has waited for so long is dead, tried or not.
    pub give_up_after: SignedDuration,
}

/// An event that was not taken.
#[derive(Clone, Debug)]
pub struct FailedCallback {
    pub id: EventId,
    /// `None`: it is dead.
    pub due_at: Option<Timestamp>,
    pub code: String,
}

words! {
    /// How a callback stands.
    CallbackState {
        /// It is posted, again where it failed before.
        Waiting = "waiting",
        /// It was given up; the later ones of its message wait behind it, or are dead too.
        Dead = "dead",
    }
}

/// Which callbacks.
#[derive(Clone, Debug, Default)]
pub struct CallbackFilter {
    pub ids: Vec<EventId>,
    /// Of these sources; empty: of every one.
    pub sources: Vec<SourceName>,
    pub state: Option<CallbackState>,
    /// Later than this one.
    pub after: Option<EventId>,
    /// 1 to 1,000.
    pub limit: u32,
}

/// A callback that has not been taken. Ids and codes only.
#[derive(Clone, Debug, Serialize)]
pub struct CallbackRow {
    pub id: EventId,
    pub source: SourceName,
    pub state: CallbackState,
    /// Such as `message.sent`.
    #[serde(rename = "type")]
    pub kind: String,
    pub message_id: Option<MessageId>,
    pub seq: u32,
    pub tries: u32,
    /// It waits since then: since it was told, or since its first try.
    pub since: Timestamp,
    pub due_at: Timestamp,
    /// What became of the last try, such as `http_500`, `connect` or `timeout`.
    pub code: Option<String>,
    pub dead_at: Option<Timestamp>,
}

/// How much of a source has not been taken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallbackCount {
    pub source: SourceName,
    pub waiting: u64,
    pub dead: u64,
    /// How long the oldest that is not dead has waited, in seconds.
    pub oldest_seconds: f64,
}
