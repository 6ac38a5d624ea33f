//! What everybody in a run shares: the clock, chance, the queue and what it cancelled, and the provider's book.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use outreachd::domain::ids::SendKey;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A process, and whether it still runs. Where it has ended, nothing of it goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Life(CancellationToken);

impl Life {
    pub(super) fn end(&self) {
        self.0.cancel();
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Comes back only to the living.
    pub(super) async fn goes_on(&self) {
        if self.is_over() {
            std::future::pending::<()>().await;
        }
    }
}

/// A body in the queue.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) body: Vec<u8>,
    pub(super) redelivered: bool,
    /// The job that it takes back.
    pub(super) cancels: Option<String>,
}

/// What has arrived at the provider.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    /// When it was handed to the wire.
    pub(super) left: Instant,
    pub(super) key: SendKey,
    pub(super) to: String,
    /// Whether its attempt was in the ledger by then.
    pub(super) on_record: bool,
}

/// All that is shared.
#[derive(Debug)]
pub(super) struct World {
    began: Instant,
    epoch: Timestamp,
    state: Mutex<State>,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    random: StdRng,
    /// Nothing goes wrong any more.
    pub(super) calm: bool,
    /// The ledger answers nobody until then.
    pub(super) ledger_away: Option<Instant>,
    /// The provider takes nothing until then.
    pub(super) provider_away: Option<Instant>,
    /// When the ledger's clock was set, and by how much.
    pub(super) clock_set: Vec<(Instant, SignedDuration)>,
    pub(super) queue: VecDeque<Delivery>,
    /// Jobs that were cancelled, and when that was on record at the latest.
    pub(super) cancelled: HashMap<String, Instant>,
    pub(super) hits: Vec<Hit>,
}

impl State {
    /// True so often in a thousand, while things go wrong.
    pub(super) fn strikes(&mut self, in_a_thousand: u32) -> bool {
        let struck = self.random.random_range(0..1_000) < in_a_thousand;
        struck && !self.calm
    }

    pub(super) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.random.random_range(from * 1_000..=to * 1_000))
    }

    /// All of it is on record now.
    pub(super) fn submitted(&mut self, batch: &[Delivery]) {
        for job in batch.iter().filter_map(|delivery| delivery.cancels.clone()) {
            self.cancelled.entry(job).or_insert_with(Instant::now);
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, epoch: Timestamp) -> Self {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            calm: false,
            ledger_away: None,
            provider_away: None,
            clock_set: Vec::new(),
            queue: VecDeque::new(),
            cancelled: HashMap::new(),
            hits: Vec::new(),
        };
        Self { began: Instant::now(), epoch, state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What the ledger's clock shows now, where it is not planted as slow.
    pub(super) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// What it showed, or will show, at `instant`.
    pub(super) fn at(&self, instant: Instant) -> Timestamp {
        let shown = self.epoch + self.since_start(instant);
        self.state()
            .clock_set
            .iter()
            .filter(|(at, _)| *at <= instant)
            .fold(shown, |shown, (_, by)| shown + *by)
    }

    /// By a clock that nobody sets.
    pub(super) fn since_start(&self, instant: Instant) -> SignedDuration {
        SignedDuration::try_from(instant.duration_since(self.began)).unwrap()
    }

    /// Seconds since the run began.
    pub(super) fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}
