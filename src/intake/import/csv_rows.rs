//! CSV: names in the first row, a patient in each that follows. A cell that is empty says nothing, so a file never
//! deletes: what is known of a contact beside its address stays, as do the rest of a name, of a postal address and of the
//! identifiers. Of contacts it replaces those of the channels for which a row has a value, but none to which a patient
//! asked to be kept.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csv::ByteRecord;

use super::cells::Cells;
use super::refused::plain;
use super::text::Spelling;
use super::{MAX_ROW, Row, broken_off, unreadable};
use crate::domain::patient::Patient;
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::reader::{Fault, ParseDefaults};
use crate::domain::words::Purpose;

/// The columns that are understood, beside `preferences.<purpose>`. Lists stand between semicolons. `phone` is a
/// number for SMS and voice, for each unless it has a column with a value of its own. `preferences.<purpose>` holds
/// channels or `none`.
pub const COLUMNS: [&str; 25] = [
    "id",
    "updated_at",
    "given",
    "family",
    "birth_date",
    "language",
    "timezone",
    "postal_code",
    "state",
    "country",
    "site",
    "tags",
    "mrn",
    "active",
    "deceased",
    "do_not_contact",
    "pause_until",
    "preferred_channels",
    "quiet_start",
    "quiet_end",
    "phone",
    "sms",
    "voice",
    "email",
    "portal",
];

/// The line that a refused row had where it came from.
const REFUSED_LINE: &str = "refused_line";
/// What the file of refused rows adds; no part of a row when such a file comes back.
pub(super) const OWN_COLUMNS: [&str; 2] = [REFUSED_LINE, "refused_because"];

/// Bytes that may be read without a row coming to its end: a row and what is read ahead.
const BUDGET: usize = 2 * MAX_ROW;

/// The rows of a file.
pub(super) struct CsvRows<R> {
    reader: csv::Reader<Metered<R>>,
    columns: Vec<String>,
    budget: Arc<AtomicUsize>,
    record: ByteRecord,
    spelling: Spelling,
    /// Whether rows end in CR LF. The reader takes the LF only with the row that follows.
    crlf: bool,
    ended: bool,
}

impl<R> std::fmt::Debug for CsvRows<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvRows").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl<R: Read> CsvRows<R> {
    /// Reads the names of the columns; `judge` says what is wrong with them.
    pub(super) fn open(
        delimiter: u8,
        input: R,
        judge: impl FnOnce(&[String]) -> Vec<Problem>,
    ) -> Result<Self, Vec<Problem>> {
        let budget = Arc::new(AtomicUsize::new(BUDGET));
        let input = Metered { input, budget: Arc::clone(&budget) };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .has_headers(false)
            .from_reader(input);
        let mut record = ByteRecord::new();
        let mut line = 1;
        while reader.read_byte_record(&mut record).map_err(|error| vec![stopped(&error)])?
            && is_blank(&record)
        {
            line = reader.position().line();
        }
        let columns: Vec<_> = record.iter().map(column_name).collect();
        let within = record.as_slice().iter().filter(|byte| **byte == b'\n').count();
        let crlf = reader.position().line() == line + u64::try_from(within).unwrap_or_default();
        let faults = judge(&columns);
        if faults.is_empty() {
            let spelling = Spelling::default().after(record.iter());
            Ok(Self { reader, columns, budget, record, spelling, crlf, ended: false })
        } else {
            Err(faults)
        }
    }

    /// The names of the columns, without those of the file of refused rows.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str).filter(|name| !OWN_COLUMNS.contains(name))
    }

    /// The next row, as `read` reads its cells.
    pub(super) fn next<T>(
        &mut self,
        read: impl FnOnce(&[(&str, &str)]) -> Result<T, Vec<Problem>>,
    ) -> Option<Row<T>> {
        if self.ended {
            return None;
        }
        let unread = u64::from(self.crlf);
        let mut line;
        let read_on = loop {
            self.budget.store(BUDGET, Ordering::Relaxed);
            line = self.reader.position().line() + unread;
            match self.reader.read_byte_record(&mut self.record) {
                // A row of nothing but separators: spreadsheets write them after the last one.
                Ok(true) if is_blank(&self.record) => {}
                other => break other,
            }
        };
        match read_on {
            Ok(true) => {
                let line = self.record.position().map_or(line, |at| at.line() + unread);
                self.spelling = self.spelling.after(self.record.iter());
                let result = self.cells().and_then(|cells| {
                    let bare = cells.iter();
                    let bare = bare.map(|(name, text)| (*name, plain(text.trim_matches([' ', '\u{a0}']))));
                    read(&bare.collect::<Vec<_>>())
                });
                let original = if result.is_err() { self.original() } else { Vec::new() };
                Some(Row { line, result, original })
            }
            Ok(false) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(broken_off(line, stopped(&error)))
            }
        }
    }

    /// Whether this is a file of refused rows that comes back.
    pub(super) fn comes_back(&self) -> bool {
        self.columns.iter().any(|name| name == REFUSED_LINE)
    }

    /// Where the last row stood before it was refused.
    pub(super) fn refused_line(&self) -> Option<u64> {
        let place = self.columns.iter().position(|name| name == REFUSED_LINE)?;
        std::str::from_utf8(self.record.get(place)?).ok()?.trim().parse().ok()
    }

    /// The last row as it came.
    pub(super) fn original(&self) -> Vec<Phi> {
        let cells = self.columns.iter().zip(self.record.iter());
        cells
            .filter(|(name, _)| !OWN_COLUMNS.contains(&name.as_str()))
            .map(|(_, cell)| {
                let text = self.spelling.read(cell).unwrap_or_else(|| String::from_utf8_lossy(cell));
                Phi::new(plain(&text))
            })
            .collect()
    }

    /// Names and texts of the row, as they stand there.
    fn cells(&self) -> Result<Vec<(&str, Cow<'_, str>)>, Vec<Problem>> {
        let surplus = self.record.iter().skip(self.columns.len()).any(|cell| !cell.is_empty());
        if self.record.len() < self.columns.len() || surplus {
            let rule =
                format!("has {} cells where the first row has {}", self.record.len(), self.columns.len());
            let cure = "put values that hold a separator or a line break between quotation marks";
            return Err(vec![Fault::malformed(rule, cure).at("")]);
        }
        if self.record.as_slice().len() > MAX_ROW {
            let rule = format!("a row of more than {} KiB", MAX_ROW / 1024);
            return Err(vec![Fault::malformed(rule, "look for a quotation mark that is not closed").at("")]);
        }
        let mut cells = Vec::with_capacity(self.columns.len());
        let mut faults = Vec::new();
        for (name, cell) in self.columns.iter().zip(self.record.iter()) {
            match self.spelling.read(cell) {
                Some(text) => cells.push((name.as_str(), text)),
                None => faults.push(not_utf8().at(name.as_str())),
            }
        }
        if faults.is_empty() { Ok(cells) } else { Err(faults) }
    }
}

fn is_blank(record: &ByteRecord) -> bool {
    record.iter().all(<[u8]>::is_empty)
}

/// The patient of a row.
pub(super) fn patient(row: &[(&str, &str)], defaults: &ParseDefaults) -> Result<Patient, Vec<Problem>> {
    let mut cells = Cells::default();
    row.iter().for_each(|(name, text)| cells.put(name, text));
    cells.into_patient(defaults)
}

/// What is wrong with the names of the columns of a file of patients.
pub(super) fn patient_columns(columns: &[String]) -> Vec<Problem> {
    let known = |name: &str| {
        let purpose = name.strip_prefix("preferences.");
        COLUMNS.contains(&name) || purpose.is_some_and(|purpose| Purpose::from_word(purpose).is_some())
    };
    column_faults(columns, known, &format!("{} and preferences.<purpose>", COLUMNS.join(", ")), &["id"])
}

/// The separator: the one that the first row holds most of.
pub(super) fn delimiter(head: &[u8]) -> u8 {
    let first = head.split(|b| matches!(b, b'\n' | b'\r')).find(|line| !line.is_empty()).unwrap_or_default();
    let count = |delimiter: u8| first.iter().filter(|b| **b == delimiter).count();
    [b'\t', b';', b','].into_iter().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}

/// `Birth Date` is `birth_date`.
fn column_name(cell: &[u8]) -> String {
    let text = String::from_utf8_lossy(cell);
    plain(text.trim()).to_ascii_lowercase().replace([' ', '-'], "_")
}

/// Names are told by their place: a file without a first row of names has a patient there. One of `needed` must be among
/// them.
pub(super) fn column_faults(
    columns: &[String],
    known: impl Fn(&str) -> bool,
    all: &str,
    needed: &[&str],
) -> Vec<Problem> {
    let mut faults = Vec::new();
    for (index, name) in columns.iter().enumerate() {
        let place = format!("column {}", index + 1);
        if !known(name) && !OWN_COLUMNS.contains(&name.as_str()) {
            let cure = format!("the first row names the columns; known are {all}");
            faults.push(Fault::malformed("unknown column", cure).at(place));
        } else if columns.iter().take(index).any(|earlier| earlier == name) {
            faults.push(
                Fault::malformed("this column stands there twice", "leave out one of the two").at(place),
            );
        }
    }
    if faults.is_empty() && !columns.iter().any(|name| needed.contains(&name.as_str())) {
        let first = needed.first().copied().unwrap_or_default();
        let cure = format!("name the column with the patient's id: {first}");
        faults.push(Fault::malformed("the column is required", cure).at(first));
    }
    faults.truncate(20);
    faults
}

fn not_utf8() -> Fault {
    Fault::malformed(
        "holds letters in another encoding than the rest of the file",
        "save the file as .xlsx or as \"CSV UTF-8\"",
    )
}

fn stopped(error: &csv::Error) -> Problem {
    match error.kind() {
        csv::ErrorKind::Io(error) if error.kind() != io::ErrorKind::FileTooLarge => unreadable(error),
        _ => Fault::malformed(
            format!("a row of more than {} KiB; nothing after it was read", MAX_ROW / 1024),
            "look for a quotation mark that is not closed",
        )
        .at(""),
    }
}

/// A reader that gives up when no row ends: a quotation mark that is never closed would swallow the whole file.
struct Metered<R> {
    input: R,
    budget: Arc<AtomicUsize>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.load(Ordering::Relaxed);
        let room = buffer.len().min(left);
        let Some(buffer) = buffer.get_mut(..room).filter(|room| !room.is_empty()) else {
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        let read = self.input.read(buffer)?;
        self.budget.store(left.saturating_sub(read), Ordering::Relaxed);
        Ok(read)
    }
}
