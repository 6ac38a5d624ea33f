//! Attempts that are to be looked up at their provider.

use std::sync::Arc;

use jiff::SignedDuration;

use super::rows::MessageFacts;
use crate::domain::ids::ProviderName;
use crate::domain::look_up::Lost;
use crate::domain::words::{Channel, Recipient};

/// Which to take in hand.
#[derive(Clone, Debug)]
pub struct LookUpAsk {
    /// That can be asked.
    pub providers: Vec<ProviderName>,
    /// So long after they began, or were looked for last.
    pub after: SignedDuration,
    pub limit: u32,
}

/// An attempt to look up, and what it takes to settle it.
#[derive(Clone, Debug)]
pub struct LostAttempt {
    pub lost: Lost,
    pub facts: Arc<MessageFacts>,
    /// Within its step, from 1.
    pub number: u16,
    pub channel: Channel,
    pub recipient: Recipient,
}
