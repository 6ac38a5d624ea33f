//! The ledger in SQLite, embedded: one writer, a few readers, and a clock that is handed in.
//!
//! WAL lets readers read while the writer writes; `synchronous=FULL` makes a commit last through a power cut, which
//! the first invariant asks for. A batch goes in as one JSON array of rows.

mod file;
mod statements;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Row, Sqlite, Transaction};
use uuid::Uuid;

use super::columns::columns;
use super::engine::{Args, Column, Data, Engine, Sql, Statements, Value};
use super::fault::{fault, migration_fault};
use super::ledger::Ledger;
use super::schema::{self, Migrations, migrations};
use super::{Result, StoreError};

/// The ledger in SQLite.
pub type SqliteStore = Ledger<SqliteEngine>;

/// Stands in for a database server's clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A database file, its one writer and its readers.
pub struct SqliteEngine {
    writer: SqlitePool,
    readers: SqlitePool,
    clock: Clock,
}

impl fmt::Debug for SqliteEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteEngine").finish_non_exhaustive()
    }
}

/// The open transaction, and the clock's word for it.
#[derive(Debug)]
pub struct SqliteTx {
    tx: Transaction<'static, Sqlite>,
    now: Timestamp,
}

const MIGRATIONS: Migrations = migrations!("sqlite");

const READERS: u32 = 4;

/// How long a call waits for its turn to write. Everybody shares one connection, so this is longer than for a server.
const TURN: Duration = Duration::from_secs(30);

/// How long a statement waits for another process that has the file.
const BUSY: Duration = Duration::from_secs(10);

impl SqliteEngine {
    /// Makes the file if there is none, readable by its owner only, and pools that connect to it on first use.
    /// `location` is a path, or `sqlite://PATH`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn open(location: &str, clock: Clock) -> Result<Self> {
        let path = file::prepare(location)?;
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(TURN)
            .test_before_acquire(false)
            .connect_lazy_with(
                options(&path)
                    .journal_mode(SqliteJournalMode::Wal)
                    // What is erased is overwritten in the file.
                    .pragma("secure_delete", "on")
                    // A backup that reads for long stretches the log; afterwards it is cut back to 64 MiB.
                    .pragma("journal_size_limit", "67108864"),
            );
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(TURN)
            .test_before_acquire(false)
            .connect_lazy_with(options(&path).pragma("query_only", "1"));
        Ok(Self { writer, readers, clock })
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .pragma("temp_store", "memory")
        // In KiB, for each connection.
        .pragma("cache_size", "-16384")
}

impl Engine for SqliteEngine {
    type Row = SqliteRow;
    type Tx = SqliteTx;

    const STATEMENTS: &'static Statements = &statements::STATEMENTS;
    const NEWEST: i64 = schema::newest(MIGRATIONS);

    async fn migrate(&self) -> Result<()> {
        // Within a transaction that writes from the start, so that of two processes one waits for the other.
        let mut tx = self.begin().await?;
        schema::migrator(MIGRATIONS, &[])
            .run_direct(None, &mut *tx.tx, false)
            .await
            .map_err(migration_fault)?;
        Self::commit(tx).await
    }

    async fn read(&self, sql: impl Into<Sql> + Send, args: Args<'_>) -> Result<Vec<SqliteRow>> {
        query(&sql.into(), args, (self.clock)())?.fetch_all(&self.readers).await.map_err(fault)
    }

    async fn write(&self, sql: impl Into<Sql> + Send, args: Args<'_>) -> Result<Vec<SqliteRow>> {
        let mut tx = self.begin().await?;
        let rows = Self::run(&mut tx, sql, args).await?;
        Self::commit(tx).await?;
        Ok(rows)
    }

    async fn begin(&self) -> Result<SqliteTx> {
        let tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        // Read once the writer's turn has come, however long that took.
        Ok(SqliteTx { tx, now: (self.clock)() })
    }

    async fn run(tx: &mut SqliteTx, sql: impl Into<Sql> + Send, args: Args<'_>) -> Result<Vec<SqliteRow>> {
        query(&sql.into(), args, tx.now)?.fetch_all(&mut *tx.tx).await.map_err(fault)
    }

    async fn commit(tx: SqliteTx) -> Result<()> {
        tx.tx.commit().await.map_err(fault)
    }
}

columns!(
    SqliteRow,
    i64 => instant,
    String => |id| Uuid::try_parse(&id).map_err(|_| StoreError::Internal("an id".to_owned()))
);

/// From microseconds; by seconds and their fraction, because the last second of all is whole only that way.
fn instant(micros: i64) -> Result<Timestamp> {
    const SECOND: i64 = 1_000_000;
    let nanos = i32::try_from(micros.rem_euclid(SECOND) * 1000).unwrap_or_default();
    Timestamp::new(micros.div_euclid(SECOND), nanos).map_err(|_| StoreError::Internal("a time".to_owned()))
}

/// The values in order, then the batch as one JSON text, then the clock.
fn query(sql: &str, args: Args<'_>, now: Timestamp) -> Result<Query<'static, Sqlite, SqliteArguments>> {
    let text = text(sql, args.values.len(), &args.batch);
    // Nothing of it comes from outside: marks are replaced by our own words, values are bound.
    let mut query = sqlx::query(AssertSqlSafe(text));
    for value in args.values {
        query = match value {
            Value::Text(text) => query.bind(text.map(str::to_owned)),
            Value::Int(number) => query.bind(number),
            Value::Flag(truth) => query.bind(truth),
            Value::Id(id) => query.bind(id.map(|id| id.to_string())),
            Value::Time(time) => query.bind(time.map(Timestamp::as_microsecond)),
            Value::Texts(texts) => query.bind(json(&texts)?),
            Value::Ids(ids) => query.bind(json(&ids)?),
            Value::Ints(numbers) => query.bind(json(&numbers)?),
        };
    }
    if !args.batch.is_empty() {
        query = query.bind(rows(&args.batch)?);
    }
    Ok(query.bind(now.as_microsecond()))
}

/// The statement with its marks replaced.
fn text(sql: &str, values: usize, batch: &[Column<'_>]) -> String {
    let clock = values + 1 + usize::from(!batch.is_empty());
    let column = |(place, column): (usize, &Column<'_>)| match column.data {
        Data::Bytes(_) => format!("unhex(value ->> {place}) AS {}", column.name),
        _ => format!("value ->> {place} AS {}", column.name),
    };
    let columns: Vec<String> = batch.iter().enumerate().map(column).collect();
    let input = format!("(SELECT {} FROM json_each(${})) AS input", columns.join(", "), values + 1);
    let mut text = sql
        .replace("{input}", &input)
        .replace("{us}", "1")
        .replace("{today}", "(now() / 86400000000)")
        .replace("{second}", "(now() / 1000000)")
        .replace("{for update}", "")
        .replace("{skip locked}", "")
        .replace("{skip locked, with its attempt}", "")
        .replace("now()", &format!("${clock}"));
    while let Some((before, after)) = text.split_once("= ANY($") {
        let (number, rest) = after.split_once(')').unwrap_or((after, ""));
        text = format!("{before}IN (SELECT value FROM json_each(${number})){rest}");
    }
    text
}

/// A batch as an array of arrays.
fn rows(batch: &[Column<'_>]) -> Result<String> {
    let count = batch.first().map_or(0, |column| column.data.len());
    let mut cells = batch.iter().map(|column| cells(&column.data)).collect::<Vec<_>>();
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        rows.push(cells.iter_mut().map(|cells| cells.next().unwrap_or(Cell::Null)).collect::<Vec<_>>());
    }
    json(&rows)
}

fn cells<'c>(data: &'c Data<'_>) -> Box<dyn Iterator<Item = Cell<'c>> + 'c> {
    let some = |text: Option<Cell<'c>>| text.unwrap_or(Cell::Null);
    match data {
        Data::Text(texts) => Box::new(texts.iter().map(move |t| some(t.map(Cell::Text)))),
        Data::Int(numbers) => Box::new(numbers.iter().map(|&n| Cell::Int(n))),
        Data::Flag(truths) => Box::new(truths.iter().map(|&t| Cell::Int(i64::from(t)))),
        Data::Id(ids) => Box::new(ids.iter().map(move |id| some(id.map(Cell::Id)))),
        Data::Time(times) => {
            Box::new(times.iter().map(move |t| some(t.map(|t| Cell::Int(t.as_microsecond())))))
        }
        Data::Bytes(bytes) => Box::new(bytes.iter().map(|b| Cell::Bytes(hex::encode(b)))),
    }
}

/// One value of a batch.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Cell<'c> {
    Null,
    Text(&'c str),
    Int(i64),
    Id(Uuid),
    /// JSON knows no bytes: they travel as hexadecimal digits.
    Bytes(String),
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|_| StoreError::Internal("a batch does not serialise".to_owned()))
}

/// A ledger that nobody has made yet, in that file, where it is always `now`.
#[cfg(test)]
pub(crate) fn ledger_of_a_test(file: &Path, now: Timestamp) -> SqliteStore {
    use super::{emit::Emitter, rows::Timings, sealer::Sealer};

    let engine = SqliteEngine::open(file.to_str().unwrap(), Arc::new(move || now)).unwrap();
    SqliteStore::over(engine, Sealer::new(b"a key"), Emitter::default(), Timings::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::{bytes, ints};

    #[test]
    fn every_time_comes_back() {
        for time in [Timestamp::MAX, Timestamp::UNIX_EPOCH, Timestamp::MIN] {
            let micros = time.as_microsecond();
            assert_eq!(instant(micros).unwrap().as_microsecond(), micros);
        }
    }

    #[tokio::test]
    async fn what_is_erased_is_not_left_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let clock: Clock = Arc::new(|| Timestamp::UNIX_EPOCH);
        let engine = SqliteEngine::open(path.to_str().unwrap(), clock).unwrap();
        let said = "a word that is to be forgotten";
        let holds = || std::fs::read(&path).unwrap().windows(said.len()).any(|part| part == said.as_bytes());
        for (sql, expected) in [
            ("CREATE TABLE t (x TEXT)", false),
            ("INSERT INTO t VALUES ('a word that is to be forgotten'), ('another')", true),
            ("UPDATE t SET x = NULL WHERE x LIKE 'a word%'", false),
        ] {
            for sql in [sql, "PRAGMA wal_checkpoint(TRUNCATE)"] {
                sqlx::query(sql).execute(&engine.writer).await.unwrap();
            }
            assert_eq!(holds(), expected, "{sql}");
        }
    }

    #[test]
    fn marks_become_what_sqlite_understands() {
        let numbers = [1_i64, 2];
        let batch = vec![ints("n", &numbers, |n| *n), bytes("b", &numbers, |_| vec![255])];
        assert_eq!(
            text(
                "SELECT now(), {today} FROM {input} WHERE a = ANY($1) AND t < now() + $2 * {us} {for update}",
                2,
                &batch
            ),
            "SELECT $4, ($4 / 86400000000) FROM (SELECT value ->> 0 AS n, unhex(value ->> 1) AS b FROM json_each($3)) \
             AS input WHERE a IN (SELECT value FROM json_each($1)) AND t < $4 + $2 * 1 "
        );
        assert_eq!(rows(&batch).unwrap(), r#"[[1,"ff"],[2,"ff"]]"#);
        assert_eq!(text("SELECT now()", 0, &[]), "SELECT $1");
    }
}
