//! Twilio's webhooks: is it Twilio that calls, and what does it say?
//!
//! `X-Twilio-Signature` is the base64 of HMAC-SHA1, keyed by the auth token, over the URL exactly as we gave it,
//! query included, and then:
//!
//! | body | what follows the URL |
//! |---|---|
//! | a form | name and value of each parameter, names sorted, each different value of a name once, sorted |
//! | JSON | nothing: the URL's parameter `bodySHA256` is the SHA-256 of the body, in hexadecimal digits |
//!
//! The URL is put together from the configured one and the query of the request: behind a proxy neither Host nor path
//! are what Twilio has called, and a Host can be anything. With and without the scheme's own port it is the same URL, and
//! with and without the fragment by which it is asked to come again ([`super::COMES_AGAIN`]).
//! Twilio adds parameters without notice, so all that come are signed over and those that are not known are let be.
//!
//! Where a rule at Twilio has a SharedKey sign instead of the auth token, `X-Twilio-Webhooks-Signature-Settings` says by
//! which algorithm (`key=webhooks_sharedkey_...,algorithm=HMAC_SHA256`); what is signed is the same. With that header
//! nothing but the shared key counts, without it nothing but the token and the one before it.
//!
//! Source: Twilio's pages on webhook security and on shared keys, and its libraries for Python and Node; the vectors below
//! are those of the Python one.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::config::secret::Secret;
use crate::domain::ids::SendKey;
use crate::provider::webhook::{Unheard, Webhook};

const SIGNATURE: &str = "x-twilio-signature";
const SETTINGS: &str = "x-twilio-webhooks-signature-settings";
/// Parameters of one request; Twilio sends about twenty.
const MAX_FIELDS: usize = 200;

/// What genuine webhooks are signed by.
pub(super) struct Keys {
    /// The auth token and the one before it.
    pub(super) tokens: [Option<Secret>; 2],
    pub(super) shared: Option<Secret>,
}

/// How a webhook says that it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Sha1,
    Sha256,
}

impl Keys {
    /// The algorithm and the keys that count for this request; `None` where it is signed in no way that is known.
    fn of(&self, call: &Webhook<'_>) -> Option<(Algorithm, Vec<&Secret>)> {
        let Some(settings) = call.headers.get(SETTINGS) else {
            return Some((Algorithm::Sha1, self.tokens.iter().flatten().collect()));
        };
        let mut parts = settings.to_str().ok()?.split(',');
        let algorithm = match parts.find_map(|part| part.trim().strip_prefix("algorithm="))? {
            "HMAC_SHA1" => Algorithm::Sha1,
            "HMAC_SHA256" => Algorithm::Sha256,
            _ => return None,
        };
        Some((algorithm, self.shared.iter().collect()))
    }
}

/// Names and values, in the order they came.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The value of a name; an empty one counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// A SID under `name`.
    pub(super) fn sid(&self, name: &str) -> Result<String, Unheard> {
        self.get(name).filter(|sid| super::is_sid(sid)).map(str::to_owned).ok_or(Unheard::Unreadable)
    }

    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// A code: at most ten digits.
    pub(super) fn code(&self, name: &str) -> Option<u32> {
        self.get(name).filter(|code| code.len() <= 10)?.parse().ok()
    }
}

/// What the URL that was called carries, which is what we once put there.
pub(super) struct Asked {
    /// `None`: the URL is the one that is entered at Twilio for what patients send.
    pub(super) key: Option<SendKey>,
    pub(super) event: Option<String>,
    pub(super) fields: Fields,
}

/// Verifies `call`, which was made to the URL `given` and a query, and reads it.
///
/// # Errors
/// [`Unheard::Forged`] where the signature does not fit; [`Unheard::Unreadable`] where it does, and we do not
/// understand what was signed.
pub(super) fn read(given: &str, keys: &Keys, call: &Webhook<'_>) -> Result<Asked, Unheard> {
    let query = pairs(call.query.as_bytes()).ok_or(Unheard::Forged)?;
    let last = |name: &str| query.iter().rev().find(|(known, _)| known == name).map(|(_, v)| v.as_str());
    let is_json = call
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("application/json"));
    let fields = if is_json {
        let hash = last("bodySHA256").and_then(|hash| hex::decode(hash).ok()).ok_or(Unheard::Forged)?;
        if Sha256::digest(call.body).as_slice() != hash {
            return Err(Unheard::Forged);
        }
        Vec::new()
    } else {
        pairs(call.body).ok_or(Unheard::Forged)?
    };
    let signature = call.headers.get(SIGNATURE).and_then(|value| STANDARD.decode(value.as_bytes()).ok());
    let signature = signature.ok_or(Unheard::Forged)?;
    let urls = urls(given, call.query).ok_or(Unheard::NoWebhook)?;
    let (algorithm, keys) = keys.of(call).ok_or(Unheard::Forged)?;
    let genuine = |url: &String| {
        keys.iter().any(|key| match algorithm {
            Algorithm::Sha1 => fits::<Hmac<Sha1>>(key, url, &fields, &signature),
            Algorithm::Sha256 => fits::<Hmac<Sha256>>(key, url, &fields, &signature),
        })
    };
    if !urls.iter().any(genuine) {
        return Err(Unheard::Forged);
    }
    let key = match last("send_key") {
        Some(key) => Some(SendKey::parse(key).ok_or(Unheard::Unreadable)?),
        None => None,
    };
    let event = last("event").map(str::to_owned);
    let fields = if is_json { members(call.body)? } else { fields };
    Ok(Asked { key, event, fields: Fields(fields) })
}

/// Compared by the library, in constant time.
fn fits<M: Mac + KeyInit>(key: &Secret, url: &str, fields: &[(String, String)], signature: &[u8]) -> bool {
    let mut fields: Vec<&(String, String)> = fields.iter().collect();
    fields.sort_unstable();
    fields.dedup();
    // HMAC takes keys of any length; the error type exists for other algorithms.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key.expose().as_bytes()) else { return false };
    mac.update(url.as_bytes());
    for (name, value) in fields {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    mac.verify_slice(signature).is_ok()
}

/// The URL that was called, as [`super::Callback`] wrote it: without the scheme's port and with it, without its fragment
/// and with it. Twilio's page says that the URL is signed up to the end of its query; whoever signs more of it knows the
/// key as well.
fn urls(given: &str, query: &str) -> Option<[String; 4]> {
    let url = Url::parse(given).ok()?;
    let rest = match query {
        "" => url.path().to_owned(),
        query => format!("{}?{query}", url.path()),
    };
    let host = url.host_str()?;
    let plain = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let full = format!("{host}:{}", url.port_or_known_default()?);
    let again = format!("{rest}#{}", url.fragment().unwrap_or(super::COMES_AGAIN));
    let of = |authority: &str, rest: &str| format!("{}://{authority}{rest}", url.scheme());
    Some([of(&plain, &rest), of(&full, &rest), of(&plain, &again), of(&full, &again)])
}

/// `application/x-www-form-urlencoded`; `None` where it is no UTF-8, or longer than anybody's.
fn pairs(text: &[u8]) -> Option<Vec<(String, String)>> {
    let parts = text.split(|b| *b == b'&').filter(|part| !part.is_empty());
    let mut pairs = Vec::new();
    for part in parts {
        if pairs.len() == MAX_FIELDS {
            return None;
        }
        let mut halves = part.splitn(2, |b| *b == b'=');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        pairs.push((decode(name)?, decode(value)?));
    }
    Some(pairs)
}

fn decode(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, tail @ ..]) => {
                let digit = |b: u8| char::from(b).to_digit(16).and_then(|n| u8::try_from(n).ok());
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                rest = tail;
            }
            (b'%', _) => return None,
            (byte, _) => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// The members of a JSON object that are texts or numbers.
fn members(body: &[u8]) -> Result<Vec<(String, String)>, Unheard> {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return Err(Unheard::Unreadable) };
    let text = |value: &Value| match value {
        Value::String(text) => Some(Cow::Owned::<str>(text.clone())),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    };
    Ok(object.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?.into_owned()))).collect())
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::*;
    use crate::provider::webhook::Door;

    const TOKEN: &str = "12345";

    fn keys() -> Keys {
        let previous = Some(Secret::new("before"));
        Keys { tokens: [Some(Secret::new(TOKEN)), previous], shared: Some(Secret::new("shared-key-secret")) }
    }

    fn check(given: &str, query: &str, body: &[u8], json: bool, signature: &str) -> Result<Asked, Unheard> {
        let mut headers = HeaderMap::new();
        let media =
            if json { "application/json; charset=utf-8" } else { "application/x-www-form-urlencoded" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        headers.insert(SIGNATURE, HeaderValue::from_str(signature).unwrap());
        let call = Webhook { door: Door::Status, query, headers: &headers, body };
        read(given, &keys(), &call)
    }

    /// By the vendor's rule, written down once more: the vectors below check it.
    fn sign(url: &str, fields: &[(&str, &str)]) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
        mac.update(url.as_bytes());
        for (name, value) in fields {
            mac.update(name.as_bytes());
            mac.update(value.as_bytes());
        }
        STANDARD.encode(mac.finalize().into_bytes())
    }

    /// Verified, though it carries no send key.
    fn fits_without_key(answer: &Result<Asked, Unheard>) -> bool {
        matches!(answer, Ok(Asked { key: None, .. }))
    }

    #[test]
    fn the_vectors_of_the_vendors_library_fit() {
        let body = b"MessageSid=SM1&MessageStatus=delivered&To=%2B15551234567";
        let signature = "iu6HkaDfqQ2Q/1ALhFozg9NTUtA=";
        assert!(fits_without_key(&check("https://example.com/cb", "x=1", body, false, signature)));
        // Any order of the parameters, and a repeated one.
        let body = b"To=%2B15551234567&MessageStatus=delivered&MessageSid=SM1&MessageSid=SM1";
        assert!(fits_without_key(&check("https://example.com/cb", "x=1", body, false, signature)));
        // Made for the URL with its port, and good for the one without.
        let signature = "7UW4hzbB01jxToYojVqPNX3YVv0=";
        for given in ["https://example.com:443/cb", "https://example.com/cb"] {
            assert!(fits_without_key(&check(given, "", b"A=1&B=2", false, signature)), "{given}");
        }
        assert!(!fits_without_key(&check("http://example.com/cb", "", b"A=1&B=2", false, signature)));
    }

    #[test]
    fn a_shared_key_signs_by_its_algorithm_and_a_token_may_be_exchanged() {
        let body = b"MessageSid=SM1&MessageStatus=delivered&To=%2B15551234567";
        let signed = "https://example.com/cb?x=1MessageSidSM1MessageStatusdeliveredTo+15551234567";
        let sha1 = |key: &str| {
            let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).unwrap();
            mac.update(signed.as_bytes());
            STANDARD.encode(mac.finalize().into_bytes())
        };
        // HMAC-SHA256 of the text of the vendor's first vector, made by another program.
        let sha256 = || "B9gzGcfxSWX9DxHtTgu0hSJAaQz4cVKFmd/73RXLmPo=".to_owned();
        let named = |algorithm: &str| Some(format!("key=webhooks_sharedkey_01abc,algorithm={algorithm}"));
        let none = || Keys { tokens: [Some(Secret::new(TOKEN)), None], shared: None };
        for (settings, signature, keys, genuine) in [
            (named("HMAC_SHA256"), sha256(), keys(), true),
            (Some("algorithm=HMAC_SHA256, key=webhooks_sharedkey_01abc".to_owned()), sha256(), keys(), true),
            (named("HMAC_SHA1"), sha1("shared-key-secret"), keys(), true),
            (None, sha1(TOKEN), keys(), true),
            (None, sha1("before"), keys(), true),
            (None, sha1("before"), none(), false),
            // What is said and what is done must be one, and nobody has a key that is not set.
            (None, sha256(), keys(), false),
            (None, sha1("shared-key-secret"), keys(), false),
            (named("HMAC_SHA256"), sha256(), none(), false),
            (named("HMAC_SHA256"), sha1("shared-key-secret"), keys(), false),
            (named("HMAC_SHA1"), sha1(TOKEN), keys(), false),
            (named("HMAC_SHA1"), sha256(), keys(), false),
            (named("NONE"), sha256(), keys(), false),
            (named(""), sha1(TOKEN), keys(), false),
            (Some("key=webhooks_sharedkey_01abc".to_owned()), sha1(TOKEN), keys(), false),
            (named("HMAC_SHA256"), sha256().replace('B', "C"), keys(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(SIGNATURE, HeaderValue::from_str(&signature).unwrap());
            if let Some(settings) = &settings {
                headers.insert(SETTINGS, HeaderValue::from_str(settings).unwrap());
            }
            let call = Webhook { door: Door::Status, query: "x=1", headers: &headers, body };
            let heard = read("https://example.com/cb", &keys, &call);
            assert_eq!(heard.is_ok(), genuine, "{settings:?} {signature}");
        }
    }

    #[test]
    fn the_fragment_is_signed_over_or_not() {
        for fragment in ["", "#rc=5&rp=all"] {
            let signature = sign(&format!("https://example.com/cb?x=1{fragment}"), &[("A", "1")]);
            assert!(fits_without_key(&check("https://example.com/cb", "x=1", b"A=1", false, &signature)));
        }
        let signature = sign("https://example.com/cb?x=1#rc=4", &[("A", "1")]);
        assert!(!fits_without_key(&check("https://example.com/cb", "x=1", b"A=1", false, &signature)));
        assert!(fits_without_key(&check("https://example.com/cb#rc=4", "x=1", b"A=1", false, &signature)));
    }

    #[test]
    fn whatever_is_changed_is_seen() {
        let (given, query, body) = ("https://example.com/cb", "x=1", "MessageSid=SM1&MessageStatus=sent");
        let good = sign("https://example.com/cb?x=1", &[("MessageSid", "SM1"), ("MessageStatus", "sent")]);
        assert!(fits_without_key(&check(given, query, body.as_bytes(), false, &good)));
        for (given, query, body, signature) in [
            (given, query, "MessageSid=SM1&MessageStatus=delivered", good.as_str()),
            (given, query, "MessageSid=SM1&MessageStatus=sent&Extra=1", &good),
            (given, query, "MessageSid=SM1", &good),
            (given, query, "MessageSid=SM1&MessageStatus=sen%74%", &good),
            (given, query, "MessageSid=SM1&MessageStatus=%ff", &good),
            (given, "x=2", body, &good),
            (given, "", body, &good),
            ("https://example.com/cb/", query, body, &good),
            ("https://example.org/cb", query, body, &good),
            ("https://example.com:8443/cb", query, body, &good),
            (given, query, body, ""),
            (given, query, body, "AAAA"),
            (given, query, body, "not base64"),
            (given, query, body, &good.to_lowercase()),
        ] {
            let answer = check(given, query, body.as_bytes(), false, signature).err();
            assert_eq!(answer, Some(Unheard::Forged), "{given} {query} {body} {signature}");
        }
        let call = Webhook { door: Door::Status, query, headers: &HeaderMap::new(), body: body.as_bytes() };
        assert_eq!(read(given, &keys(), &call).err(), Some(Unheard::Forged), "no signature");
    }

    #[test]
    fn json_is_signed_by_its_hash_in_the_url() {
        let body = br#"{"MessageSid":"SM1","ErrorCode":30005,"Nested":{"no":1}}"#;
        let key = format!("{}-0", "0".repeat(32));
        let query = format!("send_key={key}&bodySHA256={}", hex::encode(Sha256::digest(body)));
        let good = sign(&format!("https://example.com/cb?{query}"), &[]);
        let asked = check("https://example.com/cb", &query, body, true, &good).ok().unwrap();
        assert_eq!(asked.key.unwrap().to_string(), key);
        assert_eq!(
            (asked.fields.get("MessageSid"), asked.fields.code("ErrorCode")),
            (Some("SM1"), Some(30005))
        );
        let forged = |query: &str, body: &[u8]| {
            let signature = sign(&format!("https://example.com/cb?{query}"), &[]);
            check("https://example.com/cb", query, body, true, &signature).err()
        };
        assert_eq!(forged(&query, br#"{"MessageSid":"SM2"}"#), Some(Unheard::Forged), "another body");
        assert_eq!(forged(&format!("send_key={key}"), body), Some(Unheard::Forged), "no hash of the body");
        assert_eq!(forged(&format!("send_key={key}&bodySHA256=zz"), body), Some(Unheard::Forged));
    }
}
