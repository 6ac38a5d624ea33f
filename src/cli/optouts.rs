//! `outreachd optouts`: the list of addresses that a former system was told to leave alone.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use csv::{ReaderBuilder, StringRecord, Trim};
use jiff::Timestamp;
use serde_json::json;

use super::audit::record;
use super::{Desk, Failure, files};
use crate::config::Config;
use crate::domain::patient::ConsentSource;
use crate::domain::phi::Phi;
use crate::domain::phone::{self, Region};
use crate::domain::problem::Problem;
use crate::domain::reader;
use crate::domain::words::{Channel, Purpose, Reason};
use crate::store::Store;
use crate::store::rows::AddressConsent;

/// Rows written in one transaction.
const BATCH: usize = 500;

/// Imports addresses that must not be written to.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Import opt-outs from CSV; each binds every patient behind the address, at once
    ///
    /// Columns, named in the first row: `address` (a number, an email address or a portal reference) and, where there
    /// are any, `channel` (left out: every channel of the address), `purpose` (left out: every purpose), `at` (when it
    /// was said, with offset; left out: when the file was written) and `reason`. They count as said by the patient, so
    /// that no later list lifts them. Importing a file again changes nothing: what is on record already is counted as
    /// known. (What comes over standard input without `at` counts as said now.) Without a header of that name the file is
    /// refused.
    #[command(after_help = "Example:\n  outreachd optouts import stop-list.csv")]
    Import {
        /// CSV; `-` is standard input
        file: PathBuf,
    },
}

pub(super) async fn run(desk: &mut Desk, command: Command) -> Result<(), Failure> {
    let Command::Import { file } = command;
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let Counts { recorded, known, refused } = import(desk, &config, store.as_ref(), &file).await?;
    if desk.json {
        desk.out.pretty(&json!({ "recorded": recorded, "known": known, "refused": refused }))?;
    } else {
        desk.out.line(format!("{recorded} recorded, {known} known already, {refused} refused"))?;
        if config.security.key.is_none() {
            desk.out.line(
                "there is no [security] key yet: import them again once there is, for under it these are not found",
            )?;
        }
    }
    if refused > 0 { Err(Failure::Reported) } else { Ok(()) }
}

/// Imports one file; rows that are refused are told as they come.
pub(super) async fn import(
    desk: &mut Desk,
    config: &Config,
    store: &dyn Store,
    file: &Path,
) -> Result<Counts, Failure> {
    let now = store.ping().await?;
    let bar = files::progress(file);
    let mut csv =
        ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(bar.wrap_read(files::open(file)?));
    let columns = Columns::of(csv.headers().map_err(|_| unreadable(file))?)?;
    let defaults = Defaults {
        region: Region::parse(&config.organisation.default_region).unwrap_or(Region::US),
        at: files::changed_at(file).unwrap_or(now).min(now),
        now,
        file: files::name(file),
    };
    let mut batch = Vec::with_capacity(BATCH);
    let mut counts = Counts::default();
    for record in csv.records() {
        let read = match &record {
            Ok(record) => columns.read(record, &defaults),
            Err(_) => Err(Problem::new(
                "",
                Reason::Malformed,
                "the row cannot be read",
                "save the file as CSV in UTF-8",
            )),
        };
        match read {
            Ok(consents) => batch.push(consents),
            Err(problem) => {
                counts.refused += 1;
                let line =
                    record.as_ref().ok().and_then(StringRecord::position).map_or(0, csv::Position::line);
                bar.suspend(|| {
                    if desk.json {
                        return desk.out.json(&json!({ "line": line, "problems": [problem] }));
                    }
                    desk.out.line(format!("line {line}: {problem}"))
                })?;
            }
        }
        if batch.len() >= BATCH {
            counts.record(store, std::mem::take(&mut batch)).await?;
        }
    }
    counts.record(store, batch).await?;
    bar.finish_and_clear();
    let told = format!("{} recorded, {} known already", counts.recorded, counts.known);
    record(store, "optout.import", "", &told).await?;
    Ok(counts)
}

/// What became of the rows.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) recorded: u64,
    pub(super) known: u64,
    pub(super) refused: u64,
}

impl Counts {
    /// Records rows, each with its consents. A row is new if any of them is.
    async fn record(&mut self, store: &dyn Store, rows: Vec<Vec<AddressConsent>>) -> Result<(), Failure> {
        let consents: Vec<AddressConsent> = rows.iter().flatten().cloned().collect();
        let mut answers = store.record_address_consents(&consents).await?.into_iter();
        for row in &rows {
            let new = answers.by_ref().take(row.len()).fold(false, |any, new| any | new);
            *(if new { &mut self.recorded } else { &mut self.known }) += 1;
        }
        Ok(())
    }
}

fn unreadable(file: &Path) -> Failure {
    Failure::said(format!("{} cannot be read as CSV", file.display()), "save it as CSV in UTF-8")
}

/// What rows need not say.
struct Defaults {
    region: Region,
    at: Timestamp,
    now: Timestamp,
    file: String,
}

/// Where each column stands.
struct Columns {
    address: usize,
    channel: Option<usize>,
    purpose: Option<usize>,
    at: Option<usize>,
    reason: Option<usize>,
}

impl Columns {
    fn of(names: &StringRecord) -> Result<Self, Failure> {
        let place = |wanted: &str| {
            names.iter().position(|name| name.trim_start_matches('\u{feff}').eq_ignore_ascii_case(wanted))
        };
        let Some(address) = place("address") else {
            let cure = "name the columns in the first row: address,channel,purpose,at,reason";
            return Err(Failure::said("the file has no column `address`", cure));
        };
        Ok(Self {
            address,
            channel: place("channel"),
            purpose: place("purpose"),
            at: place("at"),
            reason: place("reason"),
        })
    }

    /// One revocation for each channel that is meant.
    fn read(&self, record: &StringRecord, defaults: &Defaults) -> Result<Vec<AddressConsent>, Problem> {
        let cell = |column: Option<usize>| column.and_then(|c| record.get(c)).filter(|text| !text.is_empty());
        let bad = |field: &str, rule: String, cure: &str| Problem::new(field, Reason::Malformed, rule, cure);
        let at = match cell(self.at) {
            None => defaults.at,
            Some(text) => {
                reader::timestamp(text).map_err(|fault| bad("at", fault.rule.to_string(), &fault.cure))?
            }
        };
        if at > defaults.now {
            return Err(bad("at", "lies in the future".to_owned(), "write when it was said"));
        }
        let purpose = match cell(self.purpose) {
            None => None,
            Some(text) => Some(Purpose::from_word(text).ok_or_else(|| {
                bad("purpose", "there is no such purpose".to_owned(), "leave it out for every purpose")
            })?),
        };
        let channel = match cell(self.channel) {
            None => None,
            Some(text) => Some(Channel::from_word(&text.to_ascii_lowercase()).ok_or_else(|| {
                bad("channel", "there is no such channel".to_owned(), "write sms, voice, email or portal")
            })?),
        };
        let written = record.get(self.address).unwrap_or_default();
        let (address, channels) = address(written, channel, defaults.region)?;
        let line = record.position().map_or(0, csv::Position::line);
        let reason =
            cell(self.reason).map(|text| format!(": {}", super::out::tame(text))).unwrap_or_default();
        let evidence = format!("{} line {line}{reason}", defaults.file);
        let consent = |channel: &Channel| AddressConsent {
            channel: *channel,
            address: address.clone(),
            purpose,
            granted: false,
            at,
            source: ConsentSource::Patient,
            by: Some("import".to_owned()),
            evidence: Some(evidence.chars().take(500).collect()),
        };
        Ok(channels.iter().map(consent).collect())
    }
}

/// The address as the ledger keeps it, and the channels it stands for: a number that was only said to be left alone is
/// neither written to nor called.
fn address(written: &str, channel: Option<Channel>, region: Region) -> Result<(Phi, Vec<Channel>), Problem> {
    let told = match channel {
        Some(channel) => channel,
        None if written.contains('@') => Channel::Email,
        None if written.contains('/') => Channel::Portal,
        None => Channel::Sms,
    };
    let bad = |rule: String, cure: String| Problem::new("address", Reason::InvalidAddress, rule, cure);
    let text = match told {
        Channel::Email => reader::email(written).map_err(|f| bad(f.rule.to_string(), f.cure.to_string()))?,
        Channel::Portal => {
            reader::portal_reference(written).map_err(|f| bad(f.rule.to_string(), f.cure.to_string()))?
        }
        Channel::Sms | Channel::Voice => {
            phone::parse(written, region).map_err(|f| bad(f.to_string(), f.cure(region)))?.e164
        }
    };
    let channels = match (channel, told) {
        (None, Channel::Sms) => vec![Channel::Sms, Channel::Voice],
        _ => vec![told],
    };
    Ok((Phi::new(text), channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_channel_is_left_alone_on_all_of_its_own() {
        let read = |text: &str, channel| {
            let (address, channels) = address(text, channel, Region::US).unwrap();
            (address.expose().to_owned(), channels)
        };
        let number = "+13125550142".to_owned();
        assert_eq!(read("(312) 555-0142", None), (number.clone(), vec![Channel::Sms, Channel::Voice]));
        assert_eq!(read("3125550142", Some(Channel::Voice)), (number, vec![Channel::Voice]));
        assert_eq!(read("ana@Example.org", None), ("ana@example.org".to_owned(), vec![Channel::Email]));
        assert_eq!(read("Patient/42", None), ("Patient/42".to_owned(), vec![Channel::Portal]));
        assert!(address("nobody", None, Region::US).is_err());
        assert!(address("ana@example.org", Some(Channel::Sms), Region::US).is_err());
    }

    #[test]
    fn a_row_says_when_and_for_what() {
        let defaults = Defaults {
            region: Region::US,
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            now: "2026-06-01T00:00:00Z".parse().unwrap(),
            file: "stop.csv".to_owned(),
        };
        let columns = Columns::of(&StringRecord::from(vec!["Address", "purpose", "at", "reason"])).unwrap();
        let row = |cells: [&str; 4]| columns.read(&StringRecord::from(cells.to_vec()), &defaults);
        let told = row(["ana@example.org", "marketing", "2026-02-01T00:00:00Z", "wrote in"]).unwrap();
        assert_eq!(told[0].purpose, Some(Purpose::Marketing));
        assert!(
            told[0].evidence.as_deref().is_some_and(|e| e.contains("stop.csv") && e.contains("wrote in"))
        );
        assert_eq!(row(["ana@example.org", "", "", ""]).unwrap()[0].at, defaults.at);
        for (cells, field) in [
            (["", "", "", ""], "address"),
            (["ana@example.org", "adverts", "", ""], "purpose"),
            (["ana@example.org", "", "yesterday", ""], "at"),
            (["ana@example.org", "", "2027-01-01T00:00:00Z", ""], "at"),
        ] {
            assert_eq!(row(cells).unwrap_err().field, field);
        }
        assert!(Columns::of(&StringRecord::from(vec!["phone"])).is_err());
    }
}
