//! Copies for proxies who are written to beside the patient.
//!
//! A copy is written when its message is planned, not when the job is admitted: only then is the patient known for certain,
//! and who their proxies are is asked as of the day on which the message goes. It happens exactly once: a message and a
//! proxy have one copy by the key of the table, and the row of the message is held meanwhile, so that whoever takes the
//! job back finds either the copy to take back as well, or a message that is given no copy any more. After a crash it is
//! planned again, before anything of it was sent, and comes to the same.

use async_trait::async_trait;

use super::Ledger;
use crate::store::columns::Columns;
use crate::store::engine::{Args, Column, Data, Engine, args, bytes, ids, ints};
use crate::store::rows::NewCopy;
use crate::store::{Copies, Result};

/// Holds the rows of the messages; those that are in another hand, or have been sent, are left out.
const HOLD: &str = "
UPDATE messages SET lease_token = input.token
FROM {input}
WHERE messages.id = input.original AND messages.lease_token = input.token
  AND messages.status IN ('accepted', 'scheduled', 'held') AND messages.last_attempt IS NULL
RETURNING messages.id";

const WRITE: &str = "
INSERT INTO messages (id, source, job_id, patient_id, template, purpose, priority, about, site, campaign_id, correlation_id,
    test, is_change, body, accepted_at, changed_at, expires_at, status, due_at, copy_of, copy_for)
SELECT input.id, m.source, m.job_id, m.patient_id, m.template, m.purpose, m.priority, m.about, m.site, m.campaign_id,
    m.correlation_id, m.test, m.is_change, input.body, m.accepted_at, now(), m.expires_at, 'accepted', now(), m.id,
    input.copy_for
FROM {input} JOIN messages m ON m.id = input.original
WHERE true
ON CONFLICT DO NOTHING";

#[async_trait]
impl<E: Engine> Copies for Ledger<E> {
    async fn copy(&self, copies: &[NewCopy]) -> Result<()> {
        let mut copies: Vec<&NewCopy> = copies.iter().collect();
        // One order for everybody, so that two batches cannot wait for each other in a ring.
        copies.sort_by_key(|copy| copy.of);
        let mut originals = copies.clone();
        originals.dedup_by_key(|copy| copy.of);
        if originals.is_empty() {
            return Ok(());
        }
        let mut tx = self.engine.begin().await?;
        let batch = vec![ids("original", &originals, |c| c.of.0), ints("token", &originals, |c| c.token)];
        let rows = E::run(&mut tx, HOLD, Args::none().batch(batch)).await?;
        let held = rows.iter().map(|row| row.id(0)).collect::<Result<Vec<_>>>()?;
        copies.retain(|copy| held.contains(&copy.of.0));
        if !copies.is_empty() {
            let bodies =
                copies.iter().map(|c| self.sealed_job(c.id, &c.body)).collect::<Result<Vec<Vec<u8>>>>()?;
            let batch = vec![
                ids("id", &copies, |c| c.id.0),
                ids("original", &copies, |c| c.of.0),
                Column { name: "body", data: Data::Bytes(bodies) },
                bytes("copy_for", &copies, |c| {
                    c.body.copy.as_ref().map(|copy| self.sealer.index(&copy.proxy)).unwrap_or_default()
                }),
            ];
            E::run(&mut tx, WRITE, Args::none().batch(batch)).await?;
        }
        E::commit(tx).await
    }
}

impl<E: Engine> Ledger<E> {
    /// The copies of these messages.
    pub(super) async fn copies_of(tx: &mut E::Tx, of: &[uuid::Uuid]) -> Result<Vec<uuid::Uuid>> {
        let rows = E::run(tx, "SELECT id FROM messages WHERE copy_of = ANY($1)", args![of.to_vec()]).await?;
        rows.iter().map(|row| row.id(0)).collect()
    }
}
