//! How what is known of a patient is joined with what comes in: which consent stands, which preference, which
//! field. Pure, and for consents indifferent to the order of arrival.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::patient::{
    Consent, ConsentSource, Contact, DirectoryField, Identifier, LEAVE_MESSAGE, Patient, Preference,
};
use super::phi::Phi;
use super::words::{Channel, ContactStatus, Purpose};

/// What an upsert came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// The patient to keep.
    pub patient: Patient,
    /// Whether it differs from what was stored.
    pub changed: bool,
    /// Whether the upsert was older than what is stored, or of a record that was merged into it: its directory fields were
    /// left aside, its consents and preferences, which have times of their own, were not.
    pub stale: bool,
}

/// Joins an upsert with what is stored.
///
/// Directory fields that the sender mentions are replaced, those it leaves out stay, and so do those that the patient
/// set later than the sender. Consents follow [`merge`];
/// preferences hold per purpose, the latest statement wins, at the same time an opt-out. Absent never deletes.
#[must_use]
pub fn merge_patient(stored: &Patient, incoming: Patient) -> Merged {
    let stale = matches!((incoming.updated_at, stored.updated_at), (Some(new), Some(old)) if new < old);
    let consents = merge(&stored.consents, incoming.consents.clone());
    let preferences = merge_preferences(&stored.preferences, &incoming.preferences);
    let mut patient = if stale { stored.clone() } else { replaced(stored, incoming) };
    patient.consents = consents;
    patient.preferences = preferences;
    let changed = patient != *stored;
    Merged { patient, changed, stale }
}

/// Joins what is stored with an upsert under the id of a record that was merged into it. Its sender keeps a record that is
/// no more, closed perhaps: what it says of wishes counts, as does that the patient has died or is not to be contacted, and
/// nothing else of it. An agreement that names no address speaks of the contacts of that record, which nobody can tell any
/// more: it agrees to nothing.
#[must_use]
pub fn merge_former(stored: &Patient, incoming: &Patient) -> Merged {
    let said = records(&incoming.consents)
        .filter(|consent| !consent.granted || consent.address.is_some())
        .map(|consent| Consent { shadow: None, ..consent.clone() })
        .collect();
    let patient = Patient {
        consents: merge(&stored.consents, said),
        preferences: merge_preferences(&stored.preferences, &incoming.preferences),
        deceased: stored.deceased || incoming.deceased,
        do_not_contact: stored.do_not_contact.clone().or_else(|| incoming.do_not_contact.clone()),
        ..stored.clone()
    };
    let changed = patient != *stored;
    Merged { patient, changed, stale: true }
}

/// The patient as one message sees them, when their job brought a snapshot. A snapshot may narrow, never widen:
/// what is stored about stopping, and all that says who may be reached and when, stands. Its name, language, site,
/// contacts and order of channels serve this message; its grants count for nothing once the patient is known, and until
/// then they are the sender's word: they lift nothing that a patient said at an address.
#[must_use]
pub fn narrow(stored: Option<&Patient>, inline: &Patient) -> Patient {
    let Some(stored) = stored else {
        let hearsay = |consent: &Consent| match consent.granted && is_strong(consent) {
            true => Consent { source: ConsentSource::Import, ..consent.clone() },
            false => consent.clone(),
        };
        return Patient { consents: inline.consents.iter().map(hearsay).collect(), ..inline.clone() };
    };
    let revocations = inline.consents.iter().filter(|consent| !consent.granted).cloned().collect();
    let mut preferences = stored.preferences.clone();
    for wish in &inline.preferences {
        match preferences.iter_mut().find(|known| known.purpose == wish.purpose) {
            Some(known) if wish.channels.is_empty() => known.channels.clear(),
            Some(_) => {}
            None => preferences.push(wish.clone()),
        }
    }
    let order = if inline.preferred_channels.is_empty() { stored } else { inline };
    Patient {
        name: inline.name.clone().or_else(|| stored.name.clone()),
        language: inline.language.clone().or_else(|| stored.language.clone()),
        site: inline.site.clone().or_else(|| stored.site.clone()),
        birth_date: stored.birth_date.or(inline.birth_date),
        timezone: stored.timezone.clone().or_else(|| inline.timezone.clone()),
        address: stored.address.clone().or_else(|| inline.address.clone()),
        active: stored.active && inline.active,
        deceased: stored.deceased || inline.deceased,
        do_not_contact: stored.do_not_contact.clone().or_else(|| inline.do_not_contact.clone()),
        pause_until: stored.pause_until.max(inline.pause_until),
        preferred_channels: order.preferred_channels.clone(),
        preferences,
        quiet_hours: stored.quiet_hours.or(inline.quiet_hours),
        contacts: narrow_contacts(&stored.contacts, &inline.contacts),
        consents: merge(&stored.consents, revocations),
        ..stored.clone()
    }
}

/// Joins consents: one record in force for each purpose, channel and address.
///
/// The latest `at` wins, at the same time the revocation. A revocation by the patient is lifted only by the
/// patient's own later grant, or by staff with evidence. The answer does not depend on the order of arrival: a
/// record that is not in force but may yet matter stays behind the other as its `shadow`.
#[must_use]
pub fn merge(stored: &[Consent], incoming: Vec<Consent>) -> Vec<Consent> {
    let mut joined: Vec<Standing<'_>> = Vec::new();
    for record in records(stored).chain(records(&incoming)) {
        let scope = Scope::of(record);
        match joined.iter_mut().find(|standing| standing.scope == scope) {
            Some(standing) => standing.add(record),
            None => joined.push(Standing::of(scope, record)),
        }
    }
    joined.sort_by(|a, b| a.scope.cmp(&b.scope));
    joined.iter().filter_map(Standing::in_force).collect()
}

/// What the records say of one send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'c> {
    /// Nobody said anything.
    Unsaid,
    /// There was a grant, and its time is over.
    Expired(&'c Consent),
    /// Granted by this record.
    Granted(&'c Consent),
    /// Revoked by this record, and nothing has lifted it.
    Revoked(&'c Consent),
}

/// What consents say of a message for `purpose` to `address` over `channel` at `now`.
///
/// A revocation stands until a later grant of the same scope or within it lifts it; a wider grant ("any channel")
/// does not lift a narrower revocation ("this number"). Who may lift what is as in [`merge`].
#[must_use]
pub fn answer<'c>(
    consents: &'c [Consent],
    purpose: Purpose,
    channel: Channel,
    address: &Phi,
    now: Timestamp,
) -> Answer<'c> {
    answer_of_both(consents, &[], (purpose, channel, address), now)
}

/// The same of what a patient has on record, and of what was said at their addresses by whoever stands behind these.
///
/// A word that is said at an address lifts what was said at that address: a START is no word about what one of those
/// behind the number has chosen on their page, or told the desk.
#[must_use]
pub fn answer_of_both<'c>(
    own: &'c [Consent],
    at_addresses: &'c [Consent],
    (purpose, channel, address): (Purpose, Channel, &Phi),
    now: Timestamp,
) -> Answer<'c> {
    let asked = Scope { purpose: Some(purpose), channel: Some(channel), address: Some(address) };
    let of =
        |consents: &'c [Consent], is_own: bool| covering(consents, asked).map(move |record| (record, is_own));
    let said: Vec<(&Consent, bool)> = of(own, true).chain(of(at_addresses, false)).collect();
    let stands = |(record, is_own): (&Consent, bool)| {
        let lifted = |&(grant, by_own): &(&Consent, bool)| {
            is_live(grant, now) && lifts(grant, record) && (by_own || !is_own)
        };
        !record.granted && !said.iter().any(lifted)
    };
    let latest = |fits: &dyn Fn((&Consent, bool)) -> bool| {
        let fitting = said.iter().copied().filter(|one| fits(*one));
        fitting.map(|(record, _)| record).max_by_key(|record| Rank::of(record))
    };
    if let Some(revocation) = latest(&stands) {
        return Answer::Revoked(revocation);
    }
    if let Some(grant) = latest(&|(record, _)| is_live(record, now)) {
        return Answer::Granted(grant);
    }
    latest(&|(record, _)| record.granted).map_or(Answer::Unsaid, Answer::Expired)
}

/// The first instant after `now` at which [`answer`] may be another though nobody says anything: a grant ends.
#[must_use]
pub fn ends_at(
    consents: &[Consent],
    purpose: Purpose,
    channel: Channel,
    address: &Phi,
    now: Timestamp,
) -> Option<Timestamp> {
    let asked = Scope { purpose: Some(purpose), channel: Some(channel), address: Some(address) };
    let grants = covering(consents, asked).filter(|record| record.granted);
    grants.filter_map(|record| record.expires_at).filter(|end| *end > now).min()
}

/// Consents, each followed by the one that stays behind it.
pub fn records(consents: &[Consent]) -> impl Iterator<Item = &Consent> {
    consents.iter().flat_map(|c| std::iter::once(c).chain(c.shadow.as_deref()))
}

/// The refusals that stand: no grant of the same record has lifted them.
pub fn refusals(consents: &[Consent], now: Timestamp) -> impl Iterator<Item = &Consent> {
    let is_lifted =
        move |refusal: &Consent| records(consents).any(|grant| is_live(grant, now) && lifts(grant, refusal));
    records(consents).filter(move |record| !record.granted && !is_lifted(record))
}

/// The records that bear on what is asked, with those behind them.
fn covering<'c, 'a>(
    consents: &'c [Consent],
    asked: Scope<'a>,
) -> impl Iterator<Item = &'c Consent> + use<'c, 'a> {
    records(consents).filter(move |record| Scope::of(record).covers(&asked))
}

/// What a record is about. `None` is every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scope<'c> {
    purpose: Option<Purpose>,
    channel: Option<Channel>,
    address: Option<&'c Phi>,
}

impl<'c> Scope<'c> {
    fn of(consent: &'c Consent) -> Self {
        Self { purpose: consent.purpose, channel: consent.channel, address: consent.address.as_ref() }
    }

    fn covers(&self, other: &Self) -> bool {
        let within = |wide: bool, same: bool| wide || same;
        within(self.purpose.is_none(), self.purpose == other.purpose)
            && within(self.channel.is_none(), self.channel == other.channel)
            && within(
                self.address.is_none(),
                self.address.zip(other.address).is_some_and(|(a, b)| a.is_same_address(b)),
            )
    }
}

/// The order of records of one scope: the later wins, at the same time the revocation; the rest only makes the
/// order total, so that two workers agree.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'c> {
    at: Timestamp,
    revokes: bool,
    source: ConsentSource,
    by: Option<&'c str>,
    evidence: Option<&'c str>,
    expires_at: Option<Timestamp>,
}

impl<'c> Rank<'c> {
    fn of(consent: &'c Consent) -> Self {
        Self {
            at: consent.at,
            revokes: !consent.granted,
            source: consent.source,
            by: consent.by.as_deref(),
            evidence: consent.evidence.as_deref(),
            expires_at: consent.expires_at,
        }
    }
}

/// The records of one scope that may matter: the latest of those that bear on a patient's own revocation (the
/// patient's, and grants by staff with evidence), and the latest of the others if it is later still.
struct Standing<'c> {
    scope: Scope<'c>,
    strong: Option<&'c Consent>,
    weak: Option<&'c Consent>,
}

impl<'c> Standing<'c> {
    fn of(scope: Scope<'c>, record: &'c Consent) -> Self {
        let mut standing = Self { scope, strong: None, weak: None };
        standing.add(record);
        standing
    }

    fn add(&mut self, record: &'c Consent) {
        let slot = if is_strong(record) { &mut self.strong } else { &mut self.weak };
        if slot.is_none_or(|kept| Rank::of(record) > Rank::of(kept)) {
            *slot = Some(record);
        }
        if let (Some(strong), Some(weak)) = (self.strong, self.weak)
            && (weak.at, !weak.granted) <= (strong.at, !strong.granted)
        {
            self.weak = None;
        }
    }

    fn in_force(&self) -> Option<Consent> {
        let (front, behind) = match (self.strong, self.weak) {
            (Some(strong), Some(weak)) if weak.granted && !strong.granted => (strong, Some(weak)),
            (strong, Some(weak)) => (weak, strong),
            (strong, None) => (strong?, None),
        };
        let alone = |record: &Consent| Consent { shadow: None, ..record.clone() };
        Some(Consent { shadow: behind.map(|record| Box::new(alone(record))), ..alone(front) })
    }
}

/// Whether the record bears on a revocation by the patient.
fn is_strong(record: &Consent) -> bool {
    match record.source {
        ConsentSource::Patient => true,
        ConsentSource::Staff => record.granted && record.evidence.is_some(),
        ConsentSource::Ehr | ConsentSource::Import => false,
    }
}

fn is_live(record: &Consent, now: Timestamp) -> bool {
    record.granted && record.expires_at.is_none_or(|end| end > now)
}

fn lifts(grant: &Consent, revocation: &Consent) -> bool {
    grant.at > revocation.at
        && Scope::of(revocation).covers(&Scope::of(grant))
        && (revocation.source != ConsentSource::Patient || is_strong(grant))
}

fn merge_preferences(stored: &[Preference], incoming: &[Preference]) -> Vec<Preference> {
    let mut joined = stored.to_vec();
    for new in incoming {
        match joined.iter_mut().find(|known| known.purpose == new.purpose) {
            Some(known) if supersedes(new, known) => *known = new.clone(),
            Some(_) => {}
            None => joined.push(new.clone()),
        }
    }
    joined.sort_by_key(|preference| preference.purpose);
    joined
}

/// A statement without a time is taken as made just now.
fn supersedes(new: &Preference, known: &Preference) -> bool {
    match (new.updated_at, known.updated_at) {
        (Some(new_at), Some(known_at)) if new_at == known_at => {
            new.channels.is_empty() || !known.channels.is_empty()
        }
        (Some(new_at), Some(known_at)) => new_at > known_at,
        (None, _) | (_, None) => true,
    }
}

/// The incoming record with the stored values of all that its sender did not mention.
fn replaced(stored: &Patient, incoming: Patient) -> Patient {
    let unsaid = incoming.unsaid;
    let mut patient = incoming;
    macro_rules! keep_unsaid {
        ($($field:ident: $bit:ident),+ $(,)?) => {
            $(if unsaid.has(DirectoryField::$bit) { patient.$field.clone_from(&stored.$field); })+
        };
    }
    keep_unsaid! {
        name: Name, birth_date: BirthDate, language: Language, timezone: Timezone, address: Address, site: Site,
        tags: Tags, identifiers: Identifiers, active: Active, deceased: Deceased, do_not_contact: DoNotContact,
        pause_until: PauseUntil, preferred_channels: PreferredChannels, quiet_hours: QuietHours,
        contacts: Contacts, proxies: Proxies,
    }
    // What the patient set after the sender's last change is newer than what the sender knows.
    macro_rules! keep_own_words {
        ($($field:ident: $bit:ident),+ $(,)?) => {
            $(if let Some(at) = stored.own_words.$field
                && (unsaid.has(DirectoryField::$bit) || patient.updated_at.is_none_or(|sent| sent < at))
            {
                patient.$field.clone_from(&stored.$field);
                patient.own_words.$field = Some(at);
            })+
        };
    }
    keep_own_words! { language: Language, preferred_channels: PreferredChannels, quiet_hours: QuietHours }
    if unsaid.has(DirectoryField::Rest) {
        keep_rest(stored, &mut patient);
    }
    if !unsaid.has(DirectoryField::Contacts) {
        let kept = stored.contacts.iter().filter(|c| unsaid.has(DirectoryField::contacts_of(c.channel)));
        patient.contacts.extend(kept.cloned());
    }
    keep_found_out(stored, &mut patient);
    date_new_contacts(stored, &mut patient);
    patient.updated_at = patient.updated_at.or(stored.updated_at);
    patient.unsaid = stored.unsaid;
    patient
}

/// Fills up what a sender of single values has said part of. A contact that nothing is to leave stays, though its channel
/// has another value now: who asked for that has not taken it back.
fn keep_rest(stored: &Patient, patient: &mut Patient) {
    if let (Some(name), Some(known)) = (&mut patient.name, &stored.name) {
        name.given = name.given.take().or_else(|| known.given.clone());
        name.family = name.family.take().or_else(|| known.family.clone());
    }
    if let (Some(address), Some(known)) = (&mut patient.address, &stored.address) {
        // A new postal code may lie in another state, and a new state has other codes.
        let other_code = address.postal_code.is_some() && address.postal_code != known.postal_code;
        let other_state = address.state.is_some() && address.state != known.state;
        address.postal_code =
            address.postal_code.take().or_else(|| known.postal_code.clone().filter(|_| !other_state));
        address.state = address.state.take().or_else(|| known.state.clone().filter(|_| !other_code));
        address.country = address.country.take().or_else(|| known.country.clone());
    }
    patient.identifiers = with_identifiers(&stored.identifiers, &patient.identifiers);
    for contact in &mut patient.contacts {
        let Some(known) = stored.contacts.iter().find(|known| known.is_same(contact)) else { continue };
        let kind = known.kind.clone().or_else(|| contact.kind.take());
        let extension = contact.extension.take().or_else(|| known.extension.clone());
        *contact = Contact { kind, extension, ..known.clone() };
    }
    // Those of a channel without a value stay anyway.
    let replaced = |known: &&Contact| {
        let is_said = !patient.unsaid.has(DirectoryField::contacts_of(known.channel));
        is_said && !patient.contacts.iter().any(|contact| contact.is_same(known))
    };
    let confidential: Vec<Contact> =
        stored.contacts.iter().filter(|known| known.only).filter(replaced).cloned().collect();
    patient.contacts.extend(confidential);
}

/// An id that is not known yet takes the place of those of its system; all others stay.
fn with_identifiers(stored: &[Identifier], given: &[Identifier]) -> Vec<Identifier> {
    let new: Vec<&Identifier> = given.iter().filter(|one| !stored.contains(one)).collect();
    let stays = |known: &&Identifier| !new.iter().any(|one| one.system == known.system);
    stored.iter().filter(stays).chain(new.iter().copied()).cloned().collect()
}

/// What we found out about an address stands until its sender knows better: an update that is newer says its status, or
/// somebody has verified it since. One that says neither is silent about it, and does not call it good.
fn keep_found_out(stored: &Patient, patient: &mut Patient) {
    let sent = patient.updated_at;
    for contact in patient.every_contact_mut() {
        let good_since = contact.good_since(sent);
        contact.says_status = false;
        let found = stored
            .every_contact()
            .filter(|c| c.is_same(contact))
            .find_map(|c| Some((c.status, c.status_at?)));
        let Some((status, at)) = found.filter(|_| contact.status == ContactStatus::Ok) else { continue };
        if good_since.is_none_or(|since| since <= at) {
            (contact.status, contact.status_at) = (status, Some(at));
        }
    }
}

/// A contact is dated that comes where another of its channel was. A sender who gives no time says at least that what is on
/// record was said before.
fn date_new_contacts(stored: &Patient, patient: &mut Patient) {
    let after = |at: Timestamp| at.checked_add(SignedDuration::from_micros(1)).unwrap_or(at);
    let now = patient.updated_at.or_else(|| records(&stored.consents).map(|c| after(c.at)).max());
    let reached_by = stored.contacts.iter().map(|c| c.channel).chain(stored.former_channels.iter().copied());
    let before: BTreeSet<Channel> = reached_by.collect();
    for contact in &mut patient.contacts {
        let known = stored.contacts.iter().find(|c| c.is_same(contact));
        contact.since = known.map_or(now.filter(|_| before.contains(&contact.channel)), |known| known.since);
    }
    let gone = |channel: &Channel| !patient.contacts.iter().any(|c| c.channel == *channel);
    patient.former_channels = before.into_iter().filter(gone).collect();
}

/// The snapshot's contacts under what is known of them; where the patient asked for confidential communication,
/// only contacts that are stored.
fn narrow_contacts(stored: &[Contact], inline: &[Contact]) -> Vec<Contact> {
    if inline.is_empty() || stored.iter().any(|contact| contact.only) {
        return stored.to_vec();
    }
    inline
        .iter()
        .map(|new| {
            let known = stored.iter().find(|c| c.is_same(new));
            // Of an address that nobody knows yet the snapshot proves nothing, and nothing on record was said of it.
            let hearsay =
                || Contact { verified_at: None, private: false, since: Some(Timestamp::MAX), ..new.clone() };
            known.map_or_else(hearsay, |known| strictest(known, new))
        })
        .collect()
}

/// What is known of a contact, with what another record says of the same one: of all that limits its use, the stricter.
pub(super) fn strictest(known: &Contact, new: &Contact) -> Contact {
    // What is found out later says more than what was found out before.
    let (status, status_at) = (known.status, known.status_at).max((new.status, new.status_at));
    let valid_until = match (known.valid_until, new.valid_until) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let leave_message = LEAVE_MESSAGE.iter().find_map(|word| {
        [known, new].into_iter().find_map(|c| c.leave_message.clone().filter(|said| said == word))
    });
    Contact {
        rank: new.rank.or(known.rank),
        status,
        status_at,
        since: known.since.max(new.since),
        valid_until,
        only: known.only || new.only,
        leave_message,
        extension: new.extension.clone().or_else(|| known.extension.clone()),
        kind: known.kind.clone().or_else(|| new.kind.clone()),
        ..known.clone()
    }
}

#[cfg(test)]
mod tests;
