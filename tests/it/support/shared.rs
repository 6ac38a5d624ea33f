//! The servers that `tests/run` started: every test gets its own database and its own names on them.

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

/// An empty database of its own on the shared server; dropped with this value.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    admin_url: String,
    name: String,
}

impl TestDatabase {
    /// Creates it.
    pub(crate) async fn create() -> Self {
        Self::create_on(&from_environment("OUTREACHD_TEST_DATABASE_URL")).await
    }

    /// Creates it on another server, such as a private one.
    pub(crate) async fn create_on(admin_url: &str) -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let mut admin = PgConnection::connect(admin_url).await.expect("the test PostgreSQL answers");
        // The whole name is ours, so there is nothing to escape.
        admin
            .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await
            .expect("the role may create databases");
        admin.close().await.expect("a clean close");
        Self { admin_url: admin_url.to_owned(), name }
    }

    /// Where it is: `postgres://user:password@host:port/name`.
    pub(crate) fn url(&self) -> String {
        let (server, _) = self.admin_url.rsplit_once('/').expect("a database URL ends in /name");
        format!("{server}/{}", self.name)
    }
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
