//! What became of jobs: lists, look-ups, explanations; taking back and trying again.

use std::collections::HashMap;

use axum::http::StatusCode;
use jiff::SignedDuration;
use serde_json::json;
use uuid::Uuid;

use super::jobs;
use super::problem::{Answer, Fail, Kind};
use super::query::{Cursor, MAX_PAGE, limit, next, query};
use super::route::{Call, json as answer, to_the_end};
use crate::dispatch::explain;
use crate::domain::ids::{
    About, CampaignId, JobId, MessageId, PatientId, ProviderName, SiteId, SourceName, TemplateName,
};
use crate::domain::job::{Cancel, CancelTarget};
use crate::domain::reader::{CANCEL_REASON, Fields, Slot, flag, instant};
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason};
use crate::intake::again::Again;
use crate::store::rows::{CancelOutcome, MessageFilter, MessageRow, MessagesPage};
use crate::store::{Store, StoreError};

/// What is written now may carry an earlier time of change than what can be read already: a list by change ends so long
/// ago, so that who follows it misses nothing.
pub(super) const UNDER_WAY: SignedDuration = SignedDuration::from_secs(2);

/// Where no index answers a filter, a page looks through so many messages and says how far it came.
const WALK: u32 = 10_000;

/// `GET /v1/messages`: newest first, or with `changed_since` by time of change.
pub(super) async fn list(call: Call) -> Answer {
    let (mut filter, cursor) = query(&call.uri, filter)?;
    let by_change = filter.changed_since.is_some();
    if by_change {
        let now = call.store().ping().await?;
        filter.changed_before = now.checked_sub(UNDER_WAY).ok();
        if let Some(Cursor { id, at: Some(at) }) = cursor {
            filter.changed_since = Some(at);
            filter.changed_after = Some(MessageId(id));
        }
    } else {
        filter.before = cursor.map(|cursor| MessageId(cursor.id));
    }
    let MessagesPage { mut rows, looked_to } = page_of_own_sources(&call, &filter, Some(WALK)).await?;
    let next = next(&rows, filter.limit, |last| Cursor {
        id: last.facts.id.0,
        at: by_change.then_some(last.changed_at),
    });
    let looked_to = looked_to.filter(|_| next.is_none());
    let next = next.or_else(|| looked_to.map(|id| Cursor::behind(id.0)));
    if !filter.job_ids.is_empty() {
        rows = with_copies(&call, rows).await?;
    }
    let (next, looked_to) = (next.map(Cursor::write), looked_to.and_then(MessageId::given_at));
    answer(StatusCode::OK, &json!({"messages": rows, "next": next, "looked_back_to": looked_to}))
}

/// `POST /v1/messages/lookup`: by the caller's own names.
pub(super) async fn lookup(mut call: Call) -> Answer {
    let (source, ids) = call
        .form(|fields| {
            let source = fields.read("source", |slot| slot.name(SourceName::parse, SourceName::RULE));
            let ids = fields.need("ids", |slot| {
                slot.list(usize::try_from(MAX_PAGE).unwrap_or(1), |slot| slot.name(JobId::parse, JobId::RULE))
            });
            Some((source, ids?))
        })
        .await?;
    let source = source.or_else(|| call.shared.parts.config.default_source().cloned());
    let filter = MessageFilter { source, job_ids: ids.clone(), limit: MAX_PAGE, ..MessageFilter::default() };
    let rows = if ids.is_empty() { Vec::new() } else { of_own_sources(&call, &filter).await? };
    let missing: Vec<&JobId> =
        ids.iter().filter(|id| !rows.iter().any(|row| row.facts.job_id == **id)).collect();
    let rows = with_copies(&call, rows).await?;
    answer(StatusCode::OK, &json!({"messages": rows, "missing": missing}))
}

/// `GET /v1/messages/{id}`.
pub(super) async fn show(call: Call) -> Answer {
    answer(StatusCode::OK, &one(&call).await?)
}

/// `GET /v1/messages/{id}/explain`.
pub(super) async fn explained(call: Call) -> Answer {
    let id = one(&call).await?.facts.id;
    let explained = explain(call.store().as_ref(), id).await?;
    answer(StatusCode::OK, &explained.ok_or_else(|| Fail::not_found("message"))?)
}

/// `POST /v1/messages/{id}/cancel`.
pub(super) async fn cancel(mut call: Call) -> Answer {
    let message = one(&call).await?;
    let reason = call.form(|fields| Some(fields.read("reason", |slot| slot.text(CANCEL_REASON)))).await?;
    if let Some(reason) = &reason {
        call.note.say(reason.as_str());
    }
    if message.status == MessageStatus::Cancelled {
        return jobs::cancelled(&CancelOutcome::Cancelled(Vec::new()));
    }
    let cancel =
        Cancel { source: message.facts.source, target: CancelTarget::Message(message.facts.id), reason };
    let intake = call.shared.parts.intake.clone();
    let outcome = to_the_end(async move { intake.take_back(&cancel).await }).await??;
    match outcome {
        // It ended in another way first.
        CancelOutcome::Cancelled(ids) if ids.is_empty() => {
            jobs::cancelled(&CancelOutcome::TooLate(vec![message.facts.id]))
        }
        other => jobs::cancelled(&other),
    }
}

/// `POST /v1/messages/{id}/retry`: a new message that names this one.
pub(super) async fn retry(mut call: Call) -> Answer {
    let message = one(&call).await?;
    let accept_duplicate =
        call.form(|fields| Some(fields.read("accept_duplicate", flag).unwrap_or(false))).await?;
    let (id, job_id) = (message.facts.id, message.facts.job_id.clone());
    let (intake, by) = (call.shared.parts.intake.clone(), call.caller.name().to_owned());
    let again = to_the_end(async move { intake.again(&message, accept_duplicate, &by).await }).await??;
    let body = |new: MessageId, result: &str| json!({"id": job_id, "message_id": new, "retry_of": id, "result": result});
    match again {
        Again::Accepted(new) => answer(StatusCode::ACCEPTED, &body(new, "accepted")),
        Again::Already(new) => answer(StatusCode::OK, &body(new, "duplicate")),
        Again::Refused(problem) => Err(Fail::because(Kind::Conflict, problem)),
    }
}

/// `POST /v1/messages/{id}/next-route`: no more patience with the way that fails, or with whoever does not answer.
pub(super) async fn next_route(mut call: Call) -> Answer {
    let id = one(&call).await?.facts.id;
    call.form(|_| Some(())).await?;
    let intake = call.shared.parts.intake.clone();
    let moved = to_the_end(async move {
        let moved = intake.store.next_route(id).await;
        intake.wake();
        moved
    })
    .await??;
    if moved {
        return answer(StatusCode::OK, &json!({"message_id": id, "result": "given_up"}));
    }
    Err(Fail::new(
        Kind::Conflict,
        "it waits neither for another try over a way that has failed, nor for an answer before its plan goes on",
    ))
}

/// The message of the path, if the caller may know of it.
pub(super) async fn one(call: &Call) -> Result<MessageRow, Fail> {
    let missing = || Fail::not_found("message");
    let id = Uuid::try_parse(call.param("id")).map_err(|_| missing())?;
    let row = call.store().message(MessageId(id)).await?.ok_or_else(missing)?;
    let known = call.caller.speaks_for(&row.facts.source) && call.caller.sees(row.facts.site.as_ref());
    if known { Ok(row) } else { Err(missing()) }
}

/// Lists messages of the sources that the caller is bound to.
pub(super) async fn of_own_sources(call: &Call, filter: &MessageFilter) -> Result<Vec<MessageRow>, Fail> {
    Ok(page_of_own_sources(call, filter, None).await?.rows)
}

/// The same among so many at most.
async fn page_of_own_sources(
    call: &Call,
    filter: &MessageFilter,
    walk: Option<u32>,
) -> Result<MessagesPage, Fail> {
    let store = call.store().as_ref();
    let of_sites;
    let filter = match call.caller.sites() {
        None => filter,
        Some(sites) => {
            of_sites = MessageFilter { sites: sites.to_vec(), ..filter.clone() };
            &of_sites
        }
    };
    let bound = match (call.caller.sources(), &filter.source) {
        (None, _) => return Ok(page(store, filter, walk).await?),
        (Some(_), Some(named)) => {
            call.caller.must_speak_for(named)?;
            return Ok(page(store, filter, walk).await?);
        }
        (Some(bound), None) => bound,
    };
    let (mut rows, mut looked_to) = (Vec::new(), None);
    for source in bound {
        let of_one = MessageFilter { source: Some(source.clone()), ..filter.clone() };
        let of_one = page(store, &of_one, walk).await?;
        rows.extend(of_one.rows);
        looked_to = looked_to.max(of_one.looked_to);
    }
    // What one source's walk has passed and another's has not comes with the next page.
    rows.retain(|row| looked_to.is_none_or(|to| row.facts.id >= to));
    if filter.changed_since.is_some() {
        rows.sort_by_key(|row| (row.changed_at, row.facts.id));
    } else {
        rows.sort_by_key(|row| std::cmp::Reverse(row.facts.id));
    }
    rows.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
    Ok(MessagesPage { rows, looked_to })
}

async fn page(
    store: &dyn Store,
    filter: &MessageFilter,
    walk: Option<u32>,
) -> Result<MessagesPage, StoreError> {
    match walk {
        Some(walk) => store.messages_among(filter, walk).await,
        None => Ok(MessagesPage { rows: store.messages(filter).await?, looked_to: None }),
    }
}

/// Messages, each followed by its copies for proxies.
async fn with_copies(call: &Call, rows: Vec<MessageRow>) -> Result<Vec<MessageRow>, Fail> {
    if rows.is_empty() {
        return Ok(rows);
    }
    let mut filter = MessageFilter {
        copies_of: rows.iter().map(|row| row.facts.id).collect(),
        limit: MAX_PAGE,
        ..MessageFilter::default()
    };
    let mut copies: HashMap<MessageId, Vec<MessageRow>> = HashMap::new();
    loop {
        let page = call.store().messages(&filter).await?;
        let full = page.len() >= usize::try_from(MAX_PAGE).unwrap_or(usize::MAX);
        filter.before = page.last().map(|row| row.facts.id);
        for copy in page {
            copies.entry(copy.copy_of.unwrap_or(copy.facts.id)).or_default().push(copy);
        }
        if !full {
            break;
        }
    }
    let each = rows.into_iter().flat_map(|row| {
        let theirs = copies.remove(&row.facts.id).unwrap_or_default();
        std::iter::once(row).chain(theirs)
    });
    Ok(each.collect())
}

/// A page of a list: which messages, in which order, from where on.
fn filter(fields: &mut Fields<'_>) -> Option<(MessageFilter, Option<Cursor>)> {
    let cursor = Cursor::read(fields);
    let changed_since = fields.read("changed_since", instant);
    let limit = limit(fields);
    Some((MessageFilter { changed_since, limit, ..narrowed(fields)? }, cursor))
}

/// Which messages an export or an action is about: all of them, so a page of them cannot be named.
pub(super) fn narrowed(fields: &mut Fields<'_>) -> Option<MessageFilter> {
    let (since, until) = (fields.read("since", instant), fields.read("until", instant));
    Some(MessageFilter { since, until, limit: MAX_PAGE, ..kind(fields)? })
}

/// What a message, and what is told of it, can be known by.
pub(super) fn kind(fields: &mut Fields<'_>) -> Option<MessageFilter> {
    Some(MessageFilter {
        source: fields.read("source", |slot| slot.name(SourceName::parse, SourceName::RULE)),
        job_ids: fields.read("job_id", |slot| slot.name(JobId::parse, JobId::RULE)).into_iter().collect(),
        about: fields.read("about", |slot| slot.name(About::parse, About::RULE)),
        status: fields.read("status", |slot| slot.word(MessageStatus::ALL, MessageStatus::as_str)),
        reason: fields.read("reason", |slot| slot.word(Reason::ALL, Reason::as_str)),
        channel: fields.read("channel", |slot: Slot<'_>| slot.word(Channel::ALL, Channel::as_str)),
        provider: fields.read("provider", |slot| slot.name(ProviderName::parse, ProviderName::RULE)),
        template: fields.read("template", |slot| slot.name(TemplateName::parse, TemplateName::RULE)),
        site: fields.read("site", |slot| slot.name(SiteId::parse, SiteId::RULE)),
        campaign_id: fields.read("campaign_id", |slot| slot.name(CampaignId::parse, CampaignId::RULE)),
        patient_id: fields.read("patient_id", |slot| slot.name(PatientId::parse, PatientId::RULE)),
        ..MessageFilter::default()
    })
}

/// The filters of `GET /v1/messages`, for its description.
pub(super) const FILTERS: &[(&str, &str)] = &[
    ("source", "of this source"),
    ("job_id", "of this job"),
    ("about", "on this matter"),
    ("status", "in this status"),
    ("reason", "for this reason"),
    ("channel", "over this channel"),
    ("provider", "given to this provider, whatever came of it"),
    ("template", "with this template"),
    ("site", "of this site"),
    ("campaign_id", "of this campaign"),
    ("patient_id", "to this patient"),
    ("since", "accepted at or after this instant"),
    ("until", "accepted before this instant"),
    ("changed_since", "changed at or after this instant, up to two seconds ago; oldest change first"),
    ("limit", "rows of a page, 1 to 1000 (100)"),
    (
        "cursor",
        "`next` of the page before; a page may be short, even empty, and have one: go on until there is none",
    ),
];

/// ... of an export and of actions.
pub(super) const NARROWED: &[(&str, &str)] = FILTERS.split_at(13).0;

/// ... and of `GET /v1/stream`.
pub(super) const KIND: &[(&str, &str)] = FILTERS.split_at(11).0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_every_filter_and_what_is_no_filter_is_refused() {
        fn told<T>(asked: &str, read: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> String {
            let told = query(&format!("/v1/messages?{asked}").parse().unwrap(), read);
            told.err().map(|fail| fail.to_json().to_string()).unwrap_or_default()
        }
        for (what, described) in [("list", FILTERS), ("export", NARROWED), ("stream", KIND)] {
            let told = |asked: &str| match what {
                "list" => told(asked, filter),
                "export" => told(asked, narrowed),
                _ => told(asked, kind),
            };
            let refused = told("colour=red");
            assert!(refused.contains("colour") && refused.contains("unknown field"), "{refused}");
            for (name, _) in FILTERS {
                let text = told(&format!("{name}="));
                let known = described.iter().any(|(other, _)| other == name);
                assert_eq!(!text.contains("unknown field"), known, "{what} {name}: {text}");
                assert!(!known || refused.contains(name), "{name} is not among the known ones");
            }
        }
    }
}
