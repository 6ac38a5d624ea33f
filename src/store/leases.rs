//! Who has what in hand.

use async_trait::async_trait;
use jiff::Timestamp;

use super::Result;
use super::rows::{Claim, Claimed, Release, Settlement, TakenOver, WorkerRow};
use crate::domain::ids::WorkerId;

/// Messages in the hands of workers, and which of these live.
#[async_trait]
pub trait Leases {
    /// Leases due messages of one channel (`None`: never planned) and one priority, fair over sources.
    async fn claim(&self, ask: &Claim) -> Result<Claimed>;

    /// Gives leases back untouched.
    async fn release(&self, leases: &[Release]) -> Result<()>;

    /// Takes back what may have been begun and was not sent, one attempt a message: both the lease and the attempt, or
    /// neither, as nobody looks for an attempt that is under way without a lease.
    async fn undo(&self, leases: &[Release], results: &[Settlement]) -> Result<()>;

    /// Says that this worker lives, and what state its lanes are in.
    async fn heartbeat(&self, worker: WorkerId, name: &str, state: &str) -> Result<Timestamp>;

    /// How many workers have given a sign of life of late.
    async fn living(&self) -> Result<usize>;

    /// Takes over what dead workers and ended leases left: not begun is due again, begun is unknown.
    async fn take_over(&self, limit: u32) -> Result<TakenOver>;

    /// Every worker that was seen within a day.
    async fn workers(&self) -> Result<Vec<WorkerRow>>;
}
