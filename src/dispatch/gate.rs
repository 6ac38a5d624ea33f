//! One lane's view of the rate gate. The ledger hands out slots to all workers; this keeps those that were handed to
//! this lane and gives them to whoever is most urgent when they come up.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
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
/// The share of a limit that is used; the rest absorbs what the wire adds in jitter.
const PACE: f64 = 0.99;

/// The limits of one lane.
#[derive(Debug)]
pub(super) struct Gate {
    keys: Vec<GateKey>,
    slots: VecDeque<Instant>,
    wall: Vec<Arc<DefaultDirectRateLimiter>>,
}

impl Gate {
    /// The gate of `provider`, for one `sender` where a limit counts senders apart.
    pub(super) fn new(provider: &str, sender: Option<&str>, limits: &[Limit]) -> Self {
        let keys = limits.iter().map(|limit| key(provider, sender, *limit)).collect();
        let wall = limits.iter().filter_map(|limit| wall(*limit)).collect();
        Self { keys, slots: VecDeque::new(), wall }
    }

    /// Whether nothing limits this lane.
    pub(super) fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// The second wall, inside this process, that every send passes whatever the ledger said.
    pub(super) fn wall(&self) -> Vec<Arc<DefaultDirectRateLimiter>> {
        self.wall.clone()
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
        self.slots.extend(reserved.slots.iter().map(|slot| clock.instant(*slot)));
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

fn wall(limit: Limit) -> Option<Arc<DefaultDirectRateLimiter>> {
    let burst = NonZeroU32::new((limit.count / 50).max(2))?;
    let count = NonZeroU32::new(limit.count)?;
    let quota = match limit.per {
        Period::Second => Quota::per_second(count),
        Period::Minute => Quota::per_minute(count),
        Period::Hour => Quota::per_hour(count),
        Period::Day => return None,
    };
    Some(Arc::new(RateLimiter::direct(quota.allow_burst(burst))))
}
