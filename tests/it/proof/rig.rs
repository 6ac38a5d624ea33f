//! What a proof stands on: servers, a simulator with its raw hits, worker processes, a queue that hears every event.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outreachd::app;
use outreachd::broker::{Broker, ExchangeRole, Outgoing, Prefix, declare};
use outreachd::config::Config;
use outreachd::config::provider::ProviderSettings;
use outreachd::domain::patient::Patient;
use outreachd::domain::phone::Region;
use outreachd::domain::reader::{Expect, ParseDefaults};
use outreachd::simulator::{Receipts, Simulator, SimulatorConfig};
use outreachd::store::Store;
use serde_json::Value;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::auditor::{Evidence, LedgerAuditor};
use super::drain::phone;
use super::late::Rules;
use super::tap::Tap;
use super::worker::{Usage, WorkerProcess, cpu_ms, family_cpu_ms};
use crate::support::house::patient;
use crate::support::servers::{Postgres, RabbitMq};
use crate::support::shared::{TestDatabase, amqp_url, unique_prefix};

/// Requests that a provider bears at once.
pub(crate) const MAX_IN_FLIGHT: usize = 400;
/// The ledger's key, in hexadecimal digits.
pub(crate) const KEY: &str = "5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d";

/// What a rig is built with.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Servers of its own, PostgreSQL with fsync on; else those of the run.
    pub(crate) private: bool,
    /// The limits of the SMS and of the voice provider, such as `"50/s"`.
    pub(crate) sms_limits: &'static [&'static str],
    pub(crate) voice_limits: &'static [&'static str],
    /// A second SMS provider, with an outside of its own: one message in ten is its.
    pub(crate) sms_backup: bool,
    /// Mail and the portal as well.
    pub(crate) every_channel: bool,
    /// The SMS providers' `[provider.breaker]`.
    pub(crate) breaker: &'static str,
    /// More sections.
    pub(crate) more: &'static str,
    pub(crate) log_level: &'static str,
    /// One hit in so many is looked up in the ledger before it is answered.
    pub(crate) audit_every: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            private: false,
            sms_limits: &[],
            voice_limits: &[],
            sms_backup: false,
            every_channel: false,
            breaker: "",
            more: "",
            log_level: "info",
            audit_every: 1,
        }
    }
}

/// Everything but the workers. Fields are dropped in order: the database before its server.
pub(crate) struct Rig {
    pub(crate) simulator: Simulator,
    /// The outside of the second SMS provider.
    pub(crate) backup: Option<Simulator>,
    _threads: SinkThreads,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sql: PgPool,
    pub(crate) tap: Tap,
    pub(crate) prefix: Prefix,
    pub(crate) amqp: String,
    pub(crate) dir: TempDir,
    rules: Rules,
    /// The most requests that may be under way at once: of one lane, as one takes all there is, or where each has work of all.
    in_flight: usize,
    pub(crate) rabbitmq: Option<RabbitMq>,
    workers_started: usize,
    producer: Broker,
    database: TestDatabase,
    pub(crate) postgres: Option<Postgres>,
}

impl Rig {
    pub(crate) async fn build(plan: Plan) -> Self {
        let postgres = if plan.private { Some(durable_postgres().await) } else { None };
        let rabbitmq = if plan.private { Some(RabbitMq::start().await) } else { None };
        let database = match &postgres {
            Some(postgres) => TestDatabase::create_on(&postgres.url()).await,
            None => TestDatabase::migrated().await,
        };
        let sql = PgPoolOptions::new().max_connections(4).connect(&database.url()).await.unwrap();
        let amqp = rabbitmq.as_ref().map_or_else(amqp_url, RabbitMq::url);
        let prefix = unique_prefix();
        let settings = SimulatorConfig {
            keep_hits: 2_000_000,
            audit_every: plan.audit_every,
            receipts: Receipts { enabled: false, ..Receipts::default() },
            ..SimulatorConfig::default()
        };
        let auditor = Arc::new(LedgerAuditor::new(sql.clone()));
        let threads = SinkThreads::start();
        let simulator = threads.sink(&settings, &auditor).await;
        let backup = match plan.sms_backup {
            true => Some(threads.sink(&settings, &auditor).await),
            false => None,
        };
        let dir = tempfile::tempdir().unwrap();
        let providers = providers(&plan, &simulator, backup.as_ref());
        let text = configuration(&plan, &providers, &database.url(), &amqp, &prefix);
        std::fs::write(dir.path().join("outreachd.toml"), &text).unwrap();
        let config = Config::from_toml(&text).unwrap();
        let of_each = config.providers.iter().map(|provider| provider.max_in_flight);
        let in_flight = if plan.every_channel { of_each.sum() } else { MAX_IN_FLIGHT };
        let store = app::open_store(&config).await.unwrap();
        store.migrate().await.unwrap();
        let options = app::broker_options(&config).unwrap().unwrap();
        declare(&options).await.unwrap();
        let tap = Tap::open(&amqp, &prefix).await;
        let producer = Broker::start(options);
        assert!(producer.wait_until_up(Duration::from_secs(20)).await);
        Self {
            simulator,
            backup,
            _threads: threads,
            store,
            sql,
            tap,
            prefix: Prefix::parse(&prefix).unwrap(),
            amqp,
            dir,
            rules: rules(&plan),
            in_flight,
            rabbitmq,
            workers_started: 0,
            producer,
            database,
            postgres,
        }
    }

    /// What the outside knows at the end of a run of good jobs; with a backup, by both.
    pub(crate) async fn evidence(&self, jobs: Vec<String>, usage: Vec<Usage>) -> Evidence {
        let mut hits = self.simulator.hits();
        let mut audit = self.simulator.stats().audit;
        if let Some(backup) = &self.backup {
            hits.extend(backup.hits());
            let more = backup.stats().audit;
            audit.checked += more.checked;
            audit.missing += more.missing;
            audit.examples.extend(more.examples);
        }
        let (heard, rules) = (self.tap.drain().await, self.rules.clone());
        let in_flight = self.in_flight;
        Evidence { jobs, hits, audit, heard, usage, in_flight, rules, ..Evidence::default() }
    }

    /// A worker process, with a log of its own.
    pub(crate) fn worker(&mut self) -> WorkerProcess {
        self.worker_with(&[])
    }

    /// The same with other settings, as environment variables.
    pub(crate) fn worker_with(&mut self, settings: &[(&str, &str)]) -> WorkerProcess {
        self.workers_started += 1;
        let log = self.dir.path().join(format!("worker-{}.log", self.workers_started));
        WorkerProcess::start(&self.dir.path().join("outreachd.toml"), &log, settings)
    }

    /// Where the ledger is.
    pub(crate) fn database_url(&self) -> String {
        self.database.url()
    }

    /// Processor time so far of what stands around the workers, in milliseconds: servers of its own, and this process,
    /// which is the outside.
    pub(crate) fn cpu_ms(&self) -> BTreeMap<&'static str, u64> {
        let pids = [
            ("postgresql", self.postgres.as_ref().and_then(Postgres::pid)),
            ("rabbitmq", self.rabbitmq.as_ref().and_then(RabbitMq::pid)),
            ("driver_and_sink", Some(std::process::id())),
        ];
        let own = std::process::id();
        let of = |pid| if pid == own { cpu_ms(pid).unwrap_or_default() } else { family_cpu_ms(pid) };
        pids.into_iter().filter_map(|(name, pid)| Some((name, of(pid?)))).collect()
    }

    /// What every worker so far has said.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        (1..=self.workers_started).map(|n| self.dir.path().join(format!("worker-{n}.log"))).collect()
    }

    /// Publishes in order, each confirmed.
    pub(crate) async fn publish(&self, key: &str, bodies: Vec<Vec<u8>>) {
        let keyed = bodies.into_iter().map(|body| (key.to_owned(), body)).collect();
        self.publish_keyed(keyed).await;
    }

    /// The same with a routing key for each.
    pub(crate) async fn publish_keyed(&self, bodies: Vec<(String, Vec<u8>)>) {
        for (n, chunk) in bodies.chunks(1_000).enumerate() {
            let outgoing: Vec<Outgoing> = chunk
                .iter()
                .enumerate()
                .map(|(m, (key, body))| Outgoing {
                    exchange: ExchangeRole::Jobs,
                    routing_key: key.clone(),
                    body: body.clone(),
                    headers: Vec::new(),
                    mandatory: true,
                    message_id: format!("{n}-{m}"),
                    correlation_id: Some(format!("c-{n}-{m}")),
                })
                .collect();
            publish_until_confirmed(&self.producer, outgoing).await;
        }
    }

    /// Writes these patients to the directory, by no worker.
    pub(crate) async fn know(&self, patients: &[Value]) {
        for chunk in patients.chunks(500) {
            self.store.upsert_patients(chunk.iter().map(parsed).collect()).await.unwrap();
        }
    }

    /// So many patients, `P0` and on, who get texts.
    pub(crate) async fn know_everybody(&self, count: usize) {
        let all: Vec<Value> = (0..count).map(|n| patient(&format!("P{n}"), "sms", &phone(n))).collect();
        self.know(&all).await;
    }

    /// One number of one row.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(&self.sql).await.unwrap().try_get(0).unwrap()
    }

    /// Waits until the statement answers with at least so much; says what it stood at if it never does.
    pub(crate) async fn until(&self, what: &str, sql: &str, least: i64, limit: Duration) {
        let end = Instant::now() + limit;
        loop {
            let now = self.number(sql).await;
            if now >= least {
                return;
            }
            assert!(Instant::now() < end, "waited in vain for {what}: {now} of {least}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until nothing is left to do: every message is final, sent or unknown, and every event is told.
    pub(crate) async fn until_quiet(&self, messages: i64, limit: Duration) {
        let settled = "SELECT count(*) FROM messages WHERE due_at IS NULL AND lease_token IS NULL";
        self.until("settled messages", settled, messages, limit).await;
        let told = "SELECT -count(*) FROM outbox";
        self.until("an empty outbox", told, 0, limit).await;
    }
}

/// What the broker does not confirm, because it is being started again, is published once more.
pub(crate) async fn publish_until_confirmed(producer: &Broker, mut outgoing: Vec<Outgoing>) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let mut answers = producer.publisher().publish(&outgoing).await.into_iter();
        outgoing.retain(|_| answers.next().unwrap().is_err());
        if outgoing.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "the broker confirms nothing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A patient as an upsert brings them.
pub(crate) fn parsed(body: &Value) -> Patient {
    let defaults = ParseDefaults { source: None, region: Region::US, site_regions: Arc::default() };
    Patient::parse(body.to_string().as_bytes(), &defaults, Expect { id: None, updated_at: true }).unwrap()
}

/// fsync as in production; nothing else is changed but what must be.
async fn durable_postgres() -> Postgres {
    let postgres = Postgres::start().await;
    let pool = PgPoolOptions::new().max_connections(1).connect(&postgres.url()).await.unwrap();
    for statement in [
        "ALTER SYSTEM SET fsync = on",
        "ALTER SYSTEM SET full_page_writes = on",
        "ALTER SYSTEM RESET autovacuum_naptime",
        "SELECT pg_reload_conf()",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let fsync: String = sqlx::query("SHOW fsync").fetch_one(&pool).await.unwrap().try_get(0).unwrap();
    assert_eq!(fsync, "on");
    postgres
}

/// Threads of the outside's own, before all others where that is allowed: it tells when a hit arrives, and adds nothing to
/// that by being late itself.
struct SinkThreads(Option<Runtime>);

impl SinkThreads {
    fn start() -> Self {
        let first = || {
            // Only root may; elsewhere it waits its turn.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), -10);
        };
        let threads = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("sink")
            .enable_all()
            .on_thread_start(first)
            .build();
        Self(Some(threads.unwrap()))
    }

    async fn sink(&self, settings: &SimulatorConfig, auditor: &Arc<LedgerAuditor>) -> Simulator {
        let start = Simulator::start_audited(settings.clone(), auditor.clone());
        self.0.as_ref().unwrap().spawn(start).await.unwrap().unwrap()
    }
}

impl Drop for SinkThreads {
    /// Where nobody may wait for it.
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

fn providers(plan: &Plan, simulator: &Simulator, backup: Option<&Simulator>) -> String {
    let provider = |name: &str, kind: &str, outside: &Simulator, limits: &[&str], more: &str| {
        let account = &outside.config().twilio;
        let (sid, token) = (&account.account_sid, account.auth_token.expose());
        let url = outside.twilio_url();
        format!(
            r#"
            [[provider]]
            name = "{name}"
            kind = "{kind}"
            base_url = "{url}"
            account_sid = "{sid}"
            auth_token = "{token}"
            from = ["+13125550100"]
            status_callback = "http://127.0.0.1:9/webhooks/{name}"
            limits = {limits:?}
            baa = true
            max_in_flight = {MAX_IN_FLIGHT}
            {more}
            "#
        )
    };
    let breaker = plan.breaker;
    let sms = |name: &str, outside: &Simulator, weight: u32| {
        let more = format!("weight = {weight}\n[provider.breaker]\n{breaker}");
        provider(name, "twilio_sms", outside, plan.sms_limits, &more)
    };
    let primary = sms("sms", simulator, 90);
    let second = backup.map(|outside| sms("sms-backup", outside, 10)).unwrap_or_default();
    let silent = if plan.every_channel { mail_and_portal(simulator) } else { String::new() };
    primary + &second + &provider("voice", "twilio_voice", simulator, plan.voice_limits, "") + &silent
}

/// What sends to the simulator's mail server and to its portal.
fn mail_and_portal(simulator: &Simulator) -> String {
    let portal = simulator.providers("any").unwrap().into_iter().find_map(|section| match section.settings {
        ProviderSettings::FhirPortal(portal) => Some(portal),
        _ => None,
    });
    let portal = portal.unwrap();
    let (base, token, client) = (&portal.base_url, portal.token_url.as_ref().unwrap(), &portal.client_id);
    let (key, key_id, smtp) = (portal.private_key.expose(), &portal.key_id, simulator.smtp_addr());
    format!(
        r#"
        [[provider]]
        name = "mail"
        kind = "smtp"
        host = "{}"
        port = {}
        tls = "none"
        from = "Clinic <clinic@clinic.example>"
        baa = true
        [[provider]]
        name = "portal"
        kind = "fhir_portal"
        base_url = "{base}"
        token_url = "{token}"
        client_id = "{client}"
        key_id = "{key_id}"
        private_key = """
{key}"""
        baa = true
        "#,
        smtp.ip(),
        smtp.port()
    )
}

/// By which the auditor judges what is sent. On a machine of their own the requests of a moment arrive in it, but for what
/// a worker may let go late; beside other tests whole parts of a second may come at once.
fn rules(plan: &Plan) -> Rules {
    let late = Duration::from_millis(if plan.private { 50 } else { 500 });
    let mut rules = Rules { late, ..Rules::default() };
    rules.limit("sms", plan.sms_limits);
    rules.limit("sms-backup", plan.sms_limits);
    rules.limit("voice", plan.voice_limits);
    rules
}

fn configuration(plan: &Plan, providers: &str, database: &str, amqp: &str, prefix: &str) -> String {
    let templates = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
    let (level, more, key) = (plan.log_level, plan.more, KEY);
    // What is new is judged by the floor, and nothing here is old.
    let told = more.contains("[policy.surge]");
    let guard = if told { "" } else { "[policy.surge]\nlearning_factor = 1000000" };
    // One patient gets hundreds here, at whatever hour, unless the plan has hours of its own.
    let hours = if more.contains("[policy.hours]") { "" } else { "[policy.hours]\nchannels = []" };
    format!(
        r#"
        [safety]
        mode = "live"
        [organisation]
        name = "Lakeside Health"
        timezone = "America/Chicago"
        [store]
        url = "{database}"
        [amqp]
        url = "{amqp}"
        prefix = "{prefix}"
        [http]
        listen = "127.0.0.1:0"
        [templates]
        dir = "{templates}"
        [security]
        key = "{key}"
        {hours}
        [policy.cap]
        per_day = 0
        per_week = 0
        [policy.digest]
        most = 1
        {guard}
        [log]
        level = "{level}"
        {more}
        [[site]]
        id = "lakeside-north"
        name = "Lakeside North"
        phone = "+13125550100"
        timezone = "America/Chicago"
        {providers}
        "#
    )
}
