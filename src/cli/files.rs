//! Files and standard input, and the bar that shows how far reading one has come.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::Failure;

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
