//! One provider hangs, and hangs alone: what goes by others arrives as soon as before.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use outreachd::simulator::{Hit, Outage, ProviderKind};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::auditor::audit;
use super::drain::{reminder, round};
use super::fault_channels::{self, CHANNELS, PEOPLE};
use super::rig::{Plan, Rig};
use super::scale::median;

const HANGS: ProviderKind = ProviderKind::TwilioSms;
const OTHERS: [ProviderKind; 3] = [ProviderKind::TwilioVoice, ProviderKind::FhirPortal, ProviderKind::Smtp];
/// A job for each channel so often, which is a tenth of the limits.
const EACH: Duration = Duration::from_millis(10);
const A_SECOND: u64 = 100;
const LIMITS: &[&str] = &["1000/s"];
/// It is soon taken back; what was lost is looked up when nothing is measured any more.
const BREAKER: &str = "cool_down = \"2s\"\ncool_down_max = \"2s\"";
const LOOK_UPS: &str = "[policy]\nlook_up_after = \"1h\"";
/// The first seconds of a worker's life, with connections and statements to be made, are no measure of what comes after.
const WARM_UP: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(120);

/// So many seconds in which nobody hangs, and as many in which one does, so often in turn: the 99th percentile of the others grows
/// by no more than this share.
pub(crate) async fn hang(name: &str, plan: Plan, rounds: usize, seconds: u64, most: f64) {
    let limits = Plan { sms_limits: LIMITS, voice_limits: LIMITS, ..plan };
    let plan = Plan { every_channel: true, breaker: BREAKER, more: LOOK_UPS, ..limits };
    let mut rig = Rig::build(plan).await;
    fault_channels::know_everybody(&rig).await;
    let mut worker = rig.worker();
    worker.until_it_answers().await;
    let mut stream = Stream::default();
    stream.flow(&rig, WARM_UP).await;
    let (mut quiet, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        quiet.push(stream.flow(&rig, seconds).await);
        rig.simulator.set_outage(Some(HANGS), Outage::Hang);
        beside.push(stream.flow(&rig, seconds).await);
        rig.simulator.set_outage(Some(HANGS), Outage::None);
        rig.until_quiet(i64::try_from(stream.jobs()).unwrap(), PATIENCE).await;
    }
    worker.assert_alive();
    let usage = vec![worker.usage()];
    worker.stop();
    let hung = rig.simulator.stats().of(HANGS).stalled;
    let evidence = rig.evidence((0..stream.jobs()).map(id).collect(), usage).await;
    let arrivals = stream.arrivals(&rig, &evidence.hits).await;

    let (mut lanes, mut grown) = (Map::new(), Vec::new());
    for kind in OTHERS {
        let in_each = |phases: &[Range<usize>]| -> Vec<f64> {
            phases.iter().map(|phase| p99(&arrivals[&kind], phase)).collect()
        };
        let (before, meanwhile) = (in_each(&quiet), in_each(&beside));
        let growth = round(median(&meanwhile) / median(&before) - 1.0);
        let figures = json!({ "p99_ms": before, "p99_ms_beside_it": meanwhile, "growth": growth });
        lanes.insert(kind.as_str().to_owned(), figures);
        grown.push((kind, growth));
    }
    let figures = json!({ "seconds": seconds, "a_second_by_each": A_SECOND, "hung": hung, "others": Value::Object(lanes) });
    audit(&rig.sql, &evidence).await.close(name, figures);
    assert!(hung > 0, "nothing hung");
    for (kind, growth) in grown {
        assert!(
            growth <= most,
            "beside one that hangs the p99 of {kind:?} grew by {growth}, {most} are allowed"
        );
    }
}

/// A job for each channel at each tick.
#[derive(Default)]
struct Stream {
    /// When those of each tick were about to be published, in microseconds since 1970.
    asked: Vec<i64>,
}

impl Stream {
    /// How many have been published.
    fn jobs(&self) -> usize {
        self.asked.len() * CHANNELS
    }

    /// So many seconds of it; which ticks these were.
    async fn flow(&mut self, rig: &Rig, seconds: u64) -> Range<usize> {
        let first = self.asked.len();
        let mut tick = tokio::time::interval(EACH);
        for _ in 0..seconds * A_SECOND {
            tick.tick().await;
            let next = self.jobs();
            self.asked.push(jiff::Timestamp::now().as_microsecond());
            let jobs = (next..next + CHANNELS).map(|n| reminder(&id(n), n % PEOPLE)).collect();
            rig.publish("job", jobs).await;
        }
        first..self.asked.len()
    }

    /// What has arrived by each: of which tick, and how long after it, in microseconds.
    async fn arrivals(&self, rig: &Rig, hits: &[Hit]) -> HashMap<ProviderKind, Vec<(usize, i64)>> {
        let rows: Vec<(String, Uuid)> =
            sqlx::query_as("SELECT job_id, id FROM messages").fetch_all(&rig.sql).await.unwrap();
        let tick = |job: &str| job[1..].parse::<usize>().unwrap() / CHANNELS;
        let ticks: HashMap<String, usize> =
            rows.into_iter().map(|(job, id)| (format!("{}-0", id.simple()), tick(&job))).collect();
        let mut arrivals: HashMap<ProviderKind, Vec<(usize, i64)>> = HashMap::new();
        for hit in hits {
            let tick = ticks[hit.send_key.unwrap().as_str()];
            arrivals.entry(hit.kind).or_default().push((tick, hit.wall_us - self.asked[tick]));
        }
        arrivals
    }
}

/// Of the n-th job.
fn id(n: usize) -> String {
    format!("h{n}")
}

/// Within how many milliseconds 99 of 100 of a phase have arrived.
fn p99(arrivals: &[(usize, i64)], phase: &Range<usize>) -> f64 {
    let mut took: Vec<i64> =
        arrivals.iter().filter(|(tick, _)| phase.contains(tick)).map(|(_, us)| *us).collect();
    assert_eq!(took.len(), phase.len(), "each has arrived, once");
    took.sort_unstable();
    round(took[(took.len() - 1) * 99 / 100] as f64 / 1_000.0)
}
