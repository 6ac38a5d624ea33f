//! The database file: whoever can read it can read the patients, so nobody but its owner can.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::store::{Result, StoreError};

/// Read and write for the owner. The -wal and -shm files take after the database file.
const OWNER_ONLY: u32 = 0o600;

/// Makes the file if there is none and closes it to others.
pub(super) fn prepare(location: &str) -> Result<PathBuf> {
    let path = PathBuf::from(
        location.strip_prefix("sqlite://").or(location.strip_prefix("sqlite:")).unwrap_or(location),
    );
    if !path.exists() {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(OWNER_ONLY)
            .open(&path)
            .map_err(|error| refused("made", &error))?;
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        close_to_others(Path::new(&name)).map_err(|error| refused("closed to others", &error))?;
    }
    Ok(path)
}

fn close_to_others(path: &Path) -> std::io::Result<()> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY))
}

fn refused(what: &str, error: &std::io::Error) -> StoreError {
    StoreError::Schema(format!(
        "[store] url: the file cannot be {what} ({}): name a path in a directory that this user may write to",
        error.kind()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let location = format!("sqlite://{}", path.display());
        assert_eq!(prepare(&location).unwrap(), path);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), OWNER_ONLY);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        prepare(&location).unwrap();
        assert_eq!(mode(&path), OWNER_ONLY, "an open file is closed");
    }

    #[test]
    fn a_path_that_cannot_be_is_named_as_such() {
        let error = prepare("/nonexistent-directory/ledger.db").unwrap_err();
        assert!(error.to_string().contains("[store] url"), "{error}");
    }
}
