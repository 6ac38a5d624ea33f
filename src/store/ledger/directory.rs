//! What decisions rest on, and which revision a decision rests on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::{Ledger, subjects_column};
use crate::domain::outbound::Route;
use crate::domain::patient::{Consent, ConsentSource, Patient};
use crate::domain::phi::Phi;
use crate::domain::words::{Channel, Purpose, Reason};
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args, bytes};
use crate::store::rows::{Directory, DirectoryEntry, Failure, PatientState, Subject};
use crate::store::{Result, StoreError};

/// Patients with their revision; those whom somebody behind an address has spoken for are marked.
const PATIENTS: &str = "
SELECT input.subject, COALESCE(p.alias_of, p.id, input.subject), COALESCE(target.document, p.document),
    COALESCE(s.revision, 0), now(),
    EXISTS (SELECT 1 FROM patient_addresses pa JOIN address_consents c ON c.address_index = pa.address_index
            WHERE pa.patient_id = COALESCE(p.alias_of, p.id)),
    EXISTS (SELECT 1 FROM holds WHERE released_at IS NULL AND (until IS NULL OR until > now()))
FROM {input}
LEFT JOIN patients p ON p.id = input.subject
LEFT JOIN patients target ON target.id = p.alias_of
LEFT JOIN patient_state s ON s.subject = COALESCE(p.alias_of, p.id, input.subject)";

impl<E: Engine> Ledger<E> {
    pub(super) async fn read_directory(&self, subjects: &[Subject]) -> Result<Directory> {
        let ids: BTreeSet<&str> = subjects.iter().map(|s| s.patient.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        if ids.is_empty() {
            let holds = self.active_holds().await?;
            return Ok(Directory { entries: Vec::new(), holds, now: self.clock().await? });
        }
        // Revisions are read before what was said: a word that comes in between raises a revision that is compared
        // later, so that nothing is sent on what was read here.
        let states = self.address_revisions(subjects).await?;
        let rows = self.engine.read(PATIENTS, Args::none().batch(vec![subjects_column(&ids)])).await?;
        let first = rows.first().ok_or_else(|| StoreError::Internal("no directory".to_owned()))?;
        let (now, held) = (first.time(4)?, first.flag(6)?);
        let mut found = HashMap::with_capacity(rows.len());
        let mut addresses: Vec<Phi> =
            subjects.iter().flat_map(|s| s.inline_addresses.iter().cloned()).collect();
        for row in &rows {
            let person = self.person(row)?;
            if row.flag(5)?
                && let Some(patient) = &person.patient
            {
                addresses.extend(patient.contacts.iter().map(|c| c.address.clone()));
            }
            found.insert(row.text(0)?, person);
        }
        let said = self.said_at(&addresses).await?;
        let tried = self.tried(subjects).await?;
        let holds = if held { self.active_holds().await? } else { Vec::new() };
        let entry = |subject: &Subject| {
            let person = found.get(subject.patient.as_str());
            let patient = person.and_then(|p| p.patient.clone());
            DirectoryEntry {
                state: self.state(subject, person, &states),
                address_consents: consents_at(subject, patient.as_deref(), &said),
                patient,
                tried: tried.get(&subject.message.0).cloned().unwrap_or_default(),
            }
        };
        Ok(Directory { entries: subjects.iter().map(entry).collect(), holds, now })
    }

    /// What `begin` will compare: the patient's own row, and one for each address of a snapshot.
    fn state(
        &self,
        subject: &Subject,
        person: Option<&Person>,
        addresses: &HashMap<String, i64>,
    ) -> PatientState {
        let own = person.map_or_else(|| subject.patient.as_str().to_owned(), |p| p.subject.clone());
        let inline: BTreeSet<String> =
            subject.inline_addresses.iter().map(|a| self.sealer.address_subject(a)).collect();
        let revision =
            person.map_or(0, |p| p.revision) + inline.iter().filter_map(|a| addresses.get(a)).sum::<i64>();
        PatientState { subjects: std::iter::once(own).chain(inline).collect(), revision }
    }

    fn person(&self, row: &E::Row) -> Result<Person> {
        let patient = row.maybe_bytes(2)?.map(|d| self.document(d).map(Arc::new)).transpose()?;
        Ok(Person { subject: row.text(1)?.to_owned(), patient, revision: row.int(3)? })
    }

    pub(super) fn document(&self, sealed: &[u8]) -> Result<Patient> {
        serde_json::from_slice(self.sealer.open(sealed)?)
            .map_err(|_| StoreError::Internal("a stored patient does not fit".to_owned()))
    }

    /// What was said at these addresses, by address.
    pub(super) async fn said_at(&self, addresses: &[Phi]) -> Result<HashMap<Phi, Vec<Consent>>> {
        if addresses.is_empty() {
            return Ok(HashMap::new());
        }
        let mut by_index: HashMap<Vec<u8>, BTreeSet<&Phi>> = HashMap::new();
        for address in addresses {
            by_index.entry(self.sealer.index(address)).or_default().insert(address);
        }
        let indexes: Vec<&Vec<u8>> = by_index.keys().collect();
        let rows = self
            .engine
            .read(
                "SELECT c.address_index, c.channel, c.purpose, c.granted, c.at, c.source, c.recorded_by, c.evidence
                 FROM {input} JOIN address_consents c ON c.address_index = input.address_index",
                Args::none().batch(vec![bytes("address_index", &indexes, |i| i.to_vec())]),
            )
            .await?;
        let mut said: HashMap<Phi, Vec<Consent>> = HashMap::new();
        for row in &rows {
            let consent = Consent {
                purpose: row.maybe_word(2, Purpose::from_word)?,
                channel: Some(row.word(1, Channel::from_word)?),
                address: None,
                granted: row.flag(3)?,
                at: row.time(4)?,
                source: row.word(5, ConsentSource::from_word)?,
                by: row.maybe_text(6)?.map(str::to_owned),
                evidence: row.maybe_text(7)?.map(str::to_owned),
                expires_at: None,
                shadow: None,
            };
            for &address in by_index.get(row.bytes(0)?).into_iter().flatten() {
                let bound = Consent { address: Some(address.clone()), ..consent.clone() };
                said.entry(address.clone()).or_default().push(bound);
            }
        }
        Ok(said)
    }

    /// The revisions of the addresses of inline snapshots, which have no patient row of their own.
    async fn address_revisions(&self, subjects: &[Subject]) -> Result<HashMap<String, i64>> {
        let wanted: Vec<String> = subjects
            .iter()
            .flat_map(|s| &s.inline_addresses)
            .map(|a| self.sealer.address_subject(a))
            .collect();
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let asked: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let rows = self
            .engine
            .read("SELECT subject, revision FROM patient_state WHERE subject = ANY($1)", args![asked])
            .await?;
        rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.int(1)?))).collect()
    }

    /// The routes that earlier steps gave up, each with the failure of its last attempt.
    async fn tried(&self, subjects: &[Subject]) -> Result<HashMap<Uuid, Vec<(Route, Reason)>>> {
        let ids: Vec<Uuid> = subjects.iter().filter(|s| s.step > 0).map(|s| s.message.0).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self
            .engine
            .read(
                "SELECT a.message_id, a.channel, a.address, a.failure
                 FROM attempts a JOIN messages m ON m.id = a.message_id
                 WHERE a.message_id = ANY($1) AND a.step < m.step
                   AND a.number = (SELECT max(n.number) FROM attempts n WHERE n.message_id = a.message_id AND n.step = a.step)
                 ORDER BY a.message_id, a.step",
                args![ids],
            )
            .await?;
        let mut tried: HashMap<Uuid, Vec<(Route, Reason)>> = HashMap::new();
        for row in &rows {
            let route = Route {
                channel: row.word(1, Channel::from_word)?,
                address: self.sealer.open_text(row.bytes(2)?)?,
                extension: None,
            };
            let failure = row.maybe_word(3, Failure::from_word)?;
            let reason = failure.map_or(Reason::ProviderUnavailable, Failure::reason);
            tried.entry(row.id(0)?).or_default().push((route, reason));
        }
        Ok(tried)
    }
}

struct Person {
    /// The id after aliases.
    subject: String,
    patient: Option<Arc<Patient>>,
    revision: i64,
}

fn consents_at(
    subject: &Subject,
    patient: Option<&Patient>,
    said: &HashMap<Phi, Vec<Consent>>,
) -> Vec<Consent> {
    let stored = patient.into_iter().flat_map(|p| p.contacts.iter().map(|c| &c.address));
    let addresses: BTreeSet<&Phi> = stored.chain(&subject.inline_addresses).collect();
    addresses.into_iter().filter_map(|a| said.get(a)).flatten().cloned().collect()
}
