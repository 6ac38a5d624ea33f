//! The access token of a FHIR server: SMART Backend Services (IG 2.2.0, `private_key_jwt`).
//!
//! Token end point from the settings or from `{base}/.well-known/smart-configuration`; an assertion signed
//! RS384 or ES384, four minutes long, **with a new `jti` for every call** (servers refuse replays); the token
//! kept until shortly before it expires; one call at a time however many messages wait for it, and all that waited while
//! it failed have failed with it.
//!
//! Nothing has been sent while a token is being fetched: no failure here is `Ambiguous`.

use std::time::{Duration, Instant, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::config::provider::{FhirPortalSettings, JwtAlgorithm, On5xx};
use crate::config::secret::Secret;
use crate::domain::ids::ProviderName;
use crate::domain::outbound::{FailureKind, SendError};
use crate::domain::problem::Problem;
use crate::provider::http;

/// The specification allows five minutes; the rest is for clocks that differ.
const ASSERTION_SECONDS: u64 = 240;
/// Where the server does not say how long a token lives.
const DEFAULT_LIFETIME_SECONDS: u64 = 60;
/// Given up this long before its end, or after four fifths of a short life.
const MARGIN: Duration = Duration::from_secs(30);
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Fetches and keeps the token of one server.
pub(super) struct TokenSource {
    client: reqwest::Client,
    provider: ProviderName,
    base: String,
    configured_url: Option<String>,
    client_id: String,
    scope: String,
    header: Header,
    key: EncodingKey,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    token_url: Option<String>,
    token: Option<(Secret, Instant)>,
    failed: Option<(SendError, Instant)>,
}

impl TokenSource {
    /// Reads the settings; `base` is the checked base URL.
    pub(super) fn new(
        provider: &ProviderName,
        settings: &FhirPortalSettings,
        client: reqwest::Client,
        base: String,
    ) -> Result<Self, Problem> {
        let pem = settings.private_key.expose().as_bytes();
        let (algorithm, key, cure) = match settings.algorithm {
            JwtAlgorithm::Rs384 => {
                (Algorithm::RS384, EncodingKey::from_rsa_pem(pem), "give an RSA key in PEM (2048 bit and up)")
            }
            JwtAlgorithm::Es384 => {
                (Algorithm::ES384, EncodingKey::from_ec_pem(pem), "give a P-384 key in PEM (PKCS#8)")
            }
        };
        let unusable = || http::fault(provider, "private_key", "does not fit `algorithm`", cure);
        let source = Self {
            client,
            provider: provider.clone(),
            base,
            configured_url: settings
                .token_url
                .as_ref()
                .map(|url| http::end_point(provider, "token_url", url))
                .transpose()?,
            client_id: settings.client_id.clone(),
            scope: settings.scope.clone(),
            header: Header { kid: Some(settings.key_id.clone()), ..Header::new(algorithm) },
            key: key.map_err(|_| unusable())?,
            kept: Mutex::default(),
        };
        // A key that reads well may still be of the wrong curve or too short: sign once, now.
        source.assertion("check").map_err(|_| unusable())?;
        Ok(source)
    }

    /// A token that is good now; never `refused`, which the server has turned down.
    pub(super) async fn token(&self, refused: Option<&Secret>) -> Result<Secret, SendError> {
        let asked = Instant::now();
        let mut kept = self.kept.lock().await;
        if let Some((error, at)) = &kept.failed
            && asked < *at
        {
            return Err(error.clone());
        }
        if let Some((token, until)) = &kept.token
            && Instant::now() < *until
            && refused != Some(token)
        {
            return Ok(token.clone());
        }
        let fetched = match self.token_url(&mut kept).await {
            Ok(url) => self.fetch(&url).await,
            Err(error) => Err(error),
        };
        let (token, lifetime) = fetched.inspect_err(|error| {
            kept.failed = Some((error.clone(), Instant::now()));
        })?;
        kept.token = Some((token.clone(), Instant::now() + lifetime - MARGIN.min(lifetime / 5)));
        Ok(token)
    }

    async fn token_url(&self, kept: &mut Kept) -> Result<String, SendError> {
        if let Some(url) = self.configured_url.as_ref().or(kept.token_url.as_ref()) {
            return Ok(url.clone());
        }
        let request = self.client.get(format!("{}/.well-known/smart-configuration", self.base));
        let answer = http::exchange(request).await.map_err(not_sent)?;
        if !answer.status.is_success() {
            return Err(not_sent(http::refusal(&answer, On5xx::NotSent)));
        }
        let unusable = || SendError::new(FailureKind::Misconfigured, "smart_configuration");
        let found: SmartConfiguration = serde_json::from_slice(&answer.body).map_err(|_| unusable())?;
        let url =
            http::end_point(&self.provider, "token_url", &found.token_endpoint).map_err(|_| unusable())?;
        kept.token_url = Some(url.clone());
        Ok(url)
    }

    async fn fetch(&self, url: &str) -> Result<(Secret, Duration), SendError> {
        let assertion =
            self.assertion(url).map_err(|_| SendError::new(FailureKind::Misconfigured, "private_key"))?;
        let request = self.client.post(url).form(&[
            ("grant_type", "client_credentials"),
            ("scope", &self.scope),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &assertion),
        ]);
        let answer = http::exchange(request).await.map_err(not_sent)?;
        if !answer.status.is_success() {
            return Err(token_refused(not_sent(http::refusal(&answer, On5xx::NotSent))));
        }
        let granted: Granted = serde_json::from_slice(&answer.body)
            .map_err(|_| SendError::new(FailureKind::Misconfigured, "token_answer"))?;
        let seconds = granted.expires_in.unwrap_or(DEFAULT_LIFETIME_SECONDS).min(86_400);
        Ok((granted.access_token, Duration::from_secs(seconds)))
    }

    fn assertion(&self, audience: &str) -> jsonwebtoken::errors::Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = Claims {
            iss: &self.client_id,
            sub: &self.client_id,
            aud: audience,
            iat: now,
            exp: now + ASSERTION_SECONDS,
            jti: uuid::Uuid::now_v7().to_string(),
        };
        jsonwebtoken::encode(&self.header, &claims, &self.key)
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    jti: String,
}

#[derive(Deserialize)]
struct SmartConfiguration {
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    expires_in: Option<u64>,
}

/// The message itself has not been on the wire.
fn not_sent(error: SendError) -> SendError {
    match error.kind {
        FailureKind::Ambiguous => SendError { kind: FailureKind::Transient, ..error },
        _ => error,
    }
}

/// A refused assertion (RFC 6749, 5.2 answers 400 or 401) is our key, client id or scope.
fn token_refused(error: SendError) -> SendError {
    match error.kind {
        FailureKind::Rejected | FailureKind::Misconfigured => {
            SendError::new(FailureKind::Misconfigured, "token_refused")
        }
        _ => error,
    }
}
