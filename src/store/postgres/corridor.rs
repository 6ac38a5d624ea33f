//! The corridor's own statements: decide, begin, settle.

use std::collections::HashSet;

use sqlx::Row;
use uuid::Uuid;

use super::{PostgresStore, fault, maybe, micros, time};
use crate::domain::ids::{AttemptId, WorkerId};
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason};
use crate::store::Result;
use crate::store::emit::{Move, shard};
use crate::store::rows::{Begin, Begun, Decided, Failure, Settlement, Then};

/// Moves statuses, work state and events in one go. `changed_at = now()` marks the rows whose status moved by this
/// statement; only those count an event.
const DECIDE: &str = "
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[],
        $8::smallint[], $9::text[], $10::text[])
    AS t(id, token, status, reason, due_at, channel, explanation, shard, event_key, event_body)
), moved AS (
    UPDATE messages m
    SET status = i.status, reason = i.reason,
        -- The patient may have come between the decision and this statement.
        due_at = CASE WHEN i.reason = 'unknown_patient' AND i.due_at IS NOT NULL
            AND EXISTS (SELECT 1 FROM patients p WHERE p.id = m.patient_id) THEN now() ELSE i.due_at END,
        channel = COALESCE(i.channel, m.channel),
        explanation = i.explanation, lease_token = NULL, lease_owner = NULL, lease_until = NULL,
        changed_at = CASE WHEN m.status <> i.status OR m.reason IS DISTINCT FROM i.reason THEN now() ELSE m.changed_at END,
        seq = m.seq + CASE WHEN i.event_key IS NOT NULL AND (m.status <> i.status OR m.reason IS DISTINCT FROM i.reason)
            THEN 1 ELSE 0 END
    FROM input i
    WHERE m.id = i.id AND m.lease_token = i.token
    RETURNING m.id, m.seq, m.changed_at, i.shard, i.event_key, i.event_body
)
INSERT INTO events (shard, message_id, seq, routing_key, body)
SELECT shard, id, seq, event_key, event_body FROM moved WHERE event_key IS NOT NULL AND changed_at = now()";

/// Writes the attempts of those messages for which every reason to send still stands on this very statement's
/// snapshot: our lease with time left, a legal status, the revision that was planned with, an answer not yet
/// due to change, no cancel, no hold.
const BEGIN: &str = "
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::smallint[], $5::smallint[], $6::text[], $7::text[],
        $8::bytea[], $9::bytea[], $10::boolean[], $11::smallint[], $12::text[], $13::text[], $14::text[], $15::bigint[],
        $16::timestamptz[], $17::text[])
    AS t(id, token, attempt, step, number, provider, channel, address, address_index, dedupes, segments, template_hash,
        locale, subjects, revision, valid_until, explanation)
), stops AS MATERIALIZED (
    SELECT scope, value FROM holds WHERE released_at IS NULL AND (until IS NULL OR until > now())
), open AS (
    UPDATE messages m
    SET status = CASE WHEN status_rank(m.status) = 0 THEN 'sending' ELSE m.status END,
        reason = NULL, channel = i.channel, tries = i.number, last_attempt = i.attempt, explanation = i.explanation
    FROM input i
    WHERE m.id = i.id AND m.lease_token = i.token AND m.lease_until > now() + $19 * interval '1 microsecond'
      AND (status_rank(m.status) = 0
           OR (m.status IN ('sending', 'unknown') AND NOT EXISTS (
               SELECT 1 FROM attempts a
               WHERE a.message_id = m.id AND a.status IN ('sending', 'unknown') AND NOT a.dedupes)))
      AND now() < i.valid_until
      AND i.revision = COALESCE((
          SELECT sum(s.revision) FROM patient_state s WHERE s.subject = ANY(string_to_array(i.subjects, E'\\n'))), 0)
      AND NOT EXISTS (
          SELECT 1 FROM tombstones t
          WHERE m.retry_of IS NULL AND t.source = m.source AND t.until > now()
            AND ((t.kind = 'job' AND t.name = m.job_id) OR (t.kind = 'about' AND t.name = m.about)))
      AND NOT EXISTS (
          SELECT 1 FROM stops h
          WHERE h.scope = 'all' OR (h.scope = 'source' AND h.value = m.source) OR (h.scope = 'site' AND h.value = m.site)
             OR (h.scope = 'template' AND h.value = m.template) OR (h.scope = 'purpose' AND h.value = m.purpose)
             OR (h.scope = 'channel' AND h.value = i.channel) OR (h.scope = 'provider' AND h.value = i.provider))
    RETURNING i.*
), begun AS (
    INSERT INTO attempts (id, message_id, step, number, status, provider, channel, address, address_index, dedupes,
        segments, template_hash, locale, worker)
    SELECT attempt, id, step, number, 'sending', provider, channel, address, address_index, dedupes, segments,
        template_hash, locale, $18 FROM open
    RETURNING id
)
SELECT id, now() FROM begun";

/// Results by attempt. The message's status follows only upwards; its work state only where this attempt is
/// still its latest.
const SETTLE: &str = "
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::text[],
        $9::timestamptz[], $10::boolean[], $11::smallint[], $12::text[], $13::text[])
    AS t(attempt, attempt_status, provider_ref, failure, code, message, status, reason, due_at, next_step, shard,
        event_key, event_body)
), settled AS (
    UPDATE attempts a
    SET status = i.attempt_status, provider_ref = COALESCE(i.provider_ref, a.provider_ref), failure = i.failure,
        code = i.code, settled_at = now()
    FROM input i
    WHERE a.id = i.attempt AND attempt_rank(i.attempt_status) > attempt_rank(a.status)
    RETURNING a.id
), moved AS (
    UPDATE messages m
    SET status = CASE WHEN i.status IS NOT NULL AND status_rank(i.status) > status_rank(m.status) THEN i.status ELSE m.status END,
        changed_at = CASE WHEN i.status IS NOT NULL AND status_rank(i.status) > status_rank(m.status) THEN now() ELSE m.changed_at END,
        seq = m.seq + CASE WHEN i.event_key IS NOT NULL AND status_rank(i.status) > status_rank(m.status) THEN 1 ELSE 0 END,
        reason = CASE WHEN m.last_attempt = i.attempt THEN i.reason ELSE m.reason END,
        due_at = CASE WHEN m.last_attempt = i.attempt THEN i.due_at ELSE m.due_at END,
        step = CASE WHEN m.last_attempt = i.attempt AND i.next_step THEN m.step + 1 ELSE m.step END,
        tries = CASE WHEN m.last_attempt = i.attempt AND i.next_step THEN 0 ELSE m.tries END,
        lease_token = CASE WHEN m.last_attempt = i.attempt THEN NULL ELSE m.lease_token END,
        lease_owner = CASE WHEN m.last_attempt = i.attempt THEN NULL ELSE m.lease_owner END,
        lease_until = CASE WHEN m.last_attempt = i.attempt THEN NULL ELSE m.lease_until END
    FROM input i JOIN settled ON settled.id = i.attempt
    WHERE m.id = i.message
    RETURNING m.id, m.seq, m.changed_at, i.shard, i.event_key, i.event_body
)
INSERT INTO events (shard, message_id, seq, routing_key, body)
SELECT shard, id, seq, event_key, event_body FROM moved WHERE event_key IS NOT NULL AND changed_at = now()";

impl PostgresStore {
    pub(super) async fn decide_batch(&self, decisions: &[Decided]) -> Result<()> {
        if decisions.is_empty() {
            return Ok(());
        }
        let events: Vec<_> = decisions
            .iter()
            .map(|d| {
                let to = Move {
                    status: d.status,
                    reason: d.reason,
                    channel: d.channel,
                    provider: None,
                    attempt: None,
                    at: d.at,
                };
                self.emitter.message(&d.facts, &to)
            })
            .collect();
        sqlx::query(DECIDE)
            .bind(decisions.iter().map(|d| d.facts.id.0).collect::<Vec<_>>())
            .bind(decisions.iter().map(|d| d.token).collect::<Vec<_>>())
            .bind(decisions.iter().map(|d| d.status.as_str()).collect::<Vec<_>>())
            .bind(decisions.iter().map(|d| d.reason.map(Reason::as_str)).collect::<Vec<_>>())
            .bind(decisions.iter().map(|d| maybe(d.due_at)).collect::<Vec<_>>())
            .bind(decisions.iter().map(|d| d.channel.map(Channel::as_str)).collect::<Vec<_>>())
            .bind(decisions.iter().map(|d| d.explanation.as_str()).collect::<Vec<_>>())
            .bind(decisions.iter().map(|d| shard(d.facts.id)).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.as_ref().map(|e| e.routing_key.as_str())).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.as_ref().map(|e| e.body.as_str())).collect::<Vec<_>>())
            .execute(&self.pool)
            .await
            .map_err(fault)?;
        Ok(())
    }

    pub(super) async fn begin_batch(&self, worker: WorkerId, batch: &[Begin]) -> Result<Begun> {
        let small = |n: u16| i16::try_from(n).unwrap_or(i16::MAX);
        let rows = sqlx::query(BEGIN)
            .bind(batch.iter().map(|b| b.facts.id.0).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| b.token).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| b.attempt.0).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| small(b.step)).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| small(b.number)).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| b.provider.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| b.route.channel.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| self.sealer.seal_text(&b.route.address)).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| self.sealer.index(&b.route.address)).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| b.dedupes).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| small(b.segments)).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| b.template_hash.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| b.locale.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| b.state.subjects.join("\n")).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| b.state.revision).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| maybe(Some(b.valid_until))).collect::<Vec<_>>())
            .bind(batch.iter().map(|b| b.explanation.as_str()).collect::<Vec<_>>())
            .bind(worker.0)
            .bind(micros(self.timings.send))
            .fetch_all(&self.pool)
            .await
            .map_err(fault)?;
        let now = match rows.first() {
            Some(row) => time(row, 1)?,
            None => self.clock().await?,
        };
        let attempts =
            rows.iter().map(|r| r.try_get(0).map(AttemptId).map_err(fault)).collect::<Result<Vec<_>>>()?;
        Ok(Begun { attempts, now })
    }

    pub(super) async fn settle_batch(&self, batch: &[Settlement]) -> Result<()> {
        // One message twice in one statement would move once only: the later result waits for the next statement.
        let mut rest = batch;
        while !rest.is_empty() {
            let mut seen = HashSet::new();
            let many = rest.iter().position(|s| !seen.insert(s.facts.id)).unwrap_or(rest.len());
            let (now, later) = rest.split_at(many);
            self.settle_distinct(now).await?;
            rest = later;
        }
        Ok(())
    }

    async fn settle_distinct(&self, batch: &[Settlement]) -> Result<()> {
        let follow: Vec<Follow> = batch.iter().map(Follow::of).collect();
        let events: Vec<_> = batch
            .iter()
            .zip(&follow)
            .map(|(s, f)| {
                let to = Move {
                    status: f.status?,
                    reason: f.reason,
                    channel: Some(s.channel),
                    provider: Some(&s.provider),
                    attempt: Some(s.number),
                    at: s.at,
                };
                self.emitter.message(&s.facts, &to)
            })
            .collect();
        sqlx::query(SETTLE)
            .bind(batch.iter().map(|s| s.attempt.0).collect::<Vec<_>>())
            .bind(batch.iter().map(|s| s.status.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|s| s.provider_ref.as_deref()).collect::<Vec<_>>())
            .bind(batch.iter().map(|s| s.failure.map(Failure::as_str)).collect::<Vec<_>>())
            .bind(batch.iter().map(|s| s.code.as_deref()).collect::<Vec<_>>())
            .bind(batch.iter().map(|s| s.facts.id.0).collect::<Vec<Uuid>>())
            .bind(follow.iter().map(|f| f.status.map(MessageStatus::as_str)).collect::<Vec<_>>())
            .bind(follow.iter().map(|f| f.reason.map(Reason::as_str)).collect::<Vec<_>>())
            .bind(follow.iter().map(|f| maybe(f.due_at)).collect::<Vec<_>>())
            .bind(follow.iter().map(|f| f.next_step).collect::<Vec<_>>())
            .bind(batch.iter().map(|s| shard(s.facts.id)).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.as_ref().map(|e| e.routing_key.as_str())).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.as_ref().map(|e| e.body.as_str())).collect::<Vec<_>>())
            .execute(&self.pool)
            .await
            .map_err(fault)?;
        Ok(())
    }
}

/// [`Then`] as columns.
struct Follow {
    status: Option<MessageStatus>,
    reason: Option<Reason>,
    due_at: Option<jiff::Timestamp>,
    next_step: bool,
}

impl Follow {
    fn of(settlement: &Settlement) -> Self {
        let unknown = Some(MessageStatus::Unknown);
        let lost = Some(Reason::OutcomeUnknown);
        match settlement.then {
            Then::Sent => {
                Self { status: Some(MessageStatus::Sent), reason: None, due_at: None, next_step: false }
            }
            Then::Unknown => Self { status: unknown, reason: lost, due_at: None, next_step: false },
            Then::UnknownRetry(at) => {
                Self { status: unknown, reason: lost, due_at: Some(at), next_step: false }
            }
            Then::Retry(at) => Self { status: None, reason: None, due_at: Some(at), next_step: false },
            Then::NextStep(reason) => {
                Self { status: None, reason: Some(reason), due_at: Some(settlement.at), next_step: true }
            }
        }
    }
}
