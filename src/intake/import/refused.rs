//! The file of refused rows: as they came, with the line and the reasons, to be mended in a spreadsheet and sent
//! again.

use std::borrow::Cow;
use std::io::{self, Write};

use super::Row;
use super::csv_rows::OWN_COLUMNS;
use crate::domain::phi::Phi;

/// A CSV file in UTF-8, with a byte order mark so that spreadsheets see that it is.
pub struct RefusedFile<W: Write> {
    csv: csv::Writer<W>,
    width: usize,
}

impl<W: Write> std::fmt::Debug for RefusedFile<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefusedFile").field("width", &self.width).finish_non_exhaustive()
    }
}

impl<W: Write> RefusedFile<W> {
    /// Begins the file with the columns of [`super::Import::columns`] and two of its own.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn new(mut out: W, columns: &[String]) -> io::Result<Self> {
        out.write_all("\u{feff}".as_bytes())?;
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(
            columns.iter().map(|name| neutral(name)).chain(OWN_COLUMNS.map(Cow::Borrowed)).map(bytes),
        )?;
        Ok(Self { csv, width: columns.len() })
    }

    /// Writes one refused row; an accepted one is passed over.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn write<T>(&mut self, row: &Row<T>) -> io::Result<()> {
        let Err(problems) = &row.result else {
            return Ok(());
        };
        let line = row.line.to_string();
        let because = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
        let cells = row.original.iter().map(Phi::expose).chain(std::iter::repeat("")).take(self.width);
        self.csv.write_record(cells.map(neutral).chain([line.into(), neutral(&because)]).map(bytes))?;
        Ok(())
    }

    /// Writes what is still in memory; gives back what it was written to.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn finish(self) -> io::Result<W> {
        self.csv.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

/// A cell that a spreadsheet shows and does not compute: an apostrophe stands before what would begin a formula.
/// The import takes it off again.
#[must_use]
pub fn neutral(cell: &str) -> Cow<'_, str> {
    if cell.starts_with(starts_formula) { format!("'{cell}").into() } else { cell.into() }
}

/// The cell without the apostrophe that [`neutral`], or a spreadsheet, put before it.
pub(super) fn plain(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(inner) if inner.starts_with(starts_formula) => inner,
        _ => cell,
    }
}

/// The characters that OWASP's page on CSV injection names, with their full-width forms.
const fn starts_formula(c: char) -> bool {
    matches!(
        c,
        '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}'
    )
}

fn bytes(cell: Cow<'_, str>) -> Vec<u8> {
    cell.into_owned().into_bytes()
}
