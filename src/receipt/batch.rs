//! Receipts of a moment go to the ledger in one transaction. A provider is told that it was heard only once they are
//! on record; where the ledger is away that is known at once, and `later.rs` keeps them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::{Refusal, Shared, Waiting};
use crate::dispatch::uphold::Outliving;
use crate::domain::receipt::Receipt;
use crate::store::rows::Received;
use crate::store::{OtherKey, StoreError, again_if_contended, moments};

/// Receipts in one transaction.
pub(super) const MOST: usize = 500;
/// How long a batch that is not full waits for more.
const LINGER: Duration = Duration::from_millis(3);
/// How long the ledger may take while providers wait, 15 s in all (Twilio).
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
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
        let taken = write(&shared, &receipts, PATIENCE).await;
        let answers = answers_of(&taken);
        let let_go = answers.iter().filter(|answer| **answer == Err(Refusal::Unreadable)).count();
        if let_go > 0 {
            tracing::error!(receipts = let_go, "receipts that the ledger does not take are let go");
        }
        for (one, answer) in batch.drain(..).zip(answers) {
            // Whoever has hung up comes again, and it changes nothing.
            let _ = one.written.send(answer);
        }
        if is_away(&taken) {
            refuse(&mut waiting).await;
        }
    }
}

/// What became of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// The ledger refuses it, for what it says.
    Refused,
    /// The ledger fails on it, and not for what it says: the fault may be its own, or ours.
    Fails,
    /// The ledger takes nothing now.
    NotNow,
}

/// What whoever waits is told: what the ledger fails on is kept.
fn answers_of(taken: &[Taken]) -> Vec<Result<(), Refusal>> {
    let answer = |one: &Taken| match one {
        Taken::Yes => Ok(()),
        Taken::Refused => Err(Refusal::Unreadable),
        Taken::Fails | Taken::NotNow => Err(Refusal::Later),
    };
    taken.iter().map(answer).collect()
}

/// Whether it is of no use to ask soon again: a single row is not to blame.
fn is_away(taken: &[Taken]) -> bool {
    taken.contains(&Taken::NotNow) || (taken.contains(&Taken::Fails) && !taken.contains(&Taken::Yes))
}

/// Writes receipts within that time; one answer for each. One that the ledger will not take is found by halves, and does not
/// sink the others.
pub(super) async fn write(shared: &Shared, receipts: &[Receipt], patience: Duration) -> Vec<Taken> {
    let until = Instant::now() + patience;
    let mut taken = Vec::with_capacity(receipts.len());
    let mut parts = vec![receipts];
    while let Some(part) = parts.pop() {
        match receive(shared, part, until).await {
            Ok(()) => taken.extend(part.iter().map(|_| Taken::Yes)),
            Err(error) if !is_about_a_row(&error) => {
                let waiting = receipts.len() - taken.len();
                tracing::warn!(%error, receipts = waiting, "receipts wait for the ledger");
                taken.resize(receipts.len(), Taken::NotNow);
                break;
            }
            Err(_) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(error) => {
                tracing::error!(%error, "the ledger does not take a receipt");
                let refused = matches!(error, StoreError::Data(_));
                taken.push(if refused { Taken::Refused } else { Taken::Fails });
            }
        }
    }
    taken
}

/// Whether one row may be to blame, so that the others would be taken without it.
pub(super) const fn is_about_a_row(error: &StoreError) -> bool {
    matches!(error, StoreError::Data(_) | StoreError::Internal(_) | StoreError::Key(OtherKey::Value(_)))
}

async fn receive(shared: &Shared, receipts: &[Receipt], until: Instant) -> Result<(), StoreError> {
    let from = Instant::now();
    let late = |_| Err(StoreError::Unavailable("no answer in time".to_owned()));
    let written = again_if_contended(moments(TRIES), || shared.store.receive(receipts));
    let received = timeout_at(until, written).await.unwrap_or_else(late)?;
    count(received);
    if let Some(dispatcher) = &shared.dispatcher {
        dispatcher.heard(receipts, from);
    }
    if received.moved > 0 {
        shared.nudge();
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use sqlx::Executor as _;

    use super::*;
    use crate::receipt::tests::{Office, receipt};
    use crate::store::sealer::Sealer;

    #[tokio::test]
    async fn what_the_ledger_does_not_take_sinks_no_other() {
        let mut office = Office::open().await;
        let shared = office.shared();
        let receipts = ["SM1", "SMfails", "SM2", "SMrefused", "SM3"].map(receipt);
        let taken = write(&shared, &receipts, PATIENCE).await;
        assert_eq!(taken, [Taken::Yes, Taken::Fails, Taken::Yes, Taken::Refused, Taken::Yes]);
        let (let_go, kept) = (Err(Refusal::Unreadable), Err(Refusal::Later));
        assert_eq!(answers_of(&taken), [Ok(()), kept, Ok(()), let_go, Ok(())]);
        assert!(!is_away(&taken), "it takes others");
        let alone = write(&shared, &receipts[1..2], PATIENCE).await;
        assert_eq!((alone.as_slice(), is_away(&alone)), (&[Taken::Fails][..], true));
        // Somebody else writes, for longer than there is time.
        office.sql.execute("BEGIN IMMEDIATE").await.unwrap();
        let late = write(&shared, &receipts, Duration::from_millis(50)).await;
        assert_eq!((late.as_slice(), is_away(&late)), (&[Taken::NotNow; 5][..], true));
    }

    #[test]
    fn a_value_under_another_key_is_one_row_and_a_ledger_under_another_is_all() {
        let id = Sealer::new(b"a key").with_keys([&[7; 32]], true).key_ids()[0];
        assert!(is_about_a_row(&StoreError::Key(OtherKey::Value(id))));
        assert!(!is_about_a_row(&StoreError::Key(OtherKey::Ledger)));
    }
}
