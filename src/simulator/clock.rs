//! The simulator's own time. It stands outside the system under test, so it reads the machine's clocks itself
//! instead of the ledger's.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// An instant on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Microseconds since the simulator started, monotonic.
    pub(super) at_us: u64,
    /// Microseconds since 1970.
    pub(super) wall_us: i64,
}

#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    /// The last second that was written out: a busy second needs its date only once.
    date: Mutex<(i64, String)>,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), date: Mutex::new((i64::MIN, String::new())) }
    }

    pub(super) fn now(&self) -> Moment {
        let at_us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { at_us, wall_us: i64::try_from(wall.as_micros()).unwrap_or(i64::MAX) }
    }

    /// The moment as RFC 2822 writes it, in UTC, as Twilio does.
    pub(super) fn date(&self, moment: Moment) -> String {
        let second = moment.wall_us.div_euclid(1_000_000);
        let mut cached = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.0 != second {
            *cached = (second, rfc2822(moment.wall_us));
        }
        cached.1.clone()
    }
}

/// `Tue, 18 Aug 2026 04:00:00 +0000`.
pub(super) fn rfc2822(wall_us: i64) -> String {
    timestamp(wall_us).strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// The instant of a wall clock reading.
pub(super) fn timestamp(wall_us: i64) -> Timestamp {
    Timestamp::from_microsecond(wall_us).unwrap_or(Timestamp::UNIX_EPOCH)
}
