//! `capture`: keeps what would have been sent, for tests, the demo and the console. Nothing leaves.
//!
//! A ring in memory, bounded by count and bytes; the oldest goes first. A repeat of a send key is kept once.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::Provider;
use crate::config::provider::CaptureSettings;
use crate::domain::ids::ProviderName;
use crate::domain::outbound::{Accepted, Content, FailureKind, OutboundMessage, SendError};
use crate::domain::words::Channel;

/// Messages kept at most.
const MAX_KEPT: usize = 1_000;
/// Bytes of text kept at most.
const MAX_KEPT_BYTES: usize = 16 * 1024 * 1024;

/// Keeps messages of one channel.
pub struct Capture {
    name: ProviderName,
    channel: Channel,
    kept: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    messages: VecDeque<OutboundMessage>,
    bytes: usize,
}

impl Capture {
    /// An empty ring.
    #[must_use]
    pub fn new(name: ProviderName, settings: &CaptureSettings) -> Self {
        Self { name, channel: settings.channel, kept: Mutex::default() }
    }

    /// What was captured, the oldest first. Holds PHI: for the screen of someone who may see it.
    #[must_use]
    pub fn captured(&self) -> Vec<OutboundMessage> {
        self.ring().messages.iter().cloned().collect()
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("name", &self.name).finish_non_exhaustive()
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

    fn dedupes(&self) -> bool {
        true
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Accepted, SendError> {
        if message.content.channel() != self.channel {
            return Err(SendError::new(FailureKind::Misconfigured, "channel"));
        }
        self.ring().keep(message);
        Ok(Accepted { reference: Some(format!("capture-{}", message.send_key)) })
    }

    async fn check(&self) -> Result<(), SendError> {
        Ok(())
    }
}

impl Ring {
    fn keep(&mut self, message: &OutboundMessage) {
        if self.messages.iter().any(|kept| kept.send_key == message.send_key) {
            return;
        }
        self.bytes += size(&message.content);
        self.messages.push_back(message.clone());
        while self.messages.len() > MAX_KEPT || (self.bytes > MAX_KEPT_BYTES && self.messages.len() > 1) {
            if let Some(oldest) = self.messages.pop_front() {
                self.bytes -= size(&oldest.content);
            }
        }
    }
}

fn size(content: &Content) -> usize {
    match content {
        Content::Sms { text, .. } => text.expose().len(),
        Content::Email { subject, text, html, .. } => {
            subject.expose().len() + text.expose().len() + html.expose().len()
        }
        Content::Voice { speech, voicemail, .. } => {
            speech.expose().len() + voicemail.as_ref().map_or(0, |text| text.expose().len())
        }
        Content::Portal { subject, text } => subject.expose().len() + text.expose().len(),
    }
}
