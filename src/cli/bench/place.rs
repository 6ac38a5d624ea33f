//! Where it is measured: a schema or a file, and queues, that are the measure's own and go away with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::demo::{Home, quoted, with_templates};
use crate::cli::{Desk, Failure};
use crate::config::Config;
use crate::config::provider::MAX_IN_FLIGHT;
use crate::config::store::StoreKind;
use crate::simulator::Simulator;
use crate::store::{Store, StoreError, postgres};

/// What stands around the measure: one site, one organisation, no hours and no caps.
const HOUSE: &str = r#"
[safety]
mode = "live"
[organisation]
name = "Bench"
timezone = "America/Chicago"
[http]
listen = "127.0.0.1:0"
[log]
level = "error"
[policy.hours]
channels = []
[policy.cap]
per_day = 0
per_week = 0
[policy.surge]
enabled = false
[[site]]
id = "bench"
name = "Bench"
phone = "+13125550100"
timezone = "America/Chicago"
[[provider]]
name = "none"
kind = "capture"
channel = "sms"
"#;

/// The measure's own place.
pub(super) struct Place {
    /// The user's own configuration; none where nobody has one.
    given: Option<Arc<Config>>,
    home: Home,
    name: String,
    /// Where the ledger's disk is.
    folder: PathBuf,
}

impl Place {
    /// Refuses to stand beside live work.
    pub(super) async fn make(desk: &Desk) -> Result<Self, Failure> {
        let home = Home::make().map_err(|error| {
            let what = format!("the temporary folder cannot be used ({})", error.kind());
            Failure::said(what, "set TMPDIR to a folder with room")
        })?;
        let given = if desk.has_configuration()? { Some(desk.config()?) } else { None };
        let name = format!("outreachd_bench_{}", uuid::Uuid::now_v7().simple());
        let mut place = Self { given, folder: home.path().to_owned(), home, name };
        let Some(config) = place.given.clone() else { return Ok(place) };
        // Where there is no ledger yet, nobody works.
        if config.store.missing_file().is_none() {
            nobody_works(Desk::unasked_store(&config).await?.as_ref()).await?;
        }
        match config.store.kind {
            StoreKind::Postgres => postgres::make_schema(config.store.url.expose(), &place.name).await?,
            StoreKind::Sqlite => {
                let folder = config.store.file().and_then(Path::parent);
                let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
                place.folder = folder.unwrap_or(Path::new(".")).to_owned();
            }
        }
        Ok(place)
    }

    /// The configuration to measure with: the user's servers and worker, and nothing else of theirs.
    pub(super) fn config(&self, simulator: &Simulator) -> Result<Config, Failure> {
        let templates =
            with_templates(self.home.path()).map_err(|error| Failure::unwritten(self.home.path(), &error))?;
        let amqp = self.given.as_ref().and_then(|given| given.amqp.as_ref());
        let amqp = amqp.map_or_else(String::new, |amqp| {
            format!("[amqp]\nurl = {}\nprefix = {}\n", quoted(amqp.url.expose()), quoted(&self.prefix()))
        });
        let text = format!(
            "[store]\nurl = {}\n{amqp}[security]\nkey = \"{}\"\n[templates]\ndir = {}\n{HOUSE}",
            quoted(&self.url()),
            "be".repeat(32),
            quoted(&templates.display().to_string()),
        );
        let mut config = Config::from_toml(&text).map_err(Failure::Config)?;
        if let Some(given) = &self.given {
            config.worker = given.worker.clone();
            config.store.pool_size = given.store.pool_size;
            if let (Some(own), Some(theirs)) = (&mut config.amqp, &given.amqp) {
                own.prefetch = theirs.prefetch;
                own.held_bytes = theirs.held_bytes;
            }
        }
        config.worker.spool = self.home.path().to_owned();
        let sms = |p: &crate::config::provider::ProviderSection| p.settings.kind() == "twilio_sms";
        let simulated =
            simulator.providers("bench").map_err(|error| crate::cli::simulate::failure(&error))?;
        config.providers = simulated.into_iter().filter(sms).collect();
        // As a user's own provider where nothing else is said.
        config.providers.iter_mut().for_each(|provider| provider.max_in_flight = MAX_IN_FLIGHT);
        Ok(config)
    }

    fn url(&self) -> String {
        match &self.given {
            Some(given) if given.store.kind == StoreKind::Postgres => {
                postgres::within_schema(given.store.url.expose(), &self.name)
            }
            _ => format!("sqlite://{}", self.file().display()),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.db", self.name))
    }

    fn prefix(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Where the disk is that a commit waits for; of a database server only the server knows.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// In the words of the report.
    pub(super) fn ledger(&self) -> &'static str {
        match &self.given {
            Some(given) if given.store.kind == StoreKind::Postgres => "PostgreSQL, a schema of its own",
            Some(_) => "SQLite, a file beside yours",
            None => "SQLite in a temporary folder",
        }
    }

    /// Takes away what is its own.
    pub(super) async fn leave(&self) -> Result<(), Failure> {
        let Some(given) = &self.given else { return Ok(()) };
        match given.store.kind {
            StoreKind::Postgres => postgres::drop_schema(given.store.url.expose(), &self.name).await?,
            StoreKind::Sqlite => {
                for end in ["", "-wal", "-shm"] {
                    // One that was never made is as good as removed.
                    let _ = std::fs::remove_file(format!("{}{end}", self.file().display()));
                }
            }
        }
        let Some(amqp) = &given.amqp else { return Ok(()) };
        let text =
            format!("[amqp]\nurl = {}\nprefix = {}\n", quoted(amqp.url.expose()), quoted(&self.prefix()));
        let own = Config::from_toml(&text).map_err(Failure::Config)?;
        if let Some(options) = crate::app::broker_options(&own)? {
            let left = |reason: crate::broker::DownReason| {
                let what = format!("queues named {}.* were left behind ({})", self.prefix(), reason.code());
                Failure::said(what, "delete them: they hold nothing of yours")
            };
            crate::broker::remove(&options).await.map_err(left)?;
        }
        Ok(())
    }
}

/// What runs here would be slowed down by it, and would slow it down.
async fn nobody_works(store: &dyn Store) -> Result<(), Failure> {
    let now = match store.ping().await {
        Ok(now) => now,
        // Without a schema nobody works here.
        Err(StoreError::Schema(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let lately = now.checked_sub(jiff::SignedDuration::from_secs(30)).unwrap_or(now);
    let alive = store.workers().await?.iter().filter(|worker| worker.seen_at > lately).count();
    if alive > 0 {
        let what = format!("{alive} workers run on this ledger, or did half a minute ago");
        return Err(Failure::said(what, "measure where nobody works, or stop them first"));
    }
    let waiting = store.counts().await?.backlog;
    if waiting > 0 {
        let what = format!("{waiting} messages wait in this ledger");
        return Err(Failure::said(what, "measure where nothing waits: patients come first"));
    }
    Ok(())
}
