//! Patients told to us one by one or in long lists, by somebody who waits for the answer.

use jiff::{SignedDuration, Timestamp};

use super::submit::Intake;
use crate::domain::consent::records;
use crate::domain::patient::Patient;
use crate::domain::problem::Problem;
use crate::domain::reader::PatientMerge;
use crate::domain::words::Reason;
use crate::store::rows::UpsertOutcome;
use crate::store::{StoreError, UNREADABLE, patiently};

/// How far a sender's clock may be ahead of the ledger's.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

impl Intake {
    /// Merges patients into the directory; one answer each, in order. A row of the future, or one that the ledger will not
    /// take, does not sink the others.
    ///
    /// # Errors
    /// The ledger is away: what was written stays written, and the same call may be made again.
    pub async fn upsert_each(
        &self,
        patients: Vec<Patient>,
    ) -> Result<Vec<Result<UpsertOutcome, Problem>>, StoreError> {
        let now = patiently(|| self.store.ping()).await?;
        let latest = now.checked_add(AHEAD).unwrap_or(now);
        let (mut early, mut timely) =
            (Vec::with_capacity(patients.len()), Vec::with_capacity(patients.len()));
        for patient in patients {
            let problem = of_the_future(&patient, latest);
            timely.extend(Some(patient).filter(|_| problem.is_none()));
            early.push(problem);
        }
        let mut answers = self.upsert_timely(timely).await?.into_iter();
        let count = u64::try_from(early.len()).unwrap_or(0);
        metrics::counter!("outreachd_patients_total").increment(count);
        self.wake();
        Ok(early.into_iter().filter_map(|problem| problem.map(Err).or_else(|| answers.next())).collect())
    }

    async fn upsert_timely(
        &self,
        patients: Vec<Patient>,
    ) -> Result<Vec<Result<UpsertOutcome, Problem>>, StoreError> {
        let mut answers = Vec::with_capacity(patients.len());
        let mut stack = vec![patients];
        while let Some(mut batch) = stack.pop() {
            if batch.is_empty() {
                continue;
            }
            match patiently(|| self.store.upsert_patients(batch.clone())).await {
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
        Ok(answers)
    }

    /// Makes one patient of two. False: one of them is not in the directory.
    ///
    /// # Errors
    /// The ledger is away.
    pub async fn merge(&self, merge: &PatientMerge) -> Result<bool, StoreError> {
        let known = patiently(|| self.store.merge_patients(&merge.id, &merge.into)).await?;
        self.wake();
        Ok(known)
    }
}

/// What a record says of a time that has not come yet. Nothing that is said until then would count: no change of the record,
/// no wish that is taken back, and no stop. A refusal of the future is let in, as it is the safe side.
fn of_the_future(patient: &Patient, latest: Timestamp) -> Option<Problem> {
    let is_ahead = |at: Option<Timestamp>| at.is_some_and(|at| at > latest);
    let mut grants = records(&patient.consents).filter(|consent| consent.granted);
    let field = if is_ahead(patient.updated_at) {
        "updated_at"
    } else if grants.any(|grant| is_ahead(Some(grant.at))) {
        // Which one is not said: they are kept in an order of their own.
        "consents.at"
    } else if patient.preferences.iter().any(|p| !p.channels.is_empty() && is_ahead(p.updated_at)) {
        "preferences.updated_at"
    } else {
        return None;
    };
    let cure = "send when it was said, with its offset, and check the clock of the machine that sends";
    Some(Problem::new(field, Reason::Malformed, "must not lie in the future", cure))
}

/// What is wrong with a row that the database refuses, as far as it says: its `SQLSTATE`.
pub(super) fn not_taken(code: &str) -> Vec<Problem> {
    let rule = format!("the ledger will not take it ({code})");
    let cure = if code == UNREADABLE {
        "put back the key that sealed it ([security] key, or a line of seal_keys_file), or restore the record from a dump"
    } else {
        "look for control characters and very long texts, and report it if there are none"
    };
    vec![Problem::new("", Reason::Malformed, rule, cure)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::PatientId;
    use crate::domain::patient::{Consent, ConsentSource, Preference};
    use crate::domain::words::{Channel, Purpose};

    #[test]
    fn what_is_said_of_tomorrow_would_bind_until_then() {
        let latest: Timestamp = "2026-11-25T12:05:00Z".parse().unwrap();
        let (in_time, later) = (latest, latest.checked_add(SignedDuration::from_secs(1)).unwrap());
        let patient = || Patient::bare(PatientId::parse("P1").unwrap());
        let dated = |at| Patient { updated_at: Some(at), ..patient() };
        let consent = |granted, at| Consent::bare(granted, at, ConsentSource::Staff);
        let said = |granted, at| Patient { consents: vec![consent(granted, at)], ..patient() };
        let behind = |at| {
            let shadow = Some(Box::new(consent(true, at)));
            Patient { consents: vec![Consent { shadow, ..consent(false, in_time) }], ..patient() }
        };
        let wants = |channels: &[Channel], at| {
            let channels = channels.to_vec();
            let wish = Preference { purpose: Purpose::Care, channels, updated_at: Some(at) };
            Patient { preferences: vec![wish], ..patient() }
        };
        let field = |patient: &Patient| of_the_future(patient, latest).map(|problem| problem.field);
        for (in_time, later, name) in [
            (dated(in_time), dated(later), "updated_at"),
            (said(true, in_time), said(true, later), "consents.at"),
            (behind(in_time), behind(later), "consents.at"),
            (wants(&[Channel::Sms], in_time), wants(&[Channel::Sms], later), "preferences.updated_at"),
        ] {
            assert_eq!((field(&in_time), field(&later).as_deref()), (None, Some(name)));
        }
        assert_eq!(field(&said(false, later)), None, "no refusal is refused");
        assert_eq!(field(&wants(&[], later)), None);
    }
}
