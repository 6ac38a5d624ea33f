//! What people prove themselves with: a password, and a code that their telephone shows for half a minute.
//!
//! Passwords are kept as Argon2id (RFC 9106) with the parameters that OWASP's password storage cheat sheet names first
//! (19 MiB, two passes, one lane). Codes are TOTP (RFC 6238): SHA-1, 6 digits, 30 seconds, which is what every
//! authenticator knows. Chance and the clock are arguments.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha1::Sha1;

/// Characters of a password at least (NIST SP 800-63B-4 asks for 8 beside a second factor).
pub const MIN_PASSWORD: usize = 12;
/// Bytes of a password at most: more would only cost time.
pub const MAX_PASSWORD: usize = 256;

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH: usize = 32;

const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Seconds that a code stands.
const STEP: i64 = 30;
/// Codes of the steps before and after count too: clocks differ, and people type slowly (RFC 6238, 5.2).
const DRIFT: i64 = 1;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A password's hash in PHC string format. Masked: a weak password could be guessed from it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Hashes a password with a salt that nobody can foresee. Takes some 20 ms and 19 MiB. `None`: the password is too
    /// short or too long.
    #[must_use]
    pub fn new(password: &str, salt: [u8; 16]) -> Option<Self> {
        if password.chars().count() < MIN_PASSWORD || password.len() > MAX_PASSWORD {
            return None;
        }
        let hash = derive(password, &salt, MEMORY_KIB, PASSES, LANES)?;
        let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
        Some(Self(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${hash}")))
    }

    /// A hash that fits no password, at the cost of one that does.
    #[must_use]
    pub fn of_nobody() -> Self {
        Self::stored(NOBODY)
    }

    /// A hash as it is stored.
    #[must_use]
    pub fn stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the password. A hash that cannot be read fits none.
    #[must_use]
    pub fn fits(&self, password: &str) -> bool {
        password.len() <= MAX_PASSWORD && self.again(password).is_some_and(|same| same)
    }

    /// Hashes anew with the stored parameters, and compares in constant time.
    fn again(&self, password: &str) -> Option<bool> {
        let mut parts = self.0.strip_prefix("$argon2id$v=19$")?.split('$');
        let (costs, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let mut costs = costs.split(',');
        let mut cost = |name: &str| costs.next()?.strip_prefix(name)?.parse::<u32>().ok();
        let (memory, passes, lanes) = (cost("m=")?, cost("t=")?, cost("p=")?);
        let salt = STANDARD_NO_PAD.decode(salt).ok()?;
        let told = STANDARD_NO_PAD.decode(hash).ok()?;
        let derived = derive(password, &salt, memory, passes, lanes)?;
        Some(same(&told, &derived))
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

fn derive(password: &str, salt: &[u8], memory: u32, passes: u32, lanes: u32) -> Option<[u8; HASH]> {
    let params = Params::new(memory, passes, lanes, Some(HASH)).ok()?;
    let mut hash = [0; HASH];
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(password.as_bytes(), salt, &mut hash).ok()?;
    Some(hash)
}

/// Without telling by its time where two secrets differ.
#[must_use]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// The secret that an authenticator and the ledger share.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpSecret([u8; 20]);

impl TotpSecret {
    /// A secret of these bits, which must come from a source that nobody can foresee.
    #[must_use]
    pub fn from_bits(bits: [u8; 20]) -> Self {
        Self(bits)
    }

    /// Its bits, for the ledger.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As people type it into an authenticator: base 32 (RFC 4648).
    #[must_use]
    pub fn base32(&self) -> String {
        let mut out = String::with_capacity(32);
        for five in self.0.chunks_exact(5) {
            let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            out.extend((0..8).rev().filter_map(|n| {
                let digit = usize::try_from(bits >> (5 * n) & 31).ok()?;
                BASE32.get(digit).map(|byte| char::from(*byte))
            }));
        }
        out
    }

    /// As authenticators read it from a picture or a link.
    #[must_use]
    pub fn link(&self, account: &str) -> String {
        format!("otpauth://totp/outreachd:{account}?secret={}&issuer=outreachd", self.base32())
    }

    /// The code of a step.
    #[must_use]
    pub fn code(&self, step: i64) -> String {
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&self.0) else { return String::new() };
        mac.update(&step.to_be_bytes());
        let digest: [u8; 20] = mac.finalize().into_bytes().into();
        let [.., last] = digest;
        let start = usize::from(last & 15);
        // RFC 4226, 5.3: four bytes from there on, without the sign.
        let taken = digest.iter().skip(start).take(4).fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        format!("{:06}", (taken & 0x7fff_ffff) % 1_000_000)
    }

    /// The step whose code this is, near `now`. Whoever asks must take each step once only.
    #[must_use]
    pub fn step_of(&self, code: &str, now: Timestamp) -> Option<i64> {
        let step = Self::step(now);
        let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        (step - DRIFT..=step + DRIFT).find(|step| same(self.code(*step).as_bytes(), code.as_bytes()))
    }

    /// The step of an instant.
    #[must_use]
    pub fn step(now: Timestamp) -> i64 {
        now.as_second().div_euclid(STEP)
    }
}

impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A password that a machine made: 120 bits, easy to read out.
#[must_use]
pub fn password_of(bits: [u8; 15]) -> String {
    let text = URL_SAFE_NO_PAD.encode(bits).replace('_', "x").replace('-', "y");
    let parts: Vec<&str> = (0..4).filter_map(|n| text.get(n * 5..n * 5 + 5)).collect();
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_and_no_other() {
        let hash = PasswordHash::new("correct horse battery", [7; 16]).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(PasswordHash::stored(hash.as_str()).fits("correct horse battery"));
        assert!(!hash.fits("correct horse batterz"));
        assert_ne!(hash, PasswordHash::new("correct horse battery", [8; 16]).unwrap());
        assert_eq!(format!("{hash:?}"), "***");
        for bad in ["", "$argon2id$v=19$m=1", "$2b$12$abc", "$argon2id$v=19$m=19456,t=2,p=1$AA$AA"] {
            assert!(!PasswordHash::stored(bad).fits("correct horse battery"), "{bad}");
        }
        assert!(!PasswordHash::of_nobody().fits("anything at all"));
        assert!(PasswordHash::new("short", [0; 16]).is_none());
        assert!(PasswordHash::new(&"x".repeat(257), [0; 16]).is_none());
    }

    /// RFC 6238, appendix B (SHA-1), the last six digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = TotpSecret::from_bits(*b"12345678901234567890");
        assert_eq!(secret.base32(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let now = Timestamp::from_second(seconds).unwrap();
            assert_eq!(secret.code(TotpSecret::step(now)), code);
            assert_eq!(secret.step_of(code, now), Some(TotpSecret::step(now)));
            let spaced = format!("{} {}", &code[..3], &code[3..]);
            let later = Timestamp::from_second(seconds + 30).unwrap();
            assert_eq!(secret.step_of(&spaced, later), Some(TotpSecret::step(now)), "a step late");
            let too_late = Timestamp::from_second(seconds + 90).unwrap();
            assert_eq!(secret.step_of(code, too_late), None);
        }
        assert_eq!(secret.step_of("", Timestamp::UNIX_EPOCH), None);
        assert_eq!(format!("{secret:?}"), "***");
    }

    #[test]
    fn a_made_password_is_long_enough() {
        let password = password_of([0xa5; 15]);
        assert_eq!(password.len(), 23);
        assert!(PasswordHash::new(&password, [1; 16]).is_some());
    }
}
