//! What belongs to a patient and must never be printed by accident.

use serde::{Deserialize, Serialize};

/// Text that names, addresses or describes a person. It has no `Display` and its `Debug` is masked, so a log
/// line, a panic or an error cannot carry it; [`Phi::expose`] is the one way in, easy to find by search.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Phi(String);

impl Phi {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the ledger, the template and the provider only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether both name one place, as addresses: mail systems do not tell `Ana@` from `ana@`.
    #[must_use]
    pub fn is_same_address(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }

    /// Enough to recognise, too little to reveal: the last two characters of a number, the domain of an
    /// email address, nothing of anything else.
    #[must_use]
    pub fn masked(&self) -> String {
        if let Some((_, domain)) = self.0.split_once('@') {
            return format!("***@{domain}");
        }
        if self.0.starts_with('+') {
            let tail: String = self.0.chars().skip(self.0.chars().count().saturating_sub(2)).collect();
            return format!("+***{tail}");
        }
        "***".to_owned()
    }
}

impl std::fmt::Debug for Phi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_reveals_nothing() {
        assert_eq!(format!("{:?}", Phi::new("+13125550142")), "***");
    }

    #[test]
    fn a_masked_address_is_recognisable_and_no_more() {
        assert_eq!(Phi::new("+13125550142").masked(), "+***42");
        assert_eq!(Phi::new("ana@example.org").masked(), "***@example.org");
        assert_eq!(Phi::new("Patient/42").masked(), "***");
    }
}
