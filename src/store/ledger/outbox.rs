//! Events leave: to the broker, in order and each at least once, and to whoever watches.

use async_trait::async_trait;
use jiff::SignedDuration;

use super::Ledger;
use crate::domain::ids::{SiteId, SourceName, TemplateName, WorkerId};
use crate::store::columns::{self, Columns};
use crate::store::engine::{Args, Engine, args, micros};
use crate::store::pulse::StreamEvent;
use crate::store::rows::OutboxEvent;
use crate::store::{Outbox, Result};

/// How long the lanes of the outbox belong to a worker that does not come back.
const LEASE: SignedDuration = SignedDuration::from_secs(10);

#[async_trait]
impl<E: Engine> Outbox for Ledger<E> {
    /// Events leave in order, and are marked only once the broker has confirmed them. A lane belongs to the worker
    /// that holds its lease, or that takes an ended one here. Takes worker, what is done, room and lease; answers
    /// `ord, routing_key, seq, body, shard`.
    async fn outbox(&self, worker: WorkerId, done: &[i64], room: u32) -> Result<Vec<OutboxEvent>> {
        let args = args![worker.0, done.to_vec(), i64::from(room), micros(LEASE)];
        let rows = self.engine.write(E::STATEMENTS.outbox, args).await?;
        rows.iter().map(columns::outbox_event).collect()
    }

    async fn leave_outbox(&self, worker: WorkerId, done: &[i64]) -> Result<()> {
        let mut tx = self.engine.begin().await?;
        E::run(&mut tx, "DELETE FROM outbox WHERE ord = ANY($1)", args![done.to_vec()]).await?;
        E::run(&mut tx, "UPDATE outbox_shards SET until = NULL WHERE owner = $1", args![worker.0]).await?;
        E::commit(tx).await
    }

    async fn stream(&self, after: i64, gaps: &[i64], limit: u32) -> Result<Vec<StreamEvent>> {
        const SELECT: &str = "SELECT e.ord, e.seq, e.body, m.source, m.site, m.template FROM events e \
            LEFT JOIN messages m ON m.id = e.message_id WHERE ";
        let mut rows = Vec::new();
        if !gaps.is_empty() {
            let sql = format!("{SELECT} e.ord = ANY($1) ORDER BY e.ord");
            rows = self.engine.read(sql, args![gaps.to_vec()]).await?;
        }
        let sql = format!("{SELECT} e.ord > $1 ORDER BY e.ord LIMIT $2");
        rows.extend(self.engine.read(sql, args![after, i64::from(limit)]).await?);
        rows.iter()
            .map(|row| {
                Ok(StreamEvent {
                    ord: row.int(0)?,
                    seq: row.count(1)?,
                    body: row.text(2)?.to_owned(),
                    source: row.maybe_word(3, SourceName::parse)?,
                    site: row.maybe_word(4, SiteId::parse)?,
                    template: row.maybe_word(5, TemplateName::parse)?,
                })
            })
            .collect()
    }

    async fn stream_end(&self) -> Result<i64> {
        let rows = self.engine.read("SELECT COALESCE(max(ord), 0) FROM events", Args::none()).await?;
        rows.first().map_or(Ok(0), |row| row.int(0))
    }
}
