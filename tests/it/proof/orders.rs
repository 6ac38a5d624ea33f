//! Jobs, replacements and cancels in any order, against a small model of what the contract says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use sqlx::Row as _;

use super::auditor::audit;
use super::drain::SOURCE;
use super::rig::{Plan, Rig};
use crate::support::house::job;

/// What a caller may say.
#[derive(Clone, Debug)]
enum Word {
    Job { id: String, about: String, replaces: Option<String> },
    CancelJob(String),
    CancelAbout(String),
}

/// What the contract says becomes of it, in the order in which it is said.
#[derive(Debug, Default)]
struct Model {
    /// By job: the reason why it was taken back, or that it stands.
    jobs: BTreeMap<String, Option<&'static str>>,
    matters: BTreeMap<String, Vec<String>>,
    gone_jobs: BTreeMap<String, &'static str>,
    gone_matters: BTreeSet<String>,
    /// Jobs that came after both their own name and their matter had been taken back: either reason may be told.
    either: BTreeSet<String>,
}

impl Model {
    fn say(&mut self, word: &Word) {
        match word {
            Word::Job { id, .. } if self.jobs.contains_key(id) => {}
            Word::Job { id, about, replaces } => {
                let by_about = self.gone_matters.contains(about).then_some("cancelled");
                let by_name = self.gone_jobs.get(id).copied();
                let reason = by_name.or(by_about);
                if by_name.is_some() && by_about.is_some() {
                    self.either.insert(id.clone());
                }
                self.jobs.insert(id.clone(), reason);
                self.matters.entry(about.clone()).or_default().push(id.clone());
                if let Some(replaced) = replaces {
                    self.take_back(replaced, "superseded");
                }
            }
            Word::CancelJob(id) => self.take_back(id, "cancelled"),
            Word::CancelAbout(about) => match self.matters.get(about) {
                Some(ids) => {
                    for id in ids {
                        self.jobs.get_mut(id).unwrap().get_or_insert("cancelled");
                    }
                }
                None => {
                    self.gone_matters.insert(about.clone());
                }
            },
        }
    }

    fn take_back(&mut self, id: &str, reason: &'static str) {
        match self.jobs.get_mut(id) {
            Some(job) => {
                job.get_or_insert(reason);
            }
            None => {
                self.gone_jobs.entry(id.to_owned()).or_insert(reason);
            }
        }
    }

    /// Whether this is an end that the rules allow.
    fn allows(&self, id: &str, found: Option<&str>) -> bool {
        match (self.jobs[id], found) {
            (None, None) => true,
            (Some(reason), Some(found)) => {
                reason == found || (found == "cancelled" && self.either.contains(id))
            }
            _ => false,
        }
    }
}

/// Some of: a job, its replacement, the replacement's own, cancels by id and by matter; in any order, and some twice.
fn case(n: usize, random: &mut StdRng) -> Vec<Word> {
    let id = |letter: char| format!("o{n}-{letter}");
    let about = format!("visit-{n}");
    let job = |letter, replaces: Option<char>| Word::Job {
        id: id(letter),
        about: about.clone(),
        replaces: replaces.map(id),
    };
    let all = [
        job('a', None),
        job('b', Some('a')),
        job('c', Some('b')),
        Word::CancelJob(id('a')),
        Word::CancelJob(id('b')),
        Word::CancelAbout(about.clone()),
    ];
    // The share of each kind: most matters are never cancelled.
    let shares = [0.9, 0.8, 0.3, 0.15, 0.15, 0.15];
    let mut words: Vec<Word> = all
        .into_iter()
        .zip(shares)
        .filter(|(_, share)| random.random_bool(*share))
        .map(|(word, _)| word)
        .collect();
    if random.random_bool(0.2)
        && let Some(again) = words.first().cloned()
    {
        words.push(again);
    }
    words.shuffle(random);
    words
}

/// Mixes the cases without changing the order within each.
fn interleave(cases: Vec<Vec<Word>>, random: &mut StdRng) -> Vec<Word> {
    let mut turns: Vec<usize> = cases.iter().enumerate().flat_map(|(n, case)| vec![n; case.len()]).collect();
    turns.shuffle(random);
    let mut rest: Vec<_> = cases.into_iter().map(Vec::into_iter).collect();
    turns.into_iter().filter_map(|n| rest[n].next()).collect()
}

/// `count` cases; nothing may be sent before all have been said, which takes up to `saying`.
pub(crate) async fn orders(name: &str, plan: Plan, count: usize, saying: Duration, seed: u64) {
    let mut rig = Rig::build(plan).await;
    rig.know_everybody(100).await;
    let mut random = StdRng::seed_from_u64(seed);
    let words = interleave((0..count).map(|n| case(n, &mut random)).collect(), &mut random);
    let mut model = Model::default();
    for word in &words {
        model.say(word);
    }
    let start = Timestamp::now() + SignedDuration::try_from(saying).unwrap();
    let said: Vec<(String, Vec<u8>)> = words.iter().map(|word| body(word, start)).collect();
    let mut worker = rig.worker();
    rig.publish_keyed(said).await;

    let jobs = i64::try_from(model.jobs.len()).unwrap();
    rig.until("all jobs", "SELECT count(*) FROM job_keys", jobs, saying).await;
    loop {
        let depths = rig.tap.depths(&["jobs"]).await;
        // What the broker has handed out is not counted: the worker's hands are empty once nothing changes.
        if depths["jobs"] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(Timestamp::now() < start, "saying it all took too long for the test to mean anything");
    assert_eq!(rig.simulator.stats().kinds.values().map(|k| k.hits).sum::<u64>(), 0, "nothing leaves early");
    compare(&rig, &model).await;

    rig.until_quiet(jobs, saying + Duration::from_secs(120)).await;
    let standing = model.jobs.values().filter(|reason| reason.is_none()).count();
    let usage = vec![worker.usage()];
    worker.stop();
    let evidence = rig.evidence(model.jobs.keys().cloned().collect(), usage).await;
    assert_eq!(evidence.hits.len(), standing, "what stands is sent, and nothing else");
    let report = audit(&rig.sql, &evidence).await;
    let superseded = model.jobs.values().filter(|reason| **reason == Some("superseded")).count();
    report.close(
        name,
        json!({ "cases": count, "said": words.len(), "jobs": jobs, "sent": standing, "superseded": superseded,
            "cancelled": model.jobs.len() - standing - superseded, "seed": seed }),
    );
}

async fn compare(rig: &Rig, model: &Model) {
    let rows = sqlx::query("SELECT job_id, status, reason FROM messages").fetch_all(&rig.sql).await.unwrap();
    let mut wrong = Vec::new();
    for row in &rows {
        let (id, status): (String, String) = (row.get(0), row.get(1));
        let reason: Option<String> = row.get(2);
        let found = (status == "cancelled").then(|| reason.as_deref().unwrap_or("none"));
        if !model.allows(&id, found) {
            wrong.push(format!(
                "{id}: the rules say {:?}, the ledger says {status} {reason:?}",
                model.jobs[&id]
            ));
        }
    }
    assert_eq!(rows.len(), model.jobs.len());
    wrong.truncate(10);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn body(word: &Word, start: Timestamp) -> (String, Vec<u8>) {
    let (key, body): (&str, Value) = match word {
        Word::Job { id, about, replaces } => {
            let mut body = job(id, "P1");
            body["about"] = json!(about);
            body["not_before"] = json!(start.to_string());
            if let Some(replaced) = replaces {
                body["replaces"] = json!(replaced);
            }
            ("job", body)
        }
        Word::CancelJob(id) => ("job.cancel", json!({ "action": "cancel", "source": SOURCE, "id": id })),
        Word::CancelAbout(about) => {
            ("job.cancel", json!({ "action": "cancel", "source": SOURCE, "about": about }))
        }
    };
    (key.to_owned(), body.to_string().into_bytes())
}
