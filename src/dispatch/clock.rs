//! The database's clock, told by this machine's monotonic one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// How many readings the mapping rests on.
const READINGS: usize = 64;
/// Two clocks that nobody sets drift apart by no more than this between two readings.
const DRIFT: Duration = Duration::from_millis(2);

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

impl Reading {
    /// What the database's clock showed, or will show, at that instant.
    fn at(&self, here: Instant) -> Timestamp {
        let (later, far) = match here.checked_duration_since(self.here) {
            Some(far) => (true, far),
            None => (false, self.here.saturating_duration_since(here)),
        };
        let far = SignedDuration::try_from(far).unwrap_or_default();
        let at = if later { self.there.checked_add(far) } else { self.there.checked_sub(far) };
        at.unwrap_or(self.there)
    }

    /// Whether both can be right: each is wrong by half of its round trip at most.
    fn agrees_with(&self, other: &Self) -> bool {
        let apart = other.there.duration_since(self.at(other.here)).unsigned_abs();
        apart <= (self.round_trip + other.round_trip) / 2 + DRIFT
    }
}

impl Clock {
    /// The database said `there` to a question that was asked at `asked` and answered at `answered`. What cannot be true of
    /// the same clock shows that it was set: what was read before is forgotten.
    pub(super) fn read(&self, asked: Instant, answered: Instant, there: Timestamp) {
        let round_trip = answered.saturating_duration_since(asked);
        let reading = Reading { round_trip, here: asked + round_trip / 2, there };
        let mut readings = self.lock();
        if let Some(best) = readings.best.filter(|best| !best.agrees_with(&reading)) {
            if reading.here < best.here {
                return;
            }
            readings.recent.clear();
        }
        if readings.recent.len() == READINGS {
            readings.recent.pop_front();
        }
        readings.recent.push_back(reading);
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
        self.best().map(|best| best.at(Instant::now()))
    }

    /// What the database's clock shows at `here`.
    #[must_use]
    pub(super) fn timestamp(&self, here: Instant) -> Timestamp {
        self.best().map_or(Timestamp::UNIX_EPOCH, |best| best.at(here))
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

    #[test]
    fn a_clock_that_was_set_is_believed_at_once() {
        let clock = Clock::default();
        let start = Instant::now();
        let ms = Duration::from_millis;
        let read = |at: u64, took: u64, second: i64| {
            clock.read(start + ms(at), start + ms(at + took), Timestamp::from_second(second).unwrap());
        };
        read(0, 2, 1_000);
        // An hour back, by an answer that took longer.
        read(10_000, 20, 1_000 + 10 - 3_600);
        let set = Timestamp::from_second(1_000 - 3_600 + 10).unwrap();
        assert_eq!(clock.timestamp(start + ms(10_010)), set);
        // What was asked before it was set, and is told only now, changes nothing.
        read(5_000, 2, 1_005);
        assert_eq!(clock.timestamp(start + ms(10_010)), set);
    }
}
