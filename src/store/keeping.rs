//! How what is kept lies in the ledger, and for how long: sealing anew, erasing by age, and all that is known of one
//! patient.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Result;
use super::rows::{AttemptRow, MessageRow};
use super::sealed::{RowAt, Sealed};
use super::sealer::{Form, KeyId};
use crate::domain::campaign::RecipientBody;
use crate::domain::ids::{CampaignId, MessageId, PatientId, ProviderName, ReplyId, WorkerId};
use crate::domain::patient::{Consent, Patient};
use crate::domain::phi::Phi;
use crate::domain::reply::Intent;

/// What keeps and forgets.
#[async_trait]
pub trait Keeping {
    /// How new values are written, and which keys open what is there; the first is the one in use.
    fn sealing(&self) -> (Form, Vec<KeyId>);

    /// Looks at the next rows of a sealed column, in the order of their keys; seals anew, where it is asked for, what does
    /// not lie as new values do. Safe beside running workers: a value that changes meanwhile is left alone.
    async fn look_through(&self, ask: &Walk) -> Result<Walked>;

    /// Erases the next rows of a class that have ended and are old enough, their texts or the whole rows; one worker at a
    /// time, and what is written is written together: cut anywhere, the next turn goes on. Answers how many, and whether
    /// there may be more.
    async fn erase_old(&self, ask: &Expiry) -> Result<Erased>;

    /// What was said at a patient's addresses, and how their record was changed by others than the EHR; oldest first.
    async fn patient_word(&self, id: &PatientId) -> Result<PatientWord>;

    /// All that is known of a patient; `None`: nothing.
    async fn patient_record(&self, id: &PatientId) -> Result<Option<PatientRecord>>;
}

/// A step through a sealed column.
#[derive(Clone, Debug)]
pub struct Walk {
    pub column: Sealed,
    /// `None`: from the beginning.
    pub after: Option<RowAt>,
    /// Rows in one transaction.
    pub limit: u32,
    pub reseal: bool,
}

/// What a step found.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// How many values lay how.
    pub forms: BTreeMap<Form, u64>,
    /// How many were sealed anew.
    pub resealed: u64,
    /// How many cannot be opened: altered, moved, or under a key that is not here.
    pub unreadable: u64,
    /// Where the next step goes on; `None`: this was the last.
    pub next: Option<RowAt>,
}

/// What is erased together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Data of jobs and how they were decided, of messages that are final; rows of campaigns that are over.
    Messages,
    /// Where attempts went, of messages that are final.
    Attempts,
    /// What patients wrote, and from where, unless somebody still has to look after it.
    Replies,
    /// Bodies that could not be accepted, mended or not.
    Rejected,
    /// Whole: events that were published, and posted where they were to be.
    Events,
    /// Whole: messages that are final and have expired, after all that points at them, with their attempts, events, job keys,
    /// dead callbacks and closed work items; then campaigns of which no message is left, with their audience.
    Rows,
    /// Whole: replies whose message is gone, with their closed work items.
    ReplyRows,
    /// Whole: bodies that could not be accepted, where they were mended or erased.
    RejectedRows,
    /// Whole: workers that were not seen for so long.
    Workers,
}

impl Class {
    /// All of them: whole rows after their texts, replies after their messages.
    pub const ALL: &'static [Self] = &[
        Self::Messages,
        Self::Attempts,
        Self::Replies,
        Self::Rejected,
        Self::Events,
        Self::Rows,
        Self::ReplyRows,
        Self::RejectedRows,
        Self::Workers,
    ];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Attempts => "attempts",
            Self::Replies => "replies",
            Self::Rejected => "rejected",
            Self::Events => "events",
            Self::Rows => "rows",
            Self::ReplyRows => "reply_rows",
            Self::RejectedRows => "rejected_rows",
            Self::Workers => "workers",
        }
    }
}

/// A turn at erasing.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    pub worker: WorkerId,
    pub class: Class,
    /// What is older than this goes, by the ledger's clock.
    pub age: SignedDuration,
    /// Rows in one transaction.
    pub limit: u32,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    pub rows: u32,
    /// Another turn may find more.
    pub more: bool,
}

/// All that is known of a patient.
#[derive(Clone, Debug)]
pub struct PatientRecord {
    /// The id that counts, then those that lead to it.
    pub ids: Vec<PatientId>,
    /// `None`: they never were in the directory, or were erased from it.
    pub patient: Option<Patient>,
    /// Beside the record: by whoever stands behind their addresses, or about them.
    pub word: PatientWord,
    /// Newest first.
    pub messages: Vec<(MessageRow, Vec<AttemptRow>)>,
    pub replies: Vec<ReplyRecord>,
    pub campaigns: Vec<CampaignPlace>,
}

/// A change of a patient's record.
#[derive(Clone, Debug)]
pub struct RecordChange {
    pub at: Timestamp,
    pub by: String,
    pub what: String,
    pub evidence: String,
    /// The consent that it took the place of.
    pub superseded: Option<Consent>,
}

/// What patients said elsewhere than in their record: a STOP binds the address, whoever stands behind it.
#[derive(Clone, Debug, Default)]
pub struct PatientWord {
    pub said: Vec<Consent>,
    pub changes: Vec<RecordChange>,
}

impl PatientWord {
    /// As JSON, with addresses masked, and without what people write freely.
    #[must_use]
    pub fn masked(&self) -> (Vec<Value>, Vec<Value>) {
        let said = self.said.iter().map(|said| {
            json!({
                "purpose": said.purpose, "channel": said.channel, "address": said.address.as_ref().map(Phi::masked),
                "granted": said.granted, "at": said.at, "source": said.source,
            })
        });
        let changes = self.changes.iter().map(|c| json!({"at": c.at, "by": c.by, "what": c.what}));
        (said.collect(), changes.collect())
    }

    /// As JSON, nothing masked.
    #[must_use]
    pub fn to_json(&self) -> (Vec<Value>, Vec<Value>) {
        let change = |c: &RecordChange| {
            let superseded = c.superseded.as_ref().map(consent);
            json!({"at": c.at, "by": c.by, "what": c.what, "evidence": c.evidence, "superseded": superseded})
        };
        (self.said.iter().map(consent).collect(), self.changes.iter().map(change).collect())
    }
}

/// A reply as it is on record.
#[derive(Clone, Debug)]
pub struct ReplyRecord {
    pub id: ReplyId,
    pub provider: ProviderName,
    pub intent: Intent,
    pub received_at: Timestamp,
    /// The message that it follows.
    pub message_id: Option<MessageId>,
    /// `None`: erased.
    pub from: Option<Phi>,
    pub text: Option<Phi>,
}

/// A place in the audience of a campaign.
#[derive(Clone, Debug)]
pub struct CampaignPlace {
    pub campaign: CampaignId,
    pub message_id: Option<MessageId>,
    pub body: RecipientBody,
}

impl PatientRecord {
    /// The whole record as JSON, nothing masked.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (said, changes) = self.word.to_json();
        let replies: Vec<Value> = self
            .replies
            .iter()
            .map(|r| {
                json!({
                    "id": r.id, "provider": r.provider, "intent": r.intent, "received_at": r.received_at,
                    "message_id": r.message_id, "from": r.from, "text": r.text,
                })
            })
            .collect();
        let campaigns: Vec<Value> = self
            .campaigns
            .iter()
            .map(|c| json!({"campaign_id": c.campaign, "message_id": c.message_id, "row": c.body}))
            .collect();
        json!({
            "ids": self.ids, "patient": self.patient.as_ref().map(Patient::to_json),
            "said_at_addresses": said, "changes": changes,
            "messages": self.messages.iter().map(message).collect::<Vec<_>>(),
            "replies": replies, "campaigns": campaigns,
        })
    }
}

fn consent(said: &Consent) -> Value {
    json!({
        "purpose": said.purpose, "channel": said.channel, "address": said.address, "granted": said.granted,
        "at": said.at, "source": said.source, "by": said.by, "evidence": said.evidence,
    })
}

fn message((row, attempts): &(MessageRow, Vec<AttemptRow>)) -> Value {
    let facts = &row.facts;
    let attempts: Vec<Value> = attempts
        .iter()
        .map(|a| {
            json!({
                "id": a.id, "step": a.step, "number": a.number, "status": a.status, "provider": a.provider,
                "channel": a.channel, "address": a.address, "locale": a.locale, "pointer": a.pointer,
                "recipient": a.recipient,
                "provider_ref": a.provider_ref, "code": a.code, "begun_at": a.begun_at, "settled_at": a.settled_at,
            })
        })
        .collect();
    // Whoever asks what is known of them must not hear that nothing is, where it only cannot be read.
    let text = match (row.unread, row.body.is_erased()) {
        (true, _) => "cannot be read",
        (false, true) => "erased",
        (false, false) => "kept",
    };
    let job = Some(&row.body).filter(|body| !body.is_erased());
    let explanation: Option<Value> =
        row.explanation.as_deref().and_then(|text| serde_json::from_str(text).ok());
    json!({
        "id": facts.id, "source": facts.source, "job_id": facts.job_id, "template": facts.template,
        "purpose": facts.purpose, "about": facts.about, "site": facts.site, "campaign_id": facts.campaign_id,
        "status": row.status, "reason": row.reason, "accepted_at": row.accepted_at, "changed_at": row.changed_at,
        "expires_at": row.expires_at, "copy_of": row.copy_of, "text": text, "job": job, "explanation": explanation,
        "attempts": attempts,
    })
}
