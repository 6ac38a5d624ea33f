//! The last thing that a message passes: whatever the ledger said and however late a timer was, no more than the limit goes
//! through in any span, however it slides. What counts is the moment of sending, which the ledger does not see. (A token
//! bucket with any burst lets one too many through after a pause.)

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::gate::span;
use crate::config::provider::Limit;

/// One limit, inside this process.
#[derive(Debug)]
pub(super) struct Wall {
    limit: Limit,
    count: usize,
    span: Duration,
    sent: Mutex<VecDeque<Instant>>,
}

impl Wall {
    /// A little more than the span: the wire adds its own jitter.
    const MORE: Duration = Duration::from_millis(2);

    /// The walls of these limits. Of whole days the ledger alone keeps count.
    pub(super) fn all(limits: &[Limit]) -> Vec<Arc<Self>> {
        limits.iter().filter_map(|limit| Self::of(*limit)).map(Arc::new).collect()
    }

    /// Those of one sender of the same provider: where a limit counts senders apart it has one of its own, and all senders
    /// together stand before the others.
    pub(super) fn of_sender(all: &[Arc<Self>]) -> Vec<Arc<Self>> {
        let own = |wall: &Arc<Self>| {
            if wall.limit.per_sender { Self::of(wall.limit).map(Arc::new) } else { Some(wall.clone()) }
        };
        all.iter().filter_map(own).collect()
    }

    fn of(limit: Limit) -> Option<Self> {
        let count = usize::try_from(limit.count).unwrap_or(usize::MAX);
        let span = Duration::from_secs_f64(span(limit.per).filter(|_| count > 0)?);
        Some(Self { limit, count, span: span + Self::MORE, sent: Mutex::default() })
    }

    /// The limit that it keeps, as it is configured.
    pub(super) fn limit(&self) -> Limit {
        self.limit
    }

    /// How many segments have passed within the span that ends now.
    pub(super) fn used(&self) -> usize {
        let now = Instant::now();
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().filter(|at| **at <= now && **at + self.span > now).count()
    }

    /// Waits until a text of so many segments may pass all of these, and passes them at that moment: what had passed one and
    /// waited for another would leave when the first has forgotten it.
    pub(super) async fn pass(walls: &[Arc<Self>], segments: u32) {
        while let Err(at) = Self::try_pass(walls, segments, Instant::now()) {
            tokio::time::sleep_until(at).await;
        }
    }

    /// Waits until such a text might pass, though others may come before it.
    pub(super) async fn opens(&self, segments: usize) {
        loop {
            let full = self.full_until(&self.sent(Instant::now()), segments);
            let Some(at) = full else { break };
            tokio::time::sleep_until(at).await;
        }
    }

    /// What has passed in the span that ends now.
    fn sent(&self, now: Instant) -> MutexGuard<'_, VecDeque<Instant>> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        while sent.front().is_some_and(|first| *first + self.span <= now) {
            sent.pop_front();
        }
        sent
    }

    /// Until when there is no room for so many segments.
    fn full_until(&self, sent: &VecDeque<Instant>, segments: usize) -> Option<Instant> {
        let too_many = (sent.len() + segments.min(self.count)).saturating_sub(self.count);
        Some(*sent.get(too_many.checked_sub(1)?)? + self.span)
    }

    /// Passes all of them, or none: then it says when there is room. They are locked in one order everywhere.
    fn try_pass(walls: &[Arc<Self>], segments: u32, now: Instant) -> Result<(), Instant> {
        let segments = usize::try_from(segments).unwrap_or(usize::MAX).max(1);
        let mut sent: Vec<_> = walls.iter().map(|wall| wall.sent(now)).collect();
        let full = walls.iter().zip(&sent).filter_map(|(wall, sent)| wall.full_until(sent, segments)).max();
        if let Some(at) = full {
            return Err(at);
        }
        walls.iter().zip(&mut sent).for_each(|(wall, sent)| wall.note(sent, segments, now));
        Ok(())
    }

    /// A text of more segments than the limit has passes an empty span, and fills those that follow.
    fn note(&self, sent: &mut VecDeque<Instant>, segments: usize, now: Instant) {
        let mut at = now;
        for n in 1..=segments {
            sent.push_back(at);
            if n.is_multiple_of(self.count) {
                at += self.span;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::config::provider::Period;

    fn limit(count: u32, per: Period) -> Limit {
        Limit { count, per, per_sender: false }
    }

    fn walls(limits: &[(u32, Period)]) -> Vec<Arc<Wall>> {
        let limits: Vec<Limit> = limits.iter().map(|(count, per)| limit(*count, *per)).collect();
        Wall::all(&limits)
    }

    /// How long the span of such a limit is.
    fn length(per: Period) -> Duration {
        Duration::from_secs_f64(span(per).unwrap())
    }

    #[test]
    fn no_span_holds_more_than_the_limit_however_they_come() {
        for (per, second) in [(Period::Second, 1), (Period::Minute, 60), (Period::Hour, 3_600)] {
            let walls = walls(&[(5, per)]);
            let start = Instant::now();
            let mut passed = Vec::new();
            for step in 0..4_000_u64 {
                // Bursts and pauses of uneven length, and texts of one to three segments.
                let at = start + Duration::from_millis(step + (step / 97) * 31) * second;
                let segments = 1 + u32::try_from(step / 7 % 3).unwrap();
                if Wall::try_pass(&walls, segments, at).is_ok() {
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
                let (walls, next) = (walls(&[(count, per)]), start + span * (segments / count));
                assert_eq!(walls[0].used(), 0);
                assert_eq!(Wall::try_pass(&walls, segments, start), Ok(()), "{segments} under {count}");
                let used = usize::try_from(segments.min(count)).unwrap();
                assert_eq!(walls[0].used(), used, "{segments} segments under {count}");
                assert_eq!(Wall::try_pass(&walls, 1, start), Err(next), "{segments} under {count}");
                assert_eq!(Wall::try_pass(&walls, 1, next), Ok(()), "{segments} under {count}");
            }
        }
    }

    #[test]
    fn what_waits_for_one_wall_has_not_passed_the_other() {
        let walls = walls(&[(5, Period::Second), (10, Period::Minute)]);
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        for (segments, at, passes) in [
            (2, 0, Ok(())),
            (4, 2_000, Ok(())),
            // The minute has room for four of them.
            (5, 10_000, Err(ms(60_002))),
            (1, 59_900, Ok(())),
            // Now it has room, and the second has not: one is on its way.
            (5, 60_002, Err(ms(60_902))),
            (5, 60_902, Ok(())),
        ] {
            assert_eq!(Wall::try_pass(&walls, segments, ms(at)), passes, "{segments} after {at} ms");
        }
    }

    #[test]
    fn senders_stand_apart_only_where_their_limit_does() {
        let own = Limit { per_sender: true, ..limit(2, Period::Second) };
        let all = Wall::all(&[own, limit(3, Period::Second), limit(9, Period::Day)]);
        let (one, other) = (Wall::of_sender(&all), Wall::of_sender(&all));
        assert_eq!((one.len(), other.len()), (2, 2));
        let start = Instant::now();
        let next = Err(start + Duration::from_millis(1_002));
        assert_eq!(Wall::try_pass(&one, 2, start), Ok(()));
        assert_eq!(Wall::try_pass(&one, 1, start), next, "its own limit");
        assert_eq!(Wall::try_pass(&other, 1, start), Ok(()));
        assert_eq!(Wall::try_pass(&other, 1, start), next, "the limit of both");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// Under several limits at once, whatever the texts and the pauses between: no span of any limit holds more than that,
        /// and what waits is told the first instant at which all have room.
        #[test]
        fn all_limits_hold_at_once_and_nobody_waits_for_longer_than_that_takes(
            limits in prop::collection::vec(
                (1_u32..30, select(vec![Period::Second, Period::Minute, Period::Hour])), 1..4),
            texts in prop::collection::vec((0_u64..400, 1_u32..6), 1..150),
        ) {
            let walls = walls(&limits);
            // A text of more segments than a limit has is another matter.
            let most = limits.iter().map(|(count, _)| *count).min().unwrap();
            let mut now = Instant::now();
            let mut passed = Vec::new();
            for (pause, segments) in texts {
                let segments = segments.min(most);
                now += Duration::from_millis(pause);
                if let Err(at) = Wall::try_pass(&walls, segments, now) {
                    prop_assert!(at > now);
                    prop_assert_eq!(Wall::try_pass(&walls, segments, at - Duration::from_nanos(1)), Err(at));
                    prop_assert_eq!(Wall::try_pass(&walls, segments, at), Ok(()));
                    now = at;
                }
                passed.extend(std::iter::repeat_n(now, usize::try_from(segments).unwrap()));
            }
            for (count, per) in limits {
                for some in passed.windows(usize::try_from(count).unwrap() + 1) {
                    prop_assert!(some[some.len() - 1] - some[0] >= length(per), "{} within {:?}", count + 1, per);
                }
            }
        }
    }
}
