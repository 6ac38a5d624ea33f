//! What has come of campaigns.

use async_trait::async_trait;
use jiff::Timestamp;

use super::Result;
use super::campaigns::CampaignReport;
use crate::domain::ids::CampaignId;
use crate::policy::campaign::Health;

/// Campaigns in numbers.
#[async_trait]
pub trait CampaignReports {
    /// What has come of what was tried since then, as far as it can stop it.
    async fn campaign_health(&self, id: &CampaignId, since: Timestamp) -> Result<Health>;

    /// What has come of it, in numbers.
    async fn campaign_report(&self, id: &CampaignId) -> Result<CampaignReport>;
}
