//! Files and standard input, the bar that shows how far reading one has come, and files that are written.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde_json::json;

use super::{Desk, Failure};
use crate::intake::import::{RefusedFile, Row};

/// Whether the path stands for standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens a file, or standard input for `-`.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if is_stdin(path) {
        return Ok(Box::new(io::stdin()));
    }
    File::open(path).map(|file| Box::new(file) as Box<dyn Read + Send>).map_err(|e| Failure::file(path, &e))
}

/// Reads all of a file that is at most `limit` bytes long.
pub(super) fn read_all(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::file(path, &error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        let what = format!("{} is longer than {limit} bytes", path.display());
        return Err(Failure::said(what, "send it in several parts"));
    }
    Ok(bytes)
}

/// When the file was last written, where that can be told.
pub(super) fn changed_at(path: &Path) -> Option<Timestamp> {
    let changed = std::fs::metadata(path).ok()?.modified().ok()?;
    Timestamp::try_from(changed).ok()
}

/// The file's name without its folders, for the record.
pub(super) fn name(path: &Path) -> String {
    match path.file_name() {
        Some(name) if !is_stdin(path) => super::out::tame(&name.to_string_lossy()),
        _ => "standard input".to_owned(),
    }
}

/// A bar over the bytes of a file; it shows only where a terminal watches standard error.
pub(super) fn progress(path: &Path) -> ProgressBar {
    let length = if is_stdin(path) { None } else { std::fs::metadata(path).ok().map(|data| data.len()) };
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(8)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(length, target);
    let shape = match length {
        Some(_) => "{bar:30} {percent:>3} %  {bytes_per_sec}  {msg}",
        None => "{spinner} {bytes}  {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(shape) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Where refused rows go: into a file that the owner alone may read, and onto the screen by line and reason.
pub(super) struct Refusals {
    file: Option<(PathBuf, RefusedFile<BufWriter<File>>)>,
}

impl Refusals {
    pub(super) fn open(path: Option<&Path>, columns: &[String]) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self { file: None }) };
        let failed = |error| Failure::unwritten(path, &error);
        let file = private_file(path).map_err(failed)?;
        let refused = RefusedFile::new(BufWriter::new(file), columns).map_err(failed)?;
        Ok(Self { file: Some((path.to_owned(), refused)) })
    }

    pub(super) fn add<T>(&mut self, desk: &mut Desk, bar: &ProgressBar, row: &Row<T>) -> Result<(), Failure> {
        if let Some((path, file)) = &mut self.file {
            file.write(row).map_err(|error| Failure::unwritten(path, &error))?;
        }
        let problems = row.result.as_ref().err().map(Vec::as_slice).unwrap_or_default();
        // The bar is lifted while a line is written, so that the two do not mix.
        bar.suspend(|| {
            if desk.json {
                return desk.out.json(&json!({ "line": row.line, "problems": problems }));
            }
            problems.iter().try_for_each(|p| desk.out.line(format!("line {}: {p}", row.line)))?;
            desk.out.flush()
        })?;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), Failure> {
        match self.file {
            Some((path, file)) => file.finish().map(drop).map_err(|error| Failure::unwritten(&path, &error)),
            None => Ok(()),
        }
    }
}

/// A file that only its owner may read: it will hold patients' data.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // The mode above is for a new one; one that was there before had its own.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}
