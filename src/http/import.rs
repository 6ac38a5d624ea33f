//! Many patients at once: a file is read as it comes in, row by row, and never held whole.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::body::{self, Media, broken_off, stalled, too_large};
use super::patients::{defaults, word};
use super::problem::{Answer, Fail, Kind};
use super::route::{Call, json as answer, to_the_end};
use crate::domain::patient::Patient;
use crate::domain::problem::Problem;
use crate::intake::Intake;
use crate::intake::import::{Format, Import, ImportOptions};

/// Rows that are written at once.
const BATCH: usize = 200;
/// Refused rows that are listed; the others are counted.
const LISTED: usize = 1_000;
/// Pieces of the body that wait to be read.
pub(super) const PIECES: usize = 8;

/// `POST /v1/patients/import`: CSV or NDJSON.
pub(super) async fn import(mut call: Call) -> Answer {
    let (limit, pause) =
        (call.shared.parts.config.http.max_import, call.shared.parts.config.http.request_timeout);
    if body::promised(&call.headers).is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let intake = call.shared.parts.intake.clone();
    let options = ImportOptions {
        defaults: defaults(&call),
        updated_at: Some(intake.store.ping().await?),
        format: Some(if call.media == Media::Csv { Format::Csv } else { Format::Ndjson }),
    };
    let (to_reader, pieces) = mpsc::channel(PIECES);
    let (to_ledger, mut batches) = mpsc::channel(1);
    let feeding = tokio::spawn(feed(call.take_body(), limit, pause, to_reader));
    let reading =
        tokio::task::spawn_blocking(move || read(Pieces { pieces, rest: Bytes::new() }, options, &to_ledger));
    let mut tally = Tally::default();
    while let Some(batch) = batches.recv().await {
        call.note.begun();
        if let Err(fail) = tally.write(&intake, batch).await {
            return Err(tally.tell(fail));
        }
    }
    let lost = |_| Fail::new(Kind::Internal, "the log of this program says more");
    let read = reading.await.map_err(lost)?;
    // A body that did not come whole explains a last row that cannot be read, and not the other way round.
    if let Err(fail) = feeding.await.map_err(lost)? {
        return Err(tally.tell(fail));
    }
    if let Err(problems) = read {
        return Err(Fail::invalid(problems));
    }
    answer(StatusCode::OK, &tally.to_json())
}

type Batch = Vec<(u64, Result<Patient, Vec<Problem>>)>;

/// Brings the body to the reader, piece by piece, within its limits.
pub(super) async fn feed(
    body: Body,
    limit: usize,
    pause: Duration,
    to_reader: mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), Fail> {
    let mut pieces = body.into_data_stream();
    let mut taken = 0_usize;
    let fail = loop {
        match timeout(pause, pieces.next()).await {
            Err(_) => break stalled(),
            Ok(None) => return Ok(()),
            Ok(Some(Err(_))) => break broken_off(),
            Ok(Some(Ok(piece))) => {
                taken = taken.saturating_add(piece.len());
                if taken > limit {
                    break too_large(limit);
                }
                if to_reader.send(Ok(piece)).await.is_err() {
                    // The reader has ended and says why.
                    return Ok(());
                }
            }
        }
    };
    let _ended = to_reader.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
    Err(fail)
}

/// Reads rows and hands them on in batches; ends early when nobody takes them any more.
fn read(input: Pieces, options: ImportOptions, to_ledger: &mpsc::Sender<Batch>) -> Result<(), Vec<Problem>> {
    let mut batch = Vec::with_capacity(BATCH);
    for row in Import::open(input, options)? {
        batch.push((row.line, row.result));
        if batch.len() == BATCH && to_ledger.blocking_send(std::mem::take(&mut batch)).is_err() {
            return Ok(());
        }
    }
    let _ended = to_ledger.blocking_send(batch);
    Ok(())
}

/// The body as a reader sees it.
pub(super) struct Pieces {
    pub(super) pieces: mpsc::Receiver<io::Result<Bytes>>,
    pub(super) rest: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.rest = piece?,
            }
        }
        let taken = self.rest.split_to(self.rest.len().min(out.len()));
        if let Some(room) = out.get_mut(..taken.len()) {
            room.copy_from_slice(&taken);
        }
        Ok(taken.len())
    }
}

/// What became of the rows so far.
#[derive(Debug, Default)]
struct Tally {
    read: u64,
    outcomes: BTreeMap<&'static str, u64>,
    refused: u64,
    refusals: Vec<Value>,
}

impl Tally {
    async fn write(&mut self, intake: &Intake, batch: Batch) -> Result<(), Fail> {
        let mut good = Vec::with_capacity(batch.len());
        let mut lines = Vec::with_capacity(batch.len());
        for (line, row) in batch {
            self.read += 1;
            match row {
                Ok(patient) => {
                    lines.push(line);
                    good.push(patient);
                }
                Err(problems) => self.refuse(line, &problems),
            }
        }
        if good.is_empty() {
            return Ok(());
        }
        let intake = intake.clone();
        let outcomes = to_the_end(async move { intake.upsert_each(good).await }).await??;
        for (line, outcome) in lines.into_iter().zip(outcomes) {
            match outcome {
                Ok(outcome) => *self.outcomes.entry(word(outcome)).or_default() += 1,
                Err(problem) => self.refuse(line, &[problem]),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, line: u64, problems: &[Problem]) {
        self.refused += 1;
        if self.refusals.len() < LISTED {
            self.refusals.push(json!({"line": line, "errors": problems}));
        }
    }

    /// Adds to a failure how far it came: what was written stays, and sending it again changes nothing.
    fn tell(&self, fail: Fail) -> Fail {
        fail.with("so_far", self.to_json())
    }

    fn to_json(&self) -> Value {
        let count = |word: &str| self.outcomes.get(word).copied().unwrap_or(0);
        let listed = u64::try_from(self.refusals.len()).unwrap_or(u64::MAX);
        json!({
            "read": self.read, "created": count("created"), "updated": count("updated"),
            "unchanged": count("unchanged"), "stale": count("stale"), "refused": self.refused,
            "refusals": self.refusals, "refusals_not_listed": self.refused.saturating_sub(listed),
        })
    }
}
