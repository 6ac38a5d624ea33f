//! What is wrong with the whole of it, and what somebody on call says of it.

use axum::http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::problem::{Answer, Fail};
use super::route::{Call, json as answer, to_the_end};
use crate::store::alerts::AlertAnswer;

/// A snooze lasts so many minutes at most: a week.
const LONGEST: u32 = 7 * 24 * 60;

/// `GET /v1/alerts`: those that stand, and then those that have ended within a day; of each the newest first.
pub(super) async fn list(call: Call) -> Answer {
    let (alerts, now) = call.store().alerts().await?;
    let shown: Vec<_> = alerts
        .iter()
        .map(|alert| {
            let trouble = alert.finding.trouble;
            let runbook = call.shared.parts.config.runbook_of(trouble);
            let mut value = json!(alert);
            if let Value::Object(map) = &mut value {
                map.insert("first".to_owned(), trouble.first_step().into());
                map.insert("page".to_owned(), trouble.page().into());
                map.insert("link".to_owned(), alert.finding.link().into());
                map.insert("runbook".to_owned(), runbook.into());
            }
            value
        })
        .collect();
    answer(StatusCode::OK, &json!({"at": now, "alerts": shown}))
}

/// `POST /v1/alerts/{id}/acknowledge`: the caller looks after it.
pub(super) async fn acknowledge(mut call: Call) -> Answer {
    call.form(|_| Some(())).await?;
    say(call, AlertAnswer::Acknowledge).await
}

/// `POST /v1/alerts/{id}/snooze`: nothing is told of it for so many minutes.
pub(super) async fn snooze(mut call: Call) -> Answer {
    let minutes = call.form(|fields| fields.need("minutes", |slot| slot.whole(1, LONGEST))).await?;
    call.note.say(format!("{minutes} minutes"));
    say(call, AlertAnswer::Snooze(SignedDuration::from_mins(i64::from(minutes)))).await
}

async fn say(call: Call, said: AlertAnswer) -> Answer {
    call.caller.needs_every_site("alerts are about the whole")?;
    let (key, by) = (call.param("id").to_owned(), call.caller.name().to_owned());
    let store = call.store().clone();
    let alert = to_the_end(async move { store.answer_alert(&key, &by, said).await }).await??;
    answer(StatusCode::OK, &alert.ok_or_else(|| Fail::not_found("alert that stands"))?)
}
