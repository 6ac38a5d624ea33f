//! DKIM signatures (RFC 6376; Ed25519 by RFC 8463), relaxed/relaxed, over the very bytes that go out.
//!
//! Our own, because lettre's takes RSA keys in PKCS#1 only, needs the `rsa` crate (RUSTSEC-2023-0071), and
//! walks headers by recursion, one call a character: a long enough name would overflow the stack.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::config::provider::{DkimAlgorithm, DkimSettings};

/// What is signed where it is there. RFC 8058 needs both List-Unsubscribe headers covered.
const SIGNED: &[&str] = &[
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "mime-version",
    "content-type",
    "content-language",
    "auto-submitted",
    "list-unsubscribe",
    "list-unsubscribe-post",
];

/// Width of a line of the signature itself.
const FOLD: usize = 70;

/// Signs for one domain with one key.
pub(super) struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// `None` where the key does not fit the algorithm: RSA wants PEM of 2048 bits and up, Ed25519 the 32
    /// bytes in base64, or PEM.
    pub(super) fn new(settings: &DkimSettings) -> Option<Self> {
        let text = settings.private_key.expose().trim();
        let key = match settings.algorithm {
            DkimAlgorithm::Rsa => Key::Rsa(Box::new(rsa_key(text)?)),
            DkimAlgorithm::Ed25519 => Key::Ed25519(ed25519_key(text)?),
        };
        Some(Self { domain: settings.domain.clone(), selector: settings.selector.clone(), key })
    }

    /// The `DKIM-Signature` line (with its end) that goes in front of `mail`, a whole message with CRLF
    /// line ends. `None` where it is no message or cannot be signed.
    pub(super) fn sign(&self, mail: &str, unix_seconds: u64) -> Option<String> {
        let (head, body) = mail.split_once("\r\n\r\n")?;
        let headers = headers(head);
        let present: Vec<&str> =
            SIGNED.iter().copied().filter(|name| headers.iter().any(|(n, _)| n == name)).collect();
        let algorithm = match self.key {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        };
        // `from` once more than it occurs: a second From added on the way breaks the signature.
        let unsigned = format!(
            "v=1; a={algorithm}; c=relaxed/relaxed; d={};\r\n s={}; t={unix_seconds};\r\n h={}:from;\r\n bh={};\r\n b=",
            self.domain,
            self.selector,
            present.join(":\r\n "),
            STANDARD.encode(Sha256::digest(relaxed_body(body))),
        );
        let mut signed = String::new();
        for (name, value) in present.iter().filter_map(|name| headers.iter().find(|(n, _)| n == name)) {
            signed.push_str(&format!("{name}:{value}\r\n"));
        }
        signed.push_str(&format!("dkim-signature:{}", relaxed_value(&unsigned)));
        let signature = STANDARD.encode(self.key.sign(signed.as_bytes())?);
        let folded: Vec<&str> = (0..signature.len())
            .step_by(FOLD)
            .filter_map(|at| signature.get(at..signature.len().min(at + FOLD)))
            .collect();
        Some(format!("DKIM-Signature: {unsigned}{}\r\n", folded.join("\r\n ")))
    }
}

impl Key {
    fn sign(&self, data: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature).ok()?;
                Some(signature)
            }
            // RFC 8463: the key signs the digest, not the data.
            Self::Ed25519(key) => Some(key.sign(&Sha256::digest(data)).as_ref().to_vec()),
        }
    }
}

fn rsa_key(pem: &str) -> Option<RsaKeyPair> {
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()? {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok(),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
        _ => None,
    }
}

fn ed25519_key(text: &str) -> Option<Ed25519KeyPair> {
    if text.starts_with("-----") {
        let PrivateKeyDer::Pkcs8(der) = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()? else {
            return None;
        };
        return Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).ok();
    }
    Ed25519KeyPair::from_seed_unchecked(&STANDARD.decode(text).ok()?).ok()
}

/// Names in lower case with their relaxed values, folded lines joined.
fn headers(head: &str) -> Vec<(String, String)> {
    let mut lines: Vec<String> = Vec::new();
    for line in head.split("\r\n") {
        match lines.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => last.push_str(line),
            _ => lines.push(line.to_owned()),
        }
    }
    lines
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim_end().to_ascii_lowercase(), relaxed_value(value)))
        .collect()
}

/// Unfolded, runs of white space as one space, none at the ends (RFC 6376, 3.4.2).
fn relaxed_value(value: &str) -> String {
    value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Runs of white space as one space, none at line ends, no empty lines at the end (RFC 6376, 3.4.4).
fn relaxed_body(body: &str) -> String {
    let mut out = String::with_capacity(body.len());
    for line in body.split("\r\n") {
        let mut gap = false;
        for c in line.chars() {
            if c == ' ' || c == '\t' {
                gap = true;
                continue;
            }
            if std::mem::take(&mut gap) {
                out.push(' ');
            }
            out.push(c);
        }
        out.push_str("\r\n");
    }
    let kept = out.trim_end_matches("\r\n").len();
    out.truncate(kept);
    if !out.is_empty() {
        out.push_str("\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;

    #[test]
    fn canonical_forms_are_those_of_the_rfc() {
        // The example of RFC 6376, 3.4.5.
        let head = "A: X\r\nB : Y\t\r\n\tZ  ";
        assert_eq!(headers(head), [("a".to_owned(), "X".to_owned()), ("b".to_owned(), "Y Z".to_owned())]);
        assert_eq!(relaxed_body(" C \r\nD \t E\r\n\r\n\r\n"), " C\r\nD E\r\n");
        assert_eq!(relaxed_body("\r\n\r\n"), "");
        assert_eq!(relaxed_body("no end"), "no end\r\n");
    }

    /// RFC 8463, appendix A: key, message and both signatures' common parts.
    #[test]
    fn the_example_of_rfc_8463_has_its_body_hash() {
        let body = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
        assert_eq!(
            STANDARD.encode(Sha256::digest(relaxed_body(body))),
            "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
        );
    }

    #[test]
    fn a_key_of_the_wrong_kind_is_refused() {
        for (algorithm, key) in [
            (DkimAlgorithm::Rsa, "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="),
            (DkimAlgorithm::Ed25519, "c2hvcnQ="),
            (DkimAlgorithm::Ed25519, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
        ] {
            let settings = DkimSettings {
                domain: "example.org".to_owned(),
                selector: "s".to_owned(),
                private_key: Secret::new(key),
                algorithm,
            };
            assert!(Signer::new(&settings).is_none());
        }
    }
}
