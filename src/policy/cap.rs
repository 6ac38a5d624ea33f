//! How often somebody may be disturbed: so many messages a day and so many a week, over all sources and campaigns.
//!
//! A message counts once, however many attempts and steps it takes. Counted are the person and the address apart:
//! whoever answers the phone of a household is one person too.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::domain::ids::MessageId;
use crate::domain::words::Channel;

const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How much is too much. The defaults are those of the health-care exemption: one message a day and three a week,
/// calls and texts together (47 CFR 64.1200(a)(9)(iv)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapRules {
    /// In one calendar day where the recipient lives; 0 is no limit.
    pub per_day: u32,
    /// In any seven days; 0 is no limit.
    pub per_week: u32,
    /// What counts, all of them together.
    pub channels: Vec<Channel>,
    /// Each step of a message's plan counts, not the message once.
    pub each_step: bool,
}

/// What counts once: a message, whatever its steps; or, where each of them counts, one step of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outreach {
    message: MessageId,
    step: u16,
}

impl From<MessageId> for Outreach {
    fn from(message: MessageId) -> Self {
        Self { message, step: 0 }
    }
}

impl CapRules {
    /// Whether a message over `channel` counts.
    #[must_use]
    pub fn counts(&self, channel: Channel) -> bool {
        (self.per_day > 0 || self.per_week > 0) && self.channels.contains(&channel)
    }

    /// As what the step of a message counts.
    #[must_use]
    pub fn outreach(&self, message: MessageId, step: u16) -> Outreach {
        Outreach { message, step: if self.each_step { step } else { 0 } }
    }
}

/// The messages of the last seven days that count, as the ledger keeps them with a person or an address:
/// `<milliseconds since 1970>/<message id>`, a space between two; behind the id of a later step that counts, `+<step>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    sent: Vec<(Timestamp, Outreach)>,
    kept: Option<String>,
}

impl Recent {
    /// Reads what the ledger keeps. What is not of this form counts for nothing.
    #[must_use]
    pub fn parse(kept: Option<&str>) -> Self {
        let one = |entry: &str| {
            let (at, id) = entry.split_once('/')?;
            let at = Timestamp::from_millisecond(at.parse().ok()?).ok()?;
            let (id, step) = id.split_once('+').unwrap_or((id, "0"));
            let message = MessageId(uuid::Uuid::try_parse(id).ok()?);
            Some((at, Outreach { message, step: step.parse().ok()? }))
        };
        let sent = kept.unwrap_or_default().split(' ').filter_map(one).collect();
        Self { sent, kept: kept.map(str::to_owned) }
    }

    /// The text it was read from, by which the ledger sees whether it still stands.
    #[must_use]
    pub fn kept(&self) -> Option<&str> {
        self.kept.as_deref()
    }

    /// The entry of one message.
    #[must_use]
    pub fn entry(at: Timestamp, of: impl Into<Outreach>) -> String {
        let Outreach { message, step } = of.into();
        let entry = format!("{}/{}", at.as_millisecond(), message.0.simple());
        if step == 0 { entry } else { format!("{entry}+{step}") }
    }

    /// What the ledger shall keep once it is sent at `now`: it, and what is not too old to matter.
    #[must_use]
    pub fn with(&self, of: impl Into<Outreach>, now: Timestamp) -> String {
        let new = of.into();
        let others = self.sent.iter().filter(|(at, id)| *id != new && *at > now - WEEK);
        let mut entries: Vec<String> = others.map(|(at, id)| Self::entry(*at, *id)).collect();
        entries.push(Self::entry(now, new));
        entries.join(" ")
    }

    /// Whether it is among them: then it may go on, whatever else there is.
    #[must_use]
    pub fn has(&self, of: impl Into<Outreach>) -> bool {
        let asked = of.into();
        self.sent.iter().any(|(_, id)| *id == asked)
    }

    /// How many there were on the day of `now` in `zone`, and in the seven days before it.
    #[must_use]
    pub fn used(&self, now: Timestamp, zone: &TimeZone) -> Used {
        let today = now.to_zoned(zone.clone()).date();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Used {
            day: count(self.sent.iter().filter(|(at, _)| at.to_zoned(zone.clone()).date() == today).count()),
            week: count(self.sent.iter().filter(|(at, _)| *at > now - WEEK).count()),
        }
    }
}

/// How much of a cap is used. Of two, more is what has more of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Used {
    pub week: u32,
    pub day: u32,
}

/// The first instant at or after `now` at which one more would be within the cap. `reserved` places are kept for
/// others that are due within a day.
#[must_use]
pub fn next_allowed(
    rules: &CapRules,
    recent: &Recent,
    of: impl Into<Outreach>,
    reserved: u32,
    zone: &TimeZone,
    now: Timestamp,
) -> Timestamp {
    if recent.has(of) {
        return now;
    }
    let mut at = now;
    // A day further each time: more than a week is never asked for, because nothing older counts.
    for _ in 0..9 {
        let used = recent.used(at, zone);
        // What is reserved takes its place in the first day only: by the next one it was sent, and counts itself.
        let reserved = if at == now { reserved } else { 0 };
        let day_full = rules.per_day > 0 && used.day.saturating_add(reserved) >= rules.per_day;
        let week_full = rules.per_week > 0 && used.week.saturating_add(reserved) >= rules.per_week;
        if !day_full && !week_full {
            return at;
        }
        let from = at;
        if week_full {
            at = leaves_the_week(rules, recent, from);
        }
        // Where only a reserved place fills the week, it is asked again the next day.
        if day_full || at == from {
            at = at.max(midnight_after(from, zone));
        }
    }
    at
}

/// When the day of `at` is over in `zone`.
#[must_use]
pub fn midnight_after(at: Timestamp, zone: &TimeZone) -> Timestamp {
    let day = at.to_zoned(zone.clone()).date();
    let next = day.tomorrow().ok().and_then(|tomorrow| tomorrow.to_zoned(zone.clone()).ok());
    let last = || at.saturating_add(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX);
    next.map_or_else(last, |midnight| midnight.timestamp())
}

/// When so many have become older than a week that one more is within the cap.
fn leaves_the_week(rules: &CapRules, recent: &Recent, at: Timestamp) -> Timestamp {
    let mut sent: Vec<Timestamp> = recent.sent.iter().map(|(sent, _)| *sent).collect();
    sent.sort_unstable();
    let too_many = (sent.len() + 1).saturating_sub(usize::try_from(rules.per_week).unwrap_or(usize::MAX));
    let last = too_many.checked_sub(1).and_then(|n| sent.get(n));
    last.map_or(at, |sent| (*sent + WEEK).max(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> CapRules {
        CapRules { per_day: 1, per_week: 3, channels: vec![Channel::Sms, Channel::Voice], each_step: false }
    }

    fn chicago() -> TimeZone {
        TimeZone::get("America/Chicago").unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn recent(times: &[&str]) -> Recent {
        let entries: Vec<String> =
            times.iter().map(|t| Recent::entry(at(t), MessageId::generate())).collect();
        Recent::parse(Some(&entries.join(" ")))
    }

    fn next(times: &[&str], reserved: u32) -> Timestamp {
        let now = at("2026-12-02T18:00:00Z");
        next_allowed(&rules(), &recent(times), MessageId::generate(), reserved, &chicago(), now)
    }

    #[test]
    fn one_a_day_and_three_a_week() {
        let now = at("2026-12-02T18:00:00Z");
        let midnight = at("2026-12-03T06:00:00Z");
        for (why, times, expected) in [
            ("nothing was sent", &[][..], now),
            ("one yesterday evening, by the clock of Chicago", &["2026-12-02T05:59:00Z"], now),
            ("one this morning", &["2026-12-02T06:01:00Z"], midnight),
            (
                "three this week, none today",
                &["2026-11-27T15:00:00Z", "2026-11-28T15:00:00Z", "2026-11-29T15:00:00Z"],
                at("2026-12-04T15:00:00Z"),
            ),
            (
                "three this week, one of them today",
                &["2026-11-26T12:00:00Z", "2026-11-29T15:00:00Z", "2026-12-02T15:00:00Z"],
                at("2026-12-03T12:00:00Z"),
            ),
            (
                "older ones do not count",
                &["2026-11-20T15:00:00Z", "2026-11-21T15:00:00Z", "2026-11-22T15:00:00Z"],
                now,
            ),
        ] {
            assert_eq!(next(times, 0), expected, "{why}");
        }
    }

    #[test]
    fn a_day_is_over_when_the_clock_of_its_place_says_so() {
        for (now, over) in [
            ("2026-12-02T18:00:00Z", "2026-12-03T06:00:00Z"),
            ("2026-12-03T06:00:00Z", "2026-12-04T06:00:00Z"),
            // A day of 23 hours.
            ("2026-03-08T06:00:00Z", "2026-03-09T05:00:00Z"),
        ] {
            assert_eq!(midnight_after(at(now), &chicago()), at(over), "{now}");
        }
        assert_eq!(midnight_after(Timestamp::MAX, &chicago()), Timestamp::MAX, "no midnight comes any more");
    }

    #[test]
    fn what_is_due_soon_keeps_its_place() {
        assert_eq!(next(&[], 1), at("2026-12-03T06:00:00Z"));
        // The week is full only by what is kept for another, which is sent by the next day, and counts itself then.
        let (now, rules) = (at("2026-12-02T18:00:00Z"), CapRules { per_day: 0, ..rules() });
        let two = recent(&["2026-11-28T15:00:00Z", "2026-11-29T15:00:00Z"]);
        let after = next_allowed(&rules, &two, MessageId::generate(), 1, &chicago(), now);
        assert_eq!(after, at("2026-12-03T06:00:00Z"));
    }

    #[test]
    fn a_message_counts_where_its_channel_does_and_a_limit_is_set() {
        for (per_day, per_week, channel, expected) in [
            (1, 3, Channel::Sms, true),
            (1, 0, Channel::Sms, true),
            (0, 1, Channel::Voice, true),
            (0, 0, Channel::Sms, false),
            (1, 3, Channel::Email, false),
        ] {
            let rules = CapRules { per_day, per_week, ..rules() };
            assert_eq!(rules.counts(channel), expected, "{per_day} a day, {per_week} a week, by {channel}");
        }
    }

    #[test]
    fn a_message_counts_once() {
        let now = at("2026-12-02T18:00:00Z");
        let message = MessageId::generate();
        let sent = Recent::parse(Some(&Recent::default().with(message, now)));
        assert!(sent.has(message));
        assert_eq!(next_allowed(&rules(), &sent, message, 0, &chicago(), now), now, "its second step may go");
        assert_eq!(
            Recent::parse(Some(&sent.with(message, now + SignedDuration::from_hours(1)))).sent.len(),
            1
        );
    }

    #[test]
    fn the_steps_of_one_message_count_once_or_each() {
        let now = at("2026-12-02T18:00:00Z");
        let message = MessageId::generate();
        for (each_step, expected) in [(false, now), (true, at("2026-12-03T06:00:00Z"))] {
            let rules = CapRules { each_step, ..rules() };
            let first = Recent::default().with(rules.outreach(message, 0), now);
            let sent = Recent::parse(Some(&first));
            assert!(sent.has(message), "as it was always kept");
            let second = rules.outreach(message, 1);
            assert_eq!(next_allowed(&rules, &sent, second, 0, &chicago(), now), expected);
            let both = Recent::parse(Some(&sent.with(second, now)));
            assert_eq!(both.sent.len(), if each_step { 2 } else { 1 });
            assert!(both.has(second) && both.has(message));
        }
    }

    #[test]
    fn what_is_kept_does_not_grow() {
        let mut now = at("2026-12-02T18:00:00Z");
        let mut text = None;
        for _ in 0..100 {
            now += SignedDuration::from_hours(12);
            text = Some(Recent::parse(text.as_deref()).with(MessageId::generate(), now));
        }
        let recent = Recent::parse(text.as_deref());
        assert_eq!((recent.sent.len(), recent.kept()), (14, text.as_deref()));
    }

    proptest::proptest! {
        #[test]
        fn the_answer_is_within_the_cap_and_never_early(
            hours in proptest::collection::vec(0_i64..300, 0..8), per_day in 0_u32..3, per_week in 0_u32..5,
        ) {
            let now = at("2026-12-02T18:00:00Z");
            let entries: Vec<String> = hours.iter()
                .map(|h| Recent::entry(now - SignedDuration::from_hours(*h), MessageId::generate())).collect();
            let recent = Recent::parse(Some(&entries.join(" ")));
            let rules = CapRules { per_day, per_week, ..rules() };
            let answer = next_allowed(&rules, &recent, MessageId::generate(), 0, &chicago(), now);
            let used = recent.used(answer, &chicago());
            proptest::prop_assert!(answer >= now);
            proptest::prop_assert!(per_day == 0 || used.day < per_day);
            proptest::prop_assert!(per_week == 0 || used.week < per_week);
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 64, failure_persistence: None, ..proptest::prelude::ProptestConfig::default()
        })]

        /// Messages and their steps come and fail at any time: no day and no seven days ever hold more than the cap, and what has
        /// to wait is told the first instant at which it may go.
        #[test]
        fn no_day_and_no_week_ever_holds_more_than_the_cap(
            comings in proptest::collection::vec((0_i64..2_500, 0_usize..9, 0_u16..3, 0_u8..8), 1..60),
            caps in (0_u32..4, 0_u32..7),
            each_step in proptest::bool::ANY,
            zone in proptest::sample::select(vec!["UTC", "America/Chicago", "Australia/Lord_Howe"]),
            hour in 0_i64..8_760,
        ) {
            let rules = CapRules { per_day: caps.0, per_week: caps.1, each_step, ..rules() };
            let zone = TimeZone::get(zone).unwrap();
            let date = |at: Timestamp| at.to_zoned(zone.clone()).date();
            let messages: Vec<MessageId> = (0..9).map(|_| MessageId::generate()).collect();
            let mut now = at("2026-01-01T00:00:00Z") + SignedDuration::from_hours(hour);
            // What went out and counts, each with its day; and what the ledger keeps of it.
            let mut sent: Vec<(Timestamp, jiff::civil::Date)> = Vec::new();
            let mut kept: Option<String> = None;
            for (minutes, message, step, chance) in comings {
                now += SignedDuration::from_mins(minutes);
                let one = rules.outreach(messages[message], step);
                let recent = Recent::parse(kept.as_deref());
                if recent.has(one) {
                    proptest::prop_assert_eq!(next_allowed(&rules, &recent, one, 0, &zone, now), now, "counted before");
                    continue;
                }
                let free = |at: Timestamp, sent: &[(Timestamp, jiff::civil::Date)]| {
                    let day = date(at);
                    let (today, week) = sent.iter().fold((0, 0), |(today, week), (then, on)| {
                        (today + u32::from(*on == day), week + u32::from(*then > at - WEEK))
                    });
                    (rules.per_day == 0 || today < rules.per_day) && (rules.per_week == 0 || week < rules.per_week)
                };
                let next = next_allowed(&rules, &recent, one, 0, &zone, now);
                proptest::prop_assert_eq!(next == now, free(now, &sent));
                if next > now {
                    proptest::prop_assert!(free(next, &sent), "it may go at {}", next);
                    proptest::prop_assert!(!free(next - SignedDuration::from_secs(1), &sent), "and might have before {}", next);
                    continue;
                }
                kept = Some(recent.with(one, now));
                // What fails at once is uncounted.
                if chance == 0 {
                    let entry = Recent::entry(now, one);
                    let left = |text: String| text.split(' ').filter(|e| *e != entry).collect::<Vec<_>>().join(" ");
                    kept = kept.map(left);
                } else {
                    sent.push((now, date(now)));
                }
            }
        }
    }
}
