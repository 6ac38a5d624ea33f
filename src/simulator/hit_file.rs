//! The hit log's file: appended from memory by a thread of its own, so that no request waits for the disk unless
//! the disk is far behind.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The writer wakes early at this much, and requests wait at sixteen times as much.
const WAKE_BYTES: usize = 256 * 1024;
const FULL_BYTES: usize = 16 * WAKE_BYTES;
/// The longest a line stays in memory.
const IDLE: Duration = Duration::from_millis(50);

/// An append-only file behind a bounded buffer.
#[derive(Debug)]
pub(super) struct HitFile {
    shared: Arc<Shared>,
    writer: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or an end to it.
    work: Condvar,
    /// Something was written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    writing: bool,
    wanted: bool,
    closed: bool,
    failed: Option<String>,
}

impl HitFile {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let shared = Arc::new(Shared::default());
        let writer = std::thread::Builder::new().name("hit-log".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || write_until_closed(&shared, file)
        })?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Adds what `write` writes; waits only when the disk is megabytes behind.
    pub(super) fn append(&self, write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) {
        let mut state = lock(&self.shared.state);
        while state.buffer.len() >= FULL_BYTES && state.failed.is_none() {
            self.shared.work.notify_one();
            state = self.shared.written.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.failed.is_none()
            && let Err(error) = write(&mut state.buffer)
        {
            state.failed = Some(error.to_string());
        }
        if state.buffer.len() >= WAKE_BYTES {
            self.shared.work.notify_one();
        }
    }

    /// Returns once all that was appended is in the file; an earlier failure to write is told here.
    pub(super) fn flush(&self) -> std::io::Result<()> {
        let mut state = lock(&self.shared.state);
        while (!state.buffer.is_empty() || state.writing) && state.failed.is_none() {
            state.wanted = true;
            self.shared.work.notify_one();
            state = self.shared.written.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failed.as_ref().map_or(Ok(()), |why| Err(std::io::Error::other(why.clone())))
    }
}

impl Drop for HitFile {
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.work.notify_one();
        if let Some(writer) = self.writer.take() {
            // The writer cannot panic; if it did, the loss shows as missing lines.
            let _ended = writer.join();
        }
    }
}

fn write_until_closed(shared: &Shared, mut file: File) {
    let mut chunk = Vec::with_capacity(WAKE_BYTES);
    loop {
        let closed = {
            let mut state = lock(&shared.state);
            if state.buffer.len() < WAKE_BYTES && !state.wanted && !state.closed {
                (state, _) = shared.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            }
            state.wanted = false;
            state.writing = true;
            std::mem::swap(&mut chunk, &mut state.buffer);
            state.closed
        };
        let result = file.write_all(&chunk);
        chunk.clear();
        let mut state = lock(&shared.state);
        state.writing = false;
        if let Err(error) = result {
            state.failed = Some(error.to_string());
        }
        let done = (closed && state.buffer.is_empty()) || state.failed.is_some();
        drop(state);
        shared.written.notify_all();
        if done {
            return;
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_in_the_file_after_a_flush_and_after_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hits");
        let log = HitFile::open(&path).unwrap();
        for n in 0..100_000 {
            log.append(|line| writeln!(line, "{n}"));
        }
        log.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 100_000);
        log.append(|line| writeln!(line, "last"));
        drop(log);
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("99999\nlast\n"));
    }
}
