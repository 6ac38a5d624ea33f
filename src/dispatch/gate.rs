//! One lane's view of the rate gate. The ledger hands out slots to all workers; a keeper reserves as many as this lane
//! can use, ahead of time, and whoever is most urgent when they come up takes them. Nobody who waits for a slot waits for
//! the ledger.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tokio::sync::Notify;

use super::clock::Clock;
use crate::config::provider::{Limit, Period};
use crate::store::rows::{GateKey, GateLimit, Reserve, Reserved};
use crate::store::{Result, Store};

/// No slot is reserved further ahead than the lead and this: what a dying worker holds is soon past.
const HORIZON: Duration = Duration::from_millis(250);
/// Slots are given out so long before the lead begins ...
const NEXT: Duration = Duration::from_millis(20);
/// ... and with each all those that follow within this time: what leaves together is written down together.
const TOGETHER: Duration = Duration::from_millis(130);
/// The ledger is asked again no sooner and no later than this.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// A slot of a full limit that was missed by more than this share of the limit's span (6 ms of a second) is thrown away,
/// up to the moment of sending. What leaves late comes on top of what follows it: with [`PACE`], all that leaves within
/// 20 ms of its slot keeps the limit in every second, whoever sends the rest; what is left of the 20 is for the wire.
const MISSED: f64 = 0.006;
/// However empty the limit, what is later than this is late.
const LATEST: Duration = Duration::from_millis(300);
/// The share of a limit that is used; the rest absorbs what timers and the wire add in jitter: at 50 a second 0.99
/// leaves 10 ms, which one late timer on a busy machine exceeds; 0.98 leaves 20.
const PACE: f64 = 0.98;

/// How long it takes to make use of the first slot, in microseconds.
const AT_FIRST: u64 = 100_000;

/// How often the rest of a text's slots is asked for.
const OWED_TRIES: u32 = 3;

/// The limits of one lane.
#[derive(Debug)]
pub(super) struct Gate {
    keys: Vec<GateKey>,
    /// Of each key, how many a second.
    rates: Vec<Option<Rate>>,
    held: Mutex<Held>,
    /// Slots have come.
    filled: Notify,
    /// Somebody can use more.
    asked: Notify,
    /// How many slots are waited for ...
    wanted: AtomicUsize,
    /// ... and how many of them by what is ready to leave.
    missed: AtomicUsize,
    /// The distance between two slots.
    spacing: Duration,
    /// What is given out is begun, and has to leave soon after: no slot is given out earlier than this.
    furthest: Duration,
    /// How long the ledger takes to answer.
    answers: Lag,
    /// How long it takes to make use of a slot.
    pub(super) lag: Lag,
    tolerance: Tolerance,
    /// Slots that nobody could use.
    pub(super) unused: Unused,
}

/// What was handed to this lane.
#[derive(Debug, Default)]
struct Held {
    slots: VecDeque<Instant>,
    /// The last that was handed out: a correction of the clock never brings the next one nearer.
    last: Option<Instant>,
}

/// What there is for somebody who asks.
#[derive(Debug, PartialEq, Eq)]
enum Ready {
    Slots(Vec<Instant>),
    /// Not before this instant.
    At(Instant),
    Nothing,
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
            held: Mutex::default(),
            filled: Notify::new(),
            asked: Notify::new(),
            wanted: AtomicUsize::new(0),
            missed: AtomicUsize::new(0),
            spacing,
            furthest: first_byte - first_byte / 10,
            answers: Lag::of_the_ledger(),
            lag: Lag::of_a_lane(),
            tolerance: Tolerance::default(),
            unused: Unused::default(),
        }
    }

    /// Whether nothing limits this lane.
    pub(super) fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a message with this slot needs another.
    pub(super) fn has_missed(&self, slot: Instant) -> bool {
        !self.is_open() && self.tolerance.is_lost(slot)
    }

    /// Waits for at least one slot and gives up to `want`, none of them far ahead. Whoever takes many waits until they lie
    /// so near that the next ones are not worth waiting for; an urgent one takes what there is.
    pub(super) async fn take(&self, want: usize, urgent: bool) -> Vec<Instant> {
        if self.is_open() {
            return vec![Instant::now(); want];
        }
        let _wanted = Wanted::add(&self.wanted, want);
        loop {
            let filled = self.filled.notified();
            let wait = match self.ready(want, urgent) {
                Ready::Slots(slots) => {
                    self.asked.notify_one();
                    return slots;
                }
                Ready::At(at) => Some(at),
                Ready::Nothing => {
                    self.asked.notify_one();
                    None
                }
            };
            tokio::select! {
                () = super::until(wait) => {}
                () = filled => {}
            }
        }
    }

    fn ready(&self, want: usize, urgent: bool) -> Ready {
        let now = Instant::now();
        let early = (self.lag.lead() + NEXT).min(self.furthest);
        let near = now + (early + TOGETHER).min(self.furthest);
        let mut held = self.drop_lost();
        let Some(next) = held.slots.front() else { return Ready::Nothing };
        let from = if urgent { near } else { now + early };
        if *next > from {
            return Ready::At(now + (*next - from));
        }
        let many = held.slots.iter().take(want).take_while(|slot| **slot <= near).count();
        Ready::Slots(held.slots.drain(..many).collect())
    }

    /// Other slots for so many that were missed, the next ones, however near they lie; answers the last.
    pub(super) async fn exchange(&self, weight: u32) -> Instant {
        self.unused.note(weight);
        let many = usize::try_from(weight).unwrap_or(1);
        let _wanted = (Wanted::add(&self.wanted, many), Wanted::add(&self.missed, many));
        let mut missing = weight;
        loop {
            let filled = self.filled.notified();
            let mut last = None;
            {
                let mut held = self.drop_lost();
                while missing > 0
                    && let Some(slot) = held.slots.pop_front()
                {
                    last = Some(slot);
                    missing -= 1;
                }
            }
            self.asked.notify_one();
            match last.filter(|_| missing == 0) {
                Some(slot) => return slot,
                None => filled.await,
            }
        }
    }

    /// Slots that were taken and not needed.
    pub(super) fn put_back(&self, slots: impl Iterator<Item = Instant>) {
        if !self.is_open() {
            let mut held = self.held();
            held.slots.extend(slots);
            held.slots.make_contiguous().sort_unstable();
            drop(held);
            self.filled.notify_waiters();
        }
    }

    /// Takes so many slots more for what leaves with those that it has, however far ahead they lie: nothing else leaves
    /// before them. Slots that are at hand are taken first.
    pub(super) async fn owe(&self, slots: usize, store: &dyn Store, clock: &Clock) -> Result<()> {
        let at_hand = {
            let mut held = self.held();
            let at_hand = slots.min(held.slots.len());
            held.slots.drain(..at_hand);
            at_hand
        };
        let mut missing = u32::try_from(slots - at_hand).unwrap_or(u32::MAX);
        // Other lanes may have slots in front of these: the ledger gives as many as lie within the horizon.
        for _ in 0..OWED_TRIES {
            if missing == 0 {
                break;
            }
            let horizon = SignedDuration::try_from(self.spacing).unwrap_or_default()
                * (4 * missing.min(1_000)).cast_signed();
            let reserved = self.ask(missing, SignedDuration::ZERO, horizon, store).await?;
            let mut held = self.held();
            held.last = reserved.slots.iter().map(|slot| clock.instant(*slot)).chain(held.last).max();
            missing = missing.saturating_sub(u32::try_from(reserved.slots.len()).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// How far apart slots lie.
    pub(super) fn spacing(&self) -> Duration {
        self.spacing
    }

    /// How many slots lie so near that they are given out together; where nothing limits the lane, any number.
    pub(super) fn round(&self) -> usize {
        let spacing = self.spacing.as_micros().max(1);
        let many = if self.is_open() { u128::MAX } else { TOGETHER.as_micros().div_ceil(spacing) };
        usize::try_from(many).unwrap_or(usize::MAX)
    }

    /// Reserves slots ahead for whoever waits for some and for `more` that could use some; says when to look again.
    /// `None`: once somebody asks.
    ///
    /// # Errors
    /// The ledger is away.
    pub(super) async fn refill(
        &self,
        more: impl Fn(usize) -> usize,
        store: &dyn Store,
        clock: &Clock,
    ) -> Result<Option<Duration>> {
        let wanted = self.wanted.load(Ordering::Relaxed);
        let missing = (wanted + more(wanted)).saturating_sub(self.drop_lost().slots.len());
        let Some(want) = u32::try_from(missing).ok().filter(|missing| *missing > 0) else { return Ok(None) };
        // What is ready to leave has to leave soon.
        let ready = self.missed.load(Ordering::Relaxed) > 0;
        let ahead = self.answers.lead() + if ready { Duration::ZERO } else { self.lag.lead() };
        let span = |duration| SignedDuration::try_from(duration).unwrap_or_default();
        let asked = Instant::now();
        let reserved = self.ask(want, span(ahead), span(ahead + HORIZON), store).await?;
        let answered = Instant::now();
        clock.read(asked, answered, reserved.now);
        self.answers.note(answered - asked);
        self.tolerance.set(allowed(&self.rates, &reserved.recent));
        self.hold(&reserved, clock);
        if reserved.slots.len() >= missing {
            return Ok(Some(Duration::ZERO));
        }
        // The day's share is used up: look again now and then, a limit may have been raised.
        let next = reserved.closed_until.map_or(reserved.next, |_| reserved.now + span(AGAIN.1));
        let far = Duration::try_from(next.duration_since(reserved.now)).unwrap_or_default();
        Ok(Some(far.saturating_sub(ahead + HORIZON / 2).clamp(AGAIN.0, AGAIN.1)))
    }

    /// Resolves once somebody can use more slots than there are.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    fn hold(&self, reserved: &Reserved, clock: &Clock) {
        let mut held = self.held();
        for slot in &reserved.slots {
            let first = held.last.map_or_else(Instant::now, |last| last + self.spacing);
            let at = clock.instant(*slot).max(first);
            held.last = Some(at);
            held.slots.push_back(at);
        }
        drop(held);
        self.filled.notify_waiters();
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

    /// What is held, without what is past.
    fn drop_lost(&self) -> MutexGuard<'_, Held> {
        let mut held = self.held();
        while held.slots.front().is_some_and(|slot| self.tolerance.is_lost(*slot)) {
            held.slots.pop_front();
            self.unused.note(1);
        }
        held
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many slots are waited for, as long as this lives.
struct Wanted<'a> {
    all: &'a AtomicUsize,
    mine: usize,
}

impl<'a> Wanted<'a> {
    fn add(all: &'a AtomicUsize, mine: usize) -> Self {
        all.fetch_add(mine, Ordering::Relaxed);
        Self { all, mine }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.mine, Ordering::Relaxed);
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
    /// From a slot to its use, while nothing hangs. A slot that lies nearer than that is missed, and has to be exchanged. A
    /// worker that has just started is slow.
    pub(super) fn of_a_lane() -> Self {
        Self { known: AtomicU64::new(AT_FIRST), most: Duration::from_millis(200) }
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
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
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
        Wall::of(limit(count, per)).unwrap()
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

    fn gate(limits: &[Limit]) -> Gate {
        Gate::new("twilio", None, limits, Duration::from_millis(500))
    }

    fn limit(count: u32, per: Period) -> Limit {
        Limit { count, per, per_sender: false }
    }

    #[test]
    fn what_is_put_back_stands_in_its_order_whoever_had_it() {
        let gate = gate(&[limit(500, Period::Second)]);
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let at = |n: u64| start + ms(2 * n);
        gate.put_back((40..50).map(at));
        gate.put_back((55..60).map(at));
        gate.put_back((50..55).map(at));
        assert!(gate.held().slots.iter().copied().eq((40..60).map(at)));
    }

    #[test]
    fn slots_are_given_out_together_when_the_first_is_near_and_at_once_to_who_is_urgent() {
        let gate = gate(&[limit(500, Period::Second)]);
        for _ in 0..2_000 {
            gate.lag.note(Duration::ZERO);
        }
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let far = |n: u64| start + ms(100 + 2 * n);
        gate.put_back((0..200).map(far));
        assert!(matches!(gate.ready(500, false), Ready::At(at) if at >= start + ms(60)));
        let Ready::Slots(urgent) = gate.ready(3, true) else { panic!("the next ones") };
        assert_eq!(urgent, [far(0), far(1), far(2)]);
        // Near enough now, and as many as are written down together.
        gate.put_back((0..100).map(|n| Instant::now() + ms(10) + ms(2) * n));
        let Ready::Slots(many) = gate.ready(500, false) else { panic!("the first is near") };
        assert!((65..=105).contains(&many.len()), "{}", many.len());
        assert!(matches!(gate.ready(500, false), Ready::At(_)));
    }

    #[tokio::test]
    async fn a_missed_slot_is_exchanged_for_the_next_that_is_held() {
        let gate = gate(&[limit(500, Period::Second)]);
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let lost = start.checked_sub(ms(400)).unwrap();
        gate.put_back([lost, start + ms(300), start + ms(200)].into_iter());
        assert_eq!(gate.exchange(1).await, start + ms(200));
        assert_eq!(gate.unused.take(), 2, "what was missed, and what was past");
        assert_eq!(gate.exchange(1).await, start + ms(300));
        gate.put_back([start + ms(300), start + ms(250), start + ms(320)].into_iter());
        assert_eq!(gate.exchange(2).await, start + ms(300), "of several the last");
        let nothing = tokio::time::timeout(ms(20), gate.exchange(2));
        assert!(nothing.await.is_err());
    }

    #[test]
    fn so_many_are_given_out_together() {
        for (limits, round) in [
            (vec![limit(500, Period::Second)], 64),
            (vec![limit(500, Period::Second), limit(1, Period::Minute)], 1),
            (vec![limit(1, Period::Hour)], 1),
            (vec![limit(7, Period::Day)], 130_000),
            (vec![], usize::MAX),
        ] {
            assert_eq!(gate(&limits).round(), round, "{limits:?}");
        }
    }

    #[test]
    fn what_takes_longer_counts_at_once_and_what_is_faster_little_by_little() {
        let lag = Lag::of_a_lane();
        let ms = Duration::from_millis;
        assert_eq!(lag.lead(), ms(125));
        for _ in 0..1_000 {
            lag.note(Duration::ZERO);
        }
        assert!(lag.lead() < ms(1), "{:?}", lag.lead());
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
        let limit = |count, per| rate(limit(count, per));
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
