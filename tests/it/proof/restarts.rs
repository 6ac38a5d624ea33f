//! The broker and the database go away again and again under one worker, in good order and not: nothing that was confirmed
//! is lost, and work goes on soon after they are back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outreachd::app;
use outreachd::broker::{Broker, ExchangeRole, Outgoing};
use outreachd::config::Config;
use serde_json::{Value, json};

use super::auditor::audit;
use super::drain::{reminder, round, sync_ms};
use super::rig::{Plan, Rig, publish_until_confirmed};

/// How many patients the jobs are for.
const PEOPLE: usize = 1_000;
/// How often the source brings a batch.
const EACH: Duration = Duration::from_millis(100);
/// Under load, between two of them.
const BETWEEN: Duration = Duration::from_secs(2);
/// The next job must be in the ledger by then, after the broker's port is open or the database takes connections.
const BROKER_GOAL: Duration = Duration::from_secs(5);
const DATABASE_GOAL: Duration = Duration::from_secs(3);

/// Each of the two goes away `times` times, every other time by kill -9, while so many jobs a second come in.
pub(crate) async fn restarts(name: &str, plan: Plan, times: usize, per_second: usize) {
    let mut rig = Rig::build(plan).await;
    rig.know_everybody(PEOPLE).await;
    let mut worker = rig.worker();
    let source = Producer::start(&rig, per_second);
    rig.until("a first job", KEYS, 1, Duration::from_secs(60)).await;

    let (mut broker, mut database) = (Vec::new(), Vec::new());
    for n in 0..times {
        tokio::time::sleep(BETWEEN).await;
        rig.rabbitmq.as_mut().unwrap().restart(n % 2 == 1).await;
        broker.push(next_job(&rig).await);
        tokio::time::sleep(BETWEEN).await;
        rig.postgres.as_mut().unwrap().restart(n % 2 == 1).await;
        database.push(next_job(&rig).await);
        worker.assert_alive();
    }
    tokio::time::sleep(BETWEEN).await;
    let jobs = source.stop().await;
    let wanted = i64::try_from(jobs.len()).unwrap();
    rig.until("all jobs in the ledger", KEYS, wanted, Duration::from_secs(300)).await;
    rig.until_quiet(wanted, Duration::from_secs(300)).await;
    worker.assert_alive();
    let usage = vec![worker.usage()];
    worker.stop();
    let depths = rig.tap.depths(&["jobs", "jobs.urgent", "dead", "returned"]).await;
    assert!(depths.values().all(|depth| *depth == 0), "jobs were left or dead-lettered: {depths:?}");
    let evidence = rig.evidence(jobs, usage).await;
    let unknown = rig.number("SELECT count(*) FROM messages WHERE status = 'unknown'").await;
    let figures = json!({ "restarts_of_each": times, "jobs": wanted, "hits": evidence.hits.len(), "unknown": unknown,
        "broker_seconds": told(&broker), "database_seconds": told(&database), "sync_ms": sync_ms() });
    audit(&rig.sql, &evidence).await.close(name, figures);
    assert!(broker.iter().all(|took| *took <= BROKER_GOAL), "the broker's: {broker:?}");
    assert!(database.iter().all(|took| *took <= DATABASE_GOAL), "the database's: {database:?}");
}

const KEYS: &str = "SELECT count(*) FROM job_keys";

/// How long it takes from now until a job comes in that was not there.
async fn next_job(rig: &Rig) -> Duration {
    let started = Instant::now();
    let before = rig.number(KEYS).await;
    rig.until("the next job", KEYS, before + 1, Duration::from_secs(60)).await;
    started.elapsed()
}

fn told(times: &[Duration]) -> Value {
    let mut sorted: Vec<f64> = times.iter().map(|took| round(took.as_secs_f64())).collect();
    sorted.sort_by(f64::total_cmp);
    json!({ "median": sorted[sorted.len() / 2], "worst": sorted[sorted.len() - 1] })
}

/// A source that brings jobs, and brings again what was not confirmed.
struct Producer {
    ended: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Producer {
    fn start(rig: &Rig, per_second: usize) -> Self {
        let text = std::fs::read_to_string(rig.dir.path().join("outreachd.toml")).unwrap();
        let options = app::broker_options(&Config::from_toml(&text).unwrap()).unwrap().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let batch = (per_second * usize::try_from(EACH.as_millis()).unwrap() / 1_000).max(1);
        let task = tokio::spawn(bring(Broker::start(options), batch, ended.clone()));
        Self { ended, task }
    }

    /// What was confirmed, which is all that was brought.
    async fn stop(self) -> Vec<String> {
        self.ended.store(true, Ordering::Relaxed);
        tokio::time::timeout(Duration::from_secs(60), self.task).await.unwrap().unwrap()
    }
}

async fn bring(broker: Broker, batch: usize, ended: Arc<AtomicBool>) -> Vec<String> {
    let mut confirmed = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        let next = confirmed.len()..confirmed.len() + batch;
        let jobs: Vec<Outgoing> = next.map(outgoing).collect();
        let ids: Vec<String> = jobs.iter().map(|job| job.message_id.clone()).collect();
        publish_until_confirmed(&broker, jobs).await;
        confirmed.extend(ids);
        tokio::time::sleep(EACH).await;
    }
    confirmed
}

fn outgoing(n: usize) -> Outgoing {
    let id = format!("o{n}");
    Outgoing {
        exchange: ExchangeRole::Jobs,
        routing_key: "job".to_owned(),
        body: reminder(&id, n % PEOPLE),
        headers: Vec::new(),
        mandatory: true,
        message_id: id,
        correlation_id: None,
    }
}
