//! What comes in: jobs, words that take them back, and bodies that could not become a message.

use async_trait::async_trait;

use super::Result;
use super::rows::{AdmitBatch, AdmitReport, CancelOutcome, ParkedFilter, ParkedRow};
use crate::domain::ids::ParkedId;
use crate::domain::job::Cancel;
use crate::domain::problem::Problem;
use crate::domain::words::Reason;

/// What comes in.
#[async_trait]
pub trait Intake {
    /// Writes accepted jobs and parked rejects, supersedes what they replace, and leases what `worker` has room
    /// for. Counts what comes in: a source beyond its day's limit is refused, a surge is put under a hold. Answers
    /// one outcome per admission, in order.
    async fn admit(&self, batch: &AdmitBatch) -> Result<AdmitReport>;

    /// Takes jobs back; a cancel that comes before its job leaves a tombstone. One outcome per cancel.
    async fn cancel(&self, cancels: &[Cancel]) -> Result<Vec<CancelOutcome>>;

    /// Parked bodies that wait for repair, oldest first.
    async fn parked(&self, filter: &ParkedFilter) -> Result<Vec<ParkedRow>>;

    /// Marks parked bodies as replayed.
    async fn mark_replayed(&self, ids: &[ParkedId]) -> Result<()>;

    /// Forgets counts of jobs that no measure needs any more, `limit` at most. Answers how many.
    async fn prune_arrivals(&self, limit: u32) -> Result<u32>;
}

/// What is wrong with a job whose name was used for other content.
#[must_use]
pub fn conflict() -> Problem {
    Problem::new(
        "id",
        Reason::Conflict,
        "this source has used the id for a job with other content",
        "give the changed job an id of its own, and name the old one in `replaces`",
    )
}

/// What is wrong with a job whose source has sent as many as it may.
#[must_use]
pub fn over_limit() -> Problem {
    Problem::new(
        "source",
        Reason::OverBudget,
        "has sent as many jobs today as `per_day` allows",
        "send it after midnight in the organisation's zone, or raise `per_day` of the source",
    )
}
