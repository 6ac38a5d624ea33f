//! What goes away under a worker that has to [go on by itself](super::fault_recovery): the network, the broker, the database,
//! their connections, room to write, a queue.

use std::time::{Duration, Instant};

use lapin::options::QueueDeleteOptions;
use lapin::{Connection, ConnectionProperties};
use outreachd::app;
use outreachd::broker::{QueueRole, declare};
use outreachd::config::Config;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::faults::Stage;
use crate::support::proxy::{Link, TcpProxy};

/// A slow link.
const LATENCY: Duration = Duration::from_secs(2);
/// What is over at once happens so often, with a pause.
const TIMES: usize = 3;
const PAUSE: Duration = Duration::from_millis(300);
/// A job comes so often while a fault lasts.
const EACH: Duration = Duration::from_millis(100);
/// What grows with every job.
const TABLES: [&str; 5] = ["job_keys", "messages", "attempts", "events", "parked"];

/// How a link fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// Connections are reset, wherever in a frame they stand.
    Reset,
    /// Half-open: both ends believe in it, and nothing comes.
    Silent,
    /// Every piece comes two seconds later.
    Slow,
    /// One byte a second.
    Trickle,
}

pub(super) const WAYS: [Way; 4] = [Way::Reset, Way::Silent, Way::Slow, Way::Trickle];

/// What goes away, and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outage {
    /// The link to the ledger, else the one to the broker.
    Network {
        ledger: bool,
        way: Way,
    },
    /// Stopped or killed, and started again.
    Broker {
        crash: bool,
    },
    Database {
        crash: bool,
    },
    /// The database ends every connection of the worker.
    Terminated,
    /// The broker closes every connection that it has.
    Closed,
    /// The database takes no writes: all of the server, over connections that stand; or this database, over new ones, with
    /// the others ended, as they must be at the end of it too.
    ReadOnly {
        server: bool,
    },
    /// The database says that its disk is full (SQLSTATE 53100) of whatever makes a table grow. No disk is filled: a test
    /// cannot mount a small one. Where its own log finds no room PostgreSQL ends, which is [`Self::Database`].
    DiskFull,
    /// The queue of jobs is deleted, and declared again by somebody else at once, or left to the worker.
    Deleted {
        declared: bool,
    },
}

impl Stage {
    /// The fault comes and goes, under load; when it was over.
    pub(super) async fn suffer(&mut self, outage: Outage) -> Instant {
        match outage {
            Outage::Network { ledger, way: Way::Reset } => {
                for _ in 0..TIMES {
                    self.load(PAUSE).await;
                    self.link(ledger).reset();
                }
            }
            Outage::Network { ledger, way: Way::Silent } => self.spoil(ledger, Link::HalfOpen).await,
            Outage::Network { ledger, way: Way::Slow } => self.spoil(ledger, Link::Latency(LATENCY)).await,
            Outage::Network { ledger, way: Way::Trickle } => self.spoil(ledger, Link::Trickle).await,
            Outage::Broker { crash } => {
                self.load(PAUSE).await;
                self.rig.rabbitmq.as_mut().unwrap().restart(crash).await;
            }
            Outage::Database { crash } => {
                self.load(PAUSE).await;
                self.rig.postgres.as_mut().unwrap().restart(crash).await;
            }
            Outage::Terminated => {
                let mut database = self.administrator().await;
                for _ in 0..TIMES {
                    self.load(PAUSE).await;
                    terminate(&mut database).await;
                }
            }
            Outage::Closed => {
                self.load(PAUSE).await;
                self.rig.rabbitmq.as_ref().unwrap().ctl(&["close_all_connections", "maintenance"]);
            }
            Outage::ReadOnly { server } => self.read_only(server).await,
            Outage::DiskFull => self.disk_full().await,
            Outage::Deleted { declared } => self.delete_queue(declared).await,
        }
        Instant::now()
    }

    fn link(&self, ledger: bool) -> &TcpProxy {
        if ledger { &self.ledger } else { &self.broker }
    }

    async fn spoil(&mut self, ledger: bool, link: Link) {
        self.load(PAUSE).await;
        self.link(ledger).set(link);
        self.load(self.hold).await;
        self.link(ledger).set(Link::Forward);
    }

    /// Jobs come for so long.
    async fn load(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.publish(1).await;
            tokio::time::sleep(EACH).await;
        }
    }

    /// A connection that may write, whatever others may.
    async fn administrator(&self) -> PgConnection {
        let mut database = PgConnection::connect(&self.rig.database_url()).await.unwrap();
        say(&mut database, "SET default_transaction_read_only = off").await;
        database
    }

    async fn read_only(&mut self, server: bool) {
        let url = self.rig.database_url();
        let name = url.rsplit_once('/').unwrap().1;
        let whose = if server { "ALTER SYSTEM".to_owned() } else { format!("ALTER DATABASE {name}") };
        let mut database = self.administrator().await;
        self.load(PAUSE).await;
        for words in ["SET default_transaction_read_only = on", "RESET default_transaction_read_only"] {
            say(&mut database, &format!("{whose} {words}")).await;
            if server {
                say(&mut database, "SELECT pg_reload_conf()").await;
            } else {
                terminate(&mut database).await;
            }
            if words.starts_with("SET") {
                self.load(self.hold).await;
            }
        }
    }

    async fn disk_full(&mut self) {
        let mut database = self.administrator().await;
        let refuse = "CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION USING ERRCODE = 'disk_full', MESSAGE = 'No space left on device'; END $$";
        say(&mut database, refuse).await;
        self.load(PAUSE).await;
        // One statement a table: a transaction over all of them could wait for the worker, and the worker for it.
        for table in TABLES {
            let full = format!(
                "CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION no_room()"
            );
            say(&mut database, &full).await;
        }
        self.load(self.hold).await;
        for table in TABLES {
            say(&mut database, &format!("DROP TRIGGER no_room ON {table}")).await;
        }
    }

    /// What lies in a queue goes with it: all that was confirmed is in the ledger before.
    async fn delete_queue(&mut self, declared: bool) {
        let published = i64::try_from(self.published).unwrap();
        let keys = "SELECT count(*) FROM job_keys";
        self.rig.until("an empty queue", keys, published, Duration::from_secs(60)).await;
        let connection = Connection::connect(&self.rig.amqp, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let name = QueueRole::Jobs.name(&self.rig.prefix);
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
        if declared {
            let text = std::fs::read_to_string(self.rig.dir.path().join("outreachd.toml")).unwrap();
            let options = app::broker_options(&Config::from_toml(&text).unwrap()).unwrap().unwrap();
            declare(&options).await.unwrap();
        }
    }
}

async fn say(database: &mut PgConnection, words: &str) {
    sqlx::query(AssertSqlSafe(words.to_owned())).execute(database).await.unwrap();
}

/// Ends every connection of a worker to this database.
async fn terminate(database: &mut PgConnection) {
    let ours = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'outreachd'";
    say(database, ours).await;
}
