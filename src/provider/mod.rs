//! Adapters to the outside: one file a provider, all of one shape.

use async_trait::async_trait;

use crate::domain::ids::ProviderName;
use crate::domain::outbound::{Accepted, OutboundMessage, SendError};
use crate::domain::words::Channel;

/// Carries one message to one address.
#[async_trait]
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// Its name in the configuration.
    fn name(&self) -> &ProviderName;

    /// The one channel it serves.
    fn channel(&self) -> Channel;

    /// Whether it recognises a repeat by our send key, so that an unknown outcome may be sent again.
    fn dedupes(&self) -> bool;

    /// Sends. Every failure is classed; an error never carries a body.
    async fn send(&self, message: &OutboundMessage) -> Result<Accepted, SendError>;

    /// Whether it can be reached and knows us, without sending anything.
    async fn check(&self) -> Result<(), SendError>;
}
