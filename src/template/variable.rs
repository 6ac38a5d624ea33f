//! One declared variable of a template: its type, its limits, its samples.

use serde_json::Value;
use toml::de::DeValue;

use crate::domain::words::words;

use super::data;
use super::manifest::join;
use super::section::Section;

words! {
    /// What a variable holds.
    Kind {
        /// Text on one line; more with `multiline = true`.
        Text = "text",
        /// RFC 3339 with an offset.
        Datetime = "datetime",
        /// `2026-12-01`.
        Date = "date",
        /// Any JSON number.
        Number = "number",
        /// A JSON number without a fraction.
        Integer = "integer",
        Boolean = "boolean",
        /// E.164, such as `+13125550142`.
        Phone = "phone",
        /// https, in one of the declared `domains`.
        Url = "url",
        /// A list of one-line texts.
        List = "list",
    }
}

/// Length of a text in characters where the manifest sets none.
const DEFAULT_MAX_LENGTH: u32 = 120;
/// Items of a list where the manifest sets no `max_items`.
const DEFAULT_MAX_ITEMS: u32 = 10;
/// No variable is longer than this, whatever the manifest says.
const LENGTH_CEILING: u32 = 4_000;
/// No list is longer than this, whatever the manifest says.
const ITEMS_CEILING: u32 = 100;

/// A declared variable.
#[derive(Clone, Debug)]
pub struct Variable {
    pub kind: Kind,
    pub required: bool,
    pub description: String,
    /// Characters of a text, or of each item of a list.
    pub max_length: u32,
    pub max_items: u32,
    pub multiline: bool,
    /// The only texts allowed; any where empty.
    pub values: Vec<String>,
    /// For `url`: the host is one of these or below one of them.
    pub domains: Vec<String>,
    /// Typical first, the longest among them; the lint measures with it.
    pub examples: Vec<Value>,
}

impl Variable {
    pub(super) fn read(name: &str, section: &Section<'_, '_>) -> Option<Self> {
        if !is_name(name) {
            section.fault(
                "",
                "a variable's name is 1 to 64 of a-z 0-9 _, not starting with a digit",
                "rename it",
            );
        }
        let Some(kind) = section.word("type", Kind::from_word, &join(Kind::ALL)) else {
            if section.get("type").is_none() {
                section.fault("type", "is required", format!("use one of: {}", join(Kind::ALL)));
            }
            return None;
        };
        let variable = Self {
            kind,
            required: section.flag("required").unwrap_or(false),
            description: section.text("description").unwrap_or_default(),
            max_length: limited(section, "max_length", DEFAULT_MAX_LENGTH, LENGTH_CEILING),
            max_items: limited(section, "max_items", DEFAULT_MAX_ITEMS, ITEMS_CEILING),
            multiline: section.flag("multiline").unwrap_or(false),
            values: section.list("values", "texts", |t| Some(t.to_owned())).unwrap_or_default(),
            domains: section.list("domains", "host names", host).unwrap_or_default(),
            examples: examples(section),
        };
        variable.check(name, section);
        section.finish();
        Some(variable)
    }

    /// The example of most characters.
    #[must_use]
    pub fn longest_example(&self) -> Option<&Value> {
        self.examples.iter().max_by_key(|value| width(value))
    }

    fn check(&self, name: &str, section: &Section<'_, '_>) {
        if self.kind == Kind::Url && self.domains.is_empty() {
            section.fault("domains", "is required for a url", "list the hosts that links may lead to");
        }
        if self.examples.is_empty() {
            section.fault(
                "examples",
                "needs at least one",
                "give a typical value and the longest likely one",
            );
        }
        for example in &self.examples {
            if let Some(problem) = data::check_value(name, self, example) {
                section.fault("examples", problem.rule, problem.cure);
            }
        }
    }
}

/// Characters as shown, near enough to compare examples.
fn width(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.iter().map(width).sum(),
        other => other.to_string().len(),
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn host(text: &str) -> Option<String> {
    let labels = text.split('.').collect::<Vec<_>>();
    let good = |label: &&str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    (labels.len() > 1 && labels.iter().all(good)).then(|| text.to_owned())
}

fn limited(section: &Section<'_, '_>, key: &'static str, default: u32, ceiling: u32) -> u32 {
    let value = section.count(key).unwrap_or(default);
    if value > ceiling {
        section.fault(key, format_args!("must be at most {ceiling}"), "set a lower limit");
    }
    value.min(ceiling)
}

fn examples(section: &Section<'_, '_>) -> Vec<Value> {
    let Some((value, _)) = section.get("examples") else { return Vec::new() };
    let Some(items) = value.as_array() else {
        section.fault("examples", "must be a list", "write examples = [ ... ]");
        return Vec::new();
    };
    let read: Option<Vec<Value>> = items.iter().map(|item| json(item.get_ref())).collect();
    read.unwrap_or_else(|| {
        section.fault("examples", "holds texts, numbers, booleans or lists", "put dates in quotes");
        Vec::new()
    })
}

fn json(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Boolean(flag) => Some(Value::from(*flag)),
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok().map(Value::from),
        DeValue::Float(n) => n.as_str().parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::from),
        DeValue::Array(items) => {
            items.iter().map(|item| json(item.get_ref())).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
