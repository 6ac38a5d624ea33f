//! What providers say of attempts.

use async_trait::async_trait;

use super::Result;
use super::rows::{Heard, Received};
use crate::domain::ids::AttemptId;
use crate::domain::receipt::Receipt;

/// Receipts, and attempts that wait for one.
#[async_trait]
pub trait Receipts {
    /// Writes what providers say of attempts, and moves their messages on: in whatever order receipts come, and however
    /// often, an attempt keeps the furthest progress, and what follows happens once. One that finds no attempt is
    /// kept for a while.
    async fn receive(&self, batch: &[Receipt]) -> Result<Received>;

    /// Looks again at receipts that found no attempt, `limit` at most. Answers how many have found theirs.
    async fn match_receipts(&self, limit: u32) -> Result<u32>;

    /// Makes `sent` final, and tells it, where no receipt came in time. Looks at `limit` receipts at most; answers how many
    /// of these nobody awaits any more.
    async fn end_receipt_waits(&self, limit: u32) -> Result<u32>;

    /// What these attempts have come to, in no order; those that are not on record are left out.
    async fn heard_of(&self, attempts: &[AttemptId]) -> Result<Vec<Heard>>;
}
