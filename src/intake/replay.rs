//! Parked bodies go in again, once what was wrong has been put right: a template added, a source configured.

use super::gatekeeper::Arrival;
use super::queue::priority_of;
use super::submit::{Incoming, Intake, Outcome};
use crate::broker::QueueRole;
use crate::domain::ids::ParkedId;
use crate::domain::reader::{BodyKind, identify};
use crate::store::rows::ParkedRow;
use crate::store::{StoreError, patiently};

/// A body in the place of the one that came.
#[derive(Clone, Copy, Debug)]
pub struct Repaired<'b> {
    pub body: &'b [u8],
    /// Whoever wrote it may ask for an emergency: what somebody has written is not what its sender asked for.
    pub emergency: bool,
}

/// One body that went in again.
#[derive(Clone, Debug)]
pub struct Replayed {
    pub id: ParkedId,
    pub outcome: Outcome,
}

impl Intake {
    /// Submits parked bodies as `by` wants, in the order given; `repaired` stands for the body of every one of them. What
    /// is refused again, or cannot be opened, stays parked as it was.
    ///
    /// # Errors
    /// The ledger is away. Bodies that went in stay parked then; replaying them again finds duplicates.
    pub async fn replay(
        &self,
        rows: Vec<ParkedRow>,
        by: &str,
        repaired: Option<Repaired<'_>>,
    ) -> Result<Vec<Replayed>, StoreError> {
        let is_closed = |row: &ParkedRow| row.unread && repaired.is_none();
        let ids: Vec<(ParkedId, bool)> = rows.iter().map(|row| (row.id, is_closed(row))).collect();
        let open = rows.into_iter().filter(|row| !is_closed(row));
        let items = open.map(|row| incoming(row, by, repaired)).collect();
        let mut outcomes = self.submit(items).await?.into_iter();
        let answer = |(id, closed)| {
            let outcome = if closed { Some(unread(id)) } else { outcomes.next() };
            Some(Replayed { id, outcome: outcome? })
        };
        let replayed: Vec<Replayed> = ids.into_iter().filter_map(answer).collect();
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

/// Nothing can be submitted of a body that cannot be opened.
fn unread(id: ParkedId) -> Outcome {
    Outcome::Refused { parked: Some(id), problems: vec![ParkedRow::closed()], wait: None }
}

/// The parked body as it would come in again by the same way.
fn incoming(row: ParkedRow, by: &str, repaired: Option<Repaired<'_>>) -> Incoming {
    let key = key_of(&row).to_owned();
    let no_emergency = repaired.is_some_and(|new| !new.emergency);
    let body = repaired.map_or(row.body, |new| new.body.to_vec());
    // As it came, a body gains no rights by being replayed; whoever repairs it may correct the source.
    let corrected = repaired.is_some() && identify(&body).0.is_some();
    Incoming {
        body,
        arrival: Arrival {
            source: row.source.filter(|_| !corrected),
            by_broker: !corrected,
            priority: priority_of(&row.origin, &key),
            correlation_id: row.correlation_id,
            origin: row.origin,
            no_emergency,
            asked_by: Some(by.to_owned()),
            traceparent: None,
        },
        key: Some(key),
        redelivered: false,
        park: false,
    }
}

/// What a body is in the place of this one.
#[must_use]
pub fn kind(row: &ParkedRow, body: &[u8]) -> BodyKind {
    BodyKind::of(Some(key_of(row)), body)
}

/// Patients have a queue of their own. Bodies of former versions have no key, and their queue's whole name.
fn key_of(row: &ParkedRow) -> &str {
    let of_patients = row.origin.ends_with(QueueRole::Patients.word());
    row.key.as_deref().unwrap_or(if of_patients { "patient" } else { "job" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::SourceName;
    use crate::domain::words::Priority;

    #[test]
    fn a_body_goes_in_again_as_what_it_was() {
        let source = SourceName::parse("ehr");
        let cancel = br#"{"source":"ehr","id":"j1"}"#;
        for (origin, key, body, kind, priority) in [
            ("jobs", None, &b"{}"[..], BodyKind::Job, None),
            ("jobs", Some("job.cancel"), cancel, BodyKind::Cancel, None),
            ("jobs", Some("job.bulk"), b"{}", BodyKind::Job, Some(Priority::Bulk)),
            ("jobs", Some("job.normal"), b"{}", BodyKind::Job, Some(Priority::Normal)),
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
                unread: false,
            };
            let item = incoming(row.clone(), "ana", None);
            assert_eq!(BodyKind::of(item.key.as_deref(), &item.body), kind, "{origin} {key:?}");
            assert_eq!((item.arrival.priority, item.arrival.by_broker), (priority, true), "{origin} {key:?}");
            assert_eq!(
                (item.arrival.source, item.arrival.asked_by.as_deref()),
                (source.clone(), Some("ana"))
            );
            for (emergency, body) in [(true, br#"{"source":"lab"}"#.as_slice()), (false, b"{}")] {
                let repaired = incoming(row.clone(), "ana", Some(Repaired { body, emergency })).arrival;
                let other_source = emergency;
                assert_eq!((repaired.source.is_none(), repaired.by_broker), (other_source, !other_source));
                assert_eq!(repaired.no_emergency, !emergency, "by the right of whoever wrote it");
            }
        }
    }
}
