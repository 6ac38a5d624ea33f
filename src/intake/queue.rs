//! The queues: deliveries are taken in batches, written to the ledger, and acknowledged once they are there. While the
//! ledger is away nothing is acknowledged, so that the broker soon sends no more; nothing is refused back to it to
//! spin.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gatekeeper::Arrival;
use super::submit::{Incoming, Intake};
use crate::broker::{
    Acks, Broker, ConsumeOptions, Deliveries, Delivery, KEY_HEADER, QUARANTINE_REASON, QUEUE_HEADER,
    QueueRole, REASON_HEADER,
};
use crate::domain::ids::{ParkedId, SourceName};
use crate::domain::problem::Problem;
use crate::domain::reader::{identify, known_key};
use crate::domain::words::{Priority, Reason};
use crate::store::rows::Reject;

/// While there is no room a batch comes after a rest of so many times as long as the last one took, and no longer than
/// that.
const REST: u32 = 3;
const LONGEST_REST: Duration = Duration::from_secs(1);

/// What is consumed, each by itself: what is urgent does not wait while a batch of others is read.
pub const CONSUMED: [QueueRole; 4] =
    [QueueRole::Urgent, QueueRole::Jobs, QueueRole::Patients, QueueRole::Returned];

/// Consumes one queue until `stop`, or until the broker was closed, at the speed of the ledger.
pub async fn consume(
    intake: Intake,
    broker: Broker,
    queue: QueueRole,
    options: ConsumeOptions,
    batch: usize,
    stop: CancellationToken,
) {
    let (mut deliveries, acks): (Deliveries, Acks) = broker.consume(queue, options);
    let mut taken: Vec<Delivery> = Vec::with_capacity(batch);
    let mut last = Duration::ZERO;
    loop {
        let open = tokio::select! {
            open = deliveries.next_batch(&mut taken, batch) => open,
            () = stop.cancelled() => return,
        };
        if !open {
            return;
        }
        if let Some(dispatcher) = intake.dispatcher.as_ref().filter(|_| queue == QueueRole::Jobs) {
            // What finds no room waits in the queue as well as in the ledger: most of the machine is left to what is in hand.
            let room = async {
                if !dispatcher.has_room(taken.len()).await {
                    tokio::time::sleep((last * REST).min(LONGEST_REST)).await;
                }
            };
            tokio::select! {
                () = room => {}
                () = stop.cancelled() => return,
            }
        }
        let started = Instant::now();
        write(&intake, &acks, queue, &mut taken, &stop).await;
        last = started.elapsed();
        taken.clear();
    }
}

/// Tries until the ledger has the batch; then, and only then, acknowledges it.
async fn write(
    intake: &Intake,
    acks: &Acks,
    queue: QueueRole,
    taken: &mut [Delivery],
    stop: &CancellationToken,
) {
    let tokens: Vec<_> = taken.iter().map(|d| d.token).collect();
    let mut pause = Duration::from_millis(50);
    crate::faults::fault_point!("taken");
    loop {
        let written = if queue == QueueRole::Returned {
            park(intake, taken).await
        } else {
            let items = taken.iter().map(|d| incoming(intake, queue, d)).collect();
            intake.submit(items).await.map(|_| ())
        };
        let Err(error) = written else { break };
        tracing::warn!(%error, deliveries = tokens.len(), queue = ?queue, "intake waits for the ledger");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Not acknowledged: the broker delivers them again.
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).min(Duration::from_secs(1));
        // Part of it may stand there, though nobody heard so: what is refused is refused once.
        taken.iter_mut().for_each(|delivery| delivery.redelivered = true);
    }
    crate::faults::fault_point!("admitted");
    acks.committed(tokens);
}

/// The class that a queue and a routing key name.
pub(super) fn priority_of(queue: &str, key: &str) -> Option<Priority> {
    match key {
        _ if queue == QueueRole::Urgent.word() => Some(Priority::Urgent),
        "job.urgent" => Some(Priority::Urgent),
        "job.normal" => Some(Priority::Normal),
        "job.bulk" => Some(Priority::Bulk),
        _ => None,
    }
}

/// The source that the broker vouches for.
fn vouched(intake: &Intake, delivery: &Delivery) -> Option<SourceName> {
    delivery.user_id.as_deref().and_then(|user| intake.gatekeeper.source_of_user(user))
}

fn incoming(intake: &Intake, queue: QueueRole, delivery: &Delivery) -> Incoming {
    let traceparent = delivery.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("traceparent"));
    Incoming {
        body: delivery.body.clone(),
        arrival: Arrival {
            source: vouched(intake, delivery),
            by_broker: true,
            priority: priority_of(queue.word(), &delivery.routing_key),
            correlation_id: delivery.correlation_id.clone(),
            origin: queue.word().to_owned(),
            no_emergency: false,
            asked_by: delivery.user_id.clone(),
            traceparent: intake.traceparent(traceparent.map(|(_, value)| value.as_str())),
        },
        key: Some(delivery.routing_key.clone()),
        redelivered: delivery.redelivered,
        park: true,
    }
}

/// What the broker itself gave up: parked with its reason, and reported.
async fn park(intake: &Intake, taken: &[Delivery]) -> Result<(), crate::store::StoreError> {
    let rejects = taken
        .iter()
        .map(|delivery| {
            let (named, job_id) = identify(&delivery.body);
            let problem = given_up(delivery);
            let (queue, key) = came_by(delivery);
            let arrival =
                Arrival { source: vouched(intake, delivery), by_broker: true, ..Arrival::default() };
            Reject {
                id: ParkedId::generate(),
                problems: vec![problem],
                source: intake.gatekeeper.owner(&arrival, named),
                job_id,
                origin: queue.word().to_owned(),
                correlation_id: delivery.correlation_id.clone(),
                key,
                body: delivery.body.clone(),
                content_hash: None,
                park: true,
                redelivered: delivery.redelivered,
            }
        })
        .collect();
    intake.park(rejects).await
}

fn header<'d>(delivery: &'d Delivery, name: &str) -> Option<&'d str> {
    delivery.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The queue from which it was taken, and the key with which it was published, as the broker says, or whoever moved it.
fn came_by(delivery: &Delivery) -> (QueueRole, Option<&'static str>) {
    let (queue, key) = match delivery.deaths.first() {
        Some(death) => (QueueRole::of_name(&death.queue), death.routing_key.as_deref()),
        None => (header(delivery, QUEUE_HEADER).and_then(QueueRole::from_word), header(delivery, KEY_HEADER)),
    };
    let queue = queue.unwrap_or(QueueRole::Returned);
    let of_queue = (queue == QueueRole::Patients).then_some("patient");
    (queue, key.and_then(known_key).or(of_queue))
}

/// Why it lies in the queue of what was given up. The header is ours: a message that no client could read.
fn given_up(delivery: &Delivery) -> Problem {
    if header(delivery, REASON_HEADER) == Some(QUARANTINE_REASON) {
        let rule = "a property or header of the message is not UTF-8";
        return Problem::new("", Reason::Malformed, rule, "publish it with text properties, and replay it");
    }
    let why = delivery.deaths.first().map_or("unknown", |d| d.reason.as_str());
    let rule = format!("the broker gave it up ({why})");
    Problem::new("", Reason::DeliveryLimit, rule, "repair what makes a worker fail on it, and replay it")
}
