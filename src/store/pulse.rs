//! What happened, minute by minute, and what happens now.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::Result;
use super::rows::Counts;
use crate::domain::ids::{SiteId, SourceName, TemplateName};
use crate::domain::words::Priority;

/// What happened, and what happens now, in numbers.
#[async_trait]
pub trait Pulse {
    /// Counts events into their minutes, `limit` at most. Answers how many. One worker at a time does it.
    async fn count_pulse(&self, limit: u32) -> Result<u32>;

    /// What happened in each span of `step` minutes of the last `minutes`.
    async fn pulse(&self, minutes: u32, step: u32) -> Result<Vec<PulseRow>>;

    /// The oldest due message that nobody has in hand, by channel and priority.
    async fn oldest_due(&self) -> Result<Vec<OldestDue>>;

    /// Counts for health, metrics and summaries.
    async fn counts(&self) -> Result<Counts>;
}

/// What happened in one span of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PulseRow {
    /// Its first minute.
    pub at: Timestamp,
    /// Empty: none yet.
    pub channel: String,
    /// Empty: none.
    pub provider: String,
    /// A message's status, or the type of another event.
    pub what: String,
    /// Empty: none.
    pub reason: String,
    pub count: u64,
}

/// How long the oldest of some messages has been due.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OldestDue {
    /// Empty: not planned yet.
    pub channel: String,
    pub priority: Priority,
    pub seconds: f64,
}

/// An event as the live log shows it.
#[derive(Clone, Debug)]
pub struct StreamEvent {
    pub ord: i64,
    pub seq: u32,
    /// JSON without `seq`.
    pub body: String,
    pub source: Option<SourceName>,
    pub site: Option<SiteId>,
    /// Of its message.
    pub template: Option<TemplateName>,
}
