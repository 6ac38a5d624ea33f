//! Quiet hours: whether a message may disturb its recipient now, until when, and if not, from when on.
//!
//! A message may go where every clock that the recipient may live by is open by every rule that applies: the table
//! of the configuration, the site's quiet hours, the patient's own. The answer holds to the second over changes of
//! the clock, and says which rule in which zone decided.

mod wall;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::zones::{Place, ZoneSource};
use crate::domain::hours::HoursTable;
use crate::domain::patient::QuietHours;
use crate::domain::words::{Channel, Purpose};
use wall::{Condition, Wall};

/// How far ahead an opening or a closing is looked for. Hours repeat by the week and holidays are days, so what
/// does not open in five weeks does not open before any message has expired.
const HORIZON: SignedDuration = SignedDuration::from_hours(35 * 24);

/// How the site's quiet hours are called in explanations; no rule of the table may be called so.
pub const SITE: &str = "site";
/// How the patient's own quiet hours are called in explanations; no rule of the table may be called so.
pub const PATIENT: &str = "patient";

/// Everything the answer rests on.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub table: &'a HoursTable,
    pub purpose: Purpose,
    /// The channel of the route that is asked for.
    pub channel: Channel,
    /// The clocks the recipient may live by, and the states whose rules protect them.
    pub place: &'a Place,
    /// The site's, by the recipient's clock.
    pub site_quiet: Option<QuietHours>,
    /// Days on which the site is closed: holidays beside those of the table.
    pub site_holidays: &'a [Date],
    /// The recipient's own.
    pub own_quiet: Option<QuietHours>,
    /// The instant asked about: the database's now.
    pub at: Timestamp,
}

/// Whether the message may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Now, and until `closes`: no answer that rests on this one holds beyond it. `None`: no rule closes within
    /// five weeks.
    Open { closes: Option<Timestamp>, by: Option<Limit> },
    /// Not before `opens`. `None`: the rules together leave no opening within five weeks, so it is never sent.
    Closed { opens: Option<Window>, by: Limit },
}

/// A time in which the message may go, from its first instant on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub opens: Timestamp,
    /// The first instant after it; `None`: not within five weeks.
    pub closes: Option<Timestamp>,
}

/// The rule that decided, and by which clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The id of a rule of the table, or [`SITE`], or [`PATIENT`].
    pub rule: String,
    /// The IANA name of the zone.
    pub zone: String,
}

/// What is kept of the answer, for `explain`: words and ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoursNote {
    /// The zones asked, all of which must be open.
    pub zones: Vec<String>,
    /// Where they come from.
    pub from: Vec<ZoneSource>,
    /// What decided; for an open window, what will close it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Limit>,
    /// When the answer changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Answers.
#[must_use]
pub fn hours(q: &Question<'_>) -> Answer {
    let (names, conditions) = conditions(q);
    if conditions.is_empty() {
        return Answer::Open { closes: None, by: None };
    }
    let walls: Vec<Wall<'_>> = q.place.zones.iter().map(|zone| wall(q, zone, &conditions)).collect();
    let horizon = q.at.checked_add(HORIZON).unwrap_or(Timestamp::MAX);
    let limit = |(zone, condition): (usize, usize)| Limit {
        rule: names.get(condition).map(|name| (*name).to_owned()).unwrap_or_default(),
        zone: q.place.zones.get(zone).map(zone_name).unwrap_or_default(),
    };
    let close = |from: Timestamp| first_closed(&walls, from, horizon);
    match first_open(&walls, q.at, horizon) {
        Opening::At(opens, None) => {
            let closing = close(opens);
            Answer::Open { closes: closing.map(|(at, _)| at), by: closing.map(|(_, by)| limit(by)) }
        }
        Opening::At(opens, Some(by)) => {
            let closes = close(opens).map(|(at, _)| at);
            Answer::Closed { opens: Some(Window { opens, closes }), by: limit(by) }
        }
        Opening::Never(by) => Answer::Closed { opens: None, by: limit(by) },
    }
}

impl Answer {
    /// What is kept of it.
    #[must_use]
    pub fn note(&self, place: &Place) -> HoursNote {
        let (until, by) = match self {
            Self::Open { closes, by } => (*closes, by.clone()),
            Self::Closed { opens, by } => (opens.map(|window| window.opens), Some(by.clone())),
        };
        let zones = place.zones.iter().map(zone_name).collect();
        HoursNote { zones, from: place.from.clone(), by, until }
    }
}

impl Window {
    /// When one of many messages that wait for this window is let go: `jitter`, from 0 up to 1, spreads them over
    /// `span`, never past the window's end or the message's expiry.
    #[must_use]
    pub fn release(&self, span: Duration, expires_at: Timestamp, jitter: f64) -> Timestamp {
        let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        let end = self.closes.map_or(expires_at, |closes| closes.min(expires_at));
        let length = end.duration_since(self.opens).min(span);
        if !length.is_positive() {
            return self.opens;
        }
        // The last instant is not in the window, and a product of floats may round up to it.
        let latest = length - SignedDuration::from_nanos(1);
        let after = length.mul_f64(jitter.clamp(0.0, 1.0)).min(latest);
        self.opens.checked_add(after).unwrap_or(self.opens)
    }
}

/// The first instant from `at` on whose wall-clock time in `zone` does not lie in `[start, end)`. The hours may pass
/// midnight; where `start` is `end` there are none. In a fold both passes count by their wall-clock reading.
#[must_use]
pub fn next_allowed(zone: &TimeZone, at: Timestamp, start: Time, end: Time) -> Timestamp {
    let conditions = [Condition::Quiet(QuietHours { start, end })];
    let wall = Wall { zone, conditions: &conditions, holidays: &[], closed_days: &[] };
    // Quiet hours are shorter than a day, so there is an opening everywhere but at the end of time.
    wall.first(true, at, Timestamp::MAX).map_or(Timestamp::MAX, |found| found.at)
}

/// The names of all that closes parts of the day for this message, and what each closes.
fn conditions<'a>(q: &Question<'a>) -> (Vec<&'a str>, Vec<Condition<'a>>) {
    let rules = q.table.applying(&q.place.areas, q.purpose, q.channel);
    let of_table = rules.map(|rule| (rule.id.as_str(), Condition::Hours(&rule.open)));
    let disturbs = q.purpose != Purpose::Emergency && q.table.disturbing.contains(&q.channel);
    let quiet = [(SITE, q.site_quiet), (PATIENT, q.own_quiet)].into_iter().filter(|_| disturbs);
    let quiet = quiet.filter_map(|(name, hours)| Some((name, Condition::Quiet(hours?))));
    of_table.chain(quiet).unzip()
}

fn wall<'a>(q: &Question<'a>, zone: &'a TimeZone, conditions: &'a [Condition<'a>]) -> Wall<'a> {
    Wall { zone, conditions, holidays: &q.table.holidays, closed_days: q.site_holidays }
}

/// A zone and a condition, by their places.
type By = (usize, usize);

enum Opening {
    /// Open from here on; with what closed it until then, where that is not at once.
    At(Timestamp, Option<By>),
    Never(By),
}

/// Each wall in turn moves the instant on to its own next opening, until none does: every instant passed over is
/// closed on some wall.
fn first_open(walls: &[Wall<'_>], at: Timestamp, horizon: Timestamp) -> Opening {
    let (mut at, mut by) = (at, None);
    loop {
        let before = at;
        for (zone, wall) in walls.iter().enumerate() {
            let Some(found) = wall.first(true, at, horizon) else {
                let closed = wall.first(false, before, horizon).and_then(|found| found.by);
                return Opening::Never((zone, closed.unwrap_or_default()));
            };
            if found.at > at {
                (at, by) = (found.at, found.by.map(|condition| (zone, condition)));
            }
        }
        if at == before {
            return Opening::At(at, by);
        }
    }
}

/// The first instant from an open one on at which some wall is closed.
fn first_closed(walls: &[Wall<'_>], from: Timestamp, horizon: Timestamp) -> Option<(Timestamp, By)> {
    let closings = walls.iter().enumerate().filter_map(|(zone, wall)| {
        let found = wall.first(false, from, horizon)?;
        Some((found.at, (zone, found.by?)))
    });
    closings.min_by_key(|(at, _)| *at)
}

fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("UTC").to_owned()
}
