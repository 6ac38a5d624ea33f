//! The kinds of values: how each is written, which rule it keeps, how it is shown.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Value;

use super::fault::{Broken, closest};

/// A value as it was given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    /// In the file, typed.
    File(&'a Value),
    /// In the environment: text that stands for any type.
    Env(&'a str),
}

impl<'a> Raw<'a> {
    pub(super) fn text(self) -> Result<&'a str, Broken> {
        match self {
            Self::File(Value::String(text)) => Ok(text),
            Self::Env(text) => Ok(text),
            Self::File(_) => Err(Broken::new("must be text", "put it in quotes")),
        }
    }
}

/// A kind of value.
pub(super) trait Kind {
    type Value;

    fn read(&self, raw: Raw<'_>) -> Result<Self::Value, Broken>;

    fn show(&self, value: &Self::Value) -> Value;
}

/// `true` or `false`.
pub(super) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn read(&self, raw: Raw<'_>) -> Result<bool, Broken> {
        match raw {
            Raw::File(Value::Boolean(value)) => Ok(*value),
            Raw::Env("true") => Ok(true),
            Raw::Env("false") => Ok(false),
            _ => Err(Broken::new("must be true or false", "write true or false, without quotes in the file")),
        }
    }

    fn show(&self, value: &bool) -> Value {
        Value::Boolean(*value)
    }
}

/// A whole number within bounds.
pub(super) struct Int<T>(pub(super) RangeInclusive<T>);

impl<T: Copy + PartialOrd + TryFrom<i64> + std::fmt::Display> Kind for Int<T> {
    type Value = T;

    fn read(&self, raw: Raw<'_>) -> Result<T, Broken> {
        let number = match raw {
            Raw::File(Value::Integer(number)) => Some(*number),
            Raw::Env(text) => text.parse().ok(),
            Raw::File(_) => None,
        };
        number.and_then(|number| T::try_from(number).ok()).filter(|value| self.0.contains(value)).ok_or_else(
            || {
                let (low, high) = (self.0.start(), self.0.end());
                Broken::new(
                    format!("must be a whole number from {low} to {high}"),
                    "write it without quotes or unit",
                )
            },
        )
    }

    fn show(&self, value: &T) -> Value {
        value.to_string().parse().map_or_else(|_| Value::String(value.to_string()), Value::Integer)
    }
}

const SPAN_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A length of time within bounds, such as `"15s"`.
pub(super) struct Span(pub(super) RangeInclusive<Duration>);

impl Kind for Span {
    type Value = Duration;

    fn read(&self, raw: Raw<'_>) -> Result<Duration, Broken> {
        raw.text().ok().and_then(parse_span).filter(|value| self.0.contains(value)).ok_or_else(|| {
            let (low, high) = (show_span(*self.0.start()), show_span(*self.0.end()));
            Broken::new(
                format!("must be a length of time from {low} to {high}"),
                "write a whole number with its unit in quotes: ms, s, m, h or d, such as \"15s\"",
            )
        })
    }

    fn show(&self, value: &Duration) -> Value {
        Value::String(show_span(*value))
    }
}

fn parse_span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at_checked(digits)?;
    let (_, millis) = SPAN_UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    count.parse::<u64>().ok()?.checked_mul(*millis).map(Duration::from_millis)
}

/// The length in its largest whole unit.
pub(super) fn show_span(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let whole = SPAN_UNITS.iter().find(|(_, unit)| millis != 0 && millis.is_multiple_of(*unit));
    whole.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", millis / unit))
}

/// A share, from 0 to 1.
pub(super) struct Share;

impl Kind for Share {
    type Value = f64;

    fn read(&self, raw: Raw<'_>) -> Result<f64, Broken> {
        let share = match raw {
            Raw::File(Value::Float(share)) => Some(*share),
            Raw::File(Value::Integer(whole)) => {
                Some(if *whole == 0 { 0.0 } else { 1.0 }).filter(|_| matches!(whole, 0 | 1))
            }
            Raw::Env(text) => text.parse().ok(),
            Raw::File(_) => None,
        };
        share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| {
            Broken::new("must be a share from 0 to 1", "write 1.0 for all, or 0.01 for one in a hundred")
        })
    }

    fn show(&self, value: &f64) -> Value {
        Value::Float(*value)
    }
}

const SIZE_UNITS: [(&str, usize); 3] = [("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes within bounds, such as `"8MiB"`.
pub(super) struct Size(pub(super) RangeInclusive<usize>);

impl Kind for Size {
    type Value = usize;

    fn read(&self, raw: Raw<'_>) -> Result<usize, Broken> {
        raw.text().ok().and_then(parse_size).filter(|value| self.0.contains(value)).ok_or_else(|| {
            let (low, high) = (show_size(*self.0.start()), show_size(*self.0.end()));
            Broken::new(
                format!("must be a size from {low} to {high}"),
                "write a whole number with its unit in quotes: B, KiB or MiB, such as \"8MiB\"",
            )
        })
    }

    fn show(&self, value: &usize) -> Value {
        Value::String(show_size(*value))
    }
}

fn parse_size(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at_checked(digits)?;
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    count.parse::<usize>().ok()?.checked_mul(*bytes)
}

fn show_size(size: usize) -> String {
    let whole = SIZE_UNITS.iter().find(|(_, unit)| size != 0 && size.is_multiple_of(*unit));
    whole.map_or_else(|| "0B".to_owned(), |(name, unit)| format!("{}{name}", size / unit))
}

/// Text that a function turns into a value, and one that turns it back.
pub(super) struct Parsed<T> {
    pub(super) parse: fn(&str) -> Result<T, Broken>,
    pub(super) show: fn(&T) -> String,
}

impl<T> Kind for Parsed<T> {
    type Value = T;

    fn read(&self, raw: Raw<'_>) -> Result<T, Broken> {
        (self.parse)(raw.text()?)
    }

    fn show(&self, value: &T) -> Value {
        Value::String((self.show)(value))
    }
}

/// Text that keeps a rule and stays text.
pub(super) const fn text(parse: fn(&str) -> Result<String, Broken>) -> Parsed<String> {
    Parsed { parse, show: String::clone }
}

/// A closed set of words.
pub(super) trait Word: Copy + 'static {
    const WORDS: &'static [Self];

    fn word(self) -> &'static str;
}

/// Lets a vocabulary be read from the configuration.
macro_rules! word {
    ($($type:ty),+ $(,)?) => {
        $(impl $crate::config::kind::Word for $type {
            const WORDS: &'static [Self] = <$type>::ALL;

            fn word(self) -> &'static str {
                self.as_str()
            }
        })+
    };
}
pub(super) use word;

word!(
    crate::domain::words::Channel,
    crate::domain::words::Purpose,
    crate::domain::words::PhiClass,
    crate::domain::words::Priority,
    crate::domain::words::SafetyMode,
    crate::domain::status::MessageStatus,
);

/// One word of a closed set.
pub(super) const fn one_of<T: Word>() -> Parsed<T> {
    Parsed { parse: parse_word, show: |value| value.word().to_owned() }
}

fn parse_word<T: Word>(text: &str) -> Result<T, Broken> {
    T::WORDS.iter().copied().find(|value| value.word() == text).ok_or_else(|| {
        let words: Vec<&str> = T::WORDS.iter().map(|value| value.word()).collect();
        let cure = match closest(text, words.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "choose one of them".to_owned(),
        };
        Broken::new(format!("must be one of: {}", words.join(", ")), cure)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_show() {
        for (text, millis) in
            [("250ms", 250), ("15s", 15_000), ("2m", 120_000), ("24h", 86_400_000), ("7 d", 604_800_000)]
        {
            assert_eq!(parse_span(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "15", "s", "-1s", "1.5s", "15 sec", "99999999999999999999d", "١s"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
        assert_eq!(show_span(Duration::from_secs(86_400)), "1d");
        assert_eq!(show_span(Duration::from_secs(90)), "90s");
        assert_eq!(show_span(Duration::ZERO), "0s");
    }

    #[test]
    fn sizes_read_and_show() {
        assert_eq!(parse_size("8MiB"), Some(8 << 20));
        assert_eq!(parse_size("256 KiB"), Some(256 << 10));
        assert_eq!(parse_size("8MB"), None);
        assert_eq!(show_size(64 << 20), "64MiB");
    }

    #[test]
    fn a_share_is_a_part_of_the_whole() {
        for (raw, share) in [
            (Raw::File(&Value::Float(0.25)), Some(0.25)),
            (Raw::File(&Value::Integer(1)), Some(1.0)),
            (Raw::Env("0"), Some(0.0)),
            (Raw::Env("1.01"), None),
            (Raw::Env("NaN"), None),
            (Raw::File(&Value::Float(-0.1)), None),
            (Raw::File(&Value::Integer(2)), None),
            (Raw::File(&Value::String("0.5".into())), None),
        ] {
            assert_eq!(Share.read(raw).ok(), share, "{raw:?}");
        }
    }

    #[test]
    fn numbers_keep_their_bounds_and_types() {
        let kind = Int(1_u16..=10);
        assert_eq!(kind.read(Raw::File(&Value::Integer(10))), Ok(10));
        assert_eq!(kind.read(Raw::Env("7")), Ok(7));
        for bad in
            [Raw::File(&Value::Integer(11)), Raw::File(&Value::Integer(-1)), Raw::Env("x"), Raw::Env("")]
        {
            assert!(kind.read(bad).is_err(), "{bad:?}");
        }
        assert!(kind.read(Raw::File(&Value::String("5".into()))).is_err(), "a quoted number in the file");
    }

    #[test]
    fn a_near_word_is_proposed() {
        let broken = one_of::<crate::domain::words::SafetyMode>().read(Raw::Env("captur")).unwrap_err();
        assert_eq!(broken.cure, "did you mean \"capture\"?");
    }
}
