//! The rate gate that all workers share, and the budgets.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Result;
use super::rows::{Reserve, Reserved, Spend};

/// How much may go out, and when.
#[async_trait]
pub trait RateGate {
    /// Reserves slots of the shared rate gate, never further ahead than the horizon.
    async fn reserve(&self, ask: &Reserve) -> Result<Reserved>;

    /// How many slots of these keys were handed out today (UTC), by key.
    async fn used_today(&self, keys: &[&str]) -> Result<BTreeMap<String, u64>>;

    /// Spends from budgets; an entry that would cross a limit is refused whole. One answer per entry.
    async fn spend(&self, entries: &[Spend]) -> Result<Vec<bool>>;
}
