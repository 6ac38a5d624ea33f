//! The database's clock, told by this machine's monotonic one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// How many readings the mapping rests on.
const READINGS: usize = 64;

/// Maps instants of the database to instants of this process and back. Of the recent readings, the one with the
/// shortest round trip counts: it is wrong by at most half of that.
#[derive(Debug, Default)]
pub(super) struct Clock {
    readings: Mutex<Readings>,
}

#[derive(Debug, Default)]
struct Readings {
    recent: VecDeque<Reading>,
    best: Option<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    round_trip: Duration,
    here: Instant,
    there: Timestamp,
}

impl Clock {
    /// The database said `there` to a question that was asked at `asked` and answered at `answered`.
    pub(super) fn read(&self, asked: Instant, answered: Instant, there: Timestamp) {
        let round_trip = answered.saturating_duration_since(asked);
        let mut readings = self.lock();
        if readings.recent.len() == READINGS {
            readings.recent.pop_front();
        }
        readings.recent.push_back(Reading { round_trip, here: asked + round_trip / 2, there });
        readings.best = readings.recent.iter().copied().min_by_key(|r| r.round_trip);
    }

    /// The instant of this process at which the database's clock shows `there`; now, before the first reading.
    #[must_use]
    pub(super) fn instant(&self, there: Timestamp) -> Instant {
        let Some(best) = self.best() else { return Instant::now() };
        let ahead = there.duration_since(best.there);
        let far = Duration::try_from(ahead.abs()).unwrap_or_default();
        if ahead.is_negative() { best.here.checked_sub(far).unwrap_or(best.here) } else { best.here + far }
    }

    /// What the database's clock shows now; `None` before the first reading.
    #[must_use]
    pub(super) fn now(&self) -> Option<Timestamp> {
        self.best().map(|_| self.timestamp(Instant::now()))
    }

    /// What the database's clock shows at `here`.
    #[must_use]
    pub(super) fn timestamp(&self, here: Instant) -> Timestamp {
        let Some(best) = self.best() else { return Timestamp::UNIX_EPOCH };
        let (later, far) = match here.checked_duration_since(best.here) {
            Some(far) => (true, far),
            None => (false, best.here.saturating_duration_since(here)),
        };
        let far = SignedDuration::try_from(far).unwrap_or_default();
        let at = if later { best.there.checked_add(far) } else { best.there.checked_sub(far) };
        at.unwrap_or(best.there)
    }

    fn best(&self) -> Option<Reading> {
        self.lock().best
    }

    fn lock(&self) -> MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_round_trip_is_believed() {
        let clock = Clock::default();
        let start = Instant::now();
        let there = Timestamp::from_second(1_000).unwrap();
        clock.read(start, start + Duration::from_millis(2), there);
        // A slow reading that would put the clock half a second off.
        clock.read(start, start + Duration::from_secs(1), there);
        let mapped = clock.instant(there);
        assert_eq!(mapped, start + Duration::from_millis(1));
        assert_eq!(clock.timestamp(mapped + Duration::from_secs(5)), Timestamp::from_second(1_005).unwrap());
        assert_eq!(clock.timestamp(mapped - Duration::from_secs(5)), Timestamp::from_second(995).unwrap());
    }
}
