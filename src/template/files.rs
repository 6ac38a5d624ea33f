//! Reads a templates folder into memory, within limits.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::finding::Finding;

/// The largest single file, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// More files than this are no set of templates.
const MAX_FILES: usize = 20_000;
/// `name/locale/part.hbs` and `_partials/locale/name.hbs`.
const MAX_DEPTH: usize = 3;

/// Every file below the folder, by its path with `/`.
pub(super) type Files = BTreeMap<String, String>;

/// Reads all files of `dir`. Hidden files, backups and Markdown notes are left alone.
pub(super) fn read(dir: &Path) -> Result<Files, Vec<Finding>> {
    let mut files = Files::new();
    let mut findings = Vec::new();
    visit(dir, "", 1, &mut files, &mut findings);
    if findings.is_empty() { Ok(files) } else { Err(findings) }
}

fn visit(dir: &Path, prefix: &str, depth: usize, files: &mut Files, findings: &mut Vec<Finding>) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            let whole = prefix.is_empty();
            findings.push(if whole { no_folder(dir, &error) } else { unreadable(prefix, &error) });
            return;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                findings.push(unreadable(prefix, &error));
                continue;
            }
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name.ends_with('~') || name.ends_with(".md") {
            continue;
        }
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if files.len() >= MAX_FILES {
            findings.push(Finding::error(
                &path,
                None,
                "too-many-files",
                "the folder holds too many files",
                "move what is no template elsewhere",
            ));
            return;
        }
        if entry.path().is_dir() {
            if depth < MAX_DEPTH {
                visit(&entry.path(), &path, depth + 1, files, findings);
            } else {
                findings.push(Finding::error(
                    &path,
                    None,
                    "too-deep",
                    "a folder stands too deep",
                    "use NAME/LOCALE/PART.hbs",
                ));
            }
            continue;
        }
        match read_file(&entry.path(), &path) {
            Ok(text) => {
                files.insert(path, text);
            }
            Err(finding) => findings.push(finding),
        }
    }
}

fn read_file(file: &Path, path: &str) -> Result<String, Finding> {
    let size = fs::metadata(file).map_err(|error| unreadable(path, &error))?.len();
    if size > MAX_FILE_BYTES {
        return Err(Finding::error(path, None, "file-size", "the file is larger than 256 KiB", "shorten it"));
    }
    let bytes = fs::read(file).map_err(|error| unreadable(path, &error))?;
    String::from_utf8(bytes)
        .map_err(|_| Finding::error(path, None, "encoding", "the file is not UTF-8", "save it as UTF-8"))
}

fn no_folder(dir: &Path, error: &std::io::Error) -> Finding {
    let cure = "set [templates] dir, or OUTREACHD_TEMPLATES__DIR, to the folder of the templates; a relative one counts from \
                the working directory";
    let message = format!("the folder of templates cannot be read: {}", error.kind());
    Finding::error(&dir.display().to_string(), None, "unreadable", message, cure)
}

fn unreadable(path: &str, error: &std::io::Error) -> Finding {
    let cure = "check [templates] dir and the file's permissions";
    Finding::error(path, None, "unreadable", format!("cannot be read: {}", error.kind()), cure)
}

/// SHA-256 over all paths and texts in order, as hex: the same hash is the same texts.
pub(super) fn hash(files: &Files) -> String {
    let mut hash = Sha256::new();
    for (path, text) in files {
        for piece in [path, text] {
            hash.update((piece.len() as u64).to_be_bytes());
            hash.update(piece.as_bytes());
        }
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_named_with_the_setting_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let nowhere = dir.path().join("nowhere");
        let findings = read(&nowhere).unwrap_err();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].file, nowhere.display().to_string());
        assert!(findings[0].cure.contains("OUTREACHD_TEMPLATES__DIR"), "{:?}", findings[0]);
        assert_eq!(read(dir.path()).unwrap(), Files::new());
    }
}
