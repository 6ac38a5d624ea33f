//! The schema is made once, by whoever comes first, and guards the statuses by itself.

use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::store::rows::Then;
use outreachd::store::{OtherKey, Store, StoreError};

use super::ledger::Ledger;
use super::make::{job, seconds};

pub(super) async fn migrating_twice_changes_nothing(ledger: Ledger) {
    let id = ledger.accept(job("a")).await;
    ledger.migrate().await.unwrap();
    assert_eq!(ledger.standing(id).await.0, MessageStatus::Accepted);
}

pub(super) async fn programs_that_start_together_migrate_once(ledger: Ledger) {
    ledger.empty().await;
    let noted = ledger.note_limited_statements().await;
    let programs = [ledger.another(), ledger.another(), ledger.another()];
    let starts = programs.map(|program| tokio::spawn(async move { program.migrate().await }));
    for start in starts {
        start.await.unwrap().unwrap();
    }
    if noted {
        assert_eq!(ledger.limited_statements().await, 0, "an index over a large table takes its time");
    }
    ledger.accept(job("a")).await;
}

pub(super) async fn a_schema_that_is_too_new_is_refused(ledger: Ledger) {
    ledger.execute("UPDATE schema_info SET min_compatible = 1000").await.unwrap();
    let error = ledger.ping().await.unwrap_err();
    assert!(matches!(&error, StoreError::Schema(text) if text.contains("upgrade")), "{error}");
}

pub(super) async fn a_missing_schema_is_named(ledger: Ledger) {
    ledger.empty().await;
    let error = ledger.ping().await.unwrap_err();
    assert!(matches!(&error, StoreError::Schema(text) if text.contains("outreachd migrate")), "{error}");
}

pub(super) async fn a_schema_of_before_is_named(ledger: Ledger) {
    ledger.execute("ALTER TABLE schema_info DROP COLUMN key_mark").await.unwrap();
    let error = ledger.ping().await.unwrap_err();
    assert!(matches!(&error, StoreError::Schema(text) if text.contains("outreachd migrate")), "{error}");
}

/// Under another key no opt-out by address would be found.
pub(super) async fn a_ledger_stays_under_the_key_that_it_was_begun_with(ledger: Ledger) {
    let (first, second) = ([1; 32], [2; 32]);
    let is_refused = async |program: &dyn Store| match program.ping().await {
        Ok(_) => false,
        Err(StoreError::Key(OtherKey::Ledger)) => true,
        Err(other) => panic!("{other}"),
    };
    // A program without a key of its own leaves no mark, and whoever only asks leaves none either.
    ledger.take_key().await.unwrap();
    for program in [ledger.under(&first, &[]), ledger.under(&second, &[])] {
        assert!(!is_refused(program.as_ref()).await);
    }
    ledger.under(&first, &[]).take_key().await.unwrap();
    for (program, refused) in [
        (ledger.under(&first, &[]), false),
        (ledger.under(&first, &[[3; 32]]), false),
        (ledger.under(&second, &[]), true),
        (ledger.under(&second, &[first]), true),
        (ledger.another(), true),
    ] {
        program.take_key().await.unwrap();
        program.migrate().await.unwrap();
        assert_eq!(is_refused(program.as_ref()).await, refused);
    }
}

/// Workers of before went on while 0040 was read in: what they took has no lease of its own, what they await no row.
pub(super) async fn what_was_taken_while_leases_moved_is_nobodys_for_ever(ledger: Ledger) {
    if ledger.indexed_columns("messages").await.is_none() {
        return;
    }
    let (hand, attempt) = ledger.begun(job("sent")).await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Awaits).await;
    let taken = ledger.lease(job("taken")).await;
    for sql in [
        "DELETE FROM leases",
        "DELETE FROM awaited",
        "ALTER TABLE attempts DROP COLUMN cost",
        "DELETE FROM _sqlx_migrations WHERE version = 41",
    ] {
        ledger.execute(sql).await.unwrap();
    }
    ledger.migrate().await.unwrap();
    assert_eq!(ledger.take_over(10).await.unwrap().released, 1);
    let again = ledger.claim_new(10).await;
    assert_eq!(again.iter().map(|m| m.facts.id).collect::<Vec<_>>(), [taken.facts.id]);
    ledger.pass(seconds(73 * 3_600)).await;
    assert_eq!(ledger.end_receipt_waits(10).await.unwrap(), 1);
}

/// PostgreSQL writes a row anew with all its entries where a column changes that an index speaks of.
pub(super) async fn what_is_sent_touches_no_index_of_its_message(ledger: Ledger) {
    let Some(indexed) = ledger.indexed_columns("messages").await else { return };
    assert!(indexed.contains("claim_at") && indexed.contains("patient_id"), "{indexed:?}");
    for column in [
        "status",
        "reason",
        "channel",
        "step",
        "tries",
        "seq",
        "changed_at",
        "due_at",
        "lease_token",
        "last_attempt",
        "receipt_by",
        "explanation",
        "site",
    ] {
        assert!(!indexed.contains(column), "let the index speak of a generated column: {column}");
    }
}

/// The triggers of both databases let through what the domain calls legal, and nothing else.
pub(super) async fn a_status_moves_as_the_domain_says(ledger: Ledger) {
    for from in MessageStatus::ALL {
        for to in MessageStatus::ALL.iter().filter(|to| *to != from) {
            let name = format!("{from}-{to}");
            ledger.accept(job(&name)).await;
            for (status, legal) in [(from, true), (to, from.may_become(*to, false))] {
                let sql = format!("UPDATE messages SET status = '{status}' WHERE job_id = '{name}'");
                assert_eq!(ledger.execute(&sql).await.is_ok(), legal, "{from} -> {to}");
            }
        }
    }
    assert!(ledger.execute("UPDATE messages SET status = 'nonsense'").await.is_err());
}
