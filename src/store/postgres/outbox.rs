//! Events leave in order, and are marked only once the broker has confirmed them.

use sqlx::Row;

use super::{PostgresStore, fault};
use crate::domain::ids::WorkerId;
use crate::store::Result;
use crate::store::rows::OutboxEvent;

/// Marks what was published and reads on. A shard belongs to the worker that holds its lease, or that takes an
/// ended one here; what is marked by this very statement is still unpublished in its snapshot, hence the last
/// condition.
const NEXT: &str = "
WITH done AS (
    UPDATE events SET published_at = now() WHERE ord = ANY($2)
), mine AS (
    UPDATE outbox_shards SET owner = $1, until = now() + interval '10 seconds'
    WHERE shard IN (SELECT shard FROM outbox_shards WHERE owner = $1 OR until IS NULL OR until < now()
                    FOR UPDATE SKIP LOCKED)
    RETURNING shard
)
SELECT e.ord, e.routing_key, e.seq, e.body, e.shard
FROM events e
WHERE e.published_at IS NULL AND e.shard IN (SELECT shard FROM mine) AND NOT (e.ord = ANY($2))
ORDER BY e.ord
LIMIT $3";

impl PostgresStore {
    pub(super) async fn next_events(
        &self,
        worker: WorkerId,
        done: &[i64],
        room: u32,
    ) -> Result<Vec<OutboxEvent>> {
        let rows = sqlx::query(NEXT)
            .bind(worker.0)
            .bind(done)
            .bind(i64::from(room))
            .fetch_all(&self.pool)
            .await
            .map_err(fault)?;
        rows.iter()
            .map(|row| {
                let seq: i32 = row.try_get(2).map_err(fault)?;
                Ok(OutboxEvent {
                    ord: row.try_get(0).map_err(fault)?,
                    routing_key: row.try_get(1).map_err(fault)?,
                    seq: u32::try_from(seq).unwrap_or(0),
                    body: row.try_get(3).map_err(fault)?,
                    shard: row.try_get(4).map_err(fault)?,
                })
            })
            .collect()
    }
}
