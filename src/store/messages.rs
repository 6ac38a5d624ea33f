//! Messages as people and callers look them up.

use async_trait::async_trait;

use super::Result;
use super::rows::{AttemptRow, EventRow, MessageFilter, MessageRow, MessagesPage};
use crate::domain::ids::MessageId;

/// Messages, and what happened to them.
#[async_trait]
pub trait Messages {
    /// Messages by filter, newest first, with a cursor.
    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<MessageRow>>;

    /// The same, where no index helps among the newest `walk` of them only: in a large ledger a filter that finds little
    /// would walk for ever.
    async fn messages_among(&self, filter: &MessageFilter, walk: u32) -> Result<MessagesPage>;

    /// One message.
    async fn message(&self, id: MessageId) -> Result<Option<MessageRow>>;

    /// The attempts of one message, oldest first.
    async fn attempts(&self, id: MessageId) -> Result<Vec<AttemptRow>>;

    /// The events of one message, in order.
    async fn events(&self, id: MessageId) -> Result<Vec<EventRow>>;
}
