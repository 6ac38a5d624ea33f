//! How far ahead of its use a slot must lie, and how late it may be met.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::gate::Rate;

/// How long it takes to make use of the first slot, in microseconds.
const AT_FIRST: u64 = 100_000;
/// A slot of a full limit that was missed by more than this share of the limit's span (6 ms of a second) is thrown away,
/// up to the moment of sending. What leaves late comes on top of what follows it: with [`PACE`], all that leaves within
/// 20 ms of its slot keeps the limit in every second, whoever sends the rest; what is left of the 20 is for the wire.
///
/// [`PACE`]: super::gate::PACE
const MISSED: f64 = 0.006;
/// However empty the limit, what is later than this is late.
const LATEST: Duration = Duration::from_millis(300);
/// Of a limit of which no more than this share was handed out lately, to whomever, slots are used as soon as they are had. They
/// lie less than 0.75 s ahead. Whatever else leaves within a second of them was handed out within that second, and is among
/// these few; or before, and lies within 0.75 s of it; or after, and comes behind them at the limit's own pace.
const EMPTY: f64 = 0.2;

/// How long something takes, on a machine that may be busy. A worse time counts at once, a better one little by little.
#[derive(Debug)]
pub(super) struct Lag {
    known: AtomicU64,
    /// What takes longer is no measure.
    most: Duration,
    /// A better time takes off this part of what is above it.
    forgets: u64,
}

impl Lag {
    /// From a permit until it is begun, while nothing hangs. A worker that has just started is slow. A lane that begins
    /// eight times a second remembers for a minute what comes now and then, such as a database that cleans up. With its
    /// quarter on top it stays within `furthest`: no permit is given earlier.
    pub(super) fn of_a_lane(furthest: Duration) -> Self {
        Self { known: AtomicU64::new(AT_FIRST), most: furthest * 4 / 5, forgets: 512 }
    }

    /// A ledger that answers more slowly than a slot is good for would give nothing but lost ones: the slots have to lie
    /// behind its answer, however slow. With its quarter on top this stays below what a first byte may take. It forgets
    /// sooner: what is taken so far ahead is lost when the worker dies.
    pub(super) fn of_the_ledger() -> Self {
        Self { known: AtomicU64::new(0), most: Duration::from_millis(350), forgets: 64 }
    }

    pub(super) fn note(&self, took: Duration) {
        let took = u64::try_from(took.min(self.most).as_micros()).unwrap_or(u64::MAX);
        let known = self.known.load(Ordering::Relaxed);
        // Two at once may lose one another's little: the next one makes up for it.
        self.known.store(took.max(known - known.saturating_sub(took) / self.forgets), Ordering::Relaxed);
    }

    /// How far ahead a slot must lie to be met: what was seen, and a quarter of it.
    pub(super) fn lead(&self) -> Duration {
        let known = self.known.load(Ordering::Relaxed);
        Duration::from_micros(known + known / 4)
    }
}

/// How late a slot may be met, in microseconds: the fuller the limit, the less.
#[derive(Debug, Default)]
pub(super) struct Tolerance(AtomicU64);

/// How far from their moments slots may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) late: Duration,
    /// As soon as they are had.
    pub(super) early: bool,
}

impl Tolerance {
    pub(super) fn set(&self, most: Duration) {
        self.0.store(u64::try_from(most.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether a slot is so far past that sending now would come on top of what follows it.
    pub(super) fn is_lost(&self, slot: Instant) -> bool {
        slot + Duration::from_micros(self.0.load(Ordering::Relaxed)) < Instant::now()
    }
}

/// What is allowed where so many slots of each key were handed out in the last two seconds. Of a limit that is half full only
/// half as many come on top of what follows.
pub(super) fn allowed(rates: &[Option<Rate>], recent: &[u64]) -> Allowed {
    let all = rates.iter().zip(recent).filter_map(|(rate, recent)| {
        let Rate { count, seconds } = (*rate)?;
        #[expect(clippy::cast_precision_loss, reason = "a count, far below 2^53")]
        let full = (*recent as f64 * seconds / count).min(1.0);
        let late = Duration::try_from_secs_f64(MISSED * seconds / full).unwrap_or(LATEST);
        Some(Allowed { late, early: full <= EMPTY })
    });
    all.fold(Allowed { late: LATEST, early: true }, |all, one| Allowed {
        late: all.late.min(one.late),
        early: all.early && one.early,
    })
}

#[cfg(test)]
mod tests {
    use super::super::gate::rate;
    use super::*;
    use crate::config::provider::{Limit, Period};

    #[test]
    fn what_takes_longer_counts_at_once_and_what_is_faster_little_by_little() {
        let ms = Duration::from_millis;
        let lag = Lag::of_a_lane(ms(250));
        assert_eq!(lag.lead(), ms(125));
        for _ in 0..8_000 {
            lag.note(Duration::ZERO);
        }
        assert!(lag.lead() < ms(1), "{:?}", lag.lead());
        lag.note(ms(40));
        assert_eq!(lag.lead(), ms(50));
        lag.note(ms(8));
        assert!(lag.lead() > ms(48) && lag.lead() < ms(50), "{:?}", lag.lead());
        for _ in 0..8_000 {
            lag.note(ms(8));
        }
        assert!(lag.lead() < ms(11), "{:?}", lag.lead());
        lag.note(Duration::from_secs(30));
        assert_eq!(lag.lead(), ms(250), "a ledger that hangs is no measure");
    }

    #[test]
    fn the_fuller_a_limit_is_the_nearer_to_its_moment_a_slot_is_used() {
        let limit = |count, per| rate(Limit { count, per, per_sender: false });
        let ms = Duration::from_millis;
        let (second, minute) = (limit(500, Period::Second), limit(600, Period::Minute));
        for (rates, recent, late, early) in [
            (vec![second], vec![1_000], ms(6), false),
            (vec![second], vec![500], ms(6), false),
            (vec![second], vec![250], ms(12), false),
            (vec![second], vec![101], ms(29), false),
            (vec![second], vec![100], ms(30), true),
            (vec![second], vec![25], ms(120), true),
            (vec![second], vec![1], LATEST, true),
            (vec![second], vec![0], LATEST, true),
            (vec![minute], vec![20], LATEST, false),
            (vec![second, minute], vec![250, 2], ms(12), false),
            (vec![second, minute], vec![25, 20], ms(120), false),
            (vec![limit(1, Period::Day)], vec![1], LATEST, true),
            (vec![], vec![], LATEST, true),
        ] {
            let Allowed { late: most, early: before } = allowed(&rates, &recent);
            assert_eq!((most.as_millis(), before), (late.as_millis(), early), "{recent:?}");
        }
    }
}
