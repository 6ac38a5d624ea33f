//! What is masked everywhere else, one at a time: to whom may see it, who says why, and only once that is on record.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::problem::{Answer, Fail};
use super::route::{Call, json as answer};
use super::{audit, campaigns, dead, messages, patients, work};
use crate::config::api::Scope;
use crate::dispatch::rendered_again;
use crate::domain::ids::WorkItemId;
use crate::domain::phi::Phi;
use crate::domain::reader::{Fault, Slot, fields};
use crate::store::audit::AuditEntry;
use crate::store::rows::{AttemptRow, MessageRow, ParkedRow, ReplyText};

/// Characters of a reason.
const REASON: usize = 200;
/// ... and at least so many: "x" is none.
const LEAST: usize = 4;

/// `POST /v1/messages/{id}/reveal`: whom it was for, where it went, and what it says.
pub(super) async fn message(mut call: Call) -> Answer {
    let message = messages::one(&call).await?;
    let reason = reason(&mut call).await?;
    record(&call, "message.reveal", message.facts.id.to_string(), &reason).await?;
    let store = call.store();
    let attempts = store.attempts(message.facts.id).await?;
    let patient = store.patient(&message.facts.patient_id).await?;
    let of_job = message.body.patient.as_deref();
    let name = of_job.or(patient.as_ref()).and_then(|patient| patient.name.clone());
    let sent: Vec<Value> = attempts
        .iter()
        .map(|attempt| json!({"id": attempt.id, "channel": attempt.channel, "address": attempt.address}))
        .collect();
    answer(
        StatusCode::OK,
        &json!({
            "patient": {"id": message.facts.patient_id, "name": name}, "data": message.body.data,
            "attempts": sent, "content": content(&call, &message, attempts.last(), of_job.or(patient.as_ref())),
        }),
    )
}

/// The text as the templates of today render it: what was sent is not kept.
fn content(
    call: &Call,
    message: &MessageRow,
    last: Option<&AttemptRow>,
    patient: Option<&crate::domain::patient::Patient>,
) -> Value {
    let Some(patient) = patient else { return json!({"problem": "the patient is not in the directory"}) };
    let parts = &call.shared.parts;
    let catalogue = parts.catalogue.current();
    let changed = last.is_some_and(|attempt| attempt.template_hash != catalogue.bundle_hash());
    match rendered_again(&parts.config, &catalogue, message, last, patient) {
        Ok((channel, locale, texts)) => {
            let texts: Map<String, Value> =
                texts.into_iter().map(|(part, text)| (part.to_owned(), json!(text))).collect();
            json!({"channel": channel, "locale": locale, "texts": texts, "templates_changed": changed})
        }
        Err(why) => json!({"problem": why}),
    }
}

/// `POST /v1/patients/{id}/reveal`: the whole record.
pub(super) async fn patient(mut call: Call) -> Answer {
    let id = patients::path_id(&call)?;
    let found = call.store().patient(&id).await?;
    let patient = found
        .filter(|patient| call.caller.sees(patient.site.as_ref()))
        .ok_or_else(|| Fail::not_found("patient"))?;
    let reason = reason(&mut call).await?;
    record(&call, "patient.reveal", id.to_string(), &reason).await?;
    let (said, changes) = call.store().patient_word(&id).await?.to_json();
    let mut shown = patient.to_json();
    if let Value::Object(fields) = &mut shown {
        fields.insert("said_at_addresses".to_owned(), said.into());
        fields.insert("changes".to_owned(), changes.into());
    }
    answer(StatusCode::OK, &shown)
}

/// `POST /v1/patients/{id}/export`: all that is known of them, for whoever asks for it about themselves.
pub(super) async fn export(mut call: Call) -> Answer {
    let id = patients::path_id(&call)?;
    let found = call.store().patient_record(&id).await?;
    let found = found.ok_or_else(|| Fail::not_found("patient"))?;
    let reason = reason(&mut call).await?;
    record(&call, "patient.export", id.to_string(), &reason).await?;
    answer(StatusCode::OK, &found.to_json())
}

/// `POST /v1/work-items/{id}/reveal`: what the patient wrote, and from where.
pub(super) async fn work_item(mut call: Call) -> Answer {
    let item = work::one(&call).await?;
    let reason = reason(&mut call).await?;
    let reply = reply(&call, item.id, Some(&reason)).await?;
    answer(StatusCode::OK, &json!({"reply": reply.ok_or_else(|| Fail::not_found("reply"))?}))
}

/// What a patient wrote; and, to whom may read patients and says why, the address that it came from: whoever answers has to
/// reach them, and this is one look, not two. Both stand on record by their names.
pub(super) async fn reply(
    call: &Call,
    item: WorkItemId,
    reason: Option<&Phi>,
) -> Result<Option<ReplyText>, Fail> {
    let address = reason.is_some() && call.caller.allows(Scope::PatientsRead);
    let what = if address { "text and address" } else { "text" };
    let detail = reason.map_or_else(|| what.to_owned(), |reason| format!("{what}: {}", reason.expose()));
    record(call, "work.reveal", item.to_string(), &Phi::new(detail)).await?;
    let reply = call.store().reply_text(item).await?;
    Ok(reply.map(|reply| ReplyText { from: reply.from.filter(|_| address), ..reply }))
}

/// `POST /v1/dead/{id}/reveal`: the body that could not be accepted.
pub(super) async fn dead(mut call: Call) -> Answer {
    let row = dead::one(&call).await?;
    if row.unread {
        return Err(Fail::invalid(vec![ParkedRow::closed()]));
    }
    let reason = reason(&mut call).await?;
    record(&call, "dead.reveal", row.id.to_string(), &reason).await?;
    answer(StatusCode::OK, &json!({"id": row.id, "body": String::from_utf8_lossy(&row.body)}))
}

/// `POST /v1/campaigns/{id}/reveal`: the samples of a dry run, which say what stands in the rows of the audience.
pub(super) async fn campaign(mut call: Call) -> Answer {
    let id = campaigns::one(&call).await?.plan.id;
    let reason = reason(&mut call).await?;
    record(&call, "campaign.reveal", id.to_string(), &reason).await?;
    let forecast = call.shared.parts.campaigns.dry_run(&id).await?;
    answer(StatusCode::OK, &json!({"recipients": forecast.recipients, "samples": forecast.samples}))
}

async fn reason(call: &mut Call) -> Result<Phi, Fail> {
    call.form(|fields| fields.need("reason", reason_of)).await
}

/// Programs say it in this header: a query string would stand in the logs of every proxy.
pub(super) const REASON_HEADER: &str = "x-outreach-reason";

/// Why a program reads what is masked otherwise; `None`: it does not say.
///
/// # Errors
/// It says too little, or too much.
pub(super) fn given(call: &Call) -> Result<Option<Phi>, Fail> {
    let Some(value) = call.headers.get(REASON_HEADER) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    let map = Map::from_iter([(REASON_HEADER.to_owned(), Value::String(text))]);
    Ok(Some(fields(map, |fields| fields.need(REASON_HEADER, reason_of))?))
}

/// Why somebody does what only a reason opens.
pub(super) fn reason_of(slot: Slot<'_>) -> Option<Phi> {
    slot.parsed(|text| {
        let text = text.trim();
        let length = text.chars().count();
        let cure = "say what you need it for, such as \"patient called back\"";
        let rule = format!("must be a reason of {LEAST} to {REASON} characters");
        if (LEAST..=REASON).contains(&length) {
            Ok(Phi::new(text))
        } else {
            Err(Fault::malformed(rule, cure))
        }
    })
}

/// On record before anything is shown.
pub(super) async fn record(call: &Call, act: &str, subject: String, reason: &Phi) -> Result<(), Fail> {
    let (who, act) = (call.caller.name().to_owned(), act.to_owned());
    let entry = AuditEntry { who, act, subject, detail: reason.clone() };
    audit::write(call.store().as_ref(), &entry).await
}
