//! What follows a failed attempt.

use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};

use crate::domain::outbound::FailureKind;
use crate::domain::words::Reason;

/// Pause when our account or sender is at fault: a person has to act first.
const MISCONFIGURED: SignedDuration = SignedDuration::from_mins(2);

/// How patiently a route is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryRules {
    /// Attempts of one step before the next route.
    pub max_tries: u16,
    /// Pause after the first failure; doubles with each further one.
    pub first_pause: SignedDuration,
    /// No pause is longer.
    pub longest_pause: SignedDuration,
    /// A provider's own `Retry-After` is believed up to here.
    pub longest_retry_after: SignedDuration,
    /// The share of a pause that chance may take off, 0 to 1.
    pub jitter_share: f64,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same route again, not before this instant.
    Retry(Timestamp),
    /// This route is done with, for this reason.
    NextRoute(Reason),
    /// The provider may have taken it: nothing is sent again before that is known.
    Unknown,
}

/// Whether a failure costs no try: the provider asks for time, or somebody of ours has to act, and the message is not refused.
#[must_use]
pub const fn costs_no_try(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Throttled { .. } | FailureKind::Misconfigured)
}

/// Decides what follows the failure `kind`, the `tries`-th attempt of its step.
///
/// `jitter` is in `[0, 1)`: it takes off the rules' share of a pause, so that many messages that failed together do
/// not come back together. `dedupes`: the provider knows a repeat by our send key, so an unknown outcome may
/// be sent again.
#[must_use]
pub fn after_failure(
    kind: FailureKind,
    tries: u16,
    dedupes: bool,
    rules: &RetryRules,
    now: Timestamp,
    jitter: f64,
) -> Next {
    let out_of_tries = tries >= rules.max_tries;
    match kind {
        FailureKind::Ambiguous if dedupes && !out_of_tries => {
            Next::Retry(later(now, pause(tries, rules), rules, jitter))
        }
        FailureKind::Ambiguous => Next::Unknown,
        FailureKind::Transient if out_of_tries => Next::NextRoute(Reason::ProviderUnavailable),
        FailureKind::Transient => Next::Retry(later(now, pause(tries, rules), rules, jitter)),
        // A provider that asks us to slow down has not refused the message: patience costs no try.
        FailureKind::Throttled { retry_after } => {
            let asked = retry_after.map_or_else(|| pause(tries, rules), |d| d.min(rules.longest_retry_after));
            let least = asked.max(SignedDuration::from_millis(100));
            Next::Retry(add(now, least + spread(pause(1, rules), jitter)))
        }
        FailureKind::BadAddress => Next::NextRoute(Reason::InvalidAddress),
        FailureKind::OptedOut => Next::NextRoute(Reason::OptedOut),
        FailureKind::Rejected => Next::NextRoute(Reason::ProviderRejected),
        FailureKind::Misconfigured => Next::Retry(later(now, MISCONFIGURED, rules, jitter)),
    }
}

fn pause(tries: u16, rules: &RetryRules) -> SignedDuration {
    doubled(rules.first_pause, rules.longest_pause, u32::from(tries))
}

fn later(now: Timestamp, pause: SignedDuration, rules: &RetryRules, jitter: f64) -> Timestamp {
    add(now, less(pause, rules.jitter_share, jitter))
}

/// The pause after the `times`-th failure in a row: `first`, and twice as long each time, up to `longest`.
pub(super) fn doubled(first: SignedDuration, longest: SignedDuration, times: u32) -> SignedDuration {
    let doublings = times.saturating_sub(1).min(20);
    first.checked_mul(1 << doublings).map_or(longest, |pause| pause.min(longest))
}

/// A pause less what chance takes off of it, at most its `share`.
pub(super) fn less(pause: SignedDuration, share: f64, jitter: f64) -> SignedDuration {
    let by_chance = spread(pause, share);
    pause - by_chance + spread(by_chance, jitter)
}

fn spread(over: SignedDuration, jitter: f64) -> SignedDuration {
    over.mul_f64(jitter.clamp(0.0, 1.0))
}

pub(super) fn add(now: Timestamp, pause: SignedDuration) -> Timestamp {
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// A pause asked for is believed up to this.
const MAX_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Reads Retry-After, in seconds or as a date; a date counts from the answer's own `date`, so that two clocks never
/// meet (RFC 9110, 10.2.3). At most a day.
#[must_use]
pub fn retry_after(value: &str, date: Option<&str>) -> Option<SignedDuration> {
    let value = value.trim();
    let pause = if let Ok(seconds) = value.parse::<u32>() {
        SignedDuration::from_secs(i64::from(seconds))
    } else {
        let until = rfc2822::parse(value).ok()?.timestamp();
        until.duration_since(rfc2822::parse(date?).ok()?.timestamp())
    };
    Some(pause.clamp(SignedDuration::ZERO, MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const RULES: RetryRules = RetryRules {
        max_tries: 6,
        first_pause: SignedDuration::from_secs(5),
        longest_pause: SignedDuration::from_mins(15),
        longest_retry_after: SignedDuration::from_hours(1),
        jitter_share: 0.5,
    };

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn after(kind: FailureKind, tries: u16, dedupes: bool) -> Next {
        after_failure(kind, tries, dedupes, &RULES, NOW, 0.5)
    }

    #[test]
    fn an_unknown_outcome_is_repeated_only_where_the_provider_recognises_a_repeat() {
        assert_eq!(after(FailureKind::Ambiguous, 1, false), Next::Unknown);
        assert!(matches!(after(FailureKind::Ambiguous, 1, true), Next::Retry(_)));
    }

    #[test]
    fn pauses_double_and_stop_growing() {
        let seconds = |tries| match after(FailureKind::Transient, tries, false) {
            Next::Retry(at) => at.as_second(),
            other => panic!("{other:?}"),
        };
        assert!(seconds(1) < seconds(2) && seconds(2) < seconds(3));
        let rules = RetryRules { max_tries: 1000, ..RULES };
        let Next::Retry(at) = after_failure(FailureKind::Transient, 900, false, &rules, NOW, 0.99) else {
            panic!()
        };
        assert!(at.as_second() <= rules.longest_pause.as_secs());
    }

    #[test]
    fn a_route_that_fails_for_good_is_left() {
        assert_eq!(after(FailureKind::BadAddress, 1, true), Next::NextRoute(Reason::InvalidAddress));
        assert_eq!(after(FailureKind::OptedOut, 1, true), Next::NextRoute(Reason::OptedOut));
        assert_eq!(after(FailureKind::Transient, 6, true), Next::NextRoute(Reason::ProviderUnavailable));
    }

    #[test]
    fn patience_costs_no_try() {
        for kind in [FailureKind::Throttled { retry_after: None }, FailureKind::Misconfigured] {
            assert!(costs_no_try(kind));
            assert!(matches!(after(kind, RULES.max_tries, false), Next::Retry(_)), "{kind:?}");
        }
        assert!(!costs_no_try(FailureKind::Transient));
    }

    #[test]
    fn retry_after_is_honoured_within_reason() {
        let asked = |secs| FailureKind::Throttled { retry_after: Some(SignedDuration::from_secs(secs)) };
        let Next::Retry(at) = after(asked(30), 1, false) else { panic!() };
        assert!(at.as_second() >= 30);
        let Next::Retry(at) = after(asked(999_999), 1, false) else { panic!() };
        assert!(at.as_second() <= 3605);
    }

    #[test]
    fn a_pause_is_read_in_seconds_or_by_the_clock_of_the_answer() {
        let (ten, later) = (Some("Sun, 22 Nov 2026 10:00:00 GMT"), "Sun, 22 Nov 2026 10:01:30 GMT");
        for (value, date, expected) in [
            (" 7 ", None, Some(7)),
            ("90000", None, Some(86_400)),
            (later, ten, Some(90)),
            (later, None, None),
        ] {
            assert_eq!(retry_after(value, date), expected.map(SignedDuration::from_secs), "{value} {date:?}");
        }
    }

    /// Rules as the configuration lets them be.
    fn rules() -> impl Strategy<Value = RetryRules> {
        let pause = || 100_i64..=86_400_000;
        (1_u16..=50, pause(), pause(), pause(), 0_u8..=100).prop_map(
            |(max_tries, one, other, retry_after, percent)| RetryRules {
                max_tries,
                first_pause: SignedDuration::from_millis(one.min(other)),
                longest_pause: SignedDuration::from_millis(one.max(other)),
                longest_retry_after: SignedDuration::from_millis(retry_after),
                jitter_share: f64::from(percent) / 100.0,
            },
        )
    }

    fn failure() -> impl Strategy<Value = FailureKind> {
        prop_oneof![
            6 => Just(FailureKind::Transient),
            4 => Just(FailureKind::Ambiguous),
            3 => proptest::option::of(0_i64..200_000).prop_map(|asked| FailureKind::Throttled {
                retry_after: asked.map(SignedDuration::from_secs),
            }),
            1 => Just(FailureKind::Misconfigured),
            1 => select(vec![FailureKind::BadAddress, FailureKind::OptedOut, FailureKind::Rejected]),
        ]
    }

    /// The shortest and the longest wait after the `number`-th try.
    fn bounds(kind: FailureKind, number: u16, rules: &RetryRules) -> (SignedDuration, SignedDuration) {
        let jittered = |whole: SignedDuration| (whole - whole.mul_f64(rules.jitter_share), whole);
        match kind {
            FailureKind::Throttled { retry_after } => {
                let asked = retry_after.map_or(pause(number, rules), |d| d.min(rules.longest_retry_after));
                let least = asked.max(SignedDuration::from_millis(100));
                (least, least + rules.first_pause)
            }
            FailureKind::Misconfigured => jittered(MISCONFIGURED),
            _ => jittered(pause(number, rules)),
        }
    }

    proptest! {
        /// Whatever a route answers, one try after the other: the next one comes neither before nor after its time, none comes
        /// beyond those that are allowed, and it ends as the last answer says.
        #[test]
        fn a_route_is_tried_so_often_and_no_sooner_than_it_may_be(
            rules in rules(),
            dedupes in any::<bool>(),
            answers in prop::collection::vec((failure(), 0.0..1.0_f64), 1..120),
        ) {
            let (mut now, mut costly) = (NOW, 0_u16);
            for (kind, jitter) in answers {
                // As the ledger counts them: what cost nothing has its number again.
                let number = costly + 1;
                let next = after_failure(kind, number, dedupes, &rules, now, jitter);
                prop_assert_eq!(next, after_failure(kind, number, dedupes, &rules, now, jitter), "the same again");
                costly += u16::from(!costs_no_try(kind));
                prop_assert!(costly <= rules.max_tries);
                match (next, kind) {
                    (Next::Retry(at), _) => {
                        let (least, most) = bounds(kind, number, &rules);
                        let wait = at.duration_since(now);
                        prop_assert!(least <= wait && wait <= most, "{:?} of {:?} to {:?}", wait, least, most);
                        let furthest = rules.longest_pause.max(rules.longest_retry_after).max(MISCONFIGURED);
                        prop_assert!(wait <= furthest + rules.first_pause);
                        prop_assert!(costs_no_try(kind) || costly < rules.max_tries, "another one is allowed");
                        prop_assert!(kind != FailureKind::Ambiguous || dedupes);
                        now = at;
                    }
                    (Next::Unknown, FailureKind::Ambiguous) => {
                        prop_assert!(!dedupes || costly == rules.max_tries);
                        break;
                    }
                    (Next::NextRoute(reason), FailureKind::Transient) => {
                        prop_assert_eq!((reason, costly), (Reason::ProviderUnavailable, rules.max_tries));
                        break;
                    }
                    (Next::NextRoute(_), FailureKind::BadAddress | FailureKind::OptedOut | FailureKind::Rejected) => break,
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                }
            }
        }

        /// A later failure is not waited for less, nor is one that chance lets wait longer.
        #[test]
        fn pauses_only_grow(
            rules in rules(), kind in failure(), numbers in (1_u16..60, 1_u16..60), chances in (0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let rules = RetryRules { max_tries: 100, ..rules };
            let at = |number, jitter| after_failure(kind, number, true, &rules, NOW, jitter);
            let (number, chance) = (numbers.0.min(numbers.1), chances.0.min(chances.1));
            let pairs = [
                (at(number, chance), at(numbers.0.max(numbers.1), chance)),
                (at(number, chance), at(number, chances.0.max(chances.1))),
            ];
            for pair in pairs {
                match pair {
                    (Next::Retry(first), Next::Retry(second)) => prop_assert!(first <= second),
                    (first, second) => prop_assert_eq!(first, second),
                }
            }
        }
    }
}
