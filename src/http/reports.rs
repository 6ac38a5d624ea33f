//! What came of campaigns, as it was last counted: who watches one looks again every few seconds, and in a large one a count
//! walks everybody it was sent to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Shared;
use super::kept::{Kept, Pace, Wait};
use crate::domain::ids::CampaignId;
use crate::store::campaigns::CampaignReport;

/// One that failed is no sooner made again than one that went well.
const PACE: Pace = Pace { every: Duration::from_secs(2), share: 20, again: Duration::MAX };
/// The first count of a small campaign is waited for so long.
const FIRST: Wait = Wait::ForFirst(Duration::from_millis(60));
/// Campaigns whose counts are kept.
const KEPT: usize = 64;

/// The counts that are kept.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<HashMap<CampaignId, Arc<Kept<CampaignReport>>>>);

impl Reports {
    /// The counts of this campaign; `None`: those of as many others as are kept are in hand.
    fn of(&self, id: &CampaignId) -> Option<Arc<Kept<CampaignReport>>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT && !kept.contains_key(id) {
            let idle = kept.iter().filter(|(_, kept)| Arc::strong_count(kept) == 1);
            let oldest = idle.min_by_key(|(_, kept)| kept.until()).map(|(id, _)| id.clone())?;
            kept.remove(&oldest);
        }
        Some(Arc::clone(kept.entry(id.clone()).or_default()))
    }
}

/// The last count and its age; where it is too old, another one is begun. `None`: the first one is under way.
pub(super) async fn soon(shared: &Shared, id: &CampaignId) -> Option<(CampaignReport, Duration)> {
    let count = {
        let (store, id) = (Arc::clone(&shared.parts.campaigns.store), id.clone());
        async move { store.campaign_report(&id).await }
    };
    let failed = "what came of a campaign is not to be had";
    shared.reports.of(id)?.get(&PACE, FIRST, count, failed).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that is busy makes none of them count for longer.
    const EVEN: Pace = Pace { share: 0, ..PACE };

    #[tokio::test]
    async fn few_are_kept_and_none_that_is_in_hand_goes() {
        let reports = Reports::default();
        let id = |n: usize| CampaignId::parse(&format!("campaign-{n}")).unwrap();
        let count = async |n: usize| {
            let found = async { Ok::<_, &str>(CampaignReport::default()) };
            reports.of(&id(n)).unwrap().get(&EVEN, Wait::ForNews, found, "of a test").await
        };
        for n in 0..KEPT {
            assert!(count(n).await.is_some(), "{n}");
        }
        let is_known = |n: usize| reports.0.lock().unwrap().contains_key(&id(n));
        let in_hand = reports.of(&id(0)).unwrap();
        assert!(count(KEPT).await.is_some());
        assert!(is_known(0) && !is_known(1), "the one whose time is over first has to go");
        assert!(Arc::ptr_eq(&in_hand, &reports.of(&id(0)).unwrap()), "so that one counts at a time");
        let all: Vec<_> = (2..=KEPT).filter_map(|n| reports.of(&id(n))).collect();
        assert_eq!((all.len(), reports.0.lock().unwrap().len()), (KEPT - 1, KEPT));
        assert!(reports.of(&id(1)).is_none(), "as many as are kept are in hand");
        drop(in_hand);
        assert!(reports.of(&id(1)).is_some() && !is_known(0));
    }
}
