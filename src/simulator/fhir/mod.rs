//! A FHIR R4 server as far as a sender needs it: SMART Backend Services tokens, capability statement, and
//! Communication with conditional create.

mod communication;
mod shelf;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use self::shelf::Shelf;
pub(super) use self::token::Tokens;
use super::SimulatorError;
use super::config::ProviderKind;
use super::desk::Desk;
use super::faults::Fate;
use super::wire::Peer;

const KIND: ProviderKind = ProviderKind::FhirPortal;

/// More than any Communication needs.
const MAX_BODY: usize = 256 * 1024;

/// The front desk together with what this protocol remembers.
#[derive(Clone)]
struct Fhir {
    desk: Arc<Desk>,
    /// `http://127.0.0.1:PORT/fhir`.
    base: Arc<str>,
    tokens: Arc<Tokens>,
    shelf: Arc<Shelf>,
}

/// The routes under `/fhir` and `/auth`; `origin` is `http://127.0.0.1:PORT`.
pub(super) fn routes(desk: Arc<Desk>, origin: &str) -> Result<(Router, Arc<Tokens>), SimulatorError> {
    let tokens = Arc::new(Tokens::new(&desk.config.fhir, origin)?);
    let shelf = Arc::new(Shelf::new(desk.config.fhir.keep_resources));
    let state = Fhir { base: format!("{origin}/fhir").into(), tokens: Arc::clone(&tokens), shelf, desk };
    let router = Router::new()
        .route("/auth/token", post(token::issue))
        .route("/fhir/.well-known/smart-configuration", get(smart_configuration))
        .route("/fhir/metadata", get(metadata))
        .route("/fhir/Communication", get(communication::search).post(communication::create))
        .route("/fhir/Communication/{id}", get(communication::read))
        .with_state(state);
    Ok((router, tokens))
}

impl Fhir {
    /// 401 unless the request carries a token that was issued here and lives.
    fn refuse_stranger(&self, headers: &HeaderMap) -> Option<Response> {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let now_us = self.desk.clock.now().at_us;
        let token = header.and_then(|value| value.strip_prefix("Bearer "));
        (!token.is_some_and(|token| self.tokens.is_live(token, now_us))).then(unauthorised)
    }

    async fn side(&self, peer: &Peer, answer: impl FnOnce() -> Response) -> Response {
        let plan = self.desk.switches.side_plan(KIND);
        let response = if plan.fate.is_served() { answer() } else { respond_to_fate(plan.fate) };
        self.desk.conclude_side(peer, &plan, response).await
    }
}

fn unauthorised() -> Response {
    let mut response = outcome(StatusCode::UNAUTHORIZED, "login", "a live access token is needed");
    response.headers_mut().insert("www-authenticate", HeaderValue::from_static("Bearer"));
    response
}

/// An error as FHIR words it; codes from the issue-type value set.
fn outcome(status: StatusCode, code: &str, text: &str) -> Response {
    let body = json!({
        "resourceType": "OperationOutcome",
        "issue": [{ "severity": "error", "code": code, "diagnostics": text }],
    });
    fhir(status, body.to_string().into())
}

fn fhir(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/fhir+json;charset=utf-8"));
    response
}

fn plain_json(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

/// The answer to a request that the plan does not let through.
fn respond_to_fate(fate: Fate) -> Response {
    match fate {
        Fate::Throttled { retry_after_s } => {
            let mut response = outcome(StatusCode::TOO_MANY_REQUESTS, "throttled", "too many requests");
            if let Some(seconds) = retry_after_s {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
        Fate::Error { .. } => outcome(StatusCode::INTERNAL_SERVER_ERROR, "exception", "internal error"),
        _ => outcome(StatusCode::SERVICE_UNAVAILABLE, "transient", "not available"),
    }
}

async fn read_body(body: Body) -> Result<Bytes, Response> {
    to_bytes(body, MAX_BODY).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE.into_response())
}

/// `GET /fhir/.well-known/smart-configuration` (SMART App Launch 2.2, Backend Services).
async fn smart_configuration(State(fhir): State<Fhir>, ConnectInfo(peer): ConnectInfo<Peer>) -> Response {
    let body = json!({
        "token_endpoint": fhir.tokens.endpoint(),
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "scopes_supported": ["system/Communication.cru", "system/Communication.write"],
        "capabilities": ["client-confidential-asymmetric", "permission-v2"],
    });
    fhir.side(&peer, || plain_json(StatusCode::OK, &body)).await
}

/// `GET /fhir/metadata`: open to all, as the specification asks.
async fn metadata(State(fhir): State<Fhir>, ConnectInfo(peer): ConnectInfo<Peer>) -> Response {
    let body = json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "software": { "name": "outreachd simulator", "version": env!("CARGO_PKG_VERSION") },
        "implementation": { "description": "simulated patient portal", "url": &*fhir.base },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "rest": [{
            "mode": "server",
            "security": { "service": [{ "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                "code": "SMART-on-FHIR",
            }] }] },
            "resource": [{
                "type": "Communication",
                "interaction": [{ "code": "create" }, { "code": "read" }, { "code": "search-type" }],
                "conditionalCreate": true,
                "searchParam": [{ "name": "identifier", "type": "token" }],
            }],
        }],
    });
    let body = body.to_string();
    fhir.side(&peer, || self::fhir(StatusCode::OK, body.into())).await
}
