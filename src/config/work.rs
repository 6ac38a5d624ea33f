//! `[work]`: how long what a person has to do may lie before they are called a second time.

use std::time::Duration;

use super::kind::Span;
use super::read::Section;

/// After how long an item that nobody has claimed is called out again, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkSection {
    /// By the message's priority. Bulk messages become none.
    pub plan_exhausted: DueTimes,
    /// By the message's priority.
    pub outcome_unknown: DueTimes,
    /// By the message's priority. Bulk messages become none.
    pub came_back: DueTimes,
    /// Only urgent messages become such items.
    pub unacknowledged: Duration,
    pub surge_hold: Duration,
    pub hold_review: Duration,
    /// A patient wrote something that a person must read.
    pub reply: Duration,
    /// A patient wrote words of danger.
    pub safety: Duration,
    pub maybe_cancel_visit: Duration,
}

/// One kind's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueTimes {
    pub urgent: Duration,
    pub normal: Duration,
    /// `None`: this kind has no bulk messages.
    pub bulk: Option<Duration>,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

impl WorkSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self {
            unacknowledged: within(s, "unacknowledged", 10 * MINUTE),
            surge_hold: within(s, "surge_hold", 15 * MINUTE),
            hold_review: within(s, "hold_review", 4 * HOUR),
            reply: within(s, "reply", 4 * HOUR),
            safety: within(s, "safety", 5 * MINUTE),
            maybe_cancel_visit: within(s, "maybe_cancel_visit", HOUR),
            plan_exhausted: s.section("plan_exhausted", |s| DueTimes::read(s, false)),
            outcome_unknown: s.section("outcome_unknown", |s| DueTimes::read(s, true)),
            came_back: s.section("came_back", |s| DueTimes::read(s, false)),
        }
    }
}

impl DueTimes {
    fn read(s: &mut Section<'_>, has_bulk: bool) -> Self {
        Self {
            urgent: within(s, "urgent", 15 * MINUTE),
            normal: within(s, "normal", 4 * HOUR),
            bulk: has_bulk.then(|| within(s, "bulk", DAY)),
        }
    }
}

fn within(s: &mut Section<'_>, key: &str, default_s: u64) -> Duration {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(14 * DAY);
    s.or(key, Span(bounds), Duration::from_secs(default_s))
}
