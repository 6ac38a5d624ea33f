//! Messages that are told together.

use async_trait::async_trait;

use super::Result;
use super::rows::{Company, Seats};
use crate::domain::ids::WorkerId;

/// Messages that others carry along.
#[async_trait]
pub trait Digests {
    /// Takes in hand what waits and might be told together with messages that are about to be sent: of the same template,
    /// for the same patient or for somebody else behind the same address; `room` at most. Names what another hand has
    /// taken a moment ago, or at this moment.
    async fn company(&self, worker: WorkerId, seats: &[Seats], room: u32) -> Result<Company>;

    /// Ends what other messages carried and has arrived with them, and frees what has not; `limit` messages at most.
    /// Answers how many.
    async fn settle_riders(&self, limit: u32) -> Result<u32>;
}
