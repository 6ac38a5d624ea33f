//! One provider's circuit breaker: a state machine that is told what calls came to and says whether more may be made.
//! It reads no clock and waits for nothing: `now` is an argument.
//!
//! ```text
//! closed --failures--> open --cool-down is over--> half-open --good probes--> closed, its share growing step by step
//!                        ^------- a bad probe ---------'
//! ```
//!
//! What counts against a provider: what may be worth another try (`Transient`), what may have been sent (`Ambiguous`),
//! our account being refused (`Misconfigured`), and, where another provider could take over, a slow answer. Being
//! asked to slow down is no failure until nothing else is heard for long. What is wrong with one message or one
//! recipient (`BadAddress`, `OptedOut`, `Rejected`) says nothing about the provider. What was taken and does not arrive
//! is watched apart (`receipts.rs`), and opens it by [`Breaker::leave_alone`].
//!
//! **Each process has a breaker of its own.** Nothing is shared over the ledger: a provider that is down for one worker
//! is seen to be down by every other one within as many calls as it takes, a provider that is cut off from one machine
//! only stays in use on the others, and no write stands between a failure and its consequence. The price is a few more
//! failures and probes: their number times the number of workers.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::provider::BreakerSettings;
use crate::domain::outbound::{Accepted, FailureKind, SendError};

/// Parts of the sliding window; one part at a time falls out of it.
const PARTS: u32 = 10;
/// Steps from closing to the full share.
const STEPS: u32 = 10;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// All calls are made.
    Closed,
    /// It has closed lately: a part of its share comes back.
    Recovering,
    /// A few calls at once, to see.
    HalfOpen,
    /// No calls.
    Open,
}

impl Condition {
    /// The word for measures, logs and look-ups.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Recovering => "recovering",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// What a call came to, as far as the provider is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Good,
    Failed,
    /// Refused for what we are, not for what we sent.
    Refused,
    /// Asked to slow down.
    Throttled,
    /// Says nothing of the provider.
    Mute,
}

impl Answer {
    /// What the result of a send says of its provider.
    pub(super) fn of(result: &Result<Accepted, SendError>) -> Self {
        match result.as_ref().map_err(|error| error.kind) {
            Ok(_) => Self::Good,
            Err(FailureKind::Transient | FailureKind::Ambiguous) => Self::Failed,
            Err(FailureKind::Misconfigured) => Self::Refused,
            Err(FailureKind::Throttled { .. }) => Self::Throttled,
            Err(FailureKind::BadAddress | FailureKind::OptedOut | FailureKind::Rejected) => Self::Mute,
        }
    }
}

/// A call that may be made. It belongs to the term in which it was allowed: what it comes to after the state has
/// changed says nothing of the state as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    term: u64,
    probe: bool,
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    /// Whether slow answers are failures.
    minds_slow: bool,
    state: State,
    /// Rises with every change of state.
    term: u64,
    window: Window,
    in_a_row: u32,
    /// The first of the requests to slow down since something good was heard.
    throttled_since: Option<Instant>,
    /// How often it has opened since it was last wholly back.
    trips: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// `since`: when it closed, where it was open before.
    Closed {
        since: Option<Instant>,
    },
    Open {
        until: Instant,
    },
    HalfOpen {
        under_way: u32,
        good: u32,
    },
}

impl Breaker {
    /// A closed one. `minds_slow`: another provider could take over from one that is slow.
    pub(super) fn new(settings: BreakerSettings, minds_slow: bool, now: Instant) -> Self {
        Self {
            settings,
            minds_slow,
            state: State::Closed { since: None },
            term: 0,
            window: Window::new(settings.window, now),
            in_a_row: 0,
            throttled_since: None,
            trips: 0,
        }
    }

    /// Where it stands. An open one whose cool-down is over is half-open, though nobody has asked for a probe yet.
    pub(super) fn condition(&self, now: Instant) -> Condition {
        match self.state {
            State::Closed { .. } if self.share(now) < 100 => Condition::Recovering,
            State::Closed { .. } => Condition::Closed,
            State::Open { until } if now < until => Condition::Open,
            State::Open { .. } | State::HalfOpen { .. } => Condition::HalfOpen,
        }
    }

    /// How much of its weight counts now, in percent; 0 unless it is closed.
    pub(super) fn share(&self, now: Instant) -> u32 {
        let State::Closed { since } = self.state else { return 0 };
        let Some(since) = since else { return 100 };
        let step = self.settings.recovery / STEPS;
        let passed = now.saturating_duration_since(since).as_micros().checked_div(step.as_micros());
        let steps = passed.and_then(|steps| u32::try_from(steps).ok()).unwrap_or(STEPS);
        (steps.saturating_add(1)).min(STEPS) * (100 / STEPS)
    }

    /// How many more probes may be sent now.
    pub(super) fn free_probes(&self, now: Instant) -> u32 {
        match self.state {
            State::Closed { .. } => 0,
            State::Open { until } if now < until => 0,
            State::Open { .. } => self.settings.probes,
            State::HalfOpen { under_way, .. } => self.settings.probes.saturating_sub(under_way),
        }
    }

    /// How long until probes may be sent; nothing where they may be, or are under way.
    pub(super) fn cool_down_left(&self, now: Instant) -> Duration {
        match self.state {
            State::Open { until } => until.saturating_duration_since(now),
            State::Closed { .. } | State::HalfOpen { .. } => Duration::ZERO,
        }
    }

    /// A probe, where one is free.
    pub(super) fn take_probe(&mut self, now: Instant) -> Option<Call> {
        if self.free_probes(now) == 0 {
            return None;
        }
        if let State::Open { .. } = self.state {
            self.change(State::HalfOpen { under_way: 0, good: 0 });
        }
        if let State::HalfOpen { under_way, .. } = &mut self.state {
            *under_way += 1;
        }
        Some(Call { term: self.term, probe: true })
    }

    /// A call as any other; only a closed one allows it.
    pub(super) fn call(&self) -> Option<Call> {
        matches!(self.state, State::Closed { .. }).then_some(Call { term: self.term, probe: false })
    }

    /// Whether the call may still be made.
    pub(super) fn stands(&self, call: Call) -> bool {
        call.term == self.term
    }

    /// Nothing came of the call: it was not made, or cut short.
    pub(super) fn put_back(&mut self, call: Call) {
        if let State::HalfOpen { under_way, .. } = &mut self.state
            && call.term == self.term
            && call.probe
        {
            *under_way = under_way.saturating_sub(1);
        }
    }

    /// Takes note of what a call came to, and how long it took.
    pub(super) fn record(&mut self, call: Call, answer: Answer, took: Duration, now: Instant) {
        if call.term != self.term {
            return;
        }
        let slow = self.minds_slow && took >= self.settings.slow_after;
        let answer = if slow && answer == Answer::Good { Answer::Failed } else { answer };
        self.put_back(call);
        match self.state {
            State::Closed { .. } => self.count(answer, now),
            State::HalfOpen { .. } => self.probed(answer, now),
            State::Open { .. } => {}
        }
    }

    /// Opens a closed one for what is known of the provider beside its answers; for `least` at least. False: it is not
    /// closed.
    pub(super) fn leave_alone(&mut self, least: Duration, now: Instant) -> bool {
        if !matches!(self.state, State::Closed { .. }) {
            return false;
        }
        self.open(now);
        if let State::Open { until } = &mut self.state {
            *until = (*until).max(now + least);
        }
        true
    }

    fn count(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Mute => {}
            Answer::Good => {
                self.in_a_row = 0;
                self.throttled_since = None;
                self.window.add(now, false);
            }
            Answer::Throttled => {
                let since = *self.throttled_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= self.settings.throttled_after {
                    self.fail(now);
                }
            }
            // Where others get through it is one sender or one region that is refused, not the account.
            Answer::Refused if self.window.sum(now).good() == 0 => self.open(now),
            Answer::Failed | Answer::Refused => self.fail(now),
        }
    }

    fn fail(&mut self, now: Instant) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.window.add(now, true);
        let sum = self.window.sum(now);
        let limit = u64::from(self.settings.failure_percent);
        let share =
            sum.calls >= u64::from(self.settings.least_calls) && sum.failed * 100 >= limit * sum.calls;
        // The more calls there are, the longer are the runs that chance makes.
        let row = u64::from(self.in_a_row) >= (sum.calls / 100).max(u64::from(self.settings.in_a_row));
        if share || row {
            self.open(now);
        }
    }

    fn probed(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Mute => {}
            // A provider that asks even probes to slow down is not back.
            Answer::Failed | Answer::Refused | Answer::Throttled => self.open(now),
            Answer::Good => {
                let State::HalfOpen { good, .. } = &mut self.state else { return };
                *good += 1;
                if *good >= self.settings.good_probes {
                    self.change(State::Closed { since: Some(now) });
                }
            }
        }
    }

    fn open(&mut self, now: Instant) {
        if self.condition(now) == Condition::Closed {
            self.trips = 0;
        }
        let doubled = self.settings.cool_down.saturating_mul(1 << self.trips.min(20));
        self.trips = self.trips.saturating_add(1);
        self.change(State::Open { until: now + doubled.min(self.settings.cool_down_max) });
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.term += 1;
        self.in_a_row = 0;
        self.throttled_since = None;
        self.window.clear();
    }
}

/// Calls and failures of the last while.
#[derive(Debug)]
struct Window {
    start: Instant,
    part: Duration,
    parts: [Part; PARTS as usize],
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Which part it is, counted from the start.
    index: u64,
    sum: Sum,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    calls: u64,
    failed: u64,
}

impl Sum {
    fn good(self) -> u64 {
        self.calls - self.failed
    }
}

impl Window {
    fn new(span: Duration, start: Instant) -> Self {
        let part = (span / PARTS).max(Duration::from_millis(1));
        Self { start, part, parts: [Part::default(); PARTS as usize] }
    }

    fn add(&mut self, now: Instant, failed: bool) {
        let index = self.index(now);
        let place = usize::try_from(index % u64::from(PARTS)).unwrap_or_default();
        if let Some(part) = self.parts.get_mut(place) {
            if part.index != index {
                *part = Part { index, sum: Sum::default() };
            }
            part.sum.calls += 1;
            part.sum.failed += u64::from(failed);
        }
    }

    fn sum(&self, now: Instant) -> Sum {
        let index = self.index(now);
        let within = self.parts.iter().filter(|part| part.index + u64::from(PARTS) > index);
        within.fold(Sum::default(), |all, part| Sum {
            calls: all.calls + part.sum.calls,
            failed: all.failed + part.sum.failed,
        })
    }

    fn clear(&mut self) {
        self.parts = [Part::default(); PARTS as usize];
    }

    fn index(&self, now: Instant) -> u64 {
        let parts = now.saturating_duration_since(self.start).as_micros() / self.part.as_micros().max(1);
        u64::try_from(parts).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
