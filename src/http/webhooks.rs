//! Providers tell what became of messages and calls, and hand on what patients send back. Who may is decided by their signature, by the provider itself;
//! nothing is answered with 2xx before it is on record, or on the disk while the ledger is away.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::problem::{Answer, Fail, Kind};
use super::route::Call;
use crate::provider::webhook::{Door, Webhook};
use crate::receipt::Refusal;

/// `POST /webhooks/{provider}`: the progress of a message or a call, and what patients send back.
pub(super) async fn status(call: Call) -> Answer {
    take(call, Door::Status).await
}

/// `POST /webhooks/{provider}/gather`: who picked up, which key was pressed.
pub(super) async fn gather(call: Call) -> Answer {
    take(call, Door::Gather).await
}

async fn take(mut call: Call, door: Door) -> Answer {
    let provider = call.param("provider").to_owned();
    let none = || Fail::not_found("webhook");
    let desk = call.shared.parts.receipts.clone();
    if !desk.knows(&provider) {
        return Err(none());
    }
    let body = call.bytes(call.shared.parts.config.http.max_webhook).await?;
    let query = call.uri.query().unwrap_or_default();
    let webhook = Webhook { door, query, headers: &call.headers, body: &body };
    match desk.take(&provider, &webhook).await {
        Ok(answer) if answer.is_empty() => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(answer) => Ok(([(CONTENT_TYPE, "text/xml; charset=utf-8")], answer).into_response()),
        Err(Refusal::NoWebhook) => Err(none()),
        Err(Refusal::Forged) => Err(Fail::new(Kind::Forbidden, "the signature does not fit")),
        Err(Refusal::Unreadable) => Err(Fail::new(Kind::Malformed, "this says nothing that is known here")),
        Err(Refusal::Later) => Err(Fail::new(Kind::Unavailable, "it cannot be taken now; send this again")),
    }
}
