//! What happened, minute by minute, and what happens now.

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::ids::{SiteId, SourceName, TemplateName};
use crate::domain::words::Priority;

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
