//! One lane's view of the rate gate. The ledger gives slots to all workers; a keeper reserves as many as this lane can use,
//! ahead of time. What is rendered waits for a permit, the promise of a slot that is near; what stands in the ledger as
//! begun waits in line, and each slot goes, at its moment, to whoever is first; while little of the limit is used, at once. So
//! nothing is bound to a slot that passes meanwhile, what is urgent goes before all that is begun already, and nobody waits
//! for the ledger.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::clock::Clock;
use super::pace::{Allowed, Lag, Tolerance, allowed};
use crate::config::provider::{Limit, Period};
use crate::store::rows::{GateKey, GateLimit, Reserve, Reserved};
use crate::store::{Result, Store};

/// No slot is reserved further ahead than this, by nobody: a slow worker gets no more of a limit than a fast one, and what
/// a dying one holds is soon past.
const HORIZON: Duration = Duration::from_millis(500);
/// ... but by a ledger that is slow, and then no further than this.
const FURTHEST: Duration = Duration::from_millis(750);
/// Permits are given so long before the lead begins ...
const NEXT: Duration = Duration::from_millis(20);
/// ... and with each all those whose slots follow within this time: what leaves together is written down together.
const TOGETHER: Duration = Duration::from_millis(130);
/// Slots are asked for when so many have come within the horizon.
const GATHER: Duration = Duration::from_millis(100);
/// The ledger is asked again no sooner and no later than this.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How often it is looked whether a day that was used up has something left.
const DAY_LOOK: Duration = Duration::from_secs(30);
/// The share of a limit that is used; the rest absorbs what timers and the wire add in jitter: at 50 a second 0.99
/// leaves 10 ms, which one late timer on a busy machine exceeds; 0.98 leaves 20.
pub(super) const PACE: f64 = 0.98;

/// A text of several segments waits so long for the slots of all of them.
const NEAR: Duration = Duration::from_secs(5);
/// How often slots for the rest of a text are asked for.
const PAY_TRIES: u32 = 3;

/// The limits of one lane.
#[derive(Debug)]
pub(super) struct Gate {
    keys: Vec<GateKey>,
    /// Of each key, how many a second.
    rates: Vec<Option<Rate>>,
    held: Mutex<Held>,
    /// Slots or promises have come free.
    filled: Notify,
    /// Somebody can use more.
    asked: Notify,
    /// Somebody in line has none.
    late: Notify,
    /// Somebody has come into the line, or slots for those in it.
    moved: Notify,
    /// So many slots are waited for by whoever has no promise yet.
    wanted: AtomicUsize,
    /// The distance between two slots.
    spacing: Duration,
    /// What has its permit is begun, and has to leave soon after: no permit is given earlier than this.
    furthest: Duration,
    /// How long the ledger takes to answer.
    answers: Lag,
    /// How long it takes from the permit until it is begun.
    lag: Lag,
    tolerance: Tolerance,
    /// Slots that nobody could use: a limit that counts days forgets them with the next request.
    unused: AtomicU32,
    /// The day's share is used up until then.
    closed_until: watch::Sender<Option<Instant>>,
}

/// What was handed to this lane.
#[derive(Debug, Default)]
struct Held {
    slots: VecDeque<Given>,
    /// So many of them are promised, or of those that come.
    urgent: Class,
    others: Class,
    /// The last that was handed out: a correction of the clock never brings the next one nearer.
    last: Option<Instant>,
}

/// A slot, and from when on it may be used.
#[derive(Clone, Copy, Debug)]
struct Given {
    at: Instant,
    opens: Instant,
}

/// Those who are served alike, and after one another.
#[derive(Debug, Default)]
struct Class {
    promised: usize,
    line: VecDeque<Waiter>,
}

/// One text that stands in the ledger as begun, and leaves with the next slot.
#[derive(Debug)]
struct Waiter {
    latest: Instant,
    to: oneshot::Sender<Slot>,
}

impl Held {
    fn class(&mut self, urgent: bool) -> &mut Class {
        if urgent { &mut self.urgent } else { &mut self.others }
    }

    /// A slot that has come, where nobody stands in front of one of that class.
    fn at_hand(&mut self, urgent: bool, latest: Instant) -> Option<Given> {
        let is_first = self.urgent.line.is_empty() && (urgent || self.others.line.is_empty());
        let now = Instant::now();
        self.slots.pop_front_if(|slot| is_first && slot.opens <= now && slot.opens <= latest)
    }

    /// Before whom somebody of that class is not served.
    fn promised(&self, urgent: bool) -> usize {
        if urgent { self.urgent.promised } else { self.urgent.promised + self.others.promised }
    }
}

/// What there is for somebody who asks.
#[derive(Debug, PartialEq, Eq)]
enum Ready {
    Slots(usize),
    /// Not before this instant.
    At(Instant),
    Nothing,
}

/// A limit as a rate: so many in so long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) count: f64,
    pub(super) seconds: f64,
}

/// The promise of so many slots, the next ones. Dropped, others have them.
#[derive(Debug)]
pub(super) struct Permit {
    gate: Arc<Gate>,
    many: usize,
    /// Slots that were taken for what leaves with the next one: each segment beyond the first takes one.
    paid: usize,
    urgent: bool,
    /// No slots were taken for it yet.
    stands: bool,
}

/// What was paid for a text beside the slot with which it leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paid {
    /// Nothing is missing that would come.
    pub(super) is_all: bool,
    /// When the last of it comes.
    pub(super) last: Option<Instant>,
}

/// A slot that has come, with those that were paid beside it. Dropped unused, whole days forget them.
#[derive(Debug)]
pub(super) struct Slot {
    gate: Arc<Gate>,
    at: Instant,
    many: usize,
}

impl Permit {
    /// How many texts may leave with it, of one segment each.
    pub(super) fn many(&self) -> usize {
        self.many
    }

    /// A part of it.
    pub(super) fn split(&mut self, many: usize) -> Self {
        let many = many.min(self.many);
        self.many -= many;
        Self { gate: self.gate.clone(), many, paid: 0, urgent: self.urgent, stands: self.stands }
    }

    /// Takes slots for the other segments of a text of this weight, of those that nobody was promised, however far ahead they
    /// lie. Nothing else leaves with them.
    pub(super) async fn pay(&mut self, weight: usize, store: &dyn Store, clock: &Clock) -> Result<Paid> {
        let gate = self.gate.clone();
        let slots = weight - 1;
        let mut last = gate.take_at_hand(slots, &mut self.paid);
        let mut is_closed = false;
        for _ in 0..PAY_TRIES {
            let missing = u32::try_from(slots.saturating_sub(self.paid)).unwrap_or(u32::MAX);
            if missing == 0 || is_closed {
                break;
            }
            // Others may have all that lie within their horizon, and the ledger looks no further ahead than a hundred.
            let span = |duration| SignedDuration::try_from(duration).unwrap_or_default();
            let horizon = span(FURTHEST) + span(gate.spacing) * (4 * missing.min(25)).cast_signed();
            let reserved = gate.ask(missing, SignedDuration::ZERO, horizon, store).await?;
            self.paid += reserved.slots.len();
            last = reserved.slots.iter().map(|slot| clock.instant(*slot)).chain(last).max();
            is_closed = reserved.closed_until.is_some();
            let mut held = gate.held();
            held.last = held.last.max(last);
        }
        let is_all = self.paid >= slots || is_closed || !gate.fits(weight);
        Ok(Paid { is_all, last })
    }

    /// Waits until a slot is near, with which what was paid for leaves.
    pub(super) async fn renew(&mut self) {
        let mut one = self.gate.permit(1, self.urgent).await;
        one.paid = std::mem::take(&mut self.paid);
        *self = one;
    }

    /// Waits for as many slots as it is good for; for others, where those that it had were missed. `None`: the last lies later
    /// than `latest`.
    pub(super) async fn slot(&mut self, latest: Instant) -> Option<Slot> {
        let many = self.many;
        let mut more: Vec<Self> = (1..many).map(|_| self.split(1)).collect();
        let others = join_all(more.iter_mut().map(|one| one.next(latest)));
        let (slot, others) = tokio::join!(self.next(latest), others);
        let mut slot = slot?;
        for other in others {
            let mut other = other?;
            slot.at = slot.at.max(other.at);
            slot.many += std::mem::take(&mut other.many);
        }
        self.many = many;
        Some(slot)
    }

    async fn next(&mut self, latest: Instant) -> Option<Slot> {
        let gate = &self.gate;
        if gate.is_open() || self.many == 0 {
            return Some(Slot { gate: gate.clone(), at: Instant::now(), many: 0 });
        }
        let (to, slot) = oneshot::channel();
        {
            let mut held = gate.drop_lost();
            let stands = self.stands;
            if let Some(Given { at, .. }) = held.at_hand(self.urgent, latest) {
                self.stands = false;
                let class = held.class(self.urgent);
                class.promised = class.promised.saturating_sub(usize::from(stands));
                return Some(Slot { gate: gate.clone(), at, many: 1 });
            }
            let class = held.class(self.urgent);
            let waiter = Waiter { latest, to };
            if std::mem::replace(&mut self.stands, true) {
                class.line.push_back(waiter);
            } else {
                // It has waited before.
                class.promised += 1;
                class.line.push_front(waiter);
            }
        }
        gate.moved.notify_one();
        let slot = tokio::time::timeout_at(latest, slot).await.ok()?.ok()?;
        self.stands = false;
        Some(slot)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.was_unused(self.paid);
        if self.stands && self.many > 0 && !self.gate.is_open() {
            let mut held = self.gate.held();
            let class = held.class(self.urgent);
            class.promised = class.promised.saturating_sub(self.many);
            drop(held);
            self.gate.filled.notify_waiters();
        }
    }
}

impl Slot {
    /// Whether it is so far past that another is needed.
    pub(super) fn is_missed(&self) -> bool {
        !self.gate.is_open() && self.gate.tolerance.is_lost(self.at)
    }

    /// With those that were paid beside it.
    pub(super) fn with_paid(mut self, permit: &mut Permit) -> Self {
        self.many += std::mem::take(&mut permit.paid);
        self
    }

    /// What it was taken for leaves.
    pub(super) fn use_up(mut self) {
        self.many = 0;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.gate.was_unused(self.many);
    }
}

impl Gate {
    /// The gate of `provider`, for one `sender` where a limit counts senders apart; what has begun leaves within
    /// `first_byte`.
    pub(super) fn new(
        provider: &str,
        sender: Option<&str>,
        limits: &[Limit],
        first_byte: Duration,
    ) -> Arc<Self> {
        let keys = limits.iter().map(|limit| key(provider, sender, *limit)).collect();
        let spacing = limits.iter().filter_map(|limit| interval(*limit)).max();
        let spacing = spacing.and_then(|each| Duration::try_from(each).ok()).unwrap_or_default();
        let furthest = first_byte - first_byte / 10;
        Arc::new(Self {
            keys,
            rates: limits.iter().map(|limit| rate(*limit)).collect(),
            held: Mutex::default(),
            filled: Notify::new(),
            asked: Notify::new(),
            late: Notify::new(),
            wanted: AtomicUsize::new(0),
            moved: Notify::new(),
            spacing,
            furthest,
            answers: Lag::of_the_ledger(),
            lag: Lag::of_a_lane(furthest),
            tolerance: Tolerance::default(),
            unused: AtomicU32::new(0),
            closed_until: watch::Sender::default(),
        })
    }

    /// The keys that count whole days, each with how many it allows.
    pub(super) fn days(&self) -> impl Iterator<Item = (&str, u32)> {
        self.keys.iter().filter_map(|key| match key.limit {
            GateLimit::Day(count) => Some((key.key.as_str(), count)),
            GateLimit::Interval(_) => None,
        })
    }

    /// Whether nothing limits this lane.
    pub(super) fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Until when nothing leaves any more, as the day's share is used up.
    pub(super) fn closed_until(&self) -> Option<Instant> {
        self.closed_until.borrow().filter(|until| *until > Instant::now())
    }

    /// Resolves once the day's share is used up.
    pub(super) async fn closes(&self) {
        let is_to_come = |until: &Option<Instant>| until.is_some_and(|until| until > Instant::now());
        // It never ends before the gate does.
        let _ = self.closed_until.subscribe().wait_for(is_to_come).await;
    }

    /// Waits until at least one slot is near and promises up to `want`. Whoever wants many waits until they lie so near
    /// that the next ones are not worth waiting for; an urgent one takes what there is.
    pub(super) async fn permit(self: &Arc<Self>, want: usize, urgent: bool) -> Permit {
        let permit = |many| Permit { gate: self.clone(), many, paid: 0, urgent, stands: true };
        if self.is_open() {
            return permit(want);
        }
        let _wanted = Counted::add(&self.wanted, want);
        loop {
            let filled = self.filled.notified();
            let ready = self.promise(want, urgent);
            let wait = match ready {
                Ready::Slots(many) => {
                    self.asked.notify_one();
                    return permit(many);
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

    fn promise(&self, want: usize, urgent: bool) -> Ready {
        let now = Instant::now();
        let early = (self.lag.lead() + NEXT).min(self.furthest);
        let near = now + (early + TOGETHER).min(self.furthest);
        let mut held = self.drop_lost();
        let before = held.promised(urgent);
        let Some(next) = held.slots.get(before).map(|slot| slot.opens) else { return Ready::Nothing };
        let from = if urgent { near } else { now + early };
        if next > from {
            return Ready::At(now + (next - from));
        }
        let free = held.slots.iter().skip(before);
        let many = free.take(want).take_while(|slot| slot.opens <= near).count();
        held.class(urgent).promised += many;
        Ready::Slots(many)
    }

    /// Hands out slots, each at its moment.
    pub(super) async fn hand_out(self: &Arc<Self>) {
        loop {
            let next = self.serve();
            tokio::select! {
                () = super::until(next) => {}
                () = self.moved.notified() => {}
            }
        }
    }

    /// Serves whoever is first while slots have come; says when the next one does.
    fn serve(self: &Arc<Self>) -> Option<Instant> {
        let now = Instant::now();
        let mut held = self.drop_lost();
        loop {
            let urgent = !held.urgent.line.is_empty();
            let first = held.class(urgent).line.front()?;
            let (latest, gone) = (first.latest, first.to.is_closed());
            let next = held.slots.front().copied().filter(|_| !gone);
            match next {
                None if !gone => {
                    self.late.notify_one();
                    return None;
                }
                Some(slot) if now < slot.opens && slot.opens <= latest => return Some(slot.opens),
                _ => {}
            }
            let first = held.class(urgent).line.pop_front()?;
            // Who is not served by now is too late, and learns it so.
            if let Some(Given { at, .. }) = next.filter(|slot| slot.opens <= latest) {
                let gate = self.clone();
                held.slots.pop_front();
                if first.to.send(Slot { gate, at, many: 1 }).is_ok() {
                    // Whoever gives up at this very moment has counted itself off already.
                    let class = held.class(urgent);
                    class.promised = class.promised.saturating_sub(1);
                }
            }
        }
    }

    /// What got its permit at `since` is begun.
    pub(super) fn begun(&self, since: Instant) {
        self.lag.note(since.elapsed());
    }

    /// Takes slots that nobody was promised, until so many are paid; answers when the last of them comes.
    fn take_at_hand(&self, slots: usize, paid: &mut usize) -> Option<Instant> {
        let mut held = self.drop_lost();
        let promised = held.promised(false).min(held.slots.len());
        let many = slots.saturating_sub(*paid).min(held.slots.len() - promised);
        *paid += many;
        held.slots.drain(promised..promised + many).next_back().map(|slot| slot.opens)
    }

    /// Whether the slots of such a text lie too far apart to be promised together, and near enough to wait for the last.
    pub(super) fn spreads(&self, weight: usize) -> bool {
        self.between(weight) > self.furthest / 4 && self.is_waited_for(weight)
    }

    /// Whether it leaves with the last of its slots. A text of more segments than the limit has leaves with its first: no
    /// span has room for it.
    pub(super) fn is_waited_for(&self, weight: usize) -> bool {
        !self.is_far(weight) && self.fits(weight)
    }

    /// Whether a span of each limit has room for such a text.
    fn fits(&self, weight: usize) -> bool {
        let fits = |rate: &Rate| u32::try_from(weight).is_ok_and(|weight| f64::from(weight) <= rate.count);
        self.rates.iter().flatten().all(fits)
    }

    /// Whether they lie so far apart that nobody waits for the last.
    pub(super) fn is_far(&self, weight: usize) -> bool {
        self.between(weight) > NEAR
    }

    /// From the first slot of such a text to the last.
    fn between(&self, weight: usize) -> Duration {
        self.time_of(weight.saturating_sub(1))
    }

    /// Whether slots are promised to somebody urgent.
    pub(super) fn is_pressed(&self) -> bool {
        self.held().urgent.promised > 0
    }

    /// The time in which so many slots come.
    pub(super) fn time_of(&self, slots: usize) -> Duration {
        self.spacing.saturating_mul(u32::try_from(slots).unwrap_or(u32::MAX))
    }

    fn was_unused(&self, slots: usize) {
        self.unused.fetch_add(u32::try_from(slots).unwrap_or(u32::MAX), Ordering::Relaxed);
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
        more: usize,
        store: &dyn Store,
        clock: &Clock,
    ) -> Result<Option<Duration>> {
        let (missing, overdue) = {
            let held = self.drop_lost();
            let wanted = self.wanted.load(Ordering::Relaxed) + held.promised(false) + more;
            let in_line = held.urgent.line.len() + held.others.line.len();
            (wanted.saturating_sub(held.slots.len()), in_line > held.slots.len())
        };
        let Some(want) = u32::try_from(missing).ok().filter(|missing| *missing > 0) else {
            return self.look_at_the_day(store, clock).await;
        };
        // What is in line is ready to leave.
        let ahead = self.answers.lead() + if overdue { Duration::ZERO } else { self.lag.lead() };
        let ahead = ahead.min(FURTHEST - TOGETHER);
        let horizon = HORIZON.max(ahead + TOGETHER).min(FURTHEST);
        let span = |duration| SignedDuration::try_from(duration).unwrap_or_default();
        let asked = Instant::now();
        let reserved = self.ask(want, span(ahead), span(horizon), store).await?;
        let answered = Instant::now();
        clock.read(asked, answered, reserved.now);
        self.answers.note(answered - asked);
        let Allowed { late, early } = allowed(&self.rates, &reserved.recent);
        self.tolerance.set(late);
        self.hold(&reserved, early, clock);
        self.closed_until.send_replace(reserved.closed_until.map(|until| clock.instant(until)));
        if reserved.slots.len() >= missing {
            return Ok(Some(Duration::ZERO));
        }
        if reserved.closed_until.is_some() {
            return Ok(Some(AGAIN.1));
        }
        let far = Duration::try_from(reserved.next.duration_since(reserved.now)).unwrap_or_default();
        Ok(Some((far + GATHER).saturating_sub(horizon).clamp(AGAIN.0, AGAIN.1)))
    }

    /// Where the day's share is used up nobody asks: what could not be used comes back now and then, here and elsewhere.
    async fn look_at_the_day(&self, store: &dyn Store, clock: &Clock) -> Result<Option<Duration>> {
        if self.closed_until().is_none() {
            return Ok(None);
        }
        let told = self.ask(0, SignedDuration::ZERO, SignedDuration::ZERO, store).await?;
        self.closed_until.send_replace(told.closed_until.map(|until| clock.instant(until)));
        Ok(Some(DAY_LOOK))
    }

    /// Resolves once somebody can use more slots than there are.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Resolves once somebody in line has no slot.
    pub(super) async fn late(&self) {
        self.late.notified().await;
        tokio::time::sleep(AGAIN.0).await;
    }

    /// Nothing leaves any more: limits that count days forget what is held.
    ///
    /// # Errors
    /// The ledger is away.
    pub(super) async fn close(&self, store: &dyn Store) -> Result<()> {
        let held = std::mem::take(&mut self.held().slots).len();
        self.was_unused(held);
        let counts_days = self.keys.iter().any(|key| matches!(key.limit, GateLimit::Day(_)));
        if counts_days && self.unused.load(Ordering::Relaxed) > 0 {
            self.ask(0, SignedDuration::ZERO, SignedDuration::ZERO, store).await?;
        }
        Ok(())
    }

    /// Keeps what was reserved, to be used at its moment or as `early` as now.
    fn hold(&self, reserved: &Reserved, early: bool, clock: &Clock) {
        let now = Instant::now();
        let mut held = self.held();
        for slot in &reserved.slots {
            let first = held.last.map_or_else(Instant::now, |last| last + self.spacing);
            let at = clock.instant(*slot).max(first);
            held.last = Some(at);
            let before = held.slots.back().map_or(now, |slot| slot.opens);
            held.slots.push_back(Given { at, opens: if early { before } else { at } });
        }
        drop(held);
        self.filled.notify_waiters();
        self.moved.notify_one();
    }

    /// Asks the ledger for slots, and tells it of those that nobody could use.
    async fn ask(
        &self,
        want: u32,
        lead: SignedDuration,
        horizon: SignedDuration,
        store: &dyn Store,
    ) -> Result<Reserved> {
        let mut untold = Untold { gate: self, many: self.unused.swap(0, Ordering::Relaxed) };
        let ask = Reserve { keys: self.keys.clone(), want, lead, horizon, unused: untold.many };
        let told = store.reserve(&ask).await?;
        untold.many = 0;
        Ok(told)
    }

    /// What is held, without what is past.
    fn drop_lost(&self) -> MutexGuard<'_, Held> {
        let mut held = self.held();
        while held.slots.front().is_some_and(|slot| self.tolerance.is_lost(slot.at)) {
            held.slots.pop_front();
            self.was_unused(1);
        }
        held
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Slots that nobody used, and of which the ledger was not told, as whoever asked it may have given up.
struct Untold<'a> {
    gate: &'a Gate,
    many: u32,
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        self.gate.unused.fetch_add(self.many, Ordering::Relaxed);
    }
}

/// So many are counted there, as long as this lives.
struct Counted<'a> {
    all: &'a AtomicUsize,
    mine: usize,
}

impl<'a> Counted<'a> {
    fn add(all: &'a AtomicUsize, mine: usize) -> Self {
        all.fetch_add(mine, Ordering::Relaxed);
        Self { all, mine }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.mine, Ordering::Relaxed);
    }
}

pub(super) fn rate(limit: Limit) -> Option<Rate> {
    span(limit.per).map(|seconds| Rate { count: f64::from(limit.count.max(1)), seconds })
}

fn key(provider: &str, sender: Option<&str>, limit: Limit) -> GateKey {
    let who = match sender {
        Some(sender) if limit.per_sender => format!("{provider}/{sender}"),
        // The service chooses among its own.
        None if limit.per_sender => format!("{provider}/any"),
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
pub(super) fn span(period: Period) -> Option<f64> {
    match period {
        Period::Second => Some(1.0),
        Period::Minute => Some(60.0),
        Period::Hour => Some(3600.0),
        Period::Day => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn gate(limits: &[Limit]) -> Arc<Gate> {
        Gate::new("twilio", None, limits, 500 * MS)
    }

    fn limit(count: u32, per: Period) -> Limit {
        Limit { count, per, per_sender: false }
    }

    /// A gate of 500 a second that is quick to begin, with slots in so many milliseconds.
    fn holding(slots: impl IntoIterator<Item = i64>) -> (Arc<Gate>, Instant) {
        let gate = gate(&[limit(500, Period::Second)]);
        for _ in 0..20_000 {
            gate.lag.note(Duration::ZERO);
        }
        gate.tolerance.set(200 * MS);
        let start = Instant::now();
        give(&gate, start, slots);
        (gate, start)
    }

    fn give(gate: &Gate, start: Instant, slots: impl IntoIterator<Item = i64>) {
        let given = |ms| Given { at: at(start, ms), opens: at(start, ms) };
        gate.held().slots.extend(slots.into_iter().map(given));
        gate.filled.notify_waiters();
        gate.moved.notify_one();
    }

    /// Slots, and how many are promised.
    fn holds(gate: &Gate) -> (usize, usize) {
        let held = gate.held();
        (held.slots.len(), held.promised(false))
    }

    fn at(start: Instant, ms: i64) -> Instant {
        let far = MS * u32::try_from(ms.abs()).unwrap();
        if ms < 0 { start.checked_sub(far).unwrap() } else { start + far }
    }

    #[test]
    fn slots_are_promised_together_when_the_first_is_near_and_at_once_to_who_is_urgent() {
        let (gate, start) = holding((0..200).map(|n| 100 + 2 * n));
        assert!(matches!(gate.promise(500, false), Ready::At(at) if at >= start + 60 * MS));
        assert_eq!(gate.promise(3, true), Ready::Slots(3));
        // Near enough now, and as many as are written down together.
        let (gate, _) = holding((0..100).map(|n| 10 + 2 * n));
        let Ready::Slots(many) = gate.promise(500, false) else { panic!("the first is near") };
        assert!((60..=80).contains(&many), "{many}");
        assert!(matches!(gate.promise(500, false), Ready::At(_)), "what is promised is promised once");
        assert_eq!(gate.promise(2, true), Ready::Slots(2), "others wait longer for whoever is urgent");
    }

    /// What came of a text that waits in line until so many milliseconds after the start.
    fn waits(mut permit: Permit, start: Instant, ms: i64) -> tokio::task::JoinHandle<Option<Instant>> {
        tokio::spawn(async move {
            let slot = permit.slot(at(start, ms)).await?;
            let at = slot.at;
            slot.use_up();
            Some(at)
        })
    }

    #[tokio::test]
    async fn each_slot_goes_at_its_moment_to_whoever_is_first_and_the_urgent_are_first() {
        let (gate, start) = holding([40, 42, 44, 46, 48]);
        let mut all = gate.permit(5, false).await;
        let (one, two, dropped) = (all.split(1), all.split(1), all.split(1));
        let urgent = gate.permit(1, true).await;
        assert_eq!((all.many(), gate.held().promised(false)), (2, 6));
        let lines = [waits(one, start, 400), waits(two, start, 400), waits(urgent, start, 400)];
        drop(dropped);
        let hands = tokio::spawn({
            let gate = gate.clone();
            async move { gate.hand_out().await }
        });
        let mut left = Vec::new();
        for line in lines {
            left.push(line.await.unwrap().unwrap());
        }
        assert_eq!(left, [at(start, 42), at(start, 44), at(start, 40)]);
        assert!(start.elapsed() >= 44 * MS);
        assert_eq!(holds(&gate), (2, 2));
        assert_eq!(gate.unused.load(Ordering::Relaxed), 0);
        hands.abort();
    }

    #[tokio::test]
    async fn a_text_of_several_segments_leaves_with_the_last_of_its_slots() {
        let (gate, start) = holding([10, 30, 50, 70, 90]);
        let mut all = gate.permit(5, false).await;
        let lines = [waits(all.split(2), start, 400), waits(all.split(2), start, 400), waits(all, start, 20)];
        let hands = tokio::spawn({
            let gate = gate.clone();
            async move { gate.hand_out().await }
        });
        let mut left = Vec::new();
        for line in lines {
            left.push(line.await.unwrap());
        }
        assert_eq!(left, [Some(at(start, 30)), Some(at(start, 70)), None], "the last one could not wait");
        assert!(start.elapsed() >= 70 * MS);
        assert_eq!(holds(&gate), (1, 0));
        hands.abort();
    }

    #[tokio::test]
    async fn a_slot_that_has_come_is_taken_by_whoever_is_first_without_a_hand() {
        let (gate, start) = holding([-4, -2, 0, 60_000]);
        let mut all = gate.permit(3, false).await;
        let (mut one, mut urgent) = (all.split(1), gate.permit(1, true).await);
        assert_eq!(one.slot(start + 400 * MS).await.unwrap().at, at(start, -4));
        assert_eq!((one.stands, holds(&gate)), (false, (3, 3)));
        // Whoever stands in line is in front of all but the urgent.
        let (to, _first) = oneshot::channel();
        gate.held().others.line.push_back(Waiter { latest: start + 400 * MS, to });
        assert!(all.slot(Instant::now() + 20 * MS).await.is_none());
        assert_eq!(urgent.slot(start + 400 * MS).await.unwrap().at, at(start, -2));
    }

    #[tokio::test]
    async fn while_little_of_the_limit_is_used_nobody_waits_for_the_moment_of_a_slot() {
        let (gate, start) = holding([]);
        let (clock, now) = (Clock::default(), jiff::Timestamp::UNIX_EPOCH);
        clock.read(start, start, now);
        let reserve = |ms: [i64; 2], early| {
            let slots = ms.map(|ms| now + SignedDuration::from_millis(ms)).to_vec();
            let reserved = Reserved { slots, recent: vec![2], closed_until: None, next: now, now };
            gate.hold(&reserved, early, &clock);
        };
        reserve([300, 302], true);
        reserve([340, 342], false);
        reserve([344, 346], true);
        let mut all = gate.permit(6, false).await;
        assert_eq!(all.many(), 2, "the others lie behind a slot whose moment counts");
        let lines = [waits(all.split(1), start, 100), waits(all, start, 100)];
        let hands = tokio::spawn({
            let gate = gate.clone();
            async move { gate.hand_out().await }
        });
        for line in lines {
            // It is theirs until the slot is past, and they are gone before it comes.
            assert!(line.await.unwrap().unwrap() > at(start, 250));
        }
        assert!(start.elapsed() < 250 * MS);
        assert_eq!(holds(&gate), (4, 0));
        hands.abort();
    }

    #[tokio::test]
    async fn a_missed_slot_is_exchanged_and_nobody_waits_for_one_that_is_too_late() {
        let (gate, start) = holding([-400, 30, 450]);
        let hands = tokio::spawn({
            let gate = gate.clone();
            async move { gate.hand_out().await }
        });
        let mut permit = gate.permit(1, true).await;
        assert_eq!(gate.unused.load(Ordering::Relaxed), 1, "what is past is promised to nobody");
        let slot = permit.slot(start + 400 * MS).await.unwrap();
        assert_eq!(slot.at, at(start, 30));
        drop(slot);
        assert_eq!(gate.unused.load(Ordering::Relaxed), 2, "whole days forget what nobody used");
        let asked = Instant::now();
        assert!(permit.slot(start + 400 * MS).await.is_none());
        assert!(asked.elapsed() < 200 * MS, "it is known at once");
        drop(permit);
        assert_eq!(holds(&gate), (1, 0));
        // Who has none says so, and takes what comes in time.
        let other = Permit { gate: gate.clone(), many: 1, paid: 0, urgent: false, stands: false };
        gate.held().slots.clear();
        let line = waits(other, start, 900);
        gate.late().await;
        give(&gate, start, [452]);
        assert_eq!(line.await.unwrap(), Some(at(start, 452)));
        assert_eq!(gate.held().promised(false), 0);
        let nothing = Permit { gate: gate.clone(), many: 1, paid: 0, urgent: false, stands: false };
        assert_eq!(waits(nothing, Instant::now(), 20).await.unwrap(), None);
        hands.abort();
    }

    #[tokio::test]
    async fn what_a_long_text_takes_beside_its_own_slot_is_nobody_elses() {
        let (gate, start) = holding([40, 42, 44, 46, 48, 50]);
        let mut all = gate.permit(4, false).await;
        let (mut long, other) = (all.split(3), all.split(1));
        let last = gate.take_at_hand(1, &mut long.paid);
        assert_eq!((last, long.paid), (Some(at(start, 48)), 1), "the first that nobody was promised");
        drop(long.split(2));
        assert_eq!(gate.take_at_hand(2, &mut long.paid), Some(at(start, 44)), "else one that was given back");
        assert_eq!((holds(&gate), long.paid), ((4, 2), 2));
        let hands = tokio::spawn({
            let gate = gate.clone();
            async move { gate.hand_out().await }
        });
        let slot = long.slot(start + 400 * MS).await.unwrap();
        assert_eq!(slot.at, at(start, 40), "it leaves with the next one");
        let slot = slot.with_paid(&mut long);
        assert_eq!((slot.many, long.paid), (3, 0));
        drop(slot);
        assert_eq!(gate.unused.load(Ordering::Relaxed), 3, "whole days forget all of it");
        assert_eq!(waits(other, start, 400).await.unwrap(), Some(at(start, 42)));
        hands.abort();
    }

    #[test]
    fn slots_that_lie_far_apart_are_waited_for_before_a_text_is_begun() {
        for (limits, weight, spreads) in [
            (vec![limit(500, Period::Second)], 3, false),
            (vec![limit(50, Period::Second)], 2, false),
            (vec![limit(10, Period::Second)], 2, false),
            (vec![limit(10, Period::Second)], 3, true),
            (vec![limit(5, Period::Second)], 2, true),
            (vec![limit(30, Period::Minute)], 2, true),
            // They come when it cannot be begun any more.
            (vec![limit(10, Period::Minute)], 2, false),
            // More than there are in a span.
            (vec![limit(1, Period::Second)], 2, false),
            (vec![limit(1, Period::Minute)], 2, false),
            (vec![limit(50, Period::Second), limit(1, Period::Minute)], 2, false),
            (vec![limit(50, Period::Second), limit(7, Period::Day)], 2, false),
            (vec![], 9, false),
        ] {
            assert_eq!(gate(&limits).spreads(weight), spreads, "{limits:?}, {weight} segments");
        }
    }

    #[test]
    fn of_a_slow_limit_a_text_waits_for_room_and_of_a_fast_one_it_does_not() {
        for (limits, weight, far) in [
            (vec![limit(10, Period::Minute)], 2, true),
            (vec![limit(1, Period::Minute)], 2, true),
            (vec![limit(50, Period::Second), limit(1, Period::Minute)], 2, true),
            (vec![limit(10, Period::Minute)], 1, false),
            (vec![limit(30, Period::Minute)], 2, false),
            (vec![limit(1, Period::Second)], 2, false),
            (vec![limit(500, Period::Second)], 3, false),
            (vec![limit(7, Period::Day)], 2, false),
            (vec![], 9, false),
        ] {
            assert_eq!(gate(&limits).is_far(weight), far, "{limits:?}, {weight} segments");
        }
    }

    #[test]
    fn where_it_takes_long_to_begin_a_slot_is_promised_as_early_as_it_may_be() {
        let gate = gate(&[limit(1, Period::Second)]);
        gate.lag.note(350 * MS);
        gate.tolerance.set(200 * MS);
        give(&gate, Instant::now(), [440]);
        assert_eq!(gate.promise(1, false), Ready::Slots(1), "it is begun when the slot comes");
    }

    #[tokio::test]
    async fn a_gate_is_closed_until_the_day_turns() {
        let gate = gate(&[limit(7, Period::Day)]);
        assert_eq!(gate.closed_until(), None);
        let past = Instant::now();
        gate.closed_until.send_replace(Some(past));
        assert_eq!(gate.closed_until(), None);
        assert!(tokio::time::timeout(20 * MS, gate.closes()).await.is_err());
        gate.closed_until.send_replace(Some(past + 3_600_000 * MS));
        gate.closes().await;
        assert_eq!(gate.closed_until(), Some(past + 3_600_000 * MS));
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
    fn a_limit_per_sender_has_a_key_per_sender() {
        let limit = Limit { count: 1, per: Period::Second, per_sender: true };
        assert_eq!(key("twilio", Some("+1312"), limit).key, "twilio/+1312/second");
        assert_eq!(key("twilio", None, limit).key, "twilio/any/second");
        assert_eq!(key("twilio", Some("+1312"), Limit { per_sender: false, ..limit }).key, "twilio/second");
        let day = Limit { per: Period::Day, ..limit };
        assert_eq!(key("twilio", None, day).limit, GateLimit::Day(1));
    }
}
