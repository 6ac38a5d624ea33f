//! The wall clock of one zone, walked from one change to the next.
//!
//! Local time is a function of the instant, and nothing else is assumed of it: in a fold the same wall-clock hours
//! pass twice and count twice, in a gap the clock jumps, and a zone may skip a whole day. Between two transitions
//! the offset stands still, and between two boundaries of hours the answer does; so the walk goes from boundary to
//! transition to boundary, and is exact without ever counting minutes.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::domain::hours::{Holiday, WeekHours};
use crate::domain::patient::QuietHours;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Something that closes parts of the day.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition<'a> {
    /// Open within these hours only.
    Hours(&'a WeekHours),
    /// Closed within these.
    Quiet(QuietHours),
}

/// A zone and all that closes parts of its days.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall<'a> {
    pub(super) zone: &'a TimeZone,
    pub(super) conditions: &'a [Condition<'a>],
    pub(super) holidays: &'a [Holiday],
    /// Days that are holidays here beside those.
    pub(super) closed_days: &'a [Date],
}

/// What the wall clock says at one instant.
struct Reading {
    /// The first condition that is closed, by its place.
    closed_by: Option<usize>,
    /// How long the wall clock must run, in nanoseconds, before that can change.
    steady: i64,
}

/// An instant that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) at: Timestamp,
    /// The condition, by its place, that is closed there or, where an opening was looked for, was the last to be
    /// closed before it.
    pub(super) by: Option<usize>,
}

impl Wall<'_> {
    /// The first instant from `at` on that is open (or closed, as `open` asks); `None` where there is none
    /// before `horizon`.
    pub(super) fn first(&self, open: bool, at: Timestamp, horizon: Timestamp) -> Option<Found> {
        let (mut at, mut by) = (at, None);
        while at < horizon {
            let offset = self.zone.to_offset(at);
            let change = self.zone.following(at).next().map_or(Timestamp::MAX, |change| change.timestamp());
            while at < change && at < horizon {
                let reading = self.read(offset.to_datetime(at));
                if reading.closed_by.is_none() == open {
                    let by = if open { by } else { reading.closed_by };
                    return Some(Found { at, by });
                }
                by = reading.closed_by;
                let steady = SignedDuration::from_nanos(reading.steady);
                at = at.checked_add(steady).unwrap_or(Timestamp::MAX).min(change);
            }
        }
        None
    }

    fn read(&self, local: DateTime) -> Reading {
        let now = nanosecond(local.time());
        let mut reading = Reading { closed_by: None, steady: DAY - now };
        // The days are looked up once, and only where a rule asks.
        let mut holiday = None;
        for (place, condition) in self.conditions.iter().enumerate() {
            let (start, end, open_within) = match condition {
                Condition::Quiet(quiet) => (nanosecond(quiet.start), nanosecond(quiet.end), false),
                Condition::Hours(week) => {
                    let is_holiday = week.knows_holidays()
                        && *holiday.get_or_insert_with(|| self.is_holiday(local.date()));
                    let open = week.on(local.weekday(), is_holiday);
                    (i64::from(open.start) * SECOND, i64::from(open.end) * SECOND, true)
                }
            };
            let within = if start <= end { (start..end).contains(&now) } else { now >= start || now < end };
            if within != open_within && reading.closed_by.is_none() {
                reading.closed_by = Some(place);
            }
            for boundary in [start, end] {
                if boundary > now {
                    reading.steady = reading.steady.min(boundary - now);
                }
            }
        }
        reading
    }

    fn is_holiday(&self, date: Date) -> bool {
        self.closed_days.contains(&date) || self.holidays.iter().any(|holiday| holiday.falls_on(date))
    }
}

/// Nanoseconds since midnight on the wall.
fn nanosecond(time: Time) -> i64 {
    let seconds = i64::from(time.hour()) * 3_600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    seconds * SECOND + i64::from(time.subsec_nanosecond())
}
