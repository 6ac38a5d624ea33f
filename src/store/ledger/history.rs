//! The history of what is known of a patient: whoever changes it, by page, reply, queue, import or merge, in words, and with
//! what it takes the place of. Nothing in it is rewritten.

use uuid::Uuid;

use super::{Ledger, Numbered, unfit};
use crate::domain::difference::Difference;
use crate::domain::ids::PatientId;
use crate::domain::patient::{Consent, ConsentSource};
use crate::store::Result;
use crate::store::emit::Emitter;
use crate::store::engine::{Args, Engine, bytes, ids, texts};
use crate::store::sealed::Sealed;

/// Who keeps records up to date, where nobody is named.
const DIRECTORY: &str = "directory";

/// What has changed of one record.
pub(super) struct Changed {
    pub(super) patient: PatientId,
    pub(super) differences: Vec<Difference>,
    /// Where it was said: ids and times.
    pub(super) evidence: String,
}

/// A line of the history.
struct Line<'c> {
    id: Uuid,
    patient: &'c str,
    by: &'c str,
    what: &'c str,
    evidence: String,
    /// Sealed; empty: nothing.
    superseded: Vec<u8>,
}

impl<E: Engine> Ledger<E> {
    /// Keeps what records have come to, and tells of the wishes among it. Costs nothing where nothing has changed.
    pub(super) async fn keep_differences(&self, tx: &mut E::Tx, changed: &[Changed]) -> Result<()> {
        let mut lines = Vec::new();
        for one in changed {
            for difference in &one.differences {
                let id = Uuid::now_v7();
                let said_at = difference.said_at.map(|at| format!(", said at {at}")).unwrap_or_default();
                lines.push(Line {
                    id,
                    patient: one.patient.as_str(),
                    by: difference.source.map_or(DIRECTORY, ConsentSource::as_str),
                    what: &difference.what,
                    evidence: format!("{}{said_at}", one.evidence),
                    superseded: self.sealed_before(id, difference.superseded.as_ref())?,
                });
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        Self::write_lines(tx, &lines).await?;
        let now = Self::now(tx).await?;
        let wished = changed.iter().filter(|one| one.differences.iter().any(|d| d.is_wish));
        let events: Vec<Numbered> = wished
            .map(|one| Numbered { message: None, seq: 0, event: Emitter::record_changed(&one.patient, now) })
            .collect();
        self.insert_events(tx, &events).await
    }

    /// Adds to the history of a patient's record what `by` changed, in words.
    pub(super) async fn keep_changes(
        tx: &mut E::Tx,
        id: &PatientId,
        by: &str,
        changes: &[String],
        evidence: &str,
    ) -> Result<()> {
        let line = |what| Line {
            id: Uuid::now_v7(),
            patient: id.as_str(),
            by,
            what,
            evidence: evidence.to_owned(),
            superseded: Vec::new(),
        };
        let lines: Vec<Line<'_>> = changes.iter().map(|what| line(what.as_str())).collect();
        Self::write_lines(tx, &lines).await
    }

    async fn write_lines(tx: &mut E::Tx, lines: &[Line<'_>]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let batch = vec![
            ids("id", lines, |line| line.id),
            texts("patient_id", lines, |line| line.patient),
            texts("changed_by", lines, |line| line.by),
            texts("what", lines, |line| line.what),
            texts("evidence", lines, |line| &line.evidence),
            bytes("superseded", lines, |line| line.superseded.clone()),
        ];
        E::run(
            tx,
            "INSERT INTO preference_changes (id, patient_id, changed_at, changed_by, what, evidence, superseded)
             SELECT id, patient_id, now(), changed_by, what, evidence,
                 CASE WHEN length(superseded) = 0 THEN NULL ELSE superseded END FROM {input}",
            Args::none().batch(batch),
        )
        .await?;
        Ok(())
    }

    fn sealed_before(&self, id: Uuid, superseded: Option<&Consent>) -> Result<Vec<u8>> {
        let Some(consent) = superseded else { return Ok(Vec::new()) };
        let plain = serde_json::to_vec(consent).map_err(|_| unfit("consent"))?;
        self.sealer.seal(Sealed::Superseded.of(id), &plain)
    }

    /// The consent that a line of the history took the place of.
    pub(super) fn consent_before(&self, id: Uuid, stored: Option<&[u8]>) -> Result<Option<Consent>> {
        let Some(stored) = stored.filter(|stored| !stored.is_empty()) else { return Ok(None) };
        let plain = self.sealer.open(Sealed::Superseded.of(id), stored)?;
        serde_json::from_slice(&plain).map(Some).map_err(|_| unfit("consent"))
    }
}
