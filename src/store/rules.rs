//! What the configuration says to the ledger beyond its clocks: how many jobs may come in, and when people are called.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::domain::ids::{ProviderName, SourceName};
use crate::domain::words::{Channel, Priority, WorkKind};
use crate::policy::surge::SurgeRules;

/// Rules that hold for everything that comes in and everything that goes wrong, by whatever way.
#[derive(Clone, Debug)]
pub struct LedgerRules {
    /// `None`: surges are not looked for.
    pub surge: Option<SurgeRules>,
    /// Jobs that a source may send in one calendar day; a source that is not named has no limit.
    pub per_day: BTreeMap<SourceName, u64>,
    /// Sources that are told by HTTP what becomes of their jobs.
    pub callbacks: BTreeSet<SourceName>,
    /// Whose midnight ends the day.
    pub zone: TimeZone,
    /// An outcome unknown for so long becomes a work item.
    pub unknown_deadline: SignedDuration,
    /// A receipt is awaited for so long.
    pub receipt_deadline: SignedDuration,
    pub work: WorkDue,
    pub emergencies: Emergencies,
    /// What each provider carries.
    pub channels: BTreeMap<ProviderName, Channel>,
}

/// Recipients of emergencies in an hour above which a second person is needed, for each source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emergencies {
    pub above: u64,
    /// Where it differs.
    pub by_source: BTreeMap<SourceName, u64>,
}

impl Emergencies {
    /// For this source.
    #[must_use]
    pub fn of(&self, source: &SourceName) -> u64 {
        self.by_source.get(source).copied().unwrap_or(self.above)
    }
}

/// After how long a work item that nobody has claimed is called out a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkDue {
    pub plan_exhausted: ByPriority,
    pub outcome_unknown: ByPriority,
    pub came_back: ByPriority,
    pub unacknowledged: SignedDuration,
    pub surge_hold: SignedDuration,
    pub hold_review: SignedDuration,
    pub reply: SignedDuration,
    pub safety: SignedDuration,
    pub maybe_cancel_visit: SignedDuration,
}

/// A length of time for each priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByPriority {
    pub urgent: SignedDuration,
    pub normal: SignedDuration,
    pub bulk: SignedDuration,
}

impl ByPriority {
    const fn of(&self, priority: Priority) -> SignedDuration {
        match priority {
            Priority::Urgent => self.urgent,
            Priority::Normal => self.normal,
            Priority::Bulk => self.bulk,
        }
    }
}

impl WorkDue {
    /// When an item that is opened `now` is due.
    #[must_use]
    pub fn at(&self, kind: WorkKind, priority: Priority, now: Timestamp) -> Timestamp {
        let span = match kind {
            WorkKind::PlanExhausted => self.plan_exhausted.of(priority),
            WorkKind::OutcomeUnknown => self.outcome_unknown.of(priority),
            WorkKind::CameBack => self.came_back.of(priority),
            WorkKind::Unacknowledged => self.unacknowledged,
            WorkKind::SurgeHold => self.surge_hold,
            WorkKind::HoldReview => self.hold_review,
            WorkKind::Reply => self.reply,
            WorkKind::Safety => self.safety,
            WorkKind::MaybeCancelVisit => self.maybe_cancel_visit,
        };
        now.checked_add(span).unwrap_or(Timestamp::MAX)
    }
}

impl Default for LedgerRules {
    /// No limits; the deadlines that the configuration has by default.
    fn default() -> Self {
        let (minutes, hours) = (SignedDuration::from_mins, SignedDuration::from_hours);
        Self {
            surge: None,
            per_day: BTreeMap::new(),
            callbacks: BTreeSet::new(),
            zone: TimeZone::UTC,
            unknown_deadline: hours(4),
            receipt_deadline: hours(72),
            emergencies: Emergencies { above: 50, by_source: BTreeMap::new() },
            channels: BTreeMap::new(),
            work: WorkDue {
                plan_exhausted: ByPriority { urgent: minutes(15), normal: hours(4), bulk: hours(4) },
                outcome_unknown: ByPriority { urgent: minutes(15), normal: hours(4), bulk: hours(24) },
                came_back: ByPriority { urgent: minutes(15), normal: hours(4), bulk: hours(4) },
                unacknowledged: minutes(10),
                surge_hold: minutes(15),
                hold_review: hours(4),
                reply: hours(4),
                safety: minutes(5),
                maybe_cancel_visit: hours(1),
            },
        }
    }
}
