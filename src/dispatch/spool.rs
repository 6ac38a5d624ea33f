//! Results that the ledger would not take, as it was away when the process had to end, or fails on them: kept in files, and
//! written at the next start, or now and then. Ids, words and codes only; a result that lands late raises what was called unknown meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Error, ErrorKind, Write};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;

use super::settle;
use crate::domain::ids::WorkerId;
use crate::store::rows::Settlement;
use crate::store::{Store, StoreError};

const PREFIX: &str = "results-";
const SUFFIX: &str = ".ndjson";
/// Results written at once.
const AT_ONCE: usize = 500;

/// Writes results to a file of their own in `dir`, and to the disk. It has its name once it is whole: whoever reads them in
/// the same moment takes all of it, or nothing.
pub(super) fn keep(dir: &Path, results: &[Settlement]) -> Result<(), Error> {
    let path = dir.join(format!("{PREFIX}{}{SUFFIX}", WorkerId::generate().0.simple()));
    let draft = path.with_extension("draft");
    let mut file = OpenOptions::new().create_new(true).append(true).open(&draft)?;
    for result in results {
        serde_json::to_writer(&mut file, result)?;
        file.write_all(b"\n")?;
    }
    file.sync_all()?;
    std::fs::rename(draft, path)
}

/// Writes what was left in `dir` to the ledger; answers how many results there were. A file goes once the ledger has all of
/// it; what stands in it twice lands once. One on which the ledger fails keeps no other from being written.
pub(super) async fn replay(dir: &Path, store: &dyn Store) -> Result<usize, StoreError> {
    let (mut count, mut fault) = (0, None);
    for path in left(dir) {
        // Of two that read one gets it.
        let taken = dir.join(format!("{PREFIX}{}{SUFFIX}", WorkerId::generate().0.simple()));
        if let Err(error) = std::fs::rename(&path, &taken) {
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
                if let Err(error) = std::fs::remove_file(&path) {
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

fn left(dir: &Path) -> Vec<PathBuf> {
    let ours = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_name().to_str().is_some_and(ours)).map(|e| e.path()).collect()
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
