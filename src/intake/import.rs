//! Patients from a file: CSV as spreadsheets write it, a workbook of Excel, or a JSON object a line (NDJSON).
//!
//! The file is read as it streams: one row is in memory at a time, and a bad row is told with its line and its
//! column while the others go on. [`RefusedFile`] writes the bad ones down, to be mended and sent again.

mod audience;
mod cells;
mod csv_rows;
mod ndjson_rows;
mod refused;
mod text;
mod workbook;

use std::io::{self, BufReader, Chain, Cursor, Read};

use jiff::Timestamp;

pub use audience::{Audience, AudienceOptions, FirstRow, FirstRows, Member};
pub use csv_rows::COLUMNS;
pub use refused::{RefusedFile, neutral};

use crate::domain::consent;
use crate::domain::patient::{Consent, ConsentSource, Patient};
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::reader::{Expect, Fault, ParseDefaults};
use csv_rows::CsvRows;
use ndjson_rows::NdjsonRows;
use text::Text;

/// Bytes from which the kind of file is told.
const HEAD: usize = 8 * 1024;
/// The longest row, in bytes.
pub(crate) const MAX_ROW: usize = 256 * 1024;

/// How a file is read.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The region of telephone numbers.
    pub defaults: ParseDefaults,
    /// When the rows that do not say so were last changed, such as the time of the file.
    pub updated_at: Option<Timestamp>,
    /// `None` tells it by the file's beginning.
    pub format: Option<Format>,
}

/// The two kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Values between commas, semicolons or tabs, names in the first row; or the first sheet of a workbook.
    Csv,
    /// A JSON object a line, each a patient of the contract.
    Ndjson,
}

/// One row of the file.
#[derive(Debug)]
pub struct Row<T = Patient> {
    /// Where it begins, from 1.
    pub line: u64,
    /// What it says, or all that is wrong; the fields are columns in CSV and JSON paths in NDJSON.
    pub result: Result<T, Vec<Problem>>,
    /// The row as it stands in the file, for [`RefusedFile`]; empty where it was accepted.
    pub original: Vec<Phi>,
}

/// A file under way: an iterator of its rows.
#[derive(Debug)]
pub struct Import<R: Read> {
    rows: Rows<R>,
    options: ImportOptions,
}

#[derive(Debug)]
enum Rows<R: Read> {
    Csv(CsvRows<Source<R>>),
    Ndjson(NdjsonRows<Source<R>>),
}

/// The file as text from its first letter.
enum Source<R> {
    /// What was read to tell its kind, then the rest.
    Text(Chain<Cursor<Vec<u8>>, Text<Raw<R>>>),
    Workbook(workbook::Sheet),
}

/// The file from its first byte.
type Raw<R> = Chain<Cursor<Vec<u8>>, R>;

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Text(text) => text.read(buffer),
            Self::Workbook(sheet) => sheet.read(buffer),
        }
    }
}

impl<R: Read> Rows<R> {
    /// The last row as it came.
    fn original(&self) -> Vec<Phi> {
        match self {
            Self::Csv(rows) => rows.original(),
            Self::Ndjson(rows) => rows.original(),
        }
    }
}

impl<R: Read> Import<R> {
    /// Looks at the file's beginning and, in CSV, at its names of columns.
    ///
    /// # Errors
    /// What is wrong with the file as a whole: its encoding, its kind, its columns.
    pub fn open(input: R, options: ImportOptions) -> Result<Self, Vec<Problem>> {
        let rows = opened(input, options.format, csv_rows::patient_columns)?;
        Ok(Self { rows, options })
    }

    /// The names of the columns of [`Row::original`].
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        match &self.rows {
            Rows::Csv(rows) => rows.columns().map(str::to_owned).collect(),
            Rows::Ndjson(_) => vec!["patient".to_owned()],
        }
    }
}

impl<R: Read> Iterator for Import<R> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let mut row = match &mut self.rows {
            Rows::Csv(rows) => rows.next(|cells| csv_rows::patient(cells, &self.options.defaults)),
            Rows::Ndjson(rows) => {
                rows.next(|line| Patient::parse(line, &self.options.defaults, Expect::default()))
            }
        }?;
        if let Ok(patient) = &mut row.result {
            imported(patient, self.options.updated_at);
            row.original.clear();
        }
        Some(row)
    }
}

/// Looks at the beginning and tells the kind of file. `columns` judges the names in the first row of CSV.
fn opened<R: Read>(
    mut input: R,
    format: Option<Format>,
    columns: impl FnOnce(&[String]) -> Vec<Problem>,
) -> Result<Rows<R>, Vec<Problem>> {
    let head = beginning(&mut input)?;
    if workbook::is_one(&head) {
        let sheet =
            workbook::Sheet::open(Cursor::new(head).chain(input)).map_err(|fault| vec![fault.at("")])?;
        return Ok(Rows::Csv(CsvRows::open(b',', Source::Workbook(sheet), columns)?));
    }
    let mut text = Text::new(Cursor::new(head.clone()).chain(input), &head);
    let head = readable(beginning(&mut text)?).map_err(|fault| vec![fault.at("")])?;
    let format = format.unwrap_or_else(|| told_by(&head));
    let source = |head| Source::Text(Cursor::new(head).chain(text));
    Ok(match format {
        Format::Csv => Rows::Csv(CsvRows::open(csv_rows::delimiter(&head), source(head), columns)?),
        Format::Ndjson => Rows::Ndjson(NdjsonRows::new(BufReader::with_capacity(64 * 1024, source(head)))),
    })
}

/// The first bytes.
fn beginning(input: &mut impl Read) -> Result<Vec<u8>, Vec<Problem>> {
    let mut head = Vec::with_capacity(HEAD);
    let limit = u64::try_from(HEAD).unwrap_or(u64::MAX);
    input.take(limit).read_to_end(&mut head).map_err(|error| vec![unreadable(&error)])?;
    Ok(head)
}

/// A list is no word of the patient: whatever it says of itself, a grant in it counts as imported, so that it
/// lifts no revocation by the patient. Revocations keep their source.
fn imported(patient: &mut Patient, updated_at: Option<Timestamp>) {
    if patient.updated_at.is_none() {
        patient.updated_at = updated_at;
        for preference in &mut patient.preferences {
            preference.updated_at = updated_at;
        }
    }
    let records = std::mem::take(&mut patient.consents);
    let split = |mut record: Consent| {
        let shadow = record.shadow.take().map(|shadow| *shadow);
        std::iter::once(record).chain(shadow)
    };
    let stamped = records.into_iter().flat_map(split).map(|record| {
        let source = if record.granted { ConsentSource::Import } else { record.source };
        Consent { source, ..record }
    });
    patient.consents = consent::merge(&[], stamped.collect());
}

/// The beginning without its byte order mark, if it can be text at all.
fn readable(mut head: Vec<u8>) -> Result<Vec<u8>, Fault> {
    const CURE: &str = "save it as .xlsx, as \"CSV UTF-8\", or as NDJSON in UTF-8";
    if head.starts_with(b"\xd0\xcf\x11\xe0") {
        return Err(Fault::malformed("the file is a workbook of the old kind, or has a password", CURE));
    }
    if head.contains(&0) {
        return Err(Fault::malformed("the file holds NUL bytes", CURE));
    }
    if head.starts_with(b"\xef\xbb\xbf") {
        head.drain(..3);
    }
    match head.iter().find(|b| !b.is_ascii_whitespace()) {
        None => Err(Fault::malformed("the file is empty", "give a file with one patient a row")),
        Some(b'[') => Err(Fault::malformed(
            "the file is a JSON array",
            "write one patient a line, without brackets and commas between them",
        )),
        Some(_) => Ok(head),
    }
}

fn told_by(head: &[u8]) -> Format {
    match head.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => Format::Ndjson,
        _ => Format::Csv,
    }
}

/// The row at which reading the file came to an end.
fn broken_off<T>(line: u64, problem: Problem) -> Row<T> {
    Row { line, result: Err(vec![problem]), original: Vec::new() }
}

fn unreadable(error: &io::Error) -> Problem {
    Fault::malformed(
        format!("the file cannot be read ({})", error.kind()),
        "check the disk and the file's rights",
    )
    .at("")
}
