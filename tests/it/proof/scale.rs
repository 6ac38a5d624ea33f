//! How it goes in large: over a ledger of years, with everything due in one moment.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::auditor::audit;
use super::drain::{people, reminder, round, sync_ms};
use super::rig::{Plan, Rig};
use crate::support::house::job;

/// How long a drain may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Drains the same queue beside an empty ledger and beside one of so many messages, in turns, so often; the full one keeps at
/// least this share of the pace.
pub(crate) async fn grown(name: &str, plan: Plan, messages: u32, jobs: usize, rounds: usize, least: f64) {
    let (mut empty, mut full) = (Rig::build(plan.clone()).await, Rig::build(plan).await);
    empty.know_everybody(people(jobs)).await;
    full.know_everybody(people(jobs)).await;
    let filling = Instant::now();
    let mut ledger = PgConnection::connect(&full.database_url()).await.unwrap();
    let text = include_str!("../http/pages.sql").replace(":messages", &messages.to_string());
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut ledger).await.unwrap();
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut ledger).await.unwrap();
    sqlx::raw_sql("CHECKPOINT").execute(&mut ledger).await.unwrap();
    ledger.close().await.unwrap();
    let filled = filling.elapsed();
    let rows = full.number("SELECT count(*) FROM messages").await;
    let size = full.number("SELECT pg_database_size(current_database()) / 1000000").await;

    let (mut in_empty, mut in_full) = (Vec::new(), Vec::new());
    for n in 0..rounds {
        let word = format!("round-{n}-");
        // Each goes first as often as it goes last.
        if n % 2 == 0 {
            in_empty.push(pace(&mut empty, &word, jobs).await);
            in_full.push(pace(&mut full, &word, jobs).await);
        } else {
            in_full.push(pace(&mut full, &word, jobs).await);
            in_empty.push(pace(&mut empty, &word, jobs).await);
        }
    }
    let share = median(&in_full) / median(&in_empty);
    println!(
        "{}",
        json!({ "run": name, "messages": rows, "megabytes": size, "filled_in_seconds": round(filled.as_secs_f64()),
            "jobs": jobs, "empty_per_second": in_empty, "full_per_second": in_full, "ratio": round(share),
            "sync_ms": sync_ms() })
    );
    assert!(share >= least, "beside {rows} messages it keeps {share:.3} of its pace, {least} are asked");
}

/// Jobs a second, from the start of the worker until the last event is told.
async fn pace(rig: &mut Rig, word: &str, jobs: usize) -> f64 {
    let before = rig.simulator.hits().len();
    let newest: Option<uuid::Uuid> = sqlx::query_scalar("SELECT id FROM messages ORDER BY id DESC LIMIT 1")
        .fetch_optional(&rig.sql)
        .await
        .unwrap();
    // Ids rise with time: only this round's are looked at, as nobody asks a ledger of years for all that it has.
    let in_hand = format!(
        "SELECT -count(*) FROM messages WHERE id > '{}' AND lease_token IS NOT NULL",
        newest.unwrap_or_default()
    );
    let bodies = (0..jobs).map(|n| reminder(&format!("{word}{n}"), n % people(jobs))).collect();
    rig.publish("job", bodies).await;
    let started = Instant::now();
    let mut worker = rig.worker();
    let arrived = rig.simulator.wait_for_hits((before + jobs) as u64);
    tokio::time::timeout(PATIENCE, arrived).await.unwrap();
    rig.until("what is in hand", &in_hand, 0, PATIENCE).await;
    rig.until("an empty outbox", "SELECT -count(*) FROM outbox", 0, PATIENCE).await;
    let seconds = started.elapsed().as_secs_f64();
    worker.stop();
    assert_eq!(rig.simulator.hits().len(), before + jobs, "each is sent once");
    round(jobs as f64 / seconds)
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

/// So many messages wait for one moment: none leaves before it, and the last within `most` of it. They come in while the
/// moment is `ahead`.
pub(crate) async fn all_at_nine(name: &str, plan: Plan, jobs: usize, ahead: Duration, most: Duration) {
    let mut rig = Rig::build(plan).await;
    rig.know_everybody(people(jobs)).await;
    let mut worker = rig.worker();
    worker.until_it_answers().await;
    let moment = jiff::Timestamp::now() + ahead;
    let due_us = rig.simulator.now_us() + u64::try_from(ahead.as_micros()).unwrap();
    let bodies = (0..jobs)
        .map(|n| {
            let mut body = job(&format!("n{n}"), &format!("P{}", n % people(jobs)));
            body["not_before"] = json!(moment);
            body.to_string().into_bytes()
        })
        .collect();
    rig.publish("job", bodies).await;
    let wanted = i64::try_from(jobs).unwrap();
    rig.until("all jobs in the ledger", "SELECT count(*) FROM job_keys", wanted, PATIENCE).await;
    assert!(jiff::Timestamp::now() < moment, "they were not all in before their moment: give them longer");

    tokio::time::timeout(PATIENCE, rig.simulator.wait_for_hits(jobs as u64)).await.unwrap();
    rig.until_quiet(wanted, PATIENCE).await;
    worker.assert_alive();
    let usage = vec![worker.usage()];
    worker.stop();
    let hits = rig.simulator.hits();
    let mut after: Vec<i64> = hits.iter().map(|hit| hit.at_us.cast_signed() - due_us.cast_signed()).collect();
    after.sort_unstable();
    // The ledger's clock and this process's are one machine's, asked a moment apart.
    assert!(after[0] > -5_000, "one left {} us before its moment", -after[0]);
    assert_eq!(after.len(), jobs, "each is sent once");
    let last = Duration::from_micros(after[jobs - 1].cast_unsigned());
    let evidence = rig.evidence((0..jobs).map(|n| format!("n{n}")).collect(), usage).await;
    let figures = json!({ "jobs": jobs, "first_ms": after[0] / 1_000, "half_ms": after[jobs / 2] / 1_000,
        "last_ms": last.as_millis() as u64, "sync_ms": sync_ms() });
    audit(&rig.sql, &evidence).await.close(name, figures);
    assert!(last <= most, "the last one left {last:?} after the moment, {most:?} are allowed");
}
