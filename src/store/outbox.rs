//! Events on their way out.

use async_trait::async_trait;

use super::Result;
use super::pulse::StreamEvent;
use super::rows::OutboxEvent;
use crate::domain::ids::WorkerId;

/// Events, for the broker and for whoever watches.
#[async_trait]
pub trait Outbox {
    /// Marks `done` as published and reads on, in order, from the shards that `worker` holds or can take.
    async fn outbox(&self, worker: WorkerId, done: &[i64], room: u32) -> Result<Vec<OutboxEvent>>;

    /// Marks `done` as published, and gives the shards that `worker` holds to whoever asks next.
    async fn leave_outbox(&self, worker: WorkerId, done: &[i64]) -> Result<()>;

    /// Events after `after`, and those of `gaps` that are there by now; oldest first, `limit` at most.
    async fn stream(&self, after: i64, gaps: &[i64], limit: u32) -> Result<Vec<StreamEvent>>;

    /// The number of the newest event.
    async fn stream_end(&self) -> Result<i64>;
}
