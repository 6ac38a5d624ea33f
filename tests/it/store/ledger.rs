//! A ledger of its own for each contract test, and short ways to say what happens in it.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::{SignedDuration, Timestamp};
use outreachd::domain::ids::{AttemptId, MessageId, WorkerId};
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason};
use outreachd::store::Store;
use outreachd::store::emit::Emitter;
use outreachd::store::postgres::{PostgresEngine, PostgresStore};
use outreachd::store::rows::{
    Admission, AdmitBatch, AdmitOutcome, AdmitReport, Begin, Claim, Claimed, Decided, LeasedMessage,
    MessageFacts, MessageRow, Reject, Settlement, Subject, Then, Timings, Work,
};
use outreachd::store::rules::LedgerRules;
use outreachd::store::sealer::{Form, Sealer};
use outreachd::store::sqlite::SqliteEngine;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::make::{begin_of, settlement};
use super::mutants::Mutated;
use crate::support::shared::{TestDatabase, connections};

/// A migrated ledger. It can be asked everything that a [`Store`] can be asked.
pub(super) struct Ledger {
    pub(super) store: Arc<dyn Store>,
    base: Base,
    /// The way past the store to PostgreSQL, once it was asked for: to come in costs more than most statements do.
    session: Mutex<Option<PgConnection>>,
}

enum Base {
    Postgres(TestDatabase),
    Sqlite(Box<File>),
}

/// A database file, and by how much its clock is ahead.
struct File {
    dir: TempDir,
    ahead_us: Arc<AtomicI64>,
}

impl Deref for Ledger {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        self.store.as_ref()
    }
}

/// An empty ledger in PostgreSQL.
pub(super) async fn postgres() -> Ledger {
    Ledger::over(Base::Postgres(TestDatabase::migrated().await))
}

/// An empty ledger in SQLite.
pub(super) async fn sqlite() -> Ledger {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ledger = Ledger::over(Base::Sqlite(Box::new(File { dir, ahead_us: Arc::default() })));
    ledger.migrate().await.expect("the schema is made");
    ledger
}

fn sealer() -> Sealer {
    Sealer::new(b"index key of the contract tests")
}

impl Ledger {
    fn over(base: Base) -> Self {
        let store = base.store(Emitter::default(), Timings::default());
        Self { store, base, session: Mutex::default() }
    }

    /// A second program on the same ledger.
    pub(super) fn another(&self) -> Arc<dyn Store> {
        self.base.store(Emitter::default(), Timings::default())
    }

    /// The same ledger seen by a program that tells these statuses too.
    pub(super) fn telling(&self, statuses: &[MessageStatus]) -> Arc<dyn Store> {
        self.base.store(Emitter { statuses: statuses.to_vec() }, Timings::default())
    }

    /// The same ledger with other clocks.
    pub(super) fn timed(&self, timings: Timings) -> Arc<dyn Store> {
        self.base.store(Emitter::default(), timings)
    }

    /// The same ledger under other rules.
    pub(super) fn ruled(&self, rules: LedgerRules) -> Arc<dyn Store> {
        self.base.ruled(Emitter::default(), Timings::default(), rules)
    }

    /// The same ledger as a program sees it that seals under the first of these keys, and opens by all of them.
    pub(super) fn sealing(&self, keys: &[[u8; 32]]) -> Arc<dyn Store> {
        let sealer = sealer().with_keys(keys, true);
        self.base.sealed(sealer, Emitter::default(), Timings::default(), LedgerRules::default())
    }

    /// The same ledger as a program sees it whose `[security] key` is this one, with sealing keys of its own or without.
    pub(super) fn under(&self, key: &[u8; 32], seal_keys: &[[u8; 32]]) -> Arc<dyn Store> {
        let sealer = Sealer::new(key).with_keys(seal_keys, !seal_keys.is_empty());
        self.base.sealed(sealer, Emitter::default(), Timings::default(), LedgerRules::default())
    }

    /// How the program at hand writes new values.
    pub(super) fn sealing_form(&self) -> Form {
        self.store.sealing().0
    }

    /// Everything that whoever takes the database away has in hand: a dump, or the file with its log.
    pub(super) async fn dump(&self) -> Vec<(String, Vec<u8>)> {
        match &self.base {
            Base::Postgres(database) => {
                let url = database.url();
                let dump = move || std::process::Command::new("pg_dump").arg(url).output().expect("pg_dump");
                let dump = tokio::task::spawn_blocking(dump).await.expect("a dump");
                assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
                vec![("pg_dump".to_owned(), dump.stdout)]
            }
            Base::Sqlite(file) => ["ledger.db", "ledger.db-wal"]
                .iter()
                .map(|name| ((*name).to_owned(), std::fs::read(file.dir.path().join(name)).expect("a file")))
                .collect(),
        }
    }

    /// How many entries of its indexes PostgreSQL has read for rows of this table; `None` where nobody counts them.
    pub(super) async fn entries_read(&self, table: &str) -> Option<i64> {
        let Base::Postgres(database) = &self.base else { return None };
        // A session tells what it has done a second later, at its next statement or at its end.
        if let Some(session) = self.session.lock().await.take() {
            session.close().await.expect("a clean close");
        }
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        self.now().await;
        let mut connection = PgConnection::connect(&database.url()).await.expect("a connection");
        let sql =
            "SELECT COALESCE(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes WHERE relname = $1";
        let row = sqlx::query(sql).bind(table).fetch_one(&mut connection).await.expect("a count");
        Some(row.get(0))
    }

    /// A session that has locked this message until it is closed; `None` where there is one writer at a time.
    pub(super) async fn locking(&self, id: MessageId) -> Option<PgConnection> {
        self.holding(&format!("SELECT 1 FROM messages WHERE id = '{}' FOR UPDATE", id.0)).await
    }

    /// The same of a patient.
    pub(super) async fn locking_patient(&self, id: &str) -> Option<PgConnection> {
        self.holding(&format!("SELECT 1 FROM patient_state WHERE subject = '{id}' FOR UPDATE")).await
    }

    async fn holding(&self, lock: &str) -> Option<PgConnection> {
        let Base::Postgres(database) = &self.base else { return None };
        let mut session = PgConnection::connect(&database.url()).await.expect("a connection");
        session.execute("BEGIN").await.expect("a transaction");
        session.execute(AssertSqlSafe(lock)).await.expect("a lock");
        Some(session)
    }

    /// Table and name of each column that holds text or bytes, where ids are told from texts.
    pub(super) async fn text_columns(&self) -> Option<Vec<(String, String)>> {
        match &self.base {
            Base::Postgres(database) => {
                let mut connection = PgConnection::connect(&database.url()).await.expect("a connection");
                let sql = "SELECT table_name::text, column_name::text FROM information_schema.columns
                    WHERE table_schema = 'public' AND left(table_name, 1) <> '_' AND data_type IN ('text', 'bytea')";
                let rows = connection.fetch_all(sql).await.expect("columns");
                connection.close().await.expect("a clean close");
                Some(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
            }
            Base::Sqlite(_) => None,
        }
    }

    /// The columns that an index of the table speaks of, in its keys or its condition; only PostgreSQL tells.
    pub(super) async fn indexed_columns(&self, table: &str) -> Option<BTreeSet<String>> {
        let Base::Postgres(database) = &self.base else { return None };
        let mut connection = PgConnection::connect(&database.url()).await.expect("a connection");
        let sql = "SELECT a.attname::text FROM pg_depend d JOIN pg_index i ON i.indexrelid = d.objid
            JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            WHERE d.classid = 'pg_class'::regclass AND d.refobjid = $1::regclass";
        let rows = connection.fetch_all(sqlx::query(sql).bind(table)).await.expect("columns");
        connection.close().await.expect("a clean close");
        Some(rows.iter().map(|row| row.get(0)).collect())
    }

    /// So much time passes for everything that is on record.
    pub(super) async fn pass(&self, time: SignedDuration) {
        match &self.base {
            Base::Postgres(_) => {
                let by = format!("interval '{} microseconds'", time.as_micros());
                let back = |column: &str| format!("{column} = {column} - {by}");
                // All in one go: each connection is one more to be made.
                let mut all = Vec::new();
                for (table, columns) in [
                    ("messages", &["accepted_at", "due_at", "changed_at", "ack_by", "receipt_by"] as &[&str]),
                    ("leases", &["until"]),
                    ("awaited", &["until"]),
                    ("attempts", &["begun_at", "settled_at", "looked_at"]),
                    ("contact_faults", &["at"]),
                    ("emergencies", &["accepted_at"]),
                    ("receipts", &["received_at"]),
                    ("replies", &["received_at", "answer_due", "answered_at"]),
                    ("questions", &["asked_at", "until"]),
                    ("workers", &["seen_at"]),
                    ("tombstones", &["until"]),
                    ("outbox_shards", &["until"]),
                    ("callbacks", &["since", "due_at"]),
                    ("callback_sources", &["until", "rests_until"]),
                    ("holds", &["until", "released_at"]),
                    ("work_items", &["due_at"]),
                    ("sessions", &["opened_at", "seen_at"]),
                    ("events", &["created_at"]),
                    ("parked", &["parked_at"]),
                    ("campaigns", &["changed_at"]),
                    ("retention", &["until"]),
                    ("retention_later", &["look_at"]),
                    ("rate_gate", &["tat"]),
                ] {
                    let set = columns.iter().map(|c| back(c)).collect::<Vec<_>>().join(", ");
                    all.push(format!("UPDATE {table} SET {set}"));
                }
                let (days, seconds) = (time.as_hours() / 24, time.as_secs());
                all.push(format!("UPDATE rate_gate SET day = day - {days}, second = second - {seconds}"));
                self.execute(&all.join("; ")).await.expect("time passes");
            }
            Base::Sqlite(file) => {
                let by = i64::try_from(time.as_micros()).expect("not so long");
                file.ahead_us.fetch_add(by, Ordering::SeqCst);
            }
        }
    }

    /// Takes the whole schema away.
    pub(super) async fn empty(&self) {
        match &self.base {
            Base::Postgres(_) => {
                self.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
                    .await
                    .expect("an empty database");
            }
            Base::Sqlite(file) => {
                let mut connection = file.connect().await.expect("the file opens");
                let tables =
                    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
                let rows = connection.fetch_all(tables).await.expect("a schema");
                for row in rows {
                    let drop = format!("DROP TABLE {}", row.get::<String, _>(0));
                    connection.execute(AssertSqlSafe(drop)).await.expect("an empty database");
                }
                connection.close().await.expect("a clean close");
            }
        }
    }

    /// Has each statement noted from now on that changes the schema under a limit of time. False: the database knows none, or
    /// lets only its owner look.
    pub(super) async fn note_limited_statements(&self) -> bool {
        let sql = "CREATE SCHEMA seen; CREATE TABLE seen.limited (value text);
            CREATE FUNCTION seen.note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO seen.limited SELECT value FROM current_setting('statement_timeout') AS value
                WHERE value <> '0'; END $$;
            CREATE EVENT TRIGGER note_limited ON ddl_command_end EXECUTE FUNCTION seen.note()";
        matches!(&self.base, Base::Postgres(_)) && self.execute(sql).await.is_ok()
    }

    /// How many were noted.
    pub(super) async fn limited_statements(&self) -> u64 {
        self.execute("SELECT FROM seen.limited").await.expect("notes")
    }

    /// Past the store, straight into the database: how many rows it touched.
    pub(super) async fn execute(&self, sql: &str) -> Result<u64, sqlx::Error> {
        match &self.base {
            Base::Postgres(database) => {
                let mut session = self.session.lock().await;
                if session.is_none() {
                    *session = Some(PgConnection::connect(&database.url()).await?);
                }
                let session = session.as_mut().expect("it has come in");
                Ok(session.execute(AssertSqlSafe(sql)).await?.rows_affected())
            }
            Base::Sqlite(file) => {
                let mut connection = file.connect().await?;
                let done = connection.execute(AssertSqlSafe(sql)).await?;
                connection.close().await?;
                Ok(done.rows_affected())
            }
        }
    }

    /// The same as a newer program may do it, whose holds have other words.
    pub(super) async fn execute_newer(&self, sql: &str) {
        let first = match &self.base {
            Base::Postgres(_) => {
                "ALTER TABLE holds DROP CONSTRAINT IF EXISTS holds_scope_check, DROP CONSTRAINT IF EXISTS holds_cause_check"
            }
            Base::Sqlite(_) => "PRAGMA ignore_check_constraints = 1",
        };
        self.execute(&format!("{first}; {sql}")).await.expect("other words");
    }

    /// Takes away what keeps the audit log from being changed, as somebody who owns the database could.
    pub(super) async fn unguard_audit(&self) {
        let sql = match &self.base {
            Base::Postgres(_) => "ALTER TABLE audit DISABLE TRIGGER USER",
            Base::Sqlite(_) => "DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete",
        };
        self.execute(sql).await.expect("no guard");
    }

    pub(super) async fn now(&self) -> Timestamp {
        self.ping().await.expect("a clock")
    }

    pub(super) async fn admit_all(&self, admissions: Vec<Admission>, room: usize) -> AdmitReport {
        self.admit(&batch(admissions, room)).await.expect("admitted")
    }

    /// Admits one job that nobody takes in hand.
    pub(super) async fn accept(&self, admission: Admission) -> MessageId {
        let report = self.admit_all(vec![admission], 0).await;
        match report.outcomes[0] {
            AdmitOutcome::Accepted(id) => id,
            ref other => panic!("not accepted: {other:?}"),
        }
    }

    /// Admits one job and takes it in hand.
    pub(super) async fn lease(&self, admission: Admission) -> InHand {
        let facts = Arc::new(admission.facts.clone());
        let mut report = self.admit_all(vec![admission], 1).await;
        let leased = report.leased.pop().expect("leased");
        let facts = if leased.is_change {
            Arc::new(MessageFacts { is_change: true, ..(*facts).clone() })
        } else {
            facts
        };
        InHand { facts, work: leased.work }
    }

    /// Admits one job and sends it as far as its first attempt.
    pub(super) async fn begun(&self, admission: Admission) -> (InHand, AttemptId) {
        let hand = self.lease(admission).await;
        let row = self.plan(&hand).await;
        let attempt = row.attempt;
        assert!(self.try_begin(row).await, "begins");
        (hand, attempt)
    }

    /// Admits one job and sends it.
    pub(super) async fn sent(&self, admission: Admission) -> MessageId {
        let (hand, attempt) = self.begun(admission).await;
        self.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
        hand.facts.id
    }

    /// What a planner would ask `begin` for, on the directory as it is now.
    pub(super) async fn plan(&self, hand: &InHand) -> Begin {
        let directory = self.directory(&[subject(hand)]).await.expect("a directory");
        let valid_until = directory.now + SignedDuration::from_hours(1);
        begin_of(hand, directory.entries[0].state.clone(), valid_until)
    }

    pub(super) async fn try_begin(&self, row: Begin) -> bool {
        let attempt = row.attempt;
        let begun = self.begin(worker(), &[row]).await.expect("an answer");
        begun.attempts.contains(&attempt)
    }

    pub(super) async fn settle_one(
        &self,
        hand: &InHand,
        attempt: AttemptId,
        status: AttemptStatus,
        then: Then,
    ) {
        let row = self.settlement(hand, attempt, status, then).await;
        self.settle(&[row]).await.expect("settled");
    }

    pub(super) async fn settlement(
        &self,
        hand: &InHand,
        attempt: AttemptId,
        status: AttemptStatus,
        then: Then,
    ) -> Settlement {
        settlement(hand, attempt, status, then, self.now().await)
    }

    pub(super) async fn row(&self, id: MessageId) -> MessageRow {
        self.message(id).await.expect("an answer").expect("a message")
    }

    pub(super) async fn standing(&self, id: MessageId) -> (MessageStatus, Option<Reason>) {
        let row = self.row(id).await;
        (row.status, row.reason)
    }

    /// The routing keys of a message's events; their numbers have no gap and end at the message's own.
    pub(super) async fn told(&self, id: MessageId) -> Vec<String> {
        let events = self.events(id).await.expect("events");
        let numbers: Vec<u32> = events.iter().map(|e| e.seq).collect();
        let expected: Vec<u32> = (1..=self.row(id).await.seq).collect();
        assert_eq!(numbers, expected, "event numbers have a gap");
        events.into_iter().map(|e| e.routing_key).collect()
    }

    /// Claims up to `room` normal messages that were never planned.
    pub(super) async fn claim_new(&self, room: u32) -> Vec<LeasedMessage> {
        self.claim_as(None, Priority::Normal, room).await.messages
    }

    pub(super) async fn claim_as(&self, channel: Option<Channel>, priority: Priority, room: u32) -> Claimed {
        self.claim(&Claim { worker: worker(), channel, priority, room }).await.expect("claimed")
    }

    pub(super) async fn decide_one(&self, decision: Decided) {
        self.decide(&[decision]).await.expect("decided");
    }

    /// Says that this worker lives.
    pub(super) async fn beat(&self, worker: WorkerId) {
        self.heartbeat(worker, "worker", "{}").await.expect("a heartbeat");
    }
}

impl Base {
    fn store(&self, emitter: Emitter, timings: Timings) -> Arc<dyn Store> {
        self.ruled(emitter, timings, LedgerRules::default())
    }

    fn ruled(&self, emitter: Emitter, timings: Timings, rules: LedgerRules) -> Arc<dyn Store> {
        self.sealed(sealer(), emitter, timings, rules)
    }

    fn sealed(
        &self,
        sealer: Sealer,
        emitter: Emitter,
        timings: Timings,
        rules: LedgerRules,
    ) -> Arc<dyn Store> {
        match self {
            Self::Postgres(database) => {
                let engine = PostgresEngine::open(&database.url(), connections(8));
                let engine = engine.expect("a PostgreSQL URL");
                Arc::new(PostgresStore::over(engine, sealer, emitter, timings).with_rules(rules))
            }
            Self::Sqlite(file) => {
                let path = file.path();
                let ahead_us = Arc::clone(&file.ahead_us);
                let clock = move || {
                    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
                    let now = i64::try_from(since.as_micros()).expect("before 2200");
                    Timestamp::from_microsecond(now + ahead_us.load(Ordering::SeqCst)).expect("a time")
                };
                let engine = SqliteEngine::open(&path, Arc::new(clock)).expect("a file");
                Arc::new(
                    outreachd::store::ledger::Ledger::over(Mutated(engine), sealer, emitter, timings)
                        .with_rules(rules),
                )
            }
        }
    }
}

impl File {
    fn path(&self) -> String {
        format!("sqlite://{}", self.dir.path().join("ledger.db").display())
    }

    async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        let path = self.dir.path().join("ledger.db");
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(10));
        SqliteConnection::connect_with(&options).await
    }
}

/// A message in the hands of a worker.
#[derive(Clone, Debug)]
pub(super) struct InHand {
    pub(super) facts: Arc<MessageFacts>,
    pub(super) work: Work,
}

impl From<LeasedMessage> for InHand {
    fn from(message: LeasedMessage) -> Self {
        Self { facts: Arc::new(message.facts), work: message.work }
    }
}

pub(super) fn subject(hand: &InHand) -> Subject {
    Subject {
        message: hand.facts.id,
        patient: hand.facts.patient_id.clone(),
        inline_addresses: Vec::new(),
        step: hand.work.step,
        tried: hand.work.step > 0 || hand.work.tries > 0,
        yields: false,
    }
}

pub(super) fn batch(admissions: Vec<Admission>, room: usize) -> AdmitBatch {
    AdmitBatch { worker: worker(), admissions, rejects: Vec::new(), room }
}

pub(super) fn rejects(rejects: Vec<Reject>) -> AdmitBatch {
    AdmitBatch { worker: worker(), admissions: Vec::new(), rejects, room: 0 }
}

/// The one worker of this process.
pub(super) fn worker() -> WorkerId {
    static WORKER: std::sync::OnceLock<WorkerId> = std::sync::OnceLock::new();
    *WORKER.get_or_init(WorkerId::generate)
}
