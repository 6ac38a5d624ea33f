//! Sends of which nobody knows are given to whoever can ask, until they are too old.

use outreachd::domain::status::AttemptStatus;
use outreachd::store::rows::{LookUpAsk, Then};

use super::ledger::{InHand, Ledger, worker};
use super::make::{job, provider, seconds};

const DAY: i64 = 24 * 3_600;

/// Begins so many, and loses the answers.
async fn lose(ledger: &Ledger, many: u32) {
    let jobs = (0..many).map(|n| job(&format!("{n}-of-{many}"))).collect();
    ledger.admit_all(jobs, 0).await;
    let (mut begins, mut results) = (Vec::new(), Vec::new());
    for message in ledger.claim_new(many).await {
        let hand = InHand::from(message);
        let begin = ledger.plan(&hand).await;
        let (unknown, then) = (AttemptStatus::Unknown, Then::Unknown);
        results.push(ledger.settlement(&hand, begin.attempt, unknown, then).await);
        begins.push(begin);
    }
    assert_eq!(ledger.begin(worker(), &begins).await.unwrap().attempts.len(), results.len());
    ledger.settle(&results).await.unwrap();
}

pub(super) async fn the_older_a_send_the_longer_it_is_left_alone(ledger: Ledger) {
    let ask = LookUpAsk { providers: vec![provider("twilio-main")], after: seconds(60), limit: 10 };
    lose(&ledger, 1).await;
    let mut asked = Vec::new();
    for minutes in [2, 2, 60, 3, 5, 24 * 60, 60, 120] {
        ledger.pass(seconds(minutes * 60)).await;
        asked.push(ledger.take_lost(&ask).await.unwrap().len());
    }
    assert_eq!(asked, [1, 1, 1, 0, 1, 1, 0, 1]);
}

pub(super) async fn what_is_too_old_is_looked_up_no_more_and_is_not_walked(ledger: Ledger) {
    let ask = LookUpAsk { providers: vec![provider("twilio-main")], after: seconds(1), limit: 10 };
    let taken = async || ledger.take_lost(&ask).await.unwrap().len();
    lose(&ledger, 1).await;
    ledger.pass(seconds(3 * DAY)).await;
    assert_eq!(taken().await, 1);
    assert_eq!(taken().await, 0, "it was looked for a moment ago");
    ledger.pass(seconds(5 * DAY)).await;
    assert_eq!(taken().await, 0, "too old, whenever it was looked for last");
    lose(&ledger, 10).await;
    ledger.pass(seconds(8 * DAY)).await;
    assert_eq!(taken().await, 0, "too old, though it was never looked for");
    let Some(before) = ledger.entries_read("attempts").await else { return };
    let many = "INSERT INTO attempts (id, message_id, step, number, status, provider, channel, address, address_index,
            dedupes, segments, template_hash, locale, worker, begun_at, looked_at)
        SELECT gen_random_uuid(), message_id, step, number, status, provider, channel, address, address_index,
            dedupes, segments, template_hash, locale, worker, begun_at, looked_at FROM attempts, generate_series(1, 500)";
    for sql in [many, "ANALYZE attempts"] {
        ledger.execute(sql).await.unwrap();
    }
    for _ in 0..10 {
        assert_eq!(taken().await, 0);
    }
    let read = ledger.entries_read("attempts").await.unwrap() - before;
    assert!(read < 2_000, "{read} entries read to find none");
}
