//! The ledger in PostgreSQL: batches go in as arrays, one statement where one will do.

mod apart;
mod rows;
mod statements;

use std::str::FromStr;
use std::time::Duration;

use jiff_sqlx::ToSqlx;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Postgres, Row};
use tokio::time::timeout;

use super::columns::columns;
use super::engine::{Args, Data, Engine, Sql, Statements, Value};
use super::fault::{fault, migration_fault};
use super::ledger::Ledger;
use super::schema::{self, Migrations, migrations};
use super::{Result, StoreError};

pub use apart::{drop_schema, make_schema, within_schema};

/// The ledger in PostgreSQL.
pub type PostgresStore = Ledger<PostgresEngine>;

/// A pool of connections to PostgreSQL.
#[derive(Debug)]
pub struct PostgresEngine {
    pool: PgPool,
    /// How long an answer is waited for.
    patience: Duration,
}

/// How many connections there are, and how long they are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    pub at_once: u32,
    /// How long one is waited for.
    pub acquire: Duration,
    /// How long a statement may take.
    pub statement: Duration,
}

/// The server ends a statement that takes too long, and says so: one that is silent for so much longer is not there any
/// more, or the network between has forgotten the connection and told nobody.
const SILENT: Duration = Duration::from_secs(5);
/// Firewalls forget a connection that is idle for four minutes or more. It is looked at as often, so that none is idle for
/// twice as long.
const IDLE: Duration = Duration::from_secs(110);

const MIGRATIONS: Migrations = migrations!("postgres");

/// What comes before the text of a migration: the text itself is known to ledgers by its checksum.
const FIRST: &[(i64, &str)] = &[
    // Nothing is written meanwhile; and whoever has one of the two and wants the other is met before there is work to lose.
    (40, "LOCK TABLE attempts, messages IN ACCESS EXCLUSIVE MODE;"),
];

impl PostgresEngine {
    /// Makes a pool for `url`; connects on first use.
    ///
    /// # Errors
    /// The URL cannot be read. It is not echoed: it may hold a password.
    pub fn open(url: &str, connections: Connections) -> Result<Self> {
        let limit = format!("{}ms", connections.statement.as_millis());
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::Schema("[store] url is no PostgreSQL URL".to_owned()))?
            .application_name("outreachd")
            .options([
                ("lock_timeout", "5s"),
                ("statement_timeout", &limit),
                ("TimeZone", "UTC"),
                // Batches differ in size only, and planning one anew costs as much as a hundred of its rows. A plan that
                // was made while a table was small stays in use while it grows, until the next ANALYZE: it must not
                // rest on that. A row is found by its key, whatever the table's size.
                ("plan_cache_mode", "force_generic_plan"),
                ("seq_page_cost", "10"),
                ("random_page_cost", "1.1"),
                ("jit", "off"),
                // A count for a page must not take the processors from what is sent meanwhile.
                ("max_parallel_workers_per_gather", "0"),
            ]);
        let patience = connections.statement + SILENT;
        let pool = PgPoolOptions::new()
            .max_connections(connections.at_once)
            .acquire_timeout(connections.acquire)
            .idle_timeout(IDLE)
            .test_before_acquire(false)
            // Whoever has stopped waiting leaves a statement on it: without an end of its own its place would be taken for as
            // long as the server is silent.
            .after_release(move |connection, _| {
                Box::pin(async move {
                    let alive = timeout(patience, connection.ping()).await;
                    alive.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
                })
            })
            .connect_lazy_with(options);
        Ok(Self { pool, patience })
    }
}

impl Engine for PostgresEngine {
    type Row = PgRow;
    type Tx = PostgresTx;

    const STATEMENTS: &'static Statements = &statements::STATEMENTS;
    const NEWEST: i64 = schema::newest(MIGRATIONS);

    async fn migrate(&self) -> Result<()> {
        // A connection of its own: an index over a large table takes longer than any statement may otherwise.
        let unlimited = (*self.pool.connect_options()).clone().options([("statement_timeout", "0")]);
        let pool = self.pool.options().clone().max_connections(1).connect_lazy_with(unlimited);
        let migrated = schema::migrator(MIGRATIONS, FIRST).run(&pool).await.map_err(migration_fault);
        pool.close().await;
        migrated
    }

    async fn read(&self, sql: impl Into<Sql> + Send, args: Args<'_>) -> Result<Vec<PgRow>> {
        self.write(sql, args).await
    }

    async fn write(&self, sql: impl Into<Sql> + Send, args: Args<'_>) -> Result<Vec<PgRow>> {
        let mut connection = self.pool.acquire().await.map_err(fault)?;
        let asked = query(sql.into(), args).fetch_all(&mut *connection);
        let Ok(rows) = timeout(self.patience, asked).await else {
            connection.close_on_drop();
            return Err(silent());
        };
        rows.map_err(fault)
    }

    async fn begin(&self) -> Result<PostgresTx> {
        let connection = self.pool.acquire().await.map_err(fault)?;
        let mut tx = PostgresTx { connection: Some(connection), patience: self.patience };
        tx.say("BEGIN").await?;
        Ok(tx)
    }

    async fn run(tx: &mut PostgresTx, sql: impl Into<Sql> + Send, args: Args<'_>) -> Result<Vec<PgRow>> {
        tx.ask(async |connection| query(sql.into(), args).fetch_all(connection).await).await
    }

    async fn commit(mut tx: PostgresTx) -> Result<()> {
        tx.say("COMMIT").await?;
        tx.connection = None;
        Ok(())
    }
}

/// An open transaction. Dropped, it is rolled back; a connection on which nothing answers is closed.
#[derive(Debug)]
pub struct PostgresTx {
    /// None once it is over.
    connection: Option<PoolConnection<Postgres>>,
    patience: Duration,
}

impl PostgresTx {
    async fn say(&mut self, words: &'static str) -> Result<()> {
        self.ask(async |connection| sqlx::raw_sql(words).execute(connection).await.map(drop)).await
    }

    async fn ask<T>(
        &mut self,
        asked: impl AsyncFnOnce(&mut PgConnection) -> std::result::Result<T, sqlx::Error>,
    ) -> Result<T> {
        let connection = self.connection.as_mut().ok_or_else(silent)?;
        let Ok(answer) = timeout(self.patience, asked(connection)).await else {
            connection.close_on_drop();
            self.connection = None;
            return Err(silent());
        };
        answer.map_err(fault)
    }
}

impl Drop for PostgresTx {
    fn drop(&mut self) {
        let (Some(mut connection), patience) = (self.connection.take(), self.patience) else { return };
        tokio::spawn(async move {
            let rolled_back = timeout(patience, sqlx::raw_sql("ROLLBACK").execute(&mut *connection)).await;
            if !matches!(rolled_back, Ok(Ok(_))) {
                connection.close_on_drop();
            }
        });
    }
}

fn silent() -> StoreError {
    StoreError::Unavailable("no answer in time".to_owned())
}

columns!(
    PgRow,
    jiff_sqlx::Timestamp => |time| Ok(time.to_jiff()),
    uuid::Uuid => Ok
);

fn query(sql: Sql, args: Args<'_>) -> Query<'static, Postgres, PgArguments> {
    let text = text(&sql, &args);
    // Nothing of it comes from outside: marks are replaced by our own words, values are bound.
    let mut query = sqlx::query(AssertSqlSafe(text));
    for value in args.values {
        query = match value {
            Value::Text(text) => query.bind(text),
            Value::Int(number) => query.bind(number),
            Value::Flag(truth) => query.bind(truth),
            Value::Id(id) => query.bind(id),
            Value::Time(time) => query.bind(time.map(ToSqlx::to_sqlx)),
            Value::Texts(texts) => query.bind(texts),
            Value::Ids(ids) => query.bind(ids),
            Value::Ints(numbers) => query.bind(numbers),
        };
    }
    if let Some(row_type) = args.row_type {
        return rows::bind(query, row_type, &args.batch);
    }
    for column in args.batch {
        query = match column.data {
            Data::Text(texts) => query.bind(texts),
            Data::Int(numbers) => query.bind(numbers),
            Data::Flag(truths) => query.bind(truths),
            Data::Id(ids) => query.bind(ids),
            Data::Time(times) => {
                query.bind(times.into_iter().map(|t| t.map(ToSqlx::to_sqlx)).collect::<Vec<_>>())
            }
            Data::Bytes(bytes) => query.bind(bytes),
        };
    }
    query
}

/// The statement with its marks replaced.
fn text(sql: &str, args: &Args<'_>) -> String {
    if !sql.contains('{') {
        return sql.to_owned();
    }
    let values = args.values.len();
    let input = match args.row_type {
        Some(row_type) => format!("unnest(${}::{}[]) AS input", values + 1, row_type.name()),
        None => {
            let numbered = (1..).zip(&args.batch);
            let arrays: Vec<String> =
                numbered.map(|(n, column)| format!("${}::{}", values + n, array(&column.data))).collect();
            let names: Vec<&str> = args.batch.iter().map(|column| column.name).collect();
            format!("unnest({}) AS input({})", arrays.join(", "), names.join(", "))
        }
    };
    sql.replace("{input}", &input)
        .replace("{us}", "interval '1 microsecond'")
        .replace("{today}", "floor(EXTRACT(EPOCH FROM now()) / 86400)::bigint")
        .replace("{second}", "floor(EXTRACT(EPOCH FROM now()))::bigint")
        .replace("{for update}", "FOR UPDATE")
        .replace("{skip locked}", "FOR UPDATE OF m SKIP LOCKED")
        .replace("{skip locked, with its attempt}", "FOR UPDATE OF m, a SKIP LOCKED")
}

fn array(data: &Data<'_>) -> &'static str {
    match data {
        Data::Text(_) => "text[]",
        Data::Int(_) => "bigint[]",
        Data::Flag(_) => "boolean[]",
        Data::Id(_) => "uuid[]",
        Data::Time(_) => "timestamptz[]",
        Data::Bytes(_) => "bytea[]",
    }
}
