//! Campaigns, as the ledger keeps them.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::Result;
use crate::domain::campaign::{Approval, CampaignState, FollowUp, PauseReason, Plan, RecipientBody};
use crate::domain::ids::{CampaignId, HoldId, MessageId, PatientId, SourceName, WorkerId};
use crate::domain::patient::Patient;
use crate::domain::reply::Intent;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason};
use crate::policy::campaign::{Health, needs_approval};

/// The ledger's part in campaigns. As elsewhere, a method is one transaction.
#[async_trait]
pub trait Campaigns {
    /// Writes a new campaign. False: there is one of that name.
    async fn create_campaign(&self, plan: &Plan, by: &str) -> Result<bool>;

    /// One campaign, and the clock.
    async fn campaign(&self, id: &CampaignId) -> Result<Option<(CampaignRow, Timestamp)>>;

    /// Campaigns, newest first.
    async fn campaigns(&self, filter: &CampaignFilter) -> Result<Vec<CampaignRow>>;

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

    /// Moves a campaign on, if nobody else has moved it since it was read; answers whether.
    async fn move_campaign(&self, ask: &CampaignMove) -> Result<bool>;

    /// Takes in hand, for a few seconds, every campaign for which there may be something to do and that no other worker
    /// has.
    async fn lease_campaigns(&self, worker: WorkerId) -> Result<(Vec<CampaignRow>, Timestamp)>;

    /// Recipients that have no place in the order yet, by their ordinals.
    async fn unsorted(&self, id: &CampaignId, limit: u32) -> Result<Vec<Recipient>>;

    /// Gives them their places.
    async fn sort_recipients(&self, id: &CampaignId, places: &[Place]) -> Result<()>;

    /// Those whose wave is `wave` at most and who are ready by `until`, in their order.
    async fn next_recipients(
        &self,
        id: &CampaignId,
        wave: u16,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Recipient>>;

    /// Notes which recipients have their message, which cannot have one, and which are ready only later. One that needs none any more keeps that, and
    /// its message is taken back.
    async fn expanded(&self, ask: &Expanded) -> Result<()>;

    /// Messages that are due and not begun, or wait for their provider; counted up to some ten thousands.
    async fn due_of_campaign(&self, id: &CampaignId) -> Result<u64>;

    /// Whether anything of a campaign waits: recipients, and messages.
    async fn outstanding(&self, id: &CampaignId) -> Result<Outstanding>;

    /// The messages that were written and not begun, in the order in which they were written, `limit` at most, each with
    /// its recipient's ordinal. Those that wait for another reason than their turn, such as quiet hours, are left out.
    async fn waiting_turns(&self, id: &CampaignId, limit: u32) -> Result<Vec<(MessageId, Option<u64>)>>;

    /// When these recipients may be written to.
    async fn ready_at(&self, id: &CampaignId, ordinals: &[u64]) -> Result<HashMap<u64, Timestamp>>;

    /// Takes back what a cancelled campaign has written and not begun; once nothing is left, its hold ends. Answers how
    /// many messages.
    async fn sweep_campaign(&self, id: &CampaignId, limit: u32) -> Result<u32>;

    /// What has come of what was tried since then, as far as it can stop it.
    async fn campaign_health(&self, id: &CampaignId, since: Timestamp) -> Result<Health>;

    /// What has come of it, in numbers.
    async fn campaign_report(&self, id: &CampaignId) -> Result<CampaignReport>;

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

    /// The directory by ids, from after `after` on, without aliases.
    async fn patients_after(&self, after: Option<&PatientId>, limit: u32) -> Result<Vec<Patient>>;

    /// Which of these were sent something by the campaign; with `or_may`, also who may have been or still may be.
    async fn received(
        &self,
        id: &CampaignId,
        patients: &[PatientId],
        or_may: bool,
    ) -> Result<HashSet<PatientId>>;
}

/// A campaign as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct CampaignRow {
    pub plan: Plan,
    /// The plan as it is stored: the same text as long as nobody changes it.
    #[serde(skip)]
    pub plan_text: String,
    pub state: CampaignState,
    pub reason: Option<PauseReason>,
    pub created_by: String,
    /// Who has changed the plan or the audience.
    pub changed_by: Vec<String>,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    pub started_at: Option<Timestamp>,
    #[serde(skip)]
    pub revision: i64,
    pub recipients: u64,
    #[serde(skip)]
    pub audience: String,
    pub expanded: u64,
    pub refused: u64,
    pub no_longer_needed: u64,
    pub approval: Option<Approval>,
    pub canary_passed: bool,
    pub wave: u16,
    pub wave_opens_at: Timestamp,
    /// Of the next recipient, by the pace.
    #[serde(skip)]
    pub next_turn: Timestamp,
    #[serde(skip)]
    pub hold: Option<HoldId>,
}

impl CampaignRow {
    /// Those who are still meant.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.recipients.saturating_sub(self.no_longer_needed)
    }

    /// Whether another person has to agree: more than `above` people are meant, or it passes the caps.
    #[must_use]
    pub fn needs_approval(&self, above: u64) -> bool {
        needs_approval(self.size(), above, self.plan.lifts_cap())
    }
}

/// Which campaigns.
#[derive(Clone, Debug, Default)]
pub struct CampaignFilter {
    /// Of these sources; of any where empty.
    pub sources: Vec<SourceName>,
    /// Only those that are not over.
    pub open: bool,
    /// At most 1,000.
    pub limit: u32,
}

/// Somebody for an audience.
#[derive(Clone, Debug)]
pub struct NewRecipient {
    /// From 1; the same row of the same file has the same.
    pub ordinal: u64,
    pub patient: PatientId,
    pub body: RecipientBody,
    /// Where it is known already: their wave, and when they may be written to.
    pub place: Option<(u16, Timestamp)>,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    New,
    /// The same row was there before.
    Known,
    /// It was there before with other data, and has these now.
    Changed,
    /// The patient is in the audience already, under this ordinal.
    Repeated(u64),
    /// The ordinal belongs to somebody else: another file has been read in.
    Taken,
}

/// Somebody of an audience.
#[derive(Clone, Debug)]
pub struct Recipient {
    pub ordinal: u64,
    pub patient: PatientId,
    pub body: RecipientBody,
    pub ready_at: Timestamp,
}

/// A place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub ordinal: u64,
    pub wave: u16,
    pub ready_at: Timestamp,
}

/// A move of a campaign.
#[derive(Clone, Debug)]
pub struct CampaignMove {
    pub id: CampaignId,
    /// As it was read.
    pub revision: i64,
    pub state: CampaignState,
    pub reason: Option<PauseReason>,
    pub by: String,
    /// The plan, where it changes.
    pub plan: Option<Plan>,
    /// `None`: what stands there stays.
    pub approval: Option<Approval>,
    /// The canary is found well.
    pub canary_passed: bool,
    /// The turns of what was written and not begun; the hold ends with it.
    pub turns: Option<Turns>,
    /// The next wave, and when it opens.
    pub wave: Option<(u16, Timestamp)>,
}

/// Turns that were given anew.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    pub of: Vec<(MessageId, Timestamp)>,
    /// Of the recipient after them.
    pub next: Timestamp,
}

/// Which recipients have become messages.
#[derive(Clone, Debug)]
pub struct Expanded {
    pub id: CampaignId,
    /// As it was read; the next turn of a campaign that was moved since stays as that move left it.
    pub revision: i64,
    pub rows: Vec<(u64, std::result::Result<MessageId, Reason>)>,
    /// Who had no turn at this hour, and is ready then.
    pub later: Vec<(u64, Timestamp)>,
    pub next_turn: Timestamp,
}

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outstanding {
    /// Messages that are not final.
    pub open: bool,
    /// The lowest wave of those who have no message yet; `None`: nobody is left, or they are not yet sorted.
    pub next_wave: Option<u16>,
    /// Somebody is not yet sorted.
    pub unsorted: bool,
}

/// What came of a campaign.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CampaignReport {
    /// One message for each recipient: where one was sent again, the last. What caregivers get beside a patient is not
    /// counted.
    pub lines: Vec<ReportLine>,
    /// Recipients who answered.
    pub replies: Vec<ReplyLine>,
    /// Recipients that could have no message, or had none when it was over, by reason.
    pub refused: Vec<(Reason, u64)>,
}

/// How many people answered alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplyLine {
    pub intent: Intent,
    /// Of what they answered to.
    pub channel: Option<Channel>,
    pub locale: String,
    /// The hour in which the first such answer came.
    pub hour: Option<Timestamp>,
    pub count: u64,
}

/// How many messages ended alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReportLine {
    pub status: MessageStatus,
    pub reason: Option<Reason>,
    pub channel: Option<Channel>,
    /// In which it was written; empty where none was.
    pub locale: String,
    /// The hour in which it was sent.
    pub hour: Option<Timestamp>,
    pub count: u64,
}

/// One of the audience with what became of them.
#[derive(Clone, Debug, Serialize)]
pub struct RecipientRow {
    pub ordinal: u64,
    pub patient_id: PatientId,
    pub wave: Option<u16>,
    pub message_id: Option<MessageId>,
    /// `None`: they have no message.
    pub status: Option<MessageStatus>,
    /// Also why they have no message, or had none when it was over.
    pub reason: Option<Reason>,
    pub channel: Option<Channel>,
    #[serde(skip)]
    pub body: RecipientBody,
    #[serde(skip)]
    pub ready_at: Timestamp,
}
