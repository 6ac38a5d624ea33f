//! Campaigns, told as stories: each on PostgreSQL and on SQLite, with a worker in this process and the simulator as the
//! outside.

mod ahead;
pub(crate) mod blast;
mod desk;
mod lists;
pub(crate) mod million;
mod once;
mod others;
mod stories;
mod turns;
pub(crate) mod urgent;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outreachd::app::{self, Worker};
use outreachd::campaign::{Brought, Office, Wish};
use outreachd::config::Config;
use outreachd::domain::campaign::{CampaignState, Plan};
use outreachd::domain::ids::{CampaignId, SourceName};
use outreachd::domain::phi::Phi;
use outreachd::domain::status::MessageStatus;
use outreachd::intake::import::{Member, Row};
use outreachd::simulator::{NumberRule, Simulator, SimulatorConfig};
use outreachd::store::campaigns::CampaignRow;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::support::shared::TestDatabase;

/// A worker, a simulator, a ledger, and an office beside them.
pub(super) struct Town {
    pub(super) office: Office,
    pub(super) simulator: Simulator,
    worker: Worker,
    _database: Option<TestDatabase>,
    _folder: TempDir,
}

/// The two databases.
pub(super) const BOTH: [bool; 2] = [true, false];

impl Town {
    /// Opens; the simulator refuses numbers that end in 9.
    pub(super) async fn open(postgres: bool) -> Self {
        Self::open_with(postgres, |_| {}).await
    }

    /// The same with a configuration that was changed by hand.
    pub(super) async fn open_with(postgres: bool, change: impl FnOnce(&mut Config)) -> Self {
        let refuse =
            |n: u32| (Phi::new(number(n)), NumberRule { refuse: Some(21211), ..NumberRule::default() });
        let numbers: BTreeMap<Phi, NumberRule> = (1..1_000).filter(|n| n % 10 == 9).map(refuse).collect();
        let simulator =
            Simulator::start(SimulatorConfig { numbers, ..SimulatorConfig::default() }).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let database = if postgres { Some(TestDatabase::migrated().await) } else { None };
        let url = match &database {
            Some(database) => database.url(),
            None => format!("sqlite://{}", folder.path().join("ledger.db").display()),
        };
        let mut config = Config::from_toml(&settings(&url, "live")).unwrap();
        config.providers = simulator.providers("sim").unwrap();
        change(&mut config);
        let config = Arc::new(config);
        let store = app::open_store(&config).await.unwrap();
        store.migrate().await.unwrap();
        let catalogue = app::load_catalogue(&config.templates.dir).unwrap();
        let worker = Worker::start(config.clone(), store.clone(), catalogue.clone()).await.unwrap();
        let gatekeeper = worker.intake.gatekeeper.clone();
        let office = Office { store, config, catalogue, gatekeeper, dispatcher: None };
        Self { office, simulator, worker, _database: database, _folder: folder }
    }

    pub(super) async fn close(self) {
        self.worker.stop().await;
    }

    pub(super) async fn row(&self, id: &str) -> CampaignRow {
        self.office.one(&name(id)).await.unwrap().0
    }

    pub(super) async fn wish(&self, id: &str, by: &str, wish: Wish) -> Result<CampaignRow, String> {
        self.office.wish(&name(id), by, &wish).await.map_err(|refused| refused.to_string())
    }

    /// Waits until the campaign stands so.
    pub(super) async fn until(&self, id: &str, state: CampaignState) -> CampaignRow {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let row = self.row(id).await;
            if row.state == state {
                return row;
            }
            assert!(Instant::now() < end, "waited in vain for {state}: {row:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Past the store, straight into the database.
    pub(super) async fn execute(&self, sql: &'static str) {
        let url = self.office.config.store.url.expose();
        if url.starts_with("postgres") {
            PgConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
        } else {
            SqliteConnection::connect(url).await.unwrap().execute(sql).await.unwrap();
        }
    }

    pub(super) fn hits(&self) -> usize {
        self.simulator.hits().len()
    }

    /// Waits until so many messages have reached the simulator.
    pub(super) async fn until_hits(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.hits() < count {
            assert!(Instant::now() < end, "waited in vain for {count} hits: {}", self.hits());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until nothing is on the wire any more. What has failed over one way and is held before the next keeps its
    /// status, with the reason for which it is held.
    pub(super) async fn until_settled(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let counts = self.office.store.counts().await.unwrap();
            if counts
                .messages
                .iter()
                .all(|line| line.status != MessageStatus::Sending || line.reason.is_some())
            {
                return;
            }
            assert!(Instant::now() < end, "something stays under way: {counts:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Adds rows to the audience.
    pub(super) async fn bring(&self, id: &str, text: &str) -> (Brought, Vec<Row<Member>>) {
        bring(&self.office, &self.row(id).await.plan, text, "ann").await
    }
}

/// Reads a file's text into the audience.
pub(super) async fn bring(office: &Office, plan: &Plan, text: &str, by: &str) -> (Brought, Vec<Row<Member>>) {
    let options = office.audience_options(plan, None);
    let input = std::io::Cursor::new(text.as_bytes().to_vec());
    let (to, mut batches) = mpsc::channel(1);
    let reading = tokio::task::spawn_blocking(move || Office::read_file(input, options, &to));
    let (mut tally, mut refused) = (Brought::default(), Vec::new());
    while let Some(batch) = batches.recv().await {
        refused.extend(office.bring(plan, batch, &mut tally, by).await.unwrap());
    }
    reading.await.unwrap().unwrap();
    (tally, refused)
}

pub(super) fn name(id: &str) -> CampaignId {
    CampaignId::parse(id).unwrap()
}

/// The n-th number.
pub(super) fn number(n: u32) -> String {
    format!("+1312555{n:04}")
}

/// People with numbers of their own, `from` to `to`.
pub(super) fn people(from: u32, to: u32) -> String {
    let mut text = "patient_id,sms,language,timezone\n".to_owned();
    for n in from..=to {
        text += &format!("P{n},{},en,America/Chicago\n", number(n));
    }
    text
}

/// A plan of these fields.
pub(super) fn plan(id: &str, more: Value) -> Plan {
    let mut plan = json!({
        "id": id, "template": "appointment-reminder", "site": "lakeside-north",
        "data": {"starts_at": "2036-12-01T15:30:00-06:00", "practitioner": "Dr. Chen"},
    });
    for (name, value) in more.as_object().unwrap() {
        plan[name] = value.clone();
    }
    Plan::parse(plan.to_string().as_bytes(), SourceName::parse("lakeside-ehr").as_ref(), 50).unwrap()
}

/// A configuration with a source, a site, and no quiet hours.
pub(super) fn settings(url: &str, mode: &str) -> String {
    let (templates, key) = (concat!(env!("CARGO_MANIFEST_DIR"), "/templates"), "5a1b2c3d".repeat(8));
    format!(
        r#"
        [safety]
        mode = "{mode}"
        [organisation]
        name = "Lakeside Health"
        timezone = "America/Chicago"
        [store]
        url = "{url}"
        [http]
        listen = "127.0.0.1:0"
        [templates]
        dir = "{templates}"
        [security]
        key = "{key}"
        [policy.hours]
        channels = []
        [policy.cap]
        per_day = 1
        [[source]]
        name = "lakeside-ehr"
        allow_inline = true
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
