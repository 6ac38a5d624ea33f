//! After a restore: the numbers go on, what may have moved is noted, and what nobody has spoken for is made unknown.

use std::collections::HashSet;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::digest::DAY;
use super::work::NewItem;
use super::{Ledger, Numbered};
use crate::domain::ids::{HoldId, JobId, MessageId, SourceName, TemplateName};
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason, Recipient, WorkKind};
use crate::store::columns::{Columns, facts};
use crate::store::emit::{Emitter, Move};
use crate::store::engine::{Args, Engine, args, flags, ids, ints, micros, texts};
use crate::store::recover::{LostJob, RecoveryAsk, RecoveryRow, SEQ_SKIPPED, Testified, Witness};
use crate::store::rows::{Hold, HoldScope, MessageFacts, OnRelease};
use crate::store::{Recovery, Result, StoreError, words};

/// So long a job that was sent before the restore is refused when it comes again: as long as a caller may look back.
const REMEMBERED: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);

/// The columns of a recovery, in the order in which [`recovery`] reads them.
const ROW: &str = "id, restored_to, down_since, begun_at, begun_by, hold_id, gathered_at IS NOT NULL";

/// Whatever writes leaves one of these behind; workers do every two seconds.
const LAST_TRACE: &str = "
SELECT max(at) FROM (
    SELECT max(seen_at) AS at FROM workers
    UNION ALL SELECT max(created_at) FROM (SELECT created_at FROM events ORDER BY ord DESC LIMIT 100) told
    UNION ALL SELECT max(accepted_at) FROM (SELECT accepted_at FROM messages ORDER BY id DESC LIMIT 100) taken
    UNION ALL SELECT max(placed_at) FROM holds
) traces";

/// Messages that something was due of, or is still heard of. Those due later than anybody worked cannot have been sent, but
/// where a message of that day may have taken them along; what was held can have been let go at any time. Of what is unknown
/// only a plan goes on: a repeat that the provider knows by our key may come once more.
const GATHER: &str = "
SELECT m.id, m.step,
    m.due_at IS NOT NULL AND (m.status IN ('held', 'sending', 'sent', 'delivered')
        OR (m.status IN ('accepted', 'scheduled') AND m.due_at <= $3)
        OR (m.status = 'scheduled' AND m.template = ANY($6) AND m.due_at <= $3 + $7 * {us})
        OR (m.status = 'unknown' AND NOT EXISTS (SELECT 1 FROM attempts a
            WHERE a.id = m.last_attempt AND a.status = 'unknown' AND a.dedupes)))
FROM messages m
WHERE (m.due_at IS NOT NULL OR m.receipt_by IS NOT NULL OR m.status = 'unknown')
  AND m.accepted_at <= $2 AND m.id > $4
  AND NOT EXISTS (SELECT 1 FROM restored r WHERE r.message_id = m.id AND r.recovery_id = $1)
ORDER BY m.id LIMIT $5";

/// What nobody has spoken for, in nobody's hands.
const DOUBTED: &str = concat!(
    "SELECT ",
    words::facts!("m."),
    ", m.status, m.channel, m.tries, m.seq, m.copy_of FROM restored r JOIN messages m ON m.id = r.message_id ",
    "WHERE r.open AND r.recovery_id = $1 AND m.due_at IS NOT NULL AND m.lease_token IS NULL ",
    "AND m.status IN ('accepted', 'scheduled', 'held', 'sending', 'unknown', 'sent', 'delivered') LIMIT $2 {skip locked}"
);

/// A message whose fate is not known.
pub(super) struct Doubted {
    pub(super) facts: MessageFacts,
    pub(super) status: MessageStatus,
    pub(super) channel: Option<Channel>,
    pub(super) tries: u16,
    pub(super) seq: u32,
    pub(super) recipient: Recipient,
}

#[async_trait]
impl<E: Engine> Recovery for Ledger<E> {
    async fn last_trace(&self) -> Result<Option<Timestamp>> {
        let rows = self.engine.read(LAST_TRACE, Args::none()).await?;
        rows.first().map_or(Ok(None), |row| row.maybe_time(0))
    }

    async fn recovery(&self, restored_to: Timestamp) -> Result<Option<RecoveryRow>> {
        let find = format!("SELECT {ROW} FROM recoveries WHERE restored_to = $1");
        self.engine.read(find, args![restored_to]).await?.first().map(recovery).transpose()
    }

    async fn begin_recovery(&self, ask: &RecoveryAsk) -> Result<RecoveryRow> {
        let mut tx = self.engine.begin().await?;
        let now = Self::now(&mut tx).await?;
        let hold = Hold {
            id: HoldId::generate(),
            scope: HoldScope::All,
            value: String::new(),
            cause: Reason::OperatorHold,
            reason: ask.reason.clone(),
            placed_by: ask.by.clone(),
            placed_at: now,
            until: None,
            on_release: OnRelease::Send,
        };
        Self::write_hold(&mut tx, &hold).await?;
        for statement in E::STATEMENTS.skip_numbers {
            E::run(&mut tx, *statement, Args::none()).await?;
        }
        // Whoever held a lease is gone; whoever was signed in signs in again; answers to mail that were due may have left, and
        // count as such for their day.
        let unknown = "UPDATE replies SET answer_state = 'unknown', answered_at = COALESCE(answered_at, answer_due), answer_due = NULL
                       WHERE answer_state IN ('due', 'begun')";
        for statement in ["DELETE FROM workers", "DELETE FROM sessions", unknown] {
            E::run(&mut tx, statement, Args::none()).await?;
        }
        let insert = format!(
            "INSERT INTO recoveries (id, restored_to, down_since, begun_at, begun_by, hold_id)
             VALUES ($1, $2, $3, now(), $4, $5) RETURNING {ROW}"
        );
        let values =
            args![Uuid::now_v7(), ask.restored_to, ask.down_since.min(now), ask.by.as_str(), hold.id.0];
        let rows = E::run(&mut tx, insert, values).await?;
        let row = rows.first().ok_or_else(|| StoreError::Internal("a recovery".to_owned()))?;
        let row = recovery(row)?;
        E::commit(tx).await?;
        Ok(row)
    }

    async fn gather(
        &self,
        row: &RecoveryRow,
        together: &[TemplateName],
        after: Option<MessageId>,
        limit: u32,
    ) -> Result<Option<MessageId>> {
        let mut tx = self.engine.begin().await?;
        let ask = args![
            row.id,
            row.begun_at,
            row.down_since,
            after.map_or(Uuid::nil(), |id| id.0),
            i64::from(limit),
            together.iter().map(TemplateName::as_str).collect::<Vec<_>>(),
            micros(DAY)
        ];
        let rows = E::run(&mut tx, GATHER, ask).await?;
        let found = rows
            .iter()
            .map(|row| Ok((row.id(0)?, row.int(1)?, row.flag(2)?)))
            .collect::<Result<Vec<(Uuid, i64, bool)>>>()?;
        let Some(last) = found.last().map(|(id, ..)| MessageId(*id)) else {
            let done = "UPDATE recoveries SET gathered_at = now() WHERE id = $1";
            E::run(&mut tx, done, args![row.id]).await?;
            E::commit(tx).await?;
            return Ok(None);
        };
        let batch = vec![
            ids("message_id", &found, |(id, ..)| *id),
            ints("step", &found, |(_, step, _)| *step),
            flags("open", &found, |(.., open)| *open),
        ];
        E::run(
            &mut tx,
            "INSERT INTO restored (message_id, recovery_id, step, open)
             SELECT message_id, $1, step, open FROM {input} WHERE true
             ON CONFLICT (message_id) DO UPDATE
             SET recovery_id = excluded.recovery_id, step = excluded.step, open = excluded.open",
            args![row.id].batch(batch),
        )
        .await?;
        let all: Vec<Uuid> = found.iter().map(|(id, ..)| *id).collect();
        let skip = "UPDATE messages SET seq = seq + $2 WHERE id = ANY($1)";
        E::run(&mut tx, skip, args![all, i64::from(SEQ_SKIPPED)]).await?;
        E::commit(tx).await?;
        Ok(Some(last))
    }

    /// One word a message in one transaction; the others of the same message follow.
    async fn testify(&self, witnesses: &[Witness]) -> Result<Testified> {
        let mut total = Testified::default();
        let mut rest: Vec<&Witness> = witnesses.iter().collect();
        while !rest.is_empty() {
            let mut seen = HashSet::new();
            let (now, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(|w| seen.insert(w.message));
            let heard = self.hear_each(&now).await?;
            total.settled += heard.settled;
            total.known += heard.known;
            total.strange.extend(heard.strange);
            rest = later;
        }
        Ok(total)
    }

    async fn doubt(&self, row: &RecoveryRow, limit: u32) -> Result<u32> {
        let mut tx = self.engine.begin().await?;
        let rows = E::run(&mut tx, DOUBTED, args![row.id, i64::from(limit)]).await?;
        let doubted = rows.iter().map(doubted).collect::<Result<Vec<Doubted>>>()?;
        if doubted.is_empty() {
            return Ok(0);
        }
        let now = Self::now(&mut tx).await?;
        let (under_way, waiting): (Vec<Doubted>, Vec<Doubted>) =
            doubted.into_iter().partition(|d| !matches!(d.status.rank(), Some(0 | 1)));
        self.make_unknown(&mut tx, &waiting, now).await?;
        self.end_plans(&mut tx, &under_way, now).await?;
        E::commit(tx).await?;
        Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX))
    }

    async fn acquit(&self, row: &RecoveryRow, limit: u32) -> Result<u32> {
        let due = self
            .engine
            .write(
                "UPDATE messages SET due_at = now() WHERE id IN (
                     SELECT m.id FROM restored r JOIN messages m ON m.id = r.message_id
                     WHERE r.open AND r.recovery_id = $1 AND m.status = 'unknown' AND m.due_at IS NULL
                       AND m.lease_token IS NULL AND m.expires_at > now() AND m.merged_into IS NULL AND NOT EXISTS (
                         SELECT 1 FROM attempts a WHERE a.message_id = m.id AND a.status <> 'failed')
                     LIMIT $2 {skip locked})
                 RETURNING id",
                args![row.id, i64::from(limit)],
            )
            .await?;
        if due.is_empty() {
            let done = "UPDATE restored SET open = false WHERE open AND recovery_id = $1";
            self.engine.write(done, args![row.id]).await?;
        }
        Ok(u32::try_from(due.len()).unwrap_or(u32::MAX))
    }

    async fn bury_lost(&self, jobs: &[LostJob]) -> Result<Vec<bool>> {
        let mut tx = self.engine.begin().await?;
        let places: Vec<i64> = (0..).take(jobs.len()).collect();
        let batch = vec![
            texts("source", jobs, |j: &LostJob| SourceName::as_str(&j.source)),
            texts("job_id", jobs, |j| JobId::as_str(&j.job_id)),
            ints("place", &places, |place| *place),
        ];
        let rows = E::run(
            &mut tx,
            "SELECT input.place FROM {input}
             JOIN job_keys k ON k.source = input.source AND k.job_id = input.job_id",
            Args::none().batch(batch),
        )
        .await?;
        let known = rows.iter().map(|row| row.count(0)).collect::<Result<Vec<usize>>>()?;
        let lost: Vec<bool> = (0..jobs.len()).map(|place| !known.contains(&place)).collect();
        let buried: Vec<(&LostJob, Reason)> = jobs
            .iter()
            .zip(&lost)
            .filter(|(_, lost)| **lost)
            .filter_map(|(job, _)| Some((job, job.reason?)))
            .collect();
        let batch = vec![
            texts("source", &buried, |(job, _)| job.source.as_str()),
            texts("name", &buried, |(job, _)| job.job_id.as_str()),
            texts("reason", &buried, |(_, reason)| reason.as_str()),
        ];
        if !buried.is_empty() {
            E::run(
                &mut tx,
                concat!(
                    "INSERT INTO tombstones (source, kind, name, reason, until, buried_at)
                     SELECT source, 'job', name, reason, now() + $1 * {us}, now() FROM {input} WHERE true",
                    words::buried_again!()
                ),
                args![micros(REMEMBERED)].batch(batch),
            )
            .await?;
        }
        E::commit(tx).await?;
        Ok(lost)
    }
}

impl<E: Engine> Ledger<E> {
    /// What waited may have been sent: nothing of it is sent again by itself, and people are called at its deadline.
    pub(super) async fn make_unknown(
        &self,
        tx: &mut E::Tx,
        waiting: &[Doubted],
        now: Timestamp,
    ) -> Result<()> {
        if waiting.is_empty() {
            return Ok(());
        }
        let events: Vec<_> = waiting
            .iter()
            .map(|w| self.emitter.message(&w.facts, &w.told(MessageStatus::Unknown, now)))
            .collect();
        let told: Vec<i64> = events.iter().map(|event| i64::from(event.is_some())).collect();
        let batch = vec![ids("id", waiting, |w| w.facts.id.0), ints("told", &told, |told| *told)];
        E::run(
            tx,
            "UPDATE messages SET status = 'unknown', reason = 'outcome_unknown', due_at = NULL, held_by = NULL,
                 changed_at = now(), seq = seq + input.told
             FROM {input} WHERE messages.id = input.id AND messages.status IN ('accepted', 'scheduled', 'held', 'sending')",
            Args::none().batch(batch),
        )
        .await?;
        let numbered = waiting.iter().zip(events).filter_map(|(w, event)| {
            Some(Numbered { message: Some(w.facts.id), seq: w.seq.saturating_add(1), event: event? })
        });
        self.insert_events(tx, &numbered.collect::<Vec<_>>()).await
    }

    /// Something of these was sent before the dump, or may have been; whether their next step was since, nobody knows. Their
    /// plans end, and people look after those of whom nothing has arrived: of the unknown they do so at their deadline.
    async fn end_plans(&self, tx: &mut E::Tx, under_way: &[Doubted], now: Timestamp) -> Result<()> {
        if under_way.is_empty() {
            return Ok(());
        }
        E::run(
            tx,
            "UPDATE messages SET due_at = NULL, held_by = NULL, receipt_by = NULL, seq = seq + 1,
                 reason = CASE WHEN status = 'sent' THEN 'outcome_unknown' ELSE reason END
             WHERE id = ANY($1)",
            args![under_way.iter().map(|d| d.facts.id.0).collect::<Vec<_>>()],
        )
        .await?;
        let events: Vec<Numbered> = under_way
            .iter()
            .map(|d| Numbered {
                message: Some(d.facts.id),
                seq: d.seq.saturating_add(1),
                event: Emitter::always(&d.facts, &d.told(d.status, now)),
            })
            .collect();
        self.insert_events(tx, &events).await?;
        let items: Vec<NewItem<'_>> = under_way
            .iter()
            .filter(|d| d.status == MessageStatus::Sent && !d.facts.test)
            .map(|d| NewItem::about(WorkKind::OutcomeUnknown, &d.facts))
            .collect();
        self.open_items(tx, &items).await
    }
}

impl Doubted {
    /// What is told of it.
    fn told(&self, status: MessageStatus, now: Timestamp) -> Move<'_> {
        let open = matches!(status, MessageStatus::Unknown | MessageStatus::Sent);
        Move {
            channel: self.channel,
            attempt: Some(self.tries).filter(|tries| *tries > 0),
            recipient: self.recipient,
            ..Move::bare(status, open.then_some(Reason::OutcomeUnknown), now)
        }
    }
}

fn doubted(row: &impl Columns) -> Result<Doubted> {
    Ok(Doubted {
        facts: facts(row)?,
        status: row.word(14, MessageStatus::from_word)?,
        channel: row.text(15).map(Channel::from_word)?,
        tries: row.count(16)?,
        seq: row.count(17)?,
        recipient: row.maybe_id(18)?.map_or(Recipient::Patient, |_| Recipient::Proxy),
    })
}

fn recovery(row: &impl Columns) -> Result<RecoveryRow> {
    Ok(RecoveryRow {
        id: row.id(0)?,
        restored_to: row.time(1)?,
        down_since: row.time(2)?,
        begun_at: row.time(3)?,
        begun_by: row.text(4)?.to_owned(),
        hold: HoldId(row.id(5)?),
        gathered: row.flag(6)?,
    })
}

impl Doubted {
    pub(super) fn of(message: crate::store::rows::MessageRow) -> Self {
        let recipient = message.recipient();
        Self {
            status: message.status,
            channel: message.channel,
            tries: message.tries,
            seq: message.seq,
            recipient,
            facts: message.facts,
        }
    }
}
