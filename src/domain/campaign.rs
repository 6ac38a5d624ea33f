//! A campaign: one message to many people, by a coordinator's plan. What is asked is one value, the [`Plan`]; how far
//! it has come stands in the ledger.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::ids::{CampaignId, JobId, PatientId, SiteId, SourceName, TemplateName};
use super::job::{Job, When};
use super::patient::Patient;
use super::words::{Channel, Priority, Purpose, words};

words! {
    /// Where a campaign stands.
    CampaignState {
        /// Being put together.
        Draft = "draft",
        /// Ready, and another person has to agree.
        AwaitingApproval = "awaiting_approval",
        /// Another person has agreed.
        Approved = "approved",
        /// It sends, or waits for its time.
        Running = "running",
        /// The first few were sent, and a person has to say that all is well.
        CanaryHold = "canary_hold",
        /// It sends nothing until a person resumes it.
        Paused = "paused",
        /// Everybody was written to, or its end has come.
        Done = "done",
        /// A person ended it.
        Cancelled = "cancelled",
    }
}

impl CampaignState {
    /// Whether nothing follows.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

words! {
    /// Why a campaign stands still.
    PauseReason {
        /// A person paused it.
        Operator = "operator",
        /// Too many could not be sent.
        ErrorRate = "error_rate",
        /// Too many said stop.
        OptOutRate = "opt_out_rate",
        /// Too many complained.
        ComplaintRate = "complaint_rate",
        /// What had been approved is no longer what would be sent.
        ApprovalVoid = "approval_void",
    }
}

words! {
    /// What the audience of a campaign that follows another is.
    FollowUp {
        /// Those whom it could not reach, once more.
        RetryFailed = "retry_failed",
        /// Those who have it and did not answer.
        RetryUnanswered = "retry_unanswered",
        /// Exactly those who have it, to put it right.
        Correct = "correct",
    }
}

words! {
    /// What a pace counts by.
    PaceUnit { Minute = "minute", Hour = "hour" }
}

/// What is asked.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub id: CampaignId,
    pub title: String,
    pub source: SourceName,
    pub template: TemplateName,
    pub purpose: Option<Purpose>,
    pub site: Option<SiteId>,
    /// The template's variables that are the same for everybody.
    pub data: Map<String, Value>,
    /// Narrows the channels; `None` leaves them to the patient.
    pub channels: Option<Vec<Channel>>,
    /// `None`: the audience comes from a file, or from another campaign.
    pub audience: Option<AudienceQuery>,
    /// `None`: as soon as it is started.
    pub start: Option<When>,
    /// What was not sent by then expires.
    pub end: Option<When>,
    pub pace: Option<Pace>,
    /// In their order; who belongs to none comes after the last.
    pub waves: Vec<Wave>,
    /// How many go first, before a person says that all is well; 0: no canary.
    pub canary: u32,
    pub auto_pause: AutoPause,
    /// It follows another campaign.
    pub follows: Option<(FollowUp, CampaignId)>,
}

impl std::fmt::Debug for Plan {
    /// Names only: the title and the data may hold anything.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("id", &self.id).field("template", &self.template).finish_non_exhaustive()
    }
}

impl Plan {
    /// The job of a recipient, not to be sent before `ready`. `None`: the row's number is longer than names may be.
    #[must_use]
    pub fn job(
        &self,
        ordinal: u64,
        patient: &PatientId,
        body: &RecipientBody,
        ready: Option<Timestamp>,
    ) -> Option<Job> {
        let mut data = self.data.clone();
        data.extend(body.data.clone());
        let mut hash = Sha256::new();
        hash.update(self.id.as_str());
        hash.update(ordinal.to_be_bytes());
        hash.update(patient.as_str());
        Some(Job {
            id: JobId::of_campaign(&self.id, ordinal)?,
            source: self.source.clone(),
            patient_id: patient.clone(),
            template: self.template.clone(),
            about: None,
            replaces: None,
            site: self.site.clone(),
            purpose: self.purpose,
            priority: Some(Priority::Bulk),
            data,
            channels: self.channels.clone(),
            not_before: ready.map(When::At),
            expires_at: self.end,
            test: false,
            campaign_id: Some(self.id.clone()),
            override_reason: None,
            patient: body.patient.clone(),
            // The row says who it is, and the row does not change: what it says beside that need not be compared.
            content_hash: hash.finalize().into(),
        })
    }

    /// A correction goes to those who have the wrong message, whatever else they have had this week.
    #[must_use]
    pub fn lifts_cap(&self) -> bool {
        matches!(self.follows, Some((FollowUp::Correct, _)))
    }
}

/// Whom of the directory a campaign is for: everybody for whom all of it is true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudienceQuery {
    /// In years, on the day of the search, in the organisation's zone.
    pub min_age: Option<u32>,
    pub max_age: Option<u32>,
    /// Primary languages, such as `es`; any where empty.
    pub languages: Vec<String>,
    /// Beginnings of postcodes; any where empty.
    pub postcodes: Vec<String>,
    /// One of them; any where empty.
    pub tags: Vec<String>,
    pub site: Option<SiteId>,
    /// Was sent something by that campaign.
    pub received: Option<CampaignId>,
    /// Was sent nothing by that campaign.
    pub not_received: Option<CampaignId>,
}

/// How fast: as many as the phones can take, while somebody answers them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    pub count: u32,
    pub per: PaceUnit,
    /// When the booking line is open, as `mon-fri 09:00-17:00, sat-sun closed`, in the site's zone; `None`: always.
    pub hours: Option<String>,
}

/// Some go before others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    pub min_age: Option<u32>,
    /// One of them; any where empty.
    pub tags: Vec<String>,
    /// Beginnings of postcodes; any where empty.
    pub postcodes: Vec<String>,
    /// How long after the wave before it is over, in minutes.
    pub gap_minutes: u32,
}

/// When a campaign stops by itself: more than so many of a hundred, once `after` were sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AutoPause {
    pub error_percent: f64,
    pub opt_out_percent: f64,
    pub complaint_percent: f64,
    pub after: u32,
}

impl Default for AutoPause {
    fn default() -> Self {
        Self { error_percent: 5.0, opt_out_percent: 3.0, complaint_percent: 0.5, after: 40 }
    }
}

/// What a recipient brings of their own, as the ledger keeps it (sealed).
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RecipientBody {
    /// On top of the plan's data.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub data: Map<String, Value>,
    /// Serves this campaign only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<Box<Patient>>,
}

impl RecipientBody {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.patient.is_none()
    }
}

impl std::fmt::Debug for RecipientBody {
    /// Nothing of it: it may hold anything.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecipientBody").finish_non_exhaustive()
    }
}

/// Who has agreed to what, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approval {
    pub by: String,
    pub at: Timestamp,
    /// Of the plan, the audience and the texts, as they stood.
    pub hash: String,
    /// The bundle of templates alone; `None`: it was not noted.
    pub texts: Option<String>,
}
