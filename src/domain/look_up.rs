//! What became of a send whose answer was lost: the question to its provider, and what it says.

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use jiff::Timestamp;

use super::ids::{AttemptId, ProviderName, SendKey};
use super::phi::Phi;
use super::receipt::Receipt;

/// An attempt of which nobody knows whether its provider has taken it.
#[derive(Clone, Debug)]
pub struct Lost {
    pub attempt: AttemptId,
    pub key: SendKey,
    pub provider: ProviderName,
    pub to: Phi,
    /// Written down then; the request left within a second of it.
    pub begun_at: Timestamp,
    /// References of other attempts by this provider to this address, from some time before to some time after.
    pub others: Vec<String>,
    /// So many others there have no reference, and may have been taken as well.
    pub rivals: usize,
    /// How often it was not there before.
    pub absent: u32,
    /// By which its text is known; `None`: it was not kept.
    pub text: Option<TextMark>,
}

/// Tells whether a text is the one that was sent, and nothing to whoever lacks the key.
#[derive(Clone, PartialEq, Eq)]
pub struct TextMark {
    pub key: [u8; 32],
    /// HMAC-SHA-256 of the text.
    pub mark: Vec<u8>,
}

impl TextMark {
    /// The mark of `text` under `key`.
    #[must_use]
    pub fn of(key: [u8; 32], text: &str) -> Self {
        Self { key, mark: hmac::sign(&Key::new(HMAC_SHA256, &key), text.as_bytes()).as_ref().to_vec() }
    }

    /// Whether it is this text.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        hmac::verify(&Key::new(HMAC_SHA256, &self.key), text.as_bytes(), &self.mark).is_ok()
    }
}

impl std::fmt::Debug for TextMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // With the key texts can be guessed.
        f.write_str("TextMark")
    }
}

/// What a look-up says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// The provider has it, and this has become of it so far.
    Taken(Receipt),
    /// The provider has nothing that could be it.
    NotThere,
    /// Nothing that can be told apart from others.
    Unclear,
}
