//! The fault suite: whatever ends, stops, stalls or lies, at whatever point, in an order that one number gives. The auditor
//! has the last word.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use outreachd::simulator::{Faults, ProviderKind};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use serde_json::json;

use super::auditor::audit;
use super::drain::{reminder, round, sync_ms};
use super::rig::{Plan, Rig};
use super::worker::{Usage, WorkerProcess};
use crate::support::proxy::{Link, TcpProxy};

/// Leases of a worker that is gone are taken over soon.
const QUICK: &str = "[worker]\nheartbeat = \"300ms\"\nheartbeat_stale = \"1500ms\"";
/// Points that are come to once for what a dead worker has left.
const OF_THE_DEAD: [&str; 2] = ["claimed", "taking_over"];
/// A worker that has not come to its point by then will not.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much goes wrong.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Suite {
    /// The same number, the same faults in the same order with the same pauses.
    pub(crate) seed: u64,
    pub(crate) jobs: usize,
    /// kill -9 at random times.
    pub(crate) kills: usize,
    /// The end at each named point, so often.
    pub(crate) points: usize,
    /// A worker is stopped until others have its leases, and goes on.
    pub(crate) sleeps: usize,
    /// The network to the ledger or to the broker fails, in each way, so often.
    pub(crate) networks: usize,
    /// The broker, and the database, ends and starts again. They must be the rig's own.
    pub(crate) restarts: usize,
}

impl Suite {
    /// What the command line, by way of the environment, wants otherwise.
    pub(crate) fn asked(self) -> Self {
        let asked =
            |name: &str| std::env::var(format!("OUTREACHD_TEST_FAULTS_{name}")).ok()?.parse::<u64>().ok();
        let count =
            |name: &str, otherwise: usize| asked(name).map_or(otherwise, |n| usize::try_from(n).unwrap());
        Self {
            seed: asked("SEED").unwrap_or(self.seed),
            jobs: count("JOBS", self.jobs),
            kills: count("KILLS", self.kills),
            points: count("POINTS", self.points),
            sleeps: count("SLEEPS", self.sleeps),
            networks: count("NETWORKS", self.networks),
            restarts: count("RESTARTS", self.restarts),
        }
    }

    /// All of it, in its order.
    fn steps(&self) -> Vec<Step> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut steps = Vec::new();
        if cfg!(feature = "faults") {
            for (point, _) in outreachd::faults::POINTS {
                let often = if OF_THE_DEAD.contains(point) { 1 } else { 2 };
                steps.extend((0..self.points).map(|_| Step::Point(point, random.random_range(1..=often))));
            }
        }
        steps.extend((0..self.kills).map(|_| Step::Kill(random.random_range(200..1_200))));
        steps.extend((0..self.sleeps).map(|_| Step::Sleep(random.random_range(200..800))));
        for _ in 0..self.networks {
            for way in ["reset", "half open", "slow"] {
                steps.push(Step::Network { ledger: random.random_bool(0.5), way });
            }
        }
        for n in 0..self.restarts {
            steps.push(Step::Broker { crash: n % 2 == 0 });
            steps.push(Step::Database { crash: n % 2 == 1 });
        }
        steps.shuffle(&mut random);
        steps
    }
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// The process ends at this point, when it comes there for the n-th time.
    Point(&'static str, u8),
    /// SIGKILL after so many milliseconds.
    Kill(u64),
    /// SIGSTOP after so many milliseconds, SIGCONT once its leases are gone.
    Sleep(u64),
    Network {
        ledger: bool,
        way: &'static str,
    },
    Broker {
        crash: bool,
    },
    Database {
        crash: bool,
    },
}

/// What a run stands on, and how far it is.
struct Stage {
    rig: Rig,
    ledger: TcpProxy,
    broker: TcpProxy,
    usage: Vec<Usage>,
    /// Points that were not come to.
    missed: Vec<&'static str>,
    published: usize,
}

/// Runs it, and audits it.
pub(crate) async fn suite(name: &str, plan: Plan, suite: Suite) {
    let steps = suite.steps();
    println!("{}", json!({ "run": name, "suite": suite, "steps": steps }));
    let rig = Rig::build(Plan { more: QUICK, ..plan }).await;
    rig.know_everybody(100).await;
    // A provider that takes some and says otherwise, or says nothing.
    let lies = Faults { error_taken: 0.01, lost: 0.01, error: 0.01, unavailable: 0.02, ..Faults::default() };
    rig.simulator.set_faults(Some(ProviderKind::TwilioSms), &lies).unwrap();
    let (ledger, broker) = (proxy(&rig.database_url()).await, proxy(&rig.amqp).await);
    let mut stage = Stage { rig, ledger, broker, usage: Vec::new(), missed: Vec::new(), published: 0 };
    let started = Instant::now();
    let each = suite.jobs / (steps.len() + 1);
    for step in &steps {
        stage.publish(each).await;
        stage.take(*step).await;
    }
    stage.publish(suite.jobs.saturating_sub(stage.published)).await;
    let jobs = stage.published;
    rig_settles(&mut stage, jobs).await;
    let seconds = started.elapsed().as_secs_f64();
    let Stage { rig, usage, missed, .. } = stage;
    assert!(missed.is_empty(), "points that nobody came to: {missed:?}");
    let depths = rig.tap.depths(&["jobs", "jobs.urgent", "dead", "returned"]).await;
    assert!(depths.values().all(|depth| *depth == 0), "jobs were left or dead-lettered: {depths:?}");
    let evidence = rig.evidence((0..jobs).map(id).collect(), usage).await;
    let report = audit(&rig.sql, &evidence).await;
    let unknown = rig.number("SELECT count(*) FROM messages WHERE status = 'unknown'").await;
    let more = json!({ "suite": suite, "jobs": jobs, "steps": steps.len(), "seconds": round(seconds), "unknown": unknown,
        "sync_ms": sync_ms() });
    report.close(name, more);
}

/// A worker with nothing in its way does what is left.
async fn rig_settles(stage: &mut Stage, jobs: usize) {
    let calm = Faults::default();
    stage.rig.simulator.set_faults(Some(ProviderKind::TwilioSms), &calm).unwrap();
    let mut worker = stage.worker(None);
    let wanted = i64::try_from(jobs).unwrap();
    let keys = "SELECT count(*) FROM job_keys";
    let patience = Duration::from_secs(300) + Duration::from_millis(5) * u32::try_from(jobs).unwrap();
    stage.rig.until("all jobs in the ledger", keys, wanted, patience).await;
    stage.rig.until_quiet(wanted, patience).await;
    worker.assert_alive();
    stage.usage.push(worker.usage());
    worker.stop();
}

impl Stage {
    /// One that reaches ledger and broker through the proxies, and ends at `point`.
    fn worker(&mut self, point: Option<String>) -> WorkerProcess {
        let through = |url: &str, proxy: &TcpProxy| url.replace(&host_of(url), &proxy.address().to_string());
        let ledger = through(&self.rig.database_url(), &self.ledger);
        let broker = through(&self.rig.amqp, &self.broker);
        let mut settings = vec![("OUTREACHD_STORE__URL", ledger.as_str()), ("OUTREACHD_AMQP__URL", &broker)];
        if let Some(point) = &point {
            settings.push(("OUTREACHD_TEST_FAULTS", point));
        }
        self.rig.worker_with(&settings)
    }

    async fn publish(&mut self, count: usize) {
        let next = self.published..self.published + count;
        self.published = next.end;
        self.rig.publish("job", next.map(|n| reminder(&id(n), n % 100)).collect()).await;
    }

    async fn take(&mut self, step: Step) {
        let point = match step {
            Step::Point(point, times) => Some(format!("{point}:{times}")),
            _ => None,
        };
        if matches!(step, Step::Point(point, _) if OF_THE_DEAD.contains(&point)) {
            self.leave_leases().await;
        }
        let mut worker = self.worker(point);
        match step {
            Step::Point(point, _) => return self.wait_for_end(worker, point).await,
            Step::Kill(after_ms) => {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
            }
            Step::Sleep(after_ms) => {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                worker.signal("STOP");
                let mut other = self.worker(None);
                tokio::time::sleep(Duration::from_millis(2_500)).await;
                worker.signal("CONT");
                tokio::time::sleep(Duration::from_millis(500)).await;
                worker.assert_alive();
                other.assert_alive();
                self.usage.push(other.usage());
                other.stop();
            }
            Step::Network { ledger, way } => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let proxy = if ledger { &self.ledger } else { &self.broker };
                match way {
                    "reset" => proxy.reset(),
                    "half open" => proxy.set(Link::HalfOpen),
                    _ => proxy.set(Link::Latency(Duration::from_millis(100))),
                }
                tokio::time::sleep(Duration::from_millis(1_000)).await;
                proxy.set(Link::Forward);
            }
            Step::Broker { crash } => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.rig.rabbitmq.as_mut().unwrap().restart(crash).await;
            }
            Step::Database { crash } => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.rig.postgres.as_mut().unwrap().restart(crash).await;
            }
        }
        worker.assert_alive();
        self.usage.push(worker.usage());
        worker.kill();
    }

    /// A worker dies with work in hand.
    async fn leave_leases(&mut self) {
        let mut victim = self.worker(None);
        self.publish(60).await;
        let started = Instant::now();
        while self.rig.number("SELECT count(*) FROM messages WHERE lease_token IS NOT NULL").await < 10 {
            assert!(started.elapsed() < PATIENCE, "a worker takes nothing in hand");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.usage.push(victim.usage());
        victim.kill();
    }

    /// The worker comes to its point; jobs are brought for it until it does.
    async fn wait_for_end(&mut self, mut worker: WorkerProcess, point: &'static str) {
        let started = Instant::now();
        while worker.is_alive() {
            if started.elapsed() > PATIENCE {
                self.missed.push(point);
                worker.kill();
                return;
            }
            self.publish(1).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.usage.push(worker.usage());
    }
}

fn id(n: usize) -> String {
    format!("f{n}")
}

async fn proxy(url: &str) -> TcpProxy {
    TcpProxy::start(host_of(url).parse().unwrap()).await
}

/// Address and port.
fn host_of(url: &str) -> String {
    url.rsplit_once('@').unwrap().1.split_once('/').unwrap().0.to_owned()
}

#[test]
fn a_seed_gives_the_same_faults_in_the_same_order() {
    let suite = Suite { seed: 7, jobs: 0, kills: 5, points: 2, sleeps: 2, networks: 1, restarts: 1 };
    assert_eq!(suite.steps(), suite.steps());
    let other = Suite { seed: 8, ..suite };
    assert_ne!(suite.steps(), other.steps());
    let points = if cfg!(feature = "faults") { 2 * outreachd::faults::POINTS.len() } else { 0 };
    assert_eq!(suite.steps().len(), 5 + 2 + 3 + 2 + points);
}

/// A release has none of it: the build refuses, and the text of the program names no point.
#[test]
fn a_release_cannot_be_ended_by_name() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/faults.rs");
    let text = std::fs::read_to_string(source).unwrap();
    let guard = "#[cfg(all(feature = \"faults\", not(debug_assertions)))]\ncompile_error!(";
    assert!(text.contains(guard), "the guard is gone");
    let mut command = Command::new(env!("CARGO_BIN_EXE_outreachd"));
    let said = command.arg("--version").env("OUTREACHD_TEST_FAULTS", "taken:1").output().unwrap();
    assert!(said.status.success());
    if !cfg!(feature = "faults") {
        let program = std::fs::read(env!("CARGO_BIN_EXE_outreachd")).unwrap();
        let name = b"OUTREACHD_TEST_FAULTS";
        assert!(
            !program.windows(name.len()).any(|bytes| bytes == name),
            "a program without the feature has them"
        );
    }
}
