//! How patiently a result is posted: what follows one answer, and what follows a round of them.
//!
//! An event waits by itself after each refusal, twice as long every time. The receiver as a whole is left alone where
//! nothing gets through to it: then one event at a time shows whether it is back.

use jiff::{SignedDuration, Timestamp};

use super::retry::{add, doubled, less};

/// Pause of a receiver after the first round in which nothing got through; doubles with each further one.
const FIRST_REST: SignedDuration = SignedDuration::from_secs(1);
/// No rest is longer: a receiver that is back is noticed within this time.
const LONGEST_REST: SignedDuration = SignedDuration::from_mins(5);
/// The share of a pause that chance may take off.
const JITTER_SHARE: f64 = 0.5;

/// How patiently one event is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallbackRules {
    /// Pause after the first failure; doubles with each further one.
    pub first_pause: SignedDuration,
    /// No pause is longer.
    pub longest_pause: SignedDuration,
    /// An event that still fails so long after its first try is dead.
    pub give_up_after: SignedDuration,
}

/// What a receiver, or its absence, said to one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 2xx.
    Taken,
    /// 410: nobody wants it there any more.
    Gone,
    /// Anything else, and silence; with the pause that it asks for.
    Failed { retry_after: Option<SignedDuration> },
}

/// What becomes of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Done,
    /// Again, not before this instant.
    Again(Timestamp),
    /// Not again by itself: a person looks at it.
    Dead,
}

/// Decides what becomes of an event that has got `answer` to its `tries`-th try, the first of which was at `since`: one that
/// has waited behind others, however long, is tried more than once. `jitter` is in `[0, 1)`.
#[must_use]
pub fn after_answer(
    answer: Answer,
    tries: u32,
    since: Timestamp,
    rules: &CallbackRules,
    now: Timestamp,
    jitter: f64,
) -> Fate {
    let retry_after = match answer {
        Answer::Taken => return Fate::Done,
        Answer::Gone => return Fate::Dead,
        Answer::Failed { retry_after } => retry_after.unwrap_or(SignedDuration::ZERO),
    };
    if tries > 1 && now.duration_since(since) >= rules.give_up_after {
        return Fate::Dead;
    }
    let pause = less(doubled(rules.first_pause, rules.longest_pause, tries), JITTER_SHARE, jitter);
    Fate::Again(add(now, pause.max(retry_after)))
}

/// Some events posted to one receiver, as their answers came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// How many may be under way at once.
    at_once: u32,
    taken: u32,
    /// Failures since the last one that was taken.
    in_a_row: u32,
    retry_after: Option<SignedDuration>,
}

impl Round {
    /// A round of which nothing is known yet.
    #[must_use]
    pub const fn new(at_once: u32) -> Self {
        Self { at_once, taken: 0, in_a_row: 0, retry_after: None }
    }

    /// Notes one answer.
    pub fn note(&mut self, answer: Answer) {
        match answer {
            Answer::Taken => {
                self.taken += 1;
                self.in_a_row = 0;
            }
            Answer::Gone => self.in_a_row += 1,
            Answer::Failed { retry_after } => {
                self.in_a_row += 1;
                self.retry_after = self.retry_after.max(retry_after);
            }
        }
    }

    /// How many may be under way now: one less for each failure in a row, so that a receiver which goes down is asked
    /// no more often than as many as go at once; and none after it has asked for a pause.
    #[must_use]
    pub fn room(&self) -> u32 {
        if self.retry_after.is_some() { 0 } else { self.at_once.saturating_sub(self.in_a_row) }
    }

    fn got_through(&self) -> bool {
        self.room() > 0 && (self.taken > 0 || self.in_a_row == 0)
    }
}

/// How a receiver is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Rounds in a row in which nothing got through. From 1 on it is tried with one event at a time.
    pub failures: u32,
    /// Left alone until then.
    pub rests_until: Option<Timestamp>,
}

/// Decides how a receiver is to be treated after a round, before which it had `failures`.
#[must_use]
pub fn after_round(round: &Round, failures: u32, now: Timestamp, jitter: f64) -> Health {
    if round.got_through() {
        return Health::default();
    }
    let failures = failures.saturating_add(1);
    let rest = less(doubled(FIRST_REST, LONGEST_REST, failures), JITTER_SHARE, jitter);
    let rest = rest.max(round.retry_after.unwrap_or(SignedDuration::ZERO));
    Health { failures, rests_until: Some(add(now, rest)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const FAILED: Answer = Answer::Failed { retry_after: None };

    fn rules() -> CallbackRules {
        CallbackRules {
            first_pause: SignedDuration::from_secs(5),
            longest_pause: SignedDuration::from_hours(1),
            give_up_after: SignedDuration::from_hours(72),
        }
    }

    fn pause_s(tries: u32, retry_after: Option<i64>, jitter: f64) -> i64 {
        let answer = Answer::Failed { retry_after: retry_after.map(SignedDuration::from_secs) };
        match after_answer(answer, tries, NOW, &rules(), NOW, jitter) {
            Fate::Again(at) => at.as_second(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_chance_only_takes_off() {
        for (tries, most) in [(1, 5), (2, 10), (3, 20), (10, 2_560), (11, 3_600), (4_000_000_000, 3_600)] {
            assert_eq!(pause_s(tries, None, 1.0), most, "{tries}");
            assert_eq!(pause_s(tries, None, 0.0), most / 2, "{tries}");
        }
    }

    #[test]
    fn a_pause_that_is_asked_for_is_kept() {
        assert_eq!(pause_s(1, Some(600), 0.0), 600);
        assert_eq!(pause_s(11, Some(600), 1.0), 3_600);
    }

    #[test]
    fn what_has_failed_for_days_is_dead_and_what_is_gone_at_once() {
        let after = |hours, answer| {
            let now = add(NOW, SignedDuration::from_hours(hours));
            after_answer(answer, 2, NOW, &rules(), now, 0.5)
        };
        assert!(matches!(after(71, FAILED), Fate::Again(_)));
        assert_eq!(after(72, FAILED), Fate::Dead);
        assert_eq!(after(500, Answer::Taken), Fate::Done, "late is better than never");
        assert_eq!(after(0, Answer::Gone), Fate::Dead);
        let first =
            |answer| after_answer(answer, 1, NOW, &rules(), add(NOW, SignedDuration::from_hours(500)), 0.5);
        assert!(matches!(first(FAILED), Fate::Again(_)), "it had waited behind others, and was never tried");
        assert_eq!(first(Answer::Gone), Fate::Dead);
    }

    fn round(answers: &[Answer]) -> Round {
        let mut round = Round::new(4);
        answers.iter().for_each(|answer| round.note(*answer));
        round
    }

    #[test]
    fn a_receiver_is_left_alone_only_where_nothing_gets_through() {
        use Answer::{Gone, Taken};
        for (answers, failures) in [
            (&[Taken][..], 0),
            (&[FAILED, FAILED, Taken], 0),
            (&[Taken, FAILED, FAILED, FAILED], 0),
            (&[FAILED], 1),
            (&[Gone], 1),
            (&[Taken, FAILED, FAILED, Gone, FAILED], 1),
            (&[], 0),
        ] {
            assert_eq!(after_round(&round(answers), 0, NOW, 0.5).failures, failures, "{answers:?}");
        }
        assert_eq!(round(&[FAILED, FAILED, FAILED]).room(), 1);
        assert_eq!(round(&[FAILED, FAILED, FAILED, FAILED]).room(), 0);
        assert_eq!(round(&[FAILED, FAILED, FAILED, Taken]).room(), 4);
    }

    #[test]
    fn a_rest_grows_and_ends_with_the_first_that_gets_through() {
        let rest = |before, jitter| {
            let health = after_round(&round(&[FAILED]), before, NOW, jitter);
            assert_eq!(health.failures, before + 1);
            health.rests_until.unwrap().as_second()
        };
        assert_eq!((rest(0, 1.0), rest(1, 1.0), rest(2, 1.0), rest(30, 1.0)), (1, 2, 4, 300));
        assert_eq!(rest(30, 0.0), 150);
        assert_eq!(after_round(&round(&[Answer::Taken]), 30, NOW, 0.5), Health::default());
    }

    #[test]
    fn a_receiver_that_asks_for_a_pause_gets_it_although_others_got_through() {
        let busy = Answer::Failed { retry_after: Some(SignedDuration::from_secs(90)) };
        let round = round(&[Answer::Taken, busy]);
        assert_eq!(round.room(), 0);
        let health = after_round(&round, 0, NOW, 0.0);
        assert_eq!((health.failures, health.rests_until.unwrap().as_second()), (1, 90));
    }
}
