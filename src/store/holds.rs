//! Holds: what they cover, and what becomes of the held.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::Result;
use super::rows::MessageFacts;
use crate::domain::ids::{HoldId, ProviderName};
use crate::domain::people::is_same_person;
use crate::domain::words::{Channel, Priority, Purpose, Reason, words};

/// What stops messages until somebody, or the time, lets them go.
#[async_trait]
pub trait Holds {
    /// Puts a hold in place.
    async fn place_hold(&self, hold: &Hold) -> Result<()>;

    /// Ends a hold; what it held goes as `then` says, else as the hold itself says. A hold that has ended and whose
    /// messages wait for review needs `then`. False: there is no such hold.
    async fn release_hold(&self, id: HoldId, by: &str, then: Option<HoldThen>) -> Result<bool>;

    /// Holds in force, and those whose messages wait for review.
    async fn holds(&self) -> Result<Vec<HoldRow>>;

    /// Lets go what holds held that have ended, as each says, `limit` messages of each at most. Answers how many.
    async fn settle_holds(&self, limit: u32) -> Result<u32>;
}

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

impl HoldRow {
    /// The command that ends it, or answers for what waits.
    #[must_use]
    pub fn end_command(&self) -> String {
        let Hold { id, scope, value, .. } = &self.hold;
        match (scope, self.state) {
            (HoldScope::Campaign, _) => format!("outreachd campaign resume {value}"),
            (_, HoldState::InForce) => format!("outreachd release {id}"),
            (_, HoldState::Review) => format!("outreachd release {id} --send, or --drop"),
        }
    }

    /// Whether `by` may not end it in this way: emergencies are let go by a second person. Nobody needs one to take back what
    /// they asked for.
    #[must_use]
    pub fn refuses(&self, by: &str, then: Option<HoldThen>) -> bool {
        self.hold.cause == Reason::AwaitingApproval
            && then != Some(HoldThen::Drop)
            && self.asked_by.iter().any(|who| is_same_person(who, by))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(scope: HoldScope, value: &str, cause: Reason, state: HoldState) -> HoldRow {
        let hold = Hold {
            id: HoldId(uuid::Uuid::nil()),
            scope,
            value: value.to_owned(),
            cause,
            reason: "wrong text".to_owned(),
            placed_by: "ana".to_owned(),
            placed_at: Timestamp::UNIX_EPOCH,
            until: None,
            on_release: OnRelease::Send,
        };
        HoldRow { hold, state, held: 1, asked_by: vec!["lakeside-ehr".to_owned(), "cli:ana".to_owned()] }
    }

    #[test]
    fn a_hold_names_the_command_that_ends_it() {
        let release = "outreachd release 00000000-0000-0000-0000-000000000000";
        for (scope, state, command) in [
            (HoldScope::All, HoldState::InForce, release.to_owned()),
            (HoldScope::Site, HoldState::Review, format!("{release} --send, or --drop")),
            (HoldScope::Campaign, HoldState::InForce, "outreachd campaign resume flu".to_owned()),
            (HoldScope::Campaign, HoldState::Review, "outreachd campaign resume flu".to_owned()),
        ] {
            assert_eq!(row(scope, "flu", Reason::OperatorHold, state).end_command(), command);
        }
    }

    #[test]
    fn emergencies_are_let_go_by_a_second_person() {
        let emergencies =
            row(HoldScope::Source, "lakeside-ehr", Reason::AwaitingApproval, HoldState::InForce);
        for (by, then, refused) in [
            ("ana", None, true),
            ("Ana@example.org", Some(HoldThen::Send), true),
            ("lakeside-ehr", None, true),
            ("ana", Some(HoldThen::Drop), false),
            ("ben", None, false),
            ("ben", Some(HoldThen::Send), false),
        ] {
            assert_eq!(emergencies.refuses(by, then), refused, "{by} {then:?}");
        }
        let other = row(HoldScope::Source, "lakeside-ehr", Reason::OperatorHold, HoldState::InForce);
        assert!(!other.refuses("ana", None));
    }
}
