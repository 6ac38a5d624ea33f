//! Look-ups for people and callers.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::claim::{FACTS, facts, maybe_word, small, when, word};
use super::{PostgresStore, Tx, fault, maybe, time};
use crate::domain::ids::{AttemptId, MessageId, ProviderName, WorkerId};
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Channel, Reason};
use crate::store::Result;
use crate::store::rows::{
    AttemptRow, Counts, EventRow, Failure, MessageCount, MessageFilter, MessageRow, WorkerRow,
};

const STANDING: &str = "m.status, m.reason, m.channel, m.step, m.tries, m.seq, m.accepted_at, m.changed_at, \
    m.expires_at, m.due_at, m.explanation, m.body";

impl PostgresStore {
    pub(super) async fn list_messages(&self, filter: &MessageFilter) -> Result<Vec<MessageRow>> {
        let mut q: QueryBuilder<Postgres> =
            QueryBuilder::new(format!("SELECT {FACTS}, {STANDING} FROM messages m WHERE true"));
        let job_ids: Vec<&str> = filter.job_ids.iter().map(|j| j.as_str()).collect();
        if !job_ids.is_empty() {
            // By key, so that a look-up by the caller's names does not walk the messages.
            q.push(" AND m.id IN (SELECT message_id FROM job_keys WHERE job_id = ANY(")
                .push_bind(job_ids)
                .push(")");
            if let Some(source) = &filter.source {
                q.push(" AND source = ").push_bind(source.as_str());
            }
            q.push(")");
        }
        let mut equal = |column: &'static str, value: Option<&str>| {
            if let Some(value) = value {
                q.push(format!(" AND m.{column} = ")).push_bind(value.to_owned());
            }
        };
        equal("source", filter.source.as_ref().map(|x| x.as_str()));
        equal("about", filter.about.as_ref().map(|x| x.as_str()));
        equal("status", filter.status.map(MessageStatus::as_str));
        equal("reason", filter.reason.map(Reason::as_str));
        equal("channel", filter.channel.map(Channel::as_str));
        equal("template", filter.template.as_ref().map(|x| x.as_str()));
        equal("site", filter.site.as_ref().map(|x| x.as_str()));
        equal("campaign_id", filter.campaign_id.as_ref().map(|x| x.as_str()));
        equal("patient_id", filter.patient_id.as_ref().map(|x| x.as_str()));
        if let Some(before) = filter.before {
            q.push(" AND m.id < ").push_bind(before.0);
        }
        if let Some(since) = filter.changed_since {
            q.push(" AND m.changed_at >= ").push_bind(maybe(Some(since)));
            q.push(" ORDER BY m.changed_at, m.id LIMIT ");
        } else {
            q.push(" ORDER BY m.id DESC LIMIT ");
        }
        q.push_bind(i64::from(filter.limit.clamp(1, 1000)));
        let rows = q.build().fetch_all(&self.pool).await.map_err(fault)?;
        rows.iter().map(|row| self.message_row(row)).collect()
    }

    pub(super) async fn one_message(&self, id: MessageId) -> Result<Option<MessageRow>> {
        let row =
            sqlx::query(AssertSqlSafe(format!("SELECT {FACTS}, {STANDING} FROM messages m WHERE m.id = $1")))
                .bind(id.0)
                .fetch_optional(&self.pool)
                .await
                .map_err(fault)?;
        row.map(|row| self.message_row(&row)).transpose()
    }

    pub(super) async fn message_in(&self, tx: &mut Tx<'_>, id: Uuid) -> Result<Option<MessageRow>> {
        let row =
            sqlx::query(AssertSqlSafe(format!("SELECT {FACTS}, {STANDING} FROM messages m WHERE m.id = $1")))
                .bind(id)
                .fetch_optional(&mut **tx)
                .await
                .map_err(fault)?;
        row.map(|row| self.message_row(&row)).transpose()
    }

    fn message_row(&self, row: &PgRow) -> Result<MessageRow> {
        let seq: i32 = row.try_get(19).map_err(fault)?;
        Ok(MessageRow {
            facts: facts(row)?,
            status: word(row, 14, MessageStatus::from_word)?,
            reason: maybe_word(row, 15, Reason::from_word)?,
            channel: maybe_word(row, 16, Channel::from_word)?,
            step: small(row, 17)?,
            tries: small(row, 18)?,
            seq: u32::try_from(seq).unwrap_or(0),
            accepted_at: time(row, 20)?,
            changed_at: time(row, 21)?,
            expires_at: time(row, 22)?,
            due_at: when(row, 23)?,
            explanation: row.try_get(24).map_err(fault)?,
            body: self.job_body(row, 25)?,
        })
    }

    pub(super) async fn list_attempts(&self, id: MessageId) -> Result<Vec<AttemptRow>> {
        let rows = sqlx::query(
            "SELECT id, step, number, status, provider, channel, address, segments, locale, template_hash, provider_ref,
                 failure, code, begun_at, settled_at
             FROM attempts WHERE message_id = $1 ORDER BY begun_at, id",
        )
        .bind(id.0)
        .fetch_all(&self.pool)
        .await
        .map_err(fault)?;
        rows.iter()
            .map(|row| {
                let address: &[u8] = row.try_get(6).map_err(fault)?;
                Ok(AttemptRow {
                    id: AttemptId(row.try_get(0).map_err(fault)?),
                    step: small(row, 1)?,
                    number: small(row, 2)?,
                    status: word(row, 3, AttemptStatus::from_word)?,
                    provider: word(row, 4, ProviderName::parse)?,
                    channel: word(row, 5, Channel::from_word)?,
                    address: self.sealer.open_text(address)?,
                    segments: small(row, 7)?,
                    locale: row.try_get(8).map_err(fault)?,
                    template_hash: row.try_get(9).map_err(fault)?,
                    provider_ref: row.try_get(10).map_err(fault)?,
                    failure: maybe_word(row, 11, Failure::from_word)?,
                    code: row.try_get(12).map_err(fault)?,
                    begun_at: time(row, 13)?,
                    settled_at: when(row, 14)?,
                })
            })
            .collect()
    }

    pub(super) async fn list_events(&self, id: MessageId) -> Result<Vec<EventRow>> {
        let rows = sqlx::query(
            "SELECT seq, routing_key, created_at, published_at FROM events WHERE message_id = $1 ORDER BY ord",
        )
        .bind(id.0)
        .fetch_all(&self.pool)
        .await
        .map_err(fault)?;
        rows.iter()
            .map(|row| {
                let seq: i32 = row.try_get(0).map_err(fault)?;
                Ok(EventRow {
                    seq: u32::try_from(seq).unwrap_or(0),
                    routing_key: row.try_get(1).map_err(fault)?,
                    created_at: time(row, 2)?,
                    published_at: when(row, 3)?,
                })
            })
            .collect()
    }

    pub(super) async fn list_workers(&self) -> Result<Vec<WorkerRow>> {
        let rows = sqlx::query(
            "SELECT id, name, started_at, seen_at, state FROM workers WHERE seen_at > now() - interval '1 day' ORDER BY seen_at DESC",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(fault)?;
        rows.iter()
            .map(|row| {
                let state: &str = row.try_get(4).map_err(fault)?;
                Ok(WorkerRow {
                    id: WorkerId(row.try_get(0).map_err(fault)?),
                    name: row.try_get(1).map_err(fault)?,
                    started_at: time(row, 2)?,
                    seen_at: time(row, 3)?,
                    state: serde_json::from_str(state).unwrap_or_default(),
                })
            })
            .collect()
    }

    pub(super) async fn count(&self) -> Result<Counts> {
        let rows = sqlx::query(
            "SELECT channel, status, reason, count(*) FROM messages GROUP BY 1, 2, 3 ORDER BY 4 DESC",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(fault)?;
        let mut counts = Counts::default();
        let whole = |n: i64| u64::try_from(n).unwrap_or(0);
        for row in &rows {
            counts.messages.push(MessageCount {
                channel: row.try_get(0).map_err(fault)?,
                status: word(row, 1, MessageStatus::from_word)?,
                reason: maybe_word(row, 2, Reason::from_word)?,
                count: whole(row.try_get(3).map_err(fault)?),
            });
        }
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM messages WHERE due_at <= now() AND lease_until IS NULL),
                 (SELECT count(*) FROM parked WHERE replayed_at IS NULL),
                 (SELECT count(*) FROM events WHERE published_at IS NULL),
                 (SELECT COALESCE(EXTRACT(EPOCH FROM now() - min(due_at)), 0)::float8 FROM messages
                  WHERE due_at <= now() AND lease_until IS NULL)",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(fault)?;
        counts.backlog = whole(row.try_get(0).map_err(fault)?);
        counts.parked = whole(row.try_get(1).map_err(fault)?);
        counts.outbox = whole(row.try_get(2).map_err(fault)?);
        counts.oldest_due_seconds = row.try_get(3).map_err(fault)?;
        Ok(counts)
    }
}
