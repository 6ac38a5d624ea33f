//! The rate gate that all workers share, under several limits at once: workers ask for as much as they like, as far ahead as
//! they like, use it, give it back or die with it. No span of any limit is ever given more slots than that limit has, nobody
//! is refused what is free, and whoever has enough to send uses the slowest limit up.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use outreachd::domain::ids::MessageId;
use outreachd::store::Store;
use outreachd::store::rows::{GateKey, GateLimit, Reserve, Reserved};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::{Strategy, prop_oneof};
use proptest::sample::select;

use super::super::ledger::Ledger;
use super::tell;

const WORKERS: usize = 3;
/// The share of a limit that the gate gives out.
const PACE: f64 = 0.98;
/// How far ahead somebody asks who has enough to send: further than a slow machine is late.
const AHEAD: i64 = 1_400;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60_000;

#[derive(Clone, Debug)]
enum Step {
    Ask {
        worker: usize,
        /// One each for what is short, several for what is long.
        want: u32,
        lead: i64,
        horizon: i64,
        /// Of what it had it has not used so much.
        unused: usize,
    },
    /// So many milliseconds; whoever has not used its slots by then has lost them.
    Pass(i64),
}

/// A limit: so many in so many milliseconds.
type Limit = (u32, i64);

#[derive(Clone, Debug)]
struct Story {
    /// All of them hold for everybody.
    limits: Vec<Limit>,
    /// In a day.
    day: Option<u32>,
    steps: Vec<Step>,
    /// Who asks how much later, when all have enough to send.
    hungry: Vec<(usize, i64)>,
}

fn step(pause: i64) -> impl Strategy<Value = Step> {
    let ask = (0..WORKERS, 1..40_u32, 0..300_i64, 300..750_i64, 0..6_usize);
    prop_oneof![
        4 => ask.prop_map(|(worker, want, lead, horizon, unused)| Step::Ask { worker, want, lead, horizon, unused }),
        2 => (0..=pause).prop_map(Step::Pass),
    ]
}

/// `pause`: how long one may be.
fn story(pause: i64) -> impl Strategy<Value = Story> {
    let limits = vec((1..200_u32, select(vec![SECOND, MINUTE])), 1..4);
    let hungry = vec((0..WORKERS, 0..=pause.min(400)), 4..12);
    (limits, weighted(0.3, 1..200_u32), vec(step(pause), 2..24), hungry)
        .prop_map(|(limits, day, steps, hungry)| Story { limits, day, steps, hungry })
}

/// The distance of two slots.
fn each((count, span): Limit) -> SignedDuration {
    SignedDuration::try_from_secs_f64(span as f64 / 1_000.0 / (f64::from(count) * PACE)).unwrap()
}

struct World<'l> {
    ledger: &'l Ledger,
    /// Each worker's own way to the ledger.
    ways: &'l [Arc<dyn Store>],
    keys: Vec<GateKey>,
    day: Option<u32>,
    slots: Vec<Timestamp>,
    /// What each worker had last and has not given back.
    had: [usize; WORKERS],
    /// Which day it is, since 1970, and what was given of it.
    today: i64,
    used: usize,
}

impl World<'_> {
    async fn ask(&mut self, worker: usize, want: u32, lead: i64, horizon: i64, unused: usize) -> Reserved {
        let ms = SignedDuration::from_millis;
        let unused = unused.min(self.had[worker]);
        let ask = Reserve {
            keys: self.keys.clone(),
            want,
            lead: ms(lead),
            horizon: ms(horizon),
            unused: u32::try_from(unused).unwrap(),
        };
        let told = self.ways[worker].reserve(&ask).await.unwrap();
        let (first, last) = (told.now + ms(lead), told.now + ms(horizon));
        assert!(told.slots.iter().all(|at| (first..=last).contains(at)), "{told:?} for {ask:?}");
        if told.now.as_second() / 86_400 != self.today {
            (self.today, self.used) = (told.now.as_second() / 86_400, 0);
        }
        self.used = self.used.saturating_sub(unused) + told.slots.len();
        let is_used_up = self.day.is_some_and(|day| {
            assert!(self.used <= day as usize, "{} of {day} in a day", self.used);
            self.used == day as usize
        });
        if told.slots.len() < want as usize {
            assert!(is_used_up || told.next > last, "what is free was refused: {told:?} for {ask:?}");
        }
        assert!(told.slots.len() <= want as usize);
        self.had[worker] = told.slots.len();
        self.slots.extend(&told.slots);
        told
    }

    async fn pass(&self, milliseconds: i64) {
        if milliseconds > 0 {
            self.ledger.pass(SignedDuration::from_millis(milliseconds)).await;
        }
    }

    /// No span holds more slots than its limit, wherever it begins.
    fn assert_limits(&mut self, limits: &[Limit]) {
        self.slots.sort_unstable();
        for (count, span) in limits {
            for some in self.slots.windows(*count as usize + 1) {
                let apart = some[some.len() - 1].duration_since(some[0]);
                assert!(apart >= SignedDuration::from_millis(*span), "{} within {apart}", some.len());
            }
        }
    }
}

async fn play(ledger: &Ledger, ways: &[Arc<dyn Store>], story: Story) {
    // A gate of its own for each story.
    let gate = MessageId::generate();
    let key = |name: String, limit: Limit| GateKey {
        key: format!("{gate}/{name}"),
        limit: GateLimit::Interval(each(limit)),
    };
    let all = story.limits.iter().enumerate().map(|(n, limit)| key(n.to_string(), *limit));
    let day = story.day.map(|day| GateKey { key: format!("{gate}/day"), limit: GateLimit::Day(day) });
    let keys = all.chain(day).collect();
    let (slots, had) = (Vec::new(), [0; WORKERS]);
    let mut world = World { ledger, ways, keys, day: story.day, slots, had, today: 0, used: 0 };
    for step in story.steps {
        match step {
            Step::Ask { worker, want, lead, horizon, unused } => {
                world.ask(worker, want, lead, horizon, unused).await;
            }
            Step::Pass(milliseconds) => world.pass(milliseconds).await,
        }
    }
    let start = world.ask(0, 20_000, 0, AHEAD, 0).await.now;
    let (mut given, mut end) = (0, start);
    for (worker, pause) in story.hungry {
        world.pass(pause).await;
        let told = world.ask(worker, 20_000, 0, AHEAD, 0).await;
        (given, end) = (given + told.slots.len(), told.now);
    }
    if story.day.is_none() {
        let slowest = story.limits.iter().map(|limit| each(*limit)).max().unwrap();
        let enough = end.duration_since(start).as_micros() / (slowest.as_micros() + 1);
        assert!(given as i128 + 1 >= enough, "{given} of {enough} were given to whoever asked");
    }
    world.assert_limits(&story.limits);
}

fn ways(ledger: &Ledger) -> Vec<Arc<dyn Store>> {
    (0..WORKERS).map(|_| ledger.another()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_span_of_any_limit_is_given_more_on_sqlite() {
    let ledger = super::super::ledger::sqlite().await;
    let ways = ways(&ledger);
    tell(24, &story(1_500), async |story| play(&ledger, &ways, story).await);
}

/// Its clock goes as it goes: there the workers race for what a few hundred milliseconds hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_span_of_any_limit_is_given_more_on_postgres() {
    let ledger = super::super::ledger::postgres().await;
    let ways = ways(&ledger);
    tell(6, &story(0), async |story| play(&ledger, &ways, story).await);
}
