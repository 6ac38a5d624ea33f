//! Jobs come in, one or many, and are taken back.

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::{Value, json};

use super::body::{Media, too_large};
use super::problem::{Answer, Fail, Kind};
use super::route::{Call, json as answer, to_the_end};
use crate::config::api::Scope;
use crate::domain::ids::{JobId, MessageId, SourceName};
use crate::domain::job::MAX_JOB_BYTES;
use crate::domain::problem::Problem;
use crate::domain::reader::{identify, items, without_bom};
use crate::domain::words::Reason;
use crate::intake::gatekeeper::Arrival;
use crate::intake::{Incoming, Intake, Outcome};
use crate::store::rows::CancelOutcome;

/// Jobs in one request.
const MAX_ITEMS: usize = 1_000;
/// Where they came in, for the record.
const ORIGIN: &str = "http";

/// `POST /v1/jobs`: one object, an array, or NDJSON.
pub(super) async fn submit(mut call: Call) -> Answer {
    let bytes = call.bytes(call.shared.parts.config.http.max_body).await?;
    let intake = call.shared.parts.intake.clone();
    let bodies: Vec<Vec<u8>> = match call.media {
        Media::Ndjson => lines(&bytes)?,
        _ if is_array(&bytes) => items(&bytes, MAX_ITEMS)?.into_iter().map(<[u8]>::to_vec).collect(),
        _ => return one(&call, intake, bytes).await,
    };
    let results = many(&call, intake, bodies).await?;
    answer(StatusCode::OK, &results)
}

/// `POST /v1/jobs/cancel`: takes back what is not on its way yet.
pub(super) async fn cancel(mut call: Call) -> Answer {
    let body = call.bytes(MAX_JOB_BYTES).await?;
    let intake = call.shared.parts.intake.clone();
    let item = match incoming(&call, &intake, body, "job.cancel") {
        Ok(item) => item,
        Err((problem, _)) => return Err(Fail::because(Kind::Forbidden, problem)),
    };
    match first(intake, item).await? {
        Outcome::Cancel(outcome) => cancelled(&outcome),
        Outcome::Refused { problems, wait, .. } => Err(refused(problems, wait)),
        _ => Err(Fail::new(Kind::Internal, "the cancel was not answered")),
    }
}

/// What a cancel came to.
pub(super) fn cancelled(outcome: &CancelOutcome) -> Answer {
    match outcome {
        CancelOutcome::Cancelled(ids) => {
            answer(StatusCode::OK, &json!({"result": "cancelled", "message_ids": ids}))
        }
        CancelOutcome::Tombstone => {
            answer(StatusCode::OK, &json!({"result": "remembered", "message_ids": []}))
        }
        CancelOutcome::TooLate(ids) => Err(too_late().with("message_ids", json!(ids))),
    }
}

/// One of many, answered in order.
#[derive(Debug, Serialize)]
struct ItemResult {
    id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
    result: &'static str,
    /// Where a cancel or a replacement had come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Value>,
}

/// One job, alone in its request.
pub(super) async fn one(call: &Call, intake: Intake, body: Vec<u8>) -> Answer {
    if body.len() > MAX_JOB_BYTES {
        return Err(too_large(MAX_JOB_BYTES));
    }
    let (_, id) = identify(&body);
    let item = incoming(call, &intake, body, "job").map_err(|(p, _)| Fail::because(Kind::Forbidden, p))?;
    let outcome = first(intake, item).await?;
    let status = match &outcome {
        Outcome::Accepted(_) | Outcome::TakenBack(..) => StatusCode::ACCEPTED,
        Outcome::Cancel(outcome) => return cancelled(outcome),
        Outcome::Refused { problems, wait, .. } => return Err(refused(problems.clone(), *wait)),
        _ => StatusCode::OK,
    };
    let result = result(id, &outcome);
    let location = result.message_id.map(|id| format!("/v1/messages/{id}"));
    let mut response = answer(status, &result)?;
    if let Some(location) = location.and_then(|l| l.parse().ok()) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response.into_response())
}

async fn many(call: &Call, intake: Intake, bodies: Vec<Vec<u8>>) -> Result<Vec<ItemResult>, Fail> {
    let mut results: Vec<ItemResult> = Vec::with_capacity(bodies.len());
    let mut places = Vec::with_capacity(bodies.len());
    let mut accepted = Vec::with_capacity(bodies.len());
    for body in bodies {
        let (_, id) = identify(&body);
        let refusal = match incoming(call, &intake, body, "job") {
            Ok(item) => {
                places.push(results.len());
                accepted.push(item);
                None
            }
            Err((problem, _)) => Some(Fail::because(Kind::Forbidden, problem).to_json()),
        };
        results.push(ItemResult { id, message_id: None, result: "refused", reason: None, problem: refusal });
    }
    let outcomes = to_the_end(async move { intake.submit(accepted).await }).await??;
    for (place, outcome) in places.into_iter().zip(outcomes) {
        if let Some(slot) = results.get_mut(place) {
            *slot = result(slot.id.take(), &outcome);
        }
    }
    Ok(results)
}

async fn first(intake: Intake, item: Incoming) -> Result<Outcome, Fail> {
    let mut outcomes = to_the_end(async move { intake.submit(vec![item]).await }).await??;
    outcomes.pop().ok_or_else(|| Fail::new(Kind::Internal, "the job was not answered"))
}

/// The body with whom it stands for. A caller that is bound to sources can name no other, and need not name its
/// only one.
fn incoming(call: &Call, intake: &Intake, body: Vec<u8>, key: &str) -> Result<Incoming, (Problem, Vec<u8>)> {
    let caller = &call.caller;
    let mut arrival = Arrival {
        origin: ORIGIN.to_owned(),
        asked_by: Some(caller.name().to_owned()),
        no_emergency: !caller.allows(Scope::JobsEmergency),
        traceparent: intake
            .traceparent(call.headers.get("traceparent").and_then(|value| value.to_str().ok())),
        ..Arrival::default()
    };
    if let Some(own) = caller.sources() {
        let (named, _) = identify(&body);
        let meant = named.or_else(|| intake.gatekeeper.defaults(&arrival).source).or_else(|| only(own));
        // What cannot be read at all is refused for that, whoever it stands for.
        let unreadable = || serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err();
        let any = || own.first().filter(|_| own.len() == 1 || unreadable()).cloned();
        match meant.filter(|source| caller.speaks_for(source)).or_else(any) {
            Some(source) => arrival.source = Some(source),
            None => return Err((not_bound(), body)),
        }
    }
    Ok(Incoming { body, arrival, key: Some(key.to_owned()), redelivered: false, park: false })
}

fn only(sources: &[SourceName]) -> Option<SourceName> {
    match sources {
        [one] => Some(one.clone()),
        _ => None,
    }
}

fn not_bound() -> Problem {
    Problem::new(
        "source",
        Reason::SourceNotAllowed,
        "must be one that these credentials stand for",
        "name one of the token's sources",
    )
}

fn result(id: Option<JobId>, outcome: &Outcome) -> ItemResult {
    let (reason, problem) = match outcome {
        Outcome::TakenBack(_, reason) => (Some(*reason), None),
        // A cancel among the jobs, in its place.
        Outcome::Cancel(CancelOutcome::TooLate(_)) => (None, Some(too_late().to_json())),
        Outcome::Refused { problems, wait, .. } => (None, Some(refused(problems.clone(), *wait).to_json())),
        _ => (None, None),
    };
    ItemResult { id, message_id: outcome.message(), result: outcome.word(), reason, problem }
}

fn refused(problems: Vec<Problem>, wait: Option<SignedDuration>) -> Fail {
    if let (Some(wait), [one]) = (wait, problems.as_slice()) {
        return Fail::too_many(one.clone(), wait);
    }
    match problems.as_slice() {
        [one] if one.reason == Reason::Conflict => Fail::because(Kind::Conflict, one.clone()),
        [one] if one.field == "source" && one.reason == Reason::SourceNotAllowed => {
            Fail::because(Kind::Forbidden, one.clone())
        }
        _ => Fail::invalid(problems),
    }
}

fn too_late() -> Fail {
    Fail::because(Kind::TooLate, Outcome::too_late())
}

fn is_array(bytes: &[u8]) -> bool {
    without_bom(bytes).iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[')
}

/// NDJSON: one job a line; empty lines are passed over.
fn lines(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Fail> {
    let lines: Vec<Vec<u8>> = without_bom(bytes)
        .split(|b| *b == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    if lines.len() > MAX_ITEMS {
        let rule = format!("at most {MAX_ITEMS} lines");
        return Err(Fail::because(
            Kind::TooLarge,
            Problem::new("", Reason::Malformed, rule, "send them in several parts"),
        ));
    }
    Ok(lines)
}
