//! What became of attempts is written down in batches. A result is tried until the ledger takes it: it is held in
//! memory meanwhile, and the room it keeps occupied slows the corridor down.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Corridor, Room};
use crate::store::rows::Settlement;

/// How long a batch that is not full waits for more.
const LINGER: Duration = Duration::from_millis(3);

pub(super) async fn run(corridor: Arc<Corridor>, mut results: mpsc::Receiver<(Settlement, Room)>) {
    let most = usize::try_from(corridor.config.worker.batch).unwrap_or(500);
    let mut batch = Vec::with_capacity(most);
    let mut rooms = Vec::with_capacity(most);
    loop {
        let first = tokio::select! {
            first = results.recv() => first,
            // Lanes hold senders as long as they run; once everything else is done there is nothing to wait for.
            () = super::life::drained(&corridor) => results.try_recv().ok(),
        };
        let Some((settlement, room)) = first else { return };
        batch.push(settlement);
        rooms.push(room);
        let until = tokio::time::Instant::now() + LINGER;
        while batch.len() < most {
            match tokio::time::timeout_at(until, results.recv()).await {
                Ok(Some((settlement, room))) => {
                    batch.push(settlement);
                    rooms.push(room);
                }
                Ok(None) | Err(_) => break,
            }
        }
        write(&corridor, &batch).await;
        batch.clear();
        rooms.clear();
        corridor.told.notify_one();
        corridor.due.notify_one();
    }
}

/// Writes results down, however long it takes.
pub(super) async fn write(corridor: &Corridor, batch: &[Settlement]) {
    let mut pause = Duration::from_millis(20);
    while let Err(error) = corridor.store.settle(batch).await {
        tracing::error!(%error, results = batch.len(), "results wait for the ledger");
        metrics::counter!("outreachd_settle_retries_total").increment(1);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}
