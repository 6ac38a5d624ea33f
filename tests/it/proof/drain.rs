//! A full queue is drained, with nothing in the way, with the broker restarted, with the worker killed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::auditor::audit;
use super::foreign::Publishing;
use super::rig::{Plan, Rig};
use super::worker::WorkerProcess;

/// The source of all jobs of the proofs.
pub(crate) const SOURCE: &str = "lakeside-ehr";

/// What goes wrong meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The broker stops in good order and starts again.
    BrokerRestart,
    /// The worker is killed so often, at random times.
    Kills(u32),
}

/// How a drain goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    pub(crate) jobs: usize,
    /// How often the same jobs are published.
    pub(crate) times: usize,
    pub(crate) fault: Fault,
    pub(crate) foreign: bool,
}

/// Repeats leave nothing in the ledger by which it could be seen that they have all been read.
async fn until_read(worker: &WorkerProcess, jobs: usize) {
    let end = Instant::now() + Duration::from_secs(300);
    loop {
        let said = worker.metrics().await;
        let counts = said.lines().filter(|line| line.starts_with("outreachd_jobs_total{"));
        let read: usize = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum();
        if read >= jobs {
            return;
        }
        assert!(Instant::now() < end, "{read} of {jobs} jobs were read");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Runs it, and audits it.
pub(crate) async fn drain(name: &str, plan: Plan, drain: Drain) {
    let mut rig = Rig::build(plan).await;
    rig.know_everybody(people(drain.jobs)).await;
    let ids: Vec<String> = (0..drain.jobs).map(|n| format!("j{n}")).collect();
    let bodies: Vec<Vec<u8>> =
        ids.iter().enumerate().map(|(n, id)| reminder(id, n % people(drain.jobs))).collect();
    let mut published = Vec::new();
    for _ in 0..drain.times {
        published.push(publish(&rig, &bodies, drain.foreign).await);
    }

    let started = Instant::now();
    let before = rig.cpu_ms();
    let mut workers = vec![rig.worker()];
    let faults = cause(&mut rig, &mut workers, drain).await;
    let wanted = i64::try_from(drain.jobs).unwrap();
    if drain.fault == Fault::None {
        tokio::time::timeout(Duration::from_secs(600), rig.simulator.wait_for_hits(drain.jobs as u64))
            .await
            .unwrap();
    }
    let hits_seconds = started.elapsed().as_secs_f64();
    rig.until("all jobs in the ledger", "SELECT count(*) FROM job_keys", wanted, Duration::from_secs(300))
        .await;
    rig.until_quiet(wanted, Duration::from_secs(300)).await;
    if drain.times > 1 {
        until_read(workers.last().unwrap(), drain.jobs * drain.times).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    // A server that was started again meanwhile counts from then on.
    let cpu: BTreeMap<&str, u64> = rig
        .cpu_ms()
        .into_iter()
        .map(|(name, ms)| (name, ms.saturating_sub(before.get(name).copied().unwrap_or_default())))
        .collect();

    workers.last_mut().unwrap().assert_alive();
    let usage = workers.iter().map(WorkerProcess::usage).collect();
    let stopped = workers.last_mut().unwrap().stop();
    let depths = rig.tap.depths(&["jobs", "jobs.urgent", "dead", "returned"]).await;
    assert!(depths.values().all(|depth| *depth == 0), "jobs were left or dead-lettered: {depths:?}");
    let evidence = rig.evidence(ids, usage).await;
    let mut report = audit(&rig.sql, &evidence).await;
    if drain.fault != Fault::BrokerRestart {
        report.figures.insert("seconds_to_all_hits", json!(round(hits_seconds)));
    }
    let sent = rig.number("SELECT count(*) FROM messages WHERE status = 'sent'").await;
    let unknown = rig.number("SELECT count(*) FROM messages WHERE status = 'unknown'").await;
    if matches!(drain.fault, Fault::Kills(_)) {
        assert_eq!(sent + unknown, wanted, "none is lost, and none is left");
    } else {
        assert_eq!(sent, wanted);
        assert_eq!(evidence.hits.len(), drain.jobs, "each is sent once");
    }
    report.close(
        name,
        json!({
            "jobs": drain.jobs, "published_times": drain.times, "published": published, "seconds": round(seconds),
            "jobs_per_second": round(drain.jobs as f64 / seconds), "unknown": unknown, "faults": faults,
            "stop_ms": stopped.as_millis() as u64, "features": FEATURES, "sync_ms": sync_ms(),
            "load": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
            "cpu_ms_around": cpu,
        }),
    );
}

/// What is switched on while jobs are counted.
pub(crate) const FEATURES: &str = "quorum queue in, idempotency keys, tombstones, directory read, decision with its explanation, \
    template rendering, consent and content gates (caps and quiet hours lifted), begin with revision, holds and cancels, attempt before wire, HTTP send with status callback, \
    settle, one event a message to a quorum queue, confirmed; rate gate where a limit is set; sampled look-up of hits";

async fn cause(rig: &mut Rig, workers: &mut Vec<WorkerProcess>, drain: Drain) -> Vec<f64> {
    let started = Instant::now();
    let mut times = Vec::new();
    match drain.fault {
        Fault::None => {}
        Fault::BrokerRestart => {
            rig.simulator.wait_for_hits(drain.jobs as u64 / 3).await;
            let broker = rig.rabbitmq.as_mut().unwrap();
            broker.stop();
            times.push(round(started.elapsed().as_secs_f64()));
            broker.start_again().await;
            times.push(round(started.elapsed().as_secs_f64()));
        }
        Fault::Kills(count) => {
            // The same seed, the same times: a failure can be looked at again.
            let mut random = StdRng::seed_from_u64(20_261_122);
            for _ in 0..count {
                tokio::time::sleep(Duration::from_millis(random.random_range(300..2_500))).await;
                workers.last_mut().unwrap().assert_alive();
                workers.last_mut().unwrap().kill();
                times.push(round(started.elapsed().as_secs_f64()));
                let worker = rig.worker();
                workers.push(worker);
            }
        }
    }
    times
}

async fn publish(rig: &Rig, bodies: &[Vec<u8>], foreign: bool) -> Value {
    if !foreign {
        rig.publish("job", bodies.to_vec()).await;
        return json!({ "confirmed": bodies.len() });
    }
    let file = rig.dir.path().join("jobs.ndjson");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
    for body in bodies {
        out.write_all(body).unwrap();
        out.write_all(b"\n").unwrap();
    }
    out.flush().unwrap();
    drop(out);
    Publishing::start(&rig.amqp, rig.prefix.as_str(), "job", &file).done().await
}

pub(crate) fn people(jobs: usize) -> usize {
    jobs.clamp(1, 5_000)
}

/// Numbers that are valid and belong to nobody in these tests but the n-th patient.
pub(crate) fn phone(n: usize) -> String {
    format!("+1312{:07}", 5_550_000 + n)
}

/// A reminder for the n-th patient.
pub(crate) fn reminder(id: &str, patient: usize) -> Vec<u8> {
    crate::support::house::job(id, &format!("P{patient}")).to_string().into_bytes()
}

pub(crate) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// How long the disk takes to have a small write for good: the median of 100, in milliseconds.
pub(crate) fn sync_ms() -> f64 {
    let mut file = tempfile::tempfile().unwrap();
    let mut times: Vec<f64> = (0..100)
        .map(|_| {
            file.write_all(&[7; 8192]).unwrap();
            let started = Instant::now();
            file.sync_data().unwrap();
            started.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    round(times[times.len() / 2])
}
