//! What people do to the ledger: holds, and the repair of parked bodies.

use uuid::Uuid;

use super::Ledger;
use super::read::Query;
use crate::domain::ids::{HoldId, JobId, ParkedId, SourceName};
use crate::domain::words::Reason;
use crate::store::columns::{Columns, hold};
use crate::store::engine::{Args, Engine, args};
use crate::store::rows::{Hold, ParkedFilter, ParkedRow};
use crate::store::{Result, StoreError};

impl<E: Engine> Ledger<E> {
    pub(super) async fn list_parked(&self, filter: &ParkedFilter) -> Result<Vec<ParkedRow>> {
        let mut q = Query::new(
            "SELECT id, problems, source, job_id, origin, correlation_id, parked_at, body FROM parked
             WHERE replayed_at IS NULL",
        );
        let ids: Vec<Uuid> = filter.ids.iter().map(|id| id.0).collect();
        if !ids.is_empty() {
            q.and("id = ANY(?)", ids);
        }
        q.and_if("reason = ?", filter.reason.map(Reason::as_str));
        q.and_if("source = ?", filter.source.as_ref().map(|s| s.as_str()));
        q.and_if("id > ?", filter.after.map(|id| id.0));
        q.limit("ORDER BY id", filter.limit);
        let (sql, args) = q.parts();
        let rows = self.engine.read(sql, args).await?;
        rows.iter()
            .map(|row| {
                Ok(ParkedRow {
                    id: ParkedId(row.id(0)?),
                    problems: serde_json::from_str(row.text(1)?)
                        .map_err(|_| StoreError::Internal("problems of a parked body".to_owned()))?,
                    source: row.maybe_word(2, SourceName::parse)?,
                    job_id: row.maybe_word(3, JobId::parse)?,
                    origin: row.text(4)?.to_owned(),
                    correlation_id: row.maybe_text(5)?.map(str::to_owned),
                    parked_at: row.time(6)?,
                    body: self.sealer.open(row.bytes(7)?)?.to_vec(),
                })
            })
            .collect()
    }

    pub(super) async fn mark_parked_replayed(&self, ids: &[ParkedId]) -> Result<()> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.engine.write("UPDATE parked SET replayed_at = now() WHERE id = ANY($1)", args![ids]).await?;
        Ok(())
    }

    pub(super) async fn insert_hold(&self, hold: &Hold) -> Result<()> {
        self.engine
            .write(
                "INSERT INTO holds (id, scope, value, reason, placed_by, placed_at, until, on_release)
                 VALUES ($1, $2, $3, $4, $5, now(), $6, $7)",
                args![
                    hold.id.0,
                    hold.scope.as_str(),
                    hold.value.as_str(),
                    hold.reason.as_str(),
                    hold.placed_by.as_str(),
                    hold.until,
                    hold.on_release.as_str(),
                ],
            )
            .await?;
        Ok(())
    }

    /// Everything that was held is asked about again: what another hold covers is held anew.
    pub(super) async fn end_hold(&self, id: HoldId, by: &str) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        let ended = E::run(
            &mut tx,
            "UPDATE holds SET released_at = now(), released_by = $2 WHERE id = $1 AND released_at IS NULL RETURNING id",
            args![id.0, by],
        )
        .await?;
        E::run(
            &mut tx,
            "UPDATE messages SET due_at = now()
             WHERE status = 'held' AND reason = 'operator_hold' AND due_at > now() AND lease_until IS NULL",
            Args::none(),
        )
        .await?;
        E::commit(tx).await?;
        Ok(!ended.is_empty())
    }

    pub(super) async fn active_holds(&self) -> Result<Vec<Hold>> {
        let rows = self
            .engine
            .read(
                "SELECT id, scope, value, reason, placed_by, placed_at, until, on_release FROM holds
                 WHERE released_at IS NULL AND (until IS NULL OR until > now()) ORDER BY placed_at, id",
                Args::none(),
            )
            .await?;
        rows.iter().map(hold).collect()
    }
}
