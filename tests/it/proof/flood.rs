//! One source sends far more than goes out, for as long as it likes; what another asks for now and then goes out soon.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use super::drain::{SOURCE, round};
use super::rig::{Plan, Rig};
use crate::campaign::urgent::{urgent_reminders, with_priority};
use crate::support::house::job;

const PEOPLE: usize = 200;
/// Another source; its name is the last.
const OTHER: &str = "sleep-lab";
/// What the flood brings in each tenth of a second: eight times what the provider takes.
const FLOOD: usize = 40;
/// The other's wait for what is before them in the lanes of all workers, which hold five seconds of work, and not for the flood.
const LONGEST: Duration = Duration::from_secs(12);
const HEARTBEAT: Duration = Duration::from_secs(2);

/// So many seconds of a flood of the one priority, over so many workers; the other source's jobs have the second.
pub(crate) async fn flood(
    name: &str,
    plan: Plan,
    [flood, priority]: [&str; 2],
    workers: usize,
    seconds: usize,
) {
    let mut rig = Rig::build(Plan { sms_limits: &["50/s"], ..plan }).await;
    rig.know_everybody(PEOPLE).await;
    let templates = urgent_reminders(&rig);
    let mut crew: Vec<_> = (0..workers)
        .map(|_| rig.worker_with(&[("OUTREACHD_TEMPLATES__DIR", templates.to_str().unwrap())]))
        .collect();
    // Each has to know of the others: what a lane holds is shared from the next sign of life on.
    rig.until("workers", "SELECT count(*) FROM workers", i64::try_from(workers).unwrap(), LONGEST).await;
    tokio::time::sleep(2 * HEARTBEAT).await;
    let of = |source: &str, priority: &str, id: &str, n: usize| {
        let mut job = job(id, &format!("P{}", n % PEOPLE));
        job["source"] = json!(source);
        with_priority(job, priority)
    };
    let mut asked = HashMap::new();
    for second in 0..seconds {
        for tick in 0..10 {
            let first = (second * 10 + tick) * FLOOD;
            let some = (first..first + FLOOD).map(|n| of(SOURCE, flood, &format!("f{n}"), n));
            rig.publish(&format!("job.{flood}"), some.collect()).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let id = format!("o{second}");
        asked.insert(id.clone(), jiff::Timestamp::now().as_microsecond());
        rig.publish(&format!("job.{priority}"), vec![of(OTHER, priority, &id, second)]).await;
    }
    let sent = format!("SELECT count(*) FROM messages WHERE source = '{OTHER}' AND status = 'sent'");
    rig.until("the other source", &sent, i64::try_from(seconds).unwrap(), 2 * LONGEST).await;
    let left = format!("SELECT count(*) FROM messages WHERE source = '{SOURCE}' AND status <> 'sent'");
    let left = rig.number(&left).await;
    for worker in &mut crew {
        worker.assert_alive();
        worker.kill();
    }
    let rows: Vec<(String, uuid::Uuid)> = sqlx::query_as("SELECT job_id, id FROM messages WHERE source = $1")
        .bind(OTHER)
        .fetch_all(&rig.sql)
        .await
        .unwrap();
    let names: HashMap<String, String> =
        rows.into_iter().map(|(job, id)| (format!("{}-0", id.simple()), job)).collect();
    let mut took: Vec<i64> = rig
        .simulator
        .hits()
        .iter()
        .filter_map(|hit| Some(hit.wall_us - asked[names.get(hit.send_key.as_ref()?.as_str())?]))
        .collect();
    took.sort_unstable();
    let ms = |percent: usize| round(took[(took.len() - 1) * percent / 100] as f64 / 1_000.0);
    println!(
        "{}",
        json!({ "run": name, "flood": flood, "priority": priority, "workers": workers, "seconds": seconds, "p50_ms": ms(50), "p99_ms": ms(99),
            "max_ms": ms(100), "flood_left": left })
    );
    assert_eq!(took.len(), seconds, "each has arrived, once");
    assert!(left > 0, "the flood was still there");
    assert!(ms(100) <= LONGEST.as_secs_f64() * 1_000.0, "one of the other source took {} ms", ms(100));
}
