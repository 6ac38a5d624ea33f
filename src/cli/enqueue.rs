//! `outreachd enqueue`: jobs from a file, by the same path as from anywhere else.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::out::Out;
use super::{Desk, Failure, args, files};
use crate::domain::ids::SourceName;
use crate::domain::problem::Problem;
use crate::domain::reader::{identify, items, without_bom};
use crate::intake::gatekeeper::Arrival;
use crate::intake::{Incoming, Intake, Outcome};
use crate::store::rows::CancelOutcome;

/// The largest file, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Jobs a file may hold.
const MAX_JOBS: usize = 1_000_000;
/// Jobs written in one go.
const BATCH: usize = 500;

/// Submits jobs: one JSON object, a JSON array, or one object a line (NDJSON). Cancels (`"action": "cancel"`) too.
///
/// Tells per job what became of it; the exit code is 0 only if none was refused. Sending the same file again does no
/// harm: (source, id) is accepted once. What is accepted waits in the ledger for a running worker.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  echo '{\"id\":\"appt-1\",\"patient_id\":\"P1\",\"template\":\"preferences-changed\",\
    \"data\":{}}' | outreachd enqueue -"
)]
pub(super) struct Options {
    /// The file; `-` is standard input
    file: PathBuf,
    /// The source of every job in the file; they may name no other
    #[arg(long, value_parser = args::source)]
    source: Option<SourceName>,
}

pub(super) async fn run(desk: &mut Desk, options: &Options) -> Result<(), Failure> {
    let config = desk.config()?;
    let bytes = files::read_all(&options.file, MAX_BYTES)?;
    let bodies = bodies(&bytes)?;
    let catalogue = Desk::catalogue(&config)?;
    let store = Desk::store(&config).await?;
    let intake = Desk::intake(&config, store, catalogue);
    let arrival = Arrival {
        source: options.source.clone(),
        origin: "file".to_owned(),
        asked_by: Some(super::operator()),
        ..Arrival::default()
    };
    let mut tally = Tally::default();
    for chunk in bodies.chunks(BATCH) {
        let outcomes = submit(&intake, chunk, &arrival).await?;
        for (body, outcome) in chunk.iter().zip(outcomes) {
            tally.add(&outcome);
            tell(&mut desk.out, desk.json, body, &outcome)?;
        }
    }
    if !desk.json {
        let Tally { taken, known, refused } = tally;
        desk.out.line(format!("{taken} accepted, {known} known already, {refused} refused"))?;
    }
    if tally.refused > 0 { Err(Failure::Reported) } else { Ok(()) }
}

/// One body a job. What stands between is left out; what is no JSON comes out as it is, to be refused by itself.
fn bodies(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = without_bom(bytes);
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
    if first == Some(&b'[') {
        return Ok(items(bytes, MAX_JOBS).map_err(Failure::Input)?.into_iter().map(<[u8]>::to_vec).collect());
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
        return Ok(vec![bytes.to_vec()]);
    }
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace));
    let bodies: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
    // One job over several lines, with a mistake in it: the mistake is told, and not that each line is none.
    let is_json = |body: &Vec<u8>| serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    if !bodies.is_empty() && !bodies.iter().any(is_json) {
        return Ok(vec![bytes.to_vec()]);
    }
    match bodies.len() {
        0 => Err(Failure::said("the input is empty", "give one job, an array of jobs, or one job a line")),
        1..=MAX_JOBS => Ok(bodies),
        _ => Err(Failure::said(
            format!("the input holds more than {MAX_JOBS} jobs"),
            "send it in several parts",
        )),
    }
}

async fn submit(intake: &Intake, bodies: &[Vec<u8>], arrival: &Arrival) -> Result<Vec<Outcome>, Failure> {
    let incoming = |body: &Vec<u8>| Incoming {
        body: body.clone(),
        arrival: arrival.clone(),
        key: None,
        redelivered: false,
        park: false,
    };
    Ok(intake.submit(bodies.iter().map(incoming).collect()).await?)
}

#[derive(Clone, Copy, Default)]
struct Tally {
    taken: u64,
    known: u64,
    refused: u64,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Refused { .. } => self.refused += 1,
            Outcome::Duplicate(_) => self.known += 1,
            _ => self.taken += 1,
        }
    }
}

fn tell(out: &mut Out, json: bool, body: &[u8], outcome: &Outcome) -> Result<(), Failure> {
    let (_, job) = identify(body);
    let id = job.map(|job| job.to_string());
    if json {
        return Ok(out.json(&as_json(id, outcome))?);
    }
    let id = id.unwrap_or_else(|| "(no id)".to_owned());
    let (word, detail) = words(outcome);
    out.line(format!("{word:<10} {id:<32} {detail}").trim_end())?;
    if let Outcome::Refused { problems, .. } = outcome {
        problems.iter().try_for_each(|problem| out.line(format!("           {problem}")))?;
    }
    Ok(())
}

/// One word for what became of it, and what else there is to say.
pub(super) fn words(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Accepted(id) => ("accepted", id.to_string()),
        Outcome::Duplicate(id) => ("duplicate", id.to_string()),
        Outcome::TakenBack(id, reason) => ("cancelled", format!("{id} ({reason})")),
        Outcome::Cancel(CancelOutcome::Cancelled(ids)) => ("cancelled", format!("{} messages", ids.len())),
        Outcome::Cancel(CancelOutcome::TooLate(ids)) => ("too_late", format!("{} messages", ids.len())),
        Outcome::Cancel(CancelOutcome::Tombstone) => ("cancelled", "before its job has come".to_owned()),
        Outcome::Patient(_) => ("accepted", "patient".to_owned()),
        Outcome::Merged => ("accepted", "merged".to_owned()),
        Outcome::Refused { problems, .. } => {
            ("refused", problems.first().map(|p| p.reason.to_string()).unwrap_or_default())
        }
    }
}

/// The same shape as the API's answer: `{id, message_id, result, problem}`.
fn as_json(id: Option<String>, outcome: &Outcome) -> Value {
    let mut shape = Map::new();
    shape.insert("id".to_owned(), json!(id));
    shape.insert("result".to_owned(), json!(words(outcome).0));
    match outcome {
        Outcome::Accepted(id) | Outcome::Duplicate(id) | Outcome::TakenBack(id, _) => {
            shape.insert("message_id".to_owned(), json!(id));
        }
        Outcome::Refused { problems, .. } => {
            shape.insert("problem".to_owned(), json!(problems.first()));
            shape.insert("problems".to_owned(), json!(problems.iter().collect::<Vec<&Problem>>()));
        }
        Outcome::Cancel(_) | Outcome::Patient(_) | Outcome::Merged => {}
    }
    Value::Object(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_job_an_array_or_a_job_a_line() {
        let count = |text: &str| bodies(text.as_bytes()).unwrap().len();
        assert_eq!(count("{\n \"id\": \"a\"\n}\n"), 1);
        assert_eq!(count("{\n \"id\": \"a\",\n}\n"), 1, "a comma too many");
        assert_eq!(count("[{\"id\":\"a\"},{\"id\":\"b\"}]"), 2);
        assert_eq!(count("{\"id\":\"a\"}\n\n{\"id\":\"b\"}\r\nnonsense\n"), 3);
        assert!(bodies(b" \n").is_err());
        assert!(bodies(b"[{]").is_err());
    }
}
