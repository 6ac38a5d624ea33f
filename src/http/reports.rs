//! What came of campaigns, as it was last counted: who watches one looks again every few seconds, and in a large one a count
//! walks everybody it was sent to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use crate::domain::ids::CampaignId;
use crate::store::campaigns::CampaignReport;

/// A count is at least so old before it is made again ...
const KEEP: Duration = Duration::from_secs(2);
/// ... and counting takes at most this part of the time.
const SHARE: u32 = 20;
/// The first count of a small campaign is waited for so long.
const FIRST: Duration = Duration::from_millis(60);
/// Campaigns whose counts are kept.
const KEPT: usize = 64;

/// The counts that are kept.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<HashMap<CampaignId, Kept>>);

#[derive(Debug)]
struct Kept {
    seen: Option<(CampaignReport, Instant)>,
    counting: bool,
    /// Good until then.
    until: Instant,
}

impl Reports {
    fn kept(&self) -> MutexGuard<'_, HashMap<CampaignId, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last count that was to be had, and its age.
    fn seen(&self, id: &CampaignId) -> Option<(CampaignReport, Duration)> {
        let kept = self.kept();
        let (report, at) = kept.get(id)?.seen.as_ref()?;
        Some((report.clone(), at.elapsed()))
    }

    /// Whether a count is to be made now, by whoever asks.
    fn begin(&self, id: &CampaignId) -> bool {
        let (mut kept, now) = (self.kept(), Instant::now());
        if kept.len() >= KEPT && !kept.contains_key(id) {
            let oldest = kept.iter().filter(|(_, kept)| !kept.counting).min_by_key(|(_, kept)| kept.until);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { return false };
            kept.remove(&oldest);
        }
        let entry = kept.entry(id.clone()).or_insert(Kept { seen: None, counting: false, until: now });
        let begins = !entry.counting && now >= entry.until;
        entry.counting |= begins;
        begins
    }
}

/// A count that is under way. However it ends, another one may begin after it.
struct Counting<'r> {
    reports: &'r Reports,
    id: &'r CampaignId,
    started: Instant,
    report: Option<CampaignReport>,
}

impl<'r> Counting<'r> {
    fn of(reports: &'r Reports, id: &'r CampaignId) -> Self {
        Self { reports, id, started: Instant::now(), report: None }
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        if let Some(entry) = self.reports.kept().get_mut(self.id) {
            entry.counting = false;
            entry.until = now + KEEP.max(self.started.elapsed().saturating_mul(SHARE));
            if let Some(report) = self.report.take() {
                entry.seen = Some((report, now));
            }
        }
    }
}

/// The last count and its age; where it is too old, another one is begun. `None`: the first one is under way.
pub(super) async fn soon(shared: &Arc<Shared>, id: &CampaignId) -> Option<(CampaignReport, Duration)> {
    if shared.reports.begin(id) {
        let counting = tokio::spawn({
            let (shared, id) = (Arc::clone(shared), id.clone());
            async move {
                let mut counting = Counting::of(&shared.reports, &id);
                match shared.parts.campaigns.store.campaign_report(&id).await {
                    Ok(report) => counting.report = Some(report),
                    Err(error) => tracing::warn!(%error, "what came of a campaign is not to be had"),
                }
            }
        });
        if shared.reports.seen(id).is_none() {
            let _in_time = tokio::time::timeout(FIRST, counting).await;
        }
    }
    shared.reports.seen(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_counts_at_a_time_and_few_are_kept() {
        let reports = Reports::default();
        let id = |n: usize| CampaignId::parse(&format!("campaign-{n}")).unwrap();
        let end = |id: &CampaignId, report| Counting::of(&reports, id).report = report;
        assert!(reports.begin(&id(0)));
        assert!(!reports.begin(&id(0)), "one is under way");
        assert!(reports.seen(&id(0)).is_none());
        end(&id(0), Some(CampaignReport::default()));
        assert!(reports.seen(&id(0)).is_some());
        assert!(!reports.begin(&id(0)), "it is fresh");
        // What could not be counted is not asked for again at once, and what was known stays.
        for n in 1..=KEPT {
            assert!(reports.begin(&id(n)), "{n}");
            end(&id(n), None);
        }
        assert_eq!(reports.kept().len(), KEPT);
        assert!(reports.seen(&id(0)).is_none(), "the one whose time was over first had to go");
        // A count that ended badly is over too.
        assert!(reports.begin(&id(0)));
        let fell = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let id = id(0);
            let _counting = Counting::of(&reports, &id);
            panic!("of a test");
        }));
        assert!(fell.is_err() && !reports.kept()[&id(0)].counting);
    }
}
