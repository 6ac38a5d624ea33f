//! Answers for programs that compare: NDJSON in, NDJSON out, nothing else touched.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::out::Out;
use super::{Desk, Failure, files};
use crate::domain::phone::{self, Region};
use crate::domain::reader;
use crate::policy::hours::next_allowed;
use crate::template::segments;

/// Reads telephone numbers as outreachd reads them.
#[derive(Debug, Subcommand)]
pub(super) enum PhoneCommand {
    /// One answer a line: {number, region} -> {e164, kind} or {error}
    #[command(
        after_help = "Example:\n  echo '{\"number\":\"(312) 555-0142\",\"region\":\"US\"}' | outreachd phone parse -"
    )]
    Parse {
        /// NDJSON; `-` is standard input
        file: PathBuf,
    },
}

/// Counts what text messages cost.
#[derive(Debug, Subcommand)]
pub(super) enum SmsCommand {
    /// One answer a line: {text} -> {encoding, units, segments}
    #[command(after_help = "Example:\n  echo '{\"text\":\"Hello\"}' | outreachd sms segments -")]
    Segments {
        /// NDJSON; `-` is standard input
        file: PathBuf,
    },
}

/// Answers what policy would answer.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// One answer a line: {zone, at, start, end} -> {next_allowed} or {error}
    #[command(
        long_about = "One answer a line: {zone, at, start, end} -> {next_allowed} or {error}\n\nHours are quiet from \
                      start up to end by the wall clock of the zone (HH:MM or HH:MM:SS; they may pass midnight; start \
                      = end is never quiet). The answer is the first instant from `at` on that is not quiet, in UTC.",
        after_help = "Example:\n  echo '{\"zone\":\"America/Chicago\",\"at\":\"2026-11-28T03:30:00Z\",\"start\":\"21:00\",\"end\":\"08:00\"}' \\\n    | outreachd policy next-allowed -"
    )]
    NextAllowed {
        /// NDJSON; `-` is standard input
        file: PathBuf,
    },
}

pub(super) fn phone(desk: &mut Desk, command: PhoneCommand) -> Result<(), Failure> {
    let PhoneCommand::Parse { file } = command;
    each_line(&mut desk.out, &file, |asked: &NumberAsked| {
        let Some(region) = Region::parse(&asked.region) else {
            return json!({ "error": "region must be an ISO 3166-1 alpha-2 code" });
        };
        match phone::parse(&asked.number, region) {
            Ok(phone) => json!({ "e164": phone.e164, "kind": phone.kind }),
            Err(fault) => json!({ "error": fault.to_string() }),
        }
    })
}

pub(super) fn sms(desk: &mut Desk, command: SmsCommand) -> Result<(), Failure> {
    let SmsCommand::Segments { file } = command;
    each_line(&mut desk.out, &file, |asked: &TextAsked| json!(segments(&asked.text)))
}

pub(super) fn policy(desk: &mut Desk, command: PolicyCommand) -> Result<(), Failure> {
    let PolicyCommand::NextAllowed { file } = command;
    let mut zones = HashMap::new();
    each_line(&mut desk.out, &file, |asked: &HoursAsked| {
        next(asked, &mut zones).unwrap_or_else(|error| json!({ "error": error }))
    })
}

fn next(asked: &HoursAsked, zones: &mut HashMap<String, TimeZone>) -> Result<Value, String> {
    let place = |field: &str, fault: reader::Fault| format!("{field}: {}; {}", fault.rule, fault.cure);
    if !zones.contains_key(&asked.zone) {
        let name = reader::zone(&asked.zone).map_err(|fault| place("zone", fault))?;
        let zone = TimeZone::get(&name).map_err(|_| "zone: is not in the database".to_owned())?;
        zones.insert(asked.zone.clone(), zone);
    }
    let at = reader::timestamp(&asked.at).map_err(|fault| place("at", fault))?;
    let start = reader::time_of_day(&asked.start).map_err(|fault| place("start", fault))?;
    let end = reader::time_of_day(&asked.end).map_err(|fault| place("end", fault))?;
    let next = zones.get(&asked.zone).map(|zone| next_allowed(zone, at, start, end));
    Ok(json!({ "next_allowed": next }))
}

#[derive(Deserialize)]
struct HoursAsked {
    zone: String,
    at: String,
    start: String,
    end: String,
}

#[derive(Deserialize)]
struct NumberAsked {
    number: String,
    #[serde(default = "us")]
    region: String,
}

fn us() -> String {
    "US".to_owned()
}

#[derive(Deserialize)]
struct TextAsked {
    text: String,
}

/// One answer for each line that is not blank; a line that is no question is answered with an error, and the exit
/// code tells of it.
fn each_line<Q: for<'de> Deserialize<'de>, A: Serialize>(
    out: &mut Out,
    file: &Path,
    mut answer: impl FnMut(&Q) -> A,
) -> Result<(), Failure> {
    let mut unread = false;
    let mut input = BufReader::with_capacity(64 * 1024, files::open(file)?);
    let mut line = Vec::new();
    loop {
        // Whoever asks line by line waits for the answer: nothing is kept back when the next read may wait too.
        if !input.buffer().contains(&b'\n') {
            out.flush()?;
        }
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(|error| Failure::file(file, &error))? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Q>(&line) {
            Ok(question) => out.json(&answer(&question))?,
            Err(_) => {
                unread = true;
                out.json(&json!({ "error": "the line is no such question" }))?;
            }
        }
    }
    if unread { Err(Failure::Reported) } else { Ok(()) }
}
