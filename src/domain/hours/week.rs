//! The open hours of a week.

use std::fmt;

use jiff::civil::{Time, Weekday};

/// Seconds of a civil day.
const DAY: u32 = 86_400;

/// The weekdays in the order in which a week is written.
pub(super) const WEEK: [(Weekday, &str); 7] = [
    (Weekday::Monday, "mon"),
    (Weekday::Tuesday, "tue"),
    (Weekday::Wednesday, "wed"),
    (Weekday::Thursday, "thu"),
    (Weekday::Friday, "fri"),
    (Weekday::Saturday, "sat"),
    (Weekday::Sunday, "sun"),
];

/// The open part of one civil day, in seconds of its wall clock: open in `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    pub start: u32,
    pub end: u32,
}

impl Open {
    /// The whole day.
    pub const ALWAYS: Self = Self { start: 0, end: DAY };
    /// No part of it.
    pub const CLOSED: Self = Self { start: 0, end: 0 };

    /// `08:00-21:00`, with `24:00` as the end of the day; `always`; `closed`.
    fn parse(text: &str) -> Option<Self> {
        match text {
            "always" => return Some(Self::ALWAYS),
            "closed" => return Some(Self::CLOSED),
            _ => {}
        }
        let (start, end) = text.split_once('-')?;
        let start = second(start)?;
        let end = if end == "24:00" { DAY } else { second(end)? };
        (start < end).then_some(Self { start, end })
    }
}

/// The second of the day of `HH:MM`.
fn second(text: &str) -> Option<u32> {
    let time = (text.len() == 5).then(|| Time::strptime("%H:%M", text).ok()).flatten()?;
    Some(u32::try_from(time.hour()).ok()? * 3_600 + u32::try_from(time.minute()).ok()? * 60)
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ALWAYS => f.write_str("always"),
            Self::CLOSED => f.write_str("closed"),
            Self { start, end } => {
                let (hours, minutes) = (|s: u32| s / 3_600, |s: u32| s / 60 % 60);
                let (from, to) = ((hours(start), minutes(start)), (hours(end), minutes(end)));
                write!(f, "{:02}:{:02}-{:02}:{:02}", from.0, from.1, to.0, to.1)
            }
        }
    }
}

/// The open hours of every day of a week, and of holidays where they differ from their weekday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeekHours {
    /// From Monday on.
    weekdays: [Open; 7],
    holidays: Option<Open>,
}

impl WeekHours {
    /// Parses `08:00-21:00` (every day), or parts after commas, each for some days: `mon-sat 09:00-21:00, sun
    /// 12:00-21:00, holidays closed`. Where two parts speak of one day, the later holds. Holidays that no part
    /// names are like their weekday.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (mut weekdays, mut holidays) = ([None; 7], None);
        for part in text.split(',') {
            let words: Vec<&str> = part.split_ascii_whitespace().collect();
            let (days, hours) = match words.as_slice() {
                [hours] => ("mon-sun", *hours),
                [days, hours] => (*days, *hours),
                _ => return Err("each part must be days and hours, such as mon-fri 08:00-21:00"),
            };
            let open = Open::parse(hours)
                .ok_or("hours must be HH:MM-HH:MM within one day, or `always`, or `closed`")?;
            if days == "holidays" {
                holidays = Some(open);
                continue;
            }
            let (first, last) = days.split_once('-').unwrap_or((days, days));
            let day = |name: &str| WEEK.iter().position(|(_, day)| *day == name);
            let (Some(first), Some(last)) = (day(first), day(last)) else {
                return Err("days must be mon to sun, such as mon or mon-fri, or `holidays`");
            };
            let length = (last + 7 - first) % 7;
            for (number, slot) in weekdays.iter_mut().enumerate() {
                if (number + 7 - first) % 7 <= length {
                    *slot = Some(open);
                }
            }
        }
        let [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f), Some(g)] = weekdays else {
            return Err("every day of the week must be named");
        };
        Ok(Self { weekdays: [a, b, c, d, e, f, g], holidays })
    }

    /// The open part of a day.
    #[must_use]
    pub fn on(&self, weekday: Weekday, is_holiday: bool) -> Open {
        let of_weekday = || {
            let day = WEEK.iter().position(|(day, _)| *day == weekday);
            day.and_then(|day| self.weekdays.get(day)).copied().unwrap_or(Open::CLOSED)
        };
        self.holidays.filter(|_| is_holiday).unwrap_or_else(of_weekday)
    }

    /// Whether holidays have hours of their own.
    #[must_use]
    pub const fn knows_holidays(&self) -> bool {
        self.holidays.is_some()
    }
}

impl fmt::Display for WeekHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest: Vec<(&str, Open)> =
            WEEK.iter().zip(self.weekdays).map(|((_, day), open)| (*day, open)).collect();
        let every_day = rest.iter().all(|(_, open)| Some(open) == self.weekdays.first());
        let mut between = "";
        while let Some((first, open)) = rest.first().copied() {
            let run = rest.iter().take_while(|(_, other)| *other == open).count();
            let last = rest.drain(..run).next_back().map_or(first, |(day, _)| day);
            match (every_day, first == last) {
                (true, _) => write!(f, "{open}")?,
                (false, true) => write!(f, "{between}{first} {open}")?,
                (false, false) => write!(f, "{between}{first}-{last} {open}")?,
            }
            between = ", ";
        }
        self.holidays.map_or(Ok(()), |open| write!(f, ", holidays {open}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_read_and_written() {
        for (text, written) in [
            ("08:00-21:00", "08:00-21:00"),
            ("always", "always"),
            ("mon-sat 09:00-21:00, sun 12:00-21:00", "mon-sat 09:00-21:00, sun 12:00-21:00"),
            ("08:00-20:00, sun closed, holidays closed", "mon-sat 08:00-20:00, sun closed, holidays closed"),
            ("sat-sun 10:00-17:00,mon-fri 09:00-18:00", "mon-fri 09:00-18:00, sat-sun 10:00-17:00"),
            ("sun-mon closed, tue-sat 00:00-24:00", "mon closed, tue-sat always, sun closed"),
            ("always, holidays closed", "always, holidays closed"),
        ] {
            let read = WeekHours::parse(text).unwrap();
            assert_eq!(read.to_string(), written);
            assert_eq!(WeekHours::parse(written), Ok(read));
        }
        for bad in [
            "",
            "8-21",
            "08:00",
            "21:00-08:00",
            "08:00-08:00",
            "24:00-24:00",
            "08:00-25:00",
            "mon-fri 08:00-21:00",
            "monday 08:00-21:00",
            "mon - fri 08:00-21:00",
            "holidays closed",
            "08:00-21:00,",
        ] {
            assert!(WeekHours::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_holiday_is_like_its_weekday_unless_it_is_named() {
        let plain = WeekHours::parse("08:00-21:00, sun closed").unwrap();
        assert_eq!(plain.on(Weekday::Sunday, true), Open::CLOSED);
        assert_eq!(plain.on(Weekday::Monday, true), plain.on(Weekday::Monday, false));
        let strict = WeekHours::parse("08:00-21:00, holidays closed").unwrap();
        assert_eq!(strict.on(Weekday::Monday, true), Open::CLOSED);
        assert_eq!(strict.on(Weekday::Monday, false), Open { start: 28_800, end: 75_600 });
    }
}
