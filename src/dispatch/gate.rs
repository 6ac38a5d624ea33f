//! One lane's view of the rate gate. The ledger hands out slots to all workers; this keeps those that were handed to
//! this lane and gives them to whoever is most urgent when they come up.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::SignedDuration;

use super::clock::Clock;
use crate::config::provider::{Limit, Period};
use crate::store::rows::{GateKey, GateLimit, Reserve};
use crate::store::{Result, Store};

/// No slot is reserved further ahead: what a dying worker holds is soon past.
const HORIZON: Duration = Duration::from_millis(200);
/// Slots are given out this early, so that there is time to begin.
const EARLY: Duration = Duration::from_millis(100);
/// A slot that is later than this is thrown away, never made up for.
const LATE: Duration = Duration::from_millis(50);
/// One that was missed by more than this is exchanged for another, up to the moment of sending. What leaves late comes
/// on top of what follows it: with [`PACE`], all that leaves within 20 ms of its slot keeps the limit in every second,
/// whoever sends the rest; what is left of the 20 is for the wire.
const MISSED: Duration = Duration::from_millis(6);
/// The share of a limit that is used; the rest absorbs what timers and the wire add in jitter: at 50 a second 0.99
/// leaves 10 ms, which one late timer on a busy machine exceeds; 0.98 leaves 20.
const PACE: f64 = 0.98;

/// The limits of one lane.
#[derive(Debug)]
pub(super) struct Gate {
    keys: Vec<GateKey>,
    slots: VecDeque<Instant>,
    /// The last slot that was handed to this lane: a correction of the clock never brings the next one nearer.
    last: Option<Instant>,
    /// The distance between two slots.
    spacing: Duration,
}

impl Gate {
    /// The gate of `provider`, for one `sender` where a limit counts senders apart.
    pub(super) fn new(provider: &str, sender: Option<&str>, limits: &[Limit]) -> Self {
        let keys = limits.iter().map(|limit| key(provider, sender, *limit)).collect();
        let spacing = limits.iter().filter_map(|limit| interval(*limit)).max();
        let spacing = spacing.and_then(|each| Duration::try_from(each).ok()).unwrap_or_default();
        Self { keys, slots: VecDeque::new(), last: None, spacing }
    }

    /// Whether nothing limits this lane.
    fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Waits for at least one slot and gives up to `want`, none of them far ahead.
    pub(super) async fn take(
        &mut self,
        want: usize,
        store: &dyn Store,
        clock: &Clock,
    ) -> Result<Vec<Instant>> {
        if self.is_open() {
            return Ok(vec![Instant::now(); want]);
        }
        loop {
            let now = Instant::now();
            while self.slots.front().is_some_and(|slot| *slot + LATE < now) {
                self.slots.pop_front();
            }
            let ready = self.slots.iter().take(want).take_while(|slot| **slot <= now + EARLY).count();
            if ready > 0 {
                return Ok(self.slots.drain(..ready).collect());
            }
            if let Some(next) = self.slots.front() {
                tokio::time::sleep_until((*next - EARLY).into()).await;
                continue;
            }
            self.reserve(want, store, clock).await?;
        }
    }

    /// Slots that were taken and not needed.
    pub(super) fn put_back(&mut self, slots: impl DoubleEndedIterator<Item = Instant>) {
        if !self.is_open() {
            for slot in slots.rev() {
                self.slots.push_front(slot);
            }
        }
    }

    async fn reserve(&mut self, want: usize, store: &dyn Store, clock: &Clock) -> Result<()> {
        let ask = Reserve {
            keys: self.keys.clone(),
            want: u32::try_from(want).unwrap_or(u32::MAX).max(1),
            horizon: SignedDuration::try_from(HORIZON).unwrap_or_default(),
        };
        let asked = Instant::now();
        let reserved = store.reserve(&ask).await?;
        clock.read(asked, Instant::now(), reserved.now);
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

/// Whether a slot is so far past that sending now would come on top of what follows it.
pub(super) fn is_missed(slot: Instant) -> bool {
    slot + MISSED < Instant::now()
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
    let span = match limit.per {
        Period::Second => 1.0,
        Period::Minute => 60.0,
        Period::Hour => 3600.0,
        Period::Day => return None,
    };
    SignedDuration::try_from_secs_f64(span / (f64::from(limit.count.max(1)) * PACE)).ok()
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
    fn a_limit_per_sender_has_a_key_per_sender() {
        let limit = Limit { count: 1, per: Period::Second, per_sender: true };
        assert_eq!(key("twilio", Some("+1312"), limit).key, "twilio/+1312/second");
        assert_eq!(key("twilio", Some("+1312"), Limit { per_sender: false, ..limit }).key, "twilio/second");
        let day = Limit { per: Period::Day, ..limit };
        assert_eq!(key("twilio", None, day).limit, GateLimit::Day(1));
    }
}
