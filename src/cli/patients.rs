//! `outreachd patients`: a file of patients into the directory, and one patient out of it.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use indicatif::ProgressBar;
use serde_json::json;

use super::audit::record;
use super::files::Refusals;
use super::out::tame;
use super::{Desk, Failure, args, files, patient_file};
use crate::domain::ids::PatientId;
use crate::domain::patient::Patient;
use crate::domain::phi::Phi;
use crate::intake::Intake;
use crate::intake::gatekeeper::Arrival;
use crate::intake::import::{Format, Import, ImportOptions, Row};
use crate::store::patient_records::PatientWord;
use crate::store::rows::UpsertOutcome;

/// Rows written in one transaction.
const BATCH: usize = 500;

/// Imports patients and shows them.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Import patients from CSV or NDJSON; a bad row is told with its line and column, and the others go on
    ///
    /// A row without `updated_at` counts as changed when the file was. Importing a file again changes nothing. A grant
    /// in a file never lifts what a patient revoked. The exit code is 0 only if no row was refused.
    #[command(after_help = "Example:\n  outreachd patients import patients.csv --refused refused.csv")]
    Import {
        /// CSV as spreadsheets write it, or one JSON object a line; `-` is standard input
        file: PathBuf,
        /// Write the refused rows here, with the reasons: to be mended in a spreadsheet and imported
        #[arg(long, value_name = "FILE")]
        refused: Option<PathBuf>,
        /// csv or ndjson [default: told by the file's beginning]
        #[arg(long, value_parser = format)]
        format: Option<Format>,
    },
    /// Write all that is known of one patient into a file: record, what was said, messages, attempts, replies
    ///
    /// Nothing in it is masked: only its owner may read the file, and the audit log says who asked for it and why.
    #[command(
        after_help = "Example:\n  outreachd patients export P0000042 --out P0000042.json --reason 'asked by letter'"
    )]
    Export {
        /// The patient's id; a merged one leads to its successor
        #[arg(value_parser = args::patient)]
        id: PatientId,
        /// Where to write it
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Why, for the audit log
        #[arg(long, value_parser = reason)]
        reason: String,
    },
    /// Erase one patient: record, texts and addresses; what waits is cancelled
    ///
    /// What they refused stays, as keyed hashes of their addresses, so that nobody writes there again; so do the statuses of
    /// their messages. Without --confirm it only tells what there is.
    #[command(
        after_help = "Example:\n  outreachd patients erase P0000042 --reason 'asked by letter' --confirm P0000042"
    )]
    Erase {
        /// The patient's id; a merged one leads to its successor
        #[arg(value_parser = args::patient)]
        id: PatientId,
        /// Why, for the audit log
        #[arg(long, value_parser = reason)]
        reason: String,
        /// The same id once more
        #[arg(long, value_name = "ID", value_parser = args::patient)]
        confirm: Option<PatientId>,
    },
    /// Show what is known of one patient, name and addresses masked
    #[command(after_help = "Example:\n  outreachd patients show P0000042")]
    Show {
        /// The patient's id; a merged one leads to its successor
        #[arg(value_parser = args::patient)]
        id: PatientId,
    },
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "csv" => Ok(Format::Csv),
        "ndjson" => Ok(Format::Ndjson),
        _ => Err("must be csv or ndjson".to_owned()),
    }
}

/// As whoever reveals something in the console gives it.
pub(super) fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if (4..=200).contains(&text.chars().count()) {
        return Ok(text.to_owned());
    }
    Err("must be a reason of 4 to 200 characters, such as 'asked by letter'".to_owned())
}

pub(super) async fn run(desk: &mut Desk, command: Command) -> Result<(), Failure> {
    match command {
        Command::Import { file, refused, format } => import(desk, &file, refused.as_deref(), format).await,
        Command::Show { id } => show(desk, &id).await,
        Command::Export { id, out, reason } => patient_file::export(desk, &id, &out, &reason).await,
        Command::Erase { id, reason, confirm } => {
            patient_file::erase(desk, &id, &reason, confirm.as_ref()).await
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Tally {
    created: u64,
    updated: u64,
    unchanged: u64,
    stale: u64,
    refused: u64,
}

async fn import(
    desk: &mut Desk,
    file: &Path,
    refused: Option<&Path>,
    format: Option<Format>,
) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let now = store.ping().await?;
    let intake = Desk::intake(&config, store.clone(), Desk::catalogue(&config)?);
    let options = ImportOptions {
        defaults: intake.gatekeeper.defaults(&Arrival::default()),
        updated_at: Some(files::changed_at(file).unwrap_or(now).min(now)),
        format,
    };
    let bar = files::progress(file);
    let input = bar.wrap_read(files::open(file)?);
    let rows = Import::open(input, options).map_err(Failure::Input)?;
    let mut refusals = Refusals::open(refused, &rows.columns())?;
    let mut tally = Tally::default();
    let taken = take(desk, &intake, &bar, rows, &mut tally, &mut refusals).await;
    bar.finish_and_clear();
    let told = format!("{} created, {} updated, {} refused", tally.created, tally.updated, tally.refused);
    if let Err(failure) = taken {
        // It fails for the reason it broke off for, whether or not what was written can be told and recorded.
        let _ = broken_off(desk, tally);
        let _ = record(store.as_ref(), "patient.import", "", &format!("{told}; broken off")).await;
        let _ = refusals.finish();
        return Err(failure);
    }
    record(store.as_ref(), "patient.import", "", &told).await?;
    refusals.finish()?;
    summary(desk, tally, refused)
}

/// Writes rows in batches, as far as it comes; `tally` says how far.
async fn take(
    desk: &mut Desk,
    intake: &Intake,
    bar: &ProgressBar,
    rows: impl Iterator<Item = Row>,
    tally: &mut Tally,
    refusals: &mut Refusals,
) -> Result<(), Failure> {
    let mut batch: Vec<(u64, Patient)> = Vec::with_capacity(BATCH);
    for row in rows {
        if row.result.is_err() {
            tally.refused += 1;
            refusals.add(desk, bar, &row)?;
            continue;
        }
        let line = row.line;
        batch.extend(row.result.ok().map(|patient| (line, patient)));
        if batch.len() >= BATCH {
            write(desk, intake, bar, std::mem::take(&mut batch), tally, refusals).await?;
        }
    }
    write(desk, intake, bar, batch, tally, refusals).await
}

/// What stands in the directory though the file was not read to its end.
fn broken_off(desk: &mut Desk, tally: Tally) -> std::io::Result<()> {
    let Tally { created, updated, unchanged, stale, refused } = tally;
    if desk.json {
        desk.out.pretty(&json!({
            "created": created, "updated": updated, "unchanged": unchanged, "stale": stale, "refused": refused,
            "broken_off": true,
        }))?;
    } else {
        desk.out.line(format!(
            "broken off: {created} created, {updated} updated, {unchanged} unchanged, {refused} refused so far; that stays, \
             and importing the file again goes on from there"
        ))?;
    }
    desk.out.flush()
}

fn summary(desk: &mut Desk, tally: Tally, refused_file: Option<&Path>) -> Result<(), Failure> {
    let Tally { created, updated, unchanged, stale, refused } = tally;
    if desk.json {
        desk.out.pretty(&json!({
            "created": created, "updated": updated, "unchanged": unchanged, "stale": stale, "refused": refused,
        }))?;
    } else {
        desk.out.line(format!(
            "{created} created, {updated} updated, {unchanged} unchanged, {stale} older than what is known, {refused} refused"
        ))?;
        if let (Some(file), 1..) = (refused_file, refused) {
            desk.out.line(format!("the refused rows are in {}: mend and import them", file.display()))?;
        }
    }
    if refused > 0 { Err(Failure::Reported) } else { Ok(()) }
}

/// Writes one batch; rows that the ledger does not take are refused alone.
async fn write(
    desk: &mut Desk,
    intake: &Intake,
    bar: &ProgressBar,
    batch: Vec<(u64, Patient)>,
    tally: &mut Tally,
    refusals: &mut Refusals,
) -> Result<(), Failure> {
    let (lines, patients): (Vec<u64>, Vec<Patient>) = batch.into_iter().unzip();
    for (line, answer) in lines.into_iter().zip(intake.upsert_each(patients).await?) {
        match answer {
            Ok(UpsertOutcome::Created) => tally.created += 1,
            Ok(UpsertOutcome::Updated) => tally.updated += 1,
            Ok(UpsertOutcome::Unchanged) => tally.unchanged += 1,
            Ok(UpsertOutcome::Stale) => tally.stale += 1,
            Err(problem) => {
                tally.refused += 1;
                let row: Row = Row { line, result: Err(vec![problem]), original: Vec::new() };
                refusals.add(desk, bar, &row)?;
            }
        }
    }
    bar.set_message(format!("{} taken, {} refused", tally.created + tally.updated, tally.refused));
    Ok(())
}

async fn show(desk: &mut Desk, id: &PatientId) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let Some(patient) = store.patient(id).await? else {
        let cure = "check the id; `outreachd patients import` brings patients in";
        return Err(Failure::said(format!("patient {id} is not in the directory"), cure));
    };
    let word = store.patient_word(id).await?;
    if desk.json {
        let (said, changes) = word.masked();
        let mut shown = patient.masked();
        shown.insert("said_at_addresses".to_owned(), said.into());
        shown.insert("changes".to_owned(), changes.into());
        return Ok(desk.out.pretty(&shown)?);
    }
    let mut lines = vec![
        ("patient", patient.id.to_string()),
        ("language", super::out::or_dash(patient.language.as_deref())),
        ("zone", super::out::or_dash(patient.timezone.as_deref())),
        ("site", super::out::or_dash(patient.site.as_ref())),
        ("updated", super::out::or_dash(patient.updated_at)),
    ];
    let flags = [
        (!patient.active, "inactive"),
        (patient.deceased, "deceased"),
        (patient.do_not_contact.is_some(), "do not contact"),
        (patient.pause_until.is_some(), "paused"),
    ];
    let standing: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
    lines.push(("standing", if standing.is_empty() { "active".to_owned() } else { standing.join(", ") }));
    for (name, value) in lines {
        desk.out.line(format!("{name:<9} {value}"))?;
    }
    for contact in &patient.contacts {
        let only = if contact.only { ", only this one" } else { "" };
        let text =
            format!("contact   {} {} ({}{only})", contact.channel, contact.address.masked(), contact.status);
        desk.out.line(text)?;
    }
    for preference in &patient.preferences {
        let channels: Vec<&str> = preference.channels.iter().map(|channel| channel.as_str()).collect();
        let channels = if channels.is_empty() { "no messages".to_owned() } else { channels.join(", ") };
        desk.out.line(format!("prefers   {}: {channels}", preference.purpose))?;
    }
    for consent in &patient.consents {
        let word = if consent.granted { "granted" } else { "revoked" };
        let purpose = consent.purpose.map_or("every purpose", |p| p.as_str());
        let channel = consent.channel.map_or("every channel", |c| c.as_str());
        desk.out
            .line(format!("consent   {word} {purpose}, {channel}, at {} ({})", consent.at, consent.source))?;
    }
    said(desk, &word)
}

/// What binds an address, whoever stands behind it, and what was changed by others than the EHR.
fn said(desk: &mut Desk, word: &PatientWord) -> Result<(), Failure> {
    for said in &word.said {
        let what = if said.granted { "granted" } else { "revoked" };
        let purpose = said.purpose.map_or("every purpose", |p| p.as_str());
        let channel = said.channel.map_or("every channel", |c| c.as_str());
        let address = said.address.as_ref().map(Phi::masked).unwrap_or_default();
        let text =
            format!("said      {what} {purpose}, {channel} at {address}, at {} ({})", said.at, said.source);
        desk.out.line(text)?;
    }
    for change in &word.changes {
        let text = format!("changed   {} by {}: {}", change.at, tame(&change.by), tame(&change.what));
        desk.out.line(text)?;
    }
    Ok(())
}
