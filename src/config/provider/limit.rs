//! Limits on the wire: `10/s`, `1/s per sender`, `2000/day`.

use super::{Limit, Period};
use crate::config::fault::Broken;
use crate::config::kind::Parsed;
use crate::config::read::Section;

/// More limits than these say nothing new.
const MAX_LIMITS: usize = 8;

/// Reads `limits`: at most eight, each span once.
pub(super) fn read_limits(s: &mut Section<'_>) -> Vec<Limit> {
    let limits = s.list("limits", LIMIT).unwrap_or_default();
    if limits.len() > MAX_LIMITS {
        s.fault("limits", Broken::new(format!("must be at most {MAX_LIMITS}"), "keep the tightest"));
    }
    for (index, limit) in limits.iter().enumerate() {
        let same = |other: &&Limit| other.per == limit.per && other.per_sender == limit.per_sender;
        if limits.iter().take(index).any(|other| same(&other)) {
            s.fault("limits", Broken::new("must not limit the same span twice", "keep the tighter one"));
        }
    }
    limits
}

/// `10/s`, `1/s per sender`, `2000/day`.
const LIMIT: Parsed<Limit> = Parsed {
    parse: |text| {
        parse_limit(text).ok_or_else(|| {
            Broken::new(
                "must be a limit",
                "write it as \"10/s\", \"600/min\", \"1/s per sender\" or \"2000/day\"",
            )
        })
    },
    show: Limit::to_string,
};

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let per = match self.per {
            Period::Second => "s",
            Period::Minute => "min",
            Period::Hour => "h",
            Period::Day => "day",
        };
        write!(f, "{}/{per}{}", self.count, if self.per_sender { " per sender" } else { "" })
    }
}

fn parse_limit(text: &str) -> Option<Limit> {
    let (rate, per_sender) = match text.trim().strip_suffix("per sender") {
        Some(rate) if rate.ends_with(' ') => (rate.trim_end(), true),
        Some(_) => return None,
        None => (text.trim(), false),
    };
    let (count, per) = rate.split_once('/')?;
    let per = match per.trim() {
        "s" | "sec" | "second" => Period::Second,
        "m" | "min" | "minute" => Period::Minute,
        "h" | "hour" => Period::Hour,
        "d" | "day" => Period::Day,
        _ => return None,
    };
    let digits = count.trim();
    let count = digits.parse().ok().filter(|count| *count > 0 && !digits.starts_with('+'))?;
    Some(Limit { count, per, per_sender })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_and_show() {
        for (text, count, per, per_sender, shown) in [
            ("10/s", 10, Period::Second, false, "10/s"),
            ("1/s per sender", 1, Period::Second, true, "1/s per sender"),
            ("2000/day", 2_000, Period::Day, false, "2000/day"),
            (" 600 / minute ", 600, Period::Minute, false, "600/min"),
        ] {
            let limit = parse_limit(text).unwrap();
            assert_eq!(limit, Limit { count, per, per_sender }, "{text}");
            assert_eq!((LIMIT.show)(&limit), shown);
        }
        for bad in [
            "",
            "10",
            "/s",
            "0/s",
            "-1/s",
            "+1/s",
            "10/fortnight",
            "1.5/s",
            "10/s per person",
            "1/sper sender",
        ] {
            assert_eq!(parse_limit(bad), None, "{bad}");
        }
    }
}
