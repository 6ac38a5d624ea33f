//! Receipts of a moment go to the ledger in one transaction. A provider is told that it was heard only once they are
//! on record; where the ledger is away that is known at once, and `later.rs` keeps them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Refusal, Shared, Waiting};
use crate::dispatch::uphold::Outliving;
use crate::domain::receipt::Receipt;
use crate::store::rows::Received;
use crate::store::{StoreError, again_if_contended, moments};

/// Receipts in one transaction.
pub(super) const MOST: usize = 500;
/// How long a batch that is not full waits for more.
const LINGER: Duration = Duration::from_millis(3);
/// How long the ledger may take. Providers wait 15 s in all (Twilio).
const PATIENCE: Duration = Duration::from_secs(2);
/// After a failure nobody waits for the ledger for so long.
const AWAY: Duration = Duration::from_millis(500);
/// Transactions that met are tried again so often.
const TRIES: u32 = 4;

pub(super) async fn run(shared: Arc<Shared>, waiting: Outliving<Waiting>) {
    let mut waiting = waiting.lock().await;
    let mut batch = Vec::with_capacity(MOST);
    while let Some(first) = waiting.recv().await {
        batch.push(first);
        let until = Instant::now() + LINGER;
        while batch.len() < MOST {
            match timeout_at(until, waiting.recv()).await {
                Ok(Some(next)) => batch.push(next),
                Ok(None) | Err(_) => break,
            }
        }
        let receipts: Vec<Receipt> = batch.iter().map(|w| w.receipt.clone()).collect();
        let answers = write(&shared, &receipts).await;
        let away = answers.contains(&Err(Refusal::Later));
        for (one, answer) in batch.drain(..).zip(answers) {
            // Whoever has hung up comes again, and it changes nothing.
            let _ = one.written.send(answer);
        }
        if away {
            refuse(&mut waiting).await;
        }
    }
}

/// One answer a receipt. A row that the ledger will not take is found by halves, and does not sink the others.
pub(super) async fn write(shared: &Shared, receipts: &[Receipt]) -> Vec<Result<(), Refusal>> {
    let from = Instant::now();
    let received =
        timeout(PATIENCE, again_if_contended(moments(TRIES), || shared.store.receive(receipts))).await;
    let error = match received {
        Ok(Ok(received)) => {
            count(received);
            if let Some(dispatcher) = &shared.dispatcher {
                dispatcher.heard(receipts, from);
            }
            if received.moved > 0 {
                shared.nudge();
            }
            return vec![Ok(()); receipts.len()];
        }
        Ok(Err(error)) => error,
        Err(_) => StoreError::Unavailable("no answer in time".to_owned()),
    };
    match error {
        StoreError::Data(_) if receipts.len() > 1 => {
            let (first, second) = receipts.split_at(receipts.len() / 2);
            let mut answers = Box::pin(write(shared, first)).await;
            answers.extend(Box::pin(write(shared, second)).await);
            answers
        }
        StoreError::Data(_) => {
            tracing::error!(%error, "the ledger refuses a receipt; it is let go");
            vec![Err(Refusal::Unreadable)]
        }
        error => {
            tracing::warn!(%error, receipts = receipts.len(), "receipts wait for the ledger");
            vec![Err(Refusal::Later); receipts.len()]
        }
    }
}

/// For a moment nobody waits in vain.
async fn refuse(waiting: &mut mpsc::Receiver<Waiting>) {
    let until = Instant::now() + AWAY;
    while let Ok(Some(one)) = timeout_at(until, waiting.recv()).await {
        let _ = one.written.send(Err(Refusal::Later));
    }
}

fn count(received: Received) {
    let Received { moved, known, parked, let_go } = received;
    for (what, n) in [("moved", moved), ("known", known), ("parked", parked), ("let_go", let_go)] {
        if n > 0 {
            metrics::counter!("outreachd_receipts_total", "what" => what).increment(u64::from(n));
        }
    }
}
