//! `outreachd bench`, as somebody types it: it measures, leaves nothing behind, and keeps away from live work.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};
use tempfile::TempDir;

use crate::support::shared::{TestDatabase, amqp_url};

fn say(folder: &TempDir, words: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outreachd"));
    command.args(words).current_dir(folder.path()).env("TMPDIR", folder.path());
    let done = command.env_remove("OUTREACHD_CONFIG").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.success(), text(done.stdout), text(done.stderr))
}

fn left_behind(folder: &TempDir) -> Vec<String> {
    let names = std::fs::read_dir(folder.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("bench") || name.contains("demo")).collect()
}

fn check(out: &str) {
    let figures: Value = serde_json::from_str(out).unwrap();
    for name in ["publish_per_s", "drain_per_s", "p50_ms", "p99_ms", "sync_ms"] {
        assert!(figures[name].as_f64().is_some_and(|value| value > 0.0), "{name}: {figures}");
    }
    assert!(figures["p50_ms"].as_f64() <= figures["p99_ms"].as_f64(), "{figures}");
    assert_eq!((&figures["jobs"], &figures["singles"]), (&json!(200), &json!(20)), "{figures}");
}

#[test]
fn without_a_configuration_it_measures_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (good, out, err) = say(&folder, &["bench", "--json", "--jobs", "200", "--singles", "20"]);
    assert!(good, "{out}{err}");
    check(&out);
    assert_eq!(left_behind(&folder), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_it_measures_its_servers_and_refuses_beside_live_work() {
    let folder = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().await;
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let text = format!(
        "[store]\nurl = \"{}\"\n[amqp]\nurl = \"{}\"\n[templates]\ndir = \"{}\"\n",
        database.url(),
        amqp_url(),
        templates.display()
    );
    std::fs::write(folder.path().join("outreachd.toml"), text).unwrap();
    let words = ["bench", "--json", "--jobs", "200", "--singles", "20"];
    let (good, out, err) = say(&folder, &words);
    assert!(good, "{out}{err}");
    check(&out);
    assert_eq!(left_behind(&folder), Vec::<String>::new());
    let mut sql = PgConnection::connect(&database.url()).await.unwrap();
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'outreachd_bench%'";
    assert_eq!(sqlx::query(schemas).fetch_one(&mut sql).await.unwrap().get::<i64, _>(0), 0);
    sql.close().await.unwrap();

    // Something waits: patients come first.
    std::fs::write(folder.path().join("no-broker.toml"), format!("[store]\nurl = \"{}\"\n", database.url()))
        .unwrap();
    let own = ["--config", "no-broker.toml"];
    assert!(say(&folder, &[&own[..], &["migrate"]].concat()).0);
    let job =
        json!({ "id": "a", "patient_id": "P1", "template": "preferences-changed", "data": {} }).to_string();
    std::fs::write(folder.path().join("job.json"), job).unwrap();
    let (good, out, err) = say(&folder, &["--config", "outreachd.toml", "enqueue", "job.json"]);
    assert!(good, "{out}{err}");
    let (good, out, err) = say(&folder, &words);
    assert!(!good && err.contains("messages wait in this ledger"), "{out}{err}");
}
