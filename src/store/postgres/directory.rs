//! The directory: who the patients are, what they said, which revision a decision rests on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::claim::{maybe_word, word};
use super::{PostgresStore, Tx, fault, maybe, time};
use crate::domain::consent::{Merged, merge_patient};
use crate::domain::ids::PatientId;
use crate::domain::merge::combine;
use crate::domain::outbound::Route;
use crate::domain::patient::{Consent, ConsentSource, Patient};
use crate::domain::phi::Phi;
use crate::domain::words::{Channel, Purpose, Reason};
use crate::store::rows::{
    AddressConsent, Directory, DirectoryEntry, Failure, PatientState, Subject, UpsertOutcome,
};
use crate::store::{Result, StoreError};

/// Patients with their revision; those whom somebody behind an address has spoken for are marked.
const PATIENTS: &str = "
SELECT asked.id, COALESCE(p.alias_of, p.id, asked.id), COALESCE(target.document, p.document), COALESCE(s.revision, 0), now(),
    EXISTS (SELECT 1 FROM patient_addresses pa JOIN address_consents c USING (address_index)
            WHERE pa.patient_id = COALESCE(p.alias_of, p.id)),
    EXISTS (SELECT 1 FROM holds WHERE released_at IS NULL AND (until IS NULL OR until > now()))
FROM unnest($1::text[]) asked(id)
LEFT JOIN patients p ON p.id = asked.id
LEFT JOIN patients target ON target.id = p.alias_of
LEFT JOIN patient_state s ON s.subject = COALESCE(p.alias_of, p.id, asked.id)";

impl PostgresStore {
    pub(super) async fn read_directory(&self, subjects: &[Subject]) -> Result<Directory> {
        let ids: BTreeSet<&str> = subjects.iter().map(|s| s.patient.as_str()).collect();
        let rows = sqlx::query(PATIENTS)
            .bind(ids.into_iter().collect::<Vec<_>>())
            .fetch_all(&self.pool)
            .await
            .map_err(fault)?;
        let now = match rows.first() {
            Some(row) => time(row, 4)?,
            None => self.clock().await?,
        };
        let held: bool = rows.first().map_or(Ok(false), |r| r.try_get(6)).map_err(fault)?;
        let mut found = HashMap::with_capacity(rows.len());
        let mut addresses: Vec<Phi> =
            subjects.iter().flat_map(|s| s.inline_addresses.iter().cloned()).collect();
        for row in &rows {
            let asked: &str = row.try_get(0).map_err(fault)?;
            let person = self.person(row)?;
            if row.try_get::<bool, _>(5).map_err(fault)?
                && let Some(patient) = &person.patient
            {
                addresses.extend(patient.contacts.iter().map(|c| c.address.clone()));
            }
            found.insert(asked.to_owned(), person);
        }
        let said = self.said_at(&addresses).await?;
        let states = self.address_revisions(subjects).await?;
        let tried = self.tried(subjects).await?;
        let holds = if held { self.active_holds().await? } else { Vec::new() };
        let entries = subjects
            .iter()
            .map(|subject| {
                let person = found.get(subject.patient.as_str());
                let patient = person.and_then(|p| p.patient.clone());
                DirectoryEntry {
                    state: self.state(subject, person, &states),
                    address_consents: consents_at(subject, patient.as_deref(), &said),
                    patient,
                    tried: tried.get(&subject.message.0).cloned().unwrap_or_default(),
                }
            })
            .collect();
        Ok(Directory { entries, holds, now })
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

    fn person(&self, row: &PgRow) -> Result<Person> {
        let id: &str = row.try_get(1).map_err(fault)?;
        let document: Option<&[u8]> = row.try_get(2).map_err(fault)?;
        let patient = document.map(|d| self.document(d).map(Arc::new)).transpose()?;
        Ok(Person { subject: id.to_owned(), patient, revision: row.try_get(3).map_err(fault)? })
    }

    pub(super) fn document(&self, sealed: &[u8]) -> Result<Patient> {
        serde_json::from_slice(self.sealer.open(sealed)?)
            .map_err(|_| StoreError::Internal("a stored patient does not fit".to_owned()))
    }

    /// What was said at these addresses, by address.
    async fn said_at(&self, addresses: &[Phi]) -> Result<HashMap<Phi, Vec<Consent>>> {
        if addresses.is_empty() {
            return Ok(HashMap::new());
        }
        let mut by_index: HashMap<Vec<u8>, BTreeSet<&Phi>> = HashMap::new();
        for address in addresses {
            by_index.entry(self.sealer.index(address)).or_default().insert(address);
        }
        let rows = sqlx::query(
            "SELECT address_index, channel, purpose, granted, at, source, recorded_by, evidence
             FROM address_consents WHERE address_index = ANY($1)",
        )
        .bind(by_index.keys().collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await
        .map_err(fault)?;
        let mut said: HashMap<Phi, Vec<Consent>> = HashMap::new();
        for row in &rows {
            let index: Vec<u8> = row.try_get(0).map_err(fault)?;
            let consent = Consent {
                purpose: maybe_word(row, 2, Purpose::from_word)?,
                channel: Some(word(row, 1, Channel::from_word)?),
                address: None,
                granted: row.try_get(3).map_err(fault)?,
                at: time(row, 4)?,
                source: word(row, 5, ConsentSource::from_word)?,
                by: row.try_get(6).map_err(fault)?,
                evidence: row.try_get(7).map_err(fault)?,
                expires_at: None,
                shadow: None,
            };
            for &address in by_index.get(&index).into_iter().flatten() {
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
        let rows = sqlx::query("SELECT subject, revision FROM patient_state WHERE subject = ANY($1)")
            .bind(&wanted)
            .fetch_all(&self.pool)
            .await
            .map_err(fault)?;
        let mut states: HashMap<String, i64> = wanted.into_iter().map(|s| (s, 0)).collect();
        for row in rows {
            states.insert(row.try_get(0).map_err(fault)?, row.try_get(1).map_err(fault)?);
        }
        Ok(states)
    }

    async fn tried(&self, subjects: &[Subject]) -> Result<HashMap<Uuid, Vec<(Route, Reason)>>> {
        let ids: Vec<Uuid> = subjects.iter().filter(|s| s.step > 0).map(|s| s.message.0).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = sqlx::query(
            "SELECT DISTINCT ON (a.message_id, a.step) a.message_id, a.channel, a.address, a.failure
             FROM attempts a JOIN messages m ON m.id = a.message_id
             WHERE a.message_id = ANY($1) AND a.step < m.step
             ORDER BY a.message_id, a.step, a.number DESC",
        )
        .bind(ids)
        .fetch_all(&self.pool)
        .await
        .map_err(fault)?;
        let mut tried: HashMap<Uuid, Vec<(Route, Reason)>> = HashMap::new();
        for row in &rows {
            let address: &[u8] = row.try_get(2).map_err(fault)?;
            let route = Route {
                channel: word(row, 1, Channel::from_word)?,
                address: self.sealer.open_text(address)?,
                extension: None,
            };
            let failure = maybe_word(row, 3, Failure::from_word)?;
            let reason = failure.map_or(Reason::ProviderUnavailable, Failure::reason);
            tried.entry(row.try_get(0).map_err(fault)?).or_default().push((route, reason));
        }
        Ok(tried)
    }

    pub(super) async fn upsert_batch(&self, patients: Vec<Patient>) -> Result<Vec<UpsertOutcome>> {
        let mut tx = self.pool.begin().await.map_err(fault)?;
        // One order for everybody, so that two batches cannot wait for each other in a ring.
        let mut order: Vec<(usize, Patient)> = patients.into_iter().enumerate().collect();
        order.sort_by(|(_, a), (_, b)| a.id.cmp(&b.id));
        let ids: Vec<String> = order.iter().map(|(_, p)| p.id.as_str().to_owned()).collect();
        let mut stored = self.lock_patients(&mut tx, &ids).await?;
        let mut outcomes = vec![UpsertOutcome::Unchanged; order.len()];
        let mut changed: HashMap<PatientId, Patient> = HashMap::new();
        let mut created = Vec::new();
        for (place, mut incoming) in order {
            let id = stored.aliases.get(incoming.id.as_str()).cloned().unwrap_or_else(|| incoming.id.clone());
            incoming.id = id.clone();
            let (outcome, patient) = match stored.patients.get(id.as_str()) {
                None => {
                    created.push(id.as_str().to_owned());
                    (UpsertOutcome::Created, Some(incoming))
                }
                Some(known) => match merge_patient(known, incoming) {
                    Merged { patient, changed: true, stale } => {
                        (if stale { UpsertOutcome::Stale } else { UpsertOutcome::Updated }, Some(patient))
                    }
                    Merged { stale: true, .. } => (UpsertOutcome::Stale, None),
                    Merged { .. } => (UpsertOutcome::Unchanged, None),
                },
            };
            if let Some(patient) = patient {
                stored.patients.insert(id.as_str().to_owned(), patient.clone());
                changed.insert(id, patient);
            }
            if let Some(slot) = outcomes.get_mut(place) {
                *slot = outcome;
            }
        }
        self.write_patients(&mut tx, changed.into_values().collect()).await?;
        tx.commit().await.map_err(fault)?;
        self.wake(&created).await?;
        Ok(outcomes)
    }

    /// Messages that waited for these patients are due. Only once the patients are there for all to see: a decision
    /// that is written before this finds its message here, one that is written after it finds the patient.
    async fn wake(&self, created: &[String]) -> Result<()> {
        if created.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "UPDATE messages SET due_at = now()
             WHERE patient_id = ANY($1) AND status = 'held' AND reason = 'unknown_patient' AND lease_until IS NULL",
        )
        .bind(created)
        .execute(&self.pool)
        .await
        .map_err(fault)?;
        Ok(())
    }

    /// Reads and locks patients by id, aliases followed. Rows that do not exist yet are guarded by their key.
    async fn lock_patients(&self, tx: &mut Tx<'_>, ids: &[String]) -> Result<Stored> {
        // The state row is the lock: it exists for every id that was ever written, and is made here for a new one.
        sqlx::query(
            "INSERT INTO patient_state (subject, revision)
             SELECT DISTINCT id, 0 FROM unnest($1::text[]) u(id) ORDER BY id
             ON CONFLICT (subject) DO UPDATE SET revision = patient_state.revision",
        )
        .bind(ids)
        .execute(&mut **tx)
        .await
        .map_err(fault)?;
        let rows = sqlx::query(
            "SELECT p.id, p.alias_of, COALESCE(t.document, p.document)
             FROM patients p LEFT JOIN patients t ON t.id = p.alias_of WHERE p.id = ANY($1)",
        )
        .bind(ids)
        .fetch_all(&mut **tx)
        .await
        .map_err(fault)?;
        let mut stored = Stored::default();
        for row in &rows {
            let document: &[u8] = row.try_get(2).map_err(fault)?;
            let patient = self.document(document)?;
            if maybe_word(row, 1, PatientId::parse)?.is_some() {
                stored.aliases.insert(row.try_get(0).map_err(fault)?, patient.id.clone());
            }
            stored.patients.insert(patient.id.as_str().to_owned(), patient);
        }
        Ok(stored)
    }

    async fn write_patients(&self, tx: &mut Tx<'_>, mut patients: Vec<Patient>) -> Result<()> {
        if patients.is_empty() {
            return Ok(());
        }
        patients.sort_by(|a, b| a.id.cmp(&b.id));
        let documents = patients
            .iter()
            .map(|p| {
                let json = serde_json::to_vec(p).map_err(|_| StoreError::Internal("patient".to_owned()))?;
                Ok(self.sealer.seal(&json))
            })
            .collect::<Result<Vec<_>>>()?;
        let ids: Vec<&str> = patients.iter().map(|p| p.id.as_str()).collect();
        sqlx::query(
            "INSERT INTO patients (id, document, updated_at)
             SELECT * FROM unnest($1::text[], $2::bytea[], $3::timestamptz[])
             ON CONFLICT (id) DO UPDATE SET document = excluded.document, updated_at = excluded.updated_at, stored_at = now()",
        )
        .bind(&ids)
        .bind(documents)
        .bind(patients.iter().map(|p| maybe(p.updated_at)).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await
        .map_err(fault)?;
        let mut indexes = Vec::new();
        let mut owners = Vec::new();
        for patient in &patients {
            let unique: BTreeSet<Vec<u8>> =
                patient.contacts.iter().map(|c| self.sealer.index(&c.address)).collect();
            owners.extend(std::iter::repeat_n(patient.id.as_str(), unique.len()));
            indexes.extend(unique);
        }
        sqlx::query("DELETE FROM patient_addresses WHERE patient_id = ANY($1)")
            .bind(&ids)
            .execute(&mut **tx)
            .await
            .map_err(fault)?;
        sqlx::query("INSERT INTO patient_addresses (address_index, patient_id) SELECT * FROM unnest($1::bytea[], $2::text[])")
            .bind(indexes)
            .bind(owners)
            .execute(&mut **tx)
            .await
            .map_err(fault)?;
        bump(tx, &ids).await
    }

    pub(super) async fn merge(&self, id: &PatientId, into: &PatientId) -> Result<bool> {
        let mut tx = self.pool.begin().await.map_err(fault)?;
        let mut ids = vec![id.as_str().to_owned(), into.as_str().to_owned()];
        ids.sort();
        let stored = self.lock_patients(&mut tx, &ids).await?;
        let resolve = |id: &PatientId| stored.aliases.get(id.as_str()).cloned().unwrap_or_else(|| id.clone());
        let (from, to) = (resolve(id), resolve(into));
        if from == to {
            return Ok(stored.patients.contains_key(to.as_str()));
        }
        let (Some(old), Some(kept)) = (stored.patients.get(from.as_str()), stored.patients.get(to.as_str()))
        else {
            return Ok(false);
        };
        self.write_patients(&mut tx, vec![combine(kept, old)]).await?;
        // Everything that pointed at the old id points at the kept one now, and is planned anew.
        sqlx::query("UPDATE patients SET alias_of = $2 WHERE id = $1 OR alias_of = $1")
            .bind(from.as_str())
            .bind(to.as_str())
            .execute(&mut *tx)
            .await
            .map_err(fault)?;
        sqlx::query("DELETE FROM patient_addresses WHERE patient_id = $1")
            .bind(from.as_str())
            .execute(&mut *tx)
            .await
            .map_err(fault)?;
        bump(&mut tx, &[from.as_str()]).await?;
        tx.commit().await.map_err(fault)?;
        Ok(true)
    }

    pub(super) async fn one_patient(&self, id: &PatientId) -> Result<Option<Patient>> {
        let row = sqlx::query(
            "SELECT COALESCE(t.document, p.document) FROM patients p LEFT JOIN patients t ON t.id = p.alias_of WHERE p.id = $1",
        )
        .bind(id.as_str())
        .fetch_optional(&self.pool)
        .await
        .map_err(fault)?;
        row.map(|row| self.document(row.try_get(0).map_err(fault)?)).transpose()
    }

    pub(super) async fn erase(&self, id: &PatientId) -> Result<bool> {
        let mut tx = self.pool.begin().await.map_err(fault)?;
        let stored = self.lock_patients(&mut tx, &[id.as_str().to_owned()]).await?;
        let target = stored.aliases.get(id.as_str()).cloned().unwrap_or_else(|| id.clone());
        let Some(patient) = stored.patients.get(target.as_str()) else { return Ok(false) };
        // What the patient has said about an address outlives them in the directory, as a keyed hash.
        let kept: Vec<AddressConsent> = patient
            .contacts
            .iter()
            .flat_map(|contact| patient.consents.iter().filter(|c| !c.granted).map(move |c| (contact, c)))
            .filter(|(contact, c)| {
                c.channel.is_none_or(|ch| ch == contact.channel)
                    && c.address.as_ref().is_none_or(|a| *a == contact.address)
            })
            .map(|(contact, c)| AddressConsent {
                channel: contact.channel,
                address: contact.address.clone(),
                purpose: c.purpose,
                granted: false,
                at: c.at,
                source: c.source,
                by: None,
                evidence: Some("kept on erasure".to_owned()),
            })
            .collect();
        self.write_consents(&mut tx, &kept).await?;
        sqlx::query("DELETE FROM patients WHERE id = $1 OR alias_of = $1")
            .bind(target.as_str())
            .execute(&mut *tx)
            .await
            .map_err(fault)?;
        sqlx::query("DELETE FROM patient_addresses WHERE patient_id = $1")
            .bind(target.as_str())
            .execute(&mut *tx)
            .await
            .map_err(fault)?;
        bump(&mut tx, &[target.as_str()]).await?;
        tx.commit().await.map_err(fault)?;
        Ok(true)
    }

    pub(super) async fn record_consents(&self, consents: &[AddressConsent]) -> Result<()> {
        let mut tx = self.pool.begin().await.map_err(fault)?;
        self.write_consents(&mut tx, consents).await?;
        tx.commit().await.map_err(fault)
    }

    async fn write_consents(&self, tx: &mut Tx<'_>, consents: &[AddressConsent]) -> Result<()> {
        if consents.is_empty() {
            return Ok(());
        }
        let indexes: Vec<Vec<u8>> = consents.iter().map(|c| self.sealer.index(&c.address)).collect();
        sqlx::query(
            "INSERT INTO address_consents (id, address_index, channel, purpose, granted, at, source, recorded_by, evidence)
             SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::boolean[], $6::timestamptz[],
                 $7::text[], $8::text[], $9::text[])",
        )
        .bind(consents.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
        .bind(&indexes)
        .bind(consents.iter().map(|c| c.channel.as_str()).collect::<Vec<_>>())
        .bind(consents.iter().map(|c| c.purpose.map(Purpose::as_str)).collect::<Vec<_>>())
        .bind(consents.iter().map(|c| c.granted).collect::<Vec<_>>())
        .bind(consents.iter().map(|c| maybe(Some(c.at))).collect::<Vec<_>>())
        .bind(consents.iter().map(|c| c.source.as_str()).collect::<Vec<_>>())
        .bind(consents.iter().map(|c| c.by.as_deref()).collect::<Vec<_>>())
        .bind(consents.iter().map(|c| c.evidence.as_deref()).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await
        .map_err(fault)?;
        let rows =
            sqlx::query("SELECT DISTINCT patient_id FROM patient_addresses WHERE address_index = ANY($1)")
                .bind(&indexes)
                .fetch_all(&mut **tx)
                .await
                .map_err(fault)?;
        let mut subjects: Vec<String> =
            consents.iter().map(|c| self.sealer.address_subject(&c.address)).collect();
        for row in rows {
            subjects.push(row.try_get(0).map_err(fault)?);
        }
        bump(tx, &subjects.iter().map(String::as_str).collect::<Vec<_>>()).await
    }
}

/// Raises revisions: whatever was planned on the old one is planned anew before it goes out.
async fn bump(tx: &mut Tx<'_>, subjects: &[&str]) -> Result<()> {
    sqlx::query(
        "INSERT INTO patient_state (subject, revision)
         SELECT DISTINCT id, 1 FROM unnest($1::text[]) u(id) ORDER BY id
         ON CONFLICT (subject) DO UPDATE SET revision = patient_state.revision + 1",
    )
    .bind(subjects)
    .execute(&mut **tx)
    .await
    .map_err(fault)?;
    Ok(())
}

struct Person {
    /// The id after aliases.
    subject: String,
    patient: Option<Arc<Patient>>,
    revision: i64,
}

#[derive(Default)]
struct Stored {
    aliases: HashMap<String, PatientId>,
    patients: HashMap<String, Patient>,
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
