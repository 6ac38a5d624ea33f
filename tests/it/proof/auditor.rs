//! The auditor: after every run, what must hold whatever happened. I1, I3, I4, I6 and I8 of the invariants stand here; I2 in
//! [futures](super::futures), I5 in [late](super::late), and the search of I7 in [canary](super::canary).

use std::collections::{BTreeMap, HashMap, HashSet};

use async_trait::async_trait;
use outreachd::simulator::{AuditStats, Auditor, Hit, Reply};
use outreachd::store::sealer::Sealer;
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::postgres::PgPool;
use uuid::Uuid;

use super::canary::{Canary, Said, find};
use super::drain::SOURCE;
use super::futures::every_row_has_a_future;
use super::late::{Rules, nothing_is_late};
use super::tap::Heard;
use super::worker::Usage;

/// The most memory that a worker may use, whatever waits in the broker and the ledger.
const MOST_RSS_MB: u64 = 300;
/// The most files and sockets beside a connection for each request under way.
const OTHER_FILES: usize = 100;

/// I4: looks a hit up in the ledger, over a connection of its own, before the sink answers.
#[derive(Debug)]
pub(crate) struct LedgerAuditor {
    sql: PgPool,
}

impl LedgerAuditor {
    pub(crate) fn new(sql: PgPool) -> Self {
        Self { sql }
    }
}

#[async_trait]
impl Auditor for LedgerAuditor {
    async fn is_on_record(&self, hit: &Hit) -> bool {
        let Some((message, step)) = hit.send_key.as_ref().and_then(|key| parse_key(key.as_str())) else {
            return false;
        };
        // A database that is being started again is asked again.
        for _ in 0..100 {
            let found = sqlx::query("SELECT 1 FROM attempts WHERE message_id = $1 AND step = $2 LIMIT 1")
                .bind(message)
                .bind(step)
                .fetch_optional(&self.sql)
                .await;
            if let Ok(row) = found {
                return row.is_some();
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        false
    }
}

/// A send key, taken apart: the message, and the step of its plan.
pub(super) fn parse_key(key: &str) -> Option<(Uuid, i16)> {
    let (message, step) = key.rsplit_once('-')?;
    Some((Uuid::try_parse(message).ok()?, step.parse().ok()?))
}

/// What the outside knows of a run.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Ids of the jobs whose publishing was confirmed, each once however often it was published.
    pub(crate) jobs: Vec<String>,
    /// Bodies that may not be accepted.
    pub(crate) bad: Vec<Vec<u8>>,
    pub(crate) hits: Vec<Hit>,
    pub(crate) audit: AuditStats,
    pub(crate) heard: Vec<Heard>,
    pub(crate) usage: Vec<Usage>,
    /// The most requests that a worker may have under way.
    pub(crate) in_flight: usize,
    /// By which its sends are judged.
    pub(crate) rules: Rules,
    /// What was planted and may not be found again in what was said. Most runs plant nothing.
    pub(crate) canaries: Vec<Canary>,
    pub(crate) said: Vec<Said>,
}

/// What was found: no fault, or the run is a failure.
#[derive(Debug, Default)]
pub(crate) struct Report {
    faults: Vec<String>,
    pub(crate) figures: BTreeMap<&'static str, Value>,
}

impl Report {
    pub(super) fn check(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(fault());
        }
    }

    /// What did not hold, in words.
    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Prints the figures of the run `name` as one line of JSON, with `more`; fails the test where something did
    /// not hold.
    pub(crate) fn close(mut self, name: &str, more: Value) {
        if let Value::Object(more) = more {
            let known: Vec<(String, Value)> = more.into_iter().collect();
            let line = json!({ "run": name, "run_figures": known.into_iter().collect::<BTreeMap<_, _>>(),
                "audit": self.figures, "faults": self.faults.len() });
            println!("{line}");
        }
        keep(name, &self.faults);
        self.faults.truncate(20);
        assert!(self.faults.is_empty(), "{name}: {:#?}", self.faults);
    }
}

/// A test that the machine was too slow for may be tried again; what was lost or sent twice stays on record, by the name of
/// the run, and `.ci/run` fails.
pub(crate) fn keep(name: &str, faults: &[String]) {
    if !faults.is_empty() {
        let file = format!("{}/broken-{name}", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(file, faults.join("\n")).unwrap();
    }
}

/// Audits the ledger against the evidence.
pub(crate) async fn audit(sql: &PgPool, evidence: &Evidence) -> Report {
    let mut report = Report::default();
    every_publish_has_its_row(sql, evidence, &mut report).await;
    every_row_has_a_future(sql, &mut report).await;
    hits_are_predicted(sql, evidence, &mut report).await;
    let audit = &evidence.audit;
    report.check(audit.missing == 0, || {
        format!(
            "I4: {} hits without an attempt on record, such as {:?}",
            audit.missing,
            audit.examples.first()
        )
    });
    report.figures.insert("hits_looked_up", json!(audit.checked));
    nothing_is_late(sql, evidence, &mut report).await;
    events_are_in_order(sql, evidence, &mut report).await;
    nothing_leaked(evidence, &mut report);
    let most_files = evidence.in_flight + OTHER_FILES;
    for usage in &evidence.usage {
        report.check(usage.peak_rss_mb <= MOST_RSS_MB && usage.peak_files <= most_files, || {
            format!("I8: a worker grew beyond {MOST_RSS_MB} MB or {most_files} files: {usage:?}")
        });
    }
    report.figures.insert("workers", json!(evidence.usage));
    report
}

/// I1.
async fn every_publish_has_its_row(sql: &PgPool, evidence: &Evidence, report: &mut Report) {
    let mut messages: HashMap<(String, String), u32> = HashMap::new();
    for row in sqlx::query("SELECT source, job_id FROM messages WHERE retry_of IS NULL AND copy_of IS NULL")
        .fetch_all(sql)
        .await
        .unwrap()
    {
        *messages.entry((row.get(0), row.get(1))).or_default() += 1;
    }
    let keys: HashSet<(String, String)> = sqlx::query("SELECT source, job_id FROM job_keys")
        .fetch_all(sql)
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let wanted: HashSet<(String, String)> =
        evidence.jobs.iter().map(|job| (SOURCE.to_owned(), job.clone())).collect();
    let lost: Vec<_> = wanted.difference(&keys).collect();
    report.check(lost.is_empty(), || format!("I1: {} jobs lost, such as {:?}", lost.len(), lost.first()));
    let strange = keys.difference(&wanted).count();
    report.check(strange == 0, || format!("I1: {strange} keys of jobs that nobody published"));
    let doubled = messages.iter().filter(|(_, count)| **count != 1).count();
    report.check(doubled == 0, || format!("I1: {doubled} jobs with more than one message"));
    report
        .check(messages.len() == keys.len(), || format!("I1: {} keys, {} jobs", keys.len(), messages.len()));

    let mut parked: HashMap<Vec<u8>, u32> = HashMap::new();
    for row in sqlx::query("SELECT body_hash FROM parked").fetch_all(sql).await.unwrap() {
        *parked.entry(row.get(0)).or_default() += 1;
    }
    let sealer = Sealer::new(&hex::decode(super::rig::KEY).unwrap());
    for body in &evidence.bad {
        let count = parked.remove(sealer.fingerprint(body).as_slice()).unwrap_or(0);
        report
            .check(count == 1, || format!("I1: a bad body of {} bytes is parked {count} times", body.len()));
    }
    report.check(parked.is_empty(), || format!("I1: {} good bodies were parked", parked.len()));
    report.figures.insert("jobs", json!(keys.len()));
    report.figures.insert("parked", json!(evidence.bad.len()));
}

/// I7.
fn nothing_leaked(evidence: &Evidence, report: &mut Report) {
    let found = match evidence.canaries.as_slice() {
        [] => Vec::new(),
        canaries => find(canaries, &evidence.said),
    };
    report.check(found.is_empty(), || {
        format!("I7: private data leaked in {} places: {:#?}", found.len(), &found[..found.len().min(10)])
    });
    let bytes: usize = evidence.said.iter().map(|(_, text)| text.len()).sum();
    report.figures.insert("canaries", json!({ "checked": evidence.canaries.len(), "bytes_searched": bytes }));
}

/// What the ledger says of one send key.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    /// Attempts whose request may have left.
    wired: u64,
    /// Attempts that the provider has answered as taken.
    sent: u64,
    /// Attempts that may have been taken: all but those that have failed.
    standing: u64,
}

/// I3: never more hits than attempts that touched the wire, and at least one for each that was taken. What a provider took, and
/// gave no answer or a wrong one, has not failed: its attempt is unknown, or was looked up.
async fn hits_are_predicted(sql: &PgPool, evidence: &Evidence, report: &mut Report) {
    let mut ledger: HashMap<String, Tries> = HashMap::new();
    let rows = sqlx::query(
        "SELECT message_id, step, count(*) FILTER (WHERE failure IS DISTINCT FROM 'not_sent'),
             count(*) FILTER (WHERE status IN ('sent', 'delivered', 'read')), count(*) FILTER (WHERE status <> 'failed')
         FROM attempts GROUP BY 1, 2",
    );
    for row in rows.fetch_all(sql).await.unwrap() {
        let count = |column: usize| u64::try_from(row.get::<i64, _>(column)).unwrap();
        let key = format!("{}-{}", row.get::<Uuid, _>(0).simple(), row.get::<i16, _>(1));
        ledger.insert(key, Tries { wired: count(2), sent: count(3), standing: count(4) });
    }
    let (mut hits, mut taken): (HashMap<&str, u64>, HashMap<&str, u64>) = Default::default();
    let mut nameless = 0;
    for hit in &evidence.hits {
        let Some(key) = &hit.send_key else {
            nameless += 1;
            continue;
        };
        *hits.entry(key.as_str()).or_default() += 1;
        if hit.taken {
            *taken.entry(key.as_str()).or_default() += 1;
        }
    }
    report.check(nameless == 0, || format!("I3: {nameless} hits without a send key"));
    let unforeseen: Vec<_> =
        hits.iter().filter(|(key, count)| ledger.get(**key).map_or(0, |t| t.wired) < **count).collect();
    report.check(unforeseen.is_empty(), || {
        format!(
            "I3: {} keys were hit more often than the ledger predicts: {:?}",
            unforeseen.len(),
            unforeseen.first()
        )
    });
    let unseen =
        ledger.iter().filter(|(key, t)| hits.get(key.as_str()).copied().unwrap_or(0) < t.sent).count();
    report.check(unseen == 0, || format!("I3: {unseen} keys are sent on record and were not hit as often"));
    let denied: Vec<_> =
        taken.iter().filter(|(key, count)| ledger.get(**key).map_or(0, |t| t.standing) < **count).collect();
    report.check(denied.is_empty(), || {
        format!(
            "I3: {} keys were taken, and the attempt has failed on record: {:?}",
            denied.len(),
            denied.first()
        )
    });
    let is_untold = |hit: &&Hit| hit.taken && (hit.reply != Reply::Sent || hit.status >= 500);
    report.figures.insert("taken_untold", json!(evidence.hits.iter().filter(is_untold).count()));
    let total = evidence.hits.len() as u64;
    report.figures.insert("hits", json!(total));
    report.figures.insert("repeats", json!(total - hits.len() as u64));
    let predicted: u64 = ledger.values().map(|t| t.wired.saturating_sub(1)).sum();
    report.figures.insert("repeats_predicted_at_most", json!(predicted));
}

/// I6: the guard is in place, and each message's events rise from 1 without a gap and never fall in rank; in the
/// ledger, and as a subscriber heard them.
async fn events_are_in_order(sql: &PgPool, evidence: &Evidence, report: &mut Report) {
    let guard = "SELECT count(*) FROM pg_trigger WHERE tgname = 'messages_status_rank' AND tgenabled = 'O'";
    let guards: i64 = sqlx::query(guard).fetch_one(sql).await.unwrap().get(0);
    report.check(guards == 1, || "I6: the database does not guard statuses".to_owned());
    let mut written: HashMap<Uuid, Vec<(i64, String)>> = HashMap::new();
    let rows =
        sqlx::query("SELECT message_id, seq, body FROM events WHERE message_id IS NOT NULL ORDER BY ord");
    for row in rows.fetch_all(sql).await.unwrap() {
        let body: Value = serde_json::from_str(row.get(2)).unwrap();
        let status = body["status"].as_str().unwrap_or_default().to_owned();
        written.entry(row.get(0)).or_default().push((i64::from(row.get::<i32, _>(1)), status));
    }
    let wrong = written.values().filter(|events| !rises(events)).count();
    report.check(wrong == 0, || format!("I6: the events of {wrong} messages fall, or have gaps"));
    let short: i64 = sqlx::query(
        "SELECT count(*) FROM messages m
         WHERE m.seq <> (SELECT count(*) FROM events e WHERE e.message_id = m.id)",
    )
    .fetch_one(sql)
    .await
    .unwrap()
    .get(0);
    report.check(short == 0, || format!("I6: {short} messages count other events than they have"));

    let mut heard: HashMap<Uuid, Vec<(i64, String)>> = HashMap::new();
    let mut repeats = 0;
    for event in &evidence.heard {
        let json = event.json();
        let Some(message) = json["message_id"].as_str().and_then(|id| Uuid::try_parse(id).ok()) else {
            continue;
        };
        let seq = json["seq"].as_i64().unwrap_or_default();
        let events = heard.entry(message).or_default();
        // A repeat is allowed; what comes for the first time comes in order.
        if events.iter().any(|(known, _)| *known == seq) {
            repeats += 1;
        } else {
            events.push((seq, json["status"].as_str().unwrap_or_default().to_owned()));
        }
    }
    let wrong = heard.values().filter(|events| !rises(events)).count();
    report
        .check(wrong == 0, || format!("I6: a subscriber heard the events of {wrong} messages out of order"));
    let unheard =
        written.iter().filter(|(id, events)| heard.get(*id).map_or(0, Vec::len) != events.len()).count();
    report.check(unheard == 0, || format!("I6: {unheard} messages have events that no subscriber heard"));
    report.figures.insert("events_heard", json!(evidence.heard.len()));
    report.figures.insert("events_repeated", json!(repeats));
}

fn rises(events: &[(i64, String)]) -> bool {
    let in_order = events.iter().zip(1..).all(|((seq, _), wanted)| *seq == wanted);
    // What is told of a work item about the message has its place in the sequence, and no status.
    let ranks: Vec<i32> =
        events.iter().filter(|(_, status)| !status.is_empty()).map(|(_, status)| rank(status)).collect();
    in_order && ranks.windows(2).all(|pair| pair[0] <= pair[1])
}

/// The ranks as the design states them; taken from there, not from the code.
fn rank(status: &str) -> i32 {
    match status {
        "accepted" | "scheduled" | "held" => 0,
        "sending" => 1,
        "unknown" => 2,
        "sent" => 3,
        "failed" => 4,
        "delivered" => 5,
        "read" => 6,
        _ => 7,
    }
}

#[test]
fn the_auditor_sees_what_falls_or_is_missing() {
    let events = |list: &[(i64, &str)]| list.iter().map(|(n, s)| (*n, (*s).to_owned())).collect::<Vec<_>>();
    assert!(rises(&events(&[(1, "unknown"), (2, "sent"), (3, "delivered")])));
    assert!(rises(&events(&[(1, "unknown"), (2, ""), (3, "sent")])), "people were called in between");
    assert!(!rises(&events(&[(1, "sent"), (2, "unknown")])), "a rank that falls");
    assert!(!rises(&events(&[(1, "unknown"), (3, "sent")])), "a gap");
    assert!(!rises(&events(&[(2, "sent"), (1, "unknown")])), "out of order");
    let message = Uuid::now_v7();
    assert_eq!(parse_key(&format!("{}-3", message.simple())), Some((message, 3)));
}
