//! What one browser's way to the provider and back hangs on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// The secret of one attempt; the browser alone keeps it. What others see is derived from it, each for one purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt(String);

impl Attempt {
    /// An attempt of these bits, which must come from a source that nobody can foresee.
    #[must_use]
    pub fn of(bits: [u8; 32]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(bits))
    }

    /// What a browser shows; `None`: it is none of ours.
    #[must_use]
    pub fn shown(text: &str) -> Option<Self> {
        let bits: [u8; 32] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        Some(Self::of(bits))
    }

    /// For the browser.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Comes back with the answer (RFC 6749, 10.12).
    #[must_use]
    pub fn state(&self) -> String {
        self.derived("state")
    }

    /// Comes back in the token.
    #[must_use]
    pub fn nonce(&self) -> String {
        self.derived("nonce")
    }

    /// Shown when the code is exchanged (RFC 7636).
    pub(super) fn verifier(&self) -> String {
        self.derived("verifier")
    }

    /// Told beforehand, so that nobody else can exchange the code.
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier()))
    }

    fn derived(&self, purpose: &str) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(format!("oidc {purpose}:{}", self.0)))
    }
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_see_is_different_and_comes_from_the_cookie_alone() {
        let attempt = Attempt::of([7; 32]);
        let told = [attempt.state(), attempt.nonce(), attempt.verifier(), attempt.challenge()];
        for (n, one) in told.iter().enumerate() {
            assert_eq!(one.len(), 43);
            assert!(!told.iter().skip(n + 1).any(|other| other == one) && one != attempt.expose());
        }
        assert_eq!(Attempt::shown(attempt.expose()), Some(attempt.clone()));
        assert_ne!(Attempt::of([8; 32]).state(), attempt.state());
        for bad in ["", "x", "AAAA", &"A".repeat(44), &"=".repeat(43)] {
            assert_eq!(Attempt::shown(bad), None, "{bad}");
        }
        assert_eq!(format!("{attempt:?}"), "***");
    }
}
