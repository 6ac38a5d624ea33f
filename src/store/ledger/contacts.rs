//! The health of contacts: what failed because of its address is kept, judged once, and where it proves enough the
//! contact is marked and its sender told, in the record that holds it or, where the job brought it, by its address.
//! Failures are written with the results that they are; the judgement comes a moment later in a transaction of its own, so
//! that receipts and sends never wait for a patient's record.

use std::collections::HashMap;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Ledger, Numbered};
use crate::domain::failure::Failure;
use crate::domain::ids::PatientId;
use crate::domain::patient::{ConsentSource, Contact, Patient, ProxyPerson};
use crate::domain::phi::Phi;
use crate::domain::words::{Channel, ContactStatus, Recipient};
use crate::policy::health::{self, Keeping, Sign};
use crate::store::columns::{Columns, facts};
use crate::store::emit::Emitter;
use crate::store::engine::{Args, Engine, args, bytes, ids, micros};
use crate::store::rows::{AddressConsent, MessageFacts, Settlement};
use crate::store::sealed::Sealed;
use crate::store::{Contacts, Result, StoreError, words};

/// Who marks a contact, as the history of changes has it.
const JUDGE: &str = "outreachd";

/// What was not judged yet.
const NEW: &str = concat!(
    "SELECT ",
    words::facts!("x."),
    ", m.attempt_id, m.address_index, m.channel, m.failure, m.code, a.address, a.recipient, x.body FROM contact_faults m ",
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
    index: Vec<u8>,
    channel: Channel,
    failure: Failure,
    code: Option<String>,
    address: Phi,
    recipient: Recipient,
    /// Its job brought the contact along.
    brought: bool,
}

impl Blamed {
    /// How its contact stands in this record; where that has it twice, the better one.
    fn in_record(&self, patient: &Patient) -> Option<ContactStatus> {
        patient.every_contact().filter(|contact| self.is(contact)).map(|contact| contact.status).min()
    }

    fn is(&self, contact: &Contact) -> bool {
        contact.channel == self.channel && contact.address.is_same_address(&self.address)
    }
}

/// Failures by address and channel.
type History = HashMap<(Vec<u8>, Channel), Vec<(Sign, Timestamp)>>;

#[async_trait]
impl<E: Engine> Contacts for Ledger<E> {
    /// Judges what failed since the last round, and forgets what is too old to matter. Answers how many contacts were
    /// given up.
    async fn judge_contacts(&self, limit: u32) -> Result<u32> {
        let mut tx = self.engine.begin().await?;
        let rows = E::run(&mut tx, NEW, args![i64::from(limit)]).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let judged = rows.iter().map(|row| row.id(14)).collect::<Result<Vec<Uuid>>>()?;
        let blamed: Vec<Blamed> =
            rows.iter().zip(&judged).filter_map(|(row, of)| self.judgeable(row, *of)).collect();
        let now = Self::now(&mut tx).await?;
        let history = Self::history(&mut tx, &blamed).await?;
        let mut given_up = 0;
        for one in &blamed {
            let failures = history.get(&(one.index.clone(), one.channel)).map_or(&[][..], Vec::as_slice);
            if health::is_bad(failures, now) {
                given_up += u32::from(self.give_up(&mut tx, one, now).await?);
            }
        }
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
}

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
    /// us as well: it goes on record once, and binds everybody behind the address. One whose address cannot be read keeps
    /// no other from that, and no result from being written.
    pub(super) async fn keep_stops(&self, tx: &mut E::Tx, refused: &[&Settlement]) -> Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        let batch = vec![ids("attempt", refused, |s| s.attempt.0)];
        let rows = E::run(tx, NEW_STOPS, Args::none().batch(batch)).await?;
        let mut stops: Vec<AddressConsent> = Vec::new();
        for row in &rows {
            let (attempt, channel) = (row.id(5)?, row.word(1, Channel::from_word)?);
            let unread = |error: &StoreError| {
                tracing::error!(%attempt, %error, "an address that is to be stopped cannot be read; the stop is not on record");
            };
            let Ok(address) = self.address_of(row, 5, 0).inspect_err(unread) else { continue };
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

    /// What can be read of a failure. One that cannot proves nothing, and keeps no other from being judged.
    fn judgeable(&self, row: &E::Row, attempt: Uuid) -> Option<Blamed> {
        let unread = |error: &StoreError| tracing::error!(%attempt, %error, "what failed cannot be read, and is not judged");
        self.blamed(row).inspect_err(unread).ok()
    }

    fn blamed(&self, row: &E::Row) -> Result<Blamed> {
        let mut blamed = Blamed {
            facts: facts(row)?,
            index: row.bytes(15)?.to_vec(),
            channel: row.word(16, Channel::from_word)?,
            failure: row.word(17, Failure::from_word)?,
            code: row.maybe_text(18)?.map(str::to_owned),
            address: self.address_of(row, 14, 19)?,
            recipient: row.word(20, Recipient::from_word)?,
            brought: false,
        };
        let snapshot = self.job_body(row, 21)?.patient;
        blamed.brought = snapshot.is_some_and(|patient| blamed.in_record(&patient).is_some());
        Ok(blamed)
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

    /// Marks the contact where it stands, the patient's or their proxy's; keeps and tells the change. False: it is marked
    /// already, or has gone from the record, or that cannot be read.
    async fn give_up(&self, tx: &mut E::Tx, one: &Blamed, now: Timestamp) -> Result<bool> {
        let code = one.code.as_deref().unwrap_or("none");
        let evidence = format!("{}, code {code}, message {}", one.failure, one.facts.id);
        let records = match self.records(tx, one).await {
            Err(StoreError::Data(_)) => return Ok(false),
            read => read?,
        };
        let holder = records.iter().filter_map(|patient| Some((patient, one.in_record(patient)?)));
        let holder = holder.min_by_key(|(_, status)| *status);
        match health::keeping(ContactStatus::Bad, holder.map(|(_, status)| status), one.brought) {
            Some(Keeping::Record) => {
                let how = (ContactStatus::Bad, now);
                let spoilt = holder.and_then(|(patient, _)| spoil(patient, one.channel, &one.address, how));
                let Some(spoilt) = spoilt else { return Ok(false) };
                let id = spoilt.id.clone();
                self.write_patients(tx, vec![spoilt]).await?;
                let what = format!("contact {} {}", one.channel, ContactStatus::Bad);
                Self::keep_changes(tx, &id, JUDGE, &[what], &evidence).await?;
            }
            Some(Keeping::Address) => {
                let how = (ContactStatus::Bad, evidence.as_str());
                if !self.mark_address(tx, &one.address, &[one.channel], how).await? {
                    return Ok(false);
                }
            }
            None => return Ok(false),
        }
        let seq = Self::next_seq(tx, one.facts.id).await?;
        let (how, whose) = ((ContactStatus::Bad, one.failure.reason()), (one.channel, one.recipient));
        let event = Emitter::contact(&one.facts, how, whose, now);
        self.insert_events(tx, &[Numbered { message: Some(one.facts.id), seq, event }]).await?;
        Ok(true)
    }

    /// The records that may hold the contact, locked: the patient's, and where a proxy reads for them, those of the patients
    /// among their proxies.
    async fn records(&self, tx: &mut E::Tx, one: &Blamed) -> Result<Vec<Patient>> {
        let mut stored = self.lock_patients(tx, std::slice::from_ref(&one.facts.patient_id)).await?;
        let id = stored.resolve(&one.facts.patient_id);
        let mut records: Vec<Patient> = stored.patients.remove(&id).into_iter().collect();
        let proxies = records.iter().flat_map(|patient| &patient.proxies).filter_map(proxy_id);
        let proxies: Vec<PatientId> = proxies.cloned().collect();
        if one.recipient == Recipient::Proxy && !proxies.is_empty() {
            records.extend(self.lock_patients(tx, &proxies).await?.patients.into_values());
        }
        Ok(records)
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
    let is_it = |c: &&mut Contact| {
        c.channel == channel && c.address.is_same_address(address) && health::is_news(status, c.status)
    };
    for contact in patient.every_contact_mut().filter(is_it) {
        (contact.status, contact.status_at) = (status, Some(now));
        changed = true;
    }
    changed.then_some(patient)
}
