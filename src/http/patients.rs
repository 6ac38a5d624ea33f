//! The directory: one patient told, shown, merged, erased.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde_json::json;

use super::problem::{Answer, Fail, Kind};
use super::reveal;
use super::route::{Call, json as answer, to_the_end};
use super::work::is_masked;
use crate::config::api::Scope;
use crate::domain::ids::PatientId;
use crate::domain::job::MAX_JOB_BYTES;
use crate::domain::patient::Patient;
use crate::domain::problem::Problem;
use crate::domain::reader::{Expect, ParseDefaults, PatientMerge};
use crate::domain::words::Reason;
use crate::intake::gatekeeper::Arrival;
use crate::store::rows::UpsertOutcome;

/// `GET /v1/patients/{id}`: masked; whole for a program that may read patients and says why, which goes on record.
pub(super) async fn show(call: Call) -> Answer {
    let id = path_id(&call)?;
    let found = call.store().patient(&id).await?;
    let patient = found.ok_or_else(|| Fail::not_found("patient"))?;
    if !call.caller.sees(patient.site.as_ref()) {
        return Err(Fail::not_found("patient"));
    }
    let given = reveal::given(&call)?.filter(|_| !call.caller.is_person());
    if let (false, Some(reason)) = (is_masked(&call)?, given) {
        if !call.caller.allows(Scope::PatientsRead) {
            return Err(Fail::new(Kind::Forbidden, "the whole record needs the scope patients:read"));
        }
        reveal::record(&call, "patient.reveal", id.to_string(), &reason).await?;
        return answer(StatusCode::OK, &patient.to_json());
    }
    let (said, changes) = call.store().patient_word(&id).await?.masked();
    let mut shown = patient.masked();
    shown.insert("said_at_addresses".to_owned(), said.into());
    shown.insert("changes".to_owned(), changes.into());
    answer(StatusCode::OK, &shown)
}

/// `PUT /v1/patients/{id}`.
pub(super) async fn put(mut call: Call) -> Answer {
    let id = path_id(&call)?;
    let body = call.bytes(MAX_JOB_BYTES).await?;
    let expect = Expect { id: Some(&id), updated_at: false };
    let mut patient = Patient::parse(&body, &defaults(&call), expect)?;
    let intake = call.shared.parts.intake.clone();
    stamp(&mut patient, intake.store.ping().await?);
    let mut outcomes = to_the_end(async move { intake.upsert_each(vec![patient]).await }).await??;
    let outcome = match outcomes.pop() {
        Some(Ok(outcome)) => outcome,
        Some(Err(problem)) => return Err(Fail::invalid(vec![problem])),
        None => return Err(Fail::new(Kind::Internal, "the patient was not answered")),
    };
    let status = if outcome == UpsertOutcome::Created { StatusCode::CREATED } else { StatusCode::OK };
    answer(status, &json!({"id": id, "result": word(outcome)}))
}

/// `DELETE /v1/patients/{id}`.
pub(super) async fn erase(call: Call) -> Answer {
    let id = path_id(&call)?;
    let store = call.store().clone();
    let known = to_the_end(async move { store.erase_patient(&id).await }).await??;
    if known { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(Fail::not_found("patient")) }
}

/// `POST /v1/patients/{id}/merge`.
pub(super) async fn merge(mut call: Call) -> Answer {
    let id = path_id(&call)?;
    let body = call.bytes(MAX_JOB_BYTES).await?;
    let merge = PatientMerge::parse(&body, Some(&id))?;
    let told = json!({"id": merge.id, "into": merge.into, "result": "merged"});
    let intake = call.shared.parts.intake.clone();
    if to_the_end(async move { intake.merge(&merge).await }).await?? {
        return answer(StatusCode::OK, &told);
    }
    let rule = "one of the two patients is not in the directory";
    Err(Fail::because(Kind::NotFound, Problem::new("into", Reason::UnknownPatient, rule, "send both first")))
}

/// What patients need not say because the place they come in by knows it.
pub(super) fn defaults(call: &Call) -> ParseDefaults {
    call.shared.parts.intake.gatekeeper.defaults(&Arrival::default())
}

/// The word for callers.
pub(super) const fn word(outcome: UpsertOutcome) -> &'static str {
    match outcome {
        UpsertOutcome::Created => "created",
        UpsertOutcome::Updated => "updated",
        UpsertOutcome::Unchanged => "unchanged",
        UpsertOutcome::Stale => "stale",
    }
}

/// Requests come in the order of their changes unless they say otherwise.
fn stamp(patient: &mut Patient, now: Timestamp) {
    if patient.updated_at.is_none() {
        patient.updated_at = Some(now);
        for preference in &mut patient.preferences {
            preference.updated_at = Some(now);
        }
    }
}

pub(super) fn path_id(call: &Call) -> Result<PatientId, Fail> {
    PatientId::parse(call.param("id")).ok_or_else(|| Fail::not_found("patient"))
}
