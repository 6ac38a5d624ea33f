//! The audience of campaigns.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use jiff::Timestamp;

use super::Result;
use super::campaigns::{
    Added, CampaignRow, Expanded, NewRecipient, Outstanding, Place, Recipient, RecipientRow,
};
use crate::domain::campaign::FollowUp;
use crate::domain::ids::{CampaignId, PatientId};

/// Whom campaigns are for, and how far they have come with them.
#[async_trait]
pub trait CampaignAudience {
    /// Adds to the audience of one that has not begun, as `by` wants, and makes an approval void where that changes it. Of a
    /// person who is meant under several ids the first row is left. One answer a row, in order; where one is
    /// [`Added::Taken`], nothing is written. `None`: it has begun, or there is no such campaign.
    async fn add_recipients(
        &self,
        id: &CampaignId,
        rows: &[NewRecipient],
        by: &str,
    ) -> Result<Option<Vec<Added>>>;

    /// The highest ordinal of the audience; 0: nobody is in it.
    async fn last_ordinal(&self, id: &CampaignId) -> Result<u64>;

    /// Those need nothing (any more), by whatever id they have or had: who waits is left out, what was written and not
    /// begun is taken back, and who comes into the audience later is left out too. Answers how many of them were still to be
    /// written to.
    async fn no_longer_needed(&self, id: &CampaignId, patients: &[PatientId]) -> Result<u64>;

    /// Recipients that have no place in the order yet, by their ordinals.
    async fn unsorted(&self, id: &CampaignId, limit: u32) -> Result<Vec<Recipient>>;

    /// Gives them their places.
    async fn sort_recipients(&self, id: &CampaignId, places: &[Place]) -> Result<()>;

    /// Those of the waves so far who are ready by `until`, in their order. `None`: the campaign does not stand as in `row` any
    /// more, so that its canary and its turns would be reckoned from what others have used up.
    async fn next_recipients(
        &self,
        row: &CampaignRow,
        until: Timestamp,
        limit: u32,
    ) -> Result<Option<Vec<Recipient>>>;

    /// Notes which recipients have their message, which cannot have one, and which are ready only later. One that needs none any more keeps that, and
    /// its message is taken back.
    async fn expanded(&self, ask: &Expanded) -> Result<()>;

    /// Messages that are due and not begun, or wait for their provider, a limit or a budget; counted up to some ten
    /// thousands.
    async fn due_of_campaign(&self, id: &CampaignId) -> Result<u64>;

    /// Whether anything of a campaign waits: recipients, and messages.
    async fn outstanding(&self, id: &CampaignId) -> Result<Outstanding>;

    /// When these recipients may be written to.
    async fn ready_at(&self, id: &CampaignId, ordinals: &[u64]) -> Result<HashMap<u64, Timestamp>>;

    /// The audience as it stands, from after `after` on, each with the last of the messages that were sent to them.
    async fn recipients(&self, id: &CampaignId, after: u64, limit: u32) -> Result<Vec<RecipientRow>>;

    /// Whom a campaign that follows is for, from after the recipient `after` of the one it follows.
    async fn follow_up(
        &self,
        parent: &CampaignId,
        kind: FollowUp,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Recipient>>;

    /// Which of these were sent something by the campaign; with `or_may`, also who may have been or still may be.
    async fn received(
        &self,
        id: &CampaignId,
        patients: &[PatientId],
        or_may: bool,
    ) -> Result<HashSet<PatientId>>;
}
