//! The names of our queues and exchanges: a prefix and a role.

/// What all our names on the broker start with (`[amqp] prefix`), so that tests and users never share a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(std::sync::Arc<str>);

impl Prefix {
    /// The rule, as shown to whoever broke it.
    pub const RULE: &'static str = "1 to 64 of A-Z a-z 0-9 _ - .";

    /// Parses a prefix; `None` when it breaks [`Self::RULE`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        ((1..=64).contains(&text.len()) && text.bytes().all(allowed)).then(|| Self(text.into()))
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Prefix {
    /// `outreach`.
    fn default() -> Self {
        Self("outreach".into())
    }
}

/// A queue of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueRole {
    /// Urgent jobs, in a queue of their own: quorum queues know no priorities.
    Urgent,
    /// All other jobs, and cancels.
    Jobs,
    /// Patient upserts and merges.
    Patients,
    /// The bounded mirror of what could not be accepted. We write it; nothing of ours reads it.
    Dead,
    /// What the broker itself gave up on.
    Returned,
}

impl QueueRole {
    /// Every queue, dead-letter targets before the queues that use them.
    pub const ALL: [Self; 5] = [Self::Dead, Self::Returned, Self::Urgent, Self::Jobs, Self::Patients];

    /// What the queue is called after the prefix.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Urgent => "jobs.urgent",
            Self::Jobs => "jobs",
            Self::Patients => "patients",
            Self::Dead => "dead",
            Self::Returned => "returned",
        }
    }

    /// The queue that is called so after the prefix.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// The queue's name on the broker.
    #[must_use]
    pub fn name(self, prefix: &Prefix) -> String {
        format!("{}.{}", prefix.as_str(), self.word())
    }

    /// Which queue has this name, whatever the prefix.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let is_last = |role: &Self| name.strip_suffix(role.word()).is_some_and(|start| start.ends_with('.'));
        Self::ALL.into_iter().find(is_last)
    }
}

/// An exchange that we publish to or producers publish to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExchangeRole {
    /// Where producers publish jobs and patients.
    Jobs,
    /// Where we publish results.
    Events,
    /// The broker's own: the routing key is a queue's name.
    Default,
}

impl ExchangeRole {
    /// The exchanges that have to be declared.
    pub const DECLARED: [Self; 2] = [Self::Jobs, Self::Events];

    /// The exchange's name on the broker.
    #[must_use]
    pub fn name(self, prefix: &Prefix) -> String {
        match self {
            Self::Jobs => prefix.as_str().to_owned(),
            Self::Events => format!("{}.events", prefix.as_str()),
            Self::Default => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let prefix = Prefix::default();
        let queues: Vec<_> = QueueRole::ALL.iter().map(|role| role.name(&prefix)).collect();
        let expected = [
            "outreach.dead",
            "outreach.returned",
            "outreach.jobs.urgent",
            "outreach.jobs",
            "outreach.patients",
        ];
        assert_eq!(queues, expected);
        assert_eq!(ExchangeRole::Jobs.name(&prefix), "outreach");
        assert_eq!(ExchangeRole::Events.name(&prefix), "outreach.events");
        assert_eq!(ExchangeRole::Default.name(&prefix), "");
    }

    #[test]
    fn a_prefix_keeps_to_its_alphabet() {
        for good in ["outreach", "test-1.a_B"] {
            assert!(Prefix::parse(good).is_some(), "{good}");
        }
        for bad in ["", "a b", "a/b", "ä", "a#", &"x".repeat(65)] {
            assert!(Prefix::parse(bad).is_none(), "{bad}");
        }
    }
}
