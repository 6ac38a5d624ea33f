//! `capture`: takes what would have been sent, for tests, the demo and trials. Nothing leaves, and no text is kept: that a
//! message went this way stands in the ledger, as of any other.

use async_trait::async_trait;

use super::Provider;
use crate::config::provider::CaptureSettings;
use crate::domain::ids::ProviderName;
use crate::domain::outbound::{Accepted, FailureKind, OutboundMessage, SendError};
use crate::domain::words::Channel;

/// Takes messages of one channel.
#[derive(Debug)]
pub struct Capture {
    name: ProviderName,
    channel: Channel,
}

impl Capture {
    /// For the channel of the settings.
    #[must_use]
    pub fn new(name: ProviderName, settings: &CaptureSettings) -> Self {
        Self { name, channel: settings.channel }
    }
}

#[async_trait]
impl Provider for Capture {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn channel(&self) -> Channel {
        self.channel
    }

    /// A repeat goes where the first one went: nowhere.
    fn dedupes(&self) -> bool {
        true
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Accepted, SendError> {
        if message.content.channel() != self.channel {
            return Err(SendError::new(FailureKind::Misconfigured, "channel"));
        }
        Ok(Accepted { reference: Some(format!("capture-{}", message.send_key)) })
    }

    async fn check(&self) -> Result<(), SendError> {
        Ok(())
    }
}
