//! The servers that `tests/run` started: every test gets its own database and its own names on them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use outreachd::store::Store;
use outreachd::store::emit::Emitter;
use outreachd::store::postgres::{Connections, PostgresEngine, PostgresStore};
use outreachd::store::rows::Timings;
use outreachd::store::sealer::Sealer;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

/// The AMQP address of the shared broker. Use it with [`unique_prefix`].
pub(crate) fn amqp_url() -> String {
    from_environment("OUTREACHD_TEST_AMQP_URL")
}

/// A prefix for queues and exchanges that no other test has.
pub(crate) fn unique_prefix() -> String {
    format!("test-{}", Uuid::now_v7().simple())
}

/// A database of its own on the shared server; dropped with this value.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    admin_url: String,
    name: String,
}

impl TestDatabase {
    /// Creates it, empty.
    pub(crate) async fn create() -> Self {
        Self::create_on(&from_environment("OUTREACHD_TEST_DATABASE_URL")).await
    }

    /// Creates it with the schema in place: a copy of one that is migrated once a server, because a copy takes a
    /// fifth of the time.
    pub(crate) async fn migrated() -> Self {
        let admin_url = from_environment("OUTREACHD_TEST_DATABASE_URL");
        let mut admin = PgConnection::connect(&admin_url).await.expect("the test PostgreSQL answers");
        let schema = schema_database(&admin_url, &mut admin).await;
        Self::copy(&admin_url, admin, &format!("TEMPLATE {schema}")).await
    }

    /// Creates it, empty, on another server, such as a private one.
    pub(crate) async fn create_on(admin_url: &str) -> Self {
        let admin = PgConnection::connect(admin_url).await.expect("the test PostgreSQL answers");
        Self::copy(admin_url, admin, "").await
    }

    async fn copy(admin_url: &str, mut admin: PgConnection, of: &str) -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        run(&mut admin, format!("CREATE DATABASE {name} {of}")).await;
        admin.close().await.expect("a clean close");
        Self { admin_url: admin_url.to_owned(), name }
    }

    /// Where it is: `postgres://user:password@host:port/name`.
    pub(crate) fn url(&self) -> String {
        url_of(&self.admin_url, &self.name)
    }
}

/// The name of the database that others are copied from. The first test that asks makes it; it stays on the server.
async fn schema_database(admin_url: &str, admin: &mut PgConnection) -> String {
    let name = format!("outreachd_schema_{}", hex::encode(&schema_hash()[..8]));
    run(admin, "SELECT pg_advisory_lock(7308)".to_owned()).await;
    let made: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut *admin)
        .await
        .expect("a list of databases");
    if !made {
        // It gets its name when it is whole.
        let draft = format!("{name}_draft");
        run(admin, format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await;
        run(admin, format!("CREATE DATABASE {draft}")).await;
        let sealer = Sealer::new(b"nothing is sealed here");
        let url = url_of(admin_url, &draft);
        let engine = PostgresEngine::open(&url, connections(1)).expect("a PostgreSQL URL");
        let store = PostgresStore::over(engine, sealer, Emitter::default(), Timings::default());
        store.migrate().await.expect("the schema is made");
        run(
            admin,
            format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{draft}'"),
        )
        .await;
        run(admin, format!("ALTER DATABASE {draft} RENAME TO {name}")).await;
    }
    run(admin, "SELECT pg_advisory_unlock(7308)".to_owned()).await;
    name
}

/// So many connections, with the patience that a configuration has by itself.
pub(crate) fn connections(at_once: u32) -> Connections {
    Connections { at_once, acquire: Duration::from_secs(5), statement: Duration::from_secs(60) }
}

/// Tells one version of the schema from another: a server may outlive a run.
fn schema_hash() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("migrations").map(|file| file.expect("a file").path()).collect();
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        hash.update(fs::read(file).expect("a migration"));
    }
    hash.finalize().to_vec()
}

/// The whole text is ours, so there is nothing to escape.
async fn run(admin: &mut PgConnection, sql: String) {
    admin.execute(AssertSqlSafe(sql)).await.expect("the role may create databases");
}

fn url_of(admin_url: &str, name: &str) -> String {
    let (server, _) = admin_url.rsplit_once('/').expect("a database URL ends in /name");
    format!("{server}/{name}")
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (url, name) = (self.admin_url.clone(), self.name.clone());
        // Drop is not async and the test's own runtime may be gone: a thread with a small one does it. A server
        // that the test has stopped takes its databases with it, so a failure here means nothing.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut admin = PgConnection::connect(&url).await?;
                admin.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await?;
                Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
            })
        });
        let _ = dropping.join();
    }
}

/// Never skipped, never guessed: a run without servers proves nothing, and `DATABASE_URL` may be production.
fn from_environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run the tests with `tests/run`, which starts the servers they need")
    })
}
