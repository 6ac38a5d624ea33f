//! What only the embedded database has: a file on this machine.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use outreachd::store::emit::Emitter;
use outreachd::store::rows::Timings;
use outreachd::store::sealer::Sealer;
use outreachd::store::sqlite::{SqliteEngine, SqliteStore};
use outreachd::store::{Intake, Store};

use super::ledger::batch;
use super::make::{at, job};

#[tokio::test]
async fn nobody_but_its_owner_can_read_the_file_or_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let location = format!("sqlite://{}", path.display());
    let noon = Arc::new(|| at("2026-11-22T12:00:00Z"));
    let sealer = Sealer::new(b"key");
    let engine = SqliteEngine::open(&location, noon).unwrap();
    let store = SqliteStore::over(engine, sealer, Emitter::default(), Timings::default());
    store.migrate().await.unwrap();
    store.admit(&batch(vec![job("a")], 0)).await.unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["ledger.db", "ledger.db-shm", "ledger.db-wal"]);
}

#[tokio::test]
async fn its_clock_is_the_one_that_was_handed_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db").display().to_string();
    let noon = Arc::new(|| at("2026-11-22T12:00:00Z"));
    let sealer = Sealer::new(b"key");
    let engine = SqliteEngine::open(&path, noon).unwrap();
    let store = SqliteStore::over(engine, sealer, Emitter::default(), Timings::default());
    store.migrate().await.unwrap();
    assert_eq!(store.ping().await.unwrap(), at("2026-11-22T12:00:00Z"));
    let report = store.admit(&batch(vec![job("a")], 1)).await.unwrap();
    assert_eq!(report.leased[0].work.accepted_at, at("2026-11-22T12:00:00Z"));
}
