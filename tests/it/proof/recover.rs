//! Dump, run on, restore, recover: whoever was written to since the dump is not written to again, whoever said stop since
//! is left alone, and what was not sent goes out once a person has let it go.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use outreachd::domain::ids::SendKey;
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row as _};

use super::drain::{SOURCE, phone, reminder};
use super::rig::{Plan, Rig};
use crate::support::shared::TestDatabase;

/// How much there is, one job a patient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restore {
    pub(crate) jobs: usize,
    /// Jobs that come in after the dump.
    pub(crate) late: usize,
    /// Patients who say stop after the dump.
    pub(crate) stops: usize,
}

/// Runs it. A fifth is sent before the dump, a fifth after it, and some while it is taken.
pub(crate) async fn restored(name: &str, plan: Plan, restore: Restore) {
    let Restore { jobs, late, stops } = restore;
    let mut rig = Rig::build(plan).await;
    let all = jobs + late;
    rig.know_everybody(all).await;
    let bodies = |from, to| (from..to).map(|n| reminder(&format!("r{n}"), n)).collect::<Vec<_>>();
    let mut worker = rig.worker();
    rig.publish("job", bodies(0, jobs)).await;
    let keys = "SELECT count(*) FROM job_keys";
    rig.until("all jobs in the ledger", keys, i64::try_from(jobs).unwrap(), Duration::from_secs(60)).await;
    rig.simulator.wait_for_hits(jobs as u64 / 5).await;
    let dump = rig.dir.path().join("ledger.dump");
    let taken_at = jiff::Timestamp::now();
    postgres("pg_dump", &["--format=custom", "--file", &dump.display().to_string(), &rig.database_url()]);
    let at_dump = rig.simulator.hits().len();

    // It runs on: more jobs come in, urgent ones so that some of them are sent as well.
    rig.publish("job.urgent", bodies(jobs, all)).await;
    rig.simulator.wait_for_hits((at_dump + jobs / 5) as u64).await;
    worker.kill();
    let hits = rig.simulator.hits();
    let (log, events) = evidence(&rig, &hits).await;
    let before: HashMap<Value, usize> = by_recipient(&rig);
    let unsent = unsent(&rig.sql).await;
    let stopped: Vec<usize> = unsent.iter().copied().filter(|n| *n < jobs).take(stops).collect();
    assert_eq!(stopped.len(), stops, "enough are left to say stop");
    // Half of the stops are in the provider's list, half were told as events.
    let (listed, told) = stopped.split_at(stops / 2);
    let list = rig.dir.path().join("stops.csv");
    let rows: Vec<String> = listed.iter().map(|n| phone(*n)).collect();
    std::fs::write(&list, format!("address\n{}\n", rows.join("\n"))).unwrap();
    append(&events, told.iter().map(|n| {
        let at = jiff::Timestamp::now();
        json!({ "type": "reply.stop", "at": at, "patient_id": format!("P{n}"), "channel": "sms", "source": SOURCE })
    }));

    let database = TestDatabase::create_on(&server_of(&rig.database_url())).await;
    postgres("pg_restore", &["--no-owner", "--dbname", &database.url(), &dump.display().to_string()]);
    let sql = PgPoolOptions::new().max_connections(2).connect(&database.url()).await.unwrap();
    let url = database.url();
    let config = rig.dir.path().join("outreachd.toml");
    let command = |words: &[&str]| outreachd(&config, &url, words);
    let (t, paths) = (taken_at.to_string(), [&log, &events, &list].map(|path| path.display().to_string()));
    let words = ["recover", "--json", "--restored-to", &t, "--sent", &paths[0], "--sent", &paths[1]];
    let said = command(&[&words[..], &["--optouts", &paths[2], "--complete"]].concat());
    let said: Value = serde_json::from_str(&said).unwrap();
    let hold = said["hold"].as_str().unwrap().to_owned();

    // The sources send all of it again: what the ledger has forgotten comes back.
    let mut worker = rig.worker_with(&[("OUTREACHD_STORE__URL", &url)]);
    rig.publish("job", bodies(0, all)).await;
    until(&sql, keys, i64::try_from(all).unwrap()).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(rig.simulator.hits().len(), hits.len(), "nothing leaves before a person releases");

    command(&["release", &hold]);
    let open = "SELECT -count(*) FROM messages WHERE due_at IS NOT NULL OR lease_token IS NOT NULL";
    until(&sql, open, 0).await;
    worker.assert_alive();
    worker.stop();
    let after = by_recipient(&rig);
    let repeats = after.values().filter(|count| **count > 1).count();
    assert_eq!(repeats, 0, "{repeats} people were written to twice");
    assert!(before.keys().all(|to| after.contains_key(to)));
    assert_eq!(after.len(), all - stops, "all are written to but those who said stop: {said}");
    let refused = "SELECT count(*) FROM messages WHERE reason = 'opted_out'";
    assert_eq!(number(&sql, refused).await, i64::try_from(stops).unwrap());
    let unknown = "SELECT count(*) FROM messages WHERE status = 'unknown'";
    assert_eq!(number(&sql, unknown).await, 0, "{said}");
    println!(
        "{}",
        json!({ "run": name, "restore": format!("{restore:?}"), "sent_at_dump": at_dump, "sent_at_crash": hits.len(),
            "sent_at_the_end": after.len(), "repeats": repeats, "said": said })
    );
}

/// What left, as the sink wrote it down, and the events as a subscriber kept them.
async fn evidence(rig: &Rig, hits: &[outreachd::simulator::Hit]) -> (PathBuf, PathBuf) {
    let log = rig.dir.path().join("sink.ndjson");
    append(&log, hits.iter().map(|hit| serde_json::to_value(hit).unwrap()));
    let events = rig.dir.path().join("events.ndjson");
    append(&events, rig.tap.drain().await.iter().map(super::tap::Heard::json));
    (log, events)
}

fn append(path: &Path, lines: impl Iterator<Item = Value>) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    let mut file = std::io::BufWriter::new(file);
    lines.for_each(|line| writeln!(file, "{line}").unwrap());
}

/// How often each address was written to.
fn by_recipient(rig: &Rig) -> HashMap<Value, usize> {
    let mut counts = HashMap::new();
    for hit in rig.simulator.hits() {
        let key = hit.send_key.as_ref().and_then(|key| SendKey::parse(key.as_str()));
        assert!(key.is_some(), "every hit has its key");
        *counts.entry(serde_json::to_value(hit.to).unwrap()).or_default() += 1;
    }
    counts
}

/// The patients of whom no attempt had begun when the worker died.
async fn unsent(sql: &PgPool) -> Vec<usize> {
    let open = "SELECT m.patient_id FROM messages m WHERE m.last_attempt IS NULL ORDER BY m.id DESC";
    let rows = sqlx::query(open).fetch_all(sql).await.unwrap();
    let people: HashSet<usize> =
        rows.iter().map(|row| row.get::<&str, _>(0).trim_start_matches('P').parse().unwrap()).collect();
    let mut people: Vec<usize> = people.into_iter().collect();
    people.sort_unstable();
    people
}

async fn until(sql: &PgPool, statement: &str, least: i64) {
    let end = std::time::Instant::now() + Duration::from_secs(120);
    loop {
        let now = number(sql, statement).await;
        if now >= least {
            return;
        }
        assert!(std::time::Instant::now() < end, "waited in vain: {now} of {least}: {statement}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn number(sql: &PgPool, statement: &str) -> i64 {
    sqlx::query(AssertSqlSafe(statement.to_owned())).fetch_one(sql).await.unwrap().get(0)
}

fn server_of(url: &str) -> String {
    format!("{}/postgres", url.rsplit_once('/').unwrap().0)
}

/// A program of PostgreSQL's, the newest that is installed.
fn postgres(program: &str, words: &[&str]) {
    let folder = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = folder.map(|entry| entry.path().join("bin").join(program)).collect();
    found.retain(|path| path.exists());
    found.sort();
    let path = found.pop().unwrap_or_else(|| PathBuf::from(program));
    let done = Command::new(path).args(words).output().expect("PostgreSQL's client programs are installed");
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
}

fn outreachd(config: &Path, url: &str, words: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_outreachd"))
        .arg("--config")
        .arg(config)
        .args(words)
        .env("OUTREACHD_STORE__URL", url)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{words:?}: {out}{err}");
    out.into_owned()
}
