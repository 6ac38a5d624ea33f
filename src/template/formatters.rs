//! Dates, numbers and lists as a language writes them (Unicode CLDR, compiled in).
//!
//! The formatters are neither `Send` nor cheap to build, so each thread keeps its own for the languages it meets.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use icu::calendar::Gregorian;
use icu::datetime::fieldsets::{MDE, MDET, T, YMDE};
use icu::datetime::{FixedCalendarDateTimeFormatter, NoCalendarFormatter};
use icu::decimal::DecimalFormatter;
use icu::list::{ListFormatter, options::ListFormatterOptions};
use icu::locale::{Locale, LocaleDirectionality, LocaleExpander};
use icu::plurals::{PluralRules, PluralRulesOptions};

/// Languages kept per thread. Patients' language tags come from outside, so the cache has a limit.
const KEPT_LANGUAGES: usize = 64;

thread_local! {
    static KEPT: RefCell<HashMap<String, Rc<Formatters>>> = RefCell::new(HashMap::new());
    static TONGUES: RefCell<HashMap<String, Option<Rc<Tongue>>>> = RefCell::new(HashMap::new());
}

/// Everything that is needed to write in one language.
pub(super) struct Formatters {
    /// Tuesday, December 1
    pub(super) date_long: FixedCalendarDateTimeFormatter<Gregorian, MDE>,
    /// Tue, Dec 1
    pub(super) date_short: FixedCalendarDateTimeFormatter<Gregorian, MDE>,
    /// Tuesday, December 1, 2026
    pub(super) date_full: FixedCalendarDateTimeFormatter<Gregorian, YMDE>,
    /// 3:30 PM
    pub(super) time: NoCalendarFormatter<T>,
    /// Tuesday, December 1 at 3:30 PM
    pub(super) datetime_long: FixedCalendarDateTimeFormatter<Gregorian, MDET>,
    /// Tue, Dec 1, 3:30 PM
    pub(super) datetime_short: FixedCalendarDateTimeFormatter<Gregorian, MDET>,
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
            and_list: ListFormatter::try_new_and(locale.into(), ListFormatterOptions::default()).ok()?,
            or_list: ListFormatter::try_new_or(locale.into(), ListFormatterOptions::default()).ok()?,
            number: DecimalFormatter::try_new(locale.into(), Default::default()).ok()?,
            plural: PluralRules::try_new(locale.into(), PluralRulesOptions::default()).ok()?,
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
