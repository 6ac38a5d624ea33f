//! What people have to do: found, claimed, given back, closed.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::problem::{Answer, Fail, Kind};
use super::query::{Cursor, flag, limit, next, query};
use super::reveal;
use super::route::{Call, json as answer, to_the_end};
use crate::config::api::Scope;
use crate::domain::ids::{MessageId, SiteId, SourceName, WorkItemId};
use crate::domain::reader::Fields;
use crate::domain::words::{WorkKind, WorkOutcome, WorkState};
use crate::store::rows::{ReplyText, WorkFilter, WorkItem, WorkMove, WorkMoved};

/// `GET /v1/work-items`: words of danger first, then by when they are due; what is closed, the newest first.
pub(super) async fn list(call: Call) -> Answer {
    let mut filter = query(&call.uri, filter)?;
    let Some(sources) = call.caller.narrowed(std::mem::take(&mut filter.sources))? else {
        return answer(StatusCode::OK, &json!({"work_items": [], "next": null}));
    };
    filter.sources = sources;
    if let Some(sites) = call.caller.sites() {
        filter.sites = sites.to_vec();
    }
    let rows = call.store().work_items(&filter).await?;
    let next = next(&rows, filter.limit, |row| Cursor::behind(row.id.0)).map(Cursor::write);
    answer(StatusCode::OK, &json!({"work_items": rows, "next": next}))
}

/// The filters of `GET /v1/work-items`, for its description.
pub(super) const FILTERS: &[(&str, &str)] = &[
    ("state", "open, claimed or closed; left out: all that are not closed"),
    (
        "kind",
        "plan_exhausted, outcome_unknown, came_back, unacknowledged, surge_hold, hold_review, reply, safety or maybe_cancel_visit",
    ),
    ("site", "of messages of this site"),
    ("source", "of this source"),
    ("message_id", "about this message"),
    ("limit", "rows of a page, 1 to 1000 (100)"),
    ("cursor", "`next` of the page before"),
];

fn filter(fields: &mut Fields<'_>) -> Option<WorkFilter> {
    let source = fields.read("source", |slot| slot.name(SourceName::parse, SourceName::RULE));
    Some(WorkFilter {
        state: fields.read("state", |slot| slot.word(WorkState::ALL, WorkState::as_str)),
        kind: fields.read("kind", |slot| slot.word(WorkKind::ALL, WorkKind::as_str)),
        site: fields.read("site", |slot| slot.name(SiteId::parse, SiteId::RULE)),
        sites: Vec::new(),
        sources: source.into_iter().collect(),
        message: fields.read("message_id", |slot| {
            slot.name(|text| Uuid::try_parse(text).ok().map(MessageId), "an id as the lists give it")
        }),
        after: Cursor::read(fields).map(|cursor| WorkItemId(cursor.id)),
        limit: limit(fields),
    })
}

/// A work item with what the patient wrote: here and nowhere else.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    item: WorkItem,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<ReplyText>,
}

/// `GET /v1/work-items/{id}`: with the text for those who look after work.
pub(super) async fn show(call: Call) -> Answer {
    let item = one(&call).await?;
    let reply = match item.reply_id {
        // People say why they read it: `reveal`. Programs read it to look after it, and that is on record as well; where it
        // came from they see with a reason only, as all that is a patient's.
        Some(_) if !call.caller.is_person() && call.caller.allows(Scope::WorkWrite) && !is_masked(&call)? => {
            reveal::reply(&call, item.id, reveal::given(&call)?.as_ref()).await?
        }
        _ => None,
    };
    answer(StatusCode::OK, &Shown { item, reply })
}

/// `?masked=true`: without what the patient wrote, whoever asks.
pub(super) fn is_masked(call: &Call) -> Result<bool, Fail> {
    flag(&call.uri, "masked")
}

/// What may stand in its query, for the description.
pub(super) const MASKED: &[(&str, &str)] = &[("masked", "true: without what only those who must should see")];

/// `POST /v1/work-items/{id}/claim`.
pub(super) async fn claim(mut call: Call) -> Answer {
    call.form(|_| Some(())).await?;
    change(&call, WorkMove::Claim).await
}

/// `POST /v1/work-items/{id}/release`.
pub(super) async fn release(mut call: Call) -> Answer {
    call.form(|_| Some(())).await?;
    change(&call, WorkMove::Release).await
}

/// `POST /v1/work-items/{id}/close`.
pub(super) async fn close(mut call: Call) -> Answer {
    let outcome = call
        .form(|fields| fields.need("outcome", |slot| slot.word(WorkOutcome::ALL, WorkOutcome::as_str)))
        .await?;
    change(&call, WorkMove::Close(outcome)).await
}

async fn change(call: &Call, to: WorkMove) -> Answer {
    let id = one(call).await?.id;
    let by = call.caller.name().to_owned();
    let intake = call.shared.parts.intake.clone();
    let moved = to_the_end(async move {
        let moved = intake.store.move_work(id, &by, to).await;
        intake.wake();
        moved
    })
    .await??;
    match moved {
        WorkMoved::Done(item) => answer(StatusCode::OK, &item),
        WorkMoved::Refused(item) => Err(refusal(&item)),
        WorkMoved::Unknown => Err(missing()),
    }
}

fn refusal(item: &WorkItem) -> Fail {
    let detail = match item.state {
        WorkState::Open => "nobody has claimed it",
        WorkState::Claimed => "somebody else has claimed it; they, or you for them, can release it",
        WorkState::Closed => "it is closed",
    };
    Fail::new(Kind::Conflict, detail).with("state", item.state.as_str())
}

fn missing() -> Fail {
    Fail::not_found("work item")
}

/// The item of the path, if it concerns the caller.
pub(super) async fn one(call: &Call) -> Result<WorkItem, Fail> {
    let id = WorkItemId(Uuid::try_parse(call.param("id")).map_err(|_| missing())?);
    let item = call.store().work_item(id).await?.ok_or_else(missing)?;
    let concerned = match &item.source {
        Some(source) => call.caller.speaks_for(source),
        None => call.caller.sources().is_none(),
    };
    (concerned && call.caller.sees(item.site.as_ref())).then_some(item).ok_or_else(missing)
}
