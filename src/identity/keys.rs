//! The keys that a provider signs with (RFC 7517), and whether a token was signed by one of them.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{IdentityProvider, Trouble, exchange, unwell};
use crate::config::oidc::Signing;
use crate::policy::identity::Fault;

/// Keys that are looked at.
const MAX_KEYS: usize = 100;

/// The published keys that can verify a signature.
#[derive(Debug)]
pub(super) struct Keys(Vec<Jwk>);

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

impl Keys {
    pub(super) async fn fetch(client: &reqwest::Client, url: reqwest::Url) -> Result<Self, Trouble> {
        let (status, body) = exchange(client.get(url)).await?;
        if !status.is_success() {
            return Err(unwell(status, "keys_missing"));
        }
        Self::read(&body).ok_or(Trouble::Unfit("keys_unreadable"))
    }

    /// Keys of kinds that are not known here stand beside the others and count for nothing.
    fn read(body: &[u8]) -> Option<Self> {
        let published: Published = serde_json::from_slice(body).ok()?;
        let known =
            published.keys.into_iter().take(MAX_KEYS).filter_map(|key| serde_json::from_value(key).ok());
        Some(Self(known.filter(verifies).collect()))
    }

    pub(super) fn any_fits(&self, allowed: &[Signing]) -> bool {
        self.0.iter().any(|key| allowed.iter().any(|signing| fits(key, algorithm(*signing))))
    }

    /// The keys that may have signed: of that name; without a name the only one of its kind.
    fn candidates(&self, kid: Option<&str>, alg: Algorithm) -> Vec<&Jwk> {
        let of_kind = self.0.iter().filter(|key| fits(key, alg));
        match kid {
            Some(kid) => of_kind.filter(|key| key.common.key_id.as_deref() == Some(kid)).collect(),
            None => {
                let all: Vec<&Jwk> = of_kind.collect();
                if all.len() == 1 { all } else { Vec::new() }
            }
        }
    }
}

impl IdentityProvider {
    /// The claims of a token that one of the provider's keys has signed. A key that is not known makes the keys be fetched
    /// anew, once in a while.
    pub(super) async fn verified(&self, token: &str) -> Result<Map<String, Value>, Trouble> {
        let header = decode_header(token).map_err(|_| Fault::Unreadable)?;
        let alg = header.alg;
        if !self.settings.algorithms.iter().any(|signing| algorithm(*signing) == alg) {
            return Err(Fault::Algorithm.into());
        }
        // RFC 7515, 4.1.11: what must be understood is not.
        if header.crit.is_some() {
            return Err(Fault::Unreadable.into());
        }
        let kid = header.kid.as_deref();
        let known = |keys: &Keys| !keys.candidates(kid, alg).is_empty();
        let keys = self.keys(known).await?;
        let candidates = keys.candidates(kid, alg);
        if candidates.is_empty() {
            return Err(Fault::Key.into());
        }
        let claims = candidates.into_iter().find_map(|key| claims(token, key, alg));
        claims.ok_or_else(|| Fault::Signature.into())
    }

    pub(super) async fn keys(
        &self,
        suffices: impl Fn(&Keys) -> bool,
    ) -> Result<std::sync::Arc<Keys>, Trouble> {
        let document = self.document().await?;
        self.keys.get(suffices, Keys::fetch(&self.client, document.jwks_uri.clone())).await
    }
}

fn claims(token: &str, key: &Jwk, alg: Algorithm) -> Option<Map<String, Value>> {
    let key = DecodingKey::from_jwk(key).ok()?;
    let mut validation = Validation::new(alg);
    // Claims are judged by policy, by the ledger's clock.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    decode(token, &key, &validation).ok().map(|data| data.claims)
}

/// Whether a key is there for signatures, and its half that signs is not published along with it.
fn verifies(key: &Jwk) -> bool {
    let for_that = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    for_that && !matches!(key.algorithm, AlgorithmParameters::OctetKey(_))
}

/// Whether a key is of the kind that an algorithm takes, and not for another one.
fn fits(key: &Jwk, alg: Algorithm) -> bool {
    let for_that = key.common.key_algorithm.is_none_or(|named| named.to_string() == format!("{alg:?}"));
    for_that && DecodingKey::from_jwk(key).is_ok_and(|key| key.family() == alg.family()) && on_curve(key, alg)
}

/// RFC 7518, 3.4: each of these algorithms has a curve of its own.
fn on_curve(key: &Jwk, alg: Algorithm) -> bool {
    use jsonwebtoken::jwk::EllipticCurve::{P256, P384};
    match &key.algorithm {
        AlgorithmParameters::EllipticCurve(of) => {
            matches!((alg, &of.curve), (Algorithm::ES256, P256) | (Algorithm::ES384, P384))
        }
        _ => true,
    }
}

const fn algorithm(signing: Signing) -> Algorithm {
    match signing {
        Signing::Rs256 => Algorithm::RS256,
        Signing::Rs384 => Algorithm::RS384,
        Signing::Rs512 => Algorithm::RS512,
        Signing::Ps256 => Algorithm::PS256,
        Signing::Ps384 => Algorithm::PS384,
        Signing::Ps512 => Algorithm::PS512,
        Signing::Es256 => Algorithm::ES256,
        Signing::Es384 => Algorithm::ES384,
        Signing::EdDsa => Algorithm::EdDSA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_verify_stand_beside_the_others_and_count_for_nothing() {
        let ec = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
        let body = format!(
            r#"{{"keys":[{{"kty":"oct","k":"c2VjcmV0","kid":"s","alg":"HS256"}},{{"kty":"NEW","z":1}},{{"kid":"none"}},
            {{{ec},"kid":"a","use":"sig"}},{{{ec},"kid":"b","use":"enc"}},{{{ec},"kid":"c","alg":"ES384"}}]}}"#
        );
        let keys = Keys::read(body.as_bytes()).unwrap();
        let found = |kid, alg| keys.candidates(kid, alg).len();
        assert_eq!(found(Some("a"), Algorithm::ES256), 1);
        assert_eq!(found(None, Algorithm::ES256), 1, "the only one of its kind");
        for (kid, alg) in [
            ("a", Algorithm::ES384),
            ("a", Algorithm::RS256),
            ("a", Algorithm::HS256),
            ("b", Algorithm::ES256),
            ("c", Algorithm::ES256),
            ("c", Algorithm::ES384),
            ("s", Algorithm::HS256),
        ] {
            assert_eq!(found(Some(kid), alg), 0, "{kid} {alg:?}");
        }
        assert!(keys.any_fits(&[Signing::Es256]) && !keys.any_fits(&[Signing::Rs256, Signing::EdDsa]));
        assert!(Keys::read(b"[]").is_none());
    }
}
