//! Parked bodies go in again, once what was wrong has been put right: a template added, a source configured.

use super::gatekeeper::Arrival;
use super::queue::priority_of;
use super::submit::{Incoming, Intake, Outcome};
use crate::broker::QueueRole;
use crate::domain::ids::ParkedId;
use crate::domain::reader::identify;
use crate::store::rows::ParkedRow;
use crate::store::{StoreError, patiently};

/// One body that went in again.
#[derive(Clone, Debug)]
pub struct Replayed {
    pub id: ParkedId,
    pub outcome: Outcome,
}

impl Intake {
    /// Submits parked bodies as `by` wants, in the order given; `repaired` stands for the body of every one of them. What
    /// is refused again stays parked as it was.
    ///
    /// # Errors
    /// The ledger is away. Bodies that went in stay parked then; replaying them again finds duplicates.
    pub async fn replay(
        &self,
        rows: Vec<ParkedRow>,
        by: &str,
        repaired: Option<&[u8]>,
    ) -> Result<Vec<Replayed>, StoreError> {
        let ids: Vec<ParkedId> = rows.iter().map(|row| row.id).collect();
        let items = rows.into_iter().map(|row| incoming(row, by, repaired)).collect();
        let outcomes = self.submit(items).await?;
        let replayed: Vec<Replayed> =
            ids.into_iter().zip(outcomes).map(|(id, outcome)| Replayed { id, outcome }).collect();
        let taken: Vec<ParkedId> = replayed
            .iter()
            .filter(|replayed| !matches!(replayed.outcome, Outcome::Refused { .. }))
            .map(|replayed| replayed.id)
            .collect();
        if !taken.is_empty() {
            patiently(|| self.store.mark_replayed(&taken)).await?;
        }
        Ok(replayed)
    }
}

/// The parked body as it would come in again by the same way.
fn incoming(row: ParkedRow, by: &str, repaired: Option<&[u8]>) -> Incoming {
    let body = repaired.map_or(row.body, <[u8]>::to_vec);
    // As it came, a body gains no rights by being replayed; whoever repairs it may correct the source.
    let corrected = repaired.is_some() && identify(&body).0.is_some();
    // Patients have a queue of their own. Bodies of former versions have no key, and their queue's whole name.
    let of_patients = row.origin.ends_with(QueueRole::Patients.word());
    let key = row.key.unwrap_or_else(|| if of_patients { "patient" } else { "job" }.to_owned());
    Incoming {
        body,
        arrival: Arrival {
            source: row.source.filter(|_| !corrected),
            by_broker: !corrected,
            priority: priority_of(&row.origin, &key),
            correlation_id: row.correlation_id,
            origin: row.origin,
            // What somebody has corrected is not what its sender asked for.
            no_emergency: corrected,
            asked_by: Some(by.to_owned()),
            traceparent: None,
        },
        key: Some(key),
        redelivered: false,
        park: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::SourceName;
    use crate::domain::reader::BodyKind;
    use crate::domain::words::Priority;

    #[test]
    fn a_body_goes_in_again_as_what_it_was() {
        let source = SourceName::parse("ehr");
        let cancel = br#"{"source":"ehr","id":"j1"}"#;
        for (origin, key, body, kind, priority) in [
            ("jobs", None, &b"{}"[..], BodyKind::Job, None),
            ("jobs", Some("job.cancel"), cancel, BodyKind::Cancel, None),
            ("jobs", Some("job.bulk"), b"{}", BodyKind::Job, Some(Priority::Bulk)),
            ("jobs.urgent", None, b"{}", BodyKind::Job, Some(Priority::Urgent)),
            ("returned", Some("patient"), b"{}", BodyKind::Patient, None),
            ("patients", None, b"{}", BodyKind::Patient, None),
            ("outreach.patients", None, b"{}", BodyKind::Patient, None),
            ("patients", Some("patient.merge"), br#"{"id":"a","into":"b"}"#, BodyKind::PatientMerge, None),
        ] {
            let row = ParkedRow {
                id: ParkedId::generate(),
                problems: Vec::new(),
                source: source.clone(),
                job_id: None,
                origin: origin.to_owned(),
                correlation_id: None,
                key: key.map(str::to_owned),
                parked_at: jiff::Timestamp::MIN,
                body: body.to_vec(),
            };
            let item = incoming(row.clone(), "ana", None);
            assert_eq!(BodyKind::of(item.key.as_deref(), &item.body), kind, "{origin} {key:?}");
            assert_eq!((item.arrival.priority, item.arrival.by_broker), (priority, true), "{origin} {key:?}");
            assert_eq!(
                (item.arrival.source, item.arrival.asked_by.as_deref()),
                (source.clone(), Some("ana"))
            );
            let repaired = incoming(row, "ana", Some(br#"{"source":"lab"}"#)).arrival;
            assert_eq!((repaired.source, repaired.by_broker), (None, false));
        }
    }
}
