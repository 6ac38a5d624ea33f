//! What an inspection of the broker finds.

/// What is not as it should be on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The queue or exchange.
    pub name: String,
    /// What is the matter.
    pub rule: Rule,
    /// What to do about it.
    pub cure: &'static str,
}

/// The rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It does not exist.
    Missing,
    /// It exists with another value of this argument or property.
    Differs(String),
    /// It exists; whether its arguments are ours cannot be seen without configure permission.
    Unverified,
}

impl Finding {
    /// Whether the worker cannot run like this.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.rule == Rule::Missing
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.rule {
            Rule::Missing => write!(f, "{} does not exist", self.name)?,
            Rule::Differs(argument) => write!(f, "{} was declared with another {argument}", self.name)?,
            Rule::Unverified => write!(f, "{}: its arguments could not be compared", self.name)?,
        }
        write!(f, "; {}", self.cure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_says_what_and_what_to_do() {
        let finding =
            Finding { name: "outreach.jobs".into(), rule: Rule::Missing, cure: "run `outreachd migrate`" };
        assert_eq!(finding.to_string(), "outreach.jobs does not exist; run `outreachd migrate`");
        assert!(finding.is_fatal());
    }
}
