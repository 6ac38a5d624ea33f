//! How this process is doing: for probes, for Prometheus, for people.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::kept::{PATIENCE, Pace, Wait};
use super::problem::Answer;
use super::route::{Call, json as answer};
use super::{Shared, openapi, troubles};
use crate::broker::{Broker, BrokerState};
use crate::dispatch::Dispatcher;
use crate::store::rows::{CallbackCount, Counts};

/// How it stands with what is needed.
const OK: &str = "ok";
const AWAY: &str = "away";

/// Counts walk every message.
const COUNTS: Pace = Pace { every: Duration::from_secs(10), share: 20, again: Duration::from_secs(300) };

/// `GET /healthz`: the process lives and answers.
pub(super) async fn alive(_call: Call) -> Answer {
    answer(StatusCode::OK, &json!({"status": "ok"}))
}

/// `GET /readyz`: whether everything that is needed answers, each by its name.
pub(super) async fn ready(call: Call) -> Answer {
    let parts = &call.shared.parts;
    let ledger = ledger_word(&call.shared).await;
    let templates = parts.catalogue.current().templates().next().is_some();
    let broker = parts.broker.as_ref().map(broker_word);
    let mut checks = json!({"ledger": ledger, "templates": if templates { OK } else { AWAY }});
    if let (Some(broker), Value::Object(checks)) = (broker, &mut checks) {
        checks.insert("broker".to_owned(), broker.into());
    }
    let mut fallen = parts.queues.fallen();
    fallen.extend(parts.broker.iter().flat_map(Broker::refused_queues));
    fallen.sort_unstable();
    fallen.dedup();
    if let (false, Value::Object(checks)) = (fallen.is_empty(), &mut checks) {
        checks.insert("queues_not_consumed".to_owned(), json!(fallen));
    }
    // Jobs are taken all the same, and wait: an outside outage is no reason to turn callers away.
    let out = parts.intake.dispatcher.as_ref().map(Dispatcher::channels_out).unwrap_or_default();
    if let (false, Value::Object(checks)) = (out.is_empty(), &mut checks) {
        checks.insert("channels_without_provider".to_owned(), json!(out));
    }
    if ledger == OK && templates && broker.is_none_or(|word| word == OK) && fallen.is_empty() {
        return answer(StatusCode::OK, &json!({"status": "ready", "checks": checks}));
    }
    // Probes read the status, people the names: this is no failed request, so no problem details.
    answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not ready", "checks": checks}))
}

/// One that answers and takes no sign of life can only be read.
async fn ledger_word(shared: &Shared) -> &'static str {
    let is_written = shared.parts.intake.dispatcher.as_ref().is_none_or(Dispatcher::is_written);
    match (answers(shared).await, is_written) {
        (true, true) => OK,
        (true, false) => "not_written",
        (false, _) => AWAY,
    }
}

fn broker_word(broker: &Broker) -> &'static str {
    match (*broker.state().borrow() == BrokerState::Up, broker.is_blocked()) {
        (true, false) => OK,
        (true, true) => "blocked",
        (false, _) => AWAY,
    }
}

/// `GET /metrics`: Prometheus text format.
pub(super) async fn metrics(call: Call) -> Answer {
    let mut text = call.shared.metrics.render();
    let shared = &call.shared;
    let (is_up, counts, troubles) =
        tokio::join!(answers(shared), counted(shared, Wait::ForNews), troubles::seen(shared));
    let counts = counts.filter(|_| is_up);
    // Writing to a string cannot fail.
    let _ = write_counts(&mut text, is_up, counts);
    let _ = troubles::write(&mut text, troubles.as_ref());
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// `GET /v1/providers`: what is configured, and what each worker's lanes are doing.
pub(super) async fn providers(call: Call) -> Answer {
    let config = &call.shared.parts.config;
    let configured: Vec<Value> = config
        .providers
        .iter()
        .map(|p| json!({"name": p.name, "channel": p.settings.channel(), "weight": p.weight}))
        .collect();
    let workers = call.store().workers().await?;
    answer(StatusCode::OK, &json!({"mode": config.safety.mode, "providers": configured, "workers": workers}))
}

/// `GET /openapi.json`.
pub(super) async fn described(_call: Call) -> Answer {
    answer(StatusCode::OK, &openapi::document())
}

async fn answers(shared: &Shared) -> bool {
    matches!(timeout(PATIENCE, shared.store().ping()).await, Ok(Ok(_)))
}

/// The ledger's numbers and their age; `None`: they were never to be had.
pub(super) async fn counted(shared: &Shared, wait: Wait) -> Option<(Counts, Duration)> {
    let store = Arc::clone(shared.store());
    let count = async move { store.counts().await };
    shared.counts.get(&COUNTS, wait, count, "the ledger's numbers are not to be had").await
}

/// Written whole each time: a gauge of a group that has emptied must not keep its last value.
fn write_counts(out: &mut String, is_up: bool, counts: Option<(Counts, Duration)>) -> fmt::Result {
    let mut gauge = |name: &str, help: &str, value: f64| {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}")
    };
    gauge("outreachd_ledger_up", "Whether the ledger answers.", f64::from(u8::from(is_up)))?;
    let Some((counts, age)) = counts else { return Ok(()) };
    gauge("outreachd_counts_age_seconds", "How old the counts of messages below are.", age.as_secs_f64())?;
    gauge("outreachd_backlog", "Messages that are due and not in hand.", whole(counts.backlog))?;
    gauge("outreachd_parked", "Bodies that wait for repair.", whole(counts.parked))?;
    gauge("outreachd_outbox", "Events not yet confirmed by the broker.", whole(counts.outbox))?;
    let help = "How long the oldest due message has waited.";
    gauge("outreachd_oldest_due_seconds", help, counts.oldest_due_seconds)?;
    writeln!(out, "# HELP outreachd_work_open Work items that are not closed, by kind.")?;
    writeln!(out, "# TYPE outreachd_work_open gauge")?;
    for kind in crate::domain::words::WorkKind::ALL {
        let open = counts.work.iter().find(|(counted, _)| counted == kind).map_or(0, |(_, open)| *open);
        writeln!(out, "outreachd_work_open{{kind=\"{kind}\"}} {open}")?;
    }
    write_callbacks(out, &counts.callbacks)?;
    writeln!(out, "# HELP outreachd_messages Messages by channel, status and reason.")?;
    writeln!(out, "# TYPE outreachd_messages gauge")?;
    for group in &counts.messages {
        let reason = group.reason.map_or("", crate::domain::words::Reason::as_str);
        let (channel, status, count) = (&group.channel, group.status, group.count);
        writeln!(
            out,
            "outreachd_messages{{channel=\"{channel}\",status=\"{status}\",reason=\"{reason}\"}} {count}"
        )?;
    }
    Ok(())
}

fn write_callbacks(out: &mut String, counts: &[CallbackCount]) -> fmt::Result {
    writeln!(out, "# HELP outreachd_callbacks Results that receivers have not taken, by source and state.")?;
    writeln!(out, "# TYPE outreachd_callbacks gauge")?;
    for CallbackCount { source, waiting, dead, .. } in counts {
        writeln!(out, "outreachd_callbacks{{source=\"{source}\",state=\"waiting\"}} {waiting}")?;
        writeln!(out, "outreachd_callbacks{{source=\"{source}\",state=\"dead\"}} {dead}")?;
    }
    let help = "How long the oldest result that is not dead has waited, by source.";
    writeln!(out, "# HELP outreachd_callbacks_oldest_seconds {help}")?;
    writeln!(out, "# TYPE outreachd_callbacks_oldest_seconds gauge")?;
    for CallbackCount { source, oldest_seconds, .. } in counts {
        writeln!(out, "outreachd_callbacks_oldest_seconds{{source=\"{source}\"}} {oldest_seconds}")?;
    }
    Ok(())
}

/// Exact up to 2^53, which no ledger reaches.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn whole(count: u64) -> f64 {
    count as f64
}
