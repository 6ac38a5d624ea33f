//! What people do to the ledger: the repair of parked bodies, and the end of patience with a route.

use uuid::Uuid;

use super::Ledger;
use super::read::Query;
use crate::domain::ids::{JobId, MessageId, ParkedId, SourceName};
use crate::domain::problem::Problem;
use crate::domain::words::Reason;
use crate::store::Result;
use crate::store::columns::Columns;
use crate::store::engine::{Engine, args};
use crate::store::rows::{ParkedFilter, ParkedRow};
use crate::store::sealed::Sealed;

impl<E: Engine> Ledger<E> {
    /// Only where the last try is known to have failed, or where it went out and its plan waits for an answer; and nobody
    /// has the message in hand.
    pub(super) async fn give_up_route(&self, id: MessageId) -> Result<bool> {
        let moved = self
            .engine
            .write(
                "UPDATE messages SET step = step + 1, tries = 0, due_at = now()
                 WHERE id = $1 AND status = 'sending' AND due_at IS NOT NULL AND lease_token IS NULL AND EXISTS (
                     SELECT 1 FROM attempts a WHERE a.message_id = messages.id AND a.step = messages.step
                         AND a.id = messages.last_attempt AND a.status = 'failed')
                 RETURNING id",
                args![id.0],
            )
            .await?;
        if !moved.is_empty() {
            return Ok(true);
        }
        // What went out is not waited for any longer: the next way is due now, and is decided upon as ever.
        let moved = self
            .engine
            .write(
                "UPDATE messages SET due_at = now()
                 WHERE id = $1 AND status IN ('sent', 'delivered', 'unknown') AND due_at > now() AND lease_token IS NULL
                     AND EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = messages.id AND a.id = messages.last_attempt
                         AND a.step < messages.step AND a.status IN ('sent', 'delivered', 'unknown'))
                 RETURNING id",
                args![id.0],
            )
            .await?;
        Ok(!moved.is_empty())
    }

    pub(super) async fn list_parked(&self, filter: &ParkedFilter) -> Result<Vec<ParkedRow>> {
        let mut q = Query::new(
            "SELECT id, problems, source, job_id, origin, correlation_id, parked_at, body, routing_key FROM parked
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
                // One that cannot be opened or read keeps nobody from the others.
                let mut problems: Vec<Problem> =
                    serde_json::from_str(row.text(1)?).unwrap_or_else(|_| vec![untold()]);
                let body = self.sealer.open(Sealed::ParkedBody.of(row.id(0)?), row.bytes(7)?);
                if body.is_err() {
                    problems.push(ParkedRow::closed());
                }
                Ok(ParkedRow {
                    id: ParkedId(row.id(0)?),
                    problems,
                    source: row.maybe_word(2, SourceName::parse)?,
                    job_id: row.maybe_word(3, JobId::parse)?,
                    origin: row.text(4)?.to_owned(),
                    correlation_id: row.maybe_text(5)?.map(str::to_owned),
                    parked_at: row.time(6)?,
                    unread: body.is_err(),
                    body: body.map(std::borrow::Cow::into_owned).unwrap_or_default(),
                    key: row.maybe_text(8)?.map(str::to_owned),
                })
            })
            .collect()
    }

    pub(super) async fn mark_parked_replayed(&self, ids: &[ParkedId]) -> Result<()> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.engine.write("UPDATE parked SET replayed_at = now() WHERE id = ANY($1)", args![ids]).await?;
        Ok(())
    }
}

/// What stands in the place of faults that cannot be read.
fn untold() -> Problem {
    let cure = "look at the body, and replay it: what is wrong with it is told anew";
    Problem::new("", Reason::Malformed, "what was wrong with it cannot be read", cure)
}
