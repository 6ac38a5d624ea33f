//! `[security]`: the key under which addresses are indexed, and those under which patients' columns are sealed.

use std::collections::HashSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::fault::Broken;
use super::kind::Flag;
use super::read::Section;
use super::secret::Secret;
use crate::domain::words::SafetyMode;

/// Sealing keys at most: the one in use, and those that some values still wait under.
const MOST_KEYS: usize = 16;

/// The ledger's keys.
#[derive(Clone, Debug)]
pub struct SecuritySection {
    /// `None` outside mode live: a key that everybody knows then serves, and nothing is sealed.
    pub key: Option<Key>,
    /// The first one seals, all of them open. None: one that is derived from `key` seals.
    pub seal_keys: Vec<Key>,
    /// Whether new values are sealed. What is sealed opens either way.
    pub encryption: bool,
}

/// 32 bytes that nobody else knows.
#[derive(Clone, PartialEq, Eq, Hash)]
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
        let seal_keys = seal_keys(s, key.as_ref());
        let encryption = s.or("encryption", Flag, true);
        Self { key, seal_keys, encryption }
    }

    /// Whether patients' columns are sealed.
    #[must_use]
    pub const fn seals(&self) -> bool {
        self.key.is_some() && self.encryption
    }
}

fn seal_keys(s: &mut Section<'_>, key: Option<&Key>) -> Vec<Key> {
    let Some(secret) = s.secret("seal_keys") else { return Vec::new() };
    let keys: Option<Vec<Key>> =
        secret.expose().split_whitespace().map(|text| parse_key(&Secret::new(text))).collect();
    let keys = keys.filter(|keys| (1..=MOST_KEYS).contains(&keys.len()));
    let Some(keys) = keys else {
        let rule = format!("must be 1 to {MOST_KEYS} keys of 32 bytes, in base64 or hexadecimal, one a line");
        s.fault("seal_keys", Broken::new(rule, "make one: head -c 32 /dev/urandom | base64 >> FILE"));
        return Vec::new();
    };
    let unlike: HashSet<&Key> = keys.iter().chain(key).collect();
    if unlike.len() < keys.len() + usize::from(key.is_some()) {
        let rule = "must be keys of their own: one stands there twice, or is `key`";
        s.fault("seal_keys", Broken::new(rule, "take the second one out, or make a new one"));
    }
    if key.is_none() {
        s.fault("seal_keys", Broken::new("needs `key` beside it", "set `key` or `key_file` too"));
    }
    keys
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
    use crate::config::Config;

    #[test]
    fn a_key_is_32_bytes_in_either_spelling() {
        assert_eq!(parse_key(&Secret::new("07".repeat(32))), Some(Key([7; 32])));
        assert_eq!(parse_key(&Secret::new(BASE64_STANDARD.encode([7; 32]))), Some(Key([7; 32])));
        for bad in ["", "secret", &"00".repeat(32), &"07".repeat(31), &"zz".repeat(32)] {
            assert_eq!(parse_key(&Secret::new(bad)), None, "{bad}");
        }
    }

    #[test]
    fn sealing_keys_stand_one_a_line() {
        let (one, two) = ("07".repeat(32), BASE64_STANDARD.encode([8; 32]));
        let read = |keys: &str, more: &str| {
            let text = format!("[security]\n{more}\nseal_keys = '''{keys}'''");
            Config::from_toml(&text).map(|config| config.security)
        };
        let key = format!("key = \"{}\"", "09".repeat(32));
        let security = read(&format!("{one}\n{two}\n"), &key).unwrap();
        assert_eq!(security.seal_keys, [Key([7; 32]), Key([8; 32])]);
        assert!(security.seals());
        assert!(!read(&one, &format!("{key}\nencryption = false")).unwrap().seals());
        for (keys, more, rule) in [
            (format!("{one} {one}"), key.as_str(), "twice"),
            ("09".repeat(32), &key, "twice"),
            (one.clone(), "", "needs `key`"),
            (format!("{one}\nshort"), &key, "32 bytes"),
            (format!("{one}\n").repeat(17), &key, "1 to 16"),
        ] {
            let faults = read(&keys, more).unwrap_err();
            assert!(
                faults.iter().any(|f| f.path == "security.seal_keys" && f.rule.contains(rule)),
                "{rule}: {faults:?}"
            );
            assert!(faults.iter().all(|f| !f.to_string().contains(&one)), "{faults:?}");
        }
    }
}
