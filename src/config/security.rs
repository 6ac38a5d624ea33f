//! `[security]`: the key under which addresses are indexed and patients' columns sealed.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::fault::Broken;
use super::read::Section;
use super::secret::Secret;
use crate::domain::words::SafetyMode;

/// The ledger's key.
#[derive(Clone, Debug)]
pub struct SecuritySection {
    /// `None` outside mode live: a key that everybody knows then serves.
    pub key: Option<Key>,
}

/// 32 bytes that nobody else knows.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// The bytes, for the sealer, and for what derives a key of its own from them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl SecuritySection {
    pub(super) fn read(s: &mut Section<'_>, mode: SafetyMode) -> Self {
        let secret = if mode == SafetyMode::Live { s.required_secret("key") } else { s.secret("key") };
        let key = secret.and_then(|secret| {
            let key = parse_key(&secret);
            if key.is_none() {
                let cure =
                    "make one: head -c 32 /dev/urandom | base64 > FILE, and keep it as long as the ledger";
                s.fault("key", Broken::new("must be 32 bytes, in base64 or hexadecimal", cure));
            }
            key
        });
        Self { key }
    }
}

fn parse_key(secret: &Secret) -> Option<Key> {
    let text = secret.expose().trim();
    let bytes = if text.len() == 64 { hex::decode(text).ok() } else { BASE64_STANDARD.decode(text).ok() };
    let key: [u8; 32] = bytes?.try_into().ok()?;
    (key != [0; 32]).then_some(Key(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_in_either_spelling() {
        assert_eq!(parse_key(&Secret::new("07".repeat(32))), Some(Key([7; 32])));
        assert_eq!(parse_key(&Secret::new(BASE64_STANDARD.encode([7; 32]))), Some(Key([7; 32])));
        for bad in ["", "secret", &"00".repeat(32), &"07".repeat(31), &"zz".repeat(32)] {
            assert_eq!(parse_key(&Secret::new(bad)), None, "{bad}");
        }
    }
}
