//! Private servers, for tests that stop, crash or reconfigure one. `tests/server` knows how they are set up.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How long a server may take to answer. The machine may be busy with other tests.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A PostgreSQL of one test, ended with this value.
#[derive(Debug)]
pub(crate) struct Postgres(Server);

impl Postgres {
    /// Sets one up and starts it. Call it from the test's own task, not from a spawned one: the server ends with
    /// the thread that started it.
    pub(crate) async fn start() -> Self {
        let mut postgres = Self(Server::new("postgres"));
        postgres.0.spawn();
        postgres.wait_until_ready().await;
        postgres
    }

    /// The address of its `postgres` database, as a superuser.
    pub(crate) fn url(&self) -> String {
        self.0.read("url")
    }

    /// The process that all of its others descend from, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.0.process.as_ref().map(Child::id)
    }

    /// Stops it in good order; open connections are terminated.
    pub(crate) fn stop(&mut self) {
        self.0.signal_and_wait("INT");
    }

    /// Kills it as a power cut would kill the process. Its children end once they notice, which takes them a while when they
    /// are busy; before that nobody may start on the data.
    pub(crate) fn crash(&mut self) {
        let pid = self.pid().expect("it runs");
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its children");
        self.0.signal_and_wait("KILL");
        let (started, is_there) = (Instant::now(), |pid: &str| Path::new("/proc").join(pid).exists());
        while children.split_whitespace().any(is_there) {
            assert!(started.elapsed() < START_LIMIT, "children of a dead server live on: {children}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it, in good order or not, and starts it again.
    pub(crate) async fn restart(&mut self, crash: bool) {
        if crash {
            self.crash();
        } else {
            self.stop();
        }
        self.start_again().await;
    }

    /// Starts it again with its data on the same port.
    pub(crate) async fn start_again(&mut self) {
        self.0.spawn();
        self.wait_until_ready().await;
    }

    async fn wait_until_ready(&mut self) {
        let started = Instant::now();
        loop {
            self.0.check(started).await;
            if self.0.has("url")
                && let Ok(connection) = PgConnection::connect(&self.url()).await
            {
                connection.close().await.expect("a clean close");
                return;
            }
        }
    }
}

/// A RabbitMQ of one test, ended with this value.
#[derive(Debug)]
pub(crate) struct RabbitMq(Server);

impl RabbitMq {
    /// Sets one up and starts it. Call it from the test's own task, not from a spawned one: the server ends with
    /// the thread that started it.
    pub(crate) async fn start() -> Self {
        let mut rabbitmq = Self(Server::new("rabbitmq"));
        rabbitmq.0.spawn();
        rabbitmq.wait_until_open().await;
        rabbitmq
    }

    /// Its AMQP address, as an administrator of the virtual host `/`.
    pub(crate) fn url(&self) -> String {
        self.0.read("url")
    }

    /// The process that all of its others descend from, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.0.process.as_ref().map(Child::id)
    }

    /// The port of [`Self::url`].
    pub(crate) fn port(&self) -> u16 {
        self.0.read("port").parse().expect("a port number")
    }

    /// The address through a proxy.
    pub(crate) fn url_through(&self, port: u16) -> String {
        self.url().replace(&format!(":{}/", self.port()), &format!(":{port}/"))
    }

    /// Stops it in good order: connections are closed with a reason.
    pub(crate) fn stop(&mut self) {
        self.0.signal_and_wait("TERM");
    }

    /// Kills it as a power cut would kill the process.
    pub(crate) fn crash(&mut self) {
        self.0.signal_and_wait("KILL");
    }

    /// Ends it, in good order or not, and starts it again.
    pub(crate) async fn restart(&mut self, crash: bool) {
        if crash {
            self.crash();
        } else {
            self.stop();
        }
        self.start_again().await;
    }

    /// Starts it again with its data on the same port; returns once the port is open.
    pub(crate) async fn start_again(&mut self) {
        self.0.spawn();
        self.wait_until_open().await;
    }

    /// Runs `rabbitmqctl` with these words and returns what it prints.
    pub(crate) fn ctl(&self, words: &[&str]) -> String {
        let output = Command::new(self.0.dir.path().join("rabbitmqctl"))
            .arg("--quiet")
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("rabbitmqctl runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "rabbitmqctl {words:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    async fn wait_until_open(&mut self) {
        let started = Instant::now();
        loop {
            self.0.check(started).await;
            // The listener is the last thing that RabbitMQ starts.
            if self.0.has("url") && TcpStream::connect(("127.0.0.1", self.port())).await.is_ok() {
                return;
            }
        }
    }
}

#[derive(Debug)]
struct Server {
    kind: &'static str,
    dir: TempDir,
    process: Option<Child>,
}

impl Server {
    fn new(kind: &'static str) -> Self {
        let dir =
            tempfile::Builder::new().prefix("outreachd-test-").tempdir().expect("a temporary directory");
        Self { kind, dir, process: None }
    }

    fn spawn(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server");
        let child = Command::new(script).arg(self.kind).arg(self.dir.path()).stdin(Stdio::null()).spawn();
        self.process = Some(child.expect("tests/server runs"));
    }

    /// Waits a little, and fails the test when the server has ended or takes too long.
    async fn check(&mut self, started: Instant) {
        let process = self.process.as_mut().expect("the server was started");
        if let Some(status) = process.try_wait().expect("the process can be asked") {
            panic!("{} ended with {status}: {}", self.kind, self.read_log());
        }
        assert!(started.elapsed() < START_LIMIT, "{} does not answer: {}", self.kind, self.read_log());
        sleep(Duration::from_millis(20)).await;
    }

    fn signal_and_wait(&mut self, signal: &str) {
        let Some(mut process) = self.process.take() else { return };
        let _ = Command::new("kill").args([&format!("-{signal}"), &process.id().to_string()]).status();
        process.wait().expect("the process can be waited for");
    }

    fn has(&self, file: &str) -> bool {
        std::fs::metadata(self.dir.path().join(file)).is_ok_and(|file| file.len() > 0)
    }

    fn read(&self, file: &str) -> String {
        let text = std::fs::read_to_string(self.dir.path().join(file)).expect("tests/server wrote it");
        text.trim().to_owned()
    }

    fn read_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The data is thrown away with the directory, so the quick end is the right one. SIGQUIT lets
        // PostgreSQL end its own children; SIGKILL would leave that to them.
        self.signal_and_wait("QUIT");
    }
}

/// A Postfix of one test, ended with this value. It knows one box, `known@example.net`, with any `+suffix`.
#[derive(Debug)]
pub(crate) struct Postfix(Server);

impl Postfix {
    /// Sets one up that hands what comes back to the LMTP listener on this port.
    pub(crate) fn set_up(lmtp: u16) -> Self {
        let server = Server::new("postfix");
        std::fs::write(server.dir.path().join("lmtp"), lmtp.to_string()).expect("a file");
        let words = ["postfix-set-up".into(), server.dir.path().as_os_str().to_owned()];
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server");
        let done = Command::new(script).args(words).status().expect("tests/server runs");
        assert!(
            done.success(),
            "Postfix cannot be set up; as root: apt-get install --no-install-recommends postfix, then tests/proof bounces"
        );
        Self(server)
    }

    /// What comes to `pipe.clinic.example` goes to the program, with this configuration.
    pub(crate) fn pipe_into(&self, program: &Path, config: &str) {
        // The program runs as nobody, who may not look into the folders of whoever builds it.
        let dir = self.0.dir.path();
        std::fs::copy(program, dir.join("outreachd")).expect("a copy");
        std::fs::write(dir.join("outreachd.toml"), config).expect("a file");
    }

    /// Starts it; returns once it answers.
    pub(crate) async fn start(&mut self) {
        self.0.spawn();
        let started = Instant::now();
        loop {
            self.0.check(started).await;
            if TcpStream::connect(("127.0.0.1", self.port())).await.is_ok() {
                return;
            }
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.read("port").parse().expect("a port number")
    }

    /// Keeps reports back, or lets them go.
    pub(crate) fn hold_reports(&self, hold: bool) {
        let deferred = if hold { "defer_transports=lmtp,outreachd" } else { "defer_transports=" };
        self.ctl("postconf", &["-e", deferred]);
        self.ctl("postfix", &["reload"]);
        if !hold {
            self.ctl("postqueue", &["-f"]);
        }
    }

    /// Waits until exactly so many mails wait in its queue.
    pub(crate) async fn until_queued(&self, count: usize) {
        self.until(&format!("{count} mails in the queue"), || {
            self.ctl("postqueue", &["-j"]).lines().count() == count
        })
        .await;
    }

    /// Waits until so many reports were put off because the ledger was away.
    pub(crate) async fn until_put_off(&self, count: usize) {
        self.until(&format!("{count} reports put off"), || self.put_off() >= count).await;
    }

    /// How often a report was put off because the ledger was away.
    pub(crate) fn put_off(&self) -> usize {
        let away = |line: &&str| {
            line.contains("status=deferred")
                && (line.contains("451 4.3.0") || line.contains("temporary failure"))
        };
        self.log().lines().filter(away).count()
    }

    /// Mails in the one box.
    pub(crate) fn delivered(&self) -> usize {
        std::fs::read_dir(self.0.dir.path().join("boxes/known/new")).map_or(0, Iterator::count)
    }

    pub(crate) fn log(&self) -> String {
        self.0.read_log()
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < START_LIMIT, "waited in vain for {what}: {}", self.log());
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn ctl(&self, program: &str, words: &[&str]) -> String {
        let output = Command::new(program).arg("-c").arg(self.0.dir.path().join("conf")).args(words).output();
        let output = output.expect("Postfix's programs run");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
