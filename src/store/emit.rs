//! Which moves of a status are told to callers, and in what words. Ids and codes only.

use jiff::Timestamp;
use serde_json::json;

use super::rows::{MessageFacts, Reject};
use crate::domain::ids::{MessageId, ProviderName};
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason};

/// In how many lanes events leave; those of one message share one, so that their order holds.
pub const SHARDS: u8 = 16;

/// Chooses and writes events.
#[derive(Clone, Debug, Default)]
pub struct Emitter {
    /// Statuses to tell beside `sent` and the final ones.
    pub statuses: Vec<MessageStatus>,
}

/// An event as it goes into the ledger, without its sequence number.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub routing_key: String,
    pub body: String,
}

/// What an event says beside the message's facts.
#[derive(Clone, Copy, Debug)]
pub struct Move<'a> {
    pub status: MessageStatus,
    pub reason: Option<Reason>,
    pub channel: Option<Channel>,
    pub provider: Option<&'a ProviderName>,
    pub attempt: Option<u16>,
    pub at: Timestamp,
}

impl Emitter {
    /// The event for this move, if it is one that is told.
    #[must_use]
    pub fn message(&self, facts: &MessageFacts, to: &Move<'_>) -> Option<NewEvent> {
        let told =
            to.status.is_final() || to.status == MessageStatus::Sent || self.statuses.contains(&to.status);
        told.then(|| Self::always(facts, to))
    }

    /// The event, whether or not this status is one that is told.
    #[must_use]
    pub fn always(facts: &MessageFacts, to: &Move<'_>) -> NewEvent {
        let at = millis(to.at);
        let body = json!({
            "id": uuid::Uuid::now_v7(),
            "type": "message",
            "at": at,
            "occurred_at": at,
            "final": to.status.is_final() || to.status == MessageStatus::Sent,
            "message_id": facts.id,
            "job_id": facts.job_id,
            "about": facts.about,
            "source": facts.source,
            "site": facts.site,
            "patient_id": facts.patient_id,
            "recipient": "patient",
            "channel": to.channel,
            "provider": to.provider,
            "status": to.status,
            "reason": to.reason,
            "attempt": to.attempt,
            "campaign_id": facts.campaign_id,
            "correlation_id": facts.correlation_id,
            "retry_of": facts.retry_of,
            "test": facts.test,
        });
        NewEvent { routing_key: format!("message.{}.{}", to.status, facts.source), body: body.to_string() }
    }

    /// The event for a job that could not be accepted.
    #[must_use]
    pub fn rejected(reject: &Reject, at: Timestamp) -> NewEvent {
        let first = reject.problems.first();
        let source = reject.source.as_ref().map_or("unknown", |s| s.as_str());
        let body = json!({
            "id": uuid::Uuid::now_v7(),
            "type": "job.rejected",
            "at": millis(at),
            "occurred_at": millis(at),
            "final": true,
            "job_id": reject.job_id,
            "source": reject.source,
            "reason": first.map(|p| p.reason),
            "field": first.map(|p| p.field.as_str()),
            "parked_id": reject.id,
            "correlation_id": reject.correlation_id,
        });
        NewEvent { routing_key: format!("job.rejected.{source}"), body: body.to_string() }
    }
}

/// The lane of a message's events.
#[must_use]
pub fn shard(id: MessageId) -> i16 {
    i16::from(id.0.as_bytes().last().copied().unwrap_or(0) % SHARDS)
}

/// RFC 3339, UTC, milliseconds.
fn millis(at: Timestamp) -> String {
    format!("{at:.3}")
}
