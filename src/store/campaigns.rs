//! Campaigns, as the ledger keeps them.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::Result;
use crate::domain::campaign::{Approval, CampaignState, PauseReason, Plan, RecipientBody};
use crate::domain::ids::{CampaignId, HoldId, MessageId, PatientId, SourceName, WorkerId};
use crate::domain::reply::Intent;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason};
use crate::policy::campaign::needs_approval;

/// Campaigns, as they are planned, moved and ended.
#[async_trait]
pub trait Campaigns {
    /// Writes a new campaign. False: there is one of that name.
    async fn create_campaign(&self, plan: &Plan, by: &str) -> Result<bool>;

    /// One campaign, and the clock.
    async fn campaign(&self, id: &CampaignId) -> Result<Option<(CampaignRow, Timestamp)>>;

    /// Campaigns, newest first.
    async fn campaigns(&self, filter: &CampaignFilter) -> Result<Vec<CampaignRow>>;

    /// Moves a campaign on, if nobody else has moved it since it was read; answers whether.
    async fn move_campaign(&self, ask: &CampaignMove) -> Result<bool>;

    /// Takes in hand, for a few seconds, every campaign for which there may be something to do and that no other worker
    /// has, except those that are `left` to others.
    async fn lease_campaigns(&self, worker: WorkerId, left: &[CampaignId]) -> Result<InHand>;

    /// The messages that were written and not begun, in the order in which they were written, `limit` at most, each with
    /// its recipient's ordinal. Those that wait for another reason than their turn, such as quiet hours, are left out.
    async fn waiting_turns(&self, id: &CampaignId, limit: u32) -> Result<Vec<(MessageId, Option<u64>)>>;

    /// Takes back what a cancelled campaign has written and not begun; once nothing is left, its hold ends. Answers how
    /// many messages.
    async fn sweep_campaign(&self, id: &CampaignId, limit: u32) -> Result<u32>;
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

/// The campaigns that a worker has in hand.
#[derive(Clone, Debug)]
pub struct InHand {
    pub rows: Vec<CampaignRow>,
    /// They cannot be read here: their key is not there, or a newer program has written them.
    pub unread: Vec<CampaignId>,
    pub now: Timestamp,
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
    /// Where another worker has given turns beyond it, theirs counts.
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
