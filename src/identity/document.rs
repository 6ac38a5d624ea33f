//! What a provider says of itself (OpenID Connect Discovery 1.0).

use reqwest::Url;
use serde::Deserialize;

use super::{Trouble, exchange, unwell};

/// How a client with a secret shows it at the token end point (OpenID Connect Core 1.0, 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthMethod {
    Basic,
    Post,
}

/// The document, as far as it is of use here. Every address in it is https, or on this machine.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) jwks_uri: Url,
    pub(super) end_session_endpoint: Option<Url>,
    pub(super) auth_method: AuthMethod,
    /// Whether answers to the browser name the issuer (RFC 9207).
    pub(super) names_issuer: bool,
    pub(super) told: Told,
}

/// The document as it is written.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    jwks_uri: Option<String>,
    end_session_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    pub(super) response_types_supported: Option<Vec<String>>,
    pub(super) scopes_supported: Option<Vec<String>>,
    pub(super) code_challenge_methods_supported: Option<Vec<String>>,
    pub(super) id_token_signing_alg_values_supported: Option<Vec<String>>,
}

impl Document {
    pub(super) async fn fetch(client: &reqwest::Client, issuer: &str) -> Result<Self, Trouble> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let (status, body) = exchange(client.get(url)).await?;
        if !status.is_success() {
            return Err(unwell(status, "discovery_missing"));
        }
        Self::read(&body, issuer)
    }

    fn read(body: &[u8], issuer: &str) -> Result<Self, Trouble> {
        let told: Told = serde_json::from_slice(body).map_err(|_| Trouble::Unfit("discovery_unreadable"))?;
        // Discovery 1.0, 4.3: to the letter, or somebody else's document could be shown for this one.
        if told.issuer != issuer {
            return Err(Trouble::Unfit("discovery_issuer"));
        }
        let needed = |text: &Option<String>| {
            text.as_deref().and_then(place).ok_or(Trouble::Unfit("discovery_endpoints"))
        };
        let methods = told.token_endpoint_auth_methods_supported.as_ref();
        let knows = |method: &str| methods.is_none_or(|known| known.iter().any(|one| one == method));
        Ok(Self {
            authorization_endpoint: needed(&told.authorization_endpoint)?,
            token_endpoint: needed(&told.token_endpoint)?,
            jwks_uri: needed(&told.jwks_uri)?,
            end_session_endpoint: told.end_session_endpoint.as_deref().and_then(place),
            auth_method: if knows("client_secret_basic") { AuthMethod::Basic } else { AuthMethod::Post },
            names_issuer: told.authorization_response_iss_parameter_supported,
            told,
        })
    }
}

/// An address that a secret may be sent to.
fn place(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let here = crate::config::is_loopback(url.host_str()?);
    let safe = url.scheme() == "https" || (url.scheme() == "http" && here);
    (safe && url.username().is_empty() && url.fragment().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(change: Value) -> Result<Document, Trouble> {
        let mut told = json!({
            "issuer": "https://login.example.org", "authorization_endpoint": "https://login.example.org/a?tenant=1",
            "token_endpoint": "https://login.example.org/t", "jwks_uri": "https://login.example.org/k",
            "something_new": {"x": 1},
        });
        told.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        Document::read(told.to_string().as_bytes(), "https://login.example.org")
    }

    #[test]
    fn a_document_is_the_issuers_own_and_leads_to_safe_places() {
        assert_eq!(read(json!({})).unwrap().auth_method, AuthMethod::Basic);
        let post =
            json!({"token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"]});
        assert_eq!(read(post).unwrap().auth_method, AuthMethod::Post);
        for (change, expected) in [
            (json!({"issuer": "https://login.example.org/"}), "discovery_issuer"),
            (json!({"issuer": "https://evil.example"}), "discovery_issuer"),
            (json!({"token_endpoint": "http://login.example.org/t"}), "discovery_endpoints"),
            (json!({"token_endpoint": "http://localhost.example.org/t"}), "discovery_endpoints"),
            (json!({"jwks_uri": "file:///etc/passwd"}), "discovery_endpoints"),
            (json!({"jwks_uri": null}), "discovery_endpoints"),
            (json!({"authorization_endpoint": "javascript:alert(1)"}), "discovery_endpoints"),
            (json!({"authorization_endpoint": "https://u:p@login.example.org/a"}), "discovery_endpoints"),
        ] {
            assert_eq!(read(change.clone()).err(), Some(Trouble::Unfit(expected)), "{change}");
        }
        assert!(read(json!({"jwks_uri": "http://127.0.0.1:9/k"})).is_ok(), "this machine");
        let unsafe_exit = json!({"end_session_endpoint": "http://login.example.org/out"});
        assert!(read(unsafe_exit).unwrap().end_session_endpoint.is_none());
        assert_eq!(Document::read(b"<html>", "x").err(), Some(Trouble::Unfit("discovery_unreadable")));
    }
}
