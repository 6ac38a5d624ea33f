//! The public key by which a relay signs the events that it posts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::fault::Broken;
use crate::config::kind::Parsed;

/// A point on P-256, as SendGrid shows it: the base64 of a SubjectPublicKeyInfo (RFC 5480).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventKey(Vec<u8>);

impl EventKey {
    /// What stands before the point in the DER of such a key.
    pub const P256: &'static [u8] = &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    /// Bytes of an uncompressed point.
    const POINT: usize = 65;

    /// Reads a key; `None` where it is none of that kind.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let der = STANDARD.decode(text.trim()).ok()?;
        let point = der.strip_prefix(Self::P256)?;
        (point.len() == Self::POINT && point.first() == Some(&4)).then(|| Self(point.to_vec()))
    }

    /// The uncompressed point.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        &self.0
    }
}

pub(super) const EVENT_KEY: Parsed<EventKey> = Parsed {
    parse: |text| {
        let cure = "copy the verification key from SendGrid's settings of the event webhook";
        EventKey::parse(text).ok_or_else(|| Broken::new("must be a public key of P-256, in base64", cure))
    },
    show: |key| STANDARD.encode([EventKey::P256, key.point()].concat()),
};
