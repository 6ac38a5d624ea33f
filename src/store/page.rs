//! The pages of patients, who come by the link in a message.

use async_trait::async_trait;

use super::Result;
use super::rows::{PageRow, PageWish, WishOutcome};
use crate::domain::page::PageHash;

/// What patients see and ask for on their pages.
#[async_trait]
pub trait Pages {
    /// Whose page a link leads to, as they stand now; `None`: no message has such a link.
    async fn page(&self, link: &PageHash) -> Result<Option<PageRow>>;

    /// Grants what a patient asks for on their page: their record, its revision, the history of changes, the message's
    /// status and the events, in one transaction.
    async fn wish(&self, ask: &PageWish) -> Result<WishOutcome>;
}
