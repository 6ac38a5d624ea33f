//! Holds: what they cover, and what becomes of the held.

use jiff::Timestamp;
use serde::Serialize;

use super::rows::MessageFacts;
use crate::domain::ids::{HoldId, ProviderName};
use crate::domain::words::{Channel, Priority, Purpose, Reason, words};

words! {
    /// What a hold covers.
    HoldScope {
        All = "all", Source = "source", Site = "site", Template = "template", Purpose = "purpose",
        Channel = "channel", Provider = "provider",
        /// A campaign that is paused, or was cancelled and has something left to take back.
        Campaign = "campaign",
    }
}

words! {
    /// What becomes of the held when the hold ends.
    OnRelease {
        /// It is decided upon anew, and goes out.
        Send = "send",
        /// It is dropped.
        Expire = "expire",
        /// It stays where it is until a person says.
        Review = "review",
    }
}

words! {
    /// What a person says becomes of the held, whatever the hold itself says.
    HoldThen { Send = "send", Drop = "drop" }
}

words! {
    /// Where a hold stands.
    HoldState {
        /// It stops what it covers.
        InForce = "in_force",
        /// It stops nothing any more; what it held waits for a person's word.
        Review = "review",
    }
}

/// A stop that a person, the guard against surges, or a campaign put in place. A message belongs to the hold that stopped it
/// first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    pub id: HoldId,
    pub scope: HoldScope,
    /// Which source, site ...; empty for `all`.
    pub value: String,
    /// What its messages give as their reason: `operator_hold`, `surge_hold`, `awaiting_approval` or `campaign_paused`.
    pub cause: Reason,
    pub reason: String,
    pub placed_by: String,
    pub placed_at: Timestamp,
    pub until: Option<Timestamp>,
    pub on_release: OnRelease,
}

/// A hold as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HoldRow {
    #[serde(flatten)]
    pub hold: Hold,
    pub state: HoldState,
    /// How many messages wait for it.
    pub held: u64,
    /// Of emergencies: the source, and whoever asked for them. Somebody else lets them go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asked_by: Vec<String>,
}

impl Hold {
    /// Whether it covers a message that would go over `channel` by `provider`. A surge leaves alone what is urgent or
    /// an emergency, and campaigns, which have a control of their own; what waits for a second person is emergencies.
    #[must_use]
    pub fn covers(
        &self,
        facts: &MessageFacts,
        channel: Option<Channel>,
        provider: Option<&ProviderName>,
    ) -> bool {
        if self.cause == Reason::SurgeHold && !is_guarded(facts) {
            return false;
        }
        if self.cause == Reason::AwaitingApproval && (facts.purpose != Purpose::Emergency || facts.test) {
            return false;
        }
        match self.scope {
            HoldScope::All => true,
            HoldScope::Source => facts.source.as_str() == self.value,
            HoldScope::Site => facts.site.as_ref().is_some_and(|s| s.as_str() == self.value),
            HoldScope::Template => facts.template.as_str() == self.value,
            HoldScope::Purpose => facts.purpose.as_str() == self.value,
            HoldScope::Channel => channel.is_some_and(|c| c.as_str() == self.value),
            HoldScope::Provider => provider.is_some_and(|p| p.as_str() == self.value),
            HoldScope::Campaign => facts.campaign().is_some_and(|c| c.as_str() == self.value),
        }
    }

    /// Whether the guard placed it: against a surge, or for a second person.
    #[must_use]
    pub fn is_by_guard(&self) -> bool {
        matches!(self.cause, Reason::SurgeHold | Reason::AwaitingApproval)
    }

    /// When what it holds is asked about again by itself. What does not simply go out at the hold's end is left
    /// alone until somebody, or the ledger, says what becomes of it.
    #[must_use]
    pub fn asks_again(&self) -> Option<Timestamp> {
        self.until.filter(|_| self.on_release == OnRelease::Send)
    }
}

/// Whether the guard against surges counts it. A campaign keeps its own pace.
pub(super) fn is_counted(facts: &MessageFacts) -> bool {
    facts.purpose != Purpose::Emergency && facts.campaign().is_none()
}

/// Whether the guard against surges may hold it: what is urgent calls people, and goes on.
pub(super) fn is_guarded(facts: &MessageFacts) -> bool {
    facts.priority != Priority::Urgent && is_counted(facts)
}
