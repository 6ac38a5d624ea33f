//! What must hold at the end of a run, whatever happened in it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::civil::time;
use jiff::tz::TimeZone;
use outreachd::domain::ids::MessageId;
use outreachd::domain::status::MessageStatus;
use outreachd::store::engine::{Args, Engine as _};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use tokio::time::Instant;
use uuid::Uuid;

use super::ledger::Simulated;
use super::script::LIMIT;
use super::world::World;
use crate::support::measure::worst_sliding_second;

/// No send may be later than this after an opt-out or a cancel is on record.
const SOON: Duration = Duration::from_secs(1);

/// Has the ledger write each move of a status down, in the transaction that makes it.
pub(super) const WITNESS: &str = "
    CREATE TABLE moves (was TEXT NOT NULL, became TEXT NOT NULL) STRICT;
    CREATE TRIGGER moves_are_witnessed AFTER UPDATE OF status ON messages WHEN OLD.status <> NEW.status
    BEGIN
        INSERT INTO moves (was, became) VALUES (OLD.status, NEW.status);
    END";

/// What the outside knows of a run.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) published: BTreeSet<String>,
    /// Numbers that said stop, and when that was on record.
    pub(super) stopped: HashMap<String, Instant>,
    pub(super) kills: u64,
    /// Something was left to do.
    pub(super) restless: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<String>,
    pub(super) sent: u64,
    pub(super) unknown: u64,
    pub(super) kills: u64,
    pub(super) seconds: u64,
}

/// Looks at the ledger and at what has arrived.
pub(super) async fn look(world: &World, ledger: &Simulated, story: &Story) -> Findings {
    let hits = world.state().hits.clone();
    let mut found = Findings { kills: story.kills, seconds: world.seconds(), ..Findings::default() };
    let mut fault = |holds: bool, text: String| {
        if !holds {
            found.faults.push(text);
        }
    };
    let ask = async |sql: &'static str| -> Vec<SqliteRow> { ledger.read(sql, Args::none()).await.unwrap() };

    // I1.
    let rows = ask(
        "SELECT k.job_id, count(m.id) FROM job_keys k LEFT JOIN messages m ON m.id = k.message_id GROUP BY 1",
    )
    .await;
    let kept: HashMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for job in &story.published {
        fault(kept.get(job) == Some(&1), format!("I1: {job} has {:?} messages", kept.get(job)));
    }
    fault(
        kept.len() == story.published.len(),
        format!("I1: {} keys of {}", kept.len(), story.published.len()),
    );
    let parked: i64 = ask("SELECT count(*) FROM parked").await[0].get(0);
    fault(parked == 0, format!("I1: {parked} good bodies were parked"));

    // I2.
    fault(!story.restless, "I2: it never came to rest".to_owned());
    let open = "SELECT count(*) FROM messages WHERE due_at IS NULL AND status NOT IN
        ('sent', 'delivered', 'read', 'failed', 'suppressed', 'expired', 'cancelled', 'unknown')";
    let stuck: i64 = ask(open).await[0].get(0);
    fault(stuck == 0, format!("I2: no future for {stuck} messages"));

    // I3: nothing twice, and what is on record as sent has arrived. I4: none without its attempt.
    let mut arrived: HashMap<MessageId, usize> = HashMap::new();
    for hit in &hits {
        *arrived.entry(hit.key.message).or_default() += 1;
        fault(hit.on_record, format!("I4: {} left without an attempt on record", hit.key.message));
    }
    for (message, count) in &arrived {
        fault(*count == 1, format!("I3: {message} arrived {count} times"));
    }
    let mut jobs: HashMap<MessageId, String> = HashMap::new();
    for row in ask("SELECT id, status, job_id FROM messages").await {
        let (id, status, job): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let id = MessageId(Uuid::try_parse(&id).unwrap());
        let came = arrived.contains_key(&id);
        match status.as_str() {
            "sent" => {
                found.sent += 1;
                fault(came, format!("I3: {job} is sent on record and never arrived"));
            }
            "unknown" => found.unknown += 1,
            other => fault(!came, format!("I3: {job} arrived and is {other}")),
        }
        jobs.insert(id, job);
    }

    // I5: opt-outs, cancels, quiet hours, the limit.
    let zone = TimeZone::get("America/Chicago").unwrap();
    let cancelled = world.state().cancelled.clone();
    for hit in &hits {
        let job = jobs.get(&hit.key.message);
        let said =
            [("a stop", story.stopped.get(&hit.to)), ("a cancel", job.and_then(|job| cancelled.get(job)))];
        for (word, at) in said {
            let late = at.map(|at| hit.left.saturating_duration_since(*at));
            fault(late.is_none_or(|late| late <= SOON), format!("I5: after {word}: sent {late:?} later"));
        }
        // By the ledger's clock, which may have been set while it was on its way.
        let local = [hit.left, hit.left - SOON].map(|at| world.at(at).to_zoned(zone.clone()).time());
        let open = local.iter().any(|local| *local >= time(8, 0, 0, 0) && *local < time(21, 0, 0, 0));
        fault(open, format!("I5: in quiet hours: sent at {}", local[0]));
    }
    // Of the slots that were handed out before the clock was set forward some lie beside those that follow.
    let set = world.state().clock_set.clone();
    let is_beside =
        |left: Instant| set.iter().any(|(at, by)| by.is_positive() && left >= *at && left < *at + SOON * 2);
    let hits = hits.iter().filter(|hit| !is_beside(hit.left));
    let times: Vec<u64> =
        hits.map(|hit| u64::try_from(world.since_start(hit.left).as_micros()).unwrap()).collect();
    let worst = worst_sliding_second(&times);
    fault(worst <= LIMIT as usize, format!("I5: the limit of {LIMIT} was passed: {worst} in a second"));

    // I6: no status moves but upwards, and what is told of a message rises by one.
    for row in ask("SELECT was, became, count(*) FROM moves GROUP BY 1, 2").await {
        let [was, became] = [0, 1].map(|n: usize| MessageStatus::from_word(row.get(n)).unwrap());
        let often: i64 = row.get(2);
        fault(
            was.may_become(became, false),
            format!("I6: a status moved from {was} to {became}, {often} times"),
        );
    }
    let gaps = "SELECT count(*) FROM messages m WHERE m.seq <> (SELECT count(*) FROM events e WHERE e.message_id = m.id)";
    let gaps: i64 = ask(gaps).await[0].get(0);
    fault(gaps == 0, format!("I6: {gaps} messages count other events than they have"));
    found
}
