//! Results by HTTP. A trigger puts an event of a source with a callback into a table of its own, in the transaction
//! that tells the event; from there it is posted round by round, and what was taken is deleted.
//!
//! Not the outbox: its rows are marked when the broker has confirmed, and a receiver that is down for a day must hold
//! up neither the broker nor other receivers, nor must a broker that is down hold up a receiver. So a callback has
//! times and tries of its own, and each receiver has its own row, which one worker holds for one round. Results are
//! written whoever holds it by then: that an event was taken stays true.
//!
//! Of each message only its first event that was not taken is ever in a round. So no order is mixed up and no gap is
//! made, whatever fails; a dead event holds back the later ones of its message, until a person has it tried again.
//!
//! While nothing gets through to a receiver one event at a time is tried, and more may be told meanwhile than are ever
//! tried: what has waited for too long is dead all the same.

use async_trait::async_trait;
use jiff::SignedDuration;
use uuid::Uuid;

use super::Ledger;
use super::query::Query;
use crate::domain::ids::{EventId, MessageId, SourceName};
use crate::store::columns::Columns;
use crate::store::emit::NewEvent;
use crate::store::engine::{Args, Engine, args, flags, ids, micros, texts, times};
use crate::store::rows::{
    CallbackAsk, CallbackCount, CallbackFilter, CallbackRound, CallbackRow, CallbackState, CallbacksClaimed,
    DueCallback,
};
use crate::store::{Callbacks, Result, words};

/// For so long a worker has a receiver to itself; a round is over well before.
const LEASE: SignedDuration = SignedDuration::from_secs(60);

/// Events that are given up untried in one round, or tried; a round comes every few minutes.
const GIVEN_UP_AT_ONCE: i64 = 5_000;

/// The first untaken event of each message of a source, where it is due; the least tried first, so that one which
/// always fails is not what a receiver is judged by. None while the receiver rests.
const DUE: &str = "
FROM callbacks c
WHERE c.source = $1 AND c.dead_at IS NULL AND c.due_at <= now()
  AND NOT EXISTS (SELECT 1 FROM callback_sources s WHERE s.source = $1 AND s.rests_until > now())
  AND NOT EXISTS (SELECT 1 FROM callbacks b WHERE b.message_id = c.message_id AND b.ord < c.ord)
ORDER BY c.tries, c.ord LIMIT $2";

/// What is oldest of what was never tried, and of what was, where it has waited for too long.
const GIVE_UP: &str = "
UPDATE callbacks SET dead_at = now()
WHERE dead_at IS NULL AND since < now() - $2 * {us} AND id IN (
    SELECT id FROM (SELECT id FROM callbacks WHERE source = $1 AND dead_at IS NULL AND tries = 0 ORDER BY ord LIMIT $3) AS untried
    UNION ALL
    SELECT id FROM (SELECT id FROM callbacks WHERE source = $1 AND dead_at IS NULL AND tries > 0 ORDER BY tries, ord LIMIT $3) AS tried)
RETURNING id";

/// A worker that is silent has left its round; that we ask again means that ours is over.
const TAKE: &str = concat!(
    "UPDATE callback_sources SET owner = $2, until = now() + $3 * {us}
WHERE source = $1 AND (",
    words::is_free!("until"),
    " OR owner = $2 OR EXISTS (
    SELECT 1 FROM workers w WHERE w.id = callback_sources.owner AND w.seen_at < now() - $4 * {us}))
RETURNING failures, now()"
);

#[async_trait]
impl<E: Engine> Callbacks for Ledger<E> {
    async fn claim_callbacks(&self, ask: &CallbackAsk) -> Result<Option<CallbacksClaimed>> {
        let source = ask.source.as_str();
        // Looked at without writing: mostly there is nothing.
        let look = format!("SELECT 1 {DUE}");
        if self.engine.read(look, args![source, 1_i64]).await?.is_empty() {
            return Ok(None);
        }
        let mut tx = self.engine.begin().await?;
        let known = "INSERT INTO callback_sources (source) VALUES ($1) ON CONFLICT DO NOTHING";
        E::run(&mut tx, known, args![source]).await?;
        let lease = args![source, ask.worker.0, micros(LEASE), micros(self.timings.stale)];
        let rows = E::run(&mut tx, TAKE, lease).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (failures, now) = (row.count(0)?, row.time(1)?);
        let room = if failures == 0 { i64::from(ask.room) } else { 1 };
        let read = format!(
            "SELECT c.id, e.seq, e.body, c.tries, c.since FROM (SELECT c.id, c.ord, c.tries, c.since {DUE}) AS c
             JOIN events e ON e.ord = c.ord ORDER BY c.tries, c.ord"
        );
        let rows = E::run(&mut tx, read, args![source, room]).await?;
        let events = rows.iter().map(due).collect::<Result<Vec<DueCallback>>>()?;
        if events.is_empty() {
            // Another worker was faster. Nothing is committed: the round is not ours.
            return Ok(None);
        }
        E::commit(tx).await?;
        Ok(Some(CallbacksClaimed { events, failures, now }))
    }

    async fn settle_callbacks(&self, round: &CallbackRound) -> Result<()> {
        let mut tx = self.engine.begin().await?;
        if !round.taken.is_empty() {
            let taken: Vec<Uuid> = round.taken.iter().map(|id| id.0).collect();
            E::run(&mut tx, "DELETE FROM callbacks WHERE id = ANY($1)", args![taken]).await?;
        }
        let failed = round.failed.as_slice();
        if !failed.is_empty() {
            let batch = vec![
                ids("id", failed, |f| f.id.0),
                times("due_at", failed, |f| f.due_at),
                flags("dead", failed, |f| f.due_at.is_none()),
                texts("code", failed, |f| &f.code),
            ];
            E::run(
                &mut tx,
                "UPDATE callbacks AS c
                 SET tries = c.tries + 1, code = input.code, due_at = COALESCE(input.due_at, c.due_at),
                     dead_at = CASE WHEN input.dead THEN now() END,
                     since = CASE WHEN c.tries = 0 THEN now() ELSE c.since END
                 FROM {input} WHERE c.id = input.id",
                Args::none().batch(batch),
            )
            .await?;
        }
        let given_up = Self::give_up_old(&mut tx, round).await?;
        let over = "UPDATE callback_sources SET owner = NULL, until = NULL, failures = $3, rests_until = $4
                    WHERE source = $1 AND owner = $2";
        let (failures, rests_until) = (i64::from(round.health.failures), round.health.rests_until);
        E::run(&mut tx, over, args![round.source.as_str(), round.worker.0, failures, rests_until]).await?;
        E::commit(tx).await?;
        if given_up > 0 {
            tracing::error!(source = %round.source, results = given_up,
                "results that nothing took for too long are not posted any more: `outreachd callbacks list --state dead`");
        }
        Ok(())
    }

    async fn callbacks(&self, filter: &CallbackFilter) -> Result<Vec<CallbackRow>> {
        let mut q = Query::new(
            "SELECT c.id, c.source, c.message_id, c.tries, c.since, c.due_at, c.code, c.dead_at, e.seq, e.routing_key
             FROM callbacks c JOIN events e ON e.ord = c.ord WHERE true",
        );
        narrow(&mut q, filter);
        if let Some(state) = filter.state {
            q.and("(dead_at IS NOT NULL) = ?", state == CallbackState::Dead);
        }
        q.and_if("c.id > ?", filter.after.map(|id| id.0));
        q.limit("ORDER BY c.id", filter.limit);
        let (sql, args) = q.parts();
        self.engine.read(sql, args).await?.iter().map(row_of).collect()
    }

    /// Of every source that has any. A person has said so: the receiver's rest is over too, and what waits behind them
    /// waits from now on.
    async fn retry_callbacks(&self, filter: &CallbackFilter) -> Result<u64> {
        let mut tx = self.engine.begin().await?;
        let mut q = Query::new(
            "UPDATE callbacks SET dead_at = NULL, tries = 0, since = now(), due_at = now() WHERE dead_at IS NOT NULL",
        );
        narrow(&mut q, filter);
        let (sql, args) = q.parts();
        let rows = E::run(&mut tx, format!("{sql} RETURNING source, message_id"), args).await?;
        let messages = rows.iter().filter_map(|row| row.maybe_id(1).transpose());
        let messages = messages.collect::<Result<Vec<Uuid>>>()?;
        if !messages.is_empty() {
            let behind = "UPDATE callbacks SET tries = 0, since = now(), due_at = now()
                WHERE message_id = ANY($1) AND dead_at IS NULL";
            E::run(&mut tx, behind, args![messages]).await?;
        }
        let mut sources = rows.iter().map(|row| row.text(0)).collect::<Result<Vec<&str>>>()?;
        sources.sort_unstable();
        sources.dedup();
        if !sources.is_empty() {
            let awake = "UPDATE callback_sources SET rests_until = NULL WHERE source = ANY($1)";
            E::run(&mut tx, awake, args![sources]).await?;
        }
        E::commit(tx).await?;
        Ok(u64::try_from(rows.len()).unwrap_or(u64::MAX))
    }
}

impl<E: Engine> Ledger<E> {
    /// Whether an event is told by HTTP too: by whose callback.
    pub(super) fn callback<'e>(&self, event: &'e NewEvent) -> Option<&'e str> {
        event.source.as_ref().filter(|source| self.rules.callbacks.contains(*source)).map(SourceName::as_str)
    }

    /// Has what waits for twice as long as an event is tried for end, while nothing gets through. Answers how much.
    async fn give_up_old(tx: &mut E::Tx, round: &CallbackRound) -> Result<usize> {
        if round.health.failures == 0 || !round.taken.is_empty() {
            return Ok(0);
        }
        let patience = micros(round.give_up_after).saturating_mul(2);
        let ask = args![round.source.as_str(), patience, GIVEN_UP_AT_ONCE];
        Ok(E::run(tx, GIVE_UP, ask).await?.len())
    }

    pub(super) async fn count_callbacks(&self) -> Result<Vec<CallbackCount>> {
        const COUNT: &str = "
            SELECT source, count(*) - count(dead_at), count(dead_at), now(),
                min(CASE WHEN dead_at IS NULL THEN since END)
            FROM callbacks GROUP BY source ORDER BY source";
        let count = |row: &E::Row| {
            let now = row.time(3)?;
            let waited = |since| now.duration_since(since).as_secs_f64().max(0.0);
            Ok(CallbackCount {
                source: row.word(0, SourceName::parse)?,
                waiting: row.count(1)?,
                dead: row.count(2)?,
                oldest_seconds: row.maybe_time(4)?.map_or(0.0, waited),
            })
        };
        self.engine.read(COUNT, Args::none()).await?.iter().map(count).collect()
    }
}

fn due(row: &impl Columns) -> Result<DueCallback> {
    Ok(DueCallback {
        id: EventId(row.id(0)?),
        seq: row.count(1)?,
        body: row.text(2)?.to_owned(),
        tries: row.count(3)?,
        since: row.time(4)?,
    })
}

fn narrow<'f>(q: &mut Query<'f>, filter: &'f CallbackFilter) {
    let ids: Vec<Uuid> = filter.ids.iter().map(|id| id.0).collect();
    q.and_if("id = ANY(?)", Some(ids).filter(|ids| !ids.is_empty()));
    let sources: Vec<&str> = filter.sources.iter().map(|source| source.as_str()).collect();
    q.and_if("source = ANY(?)", Some(sources).filter(|sources| !sources.is_empty()));
}

fn row_of(row: &impl Columns) -> Result<CallbackRow> {
    let source = row.word(1, SourceName::parse)?;
    let key = row.text(9)?;
    let dead_at = row.maybe_time(7)?;
    Ok(CallbackRow {
        id: EventId(row.id(0)?),
        state: if dead_at.is_some() { CallbackState::Dead } else { CallbackState::Waiting },
        // What belongs to a source ends in its name.
        kind: key
            .strip_suffix(source.as_str())
            .and_then(|key| key.strip_suffix('.'))
            .unwrap_or(key)
            .to_owned(),
        source,
        message_id: row.maybe_id(2)?.map(MessageId),
        seq: row.count(8)?,
        tries: row.count(3)?,
        since: row.time(4)?,
        due_at: row.time(5)?,
        code: row.maybe_text(6)?.map(str::to_owned),
        dead_at,
    })
}
