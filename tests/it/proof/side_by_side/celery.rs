//! Celery, as `tests/side_by_side/reminders.py` has it.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::proof::rig::Rig;
use crate::proof::worker::family_cpu_ms;

/// How long it may end its tasks.
const GRACE: Duration = Duration::from_secs(20);

/// A worker with its pool. Dropped, all of it is killed.
pub(super) struct Celery(Child);

impl Celery {
    /// Starts it with so many processes; what it says goes to a log beside the workers'.
    pub(super) fn start(rig: &Rig, processes: usize) -> Self {
        let log = File::create(rig.dir.path().join("celery.log")).unwrap();
        let processes = processes.to_string();
        let child = python(rig)
            .args(["-m", "celery", "--app", "reminders", "worker", "--pool", "prefork"])
            .args(["--concurrency", &processes, "--loglevel", "WARNING"])
            .args(["--without-gossip", "--without-mingle", "--without-heartbeat"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Processor time of all its processes so far, in milliseconds.
    pub(super) fn cpu_ms(&self) -> u64 {
        family_cpu_ms(self.0.id())
    }

    /// Lets it end what it has begun.
    pub(super) fn stop(&mut self) {
        self.signal("TERM", false);
        let end = Instant::now() + GRACE;
        while self.0.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, name: &str, all: bool) {
        let whom = if all { format!("-{}", self.0.id()) } else { self.0.id().to_string() };
        let _ = Command::new("kill").args([&format!("-{name}"), "--", &whom]).stderr(Stdio::null()).status();
    }
}

impl Drop for Celery {
    fn drop(&mut self) {
        self.signal("KILL", true);
        let _ = self.0.wait();
    }
}

/// Makes its tables and fills its queue; returns once all of the tasks are there.
pub(super) async fn fill(rig: &Rig, bodies: &[Vec<u8>], people: usize) {
    let jobs = rig.dir.path().join("tasks.ndjson");
    let mut file = std::io::BufWriter::new(File::create(&jobs).unwrap());
    for body in bodies {
        file.write_all(body).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.into_inner().unwrap();
    let filled = python(rig)
        .args(["fill.py", &people.to_string()])
        .stdin(File::open(&jobs).unwrap())
        .status()
        .unwrap();
    assert!(filled.success(), "fill.py ended with {filled}");
    let end = Instant::now() + Duration::from_secs(60);
    while rig.tap.depths(&["celery"]).await["celery"] as usize != bodies.len() {
        assert!(Instant::now() < end, "the queue never held {} tasks", bodies.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A Python with the packages, in the folder of the programs, that knows where everything is.
fn python(rig: &Rig) -> Command {
    let python = std::env::var("OUTREACHD_TEST_SIDE_PYTHON").expect(
        "OUTREACHD_TEST_SIDE_PYTHON names a Python with Celery; `tests/side_by_side/run` sees to that",
    );
    let account = &rig.simulator.config().twilio;
    let mut command = Command::new(python);
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/side_by_side"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SIDE_AMQP", &rig.amqp)
        .env("SIDE_DATABASE", rig.database_url())
        .env("SIDE_PREFIX", rig.prefix.as_str())
        .env("SIDE_SINK", rig.simulator.twilio_url())
        .env("SIDE_ACCOUNT", &account.account_sid)
        .env("SIDE_TOKEN", account.auth_token.expose());
    command
}
