//! The words a template may use beside `if`, `unless`, `each`, `eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `and`, `or`,
//! `not` and `len`:
//!
//! | helper | takes | gives |
//! |---|---|---|
//! | `{{date x}}` `style="short"` `style="full"` | datetime, date | Tuesday, December 1 · Tue, Dec 1 · with the year |
//! | `{{time x}}` | datetime | 3:30 PM |
//! | `{{datetime x}}` `style="short"` | datetime | Tuesday, December 1 at 3:30 PM |
//! | `{{phone x}}` | phone | (312) 555-0142 at home, +1 312-555-0142 abroad |
//! | `{{list x}}` `style="or"` | list | a, b, and c |
//! | `{{number x}}` | number, integer | 1,234.5 |
//! | `{{plural n one="# visit" other="# visits"}}` | integer | the form the language asks for, `#` being the number |
//!
//! Dates and times are shown in the zone of the place, else of the organisation; where neither is known, at the offset
//! that stands in the value.
//! What a helper gives is escaped like any variable. A missing value, null or a value of another type is an error.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::str::FromStr;

use handlebars::{
    Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, RenderErrorReason, ScopedJson,
};
use icu::decimal::input::Decimal;
use icu::plurals::PluralCategory;
use jiff::Timestamp;
use jiff::civil::Time;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::formatters::{Form, Formatters};

/// Helpers of our own, by name.
pub(super) const OWN: &[&str] = &["date", "time", "datetime", "phone", "list", "number", "plural"];

/// Helpers of the engine that templates may use; its others are taken away (`log` would print what it is given).
pub(super) const BUILT_IN: &[&str] =
    &["if", "unless", "each", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or", "not", "len"];

/// Puts our helpers in and the engine's dangerous ones out.
pub(super) fn register(registry: &mut Handlebars<'static>) {
    for name in ["log", "lookup", "raw", "with"] {
        registry.unregister_helper(name);
    }
    let own: [(&str, Work); 7] = [
        ("date", date),
        ("time", time),
        ("datetime", datetime),
        ("phone", phone),
        ("list", list),
        ("number", number),
        ("plural", plural),
    ];
    for (name, work) in own {
        registry.register_helper(name, Box::new(Own { name, work }));
    }
}

/// How our helpers' errors end, by which they are told from the engine's, which may print values.
pub(super) const CANNOT_SHOW: &str = "was given a value it cannot show";

type Work = fn(&Call<'_, '_>) -> Option<String>;

/// One use of a helper in a text.
struct Call<'h, 'rc> {
    helper: &'h Helper<'rc>,
    root: &'h Value,
    words: Rc<Formatters>,
}

impl Call<'_, '_> {
    fn value(&self) -> Option<&Value> {
        self.helper.param(0).filter(|p| !p.is_value_missing()).map(|p| p.value()).filter(|v| !v.is_null())
    }

    fn text(&self) -> Option<&str> {
        self.value()?.as_str()
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.helper.hash_get(name)?.value().as_str()
    }

    fn root(&self, name: &str) -> Option<&str> {
        self.root.get(name)?.as_str()
    }
}

struct Own {
    name: &'static str,
    work: Work,
}

impl HelperDef for Own {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let root = context.data();
        let words = root.get("format").and_then(Value::as_str).and_then(Formatters::of);
        let made = words.and_then(|words| (self.work)(&Call { helper, root, words }));
        made.map(|text| ScopedJson::Derived(Value::String(text)))
            .ok_or_else(|| RenderErrorReason::Other(format!("`{}` {CANNOT_SHOW}", self.name)).into())
    }
}

fn date(call: &Call<'_, '_>) -> Option<String> {
    let text = call.text()?;
    let day = match text.parse::<jiff::civil::Date>() {
        Ok(day) if text.len() == 10 => day,
        _ => local(text, call.root("zone"))?.date(),
    };
    let form = match call.option("style") {
        Some("short") => Form::DateShort,
        Some("full") => Form::DateFull,
        _ => Form::DateLong,
    };
    call.words.moment(form, day.to_datetime(Time::midnight())).map(clean)
}

fn time(call: &Call<'_, '_>) -> Option<String> {
    call.words.moment(Form::Time, local(call.text()?, call.root("zone"))?).map(clean)
}

fn datetime(call: &Call<'_, '_>) -> Option<String> {
    let at = local(call.text()?, call.root("zone"))?;
    let form = if call.option("style") == Some("short") { Form::DatetimeShort } else { Form::DatetimeLong };
    call.words.moment(form, at).map(clean).map(at_one)
}

/// Spanish has one o'clock in the singular, which CLDR's pattern has not: "a la 1:30".
fn at_one(text: String) -> String {
    if !text.contains(" a las ") {
        return text;
    }
    text.replace(" a las 1:", " a la 1:").replace(" a las 01:", " a la 01:")
}

/// The wall clock at `zone`, else at the offset that the value itself gives.
fn local(text: &str, zone: Option<&str>) -> Option<jiff::civil::DateTime> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    let at: Timestamp = text.parse().ok()?;
    let zone = match zone {
        Some(name) => TimeZone::get(name).ok()?,
        None => PARSER.parse_pieces(text).ok()?.to_numeric_offset()?.to_time_zone(),
    };
    Some(zone.to_datetime(at))
}

/// CLDR puts narrow no-break spaces before "PM"; many phones show a box there, and GSM-7 has none.
fn clean(text: String) -> String {
    if text.contains(['\u{202f}', '\u{a0}', '\u{2009}']) {
        text.replace(['\u{202f}', '\u{a0}', '\u{2009}'], " ")
    } else {
        text
    }
}

fn list(call: &Call<'_, '_>) -> Option<String> {
    let items = call.value()?.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?;
    let words = &call.words;
    let form = if call.option("style") == Some("or") { &words.or_list } else { &words.and_list };
    (!items.is_empty()).then(|| form.format_to_string(items.iter()))
}

/// Digits after the point that are shown.
const SHOWN_DIGITS: i16 = 6;

fn decimal(value: &Value) -> Option<Decimal> {
    let mut number = Decimal::from_str(&value.as_number()?.to_string()).ok()?;
    number.round(-SHOWN_DIGITS);
    number.absolute.trim_end();
    Some(number)
}

fn number(call: &Call<'_, '_>) -> Option<String> {
    Some(clean(call.words.number.format(&decimal(call.value()?)?).to_string()))
}

fn plural(call: &Call<'_, '_>) -> Option<String> {
    let value = decimal(call.value()?)?;
    let form = match call.words.plural.category_for(&value) {
        PluralCategory::Zero => call.option("zero"),
        PluralCategory::One => call.option("one"),
        PluralCategory::Two => call.option("two"),
        PluralCategory::Few => call.option("few"),
        PluralCategory::Many => call.option("many"),
        PluralCategory::Other => None,
    };
    let form = form.or_else(|| call.option("other"))?;
    Some(form.replace('#', &clean(call.words.number.format(&value).to_string())))
}

fn phone(call: &Call<'_, '_>) -> Option<String> {
    Some(show_phone(call.text()?, call.root("region")))
}

/// Numbers kept per thread: a clinic has few, and parsing one costs more than a whole text.
const KEPT_NUMBERS: usize = 256;

thread_local! {
    static NUMBERS: RefCell<HashMap<(String, String), String>> = RefCell::new(HashMap::new());
}

/// A number as people of `region` (ISO 3166-1) write it; what is no phone number stays as it is.
#[must_use]
pub fn show_phone(number: &str, region: Option<&str>) -> String {
    let key = (number.to_owned(), region.unwrap_or_default().to_owned());
    NUMBERS.with_borrow_mut(|kept| {
        if let Some(shown) = kept.get(&key) {
            return shown.clone();
        }
        let shown = format_phone(number, region);
        if kept.len() >= KEPT_NUMBERS {
            kept.clear();
        }
        kept.insert(key, shown.clone());
        shown
    })
}

fn format_phone(number: &str, region: Option<&str>) -> String {
    let Ok(parsed) = phonenumber::parse(None, number) else { return number.to_owned() };
    let home = region.is_some_and(|r| parsed.country().id().is_some_and(|id| id.as_ref() == r));
    let mode = if home { phonenumber::Mode::National } else { phonenumber::Mode::International };
    parsed.format().mode(mode).to_string()
}
