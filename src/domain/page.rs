//! The secret in the link to a patient's page: whoever has it may say what that patient wants, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// The path below the public address, in front of the token.
const PATH: &str = "/u/";

/// A token of 128 random bits in 22 characters, which a text message has room for. It goes to the recipient and is
/// nowhere kept; what the ledger knows is its [`PageHash`].
#[derive(Clone, PartialEq, Eq)]
pub struct PageToken(String);

impl PageToken {
    /// A token of these bits, which must come from a source that nobody can foresee.
    #[must_use]
    pub fn from_bits(bits: [u8; 16]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(bits))
    }

    /// The link at a public address that has no slash at its end.
    #[must_use]
    pub fn link(&self, public_url: &str) -> String {
        format!("{public_url}{PATH}{}", self.0)
    }
}

impl std::fmt::Debug for PageToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// SHA-256 of a token, in hexadecimal digits. Nobody gets in by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageHash(String);

impl PageHash {
    /// The hash of whatever somebody shows: what is no token at all is as unknown as one that was made up, and
    /// takes as long to be found so.
    #[must_use]
    pub fn of(shown: &str) -> Self {
        Self(hex::encode(Sha256::digest(shown.as_bytes())))
    }

    /// The hash of the token in a link that [`PageToken::link`] made.
    #[must_use]
    pub fn in_link(link: &str) -> Self {
        Self::of(link.rsplit('/').next().unwrap_or_default())
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_short_safe_in_an_address_and_never_printed() {
        let token = PageToken::from_bits([0xff; 16]);
        let link = token.link("https://outreach.example.org");
        let shown = link.strip_prefix("https://outreach.example.org/u/").unwrap();
        assert_eq!(shown.len(), 22);
        assert!(shown.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(PageHash::of(shown), PageHash::in_link(&link));
        assert_eq!(format!("{token:?}"), "***");
        assert!(!PageHash::of(shown).as_str().contains(shown));
    }
}
