//! A source that suddenly sends far more than ever is held; everything else flows.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::auditor::Report;
use super::drain::{SOURCE, round};
use super::rig::{Plan, Rig};
use crate::support::house::job;

const PEOPLE: usize = 200;

/// Another source that uses the same template.
const OTHER: &str = "lab";

fn of(source: &str, id: &str, n: usize) -> Value {
    let mut job = job(id, &format!("P{}", n % PEOPLE));
    job["source"] = json!(source);
    job
}

/// `jobs` of a source whose busiest hour had `busiest`, of which about `line` may pass; behind them in the same queue
/// those of another source with the same template, which flow. Then a person lets the surge go.
pub(crate) async fn surge(name: &str, plan: Plan, jobs: usize, busiest: i64, line: i64) {
    let mut rig = Rig::build(plan).await;
    rig.know_everybody(PEOPLE).await;
    for source in [SOURCE, OTHER] {
        let seed = format!(
            "INSERT INTO arrivals (hour, source, template, count) VALUES
             (floor(extract(epoch FROM now()) / 3600)::bigint - 50, '{source}', 'appointment-reminder', {busiest})"
        );
        sqlx::query(AssertSqlSafe(seed)).execute(&rig.sql).await.unwrap();
    }
    let mut worker = rig.worker();
    let started = Instant::now();
    let wave: Vec<Vec<u8>> =
        (0..jobs).map(|n| of(SOURCE, &format!("w{n}"), n).to_string().into_bytes()).collect();
    rig.publish("job", wave).await;
    rig.until(
        "the wave in the ledger",
        "SELECT count(*) FROM job_keys",
        count(jobs),
        Duration::from_secs(120),
    )
    .await;
    let taken_seconds = started.elapsed().as_secs_f64();
    // Each of these waits in the same queue and uses the same template.
    let asked = Instant::now();
    let others: Vec<Vec<u8>> =
        (0..20).map(|n| of(OTHER, &format!("o{n}"), n).to_string().into_bytes()).collect();
    rig.publish("job", others).await;
    let sent_of = |source: &str, more: &str| {
        format!("SELECT count(*) FROM messages WHERE source = '{source}' AND status = 'sent' {more}")
    };
    rig.until("the other source", &sent_of(OTHER, ""), 20, Duration::from_secs(30)).await;
    let others_ms = asked.elapsed().as_millis();

    let waiting = format!(
        "SELECT count(*) FROM messages WHERE source = '{SOURCE}' AND status = 'held' AND reason = 'surge_hold'"
    );
    let settled = format!(
        "SELECT count(*) FROM messages WHERE source = '{SOURCE}' AND (status = 'sent' OR (status = 'held' AND reason = 'surge_hold'))"
    );
    rig.until("the wave at rest", &settled, count(jobs), Duration::from_secs(120)).await;
    let (sent, held) = (rig.number(&sent_of(SOURCE, "")).await, rig.number(&waiting).await);
    let batch = 1_500;
    assert!(sent <= line + batch, "{sent} went out, {line} may");
    assert!(held > 0, "and the rest waits");
    assert_eq!(rig.number("SELECT count(*) FROM holds").await, 1, "one hold, on the source alone");
    let called = "SELECT count(*) FROM work_items WHERE kind = 'surge_hold'";
    rig.until("its work item told of", &format!("{called} AND alerts = 1"), 1, Duration::from_secs(10)).await;
    assert_eq!(rig.number(called).await, 1, "one call for it");

    let holds = rig.store.holds().await.unwrap();
    assert_eq!(i64::try_from(holds[0].held).unwrap(), held);
    let released = Instant::now();
    assert!(rig.store.release_hold(holds[0].hold.id, "u1", None).await.unwrap());
    let call_ms = released.elapsed().as_millis();
    rig.until_quiet(count(jobs) + 20, Duration::from_secs(300)).await;
    let all_seconds = released.elapsed().as_secs_f64();
    assert_eq!(rig.number("SELECT count(*) FROM holds WHERE released_at IS NULL").await, 0, "not held again");
    let usage = worker.usage();
    worker.stop();
    let hits = rig.simulator.hits();
    let keys: HashSet<String> =
        hits.iter().filter_map(|hit| Some(hit.send_key.as_ref()?.as_str().to_owned())).collect();
    assert_eq!((hits.len(), keys.len()), (jobs + 20, jobs + 20), "each once");
    Report::default().close(
        name,
        json!({ "jobs": jobs, "busiest_hour_before": busiest, "line": line, "sent_before_the_hold": sent, "held": held,
            "seconds_to_take_in": round(taken_seconds), "others_sent_within_ms": others_ms, "release_call_ms": call_ms,
            "seconds_from_release_to_all_sent": round(all_seconds), "worker": usage }),
    );
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap()
}
