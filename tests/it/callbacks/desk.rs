//! A house on SQLite, without a broker, that posts results to one receiver.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outreachd::app::{self, Worker};
use outreachd::config::{Config, LoadOptions};
use outreachd::domain::ids::{MessageId, WorkerId};
use outreachd::intake::gatekeeper::Arrival;
use outreachd::intake::{Gatekeeper, Incoming, Intake, Outcome};
use outreachd::store::Store;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::receiver::{Receiver, key};
use crate::support::house::{job, patient};

/// Messages are captured, so that nothing but results leaves.
pub(super) struct Desk {
    pub(super) store: Arc<dyn Store>,
    pub(super) folder: TempDir,
    pub(super) config: Arc<Config>,
    worker: Option<Worker>,
}

impl Desk {
    /// Opens a ledger with one patient, and starts no worker.
    pub(super) async fn open(receiver: &Receiver, callbacks: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, templates) =
            (folder.path().join("ledger.db"), concat!(env!("CARGO_MANIFEST_DIR"), "/templates"));
        let text = format!(
            r#"
            [store]
            url = "sqlite://{}"
            [http]
            listen = "127.0.0.1:0"
            [templates]
            dir = "{templates}"
            [policy.hours]
            channels = []
            [policy.cap]
            per_day = 0
            per_week = 0
            [policy.digest]
            most = 1
            [worker]
            heartbeat = "200ms"
            heartbeat_stale = "1s"
            [events.callbacks]
            allow = ["127.0.0.1"]
            {callbacks}
            [[source]]
            name = "lakeside-ehr"
            callback_url = "{}"
            callback_secret = "{}"
            [[site]]
            id = "lakeside-north"
            name = "Lakeside North"
            phone = "+13125550100"
            timezone = "America/Chicago"
            "#,
            ledger.display(),
            receiver.url(),
            key(1),
        );
        let file = folder.path().join("outreachd.toml");
        std::fs::write(&file, text).unwrap();
        let options = LoadOptions { file: Some(file), cwd: folder.path().to_owned(), env: Vec::new() };
        let config = Arc::new(Config::load(&options).unwrap());
        let store = app::open_store(&config).await.unwrap();
        store.migrate().await.unwrap();
        let desk = Self { store, folder, config, worker: None };
        desk.submit("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
        desk
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("outreachd.toml")
    }

    pub(super) async fn start(&mut self) {
        let catalogue = app::load_catalogue(&self.config.templates.dir).unwrap();
        self.worker = Some(Worker::start(self.config.clone(), self.store.clone(), catalogue).await.unwrap());
    }

    /// The API of the running worker.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.worker.as_ref().unwrap().http)
    }

    /// What comes in beside a worker waits in the ledger for one.
    pub(super) async fn submit(&self, key: &str, bodies: &[Value]) -> Vec<Outcome> {
        let catalogue = app::load_catalogue(&self.config.templates.dir).unwrap();
        let gatekeeper = Gatekeeper::new(self.config.clone(), catalogue);
        let (store, worker) = (self.store.clone(), WorkerId::generate());
        let intake = Intake { store, gatekeeper, dispatcher: None, worker };
        let incoming = |body: &Value| Incoming {
            body: body.to_string().into_bytes(),
            arrival: Arrival { origin: "jobs".to_owned(), ..Arrival::default() },
            key: Some(key.to_owned()),
            redelivered: false,
            park: true,
        };
        intake.submit(bodies.iter().map(incoming).collect()).await.unwrap()
    }

    /// Jobs `j0` and on for the one patient.
    pub(super) async fn jobs(&self, count: usize) -> Vec<MessageId> {
        let jobs: Vec<Value> = (0..count).map(|n| job(&format!("j{n}"), "P1")).collect();
        let accepted = |outcome| match outcome {
            Outcome::Accepted(id) => id,
            other => panic!("{other:?}"),
        };
        self.submit("job", &jobs).await.into_iter().map(accepted).collect()
    }

    /// Takes jobs back, too late: each gets a second event.
    pub(super) async fn cancel(&self, count: usize) {
        let cancel = |n| json!({"action": "cancel", "source": "lakeside-ehr", "id": format!("j{n}")});
        self.submit("job.cancel", &(0..count).map(cancel).collect::<Vec<_>>()).await;
    }

    /// Waits until nothing waits for the receiver any more.
    pub(super) async fn until_all_taken(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let counts = self.store.counts().await.unwrap().callbacks;
            if counts.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "waited in vain: {counts:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn close(mut self) {
        if let Some(worker) = self.worker.take() {
            worker.stop().await;
        }
    }
}
