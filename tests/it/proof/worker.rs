//! A worker as a process of its own, which can be killed, and whose memory and open files are watched.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

/// A running worker. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    child: Child,
    log: PathBuf,
    port: u16,
    usage: Arc<Mutex<Usage>>,
    gone: Arc<AtomicBool>,
}

/// The most that was seen, and the last.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Usage {
    pub(crate) peak_rss_mb: u64,
    pub(crate) last_rss_mb: u64,
    pub(crate) peak_files: usize,
    pub(crate) last_files: usize,
    /// Processor time so far, in milliseconds.
    pub(crate) cpu_ms: u64,
}

impl WorkerProcess {
    /// Starts one, with `settings` on top of the file; all it says goes to the file `log`, and what it must keep beside
    /// that.
    pub(crate) fn start(config: &Path, log: &Path, settings: &[(&str, &str)]) -> Self {
        let output = File::create(log).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let program = std::env::var_os("OUTREACHD_TEST_PROGRAM");
        let child = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_outreachd").into()))
            .args(["run", "--config"])
            .arg(config)
            .env("OUTREACHD_HTTP__LISTEN", format!("127.0.0.1:{port}"))
            .env("OUTREACHD_WORKER__SPOOL", log.parent().unwrap())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let usage = Arc::new(Mutex::new(Usage::default()));
        let gone = Arc::new(AtomicBool::new(false));
        let watching = (child.id(), usage.clone(), gone.clone());
        std::thread::spawn(move || watch(watching.0, &watching.1, &watching.2));
        Self { child, log: log.to_owned(), port, usage, gone }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(told.unwrap().success());
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGTERM, and the time until it has ended; it must end well.
    pub(crate) fn stop(&mut self) -> Duration {
        self.gone.store(true, Ordering::Relaxed);
        let started = std::time::Instant::now();
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        let end = self.child.wait().unwrap();
        assert!(end.success(), "the worker ended with {end}; its log is {}", self.log.display());
        started.elapsed()
    }

    /// The process must still be there: a worker never exits by itself.
    pub(crate) fn assert_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the worker has ended by itself: {ended:?}: {}", self.tail());
    }

    pub(crate) fn usage(&self) -> Usage {
        *self.usage.lock().unwrap()
    }

    /// Where its API has this path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Waits until it takes requests.
    pub(crate) async fn until_it_answers(&self) {
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while reqwest::get(self.url("/healthz")).await.is_err() {
            assert!(std::time::Instant::now() < end, "it answers nobody: {}", self.tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What it says to whoever measures it.
    pub(crate) async fn metrics(&self) -> String {
        reqwest::get(self.url("/metrics")).await.unwrap().error_for_status().unwrap().text().await.unwrap()
    }

    /// What it says to a probe that asks whether it is ready.
    pub(crate) async fn ready(&self) -> serde_json::Value {
        let text = reqwest::get(self.url("/readyz"))
            .await
            .unwrap()
            .error_for_status()
            .unwrap()
            .text()
            .await
            .unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watch(pid: u32, usage: &Mutex<Usage>, gone: &AtomicBool) {
    while !gone.load(Ordering::Relaxed) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let fields: BTreeMap<&str, &str> = status.lines().filter_map(|line| line.split_once(':')).collect();
        let rss = fields.get("VmRSS").and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count).ok();
        if let (Some(rss_kb), Some(files)) = (rss, files) {
            let mut usage = usage.lock().unwrap();
            usage.last_rss_mb = rss_kb / 1024;
            usage.peak_rss_mb = usage.peak_rss_mb.max(usage.last_rss_mb);
            usage.last_files = files;
            usage.peak_files = usage.peak_files.max(files);
            usage.cpu_ms = cpu_ms(pid).unwrap_or(usage.cpu_ms);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// User and system time of `/proc/PID/stat`, which counts in hundredths of a second on Linux.
pub(crate) fn cpu_ms(pid: u32) -> Option<u64> {
    let fields = stat(pid)?;
    Some((fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?) * 10)
}

/// The same of a process and of all that descend from it and are still there.
pub(crate) fn family_cpu_ms(pid: u32) -> u64 {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: BTreeMap<u32, u32> =
        pids.filter_map(|pid| Some((pid, stat(pid)?.get(1)?.parse().ok()?))).collect();
    let descends = |mut one: u32| {
        while one != pid {
            match parents.get(&one) {
                Some(parent) => one = *parent,
                None => return false,
            }
        }
        true
    };
    parents.keys().filter(|one| descends(**one)).filter_map(|one| cpu_ms(*one)).sum()
}

/// What stands behind the name, from the state on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}
