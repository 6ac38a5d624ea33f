//! Which moves of a status are told to callers, and in what words. Ids and codes only.

use jiff::Timestamp;

use super::rows::{Charge, MessageFacts, Reject, WorkItem};
use crate::domain::campaign::CampaignState;
use crate::domain::event::{Cost, Event, EventKind};
use crate::domain::ids::{AnswerName, CampaignId, MessageId, PatientId, ProviderName, SourceName};
use crate::domain::reader::BodyKind;
use crate::domain::reply::Intent;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, ContactStatus, Reason, Recipient, WorkEvent};

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
    /// Whom it concerns.
    pub source: Option<SourceName>,
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
    pub recipient: Recipient,
    /// What the try is reckoned at; nothing where it did not go out.
    pub charge: Charge,
    /// Something is still to come, though the status alone may be the last.
    pub awaits: bool,
    pub at: Timestamp,
}

impl Move<'static> {
    /// A move that no attempt brought about.
    #[must_use]
    pub fn bare(status: MessageStatus, reason: Option<Reason>, at: Timestamp) -> Self {
        Self {
            status,
            reason,
            channel: None,
            provider: None,
            attempt: None,
            recipient: Recipient::Patient,
            charge: Charge::default(),
            awaits: false,
            at,
        }
    }
}

impl Emitter {
    /// The event for this move, if it is one that is told.
    #[must_use]
    pub fn message(&self, facts: &MessageFacts, to: &Move<'_>) -> Option<NewEvent> {
        self.tells(to.status).then(|| Self::always(facts, to))
    }

    /// Whether messages that come to this status are told of.
    #[must_use]
    pub fn tells(&self, status: MessageStatus) -> bool {
        status.is_final() || status == MessageStatus::Sent || self.statuses.contains(&status)
    }

    /// The event, whether or not this status is one that is told.
    #[must_use]
    pub fn always(facts: &MessageFacts, to: &Move<'_>) -> NewEvent {
        written(&moved(facts, to))
    }

    /// The event for a message that was told as delivered and came back.
    #[must_use]
    pub fn came_back(facts: &MessageFacts, to: &Move<'_>) -> NewEvent {
        let mut event = moved(facts, to);
        event.came_back = true;
        written(&event)
    }

    /// The event for this move of a message that another one carries, if it is one that is told.
    #[must_use]
    pub fn carried(&self, facts: &MessageFacts, by: MessageId, to: &Move<'_>) -> Option<NewEvent> {
        self.tells(to.status).then(|| {
            let mut event = moved(facts, to);
            event.merged_into = Some(by);
            written(&event)
        })
    }

    /// The event for a change that was made on the page that this message led its recipient to, over this channel.
    #[must_use]
    pub fn preference_changed(
        facts: &MessageFacts,
        (channel, recipient): (Channel, Recipient),
        at: Timestamp,
    ) -> NewEvent {
        let mut event = about(facts, EventKind::PreferenceChanged, recipient, at);
        event.channel = Some(channel);
        written(&event)
    }

    /// The event for a contact of the message's recipient that turned out not to work.
    #[must_use]
    pub fn contact(
        facts: &MessageFacts,
        (status, reason): (ContactStatus, Reason),
        (channel, recipient): (Channel, Recipient),
        at: Timestamp,
    ) -> NewEvent {
        let mut event = about(facts, EventKind::Contact(status), recipient, at);
        event.channel = Some(channel);
        event.reason = Some(reason);
        written(&event)
    }

    /// The event for a reply to a message, and who had that to read; `None`: it follows none. It may have been said a while
    /// before it is written.
    #[must_use]
    pub fn reply(
        read: Option<(&MessageFacts, Recipient)>,
        (intent, answer): (Intent, Option<&AnswerName>),
        (channel, provider): (Channel, &ProviderName),
        (said_at, at): (Timestamp, Timestamp),
    ) -> NewEvent {
        let kind = EventKind::Reply(intent.into());
        let mut event = match read {
            Some((facts, recipient)) => about(facts, kind, recipient, at),
            None => Event::new(uuid::Uuid::now_v7(), kind, at),
        };
        event.occurred_at = said_at;
        event.channel = Some(channel);
        event.answer = answer.cloned();
        event.provider = Some(provider.clone());
        event.reason = (intent == Intent::Complaint).then_some(Reason::Complaint);
        written(&event)
    }

    /// The event for what a reply has changed of one of those behind its number, whose message need not be the one that
    /// it follows: only its source is told of them.
    #[must_use]
    pub fn changed_by_reply(
        (source, channel): (Option<&SourceName>, Channel),
        patient: &PatientId,
        kind: EventKind,
        at: Timestamp,
    ) -> NewEvent {
        let mut event = Event::new(uuid::Uuid::now_v7(), kind, at);
        event.source = source.cloned();
        event.patient_id = Some(patient.clone());
        event.channel = Some(channel);
        event.reason =
            (event.kind == EventKind::Contact(ContactStatus::Wrong)).then_some(Reason::WrongNumber);
        written(&event)
    }

    /// The event for wishes that changed with a patient's record: by queue, import or merge. No message led there, and no
    /// source need know of it.
    #[must_use]
    pub fn record_changed(patient: &PatientId, at: Timestamp) -> NewEvent {
        let mut event = Event::new(uuid::Uuid::now_v7(), EventKind::PreferenceChanged, at);
        event.patient_id = Some(patient.clone());
        written(&event)
    }

    /// The event for a job that could not be accepted, or a cancel or a patient. The id is that of a job where the body is
    /// one: what is asked about a job that goes out all the same is no end of it.
    #[must_use]
    pub fn rejected(reject: &Reject, at: Timestamp) -> NewEvent {
        let first = reject.problems.first();
        let mut event = Event::new(uuid::Uuid::now_v7(), EventKind::JobRejected, at);
        event.is_final = true;
        match BodyKind::of(reject.key, &reject.body) {
            BodyKind::Job => event.job_id.clone_from(&reject.job_id),
            BodyKind::Cancel => {}
            BodyKind::Patient | BodyKind::PatientMerge => {
                event.patient_id = reject.job_id.as_ref().and_then(|id| PatientId::parse(id.as_str()));
            }
        }
        event.source.clone_from(&reject.source);
        event.reason = first.map(|p| p.reason);
        event.field = first.map(|p| p.field.clone());
        event.parked_id = Some(reject.id);
        event.correlation_id.clone_from(&reject.correlation_id);
        written(&event)
    }

    /// The event for a work item.
    #[must_use]
    pub fn work(item: &WorkItem, told: WorkEvent, at: Timestamp) -> NewEvent {
        let mut event = Event::new(uuid::Uuid::now_v7(), EventKind::Work(told.into()), at);
        event.is_final = told == WorkEvent::Closed;
        event.work_item_id = Some(item.id.0);
        event.message_id = item.message_id;
        event.source.clone_from(&item.source);
        event.site.clone_from(&item.site);
        event.patient_id.clone_from(&item.patient_id);
        event.reason = item.kind.reason();
        event.intent = item.kind.intent().map(Into::into);
        written(&event)
    }

    /// The event for where a campaign stands now.
    #[must_use]
    pub fn campaign(id: &CampaignId, source: &SourceName, state: CampaignState, at: Timestamp) -> NewEvent {
        let mut event = Event::new(uuid::Uuid::now_v7(), EventKind::Campaign(state.into()), at);
        event.is_final = state.is_over();
        event.source = Some(source.clone());
        event.campaign_id = Some(id.clone());
        written(&event)
    }
}

/// The event for a move of a message.
fn moved(facts: &MessageFacts, to: &Move<'_>) -> Event {
    let mut event = about(facts, EventKind::Message(to.status), to.recipient, to.at);
    event.is_final = (to.status.is_final() || to.status == MessageStatus::Sent) && !to.awaits;
    event.channel = to.channel;
    event.provider = to.provider.cloned();
    event.reason = to.reason;
    event.attempt = to.attempt.map(u32::from);
    event.segments = Some(u32::from(to.charge.segments)).filter(|segments| *segments > 0);
    event.cost = Some(Cost { micros: to.charge.micros }).filter(|cost| cost.micros > 0);
    event
}

/// An event with the facts of its message, and who was to read that.
fn about(facts: &MessageFacts, kind: EventKind, recipient: Recipient, at: Timestamp) -> Event {
    let mut event = Event::new(uuid::Uuid::now_v7(), kind, at);
    event.message_id = Some(facts.id);
    event.job_id = Some(facts.job_id.clone());
    event.about.clone_from(&facts.about);
    event.source = Some(facts.source.clone());
    event.site.clone_from(&facts.site);
    event.patient_id = Some(facts.patient_id.clone());
    event.recipient = Some(recipient);
    event.campaign_id.clone_from(&facts.campaign_id);
    event.correlation_id.clone_from(&facts.correlation_id);
    event.retry_of = facts.retry_of;
    event.test = facts.test;
    event
}

fn written(event: &Event) -> NewEvent {
    // Every field is a word, a number or an id: writing them cannot fail.
    NewEvent {
        source: event.source.clone(),
        routing_key: event.routing_key(),
        body: event.to_json().unwrap_or_default(),
    }
}

/// The lane of a message's events.
#[must_use]
pub fn shard(id: MessageId) -> i16 {
    i16::from(id.0.as_bytes().last().copied().unwrap_or(0) % SHARDS)
}
