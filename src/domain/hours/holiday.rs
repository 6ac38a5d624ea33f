//! Days that are holidays.

use std::fmt;

use jiff::civil::{Date, Weekday};

use super::week::WEEK;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

const ORDINALS: [(i8, &str); 5] = [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (-1, "last")];

/// A day that is a holiday, once or every year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holiday {
    /// `2026-12-24`
    Once(Date),
    /// `12-25`
    Yearly { month: i8, day: i8 },
    /// `4th thu nov`, `last mon may`: `nth` is 1 to 4, or -1 for the last.
    Nth { nth: i8, weekday: Weekday, month: i8 },
}

impl Holiday {
    /// Parses one of the three spellings; `None` for any other, or a day that no year has.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        if let [nth, weekday, month] = words.as_slice() {
            let (nth, _) = ORDINALS.iter().find(|(_, word)| word == nth)?;
            let (weekday, _) = WEEK.iter().find(|(_, word)| word == weekday)?;
            let month = MONTHS.iter().position(|word| word == month)?;
            let month = i8::try_from(month + 1).ok()?;
            return Some(Self::Nth { nth: *nth, weekday: *weekday, month });
        }
        match text.len() {
            10 => text.parse().ok().map(Self::Once),
            5 => {
                let (month, day) = text.split_once('-')?;
                let (month, day) = (month.parse().ok()?, day.parse().ok()?);
                // A leap year has every day that any year has.
                Date::new(2024, month, day).ok().map(|_| Self::Yearly { month, day })
            }
            _ => None,
        }
    }

    /// Whether `date` is this holiday.
    #[must_use]
    pub fn falls_on(&self, date: Date) -> bool {
        match *self {
            Self::Once(day) => day == date,
            Self::Yearly { month, day } => (date.month(), date.day()) == (month, day),
            Self::Nth { nth, weekday, month } => {
                date.month() == month
                    && date.weekday() == weekday
                    && date.nth_weekday_of_month(nth, weekday).is_ok_and(|day| day == date)
            }
        }
    }
}

impl fmt::Display for Holiday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Once(date) => write!(f, "{date}"),
            Self::Yearly { month, day } => write!(f, "{month:02}-{day:02}"),
            Self::Nth { nth, weekday, month } => {
                let word = |found: Option<&'static str>| found.unwrap_or_default();
                let nth = ORDINALS.iter().find(|(number, _)| *number == nth).map(|(_, text)| *text);
                let weekday = WEEK.iter().find(|(day, _)| *day == weekday).map(|(_, text)| *text);
                let month = usize::try_from(month - 1).ok().and_then(|m| MONTHS.get(m)).copied();
                write!(f, "{} {} {}", word(nth), word(weekday), word(month))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holidays_are_read_written_and_found() {
        for (text, day, not) in [
            ("12-25", "2031-12-25", "2031-12-26"),
            ("2026-12-24", "2026-12-24", "2027-12-24"),
            ("4th thu nov", "2026-11-26", "2026-11-19"),
            ("last mon may", "2027-05-31", "2027-05-24"),
            ("1st mon sep", "2026-09-07", "2026-09-14"),
            ("02-29", "2028-02-29", "2027-02-28"),
        ] {
            let holiday = Holiday::parse(text).unwrap();
            assert_eq!(holiday.to_string(), text);
            assert!(holiday.falls_on(day.parse().unwrap()), "{text}");
            assert!(!holiday.falls_on(not.parse().unwrap()), "{text}");
        }
        for bad in ["", "christmas", "13-01", "02-30", "5th mon may", "2026-02-30", "1st monday may"] {
            assert_eq!(Holiday::parse(bad), None, "{bad}");
        }
    }
}
