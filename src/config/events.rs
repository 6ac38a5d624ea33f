//! `[events]`: which statuses are told to whoever asked.

use super::kind::one_of;
use super::read::Section;
use crate::domain::status::MessageStatus;

/// Statuses that make an event, beside `sent` and the final ones.
#[derive(Clone, Debug)]
pub struct EventsSection {
    pub statuses: Vec<MessageStatus>,
}

impl EventsSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self { statuses: s.list("statuses", one_of()).unwrap_or_default() }
    }

    /// Whether a move to `status` makes an event.
    #[must_use]
    pub fn tells(&self, status: MessageStatus) -> bool {
        status == MessageStatus::Sent || status.is_final() || self.statuses.contains(&status)
    }
}
