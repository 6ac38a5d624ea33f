//! The audience of a campaign from a file: a patient a row, by their id or with their contacts inline, and the values of
//! the template's variables. What a spreadsheet has spoilt is refused with its row, and so is who stands there twice.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::io::Read;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::csv_rows::{self, COLUMNS};
use super::{Format, Row, Rows, opened};
use crate::domain::campaign::RecipientBody;
use crate::domain::ids::{PatientId, TemplateName};
use crate::domain::patient::Patient;
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::reader::{Fault, ParseDefaults, campaign_recipient, is_ambiguous_day, mangled};
use crate::domain::words::Reason;
use crate::template::{Catalogue, Kind, Variable};

/// Columns that make a row's patient an inline one.
const CONTACTS: [&str; 5] = ["phone", "sms", "voice", "email", "portal"];

/// Columns that show nothing of a person.
const OPEN: [&str; 9] =
    ["id", "patient_id", "language", "timezone", "state", "country", "site", "active", "preferred_channels"];

/// Rows that are shown.
const FIRST: usize = 5;

/// How a file is read.
#[derive(Clone, Debug)]
pub struct AudienceOptions {
    /// The region of telephone numbers.
    pub defaults: ParseDefaults,
    /// `None` tells it by the file's beginning.
    pub format: Option<Format>,
    /// Whose variables are columns.
    pub template: TemplateName,
    pub catalogue: Arc<Catalogue>,
    /// The values that are the same for everybody.
    pub data: Map<String, Value>,
}

/// Somebody of the audience.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its line in the file: the same row of the same file has the same, and keeps it where it was refused, mended and
    /// comes back in the file of refused rows.
    pub ordinal: u64,
    pub patient: PatientId,
    pub body: RecipientBody,
}

/// The first rows under the headings that they were understood by: whoever sent the file sees whether each column is
/// what it is called.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct FirstRows {
    pub columns: Vec<String>,
    pub rows: Vec<FirstRow>,
}

/// One of them.
#[derive(Clone, Debug, serde::Serialize)]
pub struct FirstRow {
    /// From 1.
    pub line: u64,
    /// One for each column; a refused row may have fewer.
    pub cells: Vec<Phi>,
}

impl FirstRows {
    /// Without what tells of a person: ids stay, and what many have in common.
    #[must_use]
    pub fn masked(mut self) -> Self {
        let Self { columns, rows } = &mut self;
        for row in rows {
            for (name, cell) in columns.iter().zip(&mut row.cells) {
                if !OPEN.contains(&name.as_str()) && !cell.expose().is_empty() {
                    *cell = Phi::new(cell.masked());
                }
            }
        }
        self
    }
}

/// A file under way: an iterator of its rows.
#[derive(Debug)]
pub struct Audience<R: Read> {
    rows: Rows<R>,
    options: AudienceOptions,
    seen: Seen,
    first: Vec<FirstRow>,
    /// Digits of the ids that begin with a zero: shorter ones have lost theirs.
    width: Option<usize>,
}

impl<R: Read> Audience<R> {
    /// Looks at the file's beginning and, in CSV, at its names of columns.
    ///
    /// # Errors
    /// What is wrong with the file as a whole: its encoding, its kind, its columns.
    pub fn open(input: R, options: AudienceOptions) -> Result<Self, Vec<Problem>> {
        let rows = opened(input, options.format, |columns| judge(columns, &variables(&options)))?;
        Ok(Self { rows, options, seen: Seen::default(), first: Vec::new(), width: None })
    }

    /// The names of the columns, or of what stands in their place.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        match &self.rows {
            Rows::Csv(rows) => rows.columns().map(str::to_owned).collect(),
            Rows::Ndjson(_) => vec!["recipient".to_owned()],
        }
    }

    /// The first of the rows that have been read.
    #[must_use]
    pub fn first_rows(&self) -> FirstRows {
        FirstRows { columns: self.columns(), rows: self.first.clone() }
    }

    /// Whether somebody stands there twice, or an id has lost its zeros.
    fn check(&mut self, member: &Member, line: u64) -> Result<(), Vec<Problem>> {
        let id = member.patient.as_str();
        if id.bytes().all(|b| b.is_ascii_digit()) {
            match self.width {
                Some(width) if id.len() < width => return Err(vec![lost_zeros().at("patient_id")]),
                None if id.starts_with('0') => self.width = Some(id.len()),
                _ => {}
            }
        }
        let comes_back = matches!(&self.rows, Rows::Csv(rows) if rows.comes_back());
        if comes_back && self.seen.note(b'l', &line.to_string(), line).is_some() {
            let rule = format!("there are two rows of line {line}");
            let cure = "leave the lines as they were written; a new row is part of a new file";
            return Err(vec![Problem::new("refused_line", Reason::Duplicate, rule, cure)]);
        }
        let twice = |field: &str, row: u64| {
            let rule = format!("stands in row {row} already");
            vec![Problem::new(field, Reason::Duplicate, rule, "leave one of the two rows out")]
        };
        if let Some(row) = self.seen.note(b'p', id, line) {
            return Err(twice("patient_id", row));
        }
        let contacts = member.body.patient.iter().flat_map(|patient| &patient.contacts);
        let mut own = Vec::new();
        for contact in contacts {
            let address = contact.address.expose().to_ascii_lowercase();
            if own.contains(&address) {
                continue;
            }
            if let Some(row) = self.seen.note(b'a', &address, line) {
                return Err(twice(contact.channel.as_str(), row));
            }
            own.push(address);
        }
        Ok(())
    }
}

impl<R: Read> Iterator for Audience<R> {
    type Item = Row<Member>;

    fn next(&mut self) -> Option<Row<Member>> {
        let options = &self.options;
        let row = match &mut self.rows {
            Rows::Csv(rows) => rows.next(|cells| from_cells(cells, options)),
            Rows::Ndjson(rows) => rows.next(|line| campaign_recipient(line, &options.defaults)),
        }?;
        let Row { mut line, result, original } = row;
        if let Rows::Csv(rows) = &self.rows {
            line = rows.refused_line().unwrap_or(line);
        }
        if self.first.len() < FIRST {
            self.first.push(FirstRow { line, cells: self.rows.original() });
        }
        let result = result
            .and_then(|(patient, body)| {
                let mut whole = options.data.clone();
                whole.extend(body.data.clone());
                match options.catalogue.get(&options.template) {
                    Some(template) => template.manifest.check_data(&whole)?,
                    None => return Err(vec![unknown_template()]),
                }
                Ok(Member { ordinal: line, patient, body })
            })
            .and_then(|member| self.check(&member, line).map(|()| member));
        let original = match &self.rows {
            _ if result.is_ok() || !original.is_empty() => original,
            // It could be read, and was not taken for another reason.
            rows => rows.original(),
        };
        Some(Row { line, result, original })
    }
}

fn variables(options: &AudienceOptions) -> Vec<String> {
    let template = options.catalogue.get(&options.template);
    template.map_or_else(Vec::new, |t| t.manifest.variables.keys().cloned().collect())
}

/// What is wrong with the names of the columns.
fn judge(columns: &[String], variables: &[String]) -> Vec<Problem> {
    let inline = columns.iter().any(|name| CONTACTS.contains(&name.as_str()));
    let known = |name: &str| {
        matches!(name, "id" | "patient_id")
            || variables.iter().any(|v| v == name)
            || (inline && COLUMNS.contains(&name))
    };
    let mut all = format!("patient_id and the template's variables: {}", variables.join(", "));
    all.push_str("; and, with phone, sms, voice, email or portal, the columns of a file of patients");
    csv_rows::column_faults(columns, known, &all, &["patient_id", "id"])
}

/// One of CSV. A row without a contact of its own is by id, whatever the others bring.
fn from_cells(
    cells: &[(&str, &str)],
    options: &AudienceOptions,
) -> Result<(PatientId, RecipientBody), Vec<Problem>> {
    let template = options.catalogue.get(&options.template);
    let inline = cells.iter().any(|(name, text)| CONTACTS.contains(name) && !text.is_empty());
    let country = cells.iter().find(|(name, text)| *name == "country" && !text.is_empty());
    let country = country.map_or(options.defaults.region.as_str(), |(_, text)| text);
    let (mut faults, mut data, mut own) = (Vec::new(), Map::new(), Vec::new());
    let mut id = None;
    for &(name, text) in cells.iter().filter(|(_, text)| !text.is_empty()) {
        if let Some((rule, cure)) = mangled(text) {
            faults.push(Fault::malformed(rule, cure).at(name));
            continue;
        }
        let variable = template.and_then(|t| t.manifest.variables.get(name));
        match (name, variable) {
            ("id" | "patient_id", _) => {
                id = Some(text);
                own.push(("id", text));
            }
            ("birth_date", _) if is_ambiguous_day(text) => faults.push(ambiguous().at(name)),
            ("postal_code", _) if is_short_postcode(text, country) => faults.push(lost_zeros().at(name)),
            (_, Some(variable)) => match value(variable, text) {
                Ok(value) => drop(data.insert(name.to_owned(), value)),
                Err(fault) => faults.push(fault.at(name)),
            },
            _ => own.push((name, text)),
        }
    }
    let rule =
        || Fault::malformed(format!("must be {}", PatientId::RULE), "give the patient's id").at("patient_id");
    let patient = id.and_then(PatientId::parse);
    if patient.is_none() && !faults.iter().any(|f| matches!(f.field.as_str(), "id" | "patient_id")) {
        faults.push(rule());
    }
    let mut snapshot = None;
    if inline && faults.is_empty() {
        let read: Patient = csv_rows::patient(&own, &options.defaults)?;
        snapshot = Some(Box::new(read));
    }
    match patient {
        Some(patient) if faults.is_empty() => Ok((patient, RecipientBody { data, patient: snapshot })),
        _ => Err(faults),
    }
}

/// The text of a cell as the variable's type has it. What does not fit goes on as text: the template says what is wrong.
fn value(variable: &Variable, text: &str) -> Result<Value, Fault> {
    let as_text = || Value::String(text.to_owned());
    Ok(match variable.kind {
        Kind::Date | Kind::Datetime if is_ambiguous_day(text) => return Err(ambiguous()),
        Kind::Number | Kind::Integer => serde_json::from_str(text).unwrap_or_else(|_| as_text()),
        Kind::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "1" => Value::Bool(true),
            "false" | "no" | "n" | "0" => Value::Bool(false),
            _ => as_text(),
        },
        Kind::List => text.split(';').map(str::trim).filter(|item| !item.is_empty()).collect(),
        Kind::Text | Kind::Date | Kind::Datetime | Kind::Phone | Kind::Url => as_text(),
    })
}

fn ambiguous() -> Fault {
    Fault::malformed("the day can be read in two ways", "write year, month and day: 2026-04-03")
}

fn lost_zeros() -> Fault {
    Fault::malformed(
        "has lost the zeros that it begins with",
        "format the column as text in the spreadsheet, and export again",
    )
}

/// A postcode of the United States has five digits, or nine; elsewhere they may have fewer.
fn is_short_postcode(text: &str, country: &str) -> bool {
    country.eq_ignore_ascii_case("US")
        && matches!(text.len(), 3..=4)
        && text.bytes().all(|b| b.is_ascii_digit())
}

fn unknown_template() -> Problem {
    Problem::new(
        "template",
        Reason::UnknownTemplate,
        "is not in the catalogue",
        "use one of `outreachd template list`",
    )
}

/// Who has been seen, and in which row. Eight bytes stand for a text: of a million rows two are taken for one in one file
/// of thirty millions.
#[derive(Debug, Default)]
struct Seen {
    rows: HashMap<u64, u32>,
    hasher: std::hash::RandomState,
}

impl Seen {
    /// The row of the first one, if this is not it.
    fn note(&mut self, kind: u8, text: &str, line: u64) -> Option<u64> {
        let mut hash = self.hasher.build_hasher();
        hash.write_u8(kind);
        hash.write(text.as_bytes());
        let row = u32::try_from(line).unwrap_or(u32::MAX);
        match self.rows.entry(hash.finish()) {
            std::collections::hash_map::Entry::Occupied(first) => Some(u64::from(*first.get())),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(row);
                None
            }
        }
    }
}
