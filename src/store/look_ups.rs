//! Attempts that are to be looked up at their provider.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::SignedDuration;

use super::Result;
use super::rows::MessageFacts;
use crate::domain::ids::{AttemptId, ProviderName};
use crate::domain::look_up::Lost;
use crate::domain::words::{Channel, Recipient};

/// Attempts whose outcome nobody knows.
#[async_trait]
pub trait LookUps {
    /// Takes attempts in hand whose outcome nobody knows, to look them up at their providers: each for one worker, and
    /// not again before its time.
    async fn take_lost(&self, ask: &LookUpAsk) -> Result<Vec<LostAttempt>>;

    /// The provider was asked for these, and has none of them so far.
    async fn absent(&self, attempts: &[AttemptId]) -> Result<()>;
}

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
