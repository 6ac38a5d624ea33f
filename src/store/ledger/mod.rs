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
mod contacts;
mod copies;
mod corridor;
mod digest;
mod directory;
mod emergencies;
mod gate;
mod history;
mod holds;
mod intake;
mod leases;
mod look_ups;
mod mail_answers;
mod messages;
mod outbox;
mod page;
mod patient_records;
mod patients;
mod people;
mod pulse;
mod query;
mod questions;
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

use super::columns::Columns;
use super::emit::{Emitter, NewEvent, shard};
use super::engine::{Args, Engine, args, ids, ints, maybe_ids, maybe_texts, texts};
use super::rows::Timings;
use super::rules::LedgerRules;
use super::schema::check_compatible;
use super::sealer::Sealer;
use super::{OtherKey, Result, Store, StoreError};
use crate::domain::ids::MessageId;

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
}

#[async_trait]
impl<E: Engine> Store for Ledger<E> {
    async fn migrate(&self) -> Result<()> {
        self.engine.migrate().await
    }

    async fn take_key(&self) -> Result<()> {
        let Some(mark) = self.sealer.key_mark() else { return Ok(()) };
        let sql = "UPDATE schema_info SET key_mark = $1 WHERE key_mark IS NULL";
        self.engine.write(sql, args![mark.as_str()]).await.map(drop)
    }

    fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    async fn ping(&self) -> Result<Timestamp> {
        let sql = "SELECT now(), min_compatible, key_mark FROM schema_info";
        let rows = self.engine.read(sql, Args::none()).await?;
        let row = rows.first().ok_or_else(|| StoreError::Schema("the schema has no version".to_owned()))?;
        check_compatible(row.int(1)?, E::NEWEST)?;
        match row.maybe_text(2)? {
            Some(mark) if self.sealer.key_mark().as_deref() != Some(mark) => {
                Err(StoreError::Key(OtherKey::Ledger))
            }
            _ => row.time(0),
        }
    }
}

impl<E: Engine> Ledger<E> {
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
