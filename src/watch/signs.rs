//! What can be seen at this moment: in the ledger, by the workers' signs of life, and of the broker by whoever has a
//! connection.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::broker::{Broker, BrokerState};
use crate::config::Config;
use crate::domain::words::{Channel, Priority};
use crate::policy::watch::Signs;
use crate::store::pulse::OldestDue;
use crate::store::rows::{HoldScope, WorkerRow};
use crate::store::{Store, StoreError};

/// From where it is looked.
#[derive(Clone, Debug)]
pub struct Lookout {
    pub store: Arc<dyn Store>,
    pub config: Arc<Config>,
    /// Absent where none is configured, or nobody here has a connection.
    pub broker: Option<Broker>,
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
        // Without how many messages each holds: to count those may take longer than a look.
        let holds = self.store.directory(&[]).await?.holds;
        let oldest = self.store.oldest_due().await?;
        let mut vitals = self.store.vitals().await?;
        if self.config.amqp.is_none() {
            // Without a broker events are on record, and nobody waits for them.
            (vitals.outbox, vitals.outbox_seconds) = (0, 0);
        }
        let alive: Vec<&WorkerRow> = workers
            .iter()
            .filter(|worker| {
                now.duration_since(worker.seen_at).unsigned_abs() <= self.config.worker.heartbeat_stale
            })
            .collect();
        let stops = holds.iter().filter(|hold| hold.scope == HoldScope::All);
        let is_up = |broker: &Broker| *broker.state().borrow() == BrokerState::Up && !broker.is_blocked();
        let signs = Signs {
            workers: alive.len(),
            broker: self.broker.as_ref().map(is_up),
            broker_blocked: self.broker.as_ref().is_some_and(Broker::is_blocked),
            breakers: breakers(&alive),
            channels_out: channels_out(&alive),
            stopped_by: stops.map(|hold| hold.placed_by.clone()).collect(),
            oldest_urgent: oldest_of(&oldest, true).max(seconds(vitals.urgent_held_seconds)),
            oldest: oldest_of(&oldest, false).max(seconds(vitals.held_seconds)),
            vitals,
        };
        Ok(Seen { signs, now, workers, oldest })
    }
}

/// Providers that some worker leaves alone, or has on trial.
fn breakers(workers: &[&WorkerRow]) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    for lane in lanes(workers) {
        if text(lane, "breaker") != "closed" && !open.iter().any(|known| known == text(lane, "provider")) {
            open.push(text(lane, "provider").to_owned());
        }
    }
    open
}

/// Channels of patients for which no worker has a provider that may be given a message, but for probes; or none that may be
/// given what tells of health.
fn channels_out(workers: &[&WorkerRow]) -> Vec<(String, bool)> {
    // What somebody has taken out of service has its share all the same; a worker of an earlier release does not say so.
    let is_unused = |lane: &Value| match lane.get("in_use").and_then(Value::as_bool) {
        Some(in_use) => !in_use,
        None => lane.get("share_percent").and_then(Value::as_u64) == Some(0),
    };
    // A worker of an earlier release does not say it of a lane.
    let to_patients = |lane: &Value| lane.get("live").and_then(Value::as_bool) != Some(false);
    let trusted = |lane: &Value| lane.get("baa").and_then(Value::as_bool) == Some(true);
    let is_out = |channel: &str, wholly: bool| {
        let serves = |lane: &&Value| text(lane, "channel") == channel && to_patients(lane);
        let mut lanes = lanes(workers).filter(serves).filter(|lane| wholly || trusted(lane)).peekable();
        lanes.peek().is_some() && lanes.all(is_unused)
    };
    let channels = Channel::ALL.iter().map(|channel| channel.as_str());
    let out = channels.filter_map(|channel| {
        let how = [true, false].into_iter().find(|wholly| is_out(channel, *wholly))?;
        Some((channel.to_owned(), how))
    });
    out.collect()
}

fn lanes<'w>(workers: &'w [&WorkerRow]) -> impl Iterator<Item = &'w Value> {
    workers.iter().filter_map(|worker| worker.state.get("lanes").and_then(Value::as_array)).flatten()
}

fn text<'v>(lane: &'v Value, name: &str) -> &'v str {
    lane.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn oldest_of(oldest: &[OldestDue], urgent: bool) -> f64 {
    let of_kind = oldest.iter().filter(|due| (due.priority == Priority::Urgent) == urgent);
    of_kind.map(|due| due.seconds).fold(0.0, f64::max)
}

#[expect(clippy::cast_precision_loss, reason = "seconds stay far below 2^53")]
fn seconds(whole: u64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::WorkerId;

    fn worker(lanes: &[(&str, &str, &str, u64, bool)]) -> WorkerRow {
        let lanes: Vec<Value> = lanes
            .iter()
            .map(|(provider, channel, breaker, share, live)| {
                json!({"provider": provider, "channel": channel, "breaker": breaker, "share_percent": share, "live": live})
            })
            .collect();
        WorkerRow {
            id: WorkerId::generate(),
            name: "w".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            seen_at: Timestamp::UNIX_EPOCH,
            state: json!({ "lanes": lanes }),
        }
    }

    #[test]
    fn a_channel_is_out_where_no_worker_has_a_provider_for_it() {
        let fails = worker(&[
            ("one", "sms", "open", 0, true),
            ("two", "sms", "open", 0, true),
            ("sim", "sms", "closed", 100, false),
            ("mail", "email", "closed", 100, true),
            ("voice", "voice", "half_open", 0, true),
        ]);
        let well = worker(&[("one", "sms", "recovering", 10, true), ("voice", "voice", "open", 0, true)]);
        let out = |workers: &[&WorkerRow]| -> Vec<String> {
            channels_out(workers).into_iter().map(|(channel, wholly)| format!("{channel} {wholly}")).collect()
        };
        assert_eq!(out(&[&fails]), ["sms true", "voice true"]);
        assert_eq!(out(&[&fails, &well]), ["voice true"]);
        assert!(out(&[]).is_empty());
        // Another one carries texts, but nothing of health.
        let mut trusted = worker(&[("one", "sms", "open", 0, true), ("two", "sms", "closed", 100, true)]);
        trusted.state["lanes"][0]["baa"] = json!(true);
        assert_eq!(out(&[&trusted]), ["sms false"]);
        trusted.state["lanes"][1]["baa"] = json!(true);
        assert!(out(&[&trusted]).is_empty());
        // Somebody has taken out of service what works: it is out all the same.
        trusted.state["lanes"][0]["in_use"] = json!(false);
        trusted.state["lanes"][1]["in_use"] = json!(false);
        assert_eq!(out(&[&trusted]), ["sms true"]);
        trusted.state["lanes"][1]["in_use"] = json!(true);
        assert!(out(&[&trusted]).is_empty());
        assert_eq!(breakers(&[&fails, &well]), ["one", "two", "voice"]);
    }
}
