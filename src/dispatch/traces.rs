//! The corridor's steps as spans. Everything in them is an id, a name of ours, a code or a count.

use std::collections::HashSet;

use serde::Deserialize;
use tokio::time::Instant;

use super::{Corridor, Dispatcher};
use crate::domain::failure::Failure;
use crate::domain::ids::{AttemptId, MessageId};
use crate::domain::receipt::Receipt;
use crate::domain::status::AttemptStatus;
use crate::domain::words::Reason;
use crate::store::rows::{Begin, OutboxEvent, Settlement};
use crate::telemetry::{Step, Trace, Traces};

impl Dispatcher {
    /// Where what messages go through is traced.
    #[must_use]
    pub fn traces(&self) -> &Traces {
        &self.corridor.traces
    }

    /// Traces receipts that are on record; `from` is when they were handed to the ledger.
    pub fn heard(&self, receipts: &[Receipt], from: Instant) {
        heard(&self.corridor, receipts, from);
    }
}

/// A message was decided upon; `from` is when its round had read the directory.
pub(super) fn decided(
    corridor: &Corridor,
    id: MessageId,
    told: (&'static str, Option<Reason>),
    from: Instant,
) {
    let Some(trace) = corridor.traces.of(id) else { return };
    let (came_of_it, reason) = told;
    trace
        .step(Step::Decide, from, Instant::now())
        .with("outreach.decision", came_of_it)
        .maybe("outreach.reason", reason.map(Reason::as_str))
        .end();
}

/// Attempts were written down, or refused because something had changed: each for its message, and for those that its
/// text tells as well.
pub(super) fn begun(
    corridor: &Corridor,
    rows: &[Begin],
    allowed: &HashSet<AttemptId>,
    from: Instant,
    to: Instant,
) {
    for row in rows {
        let riders = row.riders.iter().map(|rider| (rider.message, Some(row.facts.id)));
        for (id, carrier) in std::iter::once((row.facts.id, None)).chain(riders) {
            let Some(trace) = corridor.traces.of(id) else { continue };
            let span = trace
                .step(Step::Begin, from, to)
                .with("outreach.attempt_id", row.attempt.to_string())
                .with("outreach.attempt", i64::from(row.number))
                .with("outreach.channel", row.route.channel.as_str())
                .with("outreach.provider", row.provider.to_string())
                .with("outreach.batch", i64::try_from(rows.len()).unwrap_or(i64::MAX))
                .maybe("outreach.carried_by", carrier.map(|carrier| carrier.to_string()));
            match allowed.contains(&row.attempt) {
                true => span.end(),
                false => span.failed("refused: something has changed since the decision").end(),
            }
        }
    }
}

/// An attempt was on the wire; now it is known what came of it.
pub(super) fn sent(corridor: &Corridor, settlement: &Settlement, from: Instant, to: Instant) {
    let Some(trace) = corridor.traces.of(settlement.facts.id) else { return };
    let facts = &settlement.facts;
    let span = trace
        .step(Step::Send, from, to)
        .of_attempt(settlement.attempt)
        .with("outreach.attempt", i64::from(settlement.number))
        .with("outreach.channel", settlement.channel.as_str())
        .with("outreach.provider", settlement.provider.to_string())
        .with("outreach.source", facts.source.to_string())
        .with("outreach.template", facts.template.to_string())
        .with("outreach.status", settlement.status.as_str())
        .maybe("outreach.provider_reference", settlement.provider_ref.clone())
        .maybe("outreach.code", settlement.code.clone());
    match settlement.failure {
        Some(failure) => span.failed(failure.as_str()).end(),
        None if settlement.status == AttemptStatus::Sent => span.end(),
        None => span.failed(settlement.status.as_str()).end(),
    }
}

/// Results were written down.
pub(super) fn settled(corridor: &Corridor, batch: &[Settlement], from: Instant) {
    let to = Instant::now();
    for settlement in batch {
        let Some(trace) = corridor.traces.of(settlement.facts.id) else { continue };
        trace
            .step(Step::Settle, from, to)
            .after_attempt(settlement.attempt)
            .with("outreach.status", settlement.status.as_str())
            .maybe("outreach.failure", settlement.failure.map(Failure::as_str))
            .with("outreach.batch", i64::try_from(batch.len()).unwrap_or(i64::MAX))
            .end();
    }
}

/// Receipts are on record, whether they said anything new or not. Which attempt each is about its reference tells.
pub(super) fn heard(corridor: &Corridor, receipts: &[Receipt], from: Instant) {
    for receipt in receipts {
        let Some(trace) = corridor.traces.of(receipt.key.message) else { continue };
        let said = receipt.said;
        let span = trace
            .step(Step::Receipt, from, Instant::now())
            .with("outreach.provider", receipt.provider.to_string())
            .with("outreach.status", said.status().as_str())
            .maybe("outreach.provider_reference", receipt.reference.clone())
            .maybe("outreach.code", receipt.code.clone());
        match said.failure() {
            Some(failure) => span.failed(failure.as_str()).end(),
            None => span.end(),
        }
    }
}

/// Of an event, whose it is.
#[derive(Deserialize)]
struct Told {
    message_id: Option<MessageId>,
}

/// The trace of the message that an event, in JSON, is about.
pub(super) fn of_event<'c>(corridor: &'c Corridor, event: &str) -> Option<Trace<'c>> {
    if !corridor.traces.are_on() {
        return None;
    }
    corridor.traces.of(serde_json::from_str::<Told>(event).ok()?.message_id?)
}

/// The same for many; empty while nothing is traced.
pub(super) fn of_events<'c>(corridor: &'c Corridor, events: &[OutboxEvent]) -> Vec<Option<Trace<'c>>> {
    if !corridor.traces.are_on() {
        return Vec::new();
    }
    events.iter().map(|event| of_event(corridor, &event.body)).collect()
}

/// Events were handed to the broker, which has confirmed those in `done`.
pub(super) fn published(traces: &[Option<Trace<'_>>], events: &[OutboxEvent], done: &[i64], from: Instant) {
    if traces.is_empty() {
        return;
    }
    let to = Instant::now();
    let done: HashSet<i64> = done.iter().copied().collect();
    for (event, trace) in events.iter().zip(traces) {
        let Some(trace) = trace else { continue };
        let span = trace
            .step(Step::Publish, from, to)
            .with("messaging.system", "rabbitmq")
            .with("messaging.rabbitmq.destination.routing_key", event.routing_key.clone())
            .with("outreach.seq", i64::from(event.seq));
        match done.contains(&event.ord) {
            true => span.end(),
            false => span.failed("not confirmed").end(),
        }
    }
}
