//! What can be seen at this moment: in the ledger, and of the broker and the providers by whoever has a connection.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::broker::{Broker, BrokerState};
use crate::config::Config;
use crate::dispatch::Dispatcher;
use crate::domain::words::Priority;
use crate::policy::watch::Signs;
use crate::store::pulse::OldestDue;
use crate::store::rows::{HoldScope, HoldState, WorkerRow};
use crate::store::{Store, StoreError};

/// From where it is looked.
#[derive(Clone, Debug)]
pub struct Lookout {
    pub store: Arc<dyn Store>,
    pub config: Arc<Config>,
    /// Absent where none is configured, or nobody here has a connection.
    pub broker: Option<Broker>,
    /// Absent where no worker runs in this process.
    pub dispatcher: Option<Dispatcher>,
}

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    pub signs: Signs,
    /// By the ledger's clock.
    pub now: Timestamp,
    pub workers: Vec<WorkerRow>,
    pub oldest: Vec<OldestDue>,
}

impl Lookout {
    /// Looks; and tells the ledger's clock.
    ///
    /// # Errors
    /// The ledger is away.
    pub async fn signs(&self) -> Result<(Signs, Timestamp), StoreError> {
        let seen = self.look().await?;
        Ok((seen.signs, seen.now))
    }

    /// The same, with what the signs were read from.
    ///
    /// # Errors
    /// The ledger is away.
    pub async fn look(&self) -> Result<Seen, StoreError> {
        let now = self.store.ping().await?;
        let workers = self.store.workers().await?;
        let holds = self.store.holds().await?;
        let oldest = self.store.oldest_due().await?;
        let mut vitals = self.store.vitals().await?;
        if self.config.amqp.is_none() {
            // Without a broker events are on record, and nobody waits for them.
            vitals.outbox = 0;
        }
        let alive: Vec<&WorkerRow> = workers
            .iter()
            .filter(|worker| {
                now.duration_since(worker.seen_at).unsigned_abs() <= self.config.worker.heartbeat_stale
            })
            .collect();
        let out = self.dispatcher.as_ref().map(Dispatcher::channels_out).unwrap_or_default();
        let stops =
            holds.iter().filter(|row| row.hold.scope == HoldScope::All && row.state == HoldState::InForce);
        let signs = Signs {
            workers: alive.len(),
            broker: self.broker.as_ref().map(|broker| *broker.state().borrow() == BrokerState::Up),
            breakers: breakers(&alive),
            channels_out: out.iter().map(ToString::to_string).collect(),
            stopped_by: stops.map(|row| row.hold.placed_by.clone()).collect(),
            oldest_urgent: oldest_of(&oldest, true),
            oldest: oldest_of(&oldest, false),
            vitals,
        };
        Ok(Seen { signs, now, workers, oldest })
    }
}

/// Providers that some worker leaves alone, or has on trial.
fn breakers(workers: &[&WorkerRow]) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    for worker in workers {
        let lanes = worker.state.get("lanes").and_then(Value::as_array).map(Vec::as_slice);
        for lane in lanes.unwrap_or_default() {
            let text = |name: &str| lane.get(name).and_then(Value::as_str).unwrap_or_default();
            if text("breaker") != "closed" && !open.iter().any(|known| known == text("provider")) {
                open.push(text("provider").to_owned());
            }
        }
    }
    open
}

fn oldest_of(oldest: &[OldestDue], urgent: bool) -> f64 {
    let of_kind = oldest.iter().filter(|due| (due.priority == Priority::Urgent) == urgent);
    of_kind.map(|due| due.seconds).fold(0.0, f64::max)
}
