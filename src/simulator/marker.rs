//! What tells one request from another, without holding an address or a text.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The first 8 bytes of the SHA-256 of a text, shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TextDigest(pub u64);

impl TextDigest {
    /// Digests a text.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let digest = Sha256::digest(text);
        Self(digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

impl std::fmt::Display for TextDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::fmt::Debug for TextDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Serialize for TextDigest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TextDigest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        u64::from_str_radix(&text, 16)
            .map(Self)
            .map_err(|_| serde::de::Error::custom("a digest is 16 hexadecimal digits"))
    }
}

/// The longest marker kept as it came.
const MARKER_BYTES: usize = 63;

/// A key found in a request, kept without allocating. What is too long, or holds characters other than
/// `A-Z a-z 0-9 . _ : | / @ -`, is kept as `sha256:` and its digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Marker {
    length: u8,
    bytes: [u8; MARKER_BYTES],
}

impl Marker {
    /// Keeps a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let plain =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'|' | b'/' | b'@' | b'-');
        if text.len() <= MARKER_BYTES && text.bytes().all(plain) {
            Self::of_short(text)
        } else {
            Self::of_short(&format!("sha256:{}", TextDigest::of(text.as_bytes())))
        }
    }

    fn of_short(text: &str) -> Self {
        let mut bytes = [0; MARKER_BYTES];
        let mut length = 0;
        for (slot, byte) in bytes.iter_mut().zip(text.bytes()) {
            *slot = byte;
            length += 1;
        }
        Self { length, bytes }
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes
            .get(..usize::from(self.length))
            .and_then(|b| std::str::from_utf8(b).ok())
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for Marker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Marker {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Marker {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Self::new(&std::borrow::Cow::<'de, str>::deserialize(d)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_markers_are_kept_as_digests() {
        assert_eq!(Marker::new("a-1|b").as_str(), "a-1|b");
        for odd in ["quote\"", "line\n", &"x".repeat(64)] {
            assert!(Marker::new(odd).as_str().starts_with("sha256:"), "{odd}");
        }
    }
}
