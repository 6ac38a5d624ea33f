//! A provider fails under load, and its backup carries the channel; or there is none, and messages wait.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use outreachd::config::provider::BreakerSettings;
use outreachd::simulator::{Faults, Hit, Outage, ProviderKind};
use serde_json::{Value, json};

use super::auditor::{Evidence, audit};
use super::drain::{reminder, round};
use super::rig::{Plan, Rig};
use super::worker::WorkerProcess;
use crate::support::measure;

const SECOND_US: u64 = 1_000_000;
const PEOPLE: usize = 2_000;
/// Of the primary, in percent; the rig gives the backup the rest.
const WEIGHT: u64 = 90;

/// What ails the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// 503: nothing was sent.
    Unavailable,
    /// 500, half of them though the message was taken.
    Errors,
}

/// A steady stream of jobs, in seconds and jobs a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outing {
    pub(crate) per_second: u64,
    pub(crate) before: u64,
    pub(crate) outage: u64,
    pub(crate) after: u64,
    pub(crate) trouble: Trouble,
}

/// Runs it, and audits it.
pub(crate) async fn failover(name: &str, plan: Plan, outing: Outing) {
    let mut rig = Rig::build(plan).await;
    rig.know_everybody(PEOPLE).await;
    let mut worker = rig.worker();
    let (ids, times) = tokio::join!(stream(&rig, outing), trouble(&rig, outing));
    let all = i64::try_from(ids.len()).unwrap();
    rig.until("all jobs in the ledger", "SELECT count(*) FROM job_keys", all, Duration::from_secs(60)).await;
    rig.until_quiet(all, Duration::from_secs(120)).await;
    let said = worker.metrics().await;
    assert!(said.contains("outreachd_breaker_transitions_total{provider=\"sms\",to=\"open\"}"), "{said}");
    assert!(said.contains("outreachd_channel_on_backup{channel=\"sms\"} 0"), "{said}");
    let evidence = close(&mut rig, vec![&mut worker], ids).await;

    let wires = Wires::of(&rig);
    let mut figures = wires.figures(outing, times);
    let unknown = rig.number("SELECT count(*) FROM messages WHERE status = 'unknown'").await;
    // One whose fate was looked up has arrived.
    let sent = rig.number("SELECT count(*) FROM messages WHERE status IN ('sent', 'delivered')").await;
    assert_eq!(sent + unknown, all, "nothing is lost");
    check_repeats(&evidence.hits, outing.trouble);
    if outing.trouble == Trouble::Unavailable {
        assert_eq!(unknown, 0, "a 503 was not sent");
    }
    let log = std::fs::read_to_string(&rig.logs()[0]).unwrap();
    for line in ["provider left alone", "running on a backup", "provider is back"] {
        assert!(log.contains(line), "the log does not say: {line}");
    }
    figures.extend([
        ("jobs".to_owned(), json!(all)),
        ("unknown".to_owned(), json!(unknown)),
        ("hits_per_send_key".to_owned(), json!(hits_per_key(&evidence.hits))),
    ]);
    audit(&rig.sql, &evidence).await.close(name, Value::Object(figures));
}

/// Publishes the jobs at their pace; their ids.
async fn stream(rig: &Rig, outing: Outing) -> Vec<String> {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut ids = Vec::new();
    let ticks = (outing.before + outing.outage + outing.after) * 10;
    for _ in 0..ticks {
        tick.tick().await;
        let first = ids.len();
        let many = usize::try_from(outing.per_second / 10).unwrap();
        let bodies = (first..first + many).map(|n| reminder(&format!("j{n}"), n % PEOPLE)).collect();
        ids.extend((first..first + many).map(|n| format!("j{n}")));
        rig.publish("job", bodies).await;
    }
    ids
}

/// When the trouble began and ended, by the clock of the primary's outside.
async fn trouble(rig: &Rig, outing: Outing) -> (u64, u64) {
    let sms = Some(ProviderKind::TwilioSms);
    tokio::time::sleep(Duration::from_secs(outing.before)).await;
    match outing.trouble {
        Trouble::Unavailable => rig.simulator.set_outage(sms, Outage::Unavailable),
        Trouble::Errors => {
            let errors = Faults { error: 0.5, error_taken: 0.5, ..Faults::default() };
            rig.simulator.set_faults(sms, &errors).unwrap();
        }
    }
    let begun = rig.simulator.now_us();
    tokio::time::sleep(Duration::from_secs(outing.outage)).await;
    rig.simulator.set_outage(sms, Outage::None);
    rig.simulator.set_faults(sms, &Faults::default()).unwrap();
    (begun, rig.simulator.now_us())
}

async fn close(rig: &mut Rig, workers: Vec<&mut WorkerProcess>, jobs: Vec<String>) -> Evidence {
    let mut usage = Vec::new();
    for worker in workers {
        worker.assert_alive();
        usage.push(worker.usage());
        worker.stop();
    }
    rig.evidence(jobs, usage).await
}

/// What came by each provider, on the clock of the primary's outside.
struct Wires {
    primary: Vec<Hit>,
    backup: Vec<Hit>,
}

impl Wires {
    fn of(rig: &Rig) -> Self {
        let (here, there) = (rig.simulator.now_us(), rig.backup.as_ref().unwrap().now_us());
        let mut backup = rig.backup.as_ref().unwrap().hits();
        for hit in &mut backup {
            hit.at_us = (hit.at_us + here).saturating_sub(there);
        }
        Self { primary: rig.simulator.hits(), backup }
    }

    /// What must hold of the times, and what there is to tell.
    fn figures(&self, outing: Outing, (begun, ended): (u64, u64)) -> serde_json::Map<String, Value> {
        let count = |hits: &[Hit], from: u64, to: u64| {
            hits.iter().filter(|h| h.at_us >= from && h.at_us < to).count() as u64
        };
        // Seconds that begin every tenth of one.
        let seconds = |from: u64, to: u64| (from..to).step_by(100_000);
        let part = |at: u64, span: u64| {
            let (own, other) = (count(&self.primary, at, at + span), count(&self.backup, at, at + span));
            own as f64 / (own + other).max(1) as f64
        };
        // Whatever this machine manages at the time: but for probes, all of it goes by the backup.
        let carried = seconds(begun, ended)
            .find(|at| count(&self.backup, *at, at + SECOND_US) > 0 && part(*at, SECOND_US) < 0.1)
            .expect("the backup never carried all");
        let by_backup = count(&self.backup, carried, ended) * SECOND_US / (ended - carried);
        let failed = count(&self.primary, begun, ended);
        let first =
            self.primary.iter().find(|h| h.at_us > ended && h.taken).expect("it never came back").at_us;
        let full = seconds(ended, ended + outing.after * SECOND_US)
            .find(|at| part(*at, SECOND_US) >= (WEIGHT - 5) as f64 / 100.0)
            .expect("its share never came back");
        let steps: Vec<f64> =
            (0..8).map(|n| part(ended + n * outing.after * SECOND_US / 8, SECOND_US)).collect();
        let gap = longest_gap(self.primary.iter().chain(&self.backup), begun, ended);
        let since = |at: u64, from: u64| round((at - from) as f64 / SECOND_US as f64);
        assert!(carried - begun < 3 * SECOND_US, "the backup carried all only after {} us", carried - begun);
        assert!(failed < 250, "{failed} requests to a provider that fails");
        let early = part(first, SECOND_US);
        assert!(early < 0.6, "all at once it had {early} of the messages again");
        let mut figures = serde_json::Map::new();
        for (key, value) in [
            ("seconds_until_the_backup_carried_all", json!(since(carried, begun))),
            ("a_second_by_the_backup_from_then_on", json!(by_backup)),
            ("longest_gap_ms", json!(gap / 1_000)),
            ("requests_to_the_failing_primary", json!(failed)),
            ("seconds_until_the_primary_took_one_again", json!(since(first, ended))),
            ("seconds_until_the_primary_had_its_share", json!(since(full, ended))),
            (
                "share_of_the_primary_after_its_return",
                json!(steps.into_iter().map(round).collect::<Vec<_>>()),
            ),
            ("outing", json!(format!("{outing:?}"))),
        ] {
            figures.insert(key.to_owned(), value);
        }
        figures
    }
}

/// The longest time in which nobody took anything.
fn longest_gap<'a>(hits: impl Iterator<Item = &'a Hit>, from: u64, to: u64) -> u64 {
    let mut times: Vec<u64> =
        hits.filter(|h| h.taken && h.at_us >= from && h.at_us < to).map(|h| h.at_us).collect();
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(to - from)
}

/// How many send keys were hit once, twice ...
fn hits_per_key(hits: &[Hit]) -> std::collections::BTreeMap<usize, usize> {
    let mut told = std::collections::BTreeMap::new();
    for hits in by_key(hits).values() {
        *told.entry(hits.len()).or_default() += 1;
    }
    told
}

fn by_key(hits: &[Hit]) -> HashMap<&str, Vec<&Hit>> {
    let mut keys: HashMap<&str, Vec<&Hit>> = HashMap::new();
    for hit in hits {
        keys.entry(hit.send_key.as_ref().unwrap().as_str()).or_default().push(hit);
    }
    keys
}

/// By raw hits: nobody was sent anything twice, and what may have been sent was not tried again.
fn check_repeats(hits: &[Hit], trouble: Trouble) {
    for (key, hits) in by_key(hits) {
        let taken = hits.iter().filter(|h| h.taken).count();
        assert!(taken <= 1, "{key} was taken {taken} times");
        if trouble == Trouble::Errors && hits.iter().any(|h| h.status >= 500) {
            assert_eq!(hits.len(), 1, "{key} may have been sent, and was tried again");
        }
    }
}

/// A provider that is back takes so long to answer: the hits tell which probe was sent after the answer to which.
const ANSWER: Duration = Duration::from_millis(300);

/// The only provider is down, and so many messages wait for it, for `seconds`; then it is back, and at least this share of its
/// limit is used.
pub(crate) async fn waits(name: &str, plan: Plan, jobs: usize, seconds: u64, least: f64) {
    let mut rig = Rig::build(plan).await;
    rig.know_everybody(PEOPLE).await;
    let sms = Some(ProviderKind::TwilioSms);
    rig.simulator.set_outage(sms, Outage::Unavailable);
    let mut worker = rig.worker();
    let idle = load(&rig, &worker, 3).await;
    let ids: Vec<String> = (0..jobs).map(|n| format!("j{n}")).collect();
    rig.publish("job", ids.iter().enumerate().map(|(n, id)| reminder(id, n % PEOPLE)).collect()).await;
    let all = i64::try_from(jobs).unwrap();
    let planned = "SELECT count(*) FROM messages WHERE channel = 'sms' AND lease_token IS NULL";
    rig.until("all to be planned", planned, all, Duration::from_secs(60)).await;
    let probes = rig.simulator.stats().of(ProviderKind::TwilioSms).hits;
    let waiting = load(&rig, &worker, seconds).await;
    let probes = rig.simulator.stats().of(ProviderKind::TwilioSms).hits - probes;
    let held = rig
        .number("SELECT count(*) FROM messages WHERE status = 'held' AND reason = 'provider_unavailable'")
        .await;
    let dueless = rig.number("SELECT count(*) FROM messages WHERE due_at IS NULL").await;
    assert_eq!(dueless, 0, "everything has a time at which it is looked at again");
    assert!(held > 0, "nothing says why it waits");
    // An idle worker asks about a hundred times a second; a look every two seconds adds little, a claim that spins
    // many hundreds.
    assert!(waiting.commits < 300.0, "{waiting:?}, where an idle worker makes {idle:?}");
    assert!(probes <= 3 * seconds, "{probes} probes in {seconds} s");
    let said = worker.metrics().await;
    assert!(said.contains("outreachd_channel_out{channel=\"sms\"} 1"), "{said}");
    assert_eq!(
        worker.ready().await["checks"]["channels_without_provider"],
        json!(["sms"]),
        "jobs are taken still"
    );
    let states = rig.store.workers().await.unwrap();
    let lanes = states[0].state["lanes"].as_array().unwrap();
    let state =
        lanes.iter().find(|lane| lane["provider"] == "sms").map(|lane| lane["breaker"].clone()).unwrap();
    assert!(state == "open" || state == "half_open", "the worker's row says {state}");
    let log = std::fs::read_to_string(&rig.logs()[0]).unwrap();
    assert!(log.contains("no provider can be used"), "the log does not say so");

    let slow = Faults { latency_ms: ANSWER.as_millis() as u64, ..Faults::default() };
    rig.simulator.set_faults(sms, &slow).unwrap();
    let back = Instant::now();
    let from = rig.simulator.now_us();
    rig.simulator.set_outage(sms, Outage::None);
    rig.until_quiet(all, Duration::from_secs(180)).await;
    let took = back.elapsed();
    let evidence = close(&mut rig, vec![&mut worker], ids).await;
    assert_eq!(rig.number("SELECT count(*) FROM messages WHERE status = 'sent'").await, all);
    let mut hits: Vec<u64> =
        evidence.hits.iter().filter(|h| h.taken && h.at_us >= from).map(|h| h.at_us).collect();
    hits.sort_unstable();
    let first = hits[0] - from;
    let figures = json!({
        "jobs": jobs, "held": held, "probes": probes, "seconds_measured": seconds,
        "idle_per_second": idle, "waiting_per_second": waiting,
        "seconds_until_the_first_probe": round(first as f64 / 1e6),
        "seconds_until_all_was_sent": round(took.as_secs_f64()),
        "most_in_one_second": measure::worst_sliding_second(&hits),
        "return": no_stampede(&hits, evidence.rules.limits["sms"], least),
    });
    audit(&rig.sql, &evidence).await.close(name, figures);
}

/// Of what a provider takes that is back: probes alone until enough of them are answered, and then as much as its limit lets
/// through, from the first second on no more.
fn no_stampede(hits: &[u64], limit: u64, least: f64) -> Value {
    let BreakerSettings { probes, good_probes, .. } = BreakerSettings::default();
    // It is in use again no sooner.
    let closed = hits[good_probes as usize - 1] + ANSWER.as_micros() as u64;
    let count = |from: u64, to: u64| hits.iter().filter(|at| (from..to).contains(*at)).count() as u64;
    let before = count(0, closed);
    assert!(before < u64::from(good_probes + probes), "{before} hits before {good_probes} were answered");
    let first_second = count(closed, closed + SECOND_US);
    assert!(first_second <= limit, "{first_second} in its first second, where {limit} are allowed");
    // The last of them come when little is left to choose from.
    let (from, to) = (closed + SECOND_US, hits[hits.len() * 9 / 10]);
    let used = count(from, to) as f64 / ((to - from) as f64 / SECOND_US as f64 * limit as f64);
    assert!(used >= least, "after that only {used:.3} of the limit was used");
    json!({ "limit": limit, "probes": before, "first_second": first_second, "use": round(used) })
}

/// What a worker asks of the ledger, a second.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Load {
    commits: f64,
    cpu_ms: f64,
}

async fn load(rig: &Rig, worker: &WorkerProcess, seconds: u64) -> Load {
    let commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    // What was done before is counted within a second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (before, cpu) = (rig.number(commits).await, worker.usage().cpu_ms);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (after, cpu_after) = (rig.number(commits).await, worker.usage().cpu_ms);
    let each = |count: f64| round(count / seconds as f64);
    Load { commits: each((after - before) as f64), cpu_ms: each((cpu_after - cpu) as f64) }
}
