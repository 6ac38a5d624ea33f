//! What a command writes to standard output: lines for people, JSON for programs.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use serde::Serialize;

use super::{Desk, Failure};
use crate::domain::status::MessageStatus;
use crate::store;

/// Standard output, buffered; errors of writing come back to the command.
pub(super) struct Out {
    to: Box<dyn Write>,
    /// Whether a person watches who wants colours (<https://no-color.org>).
    colour: bool,
}

impl Out {
    pub(super) fn stdout() -> Self {
        let stdout = io::stdout();
        let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { to: Box::new(BufWriter::new(stdout)), colour }
    }

    /// One line for people.
    pub(super) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.to, "{text}")
    }

    /// One JSON value on a line of its own.
    pub(super) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.to, value)?;
        writeln!(self.to)
    }

    /// One JSON value over several lines, for a command that gives exactly one.
    pub(super) fn pretty(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.to, value)?;
        writeln!(self.to)
    }

    /// Text as it is, such as a body that was asked for.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)
    }

    /// Shows what was written so far.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// The status in its colour, filled up to `width`.
    pub(super) fn status(&self, status: MessageStatus, width: usize) -> String {
        let text = format!("{status:width$}");
        if !self.colour {
            return text;
        }
        let code = match status {
            MessageStatus::Sent | MessageStatus::Delivered | MessageStatus::Read => 32,
            MessageStatus::Failed | MessageStatus::Unknown => 31,
            MessageStatus::Suppressed | MessageStatus::Expired | MessageStatus::Cancelled => 33,
            MessageStatus::Accepted
            | MessageStatus::Scheduled
            | MessageStatus::Held
            | MessageStatus::Sending => 36,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Text that stands out.
    pub(super) fn strong(&self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Rows whose columns stand below each other.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these names above its columns.
    pub(super) fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|c| c.to_uppercase()).collect()] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes all of it; nothing where there are no rows.
    pub(super) fn write(&self, out: &mut Out) -> io::Result<()> {
        if self.rows.len() < 2 {
            return Ok(());
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
            out.line(cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A list that the ledger gives in pages.
pub(super) struct Listing<'l, const COLUMNS: usize> {
    pub(super) columns: [&'l str; COLUMNS],
    /// What people are told where there are no rows.
    pub(super) none: Option<&'l str>,
    /// Rows at most, in all.
    pub(super) limit: u32,
    /// ... and in one page.
    pub(super) page: u32,
}

impl<const COLUMNS: usize> Listing<'_, COLUMNS> {
    /// Writes it: for programs a JSON line a row, for people one table. `ask` is told how many rows are wanted, and the last
    /// one that it gave; where it gives fewer, there are no more.
    pub(super) async fn write<T>(
        &self,
        desk: &mut Desk,
        mut ask: impl AsyncFnMut(u32, Option<&T>) -> store::Result<Vec<T>>,
        json: impl Fn(&mut Out, &T) -> io::Result<()>,
        cells: impl Fn(&T) -> [String; COLUMNS],
    ) -> Result<(), Failure> {
        let mut table = Table::new(&self.columns);
        let (mut left, mut last): (u32, Option<T>) = (self.limit, None);
        while left > 0 {
            let wanted = left.min(self.page);
            let mut rows = ask(wanted, last.as_ref()).await?;
            for row in &rows {
                if desk.json {
                    json(&mut desk.out, row)?;
                } else {
                    table.row(cells(row));
                }
            }
            let got = u32::try_from(rows.len()).unwrap_or(u32::MAX);
            left = if got < wanted { 0 } else { left.saturating_sub(got) };
            last = rows.pop().or(last);
        }
        if let (Some(none), None, false) = (self.none, last, desk.json) {
            desk.out.line(none)?;
        }
        Ok(table.write(&mut desk.out)?)
    }
}

/// What there is, or a dash.
pub(super) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// One line of text without characters that could move a terminal's cursor: file names and reasons are written
/// by others.
pub(super) fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn columns_stand_below_each_other_and_lines_end_where_words_do() {
        let kept = Kept::default();
        let mut out = Out { to: Box::new(kept.clone()), colour: false };
        let mut table = Table::new(&["id", "status"]);
        table.write(&mut out).unwrap();
        table.row(["long-name".to_owned(), "sent".to_owned()]);
        table.row(["x".to_owned(), or_dash(None::<u8>)]);
        table.write(&mut out).unwrap();
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "ID         STATUS\nlong-name  sent\nx          -\n");
    }

    /// What is written of `there` rows, and what the ledger was asked.
    async fn listed(there: u32, limit: u32, json: bool) -> (String, Vec<(u32, Option<u32>)>) {
        let kept = Kept::default();
        let out = Out { to: Box::new(kept.clone()), colour: false };
        let mut desk = Desk { out, json, file: None };
        let mut asked = Vec::new();
        let listing = Listing { columns: ["id"], none: Some("nothing"), limit, page: 2 };
        let ask = async |wanted: u32, last: Option<&u32>| {
            let first = last.map_or(1, |last| last + 1);
            asked.push((wanted, last.copied()));
            Ok((first..=there).take(usize::try_from(wanted).unwrap()).collect::<Vec<u32>>())
        };
        listing.write(&mut desk, ask, |out, id| out.json(id), |id: &u32| [id.to_string()]).await.unwrap();
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        (text, asked)
    }

    #[tokio::test]
    async fn a_list_is_asked_for_page_by_page_until_it_ends_or_is_long_enough() {
        for (there, limit, rows, asked) in [
            (5, 9, "1\n2\n3\n4\n5\n", vec![(2, None), (2, Some(2)), (2, Some(4))]),
            (5, 3, "1\n2\n3\n", vec![(2, None), (1, Some(2))]),
            (4, 4, "1\n2\n3\n4\n", vec![(2, None), (2, Some(2))]),
            (2, 9, "1\n2\n", vec![(2, None), (2, Some(2))]),
            (0, 9, "", vec![(2, None)]),
        ] {
            assert_eq!(listed(there, limit, true).await, (rows.to_owned(), asked.clone()));
            let told = if there == 0 { "nothing\n".to_owned() } else { format!("ID\n{rows}") };
            assert_eq!(listed(there, limit, false).await, (told, asked));
        }
    }

    #[test]
    fn nothing_foreign_moves_the_cursor() {
        assert_eq!(tame("a\u{1b}[2Jb\r\nc"), "a [2Jb  c");
    }
}
