//! One lane's view of the rate gate. The ledger hands out slots to all workers; this keeps those that were handed to
//! this lane and gives them to whoever is most urgent when they come up.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::SignedDuration;

use super::clock::Clock;
use crate::config::provider::{Limit, Period};
use crate::store::rows::{GateKey, GateLimit, Reserve};
use crate::store::{Result, Store};

/// No slot is reserved further ahead than the lead and this: what a dying worker holds is soon past.
const HORIZON: Duration = Duration::from_millis(100);
/// Slots are given out this early, or earlier by the lead, so that what leaves together is written down together.
const EARLY: Duration = Duration::from_millis(80);
/// One round of slots has to last until the next one can be had. On a busy machine that takes as long as the lead; what
/// takes longer than this is not made up for.
const ROUND: Duration = Duration::from_millis(250);
/// A slot of a full limit that was missed by more than this share of the limit's span (6 ms of a second) is thrown away,
/// up to the moment of sending. What leaves late comes on top of what follows it: with [`PACE`], all that leaves within
/// 20 ms of its slot keeps the limit in every second, whoever sends the rest; what is left of the 20 is for the wire.
const MISSED: f64 = 0.006;
/// However empty the limit, what is later than this is late.
const LATEST: Duration = Duration::from_millis(300);
/// The share of a limit that is used; the rest absorbs what timers and the wire add in jitter: at 50 a second 0.99
/// leaves 10 ms, which one late timer on a busy machine exceeds; 0.98 leaves 20.
const PACE: f64 = 0.98;

/// The limits of one lane.
#[derive(Debug)]
pub(super) struct Gate {
    keys: Vec<GateKey>,
    /// Of each key, how many a second.
    rates: Vec<Option<Rate>>,
    slots: VecDeque<Instant>,
    /// The last slot that was handed to this lane: a correction of the clock never brings the next one nearer.
    last: Option<Instant>,
    /// The distance between two slots.
    spacing: Duration,
    /// How long the ledger takes to answer.
    answers: Lag,
    /// What is given out is begun, and has to leave soon after: no slot is given out earlier than this.
    furthest: Duration,
    tolerance: Arc<Tolerance>,
    unused: Arc<Unused>,
}

/// A limit as a rate: so many in so long.
#[derive(Clone, Copy, Debug)]
struct Rate {
    count: f64,
    seconds: f64,
}

impl Gate {
    /// The gate of `provider`, for one `sender` where a limit counts senders apart; what has begun leaves within
    /// `first_byte`.
    pub(super) fn new(provider: &str, sender: Option<&str>, limits: &[Limit], first_byte: Duration) -> Self {
        let keys = limits.iter().map(|limit| key(provider, sender, *limit)).collect();
        let spacing = limits.iter().filter_map(|limit| interval(*limit)).max();
        let spacing = spacing.and_then(|each| Duration::try_from(each).ok()).unwrap_or_default();
        Self {
            keys,
            rates: limits.iter().map(|limit| rate(*limit)).collect(),
            slots: VecDeque::new(),
            last: None,
            spacing,
            answers: Lag::of_the_ledger(),
            furthest: first_byte - first_byte / 10,
            tolerance: Arc::default(),
            unused: Arc::default(),
        }
    }

    /// Where slots are counted that nobody could use.
    pub(super) fn unused(&self) -> Arc<Unused> {
        self.unused.clone()
    }

    /// How late a slot of this gate may be met.
    pub(super) fn tolerance(&self) -> Arc<Tolerance> {
        self.tolerance.clone()
    }

    /// Whether nothing limits this lane.
    fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Waits for at least one slot and gives up to `want`, none of them far ahead. Where slots have to be reserved it
    /// does so for `demand`, which is everybody's who waits, and none nearer than `lead` from then. Gives none once nobody
    /// `waits` any more: what was reserved meanwhile is kept for others.
    pub(super) async fn take(
        &mut self,
        want: usize,
        demand: usize,
        lead: Duration,
        store: &dyn Store,
        clock: &Clock,
        waits: impl Fn() -> bool,
    ) -> Result<Vec<Instant>> {
        while waits() {
            while self.slots.front().is_some_and(|slot| self.tolerance.is_lost(*slot)) {
                self.slots.pop_front();
                self.unused.note(1);
            }
            let lead = lead + self.answers.lead();
            let early = (lead + round(lead, EARLY)).min(self.furthest);
            let near = Instant::now() + early;
            let ready = self.slots.iter().take(want).take_while(|slot| **slot <= near).count();
            if ready > 0 {
                return Ok(self.slots.drain(..ready).collect());
            }
            if let Some(next) = self.slots.front() {
                tokio::time::sleep_until((*next - early).into()).await;
                continue;
            }
            self.reserve(want.max(demand), lead, store, clock).await?;
        }
        Ok(Vec::new())
    }

    /// Slots that were taken and not needed.
    pub(super) fn put_back(&mut self, slots: impl DoubleEndedIterator<Item = Instant>) {
        if !self.is_open() {
            for slot in slots.rev() {
                self.slots.push_front(slot);
            }
        }
    }

    async fn reserve(&mut self, want: usize, lead: Duration, store: &dyn Store, clock: &Clock) -> Result<()> {
        let ask = Reserve {
            keys: self.keys.clone(),
            want: u32::try_from(want).unwrap_or(u32::MAX).max(1),
            lead: SignedDuration::try_from(lead).unwrap_or_default(),
            horizon: SignedDuration::try_from(lead + round(lead, HORIZON)).unwrap_or_default(),
            unused: self.unused.take(),
        };
        let asked = Instant::now();
        let reserved = store.reserve(&ask).await.inspect_err(|_| self.unused.note(ask.unused))?;
        clock.read(asked, Instant::now(), reserved.now);
        self.answers.note(asked.elapsed());
        self.tolerance.set(allowed(&self.rates, &reserved.recent));
        for slot in &reserved.slots {
            let at =
                clock.instant(*slot).max(self.last.map_or_else(Instant::now, |last| last + self.spacing));
            self.last = Some(at);
            self.slots.push_back(at);
        }
        if self.slots.is_empty() {
            let pause = match reserved.closed_until {
                // The day's share is used up: look again now and then, a limit may have been raised.
                Some(_) => Duration::from_secs(1),
                None => Duration::from_millis(20),
            };
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }
}

/// How long something takes: from getting a slot to sending, with rendering, `begin` and a machine that is busy. A worse
/// time counts at once, a better one little by little.
#[derive(Debug)]
pub(super) struct Lag {
    known: AtomicU64,
    /// What takes longer is no measure.
    most: Duration,
}

impl Lag {
    /// From a slot to its use, while nothing hangs. A slot that lies nearer than it takes is missed, and has to be
    /// exchanged.
    pub(super) fn of_a_lane() -> Self {
        Self { known: AtomicU64::new(0), most: Duration::from_millis(200) }
    }

    /// A ledger that answers more slowly than a slot is good for would give nothing but lost ones: the slots have to lie
    /// behind its answer, however slow. With its quarter on top this stays below what a first byte may take.
    fn of_the_ledger() -> Self {
        Self { known: AtomicU64::new(0), most: Duration::from_millis(350) }
    }

    pub(super) fn note(&self, took: Duration) {
        let took = u64::try_from(took.min(self.most).as_micros()).unwrap_or(u64::MAX);
        let known = self.known.load(Ordering::Relaxed);
        // Two at once may lose one another's little: the next one makes up for it.
        self.known.store(took.max(known - known.saturating_sub(took) / 64), Ordering::Relaxed);
    }

    /// How far ahead a slot must lie to be met: what was seen, and a quarter of it.
    pub(super) fn lead(&self) -> Duration {
        let known = self.known.load(Ordering::Relaxed);
        Duration::from_micros(known + known / 4)
    }
}

/// How long a round of slots lasts.
fn round(lead: Duration, least: Duration) -> Duration {
    lead.clamp(least, ROUND)
}

/// Slots that were handed out and that nobody could use: a limit that counts days forgets them with the next request.
#[derive(Debug, Default)]
pub(super) struct Unused(AtomicU32);

impl Unused {
    pub(super) fn note(&self, slots: u32) {
        self.0.fetch_add(slots, Ordering::Relaxed);
    }

    fn take(&self) -> u32 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// How late a slot may be met, in microseconds: the fuller the limit, the less.
#[derive(Debug, Default)]
pub(super) struct Tolerance(AtomicU64);

impl Tolerance {
    fn set(&self, most: Duration) {
        self.0.store(u64::try_from(most.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether a slot is so far past that sending now would come on top of what follows it.
    pub(super) fn is_lost(&self, slot: Instant) -> bool {
        slot + Duration::from_micros(self.0.load(Ordering::Relaxed)) < Instant::now()
    }
}

/// How late is not too late, where so many slots of each key were handed out in the last two seconds. Of a limit that is
/// half full only half as many come on top of what follows.
fn allowed(rates: &[Option<Rate>], recent: &[u64]) -> Duration {
    let most = rates.iter().zip(recent).filter_map(|(rate, recent)| {
        let Rate { count, seconds } = (*rate)?;
        #[expect(clippy::cast_precision_loss, reason = "a count, far below 2^53")]
        let full = (*recent as f64 * seconds / count).min(1.0);
        Duration::try_from_secs_f64(MISSED * seconds / full).ok()
    });
    most.fold(LATEST, Duration::min)
}

fn rate(limit: Limit) -> Option<Rate> {
    span(limit.per).map(|seconds| Rate { count: f64::from(limit.count.max(1)), seconds })
}

fn key(provider: &str, sender: Option<&str>, limit: Limit) -> GateKey {
    let who = match sender {
        Some(sender) if limit.per_sender => format!("{provider}/{sender}"),
        _ => provider.to_owned(),
    };
    let name = match limit.per {
        Period::Second => "second",
        Period::Minute => "minute",
        Period::Hour => "hour",
        Period::Day => "day",
    };
    let limit_of = match interval(limit) {
        Some(each) => GateLimit::Interval(each),
        None => GateLimit::Day(limit.count),
    };
    GateKey { key: format!("{who}/{name}"), limit: limit_of }
}

/// The distance between two sends; none for a limit that counts whole days.
fn interval(limit: Limit) -> Option<SignedDuration> {
    let Rate { count, seconds } = rate(limit)?;
    SignedDuration::try_from_secs_f64(seconds / (count * PACE)).ok()
}

/// In seconds; none for a limit that counts whole days.
fn span(period: Period) -> Option<f64> {
    match period {
        Period::Second => Some(1.0),
        Period::Minute => Some(60.0),
        Period::Hour => Some(3600.0),
        Period::Day => None,
    }
}

/// The second wall, inside this process: whatever the ledger said and however late a timer was, no more than the
/// limit passes it. What counts is the moment of sending, which the ledger does not see.
#[derive(Debug)]
pub(super) enum Wall {
    /// Exact over every sliding second: a token bucket with any burst lets one too many through after a pause.
    Second(Window),
    /// Over minutes and hours a token bucket is exact enough.
    Longer(DefaultDirectRateLimiter),
}

impl Wall {
    /// The walls of these limits.
    pub(super) fn all(limits: &[Limit]) -> Vec<Self> {
        limits.iter().filter_map(|limit| Self::of(*limit)).collect()
    }

    fn of(limit: Limit) -> Option<Self> {
        let count = NonZeroU32::new(limit.count)?;
        let bucket = |quota: Quota| Self::Longer(RateLimiter::direct(quota));
        match limit.per {
            Period::Second => Some(Self::Second(Window::new(limit.count))),
            Period::Minute => Some(bucket(Quota::per_minute(count))),
            Period::Hour => Some(bucket(Quota::per_hour(count))),
            Period::Day => None,
        }
    }

    /// Waits until one more may pass.
    pub(super) async fn pass(&self) {
        match self {
            Self::Second(window) => window.pass().await,
            Self::Longer(bucket) => bucket.until_ready().await,
        }
    }
}

/// The sends of the last second.
#[derive(Debug)]
pub(super) struct Window {
    count: usize,
    sent: Mutex<VecDeque<Instant>>,
}

impl Window {
    /// A little more than a second: the wire adds its own jitter.
    const SPAN: Duration = Duration::from_millis(1_002);

    fn new(count: u32) -> Self {
        Self { count: usize::try_from(count).unwrap_or(usize::MAX), sent: Mutex::default() }
    }

    async fn pass(&self) {
        while let Err(at) = self.try_pass(Instant::now()) {
            tokio::time::sleep_until(at.into()).await;
        }
    }

    fn try_pass(&self, now: Instant) -> Result<(), Instant> {
        let mut sent = self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while sent.front().is_some_and(|first| *first + Self::SPAN <= now) {
            sent.pop_front();
        }
        match sent.front() {
            Some(first) if sent.len() >= self.count => Err(*first + Self::SPAN),
            _ => {
                sent.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_holds_more_than_the_limit_however_they_come() {
        let window = Window::new(5);
        let start = Instant::now();
        let mut passed = Vec::new();
        for step in 0..4_000_u64 {
            // Bursts and pauses of uneven length.
            let at = start + Duration::from_millis(step + (step / 97) * 31);
            if window.try_pass(at).is_ok() {
                passed.push(at);
            }
        }
        assert!(passed.len() > 20);
        for (n, first) in passed.iter().enumerate() {
            let within = passed[n..].iter().take_while(|at| **at < *first + Duration::from_secs(1)).count();
            assert!(within <= 5, "{within}");
        }
    }

    #[test]
    fn what_takes_longer_counts_at_once_and_what_is_faster_little_by_little() {
        let lag = Lag::of_a_lane();
        let ms = Duration::from_millis;
        assert_eq!(lag.lead(), Duration::ZERO);
        lag.note(ms(40));
        assert_eq!(lag.lead(), ms(50));
        lag.note(ms(8));
        assert!(lag.lead() > ms(48) && lag.lead() < ms(50), "{:?}", lag.lead());
        for _ in 0..1_000 {
            lag.note(ms(8));
        }
        assert!(lag.lead() < ms(11), "{:?}", lag.lead());
        lag.note(Duration::from_secs(30));
        assert_eq!(lag.lead(), ms(250), "a ledger that hangs is no measure");
    }

    #[test]
    fn the_fuller_a_limit_is_the_less_late_a_slot_may_be_met() {
        let limit = |count, per| rate(Limit { count, per, per_sender: false });
        let ms = Duration::from_millis;
        let (second, minute) = (limit(500, Period::Second), limit(600, Period::Minute));
        for (rates, recent, most) in [
            (vec![second], vec![1_000], ms(6)),
            (vec![second], vec![500], ms(6)),
            (vec![second], vec![250], ms(12)),
            (vec![second], vec![25], ms(120)),
            (vec![second], vec![1], LATEST),
            (vec![second], vec![0], LATEST),
            (vec![minute], vec![20], LATEST),
            (vec![second, minute], vec![250, 20], ms(12)),
            (vec![limit(1, Period::Day)], vec![1], LATEST),
            (vec![], vec![], LATEST),
        ] {
            assert_eq!(allowed(&rates, &recent), most, "{recent:?}");
        }
    }

    #[test]
    fn a_limit_per_sender_has_a_key_per_sender() {
        let limit = Limit { count: 1, per: Period::Second, per_sender: true };
        assert_eq!(key("twilio", Some("+1312"), limit).key, "twilio/+1312/second");
        assert_eq!(key("twilio", Some("+1312"), Limit { per_sender: false, ..limit }).key, "twilio/second");
        let day = Limit { per: Period::Day, ..limit };
        assert_eq!(key("twilio", None, day).limit, GateLimit::Day(1));
    }
}
