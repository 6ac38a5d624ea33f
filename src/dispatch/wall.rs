//! The last thing that a message passes: whatever the ledger said and however late a timer was, no more than the limit goes
//! through in any span, however it slides. What counts is the moment of sending, which the ledger does not see. (A token
//! bucket with any burst lets one too many through after a pause.)

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    pub(super) fn all(limits: &[Limit]) -> Vec<Self> {
        limits.iter().filter_map(|limit| Self::of(*limit)).collect()
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

    /// Waits until a text of so many segments may pass.
    pub(super) async fn pass(&self, segments: u32) {
        while let Err(at) = self.try_pass(segments, Instant::now()) {
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

    /// A text of more segments than the limit has passes an empty span, and fills those that follow.
    fn try_pass(&self, segments: u32, now: Instant) -> Result<(), Instant> {
        let segments = usize::try_from(segments).unwrap_or(usize::MAX).max(1);
        let mut sent = self.sent(now);
        if let Some(at) = self.full_until(&sent, segments) {
            return Err(at);
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
    use crate::config::provider::Period;

    fn wall(count: u32, per: Period) -> Wall {
        Wall::of(Limit { count, per, per_sender: false }).unwrap()
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
                assert_eq!(wall.used(), 0);
                assert_eq!(wall.try_pass(segments, start), Ok(()), "{segments} under {count}");
                let used = usize::try_from(segments.min(count)).unwrap();
                assert_eq!(wall.used(), used, "{segments} segments under {count}");
                assert_eq!(wall.try_pass(1, start), Err(next), "{segments} under {count}");
                assert_eq!(wall.try_pass(1, next), Ok(()), "{segments} under {count}");
            }
        }
    }
}
