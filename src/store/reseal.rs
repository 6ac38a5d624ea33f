//! How values lie in the ledger, and sealing them anew.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Result;
use super::sealed::{RowAt, Sealed};
use super::sealer::{Form, KeyId};

/// How values are sealed.
#[async_trait]
pub trait Resealing {
    /// How new values are written, and which keys open what is there; the first is the one in use.
    fn sealing(&self) -> (Form, Vec<KeyId>);

    /// Looks at the next rows of a sealed column, in the order of their keys; seals anew, where it is asked for, what does
    /// not lie as new values do. Safe beside running workers: a value that changes meanwhile is left alone.
    async fn look_through(&self, ask: &Walk) -> Result<Walked>;
}

/// A step through a sealed column.
#[derive(Clone, Debug)]
pub struct Walk {
    pub column: Sealed,
    /// `None`: from the beginning.
    pub after: Option<RowAt>,
    /// Rows in one transaction.
    pub limit: u32,
    pub reseal: bool,
}

/// What a step found.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// How many values lay how.
    pub forms: BTreeMap<Form, u64>,
    /// How many were sealed anew.
    pub resealed: u64,
    /// How many cannot be opened: altered, moved, or under a key that is not here.
    pub unreadable: u64,
    /// Where the next step goes on; `None`: this was the last.
    pub next: Option<RowAt>,
}
