//! One lane's view of the rate gate. The ledger hands out slots to all workers; this keeps those that were handed to
//! this lane and gives them to whoever is most urgent when they come up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::clock::Clock;
use crate::config::provider::{Limit, Period};
use crate::store::rows::{GateKey, GateLimit, Reserve, Reserved};
use crate::store::{Result, Store};

/// No slot is reserved further ahead than the lead and this: what a dying worker holds is soon past.
const HORIZON: Duration = Duration::from_millis(100);
/// Slots are given out this early, or earlier by the lead, so that what leaves together is written down together.
const EARLY: Duration = Duration::from_millis(80);
/// A slot of a full limit that was missed by more than this share of the limit's span (6 ms of a second) is thrown away,
/// up to the moment of sending. What leaves late comes on top of what follows it: with [`PACE`], all that leaves within
/// 20 ms of its slot keeps the limit in every second, whoever sends the rest; what is left of the 20 is for the wire.
const MISSED: f64 = 0.006;
/// However empty the limit, what is later than this is late.
const LATEST: Duration = Duration::from_millis(300);
/// The share of a limit that is used; the rest absorbs what timers and the wire add in jitter: at 50 a second 0.99
/// leaves 10 ms, which one late timer on a busy machine exceeds; 0.98 leaves 20.
const PACE: f64 = 0.98;

/// How often the rest of a text's slots is asked for.
const OWED_TRIES: u32 = 3;

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
    /// The gate of `provider`, for one `sender` where a limit counts senders apart.
    pub(super) fn new(provider: &str, sender: Option<&str>, limits: &[Limit]) -> Self {
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
            let early = lead + EARLY;
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

    /// Takes so many slots more for what leaves with those that it has, however far ahead they lie: nothing else leaves
    /// before them. Slots that are at hand are taken first.
    pub(super) async fn owe(&mut self, slots: usize, store: &dyn Store, clock: &Clock) -> Result<()> {
        let at_hand = slots.min(self.slots.len());
        self.slots.drain(..at_hand);
        let mut missing = u32::try_from(slots - at_hand).unwrap_or(u32::MAX);
        // Other lanes may have slots in front of these: the ledger gives as many as lie within the horizon.
        for _ in 0..OWED_TRIES {
            if missing == 0 {
                break;
            }
            let horizon = SignedDuration::try_from(self.spacing).unwrap_or_default()
                * (4 * missing.min(1_000)).cast_signed();
            let reserved = self.ask(missing, SignedDuration::ZERO, horizon, store).await?;
            self.last = reserved.slots.iter().map(|slot| clock.instant(*slot)).chain(self.last).max();
            missing = missing.saturating_sub(u32::try_from(reserved.slots.len()).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// How far apart slots lie.
    pub(super) fn spacing(&self) -> Duration {
        self.spacing
    }

    /// Asks the ledger for slots, and tells it of those that nobody could use.
    async fn ask(
        &self,
        want: u32,
        lead: SignedDuration,
        horizon: SignedDuration,
        store: &dyn Store,
    ) -> Result<Reserved> {
        let ask = Reserve { keys: self.keys.clone(), want, lead, horizon, unused: self.unused.take() };
        store.reserve(&ask).await.inspect_err(|_| self.unused.note(ask.unused))
    }

    async fn reserve(&mut self, want: usize, lead: Duration, store: &dyn Store, clock: &Clock) -> Result<()> {
        let want = u32::try_from(want).unwrap_or(u32::MAX).max(1);
        let span = |duration| SignedDuration::try_from(duration).unwrap_or_default();
        let asked = Instant::now();
        let reserved = self.ask(want, span(lead), span(lead + HORIZON), store).await?;
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
    /// From a slot to its use, while nothing hangs.
    pub(super) fn of_a_lane() -> Self {
        Self { known: AtomicU64::new(0), most: Duration::from_millis(80) }
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
/// limit passes it in any span, however it slides. What counts is the moment of sending, which the ledger does not see. (A
/// token bucket with any burst lets one too many through after a pause.)
#[derive(Debug)]
pub(super) struct Wall {
    count: usize,
    span: Duration,
    sent: Mutex<VecDeque<Instant>>,
}

impl Wall {
    /// A little more than the span: the wire adds its own jitter.
    const MORE: Duration = Duration::from_millis(2);

    /// The walls of these limits. Of whole days the ledger alone keeps count.
    pub(super) fn all(limits: &[Limit]) -> Vec<Self> {
        limits.iter().filter_map(|limit| Self::of(*limit)).collect()
    }

    fn of(limit: Limit) -> Option<Self> {
        let count = usize::try_from(limit.count).unwrap_or(usize::MAX);
        let span = Duration::from_secs_f64(span(limit.per).filter(|_| count > 0)?);
        Some(Self { count, span: span + Self::MORE, sent: Mutex::default() })
    }

    /// Waits until a text of so many segments may pass.
    pub(super) async fn pass(&self, segments: u32) {
        while let Err(at) = self.try_pass(segments, Instant::now()) {
            tokio::time::sleep_until(at.into()).await;
        }
    }

    /// A text of more segments than the limit has passes an empty span, and fills those that follow.
    fn try_pass(&self, segments: u32, now: Instant) -> Result<(), Instant> {
        let segments = usize::try_from(segments).unwrap_or(usize::MAX).max(1);
        let mut sent = self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while sent.front().is_some_and(|first| *first + self.span <= now) {
            sent.pop_front();
        }
        let too_many = (sent.len() + segments.min(self.count)).saturating_sub(self.count);
        if let Some(last) = too_many.checked_sub(1).and_then(|n| sent.get(n)) {
            return Err(*last + self.span);
        }
        let mut at = now;
        for n in 1..=segments {
            sent.push_back(at);
            if n.is_multiple_of(self.count) {
                at += self.span;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(count: u32, per: Period) -> Wall {
        Wall::of(Limit { count, per, per_sender: false }).unwrap()
    }

    #[test]
    fn no_span_holds_more_than_the_limit_however_they_come() {
        for (per, second) in [(Period::Second, 1), (Period::Minute, 60), (Period::Hour, 3_600)] {
            let wall = wall(5, per);
            let start = Instant::now();
            let mut passed = Vec::new();
            for step in 0..4_000_u64 {
                // Bursts and pauses of uneven length, and texts of one to three segments.
                let at = start + Duration::from_millis(step + (step / 97) * 31) * second;
                let segments = 1 + u32::try_from(step / 7 % 3).unwrap();
                if wall.try_pass(segments, at).is_ok() {
                    passed.extend(std::iter::repeat_n(at, usize::try_from(segments).unwrap()));
                }
            }
            assert!(passed.len() > 20);
            let span = Duration::from_secs(1) * second;
            for (n, first) in passed.iter().enumerate() {
                let within = passed[n..].iter().take_while(|at| **at < *first + span).count();
                assert!(within <= 5, "{within}");
            }
        }
    }

    #[test]
    fn a_text_of_more_segments_than_the_limit_has_leaves_and_is_paid_for() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        for (per, span) in [(Period::Second, ms(1_002)), (Period::Minute, ms(60_002))] {
            for (count, segments) in [(1, 2), (1, 5), (2, 3), (3, 7), (3, 3)] {
                let (wall, next) = (wall(count, per), start + span * (segments / count));
                assert_eq!(wall.try_pass(segments, start), Ok(()), "{segments} under {count}");
                assert_eq!(wall.try_pass(1, start), Err(next), "{segments} under {count}");
                assert_eq!(wall.try_pass(1, next), Ok(()), "{segments} under {count}");
            }
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
        assert_eq!(lag.lead(), ms(100), "a ledger that hangs is no measure");
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
