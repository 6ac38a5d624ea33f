//! Events leave the ledger for the broker, in order for each message. Repeats are possible, gaps are not.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::Corridor;
use crate::broker::{ExchangeRole, Outgoing, Publisher};
use crate::domain::event::with_seq;
use crate::store::rows::OutboxEvent;

/// Events read and published in one go.
const AT_ONCE: u32 = 1_000;
/// How long the outbox sleeps at most: another worker's shards may have become free.
const IDLE: Duration = Duration::from_millis(500);

pub(super) async fn run(corridor: Arc<Corridor>, publisher: Option<Publisher>) {
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
        done = publish(publisher.as_ref(), &events).await;
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
        }
    }
}

/// The events that the broker has confirmed. After the first that it has not, nothing of the same shard counts: it is
/// published again, so that the order holds.
async fn publish(publisher: Option<&Publisher>, events: &[OutboxEvent]) -> Vec<i64> {
    let Some(publisher) = publisher else { return events.iter().map(|e| e.ord).collect() };
    if events.is_empty() {
        return Vec::new();
    }
    let outgoing: Vec<Outgoing> = events
        .iter()
        .map(|event| Outgoing {
            exchange: ExchangeRole::Events,
            routing_key: event.routing_key.clone(),
            body: with_seq(&event.body, event.seq).into_bytes(),
            headers: Vec::new(),
            mandatory: false,
            message_id: event.ord.to_string(),
            correlation_id: None,
        })
        .collect();
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
    done
}
