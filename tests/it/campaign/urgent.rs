//! Urgent messages beside a blast, with the bulk queue full: from the moment at which one is published to its arrival
//! outside.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use outreachd::app;
use outreachd::campaign::{Office, Wish};
use outreachd::config::Config;
use serde_json::{Value, json};

use super::blast::audience;
use super::{bring, name, plan};
use crate::proof::drain::{phone, round};
use crate::proof::rig::{Plan, Rig};
use crate::support::copy_templates;
use crate::support::house::{job, patient};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside {
    /// Whom the blast is for.
    pub(crate) people: u32,
    /// Jobs in the queue of what can wait.
    pub(crate) bulk: usize,
    /// Urgent messages, and the time between two.
    pub(crate) urgent: usize,
    pub(crate) each: Duration,
    /// The 99th percentile, at most.
    pub(crate) goal: Duration,
}

/// Runs it.
pub(crate) async fn beside(title: &str, rig: Plan, size: Beside) {
    let mut rig = Rig::build(rig).await;
    let people: Vec<Value> = (0..500).map(|n| patient(&format!("U{n}"), "sms", &phone(n))).collect();
    rig.know(&people).await;
    let templates = urgent_reminders(&rig);
    let mut config =
        Config::from_toml(&std::fs::read_to_string(rig.dir.path().join("outreachd.toml")).unwrap()).unwrap();
    config.templates.dir = templates.clone();
    let config = std::sync::Arc::new(config);
    let catalogue = app::load_catalogue(&templates).unwrap();
    let gatekeeper = outreachd::intake::Gatekeeper::new(config.clone(), catalogue.clone());
    let store = app::open_store(&config).await.unwrap();
    let office = Office { store, config, catalogue, gatekeeper, dispatcher: None };
    let asked = plan("blast", json!({"canary": 0, "auto_pause": {"error_percent": 100, "after": 1_000_000}}));
    office.create(&asked, "ann").await.unwrap();
    assert_eq!(bring(&office, &asked, &audience(size.people), "ann").await.0.added, u64::from(size.people));
    office.wish(&name("blast"), "bob", &Wish::Approve(u64::from(size.people), None)).await.unwrap();
    office.wish(&name("blast"), "ann", &Wish::Start).await.unwrap();
    let waits =
        (0..size.bulk).map(|n| with_priority(job(&format!("b{n}"), &format!("U{}", n % 500)), "bulk"));
    rig.publish("job.bulk", waits.collect()).await;

    let mut worker = rig.worker_with(&[("OUTREACHD_TEMPLATES__DIR", templates.to_str().unwrap())]);
    // It is in full swing: the first two seconds of a worker's life, with connections and statements to be made, are
    // no measure of what comes after.
    rig.simulator.wait_for_hits(u64::from(size.people / 20).clamp(600, 10_000)).await;
    let mut published: HashMap<String, i64> = HashMap::new();
    for n in 0..size.urgent {
        let id = format!("u{n}");
        published.insert(id.clone(), jiff::Timestamp::now().as_microsecond());
        rig.publish("job.urgent", vec![with_priority(job(&id, &format!("U{}", n % 500)), "urgent")]).await;
        tokio::time::sleep(size.each).await;
    }
    let left = rig.number("SELECT count(*) FROM messages WHERE priority = 2 AND status IN ('accepted', 'scheduled', 'held')").await;
    let queued = rig.tap.depths(&["jobs"]).await;
    let sql = "SELECT count(*) FROM messages WHERE priority = 0 AND status = 'sent'";
    rig.until("the urgent ones sent", sql, i64::try_from(size.urgent).unwrap(), Duration::from_secs(60))
        .await;
    // When the ledger had each, and when its attempt was begun, by the clock of the ledger, which is this machine's.
    let at = |column: &str| format!("(EXTRACT(EPOCH FROM {column}) * 1000000)::bigint");
    let (accepted, begun) = (at("m.accepted_at"), at("a.begun_at"));
    let sql = format!(
        "SELECT m.job_id, m.id, {accepted}, {begun} FROM messages m JOIN attempts a ON a.id = m.last_attempt WHERE m.priority = 0"
    );
    let sent: Vec<(String, uuid::Uuid, i64, i64)> =
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&rig.sql).await.unwrap();
    let arrived: HashMap<String, i64> = rig
        .simulator
        .hits()
        .into_iter()
        .filter_map(|hit| Some((hit.send_key?.as_str().to_owned(), hit.wall_us)))
        .collect();
    let stages = |(job, id, accepted, begun): &(String, uuid::Uuid, i64, i64)| {
        let (from, to) = (published[job], arrived.get(&format!("{}-0", id.simple()))?);
        Some([to - from, accepted - from, begun - accepted, to - begun])
    };
    let mut took: Vec<[i64; 4]> = sent.iter().filter_map(stages).collect();
    worker.kill();
    assert_eq!(took.len(), size.urgent, "each has arrived");
    took.sort_unstable();
    let slowest: Vec<_> =
        took.iter().rev().take(10).map(|stages| stages.map(|us| round(us as f64 / 1_000.0))).collect();
    let ms = |stage: usize, percent: usize| {
        let mut all: Vec<i64> = took.iter().map(|one| one[stage]).collect();
        all.sort_unstable();
        round(all[(all.len() - 1) * percent / 100] as f64 / 1_000.0)
    };
    let [to_ledger, to_begin, to_arrival] =
        [1, 2, 3].map(|stage| json!({"p50_ms": ms(stage, 50), "p99_ms": ms(stage, 99)}));
    println!(
        "{}",
        json!({
            "proof": title, "people": size.people, "bulk_jobs": size.bulk, "urgent": size.urgent,
            "p50_ms": ms(0, 50), "p95_ms": ms(0, 95), "p99_ms": ms(0, 99), "max_ms": ms(0, 100),
            "until_accepted": to_ledger, "until_begun": to_begin, "until_arrived": to_arrival,
            "slowest": slowest,
            "bulk_left_in_ledger": left, "left_in_queue": queued,
        })
    );
    assert!(left > 0, "the blast was still under way");
    assert!(ms(0, 99) <= size.goal.as_secs_f64() * 1_000.0, "{} ms", ms(0, 99));
}

/// The same templates, and reminders that may be urgent.
pub(crate) fn urgent_reminders(rig: &Rig) -> PathBuf {
    let templates = rig.dir.path().join("templates");
    copy_templates(&templates);
    let manifest = templates.join("appointment-reminder/template.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let text = text.replace("priority = \"normal\"", "priority = \"urgent\"");
    std::fs::write(&manifest, text).unwrap();
    templates
}

pub(crate) fn with_priority(mut job: Value, priority: &str) -> Vec<u8> {
    job["priority"] = json!(priority);
    job.to_string().into_bytes()
}
