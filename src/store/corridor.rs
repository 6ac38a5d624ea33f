//! The corridor's own steps: what was decided, begun, and came of it.

use async_trait::async_trait;

use super::Result;
use super::rows::{Begin, Begun, Count, Decided, Settlement};
use crate::domain::ids::{MessageId, WorkerId};

/// The way of a message from a decision to its result.
#[async_trait]
pub trait Corridor {
    /// Writes what was decided other than to send. What has failed and is not bulk becomes a work item.
    async fn decide(&self, decisions: &[Decided]) -> Result<()>;

    /// Writes the attempts of those messages whose decision still holds, and the decisions of all whom they carry; answers
    /// which.
    async fn begin(&self, worker: WorkerId, batch: &[Begin]) -> Result<Begun>;

    /// Writes what became of attempts, moves their messages on, and emits events. Keyed by attempt, never by
    /// lease: a late result always lands.
    async fn settle(&self, batch: &[Settlement]) -> Result<()>;

    /// Takes back what the caps counted of a message that was not sent.
    async fn uncount(&self, count: &Count) -> Result<()>;

    /// Gives up the route that a message waits to try again: it is decided upon anew, at once, without that route; or the
    /// answer to what was sent, for which its plan waits: the next way is taken at once. False: it waits for neither.
    async fn next_route(&self, id: MessageId) -> Result<bool>;
}
