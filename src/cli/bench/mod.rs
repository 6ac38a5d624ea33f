//! `outreachd bench`: what this machine, this database and this broker carry, against a simulated provider.

mod place;
mod report;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::demo::{bring_directly, publish};
use super::{Desk, Failure, asked_to_end, simulate};
use crate::app::{self, Worker};
use crate::broker::{Broker, Publisher};
use crate::config::Config;
use crate::intake::Intake;
use crate::simulator::{Faults, Hit, Simulator, SimulatorConfig, TextDigest};
use crate::store::Store;
use place::Place;
use report::{Figures, Usage, percentile, sync_ms};

/// Bodies brought in one go.
const BATCH: u64 = 500;
/// How long nothing may arrive before the measure is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many patients share the jobs of the drain.
const PEOPLE: u64 = 1_000;

/// Measures this set-up: how fast jobs come in, how fast they go out, how long one takes on its way, what it costs.
///
/// With a configuration file it uses the database and the broker that the file names, in a schema (or a file) and queues of its
/// own, which it removes afterwards; it refuses to run beside a worker or a backlog. Without one it uses SQLite in a temporary folder
/// and no broker. Nothing leaves this machine: the provider is simulated, and the source, the patients and the texts are its own.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outreachd bench\n  outreachd bench --config /etc/outreachd/outreachd.toml --jobs 200000 --json"
)]
pub(super) struct Options {
    /// Jobs that are brought in first and drained then
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    jobs: u64,
    /// Jobs that come one by one to an idle worker, whose way is timed
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    singles: u64,
    /// How many of these come in a second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// What the simulated provider takes for each answer, in milliseconds
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    latency_ms: u64,
}

pub(super) async fn run(desk: &mut Desk, options: Options) -> Result<(), Failure> {
    let mut ended = pin!(asked_to_end());
    let place = Place::make(desk).await?;
    let measured = tokio::select! {
        measured = measure(&place, &options) => measured,
        () = &mut ended => Err(Failure::said("the measure was ended before it was done", "run it again")),
    };
    // What is its own goes away, whatever came of it.
    place.leave().await?;
    let figures = measured?;
    if desk.json {
        return Ok(desk.out.pretty(&figures)?);
    }
    figures.write(&mut desk.out)
}

async fn measure(place: &Place, options: &Options) -> Result<Figures, Failure> {
    let settings = SimulatorConfig {
        keep_hits: usize::try_from(options.jobs + options.singles).unwrap_or(usize::MAX),
        receipts: crate::simulator::Receipts { enabled: false, ..crate::simulator::Receipts::default() },
        faults: Faults { latency_ms: options.latency_ms, ..Faults::default() },
        ..SimulatorConfig::default()
    };
    let simulator = Simulator::start(settings).await.map_err(|error| simulate::failure(&error))?;
    let config = Arc::new(place.config(&simulator)?);
    let store = Desk::store_or_new(&config).await?;
    store.migrate().await?;
    let catalogue = Desk::catalogue(&config)?;
    let broker = open_broker(&config).await?;
    let way = Way {
        publisher: broker.as_ref().map(Broker::publisher),
        intake: Desk::intake(&config, store.clone(), catalogue.clone()),
    };
    let source = Source::new(store.ping().await?);
    let people = source.people(PEOPLE.max(options.singles));
    let known = people.len();
    for part in people.chunks(500) {
        bring_directly(&way.intake, "patient.upsert", part.to_vec()).await?;
    }
    let sync_ms = sync_ms(place.folder()).map_err(|error| Failure::unwritten(place.folder(), &error))?;
    let brought = bring_all(&way, options.jobs).await?;
    let before = Usage::now();
    let started = Instant::now();
    let worker = Worker::start(config.clone(), store.clone(), catalogue).await?;
    let drained = drain(&simulator, store.as_ref(), options.jobs, started).await;
    let after = Usage::now();
    let way_ms = match drained {
        Ok(_) => {
            // In process, a job is handed to the worker itself.
            let publisher = broker.as_ref().map(Broker::publisher);
            let own = Way { publisher, intake: worker.intake.clone() };
            singles(&own, &simulator, options).await
        }
        Err(_) => Ok(Vec::new()),
    };
    let peak = Usage::now();
    worker.stop().await;
    if let Some(broker) = &broker {
        broker.close().await;
    }
    let (drained, mut way_ms) = (drained?, way_ms?);
    way_ms.sort_by(f64::total_cmp);
    // The hits were counted.
    let _ = simulator.shutdown().await;
    let per = |span: Duration| options.jobs as f64 / span.as_secs_f64().max(1e-9);
    Ok(Figures {
        ledger: place.ledger(),
        way_in: if way.publisher.is_some() { "RabbitMQ, confirmed" } else { "in process" },
        jobs: options.jobs,
        people: known,
        publish_per_s: per(brought),
        drain_seconds: drained.as_secs_f64(),
        drain_per_s: per(drained),
        p50_ms: percentile(&way_ms, 50.0),
        p99_ms: percentile(&way_ms, 99.0),
        singles: way_ms.len(),
        cpu_us_per_job: before.cpu_us_until(&after).map(|us| us / options.jobs as f64),
        rss_mb: peak.peak_rss_mb,
        sync_ms,
        latency_ms: options.latency_ms,
    })
}

/// Declares the measure's own queues, and connects.
async fn open_broker(config: &Config) -> Result<Option<Broker>, Failure> {
    let Some(options) = app::broker_options(config)? else { return Ok(None) };
    let away =
        |reason: &str| Failure::said(format!("the broker: {reason}"), "look at it with `outreachd check`");
    crate::broker::declare(&options).await.map_err(|reason| away(reason.code()))?;
    let broker = Broker::start(options);
    if !broker.wait_until_up(Duration::from_secs(20)).await {
        return Err(away("no answer within 20 s"));
    }
    Ok(Some(broker))
}

/// How bodies come in.
struct Way {
    publisher: Option<Publisher>,
    /// Takes what no broker brings; it works without a worker of its own.
    intake: Intake,
}

impl Way {
    async fn bring(&self, bodies: Vec<String>) -> Result<(), Failure> {
        match &self.publisher {
            Some(publisher) => publish(publisher, "job.normal", bodies).await,
            None => bring_directly(&self.intake, "job.normal", bodies).await,
        }
    }
}

/// Whose jobs they are.
struct Source {
    now: Timestamp,
}

impl Source {
    const fn new(now: Timestamp) -> Self {
        Self { now }
    }

    fn people(&self, count: u64) -> Vec<String> {
        let person = |n| {
            json!({ "id": format!("BENCH-{n}"), "updated_at": self.now, "name": { "given": "Nia", "family": "Olsen" },
                "language": "en-US", "timezone": "America/Chicago", "site": "bench", "preferred_channels": ["sms"],
                "contacts": [{ "channel": "sms", "address": number(n), "rank": 1, "kind": "mobile" }] })
            .to_string()
        };
        (0..count).map(person).collect()
    }

    fn job(id: &str, patient: u64) -> String {
        // A text of which each goes alone, however many the same person gets.
        json!({ "id": id, "patient_id": format!("BENCH-{patient}"), "template": "preferences-changed", "site": "bench",
            "data": {} })
        .to_string()
    }
}

/// A number of its own for each.
fn number(patient: u64) -> String {
    format!("+1312{:07}", 5_550_000 + patient % 4_000_000)
}

async fn bring_all(way: &Way, jobs: u64) -> Result<Duration, Failure> {
    let started = Instant::now();
    let mut next = 0;
    while next < jobs {
        let end = (next + BATCH).min(jobs);
        way.bring((next..end).map(|n| Source::job(&format!("bench-{n}"), n % PEOPLE)).collect()).await?;
        next = end;
    }
    Ok(started.elapsed())
}

/// Until every job is with the provider and every event is told.
async fn drain(
    simulator: &Simulator,
    store: &dyn Store,
    jobs: u64,
    started: Instant,
) -> Result<Duration, Failure> {
    let stuck =
        || Failure::said("nothing moves any more", "look at `outreachd check`, and at what the log says");
    let mut last = (Instant::now(), 0);
    loop {
        let arrived = simulator.now_hits();
        if arrived >= jobs {
            break;
        }
        if arrived > last.1 {
            last = (Instant::now(), arrived);
        } else if last.0.elapsed() > PATIENCE {
            return Err(stuck());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waiting = Instant::now();
    while store.counts().await?.outbox > 0 {
        if waiting.elapsed() > PATIENCE {
            return Err(stuck());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(started.elapsed())
}

/// From when a job was handed over until it was with the provider, in milliseconds.
async fn singles(way: &Way, simulator: &Simulator, options: &Options) -> Result<Vec<f64>, Failure> {
    let before = simulator.now_hits();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / options.rate);
    let mut begun: HashMap<TextDigest, u64> = HashMap::new();
    for n in 0..options.singles {
        tick.tick().await;
        begun.insert(TextDigest::of(number(n).as_bytes()), simulator.now_us());
        way.bring(vec![Source::job(&format!("single-{n}"), n)]).await?;
    }
    let all = simulator.wait_for_hits(before + options.singles);
    let late = || Failure::said("some of the single jobs have not arrived", "look at what the log says");
    tokio::time::timeout(PATIENCE, all).await.map_err(|_| late())?;
    let skip = usize::try_from(before).unwrap_or(usize::MAX);
    let way_of = |hit: &Hit| Some(hit.at_us.saturating_sub(*begun.get(&hit.to)?) as f64 / 1_000.0);
    Ok(simulator.hits().iter().skip(skip).filter_map(way_of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_and_people_are_valid() {
        use crate::domain::job::Job;
        use crate::domain::patient::Patient;
        use crate::domain::phone::Region;
        use crate::domain::reader::{Expect, ParseDefaults};
        let source = Source::new("2026-11-28T15:00:00Z".parse().unwrap());
        let defaults = ParseDefaults {
            source: crate::domain::ids::SourceName::parse("default"),
            region: Region::US,
            site_regions: Arc::default(),
        };
        let job = Source::job("bench-1", 7);
        assert!(Job::parse(job.as_bytes(), &defaults).is_ok(), "{job}");
        for person in source.people(3) {
            let expect = Expect { id: None, updated_at: true };
            assert!(Patient::parse(person.as_bytes(), &defaults, expect).is_ok(), "{person}");
        }
    }
}
