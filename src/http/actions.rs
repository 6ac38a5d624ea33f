//! Many messages at once, by filter: counted first, then done; and the list as a table for other programs.

use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::json;

use super::audit;
use super::messages::{narrowed, of_own_sources};
use super::problem::{Answer, Fail, Kind};
use super::query::{MAX_PAGE, query};
use super::route::{Call, json as answer, to_the_end};
use crate::domain::job::{Cancel, CancelTarget};
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::reader::flag;
use crate::domain::status::MessageStatus;
use crate::domain::words::Reason;
use crate::intake::Intake;
use crate::intake::again::Again;
use crate::intake::import::neutral;
use crate::store::StoreError;
use crate::store::audit::AuditEntry;
use crate::store::rows::{CancelOutcome, MessageFilter, MessageRow};

/// Messages that one request acts upon; the next request goes on with what is left.
const AT_ONCE: u32 = 500;
/// So far a dry run counts.
const COUNTED: usize = 10_000;
/// Rows of an export.
const EXPORTED: usize = 50_000;

/// What is done to many messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// Take them back.
    Cancel,
    /// Try them again as new messages.
    Retry,
}

impl Action {
    const ALL: [Self; 2] = [Self::Cancel, Self::Retry];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
        }
    }

    /// Whether a message in this status can be meant.
    fn fits(self, status: MessageStatus, accept_duplicate: bool) -> bool {
        match self {
            Self::Cancel => matches!(
                status,
                MessageStatus::Accepted
                    | MessageStatus::Scheduled
                    | MessageStatus::Held
                    | MessageStatus::Sending
            ),
            Self::Retry => {
                matches!(status, MessageStatus::Failed | MessageStatus::Suppressed | MessageStatus::Cancelled)
                    || (status == MessageStatus::Unknown && accept_duplicate)
            }
        }
    }
}

/// `POST /v1/messages/actions`: with `dry_run` it only counts.
pub(super) async fn act(mut call: Call) -> Answer {
    let (action, mut filter, dry_run, accept_duplicate) = call
        .form(|fields| {
            let action = fields.need("action", |slot| slot.word(&Action::ALL, Action::as_str));
            let which = fields.need("filter", |slot| slot.object(narrowed));
            let dry_run = fields.read("dry_run", flag).unwrap_or(false);
            let accept_duplicate = fields.read("accept_duplicate", flag).unwrap_or(false);
            Some((action?, which?, dry_run, accept_duplicate))
        })
        .await?;
    if filter.status.is_none() {
        let (rule, cure) = ("must name a status", "say which messages are meant: {\"status\": \"failed\"}");
        return Err(Fail::invalid(vec![Problem::new("filter.status", Reason::BadData, rule, cure)]));
    }
    // What was tried again before, or can be no more, is not in the way of what can.
    filter.untried = action == Action::Retry;
    let most = if dry_run { COUNTED } else { usize::try_from(AT_ONCE).unwrap_or(1) };
    let (found, seen_all) = matching(&call, filter, action, accept_duplicate, most).await?;
    if dry_run {
        call.note.nothing();
        return answer(
            StatusCode::OK,
            &json!({"dry_run": true, "action": action, "matching": found.len(), "at_least": !seen_all}),
        );
    }
    call.note.begun();
    let (intake, by) = (call.shared.parts.intake.clone(), call.caller.name().to_owned());
    let (done, refused, ended) =
        to_the_end(async move { all(&intake, action, accept_duplicate, found, &by).await }).await?;
    call.note.say(format!("{}: {done} messages, {refused} refused", action.as_str()));
    ended?;
    answer(StatusCode::OK, &json!({"action": action, "done": done, "refused": refused, "more": !seen_all}))
}

/// Those that the filter finds and the action fits, `most` at most; and whether that is all of them.
async fn matching(
    call: &Call,
    mut filter: MessageFilter,
    action: Action,
    accept_duplicate: bool,
    most: usize,
) -> Result<(Vec<MessageRow>, bool), Fail> {
    let mut found = Vec::new();
    filter.limit = MAX_PAGE;
    // What does not fit counts too: a filter that finds nothing among a million must end.
    for _ in 0..=COUNTED / usize::try_from(MAX_PAGE).unwrap_or(1) {
        let rows = of_own_sources(call, &filter).await?;
        let full = rows.len() >= usize::try_from(MAX_PAGE).unwrap_or(usize::MAX);
        filter.before = rows.last().map(|row| row.facts.id);
        for row in rows {
            if action.fits(row.status, accept_duplicate) {
                if found.len() >= most {
                    return Ok((found, false));
                }
                found.push(row);
            }
        }
        if !full {
            return Ok((found, true));
        }
    }
    Ok((found, false))
}

/// How many were done and refused, up to the end or to where the ledger was away.
async fn all(
    intake: &Intake,
    action: Action,
    accept_duplicate: bool,
    messages: Vec<MessageRow>,
    by: &str,
) -> (usize, usize, Result<(), StoreError>) {
    let (mut done, mut refused) = (0, 0);
    for message in messages {
        let went = match action {
            Action::Retry => intake
                .again(&message, accept_duplicate, by)
                .await
                .map(|again| matches!(again, Again::Accepted(_))),
            Action::Cancel => {
                let target = CancelTarget::Message(message.facts.id);
                let cancel = Cancel { source: message.facts.source, target, reason: None };
                intake
                    .take_back(&cancel)
                    .await
                    .map(|outcome| matches!(outcome, CancelOutcome::Cancelled(ids) if !ids.is_empty()))
            }
        };
        match went {
            Ok(true) => done += 1,
            Ok(false) => refused += 1,
            Err(error) => return (done, refused, Err(error)),
        }
    }
    (done, refused, Ok(()))
}

/// `GET /v1/messages/export`: CSV, newest first; ids and words only.
pub(super) async fn export(call: Call) -> Answer {
    let mut filter = query(&call.uri, narrowed)?;
    // Ids of many patients leave at once: on record before they do.
    let entry = AuditEntry {
        who: call.caller.name().to_owned(),
        act: "message.export".to_owned(),
        subject: String::new(),
        detail: Phi::new(call.uri.query().unwrap_or_default()),
    };
    audit::write(call.store().as_ref(), &entry).await?;
    let mut out = csv::Writer::from_writer(Vec::new());
    let fault = |_| Fail::new(Kind::Internal, "the table could not be written");
    out.write_record([
        "id",
        "accepted_at",
        "changed_at",
        "status",
        "reason",
        "channel",
        "source",
        "job_id",
        "patient_id",
        "template",
        "purpose",
        "priority",
        "site",
        "about",
        "campaign_id",
    ])
    .map_err(fault)?;
    let mut count = 0;
    loop {
        let rows = of_own_sources(&call, &filter).await?;
        for row in &rows {
            out.write_record(record(row).map(|cell| neutral(&cell).into_owned())).map_err(fault)?;
        }
        count += rows.len();
        // A table that ends early would be taken for the whole.
        if count > EXPORTED {
            let rule = format!("finds more than {EXPORTED} messages");
            let cure = "export them in parts: by `since` and `until`, by status, by source";
            return Err(Fail::invalid(vec![Problem::new("filter", Reason::BadData, rule, cure)]));
        }
        filter.before = rows.last().map(|row| row.facts.id);
        if rows.len() < usize::try_from(MAX_PAGE).unwrap_or(usize::MAX) {
            break;
        }
    }
    let bytes = out.into_inner().map_err(|_| Fail::new(Kind::Internal, "the table could not be written"))?;
    let mut response = ([(CONTENT_TYPE, "text/csv; charset=utf-8")], bytes).into_response();
    let name = HeaderValue::from_static("attachment; filename=\"messages.csv\"");
    response.headers_mut().insert(CONTENT_DISPOSITION, name);
    Ok(response)
}

fn record(row: &MessageRow) -> [String; 15] {
    let facts = &row.facts;
    let or_empty = |text: Option<String>| text.unwrap_or_default();
    [
        facts.id.to_string(),
        row.accepted_at.to_string(),
        row.changed_at.to_string(),
        row.status.to_string(),
        or_empty(row.reason.map(|reason| reason.to_string())),
        or_empty(row.channel.map(|channel| channel.to_string())),
        facts.source.to_string(),
        facts.job_id.to_string(),
        facts.patient_id.to_string(),
        facts.template.to_string(),
        facts.purpose.to_string(),
        facts.priority.to_string(),
        or_empty(facts.site.as_ref().map(ToString::to_string)),
        or_empty(facts.about.as_ref().map(ToString::to_string)),
        or_empty(facts.campaign_id.as_ref().map(ToString::to_string)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_arrived_is_only_repeated_on_demand() {
        assert!(!Action::Retry.fits(MessageStatus::Unknown, false));
        assert!(Action::Retry.fits(MessageStatus::Unknown, true));
        for over in [MessageStatus::Delivered, MessageStatus::Sent, MessageStatus::Read] {
            assert!(!Action::Retry.fits(over, true) && !Action::Cancel.fits(over, true));
        }
    }
}
