//! The ledger over either database: what is decided, in which order and in which transaction stands here once; only
//! the words of some statements are a database's own.

mod admit;
mod alerts;
mod arrivals;
mod audit;
mod callbacks;
mod came_back;
mod campaign_audience;
mod campaign_report;
mod campaigns;
mod claim;
mod contacts;
mod copies;
mod corridor;
mod digest;
mod directory;
mod emergencies;
mod erasure;
mod gate;
mod history;
mod holds;
mod identity;
mod look_ups;
mod mail_answers;
mod operate;
mod page;
mod patients;
mod people;
mod pulse;
mod questions;
mod read;
mod receipts;
mod recover;
mod replies;
mod reseal;
mod retention;
mod sign_offs;
mod statuses;
mod take_back;
mod witness;
mod work;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::audit::{AuditEntry, AuditFilter, AuditRow};
use super::columns::Columns;
use super::emit::{Emitter, NewEvent, shard};
use super::engine::{Args, Engine, args, ids, ints, maybe_ids, maybe_texts, texts};
use super::keeping::{Erased, Expiry, Keeping, PatientRecord, PatientWord, Walk, Walked};
use super::people::{Recognised, Session, SessionHash, SessionLimits, User, UserChange, Vouched};
use super::pulse::{OldestDue, PulseRow, StreamEvent};
use super::rows::*;
use super::rules::LedgerRules;
use super::sealer::{Form, KeyId, Sealer};
use super::{OtherKey, Result, Store, StoreError};
use crate::domain::ids::{
    AnswerName, AttemptId, HoldId, MessageId, ParkedId, PatientId, ReplyId, UserName, WorkItemId, WorkerId,
};
use crate::domain::job::Cancel;
use crate::domain::page::PageHash;
use crate::domain::patient::Patient;
use crate::domain::receipt::Receipt;
use crate::domain::sign_off::{SignOffs, Word};

/// The ledger in one database.
#[derive(Debug)]
pub struct Ledger<E> {
    engine: E,
    sealer: Sealer,
    emitter: Emitter,
    timings: Timings,
    rules: LedgerRules,
    /// How many jobs of the present hour are too many, as far as it was asked.
    lines: RwLock<arrivals::Lines>,
    /// Sources that are known to stand in the table of sources.
    sources: RwLock<HashSet<String>>,
    /// Keys that are known to stand in the rate gate.
    gate_keys: RwLock<HashSet<String>>,
    rounds: Mutex<work::Rounds>,
}

/// An event whose message's `seq` was raised to this number; 0 where it belongs to none.
struct Numbered {
    message: Option<MessageId>,
    seq: u32,
    event: NewEvent,
}

impl<E: Engine> Ledger<E> {
    /// A ledger over a database.
    #[must_use]
    pub fn over(engine: E, sealer: Sealer, emitter: Emitter, timings: Timings) -> Self {
        Self {
            engine,
            sealer,
            emitter,
            timings,
            rules: LedgerRules::default(),
            lines: RwLock::default(),
            sources: RwLock::default(),
            gate_keys: RwLock::default(),
            rounds: Mutex::default(),
        }
    }

    /// The same ledger under these rules; without them it has no limits.
    #[must_use]
    pub fn with_rules(self, rules: LedgerRules) -> Self {
        Self { rules, ..self }
    }

    /// Whether this program and the ledger go together: by the schema, and by the key that addresses are found by.
    async fn look(&self) -> Result<Timestamp> {
        let sql = "SELECT now(), min_compatible, key_mark FROM schema_info";
        let rows = self.engine.read(sql, Args::none()).await?;
        let row = rows.first().ok_or_else(|| StoreError::Schema("the schema has no version".to_owned()))?;
        super::check_compatible(row.int(1)?, E::NEWEST)?;
        match row.maybe_text(2)? {
            Some(mark) if self.sealer.key_mark().as_deref() != Some(mark) => {
                Err(StoreError::Key(OtherKey::Ledger))
            }
            _ => row.time(0),
        }
    }

    async fn note_key(&self) -> Result<()> {
        let Some(mark) = self.sealer.key_mark() else { return Ok(()) };
        let sql = "UPDATE schema_info SET key_mark = $1 WHERE key_mark IS NULL";
        self.engine.write(sql, args![mark.as_str()]).await.map(drop)
    }

    /// The database's clock.
    async fn clock(&self) -> Result<Timestamp> {
        only_time(&self.engine.read("SELECT now()", Args::none()).await?)
    }

    /// The clock of a transaction.
    async fn now(tx: &mut E::Tx) -> Result<Timestamp> {
        only_time(&E::run(tx, "SELECT now()", Args::none()).await?)
    }

    /// The place of one more event among those of each of these messages, as often as it is named; 0 where there is no
    /// such message. Rows are locked in one order everywhere.
    async fn next_seqs(tx: &mut E::Tx, messages: &[MessageId]) -> Result<Vec<u32>> {
        let mut more: BTreeMap<Uuid, i64> = BTreeMap::new();
        messages.iter().for_each(|id| *more.entry(id.0).or_default() += 1);
        let more: Vec<(Uuid, i64)> = more.into_iter().collect();
        if more.len() > 1 {
            let lock = "SELECT id FROM messages WHERE id = ANY($1) ORDER BY id {for update}";
            E::run(tx, lock, args![more.iter().map(|(id, _)| *id).collect::<Vec<_>>()]).await?;
        }
        let raise = "UPDATE messages SET seq = seq + input.more FROM {input} WHERE messages.id = input.id RETURNING messages.id, messages.seq";
        let batch = vec![ids("id", &more, |(id, _)| *id), ints("more", &more, |(_, more)| *more)];
        let rows = E::run(tx, raise, Args::none().batch(batch)).await?;
        let mut last =
            rows.iter().map(|row| Ok((row.id(0)?, row.count(1)?))).collect::<Result<HashMap<Uuid, u32>>>()?;
        let place = |id: &MessageId| {
            last.get_mut(&id.0).map_or(0, |last| std::mem::replace(last, last.saturating_sub(1)))
        };
        let mut places: Vec<u32> = messages.iter().rev().map(place).collect();
        places.reverse();
        Ok(places)
    }

    /// The place of one more event among those of a message; 0 where there is no such message.
    async fn next_seq(tx: &mut E::Tx, message: MessageId) -> Result<u32> {
        Ok(Self::next_seqs(tx, &[message]).await?.into_iter().next().unwrap_or(0))
    }

    async fn insert_events(&self, tx: &mut E::Tx, events: &[Numbered]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let batch = vec![
            ints("shard", events, |e| e.message.map_or(0, |id| i64::from(shard(id)))),
            maybe_ids("message_id", events, |e| e.message.map(|id| id.0)),
            ints("seq", events, |e| i64::from(e.seq)),
            texts("routing_key", events, |e| &e.event.routing_key),
            texts("body", events, |e| &e.event.body),
            maybe_texts("callback", events, |e| self.callback(&e.event)),
        ];
        E::run(
            tx,
            "INSERT INTO events (shard, message_id, seq, routing_key, body, callback, created_at)
             SELECT shard, message_id, seq, routing_key, body, callback, now() FROM {input}",
            Args::none().batch(batch),
        )
        .await?;
        Ok(())
    }

    /// Those of the names, once each and in order, of which this process does not know that the table holds them.
    fn unknown<'n>(known: &RwLock<HashSet<String>>, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
        let known = known.read().unwrap_or_else(PoisonError::into_inner);
        let mut fresh: Vec<&str> = names.filter(|name| !known.contains(*name)).collect();
        fresh.sort_unstable();
        fresh.dedup();
        fresh
    }

    fn remember(known: &RwLock<HashSet<String>>, names: &[&str]) {
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(names.iter().map(|&name| name.to_owned()));
    }

    fn forget(known: &RwLock<HashSet<String>>) {
        known.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn only_time(rows: &[impl Columns]) -> Result<Timestamp> {
    rows.first().ok_or_else(|| StoreError::Internal("no clock".to_owned()))?.time(0)
}

/// The ids of a list, as one column of a batch.
fn subjects_column<'a>(subjects: &'a [&'a str]) -> crate::store::engine::Column<'a> {
    texts("subject", subjects, |s| s)
}

fn unfit(what: &str) -> StoreError {
    StoreError::Internal(format!("{what} does not serialise"))
}

#[async_trait]
impl<E: Engine> Keeping for Ledger<E> {
    fn sealing(&self) -> (Form, Vec<KeyId>) {
        (self.sealer.form(), self.sealer.key_ids())
    }
    async fn look_through(&self, ask: &Walk) -> Result<Walked> {
        self.walk(ask).await
    }
    async fn erase_old(&self, ask: &Expiry) -> Result<Erased> {
        self.expire(ask).await
    }
    async fn patient_word(&self, id: &PatientId) -> Result<PatientWord> {
        let patient = self.one_patient(id).await?;
        self.word_of(&self.names_of(std::slice::from_ref(id)).await?, patient.as_ref()).await
    }
    async fn patient_record(&self, id: &PatientId) -> Result<Option<PatientRecord>> {
        self.record_of(id).await
    }
}

#[async_trait]
impl<E: Engine> Store for Ledger<E> {
    async fn migrate(&self) -> Result<()> {
        self.engine.migrate().await
    }
    async fn take_key(&self) -> Result<()> {
        self.note_key().await
    }
    fn sealer(&self) -> &Sealer {
        &self.sealer
    }
    async fn ping(&self) -> Result<Timestamp> {
        self.look().await
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
    async fn record_address_consents(&self, consents: &[AddressConsent]) -> Result<Vec<bool>> {
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
    async fn company(&self, worker: WorkerId, seats: &[Seats], room: u32) -> Result<Company> {
        self.take_company(worker, seats, room).await
    }
    async fn copy(&self, copies: &[NewCopy]) -> Result<()> {
        self.write_copies(copies).await
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
    async fn undo(&self, leases: &[Release], results: &[Settlement]) -> Result<()> {
        self.undo_batch(leases, results).await
    }
    async fn reserve(&self, ask: &Reserve) -> Result<Reserved> {
        self.reserve_slots(ask).await
    }
    async fn used_today(&self, keys: &[&str]) -> Result<std::collections::BTreeMap<String, u64>> {
        self.used_of_day(keys).await
    }
    async fn spend(&self, entries: &[Spend]) -> Result<Vec<bool>> {
        self.spend_budgets(entries).await
    }
    async fn uncount(&self, count: &Count) -> Result<()> {
        self.take_back_count(count).await
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
    async fn claim_callbacks(&self, ask: &CallbackAsk) -> Result<Option<CallbacksClaimed>> {
        self.claim_round(ask).await
    }
    async fn settle_callbacks(&self, round: &CallbackRound) -> Result<()> {
        self.settle_round(round).await
    }
    async fn settle_riders(&self, limit: u32) -> Result<u32> {
        self.end_rides(limit).await
    }
    async fn settle_holds(&self, limit: u32) -> Result<u32> {
        self.settle_ended_holds(limit).await
    }
    async fn sweep_work(&self, limit: u32) -> Result<WorkSwept> {
        self.sweep_items(limit).await
    }
    async fn prune_arrivals(&self, limit: u32) -> Result<u32> {
        self.forget_arrivals(limit).await
    }
    async fn receive(&self, batch: &[Receipt]) -> Result<Received> {
        self.receive_batch(batch).await
    }
    async fn allot(&self, ask: &QuestionAsk) -> Result<Option<Vec<(AnswerName, u8)>>> {
        self.allot_digits(ask).await
    }
    async fn reply(&self, ask: &ReplyAsk) -> Result<ReplyOutcome> {
        self.take_reply(ask).await
    }
    async fn take_mail_answers(&self, limit: u32) -> Result<Vec<MailAnswer>> {
        self.take_answers(limit).await
    }
    async fn begin_mail_answer(&self, id: ReplyId) -> Result<bool> {
        self.begin_answer(id).await
    }
    async fn end_mail_answer(&self, id: ReplyId, end: MailAnswerEnd) -> Result<()> {
        self.end_answer(id, end).await
    }
    async fn absent(&self, attempts: &[AttemptId]) -> Result<()> {
        self.count_absent(attempts).await
    }

    async fn take_lost(&self, ask: &LookUpAsk) -> Result<Vec<LostAttempt>> {
        self.lost_in_hand(ask).await
    }
    async fn match_receipts(&self, limit: u32) -> Result<u32> {
        self.match_kept(limit).await
    }
    async fn end_receipt_waits(&self, limit: u32) -> Result<u32> {
        self.end_waits(limit).await
    }
    async fn heard_of(&self, attempts: &[AttemptId]) -> Result<Vec<Heard>> {
        self.results_of(attempts).await
    }
    async fn judge_contacts(&self, limit: u32) -> Result<u32> {
        self.judge_faults(limit).await
    }
    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<MessageRow>> {
        self.list_messages(filter, None).await
    }
    async fn messages_among(&self, filter: &MessageFilter, walk: u32) -> Result<MessagesPage> {
        self.page_among(filter, walk).await
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
    async fn page(&self, link: &PageHash) -> Result<Option<PageRow>> {
        self.one_page(link).await
    }
    async fn wish(&self, ask: &PageWish) -> Result<WishOutcome> {
        self.grant_wish(ask).await
    }
    async fn next_route(&self, id: MessageId) -> Result<bool> {
        self.give_up_route(id).await
    }
    async fn parked(&self, filter: &ParkedFilter) -> Result<Vec<ParkedRow>> {
        self.list_parked(filter).await
    }
    async fn mark_replayed(&self, ids: &[ParkedId]) -> Result<()> {
        self.mark_parked_replayed(ids).await
    }
    async fn callbacks(&self, filter: &CallbackFilter) -> Result<Vec<CallbackRow>> {
        self.list_callbacks(filter).await
    }
    async fn retry_callbacks(&self, filter: &CallbackFilter) -> Result<u64> {
        self.revive_callbacks(filter).await
    }
    async fn place_hold(&self, hold: &Hold) -> Result<()> {
        self.insert_hold(hold).await
    }
    async fn release_hold(&self, id: HoldId, by: &str, then: Option<HoldThen>) -> Result<bool> {
        self.end_hold(id, by, then).await
    }
    async fn holds(&self) -> Result<Vec<HoldRow>> {
        self.standing_holds().await
    }
    async fn sign_off(&self, word: &Word<'_>, hash: &str) -> Result<()> {
        self.write_sign_off(word, hash).await
    }
    async fn take_back_sign_off(&self, word: &Word<'_>) -> Result<bool> {
        self.end_sign_offs(word).await
    }
    async fn sign_offs(&self) -> Result<SignOffs> {
        self.all_sign_offs().await
    }
    async fn work_items(&self, filter: &WorkFilter) -> Result<Vec<WorkItem>> {
        self.list_work(filter).await
    }
    async fn work_item(&self, id: WorkItemId) -> Result<Option<WorkItem>> {
        self.one_work_item(id).await
    }
    async fn reply_text(&self, item: WorkItemId) -> Result<Option<ReplyText>> {
        self.text_of_reply(item).await
    }
    async fn move_work(&self, id: WorkItemId, by: &str, to: WorkMove) -> Result<WorkMoved> {
        self.move_item(id, by, to).await
    }
    async fn add_user(&self, user: &User) -> Result<bool> {
        self.insert_user(user).await
    }
    async fn users(&self) -> Result<Vec<User>> {
        self.list_users().await
    }
    async fn user(&self, name: &UserName) -> Result<Option<User>> {
        self.one_user(name).await
    }
    async fn change_user(&self, name: &UserName, change: &UserChange) -> Result<bool> {
        self.alter_user(name, change).await
    }
    async fn recognise(&self, who: &Vouched) -> Result<Recognised> {
        self.whose(who).await
    }
    async fn use_code(&self, name: &UserName, step: i64) -> Result<bool> {
        self.take_step(name, step).await
    }
    async fn open_session(&self, token: &SessionHash, user: &UserName, limits: SessionLimits) -> Result<()> {
        self.insert_session(token, user, limits).await
    }
    async fn session(&self, token: &SessionHash, limits: SessionLimits) -> Result<Option<Session>> {
        self.standing_session(token, limits).await
    }
    async fn close_session(&self, token: &SessionHash) -> Result<()> {
        self.delete_session(token).await
    }
    async fn close_sessions_of(&self, issuer: &str, subject: &str) -> Result<bool> {
        self.delete_sessions_of(issuer, subject).await
    }
    async fn record(&self, entry: &AuditEntry) -> Result<()> {
        self.append_audit(entry).await
    }
    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>> {
        self.list_audit(filter).await
    }
    async fn audit_end(&self) -> Result<(i64, String)> {
        self.end_of_audit().await
    }
    async fn count_pulse(&self, limit: u32) -> Result<u32> {
        self.count_events(limit).await
    }
    async fn pulse(&self, minutes: u32, step: u32) -> Result<Vec<PulseRow>> {
        self.list_pulse(minutes, step).await
    }
    async fn oldest_due(&self) -> Result<Vec<OldestDue>> {
        self.list_oldest_due().await
    }
    async fn stream(&self, after: i64, gaps: &[i64], limit: u32) -> Result<Vec<StreamEvent>> {
        self.next_of_stream(after, gaps, limit).await
    }
    async fn stream_end(&self) -> Result<i64> {
        self.newest_event().await
    }
    async fn workers(&self) -> Result<Vec<WorkerRow>> {
        self.list_workers().await
    }
    async fn counts(&self) -> Result<Counts> {
        self.count().await
    }
}
