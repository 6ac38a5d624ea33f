//! Answers for programs that compare: NDJSON in, NDJSON out, nothing else touched.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use super::out::Out;
use super::{Desk, Failure, files};
use crate::domain::phone::{self, Region};
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
fn each_line<Q: for<'de> Deserialize<'de>>(
    out: &mut Out,
    file: &Path,
    answer: impl Fn(&Q) -> Value,
) -> Result<(), Failure> {
    let mut unread = false;
    for line in BufReader::new(files::open(file)?).lines() {
        let line = line.map_err(|error| Failure::file(file, &error))?;
        if line.trim().is_empty() {
            continue;
        }
        let answered = serde_json::from_str::<Q>(&line).map(|question| answer(&question));
        unread |= answered.is_err();
        out.json(&answered.unwrap_or_else(|_| json!({ "error": "the line is no such question" })))?;
        // Whoever asks line by line waits for the answer.
        out.flush()?;
    }
    if unread { Err(Failure::Reported) } else { Ok(()) }
}
