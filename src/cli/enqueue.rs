//! `outreachd enqueue`: jobs from a file, by the same path as from anywhere else.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::out::Out;
use super::{Desk, Failure, args, files};
use crate::domain::ids::SourceName;
use crate::domain::reader::{identify, items, without_bom};
use crate::domain::words::Reason;
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
/// Tells per job what became of it, in the words of the API; the exit code is 0 only if none was refused and no cancel came
/// too late. Sending the same file again does no harm: (source, id) is accepted once. What is accepted waits in the ledger
/// for a running worker.
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
            Outcome::Duplicate(_) => self.known += 1,
            Outcome::Refused { .. } | Outcome::Cancel(CancelOutcome::TooLate(_)) => self.refused += 1,
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
    let (word, detail) = (outcome.word(), detail(outcome));
    out.line(format!("{word:<10} {id:<32} {detail}").trim_end())?;
    let problems = outcome.problems();
    Ok(problems.iter().try_for_each(|problem| out.line(format!("           {problem}")))?)
}

/// What people are told beside the word.
pub(super) fn detail(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(id) | Outcome::Duplicate(id) => id.to_string(),
        Outcome::TakenBack(id, reason) => format!("{id} ({reason})"),
        Outcome::Cancel(CancelOutcome::Cancelled(ids)) => format!("{} messages cancelled", ids.len()),
        Outcome::Cancel(CancelOutcome::TooLate(ids)) => {
            format!("{} messages ({})", ids.len(), Reason::TooLate)
        }
        Outcome::Cancel(CancelOutcome::Tombstone) => "cancelled before its job has come".to_owned(),
        Outcome::Patient(_) => "patient".to_owned(),
        Outcome::Merged => "merged".to_owned(),
        Outcome::Refused { problems, .. } => {
            problems.first().map(|problem| problem.reason.to_string()).unwrap_or_default()
        }
    }
}

/// In the words of the API's answer: `{id, message_id, result, reason}`; all that is wrong is in `problems`, the first of
/// it in `problem` too.
fn as_json(id: Option<String>, outcome: &Outcome) -> Value {
    let mut shape = Map::new();
    shape.insert("id".to_owned(), json!(id));
    shape.insert("result".to_owned(), json!(outcome.word()));
    if let Some(message) = outcome.message() {
        shape.insert("message_id".to_owned(), json!(message));
    }
    if let Outcome::TakenBack(_, reason) = outcome {
        shape.insert("reason".to_owned(), json!(reason));
    }
    let problems = outcome.problems();
    if let Some(first) = problems.first() {
        shape.insert("problem".to_owned(), json!(first));
        shape.insert("problems".to_owned(), json!(problems));
    }
    Value::Object(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::MessageId;
    use crate::domain::problem::Problem;

    #[test]
    fn what_became_of_it_is_told_in_the_words_of_the_api() {
        let id = MessageId::generate();
        let problem = |reason| Problem::new("id", reason, "a rule", "a cure");
        let refused = |problems: &[Problem]| {
            let reasons: Vec<Reason> = problems.iter().map(|problem| problem.reason).collect();
            let told = json!({"problem": {"reason": reasons[0]}, "problems": reasons.len()});
            (Outcome::Refused { parked: None, problems: problems.to_vec(), wait: None }, told)
        };
        let (conflict, of_conflict) = refused(&[problem(Reason::Conflict)]);
        let (bad, of_bad) = refused(&[problem(Reason::BadData), problem(Reason::Conflict)]);
        let late = json!({"problem": {"reason": "too_late"}, "problems": 1});
        for (outcome, word, more) in [
            (Outcome::Accepted(id), "accepted", json!({"message_id": id})),
            (Outcome::Duplicate(id), "duplicate", json!({"message_id": id})),
            (
                Outcome::TakenBack(id, Reason::Superseded),
                "accepted",
                json!({"message_id": id, "reason": "superseded"}),
            ),
            (Outcome::Cancel(CancelOutcome::Cancelled(vec![id])), "accepted", json!({})),
            (Outcome::Cancel(CancelOutcome::Tombstone), "accepted", json!({})),
            (Outcome::Cancel(CancelOutcome::TooLate(vec![id])), "conflict", late),
            (conflict, "conflict", of_conflict),
            (bad, "refused", of_bad),
        ] {
            let mut told = as_json(Some("appt-1".to_owned()), &outcome);
            if let Some(problems) = told["problems"].as_array().map(Vec::len) {
                assert_eq!(told["problem"], told["problems"][0]);
                told["problems"] = json!(problems);
                told["problem"] = json!({"reason": told["problem"]["reason"]});
            }
            let mut expected = json!({"id": "appt-1", "result": word});
            expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(told, expected);
            let mut tally = Tally::default();
            tally.add(&outcome);
            let (taken, known) = (u64::from(word == "accepted"), u64::from(word == "duplicate"));
            assert_eq!((tally.taken, tally.known, tally.refused), (taken, known, 1 - taken - known));
        }
    }

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
