//! The Communication resource: conditional create, read, search by identifier.

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{ETAG, HeaderValue, LOCATION};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::shelf::Resource;
use super::{Fhir, KIND, fhir, outcome, read_body, respond_to_fate};
use crate::domain::phi::Phi;
use crate::simulator::clock::{Moment, timestamp};
use crate::simulator::desk::{KeptMessage, Truth, reply_of};
use crate::simulator::faults::Fate;
use crate::simulator::form::Form;
use crate::simulator::hits::Hit;
use crate::simulator::marker::{Marker, TextDigest};
use crate::simulator::wire::Peer;

/// The event-status value set.
const STATUSES: [&str; 8] = [
    "preparation",
    "in-progress",
    "not-done",
    "on-hold",
    "stopped",
    "completed",
    "entered-in-error",
    "unknown",
];

/// `POST /fhir/Communication`, with `If-None-Exist: identifier=system|value`.
pub(super) async fn create(
    State(server): State<Fhir>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let desk = &server.desk;
    let now = desk.clock.now();
    let plan = desk.switches.plan(KIND, now.at_us);
    let condition = condition(&parts.headers);
    let document: Option<Value> = serde_json::from_slice(&body).ok();
    let mut taken = false;
    let response = if plan.fate.is_served() {
        let refusal =
            server.refuse_stranger(&parts.headers).or_else(|| refuse(document.as_ref(), &condition));
        match (refusal, document.as_ref()) {
            (None, Some(document)) => {
                taken = true;
                let answer = store(&server, &parts.headers, &condition, document, now);
                if matches!(plan.fate, Fate::Error { .. }) { respond_to_fate(plan.fate) } else { answer }
            }
            (Some(refusal), _) => refusal,
            (None, None) => outcome(StatusCode::BAD_REQUEST, "structure", "the body is not JSON"),
        }
    } else {
        respond_to_fate(plan.fate)
    };
    let send_key = parts.headers.get("x-outreach-send-key").and_then(|v| v.to_str().ok());
    let identifier = condition.identifier().and_then(|text| text.rsplit('|').next());
    let hit = Hit {
        at_us: now.at_us,
        wall_us: now.wall_us,
        kind: KIND,
        send_key: send_key.or(identifier).map(Marker::new),
        attempt: None,
        to: TextDigest::of(recipient(document.as_ref()).as_bytes()),
        body: TextDigest::of(&body),
        status: response.status().as_u16(),
        taken,
        reply: reply_of(plan.fate),
    };
    desk.conclude(&peer, &hit, &plan, response).await
}

/// What `If-None-Exist` asks.
#[derive(Debug, PartialEq, Eq)]
enum Condition {
    None,
    Identifier(String),
    /// Anything this server cannot search by.
    Unsupported,
}

impl Condition {
    fn identifier(&self) -> Option<&str> {
        match self {
            Self::Identifier(identifier) => Some(identifier),
            Self::None | Self::Unsupported => None,
        }
    }
}

fn condition(headers: &HeaderMap) -> Condition {
    let Some(value) = headers.get("if-none-exist") else { return Condition::None };
    let query = value.as_bytes();
    let query = query.strip_prefix(b"?").unwrap_or(query);
    match Form::parse(query).get("identifier") {
        Some(identifier) => Condition::Identifier(identifier.to_owned()),
        None => Condition::Unsupported,
    }
}

fn refuse(document: Option<&Value>, condition: &Condition) -> Option<Response> {
    let Some(document) = document else {
        return Some(outcome(StatusCode::BAD_REQUEST, "structure", "the body is not JSON"));
    };
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    if text("resourceType") != Some("Communication") {
        return Some(outcome(StatusCode::BAD_REQUEST, "invalid", "resourceType must be Communication"));
    }
    if !text("status").is_some_and(|status| STATUSES.contains(&status)) {
        return Some(outcome(
            StatusCode::UNPROCESSABLE_ENTITY,
            "required",
            "status must be one of the event-status codes",
        ));
    }
    if *condition == Condition::Unsupported {
        return Some(outcome(
            StatusCode::PRECONDITION_FAILED,
            "not-supported",
            "If-None-Exist must be identifier=system|value",
        ));
    }
    None
}

fn store(
    server: &Fhir,
    headers: &HeaderMap,
    condition: &Condition,
    document: &Value,
    now: Moment,
) -> Response {
    let (resource, created) = server.shelf.create(condition.identifier(), || {
        let (_, id) = server.desk.next_id();
        let mut json = document.clone();
        if let Some(fields) = json.as_object_mut() {
            fields.insert("id".to_owned(), json!(id));
            let updated = timestamp(now.wall_us).to_string();
            fields.insert("meta".to_owned(), json!({ "versionId": "1", "lastUpdated": updated }));
        }
        Resource { id, identifiers: identifiers(document), json: json.to_string() }
    });
    if created {
        server.desk.kept.keep(KeptMessage {
            kind: KIND,
            reference: resource.id.clone(),
            to: Phi::new(recipient(Some(document))),
            from: document
                .pointer("/sender/reference")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            body: Phi::new(resource.json.clone()),
            at_us: now.at_us,
            wall_us: now.wall_us,
            truth: Truth::at_once("completed"),
        });
    }
    let wants_nothing = headers.get("prefer").is_some_and(|v| v.as_bytes() == b"return=minimal");
    let body = if wants_nothing { String::new() } else { resource.json.clone() };
    let mut response = fhir(if created { StatusCode::CREATED } else { StatusCode::OK }, body.into());
    let location = format!("{}/Communication/{}/_history/1", server.base, resource.id);
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response.headers_mut().insert(ETAG, HeaderValue::from_static("W/\"1\""));
    response
}

/// The resource's identifiers, as a search would name them.
fn identifiers(document: &Value) -> Vec<String> {
    let all = document.get("identifier").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .take(16)
        .filter_map(|one| {
            let system = one.get("system").and_then(Value::as_str).unwrap_or_default();
            Some(format!("{system}|{}", one.get("value")?.as_str()?))
        })
        .collect()
}

/// The first recipient, else the subject.
fn recipient(document: Option<&Value>) -> &str {
    document
        .and_then(|d| d.pointer("/recipient/0/reference").or_else(|| d.pointer("/subject/reference")))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// `GET /fhir/Communication/{id}`.
pub(super) async fn read(
    State(server): State<Fhir>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let answer = || {
        server.refuse_stranger(&headers).unwrap_or_else(|| match server.shelf.read(&id) {
            Some(resource) => fhir(StatusCode::OK, resource.json.clone().into()),
            None => outcome(StatusCode::NOT_FOUND, "not-found", "no such Communication"),
        })
    };
    server.side(&peer, answer).await
}

/// `GET /fhir/Communication?identifier=system|value`.
pub(super) async fn search(
    State(server): State<Fhir>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request<Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    let answer = || {
        if let Some(refusal) = server.refuse_stranger(&parts.headers) {
            return refusal;
        }
        let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let Some(identifier) = query.get("identifier") else {
            return outcome(StatusCode::BAD_REQUEST, "not-supported", "search by identifier only");
        };
        let found = server.shelf.find(identifier);
        let entries: Vec<Value> = found
            .iter()
            .map(|resource| {
                json!({
                    "fullUrl": format!("{}/Communication/{}", server.base, resource.id),
                    "resource": serde_json::from_str::<Value>(&resource.json).unwrap_or_default(),
                    "search": { "mode": "match" },
                })
            })
            .collect();
        let bundle = json!({ "resourceType": "Bundle", "type": "searchset", "total": entries.len(), "entry": entries });
        fhir(StatusCode::OK, bundle.to_string().into())
    };
    server.side(&peer, answer).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_decoded() {
        let of = |text: &'static str| {
            condition(&HeaderMap::from_iter([(
                axum::http::HeaderName::from_static("if-none-exist"),
                HeaderValue::from_static(text),
            )]))
        };
        assert_eq!(of("identifier=urn:x|k-0"), Condition::Identifier("urn:x|k-0".to_owned()));
        assert_eq!(of("?identifier=urn%3Ax%7Ck-0"), Condition::Identifier("urn:x|k-0".to_owned()));
        assert_eq!(of("patient=1"), Condition::Unsupported);
    }
}
