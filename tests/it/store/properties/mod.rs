//! What must hold whatever happens, in whatever order: random stories of workers, people and time are told to a real ledger,
//! and what it says is held against a model of a few lines. A story that fails is told again, shorter.

mod caps;
mod gate;
mod leases;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Handle;

use super::ledger::Ledger;

/// What a story leaves behind.
const LEFT: [&str; 9] =
    ["messages", "attempts", "leases", "job_keys", "tombstones", "holds", "workers", "events", "outbox"];

/// Tells so many stories, one after the other, on a runtime of several threads.
fn tell<S: Strategy>(cases: u32, stories: &S, play: impl AsyncFn(S::Value)) {
    let config = Config { cases, max_shrink_iters: 300, failure_persistence: None, ..Config::default() };
    let played = |story: S::Value| {
        Handle::current().block_on(play(story));
        Ok(())
    };
    let told = tokio::task::block_in_place(|| TestRunner::new(config).run(stories, played));
    if let Err(error) = told {
        panic!("{error}");
    }
}

/// An empty ledger for the next story; whom the directory knows stays, and was sent nothing.
async fn forget(ledger: &Ledger) {
    let mut sql: String = LEFT.iter().map(|table| format!("DELETE FROM {table}; ")).collect();
    sql.push_str("UPDATE patient_state SET recent_sends = NULL");
    ledger.execute(&sql).await.expect("nothing is left");
}
