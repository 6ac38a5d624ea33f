//! A million rows, and a kill in the middle.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outreachd::app;
use outreachd::config::Config;
use serde_json::json;

use super::{name, settings};
use crate::support::shared::TestDatabase;

/// Imports `rows` by command, killed once on the way; then a worker makes messages of all of them, killed `kills` times.
/// The start lies in the future, so that nothing is sent beside it.
pub(crate) async fn million(title: &str, rows: u64, kills: u32) {
    let database = TestDatabase::migrated().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&database.url(), "capture");
    std::fs::write(folder.path().join("outreachd.toml"), &settings).unwrap();
    let mut csv = std::io::BufWriter::new(std::fs::File::create(folder.path().join("people.csv")).unwrap());
    writeln!(csv, "patient_id,practitioner").unwrap();
    for n in 1..=rows {
        writeln!(csv, "P{n:07},Dr. Chen {}", n % 100).unwrap();
    }
    csv.flush().unwrap();
    let store = app::open_store(&Config::from_toml(&settings).unwrap()).await.unwrap();
    store.migrate().await.unwrap();

    let import = |id: &str| {
        Command::new(env!("CARGO_BIN_EXE_outreachd"))
            .args([
                "campaign",
                "create",
                id,
                "--template",
                "appointment-reminder",
                "--source",
                "lakeside-ehr",
            ])
            .args([
                "--data",
                "starts_at=2036-12-01T15:30:00-06:00",
                "--audience",
                "people.csv",
                "--canary",
                "0",
                "--start",
                "2036-11-28T10:00:00-06:00",
            ])
            .current_dir(folder.path())
            .env("USER", "ann")
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap()
    };
    let began = Instant::now();
    let mut whole = import("whole");
    let mut peak_kb = 0;
    while whole.try_wait().unwrap().is_none() {
        peak_kb = peak_kb.max(rss_kb(whole.id()));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let imported = began.elapsed();
    assert!(whole.wait().unwrap().success());

    // The same once more, killed in the middle and given again.
    let mut cut = import("cut");
    let some = async || store.campaign(&name("cut")).await.unwrap().map_or(0, |(row, _)| row.recipients);
    while some().await < rows / 4 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    cut.kill().unwrap();
    cut.wait().unwrap();
    let before = some().await;
    assert!(import("cut").wait().unwrap().success());
    let (row, _) = store.campaign(&name("cut")).await.unwrap().unwrap();
    let (other, _) = store.campaign(&name("whole")).await.unwrap().unwrap();
    assert_eq!((row.recipients, row.audience), (rows, other.audience), "each once, and the same ones");

    let (expanded, worker_mb) = expand(&folder, &settings, rows, kills, &database).await;
    println!(
        "{}",
        json!({
            "proof": title, "rows": rows, "import_s": imported.as_secs_f64(), "import_peak_rss_mb": peak_kb / 1024,
            "killed_at": before, "kills_in_expansion": kills, "expansion_s": expanded.as_secs_f64(),
            "expansion_peak_rss_mb": worker_mb, "import_and_expansion_s": (imported + expanded).as_secs_f64(),
        })
    );
    assert!(peak_kb / 1024 <= 150 && worker_mb <= 150, "{peak_kb} KiB, {worker_mb} MiB");
}

/// Lets workers make messages of the campaign `whole`.
async fn expand(
    folder: &tempfile::TempDir,
    settings: &str,
    rows: u64,
    kills: u32,
    database: &TestDatabase,
) -> (Duration, u64) {
    use outreachd::campaign::{Office, Wish};
    let config = std::sync::Arc::new(Config::from_toml(settings).unwrap());
    let store = app::open_store(&config).await.unwrap();
    let catalogue = app::load_catalogue(&config.templates.dir).unwrap();
    let gatekeeper = outreachd::intake::Gatekeeper::new(config.clone(), catalogue.clone());
    let office = Office { store: store.clone(), config, catalogue, gatekeeper, dispatcher: None };
    let id = name("whole");
    if rows > 500 {
        office.wish(&id, "cli:bob", &Wish::Approve(rows, None)).await.unwrap();
    }
    office.wish(&id, "cli:ann", &Wish::Start).await.unwrap();
    let began = Instant::now();
    let file = folder.path().join("outreachd.toml");
    let start = |n: u32| {
        let log = folder.path().join(format!("worker-{n}.log"));
        crate::proof::worker::WorkerProcess::start(&file, &log, &[])
    };
    let mut worker = start(0);
    let done = async || store.campaign(&id).await.unwrap().unwrap().0.expanded;
    for kill in 1..=kills {
        while done().await < rows * u64::from(kill) / u64::from(kills + 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        worker.kill();
        worker = start(kill);
    }
    while done().await < rows {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed();
    let peak = worker.usage().peak_rss_mb;
    worker.kill();
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&database.url()).await.unwrap();
    let (messages, patients, due): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT patient_id), count(*) FILTER (WHERE due_at = '2036-11-28T10:00:00-06:00')
         FROM messages WHERE campaign_id = 'whole'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    let all = i64::try_from(rows).unwrap();
    assert_eq!((messages, patients, due), (all, all, all), "each once, and in its time");
    sqlx::Connection::close(connection).await.unwrap();
    (took, peak)
}

fn rss_kb(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_and_its_expansion_are_killed_and_reach_each_once() {
    million("campaign, short", 9_000, 1).await;
}
