//! What became of a send whose answer was lost: the question to its provider, and what it says.

use jiff::Timestamp;

use super::ids::{AttemptId, ProviderName, SendKey};
use super::phi::Phi;
use super::receipt::Receipt;

/// An attempt of which nobody knows whether its provider has taken it.
#[derive(Clone, Debug)]
pub struct Lost {
    pub attempt: AttemptId,
    pub key: SendKey,
    pub provider: ProviderName,
    pub to: Phi,
    /// Written down then; the request left within a second of it.
    pub begun_at: Timestamp,
    /// References of other attempts by this provider to this address, from some time before to some time after.
    pub others: Vec<String>,
    /// So many others there have no reference, and may have been taken as well.
    pub rivals: usize,
    /// How often it was looked for, this time included.
    pub looks: u32,
}

/// What a look-up says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// The provider has it, and this has become of it so far.
    Taken(Receipt),
    /// The provider has nothing that could be it.
    NotThere,
    /// Nothing that can be told apart from others.
    Unclear,
}
