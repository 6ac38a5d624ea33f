//! Results that receivers have not taken: what waits, what is dead, and another try.

use axum::http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::problem::{Answer, Fail};
use super::query::{Cursor, limit, next, query};
use super::route::{Call, json as answer, to_the_end};
use crate::domain::ids::{EventId, SourceName};
use crate::domain::reader::{Fault, Fields, Slot};
use crate::store::rows::{CallbackFilter, CallbackState};

/// Ids that one request may name.
const AT_ONCE: usize = 500;

/// The filters of `GET /v1/callbacks`, for its description.
pub(super) const FILTERS: &[(&str, &str)] = &[
    ("state", "waiting or dead; left out: both"),
    ("source", "of this source"),
    ("limit", "rows of a page, 1 to 1000 (100)"),
    ("cursor", "`next` of the page before"),
];

/// `GET /v1/callbacks`: oldest first.
pub(super) async fn list(call: Call) -> Answer {
    let filter = query(&call.uri, |fields| {
        Some(CallbackFilter {
            sources: source(fields),
            state: fields.read("state", |slot| slot.word(CallbackState::ALL, CallbackState::as_str)),
            after: Cursor::read(fields).map(|cursor| EventId(cursor.id)),
            limit: limit(fields),
            ..CallbackFilter::default()
        })
    })?;
    let rows = match of_own_sources(&call, filter.clone())? {
        Some(filter) => call.store().callbacks(&filter).await?,
        None => Vec::new(),
    };
    let next = next(&rows, filter.limit, |row| Cursor::behind(row.id.0)).map(Cursor::write);
    answer(StatusCode::OK, &json!({"callbacks": rows, "next": next}))
}

/// `POST /v1/callbacks/retry`: the dead ones, by ids, by source, or all.
pub(super) async fn retry(mut call: Call) -> Answer {
    let filter = call
        .form(|fields| {
            let ids = fields.read("ids", |slot| slot.list(AT_ONCE, event_id));
            if ids.as_ref().is_some_and(Vec::is_empty) {
                fields.refuse("ids", Fault::malformed("names none", "name some, or leave it out for all"));
            }
            Some(CallbackFilter {
                ids: ids.unwrap_or_default(),
                sources: source(fields),
                ..CallbackFilter::default()
            })
        })
        .await?;
    let Some(filter) = of_own_sources(&call, filter)? else {
        return answer(StatusCode::OK, &json!({"retried": 0}));
    };
    let intake = call.shared.parts.intake.clone();
    let retried = to_the_end(async move { intake.store.retry_callbacks(&filter).await }).await??;
    answer(StatusCode::OK, &json!({"retried": retried}))
}

fn source(fields: &mut Fields<'_>) -> Vec<SourceName> {
    fields.read("source", |slot| slot.name(SourceName::parse, SourceName::RULE)).into_iter().collect()
}

fn event_id(slot: Slot<'_>) -> Option<EventId> {
    slot.name(|text| Uuid::try_parse(text).ok().map(EventId), "an id as the list gives it")
}

/// The filter, narrowed to what concerns the caller. `None`: nothing does.
fn of_own_sources(call: &Call, mut filter: CallbackFilter) -> Result<Option<CallbackFilter>, Fail> {
    call.caller.needs_every_site("results belong to no site")?;
    let sources = call.caller.narrowed(std::mem::take(&mut filter.sources))?;
    Ok(sources.map(|sources| {
        filter.sources = sources;
        filter
    }))
}
