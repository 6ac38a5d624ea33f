//! The schema is made once, by whoever comes first, and guards the statuses by itself.

use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::Reason;
use outreachd::store::StoreError;

use super::ledger::Ledger;
use super::make::job;

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

pub(super) async fn a_status_never_falls_in_rank(ledger: Ledger) {
    let id = ledger.sent(job("a")).await;
    for lower in ["accepted", "held", "sending", "unknown", "cancelled", "suppressed", "expired", "nonsense"]
    {
        let moved = ledger.execute(&format!("UPDATE messages SET status = '{lower}'")).await;
        assert!(moved.is_err(), "sent -> {lower}");
    }
    assert_eq!(ledger.standing(id).await, (MessageStatus::Sent, None));
    for higher in ["failed", "delivered", "read"] {
        ledger.execute(&format!("UPDATE messages SET status = '{higher}'")).await.unwrap();
    }
}

pub(super) async fn what_was_taken_back_stays_taken_back(ledger: Ledger) {
    let id = ledger.accept(job("a")).await;
    for equal in ["held", "scheduled", "accepted"] {
        ledger.execute(&format!("UPDATE messages SET status = '{equal}'")).await.unwrap();
    }
    ledger.execute("UPDATE messages SET status = 'cancelled', reason = 'cancelled'").await.unwrap();
    for other in ["accepted", "sending", "sent", "read", "expired"] {
        let moved = ledger.execute(&format!("UPDATE messages SET status = '{other}'")).await;
        assert!(moved.is_err(), "cancelled -> {other}");
    }
    assert_eq!(ledger.standing(id).await, (MessageStatus::Cancelled, Some(Reason::Cancelled)));
}
