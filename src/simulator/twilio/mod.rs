//! Twilio's REST API as far as a sender needs it: Messages, Calls, the account, and signed callbacks.
//! Shapes after `twilio_api_v2010.json` of Twilio's published OpenAPI.

mod calls;
mod lookup;
mod messages;
mod numbers;
mod patients;
mod receipts;
mod segments;
mod story;
mod twiml;

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tokio::sync::Semaphore;

use self::lookup::Lookup;
use super::clock::Moment;
use super::config::ProviderKind;
use super::desk::{Desk, KeptMessage};
use super::faults::Fate;
use super::form::Form;
use super::marker::Marker;
use super::wire::Peer;

/// More than any message or TwiML needs.
const MAX_BODY: usize = 64 * 1024;

/// A text that a patient wrote, of which nobody is told.
pub(super) fn text_comes_in(desk: &Desk, from: &str, to: &str, text: &str) -> String {
    let sid = format!("SM{}", desk.next_id().1);
    messages::keep_inbound(desk, &sid, (from, to, text), desk.clock.now());
    sid
}

/// The front desk together with what is computed once for this protocol.
#[derive(Clone, Debug)]
struct Twilio {
    desk: Arc<Desk>,
    /// The one Authorization header that is let in.
    authorization: Arc<str>,
    /// A place for each call under way.
    lines: Arc<Semaphore>,
}

/// The routes under `/2010-04-01`.
pub(super) fn routes(desk: Arc<Desk>) -> Router {
    let account = &desk.config.twilio;
    let basic = STANDARD.encode(format!("{}:{}", account.account_sid, account.auth_token.expose()));
    let lines = Arc::new(Semaphore::new(desk.config.calls.max_under_way));
    let state = Twilio { authorization: format!("Basic {basic}").into(), lines, desk };
    Router::new()
        .route("/2010-04-01/Accounts/{sid}/Messages.json", get(messages::list).post(messages::create))
        .route("/2010-04-01/Accounts/{sid}/Messages/{message}", get(messages::fetch))
        .route("/2010-04-01/Accounts/{sid}/Calls.json", get(calls::list).post(calls::create))
        .route("/2010-04-01/Accounts/{sid}/Calls/{call}", get(calls::fetch).post(calls::update))
        .route("/2010-04-01/Accounts/{account}", get(fetch_account))
        .with_state(state)
}

impl Twilio {
    /// 401 unless the request carries the account's own credentials.
    fn refuse_stranger(&self, sid: &str, headers: &HeaderMap) -> Option<Refusal> {
        let known =
            headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes() == self.authorization.as_bytes());
        match known {
            false => Some(Refusal::new(StatusCode::UNAUTHORIZED, 20003, "Authenticate")),
            true if sid != self.desk.config.twilio.account_sid => {
                Some(Refusal::new(StatusCode::NOT_FOUND, 20404, "The requested resource was not found"))
            }
            true => None,
        }
    }
}

/// An error as Twilio words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    code: u32,
    message: &'static str,
}

impl Refusal {
    const fn new(status: StatusCode, code: u32, message: &'static str) -> Self {
        Self { status, code, message }
    }

    const fn bad_request(code: u32, message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    fn respond(self) -> Response {
        let mut body = String::with_capacity(160);
        // Writing to a String cannot fail; codes and messages are our own and need no escaping.
        let _infallible = write!(
            body,
            r#"{{"code":{},"message":"{}","more_info":"https://www.twilio.com/docs/errors/{}","status":{}}}"#,
            self.code,
            self.message,
            self.code,
            self.status.as_u16()
        );
        json(self.status, body.into())
    }
}

/// The answer to a request that the plan does not let through.
fn respond_to_fate(fate: Fate) -> Response {
    match fate {
        Fate::Throttled { retry_after_s } => {
            let mut response =
                Refusal::new(StatusCode::TOO_MANY_REQUESTS, 20429, "Too Many Requests").respond();
            if let Some(seconds) = retry_after_s {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
        Fate::Error { .. } => {
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, 20500, "Internal Server Error").respond()
        }
        _ => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, 20503, "Service Unavailable").respond(),
    }
}

/// The answer to a request that was taken: a 500 hides it.
fn answer_to_taken(fate: Fate, answer: Response) -> Response {
    match fate {
        Fate::Error { .. } => respond_to_fate(fate),
        _ => answer,
    }
}

fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn json_of(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json(status, body.into()),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The whole body, or the answer to one that is too long or never ended; neither is a hit.
async fn read_body(body: Body) -> Result<Bytes, Response> {
    to_bytes(body, MAX_BODY).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE.into_response())
}

/// The keys by which a request can be told from a repeat of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Keys {
    send_key: Option<Marker>,
    attempt: Option<Marker>,
}

impl Keys {
    /// From `X-Outreach-Send-Key`, and from the status callback's URL: `?send_key=`, `?attempt=`, or a UUID as its
    /// last path segment.
    fn find(headers: &HeaderMap, callback: Option<&str>) -> Self {
        let from_header = headers.get("x-outreach-send-key").and_then(|v| v.to_str().ok()).map(Marker::new);
        let url = callback.map_or("", |url| url.split_once('#').map_or(url, |(url, _)| url));
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let query = Form::parse(query.as_bytes());
        let last = path.rsplit('/').next().unwrap_or_default();
        Self {
            send_key: from_header.or_else(|| query.get("send_key").map(Marker::new)),
            attempt: query
                .get("attempt")
                .or_else(|| uuid::Uuid::try_parse(last).is_ok().then_some(last))
                .map(Marker::new),
        }
    }
}

/// How a kept message or call is shown, given the account and the present.
type Show = fn(&str, &KeptMessage, Moment) -> serde_json::Value;

/// One message or call by its sid.
async fn fetch(
    twilio: &Twilio,
    peer: &Peer,
    kind: ProviderKind,
    (account, item): (&str, &str),
    headers: &HeaderMap,
    show: Show,
) -> Response {
    let desk = &twilio.desk;
    let plan = desk.switches.side_plan(kind);
    let response = if !plan.fate.is_served() {
        respond_to_fate(plan.fate)
    } else if let Some(refusal) = twilio.refuse_stranger(account, headers) {
        refusal.respond()
    } else {
        let wanted = item.strip_suffix(".json").unwrap_or(item);
        match desk.kept.newest(1, |m| m.kind == kind && m.reference == wanted).first() {
            Some(message) => json_of(StatusCode::OK, &show(account, message, desk.clock.now())),
            None => {
                Refusal::new(StatusCode::NOT_FOUND, 20404, "The requested resource was not found").respond()
            }
        }
    };
    desk.conclude_side(peer, &plan, response).await
}

/// Messages or calls by recipient and date, the newest first.
async fn list(
    twilio: &Twilio,
    peer: &Peer,
    kind: ProviderKind,
    (account, name): (&str, &'static str),
    lookup: &Lookup<'_>,
    headers: &HeaderMap,
    show: Show,
) -> Response {
    let desk = &twilio.desk;
    let plan = desk.switches.side_plan(kind);
    let response = if !plan.fate.is_served() {
        respond_to_fate(plan.fate)
    } else if let Some(refusal) = twilio.refuse_stranger(account, headers) {
        refusal.respond()
    } else {
        let (found, more) = lookup.find(desk, kind);
        let now = desk.clock.now();
        let items: Vec<_> = found.iter().map(|m| show(account, m, now)).collect();
        let resource = if kind == ProviderKind::TwilioSms { "Messages" } else { "Calls" };
        let uri = format!("/2010-04-01/Accounts/{account}/{resource}.json");
        json_of(StatusCode::OK, &lookup.page(name, &uri, &items, more))
    };
    desk.conclude_side(peer, &plan, response).await
}

/// `GET /2010-04-01/Accounts/{sid}.json`: do the credentials work?
async fn fetch_account(
    State(twilio): State<Twilio>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(account): Path<String>,
    request: Request<Body>,
) -> Response {
    let plan = twilio.desk.switches.side_plan(ProviderKind::TwilioSms);
    let sid = account.strip_suffix(".json").unwrap_or(&account);
    let response = if !plan.fate.is_served() {
        respond_to_fate(plan.fate)
    } else if let Some(refusal) = twilio.refuse_stranger(sid, request.headers()) {
        refusal.respond()
    } else {
        let body = serde_json::json!({
            "sid": sid, "friendly_name": "Simulator", "status": "active", "type": "Full",
            "uri": format!("/2010-04-01/Accounts/{sid}.json"),
        });
        json_of(StatusCode::OK, &body)
    };
    twilio.desk.conclude_side(&peer, &plan, response).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_the_callback_and_the_header() {
        let uuid = "0192e4a0-0000-7000-8000-000000000001";
        for (url, key, attempt) in [
            (format!("http://127.0.0.1/webhooks/sms?attempt={uuid}&send_key=k-0"), Some("k-0"), Some(uuid)),
            (format!("http://127.0.0.1/webhooks/sms/{uuid}#rc=2"), None, Some(uuid)),
            ("http://127.0.0.1/webhooks/sms".to_owned(), None, None),
        ] {
            let keys = Keys::find(&HeaderMap::new(), Some(&url));
            assert_eq!(
                keys,
                Keys { send_key: key.map(Marker::new), attempt: attempt.map(Marker::new) },
                "{url}"
            );
        }
        let headers = HeaderMap::from_iter([(
            axum::http::HeaderName::from_static("x-outreach-send-key"),
            HeaderValue::from_static("from-header"),
        )]);
        assert_eq!(Keys::find(&headers, None).send_key, Some(Marker::new("from-header")));
    }
}
