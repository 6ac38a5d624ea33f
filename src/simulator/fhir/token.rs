//! The token endpoint of SMART Backend Services (SMART App Launch 2.2; RFC 7523): one client, who proves itself
//! with a short-lived signed assertion that may be used once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::json;

use super::{Fhir, KIND, plain_json, read_body, respond_to_fate};
use crate::simulator::SimulatorError;
use crate::simulator::clock::Moment;
use crate::simulator::config::FhirServer;
use crate::simulator::form::Form;
use crate::simulator::wire::Peer;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An assertion may live five minutes; clocks may differ by this much.
const MAX_LIFE_S: i64 = 300;
const SKEW_S: i64 = 5;

/// Assertions and tokens remembered; a client that needs more of them is broken.
const MAX_REMEMBERED: usize = 100_000;

/// Issues tokens and knows them again.
pub(in crate::simulator) struct Tokens {
    endpoint: String,
    client_id: Option<String>,
    key: Option<DecodingKey>,
    seconds: u32,
    /// Assertion ids that were used, with the second at which they may be forgotten.
    used: Mutex<HashMap<String, i64>>,
    /// Live tokens, with the microsecond of the monotonic clock at which they end.
    live: Mutex<HashMap<String, u64>>,
}

/// What an assertion must say.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    jti: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Why no token is given: RFC 6749 code, and what to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    error: &'static str,
    cure: &'static str,
}

const fn invalid_request(cure: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, error: "invalid_request", cure }
}

const fn invalid_client(cure: &'static str) -> Refusal {
    Refusal { status: StatusCode::UNAUTHORIZED, error: "invalid_client", cure }
}

impl Tokens {
    pub(super) fn new(server: &FhirServer, origin: &str) -> Result<Self, SimulatorError> {
        let key = match &server.public_key_pem {
            None => None,
            Some(pem) => Some(
                DecodingKey::from_rsa_pem(pem.as_bytes())
                    .or_else(|_| DecodingKey::from_ec_pem(pem.as_bytes()))
                    .map_err(|_| SimulatorError::PublicKey)?,
            ),
        };
        Ok(Self {
            endpoint: format!("{origin}/auth/token"),
            client_id: server.client_id.clone(),
            key,
            seconds: server.token_seconds,
            used: Mutex::default(),
            live: Mutex::default(),
        })
    }

    pub(in crate::simulator) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn is_live(&self, token: &str, now_us: u64) -> bool {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).get(token).is_some_and(|end| now_us < *end)
    }

    pub(in crate::simulator) fn revoke_all(&self) {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Checks the form of a token request.
    fn check(&self, form: &Form<'_>, now_s: i64) -> Result<(), Refusal> {
        if form.get("grant_type") != Some("client_credentials") {
            return Err(Refusal {
                status: StatusCode::BAD_REQUEST,
                error: "unsupported_grant_type",
                cure: "grant_type must be client_credentials",
            });
        }
        if !form.get("scope").is_some_and(|scope| scope.split(' ').all(|s| s.starts_with("system/"))) {
            return Err(Refusal {
                status: StatusCode::BAD_REQUEST,
                error: "invalid_scope",
                cure: "scope must list system/ scopes",
            });
        }
        if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(invalid_request("client_assertion_type must be that of RFC 7523"));
        }
        let assertion = form.get("client_assertion").ok_or(invalid_request("client_assertion is missing"))?;
        self.check_assertion(assertion, now_s)
    }

    fn check_assertion(&self, assertion: &str, now_s: i64) -> Result<(), Refusal> {
        let header = decode_header(assertion).map_err(|_| invalid_client("the assertion is not a JWT"))?;
        if !matches!(header.alg, Algorithm::RS384 | Algorithm::ES384) {
            return Err(invalid_client("alg must be RS384 or ES384"));
        }
        if header.kid.is_none() {
            return Err(invalid_client("kid is missing"));
        }
        if header.typ.as_deref().is_some_and(|typ| typ != "JWT") {
            return Err(invalid_client("typ must be JWT"));
        }
        let claims = self.read_claims(assertion, header.alg)?;
        if claims.iss != claims.sub || self.client_id.as_ref().is_some_and(|known| *known != claims.iss) {
            return Err(invalid_client("iss and sub must both be the registered client id"));
        }
        let is_ours = match &claims.aud {
            Audience::One(aud) => *aud == self.endpoint,
            Audience::Many(all) => all.contains(&self.endpoint),
        };
        if !is_ours {
            return Err(invalid_client("aud must be the token endpoint's URL"));
        }
        if claims.exp < now_s - SKEW_S {
            return Err(invalid_client("the assertion has expired"));
        }
        if claims.exp > now_s + MAX_LIFE_S + SKEW_S {
            return Err(invalid_client("exp must be at most five minutes ahead"));
        }
        if claims.jti.is_empty() {
            return Err(invalid_client("jti is missing"));
        }
        self.use_up(claims.jti, claims.exp, now_s)
    }

    fn read_claims(&self, assertion: &str, algorithm: Algorithm) -> Result<Claims, Refusal> {
        match &self.key {
            None => jsonwebtoken::dangerous::insecure_decode_claims(assertion)
                .map_err(|_| invalid_client("iss, sub, aud, exp and jti are needed")),
            Some(key) => {
                let mut validation = Validation::new(algorithm);
                // Times and audience are judged above, with causes of their own.
                validation.validate_exp = false;
                validation.validate_aud = false;
                validation.required_spec_claims.clear();
                decode(assertion, key, &validation).map(|data| data.claims).map_err(|_| {
                    invalid_client("the signature does not fit the registered key, or a claim is missing")
                })
            }
        }
    }

    fn use_up(&self, jti: String, exp: i64, now_s: i64) -> Result<(), Refusal> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MAX_REMEMBERED {
            used.retain(|_, end| *end >= now_s - SKEW_S);
        }
        if used.len() >= MAX_REMEMBERED {
            return Err(Refusal {
                status: StatusCode::TOO_MANY_REQUESTS,
                error: "temporarily_unavailable",
                cure: "too many assertions in five minutes: keep the token until it ends",
            });
        }
        match used.insert(jti, exp) {
            None => Ok(()),
            Some(_) => Err(invalid_client("jti was used before: make a new one for each call")),
        }
    }

    fn remember(&self, token: String, now_us: u64) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.len() >= MAX_REMEMBERED {
            live.retain(|_, end| now_us < *end);
        }
        if live.len() < MAX_REMEMBERED {
            live.insert(token, now_us.saturating_add(u64::from(self.seconds) * 1_000_000));
        }
    }
}

/// `POST /auth/token`.
pub(super) async fn issue(
    State(fhir): State<Fhir>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request<Body>,
) -> Response {
    let body = match read_body(request.into_body()).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let plan = fhir.desk.switches.side_plan(KIND);
    let response = if plan.fate.is_served() {
        let now = fhir.desk.clock.now();
        let form = Form::parse(&body);
        match fhir.tokens.check(&form, now.wall_us / 1_000_000) {
            Ok(()) => grant(&fhir, form.get("scope").unwrap_or_default(), now),
            Err(refusal) => plain_json(
                refusal.status,
                &json!({ "error": refusal.error, "error_description": refusal.cure }),
            ),
        }
    } else {
        respond_to_fate(plan.fate)
    };
    fhir.desk.conclude_side(&peer, &plan, response).await
}

fn grant(fhir: &Fhir, scope: &str, now: Moment) -> Response {
    let (_, token) = fhir.desk.next_id();
    fhir.tokens.remember(token.clone(), now.at_us);
    plain_json(
        StatusCode::OK,
        &json!({
            "access_token": token, "token_type": "bearer",
            "expires_in": fhir.tokens.seconds, "scope": scope,
        }),
    )
}
