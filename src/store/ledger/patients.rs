//! Patients are merged into the directory, and leave it; whatever changes of them raises their revision.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::history::Changed;
use super::{Ledger, subjects_column, unfit};
use crate::domain::consent::{self, Merged, merge_former, merge_patient};
use crate::domain::difference::differences;
use crate::domain::ids::PatientId;
use crate::domain::merge::combine;
use crate::domain::patient::{Consent, ConsentSource, Contact, Patient};
use crate::domain::phi::Phi;
use crate::domain::words::{Channel, Purpose};
use crate::store::columns::Columns;
use crate::store::engine::{Args, Column, Data, Engine, args, bytes, flags, ids, maybe_texts, texts, times};
use crate::store::rows::{AddressConsent, UpsertOutcome};
use crate::store::sealed::Sealed;
use crate::store::{Patients, Result, StoreError, UNREADABLE};

/// Somebody behind an address.
struct Behind<'p> {
    patient: &'p str,
    index: Vec<u8>,
    subject: String,
    /// It is a contact of their own, not one of their proxy's.
    own: bool,
}

/// No statement takes longer: what was under way has been written by then.
const MEANWHILE: SignedDuration = SignedDuration::from_secs(90);

#[async_trait]
impl<E: Engine> Patients for Ledger<E> {
    async fn upsert_patients(&self, patients: Vec<Patient>) -> Result<Vec<UpsertOutcome>> {
        if patients.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.engine.begin().await?;
        let asked: Vec<PatientId> = patients.iter().map(|p| p.id.clone()).collect();
        let mut stored = self.lock_patients(&mut tx, &asked).await?;
        self.unmark_where_good(&mut tx, &patients).await?;
        let mut outcomes = Vec::with_capacity(patients.len());
        let mut changed: BTreeMap<PatientId, Patient> = BTreeMap::new();
        let (mut created, mut history) = (Vec::new(), Vec::new());
        for mut incoming in patients {
            let kept = stored.resolve(&incoming.id);
            let is_former = kept != incoming.id;
            incoming.id = kept;
            let (id, sent_at) = (incoming.id.clone(), incoming.updated_at);
            let (outcome, patient) = match stored.patients.get(&id) {
                None => (UpsertOutcome::Created, Some(incoming)),
                Some(known) if is_former => outcome_of(merge_former(known, &incoming)),
                Some(known) => outcome_of(merge_patient(known, incoming)),
            };
            if outcome == UpsertOutcome::Created {
                created.push(id.clone());
            }
            if let Some(patient) = patient {
                if let Some(known) = stored.patients.get(&id) {
                    let evidence =
                        sent_at.map_or_else(|| "record".to_owned(), |at| format!("record of {at}"));
                    let differences = differences(known, &patient);
                    history.push(Changed { patient: id.clone(), differences, evidence });
                }
                stored.patients.insert(id.clone(), patient.clone());
                changed.insert(id, patient);
            }
            outcomes.push(outcome);
        }
        self.write_patients(&mut tx, changed.into_values().collect()).await?;
        self.keep_differences(&mut tx, &history).await?;
        E::commit(tx).await?;
        self.wake(&created).await?;
        Ok(outcomes)
    }

    async fn merge_patients(&self, id: &PatientId, into: &PatientId) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        let stored = self.lock_patients(&mut tx, &[id.clone(), into.clone()]).await?;
        let (from, to) = (stored.resolve(id), stored.resolve(into));
        if from == to {
            return Ok(stored.patients.contains_key(&to));
        }
        let (Some(old), Some(kept)) = (stored.patients.get(&from), stored.patients.get(&to)) else {
            return Ok(false);
        };
        let combined = combine(kept, old);
        let differences = differences(kept, &combined);
        self.write_patients(&mut tx, vec![combined]).await?;
        let evidence = format!("merge of {from}");
        self.keep_differences(&mut tx, &[Changed { patient: to.clone(), differences, evidence }]).await?;
        // Everything that pointed at the old id points at the kept one now, and is planned anew.
        E::run(
            &mut tx,
            "UPDATE patients SET alias_of = $2 WHERE id = $1 OR alias_of = $1",
            args![from.as_str(), to.as_str()],
        )
        .await?;
        E::run(&mut tx, "DELETE FROM patient_addresses WHERE patient_id = $1", args![from.as_str()]).await?;
        // What the one was sent the other has had.
        E::run(
            &mut tx,
            "UPDATE patient_state SET recent_sends = (
                 SELECT NULLIF(trim(COALESCE(patient_state.recent_sends, '') || ' ' || COALESCE(f.recent_sends, '')), '')
                 FROM patient_state f WHERE f.subject = $1)
             WHERE subject = $2 AND EXISTS (SELECT 1 FROM patient_state f WHERE f.subject = $1)",
            args![from.as_str(), to.as_str()],
        )
        .await?;
        let one =
            E::run(&mut tx, "SELECT id FROM patients WHERE id = $1 OR alias_of = $1", args![to.as_str()])
                .await?;
        let names = one.iter().map(|row| row.word(0, PatientId::parse)).collect::<Result<Vec<_>>>()?;
        self.leave_out_twice(&mut tx, &names).await?;
        Self::bump(&mut tx, &[from.as_str()]).await?;
        E::commit(tx).await?;
        Ok(true)
    }

    async fn record_address_consents(&self, consents: &[AddressConsent]) -> Result<Vec<bool>> {
        let mut tx = self.engine.begin().await?;
        let new = self.write_consents(&mut tx, consents).await?;
        E::commit(tx).await?;
        let written = consents.iter().zip(&new).filter(|(_, new)| **new);
        self.look_again(written.map(|(c, _)| &c.address)).await;
        Ok(new)
    }
}

impl<E: Engine> Ledger<E> {
    /// Messages that waited for these patients are due. Only once the patients are there for all to see: a decision
    /// that is written before this finds its message here, one that is written after it finds the patient.
    async fn wake(&self, created: &[PatientId]) -> Result<()> {
        if created.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = created.iter().map(|id| id.as_str()).collect();
        self.engine
            .write(
                "UPDATE messages SET due_at = now()
                 WHERE patient_id = ANY($1) AND status = 'held' AND reason = 'unknown_patient' AND lease_token IS NULL",
                args![ids],
            )
            .await?;
        Ok(())
    }

    /// Reads and locks patients by id, and those whose aliases they are. Rows that do not exist yet are guarded by
    /// their key. A record that cannot be read is neither merged with nor written over: what is told of that patient is
    /// refused, and nobody else's with it.
    pub(super) async fn lock_patients(&self, tx: &mut E::Tx, asked: &[PatientId]) -> Result<Stored> {
        let mut wanted: BTreeSet<PatientId> = asked.iter().cloned().collect();
        loop {
            let ids: Vec<&str> = wanted.iter().map(|id| id.as_str()).collect();
            // The state row is the lock: it exists for every id that was ever written, and is made here for a new
            // one. One order for everybody, so that two batches cannot wait for each other in a ring.
            E::run(
                tx,
                "INSERT INTO patient_state (subject, revision) SELECT subject, 0 FROM {input} WHERE true ORDER BY subject
                 ON CONFLICT (subject) DO UPDATE SET revision = patient_state.revision",
                Args::none().batch(vec![subjects_column(&ids)]),
            )
            .await?;
            let rows =
                E::run(tx, "SELECT id, alias_of, document FROM patients WHERE id = ANY($1)", args![ids])
                    .await?;
            let mut stored = Stored::default();
            for row in &rows {
                let id = row.word(0, PatientId::parse)?;
                match row.maybe_word(1, PatientId::parse)? {
                    Some(kept) => drop(stored.aliases.insert(id, kept)),
                    None => {
                        let known = self.document(row, 0, 2).map_err(|error| {
                            tracing::error!(%error, "a patient's record cannot be read, and is not written over");
                            StoreError::Data(UNREADABLE.to_owned())
                        })?;
                        stored.patients.insert(id, known);
                    }
                }
            }
            let beyond: Vec<&PatientId> =
                stored.aliases.values().filter(|kept| !wanted.contains(*kept)).collect();
            if beyond.is_empty() {
                return Ok(stored);
            }
            let beyond: Vec<PatientId> = beyond.into_iter().cloned().collect();
            wanted.extend(beyond);
        }
    }

    /// Writes documents and addresses, and raises the revisions.
    pub(super) async fn write_patients(&self, tx: &mut E::Tx, patients: Vec<Patient>) -> Result<()> {
        if patients.is_empty() {
            return Ok(());
        }
        let documents = patients
            .iter()
            .map(|p| {
                let document = serde_json::to_vec(p).map_err(|_| unfit("patient"))?;
                self.sealer.seal(Sealed::PatientDocument.of(p.id.as_str()), &document)
            })
            .collect::<Result<Vec<_>>>()?;
        let batch = vec![
            texts("id", &patients, |p| p.id.as_str()),
            Column { name: "document", data: Data::Bytes(documents) },
            times("updated_at", &patients, |p| p.updated_at),
        ];
        E::run(
            tx,
            "INSERT INTO patients (id, document, updated_at, stored_at)
             SELECT id, document, updated_at, now() FROM {input} WHERE true
             ON CONFLICT (id) DO UPDATE SET document = excluded.document, updated_at = excluded.updated_at,
                 stored_at = excluded.stored_at",
            Args::none().batch(batch),
        )
        .await?;
        let ids: Vec<&str> = patients.iter().map(|p| p.id.as_str()).collect();
        let mut behind: Vec<Behind<'_>> = Vec::new();
        for patient in &patients {
            let own: HashSet<&Phi> = patient.contacts.iter().map(|contact| &contact.address).collect();
            // By index: a mailbox may be spelt in several ways.
            let mut unique: BTreeMap<Vec<u8>, (&Phi, bool)> = BTreeMap::new();
            for address in patient.addresses() {
                unique.entry(self.sealer.index(address)).or_insert((address, false)).1 |=
                    own.contains(address);
            }
            behind.extend(unique.into_iter().map(|(index, (address, own))| Behind {
                patient: patient.id.as_str(),
                subject: self.sealer.address_subject(address),
                index,
                own,
            }));
        }
        Self::make_states(tx, behind.iter().map(|b| b.subject.as_str()).collect()).await?;
        E::run(tx, "DELETE FROM patient_addresses WHERE patient_id = ANY($1)", args![ids.clone()]).await?;
        if !behind.is_empty() {
            let batch = vec![
                bytes("address_index", &behind, |b| b.index.clone()),
                texts("patient_id", &behind, |b| b.patient),
                flags("own", &behind, |b| b.own),
            ];
            E::run(
                tx,
                "INSERT INTO patient_addresses (address_index, patient_id, own) SELECT address_index, patient_id, own FROM {input}",
                Args::none().batch(batch),
            )
            .await?;
        }
        Self::bump(tx, &ids).await
    }

    /// Makes the rows that caps are counted on, where there are none: a row that does not exist cannot be locked.
    pub(super) async fn make_states(tx: &mut E::Tx, subjects: BTreeSet<&str>) -> Result<()> {
        if subjects.is_empty() {
            return Ok(());
        }
        let unique: Vec<&str> = subjects.into_iter().collect();
        E::run(
            tx,
            "INSERT INTO patient_state (subject, revision) SELECT subject, 0 FROM {input} WHERE true ORDER BY subject
             ON CONFLICT (subject) DO NOTHING",
            Args::none().batch(vec![subjects_column(&unique)]),
        )
        .await?;
        Ok(())
    }

    /// Raises revisions: whatever was planned on the old one is planned anew before it goes out.
    pub(super) async fn bump(tx: &mut E::Tx, subjects: &[&str]) -> Result<()> {
        let unique: BTreeSet<&str> = subjects.iter().copied().collect();
        let unique: Vec<&str> = unique.into_iter().collect();
        E::run(
            tx,
            "INSERT INTO patient_state (subject, revision) SELECT subject, 1 FROM {input} WHERE true ORDER BY subject
             ON CONFLICT (subject) DO UPDATE SET revision = patient_state.revision + 1",
            Args::none().batch(vec![subjects_column(&unique)]),
        )
        .await?;
        Ok(())
    }

    /// Something that was said at these addresses has been written. A record that brought one of them meanwhile saw nothing
    /// of it, nor was it seen.
    pub(super) async fn look_again(&self, addresses: impl Iterator<Item = &Phi>) {
        let indexes: Vec<Vec<u8>> = addresses.map(|address| self.sealer.index(address)).collect();
        if let Err(error) = self.plan_anew(&indexes).await {
            tracing::warn!(%error, "whoever brought an address of theirs in that moment was not looked for");
        }
    }

    async fn plan_anew(&self, indexes: &[Vec<u8>]) -> Result<()> {
        if indexes.is_empty() {
            return Ok(());
        }
        let mut tx = self.engine.begin().await?;
        let since = Self::now(&mut tx).await?.checked_sub(MEANWHILE).unwrap_or_default();
        let behind = Self::who_is_behind(&mut tx, indexes, since).await?;
        if behind.is_empty() {
            return Ok(());
        }
        Self::bump(&mut tx, &behind.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        E::commit(tx).await
    }

    /// The patients of these addresses whose record was stored since then.
    async fn who_is_behind(tx: &mut E::Tx, indexes: &[Vec<u8>], since: Timestamp) -> Result<Vec<String>> {
        if indexes.is_empty() {
            return Ok(Vec::new());
        }
        let rows = E::run(
            tx,
            "SELECT DISTINCT pa.patient_id FROM {input} JOIN patient_addresses pa ON pa.address_index = input.address_index
             JOIN patients p ON p.id = pa.patient_id WHERE p.stored_at >= $1",
            args![since].batch(vec![bytes("address_index", indexes, Clone::clone)]),
        )
        .await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    /// Writes what was not said before in the same words, at the same time and by the same hand, and has everything
    /// behind those addresses planned anew. Answers for each whether it was new. Evidence does not tell two apart: a
    /// line of a list may have moved.
    pub(super) async fn write_consents(
        &self,
        tx: &mut E::Tx,
        consents: &[AddressConsent],
    ) -> Result<Vec<bool>> {
        if consents.is_empty() {
            return Ok(Vec::new());
        }
        let indexes: Vec<Vec<u8>> = consents.iter().map(|c| self.sealer.index(&c.address)).collect();
        let names: Vec<Uuid> = consents.iter().map(|_| Uuid::now_v7()).collect();
        let evidence = consents
            .iter()
            .zip(&names)
            .map(|(c, id)| {
                let place = Sealed::ConsentEvidence.of(*id);
                c.evidence.as_deref().map(|text| self.sealer.spell(place, text)).transpose()
            })
            .collect::<Result<Vec<Option<Cow<'_, str>>>>>()?;
        let batch = vec![
            ids("id", &names, |id| *id),
            bytes("address_index", &indexes, Clone::clone),
            texts("channel", consents, |c| c.channel.as_str()),
            maybe_texts("purpose", consents, |c| c.purpose.map(Purpose::as_str)),
            flags("granted", consents, |c| c.granted),
            times("at", consents, |c| Some(c.at)),
            texts("source", consents, |c| c.source.as_str()),
            maybe_texts("recorded_by", consents, |c| c.by.as_deref()),
            maybe_texts("evidence", &evidence, Option::as_deref),
        ];
        let rows = E::run(
            tx,
            "INSERT INTO address_consents (id, address_index, channel, purpose, granted, at, source, recorded_by, evidence,
                 recorded_at)
             SELECT id, address_index, channel, purpose, granted, at, source, recorded_by, evidence, now() FROM (
                 SELECT input.*, row_number() OVER (
                     PARTITION BY address_index, channel, purpose, granted, at, source, recorded_by ORDER BY id) AS nth
                 FROM {input}) AS said
             WHERE nth = 1 AND NOT EXISTS (
                 SELECT 1 FROM address_consents c
                 WHERE c.address_index = said.address_index AND c.channel = said.channel
                   AND c.purpose IS NOT DISTINCT FROM said.purpose AND c.granted = said.granted AND c.at = said.at
                   AND c.source = said.source AND c.recorded_by IS NOT DISTINCT FROM said.recorded_by)
             RETURNING id",
            Args::none().batch(batch),
        )
        .await?;
        let written = rows.iter().map(|row| row.id(0)).collect::<Result<HashSet<Uuid>>>()?;
        let new: Vec<bool> = names.iter().map(|id| written.contains(id)).collect();
        let pairs = || consents.iter().zip(&indexes).zip(&new).filter(|(_, new)| **new).map(|(pair, _)| pair);
        let indexes: Vec<Vec<u8>> = pairs().map(|(_, index)| index.clone()).collect();
        if indexes.is_empty() {
            return Ok(new);
        }
        let behind = Self::who_is_behind(tx, &indexes, Timestamp::UNIX_EPOCH).await?;
        let addresses: Vec<String> = pairs().map(|(c, _)| self.sealer.address_subject(&c.address)).collect();
        let subjects: Vec<&str> = addresses.iter().chain(&behind).map(String::as_str).collect();
        Self::bump(tx, &subjects).await?;
        Ok(new)
    }
}

/// What an upsert came to, and what is to be written of it.
fn outcome_of(merged: Merged) -> (UpsertOutcome, Option<Patient>) {
    let outcome = match (merged.stale, merged.changed) {
        (true, _) => UpsertOutcome::Stale,
        (false, true) => UpsertOutcome::Updated,
        (false, false) => UpsertOutcome::Unchanged,
    };
    (outcome, Some(merged.patient).filter(|_| merged.changed))
}

/// Patients that were read under lock.
#[derive(Default)]
pub(super) struct Stored {
    aliases: HashMap<PatientId, PatientId>,
    pub(super) patients: HashMap<PatientId, Patient>,
}

impl Stored {
    pub(super) fn resolve(&self, id: &PatientId) -> PatientId {
        self.aliases.get(id).unwrap_or(id).clone()
    }
}

/// What a patient wanted outlives them in the directory, bound to their addresses: revocations that stand, purposes they
/// opted out of, and a decision of staff not to contact them. It counts from now on: what was said at the address before
/// lifted none of it, and does not lift it now.
pub(super) fn wishes(patient: &Patient, now: Timestamp) -> Vec<AddressConsent> {
    let refusal = |purpose, source| Consent {
        purpose,
        channel: None,
        address: None,
        granted: false,
        at: now,
        source,
        by: None,
        evidence: None,
        expires_at: None,
        shadow: None,
    };
    let mut refusals: Vec<Consent> = consent::refusals(&patient.consents, now).cloned().collect();
    let opted_out = patient.preferences.iter().filter(|p| p.channels.is_empty());
    refusals.extend(opted_out.map(|p| refusal(Some(p.purpose), ConsentSource::Patient)));
    refusals.extend(patient.do_not_contact.as_ref().map(|_| refusal(None, ConsentSource::Staff)));
    let concerns = |contact: &Contact, refusal: &Consent| {
        refusal.channel.is_none_or(|channel| channel == contact.channel)
            && refusal.address.as_ref().is_none_or(|address| address.is_same_address(&contact.address))
    };
    let kept_at = |channel: Channel, address: &Phi, refusal: &Consent| AddressConsent {
        channel,
        address: address.clone(),
        purpose: refusal.purpose,
        granted: false,
        at: now,
        source: refusal.source,
        by: None,
        evidence: Some("kept on erasure".to_owned()),
    };
    let mut kept = Vec::new();
    for refusal in &refusals {
        let contacts = patient.contacts.iter().filter(|contact| concerns(contact, refusal));
        kept.extend(contacts.map(|contact| kept_at(contact.channel, &contact.address, refusal)));
        // An address that is in the record no more may come back.
        let Some(address) = &refusal.address else { continue };
        let named = refusal.channel.as_slice();
        let over = match address.expose() {
            _ if !named.is_empty() => named,
            number if number.starts_with('+') => &[Channel::Sms, Channel::Voice],
            mailbox if mailbox.contains('@') => &[Channel::Email],
            _ => &[Channel::Portal],
        };
        let has = |channel: Channel| {
            patient.contacts.iter().any(|c| c.channel == channel && c.address.is_same_address(address))
        };
        kept.extend(
            over.iter().filter(|channel| !has(**channel)).map(|channel| kept_at(*channel, address, refusal)),
        );
    }
    kept
}
