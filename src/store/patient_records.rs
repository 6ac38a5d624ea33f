//! One patient: all that is known of them, and nothing of it any more.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Result;
use super::rows::{AttemptRow, MessageRow};
use crate::domain::campaign::RecipientBody;
use crate::domain::ids::{CampaignId, MessageId, PatientId, ProviderName, ReplyId};
use crate::domain::patient::{Consent, Patient};
use crate::domain::phi::Phi;
use crate::domain::reply::Intent;

/// What is on record of one patient.
#[async_trait]
pub trait PatientRecords {
    /// What was said at a patient's addresses, and how their record was changed by others than the EHR; oldest first.
    async fn patient_word(&self, id: &PatientId) -> Result<PatientWord>;

    /// All that is known of a patient; `None`: nothing.
    async fn patient_record(&self, id: &PatientId) -> Result<Option<PatientRecord>>;

    /// Takes back what waits for a patient, and erases their record and all texts and addresses; what they refused stays, as
    /// keyed hashes. False: nothing is known of them.
    async fn erase_patient(&self, id: &PatientId) -> Result<bool>;
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
