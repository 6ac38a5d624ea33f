//! What the directory is told of patients.

use async_trait::async_trait;

use super::Result;
use super::rows::{AddressConsent, UpsertOutcome};
use crate::domain::ids::PatientId;
use crate::domain::patient::Patient;

/// What is told of patients: by those who keep their records, and by themselves.
#[async_trait]
pub trait Patients {
    /// Merges upserts into the directory and bumps the revision of each that changed.
    async fn upsert_patients(&self, patients: Vec<Patient>) -> Result<Vec<UpsertOutcome>>;

    /// Makes `id` an alias of `into`; the strictest of their wishes wins. False: one of them is unknown.
    async fn merge_patients(&self, id: &PatientId, into: &PatientId) -> Result<bool>;

    /// Records what was said at addresses; binds everybody behind them at once. What is on record in the same words, of
    /// the same time and by the same hand, changes nothing. Answers for each, in order, whether it was new.
    async fn record_address_consents(&self, consents: &[AddressConsent]) -> Result<Vec<bool>>;
}
