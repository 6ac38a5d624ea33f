//! Results that the ledger would not take, as it was away when the process had to end, or fails on them: kept in files, and
//! written at the next start, or now and then. Ids, words and codes only; a result that lands late raises what was called unknown meanwhile.
//!
//! Whatever is kept in that folder comes into it by [`whole_file`].

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Error, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt as _;
use uuid::Uuid;

use super::settle;
use crate::store::rows::Settlement;
use crate::store::{Store, StoreError};

const PREFIX: &str = "results-";
const SUFFIX: &str = ".ndjson";
/// What a file is called, before a UUIDv7, until it is whole.
const UNFINISHED: &str = "unfinished-";
/// Nobody writes one file for so long: whoever began it has ended.
const ABANDONED: Duration = Duration::from_hours(1);
const OWNER_ONLY: u32 = 0o600;
/// Results written at once.
const AT_ONCE: usize = 500;

/// Writes results to a file of their own in `dir`, and to the disk.
pub(super) fn keep(dir: &Path, results: &[Settlement]) -> Result<(), Error> {
    let mut lines = Vec::new();
    for result in results {
        serde_json::to_writer(&mut lines, result)?;
        lines.push(b'\n');
    }
    whole_file(dir, &new_name(), &lines)
}

/// Writes a file that its owner alone can read into `dir`, and to the disk. It has its name once it is whole: whoever reads
/// the folder in the same moment finds all of it, or nothing.
///
/// # Errors
/// The disk does not take it. What was not finished is gone again.
pub(crate) fn whole_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let unfinished = dir.join(format!("{UNFINISHED}{}", Uuid::now_v7().simple()));
    let whole = written(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, dir.join(name)));
    if whole.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    whole?;
    // The name is a matter of the folder.
    File::open(dir)?.sync_all()
}

fn written(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Writes what was left in `dir` to the ledger; answers how many results there were. A file goes once the ledger has all of
/// it; what stands in it twice lands once. One on which the ledger fails keeps no other from being written.
pub(super) async fn replay(dir: &Path, store: &dyn Store) -> Result<usize, StoreError> {
    forget_unfinished(dir);
    let (mut count, mut fault) = (0, None);
    for path in left(dir) {
        // Of two that read one gets it.
        let taken = dir.join(new_name());
        if let Err(error) = fs::rename(&path, &taken) {
            // Another process may just have taken it.
            if error.kind() != ErrorKind::NotFound {
                tracing::error!(kind = %error.kind(), file = %path.display(), "kept results cannot be taken");
            }
            continue;
        }
        let path = taken;
        match read(&path) {
            Ok(results) => {
                // What this program cannot write by a fault of its own keeps nothing else from being written.
                let fault_of_ours = || StoreError::Internal("a kept result cannot be written".to_owned());
                let given = AssertUnwindSafe(given(store, &results)).catch_unwind().await;
                let failed = match given.unwrap_or_else(|_| Err(fault_of_ours())) {
                    Err(error @ StoreError::Internal(_)) => Some(error),
                    given => given.map(|()| None)?,
                };
                if failed.is_some() {
                    fault = failed;
                    continue;
                }
                count += results.len();
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(kind = %error.kind(), "a file of results cannot be removed; it is read again");
                }
            }
            // Left where it is, for a person: the next start says so again.
            Err(error) => {
                tracing::error!(kind = %error.kind(), file = %path.display(), "kept results cannot be read")
            }
        }
    }
    fault.map_or(Ok(count), Err)
}

async fn given(store: &dyn Store, results: &[Settlement]) -> Result<(), StoreError> {
    for chunk in results.chunks(AT_ONCE) {
        if let [one, ..] = settle::give(store, chunk).await?.as_slice() {
            return Err(StoreError::Internal(format!("attempt {}", one.attempt)));
        }
    }
    Ok(())
}

/// Removes what processes that were cut off had not finished.
fn forget_unfinished(dir: &Path) {
    let unfinished = |name: &str| name.strip_prefix(UNFINISHED).is_some_and(|id| Uuid::try_parse(id).is_ok());
    for path in named(dir, unfinished) {
        let changed = fs::metadata(&path).and_then(|file| file.modified()).ok();
        // Another process may be at one in this moment.
        if changed.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(path);
        }
    }
}

fn left(dir: &Path) -> Vec<PathBuf> {
    named(dir, |name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

fn named(dir: &Path, ours: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_name().to_str().is_some_and(&ours)).map(|e| e.path()).collect()
}

fn new_name() -> String {
    format!("{PREFIX}{}{SUFFIX}", Uuid::now_v7().simple())
}

fn read(path: &Path) -> Result<Vec<Settlement>, Error> {
    let mut results = Vec::new();
    for line in BufReader::new(File::open(path)?).lines() {
        match serde_json::from_str(&line?) {
            Ok(result) => results.push(result),
            // Empty, or cut off; what stands before and after it is whole.
            Err(error) if error.is_eof() => {}
            Err(_) => return Err(Error::from(ErrorKind::InvalidData)),
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::SystemTime;

    use jiff::Timestamp;

    use super::*;
    use crate::dispatch::result_of_a_test;
    use crate::store::sqlite::ledger_of_a_test;

    fn all(dir: &Path) -> Vec<PathBuf> {
        named(dir, |_| true)
    }

    #[test]
    fn what_is_kept_is_whole_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let results = [result_of_a_test(), result_of_a_test()];
        keep(dir.path(), &results).unwrap();
        let kept = left(dir.path());
        assert_eq!((kept.len(), all(dir.path()).len()), (1, 1));
        assert_eq!(fs::metadata(&kept[0]).unwrap().permissions().mode() & 0o777, 0o600);
        let read: Vec<_> = read(&kept[0]).unwrap().iter().map(|one| one.attempt).collect();
        assert_eq!(read, [results[0].attempt, results[1].attempt]);
    }

    #[test]
    fn what_cannot_have_its_name_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        // No file takes the place of a folder.
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(whole_file(dir.path(), "taken", b"whole").is_err());
        assert_eq!(all(dir.path()), [taken]);
    }

    #[tokio::test]
    async fn what_somebody_left_unfinished_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - ABANDONED * 2;
        let file = |name: String, changed: SystemTime| {
            let path = dir.path().join(name);
            File::create(&path).unwrap().set_modified(changed).unwrap();
            path
        };
        let id = || Uuid::now_v7().simple().to_string();
        let abandoned = file(format!("{UNFINISHED}{}", id()), long_ago);
        let under_way = file(format!("{UNFINISHED}{}", id()), SystemTime::now());
        let anybodys = file(format!("{UNFINISHED}symphony"), long_ago);
        let db = dir.path().join("ledger.db");
        let ledger = ledger_of_a_test(&db, Timestamp::UNIX_EPOCH);
        assert_eq!(replay(dir.path(), &ledger).await.unwrap(), 0);
        assert!(!abandoned.exists() && under_way.exists() && anybodys.exists());
    }
}
