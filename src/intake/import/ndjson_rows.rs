//! NDJSON: a patient a line.

use std::io::{self, BufRead, Read};

use super::{MAX_ROW, Row, broken_off, unreadable};
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::reader::Fault;

/// The lines of a file.
pub(super) struct NdjsonRows<R> {
    input: io::BufReader<R>,
    line: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl<R> std::fmt::Debug for NdjsonRows<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NdjsonRows").field("line", &self.line).finish_non_exhaustive()
    }
}

impl<R: Read> NdjsonRows<R> {
    pub(super) fn new(input: io::BufReader<R>) -> Self {
        Self { input, line: 0, buffer: Vec::new(), ended: false }
    }

    /// The next line that is not blank, as `read` reads it.
    pub(super) fn next<T>(&mut self, read: impl FnOnce(&[u8]) -> Result<T, Vec<Problem>>) -> Option<Row<T>> {
        while !self.ended {
            self.line += 1;
            match self.read_line() {
                Err(error) => {
                    self.ended = true;
                    return Some(broken_off(self.line, unreadable(&error)));
                }
                Ok(Line::End) => self.ended = true,
                Ok(Line::TooLong) => {
                    let fault = Fault::malformed(
                        format!("a line of more than {} KiB", MAX_ROW / 1024),
                        "write one patient a line, each line ended by a line feed",
                    );
                    return Some(broken_off(self.line, fault.at("")));
                }
                Ok(Line::Text) if self.buffer.iter().all(u8::is_ascii_whitespace) => {}
                Ok(Line::Text) => {
                    let result = read(&self.buffer);
                    let original = if result.is_err() { self.original() } else { Vec::new() };
                    return Some(Row { line: self.line, result, original });
                }
            }
        }
        None
    }

    /// The last line as it came.
    pub(super) fn original(&self) -> Vec<Phi> {
        vec![Phi::new(String::from_utf8_lossy(&self.buffer).trim_end())]
    }

    /// Reads one line of at most [`MAX_ROW`] bytes; what is longer is passed over.
    fn read_line(&mut self) -> io::Result<Line> {
        self.buffer.clear();
        let limit = u64::try_from(MAX_ROW).unwrap_or(u64::MAX);
        let read = self.input.by_ref().take(limit).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(Line::End);
        }
        if read < MAX_ROW || self.buffer.ends_with(b"\n") {
            return Ok(Line::Text);
        }
        self.buffer = Vec::new();
        self.input.skip_until(b'\n')?;
        Ok(Line::TooLong)
    }
}

enum Line {
    Text,
    TooLong,
    End,
}
