//! What is wrong with an input, said so that its sender can mend it: where, which rule, what to do. Never the
//! value itself.

use serde::{Deserialize, Serialize};

use super::words::Reason;

/// One fault of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// JSON path of the field, such as `contacts[2].address`; empty for the whole.
    pub field: String,
    /// The word under which it is counted and reported.
    pub reason: Reason,
    /// The rule that was broken.
    pub rule: String,
    /// What to do about it.
    pub cure: String,
}

impl Problem {
    /// A fault of `field`.
    pub fn new(
        field: impl Into<String>,
        reason: Reason,
        rule: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), reason, rule: rule.into(), cure: cure.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = if self.field.is_empty() { "(whole)" } else { &self.field };
        write!(f, "{field}: {}; {}", self.rule, self.cure)
    }
}
