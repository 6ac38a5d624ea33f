//! What became of attempts is written down in batches. A result is tried until the ledger takes it, or refuses that one:
//! it is held in memory meanwhile, and the room it keeps occupied slows the corridor down. One that the ledger has not
//! taken when the process must end, or fails on though it takes others, goes to the spool.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{Corridor, Outliving, Place, spool};
use crate::store::rows::Settlement;
use crate::store::{Store, StoreError};

/// How long a batch that is not full waits for more.
const LINGER: Duration = Duration::from_millis(40);

/// A ledger that answers, and takes none of a batch, is offered it so often: for about a minute.
const OFFERS: u32 = 36;

/// What is kept is looked for this often.
const KEPT: Duration = Duration::from_secs(600);

pub(super) async fn run(corridor: Arc<Corridor>, results: Outliving<(Settlement, Place)>) {
    let mut results = results.lock().await;
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
        // What left the house is on record somewhere, whatever becomes of this task.
        if AssertUnwindSafe(write(&corridor, &batch)).catch_unwind().await.is_err() {
            keep(&corridor, &batch);
        }
        corridor.room.settled(batch.len());
        batch.clear();
        places.clear();
        corridor.told.notify_one();
        corridor.freed.notify_one();
    }
}

/// Gives results to the ledger. One that it will not take is found by halves and does not hold up the others: of that
/// one nobody knows what became, once its lease has ended. Answers those on which the ledger fails, not for what they say:
/// the fault may be its own, or ours. Where it takes none but fails, all wait.
pub(super) async fn give(store: &dyn Store, batch: &[Settlement]) -> Result<Vec<Settlement>, StoreError> {
    let (mut failed, mut fault, mut refused) = (Vec::new(), None, 0);
    for (one, error) in not_taken(store, batch).await? {
        if matches!(error, StoreError::Data(_)) {
            refused += 1;
            tracing::error!(
                %error, message = %one.facts.id, attempt = %one.attempt,
                "the ledger refuses a result: it will be unknown; look it up at its provider"
            );
        } else {
            failed.push(one.clone());
            fault = Some(error);
        }
    }
    match fault {
        Some(error) if failed.len() + refused == batch.len() => Err(error),
        _ => Ok(failed),
    }
}

/// Those that the ledger does not take; an error where it takes nothing now, whatever it is.
async fn not_taken<'b>(
    store: &dyn Store,
    batch: &'b [Settlement],
) -> Result<Vec<(&'b Settlement, StoreError)>, StoreError> {
    let mut refused = Vec::new();
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        match (store.settle(part).await, part) {
            (Ok(()), _) => {}
            (Err(error @ (StoreError::Data(_) | StoreError::Internal(_))), [one]) => {
                refused.push((one, error));
            }
            (Err(StoreError::Data(_) | StoreError::Internal(_)), _) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(refused)
}

/// Writes results down, however long it takes.
pub(super) async fn write(corridor: &Corridor, batch: &[Settlement]) {
    let mut pause = Duration::from_millis(20);
    let mut offers = 0;
    let from = Instant::now();
    loop {
        let error = tokio::select! {
            written = give(corridor.store.as_ref(), batch) => match written {
                Ok(failed) => {
                    if !failed.is_empty() {
                        keep(corridor, &failed);
                    }
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
        offers += u32::from(matches!(error, StoreError::Internal(_)));
        if offers == OFFERS {
            return keep(corridor, batch);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = corridor.last.cancelled() => return keep(corridor, batch),
        }
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

fn keep(corridor: &Corridor, batch: &[Settlement]) {
    let results = batch.len();
    match spool::keep(&corridor.config.worker.spool, batch) {
        Ok(()) => {
            tracing::error!(results, "the ledger has not taken these results; they are kept, and tried again")
        }
        Err(error) => {
            tracing::error!(kind = %error.kind(), results, "neither ledger nor spool took these results: they will be unknown")
        }
    }
}

/// Gives the ledger what earlier processes, or this one, could not: as soon as it answers, and now and then.
pub(super) async fn replay(corridor: Arc<Corridor>) {
    let dir = &corridor.config.worker.spool;
    while !corridor.stopping.is_cancelled() {
        let pause = match spool::replay(dir, corridor.store.as_ref()).await {
            Ok(0) => KEPT,
            Ok(results) => {
                tracing::warn!(results, "wrote results that were kept");
                corridor.told.notify_one();
                KEPT
            }
            Err(error) => {
                tracing::warn!(%error, "kept results wait for the ledger");
                if matches!(error, StoreError::Internal(_)) { KEPT } else { Duration::from_secs(2) }
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = corridor.stopping.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row};

    use super::*;
    use crate::dispatch::result_of_a_test;
    use crate::store::sqlite::ledger_of_a_test;

    #[tokio::test]
    async fn what_the_ledger_fails_on_holds_up_no_other_and_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.db");
        let ledger = ledger_of_a_test(&file, Timestamp::UNIX_EPOCH);
        ledger.migrate().await.unwrap();
        let results: Vec<Settlement> = (0..4).map(|_| result_of_a_test()).collect();
        let mut sql = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
        for one in &results {
            let begun = format!(
                "INSERT INTO attempts (id, message_id, step, number, status, provider, channel, address, address_index,
                     dedupes, segments, template_hash, locale, worker, begun_at)
                 VALUES ('{}', '{}', 0, 1, 'sending', 'sms', 'sms', x'00', x'00', 0, 1, '', 'en', '', 0)",
                one.attempt, one.facts.id
            );
            sql.execute(AssertSqlSafe(begun)).await.unwrap();
        }
        // SQLITE_ERROR, as no value is to blame for it.
        let fails = format!(
            "CREATE TRIGGER fails BEFORE UPDATE ON attempts WHEN OLD.id = '{}'
             BEGIN SELECT abs(-9223372036854775807 - 1); END",
            results[2].attempt
        );
        sql.execute(AssertSqlSafe(fails)).await.unwrap();
        let alone = give(&ledger, &results[2..3]).await;
        assert!(matches!(alone, Err(StoreError::Internal(_))), "{alone:?}");
        let failed = give(&ledger, &results).await.unwrap();
        assert_eq!(failed.iter().map(|one| one.attempt).collect::<Vec<_>>(), [results[2].attempt]);
        let left = sql.fetch_all("SELECT id FROM attempts WHERE status = 'sending'").await.unwrap();
        let left: Vec<String> = left.iter().map(|row| row.get(0)).collect();
        assert_eq!(left, [results[2].attempt.to_string()]);
    }
}
