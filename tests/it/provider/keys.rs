//! Keys made for one run of the tests.

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A private key in PEM (PKCS#8) and its public half as aws-lc verifies with it.
pub(super) struct Pair {
    pub(super) pem: String,
    pub(super) public: Vec<u8>,
    /// The public half as a SubjectPublicKeyInfo.
    pub(super) public_x509: Vec<u8>,
}

/// RSA, 2048 bits.
pub(super) fn rsa() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
        Pair {
            pem: pem(der.as_ref()),
            public: key.public_key().as_ref().to_vec(),
            public_x509: x509(key.public_key()),
        }
    })
}

/// P-384.
pub(super) fn p384() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| {
        let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref()).unwrap();
        Pair {
            pem: pem(der.as_ref()),
            public: key.public_key().as_ref().to_vec(),
            public_x509: x509(key.public_key()),
        }
    })
}

fn x509<'a>(key: &impl AsDer<PublicKeyX509Der<'a>>) -> Vec<u8> {
    key.as_der().unwrap().as_ref().to_vec()
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).unwrap()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}
