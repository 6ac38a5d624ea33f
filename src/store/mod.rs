//! The ledger: one trait, two databases, one contract.
//!
//! A method is one transaction, batch first. Every method that answers a question of time answers with the
//! database's clock, which is the only clock that decisions see. Statuses move and their events are written in
//! the same transaction; a status never falls in rank: the database checks that by the domain's rule.

pub mod alerts;
pub mod audit;
pub mod callbacks;
pub mod campaigns;
pub mod columns;
pub mod emit;
pub mod engine;
mod fault;
pub mod holds;
pub mod keeping;
pub mod ledger;
pub mod look_ups;
pub mod mail_answers;
pub mod people;
pub mod postgres;
pub mod pulse;
pub mod recover;
pub mod replies;
pub mod rows;
pub mod rules;
pub mod sealed;
pub mod sealer;
pub mod sqlite;
mod words;
pub mod work;

pub use fault::way_back;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::ids::{
    AnswerName, AttemptId, HoldId, MessageId, ParkedId, PatientId, ReplyId, UserName, WorkItemId, WorkerId,
};
use crate::domain::job::Cancel;
use crate::domain::page::PageHash;
use crate::domain::patient::Patient;
use crate::domain::problem::Problem;
use crate::domain::receipt::Receipt;
use crate::domain::sign_off::{SignOffs, Word};
use crate::domain::words::Reason;
use audit::{AuditEntry, AuditFilter, AuditRow};
use people::{Recognised, Session, SessionHash, SessionLimits, User, UserChange, Vouched};
use pulse::{OldestDue, PulseRow, StreamEvent};
use rows::{
    AddressConsent, AdmitBatch, AdmitReport, AttemptRow, Begin, Begun, CallbackAsk, CallbackFilter,
    CallbackRound, CallbackRow, CallbacksClaimed, CancelOutcome, Claim, Claimed, Company, Count, Counts,
    Decided, Directory, EventRow, Heard, Hold, HoldRow, HoldThen, LookUpAsk, LostAttempt, MailAnswer,
    MailAnswerEnd, MessageFilter, MessageRow, MessagesPage, NewCopy, OutboxEvent, PageRow, PageWish,
    ParkedFilter, ParkedRow, QuestionAsk, Received, Release, ReplyAsk, ReplyOutcome, ReplyText, Reserve,
    Reserved, Seats, Settlement, Spend, Subject, TakenOver, UpsertOutcome, WishOutcome, WorkFilter, WorkItem,
    WorkMove, WorkMoved, WorkSwept, WorkerRow,
};

/// The ledger could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is starting, shutting down, read-only or full: the same call may work later.
    #[error("the ledger is unavailable ({0})")]
    Unavailable(String),
    /// The database will not take one of the rows: split the batch and park the one.
    #[error("the ledger refuses a row ({0})")]
    Data(String),
    /// Two transactions met; the call is safe to repeat at once.
    #[error("transactions met; try again")]
    Contention,
    /// The schema is older or newer than this program understands.
    #[error("{0}")]
    Schema(String),
    /// The ledger, or a value in it, lies under a key that this program does not have.
    #[error("{0}")]
    Key(OtherKey),
    /// A fault of ours: a statement or a stored row that does not fit.
    #[error("a fault in the ledger's code ({0})")]
    Internal(String),
}

/// What lies under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherKey {
    #[error(
        "the ledger was begun under another [security] key: opt-outs by address cannot be found under this one"
    )]
    Ledger,
    #[error("a value is sealed under key {0}, which neither [security] key nor seal_keys give")]
    Value(sealer::KeyId),
}

/// What [`StoreError::Data`] says of a record that is there and cannot be read: it is not written over.
pub const UNREADABLE: &str = "the patient's record cannot be read";

/// Short for what every method answers.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The ledger.
#[async_trait]
pub trait Store:
    campaigns::Campaigns + alerts::Alerts + recover::Recovery + keeping::Keeping + Send + Sync + std::fmt::Debug
{
    /// Brings the schema up to this program's version; safe to run from several processes at once.
    async fn migrate(&self) -> Result<()>;

    /// Has the ledger remember the key that its addresses are found by, where it knows none yet and this program has one of
    /// its own: [`Store::ping`] refuses every other from then on.
    async fn take_key(&self) -> Result<()>;

    /// What seals here, for what is to come in here and must be kept elsewhere until it can.
    fn sealer(&self) -> &sealer::Sealer;

    /// Refuses a schema that this program does not understand, and a ledger under another key; answers the database's clock.
    async fn ping(&self) -> Result<Timestamp>;

    // What comes in.

    /// Writes accepted jobs and parked rejects, supersedes what they replace, and leases what `worker` has room
    /// for. Counts what comes in: a source beyond its day's limit is refused, a surge is put under a hold. Answers
    /// one outcome per admission, in order.
    async fn admit(&self, batch: &AdmitBatch) -> Result<AdmitReport>;

    /// Takes jobs back; a cancel that comes before its job leaves a tombstone. One outcome per cancel.
    async fn cancel(&self, cancels: &[Cancel]) -> Result<Vec<CancelOutcome>>;

    /// Merges upserts into the directory and bumps the revision of each that changed.
    async fn upsert_patients(&self, patients: Vec<Patient>) -> Result<Vec<UpsertOutcome>>;

    /// Makes `id` an alias of `into`; the strictest of their wishes wins. False: one of them is unknown.
    async fn merge_patients(&self, id: &PatientId, into: &PatientId) -> Result<bool>;

    /// Records what was said at addresses; binds everybody behind them at once. What is on record in the same words, of
    /// the same time and by the same hand, changes nothing. Answers for each, in order, whether it was new.
    async fn record_address_consents(&self, consents: &[AddressConsent]) -> Result<Vec<bool>>;

    // The corridor.

    /// Leases due messages of one channel (`None`: never planned) and one priority, fair over sources.
    async fn claim(&self, ask: &Claim) -> Result<Claimed>;

    /// What decisions rest on, for a batch of messages; one entry each, in order.
    async fn directory(&self, subjects: &[Subject]) -> Result<Directory>;

    /// Writes copies of messages for those who are written to beside the patient: once for each of them however often it
    /// is asked, and only while the message is in the hand that asks and nothing of it was sent.
    async fn copy(&self, copies: &[NewCopy]) -> Result<()>;

    /// Takes in hand what waits and might be told together with messages that are about to be sent: of the same template,
    /// for the same patient or for somebody else behind the same address; `room` at most. Names what another hand has
    /// taken a moment ago, or at this moment.
    async fn company(&self, worker: WorkerId, seats: &[Seats], room: u32) -> Result<Company>;

    /// Writes what was decided other than to send. What has failed and is not bulk becomes a work item.
    async fn decide(&self, decisions: &[Decided]) -> Result<()>;

    /// Gives the answers that a message offers digits that no other message has at that number, until it has expired and
    /// for a while after; a message keeps those that it has. `None`: there are not so many left.
    async fn allot(&self, ask: &QuestionAsk) -> Result<Option<Vec<(AnswerName, u8)>>>;

    /// Writes the attempts of those messages whose decision still holds, and the decisions of all whom they carry; answers
    /// which.
    async fn begin(&self, worker: WorkerId, batch: &[Begin]) -> Result<Begun>;

    /// Writes what became of attempts, moves their messages on, and emits events. Keyed by attempt, never by
    /// lease: a late result always lands.
    async fn settle(&self, batch: &[Settlement]) -> Result<()>;

    /// Gives leases back untouched.
    async fn release(&self, leases: &[Release]) -> Result<()>;

    /// Takes back what may have been begun and was not sent, one attempt a message: both the lease and the attempt, or
    /// neither, as nobody looks for an attempt that is under way without a lease.
    async fn undo(&self, leases: &[Release], results: &[Settlement]) -> Result<()>;

    /// Reserves slots of the shared rate gate, never further ahead than the horizon.
    async fn reserve(&self, ask: &Reserve) -> Result<Reserved>;

    /// How many slots of these keys were handed out today (UTC), by key.
    async fn used_today(&self, keys: &[&str]) -> Result<std::collections::BTreeMap<String, u64>>;

    /// Spends from budgets; an entry that would cross a limit is refused whole. One answer per entry.
    async fn spend(&self, entries: &[Spend]) -> Result<Vec<bool>>;

    /// Takes back what the caps counted of a message that was not sent.
    async fn uncount(&self, count: &Count) -> Result<()>;

    // What comes back.

    /// Writes what providers say of attempts, and moves their messages on: in whatever order receipts come, and however
    /// often, an attempt keeps the furthest progress, and what follows happens once. One that finds no attempt is
    /// kept for a while.
    async fn receive(&self, batch: &[Receipt]) -> Result<Received>;

    /// Writes a reply, once, and all that follows from what it means, in one transaction: the opt-out and who stands
    /// behind it, contacts that are wrong, a language, work for people, and the events.
    async fn reply(&self, ask: &ReplyAsk) -> Result<ReplyOutcome>;

    /// Takes answers to mail in hand that are due, for a while.
    async fn take_mail_answers(&self, limit: u32) -> Result<Vec<MailAnswer>>;

    /// Writes down that an answer is sent now. False: it may not be, others have it, or as many have gone there lately
    /// as may; then nothing is ever sent for it.
    async fn begin_mail_answer(&self, id: ReplyId) -> Result<bool>;

    /// Writes down what became of an answer.
    async fn end_mail_answer(&self, id: ReplyId, end: MailAnswerEnd) -> Result<()>;

    /// Takes attempts in hand whose outcome nobody knows, to look them up at their providers: each for one worker, and
    /// not again before its time.
    async fn take_lost(&self, ask: &LookUpAsk) -> Result<Vec<LostAttempt>>;

    /// The provider was asked for these, and has none of them so far.
    async fn absent(&self, attempts: &[AttemptId]) -> Result<()>;

    /// Looks again at receipts that found no attempt, `limit` at most. Answers how many have found theirs.
    async fn match_receipts(&self, limit: u32) -> Result<u32>;

    /// Makes `sent` final, and tells it, where no receipt came in time. Looks at `limit` receipts at most; answers how many
    /// of these nobody awaits any more.
    async fn end_receipt_waits(&self, limit: u32) -> Result<u32>;

    /// Gives up contacts whose failures prove that they do not work: marks them in the directory, keeps the change, and
    /// tells it. `limit` failures at most; answers how many contacts.
    async fn judge_contacts(&self, limit: u32) -> Result<u32>;

    /// What these attempts have come to, in no order; those that are not on record are left out.
    async fn heard_of(&self, attempts: &[AttemptId]) -> Result<Vec<Heard>>;

    // Housekeeping.

    /// Says that this worker lives, and what state its lanes are in.
    async fn heartbeat(&self, worker: WorkerId, name: &str, state: &str) -> Result<Timestamp>;

    /// Takes over what dead workers and ended leases left: not begun is due again, begun is unknown.
    async fn take_over(&self, limit: u32) -> Result<TakenOver>;

    /// Marks `done` as published and reads on, in order, from the shards that `worker` holds or can take.
    async fn outbox(&self, worker: WorkerId, done: &[i64], room: u32) -> Result<Vec<OutboxEvent>>;

    /// Takes the next round of a source's callbacks in hand, for this worker alone. `None`: nothing is due, the receiver
    /// rests, or another worker has the round.
    async fn claim_callbacks(&self, ask: &CallbackAsk) -> Result<Option<CallbacksClaimed>>;

    /// Writes what became of a round, and ends it. What was taken is written whoever has the next round by now.
    async fn settle_callbacks(&self, round: &CallbackRound) -> Result<()>;

    /// Ends what other messages carried and has arrived with them, and frees what has not; `limit` messages at most.
    /// Answers how many.
    async fn settle_riders(&self, limit: u32) -> Result<u32>;

    /// Lets go what holds held that have ended, as each says, `limit` messages of each at most. Answers how many.
    async fn settle_holds(&self, limit: u32) -> Result<u32>;

    /// Opens work items for what people must look after by now, tells of new and of overdue ones, and closes those
    /// whose cause is gone; `limit` of each at most.
    async fn sweep_work(&self, limit: u32) -> Result<WorkSwept>;

    /// Forgets counts of jobs that no measure needs any more, `limit` at most. Answers how many.
    async fn prune_arrivals(&self, limit: u32) -> Result<u32>;

    // For people and callers.

    /// Messages by filter, newest first, with a cursor.
    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<MessageRow>>;

    /// The same, where no index helps among the newest `walk` of them only: in a large ledger a filter that finds little
    /// would walk for ever.
    async fn messages_among(&self, filter: &MessageFilter, walk: u32) -> Result<MessagesPage>;

    /// One message.
    async fn message(&self, id: MessageId) -> Result<Option<MessageRow>>;

    /// The attempts of one message, oldest first.
    async fn attempts(&self, id: MessageId) -> Result<Vec<AttemptRow>>;

    /// The events of one message, in order.
    async fn events(&self, id: MessageId) -> Result<Vec<EventRow>>;

    /// One patient; aliases are followed.
    async fn patient(&self, id: &PatientId) -> Result<Option<Patient>>;

    /// Takes back what waits for a patient, and erases their record and all texts and addresses; what they refused stays, as
    /// keyed hashes. False: nothing is known of them.
    async fn erase_patient(&self, id: &PatientId) -> Result<bool>;

    // For patients, who come by the link in a message.

    /// Whose page a link leads to, as they stand now; `None`: no message has such a link.
    async fn page(&self, link: &PageHash) -> Result<Option<PageRow>>;

    /// Grants what a patient asks for on their page: their record, its revision, the history of changes, the message's
    /// status and the events, in one transaction.
    async fn wish(&self, ask: &PageWish) -> Result<WishOutcome>;

    // For people, again.

    /// Gives up the route that a message waits to try again: it is decided upon anew, at once, without that route; or the
    /// answer to what was sent, for which its plan waits: the next way is taken at once. False: it waits for neither.
    async fn next_route(&self, id: MessageId) -> Result<bool>;

    /// Parked bodies that wait for repair, oldest first.
    async fn parked(&self, filter: &ParkedFilter) -> Result<Vec<ParkedRow>>;

    /// Marks parked bodies as replayed.
    async fn mark_replayed(&self, ids: &[ParkedId]) -> Result<()>;

    /// Callbacks that were not taken yet, oldest first.
    async fn callbacks(&self, filter: &CallbackFilter) -> Result<Vec<CallbackRow>>;

    /// Has dead callbacks tried again from the start, at once. Answers how many.
    async fn retry_callbacks(&self, filter: &CallbackFilter) -> Result<u64>;

    /// Puts a hold in place.
    async fn place_hold(&self, hold: &Hold) -> Result<()>;

    /// Ends a hold; what it held goes as `then` says, else as the hold itself says. A hold that has ended and whose
    /// messages wait for review needs `then`. False: there is no such hold.
    async fn release_hold(&self, id: HoldId, by: &str, then: Option<HoldThen>) -> Result<bool>;

    /// Holds in force, and those whose messages wait for review.
    async fn holds(&self) -> Result<Vec<HoldRow>>;

    /// Writes that somebody answers for the texts with this hash; of each locale of a template the last few words are kept.
    async fn sign_off(&self, word: &Word<'_>, hash: &str) -> Result<()>;

    /// Takes back whatever texts of the locale are signed off. False: none are.
    async fn take_back_sign_off(&self, word: &Word<'_>) -> Result<bool>;

    /// What people say of the texts of templates.
    async fn sign_offs(&self) -> Result<SignOffs>;

    /// Work items by filter, newest first.
    async fn work_items(&self, filter: &WorkFilter) -> Result<Vec<WorkItem>>;

    /// One work item.
    async fn work_item(&self, id: WorkItemId) -> Result<Option<WorkItem>>;

    /// What a patient wrote and from where, where a work item is about that.
    async fn reply_text(&self, item: WorkItemId) -> Result<Option<ReplyText>>;

    /// Claims, releases or closes a work item for `by`.
    async fn move_work(&self, id: WorkItemId, by: &str, to: WorkMove) -> Result<WorkMoved>;

    // Who signs in, and what they do.

    /// Makes an account. False: there is one of that name.
    async fn add_user(&self, user: &User) -> Result<bool>;

    /// Every account, by name.
    async fn users(&self) -> Result<Vec<User>>;

    /// One account.
    async fn user(&self, name: &UserName) -> Result<Option<User>>;

    /// Changes an account, and ends its sessions. False: there is none.
    async fn change_user(&self, name: &UserName, change: &UserChange) -> Result<bool>;

    /// Whose account it is that an identity provider vouches for: by its subject; or by name, where an account waits for
    /// that or is to be made.
    async fn recognise(&self, who: &Vouched) -> Result<Recognised>;

    /// Takes the code of a step. False: it, or one after it, was taken before.
    async fn use_code(&self, name: &UserName, step: i64) -> Result<bool>;

    /// Opens a session, and forgets those that have ended.
    async fn open_session(&self, token: &SessionHash, user: &UserName, limits: SessionLimits) -> Result<()>;

    /// Whose session it is, if it stands; that it was asked for keeps it open.
    async fn session(&self, token: &SessionHash, limits: SessionLimits) -> Result<Option<Session>>;

    /// Ends a session.
    async fn close_session(&self, token: &SessionHash) -> Result<()>;

    /// Ends every session of whom an identity provider knows so. False: none stood.
    async fn close_sessions_of(&self, issuer: &str, subject: &str) -> Result<bool>;

    /// Writes who did what at the end of the audit log.
    async fn record(&self, entry: &AuditEntry) -> Result<()>;

    /// The audit log, oldest first.
    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>>;

    /// Where the audit log ends: the number of its last entry, and its hash.
    async fn audit_end(&self) -> Result<(i64, String)>;

    // What happens now.

    /// Counts events into their minutes, `limit` at most. Answers how many. One worker at a time does it.
    async fn count_pulse(&self, limit: u32) -> Result<u32>;

    /// What happened in each span of `step` minutes of the last `minutes`.
    async fn pulse(&self, minutes: u32, step: u32) -> Result<Vec<PulseRow>>;

    /// The oldest due message that nobody has in hand, by channel and priority.
    async fn oldest_due(&self) -> Result<Vec<OldestDue>>;

    /// Events after `after`, and those of `gaps` that are there by now; oldest first, `limit` at most.
    async fn stream(&self, after: i64, gaps: &[i64], limit: u32) -> Result<Vec<StreamEvent>>;

    /// The number of the newest event.
    async fn stream_end(&self) -> Result<i64>;

    /// Every worker that was seen within a day.
    async fn workers(&self) -> Result<Vec<WorkerRow>>;

    /// Counts for health, metrics and summaries.
    async fn counts(&self) -> Result<Counts>;
}

/// Tries again after each of the pauses what another transaction was in the way of: two that meet are no failure.
///
/// # Errors
/// Any other, and that one where it comes to the end of the pauses.
pub async fn again_if_contended<T, F: Future<Output = Result<T>>>(
    pauses: impl IntoIterator<Item = Duration>,
    call: impl Fn() -> F,
) -> Result<T> {
    for pause in pauses {
        match call().await {
            Err(StoreError::Contention) => tokio::time::sleep(pause).await,
            other => return other,
        }
    }
    call().await
}

/// The same for whoever would rather wait a second or two than come back.
///
/// # Errors
/// As [`again_if_contended`].
pub async fn patiently<T, F: Future<Output = Result<T>>>(call: impl Fn() -> F) -> Result<T> {
    again_if_contended((0..10).map(|round| Duration::from_millis(5 << round.min(6))), call).await
}

/// A moment in which another transaction comes to its end, so often.
pub fn moments(count: u32) -> impl Iterator<Item = Duration> {
    (0..count).map(|_| Duration::from_millis(5).mul_f64(1.0 + rand::random::<f64>()))
}

/// The migrations of a database, out of its folder: both have the same.
macro_rules! migrations {
    ($db:literal) => {
        migrations! { $db:
            1 "0001" "ledger",
            3 "0003" "page",
            4 "0004" "work",
            5 "0005" "recipients",
            6 "0006" "receipts",
            7 "0007" "callbacks",
            8 "0008" "replies",
            9 "0009" "gate_use",
            10 "0010" "plans",
            11 "0011" "copies",
            12 "0012" "calls_back",
            13 "0013" "campaigns",
            15 "0015" "people",
            16 "0016" "pulse",
            17 "0017" "digests",
            18 "0018" "questions",
            19 "0019" "keeping",
            20 "0020" "recover",
            21 "0021" "alerts",
            23 "0023" "hardening",
            25 "0025" "way_back",
            26 "0026" "approved_texts",
            27 "0027" "outbox",
            28 "0028" "identity",
            29 "0029" "campaign_pages",
            30 "0030" "cheaper_rows",
            32 "0032" "history",
            34 "0034" "on_call",
            35 "0035" "came_back",
            36 "0036" "asked_by_all",
            37 "0037" "sign_offs",
            38 "0038" "pointers",
            39 "0039" "campaign_done",
            40 "0040" "work_state",
            41 "0041" "attempt_cost",
            42 "0042" "buried_at",
            43 "0043" "campaign_stops",
            44 "0044" "rows",
            45 "0045" "key_mark",
            46 "0046" "whole_rows",
        }
    };
    ($db:literal: $($number:literal $digits:literal $name:literal,)+) => {
        &[$((
            $number,
            $name,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $db, "/", $digits, "_", $name, ".sql")),
        )),+]
    };
}
use migrations;

/// Number, name and text of each migration, oldest first.
type Migrations = &'static [(i64, &'static str, &'static str)];

const fn newest(migrations: Migrations) -> i64 {
    match migrations.last() {
        Some(last) => last.0,
        None => 0,
    }
}

/// The migrations of one database as the migration runner wants them, with what comes `first` of some. A schema newer than
/// this program is let through here: whether it still bears us is asked of `schema_info`.
fn migrator(migrations: Migrations, first: &[(i64, &str)]) -> sqlx::migrate::Migrator {
    use sqlx::{AssertSqlSafe, SqlSafeStr};
    let list = migrations
        .iter()
        .map(|&(version, name, sql)| {
            let mut migration = sqlx::migrate::Migration::new(
                version,
                name.into(),
                sqlx::migrate::MigrationType::Simple,
                sql.into_sql_str(),
                false,
            );
            if let Some((_, first)) = first.iter().find(|(of, _)| *of == version) {
                migration.sql = AssertSqlSafe(format!("{first}\n{sql}")).into_sql_str();
            }
            migration
        })
        .collect();
    let mut migrator = sqlx::migrate::Migrator::with_migrations(list);
    migrator.set_ignore_missing(true);
    migrator
}

fn check_compatible(needs: i64, known: i64) -> Result<()> {
    if needs > known {
        return Err(StoreError::Schema(format!(
            "the schema needs a program that knows migration {needs}; this one knows {known}: upgrade outreachd"
        )));
    }
    Ok(())
}

/// Takes an amount from every budget of the entry, or from none.
fn spend_one(entry: &rows::Spend, used: &mut std::collections::BTreeMap<String, i64>) -> bool {
    let spent = |key: &str| used.get(key).copied().unwrap_or(0);
    let fits = entry.budgets.iter().all(|(key, limit)| spent(key).saturating_add(entry.amount) <= *limit);
    if fits || entry.amount < 0 {
        for (key, _) in &entry.budgets {
            let total = used.entry(key.clone()).or_default();
            *total = total.saturating_add(entry.amount).max(0);
        }
    }
    fits || entry.amount < 0
}

/// What is wrong with a job whose name was used for other content.
#[must_use]
pub fn conflict() -> Problem {
    Problem::new(
        "id",
        Reason::Conflict,
        "this source has used the id for a job with other content",
        "give the changed job an id of its own, and name the old one in `replaces`",
    )
}

/// What is wrong with a job whose source has sent as many as it may.
#[must_use]
pub fn over_limit() -> Problem {
    Problem::new(
        "source",
        Reason::OverBudget,
        "has sent as many jobs today as `per_day` allows",
        "send it after midnight in the organisation's zone, or raise `per_day` of the source",
    )
}
