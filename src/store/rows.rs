//! What goes into the ledger and what comes out of it.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::domain::consent::narrow;
use crate::domain::failure::Failure;
use crate::domain::ids::{
    About, AttemptId, CampaignId, HoldId, JobId, MessageId, ParkedId, PatientId, ProviderName, SiteId,
    SourceName, TemplateName, WorkerId,
};
use crate::domain::job::When;
use crate::domain::outbound::Route;
use crate::domain::page::PageHash;
use crate::domain::patience::Patience;
use crate::domain::patient::{Consent, ConsentSource, Patient};
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::receipt::Report;
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::wish::Wish;
use crate::domain::words::{Channel, ContactStatus, Priority, Purpose, Reason, Recipient, WorkKind};
use crate::policy::question::Behind;

pub use super::callbacks::{
    CallbackAsk, CallbackCount, CallbackFilter, CallbackRound, CallbackRow, CallbackState, CallbacksClaimed,
    DueCallback, FailedCallback,
};
pub use super::holds::{Hold, HoldRow, HoldScope, HoldState, HoldThen, OnRelease};
pub use super::look_ups::{LookUpAsk, LostAttempt};
pub use super::mail_answers::{ANSWER_USEFUL, MailAnswer, MailAnswerEnd, MailAnswerFacts};
pub use super::replies::{AnswerFacts, Choice, QuestionAsk, ReplyAsk, ReplyOutcome, ReplyText};
pub use super::work::{WorkFilter, WorkItem, WorkMove, WorkMoved, WorkSwept};

/// The ledger's clocks, by configuration.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// How long a claim holds.
    pub lease: SignedDuration,
    /// A worker silent for so long may lose its leases early.
    pub stale: SignedDuration,
    /// What must be left of a lease for a send to begin: the longest that a send and its settling take.
    pub send: SignedDuration,
    /// How long a cancel that came before its job is remembered.
    pub tombstone: SignedDuration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            lease: SignedDuration::from_secs(60),
            stale: SignedDuration::from_secs(10),
            send: SignedDuration::from_secs(20),
            tombstone: SignedDuration::from_hours(7 * 24),
        }
    }
}

/// What every event, log line and look-up says of a message: ids and words, nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageFacts {
    pub id: MessageId,
    pub source: SourceName,
    pub job_id: JobId,
    pub patient_id: PatientId,
    pub template: TemplateName,
    pub purpose: Purpose,
    pub priority: Priority,
    pub about: Option<About>,
    pub site: Option<SiteId>,
    pub campaign_id: Option<CampaignId>,
    pub correlation_id: Option<String>,
    pub test: bool,
    /// Replaces one that had been sent: the text says so.
    pub is_change: bool,
    pub retry_of: Option<MessageId>,
}

impl MessageFacts {
    /// The campaign that made it: a caller's job that only names one goes by itself.
    #[must_use]
    pub fn campaign(&self) -> Option<&CampaignId> {
        self.campaign_id.as_ref().filter(|_| self.job_id.is_of_campaign())
    }
}

/// The rest of a job, as the ledger keeps it (sealed).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobBody {
    pub data: serde_json::Map<String, serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<Channel>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<When>,
    pub expires_at: When,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<Box<Patient>>,
    /// A correction that was approved as one: the caps do not hold it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lifts_cap: bool,
    /// Of a copy: what it is a copy of, and for whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyFor>,
}

impl JobBody {
    /// What is left of a job whose text was erased, or cannot be read.
    #[must_use]
    pub fn erased() -> Self {
        Self {
            data: serde_json::Map::new(),
            channels: None,
            not_before: None,
            expires_at: When::At(Timestamp::UNIX_EPOCH),
            override_reason: None,
            patient: None,
            lifts_cap: false,
            copy: None,
        }
    }

    /// Whether its text was erased.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.expires_at == When::At(Timestamp::UNIX_EPOCH)
    }
}

/// A copy of a message goes to a proxy who is written to beside the patient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopyFor {
    pub message: MessageId,
    /// [`crate::domain::patient::Proxy::key`].
    pub proxy: Phi,
}

/// A copy to be written, of a message that is in hand and of which nothing was sent.
#[derive(Clone, Debug)]
pub struct NewCopy {
    pub id: MessageId,
    pub of: MessageId,
    /// The lease of the message that it is a copy of.
    pub token: i64,
    /// The job, with [`JobBody::copy`].
    pub body: JobBody,
}

/// A job that passed validation, on its way in.
#[derive(Clone, Debug)]
pub struct Admission {
    pub facts: MessageFacts,
    pub body: JobBody,
    pub content_hash: [u8; 32],
    pub replaces: Option<JobId>,
    /// `None`: now.
    pub due_at: Option<Timestamp>,
    /// The latest reading of the body's `expires_at`.
    pub expires_at: Timestamp,
    /// Urgent ones: people are called unless it is acknowledged by then.
    pub ack_by: Option<Timestamp>,
    /// The job as it came, to be parked and reported should its name be taken; `None`: its sender waits for the
    /// answer and is told directly.
    pub raw: Option<Vec<u8>>,
    /// The queue, `http` or `file`.
    pub origin: String,
    /// Who asked, where more than the source is known: the token, the broker's user, the user of the command line.
    pub asked_by: Option<String>,
    /// The broker says that it may have delivered this before: what is parked of it is parked once only.
    pub redelivered: bool,
}

/// A body that cannot become a message.
#[derive(Clone, Debug)]
pub struct Reject {
    pub id: ParkedId,
    pub problems: Vec<Problem>,
    pub source: Option<SourceName>,
    /// The id that it names: of the job, or, by its key and its `action`, of the job to take back or of the patient.
    pub job_id: Option<JobId>,
    /// The queue, `http` or `file`.
    pub origin: String,
    pub correlation_id: Option<String>,
    /// The routing key it came by, as [`crate::domain::reader::known_key`] tells it.
    pub key: Option<&'static str>,
    pub body: Vec<u8>,
    /// Of a job that was understood and is its sender's own: if it is there already with this content, it is a repeat,
    /// whatever would keep it out today.
    pub content_hash: Option<[u8; 32]>,
    /// Nobody waits for the answer: it is parked and reported, unless it is a repeat.
    pub park: bool,
    /// The broker says that it may have delivered this before: then the same body is parked once only.
    pub redelivered: bool,
}

/// One transaction's worth of intake.
#[derive(Clone, Debug)]
pub struct AdmitBatch {
    pub worker: WorkerId,
    pub admissions: Vec<Admission>,
    pub rejects: Vec<Reject>,
    /// How many of the admissions this worker can take in hand now, first ones first.
    pub room: usize,
}

/// What became of one admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmitOutcome {
    /// In the ledger.
    Accepted(MessageId),
    /// Was there already, with the same content.
    Duplicate(MessageId),
    /// The name was used for other content; parked and reported.
    Conflict(ParkedId),
    /// A cancel or a replacement had come first; on record as cancelled.
    TakenBack(MessageId, Reason),
    /// Its source has sent as many jobs today as it may; parked and reported.
    OverLimit {
        parked: ParkedId,
        /// Until the day ends.
        wait: SignedDuration,
    },
}

/// The outcomes, and the leases of those in hand.
#[derive(Debug)]
pub struct AdmitReport {
    pub outcomes: Vec<AdmitOutcome>,
    /// The rejects that were accepted before, by their places: neither parked nor reported.
    pub repeats: HashMap<usize, MessageId>,
    /// Of each admission that was leased to the worker: its place in the batch, whether it is a change, and its
    /// work state.
    pub leased: Vec<LeasedAdmission>,
    pub now: Timestamp,
}

/// An admission that its worker may plan at once.
#[derive(Clone, Debug, PartialEq)]
pub struct LeasedAdmission {
    /// Its place in the batch.
    pub place: usize,
    /// It replaces one that had been sent.
    pub is_change: bool,
    pub work: Work,
}

/// A message's work state while it is leased.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    pub token: i64,
    pub status: MessageStatus,
    pub step: u16,
    pub tries: u16,
    pub accepted_at: Timestamp,
    /// A tombstone stands for it.
    pub cancelled: Option<Reason>,
    /// The provider that may have this step already and would recognise it: no other one is given it.
    pub bound_to: Option<ProviderName>,
    /// An earlier step got through, or may have: what is left of the plan may end, and never fails the message.
    pub reached: bool,
    /// A receipt is awaited.
    pub awaits: bool,
}

/// A leased message.
#[derive(Clone, Debug)]
pub struct LeasedMessage {
    pub facts: MessageFacts,
    pub body: JobBody,
    pub work: Work,
}

/// What became of one cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// These were taken back; the others of that name were too late.
    Cancelled(Vec<MessageId>),
    /// Already with the recipient, or on the way; steps not yet begun are dropped.
    TooLate(Vec<MessageId>),
    /// Nothing of that name yet: a tombstone waits for it.
    Tombstone,
}

/// What became of one upsert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpsertOutcome {
    Created,
    Updated,
    Unchanged,
    /// Older than what is stored; only its consents were merged.
    Stale,
}

/// Something said at an address, binding everybody behind it.
#[derive(Clone, Debug)]
pub struct AddressConsent {
    pub channel: Channel,
    pub address: Phi,
    pub purpose: Option<Purpose>,
    pub granted: bool,
    pub at: Timestamp,
    pub source: ConsentSource,
    pub by: Option<String>,
    pub evidence: Option<String>,
}

/// Asks for due messages.
#[derive(Clone, Debug)]
pub struct Claim {
    pub worker: WorkerId,
    /// `None`: those that were never planned.
    pub channel: Option<Channel>,
    pub priority: Priority,
    pub room: u32,
}

/// Leased messages.
#[derive(Debug)]
pub struct Claimed {
    pub messages: Vec<LeasedMessage>,
    pub now: Timestamp,
}

/// Whom a decision is about.
#[derive(Clone, Debug)]
pub struct Subject {
    pub message: MessageId,
    pub patient: PatientId,
    /// The addresses of the job's inline snapshot, and of the proxies in it: what was said and found out there counts too.
    pub inline_addresses: Vec<Phi>,
    /// Above 0, earlier steps gave routes up.
    pub step: u16,
    /// There was an attempt.
    pub tried: bool,
    /// Others for the same patient that are due within a day go before it.
    pub yields: bool,
}

/// One subject's entry.
#[derive(Clone, Debug)]
pub struct DirectoryEntry {
    /// As stored (an alias followed); not narrowed by the inline snapshot.
    pub patient: Option<std::sync::Arc<Patient>>,
    /// Something of all this is on record and cannot be read: it is missing here, and may be what forbids to send.
    pub unread: bool,
    /// The records of the patient's proxies, in their order; `None`: no patient of ours.
    pub proxies: Vec<Option<std::sync::Arc<Patient>>>,
    /// What `begin` compares.
    pub state: PatientState,
    /// What was said at the addresses of the patient and the snapshot.
    pub address_consents: Vec<Consent>,
    /// Routes of earlier steps, with the reason for which they were given up, or followed up.
    pub tried: Vec<(Route, Reason)>,
    /// What the last attempt went by, whatever came of it.
    pub last: Option<(Channel, ProviderName)>,
    /// What was sent this week to the patient, then to each proxy, as the caps count it.
    pub recent: Vec<Option<String>>,
    /// What is known of the addresses of the patient, the proxies and the snapshot.
    pub addresses: Vec<AddressState>,
    /// Contacts of the snapshot that were found not to work.
    pub spoilt: Vec<(Channel, Phi, ContactStatus)>,
    /// Messages for the patient that are due within a day, where this one yields to them.
    pub reserved: u32,
}

impl DirectoryEntry {
    /// The patient as a message may see them, where it brings a snapshot or none.
    #[must_use]
    pub fn seen(&self, inline: Option<&Patient>) -> Option<std::sync::Arc<Patient>> {
        match inline {
            Some(inline) => Some(self.narrowed(inline).into()),
            None => self.patient.clone(),
        }
    }

    /// As a message that brings a snapshot may see them: it narrows and never widens, and what was found out about its
    /// addresses counts, whoever sends them.
    #[must_use]
    pub fn narrowed(&self, inline: &Patient) -> Patient {
        let mut inline = inline.clone();
        for contact in inline.every_contact_mut() {
            let is_it = |(channel, address, _): &&(Channel, Phi, ContactStatus)| {
                *channel == contact.channel && *address == contact.address
            };
            if let Some((.., status)) = self.spoilt.iter().find(is_it) {
                contact.status = contact.status.max(*status);
            }
        }
        narrow(self.patient.as_deref(), &inline)
    }
}

/// One address, as the ledger knows it.
#[derive(Clone, Debug)]
pub struct AddressState {
    pub address: Phi,
    /// Its row of `patient_state`.
    pub subject: String,
    /// Several patients stand behind it.
    pub shared: bool,
    /// Several patients have it as a contact of their own; a proxy of several has it once.
    pub of_several: bool,
    /// Who they are, where they are several and not too many to be told apart.
    pub behind: Vec<Behind>,
    /// The record of one of them cannot be read.
    pub unread: bool,
    /// What was sent to it this week, as the caps count it.
    pub recent: Option<String>,
}

/// The revision that a decision was made on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatientState {
    /// The rows of `patient_state` that were read: the patient's, and those of a snapshot's addresses.
    pub subjects: Vec<String>,
    /// The sum of their revisions, each of which only ever grows; 0 where there is none.
    pub revision: i64,
}

/// What decisions rest on.
#[derive(Debug)]
pub struct Directory {
    pub entries: Vec<DirectoryEntry>,
    pub holds: Vec<Hold>,
    pub now: Timestamp,
}

/// A decision other than to send.
#[derive(Clone, Debug)]
pub struct Decided {
    pub facts: MessageFacts,
    pub token: i64,
    pub status: MessageStatus,
    pub reason: Option<Reason>,
    /// `None`: nothing more to do.
    pub due_at: Option<Timestamp>,
    pub channel: Option<Channel>,
    /// What it went by last, where it ends with that.
    pub provider: Option<ProviderName>,
    pub recipient: Recipient,
    /// The hold that it waits for.
    pub held_by: Option<HoldId>,
    /// The plan ends with a message that got through; its status stays.
    pub over: Option<Over>,
    /// JSON, as `explain` reads it.
    pub explanation: String,
    /// When it was decided, by the database's clock.
    pub at: Timestamp,
}

/// How a plan ended that got through. What was seen of the message must still hold: else it is decided upon again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// A receipt is awaited, which will make its status final.
    pub awaits: bool,
}

/// A message about to be sent.
#[derive(Clone, Debug)]
pub struct Begin {
    pub facts: std::sync::Arc<MessageFacts>,
    pub token: i64,
    pub attempt: AttemptId,
    pub step: u16,
    pub number: u16,
    pub provider: ProviderName,
    pub route: Route,
    pub dedupes: bool,
    pub charge: Charge,
    pub template_hash: String,
    pub locale: String,
    /// The text only points to the portal.
    pub pointer: bool,
    /// The text holds a link to the patient's page: by this it is found again.
    pub page: Option<PageHash>,
    pub state: PatientState,
    pub valid_until: Timestamp,
    pub explanation: String,
    pub recipient: Recipient,
    /// What the caps count it for.
    pub count: Option<Count>,
    /// How long it is waited for before the next step is taken as well; `None`: until it has failed.
    pub patience: Option<Patience>,
    /// Messages that its text tells as well. It begins with all of them, or not at all.
    pub riders: Vec<Rider>,
    /// The text, where its provider can be asked for what it took.
    pub text: Option<Phi>,
}

/// What a try is reckoned at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Of a text; 0 of all else.
    pub segments: u16,
    /// Millionths of the organisation's currency; 0 where `[limits]` names no cost.
    pub micros: u64,
}

impl Charge {
    /// What a try that came to this is reckoned at: what did not go out costs nothing.
    #[must_use]
    pub fn of(self, status: AttemptStatus) -> Self {
        if status == AttemptStatus::Failed { Self::default() } else { self }
    }
}

/// A message that another one is about to carry. It is in the same hand.
#[derive(Clone, Debug)]
pub struct Rider {
    pub message: MessageId,
    pub site: Option<SiteId>,
    pub token: i64,
    pub step: u16,
    pub state: PatientState,
    pub valid_until: Timestamp,
    pub explanation: String,
}

/// A message that could carry others: who else might be told with it.
#[derive(Clone, Debug)]
pub struct Seats {
    pub patient: PatientId,
    pub template: TemplateName,
    /// Whoever else stands behind it may be told too.
    pub address: Phi,
    /// Its template tells a day together: what is scheduled for later is asked, too.
    pub day: bool,
}

/// What another hand has taken within this time may still look for company.
pub const FRESH: SignedDuration = SignedDuration::from_secs(3);
/// Whoever steps back is due again within this time, and is company until then.
pub const ASIDE: SignedDuration = SignedDuration::from_secs(1);

/// Who might be told together with messages that are about to be sent.
#[derive(Debug, Default)]
pub struct Company {
    /// In hand now, each with the place of the seats that it was found for.
    pub joined: Vec<(usize, LeasedMessage)>,
    /// Taken in hand by somebody else, a moment ago, by the place of the seats.
    pub elsewhere: Vec<(usize, MessageId)>,
}

/// A message that the caps count: once for the person, where they are known and it is new to them, once for the
/// address, and once for each other person of whose messages its text tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub person: Option<Counted>,
    /// `None`: an earlier try has counted it.
    pub address: Option<Counted>,
    /// The persons of those whom it carries.
    pub others: Vec<Counted>,
}

/// One that is counted, by its row of `patient_state`: what stood there when it was decided, and what shall stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub subject: String,
    pub before: Option<String>,
    pub after: String,
    /// What is taken back should it not be sent.
    pub entry: String,
}

impl Count {
    /// The rows.
    pub fn rows(&self) -> impl Iterator<Item = &Counted> {
        self.person.iter().chain(&self.address).chain(&self.others)
    }
}

/// Which attempts may go out.
#[derive(Debug)]
pub struct Begun {
    pub attempts: Vec<AttemptId>,
    pub now: Timestamp,
}

/// What became of one attempt, and what follows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settlement {
    pub facts: std::sync::Arc<MessageFacts>,
    pub attempt: AttemptId,
    pub number: u16,
    pub channel: Channel,
    pub provider: ProviderName,
    pub status: AttemptStatus,
    pub provider_ref: Option<String>,
    pub failure: Option<Failure>,
    pub code: Option<String>,
    pub recipient: Recipient,
    #[serde(default)]
    pub charge: Charge,
    pub then: Then,
    /// How long the step is waited for, where the plan goes on after it.
    #[serde(default)]
    pub patience: Option<Patience>,
    /// When the answer came, by the database's clock.
    pub at: Timestamp,
}

/// Where the message goes from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The provider has it.
    Sent,
    /// Nobody has it: the safety mode kept it from leaving.
    Captured,
    /// The provider has it, and will say what became of it.
    Awaits,
    /// It arrived.
    Delivered,
    /// It was opened, or answered.
    Read,
    /// Nobody knows, and nothing is sent again before somebody does.
    Unknown,
    /// Nobody knows, but the provider recognises a repeat: same route again.
    UnknownRetry(Timestamp),
    /// Same route again.
    Retry(Timestamp),
    /// This route is given up; what is left is decided anew.
    NextStep(Reason),
}

/// A lease given back.
#[derive(Clone, Debug)]
pub struct Release {
    pub message: MessageId,
    pub token: i64,
    pub channel: Option<Channel>,
    /// `None`: at once.
    pub due_at: Option<Timestamp>,
}

/// Asks the shared gate for slots.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// All of them hold at once.
    pub keys: Vec<GateKey>,
    pub want: u32,
    /// No slot lies nearer: it takes so long to make use of one.
    pub lead: SignedDuration,
    /// No slot lies further ahead.
    pub horizon: SignedDuration,
    /// So many of earlier slots nobody used: limits that count days forget them.
    pub unused: u32,
}

/// One limit of the gate.
#[derive(Clone, Debug)]
pub struct GateKey {
    pub key: String,
    pub limit: GateLimit,
}

/// How a key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateLimit {
    /// One slot each interval.
    Interval(SignedDuration),
    /// So many in a calendar day (UTC).
    Day(u32),
}

/// Slots, as instants of the database's clock.
#[derive(Debug)]
pub struct Reserved {
    pub slots: Vec<Timestamp>,
    /// For each key that was asked for, in order: how many slots were handed out in this second and the one before,
    /// to whomever.
    pub recent: Vec<u64>,
    /// The day's share is used up: nothing before this instant.
    pub closed_until: Option<Timestamp>,
    /// Where the next slot lies.
    pub next: Timestamp,
    pub now: Timestamp,
}

/// An amount taken from budgets. A budget's key names its day: the organisation's calendar decides when one ends.
#[derive(Clone, Debug)]
pub struct Spend {
    /// Budget keys and their limits.
    pub budgets: Vec<(String, i64)>,
    /// In the unit of the limits; negative gives back.
    pub amount: i64,
}

/// What a take-over found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Not begun: due again.
    pub released: u32,
    /// Begun: unknown.
    pub unknown: u32,
}

/// An event on its way to the broker.
#[derive(Clone, Debug)]
pub struct OutboxEvent {
    pub ord: i64,
    pub routing_key: String,
    pub seq: u32,
    /// JSON without `seq`.
    pub body: String,
    /// Who publishes in order: events of one message share it.
    pub shard: i16,
}

/// An event as it is on record.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    pub seq: u32,
    pub routing_key: String,
    pub created_at: Timestamp,
    /// The broker has confirmed it.
    pub published: bool,
}

/// Which messages.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    pub source: Option<SourceName>,
    pub job_ids: Vec<JobId>,
    pub about: Option<About>,
    pub status: Option<MessageStatus>,
    pub reason: Option<Reason>,
    pub channel: Option<Channel>,
    pub template: Option<TemplateName>,
    pub site: Option<SiteId>,
    /// Of one of these sites; none given: of any, or of none.
    pub sites: Vec<SiteId>,
    /// Given to this provider, whatever came of it.
    pub provider: Option<ProviderName>,
    pub campaign_id: Option<CampaignId>,
    pub patient_id: Option<PatientId>,
    /// Accepted at or after this instant.
    pub since: Option<Timestamp>,
    /// Accepted before this instant.
    pub until: Option<Timestamp>,
    /// The copies of these messages.
    pub copies_of: Vec<MessageId>,
    /// Those that this message carries, or carried.
    pub merged_into: Option<MessageId>,
    /// Those older than this one.
    pub before: Option<MessageId>,
    /// Those that may still be tried again and were not.
    pub untried: bool,
    /// Those that changed at or after this instant, oldest change first.
    pub changed_since: Option<Timestamp>,
    /// ... and of those of that very instant only what comes after this one.
    pub changed_after: Option<MessageId>,
    /// Those that changed before this instant.
    pub changed_before: Option<Timestamp>,
    /// At most 1,000.
    pub limit: u32,
}

/// What was found among so many messages at most.
#[derive(Debug)]
pub struct MessagesPage {
    pub rows: Vec<MessageRow>,
    /// Those from this one on were looked through, and there are older ones; `None`: all were.
    pub looked_to: Option<MessageId>,
}

/// A message as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct MessageRow {
    #[serde(flatten)]
    pub facts: MessageFacts,
    pub status: MessageStatus,
    pub reason: Option<Reason>,
    pub channel: Option<Channel>,
    pub step: u16,
    pub tries: u16,
    pub seq: u32,
    pub accepted_at: Timestamp,
    pub changed_at: Timestamp,
    pub expires_at: Timestamp,
    pub due_at: Option<Timestamp>,
    /// Sent, and a receipt is awaited until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_by: Option<Timestamp>,
    /// The message that it is a copy of, for a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<MessageId>,
    /// The message in whose text it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<MessageId>,
    /// The hold that it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<HoldId>,
    #[serde(skip)]
    pub explanation: Option<String>,
    /// What stands for it in `body` is that of an erased one, where it cannot be read.
    #[serde(skip)]
    pub body: JobBody,
    #[serde(skip)]
    pub unread: bool,
}

impl MessageRow {
    /// Whom it is for, as far as the message alone says it.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        self.copy_of.map_or(Recipient::Patient, |_| Recipient::Proxy)
    }
}

/// An attempt as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptRow {
    pub id: AttemptId,
    pub step: u16,
    pub number: u16,
    pub status: AttemptStatus,
    pub provider: ProviderName,
    pub channel: Channel,
    pub recipient: Recipient,
    #[serde(skip)]
    pub address: Phi,
    pub segments: u16,
    pub locale: String,
    /// The text was not the message's own: it only pointed to the portal.
    pub pointer: bool,
    pub template_hash: String,
    pub provider_ref: Option<String>,
    pub failure: Option<Failure>,
    pub code: Option<String>,
    /// What the report that settled it says beside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
    pub begun_at: Timestamp,
    pub settled_at: Option<Timestamp>,
}

/// What an attempt has come to, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub attempt: AttemptId,
    pub status: AttemptStatus,
    pub failure: Option<Failure>,
    pub code: Option<String>,
}

/// What came of a batch of receipts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Attempts whose status rose.
    pub moved: u32,
    /// Receipts that say what is known already, or less.
    pub known: u32,
    /// Receipts for which there is no attempt: kept, and looked at again.
    pub parked: u32,
    /// Receipts for which there is no attempt, and no room to keep them.
    pub let_go: u32,
}

/// A patient's page: the message whose link leads to it, and what is on record of whom it was for.
#[derive(Clone, Debug)]
pub struct PageRow {
    pub facts: MessageFacts,
    /// Over which the link came.
    pub channel: Channel,
    pub address: Phi,
    /// In which the text around the link was written.
    pub locale: String,
    pub begun_at: Timestamp,
    /// An alias followed; `None`: not in the directory, or somebody else reads for them.
    pub patient: Option<Patient>,
    pub revision: i64,
    /// What was said at the address, by whomever stands behind it.
    pub said: Vec<Consent>,
    pub now: Timestamp,
}

/// What somebody asks for on the page that a link leads to.
#[derive(Clone, Debug)]
pub struct PageWish {
    pub link: PageHash,
    pub wish: Wish,
    /// Purposes that nothing is sent for until the patient agrees.
    pub opt_in: Vec<Purpose>,
    /// The revision that they saw; `None`: it does not matter what they saw.
    pub seen: Option<i64>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WishOutcome {
    /// No message has such a link.
    Unknown,
    /// The record is no longer what they saw; nothing was done.
    Outdated,
    /// It was so already.
    Unchanged,
    Changed,
}

/// Which parked bodies.
#[derive(Clone, Debug, Default)]
pub struct ParkedFilter {
    pub ids: Vec<ParkedId>,
    pub reason: Option<Reason>,
    pub source: Option<SourceName>,
    /// Those after this one.
    pub after: Option<ParkedId>,
    pub limit: u32,
}

/// A parked body.
#[derive(Clone, Debug)]
pub struct ParkedRow {
    pub id: ParkedId,
    pub problems: Vec<Problem>,
    pub source: Option<SourceName>,
    pub job_id: Option<JobId>,
    pub origin: String,
    pub correlation_id: Option<String>,
    /// The routing key it came by; none where it is not known.
    pub key: Option<String>,
    pub parked_at: Timestamp,
    pub body: Vec<u8>,
    /// The body cannot be opened, and is empty here.
    pub unread: bool,
}

impl ParkedRow {
    /// What is wrong with one whose body cannot be opened.
    #[must_use]
    pub fn closed() -> Problem {
        let cure = "put back the key that sealed it ([security] key, or a line of seal_keys_file), or give the body anew";
        Problem::new("", Reason::Malformed, "its body cannot be opened", cure)
    }
}

/// One worker.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerRow {
    pub id: WorkerId,
    pub name: String,
    pub started_at: Timestamp,
    pub seen_at: Timestamp,
    pub state: serde_json::Value,
}

/// The ledger in numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Per channel (empty: none yet), status and reason.
    pub messages: Vec<MessageCount>,
    /// Due and not in hand.
    pub backlog: u64,
    /// Parked bodies that wait for repair.
    pub parked: u64,
    /// Events not yet confirmed by the broker.
    pub outbox: u64,
    /// Events not yet taken by the receivers that they are posted to, by source.
    pub callbacks: Vec<CallbackCount>,
    /// How long the oldest due message has waited, in seconds.
    pub oldest_due_seconds: f64,
    /// Something was said at some address, such as a STOP, or a list of them was imported.
    pub address_consents_known: bool,
    /// Work items that are not closed, by kind.
    pub work: Vec<(WorkKind, u64)>,
}

/// How many messages stand alike.
#[derive(Clone, Debug, Serialize)]
pub struct MessageCount {
    pub channel: String,
    pub status: MessageStatus,
    pub reason: Option<Reason>,
    pub count: u64,
}
