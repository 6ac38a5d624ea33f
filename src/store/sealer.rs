//! What keeps protected health information unreadable at rest, and findable all the same.
//!
//! A sealed value starts with one byte that names its form:
//!
//! ```text
//! 0  plain:       the text as it is, to be read by whoever can read the database
//! 1  AES-256-GCM: key id (4) | salt (12) | nonce (12) | sealed text | tag (16)
//! ```
//!
//! Salt and nonce are random, the nonce is fresh for each value. The key of a value is HMAC-SHA-256 of the salt under the
//! sealing key (one block of the counter-mode KDF of NIST SP 800-108r1): a key that sealed everything by itself would be
//! good for 2^32 values only (SP 800-38D, 8.3), which is a week of 6,000 values a second; a salt serves a few hundred. The
//! associated data are the header and the value's [`Place`], so that a value that was moved to another row or column does
//! not open.
//!
//! The blind index has a key of its own, which stays as long as the ledger: what was said at an address is kept by that
//! index alone, and could not be found under another. Sealing keys come and go: see [`Sealer::with_keys`].

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use super::sealed::Place;
use crate::domain::ids::AttemptId;
use crate::domain::phi::Phi;
use crate::store::{OtherKey, StoreError};

const PLAIN: u8 = 0;
const GCM: u8 = 1;
const KEY_ID: usize = 4;
const SALT: usize = 12;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Of one salt. To derive a key for each value takes longer than to seal it.
const VALUES_OF_A_KEY: u32 = 256;

/// How a sealed value begins in a column of text.
const SPELT: &str = "~sealed1:";

/// What a key is derived from another one for. The blind index is taken of text in small letters, so that it never is a
/// derived key.
const OF_INDEX_KEY: &[u8] = b"OUTREACHD SEALING KEY 1";
const OF_KEY_ID: &[u8] = b"OUTREACHD KEY ID";
const OF_CONTENT: &[u8] = b"OUTREACHD CONTENT 1";
const OF_TEXT: &[u8] = b"OUTREACHD SENT TEXT 1";
const OF_MARK: &[u8] = b"OUTREACHD KEY MARK 1";

/// Seals columns that hold protected health information, and indexes addresses blindly.
#[derive(Clone)]
pub struct Sealer {
    index_key: hmac::Key,
    ring: Arc<Ring>,
}

/// Which key sealed a value: the first bytes of a hash of the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KEY_ID]);

/// How a value lies in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Nothing: there was nothing, or it was erased.
    Empty,
    Plain,
    Under(KeyId),
}

/// The keys in force.
#[derive(Default)]
struct Ring {
    /// The first one seals, where anything is sealed; all of them open.
    keys: Vec<SealingKey>,
    seals: bool,
}

struct SealingKey {
    id: KeyId,
    kdf: hmac::Key,
    /// The key of the values that are sealed now.
    at_hand: Mutex<Option<AtHand>>,
}

/// A salt, the key that follows from it, and how many values may still be sealed with it.
#[derive(Clone)]
struct AtHand {
    salt: [u8; SALT],
    key: Arc<LessSafeKey>,
    left: u32,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(***)")
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Sealer {
    /// Seals nothing, as a set-up without a key of its own does. `index_key` keys the blind index: who holds the database and
    /// not the key cannot test an address.
    #[must_use]
    pub fn new(index_key: &[u8]) -> Self {
        Self { index_key: hmac::Key::new(HMAC_SHA256, index_key), ring: Arc::default() }
    }

    /// Opens what was sealed under `own` keys or under the one that is derived from the index key, and seals under the
    /// first of them where `seals`. Without keys of their own, all ledgers are sealed under the derived one, which cannot be
    /// exchanged.
    #[must_use]
    pub fn with_keys<'k>(self, own: impl IntoIterator<Item = &'k [u8; 32]>, seals: bool) -> Self {
        let derived = self.keyed(OF_INDEX_KEY, &[]);
        let mut keys: Vec<SealingKey> = own.into_iter().map(SealingKey::new).collect();
        keys.push(SealingKey::new(&derived));
        Self { ring: Arc::new(Ring { keys, seals }), ..self }
    }

    /// The keys by which values can be opened; the first one is in use for new ones, where [`Sealer::seals`].
    #[must_use]
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.ring.keys.iter().map(|key| key.id).collect()
    }

    /// Whether new values are sealed at all.
    #[must_use]
    pub fn seals(&self) -> bool {
        self.ring.current().is_some()
    }

    /// How values are written at present.
    #[must_use]
    pub fn form(&self) -> Form {
        self.ring.current().map_or(Form::Plain, |key| Form::Under(key.id))
    }

    /// The stored form of `plain`.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        match self.ring.current() {
            Some(key) => key.seal(place, plain),
            None => {
                let mut stored = Vec::with_capacity(plain.len() + 1);
                stored.push(PLAIN);
                stored.extend_from_slice(plain);
                Ok(stored)
            }
        }
    }

    /// The way back. An empty value opens to nothing: it was erased.
    ///
    /// # Errors
    /// The value is in a form that this program does not know, under a key that it does not have, or does not belong in
    /// this place.
    pub fn open<'a>(&self, place: Place<'_>, stored: &'a [u8]) -> Result<Cow<'a, [u8]>, StoreError> {
        match stored.split_first() {
            None => Ok(Cow::Borrowed(stored)),
            Some((&PLAIN, plain)) => Ok(Cow::Borrowed(plain)),
            Some((&GCM, sealed)) => self.ring.open(place, sealed).map(Cow::Owned),
            Some(_) => Err(StoreError::Internal("a sealed value of an unknown form".to_owned())),
        }
    }

    /// The sealed form of an address, or of another text of bytes.
    ///
    /// # Errors
    /// As [`Sealer::seal`].
    pub fn seal_text(&self, place: Place<'_>, text: &Phi) -> Result<Vec<u8>, StoreError> {
        self.seal(place, text.expose().as_bytes())
    }

    /// The way back.
    ///
    /// # Errors
    /// As [`Sealer::open`], or the text is not UTF-8.
    pub fn open_text(&self, place: Place<'_>, stored: &[u8]) -> Result<Phi, StoreError> {
        Ok(Phi::new(text_of(self.open(place, stored)?.into_owned())?))
    }

    /// The stored form of a text in a column of text. Where nothing is sealed it is the text itself.
    ///
    /// # Errors
    /// As [`Sealer::seal`].
    pub fn spell<'t>(&self, place: Place<'_>, text: &'t str) -> Result<Cow<'t, str>, StoreError> {
        match self.ring.current() {
            Some(key) => {
                let sealed = key.seal(place, text.as_bytes())?;
                Ok(Cow::Owned(format!("{SPELT}{}:{}", key.id, BASE64_STANDARD_NO_PAD.encode(sealed))))
            }
            // What only looks sealed would not open.
            None if text.starts_with(SPELT) => Ok(Cow::Owned(format!(" {text}"))),
            None => Ok(Cow::Borrowed(text)),
        }
    }

    /// The way back.
    ///
    /// # Errors
    /// As [`Sealer::open_text`].
    pub fn read(&self, place: Place<'_>, stored: &str) -> Result<String, StoreError> {
        let Some((_, spelt)) = stored.strip_prefix(SPELT).and_then(|rest| rest.split_once(':')) else {
            return Ok(stored.to_owned());
        };
        let sealed = BASE64_STANDARD_NO_PAD.decode(spelt).map_err(|_| damaged())?;
        text_of(self.open(place, &sealed)?.into_owned())
    }

    /// The blind index of an address: the same for the same address, of no use without the key. 16 bytes.
    /// Email addresses are compared without regard to case, as mail systems do.
    #[must_use]
    pub fn index(&self, address: &Phi) -> Vec<u8> {
        let address = address.expose().to_ascii_lowercase();
        hmac::sign(&self.index_key, address.as_bytes()).as_ref().iter().copied().take(16).collect()
    }

    /// The row of `patient_state` that stands for an address.
    #[must_use]
    pub fn address_subject(&self, address: &Phi) -> String {
        subject_of(&self.index(address))
    }

    /// Tells one content from another, and nothing to whoever lacks the key: a plain hash of a short text can be guessed.
    #[must_use]
    pub fn fingerprint(&self, content: &[u8]) -> [u8; 32] {
        self.keyed(OF_CONTENT, content)
    }

    /// The key under which the text of an attempt has its mark: no two attempts have one, so that equal texts are not seen.
    #[must_use]
    pub fn text_key(&self, attempt: AttemptId) -> [u8; 32] {
        self.keyed(OF_TEXT, attempt.0.as_bytes())
    }

    /// By which a ledger knows the index key again, whatever seals. None without keys: the index key is one that everybody
    /// knows then, and gives way to the first of one's own.
    #[must_use]
    pub fn key_mark(&self) -> Option<String> {
        (!self.ring.keys.is_empty()).then(|| hex::encode(self.keyed(OF_MARK, &[])))
    }

    fn keyed(&self, label: &[u8], content: &[u8]) -> [u8; 32] {
        let mut mac = hmac::Context::with_key(&self.index_key);
        mac.update(label);
        mac.update(content);
        mac.sign().as_ref().first_chunk().copied().unwrap_or_default()
    }
}

impl Form {
    /// Bytes that tell the form of a stored value.
    pub const HEAD: i64 = 1 + KEY_ID as i64;
    /// Characters that tell it in a column of text.
    pub const SPELT_HEAD: i64 = SPELT.len() as i64 + 2 * KEY_ID as i64;

    /// How a stored value lies there, told by its beginning: the first [`Form::HEAD`] bytes are enough.
    #[must_use]
    pub fn of(stored: &[u8]) -> Self {
        match stored.split_first() {
            None => Self::Empty,
            Some((&GCM, rest)) => rest.first_chunk().map_or(Self::Plain, |id| Self::Under(KeyId(*id))),
            Some(_) => Self::Plain,
        }
    }

    /// The same for a column of text.
    #[must_use]
    pub fn spelt(stored: &str) -> Self {
        if stored.is_empty() {
            return Self::Empty;
        }
        let id = stored.strip_prefix(SPELT).and_then(|rest| rest.get(..2 * KEY_ID));
        let id = id.and_then(|id| hex::decode(id).ok()).and_then(|id| id.try_into().ok());
        id.map_or(Self::Plain, |id| Self::Under(KeyId(id)))
    }
}

impl Ring {
    fn current(&self) -> Option<&SealingKey> {
        self.keys.first().filter(|_| self.seals)
    }

    fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (id, rest) = sealed.split_first_chunk::<KEY_ID>().ok_or_else(damaged)?;
        let id = KeyId(*id);
        let key = self.keys.iter().find(|key| key.id == id).ok_or(StoreError::Key(OtherKey::Value(id)))?;
        key.open(place, rest)
    }
}

impl SealingKey {
    fn new(key: &[u8; 32]) -> Self {
        let kdf = hmac::Key::new(HMAC_SHA256, key);
        let hash = hmac::sign(&kdf, OF_KEY_ID);
        let id = KeyId(hash.as_ref().first_chunk().copied().unwrap_or_default());
        Self { id, kdf, at_hand: Mutex::new(None) }
    }

    fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let AtHand { salt, key, .. } = self.at_hand()?;
        let mut nonce = [0; NONCE];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| no_random())?;
        let mut text = Vec::with_capacity(plain.len() + TAG);
        text.extend_from_slice(plain);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), self.bound_to(place), &mut text)
            .map_err(|_| damaged())?;
        let mut stored = Vec::with_capacity(1 + KEY_ID + SALT + NONCE + text.len());
        stored.push(GCM);
        stored.extend_from_slice(&self.id.0);
        stored.extend_from_slice(&salt);
        stored.extend_from_slice(&nonce);
        stored.extend_from_slice(&text);
        Ok(stored)
    }

    fn at_hand(&self) -> Result<AtHand, StoreError> {
        let mut at_hand = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match at_hand.take().filter(|known| known.left > 0) {
            Some(known) => known,
            None => {
                let mut salt = [0; SALT];
                aws_lc_rs::rand::fill(&mut salt).map_err(|_| no_random())?;
                AtHand { salt, key: Arc::new(self.of_value(&salt)?), left: VALUES_OF_A_KEY }
            }
        };
        *at_hand = Some(AtHand { left: now.left - 1, ..now.clone() });
        Ok(now)
    }

    /// `rest` is what follows the key's id.
    fn open(&self, place: Place<'_>, rest: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (salt, rest) = rest.split_first_chunk::<SALT>().ok_or_else(damaged)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        let mut text = sealed.to_vec();
        let opened = self
            .of_value(salt)?
            .open_in_place(Nonce::assume_unique_for_key(*nonce), self.bound_to(place), &mut text)
            .map_err(|_| damaged())?
            .len();
        text.truncate(opened);
        Ok(text)
    }

    fn of_value(&self, salt: &[u8; SALT]) -> Result<LessSafeKey, StoreError> {
        let key = hmac::sign(&self.kdf, salt);
        UnboundKey::new(&AES_256_GCM, key.as_ref()).map(LessSafeKey::new).map_err(|_| damaged())
    }

    fn bound_to(&self, place: Place<'_>) -> Aad<Vec<u8>> {
        let mut data = Vec::with_capacity(96);
        data.push(GCM);
        data.extend_from_slice(&self.id.0);
        place.spell(&mut data);
        Aad::from(data)
    }
}

/// The row of `patient_state` that stands for the address with this index.
pub(super) fn subject_of(index: &[u8]) -> String {
    format!("address:{}", hex::encode(index))
}

fn text_of(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|_| StoreError::Internal("sealed text".to_owned()))
}

fn damaged() -> StoreError {
    StoreError::Internal("a sealed value was altered, or moved from another row".to_owned())
}

fn no_random() -> StoreError {
    StoreError::Unavailable("the system gives no random bytes".to_owned())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::store::sealed::Sealed;

    const OLD: [u8; 32] = [7; 32];
    const NEW: [u8; 32] = [8; 32];

    fn plain() -> Sealer {
        Sealer::new(b"key")
    }

    fn sealing<'k>(own: impl IntoIterator<Item = &'k [u8; 32]>) -> Sealer {
        plain().with_keys(own, true)
    }

    fn place() -> Place<'static> {
        Sealed::ReplyBody.of(Uuid::from_u128(1))
    }

    #[test]
    fn what_is_sealed_opens_again() {
        let address = Phi::new("+13125550142");
        for sealer in [plain(), sealing([]), sealing([&NEW, &OLD]), plain().with_keys([&NEW], false)] {
            let stored = sealer.seal_text(place(), &address).unwrap();
            assert_eq!(sealer.open_text(place(), &stored).unwrap(), address);
            assert_eq!(Form::of(&stored), sealer.form());
            let hidden = !stored.windows(7).any(|part| part == b"5550142");
            assert_eq!(hidden, sealer.seals(), "plain only where nothing is sealed");
            assert!(sealer.open(place(), &[9, 1]).is_err());
            assert!(sealer.open(place(), &[]).unwrap().is_empty(), "erased");
            for text in ["", "form 12", "~sealed1:00000000:AAAA", "ni\u{f1}o \u{1}"] {
                let spelt = sealer.spell(place(), text).unwrap();
                assert_eq!(sealer.read(place(), &spelt).unwrap().trim_start(), text);
                assert!(text.is_empty() || Form::spelt(&spelt) == sealer.form(), "{text}");
                assert!(!sealer.seals() || text.is_empty() || !spelt.contains(text), "{text}");
            }
        }
    }

    #[test]
    fn no_two_sealed_values_are_alike() {
        let sealer = sealing([&NEW]);
        let stored: std::collections::HashSet<Vec<u8>> =
            (0..1_000).map(|_| sealer.seal(place(), b"the same").unwrap()).collect();
        assert_eq!(stored.len(), 1_000);
    }

    #[test]
    fn a_value_opens_in_its_place_alone_and_as_it_is() {
        let sealer = sealing([&NEW]);
        let stored = sealer.seal(place(), b"to be moved").unwrap();
        for elsewhere in [
            Sealed::ReplyBody.of(Uuid::from_u128(2)),
            Sealed::ReplyAddress.of(Uuid::from_u128(1)),
            Sealed::AuditDetail.of(1),
        ] {
            assert!(sealer.open(elsewhere, &stored).is_err(), "{elsewhere:?}");
        }
        // Every bit counts, and so does the end.
        for at in 1..stored.len() {
            let mut changed = stored.clone();
            changed[at] ^= 1;
            assert!(sealer.open(place(), &changed).is_err(), "byte {at}");
            assert!(sealer.open(place(), &stored[..at]).is_err(), "cut at {at}");
        }
        let spelt = sealer.spell(place(), "words").unwrap();
        assert!(sealer.read(Sealed::ReplyBody.of(Uuid::from_u128(2)), &spelt).is_err());
    }

    #[test]
    fn keys_come_and_go() {
        let (old, both, new) = (sealing([&OLD]), sealing([&NEW, &OLD]), sealing([&NEW]));
        let by_old = old.seal(place(), b"text").unwrap();
        let by_new = both.seal(place(), b"text").unwrap();
        assert_eq!(both.open(place(), &by_old).unwrap().as_ref(), b"text");
        assert_eq!(new.open(place(), &by_new).unwrap().as_ref(), b"text");
        let refused = new.open(place(), &by_old).unwrap_err().to_string();
        assert!(
            refused.contains(&old.key_ids()[0].to_string()) && refused.contains("seal_keys"),
            "{refused}"
        );
        assert!(old.open(place(), &by_new).is_err());
        // What was written before anything was sealed, and under the derived key, is read all the same.
        for before in [plain(), sealing([])] {
            let stored = before.seal(place(), b"text").unwrap();
            assert_eq!(new.open(place(), &stored).unwrap().as_ref(), b"text");
        }
        // Of another ledger's index key another key is derived.
        let other = Sealer::new(b"other").with_keys([], true);
        assert_ne!(other.key_ids(), sealing([]).key_ids());
    }

    #[test]
    fn the_index_needs_the_key_and_ignores_case() {
        let (one, other) = (Sealer::new(b"one"), Sealer::new(b"other"));
        let address = Phi::new("ana@example.org");
        assert_eq!(one.index(&address), one.index(&Phi::new("Ana@Example.org")));
        assert_ne!(one.index(&address), other.index(&address));
        assert_eq!(one.index(&address), one.clone().with_keys([&NEW], true).index(&address), "its key stays");
        assert_ne!(one.fingerprint(b"x"), one.fingerprint(b"y"));
        assert_ne!(one.fingerprint(b"x"), other.fingerprint(b"x"));
    }

    #[test]
    fn a_key_of_ones_own_has_a_mark_whatever_it_seals() {
        let mark = sealing([]).key_mark();
        assert!(mark.as_ref().is_some_and(|mark| mark.len() == 64));
        assert_eq!(sealing([&NEW, &OLD]).key_mark(), mark);
        assert_eq!(plain().with_keys([], false).key_mark(), mark);
        assert_eq!(plain().key_mark(), None);
        assert_ne!(Sealer::new(b"other").with_keys([], true).key_mark(), mark);
    }

    /// Run by hand: `cargo test --release --lib sealer -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement, run by hand"]
    fn what_a_value_costs() {
        let rounds = 200_000_u32;
        for size in [12, 300, 1_000] {
            let text = vec![b'x'; size];
            for (name, sealer) in [("plain", plain()), ("sealed", sealing([&NEW, &OLD]))] {
                let began = std::time::Instant::now();
                let mut last = Vec::new();
                for _ in 0..rounds {
                    last = std::hint::black_box(sealer.seal(place(), &text).unwrap());
                }
                let sealed = began.elapsed();
                let began = std::time::Instant::now();
                for _ in 0..rounds {
                    std::hint::black_box(sealer.open(place(), &last).unwrap());
                }
                let opened = began.elapsed();
                println!("{size} bytes, {name}: seal {:?}, open {:?}", sealed / rounds, opened / rounds);
            }
        }
    }
}
