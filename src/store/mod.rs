//! The ledger: one [`Store`], two databases, one contract.
//!
//! What can be asked of it stands in traits by subject, each in a file of its own here; how it is done stands in the file
//! of the same name in [`ledger`]:
//!
//! | what | by |
//! |---|---|
//! | what comes in | [`Intake`]; [`Patients`], [`PatientDirectory`], [`Contacts`] |
//! | on its way | [`Leases`], [`Copies`], [`Digests`], [`Questions`], [`RateGate`], [`Corridor`] |
//! | what comes back | [`Receipts`], [`LookUps`], [`Replies`], [`MailAnswers`] |
//! | what callers are told | [`Outbox`], [`Callbacks`] |
//! | what people see and do | [`Messages`], [`Holds`], [`WorkItems`], [`SigningOff`]; patients: [`Pages`] |
//! | campaigns | [`Campaigns`], [`CampaignAudience`], [`CampaignReports`] |
//! | who watches, and who may | [`Alerts`], [`Pulse`]; [`People`], [`AuditLog`] |
//! | what is kept | [`PatientRecords`], [`Retention`], [`Resealing`]; after a restore: [`Recovery`] |
//!
//! A method is one transaction, batch first. Every method that answers a question of time answers with the
//! database's clock, which is the only clock that decisions see. Statuses move and their events are written in
//! the same transaction; a status never falls in rank: the database checks that by the domain's rule.

mod again;
pub mod alerts;
pub mod audit;
mod callbacks;
mod campaign_audience;
mod campaign_report;
pub mod campaigns;
pub mod columns;
mod contacts;
mod copies;
mod corridor;
mod digest;
mod directory;
pub mod emit;
pub mod engine;
mod fault;
mod gate;
mod holds;
mod intake;
mod leases;
pub mod ledger;
mod look_ups;
mod mail_answers;
mod messages;
mod outbox;
mod page;
pub mod patient_records;
mod patients;
pub mod people;
pub mod postgres;
pub mod pulse;
mod questions;
mod receipts;
pub mod recover;
mod replies;
pub mod reseal;
pub mod retention;
pub mod rows;
pub mod rules;
mod schema;
pub mod sealed;
pub mod sealer;
mod sign_offs;
pub mod sqlite;
mod words;
mod work;

pub use again::{again_if_contended, moments, patiently};
pub use alerts::Alerts;
pub use audit::AuditLog;
pub use callbacks::Callbacks;
pub use campaign_audience::CampaignAudience;
pub use campaign_report::CampaignReports;
pub use campaigns::Campaigns;
pub use contacts::Contacts;
pub use copies::Copies;
pub use corridor::Corridor;
pub use digest::Digests;
pub use directory::PatientDirectory;
pub use fault::way_back;
pub use gate::RateGate;
pub use holds::Holds;
pub use intake::{Intake, conflict, over_limit};
pub use leases::Leases;
pub use look_ups::LookUps;
pub use mail_answers::MailAnswers;
pub use messages::Messages;
pub use outbox::Outbox;
pub use page::Pages;
pub use patient_records::PatientRecords;
pub use patients::Patients;
pub use people::People;
pub use pulse::Pulse;
pub use questions::Questions;
pub use receipts::Receipts;
pub use recover::Recovery;
pub use replies::Replies;
pub use reseal::Resealing;
pub use retention::Retention;
pub use sign_offs::SigningOff;
pub use work::WorkItems;

use async_trait::async_trait;
use jiff::Timestamp;

/// The ledger could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is starting, shutting down, read-only or full: the same call may work later.
    #[error("the ledger is unavailable ({0})")]
    Unavailable(String),
    /// The database will not take one of the rows: split the batch and park the one.
    #[error("the ledger refuses a row ({0})")]
    Data(String),
    /// Two transactions met; the call is safe to repeat at once.
    #[error("transactions met; try again")]
    Contention,
    /// The schema is older or newer than this program understands.
    #[error("{0}")]
    Schema(String),
    /// The ledger, or a value in it, lies under a key that this program does not have.
    #[error("{0}")]
    Key(OtherKey),
    /// A fault of ours: a statement or a stored row that does not fit.
    #[error("a fault in the ledger's code ({0})")]
    Internal(String),
}

/// What lies under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherKey {
    #[error(
        "the ledger was begun under another [security] key: opt-outs by address cannot be found under this one"
    )]
    Ledger,
    #[error("a value is sealed under key {0}, which neither [security] key nor seal_keys give")]
    Value(sealer::KeyId),
}

/// What [`StoreError::Data`] says of a record that is there and cannot be read: it is not written over.
pub const UNREADABLE: &str = "the patient's record cannot be read";

/// Short for what every method answers.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The ledger: all that can be asked of it.
#[async_trait]
pub trait Store:
    Intake
    + Patients
    + PatientDirectory
    + Contacts
    + Leases
    + Copies
    + Digests
    + Questions
    + RateGate
    + Corridor
    + Receipts
    + LookUps
    + Replies
    + MailAnswers
    + Outbox
    + Callbacks
    + Messages
    + Holds
    + WorkItems
    + SigningOff
    + Pages
    + Campaigns
    + CampaignAudience
    + CampaignReports
    + Alerts
    + Pulse
    + People
    + AuditLog
    + PatientRecords
    + Retention
    + Resealing
    + Recovery
    + Send
    + Sync
    + std::fmt::Debug
{
    /// Brings the schema up to this program's version; safe to run from several processes at once.
    async fn migrate(&self) -> Result<()>;

    /// Has the ledger remember the key that its addresses are found by, where it knows none yet and this program has one of
    /// its own: [`Store::ping`] refuses every other from then on.
    async fn take_key(&self) -> Result<()>;

    /// What seals here, for what is to come in here and must be kept elsewhere until it can.
    fn sealer(&self) -> &sealer::Sealer;

    /// Refuses a schema that this program does not understand, and a ledger under another key; answers the database's clock.
    async fn ping(&self) -> Result<Timestamp>;
}
