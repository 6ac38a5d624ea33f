//! The ledger in PostgreSQL: batches go in and out as arrays, one statement where one will do.

mod admit;
mod claim;
mod corridor;
mod directory;
mod gate;
mod operate;
mod outbox;
mod read;

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::RwLock;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Postgres, Row, Transaction};

use super::emit::{Emitter, NewEvent, shard};
use super::rows::*;
use super::sealer::Sealer;
use super::{Result, Store, StoreError};
use crate::domain::ids::{HoldId, MessageId, ParkedId, PatientId, WorkerId};
use crate::domain::job::Cancel;
use crate::domain::patient::Patient;

type Tx<'a> = Transaction<'a, Postgres>;

/// The ledger in PostgreSQL.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
    sealer: Sealer,
    emitter: Emitter,
    timings: Timings,
    /// Sources that are known to stand in the table of sources.
    sources: RwLock<HashSet<String>>,
    /// Keys that are known to stand in the rate gate.
    gate_keys: RwLock<HashSet<String>>,
}

/// The newest schema that this program knows, and the oldest program that the newest schema bears.
const MIGRATIONS: &[(i64, &str, &str)] =
    &[(1, "ledger", include_str!("../../../migrations/postgres/0001_ledger.sql"))];

impl PostgresStore {
    /// Makes a pool for `url`; connects on first use.
    ///
    /// # Errors
    /// The URL cannot be read. It is not echoed: it may hold a password.
    pub fn new(
        url: &str,
        connections: u32,
        sealer: Sealer,
        emitter: Emitter,
        timings: Timings,
    ) -> Result<Self> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::Schema("[store] url is no PostgreSQL URL".to_owned()))?
            .application_name("outreachd")
            .options([("lock_timeout", "5s"), ("statement_timeout", "60s"), ("TimeZone", "UTC")]);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(5))
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Ok(Self { pool, sealer, emitter, timings, sources: RwLock::default(), gate_keys: RwLock::default() })
    }

    /// Inserts events whose messages' `seq` was raised to the given number.
    async fn insert_events(tx: &mut Tx<'_>, events: &[(Option<MessageId>, i32, NewEvent)]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let shards: Vec<i16> = events.iter().map(|(id, _, _)| id.map_or(0, shard)).collect();
        let ids: Vec<Option<uuid::Uuid>> = events.iter().map(|(id, _, _)| id.map(|i| i.0)).collect();
        let seqs: Vec<i32> = events.iter().map(|(_, seq, _)| *seq).collect();
        let keys: Vec<&str> = events.iter().map(|(_, _, e)| e.routing_key.as_str()).collect();
        let bodies: Vec<&str> = events.iter().map(|(_, _, e)| e.body.as_str()).collect();
        sqlx::query(
            "INSERT INTO events (shard, message_id, seq, routing_key, body)
             SELECT * FROM unnest($1::smallint[], $2::uuid[], $3::integer[], $4::text[], $5::text[])",
        )
        .bind(shards)
        .bind(ids)
        .bind(seqs)
        .bind(keys)
        .bind(bodies)
        .execute(&mut **tx)
        .await
        .map_err(fault)?;
        Ok(())
    }

    async fn now(tx: &mut Tx<'_>) -> Result<Timestamp> {
        let row = sqlx::query("SELECT now()").fetch_one(&mut **tx).await.map_err(fault)?;
        time(&row, 0)
    }
}

/// Reads a time column.
fn time(row: &sqlx::postgres::PgRow, column: usize) -> Result<Timestamp> {
    Ok(row.try_get::<jiff_sqlx::Timestamp, _>(column).map_err(fault)?.to_jiff())
}

/// Reads a time column that may be NULL.
fn maybe_time(row: &sqlx::postgres::PgRow, column: usize) -> Result<Option<Timestamp>> {
    Ok(row.try_get::<Option<jiff_sqlx::Timestamp>, _>(column).map_err(fault)?.map(|t| t.to_jiff()))
}

/// Classes a database error by what the caller can do about it. The message of the database may quote a row,
/// so only the SQLSTATE is kept.
fn fault(error: sqlx::Error) -> StoreError {
    let sqlx::Error::Database(db) = &error else {
        return match error {
            sqlx::Error::ColumnDecode { index, .. } => StoreError::Internal(format!("column {index}")),
            sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Encode(_) => {
                StoreError::Internal("a row does not fit".to_owned())
            }
            sqlx::Error::PoolTimedOut => StoreError::Unavailable("no connection in time".to_owned()),
            sqlx::Error::Io(io) => StoreError::Unavailable(io.kind().to_string()),
            _ => StoreError::Unavailable("connection".to_owned()),
        };
    };
    let code = db.code().unwrap_or_default().into_owned();
    match code.as_str() {
        "40001" | "40P01" | "55P03" => StoreError::Contention,
        "42P01" | "42883" => {
            StoreError::Schema("the schema is missing or old: run `outreachd migrate`".to_owned())
        }
        c if c.starts_with("22") || c.starts_with("23") || c == "54000" => StoreError::Data(code),
        c if c.starts_with("42") || c.starts_with("0A") => StoreError::Internal(format!("SQLSTATE {code}")),
        // 08 connection, 25006 read-only, 28 authorisation, 3D no such database, 53 resources, 57 operator, 58 system
        _ => StoreError::Unavailable(format!("SQLSTATE {code}")),
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn migrate(&self) -> Result<()> {
        self.run_migrations().await
    }
    async fn ping(&self) -> Result<Timestamp> {
        self.check_schema().await
    }
    async fn admit(&self, batch: &AdmitBatch) -> Result<AdmitReport> {
        self.admit_batch(batch).await
    }
    async fn cancel(&self, cancels: &[Cancel]) -> Result<Vec<CancelOutcome>> {
        self.cancel_batch(cancels).await
    }
    async fn upsert_patients(&self, patients: Vec<Patient>) -> Result<Vec<UpsertOutcome>> {
        self.upsert_batch(patients).await
    }
    async fn merge_patients(&self, id: &PatientId, into: &PatientId) -> Result<bool> {
        self.merge(id, into).await
    }
    async fn record_address_consents(&self, consents: &[AddressConsent]) -> Result<()> {
        self.record_consents(consents).await
    }
    async fn claim(&self, ask: &Claim) -> Result<Claimed> {
        self.claim_due(ask).await
    }
    async fn directory(&self, subjects: &[Subject]) -> Result<Directory> {
        self.read_directory(subjects).await
    }
    async fn decide(&self, decisions: &[Decided]) -> Result<()> {
        self.decide_batch(decisions).await
    }
    async fn begin(&self, worker: WorkerId, batch: &[Begin]) -> Result<Begun> {
        self.begin_batch(worker, batch).await
    }
    async fn settle(&self, batch: &[Settlement]) -> Result<()> {
        self.settle_batch(batch).await
    }
    async fn release(&self, leases: &[Release]) -> Result<()> {
        self.release_batch(leases).await
    }
    async fn reserve(&self, ask: &Reserve) -> Result<Reserved> {
        self.reserve_slots(ask).await
    }
    async fn spend(&self, entries: &[Spend]) -> Result<Vec<bool>> {
        self.spend_budgets(entries).await
    }
    async fn heartbeat(&self, worker: WorkerId, name: &str, state: &str) -> Result<Timestamp> {
        self.beat(worker, name, state).await
    }
    async fn take_over(&self, limit: u32) -> Result<TakenOver> {
        self.take_over_leases(limit).await
    }
    async fn outbox(&self, worker: WorkerId, done: &[i64], room: u32) -> Result<Vec<OutboxEvent>> {
        self.next_events(worker, done, room).await
    }
    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<MessageRow>> {
        self.list_messages(filter).await
    }
    async fn message(&self, id: MessageId) -> Result<Option<MessageRow>> {
        self.one_message(id).await
    }
    async fn attempts(&self, id: MessageId) -> Result<Vec<AttemptRow>> {
        self.list_attempts(id).await
    }
    async fn events(&self, id: MessageId) -> Result<Vec<EventRow>> {
        self.list_events(id).await
    }
    async fn patient(&self, id: &PatientId) -> Result<Option<Patient>> {
        self.one_patient(id).await
    }
    async fn erase_patient(&self, id: &PatientId) -> Result<bool> {
        self.erase(id).await
    }
    async fn parked(&self, filter: &ParkedFilter) -> Result<Vec<ParkedRow>> {
        self.list_parked(filter).await
    }
    async fn mark_replayed(&self, ids: &[ParkedId]) -> Result<()> {
        self.mark_parked_replayed(ids).await
    }
    async fn place_hold(&self, hold: &Hold) -> Result<()> {
        self.insert_hold(hold).await
    }
    async fn release_hold(&self, id: HoldId, by: &str) -> Result<bool> {
        self.end_hold(id, by).await
    }
    async fn holds(&self) -> Result<Vec<Hold>> {
        self.active_holds().await
    }
    async fn workers(&self) -> Result<Vec<WorkerRow>> {
        self.list_workers().await
    }
    async fn counts(&self) -> Result<Counts> {
        self.count().await
    }
}

impl PostgresStore {
    async fn run_migrations(&self) -> Result<()> {
        let migrator = super::migrator(MIGRATIONS);
        migrator.run(&self.pool).await.map_err(super::migration_fault)
    }

    async fn check_schema(&self) -> Result<Timestamp> {
        let row = sqlx::query("SELECT now(), min_compatible FROM schema_info")
            .fetch_one(&self.pool)
            .await
            .map_err(fault)?;
        let needs: i64 = row.try_get(1).map_err(fault)?;
        super::check_compatible(needs, MIGRATIONS)?;
        time(&row, 0)
    }
}

/// `ToSqlx` for optional times, which arrays need.
fn maybe(at: Option<Timestamp>) -> Option<jiff_sqlx::Timestamp> {
    at.map(ToSqlx::to_sqlx)
}

/// A span as microseconds, which statements multiply by an interval.
fn micros(span: jiff::SignedDuration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
