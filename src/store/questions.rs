//! What messages ask.

use async_trait::async_trait;

use super::Result;
use super::rows::QuestionAsk;
use crate::domain::ids::AnswerName;

/// Answers that messages offer.
#[async_trait]
pub trait Questions {
    /// Gives the answers that a message offers digits that no other message has at that number, until it has expired and
    /// for a while after; a message keeps those that it has. `None`: there are not so many left.
    async fn allot(&self, ask: &QuestionAsk) -> Result<Option<Vec<(AnswerName, u8)>>>;
}
