//! The health of contacts.

use async_trait::async_trait;

use super::Result;

/// What becomes of contacts that do not work.
#[async_trait]
pub trait Contacts {
    /// Gives up contacts whose failures prove that they do not work: marks them in the directory, keeps the change, and
    /// tells it. `limit` failures at most; answers how many contacts.
    async fn judge_contacts(&self, limit: u32) -> Result<u32>;
}
