//! The guard against surges: how many jobs an hour of one source, or of one template, are too many to be meant.
//!
//! The measure is what it has done before: `factor` times its busiest hour, and never less than `floor`. What is not
//! known long enough has no measure and is not judged.

/// The configured part of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurgeRules {
    /// How many times its busiest hour is too much.
    pub factor: u32,
    /// So many jobs in an hour are never too many.
    pub floor: u64,
    /// How far back its hours are looked at, in hours.
    pub window_hours: i64,
    /// For how long it must have been known, in hours.
    pub learning_hours: i64,
}

/// What a source or a template has done before. Hours are counted from 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The first hour that it is known from.
    pub since: i64,
    /// The most jobs in one hour of the window, the present hour left out.
    pub busiest: u64,
}

/// The most jobs of this `hour` that pass; `None`: it is not judged yet.
#[must_use]
pub fn line(history: &History, rules: &SurgeRules, hour: i64) -> Option<u64> {
    let known = hour.saturating_sub(history.since);
    (known >= rules.learning_hours)
        .then(|| history.busiest.saturating_mul(u64::from(rules.factor)).max(rules.floor))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: SurgeRules = SurgeRules { factor: 5, floor: 500, window_hours: 336, learning_hours: 24 };

    #[test]
    fn the_line_follows_the_busiest_hour_and_never_falls_below_the_floor() {
        for (busiest, expected) in [(0, 500), (99, 500), (100, 500), (101, 505), (8_000, 40_000)] {
            assert_eq!(line(&History { since: 0, busiest }, &RULES, 100), Some(expected), "{busiest}");
        }
        assert_eq!(line(&History { since: 0, busiest: u64::MAX }, &RULES, 100), Some(u64::MAX));
    }

    #[test]
    fn what_is_new_is_not_judged() {
        let history = History { since: 1_000, busiest: 10 };
        assert_eq!(line(&history, &RULES, 1_000), None);
        assert_eq!(line(&history, &RULES, 1_023), None);
        assert_eq!(line(&history, &RULES, 1_024), Some(500));
    }

    proptest::proptest! {
        #[test]
        fn a_busier_past_never_lowers_the_line(a in 0_u64..1_000_000, b in 0_u64..1_000_000, hour in 0_i64..2_000) {
            let at = |busiest| line(&History { since: 0, busiest }, &RULES, hour);
            proptest::prop_assert!(at(a.min(b)) <= at(a.max(b)));
        }
    }
}
