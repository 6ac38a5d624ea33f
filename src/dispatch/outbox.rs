//! Events leave the ledger for the broker, in order for each message. Repeats are possible, gaps are not.
//!
//! What is handed over together the broker may take in part, so that of each message only its next event goes at once; the
//! one after it goes when the broker has that.

use std::collections::{HashMap, HashSet};
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
/// What the broker has not confirmed goes again after such a pause, which doubles up to the second while nothing is confirmed ...
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// ... and then so few at once, and twice as many each time: whoever does get them gets them again and again, and those that
/// stand first may not be all.
const FEW: u32 = 16;
/// Who stops tells so long what there is; the rest is told by whoever has the shards next.
const LAST: Duration = Duration::from_secs(2);

pub(super) async fn run(corridor: Arc<Corridor>, publisher: Option<Publisher>) {
    let prefix =
        corridor.config.amqp.as_ref().and_then(|amqp| Prefix::parse(&amqp.prefix)).unwrap_or_default();
    let dead_queue = QueueRole::Dead.name(&prefix);
    let mut done: Vec<i64> = Vec::new();
    // Since then nothing of this worker's own comes any more; others may go on for ever.
    let mut drained: Option<Instant> = None;
    let (mut room, mut pause) = (AT_ONCE, AGAIN.0);
    loop {
        let events = match corridor.store.outbox(corridor.worker, &done, room).await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(%error, "the outbox could not be read");
                tokio::time::sleep(IDLE).await;
                continue;
            }
        };
        let full = events.len() >= room as usize;
        let from = Instant::now();
        let traces = super::traces::of_events(&corridor, &events);
        done = publish(publisher.as_ref(), &dead_queue, &events, &traces).await;
        if publisher.is_some() {
            super::traces::published(&traces, &events, &done, from);
        }
        crate::faults::fault_point!("told", !done.is_empty());
        let all = done.len() == events.len();
        let is_stuck = !all && done.is_empty();
        let wait = pause;
        pause = if is_stuck { (pause * 2).min(AGAIN.1) } else { AGAIN.0 };
        room = match is_stuck {
            true if room < AT_ONCE => (room * 2).min(AT_ONCE),
            true => FEW,
            false => AT_ONCE,
        };
        if let Some(since) = drained
            && (events.is_empty() || since.elapsed() >= LAST)
        {
            return leave(&corridor, &done).await;
        }
        if drained.is_none() && corridor.stopping.is_cancelled() {
            let wait = if events.is_empty() { Duration::from_millis(50) } else { Duration::ZERO };
            if tokio::time::timeout(wait, super::life::drained(&corridor)).await.is_ok() {
                drained = Some(Instant::now());
                continue;
            }
        }
        if !all {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = corridor.stopping.cancelled(), if drained.is_none() => tokio::time::sleep(AGAIN.0).await,
            }
            if corridor.cut.is_cancelled() {
                return leave(&corridor, &done).await;
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

/// Whoever comes next has the shards at once.
async fn leave(corridor: &Corridor, done: &[i64]) {
    if let Err(error) = corridor.store.leave_outbox(corridor.worker, done).await {
        tracing::warn!(%error, "the outbox is left to others only once its lease has ended");
    }
}

/// The events that the broker has confirmed. After the first that it has not, nothing of the same shard counts, and nothing
/// more of it goes: it is published again, so that the order holds.
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
    let mut confirmed = Confirmed::default();
    for wave in waves(events) {
        let going = confirmed.may_go(wave);
        let trace = |place: usize| traces.get(place).copied().flatten();
        let outgoing: Vec<Outgoing> =
            going.iter().map(|(place, event)| outgoing(event, trace(*place))).collect();
        if outgoing.is_empty() {
            continue;
        }
        let answers = publisher.publish(&outgoing).await;
        confirmed.note(going.iter().map(|(_, event)| *event).zip(answers.iter().map(Result::is_ok)));
    }
    if !confirmed.broken.is_empty() {
        metrics::counter!("outreachd_events_unconfirmed_total").increment(1);
    }
    let done = confirmed.in_order(events);
    mirror(publisher, dead_queue, events, &done).await;
    done
}

/// Events that go at once, each with its place in the batch.
type Wave<'e> = Vec<(usize, &'e OutboxEvent)>;

/// The first event of each message, then the second of each, and so on. Mostly there is one wave.
fn waves(events: &[OutboxEvent]) -> Vec<Wave<'_>> {
    let mut before: HashMap<&str, usize> = HashMap::new();
    let mut waves: Vec<Wave<'_>> = vec![Vec::with_capacity(events.len())];
    for (place, event) in events.iter().enumerate() {
        let mut nth = 0;
        if let Some(message) = message_of(&event.body) {
            let known = before.entry(message).or_default();
            nth = std::mem::replace(known, *known + 1);
        }
        if waves.len() == nth {
            waves.push(Vec::new());
        }
        if let Some(wave) = waves.get_mut(nth) {
            wave.push((place, event));
        }
    }
    waves
}

/// The message that an event, in JSON as we write it, is about.
fn message_of(body: &str) -> Option<&str> {
    let (_, behind) = body.split_once("\"message_id\":\"")?;
    behind.split_once('"').map(|(id, _)| id)
}

/// What the broker has of a batch.
#[derive(Default)]
struct Confirmed {
    ords: HashSet<i64>,
    /// Shards of which it has not confirmed something.
    broken: HashSet<i16>,
}

impl Confirmed {
    /// Those before which nothing is missing.
    fn may_go<'e>(&self, wave: Wave<'e>) -> Wave<'e> {
        wave.into_iter().filter(|(_, event)| !self.broken.contains(&event.shard)).collect()
    }

    fn note<'e>(&mut self, answers: impl Iterator<Item = (&'e OutboxEvent, bool)>) {
        for (event, is_confirmed) in answers {
            if is_confirmed {
                self.ords.insert(event.ord);
            } else {
                self.broken.insert(event.shard);
            }
        }
    }

    /// Of each shard those before the first that is missing.
    fn in_order(&self, events: &[OutboxEvent]) -> Vec<i64> {
        let mut behind: HashSet<i16> = HashSet::new();
        let mut done = Vec::with_capacity(self.ords.len());
        for event in events {
            if !self.ords.contains(&event.ord) {
                behind.insert(event.shard);
            } else if !behind.contains(&event.shard) {
                done.push(event.ord);
            }
        }
        done
    }
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
async fn mirror(publisher: &Publisher, dead_queue: &str, events: &[OutboxEvent], done: &[i64]) {
    let notices: Vec<Outgoing> = events
        .iter()
        .filter(|event| event.routing_key.starts_with("job.rejected.") && done.contains(&event.ord))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Event, EventKind};
    use crate::domain::ids::MessageId;
    use crate::domain::status::MessageStatus;

    fn event(ord: i64, shard: i16, message: Option<MessageId>, seq: u32) -> OutboxEvent {
        let kind = EventKind::Message(MessageStatus::Sent);
        let mut event = Event::new(uuid::Uuid::now_v7(), kind, jiff::Timestamp::UNIX_EPOCH);
        event.message_id = message;
        let (routing_key, body) = (event.routing_key(), event.to_json().unwrap());
        OutboxEvent { ord, routing_key, seq, body, shard }
    }

    #[test]
    fn the_second_event_of_a_message_goes_once_the_first_has_arrived() {
        let [a, b] = [MessageId::generate(), MessageId::generate()];
        let events = [
            event(1, 3, Some(a), 1),
            event(2, 5, Some(b), 1),
            event(3, 3, Some(a), 2),
            event(4, 5, None, 0),
            event(5, 5, Some(b), 2),
            event(6, 3, Some(a), 3),
            event(7, 5, None, 0),
        ];
        let ords = |wave: &Wave<'_>| wave.iter().map(|(_, event)| event.ord).collect::<Vec<_>>();
        let all = waves(&events);
        assert_eq!(all.iter().map(ords).collect::<Vec<_>>(), [vec![1, 2, 4, 7], vec![3, 5], vec![6]]);
        assert!(all.iter().flatten().all(|(place, event)| events[*place].ord == event.ord));

        // The broker refuses the first of one message: nothing more of its shard goes, whatever else arrives.
        let mut confirmed = Confirmed::default();
        let mut gone = Vec::new();
        for wave in all {
            let going = confirmed.may_go(wave);
            gone.extend(ords(&going));
            confirmed.note(going.iter().map(|(_, event)| (*event, event.ord != 1)));
        }
        assert_eq!(gone, [1, 2, 4, 7, 5]);
        assert_eq!(confirmed.in_order(&events), [2, 4, 5, 7]);
    }

    #[test]
    fn one_event_of_each_message_is_one_wave() {
        let events: Vec<OutboxEvent> =
            (0..100).map(|n| event(n, 0, Some(MessageId::generate()), 1)).collect();
        assert_eq!(waves(&events).len(), 1);
        assert_eq!(message_of(&event(1, 0, None, 0).body), None);
    }
}
