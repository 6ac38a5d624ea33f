//! More is brought than goes out, for as long as anybody likes: it waits in the ledger, and the worker does not grow.

use std::time::{Duration, Instant};

use outreachd::simulator::ProviderKind;
use serde_json::json;

use super::drain::{reminder, round};
use super::rig::{Plan, Rig};

const PEOPLE: usize = 200;
/// What the provider takes in a second, and how many times as much is brought.
const LIMIT: usize = 500;
const TIMES: usize = 5;
/// How often some are brought.
const EACH: Duration = Duration::from_millis(100);
const A_SECOND: usize = 10;
/// By then the worker has made its connections and filled its room.
const WARM_UP: usize = 10;
/// By how much its memory may be more than it was then, in percent.
const GROWN: u64 = 10;

/// So many seconds of it.
pub(crate) async fn pressure(name: &str, plan: Plan, seconds: usize) {
    let mut rig = Rig::build(Plan { sms_limits: &["500/s"], ..plan }).await;
    rig.know_everybody(PEOPLE).await;
    let mut worker = rig.worker();
    worker.until_it_answers().await;
    let mut tick = tokio::time::interval(EACH);
    let (mut brought, mut rss_mb) = (0, Vec::new());
    let started = Instant::now();
    for n in 0..seconds * A_SECOND {
        tick.tick().await;
        let some = brought..brought + TIMES * LIMIT / A_SECOND;
        brought = some.end;
        rig.publish("job", some.map(|n| reminder(&format!("p{n}"), n % PEOPLE)).collect()).await;
        if n >= WARM_UP * A_SECOND {
            rss_mb.push(worker.usage().last_rss_mb);
        }
    }
    let took = started.elapsed().as_secs_f64();
    let sent = rig.simulator.stats().of(ProviderKind::TwilioSms).taken;
    let known = rig.number("SELECT count(*) FROM job_keys").await;
    worker.assert_alive();
    worker.kill();
    let (first, least, most) = (rss_mb[0], *rss_mb.iter().min().unwrap(), *rss_mb.iter().max().unwrap());
    println!(
        "{}",
        json!({ "run": name, "seconds": round(took), "limit": LIMIT, "brought": brought, "in_the_ledger": known, "sent": sent,
            "rss_mb": first, "least_rss_mb": least, "most_rss_mb": most })
    );
    assert!(took <= seconds as f64 * 1.1, "it took {took:.1} s to bring what {seconds} s should");
    assert!(2 * sent >= (LIMIT * seconds) as u64, "the worker has all but stopped: {sent} are sent");
    let is_flat = most * 100 <= first * (100 + GROWN);
    assert!(is_flat, "of {first} MB after {WARM_UP} s its memory went to {most}");
}
