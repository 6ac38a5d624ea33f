//! How fast, beside others, in one run: ours; ours unsealed; ours with somebody at the live log; ours with one commit a
//! message; Celery; a pipeline without features, in batches and one by one.
//! `tests/side_by_side/run` gives the numbers. A piece whose counts are off is void, and the run with it.

mod bare;
mod celery;
mod table;

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use outreachd::simulator::Marker;
use serde_json::{Value, json};

use self::bare::{Bare, Shape};
use self::celery::Celery;
use self::table::{Piece, print};
use super::drain::{FEATURES, people, reminder, round, sync_ms};
use super::heavy::PRIVATE;
use super::rig::{Plan, Rig};
use super::worker::WorkerProcess;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Ours,
    /// The same with `[security] encryption = false`.
    Unsealed,
    /// The same while somebody reads the live log.
    Watched,
    /// The same program with `[worker] batch = 1`: what is admitted, begun and settled is one message. Its statements are
    /// made for many, and cost more for one than others would.
    Single,
    Celery,
    /// Without features, in batches of 500: the limit.
    Bare,
    /// The same with a commit for each job, many at once.
    BareSingle,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Ours, Self::Unsealed, Self::Watched, Self::Single, Self::Celery, Self::Bare, Self::BareSingle];

    const fn word(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Unsealed => "unsealed",
            Self::Watched => "watched",
            Self::Single => "single",
            Self::Celery => "celery",
            Self::Bare => "bare",
            Self::BareSingle => "bare-single",
        }
    }

    /// Jobs a second of the first, short piece, which tells how many the others take.
    const fn guess(self) -> u64 {
        match self {
            Self::Ours | Self::Unsealed | Self::Watched => 2_000,
            Self::Single | Self::Celery => 300,
            Self::Bare => 8_000,
            Self::BareSingle => 1_500,
        }
    }
}

/// How large a run is.
#[derive(Clone, Debug)]
struct Size {
    /// A piece takes at least so long.
    seconds: u64,
    rounds: usize,
    /// Processes of Celery's pool.
    processes: usize,
    kinds: Vec<Kind>,
}

impl Size {
    fn asked() -> Self {
        let word = |name: &str| std::env::var(format!("OUTREACHD_TEST_SIDE_{name}")).ok();
        let number = |name: &str, usual: usize| word(name).map_or(usual, |text| text.parse().unwrap());
        let only = word("ONLY");
        let wanted =
            |kind: &Kind| only.as_ref().is_none_or(|only| only.split(',').any(|word| word == kind.word()));
        Self {
            seconds: number("SECONDS", 60) as u64,
            rounds: number("ROUNDS", 3),
            processes: number("PROCESSES", 8),
            kinds: Kind::ALL.into_iter().filter(wanted).collect(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/side_by_side/run"]
async fn side_by_side() {
    let size = Size::asked();
    let mut rates: BTreeMap<Kind, u64> = BTreeMap::new();
    let mut pieces = Vec::new();
    for kind in &size.kinds {
        let first = piece(*kind, kind.guess() * (size.seconds / 6).max(2), PRIVATE, &size).await;
        println!("warming up: {first:?}");
        rates.insert(*kind, first.a_second());
        pieces.extend(first.void.is_some().then_some(first));
    }
    for n in 0..size.rounds {
        let mut order = size.kinds.clone();
        if n % 2 == 1 {
            order.reverse();
        }
        for kind in order {
            let one = long_enough(kind, &mut rates, &size).await;
            pieces.push(one);
        }
    }
    print(&size.kinds.iter().map(|kind| kind.word()).collect::<Vec<_>>(), &pieces);
    let void: Vec<&Piece> = pieces.iter().filter(|piece| piece.void.is_some()).collect();
    println!(
        "{}",
        json!({ "run": "side by side", "seconds": size.seconds, "rounds": size.rounds,
            "celery_processes": size.processes, "pieces": pieces, "void": void.len(), "features": FEATURES,
            "release": !cfg!(debug_assertions), "sync_ms": sync_ms(),
            "load": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim() })
    );
    assert!(void.is_empty(), "the run is void: {void:#?}");
}

/// A piece that takes as long as was asked for; a shorter one tells how many more jobs it needs.
async fn long_enough(kind: Kind, rates: &mut BTreeMap<Kind, u64>, size: &Size) -> Piece {
    let mut one = None;
    for _ in 0..3 {
        let jobs = rates[&kind] * size.seconds * 6 / 5;
        let tried = piece(kind, jobs.max(100), PRIVATE, size).await;
        println!("{tried:?}");
        rates.insert(kind, tried.a_second().max(rates[&kind]));
        let done = tried.ms >= size.seconds * 1_000 || tried.void.is_some();
        one = Some(tried);
        if done {
            break;
        }
    }
    let mut one = one.unwrap();
    if one.ms < size.seconds * 1_000 && one.void.is_none() {
        one.void = Some(format!("it took {} ms, less than was asked for", one.ms));
    }
    one
}

/// What works on the queue.
enum Running {
    Worker(WorkerProcess),
    Celery(Celery),
    Bare(Bare),
}

/// One queue, filled and drained. The clock runs from the first hit, so that nobody's start counts, until all is settled and
/// the last event is told.
async fn piece(kind: Kind, jobs: u64, plan: Plan, size: &Size) -> Piece {
    let mut rig = Rig::build(plan).await;
    if let Some(rabbitmq) = &rig.rabbitmq {
        // A full queue is what is measured; the broker shall not stop whoever fills it.
        rabbitmq.ctl(&["set_vm_memory_high_watermark", "absolute", "4GB"]);
    }
    fill(kind, &rig, jobs).await;
    let before = rig.cpu_ms();
    let mut running = match kind {
        Kind::Ours | Kind::Watched => Running::Worker(rig.worker()),
        Kind::Unsealed => Running::Worker(rig.worker_with(&[("OUTREACHD_SECURITY__ENCRYPTION", "false")])),
        Kind::Single => Running::Worker(rig.worker_with(&[("OUTREACHD_WORKER__BATCH", "1")])),
        Kind::Celery => Running::Celery(Celery::start(&rig, size.processes)),
        Kind::Bare => Running::Bare(Bare::start(&rig, Shape { batch: 500, at_once: 4 }).await),
        Kind::BareSingle => Running::Bare(Bare::start(&rig, Shape { batch: 1, at_once: 64 }).await),
    };
    let mut watcher = match (&running, kind) {
        (Running::Worker(worker), Kind::Watched) => Some(watch(worker).await),
        _ => None,
    };
    let limit = Duration::from_secs(size.seconds * 5 + 60);
    let _ = tokio::time::timeout(limit, rig.simulator.wait_for_hits(1)).await;
    let started = Instant::now();
    let hit = tokio::time::timeout(limit, rig.simulator.wait_for_hits(jobs)).await;
    let mut void = hit.err().map(|_| "not every job came to the sink in time".to_owned());
    if void.is_none() {
        void = settled(kind, &rig, jobs, limit).await.err();
    }
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap();
    let mut cpu: BTreeMap<&str, u64> =
        rig.cpu_ms().into_iter().map(|(name, ms)| (name, ms.saturating_sub(before[name]))).collect();
    match &mut running {
        Running::Worker(worker) => {
            cpu.insert("worker", worker.usage().cpu_ms);
            worker.stop();
        }
        Running::Celery(celery) => {
            cpu.insert("worker", celery.cpu_ms());
            celery.stop();
        }
        Running::Bare(bare) => bare.stop().await,
    }
    let counts = counts(kind, &rig, jobs).await;
    void = void.or_else(|| off(&counts, jobs));
    let lines = match &mut watcher {
        Some(watcher) => Some(watcher.await.unwrap()),
        None => None,
    };
    if lines == Some(0) {
        void = Some("nobody saw the live log".to_owned());
    }
    let rate = round(jobs as f64 * 1_000.0 / ms as f64);
    Piece { kind: kind.word(), jobs, ms, rate, counts, lines, cpu_ms: json!(cpu), void }
}

/// Reads the live log until the worker ends; answers how many lines came, those left out among them.
async fn watch(worker: &WorkerProcess) -> tokio::task::JoinHandle<u64> {
    worker.until_it_answers().await;
    let mut stream = reqwest::get(worker.url("/v1/stream")).await.unwrap().error_for_status().unwrap();
    tokio::spawn(async move {
        let mut lines = 0;
        let mut rest = Vec::new();
        while let Ok(Some(chunk)) = stream.chunk().await {
            rest.extend(chunk);
            while let Some(end) = rest.windows(2).position(|pair| pair == b"\n\n") {
                let told = String::from_utf8(rest.drain(..end + 2).collect()).unwrap();
                lines += match told.split_once("data: ") {
                    Some((head, data)) if head.contains("skipped") => data.trim().parse().unwrap(),
                    Some((_, data)) => serde_json::from_str::<Vec<Value>>(data).unwrap().len() as u64,
                    None => 0,
                };
            }
        }
        lines
    })
}

async fn fill(kind: Kind, rig: &Rig, jobs: u64) {
    let jobs = usize::try_from(jobs).unwrap();
    let people = people(jobs);
    let bodies: Vec<Vec<u8>> = (0..jobs).map(|n| reminder(&format!("j{n}"), n % people)).collect();
    match kind {
        Kind::Celery => return celery::fill(rig, &bodies, people).await,
        Kind::Bare | Kind::BareSingle => bare::create(rig).await,
        Kind::Ours | Kind::Unsealed | Kind::Watched | Kind::Single => {
            rig.know_everybody(people).await;
        }
    }
    rig.publish("job", bodies).await;
}

/// Where the counts of a kind stand: jobs that are done in its ledger.
const fn done(kind: Kind) -> &'static str {
    match kind {
        Kind::Ours | Kind::Unsealed | Kind::Watched | Kind::Single => {
            "SELECT count(*) FROM messages WHERE status = 'sent' AND due_at IS NULL AND lease_token IS NULL"
        }
        Kind::Celery => "SELECT count(*) FROM celery.messages WHERE status = 'sent'",
        Kind::Bare | Kind::BareSingle => "SELECT count(*) FROM bare.jobs WHERE reference IS NOT NULL",
    }
}

/// Waits until every job is done in the ledger, and told.
async fn settled(kind: Kind, rig: &Rig, jobs: u64, limit: Duration) -> Result<(), String> {
    let end = Instant::now() + limit;
    let wanted = i64::try_from(jobs).unwrap();
    loop {
        let done = rig.number(done(kind)).await;
        let told = match kind {
            Kind::Ours | Kind::Unsealed | Kind::Watched | Kind::Single => {
                rig.number("SELECT count(*) FROM outbox").await == 0
            }
            Kind::Celery => u64::from(rig.tap.depths(&["tap"]).await["tap"]) >= jobs,
            Kind::Bare | Kind::BareSingle => true,
        };
        if done >= wanted && told {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("{done} of {jobs} were settled in time"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What was counted, once nobody works any more.
async fn counts(kind: Kind, rig: &Rig, jobs: u64) -> BTreeMap<&'static str, u64> {
    let hits = rig.simulator.hits();
    let keys: HashSet<Marker> = hits.iter().filter_map(|hit| hit.send_key).collect();
    let taken = hits.iter().filter(|hit| hit.taken).count();
    let queue = if kind == Kind::Celery { "celery" } else { "jobs" };
    let depths = rig.tap.depths(&["tap", queue]).await;
    // A pipeline without features tells nobody.
    let tells = !matches!(kind, Kind::Bare | Kind::BareSingle);
    let events = if tells { u64::from(depths["tap"]) } else { jobs };
    let number = async |sql: &str| u64::try_from(rig.number(sql).await).unwrap();
    BTreeMap::from([
        ("sink_hits", hits.len() as u64),
        ("sink_taken", taken as u64),
        ("sink_keys", keys.len() as u64),
        ("ledger", number(done(kind)).await),
        ("events", events),
        ("left_in_queue", u64::from(depths[queue])),
    ])
}

/// Why these counts make a piece void.
fn off(counts: &BTreeMap<&'static str, u64>, jobs: u64) -> Option<String> {
    let wrong: Vec<String> = counts
        .iter()
        .filter(|(name, count)| **count != if **name == "left_in_queue" { 0 } else { jobs })
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    (!wrong.is_empty()).then(|| format!("of {jobs} jobs: {}", wrong.join(", ")))
}

#[test]
fn counts_that_are_off_make_a_piece_void() {
    let right = |name: &str| if name == "left_in_queue" { 0 } else { 500 };
    let names = ["sink_hits", "sink_taken", "sink_keys", "ledger", "events", "left_in_queue"];
    let counts = BTreeMap::from(names.map(|name| (name, right(name))));
    assert_eq!(off(&counts, 500), None);
    for name in names {
        for apart in [right(name) + 1, right(name).abs_diff(1)] {
            let mut counts = counts.clone();
            counts.insert(name, apart);
            assert!(off(&counts, 500).is_some_and(|why| why.contains(name)), "{name} {apart}");
        }
    }
}

/// Celery comes by its own command; what needs no Python is tried in every run of the tests.
#[tokio::test(flavor = "multi_thread")]
async fn with_and_without_batches_each_job_is_sent_once() {
    let size = Size { seconds: 5, rounds: 1, processes: 1, kinds: Vec::new() };
    let watched = piece(Kind::Watched, 300, Plan::default(), &size).await;
    let (single, bare, alone) = tokio::join!(
        piece(Kind::Single, 50, Plan::default(), &size),
        piece(Kind::Bare, 600, Plan::default(), &size),
        piece(Kind::BareSingle, 100, Plan::default(), &size)
    );
    for one in [single, watched, bare, alone] {
        assert_eq!(one.void, None, "{one:?}");
    }
}
