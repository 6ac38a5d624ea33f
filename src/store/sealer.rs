//! What keeps protected health information unreadable at rest, and findable all the same.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::phi::Phi;
use crate::store::StoreError;

/// Seals columns that hold protected health information, and indexes addresses blindly.
///
/// A sealed value starts with one byte that names its form, so that a later form can stand beside this one.
/// Form 0 is plain: the column is readable to whoever can read the database.
#[derive(Clone)]
pub struct Sealer {
    index_key: Hmac<Sha256>,
}

const PLAIN: u8 = 0;

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(***)")
    }
}

impl Sealer {
    /// `index_key` keys the blind index: who holds the database and not the key cannot test an address.
    ///
    /// # Errors
    /// The key is unusable.
    pub fn new(index_key: &[u8]) -> Result<Self, StoreError> {
        let index_key =
            Hmac::new_from_slice(index_key).map_err(|_| StoreError::Internal("index key".to_owned()))?;
        Ok(Self { index_key })
    }

    /// The stored form of `plain`.
    #[must_use]
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(plain.len() + 1);
        sealed.push(PLAIN);
        sealed.extend_from_slice(plain);
        sealed
    }

    /// The way back.
    ///
    /// # Errors
    /// The value is in a form that this program does not know.
    pub fn open<'a>(&self, sealed: &'a [u8]) -> Result<&'a [u8], StoreError> {
        match sealed.split_first() {
            Some((&PLAIN, plain)) => Ok(plain),
            _ => Err(StoreError::Internal("a sealed value of an unknown form".to_owned())),
        }
    }

    /// The sealed form of an address.
    #[must_use]
    pub fn seal_text(&self, text: &Phi) -> Vec<u8> {
        self.seal(text.expose().as_bytes())
    }

    /// The way back.
    ///
    /// # Errors
    /// As [`Sealer::open`], or the text is not UTF-8.
    pub fn open_text(&self, sealed: &[u8]) -> Result<Phi, StoreError> {
        let plain = self.open(sealed)?;
        let text = std::str::from_utf8(plain).map_err(|_| StoreError::Internal("sealed text".to_owned()))?;
        Ok(Phi::new(text))
    }

    /// The blind index of an address: the same for the same address, of no use without the key. 16 bytes.
    /// Email addresses are compared without regard to case, as mail systems do.
    #[must_use]
    pub fn index(&self, address: &Phi) -> Vec<u8> {
        let mut mac = self.index_key.clone();
        mac.update(address.expose().to_ascii_lowercase().as_bytes());
        mac.finalize().into_bytes().iter().copied().take(16).collect()
    }

    /// The row of `patient_state` that stands for an address.
    #[must_use]
    pub fn address_subject(&self, address: &Phi) -> String {
        format!("address:{}", hex::encode(self.index(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_again() {
        let sealer = Sealer::new(b"key").unwrap();
        let address = Phi::new("+13125550142");
        assert_eq!(sealer.open_text(&sealer.seal_text(&address)).unwrap(), address);
        assert!(sealer.open(&[9, 1]).is_err());
        assert!(sealer.open(&[]).is_err());
    }

    #[test]
    fn the_index_needs_the_key_and_ignores_case() {
        let (one, other) = (Sealer::new(b"one").unwrap(), Sealer::new(b"other").unwrap());
        let address = Phi::new("ana@example.org");
        assert_eq!(one.index(&address), one.index(&Phi::new("Ana@Example.org")));
        assert_ne!(one.index(&address), other.index(&address));
    }
}
