//! What decisions rest on, and which revision a decision rests on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::contacts::proxy_id;
use super::{Ledger, subjects_column};
use crate::domain::failure::Failure;
use crate::domain::ids::{PatientId, ProviderName};
use crate::domain::outbound::Route;
use crate::domain::patient::{Consent, ConsentSource, Patient, ProxyPerson};
use crate::domain::phi::Phi;
use crate::domain::status::AttemptStatus;
use crate::domain::words::{Channel, Purpose, Reason};
use crate::policy::question::Behind;
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args, bytes, ints, micros, texts};
use crate::store::rows::{AddressState, Directory, DirectoryEntry, PatientState, Subject};
use crate::store::sealed::Sealed;
use crate::store::sealer::subject_of;
use crate::store::{PatientDirectory, Result, StoreError};

/// So often a provider may let the time of what it has taken run out before it sends it.
const MOST_UNSENT: usize = 3;

/// Patients with their revision; those whom somebody behind an address has spoken for are marked.
const PATIENTS: &str = "
SELECT input.subject, COALESCE(p.alias_of, p.id, input.subject), COALESCE(target.document, p.document),
    COALESCE(s.revision, 0), now(),
    EXISTS (SELECT 1 FROM patient_addresses pa JOIN address_consents c ON c.address_index = pa.address_index
            WHERE pa.patient_id = COALESCE(p.alias_of, p.id)),
    EXISTS (SELECT 1 FROM holds WHERE released_at IS NULL AND (until IS NULL OR until > now())), s.recent_sends,
    COALESCE(target.id, p.id)
FROM {input}
LEFT JOIN patients p ON p.id = input.subject
LEFT JOIN patients target ON target.id = p.alias_of
LEFT JOIN patient_state s ON s.subject = COALESCE(p.alias_of, p.id, input.subject)";

#[async_trait]
impl<E: Engine> PatientDirectory for Ledger<E> {
    async fn directory(&self, subjects: &[Subject]) -> Result<Directory> {
        let ids: BTreeSet<&str> = subjects.iter().map(|s| s.patient.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        if ids.is_empty() {
            let holds = self.active_holds().await?;
            return Ok(Directory { entries: Vec::new(), holds, now: self.clock().await? });
        }
        self.make_inline_states(subjects).await?;
        // Revisions are read before what was said: a word that comes in between raises a revision that is compared
        // later, so that nothing is sent on what was read here.
        let states = self.address_revisions(subjects).await?;
        let (mut found, head) = self.people(&ids).await?;
        let (now, held) = head.ok_or_else(|| StoreError::Internal("no directory".to_owned()))?;
        let theirs: BTreeSet<String> = found.values().flat_map(Person::proxies).collect();
        let theirs: Vec<&str> =
            theirs.iter().map(String::as_str).filter(|id| !found.contains_key(*id)).collect();
        if !theirs.is_empty() {
            let (more, _) = self.people(&theirs).await?;
            found.extend(more);
        }
        let mut spoken_at: Vec<Phi> =
            subjects.iter().flat_map(|s| s.inline_addresses.iter().cloned()).collect();
        spoken_at.extend(found.values().filter(|p| p.spoken_for).flat_map(Person::addresses).cloned());
        let said = self.said_at(&spoken_at).await?;
        let known = found.values().flat_map(Person::addresses);
        let inline = subjects.iter().flat_map(|s| &s.inline_addresses);
        let addresses = self.address_states(known.chain(inline).collect()).await?;
        let spoilt = self.statuses(subjects).await?;
        let tries = self.tries(subjects).await?;
        let reserved = self.reserved(subjects).await?;
        let holds = if held { self.active_holds().await? } else { Vec::new() };
        let entry = |subject: &Subject| {
            let person = found.get(subject.patient.as_str());
            let proxies: Vec<Option<&Person>> = person.map_or_else(Vec::new, |p| {
                p.proxy_ids().map(|id| id.and_then(|id| found.get(id.as_str()))).collect()
            });
            let everybody = || person.into_iter().chain(proxies.iter().copied().flatten());
            let all: BTreeSet<&Phi> =
                everybody().flat_map(Person::addresses).chain(&subject.inline_addresses).collect();
            let known: Vec<AddressState> = all.iter().filter_map(|a| addresses.get(*a)).cloned().collect();
            let tries = tries.get(&subject.message.0).map_or(&[] as &[_], Vec::as_slice);
            let given_up = || closed_ways(tries, subject.step);
            DirectoryEntry {
                unread: everybody().any(|p| p.unread)
                    || known.iter().any(|state| state.unread)
                    || given_up().any(|one| one.route.is_none()),
                state: self.state(subject, person, &proxies, &states),
                address_consents: all.iter().filter_map(|a| said.get(*a)).flatten().cloned().collect(),
                patient: person.and_then(|p| p.patient.clone()),
                recent: std::iter::once(person)
                    .chain(proxies.iter().copied())
                    .map(|p| p.and_then(|p| p.recent.clone()))
                    .collect(),
                proxies: proxies.iter().map(|p| p.and_then(|p| p.patient.clone())).collect(),
                tried: given_up().filter_map(|one| Some((one.route.clone()?, one.reason))).collect(),
                last: tries.last().map(|one| (one.channel, one.provider.clone())),
                addresses: known,
                spoilt: subject
                    .inline_addresses
                    .iter()
                    .filter_map(|a| spoilt.get(a))
                    .flatten()
                    .cloned()
                    .collect(),
                reserved: reserved.get(subject.patient.as_str()).copied().unwrap_or_default(),
            }
        };
        Ok(Directory { entries: subjects.iter().map(entry).collect(), holds, now })
    }

    async fn patient(&self, id: &PatientId) -> Result<Option<Patient>> {
        let rows = self
            .engine
            .read(
                "SELECT COALESCE(t.document, p.document), COALESCE(t.id, p.id) FROM patients p LEFT JOIN patients t ON t.id = p.alias_of WHERE p.id = $1",
                args![id.as_str()],
            )
            .await?;
        rows.first().map(|row| self.document(row, 1, 0)).transpose()
    }

    async fn patients_after(&self, after: Option<&PatientId>, limit: u32) -> Result<Vec<Patient>> {
        let rows = self
            .engine
            .read(
                "SELECT document, id FROM patients WHERE id > $1 AND alias_of IS NULL ORDER BY id LIMIT $2",
                args![after.map_or("", PatientId::as_str), i64::from(limit)],
            )
            .await?;
        rows.iter().map(|row| self.document(row, 1, 0)).collect()
    }
}

impl<E: Engine> Ledger<E> {
    /// Patients by the ids that were asked for; the clock, and whether any hold is in force.
    async fn people(&self, ids: &[&str]) -> Result<(HashMap<String, Person>, Option<(Timestamp, bool)>)> {
        let rows = self.engine.read(PATIENTS, Args::none().batch(vec![subjects_column(ids)])).await?;
        let head = rows.first().map(|row| Ok::<_, StoreError>((row.time(4)?, row.flag(6)?))).transpose()?;
        let people = rows.iter().map(|row| Ok((row.text(0)?.to_owned(), self.person(row)?)));
        Ok((people.collect::<Result<_>>()?, head))
    }

    /// What `begin` will compare: the patient's own row, one for each proxy, and one for each address of a snapshot.
    fn state(
        &self,
        subject: &Subject,
        person: Option<&Person>,
        proxies: &[Option<&Person>],
        addresses: &HashMap<String, i64>,
    ) -> PatientState {
        let own = person.map_or_else(|| subject.patient.as_str().to_owned(), |p| p.subject.clone());
        let inline: BTreeSet<String> =
            subject.inline_addresses.iter().map(|a| self.sealer.address_subject(a)).collect();
        let stand_in: HashMap<&str, i64> = proxies
            .iter()
            .flatten()
            .map(|p| (p.subject.as_str(), p.revision))
            .filter(|(s, _)| *s != own)
            .collect();
        let revision = person.map_or(0, |p| p.revision)
            + inline.iter().filter_map(|a| addresses.get(a)).sum::<i64>()
            + stand_in.values().sum::<i64>();
        let others = stand_in.into_keys().map(str::to_owned).chain(inline);
        PatientState { subjects: std::iter::once(own).chain(others).collect(), revision }
    }

    fn person(&self, row: &E::Row) -> Result<Person> {
        let patient = readable(self.maybe_document(row, 8, 2));
        Ok(Person {
            subject: row.text(1)?.to_owned(),
            unread: patient.is_none(),
            patient: patient.flatten().map(Arc::new),
            revision: row.int(3)?,
            spoken_for: row.flag(5)?,
            recent: row.maybe_text(7)?.map(str::to_owned),
        })
    }

    /// The record that stands in a column, of the patient whose id stands in another.
    pub(super) fn document(&self, row: &E::Row, id: usize, column: usize) -> Result<Patient> {
        let place = Sealed::PatientDocument.of(row.text(id)?);
        serde_json::from_slice(&self.sealer.open(place, row.bytes(column)?)?)
            .map_err(|_| StoreError::Internal("a stored patient does not fit".to_owned()))
    }

    /// The same where there may be none.
    pub(super) fn maybe_document(&self, row: &E::Row, id: usize, column: usize) -> Result<Option<Patient>> {
        row.maybe_bytes(column)?.map(|_| self.document(row, id, column)).transpose()
    }

    /// What was said at these addresses, by address. A word is heeded whether or not what supports it can be read.
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
                "SELECT c.address_index, c.channel, c.purpose, c.granted, c.at, c.source, c.recorded_by, c.evidence, c.id
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
                evidence: readable(self.evidence(row, 8, 7)).flatten(),
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

    /// What supports a word said at an address.
    fn evidence(&self, row: &E::Row, id: usize, column: usize) -> Result<Option<String>> {
        let Some(stored) = row.maybe_text(column)? else { return Ok(None) };
        self.sealer.read(Sealed::ConsentEvidence.of(row.id(id)?), stored).map(Some)
    }

    /// A snapshot's patient and addresses may be new to the ledger; the caps count on rows of theirs all the same.
    async fn make_inline_states(&self, subjects: &[Subject]) -> Result<()> {
        let inline: Vec<&Subject> = subjects.iter().filter(|s| !s.inline_addresses.is_empty()).collect();
        if inline.is_empty() {
            return Ok(());
        }
        let addresses =
            inline.iter().flat_map(|s| &s.inline_addresses).map(|a| self.sealer.address_subject(a));
        let people = inline.iter().map(|s| s.patient.as_str().to_owned());
        let rows: BTreeSet<String> = addresses.chain(people).collect();
        let mut tx = self.engine.begin().await?;
        Self::make_states(&mut tx, rows.iter().map(String::as_str).collect()).await?;
        E::commit(tx).await
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

    /// Who else stands behind these addresses, and what was sent to them.
    async fn address_states(&self, addresses: BTreeSet<&Phi>) -> Result<HashMap<Phi, AddressState>> {
        if addresses.is_empty() {
            return Ok(HashMap::new());
        }
        let indexed = |address| {
            let index = self.sealer.index(address);
            let subject = subject_of(&index);
            (address, index, subject)
        };
        let asked: Vec<(&Phi, Vec<u8>, String)> = addresses.into_iter().map(indexed).collect();
        let places: Vec<usize> = (0..asked.len()).collect();
        let batch = vec![
            ints("place", &places, |n| i64::try_from(*n).unwrap_or(i64::MAX)),
            bytes("address_index", &asked, |(_, index, _)| index.clone()),
            texts("subject", &asked, |(_, _, subject)| subject),
        ];
        let rows = self.engine.read(ADDRESSES, Args::none().batch(batch)).await?;
        let places = rows.iter().map(|row| row.count(0)).collect::<Result<Vec<usize>>>()?;
        let several: Vec<(usize, &[u8])> = rows
            .iter()
            .zip(&places)
            .filter(|(row, _)| row.int(1).is_ok_and(|few| few > 1))
            .filter_map(|(_, place)| Some((*place, asked.get(*place)?.1.as_slice())))
            .collect();
        let mut behind = self.who_stands_behind(&several).await?;
        let mut states = HashMap::with_capacity(rows.len());
        for (row, place) in rows.iter().zip(places) {
            let Some((address, _, subject)) = asked.get(place) else { continue };
            let behind = behind.remove(&place).unwrap_or_default();
            let state = AddressState {
                address: (*address).clone(),
                subject: subject.clone(),
                shared: row.int(1)? > 1,
                of_several: row.int(2)? > 1,
                unread: behind.iter().any(Option::is_none),
                behind: behind.into_iter().flatten().collect(),
                recent: row.maybe_text(3)?.map(str::to_owned),
            };
            states.insert((*address).clone(), state);
        }
        Ok(states)
    }

    /// Who stands behind addresses of several people, by place; of an address of more than a family nobody is named.
    /// `None`: somebody whose record cannot be read.
    async fn who_stands_behind(
        &self,
        several: &[(usize, &[u8])],
    ) -> Result<HashMap<usize, Vec<Option<Behind>>>> {
        if several.is_empty() {
            return Ok(HashMap::new());
        }
        let batch = vec![
            ints("place", several, |(place, _)| i64::try_from(*place).unwrap_or(i64::MAX)),
            bytes("address_index", several, |(_, index)| index.to_vec()),
        ];
        let args = args![i64::try_from(FAMILY).unwrap_or(i64::MAX).saturating_add(1)].batch(batch);
        let rows = self.engine.read(BEHIND, args).await?;
        let mut people: HashMap<&str, Option<Patient>> = HashMap::new();
        for row in &rows {
            people.entry(row.text(2)?).or_insert_with(|| readable(self.document(row, 2, 3)));
        }
        self.name_proxies_anew(people.values_mut().flatten().collect()).await?;
        let people: HashMap<&str, Option<Arc<Patient>>> =
            people.into_iter().map(|(id, patient)| (id, patient.map(Arc::new))).collect();
        let mut behind: HashMap<usize, Vec<Option<Behind>>> = HashMap::new();
        for row in &rows {
            let own = row.flag(1)?;
            let patient = people.get(row.text(2)?).cloned().flatten();
            let one = patient.map(|patient| Behind { patient, own });
            behind.entry(row.count(0)?).or_default().push(one);
        }
        behind.retain(|_, all| all.len() <= FAMILY);
        Ok(behind)
    }

    /// Whoever stands in for these, and was merged into another record, goes by the name of that one.
    async fn name_proxies_anew(&self, people: Vec<&mut Patient>) -> Result<()> {
        let named = people.iter().flat_map(|patient| &patient.proxies).filter_map(proxy_id);
        let named: BTreeSet<&str> = named.map(PatientId::as_str).collect();
        if named.is_empty() {
            return Ok(());
        }
        let former = "SELECT id, alias_of FROM patients WHERE id = ANY($1) AND alias_of IS NOT NULL";
        let rows = self.engine.read(former, args![named.into_iter().collect::<Vec<_>>()]).await?;
        let mut kept = HashMap::with_capacity(rows.len());
        for row in &rows {
            kept.insert(row.word(0, PatientId::parse)?, row.word(1, PatientId::parse)?);
        }
        for proxy in people.into_iter().flat_map(|patient| &mut patient.proxies) {
            if let ProxyPerson::Patient(id) = &mut proxy.person
                && let Some(now) = kept.get(id)
            {
                id.clone_from(now);
            }
        }
        Ok(())
    }

    /// How many messages about visits and care are due within a day, for the patients of those that yield: what nobody
    /// waits for takes no place of theirs.
    async fn reserved(&self, subjects: &[Subject]) -> Result<HashMap<String, u32>> {
        let yielding: BTreeSet<&str> =
            subjects.iter().filter(|s| s.yields).map(|s| s.patient.as_str()).collect();
        if yielding.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self
            .engine
            .read(
                "SELECT patient_id, count(*) FROM messages
                 WHERE patient_id = ANY($1) AND priority < 2 AND purpose IN ('appointment', 'care')
                   AND status IN ('accepted', 'scheduled', 'held') AND copy_of IS NULL AND due_at < now() + $2 * {us}
                 GROUP BY patient_id",
                args![yielding.into_iter().collect::<Vec<_>>(), micros(SignedDuration::from_hours(24))],
            )
            .await?;
        rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.count::<u32>(1)?))).collect()
    }

    /// The last attempt of each step, in their order.
    async fn tries(&self, subjects: &[Subject]) -> Result<HashMap<Uuid, Vec<Tried>>> {
        let ids: Vec<Uuid> = subjects.iter().filter(|s| s.tried).map(|s| s.message.0).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self
            .engine
            .read(
                "SELECT a.message_id, a.channel, a.address, a.failure, a.status, a.id, a.step, a.provider
                 FROM attempts a
                 WHERE a.message_id = ANY($1)
                   AND a.number = (SELECT max(n.number) FROM attempts n WHERE n.message_id = a.message_id AND n.step = a.step)
                 ORDER BY a.message_id, a.step, a.begun_at",
                args![ids],
            )
            .await?;
        let mut tries: HashMap<Uuid, Vec<Tried>> = HashMap::new();
        for row in &rows {
            let channel = row.word(1, Channel::from_word)?;
            let address = readable(self.address_of(row, 5, 2));
            let failure = row.maybe_word(3, Failure::from_word)?;
            let status = row.word(4, AttemptStatus::from_word)?;
            let reason = match status {
                // What got through is waited for no longer.
                AttemptStatus::Sent | AttemptStatus::Delivered | AttemptStatus::Read => Reason::PlanExhausted,
                _ => failure.map_or(Reason::ProviderUnavailable, Failure::reason),
            };
            tries.entry(row.id(0)?).or_default().push(Tried {
                step: row.count(6)?,
                channel,
                provider: row.word(7, ProviderName::parse)?,
                route: address.map(|address| Route { channel, address, extension: None }),
                reason,
                unsent: status == AttemptStatus::Undelivered && failure == Some(Failure::NotSent),
            });
        }
        Ok(tries)
    }
}

/// The last attempt of a step.
struct Tried {
    step: u16,
    channel: Channel,
    provider: ProviderName,
    /// `None`: its address cannot be read.
    route: Option<Route>,
    /// Why the step was given up, if it was.
    reason: Reason,
    /// The provider took it, and says that it never sent it.
    unsent: bool,
}

/// The tries before this step whose ways are closed. What a provider had taken and never sent did not go that way: it is
/// sent so again once all gates allow it, and given up when that came of it [`MOST_UNSENT`] times.
fn closed_ways(tries: &[Tried], step: u16) -> impl Iterator<Item = &Tried> {
    let is_closed = move |place: usize, one: &Tried| {
        let so_far = tries.iter().take(place + 1);
        !one.unsent || so_far.filter(|other| other.unsent && other.route == one.route).count() >= MOST_UNSENT
    };
    let tried = tries.iter().enumerate();
    tried.filter(move |(place, one)| one.step < step && is_closed(*place, one)).map(|(_, one)| one)
}

/// Rows of `patient_state` beside who stands behind an address: two are as good as many. Where there are not two, nobody
/// asks whose own it is.
const ADDRESSES: &str = "
WITH found AS MATERIALIZED (
    SELECT input.place, input.address_index, s.recent_sends, (SELECT count(*) FROM (
        SELECT 1 FROM patient_addresses pa WHERE pa.address_index = input.address_index LIMIT 2) two) AS few
    FROM {input} LEFT JOIN patient_state s ON s.subject = input.subject
)
SELECT place, few, CASE WHEN few > 1 THEN (SELECT count(*) FROM (
    SELECT 1 FROM patient_addresses pa WHERE pa.address_index = found.address_index AND pa.own LIMIT 2) owners)
    ELSE 0 END, recent_sends
FROM found";

/// Those who stand behind an address, as far as they are asked for.
const BEHIND: &str = "
SELECT input.place, pa.own, p.id, p.document FROM {input}
JOIN patient_addresses pa ON pa.address_index = input.address_index AND pa.patient_id IN (
    SELECT x.patient_id FROM patient_addresses x WHERE x.address_index = input.address_index ORDER BY x.patient_id LIMIT $1)
JOIN patients p ON p.id = pa.patient_id
ORDER BY input.place, p.id";

/// More patients behind one address are no family.
const FAMILY: usize = 8;

/// What could be opened and read. One row that cannot be keeps nobody from their messages whom it is not about.
fn readable<T>(read: Result<T>) -> Option<T> {
    read.inspect_err(|error| tracing::error!(%error, "a record cannot be read")).ok()
}

struct Person {
    /// The id after aliases.
    subject: String,
    patient: Option<Arc<Patient>>,
    /// There is a record, and it cannot be read.
    unread: bool,
    revision: i64,
    /// Somebody behind one of their addresses has spoken for them.
    spoken_for: bool,
    recent: Option<String>,
}

impl Person {
    /// The patients among their proxies, by place.
    fn proxy_ids(&self) -> impl Iterator<Item = Option<&PatientId>> {
        self.patient.iter().flat_map(|p| &p.proxies).map(|proxy| match &proxy.person {
            ProxyPerson::Patient(id) => Some(id),
            ProxyPerson::Person(_) => None,
        })
    }

    fn proxies(&self) -> impl Iterator<Item = String> {
        self.proxy_ids().flatten().map(|id| id.as_str().to_owned())
    }

    fn addresses(&self) -> impl Iterator<Item = &Phi> {
        self.patient.iter().flat_map(|patient| patient.addresses())
    }
}
