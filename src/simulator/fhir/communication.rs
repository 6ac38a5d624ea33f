//! The Communication resource: conditional create, read, search by identifier.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{ETAG, HeaderValue, LOCATION};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::{Fhir, KIND, fhir, outcome, read_body, respond_to_fate};
use crate::domain::phi::Phi;
use crate::simulator::clock::{Moment, timestamp};
use crate::simulator::desk::{KeptMessage, Truth, reply_of};
use crate::simulator::faults::Fate;
use crate::simulator::form::Form;
use crate::simulator::hits::{Hit, Marker, TextDigest};
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

/// The Communications kept, by id and by identifier. One lock, so that two conditional creates at once make one.
pub(super) struct Shelf {
    state: Mutex<Books>,
    room: usize,
}

#[derive(Default)]
struct Books {
    by_id: HashMap<String, Arc<Resource>>,
    /// `system|value` to id.
    by_identifier: HashMap<String, String>,
    order: VecDeque<String>,
}

/// One stored resource.
struct Resource {
    id: String,
    identifiers: Vec<String>,
    json: String,
}

impl Shelf {
    pub(super) fn new(room: usize) -> Self {
        Self { state: Mutex::default(), room }
    }

    /// The resource that matches, else the new one; true when it was created.
    fn create(&self, condition: Option<&str>, make: impl FnOnce() -> Resource) -> (Arc<Resource>, bool) {
        let mut books = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = condition.and_then(|identifier| books.find(identifier)) {
            return (found, false);
        }
        let resource = Arc::new(make());
        while books.order.len() >= self.room {
            books.drop_oldest();
        }
        for identifier in &resource.identifiers {
            books.by_identifier.insert(identifier.clone(), resource.id.clone());
        }
        books.order.push_back(resource.id.clone());
        books.by_id.insert(resource.id.clone(), Arc::clone(&resource));
        (resource, true)
    }

    fn read(&self, id: &str) -> Option<Arc<Resource>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }

    fn find(&self, identifier: &str) -> Option<Arc<Resource>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).find(identifier)
    }
}

impl Books {
    fn find(&self, identifier: &str) -> Option<Arc<Resource>> {
        self.by_id.get(self.by_identifier.get(identifier)?).cloned()
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front().and_then(|id| self.by_id.remove(&id)) else { return };
        for identifier in &oldest.identifiers {
            // A later resource may have taken the identifier over.
            if self.by_identifier.get(identifier) == Some(&oldest.id) {
                self.by_identifier.remove(identifier);
            }
        }
    }
}

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

    fn resource(id: &str, identifier: &str) -> Resource {
        Resource { id: id.to_owned(), identifiers: vec![identifier.to_owned()], json: "{}".to_owned() }
    }

    #[test]
    fn the_shelf_creates_once_and_forgets_the_oldest() {
        let shelf = Shelf::new(2);
        assert!(shelf.create(Some("s|1"), || resource("a", "s|1")).1);
        let (again, created) = shelf.create(Some("s|1"), || resource("b", "s|1"));
        assert_eq!((again.id.as_str(), created), ("a", false));
        // Unconditional creates are not deduplicated.
        assert!(shelf.create(None, || resource("c", "s|1")).1);
        assert!(shelf.create(Some("s|2"), || resource("d", "s|2")).1);
        assert!(shelf.read("a").is_none());
        assert!(shelf.find("s|2").is_some());
    }

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
