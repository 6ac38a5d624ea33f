//! The health of contacts: what failed because of its address is kept, judged once, and where it proves enough the
//! contact is marked and its sender told. Failures are written with the results that they are; the judgement comes a
//! moment later in a transaction of its own, so that receipts and sends never wait for a patient's record.

use std::collections::HashMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Ledger, Numbered};
use crate::domain::failure::Failure;
use crate::domain::ids::PatientId;
use crate::domain::patient::{ConsentSource, Contact, Patient, ProxyPerson};
use crate::domain::phi::Phi;
use crate::domain::words::{Channel, ContactStatus, Recipient};
use crate::policy::health::{self, Sign};
use crate::store::columns::{Columns, facts};
use crate::store::emit::Emitter;
use crate::store::engine::{Args, Engine, args, bytes, ids, micros};
use crate::store::rows::{AddressConsent, MessageFacts, Settlement};
use crate::store::sealed::Sealed;
use crate::store::{Result, words};

/// Who marks a contact, as the history of changes has it.
const JUDGE: &str = "outreachd";

/// What was not judged yet.
const NEW: &str = concat!(
    "SELECT ",
    words::facts!("x."),
    ", m.attempt_id, m.address_index, m.channel, m.failure, m.code, a.address, a.recipient FROM contact_faults m ",
    "JOIN attempts a ON a.id = m.attempt_id JOIN messages x ON x.id = a.message_id ",
    "WHERE m.judged_at IS NULL ORDER BY m.at LIMIT $1 {skip locked}"
);

/// Addresses that were refused for a stop which is not on record, or was lifted there since.
const NEW_STOPS: &str = "
SELECT a.address, a.channel, a.provider, a.code, now(), a.id
FROM {input} JOIN attempts a ON a.id = input.attempt
WHERE a.failure = 'opted_out' AND length(a.address) > 0 AND NOT EXISTS (
    SELECT 1 FROM address_consents c
    WHERE c.address_index = a.address_index AND c.channel = a.channel AND c.purpose IS NULL AND NOT c.granted
      AND NOT EXISTS (SELECT 1 FROM address_consents g WHERE g.address_index = c.address_index
          AND g.channel = c.channel AND g.granted AND g.at > c.at))
ORDER BY a.id";

const HISTORY: &str = "
SELECT f.address_index, f.channel, f.failure, f.code, f.at
FROM {input} JOIN contact_faults f ON f.address_index = input.address_index";

/// A failure that blames its address.
struct Blamed {
    facts: MessageFacts,
    attempt: Uuid,
    index: Vec<u8>,
    channel: Channel,
    failure: Failure,
    code: Option<String>,
    address: Phi,
    recipient: Recipient,
}

/// Failures by address and channel.
type History = HashMap<(Vec<u8>, Channel), Vec<(Sign, Timestamp)>>;

impl<E: Engine> Ledger<E> {
    /// Keeps those of these failures that stand, each once.
    pub(super) async fn keep_faults(tx: &mut E::Tx, failed: &[&Settlement]) -> Result<()> {
        if failed.is_empty() {
            return Ok(());
        }
        E::run(
            tx,
            "INSERT INTO contact_faults (attempt_id, address_index, channel, failure, code, at)
             SELECT a.id, a.address_index, a.channel, a.failure, a.code, now()
             FROM {input} JOIN attempts a ON a.id = input.attempt
             WHERE a.status IN ('failed', 'undelivered') AND a.failure IS NOT NULL
             ON CONFLICT DO NOTHING",
            Args::none().batch(vec![ids("attempt", failed, |s| s.attempt.0)]),
        )
        .await?;
        Ok(())
    }

    /// A carrier refuses to carry anything to these addresses, for whoever is there has told it to stop. That is said to
    /// us as well: it goes on record once, and binds everybody behind the address.
    pub(super) async fn keep_stops(&self, tx: &mut E::Tx, refused: &[&Settlement]) -> Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        let batch = vec![ids("attempt", refused, |s| s.attempt.0)];
        let rows = E::run(tx, NEW_STOPS, Args::none().batch(batch)).await?;
        let mut stops: Vec<AddressConsent> = Vec::new();
        for row in &rows {
            let (address, channel) = (self.address_of(row, 5, 0)?, row.word(1, Channel::from_word)?);
            if stops.iter().any(|known| known.address == address && known.channel == channel) {
                continue;
            }
            let code = row.maybe_text(3)?.unwrap_or("none");
            stops.push(AddressConsent {
                channel,
                address,
                purpose: None,
                granted: false,
                at: row.time(4)?,
                source: ConsentSource::Patient,
                by: None,
                evidence: Some(format!("refused by {} with code {code}", row.text(2)?)),
            });
        }
        self.write_consents(tx, &stops).await.map(drop)
    }

    /// Something arrived where these attempts went: what failed there before proves nothing any more.
    pub(super) async fn forget_faults(tx: &mut E::Tx, arrived: Vec<Uuid>) -> Result<()> {
        if arrived.is_empty() {
            return Ok(());
        }
        E::run(
            tx,
            "DELETE FROM contact_faults WHERE EXISTS (SELECT 1 FROM attempts a WHERE a.id = ANY($1)
                 AND a.address_index = contact_faults.address_index AND a.channel = contact_faults.channel)",
            args![arrived],
        )
        .await?;
        Ok(())
    }

    /// Judges what failed since the last round, and forgets what is too old to matter. Answers how many contacts were
    /// given up.
    pub(super) async fn judge_faults(&self, limit: u32) -> Result<u32> {
        let mut tx = self.engine.begin().await?;
        let rows = E::run(&mut tx, NEW, args![i64::from(limit)]).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let blamed = rows.iter().map(|row| self.blamed(row)).collect::<Result<Vec<Blamed>>>()?;
        let now = Self::now(&mut tx).await?;
        let history = Self::history(&mut tx, &blamed).await?;
        let mut given_up = 0;
        for one in &blamed {
            let failures = history.get(&(one.index.clone(), one.channel)).map_or(&[][..], Vec::as_slice);
            if health::is_bad(failures, now) {
                given_up += u32::from(self.give_up(&mut tx, one, now).await?);
            }
        }
        let judged: Vec<Uuid> = blamed.iter().map(|one| one.attempt).collect();
        E::run(
            &mut tx,
            "UPDATE contact_faults SET judged_at = now() WHERE attempt_id = ANY($1)",
            args![judged],
        )
        .await?;
        let old = "DELETE FROM contact_faults WHERE at < now() - $1 * {us}";
        E::run(&mut tx, old, args![micros(health::MEMORY)]).await?;
        E::commit(tx).await?;
        Ok(given_up)
    }

    fn blamed(&self, row: &E::Row) -> Result<Blamed> {
        Ok(Blamed {
            facts: facts(row)?,
            attempt: row.id(14)?,
            index: row.bytes(15)?.to_vec(),
            channel: row.word(16, Channel::from_word)?,
            failure: row.word(17, Failure::from_word)?,
            code: row.maybe_text(18)?.map(str::to_owned),
            address: self.address_of(row, 14, 19)?,
            recipient: row.word(20, Recipient::from_word)?,
        })
    }

    /// The address that stands in a column, of the attempt whose id stands in another.
    pub(super) fn address_of(&self, row: &E::Row, attempt: usize, column: usize) -> Result<Phi> {
        self.sealer.open_text(Sealed::AttemptAddress.of(row.id(attempt)?), row.bytes(column)?)
    }

    async fn history(tx: &mut E::Tx, blamed: &[Blamed]) -> Result<History> {
        let mut indexes: Vec<&Vec<u8>> = blamed.iter().map(|one| &one.index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let columns = vec![bytes("address_index", &indexes, |index| index.to_vec())];
        let mut history = History::new();
        for row in &E::run(tx, HISTORY, Args::none().batch(columns)).await? {
            let failure = row.word(2, Failure::from_word)?;
            if let Some(sign) = health::sign(failure, row.maybe_text(3)?) {
                let key = (row.bytes(0)?.to_vec(), row.word(1, Channel::from_word)?);
                history.entry(key).or_default().push((sign, row.time(4)?));
            }
        }
        Ok(history)
    }

    /// Marks the contact in the record that holds it, the patient's or their proxy's; keeps and tells the change. False:
    /// it is marked already, or has gone from the record.
    async fn give_up(&self, tx: &mut E::Tx, one: &Blamed, now: Timestamp) -> Result<bool> {
        let code = one.code.as_deref().unwrap_or("none");
        let evidence = format!("{}, code {code}, message {}", one.failure, one.facts.id);
        let spoilt = self.spoilt(tx, one, now).await?;
        let is_nobodys = spoilt.is_none() && Self::is_nobodys(tx, one).await?;
        match spoilt {
            Some(spoilt) => {
                let id = spoilt.id.clone();
                self.write_patients(tx, vec![spoilt]).await?;
                let what = format!("contact {} {}", one.channel, ContactStatus::Bad);
                Self::keep_changes(tx, &id, JUDGE, &[what], &evidence).await?;
            }
            // It came with the job: no record holds it.
            None if is_nobodys => {
                let how = (ContactStatus::Bad, evidence.as_str());
                if !self.mark_address(tx, &one.address, &[one.channel], how).await? {
                    return Ok(false);
                }
            }
            None => return Ok(false),
        }
        let seq = Self::next_seq(tx, one.facts.id).await?;
        let why = (one.channel, one.failure.reason());
        let event = Emitter::contact(&one.facts, ContactStatus::Bad, why, now);
        self.insert_events(tx, &[Numbered { message: Some(one.facts.id), seq, event }]).await?;
        Ok(true)
    }

    /// Whether the patient is not in the directory, and nobody who is stands behind the address.
    async fn is_nobodys(tx: &mut E::Tx, one: &Blamed) -> Result<bool> {
        let index = [&one.index];
        let rows = E::run(
            tx,
            "SELECT 1 FROM {input}
             WHERE EXISTS (SELECT 1 FROM patient_addresses pa WHERE pa.address_index = input.address_index)
                OR EXISTS (SELECT 1 FROM patients p WHERE p.id = $1)",
            args![one.facts.patient_id.as_str()]
                .batch(vec![bytes("address_index", &index, |index| index.to_vec())]),
        )
        .await?;
        Ok(rows.is_empty())
    }

    /// The record as it shall stand, where it has such a contact and holds it for good.
    async fn spoilt(&self, tx: &mut E::Tx, one: &Blamed, now: Timestamp) -> Result<Option<Patient>> {
        let mut ids: Vec<PatientId> = vec![one.facts.patient_id.clone()];
        let stored = self.lock_patients(tx, &ids).await?;
        let patient = stored.patients.get(&stored.resolve(&one.facts.patient_id));
        if let Some(spoilt) =
            patient.and_then(|patient| spoil(patient, one.channel, &one.address, (ContactStatus::Bad, now)))
        {
            return Ok(Some(spoilt));
        }
        if one.recipient == Recipient::Patient {
            return Ok(None);
        }
        ids =
            patient.into_iter().flat_map(|patient| &patient.proxies).filter_map(proxy_id).cloned().collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let stored = self.lock_patients(tx, &ids).await?;
        Ok(stored
            .patients
            .values()
            .find_map(|proxy| spoil(proxy, one.channel, &one.address, (ContactStatus::Bad, now))))
    }
}

pub(super) fn proxy_id(proxy: &crate::domain::patient::Proxy) -> Option<&PatientId> {
    match &proxy.person {
        ProxyPerson::Patient(id) => Some(id),
        ProxyPerson::Person(_) => None,
    }
}

/// The patient with that contact marked so, be it their own or that of a proxy who is no patient; `None` where nothing
/// changes.
pub(super) fn spoil(
    patient: &Patient,
    channel: Channel,
    address: &Phi,
    (status, now): (ContactStatus, Timestamp),
) -> Option<Patient> {
    let mut patient = patient.clone();
    let mut changed = false;
    let stands = |c: &Contact| {
        c.status == ContactStatus::Ok || (c.status == ContactStatus::Bad && status == ContactStatus::Wrong)
    };
    let is_it = |c: &&mut Contact| c.channel == channel && c.address == *address && stands(c);
    for contact in patient.every_contact_mut().filter(is_it) {
        (contact.status, contact.status_at) = (status, Some(now));
        changed = true;
    }
    changed.then_some(patient)
}
