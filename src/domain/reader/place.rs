//! Where in an input something stands, and what is wrong there.

use std::borrow::Cow;
use std::fmt;

use crate::domain::problem::Problem;
use crate::domain::words::Reason;

/// Faults of one input that are told; the rest would not be read.
const MAX_FAULTS: usize = 50;

/// What is wrong with one value: the rule and the cure, without the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The word under which it is counted.
    pub reason: Reason,
    /// The rule that was broken.
    pub rule: Cow<'static, str>,
    /// What to do about it.
    pub cure: Cow<'static, str>,
}

impl Fault {
    /// A fault of form.
    pub fn malformed(rule: impl Into<Cow<'static, str>>, cure: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Reason::Malformed, rule: rule.into(), cure: cure.into() }
    }

    /// A fault of a phone number, an email address or a portal reference.
    pub fn address(rule: impl Into<Cow<'static, str>>, cure: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Reason::InvalidAddress, rule: rule.into(), cure: cure.into() }
    }

    /// The fault at `field`.
    #[must_use]
    pub fn at(self, field: impl Into<String>) -> Problem {
        Problem::new(field, self.reason, self.rule, self.cure)
    }
}

/// A JSON path as a chain on the stack: it costs nothing until a fault is told.
#[derive(Clone, Copy)]
pub(super) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Field(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    /// The whole input.
    pub(super) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// A field of the object here.
    pub(super) const fn field(&'p self, name: &'p str) -> Self {
        Self { parent: Some(self), step: Step::Field(name) }
    }

    /// An element of the list here.
    pub(super) const fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Field(name) => {
                if self.parent.is_some_and(|p| !matches!(p.step, Step::Root)) {
                    f.write_str(".")?;
                }
                f.write_str(echo(name))
            }
        }
    }
}

/// A field's name as far as it may be repeated: names are the sender's text too.
fn echo(name: &str) -> &str {
    let harmless = (1..=40).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if harmless { name } else { "(an unknown field)" }
}

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Faults(Vec<Problem>);

impl Faults {
    /// Notes one more.
    pub(super) fn add(&mut self, path: &Path<'_>, fault: Fault) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(fault.at(path.to_string()));
        }
    }

    /// `value` when it was read and nothing is wrong, else all that is.
    pub(super) fn settle<T>(self, value: Option<T>) -> Result<T, Vec<Problem>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.0),
        }
    }
}
