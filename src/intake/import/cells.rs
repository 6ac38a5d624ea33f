//! From a row's cells to a patient, by way of the shape in which one comes as JSON: one set of rules reads both.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::csv_rows::OWN_COLUMNS;
use crate::domain::patient::{DirectoryField, Patient};
use crate::domain::problem::Problem;
use crate::domain::reader::{Expect, ParseDefaults};
use crate::domain::words::Channel;

/// One row, cell by cell.
#[derive(Default)]
pub(super) struct Cells {
    patient: Map<String, Value>,
    /// Objects within it, by their field.
    parts: BTreeMap<&'static str, Map<String, Value>>,
    /// Channel, address, and the column it stands in.
    contacts: Vec<(Channel, String, &'static str)>,
    phone: Option<String>,
}

impl Cells {
    /// Takes one cell; an empty one says nothing.
    pub(super) fn put(&mut self, column: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        match column {
            "given" | "family" => self.within("name", column, text),
            "postal_code" | "state" | "country" => self.within("address", column, text),
            "quiet_start" => self.within("quiet_hours", "start", text),
            "quiet_end" => self.within("quiet_hours", "end", text),
            "mrn" => self.set("identifiers", json!([{"system": "urn:mrn", "value": text}])),
            "tags" | "preferred_channels" => self.set(column, list(text)),
            "active" | "deceased" => self.set(column, flag(text).map_or_else(|| json!(text), Value::Bool)),
            // Some systems export a yes or no in place of the reason.
            "do_not_contact" => match flag(text) {
                Some(false) => {}
                Some(true) => self.set(column, json!("imported")),
                None => self.set(column, json!(text)),
            },
            "phone" => self.phone = Some(text.to_owned()),
            "sms" => self.contacts.push((Channel::Sms, text.to_owned(), "sms")),
            "voice" => self.contacts.push((Channel::Voice, text.to_owned(), "voice")),
            "email" => self.contacts.push((Channel::Email, text.to_owned(), "email")),
            "portal" => self.contacts.push((Channel::Portal, text.to_owned(), "portal")),
            _ => match column.strip_prefix("preferences.") {
                Some(purpose) => {
                    let channels = if text.eq_ignore_ascii_case("none") { json!([]) } else { list(text) };
                    self.parts.entry("preferences").or_default().insert(purpose.to_owned(), channels);
                }
                None if OWN_COLUMNS.contains(&column) => {}
                None => self.set(column, json!(text)),
            },
        }
    }

    fn set(&mut self, name: &str, value: Value) {
        self.patient.insert(name.to_owned(), value);
    }

    fn within(&mut self, part: &'static str, name: &str, text: &str) {
        self.parts.entry(part).or_default().insert(name.to_owned(), json!(text));
    }

    /// Reads the row by the rules of a patient.
    ///
    /// # Errors
    /// All that is wrong, by column.
    pub(super) fn into_patient(mut self, defaults: &ParseDefaults) -> Result<Patient, Vec<Problem>> {
        if let Some(phone) = self.phone.take() {
            // A number behind a switchboard takes no SMS.
            let extension = phone.contains(['x', 'X', '#', ';']);
            for channel in [Channel::Sms, Channel::Voice] {
                let taken = self.contacts.iter().any(|(has, ..)| *has == channel);
                let unfit = extension && channel == Channel::Sms;
                if !taken && !unfit {
                    self.contacts.push((channel, phone.clone(), "phone"));
                }
            }
        }
        if !self.contacts.is_empty() {
            let contacts = self
                .contacts
                .iter()
                .map(|(channel, address, _)| json!({"channel": channel, "address": address}));
            let contacts = contacts.collect();
            self.set("contacts", Value::Array(contacts));
        }
        let Self { mut patient, parts, contacts, .. } = self;
        patient.extend(parts.into_iter().map(|(part, map)| (part.to_owned(), Value::Object(map))));
        let mut patient = Patient::from_map(patient, defaults, Expect::default())
            .map_err(|problems| by_column(problems, &contacts))?;
        // A cell is a name, a number or an id, and says nothing of what else is known of it.
        patient.unsaid.add(DirectoryField::Rest);
        for channel in Channel::ALL {
            if !contacts.iter().any(|(has, ..)| has == channel) {
                patient.unsaid.add(DirectoryField::contacts_of(*channel));
            }
        }
        Ok(patient)
    }
}

/// Faults by the columns they stand in.
fn by_column(problems: Vec<Problem>, contacts: &[(Channel, String, &'static str)]) -> Vec<Problem> {
    let mut told: Vec<Problem> = Vec::with_capacity(problems.len());
    for mut problem in problems {
        problem.field = column_of(&problem.field, contacts);
        if !told.contains(&problem) {
            told.push(problem);
        }
    }
    told
}

fn column_of(path: &str, contacts: &[(Channel, String, &'static str)]) -> String {
    let contact =
        path.strip_prefix("contacts[").and_then(|rest| rest.split(']').next()?.parse::<usize>().ok());
    if let Some((.., column)) = contact.and_then(|index| contacts.get(index)) {
        return (*column).to_owned();
    }
    let (head, rest) = path.split_once(['.', '[']).unwrap_or((path, ""));
    match (head, rest) {
        ("name" | "address", inner) if !inner.is_empty() => inner.to_owned(),
        ("quiet_hours", "start") => "quiet_start".to_owned(),
        ("quiet_hours", "end") => "quiet_end".to_owned(),
        ("identifiers", _) => "mrn".to_owned(),
        ("preferences", inner) => {
            format!("preferences.{}", inner.split('[').next().unwrap_or_default())
        }
        (head, _) => head.to_owned(),
    }
}

fn list(text: &str) -> Value {
    text.split(';').map(str::trim).filter(|item| !item.is_empty()).collect()
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "1" => Some(true),
        "false" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}
