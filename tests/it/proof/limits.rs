//! Limits hold at the wire over several workers, one of which is killed and another added; a lane that hangs hangs alone.

use std::time::{Duration, Instant};

use outreachd::simulator::{Hit, Outage, ProviderKind};
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::postgres::PgPool;

use super::auditor::audit;
use super::drain::{phone, round};
use super::rig::{Plan, Rig};
use super::worker::WorkerProcess;
use crate::support::house::{job, patient};
use crate::support::measure;

/// The limits of the two providers, a second.
const SMS: u64 = 500;
const VOICE: u64 = 50;
const SECOND_US: u64 = 1_000_000;
/// A worker is dead after ten seconds of silence, and others look every two.
const TAKEN_OVER: Duration = Duration::from_secs(13);

/// So many workers under load for so many seconds, with one killed in the first third and another started in the second; then
/// the voice provider hangs for `hang` seconds.
pub(crate) async fn limits(name: &str, plan: Plan, workers: usize, seconds: u64, hang: u64) {
    let plan = Plan { sms_limits: &["500/s"], voice_limits: &["50/s"], ..plan };
    let mut rig = Rig::build(plan).await;
    rig.know(&[patient("S", "sms", &phone(1)), patient("V", "voice", &phone(2))]).await;
    let all = seconds + hang + 5;
    let jobs = |word: &str, person: &str, count: u64| -> Vec<(String, Vec<u8>)> {
        let one = |n| (format!("{word}{n}"), job(&format!("{word}{n}"), person).to_string().into_bytes());
        (0..count).map(one).collect()
    };
    let sms = jobs("s", "S", SMS * all);
    let voice = jobs("v", "V", VOICE * all);
    // Voice first, so that neither class waits behind the other's whole backlog.
    let bodies: Vec<_> = voice.into_iter().chain(sms).collect();
    let ids: Vec<String> = bodies.iter().map(|(id, _)| id.clone()).collect();
    rig.publish("job", bodies.into_iter().map(|(_, body)| body).collect()).await;

    let mut crew: Vec<WorkerProcess> = (0..workers).map(|_| rig.worker()).collect();
    let begin = first_second_of_both(&rig).await;
    pause_until(&rig, begin + seconds * SECOND_US / 4).await;
    crew[0].kill();
    let taking_over = tokio::spawn(taken_over(rig.sql.clone()));
    pause_until(&rig, begin + seconds * SECOND_US / 3).await;
    crew.push(rig.worker());
    pause_until(&rig, begin + seconds * SECOND_US).await;
    let hung = rig.simulator.now_us();
    rig.simulator.set_outage(Some(ProviderKind::TwilioVoice), Outage::Hang);
    pause_until(&rig, hung + hang * SECOND_US).await;
    rig.simulator.set_outage(Some(ProviderKind::TwilioVoice), Outage::None);

    let usage = crew.iter().map(WorkerProcess::usage).collect();

    // The rest is let go: what hung is unknown, what is left is sent. Nothing is counted before: whoever copies all hits keeps
    // the sink from its clock for some of the milliseconds that are measured.
    rig.until_quiet(i64::try_from(ids.len()).unwrap(), Duration::from_secs(240)).await;
    for worker in &mut crew[1..] {
        worker.assert_alive();
        worker.stop();
    }
    let evidence = rig.evidence(ids, usage).await;
    let of = |kind: ProviderKind, from: u64, to: u64| -> Vec<u64> {
        times(evidence.hits.iter().filter(|h| h.kind == kind && h.at_us >= from && h.at_us < to))
    };
    let (sms, voice) = (ProviderKind::TwilioSms, ProviderKind::TwilioVoice);
    let mut figures = serde_json::Map::new();
    for (word, kind, limit) in [("sms", sms, SMS), ("voice", voice, VOICE)] {
        let worst = kept(word, limit, &of(kind, 0, u64::MAX), begin);
        let used = of(kind, begin, hung).len() as f64 / ((hung - begin) as f64 / 1e6 * limit as f64);
        figures.insert(word.to_owned(), json!({ "limit": limit, "worst_second": worst, "use": round(used) }));
        // Short runs lose a share to the start of the workers that long ones do not notice.
        let least = if seconds >= 60 { 0.97 } else { 0.80 };
        let each: Vec<usize> = (begin..hung)
            .step_by(SECOND_US as usize)
            .map(|from| of(kind, from, hung.min(from + SECOND_US)).len())
            .collect();
        assert!(used >= least, "{word}: only {used:.3} of the limit was used; each second {each:?}");
    }
    let beside = of(sms, hung, hung + hang * SECOND_US).len() as f64 / (hang * SMS) as f64;
    figures.insert("sms_use_while_voice_hangs".to_owned(), json!(round(beside)));
    assert!(beside >= 0.95, "the other lane fell to {beside:.3} of its limit");
    let taken_over = taking_over.await.unwrap();
    assert!(taken_over <= TAKEN_OVER, "what the dead worker had in hand was taken over after {taken_over:?}");
    figures.insert("seconds_to_take_over".to_owned(), json!(round(taken_over.as_secs_f64())));
    figures.insert("workers".to_owned(), json!(workers));
    figures.insert("seconds".to_owned(), json!(seconds));
    audit(&rig.sql, &evidence).await.close(name, Value::Object(figures));
}

/// Texts of two segments each, so many of them over so many workers, under ten segments a second, of which this share is used
/// at least.
pub(crate) async fn long_texts(name: &str, plan: Plan, workers: usize, texts: usize, least: f64) {
    const LIMIT: u64 = 10;
    const SEGMENTS: usize = 2;
    let mut rig = Rig::build(Plan { sms_limits: &["10/s"], ..plan }).await;
    let mut person = patient("S", "sms", &phone(1));
    person["language"] = json!("es");
    rig.know(&[person]).await;
    let practitioner = format!("Dr. {}de la Rosa", "Fernandez Castellanos ".repeat(SEGMENTS));
    let ids: Vec<String> = (0..texts).map(|n| format!("long-{n}")).collect();
    let body = |id: &String| {
        let mut job = job(id, "S");
        job["data"]["practitioner"] = json!(practitioner);
        job.to_string().into_bytes()
    };
    rig.publish("job", ids.iter().map(body).collect()).await;
    let mut crew: Vec<WorkerProcess> = (0..workers).map(|_| rig.worker()).collect();
    let all = i64::try_from(texts).unwrap();
    let fair = Duration::from_secs((texts * SEGMENTS) as u64 / LIMIT);
    rig.until_quiet(all, 2 * fair + Duration::from_secs(30)).await;
    let usage = crew.iter().map(WorkerProcess::usage).collect();
    for worker in &mut crew {
        worker.assert_alive();
        worker.stop();
    }
    let of_two = format!("SELECT count(*) FROM attempts WHERE segments = {SEGMENTS} AND status = 'sent'");
    assert_eq!(rig.number(&of_two).await, all);
    let mut evidence = rig.evidence(ids, usage).await;
    // A text leaves with its last slot: of each worker one may have waited for that while others had theirs. What is more
    // than that is over the limit.
    let waited = (workers * (SEGMENTS - 1)) as u64;
    evidence.rules.limits.insert("sms".to_owned(), LIMIT + waited);
    let mut segments = times(evidence.hits.iter().flat_map(|hit| [hit; SEGMENTS]));
    segments.sort_unstable();
    let worst = kept("segments", LIMIT + waited, &segments, segments[0]);
    let tenths: Vec<u64> = segments.iter().map(|at| at / 10).collect();
    let in_ten = kept("segments in ten seconds", 10 * LIMIT + waited, &tenths, tenths[0]);
    let took = (segments[segments.len() - 1] - segments[0]) as f64 / SECOND_US as f64;
    let used = (segments.len() - SEGMENTS) as f64 / (took * LIMIT as f64);
    let figures = json!({ "workers": workers, "texts": texts, "limit": LIMIT, "worst_second": worst,
        "worst_ten_seconds": in_ten, "use": round(used) });
    audit(&rig.sql, &evidence).await.close(name, figures);
    assert!(used >= least, "only {used:.3} of the limit was used");
}

/// How long after this what workers had in hand that say nothing any more was still theirs.
async fn taken_over(sql: PgPool) -> Duration {
    let theirs = "SELECT count(*) FROM messages m JOIN leases l ON l.token = m.lease_token LEFT JOIN workers w ON w.id = l.owner
         WHERE w.seen_at IS NULL OR w.seen_at < now() - interval '5 seconds'";
    let (started, mut last) = (Instant::now(), Duration::ZERO);
    while started.elapsed() < 2 * TAKEN_OVER {
        let left: i64 = sqlx::query(theirs).fetch_one(&sql).await.unwrap().get(0);
        if left > 0 {
            last = started.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    last
}

/// The most in any second, never more than `limit`: else when it began, and for how long nothing had come before.
fn kept(word: &str, limit: u64, times: &[u64], begin: u64) -> u64 {
    let worst = measure::worst_sliding_second(times) as u64;
    if worst > limit {
        let mut times = times.to_vec();
        times.sort_unstable();
        let many = usize::try_from(worst).unwrap();
        let window = times.windows(many).position(|hits| hits[many - 1] - hits[0] < SECOND_US).unwrap();
        let from = times[window];
        let before: Vec<u64> = times[..=window].iter().rev().take(10).map(|at| from - at).collect();
        let after: Vec<u64> = times[window..].iter().take(20).map(|at| at - from).collect();
        let since = (from as f64 - begin as f64) / 1e6;
        panic!(
            "{word}: {worst} in the second from {since:.3} s, where {limit} are allowed; us before it {before:?}, in it {after:?}"
        );
    }
    worst
}

fn times<'a>(hits: impl Iterator<Item = &'a Hit>) -> Vec<u64> {
    hits.map(|hit| hit.at_us).collect()
}

/// When both lanes have been running for a second, by the clock of the simulator.
async fn first_second_of_both(rig: &Rig) -> u64 {
    loop {
        let stats = rig.simulator.stats();
        if stats.of(ProviderKind::TwilioSms).hits >= SMS / 2
            && stats.of(ProviderKind::TwilioVoice).hits >= VOICE / 2
        {
            tokio::time::sleep(Duration::from_millis(500)).await;
            return rig.simulator.now_us();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn pause_until(rig: &Rig, at_us: u64) {
    let left = at_us.saturating_sub(rig.simulator.now_us());
    tokio::time::sleep(Duration::from_micros(left)).await;
}
