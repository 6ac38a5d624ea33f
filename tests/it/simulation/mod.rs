//! The corridor on a simulated clock: several workers over one ledger, with a broker and a provider that are a few lines
//! each, and everything going wrong that can. One number gives what goes wrong and when, what comes in, and how long each
//! call takes; minutes pass in seconds. Within one instant the machine still chooses whose turn it is.
//!
//! The ledger is the real one, over the engine for SQLite that keeps the contract of both databases.

mod findings;
mod ledger;
mod outside;
mod script;
mod world;

use std::time::Duration;

use findings::Findings;
use ledger::Plant;
use outside::Habit;

use crate::proof::auditor::keep;

/// Runs one seed from its first job until nothing is left to do, and looks at what came of it.
fn run(seed: u64, plant: Option<Plant>, habit: Habit) -> Findings {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let found = runtime.block_on(script::play(seed, plant, habit));
    // What a worker that was killed still waits for never comes.
    runtime.shutdown_timeout(Duration::from_millis(100));
    found
}

#[test]
fn whatever_goes_wrong_nothing_is_lost_or_sent_twice() {
    for seed in 1..=2 {
        let found = run(seed, None, Habit::Honest);
        keep(&format!("simulation-{seed}"), &found.faults);
        assert!(found.faults.is_empty(), "seed {seed}: {:#?}", found.faults);
        assert!(found.sent > 100, "seed {seed} sent {} only", found.sent);
    }
}

/// A run that finds nothing proves nothing where it could not have found anything.
fn is_found(plant: Option<Plant>, habit: Habit, wanted: &str) {
    let found = run(1, plant, habit);
    assert!(
        found.faults.iter().any(|fault| fault.starts_with(wanted)),
        "{plant:?}, {habit:?} should be found as {wanted}: {:#?}",
        found.faults
    );
}

#[test]
fn a_job_that_the_ledger_drops_is_found() {
    is_found(Some(Plant::Forgets("INSERT INTO job_keys")), Habit::Honest, "I1");
}

#[test]
fn a_provider_that_sends_twice_is_found() {
    is_found(None, Habit::SendsTwice, "I3");
}

#[test]
#[ignore = "heavy: tests/simulation"]
fn whatever_else_is_planted_is_found() {
    is_found(None, Habit::ForgetsWhatItLost, "I3");
    for (plant, wanted) in [
        (LOSES_DUE_TIMES, "I2: no future"),
        (Plant::Forgets("INSERT INTO attempts"), "I4"),
        (LOSES_STOPS, "I5: after a stop"),
        (LOSES_CANCELS, "I5: after a cancel"),
        // At ten at night, or at five in the morning, it takes it for day.
        (Plant::Slow(8), "I5: in quiet hours"),
        (Plant::Forgets("UPDATE rate_gate"), "I5: the limit"),
        (LOWERS_STATUSES, "I6: a status moved from sent to unknown"),
    ] {
        is_found(Some(plant), Habit::Honest, wanted);
    }
}

/// What did not go through is to be tried again, and never is.
const LOSES_DUE_TIMES: Plant = Plant::Adds(
    "CREATE TRIGGER planted AFTER UPDATE OF due_at ON messages WHEN NEW.status = 'sending'
     BEGIN UPDATE messages SET due_at = NULL WHERE id = NEW.id; END",
);
const LOSES_STOPS: Plant = Plant::Adds(
    "CREATE TRIGGER planted AFTER INSERT ON address_consents
     BEGIN DELETE FROM address_consents WHERE id = NEW.id; END",
);
/// Those that come before their job.
const LOSES_CANCELS: Plant = Plant::Adds(
    "CREATE TRIGGER planted AFTER INSERT ON tombstones
     BEGIN DELETE FROM tombstones WHERE kind = NEW.kind AND name = NEW.name; END",
);
/// Without the guard that would refuse it.
const LOWERS_STATUSES: Plant = Plant::Adds(
    "DROP TRIGGER messages_status_rank;
     CREATE TRIGGER planted AFTER UPDATE OF status ON messages WHEN NEW.status = 'sent'
     BEGIN UPDATE messages SET status = 'unknown' WHERE id = NEW.id; END",
);

/// By `tests/simulation`, which says from which seed on and how many.
#[test]
#[ignore = "heavy: tests/simulation"]
fn many_seeds() {
    let asked = |name: &str, otherwise: u64| {
        std::env::var(format!("OUTREACHD_TEST_SIMULATION_{name}")).map_or(otherwise, |n| n.parse().unwrap())
    };
    let (from, count) = (asked("FROM", 1), asked("SEEDS", 100));
    let (mut bad, mut sent, mut unknown, mut kills, mut seconds) = (Vec::new(), 0, 0, 0, 0);
    for seed in from..from + count {
        let found = run(seed, None, Habit::Honest);
        (sent, unknown) = (sent + found.sent, unknown + found.unknown);
        (kills, seconds) = (kills + found.kills, seconds + found.seconds);
        if !found.faults.is_empty() {
            println!("seed {seed}: {:#?}", found.faults);
            bad.push(seed);
        }
    }
    println!(
        "{}",
        serde_json::json!({ "run": "simulation", "from": from, "seeds": count, "sent": sent, "unknown": unknown,
            "kills": kills, "simulated_seconds": seconds, "seeds_with_faults": bad })
    );
    assert!(bad.is_empty(), "seeds {bad:?}");
}
