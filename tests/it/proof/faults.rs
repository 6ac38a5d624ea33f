//! The fault suite: whatever ends, stops, stalls or lies, at whatever point, in an order that one number gives. A worker
//! that lives through a fault goes on with the next one; the auditor has the last word.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::auditor::audit;
use super::drain::{reminder, round, sync_ms};
use super::fault_channels::{self, PEOPLE};
use super::fault_recovery::Back;
use super::fault_script::{OF_THE_DEAD, Step};
use super::rig::{Plan, Rig};
use super::worker::{Usage, WorkerProcess};
use crate::support::proxy::TcpProxy;

pub(crate) use super::fault_script::{FULL, SMALL, Suite};

/// Leases of a worker that is gone are taken over soon.
const QUICK: &str = "[worker]\nheartbeat = \"300ms\"\nheartbeat_stale = \"1500ms\"";
/// A silent broker is given up after two of them; one behind a slow link is not.
const HEARTBEAT: &str = "2s";
/// A worker that has not come to its point by then will not.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Jobs that come just before a worker is to end.
pub(super) const IN_HAND: usize = 60;

/// What a run stands on, and how far it is.
pub(super) struct Stage {
    pub(super) rig: Rig,
    pub(super) ledger: TcpProxy,
    pub(super) broker: TcpProxy,
    /// How long a fault lasts.
    pub(super) hold: Duration,
    /// Who has lived through the last fault.
    pub(super) living: Option<WorkerProcess>,
    pub(super) usage: Vec<Usage>,
    /// Points that were not come to.
    missed: Vec<&'static str>,
    pub(super) published: usize,
    /// How soon workers were back.
    pub(super) back: Vec<Back>,
    /// How long workers took to end.
    pub(super) stops: Vec<Duration>,
    /// How many messages were leased just before each kill.
    in_hand: Vec<i64>,
}

/// Runs it, and audits it.
pub(crate) async fn suite(name: &str, plan: Plan, suite: Suite) {
    let steps = suite.steps(plan.private);
    println!("{}", json!({ "run": name, "suite": suite, "steps": steps }));
    let rig = Rig::build(Plan { more: QUICK, every_channel: true, ..plan }).await;
    fault_channels::know_everybody(&rig).await;
    fault_channels::lie(&rig.simulator);
    let (ledger, broker) = (proxy(&rig.database_url()).await, proxy(&rig.amqp).await);
    let mut stage = Stage {
        rig,
        ledger,
        broker,
        hold: Duration::from_secs(suite.hold),
        living: None,
        usage: Vec::new(),
        missed: Vec::new(),
        published: 0,
        back: Vec::new(),
        stops: Vec::new(),
        in_hand: Vec::new(),
    };
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
    let Stage { rig, usage, missed, back, stops, in_hand, .. } = stage;
    assert!(missed.is_empty(), "points that nobody came to: {missed:?}");
    let depths = rig.tap.depths(&["jobs", "jobs.urgent", "dead", "returned"]).await;
    assert!(depths.values().all(|depth| *depth == 0), "jobs were left or dead-lettered: {depths:?}");
    let evidence = rig.evidence((0..jobs).map(id).collect(), usage).await;
    // What has fallen out of a provider's list is believed never to have been sent.
    if jobs <= rig.simulator.config().keep_messages {
        let twice = fault_channels::taken_twice(&evidence.hits);
        assert!(twice.is_empty(), "sent twice: {twice:?}");
    }
    let report = audit(&rig.sql, &evidence).await;
    let unknown = rig.number("SELECT count(*) FROM messages WHERE status = 'unknown'").await;
    let idle = in_hand.iter().filter(|leased| **leased == 0).count();
    assert!(2 * idle <= in_hand.len(), "most kills found a worker with nothing in hand: {in_hand:?}");
    let slowest_stop = stops.iter().max().map(|took| round(took.as_secs_f64()));
    let more = json!({ "suite": suite, "jobs": jobs, "steps": steps.len(), "seconds": round(seconds), "unknown": unknown,
        "back": back, "in_hand_at_kills": in_hand, "slowest_stop": slowest_stop, "sync_ms": sync_ms() });
    report.close(name, more);
}

/// A worker with nothing in its way does what is left.
async fn rig_settles(stage: &mut Stage, jobs: usize) {
    fault_channels::tell_the_truth(&stage.rig.simulator);
    let mut worker = stage.one();
    let wanted = i64::try_from(jobs).unwrap();
    let keys = "SELECT count(*) FROM job_keys";
    let patience = Duration::from_secs(300) + stage.patience();
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
        let mut settings = vec![
            ("OUTREACHD_STORE__URL", ledger.as_str()),
            ("OUTREACHD_AMQP__URL", &broker),
            ("OUTREACHD_AMQP__HEARTBEAT", HEARTBEAT),
        ];
        if let Some(point) = &point {
            settings.push(("OUTREACHD_TEST_FAULTS", point));
        }
        self.rig.worker_with(&settings)
    }

    /// Whoever has lived through the last fault, else a new one.
    pub(super) fn one(&mut self) -> WorkerProcess {
        self.living.take().unwrap_or_else(|| self.worker(None))
    }

    pub(super) async fn publish(&mut self, count: usize) {
        let next = self.published..self.published + count;
        self.published = next.end;
        self.rig.publish("job", next.map(|n| reminder(&id(n), n % PEOPLE)).collect()).await;
    }

    /// All that was published may have to be sent first.
    pub(super) fn patience(&self) -> Duration {
        PATIENCE + Duration::from_millis(5) * u32::try_from(self.published).unwrap()
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Point(point, times) => self.end_at(point, times).await,
            Step::Kill(after_ms) => {
                let worker = self.one();
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                self.publish(IN_HAND).await;
                tokio::time::sleep(Duration::from_millis(after_ms % 100)).await;
                let leased = "SELECT count(*) FROM messages WHERE lease_token IS NOT NULL";
                self.in_hand.push(self.rig.number(leased).await);
                self.end(worker);
            }
            Step::Sleep(after_ms) => self.sleep(after_ms).await,
            Step::Stop(after_ms) => self.stop_under_load(after_ms).await,
            Step::Outage(outage) => self.live_through(outage).await,
        }
    }

    /// SIGKILL; it must not have ended before.
    fn end(&mut self, mut worker: WorkerProcess) {
        worker.assert_alive();
        self.usage.push(worker.usage());
        worker.kill();
    }

    async fn sleep(&mut self, after_ms: u64) {
        let mut worker = self.one();
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
        self.end(worker);
    }

    /// Whoever lives ends; a new worker does at this point, when it comes there for the n-th time.
    async fn end_at(&mut self, point: &'static str, times: u8) {
        if let Some(living) = self.living.take() {
            self.end(living);
        }
        if OF_THE_DEAD.contains(&point) {
            self.leave_leases().await;
        }
        let worker = self.worker(Some(format!("{point}:{times}")));
        self.wait_for_end(worker, point).await;
    }

    /// A worker dies with work in hand.
    async fn leave_leases(&mut self) {
        let victim = self.worker(None);
        let started = Instant::now();
        while !self.takes_in_hand().await {
            assert!(started.elapsed() < PATIENCE, "a worker takes nothing in hand");
        }
        self.end(victim);
    }

    /// Jobs are brought, and some of them are leased at one moment of the seconds after that.
    async fn takes_in_hand(&mut self) -> bool {
        self.publish(IN_HAND).await;
        let brought = Instant::now();
        while brought.elapsed() < PATIENCE / 4 {
            if self.rig.number("SELECT count(*) FROM messages WHERE lease_token IS NOT NULL").await >= 10 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        false
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

/// Of the n-th job.
pub(super) fn id(n: usize) -> String {
    format!("f{n}")
}

async fn proxy(url: &str) -> TcpProxy {
    TcpProxy::start(host_of(url).parse().unwrap()).await
}

/// Address and port.
fn host_of(url: &str) -> String {
    url.rsplit_once('@').unwrap().1.split_once('/').unwrap().0.to_owned()
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
