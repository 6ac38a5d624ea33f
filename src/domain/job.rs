//! A job: what a caller enqueues. "Tell this patient this."

use jiff::{Timestamp, civil::DateTime};
use serde::{Deserialize, Serialize};

use super::ids::{About, CampaignId, JobId, MessageId, PatientId, SiteId, SourceName, TemplateName};
use super::patient::Patient;
use super::words::{Channel, Priority, Purpose};

/// The largest job that is read, in bytes.
pub const MAX_JOB_BYTES: usize = 256 * 1024;

/// An instant, or a wall-clock time in a zone that is known only once the recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// A fixed instant.
    At(Timestamp),
    /// This wall-clock time where the recipient lives.
    Local(DateTime),
}

/// A validated job.
#[derive(Clone, PartialEq)]
pub struct Job {
    /// The caller's own id; with `source` the idempotency key.
    pub id: JobId,
    /// Who asks.
    pub source: SourceName,
    /// Whom to tell; always set, taken from the inline patient where only that was given.
    pub patient_id: PatientId,
    /// What to tell.
    pub template: TemplateName,
    /// The visit or matter.
    pub about: Option<About>,
    /// The earlier job of this source that this one supersedes.
    pub replaces: Option<JobId>,
    /// The place: sender identity, phone, zone.
    pub site: Option<SiteId>,
    /// One that the template lists; its first when absent.
    pub purpose: Option<Purpose>,
    /// May be lowered below the template's, never raised above the source's.
    pub priority: Option<Priority>,
    /// The template's variables.
    pub data: serde_json::Map<String, serde_json::Value>,
    /// Narrows the channels; `None` leaves them to the patient.
    pub channels: Option<Vec<Channel>>,
    /// Not sent earlier.
    pub not_before: Option<When>,
    /// Not sent later.
    pub expires_at: Option<When>,
    /// The full path, into the built-in simulator.
    pub test: bool,
    /// The campaign it belongs to.
    pub campaign_id: Option<CampaignId>,
    /// Why an emergency may pass the gates that only an emergency passes.
    pub override_reason: Option<String>,
    /// A snapshot that serves this message only: never stored in the directory, may narrow, never widen.
    pub patient: Option<Box<Patient>>,
    /// Over the parsed job before defaults: the same content has the same hash however it was written.
    pub content_hash: [u8; 32],
}

impl std::fmt::Debug for Job {
    /// Names only: `data` and the inline patient may hold anything.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("source", &self.source)
            .field("id", &self.id)
            .field("template", &self.template)
            .finish_non_exhaustive()
    }
}

/// A request to take jobs back, in the caller's own names.
#[derive(Clone, PartialEq, Eq)]
pub struct Cancel {
    /// Whose jobs.
    pub source: SourceName,
    /// Which.
    pub target: CancelTarget,
    /// Said by the caller, kept in the audit log.
    pub reason: Option<String>,
}

impl std::fmt::Debug for Cancel {
    /// Without the reason, which people write freely.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cancel")
            .field("source", &self.source)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// What a cancel names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelTarget {
    /// One job.
    Job(JobId),
    /// All that was asked about one matter.
    About(About),
    /// One message, such as a second try of a job.
    Message(MessageId),
}
