//! What a campaign was approved with is what it says: a worker that has other templates sends nothing for it, and its
//! messages wait, with the reason, for a worker that has them or for another approval.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Corridor, InHand};
use crate::domain::ids::CampaignId;
use crate::store::rows::MessageFacts;
use crate::template::Catalogue;

/// A new approval is seen after so long.
const FRESH: Duration = Duration::from_secs(1);
/// What was not asked for is forgotten after so long.
const KNOWN: Duration = Duration::from_secs(60);

/// The templates that campaigns were approved with.
#[derive(Debug, Default)]
pub(super) struct Approved {
    /// When it was read, and which texts ([`Catalogue::said_by`]); `None`: whichever.
    known: Mutex<HashMap<CampaignId, (Instant, Option<String>)>>,
}

impl Approved {
    /// Reads what the campaigns of these messages were approved with, where it is not known by now. False: the ledger is
    /// away.
    pub(super) async fn look_up(&self, corridor: &Corridor, batch: &[InHand]) -> bool {
        let named: HashSet<&CampaignId> = batch.iter().filter_map(|hand| hand.facts.campaign()).collect();
        for id in named.into_iter().filter(|id| !self.is_fresh(id)) {
            let asked = Instant::now();
            let row = match corridor.store.campaign(id).await {
                Ok(row) => row,
                Err(error) => {
                    tracing::warn!(%error, campaign = %id, "what was approved could not be read");
                    return false;
                }
            };
            let above = corridor.config.campaigns.approval_above;
            let bound = row.filter(|(row, _)| row.needs_approval(above));
            let texts = bound.and_then(|(row, _)| row.approval?.texts);
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, (read, _)| asked.duration_since(*read) < KNOWN);
            known.insert(id.clone(), (asked, texts));
        }
        true
    }

    /// Whether the message's campaign was approved with other texts than these.
    pub(super) fn is_other(&self, facts: &MessageFacts, texts: &Catalogue) -> bool {
        let Some(id) = facts.campaign() else { return false };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let approved = known.get(id).and_then(|(_, approved)| approved.as_deref());
        approved.is_some_and(|approved| approved != texts.said_by(&facts.template))
    }

    fn is_fresh(&self, id: &CampaignId) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).is_some_and(|(read, _)| read.elapsed() < FRESH)
    }
}
