//! Bodies that could not be accepted: what is wrong with them, and another try once that is put right.

use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::problem::{Answer, Fail, Kind};
use super::query::{Cursor, MAX_PAGE, limit, next, query};
use super::reveal;
use super::route::{Call, json as answer, to_the_end};
use crate::config::api::Scope;
use crate::domain::ids::{ParkedId, SourceName};
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::reader::{BodyKind, Fault, Fields, Slot, flag, identify};
use crate::domain::words::Reason;
use crate::intake::Outcome;
use crate::intake::replay::{Repaired, Replayed, kind};
use crate::store::rows::{ParkedFilter, ParkedRow};

/// Bodies that one request replays.
const AT_ONCE: u32 = 500;

/// `GET /v1/dead`: oldest first. The bodies themselves stay in the ledger.
pub(super) async fn list(call: Call) -> Answer {
    let filter = query(&call.uri, |fields| {
        let after = Cursor::read(fields).map(|cursor| ParkedId(cursor.id));
        let limit = limit(fields);
        Some(ParkedFilter { after, limit, ..narrowed(fields) })
    })?;
    let rows = of_own_sources(&call, &filter).await?;
    let next = next(&rows, filter.limit, |row| Cursor::behind(row.id.0)).map(Cursor::write);
    let shown: Vec<Value> = rows.iter().map(show).collect();
    answer(StatusCode::OK, &json!({"dead": shown, "next": next}))
}

/// The filters of `GET /v1/dead`, for its description.
pub(super) const FILTERS: &[(&str, &str)] = &[
    ("reason", "whose first fault has this reason"),
    ("source", "of this source, as far as it could be read"),
    ("limit", "rows of a page, 1 to 1000 (100)"),
    ("cursor", "`next` of the page before"),
];

/// `POST /v1/dead/replay`: by ids or by filter, 500 at most; `dry_run` only says which.
pub(super) async fn replay(mut call: Call) -> Answer {
    let (filter, dry_run) = call
        .form(|fields| {
            let dry_run = fields.read("dry_run", flag).unwrap_or(false);
            let most = usize::try_from(AT_ONCE).unwrap_or(1);
            let ids = fields.read("ids", |slot| slot.list(most, parked_id));
            if ids.as_ref().is_some_and(Vec::is_empty) {
                fields.refuse("ids", Fault::malformed("names none", "name some, or leave it out for all"));
            }
            let ids = ids.unwrap_or_default();
            Some((ParkedFilter { ids, limit: AT_ONCE, ..narrowed(fields) }, dry_run))
        })
        .await?;
    let rows = of_own_sources(&call, &filter).await?;
    if dry_run {
        call.note.nothing();
        let shown: Vec<Value> = rows.iter().map(show).collect();
        return answer(StatusCode::OK, &json!({"dry_run": true, "dead": shown}));
    }
    if rows.is_empty() {
        return answer(StatusCode::OK, &json!({"replayed": 0, "refused": 0, "results": []}));
    }
    call.note.say(format!("{} bodies", rows.len()));
    call.note.begun();
    let (intake, by) = (call.shared.parts.intake.clone(), call.caller.name().to_owned());
    let replayed = to_the_end(async move { intake.replay(rows, &by, None).await }).await??;
    let refused = replayed.iter().filter(|r| matches!(r.outcome, Outcome::Refused { .. })).count();
    let results: Vec<Value> = replayed.iter().map(result).collect();
    answer(
        StatusCode::OK,
        &json!({"replayed": results.len() - refused, "refused": refused, "results": results}),
    )
}

/// `POST /v1/dead/{id}/repair`: another body in the place of the one that could not be accepted. It stays bound to the
/// source that the first came from.
pub(super) async fn repair(mut call: Call) -> Answer {
    let row = one(&call).await?;
    let (body, reason) = call
        .form(|fields| {
            let body = fields.need("body", written);
            let reason = fields.need("reason", reveal::reason_of);
            Some((body?, reason?))
        })
        .await?;
    let (intake, by) = (call.shared.parts.intake.clone(), call.caller.name().to_owned());
    let bytes = body.expose().as_bytes().to_vec();
    let of_a_patient = matches!(kind(&row, &bytes), BodyKind::Patient | BodyKind::PatientMerge);
    if of_a_patient && !call.caller.allows(Scope::PatientsWrite) {
        return Err(Fail::new(Kind::Forbidden, "a patient's record needs the scope patients:write"));
    }
    let emergency = call.caller.allows(Scope::JobsEmergency);
    if let (Some(source), _) = identify(&bytes) {
        call.caller.must_speak_for(&source)?;
        if row.source.as_ref().is_some_and(|first| *first != source) {
            let (rule, cure) =
                ("is another one's than the body that came first", "name the source that it came from");
            return Err(Fail::invalid(vec![Problem::new("source", Reason::SourceNotAllowed, rule, cure)]));
        }
    }
    call.note.begun();
    let repaired =
        to_the_end(
            async move { intake.replay(vec![row], &by, Some(Repaired { body: &bytes, emergency })).await },
        )
        .await??;
    match repaired.into_iter().next().ok_or_else(|| Fail::not_found("parked body"))? {
        // Nothing has changed: the body that came first waits as before.
        Replayed { outcome: Outcome::Refused { problems, .. }, .. } => {
            call.note.nothing();
            Err(Fail::invalid(problems))
        }
        replayed => {
            call.note.say(reason.expose());
            answer(StatusCode::OK, &result(&replayed))
        }
    }
}

/// Text with line breaks, as people write JSON.
fn written(slot: Slot<'_>) -> Option<Phi> {
    slot.parsed(|text| match text.trim().is_empty() {
        true => Err(Fault::malformed("must not be empty", "send the whole body, as the source would")),
        false => Ok(Phi::new(text)),
    })
}

/// The parked body of the path, if it concerns the caller.
pub(super) async fn one(call: &Call) -> Result<ParkedRow, Fail> {
    let missing = || Fail::not_found("parked body");
    call.caller.needs_every_site("bodies that could not be accepted belong to no site")?;
    let id = ParkedId(Uuid::try_parse(call.param("id")).map_err(|_| missing())?);
    let filter = ParkedFilter { ids: vec![id], limit: 1, ..ParkedFilter::default() };
    let row = call.store().parked(&filter).await?.pop().ok_or_else(missing)?;
    let own = match &row.source {
        Some(source) => call.caller.speaks_for(source),
        None => call.caller.sources().is_none(),
    };
    own.then_some(row).ok_or_else(missing)
}

fn narrowed(fields: &mut Fields<'_>) -> ParkedFilter {
    ParkedFilter {
        reason: fields.read("reason", |slot| slot.word(Reason::ALL, Reason::as_str)),
        source: fields.read("source", |slot| slot.name(SourceName::parse, SourceName::RULE)),
        ..ParkedFilter::default()
    }
}

/// The bodies that the caller may know of; those whose source cannot be told are for callers bound to none.
async fn of_own_sources(call: &Call, filter: &ParkedFilter) -> Result<Vec<ParkedRow>, Fail> {
    call.caller.needs_every_site("bodies that could not be accepted belong to no site")?;
    let store = call.store();
    let Some(bound) = call.caller.sources() else { return Ok(store.parked(filter).await?) };
    let mut rows = Vec::new();
    for source in bound.iter().filter(|source| filter.source.as_ref().is_none_or(|named| named == *source)) {
        let of_one = ParkedFilter { source: Some(source.clone()), ..filter.clone() };
        rows.extend(store.parked(&of_one).await?);
    }
    rows.sort_by_key(|row| row.id);
    rows.truncate(usize::try_from(filter.limit.min(MAX_PAGE)).unwrap_or(usize::MAX));
    Ok(rows)
}

fn parked_id(slot: Slot<'_>) -> Option<ParkedId> {
    slot.name(|text| Uuid::try_parse(text).ok().map(ParkedId), "an id as the list gives it")
}

fn show(row: &ParkedRow) -> Value {
    let first = row.problems.first();
    json!({
        "id": row.id, "reason": first.map(|p| p.reason), "field": first.map(|p| &p.field),
        "errors": row.problems, "source": row.source, "job_id": row.job_id, "origin": row.origin,
        "correlation_id": row.correlation_id, "parked_at": row.parked_at, "bytes": row.body.len(),
    })
}

fn result(Replayed { id, outcome }: &Replayed) -> Value {
    let told = |name: &str, value: Value| json!({"id": id, "result": outcome.word(), name: value});
    match (outcome.message(), outcome.problems()) {
        (Some(message), _) => told("message_id", json!(message)),
        (None, problems) if problems.is_empty() => json!({"id": id, "result": outcome.word()}),
        (None, problems) => told("errors", json!(problems)),
    }
}
