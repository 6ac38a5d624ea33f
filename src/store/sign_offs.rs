//! Who answers for the texts of templates.

use async_trait::async_trait;

use super::Result;
use crate::domain::sign_off::{SignOffs, Word};

/// What people say of the texts of templates.
#[async_trait]
pub trait SigningOff {
    /// Writes that somebody answers for the texts with this hash; of each locale of a template the last few words are kept.
    async fn sign_off(&self, word: &Word<'_>, hash: &str) -> Result<()>;

    /// Takes back whatever texts of the locale are signed off. False: none are.
    async fn take_back_sign_off(&self, word: &Word<'_>) -> Result<bool>;

    /// What people say of the texts of templates.
    async fn sign_offs(&self) -> Result<SignOffs>;
}
