//! Parked bodies go in again, once what was wrong has been put right: a template added, a source configured.

use super::gatekeeper::Arrival;
use super::submit::{Incoming, Intake, Outcome};
use crate::domain::ids::ParkedId;
use crate::store::StoreError;
use crate::store::rows::{ParkedFilter, ParkedRow};

/// One body that went in again.
#[derive(Clone, Debug)]
pub struct Replayed {
    pub id: ParkedId,
    pub outcome: Outcome,
}

impl Intake {
    /// Submits the parked bodies that `filter` finds, `filter.limit` at most, oldest first. What is refused again
    /// stays parked as it was.
    ///
    /// # Errors
    /// The ledger is away. Bodies that went in stay parked then; replaying them again finds duplicates.
    pub async fn replay(&self, filter: &ParkedFilter) -> Result<Vec<Replayed>, StoreError> {
        let rows = self.store.parked(filter).await?;
        let ids = rows.iter().map(|row| row.id).collect();
        self.submit_each(ids, rows.into_iter().map(incoming).collect()).await
    }

    /// Submits `body` in the place of a parked one, by somebody's hand. `None`: none of that id waits for repair.
    ///
    /// # Errors
    /// The ledger is away.
    pub async fn repair(&self, id: ParkedId, body: Vec<u8>, by: &str) -> Result<Option<Outcome>, StoreError> {
        let filter = ParkedFilter { ids: vec![id], limit: 1, ..ParkedFilter::default() };
        let Some(row) = self.store.parked(&filter).await?.pop() else { return Ok(None) };
        let mut repaired = incoming(ParkedRow { body, ..row });
        // Whoever writes an emergency by hand has asked for it.
        repaired.arrival.asked_by = Some(by.to_owned());
        Ok(self.submit_each(vec![id], vec![repaired]).await?.pop().map(|replayed| replayed.outcome))
    }

    async fn submit_each(
        &self,
        ids: Vec<ParkedId>,
        bodies: Vec<Incoming>,
    ) -> Result<Vec<Replayed>, StoreError> {
        let outcomes = self.submit(bodies).await?;
        let replayed: Vec<Replayed> =
            ids.into_iter().zip(outcomes).map(|(id, outcome)| Replayed { id, outcome }).collect();
        let taken: Vec<ParkedId> = replayed
            .iter()
            .filter(|replayed| !matches!(replayed.outcome, Outcome::Refused { .. }))
            .map(|replayed| replayed.id)
            .collect();
        if !taken.is_empty() {
            self.retry(|| self.store.mark_replayed(&taken)).await?;
        }
        Ok(replayed)
    }
}

fn incoming(row: ParkedRow) -> Incoming {
    // The queue's name after the prefix, as it was parked: patients have a queue of their own.
    let key = if row.origin.ends_with("patients") { "patient" } else { "job" };
    Incoming {
        body: row.body,
        arrival: Arrival {
            // Whoever it was parked for: a body gains no rights by being replayed.
            source: row.source,
            priority: None,
            correlation_id: row.correlation_id,
            origin: row.origin,
            asked_by: None,
        },
        key: Some(key.to_owned()),
        redelivered: false,
        park: false,
    }
}
