//! What receipts say of a provider: one that takes messages and does not deliver them fails too, only later.
//!
//! A sample of what it has taken is followed up. Each is judged once: it arrived, it did not and the provider is to
//! blame, or nothing was heard of it for too long. What is wrong with the recipient (no such number, opted out, nobody
//! picks up, a handset that is off) says nothing. Where too many of the last ones were bad, the provider is left alone.
//!
//! The sample is looked up in the ledger, because a receipt comes in wherever the webhook leads, not where the message
//! was sent. It reads no clock and waits for nothing: `now` is an argument.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::provider::BreakerSettings;
use crate::domain::failure::Failure;
use crate::domain::ids::AttemptId;
use crate::domain::status::AttemptStatus;
use crate::store::rows::Heard;

/// So many times as many as are judged are followed up at once: a sample is whole soon after its first is judged.
const FOLLOWED: u32 = 4;

/// What was heard of one message, as far as the provider is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Arrived,
    /// Not delivered, and the provider, or its carriers, are to blame.
    Lost,
    /// Says nothing of the provider.
    Mute,
    /// Nothing yet.
    Silence,
}

impl Word {
    /// What an attempt has come to says of its provider.
    pub(super) fn of(heard: &Heard) -> Self {
        match (heard.status, heard.failure) {
            (AttemptStatus::Delivered | AttemptStatus::Read, _) => Self::Arrived,
            (AttemptStatus::Sending | AttemptStatus::Unknown | AttemptStatus::Sent, _) => Self::Silence,
            (AttemptStatus::Undelivered, Some(failure)) if is_to_blame(failure, heard.code.as_deref()) => {
                Self::Lost
            }
            (AttemptStatus::Undelivered | AttemptStatus::Failed, _) => Self::Mute,
        }
    }
}

/// Whether another provider might have delivered it. 30003 is a handset that is off or out of reach; without it,
/// `unreachable` is what a carrier cannot explain (30008). What was not sent at all ran out of the time that we gave it.
fn is_to_blame(failure: Failure, code: Option<&str>) -> bool {
    match failure {
        Failure::Transient
        | Failure::Throttled
        | Failure::Rejected
        | Failure::Misconfigured
        | Failure::Blocked => true,
        Failure::Unreachable => code != Some("30003"),
        Failure::Ambiguous
        | Failure::BadAddress
        | Failure::OptedOut
        | Failure::NotSent
        | Failure::Landline
        | Failure::MailboxFull
        | Failure::NoAnswer => false,
    }
}

/// The sample of one provider.
#[derive(Debug)]
pub(super) struct Receipts {
    within: Duration,
    percent: u64,
    last: usize,
    /// Of so many messages one is followed up within this time.
    spacing: Duration,
    waiting: VecDeque<(AttemptId, Instant)>,
    /// Of the last ones that were judged: whether each was bad.
    judged: VecDeque<bool>,
}

impl Receipts {
    pub(super) fn new(settings: &BreakerSettings) -> Self {
        let spacing = settings.receipt_within / (settings.receipt_last.max(1) * FOLLOWED);
        Self {
            within: settings.receipt_within,
            percent: u64::from(settings.receipt_percent),
            last: usize::try_from(settings.receipt_last).unwrap_or(usize::MAX),
            spacing,
            waiting: VecDeque::new(),
            judged: VecDeque::new(),
        }
    }

    /// The provider has taken a message.
    pub(super) fn taken(&mut self, attempt: AttemptId, now: Instant) {
        let soon =
            self.waiting.back().is_some_and(|(_, at)| now.saturating_duration_since(*at) < self.spacing);
        if !self.within.is_zero() && !soon {
            self.waiting.push_back((attempt, now));
        }
    }

    /// Those of which more is to be heard.
    pub(super) fn waiting(&self) -> Vec<AttemptId> {
        self.waiting.iter().map(|(attempt, _)| *attempt).collect()
    }

    /// Judges those of which enough was heard, or nothing for too long.
    pub(super) fn judge(&mut self, heard: &[Heard], now: Instant) {
        let words: HashMap<AttemptId, Word> = heard.iter().map(|h| (h.attempt, Word::of(h))).collect();
        let mut still = VecDeque::with_capacity(self.waiting.len());
        for (attempt, at) in std::mem::take(&mut self.waiting) {
            let late = now.saturating_duration_since(at) >= self.within;
            match words.get(&attempt) {
                Some(Word::Arrived) => self.judged.push_back(false),
                Some(Word::Lost) => self.judged.push_back(true),
                Some(Word::Silence) if late => self.judged.push_back(true),
                // What is not in the ledger is not followed for ever.
                None if late => {}
                Some(Word::Mute) => {}
                Some(Word::Silence) | None => still.push_back((attempt, at)),
            }
        }
        self.waiting = still;
        while self.judged.len() > self.last {
            self.judged.pop_front();
        }
    }

    /// Whether too many of the last ones were bad. Fewer than are looked at say nothing.
    pub(super) fn are_bad(&self) -> bool {
        let bad = u64::try_from(self.judged.iter().filter(|bad| **bad).count()).unwrap_or(u64::MAX);
        let all = u64::try_from(self.judged.len()).unwrap_or(u64::MAX);
        self.last > 0 && self.judged.len() >= self.last && bad.saturating_mul(100) >= self.percent * all
    }

    /// The share of bad ones, in percent; 0 where nothing was judged.
    pub(super) fn bad_percent(&self) -> u64 {
        let bad = u64::try_from(self.judged.iter().filter(|bad| **bad).count()).unwrap_or_default();
        (bad * 100).checked_div(u64::try_from(self.judged.len()).unwrap_or_default()).unwrap_or_default()
    }

    /// The provider is left alone: what it took before says nothing of what it does once it is back.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.judged.clear();
    }

    /// How long nothing is to be sent, at least: sooner, no receipt could show that it has changed.
    pub(super) const fn within(&self) -> Duration {
        self.within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn settings() -> BreakerSettings {
        BreakerSettings {
            receipt_within: 10 * MINUTE,
            receipt_percent: 50,
            receipt_last: 10,
            ..BreakerSettings::default()
        }
    }

    fn heard(
        attempt: AttemptId,
        status: AttemptStatus,
        failure: Option<Failure>,
        code: Option<&str>,
    ) -> Heard {
        Heard { attempt, status, failure, code: code.map(str::to_owned) }
    }

    #[test]
    fn what_a_receipt_says_of_the_provider() {
        use AttemptStatus::{Delivered, Failed, Read, Sending, Sent, Undelivered, Unknown};
        for (status, failure, code, expected) in [
            (Delivered, None, None, Word::Arrived),
            (Read, None, None, Word::Arrived),
            (Sent, None, None, Word::Silence),
            (Sending, None, None, Word::Silence),
            (Unknown, Some(Failure::Ambiguous), None, Word::Silence),
            (Undelivered, Some(Failure::Blocked), Some("30007"), Word::Lost),
            (Undelivered, Some(Failure::Unreachable), Some("30008"), Word::Lost),
            (Undelivered, Some(Failure::Transient), Some("30410"), Word::Lost),
            (Undelivered, Some(Failure::Unreachable), Some("30003"), Word::Mute),
            (Undelivered, Some(Failure::BadAddress), Some("30005"), Word::Mute),
            (Undelivered, Some(Failure::Landline), Some("30006"), Word::Mute),
            (Undelivered, Some(Failure::OptedOut), Some("21610"), Word::Mute),
            (Undelivered, Some(Failure::NoAnswer), None, Word::Mute),
            (Undelivered, Some(Failure::NotSent), Some("30036"), Word::Mute),
            (Failed, Some(Failure::Rejected), None, Word::Mute),
        ] {
            let said = heard(AttemptId::generate(), status, failure, code);
            assert_eq!(Word::of(&said), expected, "{status} {failure:?} {code:?}");
        }
    }

    /// Sends one every two minutes, each of which comes to what stands there: `d`elivered, `b`locked, `a` bad address,
    /// `-` nothing; and then waits for so long.
    fn run(story: &str, then: Duration) -> bool {
        let mut receipts = Receipts::new(&settings());
        let start = Instant::now();
        let mut now = start;
        let mut all = Vec::new();
        for kind in story.chars() {
            let attempt = AttemptId::generate();
            receipts.taken(attempt, now);
            all.push(match kind {
                'd' => heard(attempt, AttemptStatus::Delivered, None, None),
                'b' => heard(attempt, AttemptStatus::Undelivered, Some(Failure::Blocked), Some("30007")),
                'a' => heard(attempt, AttemptStatus::Undelivered, Some(Failure::BadAddress), Some("30005")),
                _ => heard(attempt, AttemptStatus::Sent, None, None),
            });
            receipts.judge(&all, now);
            now += 2 * MINUTE;
        }
        receipts.judge(&all, now + then);
        receipts.are_bad()
    }

    #[test]
    fn what_is_too_bad() {
        let none = Duration::ZERO;
        for (what, story, then, expected) in [
            ("all arrives", "dddddddddd", none, false),
            ("half is kept back", "dbdbdbdbdb", none, true),
            ("less is", "ddbdbdbdbd", none, false),
            ("too few to tell", "bbbbbbbbb", none, false),
            ("nothing is heard, and it is early", "----------", none, false),
            ("nothing is heard for long", "----------", 10 * MINUTE, true),
            ("half of it", "d-d-d-d-d-", 10 * MINUTE, true),
            ("numbers that do not exist", "aaaaaaaaaaaaaaaaaaaa", 10 * MINUTE, false),
            ("they do not count", "bbbbbaaaaaaaaaabbbbb", none, true),
            ("only the last ones count", "bbbbbbbbbbdddddddddd", none, false),
        ] {
            assert_eq!(run(story, then), expected, "{what}");
        }
    }

    #[test]
    fn a_flood_is_sampled_and_what_is_forgotten_says_nothing() {
        let mut receipts = Receipts::new(&settings());
        let start = Instant::now();
        for n in 0..100_000 {
            receipts.taken(AttemptId::generate(), start + Duration::from_millis(6) * n);
        }
        assert!(receipts.waiting().len() <= 41, "{}", receipts.waiting().len());
        let silent: Vec<Heard> =
            receipts.waiting().into_iter().map(|id| heard(id, AttemptStatus::Sent, None, None)).collect();
        receipts.judge(&silent, start + 30 * MINUTE);
        assert!(receipts.are_bad() && receipts.bad_percent() == 100);
        receipts.forget();
        assert!(!receipts.are_bad() && receipts.bad_percent() == 0);
        let off = BreakerSettings { receipt_within: Duration::ZERO, ..settings() };
        let mut off = Receipts::new(&off);
        off.taken(AttemptId::generate(), start);
        assert!(off.waiting().is_empty());
    }
}
