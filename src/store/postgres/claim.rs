//! Due messages are leased; what dead workers held is taken over.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{PostgresStore, Tx, fault, maybe, maybe_time, micros, time};
use crate::domain::ids::{
    About, CampaignId, JobId, MessageId, PatientId, SiteId, SourceName, TemplateName, WorkerId,
};
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Priority, Purpose, Reason};
use crate::store::emit::Move;
use crate::store::rows::{Claim, Claimed, JobBody, LeasedMessage, MessageFacts, Release, TakenOver, Work};
use crate::store::{Result, StoreError};

/// Each source gives the oldest due ones of the class; they are taken in turns, so that a flood of one source
/// does not starve another. The arrays keep the planner from reading the whole backlog once for each row: its
/// statistics of a queue that was empty a moment ago say that the index of due rows has one entry.
const CLAIM: &str = "
WITH due AS (
    SELECT m.id, row_number() OVER (PARTITION BY s.name ORDER BY m.due_at) AS turn
    FROM sources s
    CROSS JOIN LATERAL (
        SELECT id, due_at FROM messages
        WHERE channel = $1 AND source = s.name AND priority = $2
          AND due_at IS NOT NULL AND lease_until IS NULL AND due_at <= now()
        ORDER BY due_at
        LIMIT $3
    ) m
), chosen AS (
    SELECT id FROM due ORDER BY turn LIMIT $3
), locked AS (
    SELECT m.id FROM messages m
    WHERE m.id = ANY(ARRAY(SELECT id FROM chosen)) AND m.due_at IS NOT NULL AND m.lease_until IS NULL AND m.due_at <= now()
    FOR UPDATE OF m SKIP LOCKED
), lease AS MATERIALIZED (SELECT nextval('lease_tokens') AS token)
UPDATE messages m
SET lease_token = lease.token, lease_owner = $4, lease_until = now() + $5 * interval '1 microsecond'
FROM lease
WHERE m.id = ANY(ARRAY(SELECT id FROM locked))
RETURNING m.id, m.source, m.job_id, m.patient_id, m.template, m.purpose, m.priority, m.about, m.site, m.campaign_id,
    m.correlation_id, m.test, m.is_change, m.retry_of, m.body, m.status, m.step, m.tries, m.accepted_at, m.lease_token,
    now(),
    (SELECT t.reason FROM tombstones t
     WHERE m.retry_of IS NULL AND t.source = m.source AND t.until > now()
       AND ((t.kind = 'job' AND t.name = m.job_id) OR (t.kind = 'about' AND t.name = m.about)) LIMIT 1)";

impl PostgresStore {
    pub(super) async fn claim_due(&self, ask: &Claim) -> Result<Claimed> {
        let rows = sqlx::query(CLAIM)
            .bind(ask.channel.map_or("", Channel::as_str))
            .bind(ask.priority as i16)
            .bind(i64::from(ask.room))
            .bind(ask.worker.0)
            .bind(micros(self.timings.lease))
            .fetch_all(&self.pool)
            .await
            .map_err(fault)?;
        let now = match rows.first() {
            Some(row) => time(row, 20)?,
            None => self.clock().await?,
        };
        let messages = rows.iter().map(|row| self.leased(row)).collect::<Result<Vec<_>>>()?;
        Ok(Claimed { messages, now })
    }

    fn leased(&self, row: &PgRow) -> Result<LeasedMessage> {
        let facts = facts(row)?;
        let body = self.job_body(row, 14)?;
        let cancelled: Option<String> = row.try_get(21).map_err(fault)?;
        let work = Work {
            token: row.try_get(19).map_err(fault)?,
            status: word(row, 15, MessageStatus::from_word)?,
            step: small(row, 16)?,
            tries: small(row, 17)?,
            accepted_at: time(row, 18)?,
            cancelled: cancelled.as_deref().and_then(Reason::from_word),
        };
        Ok(LeasedMessage { facts, body, work })
    }

    pub(super) fn job_body(&self, row: &PgRow, column: usize) -> Result<JobBody> {
        let sealed: &[u8] = row.try_get(column).map_err(fault)?;
        serde_json::from_slice(self.sealer.open(sealed)?)
            .map_err(|_| StoreError::Internal("a stored job does not fit".to_owned()))
    }

    pub(super) async fn clock(&self) -> Result<jiff::Timestamp> {
        let row = sqlx::query("SELECT now()").fetch_one(&self.pool).await.map_err(fault)?;
        time(&row, 0)
    }

    pub(super) async fn release_batch(&self, leases: &[Release]) -> Result<()> {
        if leases.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "UPDATE messages m
             SET lease_token = NULL, lease_owner = NULL, lease_until = NULL,
                 channel = COALESCE(r.channel, m.channel), due_at = COALESCE(r.due_at, now())
             FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::timestamptz[]) AS r(id, token, channel, due_at)
             WHERE m.id = r.id AND m.lease_token = r.token",
        )
        .bind(leases.iter().map(|r| r.message.0).collect::<Vec<_>>())
        .bind(leases.iter().map(|r| r.token).collect::<Vec<_>>())
        .bind(leases.iter().map(|r| r.channel.map(Channel::as_str)).collect::<Vec<_>>())
        .bind(leases.iter().map(|r| maybe(r.due_at)).collect::<Vec<_>>())
        .execute(&self.pool)
        .await
        .map_err(fault)?;
        Ok(())
    }

    pub(super) async fn beat(&self, worker: WorkerId, name: &str, state: &str) -> Result<jiff::Timestamp> {
        let row = sqlx::query(
            "INSERT INTO workers (id, name, state) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET seen_at = now(), state = excluded.state
             RETURNING now()",
        )
        .bind(worker.0)
        .bind(name)
        .bind(state)
        .fetch_one(&self.pool)
        .await
        .map_err(fault)?;
        time(&row, 0)
    }

    /// A lease that has ended, or whose worker was silent for 10 s, is anybody's. Whether an attempt had begun
    /// decides: not begun is safe to send, begun is unknown.
    pub(super) async fn take_over_leases(&self, limit: u32) -> Result<TakenOver> {
        let mut tx = self.pool.begin().await.map_err(fault)?;
        let rows = sqlx::query(
            "SELECT m.id, a.id, COALESCE(a.dedupes, false), a.provider, a.channel, a.number
             FROM messages m
             LEFT JOIN attempts a ON a.id = m.last_attempt AND a.status = 'sending'
             WHERE m.lease_until IS NOT NULL
               AND (m.lease_until < now() OR NOT EXISTS (
                   SELECT 1 FROM workers w WHERE w.id = m.lease_owner AND w.seen_at > now() - $2 * interval '1 microsecond'))
             LIMIT $1
             FOR UPDATE OF m SKIP LOCKED",
        )
        .bind(i64::from(limit))
        .bind(micros(self.timings.stale))
        .fetch_all(&mut *tx)
        .await
        .map_err(fault)?;
        let mut idle: Vec<Uuid> = Vec::new();
        let mut begun: Vec<Left> = Vec::new();
        for row in &rows {
            let message: Uuid = row.try_get(0).map_err(fault)?;
            match row.try_get::<Option<Uuid>, _>(1).map_err(fault)? {
                None => idle.push(message),
                Some(attempt) => {
                    begun.push(Left { message, attempt, dedupes: row.try_get(2).map_err(fault)? })
                }
            }
        }
        sqlx::query(
            "UPDATE messages SET lease_token = NULL, lease_owner = NULL, lease_until = NULL, due_at = COALESCE(due_at, now())
             WHERE id = ANY($1)",
        )
        .bind(&idle)
        .execute(&mut *tx)
        .await
        .map_err(fault)?;
        self.leave_unknown(&mut tx, &begun).await?;
        tx.commit().await.map_err(fault)?;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(TakenOver { released: count(idle.len()), unknown: count(begun.len()) })
    }

    async fn leave_unknown(&self, tx: &mut Tx<'_>, begun: &[Left]) -> Result<()> {
        if begun.is_empty() {
            return Ok(());
        }
        let now = Self::now(tx).await?;
        sqlx::query("UPDATE attempts SET status = 'unknown', failure = 'ambiguous' WHERE id = ANY($1) AND status = 'sending'")
            .bind(begun.iter().map(|l| l.attempt).collect::<Vec<_>>())
            .execute(&mut **tx)
            .await
            .map_err(fault)?;
        let mut events = Vec::new();
        for left in begun {
            // Where the provider recognises a repeat by our key the same step is simply sent again.
            let row = sqlx::query(
                "UPDATE messages SET status = CASE WHEN status = 'sending' THEN 'unknown' ELSE status END,
                     reason = 'outcome_unknown', due_at = CASE WHEN $2 THEN now() END, lease_token = NULL,
                     lease_owner = NULL, lease_until = NULL, changed_at = now(), seq = seq + $3
                 WHERE id = $1 RETURNING seq",
            )
            .bind(left.message)
            .bind(left.dedupes);
            let Some(message) = self.message_in(tx, left.message).await? else { continue };
            let to = Move {
                status: MessageStatus::Unknown,
                reason: Some(Reason::OutcomeUnknown),
                channel: message.channel,
                provider: None,
                attempt: Some(message.tries),
                at: now,
            };
            let event = (message.status == MessageStatus::Sending)
                .then(|| self.emitter.message(&message.facts, &to))
                .flatten();
            let told = row.bind(i32::from(event.is_some())).fetch_one(&mut **tx).await.map_err(fault)?;
            if let Some(event) = event {
                events.push((Some(message.facts.id), told.try_get(0).map_err(fault)?, event));
            }
        }
        Self::insert_events(tx, &events).await
    }
}

/// An attempt that somebody began and did not settle.
struct Left {
    message: Uuid,
    attempt: Uuid,
    dedupes: bool,
}

/// The columns of a message's facts, in the order in which [`facts`] reads them.
pub(super) const FACTS: &str = "m.id, m.source, m.job_id, m.patient_id, m.template, m.purpose, m.priority, m.about, \
    m.site, m.campaign_id, m.correlation_id, m.test, m.is_change, m.retry_of";

/// Reads the first 14 columns.
pub(super) fn facts(row: &PgRow) -> Result<MessageFacts> {
    let priority: i16 = row.try_get(6).map_err(fault)?;
    Ok(MessageFacts {
        id: MessageId(row.try_get(0).map_err(fault)?),
        source: word(row, 1, SourceName::parse)?,
        job_id: word(row, 2, JobId::parse)?,
        patient_id: word(row, 3, PatientId::parse)?,
        template: word(row, 4, TemplateName::parse)?,
        purpose: word(row, 5, Purpose::from_word)?,
        priority: usize::try_from(priority)
            .ok()
            .and_then(|p| Priority::ALL.get(p).copied())
            .ok_or_else(|| StoreError::Internal("priority".to_owned()))?,
        about: maybe_word(row, 7, About::parse)?,
        site: maybe_word(row, 8, SiteId::parse)?,
        campaign_id: maybe_word(row, 9, CampaignId::parse)?,
        correlation_id: row.try_get(10).map_err(fault)?,
        test: row.try_get(11).map_err(fault)?,
        is_change: row.try_get(12).map_err(fault)?,
        retry_of: row.try_get::<Option<Uuid>, _>(13).map_err(fault)?.map(MessageId),
    })
}

/// Reads a word of a closed set, or a name.
pub(super) fn word<T>(row: &PgRow, column: usize, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
    let text: &str = row.try_get(column).map_err(fault)?;
    parse(text).ok_or_else(|| StoreError::Internal(format!("column {column} holds no word that is known")))
}

/// The same where it may be NULL or empty.
pub(super) fn maybe_word<T>(
    row: &PgRow,
    column: usize,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>> {
    let text: Option<&str> = row.try_get(column).map_err(fault)?;
    match text {
        None | Some("") => Ok(None),
        Some(_) => word(row, column, parse).map(Some),
    }
}

/// Reads a small count.
pub(super) fn small(row: &PgRow, column: usize) -> Result<u16> {
    let number: i16 = row.try_get(column).map_err(fault)?;
    u16::try_from(number).map_err(|_| StoreError::Internal(format!("column {column} is negative")))
}

/// Reads a time that may be NULL.
pub(super) fn when(row: &PgRow, column: usize) -> Result<Option<jiff::Timestamp>> {
    maybe_time(row, column)
}
