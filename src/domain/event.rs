//! What the outside is told: ids and codes, no name, no address, no text.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::campaign::CampaignState;
use super::ids::{
    About, AnswerName, CampaignId, JobId, MessageId, ParkedId, PatientId, ProviderName, SiteId, SourceName,
};
use super::reply::Intent;
use super::status::MessageStatus;
use super::words::{Channel, ContactStatus, Reason, Recipient, WorkEvent};

/// One event, but for its `seq`, which the ledger gives out. Fields that do not apply are left out of the JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// By which a repeat is known.
    pub id: Uuid,
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When the ledger wrote it.
    #[serde(serialize_with = "instant")]
    pub at: Timestamp,
    /// The same as `at`; of a reply that has waited for the ledger, when it was said.
    #[serde(serialize_with = "instant")]
    pub occurred_at: Timestamp,
    /// Nothing more is expected of this message or job.
    #[serde(rename = "final")]
    pub is_final: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
    /// `None` where the job could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient_id: Option<PatientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// The message's status; for a refused job none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<MessageStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Which try over its route, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Of an SMS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segments: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign_id: Option<CampaignId>,
    /// The AMQP property of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The job was a test: nothing left the simulator.
    pub test: bool,
    /// A mail that was told as delivered is not there: the status stays, and is not true any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub came_back: bool,
    /// The message that a merged one lives on in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<MessageId>,
    /// The message that this one tries again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<MessageId>,
    /// What a reply means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<Word>,
    /// Which of the answers that the message offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerName>,
    /// The state of a work item or a campaign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work_item_id: Option<Uuid>,
    /// JSON path of the first fault of a refused job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Where the refused body waits for repair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked_id: Option<ParkedId>,
}

impl Event {
    /// An event of which only the kind and the time are known.
    #[must_use]
    pub fn new(id: Uuid, kind: EventKind, at: Timestamp) -> Self {
        let status = if let EventKind::Message(status) = &kind { Some(*status) } else { None };
        let (intent, state) = match &kind {
            EventKind::Reply(intent) => (Some(intent.clone()), None),
            EventKind::Work(state) | EventKind::Campaign(state) => (None, Some(state.clone())),
            _ => (None, None),
        };
        Self {
            id,
            at,
            occurred_at: at,
            is_final: status.is_some_and(MessageStatus::is_final) || kind == EventKind::JobRejected,
            message_id: None,
            job_id: None,
            about: None,
            source: None,
            site: None,
            patient_id: None,
            recipient: None,
            channel: None,
            provider: None,
            status,
            reason: None,
            attempt: None,
            segments: None,
            cost: None,
            campaign_id: None,
            correlation_id: None,
            test: false,
            came_back: false,
            merged_into: None,
            retry_of: None,
            intent,
            answer: None,
            state,
            work_item_id: None,
            field: None,
            parked_id: None,
            kind,
        }
    }

    /// The key under which it is published, such as `message.sent.lakeside-ehr`. Where the source is not known it
    /// reads `unknown`; a preference and a campaign belong to no source.
    #[must_use]
    pub fn routing_key(&self) -> String {
        match self.kind {
            EventKind::PreferenceChanged | EventKind::Campaign(_) => self.kind.to_string(),
            _ => format!("{}.{}", self.kind, self.source.as_ref().map_or("unknown", SourceName::as_str)),
        }
    }

    /// The event as JSON, still without `seq`.
    ///
    /// # Errors
    /// None in practice: every field is a number, a word or a text.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// Puts `seq` into an event's JSON. The ledger gives it out in the statement that stores the event, after the
/// JSON was made.
#[must_use]
pub fn with_seq(body_json: &str, seq: u32) -> String {
    let body = body_json.trim_end();
    let open = body.strip_suffix('}').unwrap_or(body);
    let comma = if open.trim_end().ends_with('{') { "" } else { "," };
    format!("{open}{comma}\"seq\":{seq}}}")
}

/// What an event tells. Written, it is the event's `type` and the head of its routing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// `message.<status>`
    Message(MessageStatus),
    /// `job.rejected`
    JobRejected,
    /// `reply.<intent>`
    Reply(Word),
    /// `contact.<status>`
    Contact(ContactStatus),
    /// `preference.changed`
    PreferenceChanged,
    /// `work.<state>`
    Work(Word),
    /// `campaign.<state>`
    Campaign(Word),
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(status) => write!(f, "message.{status}"),
            Self::JobRejected => f.write_str("job.rejected"),
            Self::Reply(intent) => write!(f, "reply.{}", intent.0),
            Self::Contact(status) => write!(f, "contact.{status}"),
            Self::PreferenceChanged => f.write_str("preference.changed"),
            Self::Work(state) => write!(f, "work.{}", state.0),
            Self::Campaign(state) => write!(f, "campaign.{}", state.0),
        }
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An intent or a state: 1 to 32 of a-z 0-9 _ -, so that it can stand in a routing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Word(String);

impl Word {
    /// `None` when the text is no such word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
        fits.then(|| Self(text.to_owned()))
    }
}

impl From<Intent> for Word {
    fn from(intent: Intent) -> Self {
        Self(intent.as_str().to_owned())
    }
}

impl From<WorkEvent> for Word {
    fn from(told: WorkEvent) -> Self {
        Self(told.as_str().to_owned())
    }
}

impl From<CampaignState> for Word {
    fn from(state: CampaignState) -> Self {
        Self(state.as_str().to_owned())
    }
}

/// Money in millionths of the organisation's currency; in JSON a number of whole units, such as `0.0079`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    pub micros: u64,
}

impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Exact up to nine thousand millions of the currency.
        serializer.serialize_f64(self.micros as f64 / 1e6)
    }
}

/// UTC, to the millisecond.
fn instant<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Event {
        let at = "2026-11-20T08:00:00.123456Z".parse().unwrap();
        let mut event = Event::new(Uuid::nil(), EventKind::Message(MessageStatus::Sent), at);
        event.source = SourceName::parse("lakeside-ehr");
        event.job_id = JobId::parse("appt-2041-r1");
        event.cost = Some(Cost { micros: 7_900 });
        event
    }

    #[test]
    fn an_event_says_what_it_knows_and_no_more() {
        assert_eq!(
            sent().to_json().unwrap(),
            r#"{"id":"00000000-0000-0000-0000-000000000000","type":"message.sent","at":"2026-11-20T08:00:00.123Z","occurred_at":"2026-11-20T08:00:00.123Z","final":false,"job_id":"appt-2041-r1","source":"lakeside-ehr","status":"sent","cost":0.0079,"test":false}"#
        );
    }

    #[test]
    fn the_sequence_number_is_put_in_afterwards() {
        let body = with_seq(&sent().to_json().unwrap(), 3);
        let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(parsed["seq"], 3);
        assert_eq!(parsed["type"], "message.sent");
        assert_eq!(with_seq("{}", 1), r#"{"seq":1}"#);
    }

    #[test]
    fn routing_keys_are_those_of_the_contract() {
        let word = |text| Word::parse(text).unwrap();
        assert!(WorkEvent::ALL.iter().all(|told| Word::from(*told) == word(told.as_str())));
        assert!(CampaignState::ALL.iter().all(|state| Word::from(*state) == word(state.as_str())));
        assert!(Intent::ALL.iter().all(|intent| Word::from(*intent) == word(intent.as_str())));
        let source = SourceName::parse("lakeside-ehr");
        for (kind, source, key) in [
            (EventKind::Message(MessageStatus::Delivered), source.clone(), "message.delivered.lakeside-ehr"),
            (EventKind::JobRejected, source.clone(), "job.rejected.lakeside-ehr"),
            (EventKind::JobRejected, None, "job.rejected.unknown"),
            (EventKind::Reply(word("confirm")), source.clone(), "reply.confirm.lakeside-ehr"),
            (EventKind::Contact(ContactStatus::Bad), source.clone(), "contact.bad.lakeside-ehr"),
            (EventKind::PreferenceChanged, source.clone(), "preference.changed"),
            (EventKind::Work(word("opened")), source.clone(), "work.opened.lakeside-ehr"),
            (EventKind::Campaign(word("paused")), source, "campaign.paused"),
        ] {
            let mut event = Event::new(Uuid::nil(), kind, Timestamp::UNIX_EPOCH);
            event.source = source;
            assert_eq!(event.routing_key(), key);
        }
    }

    #[test]
    fn a_word_cannot_break_a_routing_key() {
        for bad in ["", "a.b", "A", "#", "*", "ü", &"x".repeat(33)] {
            assert!(Word::parse(bad).is_none(), "{bad}");
        }
    }
}
