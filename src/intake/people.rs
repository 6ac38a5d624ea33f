//! Patients told to us one by one or in long lists, by somebody who waits for the answer.

use super::submit::Intake;
use crate::domain::patient::Patient;
use crate::domain::problem::Problem;
use crate::domain::reader::PatientMerge;
use crate::domain::words::Reason;
use crate::store::StoreError;
use crate::store::rows::UpsertOutcome;

impl Intake {
    /// Merges patients into the directory; one answer each, in order. A row that the ledger will not take does
    /// not sink the others.
    ///
    /// # Errors
    /// The ledger is away: what was written stays written, and the same call may be made again.
    pub async fn upsert_each(
        &self,
        patients: Vec<Patient>,
    ) -> Result<Vec<Result<UpsertOutcome, Problem>>, StoreError> {
        let mut answers = Vec::with_capacity(patients.len());
        let mut stack = vec![patients];
        while let Some(mut batch) = stack.pop() {
            if batch.is_empty() {
                continue;
            }
            match self.retry(|| self.store.upsert_patients(batch.clone())).await {
                Ok(outcomes) => answers.extend(outcomes.into_iter().map(Ok)),
                Err(StoreError::Data(_)) if batch.len() > 1 => {
                    let right = batch.split_off(batch.len() / 2);
                    stack.push(right);
                    stack.push(batch);
                }
                Err(StoreError::Data(code)) => answers.extend(not_taken(&code).into_iter().map(Err)),
                Err(other) => return Err(other),
            }
        }
        let count = u64::try_from(answers.len()).unwrap_or(0);
        metrics::counter!("outreachd_patients_total").increment(count);
        self.wake();
        Ok(answers)
    }

    /// Makes one patient of two. False: one of them is not in the directory.
    ///
    /// # Errors
    /// The ledger is away.
    pub async fn merge(&self, merge: &PatientMerge) -> Result<bool, StoreError> {
        let known = self.retry(|| self.store.merge_patients(&merge.id, &merge.into)).await?;
        self.wake();
        Ok(known)
    }

    /// Jobs may have waited for these patients.
    fn wake(&self) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.nudge();
        }
    }
}

/// What is wrong with a row that the database refuses, as far as it says: its `SQLSTATE`.
pub(super) fn not_taken(code: &str) -> Vec<Problem> {
    let rule = format!("the ledger will not take it ({code})");
    let cure = "look for control characters and very long texts, and report it if there are none";
    vec![Problem::new("", Reason::Malformed, rule, cure)]
}
