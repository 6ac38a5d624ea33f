//! What happens in a run, and when: jobs, stops and cancels come in, workers die, ledger and provider are away, and the
//! ledger's clock is set.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use outreachd::app;
use outreachd::callback::Courier;
use outreachd::config::Config;
use outreachd::config::provider::{BreakerSettings, Limit, Period};
use outreachd::dispatch::{Carrier, Dispatcher, Parts, Setting};
use outreachd::domain::ids::{ProviderName, WorkerId};
use outreachd::intake::{Gatekeeper, Intake};
use outreachd::store::Store;
use outreachd::store::engine::{Args, Engine as _};
use outreachd::store::sqlite::SqliteEngine;
use outreachd::telemetry;
use outreachd::template::SharedCatalogue;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::findings::{Findings, Story, WITNESS, look};
use super::ledger::{Plant, Simulated, Turn, Wire};
use super::outside::{Habit, Outside, consume};
use super::world::{Delivery, Life, World};
use crate::proof::drain::phone;
use crate::proof::rig::parsed;
use crate::proof::safety::stop;
use crate::support::house::{job, patient};

/// Messages in a run, one a patient, and how long things go wrong.
const JOBS: usize = 400;
const SPAN: Duration = Duration::from_secs(60);
const WORKERS: usize = 3;
/// What the provider takes in a second.
pub(super) const LIMIT: u32 = 20;
/// All is at rest by then.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// What happens at a moment.
#[derive(Clone, Copy, Debug)]
enum Event {
    Job(usize),
    Stop(usize),
    Cancel(usize),
    Kill,
    LedgerAway(Duration),
    ProviderAway(Duration),
    /// The ledger's clock is set by so many seconds.
    Clock(i64),
}

/// Everything that a run stands on.
struct Stage {
    world: Arc<World>,
    config: Arc<Config>,
    catalogue: Arc<SharedCatalogue>,
    engine: Arc<SqliteEngine>,
    turn: Turn,
    plant: Option<Plant>,
    habit: Habit,
}

/// A worker, as whoever kills it sees it.
struct Process {
    life: Life,
    taken: Arc<Mutex<Vec<Delivery>>>,
}

/// Plays it to its end, and tells what was found.
pub(super) async fn play(seed: u64, plant: Option<Plant>, habit: Habit) -> Findings {
    let mut random = StdRng::seed_from_u64(seed ^ 0x5eed);
    // Some begin shortly before the night.
    let noon = ["2026-12-01T14:00:00-06:00", "2026-12-01T20:59:30-06:00"][random.random_range(0..2)];
    let slow = match plant {
        Some(Plant::Slow(hours)) => SignedDuration::from_hours(hours),
        _ => SignedDuration::ZERO,
    };
    // A ledger whose clock is slow takes it for the same time of day.
    let world = Arc::new(World::new(seed, noon.parse::<Timestamp>().unwrap() + slow));
    let dir = quick_dir();
    let clock = world.clone();
    let location = dir.path().join("ledger.db").display().to_string();
    let mut config = Config::from_toml(CONFIG).unwrap();
    config.worker.spool = dir.path().to_owned();
    let stage = Stage {
        config: Arc::new(config),
        catalogue: app::load_catalogue(concat!(env!("CARGO_MANIFEST_DIR"), "/templates").as_ref()).unwrap(),
        engine: Arc::new(SqliteEngine::open(&location, Arc::new(move || clock.now() - slow)).unwrap()),
        turn: Turn::default(),
        world,
        plant,
        habit,
    };
    let office = stage.ledger(stage.wire(Life::default(), true));
    stage.set(office.as_ref()).await;

    let mut crew: Vec<Process> = (0..WORKERS).map(|_| stage.worker()).collect();
    let mut story = Story::default();
    let began = Instant::now();
    for (at, event) in script(&mut random) {
        sleep_until(began + at).await;
        match event {
            Event::Job(n) => {
                let mut state = stage.world.state();
                state.queue.push_back(fresh(&job(&format!("j{n}"), &format!("P{n}"))));
                drop(state);
                story.published.insert(format!("j{n}"));
            }
            Event::Stop(n) => {
                office.record_address_consents(&[stop(n, stage.world.now())]).await.unwrap();
                story.stopped.insert(phone(n), Instant::now());
            }
            Event::Cancel(n) => {
                let job = format!("j{n}");
                let body = json!({ "action": "cancel", "source": "lakeside-ehr", "id": job });
                let cancel = Delivery { cancels: Some(job), ..fresh(&body) };
                stage.world.state().queue.push_back(cancel);
            }
            Event::Kill => {
                let victim = crew.remove(random.random_range(0..crew.len()));
                victim.life.end();
                let left = std::mem::take(&mut *victim.taken.lock().unwrap());
                let again = left.into_iter().map(|delivery| Delivery { redelivered: true, ..delivery });
                stage.world.state().queue.extend(again);
                crew.push(stage.worker());
                story.kills += 1;
            }
            Event::LedgerAway(long) => stage.world.state().ledger_away = Some(Instant::now() + long),
            Event::ProviderAway(long) => stage.world.state().provider_away = Some(Instant::now() + long),
            Event::Clock(by) => {
                let set = (Instant::now(), SignedDuration::from_secs(by));
                stage.world.state().clock_set.push(set);
            }
        }
    }
    stage.world.state().calm = true;
    let rested = rests(&stage, &crew).await;
    story.restless = !rested;
    let found = look(&stage.world, &stage.aside(), &story).await;
    crew.iter().for_each(|process| process.life.end());
    found
}

/// In memory where that can be had: a simulated disk need not be a slow one.
fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The events of a run in their order.
fn script(random: &mut StdRng) -> Vec<(Duration, Event)> {
    let mut events: BTreeMap<(Duration, usize), Event> = BTreeMap::new();
    let end = u64::try_from(SPAN.as_millis()).unwrap();
    let mut add = |at: u64, event: Event| {
        let place = events.len();
        events.insert((Duration::from_millis(at), place), event);
    };
    for n in 0..JOBS {
        // More than the provider takes: there is always something to do.
        add(random.random_range(0..end / 4), Event::Job(n));
        // Some are published twice, some cancelled, some patients stop; before or after.
        if random.random_bool(0.1) {
            add(random.random_range(0..end), Event::Job(n));
        }
        if random.random_bool(0.05) {
            add(random.random_range(0..end), Event::Cancel(n));
        }
        if random.random_bool(0.1) {
            add(random.random_range(0..end), Event::Stop(n));
        }
    }
    for _ in 0..random.random_range(2..8) {
        add(random.random_range(0..end), Event::Kill);
    }
    for _ in 0..random.random_range(0..4) {
        let long = Duration::from_millis(random.random_range(200..5_000));
        add(random.random_range(0..end), Event::LedgerAway(long));
    }
    for _ in 0..random.random_range(0..3) {
        let long = Duration::from_millis(random.random_range(500..15_000));
        add(random.random_range(0..end), Event::ProviderAway(long));
    }
    for _ in 0..random.random_range(0..3) {
        add(random.random_range(0..end), Event::Clock(random.random_range(-3_600..=3_600)));
    }
    events.into_iter().map(|((at, _), event)| (at, event)).collect()
}

/// Waits until nothing is queued, nothing in hand, and nothing due in the next minutes. False: it never was.
async fn rests(stage: &Stage, crew: &[Process]) -> bool {
    let ledger = stage.aside();
    let open =
        "SELECT count(*) FROM messages WHERE lease_token IS NOT NULL OR due_at < now() + 300 * 1000000";
    let end = Instant::now() + PATIENCE;
    loop {
        let waiting = stage.world.state().queue.len();
        let taken: usize = crew.iter().map(|process| process.taken.lock().unwrap().len()).sum();
        let rows = ledger.read(open, Args::none()).await.unwrap();
        let open: i64 = sqlx::Row::get(&rows[0], 0);
        if waiting == 0 && taken == 0 && open == 0 {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

impl Stage {
    /// The ledger is made, watched, planted in, and told of everybody.
    async fn set(&self, office: &dyn Store) {
        office.migrate().await.unwrap();
        let aside = self.aside();
        aside.write(WITNESS, Args::none()).await.unwrap();
        if let Some(Plant::Adds(trigger)) = self.plant {
            aside.write(trigger, Args::none()).await.unwrap();
        }
        let people = (0..JOBS).map(|n| parsed(&patient(&format!("P{n}"), "sms", &phone(n)))).collect();
        office.upsert_patients(people).await.unwrap();
    }

    /// A way to the ledger on which nothing happens.
    fn aside(&self) -> Simulated {
        Simulated(self.wire(Life::default(), true))
    }

    fn wire(&self, life: Life, safe: bool) -> Arc<Wire> {
        Arc::new(Wire {
            engine: self.engine.clone(),
            turn: self.turn.clone(),
            world: self.world.clone(),
            life,
            safe,
            plant: self.plant.filter(|_| !safe),
        })
    }

    fn ledger(&self, wire: Arc<Wire>) -> Arc<dyn Store> {
        Arc::new(app::ledger(&self.config, Simulated(wire)))
    }

    fn worker(&self) -> Process {
        let life = Life::default();
        let worker = WorkerId::generate();
        let store = self.ledger(self.wire(life.clone(), false));
        let name = ProviderName::parse("sms").unwrap();
        let provider = Outside {
            name,
            world: self.world.clone(),
            life: life.clone(),
            habit: self.habit,
            ledger: self.aside(),
        };
        let carrier = Carrier {
            provider: Arc::new(provider),
            setting: Setting::Live,
            limits: vec![Limit { count: LIMIT, per: Period::Second, per_sender: false }],
            weight: 1,
            max_in_flight: 64,
            baa: true,
            senders: Vec::new(),
            breaker: BreakerSettings::default(),
        };
        let (traces, _) = telemetry::start(&self.config.telemetry, "simulated").unwrap();
        let dispatcher = Dispatcher::start(Parts {
            store: store.clone(),
            config: self.config.clone(),
            catalogue: self.catalogue.clone(),
            carriers: vec![carrier],
            publisher: None,
            courier: Courier::new(&self.config.events.callbacks).unwrap(),
            traces,
            worker,
            name: "simulated".to_owned(),
        });
        let intake = Intake {
            store,
            gatekeeper: Gatekeeper::new(self.config.clone(), self.catalogue.clone()),
            dispatcher: Some(dispatcher),
            worker,
        };
        let taken = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(consume(self.world.clone(), intake, life.clone(), taken.clone()));
        Process { life, taken }
    }
}

fn fresh(body: &Value) -> Delivery {
    Delivery { body: body.to_string().into_bytes(), redelivered: false, cancels: None }
}

/// Nobody counts here, and leases of the dead are soon taken over.
const CONFIG: &str = r#"
    [safety]
    mode = "live"
    [organisation]
    name = "Lakeside Health"
    timezone = "America/Chicago"
    [store]
    url = "sqlite://simulated.db"
    [http]
    listen = "127.0.0.1:0"
    [security]
    key = "5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d"
    [policy.surge]
    learning_factor = 1000000
    [[site]]
    id = "lakeside-north"
    name = "Lakeside North"
    phone = "+13125550100"
    timezone = "America/Chicago"
    [[provider]]
    name = "sms"
    kind = "twilio_sms"
    base_url = "http://127.0.0.1:9"
    account_sid = "AC00000000000000000000000000000000"
    auth_token = "simulated"
    from = ["+13125550100"]
    limits = ["20/s"]
    baa = true
"#;
