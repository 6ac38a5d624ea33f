//! A worker that lives through a fault goes on by itself. Nobody starts it anew: the same process must take and send new jobs
//! soon after the fault is over, be ready, hold no more connections than it needs, and meet the next fault.

use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::{AssertSqlSafe, Row as _};

use super::drain::round;
use super::fault_channels::CHANNELS;
use super::fault_outage::Outage;
use super::faults::{PATIENCE, Stage, id};
use super::worker::{Usage, WorkerProcess};

/// By then jobs come in again, after the broker's port is open, or the database takes connections.
const BROKER_GOAL: Duration = Duration::from_secs(5);
const DATABASE_GOAL: Duration = Duration::from_secs(3);
/// So many times as long is allowed: servers, workers, sink and source share a machine here, and whoever brings the jobs has
/// lost the broker too.
const LENIENCY: u32 = 2;
/// From the ledger to the wire.
const TO_THE_WIRE: Duration = Duration::from_secs(2);
/// A worker's connections: to take and to bring at the broker, its pool at the ledger (`[store] pool_size`).
const TO_THE_BROKER: usize = 2;
const TO_THE_LEDGER: usize = 16;
/// What one fault may add to a worker's memory.
const MOST_GROWTH_MB: u64 = 100;

/// How soon a worker was back.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Back {
    after: Outage,
    /// Jobs that were brought then are in the ledger, in seconds.
    intake: f64,
    /// The first of them is at its provider, in seconds.
    sink: f64,
}

impl Outage {
    /// The longest that jobs may take to come in again.
    fn limit(self) -> Duration {
        let goal = match self {
            Self::Network { ledger: false, .. }
            | Self::Broker { .. }
            | Self::Closed
            | Self::Deleted { .. } => BROKER_GOAL,
            Self::Network { ledger: true, .. }
            | Self::Database { .. }
            | Self::Terminated
            | Self::ReadOnly { .. }
            | Self::DiskFull => DATABASE_GOAL,
        };
        goal * LENIENCY
    }
}

impl Stage {
    /// A worker that takes jobs, and has nothing old left: how soon new ones come in and go out is asked next.
    pub(super) async fn at_work(&mut self) -> WorkerProcess {
        let mut worker = self.one();
        worker.until_it_answers().await;
        let ids = self.bring_some().await;
        let patience = self.patience();
        self.rig.until("a worker at work", &known(&ids), all(), patience).await;
        let late = "SELECT -count(*) FROM (SELECT FROM messages WHERE due_at <= now() LIMIT 201) m";
        self.rig.until("what has waited to be sent", late, -200, patience).await;
        worker.assert_alive();
        worker
    }

    /// The fault comes and goes, and the worker goes on.
    pub(super) async fn live_through(&mut self, outage: Outage) {
        let mut worker = self.at_work().await;
        let before = worker.usage();
        let over = self.suffer(outage).await;
        let back = self.comes_back(outage, over).await;
        worker.assert_alive();
        self.is_as_before(&worker, before, outage).await;
        self.back.push(back);
        self.living = Some(worker);
    }

    /// A job for each channel; their ids, as a list for SQL.
    async fn bring_some(&mut self) -> String {
        let ids = self.published..self.published + CHANNELS;
        self.publish(CHANNELS).await;
        ids.map(|n| format!("'{}'", id(n))).collect::<Vec<_>>().join(", ")
    }

    /// What is brought now comes in, and goes out over every channel.
    async fn comes_back(&mut self, after: Outage, over: Instant) -> Back {
        let limit = after.limit();
        let ids = self.bring_some().await;
        let what = format!("jobs to come in after {after:?}, for {limit:?}");
        self.rig.until(&what, &known(&ids), all(), limit.saturating_sub(over.elapsed())).await;
        let intake = over.elapsed();
        let messages = format!("SELECT replace(id::text, '-', '') FROM messages WHERE job_id IN ({ids})");
        let messages = sqlx::query(AssertSqlSafe(messages)).fetch_all(&self.rig.sql).await.unwrap();
        let messages: Vec<String> = messages.iter().map(|row| row.get(0)).collect();
        let mut first = None;
        loop {
            let arrived = self.arrived(&messages);
            if arrived > 0 && first.is_none() {
                first = Some(over.elapsed());
            }
            if arrived == messages.len() {
                break;
            }
            let waited = over.elapsed();
            assert!(waited < limit + PATIENCE, "{arrived} of {} left after {after:?}", messages.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let sink = first.unwrap_or_else(|| over.elapsed());
        assert!(sink <= limit + TO_THE_WIRE, "the first was at its provider {sink:?} after {after:?}");
        Back { after, intake: round(intake.as_secs_f64()), sink: round(sink.as_secs_f64()) }
    }

    /// How many of the messages were heard of at a provider.
    fn arrived(&self, messages: &[String]) -> usize {
        let hits = self.rig.simulator.hits();
        let is_there = |message: &&String| {
            let about =
                |key: &str| key.strip_prefix(message.as_str()).is_some_and(|rest| rest.starts_with('-'));
            hits.iter().rev().any(|hit| hit.send_key.as_ref().is_some_and(|key| about(key.as_str())))
        };
        messages.iter().filter(is_there).count()
    }

    /// It says that it is ready, and holds no more than it needs.
    async fn is_as_before(&self, worker: &WorkerProcess, before: Usage, after: Outage) {
        let started = Instant::now();
        loop {
            let said = reqwest::get(worker.url("/readyz")).await;
            let is_ready = said.is_ok_and(|answer| answer.status().is_success());
            let (broker, ledger) = (self.broker.connections(), self.ledger.connections());
            if is_ready && broker <= TO_THE_BROKER && ledger <= TO_THE_LEDGER {
                break;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "after {after:?}: ready {is_ready}, {broker} connections to the broker, {ledger} to the ledger"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let now = worker.usage();
        let grown = now.last_rss_mb.saturating_sub(before.last_rss_mb);
        assert!(grown <= MOST_GROWTH_MB, "after {after:?}: {before:?} became {now:?}");
    }
}

/// Those of the jobs that are in the ledger.
fn known(ids: &str) -> String {
    format!("SELECT count(*) FROM job_keys WHERE job_id IN ({ids})")
}

fn all() -> i64 {
    i64::try_from(CHANNELS).unwrap()
}
