//! The guard against surges: how many jobs an hour of one source, or of one template, are too many to be meant.
//!
//! The measure is what it has done before: `factor` times its busiest hour, and never less than `floor`. What is not
//! known long enough has no such measure: until then it is `learning_factor` times the floor.

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
    /// How many times the floor is too much until then.
    pub learning_factor: u32,
}

/// What a source or a template has done before. Hours are counted from 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The first hour that it is known from.
    pub since: i64,
    /// The most jobs in one hour of the window, the present hour left out.
    pub busiest: u64,
}

/// The most jobs of this `hour` that pass.
#[must_use]
pub fn line(history: &History, rules: &SurgeRules, hour: i64) -> u64 {
    let by_past = history.busiest.saturating_mul(u64::from(rules.factor)).max(rules.floor);
    if hour.saturating_sub(history.since) >= rules.learning_hours {
        return by_past;
    }
    by_past.max(rules.floor.saturating_mul(u64::from(rules.learning_factor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: SurgeRules =
        SurgeRules { factor: 5, floor: 500, window_hours: 336, learning_hours: 24, learning_factor: 10 };

    #[test]
    fn the_line_follows_the_busiest_hour_and_never_falls_below_the_floor() {
        for (busiest, expected) in [(0, 500), (99, 500), (100, 500), (101, 505), (8_000, 40_000)] {
            assert_eq!(line(&History { since: 0, busiest }, &RULES, 100), expected, "{busiest}");
        }
        assert_eq!(line(&History { since: 0, busiest: u64::MAX }, &RULES, 100), u64::MAX);
    }

    #[test]
    fn what_is_new_is_judged_by_the_floor_alone() {
        let history = History { since: 1_000, busiest: 10 };
        assert_eq!(line(&history, &RULES, 1_000), 5_000);
        assert_eq!(line(&history, &RULES, 1_023), 5_000);
        assert_eq!(line(&history, &RULES, 1_024), 500);
        let busy = History { since: 1_000, busiest: 4_000 };
        assert_eq!(line(&busy, &RULES, 1_001), 20_000, "what people have let go is a measure at once");
    }

    proptest::proptest! {
        #[test]
        fn a_busier_past_never_lowers_the_line(a in 0_u64..1_000_000, b in 0_u64..1_000_000, hour in 0_i64..2_000) {
            let at = |busiest| line(&History { since: 0, busiest }, &RULES, hour);
            proptest::prop_assert!(at(a.min(b)) <= at(a.max(b)));
        }
    }
}
