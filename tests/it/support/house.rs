//! The whole house, running: a private database, names of our own on the broker, a simulator as the outside, and a
//! worker in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outreachd::app::{self, Worker};
use outreachd::broker::{Broker, ExchangeRole, Outgoing, declare};
use outreachd::config::Config;
use outreachd::domain::status::MessageStatus;
use outreachd::simulator::{Simulator, SimulatorConfig};
use outreachd::store::Store;
use outreachd::store::rows::Counts;
use outreachd::template::SharedCatalogue;
use serde_json::{Value, json};

use super::shared::{TestDatabase, amqp_url, unique_prefix};

/// A running house. Stop it with [`House::close`].
pub(crate) struct House {
    pub(crate) simulator: Simulator,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: Arc<Config>,
    workers: Vec<Worker>,
    producer: Broker,
    _database: TestDatabase,
    _spool: tempfile::TempDir,
}

impl House {
    /// Opens with a simulator of these settings, and `more` configuration.
    pub(crate) async fn open(simulator: SimulatorConfig, more: &str) -> Self {
        let simulator = Simulator::start(simulator).await.unwrap();
        let database = TestDatabase::migrated().await;
        let prefix = unique_prefix();
        let mut config = Config::from_toml(&toml(&database.url(), &prefix, more)).unwrap();
        config.providers = simulator.providers("sim").unwrap();
        Self::with(simulator, database, config).await
    }

    /// Opens with a configuration that was changed by hand.
    pub(crate) async fn open_with(simulator: SimulatorConfig, change: impl FnOnce(&mut Config)) -> Self {
        Self::open_on(simulator, TestDatabase::migrated().await, change).await
    }

    /// The same on a database of the test's own.
    pub(crate) async fn open_on(
        simulator: SimulatorConfig,
        database: TestDatabase,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let simulator = Simulator::start(simulator).await.unwrap();
        let prefix = unique_prefix();
        let mut config = Config::from_toml(&toml(&database.url(), &prefix, "")).unwrap();
        config.providers = simulator.providers("sim").unwrap();
        change(&mut config);
        Self::with(simulator, database, config).await
    }

    async fn with(simulator: Simulator, database: TestDatabase, mut config: Config) -> Self {
        // What waits for the ledger of one house is nothing for another's.
        let spool = tempfile::tempdir().unwrap();
        config.worker.spool = spool.path().to_owned();
        let config = Arc::new(config);
        let store = app::open_store(&config).await.unwrap();
        store.migrate().await.unwrap();
        let options = app::broker_options(&config).unwrap().unwrap();
        declare(&options).await.unwrap();
        let producer = Broker::start(options);
        assert!(producer.wait_until_up(Duration::from_secs(10)).await);
        let mut house = Self {
            simulator,
            store,
            config,
            workers: Vec::new(),
            producer,
            _database: database,
            _spool: spool,
        };
        house.start().await;
        house
    }

    /// Starts the worker; asked again, another one beside it.
    pub(crate) async fn start(&mut self) {
        let catalogue = app::load_catalogue(&self.config.templates.dir).unwrap();
        let worker = Worker::start(self.config.clone(), self.store.clone(), catalogue).await.unwrap();
        self.workers.push(worker);
    }

    /// The templates of the first worker.
    pub(crate) fn catalogue(&self) -> &SharedCatalogue {
        &self.workers[0].catalogue
    }

    /// Ends the workers; [`House::start`] starts the next one.
    pub(crate) async fn stop(&mut self) {
        for worker in self.workers.drain(..) {
            worker.stop().await;
        }
    }

    /// Publishes bodies to the exchange of producers, under `key`.
    pub(crate) async fn publish(&self, key: &str, bodies: &[Value]) {
        let raw = bodies.iter().map(|b| b.to_string().into_bytes()).collect();
        self.publish_raw(key, raw).await;
    }

    /// The same with bodies that need not be JSON.
    pub(crate) async fn publish_raw(&self, key: &str, bodies: Vec<Vec<u8>>) {
        let batch: Vec<Outgoing> = bodies
            .into_iter()
            .enumerate()
            .map(|(n, body)| Outgoing {
                exchange: ExchangeRole::Jobs,
                routing_key: key.to_owned(),
                body,
                headers: Vec::new(),
                mandatory: true,
                message_id: n.to_string(),
                correlation_id: Some(format!("c{n}")),
            })
            .collect();
        for answer in self.producer.publisher().publish(&batch).await {
            answer.unwrap();
        }
    }

    /// Publishes one body with these headers.
    pub(crate) async fn publish_in(&self, key: &str, body: &Value, headers: &[(&str, &str)]) {
        let outgoing = Outgoing {
            exchange: ExchangeRole::Jobs,
            routing_key: key.to_owned(),
            body: body.to_string().into_bytes(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            mandatory: true,
            message_id: "1".to_owned(),
            correlation_id: None,
        };
        for answer in self.producer.publisher().publish(&[outgoing]).await {
            answer.unwrap();
        }
    }

    /// What the worker measures.
    pub(crate) async fn metrics(&self) -> String {
        let address = self.workers.first().unwrap().http;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.get(format!("http://{address}/metrics")).send().await.unwrap().text().await.unwrap()
    }

    /// Waits until `done` says so of the ledger's counts.
    pub(crate) async fn until(&self, what: &str, done: impl Fn(&Counts) -> bool) -> Counts {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let counts = self.store.counts().await.unwrap();
            if done(&counts) {
                return counts;
            }
            assert!(Instant::now() < end, "waited in vain for: {what}; it stands at {counts:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until this many messages have the status.
    pub(crate) async fn until_status(&self, status: MessageStatus, count: u64) -> Counts {
        self.until(&format!("{count} {status}"), |counts| of(counts, status) >= count).await
    }

    /// Drains and closes.
    pub(crate) async fn close(mut self) {
        self.stop().await;
        self.producer.close().await;
    }
}

/// How many messages have this status.
pub(crate) fn of(counts: &Counts, status: MessageStatus) -> u64 {
    counts.messages.iter().filter(|m| m.status == status).map(|m| m.count).sum()
}

/// A patient with one contact.
pub(crate) fn patient(id: &str, channel: &str, address: &str) -> Value {
    json!({
        "id": id, "updated_at": "2026-11-20T08:00:00Z", "name": {"given": "Ana", "family": "López"},
        "language": "en", "timezone": "America/Chicago", "contacts": [{"channel": channel, "address": address}],
    })
}

/// A reminder of a visit a month ahead.
pub(crate) fn job(id: &str, patient: &str) -> Value {
    json!({
        "id": id, "source": "lakeside-ehr", "patient_id": patient, "template": "appointment-reminder",
        "data": {"starts_at": "2036-12-01T15:30:00-06:00", "practitioner": "Dr. Chen"},
    })
}

fn toml(database: &str, prefix: &str, more: &str) -> String {
    let (amqp, key) = (amqp_url(), "5a1b2c3d".repeat(8));
    let templates = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
    // What is new is judged by the floor, and nothing here is old.
    let told = more.contains("[policy.surge]");
    let guard = if told { "" } else { "[policy.surge]\nlearning_factor = 1000000" };
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
        # One patient gets hundreds here, at whatever hour.
        [policy.hours]
        channels = []
        [policy.cap]
        per_day = 0
        per_week = 0
        [policy.digest]
        most = 1
        {guard}
        {more}
        [[site]]
        id = "lakeside-north"
        name = "Lakeside North"
        phone = "+13125550100"
        timezone = "America/Chicago"
        [[provider]]
        name = "stand-in"
        kind = "capture"
        channel = "sms"
        "#
    )
}
