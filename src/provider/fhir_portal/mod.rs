//! `fhir_portal`: a message into a patient portal, as a FHIR R4 `Communication`.
//!
//! `POST {base}/Communication` with `If-None-Exist: identifier={system}|{send key}` (R4, conditional
//! create): a repeat finds the first one, so an unknown outcome may be sent again.
//!
//! | answer | meaning |
//! |---|---|
//! | 201 | created |
//! | 200 | there already: an earlier attempt got through |
//! | 412 with an issue `multiple-matches`, `processing` or `duplicate` | there more than once: it got through, and the server did not deduplicate |
//! | any other 412 | `Misconfigured`: the server does not search by our identifier, so nothing was created |
//! | 401 | the token, not the message: one new token, one more try |
//! | 400, 409, 410, 422 with an issue `not-found` or `deleted` | `BadAddress`: the patient is not there |
//! | the same with `throttled` | `Throttled` |
//! | the same with another issue of the group `transient`, with `conflict` or `duplicate` | `Transient` |
//! | any other 409 | `Transient`: another request was in the way |
//! | 404, whatever the issue | `Misconfigured`: of a create it says that the type is not supported, or that this is no FHIR end-point |
//! | all else | the table of [`super::http`] |
//!
//! There is no webhook: R4 has no receipt for a Communication, and a server that knows whether it was read says so on
//! the resource itself. What was created is `sent`, and that is final.
//!
//! `check` also reads the CapabilityStatement and fails where it says that conditional create is not honoured, or names what
//! Communications are searched by, and the identifier is not among it.
//! Of an OperationOutcome only the code of its first issue is kept, and only where it is one of R4's own.

mod token;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, LOCATION};
use serde::Deserialize;
use serde_json::{Value, json};

use self::token::TokenSource;
use super::Provider;
use super::http::{self, Answer};
use crate::config::provider::{FhirPortalSettings, On5xx};
use crate::config::secret::Secret;
use crate::domain::ids::ProviderName;
use crate::domain::outbound::{Accepted, Content, FailureKind, OutboundMessage, SendError};
use crate::domain::problem::Problem;
use crate::domain::words::{Channel, Purpose};

/// The identifier system under which our send keys are known.
pub const SEND_KEY_SYSTEM: &str = "urn:outreachd:send-key";

/// Statements of large servers take megabytes.
const MAX_METADATA_BYTES: usize = 8 * 1024 * 1024;
const FHIR_JSON: &str = "application/fhir+json";

/// Issue codes of R4 (value set `issue-type`) that may be passed on.
const ISSUE_CODES: &[&str] = &[
    "invalid",
    "structure",
    "required",
    "value",
    "invariant",
    "security",
    "login",
    "unknown",
    "expired",
    "forbidden",
    "suppressed",
    "processing",
    "not-supported",
    "duplicate",
    "multiple-matches",
    "not-found",
    "deleted",
    "too-long",
    "code-invalid",
    "extension",
    "too-costly",
    "business-rule",
    "conflict",
    "transient",
    "lock-error",
    "no-store",
    "exception",
    "timeout",
    "incomplete",
    "throttled",
];

/// What servers say of a condition that several resources meet: the code that the specification has for it, and those of
/// servers that have none of their own for it (HAPI: `processing`).
const SEVERAL: &[&str] = &["multiple-matches", "processing", "duplicate"];

/// Those after which the same request may get through: the group `transient` of the value set but for `throttled`, and
/// what another request was in the way of.
const WORTH_ANOTHER_TRY: &[&str] =
    &["transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "conflict", "duplicate"];

/// Writes into a portal.
pub struct FhirPortal {
    name: ProviderName,
    client: reqwest::Client,
    base: String,
    tokens: TokenSource,
    sender: Option<String>,
}

impl FhirPortal {
    /// Reads the settings; signs once, to know that the key is good.
    ///
    /// # Errors
    /// The first fault, with its field.
    pub fn new(
        name: ProviderName,
        settings: &FhirPortalSettings,
        timeout: Duration,
    ) -> Result<Self, Problem> {
        let base = http::base_url(&name, "base_url", &settings.base_url)?;
        if settings.sender.as_deref().is_some_and(|sender| !is_reference(sender)) {
            let cure = "write it as Organization/id";
            return Err(http::fault(&name, "sender", "must be a FHIR reference", cure));
        }
        let client = http::client(&name, timeout)?;
        let tokens = TokenSource::new(&name, settings, client.clone(), base.clone())?;
        Ok(Self { name, client, base, tokens, sender: settings.sender.clone() })
    }

    async fn create(
        &self,
        message: &OutboundMessage,
        body: &Value,
        token: &Secret,
    ) -> Result<Answer, SendError> {
        let request = self
            .client
            .post(format!("{}/Communication", self.base))
            .bearer_auth(token.expose())
            .header(ACCEPT, FHIR_JSON)
            .header("Prefer", "return=minimal")
            .header("If-None-Exist", format!("identifier={SEND_KEY_SYSTEM}|{}", message.send_key))
            .json(body)
            .header(CONTENT_TYPE, FHIR_JSON);
        http::exchange(request).await
    }

    fn communication(&self, message: &OutboundMessage) -> Result<Value, SendError> {
        let Content::Portal { subject, text } = &message.content else {
            return Err(SendError::new(FailureKind::Misconfigured, "channel"));
        };
        let to = message.to.expose();
        if !is_reference(to) {
            return Err(SendError::new(FailureKind::BadAddress, "reference"));
        }
        let mut body = json!({
            "resourceType": "Communication",
            "language": message.language,
            "identifier": [{ "system": SEND_KEY_SYSTEM, "value": message.send_key.to_string() }],
            "status": "completed",
            "category": [{ "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/communication-category",
                "code": category(message.purpose),
            }] }],
            "medium": [{ "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationMode",
                "code": "ONLINEWRIT",
            }] }],
            "topic": { "text": subject.expose() },
            "recipient": [{ "reference": to }],
            "payload": [{ "contentString": text.expose() }],
        });
        if let Some(fields) = body.as_object_mut() {
            if to.starts_with("Patient/") {
                fields.insert("subject".to_owned(), json!({ "reference": to }));
            }
            if let Some(sender) = &self.sender {
                fields.insert("sender".to_owned(), json!({ "reference": sender }));
            }
            if let Ok(now) = Timestamp::try_from(std::time::SystemTime::now()) {
                fields.insert("sent".to_owned(), json!(format!("{now:.0}")));
            }
        }
        Ok(body)
    }
}

impl std::fmt::Debug for FhirPortal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FhirPortal").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for FhirPortal {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn channel(&self) -> Channel {
        Channel::Portal
    }

    fn dedupes(&self) -> bool {
        true
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Accepted, SendError> {
        let body = self.communication(message)?;
        let token = self.tokens.token(None).await?;
        let mut answer = self.create(message, &body, &token).await?;
        if answer.status.as_u16() == 401 {
            let fresh = self.tokens.token(Some(&token)).await?;
            answer = self.create(message, &body, &fresh).await?;
        }
        match answer.status.as_u16() {
            200 | 201 => Ok(Accepted { reference: created(&answer.headers) }),
            412 if issue(&answer).is_some_and(|code| SEVERAL.contains(&code)) => Ok(Accepted::default()),
            _ => Err(refused(&answer)),
        }
    }

    async fn check(&self) -> Result<(), SendError> {
        let token = self.tokens.token(None).await?;
        let request = self
            .client
            .get(format!("{}/metadata", self.base))
            .bearer_auth(token.expose())
            .header(ACCEPT, FHIR_JSON);
        let answer = http::exchange_up_to(request, MAX_METADATA_BYTES).await?;
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        let statement: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match communications(&statement).find_map(why_not_deduplicated) {
            Some(why) => Err(SendError::new(FailureKind::Misconfigured, why)),
            None => Ok(()),
        }
    }
}

/// What a CapabilityStatement says of the resource Communication.
fn communications(statement: &Value) -> impl Iterator<Item = &Value> {
    let rests = statement.get("rest").and_then(Value::as_array).into_iter().flatten();
    rests
        .filter_map(|rest| rest.get("resource").and_then(Value::as_array))
        .flatten()
        .filter(|resource| resource.get("type").is_some_and(|kind| kind == "Communication"))
}

/// Why `If-None-Exist` with our identifier is not honoured, by what the server says of itself: each repeat would be a new
/// message, or none would be taken. One that says nothing of it is believed to honour it.
fn why_not_deduplicated(communication: &Value) -> Option<&'static str> {
    let searched = communication.get("searchParam").and_then(Value::as_array);
    let by_identifier =
        |all: &[Value]| all.iter().any(|one| one.get("name").is_some_and(|n| n == "identifier"));
    if communication.get("conditionalCreate") == Some(&Value::Bool(false)) {
        return Some("no_conditional_create");
    }
    let named = searched.filter(|all| !all.is_empty());
    named.is_some_and(|all| !by_identifier(all)).then_some("no_search_by_identifier")
}

/// The standard has four categories; a reminder is what is tied to a date.
fn category(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Emergency => "alert",
        Purpose::Appointment | Purpose::Prevention => "reminder",
        Purpose::Care => "instruction",
        Purpose::Results | Purpose::Billing | Purpose::Survey | Purpose::Marketing => "notification",
    }
}

/// `Type/id` as R4 writes it.
fn is_reference(text: &str) -> bool {
    text.split_once('/').is_some_and(|(kind, id)| {
        !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphabetic()) && is_id(id)
    })
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
}

/// `Communication/{id}` out of `{base}/Communication/{id}/_history/{version}`.
fn created(headers: &HeaderMap) -> Option<String> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let (_, rest) = location.rsplit_once("Communication/")?;
    let id = rest.split('/').next()?;
    is_id(id).then(|| format!("Communication/{id}"))
}

#[derive(Deserialize)]
struct OperationOutcome {
    issue: Vec<Issue>,
}

#[derive(Deserialize)]
struct Issue {
    code: String,
}

/// The code of the first issue, where it is one of R4's.
fn issue(answer: &Answer) -> Option<&'static str> {
    let outcome = serde_json::from_slice::<OperationOutcome>(&answer.body).ok()?;
    let issue = outcome.issue.into_iter().next()?;
    ISSUE_CODES.iter().copied().find(|known| *known == issue.code)
}

fn refused(answer: &Answer) -> SendError {
    let general = http::refusal(answer, On5xx::Unknown);
    let status = answer.status.as_u16();
    if !matches!(status, 400 | 404 | 409 | 410 | 412 | 422) {
        return general;
    }
    let code = issue(answer);
    let kind = match code {
        _ if status == 404 => general.kind,
        _ if status == 412 => FailureKind::Misconfigured,
        Some("not-found" | "deleted") => FailureKind::BadAddress,
        Some("throttled") => FailureKind::Throttled { retry_after: http::retry_after(&answer.headers) },
        Some(code) if WORTH_ANOTHER_TRY.contains(&code) => FailureKind::Transient,
        _ if status == 409 => FailureKind::Transient,
        _ => general.kind,
    };
    match code {
        Some(code) => SendError::new(kind, code),
        None => SendError { kind, ..general },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_resource_is_read_from_its_location() {
        for (location, expected) in [
            ("https://h/fhir/Communication/abc-1/_history/1", Some("Communication/abc-1")),
            ("Communication/9", Some("Communication/9")),
            ("https://h/fhir/Patient/9", None),
            ("https://h/fhir/Communication/a b", None),
        ] {
            let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
            assert_eq!(created(&headers).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn a_reference_is_a_type_and_an_id() {
        for good in ["Patient/42", "RelatedPerson/a.b-c", "Organization/1"] {
            assert!(is_reference(good), "{good}");
        }
        for bad in ["42", "Patient/", "/42", "Patient/4 2", "Patient/42/x", "http://h/Patient/42"] {
            assert!(!is_reference(bad), "{bad}");
        }
    }
}
