//! What the directory answers.

use async_trait::async_trait;

use super::Result;
use super::rows::{Directory, Subject};
use crate::domain::ids::PatientId;
use crate::domain::patient::Patient;

/// The directory as it is read: for decisions, for one patient, and through.
#[async_trait]
pub trait PatientDirectory {
    /// What decisions rest on, for a batch of messages; one entry each, in order.
    async fn directory(&self, subjects: &[Subject]) -> Result<Directory>;

    /// One patient; aliases are followed.
    async fn patient(&self, id: &PatientId) -> Result<Option<Patient>>;

    /// The directory by ids, from after `after` on, without aliases.
    async fn patients_after(&self, after: Option<&PatientId>, limit: u32) -> Result<Vec<Patient>>;
}
