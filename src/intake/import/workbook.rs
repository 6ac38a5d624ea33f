//! A workbook of Excel, as the CSV that it would have been saved as in UTF-8, had nothing been lost on the way: days as
//! year-month-day, whole numbers with all their digits, and zeros that a format puts before a number. What Excel itself
//! shows rounded goes on as it shows it, and is refused where the row is read.
//!
//! A workbook is an archive: it is looked through first, because a small one can become large, and then read a row at a
//! time by a thread of its own. Only the first sheet that can be seen is read.

use std::io::{self, Cursor, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use calamine::{DataRef, Reader as _, SheetType, SheetVisible, Xlsx, XlsxError};
use zip::ZipArchive;

use crate::domain::reader::Fault;

/// The largest workbook, in bytes.
const WORKBOOK: usize = 64 << 20;
/// The largest part of one, unpacked.
const PART: u64 = 1 << 30;
/// The texts of its cells are held in memory, so there are fewer of them.
const TEXTS: u64 = 64 << 20;
const TEXTS_COUNTED: u64 = 2_000_000;
/// Columns that a sheet may have.
const COLUMNS: usize = 1_000;
/// Bytes that are handed on at once, and how many such pieces wait.
const PIECE: usize = 32 * 1024;
const WAITING: usize = 4;
/// Excel keeps so many digits of a number.
const EXACT: f64 = 1e15;

const SAVE_AGAIN: &str = "open it in Excel, save it again as .xlsx or as \"CSV UTF-8\", and send that";

/// How workbooks begin, like every archive.
pub(super) fn is_one(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04")
}

/// The sheet as CSV.
#[derive(Debug)]
pub(super) struct Sheet {
    pieces: Receiver<Piece>,
    piece: Cursor<Vec<u8>>,
    ended: bool,
}

/// What the thread says.
enum Piece {
    Open,
    Refused(Fault),
    Bytes(Vec<u8>),
    End,
}

impl Sheet {
    /// Takes the whole of `input`, and looks at it.
    ///
    /// # Errors
    /// It is no workbook, too large, or protected.
    pub(super) fn open(input: impl Read) -> Result<Self, Fault> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(WORKBOOK + 1).unwrap_or(u64::MAX);
        input.take(limit).read_to_end(&mut bytes).map_err(|_| damaged())?;
        if bytes.len() > WORKBOOK {
            let rule = format!("a workbook of more than {} MiB", WORKBOOK >> 20);
            return Err(Fault::malformed(rule, "save it as \"CSV UTF-8\" and send that"));
        }
        look_through(&bytes)?;
        let (to, pieces) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("workbook".to_owned())
            .spawn(move || read(bytes, &to))
            .map_err(|_| damaged())?;
        match pieces.recv() {
            Ok(Piece::Open) => Ok(Self { pieces, piece: Cursor::new(Vec::new()), ended: false }),
            Ok(Piece::Refused(fault)) => Err(fault),
            _ => Err(damaged()),
        }
    }
}

impl Read for Sheet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 || self.ended {
                return Ok(read);
            }
            match self.pieces.recv() {
                Ok(Piece::Bytes(bytes)) => self.piece = Cursor::new(bytes),
                Ok(Piece::End) => self.ended = true,
                // It broke off, which must not look like its end.
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}

fn damaged() -> Fault {
    Fault::malformed("the file is damaged, or an archive that is no workbook", SAVE_AGAIN)
}

fn too_much() -> Fault {
    Fault::malformed(
        "the workbook becomes too large when it is unpacked",
        "save the sheet as \"CSV UTF-8\" and send that",
    )
}

/// Unpacks every part once, and keeps nothing: what a part says of its own size is not believed.
fn look_through(bytes: &[u8]) -> Result<(), Fault> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|_| damaged())?;
    for index in 0..archive.len() {
        let part = archive.by_index(index).map_err(|_| damaged())?;
        let name = part.name().map_err(|_| damaged())?;
        let texts = name.to_ascii_lowercase().ends_with("sharedstrings.xml");
        let limit = if texts { TEXTS } else { PART };
        let mut part = part.take(limit + 1);
        let size = if texts {
            let mut text = Vec::new();
            part.read_to_end(&mut text).map_err(|_| damaged())?;
            if text.iter().take(4).any(|byte| *byte == 0) || claims_too_many(&text) {
                return Err(too_much());
            }
            u64::try_from(text.len()).unwrap_or(u64::MAX)
        } else {
            io::copy(&mut part, &mut io::sink()).map_err(|_| damaged())?
        };
        if size > limit {
            return Err(too_much());
        }
    }
    Ok(())
}

/// Room is made for as many texts as the part says that it has.
fn claims_too_many(text: &[u8]) -> bool {
    const NAME: &[u8] = b"uniqueCount";
    text.windows(NAME.len()).enumerate().filter(|(_, found)| *found == NAME).any(|(at, _)| {
        let rest = text.get(at + NAME.len()..).unwrap_or_default();
        let digits =
            rest.iter().skip_while(|byte| matches!(byte, b'=' | b'"' | b'\'' | b' ' | b'\t' | b'\r' | b'\n'));
        let count = digits
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0_u64, |count, digit| count.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        count > TEXTS_COUNTED
    })
}

/// What became of handing on: nobody takes it any more, or the workbook cannot be read.
enum Stop {
    Unwanted,
    Broken,
}

impl From<XlsxError> for Stop {
    fn from(_: XlsxError) -> Self {
        Self::Broken
    }
}

fn read(bytes: Vec<u8>, to: &SyncSender<Piece>) {
    let mut book = match Xlsx::new(Cursor::new(bytes)) {
        Ok(book) => book,
        Err(XlsxError::Password) => {
            let fault = Fault::malformed("the workbook is protected by a password", SAVE_AGAIN);
            return drop(to.send(Piece::Refused(fault)));
        }
        Err(_) => return drop(to.send(Piece::Refused(damaged()))),
    };
    let seen = |sheet: &&calamine::Sheet| {
        sheet.typ == SheetType::WorkSheet && sheet.visible == SheetVisible::Visible
    };
    let Some(name) = book.sheets_metadata().iter().find(seen).map(|sheet| sheet.name.clone()) else {
        return drop(to.send(Piece::Refused(damaged())));
    };
    if to.send(Piece::Open).is_ok() && write(&mut book, &name, to).is_ok() {
        drop(to.send(Piece::End));
    }
}

/// Writes the rows, each on the line of its number.
fn write(book: &mut Xlsx<Cursor<Vec<u8>>>, name: &str, to: &SyncSender<Piece>) -> Result<(), Stop> {
    let mut cells = book.worksheet_cells_reader(name)?;
    let formats: Vec<String> = cells
        .styles()
        .iter()
        .map(|style| {
            style.number_format.as_ref().map_or_else(String::new, |format| format.format_code.clone())
        })
        .collect();
    let mut lines = Lines { out: Vec::new(), line: 0, width: 0, row: Vec::new() };
    let mut at = None;
    while let Some((cell, style)) = cells.next_cell_with_style_id()? {
        let (row, column) = cell.get_position();
        if at.is_some_and(|at| at != row) {
            lines.end(at.unwrap_or(row), to)?;
        }
        at = Some(row);
        let text = shown(cell.get_value(), formats.get(style).map_or("", String::as_str));
        lines.put(usize::try_from(column).unwrap_or(usize::MAX), text)?;
    }
    if let Some(row) = at {
        lines.end(row, to)?;
    }
    to.send(Piece::Bytes(lines.out)).map_err(|_| Stop::Unwanted)
}

/// The text as it comes together.
struct Lines {
    out: Vec<u8>,
    /// Lines that are written.
    line: u32,
    /// Of the first row that says something.
    width: usize,
    row: Vec<String>,
}

impl Lines {
    fn put(&mut self, column: usize, text: String) -> Result<(), Stop> {
        if text.is_empty() {
            return Ok(());
        }
        if column >= COLUMNS {
            return Err(Stop::Broken);
        }
        if self.row.len() <= column {
            self.row.resize(column + 1, String::new());
        }
        if let Some(cell) = self.row.get_mut(column) {
            *cell = text;
        }
        Ok(())
    }

    /// The row of number `row`, from 0, has all its cells. Rows between say nothing, and are passed over by the reader.
    fn end(&mut self, row: u32, to: &SyncSender<Piece>) -> Result<(), Stop> {
        if self.row.is_empty() {
            return Ok(());
        }
        self.width = if self.width == 0 { self.row.len() } else { self.width };
        self.row.resize(self.row.len().max(self.width), String::new());
        while self.line < row {
            self.out.extend_from_slice(b"\"\"\n");
            self.line += 1;
            self.hand_on(to)?;
        }
        let mut line = csv::Writer::from_writer(std::mem::take(&mut self.out));
        line.write_record(&self.row).map_err(|_| Stop::Broken)?;
        self.out = line.into_inner().map_err(|_| Stop::Broken)?;
        self.row.clear();
        self.line += 1;
        self.hand_on(to)
    }

    fn hand_on(&mut self, to: &SyncSender<Piece>) -> Result<(), Stop> {
        if self.out.len() < PIECE {
            return Ok(());
        }
        to.send(Piece::Bytes(std::mem::take(&mut self.out))).map_err(|_| Stop::Unwanted)
    }
}

/// A cell as Excel shows it, where that says all of it. A line break within a cell becomes a space, so that rows keep
/// their numbers.
fn shown(value: &DataRef<'_>, format: &str) -> String {
    let text = |text: &str| text.replace(['\r', '\n'], " ");
    match value {
        DataRef::Empty => String::new(),
        DataRef::Int(number) => padded(number.to_string(), format),
        DataRef::Float(number) if number.abs() >= EXACT || format.contains("E+") => rounded(*number),
        DataRef::Float(number) if number.fract() == 0.0 => padded(format!("{number:.0}"), format),
        DataRef::Float(number) => number.to_string(),
        DataRef::String(own) => text(own),
        DataRef::SharedString(shared) => text(shared),
        DataRef::Bool(truth) => truth.to_string(),
        DataRef::DateTime(at) => moment(at),
        DataRef::DateTimeIso(iso) | DataRef::DurationIso(iso) => iso.clone(),
        DataRef::Error(error) => error.to_string(),
    }
}

/// A format of nothing but zeros, such as `00000`, shows at least so many digits.
fn padded(digits: String, format: &str) -> String {
    if format.len() < 2 || !format.bytes().all(|byte| byte == b'0') || digits.starts_with('-') {
        return digits;
    }
    format!("{digits:0>width$}", width = format.len())
}

/// `1.31E+10`.
fn rounded(number: f64) -> String {
    let text = format!("{number:.2e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => format!("{digits}E+{power}"),
        _ => text,
    }
}

/// A day, a time, or both, by no zone.
fn moment(at: &calamine::ExcelDateTime) -> String {
    let (year, month, day, hour, minute, second, _) = at.to_ymd_hms_milli();
    let (whole, part) = (at.as_f64().trunc(), at.as_f64().fract());
    if at.is_duration() || whole <= 0.0 {
        return format!("{hour:02}:{minute:02}:{second:02}");
    }
    if part.abs() < 1e-9 {
        return format!("{year:04}-{month:02}-{day:02}");
    }
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use calamine::{CellErrorType, ExcelDateTime, ExcelDateTimeType};

    use super::*;

    #[test]
    fn cells_are_read_as_excel_shows_them_and_with_all_that_they_hold() {
        let date = |value| DataRef::DateTime(ExcelDateTime::new(value, ExcelDateTimeType::DateTime, false));
        for (value, format, text) in [
            (DataRef::Float(13_125_550_142.0), "General", "13125550142"),
            (DataRef::Float(13_125_550_142.0), "0.00E+00", "1.31E+10"),
            (DataRef::Float(1.234e16), "0", "1.23E+16"),
            (DataRef::Float(42.0), "00000", "00042"),
            (DataRef::Int(2_139), "00000", "02139"),
            (DataRef::Float(0.5), "", "0.5"),
            (DataRef::Bool(true), "", "true"),
            (date(46_374.0), "m/d/yy", "2026-12-18"),
            (date(46_374.437_5), "m/d/yy h:mm", "2026-12-18T10:30:00"),
            (date(0.437_5), "h:mm", "10:30:00"),
            (DataRef::SharedString("two\nlines"), "", "two lines"),
            (DataRef::Error(CellErrorType::NA), "", "#N/A"),
            (DataRef::Empty, "", ""),
        ] {
            assert_eq!(shown(&value, format), text, "{value:?} as {format}");
        }
    }

    #[test]
    fn a_workbook_that_promises_too_much_is_not_opened() {
        for (text, too_many) in [
            (&b"<sst uniqueCount=\"12\">"[..], false),
            (b"<sst uniqueCount = '99999999999999999999'>", true),
            (b"<!-- long --><sst count=\"1\" uniqueCount=\"2000001\">", true),
            (b"<si><t>uniqueCount</t></si>", false),
        ] {
            assert_eq!(claims_too_many(text), too_many, "{}", String::from_utf8_lossy(text));
        }
        assert!(look_through(b"PK\x03\x04 and nothing behind it").is_err());
    }
}
