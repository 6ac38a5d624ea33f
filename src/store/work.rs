//! Work items: what a person has to do. Ids and words only; nothing about a patient is written here.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::Result;
use crate::domain::ids::{HoldId, MessageId, PatientId, ReplyId, SiteId, SourceName, WorkItemId};
use crate::domain::words::{Priority, WorkKind, WorkOutcome, WorkState};

/// Work for people.
#[async_trait]
pub trait WorkItems {
    /// Work items by filter, newest first.
    async fn work_items(&self, filter: &WorkFilter) -> Result<Vec<WorkItem>>;

    /// One work item.
    async fn work_item(&self, id: WorkItemId) -> Result<Option<WorkItem>>;

    /// Claims, releases or closes a work item for `by`.
    async fn move_work(&self, id: WorkItemId, by: &str, to: WorkMove) -> Result<WorkMoved>;

    /// Opens work items for what people must look after by now, tells of new and of overdue ones, and closes those
    /// whose cause is gone; `limit` of each at most.
    async fn sweep_work(&self, limit: u32) -> Result<WorkSwept>;
}

/// A work item as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkItem {
    pub id: WorkItemId,
    pub kind: WorkKind,
    pub state: WorkState,
    /// The message's.
    pub priority: Priority,
    /// `None` where several sources are concerned.
    pub source: Option<SourceName>,
    pub site: Option<SiteId>,
    pub message_id: Option<MessageId>,
    pub patient_id: Option<PatientId>,
    /// The hold that it is about.
    pub hold_id: Option<HoldId>,
    /// The reply that it is about; its text is read with the item alone.
    pub reply_id: Option<ReplyId>,
    pub opened_at: Timestamp,
    /// Unclaimed until then, it is called out a second time.
    pub due_at: Timestamp,
    pub claimed_by: Option<String>,
    pub claimed_at: Option<Timestamp>,
    pub closed_at: Option<Timestamp>,
    pub closed_by: Option<String>,
    pub outcome: Option<WorkOutcome>,
    /// How often people were called: 1 when it was opened, 2 when nobody had claimed it in time.
    pub alerts: u16,
}

/// Which work items: words of danger first, then by when they are due; of what is closed, the newest first.
#[derive(Clone, Debug, Default)]
pub struct WorkFilter {
    /// Of one of these sites; none given: of any, or of none.
    pub sites: Vec<SiteId>,
    /// `None`: those that are not closed.
    pub state: Option<WorkState>,
    pub kind: Option<WorkKind>,
    pub site: Option<SiteId>,
    /// Empty: whatever the source.
    pub sources: Vec<SourceName>,
    pub message: Option<MessageId>,
    /// Those that follow this one.
    pub after: Option<WorkItemId>,
    /// At most 1,000.
    pub limit: u32,
}

/// What a person does with a work item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkMove {
    Claim,
    Release,
    Close(WorkOutcome),
}

/// What became of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkMoved {
    /// As it stands now.
    Done(WorkItem),
    /// It stands so that this cannot be done: somebody else has it, nobody has it, or it is closed.
    Refused(WorkItem),
    /// There is no such item.
    Unknown,
}

/// What a round of housekeeping found.
#[derive(Clone, Debug, Default)]
pub struct WorkSwept {
    /// Told for the first time.
    pub opened: Vec<WorkItem>,
    /// Nobody has claimed them in time.
    pub overdue: Vec<WorkItem>,
    /// Closed by themselves.
    pub resolved: Vec<WorkItem>,
}

impl WorkSwept {
    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.overdue.is_empty() && self.resolved.is_empty()
    }
}
