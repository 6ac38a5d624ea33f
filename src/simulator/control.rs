//! `/_control`: the switches and the counts, for whoever runs the simulator as a process of its own.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HOST, HeaderValue};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Stats;
use super::config::ProviderKind;
use super::desk::Desk;
use super::faults::{Faults, Outage};
use super::fhir::Tokens;

const MAX_BODY: usize = 64 * 1024;

/// The body of `POST /_control`; absent fields change nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Which kind; all when absent.
    pub provider: Option<ProviderKind>,
    pub outage: Option<Outage>,
    /// Replaces all faults of the kind.
    pub faults: Option<Faults>,
    /// Ends every FHIR access token.
    pub revoke_tokens: bool,
}

#[derive(Clone)]
struct Board {
    desk: Arc<Desk>,
    tokens: Arc<Tokens>,
}

pub(super) fn routes(desk: Arc<Desk>, tokens: Arc<Tokens>) -> Router {
    Router::new().route("/_control", get(show).post(change)).with_state(Board { desk, tokens })
}

/// `GET /_control`: the counts.
async fn show(State(board): State<Board>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refuse_foreign(&headers) {
        return refusal;
    }
    answer(StatusCode::OK, &json!(Stats::read(&board.desk)))
}

/// `POST /_control`: turns switches; answers with the counts.
async fn change(State(board): State<Board>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(refusal) = refuse_foreign(&parts.headers) {
        return refusal;
    }
    // A page in a browser cannot send this type across origins without asking first.
    if !parts.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"))
    {
        return answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, &json!({ "detail": "send application/json" }));
    }
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return answer(StatusCode::PAYLOAD_TOO_LARGE, &json!({ "detail": "at most 64 KiB" }));
    };
    match Json::<Control>::from_bytes(&body) {
        Ok(Json(control)) => apply(&board, &control),
        Err(_) => answer(
            StatusCode::UNPROCESSABLE_ENTITY,
            &json!({ "detail": "fields: provider, outage (none|unavailable|hang|reset), faults, revoke_tokens" }),
        ),
    }
}

fn apply(board: &Board, control: &Control) -> Response {
    if let Some(faults) = &control.faults
        && let Err(wrong) = board.desk.switches.set_faults(control.provider, faults)
    {
        let detail = wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        return answer(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "detail": detail }));
    }
    if let Some(outage) = control.outage {
        board.desk.switches.set_outage(control.provider, outage);
    }
    if control.revoke_tokens {
        board.tokens.revoke_all();
    }
    answer(StatusCode::OK, &json!(Stats::read(&board.desk)))
}

/// The listener is loopback, but a browser can be talked into calling it under another name.
fn refuse_foreign(headers: &HeaderMap) -> Option<Response> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let local = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    (!local).then(|| answer(StatusCode::FORBIDDEN, &json!({ "detail": "use the loopback address" })))
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
