//! Dates, numbers and lists as a language writes them (Unicode CLDR, compiled in).
//!
//! The formatters are neither `Send` nor cheap to build, so each thread keeps its own for the languages it meets.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use icu::calendar::Gregorian;
use icu::datetime::fieldsets::{MDE, MDET, T, YMDE};
use icu::datetime::input::{Date, DateTime, Time};
use icu::datetime::{FixedCalendarDateTimeFormatter, NoCalendarFormatter};
use icu::decimal::DecimalFormatter;
use icu::list::{ListFormatter, options::ListFormatterOptions};
use icu::locale::{Locale, LocaleDirectionality, LocaleExpander};
use icu::plurals::{PluralRules, PluralRulesOptions};

/// Languages kept per thread. Patients' language tags come from outside, so the cache has a limit.
const KEPT_LANGUAGES: usize = 64;
/// Moments kept per language: many patients have their visits in the same few days.
const KEPT_MOMENTS: usize = 512;

thread_local! {
    static KEPT: RefCell<HashMap<String, Rc<Formatters>>> = RefCell::new(HashMap::new());
    static TONGUES: RefCell<HashMap<String, Option<Rc<Tongue>>>> = RefCell::new(HashMap::new());
}

/// How a moment is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// Tuesday, December 1
    DateLong,
    /// Tue, Dec 1
    DateShort,
    /// Tuesday, December 1, 2026
    DateFull,
    /// 3:30 PM
    Time,
    /// Tuesday, December 1 at 3:30 PM
    DatetimeLong,
    /// Tue, Dec 1, 3:30 PM
    DatetimeShort,
}

/// Everything that is needed to write in one language.
pub(super) struct Formatters {
    date_long: FixedCalendarDateTimeFormatter<Gregorian, MDE>,
    date_short: FixedCalendarDateTimeFormatter<Gregorian, MDE>,
    date_full: FixedCalendarDateTimeFormatter<Gregorian, YMDE>,
    time: NoCalendarFormatter<T>,
    datetime_long: FixedCalendarDateTimeFormatter<Gregorian, MDET>,
    datetime_short: FixedCalendarDateTimeFormatter<Gregorian, MDET>,
    moments: RefCell<HashMap<(Form, jiff::civil::DateTime), String>>,
    pub(super) and_list: ListFormatter,
    pub(super) or_list: ListFormatter,
    pub(super) number: DecimalFormatter,
    pub(super) plural: PluralRules,
}

impl Formatters {
    /// The formatters for a BCP-47 tag; `None` where the tag is none.
    pub(super) fn of(tag: &str) -> Option<Rc<Self>> {
        KEPT.with_borrow_mut(|kept| {
            if let Some(found) = kept.get(tag) {
                return Some(Rc::clone(found));
            }
            let built = Rc::new(Self::build(&tag.parse().ok()?)?);
            if kept.len() >= KEPT_LANGUAGES {
                kept.clear();
            }
            kept.insert(tag.to_owned(), Rc::clone(&built));
            Some(built)
        })
    }

    fn build(locale: &Locale) -> Option<Self> {
        let date = || locale.into();
        Some(Self {
            date_long: FixedCalendarDateTimeFormatter::try_new(date(), MDE::long()).ok()?,
            date_short: FixedCalendarDateTimeFormatter::try_new(date(), MDE::medium()).ok()?,
            date_full: FixedCalendarDateTimeFormatter::try_new(date(), YMDE::long()).ok()?,
            time: NoCalendarFormatter::try_new(date(), T::hm()).ok()?,
            datetime_long: FixedCalendarDateTimeFormatter::try_new(date(), MDE::long().with_time_hm())
                .ok()?,
            datetime_short: FixedCalendarDateTimeFormatter::try_new(date(), MDE::medium().with_time_hm())
                .ok()?,
            moments: RefCell::default(),
            and_list: ListFormatter::try_new_and(locale.into(), ListFormatterOptions::default()).ok()?,
            or_list: ListFormatter::try_new_or(locale.into(), ListFormatterOptions::default()).ok()?,
            number: DecimalFormatter::try_new(locale.into(), Default::default()).ok()?,
            plural: PluralRules::try_new(locale.into(), PluralRulesOptions::default()).ok()?,
        })
    }

    /// `at` in this form; `None` where the calendar has no such day.
    pub(super) fn moment(&self, form: Form, at: jiff::civil::DateTime) -> Option<String> {
        let mut kept = self.moments.borrow_mut();
        if let Some(text) = kept.get(&(form, at)) {
            return Some(text.clone());
        }
        let text = self.write(form, at)?;
        if kept.len() >= KEPT_MOMENTS {
            kept.clear();
        }
        kept.insert((form, at), text.clone());
        Some(text)
    }

    fn write(&self, form: Form, at: jiff::civil::DateTime) -> Option<String> {
        let (month, day) = (u8::try_from(at.month()).ok()?, u8::try_from(at.day()).ok()?);
        let date = Date::try_new_gregorian(at.year().into(), month, day).ok()?;
        let (hour, minute) = (u8::try_from(at.hour()).ok()?, u8::try_from(at.minute()).ok()?);
        let time = Time::try_new(hour, minute, 0, 0).ok()?;
        Some(match form {
            Form::DateLong => self.date_long.format(&date).to_string(),
            Form::DateShort => self.date_short.format(&date).to_string(),
            Form::DateFull => self.date_full.format(&date).to_string(),
            Form::Time => self.time.format(&time).to_string(),
            Form::DatetimeLong => self.datetime_long.format(&DateTime { date, time }).to_string(),
            Form::DatetimeShort => self.datetime_short.format(&DateTime { date, time }).to_string(),
        })
    }
}

/// A language with the script it is written in, by which texts are matched to readers: `zh-CN` and `zh-SG` read
/// `zh-Hans`, `zh-TW` does not; `es-MX` reads `es`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tongue {
    pub(super) language: String,
    pub(super) script: Option<String>,
    pub(super) region: Option<String>,
    pub(super) right_to_left: bool,
}

/// What `tag` says, filled up with what it implies; `None` where it is no language tag.
pub(super) fn tongue(tag: &str) -> Option<Rc<Tongue>> {
    TONGUES.with_borrow_mut(|kept| {
        if let Some(found) = kept.get(tag) {
            return found.clone();
        }
        let read = read_tongue(tag).map(Rc::new);
        if kept.len() >= KEPT_LANGUAGES {
            kept.clear();
        }
        kept.insert(tag.to_owned(), read.clone());
        read
    })
}

/// Whether a reader of `wish` reads texts in `locale`: the same language in the same script (both BCP-47).
#[must_use]
pub fn reads(wish: &str, locale: &str) -> bool {
    let (wish, locale) = (tongue(wish), tongue(locale));
    wish.zip(locale).is_some_and(|(a, b)| a.language == b.language && a.script == b.script)
}

fn read_tongue(tag: &str) -> Option<Tongue> {
    let mut id = tag.parse::<Locale>().ok()?.id;
    let right_to_left = LocaleDirectionality::new_common().is_right_to_left(&id);
    let region = id.region.map(|r| r.to_string());
    LocaleExpander::new_common().maximize(&mut id);
    let script = id.script.map(|s| s.to_string());
    Some(Tongue { language: id.language.to_string(), script, region, right_to_left })
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    #[test]
    fn a_moment_that_is_kept_reads_as_when_it_was_written() {
        let (english, spanish) = (Formatters::of("en-US").unwrap(), Formatters::of("es-US").unwrap());
        let first = jiff::civil::date(2026, 12, 1).at(15, 30, 0, 0);
        let forms = [
            Form::DateLong,
            Form::DateShort,
            Form::DateFull,
            Form::Time,
            Form::DatetimeLong,
            Form::DatetimeShort,
        ];
        for n in 0..300_i64 {
            let at = first + (n * 45).minutes();
            for (words, form) in [&english, &spanish].into_iter().flat_map(|w| forms.map(|form| (w, form))) {
                let written = words.write(form, at).unwrap();
                assert_eq!(words.moment(form, at).unwrap(), written, "for the first time");
                assert_eq!(words.moment(form, at).unwrap(), written, "again");
                assert!(words.moments.borrow().len() <= KEPT_MOMENTS);
            }
        }
    }
}
