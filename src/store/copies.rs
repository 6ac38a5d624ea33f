//! Copies for those who are written to beside the patient.

use async_trait::async_trait;

use super::Result;
use super::rows::NewCopy;

/// Copies of messages.
#[async_trait]
pub trait Copies {
    /// Writes copies of messages for those who are written to beside the patient: once for each of them however often it
    /// is asked, and only while the message is in the hand that asks and nothing of it was sent.
    async fn copy(&self, copies: &[NewCopy]) -> Result<()>;
}
