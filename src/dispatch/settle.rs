//! What became of attempts is written down in batches. A result is tried until the ledger takes it, or refuses that one:
//! it is held in memory meanwhile, and the room it keeps occupied slows the corridor down. One that the ledger has not
//! taken when the process must end goes to the spool.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Corridor, Place, spool};
use crate::store::rows::Settlement;
use crate::store::{Store, StoreError};

/// How long a batch that is not full waits for more.
const LINGER: Duration = Duration::from_millis(40);

pub(super) async fn run(corridor: Arc<Corridor>, mut results: mpsc::Receiver<(Settlement, Place)>) {
    let most = corridor.config.worker.batch();
    let mut batch = Vec::with_capacity(most);
    let mut places = Vec::with_capacity(most);
    loop {
        let first = tokio::select! {
            first = results.recv() => first,
            // Lanes hold senders as long as they run; once everything else is done there is nothing to wait for.
            () = super::life::drained(&corridor) => results.try_recv().ok(),
        };
        let Some((settlement, place)) = first else { return };
        batch.push(settlement);
        places.push(place);
        // Asleep, not listening: nothing wakes this task for each of them.
        if results.len() + 1 < most {
            tokio::time::sleep(LINGER).await;
        }
        while batch.len() < most
            && let Ok((settlement, place)) = results.try_recv()
        {
            batch.push(settlement);
            places.push(place);
        }
        write(&corridor, &batch).await;
        corridor.room.settled(batch.len());
        batch.clear();
        places.clear();
        corridor.told.notify_one();
        corridor.freed.notify_one();
    }
}

/// Gives results to the ledger. One that it will not take is found by halves and does not hold up the others: of that
/// one nobody knows what became, once its lease has ended.
pub(super) async fn give(store: &dyn Store, batch: &[Settlement]) -> Result<(), StoreError> {
    match (store.settle(batch).await, batch) {
        (Err(error @ StoreError::Data(_)), [one]) => {
            tracing::error!(
                %error, message = %one.facts.id, attempt = %one.attempt,
                "the ledger refuses a result: it will be unknown; look it up at its provider"
            );
            Ok(())
        }
        (Err(StoreError::Data(_)), _) => {
            let (first, second) = batch.split_at(batch.len() / 2);
            Box::pin(give(store, first)).await?;
            Box::pin(give(store, second)).await
        }
        (given, _) => given,
    }
}

/// Writes results down, however long it takes.
pub(super) async fn write(corridor: &Corridor, batch: &[Settlement]) {
    let mut pause = Duration::from_millis(20);
    let from = Instant::now();
    loop {
        let error = tokio::select! {
            written = give(corridor.store.as_ref(), batch) => match written {
                Ok(()) => {
                    crate::faults::fault_point!("settled");
                    super::traces::settled(corridor, batch, from);
                    return;
                }
                Err(error) => error,
            },
            () = corridor.last.cancelled() => return keep(corridor, batch),
        };
        tracing::error!(%error, results = batch.len(), "results wait for the ledger");
        metrics::counter!("outreachd_settle_retries_total").increment(1);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = corridor.last.cancelled() => return keep(corridor, batch),
        }
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

fn keep(corridor: &Corridor, batch: &[Settlement]) {
    let results = batch.len();
    match spool::keep(&corridor.config.worker.spool, corridor.worker, batch) {
        Ok(()) => {
            tracing::error!(results, "the ledger has not taken these results; the next start writes them")
        }
        Err(error) => {
            tracing::error!(kind = %error.kind(), results, "neither ledger nor spool took these results: they will be unknown")
        }
    }
}

/// Gives the ledger what earlier processes could not, as soon as it answers.
pub(super) async fn replay(corridor: Arc<Corridor>) {
    let dir = &corridor.config.worker.spool;
    while !corridor.stopping.is_cancelled() {
        match spool::replay(dir, corridor.store.as_ref()).await {
            Ok(0) => return,
            Ok(results) => {
                tracing::warn!(results, "wrote results that an earlier process could not");
                return corridor.told.notify_one();
            }
            Err(error) => tracing::warn!(%error, "kept results wait for the ledger"),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            () = corridor.stopping.cancelled() => {}
        }
    }
}
