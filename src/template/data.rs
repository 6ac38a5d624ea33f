//! Checks a job's `data` against the declared variables.
//!
//! Handlebars prints null as nothing and an object as `[object]`, even in strict mode, so a value is judged here,
//! before any text is made of it. A problem names the field, the rule and the cure, never the value.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Map, Value};

use crate::domain::problem::Problem;
use crate::domain::words::Reason;

use super::manifest::Manifest;
use super::variable::{Kind, Variable};

/// Greater numbers are no numbers that anybody reads, and floating point no longer holds them exactly.
const MAX_NUMBER: f64 = 1e15;

impl Manifest {
    /// Checks that `data` holds every required variable, nothing undeclared, and values of the declared types.
    ///
    /// # Errors
    /// Every problem, each with its path, such as `data.starts_at`.
    pub fn check_data(&self, data: &Map<String, Value>) -> Result<(), Vec<Problem>> {
        let missing = self.variables.iter().filter(|(name, v)| v.required && !data.contains_key(*name));
        let mut problems: Vec<Problem> =
            missing.map(|(name, variable)| bad(name, "is required", cure_of(variable))).collect();
        problems.extend(self.check_given(data).err().into_iter().flatten());
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The same of a part of the data: what is missing may still come.
    ///
    /// # Errors
    /// Every problem.
    pub fn check_given(&self, data: &Map<String, Value>) -> Result<(), Vec<Problem>> {
        let given = self.variables.iter().filter_map(|(name, v)| Some((name, v, data.get(name)?)));
        let mut problems: Vec<Problem> =
            given.filter_map(|(name, variable, value)| check_value(name, variable, value)).collect();
        for name in data.keys().filter(|name| !self.variables.contains_key(*name)) {
            let known = self.variables.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            problems.push(bad(
                &harmless(name),
                "is no variable of this template",
                format!("remove it; known: {known}"),
            ));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// What is wrong with one value; `None` when nothing is.
pub(super) fn check_value(name: &str, variable: &Variable, value: &Value) -> Option<Problem> {
    let fault = |rule: String| Some(bad(name, rule, cure_of(variable)));
    if value.is_null() {
        return fault("must not be null".to_owned());
    }
    let rule = match (variable.kind, value) {
        (Kind::Text, Value::String(text)) => text_rule(variable, text, variable.multiline),
        (Kind::Datetime, Value::String(text)) => datetime_rule(text),
        (Kind::Date, Value::String(text)) => {
            (text.len() != 10 || text.parse::<Date>().is_err()).then(|| "must be a calendar date".to_owned())
        }
        (Kind::Boolean, Value::Bool(_)) => None,
        (Kind::Integer, Value::Number(n)) if !n.is_i64() && !n.is_u64() => {
            Some("must be a whole number".to_owned())
        }
        (Kind::Number | Kind::Integer, Value::Number(n)) => {
            let is_readable = n.as_f64().is_some_and(|n| n.abs() < MAX_NUMBER);
            (!is_readable).then(|| "must be less than a thousand million million".to_owned())
        }
        (Kind::Phone, Value::String(text)) => {
            (!is_e164(text)).then(|| "must be a phone number in E.164".to_owned())
        }
        (Kind::Url, Value::String(text)) => url_rule(variable, text),
        (Kind::List, Value::Array(items)) => list_rule(variable, items),
        (kind, _) => Some(format!("must be of type {kind}")),
    };
    rule.and_then(fault)
}

fn bad(name: &str, rule: impl Into<String>, cure: impl Into<String>) -> Problem {
    Problem::new(format!("data.{name}"), Reason::BadData, rule, cure)
}

/// A name that a stranger chose is repeated only when it can hold no more than a name.
fn harmless(name: &str) -> String {
    let plain = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    if plain { name.to_owned() } else { "(unknown)".to_owned() }
}

fn cure_of(variable: &Variable) -> String {
    match variable.kind {
        Kind::Text if !variable.values.is_empty() => format!("send one of: {}", variable.values.join(", ")),
        Kind::Text => format!("send a text of 1 to {} characters", variable.max_length),
        Kind::Datetime => "send RFC 3339 with an offset, such as 2026-12-01T15:30:00-06:00".to_owned(),
        Kind::Date => "send a date such as 2026-12-01".to_owned(),
        Kind::Number => "send a JSON number".to_owned(),
        Kind::Integer => "send a JSON number without a fraction".to_owned(),
        Kind::Boolean => "send true or false".to_owned(),
        Kind::Phone => "send + and the digits with country code, such as +13125550142".to_owned(),
        Kind::Url => format!("send an https address at {}", variable.domains.join(", ")),
        Kind::List => format!(
            "send a list of 1 to {} texts of up to {} characters",
            variable.max_items, variable.max_length
        ),
    }
}

fn text_rule(variable: &Variable, text: &str, multiline: bool) -> Option<String> {
    if text.trim().is_empty() {
        return Some("must not be empty".to_owned());
    }
    if !within(text, variable.max_length) {
        return Some(format!("must be at most {} characters", variable.max_length));
    }
    if text.chars().any(|c| is_hostile(c) && !(multiline && matches!(c, '\n' | '\r' | '\t'))) {
        return Some(if multiline {
            "must hold no control characters".to_owned()
        } else {
            "must be one line without control characters".to_owned()
        });
    }
    (!variable.values.is_empty() && !variable.values.iter().any(|allowed| allowed == text))
        .then(|| "must be one of the declared values".to_owned())
}

fn list_rule(variable: &Variable, items: &[Value]) -> Option<String> {
    if items.is_empty() || items.len() > variable.max_items as usize {
        return Some(format!("must hold 1 to {} items", variable.max_items));
    }
    items.iter().enumerate().find_map(|(at, item)| match item {
        Value::String(text) => text_rule(variable, text, false).map(|rule| format!("item {at} {rule}")),
        _ => Some(format!("item {at} must be a text")),
    })
}

fn datetime_rule(text: &str) -> Option<String> {
    // RFC 3339 has no zone in brackets; an annotation could contradict the offset.
    let shaped = text.len() <= 40 && !text.contains('[');
    (!shaped || text.parse::<Timestamp>().is_err())
        .then(|| "must be a date and time with an offset".to_owned())
}

fn within(text: &str, max: u32) -> bool {
    text.chars().nth(max as usize).is_none()
}

/// Characters that could break out of a line, hide text or turn it around.
pub(super) fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        || matches!(u32::from(c) & 0xfffe, 0xfffe)
}

fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0')
    })
}

/// Judges an address by a strict subset of RFC 3986: anything that two readers could read differently is refused.
fn url_rule(variable: &Variable, text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix("https://") else {
        return Some("must begin with https://".to_owned());
    };
    if !within(text, variable.max_length) {
        return Some(format!("must be at most {} characters", variable.max_length));
    }
    if !rest.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`')) {
        return Some("must hold only characters that an address may hold".to_owned());
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let allowed = variable.domains.iter().any(|domain| {
        host.strip_suffix(domain.as_str()).is_some_and(|left| {
            left.is_empty()
                || left.strip_suffix('.').is_some_and(|sub| {
                    !sub.is_empty()
                        && sub.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
                })
        })
    });
    (!allowed).then(|| "must lead to an allowed domain".to_owned())
}
