//! The audit log: one writer at a time, each entry chained to the one before it.

use async_trait::async_trait;

use super::Ledger;
use super::query::Query;
use crate::store::audit::{AuditEntry, AuditFilter, AuditRow, chained};
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args, ints, texts, times, try_bytes};
use crate::store::sealed::Sealed;
use crate::store::{AuditLog, Result, StoreError};

#[async_trait]
impl<E: Engine> AuditLog for Ledger<E> {
    async fn record(&self, entry: &AuditEntry) -> Result<()> {
        let mut tx = self.engine.begin().await?;
        let head = E::run(&mut tx, "SELECT ord, hash FROM audit_head {for update}", Args::none()).await?;
        let head = head.first().ok_or_else(|| StoreError::Internal("the audit log has no end".to_owned()))?;
        let ord = head.int(0)? + 1;
        let now = Self::now(&mut tx).await?;
        let hash = chained(head.text(1)?, ord, now, entry);
        let rows = [entry];
        let batch = vec![
            ints("ord", &rows, |_| ord),
            times("at", &rows, |_| Some(now)),
            texts("who", &rows, |e| &e.who),
            texts("act", &rows, |e| &e.act),
            texts("subject", &rows, |e| &e.subject),
            try_bytes("detail", &rows, |e| self.sealer.seal_text(Sealed::AuditDetail.of(ord), &e.detail))?,
            texts("hash", &rows, |_| &hash),
        ];
        E::run(
            &mut tx,
            "INSERT INTO audit (ord, at, who, act, subject, detail, hash)
             SELECT ord, at, who, act, subject, detail, hash FROM {input}",
            Args::none().batch(batch),
        )
        .await?;
        E::run(&mut tx, "UPDATE audit_head SET ord = $1, hash = $2", args![ord, hash.as_str()]).await?;
        E::commit(tx).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>> {
        let mut q = Query::new("SELECT ord, at, who, act, subject, detail, hash FROM audit WHERE true");
        q.and_if("who = ?", filter.who.as_deref());
        match filter.before {
            Some(before) => {
                q.and("ord < ?", before);
                q.limit("ORDER BY ord DESC", filter.limit);
            }
            None => {
                q.and("ord > ?", filter.after);
                q.limit("ORDER BY ord", filter.limit);
            }
        }
        let (sql, args) = q.parts();
        let rows = self.engine.read(sql, args).await?;
        rows.iter()
            .map(|row| {
                Ok(AuditRow {
                    ord: row.int(0)?,
                    at: row.time(1)?,
                    who: row.text(2)?.to_owned(),
                    act: row.text(3)?.to_owned(),
                    subject: row.text(4)?.to_owned(),
                    detail: self.sealer.open_text(Sealed::AuditDetail.of(row.int(0)?), row.bytes(5)?)?,
                    hash: row.text(6)?.to_owned(),
                })
            })
            .collect()
    }

    async fn audit_end(&self) -> Result<(i64, String)> {
        let rows = self.engine.read("SELECT ord, hash FROM audit_head", Args::none()).await?;
        let row = rows.first().ok_or_else(|| StoreError::Internal("the audit log has no end".to_owned()))?;
        Ok((row.int(0)?, row.text(1)?.to_owned()))
    }
}
