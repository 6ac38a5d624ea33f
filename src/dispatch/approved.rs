//! What a campaign was approved with is what it says: a worker that has other templates sends nothing for it, and its
//! messages wait, with the reason, for a worker that has them or for another approval.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Corridor, InHand};
use crate::domain::ids::CampaignId;
use crate::store::StoreError;
use crate::store::rows::MessageFacts;
use crate::template::Catalogue;

/// A new approval is seen after so long.
const FRESH: Duration = Duration::from_secs(1);
/// What was not asked for is forgotten after so long.
const KNOWN: Duration = Duration::from_secs(60);

/// The templates that campaigns were approved with.
#[derive(Debug, Default)]
pub(super) struct Approved {
    /// When it was read, and what stood there.
    known: Mutex<HashMap<CampaignId, (Instant, Texts)>>,
}

/// What a campaign says.
#[derive(Debug)]
enum Texts {
    /// These ([`Catalogue::said_by`]).
    Only(String),
    Any,
    /// Nobody here can tell.
    Unread,
}

impl Approved {
    /// Reads what the campaigns of these messages were approved with, where it is not known by now. One that cannot be read
    /// keeps the messages of others from nothing. False: the ledger is away.
    pub(super) async fn look_up(&self, corridor: &Corridor, batch: &[InHand]) -> bool {
        let named: HashSet<&CampaignId> = batch.iter().filter_map(|hand| hand.facts.campaign()).collect();
        for id in named.into_iter().filter(|id| !self.is_fresh(id)) {
            let asked = Instant::now();
            let texts = match corridor.store.campaign(id).await {
                Ok(row) => {
                    let above = corridor.config.campaigns.approval_above;
                    let bound = row.filter(|(row, _)| row.needs_approval(above));
                    bound.and_then(|(row, _)| row.approval?.texts).map_or(Texts::Any, Texts::Only)
                }
                Err(error @ (StoreError::Key(_) | StoreError::Internal(_))) => {
                    tracing::error!(
                        %error, campaign = %id,
                        "a campaign cannot be read, and its messages wait: where no newer program has written it, put the key \
                         that sealed it back into [security] seal_keys, or restore its row from a dump"
                    );
                    Texts::Unread
                }
                Err(error) => {
                    tracing::warn!(%error, campaign = %id, "what was approved could not be read");
                    return false;
                }
            };
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, (read, _)| asked.duration_since(*read) < KNOWN);
            known.insert(id.clone(), (asked, texts));
        }
        true
    }

    /// Whether the message's campaign was approved with other texts than these, or may have been.
    pub(super) fn is_other(&self, facts: &MessageFacts, texts: &Catalogue) -> bool {
        self.of(facts, |approved| match approved {
            Texts::Only(approved) => *approved != texts.said_by(&facts.template),
            Texts::Any => false,
            Texts::Unread => true,
        })
    }

    /// Whether the message's campaign cannot be read.
    pub(super) fn is_unread(&self, facts: &MessageFacts) -> bool {
        self.of(facts, |approved| matches!(approved, Texts::Unread))
    }

    /// Whether that is so of the message's campaign, as far as it is known.
    fn of(&self, facts: &MessageFacts, is_so: impl FnOnce(&Texts) -> bool) -> bool {
        let Some(id) = facts.campaign() else { return false };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).is_some_and(|(_, approved)| is_so(approved))
    }

    fn is_fresh(&self, id: &CampaignId) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).is_some_and(|(read, _)| read.elapsed() < FRESH)
    }
}
