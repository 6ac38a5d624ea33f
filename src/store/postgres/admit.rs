//! Jobs come in; cancels and replacements take them back.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::Row;
use uuid::Uuid;

use super::{PostgresStore, Tx, fault, maybe, micros, time};
use crate::domain::ids::{JobId, MessageId, ParkedId, SourceName};
use crate::domain::job::{Cancel, CancelTarget};
use crate::domain::status::MessageStatus;
use crate::domain::words::Reason;
use crate::store::emit::{Emitter, Move};
use crate::store::rows::{
    Admission, AdmitBatch, AdmitOutcome, AdmitReport, CancelOutcome, LeasedAdmission, Reject, Work,
};
use crate::store::{Result, StoreError};

/// One statement writes keys and messages. A job whose key is taken is left out of the answer; a job that was
/// taken back before it came is written as cancelled.
const ADMIT: &str = "
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[],
        $8::smallint[], $9::text[], $10::text[], $11::text[], $12::text[], $13::boolean[], $14::uuid[],
        $15::bytea[], $16::timestamptz[], $17::timestamptz[], $18::boolean[])
    AS t(id, source, job_id, content_hash, patient_id, template, purpose, priority, about, site, campaign_id,
        correlation_id, test, retry_of, body, expires_at, due_at, leased)
), keys AS (
    INSERT INTO job_keys (source, job_id, content_hash, message_id)
    SELECT source, job_id, content_hash, id FROM input WHERE retry_of IS NULL
    ON CONFLICT DO NOTHING
    RETURNING message_id
), lease AS MATERIALIZED (SELECT nextval('lease_tokens') AS token)
INSERT INTO messages (id, source, job_id, patient_id, template, purpose, priority, about, site, campaign_id,
    correlation_id, test, retry_of, body, expires_at, status, reason, due_at, lease_token, lease_owner, lease_until)
SELECT i.id, i.source, i.job_id, i.patient_id, i.template, i.purpose, i.priority, i.about, i.site, i.campaign_id,
    i.correlation_id, i.test, i.retry_of, i.body, i.expires_at,
    CASE WHEN gone.reason IS NOT NULL THEN 'cancelled' WHEN i.due_at > now() THEN 'scheduled' ELSE 'accepted' END,
    gone.reason,
    CASE WHEN gone.reason IS NULL THEN COALESCE(i.due_at, now()) END,
    CASE WHEN own.lease THEN lease.token END,
    CASE WHEN own.lease THEN $19::uuid END,
    CASE WHEN own.lease THEN now() + $20 * interval '1 microsecond' END
FROM input i
LEFT JOIN keys ON keys.message_id = i.id
CROSS JOIN lease
LEFT JOIN LATERAL (
    SELECT t.reason FROM tombstones t
    WHERE i.retry_of IS NULL AND t.source = i.source AND t.until > now()
      AND ((t.kind = 'job' AND t.name = i.job_id) OR (t.kind = 'about' AND t.name = i.about))
    LIMIT 1
) gone ON true
CROSS JOIN LATERAL (
    SELECT i.leased AND gone.reason IS NULL AND (i.due_at IS NULL OR i.due_at <= now()) AS lease
) own
WHERE keys.message_id IS NOT NULL OR i.retry_of IS NOT NULL
RETURNING id, status, reason, lease_token, accepted_at";

impl PostgresStore {
    pub(super) async fn admit_batch(&self, batch: &AdmitBatch) -> Result<AdmitReport> {
        let report = self.try_admit(batch).await;
        if report.is_err() {
            // What was rolled back must be written down again.
            self.sources.write().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        }
        report
    }

    async fn try_admit(&self, batch: &AdmitBatch) -> Result<AdmitReport> {
        let mut tx = self.pool.begin().await.map_err(fault)?;
        let mut report = self.insert_admissions(&mut tx, batch).await?;
        self.supersede(&mut tx, batch, &mut report).await?;
        let conflicts = conflicts(batch, &report.outcomes);
        self.park(&mut tx, batch.rejects.iter().chain(&conflicts), report.now).await?;
        tx.commit().await.map_err(fault)?;
        Ok(report)
    }

    async fn insert_admissions(&self, tx: &mut Tx<'_>, batch: &AdmitBatch) -> Result<AdmitReport> {
        if batch.admissions.is_empty() {
            return Ok(AdmitReport { outcomes: Vec::new(), leased: Vec::new(), now: Self::now(tx).await? });
        }
        self.know_sources(tx, &batch.admissions).await?;
        // Keys are taken in one order everywhere, so that two batches cannot wait for each other in a ring.
        let mut order: Vec<(usize, &Admission)> = batch.admissions.iter().enumerate().collect();
        order.sort_by(|(_, a), (_, b)| {
            (&a.facts.source, &a.facts.job_id).cmp(&(&b.facts.source, &b.facts.job_id))
        });
        let rows = self.run_admit(tx, batch, &order).await?;
        let mut now = None;
        let mut written = HashMap::with_capacity(rows.len());
        for row in rows {
            let id: Uuid = row.try_get(0).map_err(fault)?;
            let accepted_at = time(&row, 4)?;
            now = Some(accepted_at);
            let status: String = row.try_get(1).map_err(fault)?;
            let reason: Option<String> = row.try_get(2).map_err(fault)?;
            let token: Option<i64> = row.try_get(3).map_err(fault)?;
            written.insert(id, (status, reason.as_deref().and_then(Reason::from_word), token, accepted_at));
        }
        let now = match now {
            Some(now) => now,
            None => Self::now(tx).await?,
        };
        let known = self
            .known_keys(tx, order.iter().map(|(_, a)| *a).filter(|a| !written.contains_key(&a.facts.id.0)))
            .await?;
        let mut report =
            AdmitReport { outcomes: Vec::with_capacity(batch.admissions.len()), leased: Vec::new(), now };
        let mut events = Vec::new();
        for (place, admission) in batch.admissions.iter().enumerate() {
            let facts = &admission.facts;
            let outcome = match written.remove(&facts.id.0) {
                Some((_, Some(reason), _, _)) => {
                    let to = bare_move(MessageStatus::Cancelled, reason, now);
                    if let Some(event) = self.emitter.message(facts, &to) {
                        events.push((Some(facts.id), 1, event));
                    }
                    AdmitOutcome::TakenBack(facts.id, reason)
                }
                Some((status, None, token, accepted_at)) => {
                    if let Some(token) = token {
                        let status = MessageStatus::from_word(&status).unwrap_or(MessageStatus::Accepted);
                        let work = Work { token, status, step: 0, tries: 0, accepted_at, cancelled: None };
                        report.leased.push(LeasedAdmission { place, is_change: false, work });
                    }
                    AdmitOutcome::Accepted(facts.id)
                }
                None => match known.get(&(facts.source.as_str(), facts.job_id.as_str())) {
                    Some((id, hash)) if hash.as_slice() == admission.content_hash => {
                        AdmitOutcome::Duplicate(*id)
                    }
                    _ => AdmitOutcome::Conflict(ParkedId::generate()),
                },
            };
            report.outcomes.push(outcome);
        }
        self.raise_seq(tx, events).await?;
        Ok(report)
    }

    /// Claims walk the sources; each is written down once a process.
    async fn know_sources(&self, tx: &mut Tx<'_>, admissions: &[Admission]) -> Result<()> {
        let mut fresh: Vec<&str> = {
            let known = self.sources.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            admissions.iter().map(|a| a.facts.source.as_str()).filter(|s| !known.contains(*s)).collect()
        };
        if fresh.is_empty() {
            return Ok(());
        }
        fresh.sort_unstable();
        fresh.dedup();
        sqlx::query("INSERT INTO sources (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING")
            .bind(&fresh)
            .execute(&mut **tx)
            .await
            .map_err(fault)?;
        let mut known = self.sources.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.extend(fresh.into_iter().map(str::to_owned));
        Ok(())
    }

    async fn run_admit(
        &self,
        tx: &mut Tx<'_>,
        batch: &AdmitBatch,
        order: &[(usize, &Admission)],
    ) -> Result<Vec<sqlx::postgres::PgRow>> {
        let column = |f: fn(&Admission) -> &str| order.iter().map(|(_, a)| f(a)).collect::<Vec<&str>>();
        let bodies = order
            .iter()
            .map(|(_, a)| Ok(self.sealer.seal(&serde_json::to_vec(&a.body).map_err(|_| unfit("body"))?)))
            .collect::<Result<Vec<Vec<u8>>>>()?;
        sqlx::query(ADMIT)
            .bind(order.iter().map(|(_, a)| a.facts.id.0).collect::<Vec<_>>())
            .bind(column(|a| a.facts.source.as_str()))
            .bind(column(|a| a.facts.job_id.as_str()))
            .bind(order.iter().map(|(_, a)| a.content_hash.as_slice()).collect::<Vec<_>>())
            .bind(column(|a| a.facts.patient_id.as_str()))
            .bind(column(|a| a.facts.template.as_str()))
            .bind(column(|a| a.facts.purpose.as_str()))
            .bind(order.iter().map(|(_, a)| a.facts.priority as i16).collect::<Vec<_>>())
            .bind(order.iter().map(|(_, a)| a.facts.about.as_ref().map(|x| x.as_str())).collect::<Vec<_>>())
            .bind(order.iter().map(|(_, a)| a.facts.site.as_ref().map(|x| x.as_str())).collect::<Vec<_>>())
            .bind(
                order
                    .iter()
                    .map(|(_, a)| a.facts.campaign_id.as_ref().map(|x| x.as_str()))
                    .collect::<Vec<_>>(),
            )
            .bind(order.iter().map(|(_, a)| a.facts.correlation_id.as_deref()).collect::<Vec<_>>())
            .bind(order.iter().map(|(_, a)| a.facts.test).collect::<Vec<_>>())
            .bind(order.iter().map(|(_, a)| a.facts.retry_of.map(|x| x.0)).collect::<Vec<_>>())
            .bind(bodies)
            .bind(order.iter().map(|(_, a)| maybe(Some(a.expires_at))).collect::<Vec<_>>())
            .bind(order.iter().map(|(_, a)| maybe(a.due_at)).collect::<Vec<_>>())
            .bind(order.iter().map(|(place, _)| *place < batch.room).collect::<Vec<_>>())
            .bind(batch.worker.0)
            .bind(micros(self.timings.lease))
            .fetch_all(&mut **tx)
            .await
            .map_err(fault)
    }

    async fn known_keys<'a>(
        &self,
        tx: &mut Tx<'_>,
        admissions: impl Iterator<Item = &'a Admission>,
    ) -> Result<HashMap<(&'a str, &'a str), (MessageId, Vec<u8>)>> {
        let asked: Vec<&Admission> = admissions.collect();
        if asked.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = sqlx::query(
            "SELECT u.ord, k.message_id, k.content_hash
             FROM unnest($1::text[], $2::text[]) WITH ORDINALITY u(source, job_id, ord)
             JOIN job_keys k ON k.source = u.source AND k.job_id = u.job_id",
        )
        .bind(asked.iter().map(|a| a.facts.source.as_str()).collect::<Vec<_>>())
        .bind(asked.iter().map(|a| a.facts.job_id.as_str()).collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await
        .map_err(fault)?;
        let mut known = HashMap::with_capacity(rows.len());
        for row in rows {
            let ord: i64 = row.try_get(0).map_err(fault)?;
            let Some(asked) = usize::try_from(ord - 1).ok().and_then(|i| asked.get(i)) else { continue };
            let id = MessageId(row.try_get(1).map_err(fault)?);
            let hash: Vec<u8> = row.try_get(2).map_err(fault)?;
            known.insert((asked.facts.source.as_str(), asked.facts.job_id.as_str()), (id, hash));
        }
        Ok(known)
    }

    /// Messages whose status was set outside the one statement get their event and its number here.
    async fn raise_seq(
        &self,
        tx: &mut Tx<'_>,
        events: Vec<(Option<MessageId>, i32, crate::store::emit::NewEvent)>,
    ) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = events.iter().filter_map(|(id, _, _)| id.map(|i| i.0)).collect();
        sqlx::query("UPDATE messages SET seq = 1 WHERE id = ANY($1)")
            .bind(ids)
            .execute(&mut **tx)
            .await
            .map_err(fault)?;
        Self::insert_events(tx, &events).await
    }

    /// Jobs that replace an earlier one: not yet sent, that one is cancelled; sent, this one is a change.
    async fn supersede(&self, tx: &mut Tx<'_>, batch: &AdmitBatch, report: &mut AdmitReport) -> Result<()> {
        for (place, admission) in batch.admissions.iter().enumerate() {
            let (Some(replaced), Some(AdmitOutcome::Accepted(id) | AdmitOutcome::TakenBack(id, _))) =
                (&admission.replaces, report.outcomes.get(place))
            else {
                continue;
            };
            let taken =
                self.take_back(tx, &admission.facts.source, replaced, Reason::Superseded, report.now).await?;
            if !taken.too_late.is_empty() {
                sqlx::query("UPDATE messages SET is_change = true WHERE id = $1")
                    .bind(id.0)
                    .execute(&mut **tx)
                    .await
                    .map_err(fault)?;
            }
            for leased in report.leased.iter_mut().filter(|l| l.place == place) {
                leased.is_change = !taken.too_late.is_empty();
            }
            let gone: HashSet<MessageId> = taken.cancelled.into_iter().collect();
            report
                .leased
                .retain(|l| batch.admissions.get(l.place).is_none_or(|a| !gone.contains(&a.facts.id)));
        }
        Ok(())
    }

    async fn take_back(
        &self,
        tx: &mut Tx<'_>,
        source: &SourceName,
        job_id: &JobId,
        reason: Reason,
        now: Timestamp,
    ) -> Result<TakenBack> {
        let row = sqlx::query("SELECT message_id FROM job_keys WHERE source = $1 AND job_id = $2")
            .bind(source.as_str())
            .bind(job_id.as_str())
            .fetch_optional(&mut **tx)
            .await
            .map_err(fault)?;
        let ids = match row {
            Some(row) => vec![row.try_get::<Uuid, _>(0).map_err(fault)?],
            None => Vec::new(),
        };
        let taken = self.take_back_messages(tx, &ids, reason, now).await?;
        if ids.is_empty() || !taken.too_late.is_empty() {
            self.bury(tx, source, "job", job_id.as_str(), reason).await?;
        }
        Ok(taken)
    }

    /// Cancels those that no attempt of which may have reached anybody.
    async fn take_back_messages(
        &self,
        tx: &mut Tx<'_>,
        ids: &[Uuid],
        reason: Reason,
        now: Timestamp,
    ) -> Result<TakenBack> {
        if ids.is_empty() {
            return Ok(TakenBack::default());
        }
        let rows = sqlx::query(
            "UPDATE messages m
             SET status = 'cancelled', reason = $2, due_at = NULL, lease_token = NULL, lease_owner = NULL,
                 lease_until = NULL, changed_at = now(), seq = seq + 1
             WHERE m.id = ANY($1) AND status_rank(m.status) <= 1
               AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = m.id AND a.status <> 'failed')
             RETURNING m.id",
        )
        .bind(ids)
        .bind(reason.as_str())
        .fetch_all(&mut **tx)
        .await
        .map_err(fault)?;
        let mut taken = TakenBack::default();
        for row in rows {
            taken.cancelled.push(MessageId(row.try_get(0).map_err(fault)?));
        }
        let mut events = Vec::new();
        for id in ids {
            let Some(message) = self.message_in(tx, *id).await? else { continue };
            if taken.cancelled.contains(&message.facts.id) {
                let to = bare_move(MessageStatus::Cancelled, reason, now);
                if let Some(event) = self.emitter.message(&message.facts, &to) {
                    events.push((
                        Some(message.facts.id),
                        i32::try_from(message.seq).unwrap_or(i32::MAX),
                        event,
                    ));
                }
            } else if message.status.rank().is_some() && message.status != MessageStatus::Failed {
                taken.too_late.push(message.facts.id);
            } else {
                taken.over.push(message.facts.id);
            }
        }
        Self::insert_events(tx, &events).await?;
        Ok(taken)
    }

    async fn bury(
        &self,
        tx: &mut Tx<'_>,
        source: &SourceName,
        kind: &str,
        name: &str,
        reason: Reason,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO tombstones (source, kind, name, reason, until)
             VALUES ($1, $2, $3, $4, now() + $5 * interval '1 microsecond')
             ON CONFLICT (source, kind, name) DO UPDATE SET until = excluded.until",
        )
        .bind(source.as_str())
        .bind(kind)
        .bind(name)
        .bind(reason.as_str())
        .bind(micros(self.timings.tombstone))
        .execute(&mut **tx)
        .await
        .map_err(fault)?;
        Ok(())
    }

    /// What is on its way loses its later steps by name.
    async fn bury_jobs_of(&self, tx: &mut Tx<'_>, source: &SourceName, ids: &[MessageId]) -> Result<()> {
        for id in ids {
            if let Some(message) = self.message_in(tx, id.0).await? {
                let job_id = message.facts.job_id.as_str();
                self.bury(tx, source, "job", job_id, Reason::Cancelled).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn cancel_batch(&self, cancels: &[Cancel]) -> Result<Vec<CancelOutcome>> {
        let mut tx = self.pool.begin().await.map_err(fault)?;
        let now = Self::now(&mut tx).await?;
        let mut outcomes = Vec::with_capacity(cancels.len());
        for cancel in cancels {
            let taken = match &cancel.target {
                CancelTarget::Job(job_id) => {
                    self.take_back(&mut tx, &cancel.source, job_id, Reason::Cancelled, now).await?
                }
                CancelTarget::About(about) => {
                    let rows = sqlx::query("SELECT id FROM messages WHERE source = $1 AND about = $2")
                        .bind(cancel.source.as_str())
                        .bind(about.as_str())
                        .fetch_all(&mut *tx)
                        .await
                        .map_err(fault)?;
                    let ids =
                        rows.iter().map(|r| r.try_get(0).map_err(fault)).collect::<Result<Vec<Uuid>>>()?;
                    let taken = self.take_back_messages(&mut tx, &ids, Reason::Cancelled, now).await?;
                    if ids.is_empty() {
                        self.bury(&mut tx, &cancel.source, "about", about.as_str(), Reason::Cancelled)
                            .await?;
                    }
                    // A new job about the matter stays welcome.
                    self.bury_jobs_of(&mut tx, &cancel.source, &taken.too_late).await?;
                    taken
                }
                CancelTarget::Message(id) => {
                    let taken = self.take_back_messages(&mut tx, &[id.0], Reason::Cancelled, now).await?;
                    self.bury_jobs_of(&mut tx, &cancel.source, &taken.too_late).await?;
                    taken
                }
            };
            self.tell_too_late(&mut tx, &taken.too_late, now).await?;
            outcomes.push(taken.outcome());
        }
        tx.commit().await.map_err(fault)?;
        Ok(outcomes)
    }

    /// The caller learns that the cancel came too late; the status stays.
    async fn tell_too_late(&self, tx: &mut Tx<'_>, ids: &[MessageId], now: Timestamp) -> Result<()> {
        let mut events = Vec::new();
        for id in ids {
            sqlx::query("UPDATE messages SET seq = seq + 1 WHERE id = $1")
                .bind(id.0)
                .execute(&mut **tx)
                .await
                .map_err(fault)?;
            let Some(message) = self.message_in(tx, id.0).await? else { continue };
            let to = bare_move(message.status, Reason::TooLate, now);
            let seq = i32::try_from(message.seq).unwrap_or(i32::MAX);
            events.push((Some(*id), seq, Emitter::always(&message.facts, &to)));
        }
        Self::insert_events(tx, &events).await
    }

    async fn park<'a>(
        &self,
        tx: &mut Tx<'_>,
        rejects: impl Iterator<Item = &'a Reject>,
        now: Timestamp,
    ) -> Result<()> {
        let rejects: Vec<&Reject> = rejects.collect();
        if rejects.is_empty() {
            return Ok(());
        }
        let first = |r: &&Reject| r.problems.first().cloned();
        let rows = sqlx::query(
            "INSERT INTO parked (id, reason, field, problems, source, job_id, origin, correlation_id, body, body_hash)
             SELECT id, reason, field, problems, source, job_id, origin, correlation_id, body, body_hash
             FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                 $9::bytea[], $10::bytea[], $11::boolean[])
                 AS t(id, reason, field, problems, source, job_id, origin, correlation_id, body, body_hash, redelivered)
             WHERE NOT (redelivered AND EXISTS (
                 SELECT 1 FROM parked p WHERE p.body_hash = t.body_hash AND p.parked_at > now() - interval '1 hour'))
             RETURNING id",
        )
        .bind(rejects.iter().map(|r| r.id.0).collect::<Vec<_>>())
        .bind(rejects.iter().map(|r| first(r).map_or(Reason::Malformed, |p| p.reason).as_str()).collect::<Vec<_>>())
        .bind(rejects.iter().map(|r| first(r).map_or(String::new(), |p| p.field)).collect::<Vec<_>>())
        .bind(rejects.iter().map(|r| serde_json::to_string(&r.problems).map_err(|_| unfit("problems"))).collect::<Result<Vec<_>>>()?)
        .bind(rejects.iter().map(|r| r.source.as_ref().map(|s| s.as_str())).collect::<Vec<_>>())
        .bind(rejects.iter().map(|r| r.job_id.as_ref().map(|s| s.as_str())).collect::<Vec<_>>())
        .bind(rejects.iter().map(|r| r.origin.as_str()).collect::<Vec<_>>())
        .bind(rejects.iter().map(|r| r.correlation_id.as_deref()).collect::<Vec<_>>())
        .bind(rejects.iter().map(|r| self.sealer.seal(&r.body)).collect::<Vec<_>>())
        .bind(rejects.iter().map(|r| Sha256::digest(&r.body).to_vec()).collect::<Vec<_>>())
        .bind(rejects.iter().map(|r| r.redelivered).collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await
        .map_err(fault)?;
        let parked = rows.iter().map(|r| r.try_get(0).map_err(fault)).collect::<Result<HashSet<Uuid>>>()?;
        let events: Vec<_> = rejects
            .iter()
            .filter(|r| parked.contains(&r.id.0))
            .map(|r| (None, 0, Emitter::rejected(r, now)))
            .collect();
        Self::insert_events(tx, &events).await
    }
}

/// What a cancel or a replacement found.
#[derive(Debug, Default)]
struct TakenBack {
    cancelled: Vec<MessageId>,
    too_late: Vec<MessageId>,
    /// Ended before, without reaching anybody.
    over: Vec<MessageId>,
}

impl TakenBack {
    fn outcome(self) -> CancelOutcome {
        if !self.cancelled.is_empty() || !self.over.is_empty() {
            CancelOutcome::Cancelled(self.cancelled)
        } else if !self.too_late.is_empty() {
            CancelOutcome::TooLate(self.too_late)
        } else {
            CancelOutcome::Tombstone
        }
    }
}

fn conflicts(batch: &AdmitBatch, outcomes: &[AdmitOutcome]) -> Vec<Reject> {
    let conflict = |(admission, outcome): (&Admission, &AdmitOutcome)| match outcome {
        AdmitOutcome::Conflict(id) => admission.raw.as_ref().map(|raw| Reject {
            id: *id,
            problems: vec![crate::store::conflict()],
            source: Some(admission.facts.source.clone()),
            job_id: Some(admission.facts.job_id.clone()),
            origin: admission.origin.clone(),
            correlation_id: admission.facts.correlation_id.clone(),
            body: raw.clone(),
            redelivered: true,
        }),
        _ => None,
    };
    batch.admissions.iter().zip(outcomes).filter_map(conflict).collect()
}

fn bare_move(status: MessageStatus, reason: Reason, at: Timestamp) -> Move<'static> {
    Move { status, reason: Some(reason), channel: None, provider: None, attempt: None, at }
}

fn unfit(what: &str) -> StoreError {
    StoreError::Internal(format!("{what} does not serialise"))
}
