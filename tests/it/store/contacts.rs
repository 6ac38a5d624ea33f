//! What a carrier says of addresses goes on record, though one of them cannot be read.

use outreachd::domain::failure::Failure;
use outreachd::domain::receipt::{Receipt, Said};
use outreachd::domain::status::AttemptStatus;
use outreachd::store::rows::Then;

use super::ledger::Ledger;
use super::make::{Shape as _, job, patient};
use super::receive::about;

pub(super) async fn an_address_that_cannot_be_read_keeps_no_other_stop_off_the_record(ledger: Ledger) {
    let both = ["P1", "P2"].map(|name| patient(name, "2026-01-01T00:00:00Z"));
    ledger.upsert_patients(both.to_vec()).await.unwrap();
    let mut refused = Vec::new();
    for (name, of) in [("a", "P1"), ("b", "P2")] {
        let (hand, attempt) = ledger.begun(job(name).patient(of)).await;
        ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Awaits).await;
        let said = about(hand.facts.id, 0, "SM1", Said::Undelivered(Failure::OptedOut));
        refused.push(Receipt { code: Some("21610".to_owned()), ..said });
    }
    // Without the byte that tells its form.
    let altered = "UPDATE attempts SET address = substr(address, 2)
         WHERE message_id IN (SELECT id FROM messages WHERE job_id = 'a')";
    assert_eq!(ledger.execute(altered).await.unwrap(), 1);
    assert_eq!(ledger.receive(&refused).await.unwrap().moved, 2);
    let kept =
        "UPDATE address_consents SET evidence = evidence WHERE evidence LIKE 'refused by % with code 21610'";
    assert_eq!(ledger.execute(kept).await.unwrap(), 1);
}
