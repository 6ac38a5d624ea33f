//! `callback_url` of a `[[source]]`, and the keys that sign what is posted there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::fault::Broken;
use super::kind::text;
use super::read::{MASK, Section};
use super::rules;
use super::secret::Secret;

/// How a key is written, as in Standard Webhooks: this, and the bytes in Base64.
const KEY_PREFIX: &str = "whsec_";
/// How a signature says by which rules it was made.
const VERSION: &str = "v1,";

/// Where a source's results are posted, and signed by what.
#[derive(Clone, Debug)]
pub struct Callback {
    pub url: String,
    /// The key in use, and while it is exchanged the one before it. Never empty for a source; a receiver of `[notify]` may
    /// have none.
    pub keys: Vec<SigningKey>,
}

/// A key of 24 to 64 bytes. Masked wherever it could be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Reads `whsec_` and Base64. `None`: it is no such key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim().strip_prefix(KEY_PREFIX)?).ok()?;
        (24..=64).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The bytes, for tests that know them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The signature of Standard Webhooks: HMAC-SHA256 over `id.seconds.body`, in Base64, behind `v1,`.
    #[must_use]
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> Option<String> {
        let mac = self.mac(id, seconds, body)?.finalize().into_bytes();
        Some(format!("{VERSION}{}", STANDARD.encode(mac)))
    }

    /// Whether this is such a signature; compared in constant time.
    #[must_use]
    pub fn fits(&self, id: &str, seconds: i64, body: &[u8], signature: &str) -> bool {
        let signature = signature.strip_prefix(VERSION).and_then(|text| STANDARD.decode(text).ok());
        let mac = self.mac(id, seconds, body);
        signature.zip(mac).is_some_and(|(signature, mac)| mac.verify_slice(&signature).is_ok())
    }

    fn mac(&self, id: &str, seconds: i64, body: &[u8]) -> Option<Hmac<Sha256>> {
        // A key of any length is good for HMAC.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        Some(mac)
    }

    /// Reads the key of a section, where it has one.
    pub(super) fn read(s: &mut Section<'_>, name: &'static str) -> Option<Self> {
        let secret = s.secret(name);
        key(s, name, secret)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

impl Callback {
    /// Without a URL there is nothing to sign; a URL without a key is a fault: a receiver could not tell our results
    /// from anybody's.
    pub(super) fn read(s: &mut Section<'_>) -> Option<Self> {
        let given = s.raw("callback_url").is_some();
        let url = s.optional("callback_url", text(rules::callback_url));
        let secret = if given { s.required_secret("callback_secret") } else { s.secret("callback_secret") };
        let present = key(s, "callback_secret", secret);
        let former = SigningKey::read(s, "callback_secret_previous");
        Some(Self { url: url?, keys: std::iter::once(present?).chain(former).collect() })
    }
}

fn key(s: &Section<'_>, name: &str, secret: Option<Secret>) -> Option<SigningKey> {
    let key = SigningKey::parse(secret?.expose());
    if key.is_none() {
        let rule = format!("must be {KEY_PREFIX} and 24 to 64 bytes in Base64");
        let cure = format!("make one: echo {KEY_PREFIX}$(head -c 32 /dev/urandom | base64 -w0)");
        s.fault(name, Broken::new(rule, cure));
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_24_to_64_bytes_in_base64() {
        let written = |bytes: usize| format!("{KEY_PREFIX}{}", STANDARD.encode(vec![7; bytes]));
        assert_eq!(SigningKey::parse(&written(24)).unwrap().expose(), [7; 24]);
        assert!(SigningKey::parse(&written(64)).is_some());
        for bad in ["", "whsec_", &written(23), &written(65), "secret", &written(32).replace("whsec_", "")] {
            assert!(SigningKey::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(format!("{:?}", SigningKey::parse(&written(32)).unwrap()), MASK);
    }
}
