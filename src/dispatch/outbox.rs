//! Events leave the ledger for the broker, in order for each message. Repeats are possible, gaps are not.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Corridor;
use crate::broker::{ExchangeRole, Outgoing, Prefix, Publisher, QueueRole};
use crate::domain::event::with_seq;
use crate::store::rows::OutboxEvent;
use crate::telemetry::Trace;

/// Events read and published in one go.
const AT_ONCE: u32 = 1_000;
/// Few events wait so long for more, to be read and confirmed with them.
const GATHER: Duration = Duration::from_millis(25);
/// So long where many come, for whom nobody waits: fewer statements, and fewer confirmations of the broker.
const GATHER_MANY: Duration = Duration::from_millis(100);
/// So many at once are many.
const MANY: usize = 50;
/// How long the outbox sleeps at most: another worker's shards may have become free.
const IDLE: Duration = Duration::from_millis(500);

pub(super) async fn run(corridor: Arc<Corridor>, publisher: Option<Publisher>) {
    let prefix =
        corridor.config.amqp.as_ref().and_then(|amqp| Prefix::parse(&amqp.prefix)).unwrap_or_default();
    let dead_queue = QueueRole::Dead.name(&prefix);
    let mut done: Vec<i64> = Vec::new();
    loop {
        let events = match corridor.store.outbox(corridor.worker, &done, AT_ONCE).await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(%error, "the outbox could not be read");
                tokio::time::sleep(IDLE).await;
                continue;
            }
        };
        let full = events.len() >= AT_ONCE as usize;
        let from = Instant::now();
        let traces = super::traces::of_events(&corridor, &events);
        done = publish(publisher.as_ref(), &dead_queue, &events, &traces).await;
        if publisher.is_some() {
            super::traces::published(&traces, &events, &done, from);
        }
        crate::faults::fault_point!("told", !done.is_empty());
        let all = done.len() == events.len();
        if corridor.stopping.is_cancelled() && events.is_empty() {
            let drained =
                tokio::time::timeout(Duration::from_millis(50), super::life::drained(&corridor)).await;
            if drained.is_ok() {
                return;
            }
        } else if !all {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if corridor.cut.is_cancelled() {
                return;
            }
        } else if !full && done.is_empty() {
            tokio::select! {
                () = corridor.told.notified() => {}
                () = tokio::time::sleep(IDLE) => {}
                () = corridor.stopping.cancelled() => {}
            }
        } else if !full {
            tokio::time::sleep(if done.len() > MANY { GATHER_MANY } else { GATHER }).await;
        }
    }
}

/// The events that the broker has confirmed. After the first that it has not, nothing of the same shard counts: it is
/// published again, so that the order holds.
async fn publish(
    publisher: Option<&Publisher>,
    dead_queue: &str,
    events: &[OutboxEvent],
    traces: &[Option<Trace<'_>>],
) -> Vec<i64> {
    let Some(publisher) = publisher else { return events.iter().map(|e| e.ord).collect() };
    if events.is_empty() {
        return Vec::new();
    }
    let traces = traces.iter().copied().chain(std::iter::repeat(None));
    let outgoing: Vec<Outgoing> =
        events.iter().zip(traces).map(|(event, trace)| outgoing(event, trace)).collect();
    let answers = publisher.publish(&outgoing).await;
    let mut broken: HashSet<i16> = HashSet::new();
    let mut done = Vec::with_capacity(events.len());
    for (event, answer) in events.iter().zip(answers) {
        if answer.is_err() {
            broken.insert(event.shard);
        } else if !broken.contains(&event.shard) {
            done.push(event.ord);
        }
    }
    if !broken.is_empty() {
        metrics::counter!("outreachd_events_unconfirmed_total").increment(1);
    }
    mirror(publisher, dead_queue, events).await;
    done
}

/// Whoever reads it may trace on from the message (W3C Trace Context).
fn outgoing(event: &OutboxEvent, trace: Option<Trace<'_>>) -> Outgoing {
    Outgoing {
        exchange: ExchangeRole::Events,
        routing_key: event.routing_key.clone(),
        body: with_seq(&event.body, event.seq).into_bytes(),
        headers: trace
            .map(|trace| ("traceparent".to_owned(), trace.parent().to_string()))
            .into_iter()
            .collect(),
        mandatory: false,
        message_id: event.ord.to_string(),
        correlation_id: None,
    }
}

/// What could not be accepted is also shown in the dead queue, for whoever watches the broker: which, why, where the
/// body is parked. The ledger is the truth; a notice that the broker does not take is not repeated.
async fn mirror(publisher: &Publisher, dead_queue: &str, events: &[OutboxEvent]) {
    let notices: Vec<Outgoing> = events
        .iter()
        .filter(|event| event.routing_key.starts_with("job.rejected."))
        .filter_map(|event| notice(dead_queue, event))
        .collect();
    if notices.is_empty() {
        return;
    }
    let lost = publisher.publish(&notices).await.into_iter().filter(Result::is_err).count();
    if lost > 0 {
        tracing::warn!(lost, "notices did not reach the dead queue; the bodies are in the ledger");
    }
}

fn notice(dead_queue: &str, event: &OutboxEvent) -> Option<Outgoing> {
    let body: serde_json::Value = serde_json::from_str(&event.body).ok()?;
    let header = |name: &str, field: &str| Some((name.to_owned(), body.get(field)?.as_str()?.to_owned()));
    Some(Outgoing {
        exchange: ExchangeRole::Default,
        routing_key: dead_queue.to_owned(),
        headers: [
            header("x-outreach-reason", "reason"),
            header("x-outreach-field", "field"),
            header("x-outreach-parked-id", "parked_id"),
        ]
        .into_iter()
        .flatten()
        .collect(),
        body: event.body.clone().into_bytes(),
        mandatory: true,
        message_id: event.ord.to_string(),
        correlation_id: None,
    })
}
