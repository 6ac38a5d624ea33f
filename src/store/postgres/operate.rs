//! What people do to the ledger: holds, and the repair of parked bodies.

use sqlx::Row;
use uuid::Uuid;

use super::claim::{maybe_word, when, word};
use super::{PostgresStore, fault, maybe, time};
use crate::domain::ids::{HoldId, JobId, ParkedId, SourceName};
use crate::domain::words::Reason;
use crate::store::rows::{Hold, HoldScope, OnRelease, ParkedFilter, ParkedRow};
use crate::store::{Result, StoreError};

impl PostgresStore {
    pub(super) async fn list_parked(&self, filter: &ParkedFilter) -> Result<Vec<ParkedRow>> {
        let rows = sqlx::query(
            "SELECT id, problems, source, job_id, origin, correlation_id, parked_at, body FROM parked
             WHERE replayed_at IS NULL
               AND (cardinality($1::uuid[]) = 0 OR id = ANY($1))
               AND ($2::text IS NULL OR reason = $2)
               AND ($3::text IS NULL OR source = $3)
               AND ($4::uuid IS NULL OR id > $4)
             ORDER BY id LIMIT $5",
        )
        .bind(filter.ids.iter().map(|i| i.0).collect::<Vec<Uuid>>())
        .bind(filter.reason.map(Reason::as_str))
        .bind(filter.source.as_ref().map(|s| s.as_str()))
        .bind(filter.after.map(|i| i.0))
        .bind(i64::from(filter.limit.clamp(1, 1000)))
        .fetch_all(&self.pool)
        .await
        .map_err(fault)?;
        rows.iter()
            .map(|row| {
                let problems: &str = row.try_get(1).map_err(fault)?;
                let body: &[u8] = row.try_get(7).map_err(fault)?;
                Ok(ParkedRow {
                    id: ParkedId(row.try_get(0).map_err(fault)?),
                    problems: serde_json::from_str(problems)
                        .map_err(|_| StoreError::Internal("problems of a parked body".to_owned()))?,
                    source: maybe_word(row, 2, SourceName::parse)?,
                    job_id: maybe_word(row, 3, JobId::parse)?,
                    origin: row.try_get(4).map_err(fault)?,
                    correlation_id: row.try_get(5).map_err(fault)?,
                    parked_at: time(row, 6)?,
                    body: self.sealer.open(body)?.to_vec(),
                })
            })
            .collect()
    }

    pub(super) async fn mark_parked_replayed(&self, ids: &[ParkedId]) -> Result<()> {
        sqlx::query("UPDATE parked SET replayed_at = now() WHERE id = ANY($1)")
            .bind(ids.iter().map(|i| i.0).collect::<Vec<Uuid>>())
            .execute(&self.pool)
            .await
            .map_err(fault)?;
        Ok(())
    }

    pub(super) async fn insert_hold(&self, hold: &Hold) -> Result<()> {
        sqlx::query(
            "INSERT INTO holds (id, scope, value, reason, placed_by, until, on_release) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(hold.id.0)
        .bind(hold.scope.as_str())
        .bind(&hold.value)
        .bind(&hold.reason)
        .bind(&hold.placed_by)
        .bind(maybe(hold.until))
        .bind(hold.on_release.as_str())
        .execute(&self.pool)
        .await
        .map_err(fault)?;
        Ok(())
    }

    /// Everything that was held is asked about again: what another hold covers is held anew.
    pub(super) async fn end_hold(&self, id: HoldId, by: &str) -> Result<bool> {
        let mut tx = self.pool.begin().await.map_err(fault)?;
        let ended = sqlx::query(
            "UPDATE holds SET released_at = now(), released_by = $2 WHERE id = $1 AND released_at IS NULL RETURNING id",
        )
        .bind(id.0)
        .bind(by)
        .fetch_optional(&mut *tx)
        .await
        .map_err(fault)?;
        sqlx::query(
            "UPDATE messages SET due_at = now()
             WHERE status = 'held' AND reason = 'operator_hold' AND due_at > now() AND lease_until IS NULL",
        )
        .execute(&mut *tx)
        .await
        .map_err(fault)?;
        tx.commit().await.map_err(fault)?;
        Ok(ended.is_some())
    }

    pub(super) async fn active_holds(&self) -> Result<Vec<Hold>> {
        let rows = sqlx::query(
            "SELECT id, scope, value, reason, placed_by, placed_at, until, on_release FROM holds
             WHERE released_at IS NULL AND (until IS NULL OR until > now()) ORDER BY placed_at",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(fault)?;
        rows.iter()
            .map(|row| {
                Ok(Hold {
                    id: HoldId(row.try_get(0).map_err(fault)?),
                    scope: word(row, 1, HoldScope::from_word)?,
                    value: row.try_get(2).map_err(fault)?,
                    reason: row.try_get(3).map_err(fault)?,
                    placed_by: row.try_get(4).map_err(fault)?,
                    placed_at: time(row, 5)?,
                    until: when(row, 6)?,
                    on_release: word(row, 7, OnRelease::from_word)?,
                })
            })
            .collect()
    }
}
