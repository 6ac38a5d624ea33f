//! A patient as the directory knows them: how to reach them, what they want, who may stand in.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};

use super::ids::{PatientId, SiteId};
use super::phi::Phi;
use super::words::{Authority, Channel, ContactStatus, ProxyMode, Purpose};

/// One person of the directory, validated. This shape is also what the ledger stores (sealed), without what is unknown.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Patient {
    /// The caller's id.
    pub id: PatientId,
    /// When the sender last changed it; an older upsert is stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// How to address them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// For majority and campaign queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<Date>,
    /// BCP-47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// IANA zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// For zones, rules of states, postcodes of campaigns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<PostalAddress>,
    /// Their usual place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// The clinic's own labels.
    pub tags: Vec<String>,
    /// Other systems' ids.
    pub identifiers: Vec<Identifier>,
    /// False: no longer with us.
    pub active: bool,
    /// True: nothing leaves, ever.
    pub deceased: bool,
    /// A staff decision, with its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub do_not_contact: Option<String>,
    /// Nothing before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_until: Option<Timestamp>,
    /// An order, not a ban.
    pub preferred_channels: Vec<Channel>,
    /// Order per purpose; an empty list is an opt-out of that purpose.
    pub preferences: Vec<Preference>,
    /// On top of what the law says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
    /// Ways to reach them.
    pub contacts: Vec<Contact>,
    /// What they agreed to and what they took back.
    pub consents: Vec<Consent>,
    /// Who may stand in.
    pub proxies: Vec<Proxy>,
    /// Which fields they last set themselves: an upsert that its sender changed before that leaves those alone.
    #[serde(default, skip_serializing_if = "OwnWords::is_empty")]
    pub own_words: OwnWords,
    /// Channels over which they were reached before, and are not now: a contact of one that comes is not the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_channels: Vec<Channel>,
    /// Directory fields that the sender did not mention: an upsert leaves those as they are. Empty in the
    /// directory itself.
    #[serde(skip)]
    pub unsaid: Unsaid,
}

impl Patient {
    /// A patient of whom nothing but the id is known.
    #[must_use]
    pub fn bare(id: PatientId) -> Self {
        Self {
            id,
            updated_at: None,
            name: None,
            birth_date: None,
            language: None,
            timezone: None,
            address: None,
            site: None,
            tags: Vec::new(),
            identifiers: Vec::new(),
            active: true,
            deceased: false,
            do_not_contact: None,
            pause_until: None,
            preferred_channels: Vec::new(),
            preferences: Vec::new(),
            quiet_hours: None,
            contacts: Vec::new(),
            consents: Vec::new(),
            proxies: Vec::new(),
            own_words: OwnWords::default(),
            former_channels: Vec::new(),
            unsaid: Unsaid::default(),
        }
    }
}

impl Patient {
    /// Every contact in the record: their own, and those of proxies who are no patients.
    pub fn every_contact(&self) -> impl Iterator<Item = &Contact> {
        let persons = self.proxies.iter().filter_map(|proxy| match &proxy.person {
            ProxyPerson::Person(person) => Some(&person.contacts),
            ProxyPerson::Patient(_) => None,
        });
        self.contacts.iter().chain(persons.flatten())
    }

    /// The same, to be changed.
    pub fn every_contact_mut(&mut self) -> impl Iterator<Item = &mut Contact> {
        let persons = self.proxies.iter_mut().filter_map(|proxy| match &mut proxy.person {
            ProxyPerson::Person(person) => Some(&mut person.contacts),
            ProxyPerson::Patient(_) => None,
        });
        self.contacts.iter_mut().chain(persons.flatten())
    }

    /// Every address behind which this patient may be spoken for: their own, and those of proxies who are no patients.
    pub fn addresses(&self) -> impl Iterator<Item = &Phi> {
        self.every_contact().map(|contact| &contact.address)
    }
}

impl std::fmt::Debug for Patient {
    /// The id and nothing else: most of a patient is nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patient").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The fields that an upsert replaces, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DirectoryField {
    Name = 1,
    BirthDate = 1 << 1,
    Language = 1 << 2,
    Timezone = 1 << 3,
    Address = 1 << 4,
    Site = 1 << 5,
    Tags = 1 << 6,
    Identifiers = 1 << 7,
    Active = 1 << 8,
    Deceased = 1 << 9,
    DoNotContact = 1 << 10,
    PauseUntil = 1 << 11,
    PreferredChannels = 1 << 12,
    QuietHours = 1 << 13,
    Contacts = 1 << 14,
    Proxies = 1 << 15,
    /// The contacts of one channel, for senders that know only some.
    SmsContacts = 1 << 16,
    EmailContacts = 1 << 17,
    PortalContacts = 1 << 18,
    VoiceContacts = 1 << 19,
    /// What belongs to a name, a postal address, the identifiers and each contact beside the values that were given, for
    /// senders of single values, such as a file with a column of numbers.
    Rest = 1 << 20,
}

impl DirectoryField {
    /// The contacts of `channel`.
    #[must_use]
    pub const fn contacts_of(channel: Channel) -> Self {
        match channel {
            Channel::Sms => Self::SmsContacts,
            Channel::Email => Self::EmailContacts,
            Channel::Portal => Self::PortalContacts,
            Channel::Voice => Self::VoiceContacts,
        }
    }
}

/// A set of [`DirectoryField`]: those that a sender left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsaid(u32);

impl Unsaid {
    /// Notes that `field` was left out.
    pub const fn add(&mut self, field: DirectoryField) {
        self.0 |= field as u32;
    }

    /// Whether `field` was left out.
    #[must_use]
    pub const fn has(self, field: DirectoryField) -> bool {
        self.0 & field as u32 != 0
    }
}

/// When the patient set a field on their own page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnWords {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_channels: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<Timestamp>,
}

impl OwnWords {
    /// Whether they set none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Given and family name, both optional as records are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Phi>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Phi>,
}

/// As much of a postal address as decisions need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostalAddress {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<Phi>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// An id in another system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identifier {
    pub system: String,
    pub value: Phi,
}

/// Channels wanted for one purpose, in order; none is an opt-out of the purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preference {
    pub purpose: Purpose,
    pub channels: Vec<Channel>,
    /// When it was stated; the latest statement wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

/// Local wall-clock hours in `[start, end)`; may pass midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    pub start: Time,
    pub end: Time,
}

/// What may be said to a machine that answers, the least first.
pub const LEAVE_MESSAGE: [&str; 3] = ["none", "brief", "full"];

/// One way to reach a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    pub channel: Channel,
    /// E.164, an email address, or a portal reference; valid for its channel.
    pub address: Phi,
    /// 1 is first; unranked come last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// As FHIR's ContactPoint.use: home, work, temp, old, mobile.
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// What the number is: mobile, landline, voip ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub status: ContactStatus,
    /// When we found the status out ourselves; `None` where the sender of the record said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_at: Option<Timestamp>,
    /// From when on it stands in the record, where there was another of its channel before: what was agreed to earlier for
    /// every address was not said of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Of an upsert: its sender says what the status is, be it `ok`. Not kept.
    #[serde(skip)]
    pub says_status: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    /// The patient's own and nobody else's.
    pub private: bool,
    /// Confidential communication: nothing leaves this contact.
    pub only: bool,
    /// Whether and how a machine may be spoken to: none, brief, full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave_message: Option<String>,
    /// Keys to press after the call is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
}

impl Contact {
    /// A contact of which nothing but the address is known.
    #[cfg(test)]
    pub(crate) fn bare(channel: Channel, address: &str) -> Self {
        Self {
            channel,
            address: Phi::new(address),
            rank: None,
            usage: None,
            kind: None,
            status: ContactStatus::Ok,
            status_at: None,
            since: None,
            says_status: false,
            verified_at: None,
            valid_until: None,
            private: false,
            only: false,
            leave_message: None,
            extension: None,
        }
    }

    /// Since when it is known to be good: the record that was `sent` then says so, or somebody has verified it. `None`:
    /// nobody says anything of it.
    #[must_use]
    pub fn good_since(&self, sent: Option<Timestamp>) -> Option<Timestamp> {
        let said = sent.filter(|_| self.says_status);
        said.max(self.verified_at).filter(|_| self.status == ContactStatus::Ok)
    }

    /// Whether both are the same way to the same address.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.channel == other.channel && self.address.is_same_address(&other.address)
    }
}

/// One grant or revocation, with its evidence.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// `None` is every purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// `None` is every channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// `None` is every address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Phi>,
    pub granted: bool,
    pub at: Timestamp,
    /// Who recorded it: patient, staff, import, ehr ...
    pub source: ConsentSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Another record of the same purpose, channel and address that is not in force, kept so that the order
    /// in which records arrive does not matter. `consent::merge` looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Box<Consent>>,
}

#[cfg(test)]
impl Consent {
    /// What was said of every purpose, channel and address, and by whom nobody knows.
    pub(crate) fn bare(granted: bool, at: Timestamp, source: ConsentSource) -> Self {
        Self {
            purpose: None,
            channel: None,
            address: None,
            granted,
            at,
            source,
            by: None,
            evidence: None,
            expires_at: None,
            shadow: None,
        }
    }
}

impl Consent {
    /// Whether it was said of this contact: what names no address speaks of those that there were.
    #[must_use]
    pub fn is_of(&self, contact: &Contact) -> bool {
        self.address.is_some() || contact.since.is_none_or(|since| since <= self.at)
    }
}

impl std::fmt::Debug for Consent {
    /// Without `by` and `evidence`, which people write freely.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consent")
            .field("purpose", &self.purpose)
            .field("channel", &self.channel)
            .field("granted", &self.granted)
            .field("at", &self.at)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

super::words::words! {
    /// Who recorded a consent; it decides what may lift a revocation.
    ConsentSource {
        /// The patient's own act: a reply, a key press, the preference page, a signature.
        Patient = "patient",
        /// A member of staff.
        Staff = "staff",
        /// The record system.
        Ehr = "ehr",
        /// A list brought in.
        Import = "import",
    }
}

/// Somebody who may be written to for the patient.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Proxy {
    pub person: ProxyPerson,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relationship: Option<String>,
    pub authority: Authority,
    pub mode: ProxyMode,
    /// `None` is every purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purposes: Option<Vec<Purpose>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

impl Proxy {
    /// A guardian in the patient's place, of whom nothing else is known.
    #[cfg(test)]
    pub(crate) fn bare(person: ProxyPerson) -> Self {
        Self {
            person,
            relationship: None,
            authority: Authority::Guardian,
            mode: ProxyMode::Instead,
            purposes: None,
            from: None,
            until: None,
            evidence: None,
        }
    }

    /// The key of a proxy who is this patient.
    #[must_use]
    pub fn key_of(id: &PatientId) -> Phi {
        Phi::new(format!("patient:{id}"))
    }

    /// By which one of a patient's proxies is known again, whatever else of them changes: who is a patient by their id,
    /// anybody else by their name, or by their contacts where the record has no name.
    #[must_use]
    pub fn key(&self) -> Phi {
        let person = match &self.person {
            ProxyPerson::Patient(id) => return Self::key_of(id),
            ProxyPerson::Person(person) => person,
        };
        let part = |part: &Option<Phi>| part.as_ref().map_or("", |part| part.expose()).to_owned();
        match &person.name {
            Some(name) => Phi::new(format!("name:{}\n{}", part(&name.given), part(&name.family))),
            None => {
                let mut addresses: Vec<&str> = person.contacts.iter().map(|c| c.address.expose()).collect();
                addresses.sort_unstable();
                Phi::new(format!("at:{}", addresses.join("\n")))
            }
        }
    }
}

impl std::fmt::Debug for Proxy {
    /// Without `relationship` and `evidence`, which people write freely.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("person", &self.person)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// A proxy is a patient of ours, or a person with contacts of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyPerson {
    Patient(PatientId),
    Person(Box<Person>),
}

/// A person who is no patient of ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Person {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    pub contacts: Vec<Contact>,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_unknown_is_not_stored_and_reads_as_unknown() {
        let person = Person {
            name: Some(Name { given: None, family: None }),
            language: None,
            timezone: None,
            contacts: vec![Contact::bare(Channel::Email, "b@example.org")],
        };
        let patient = Patient {
            address: Some(PostalAddress { postal_code: None, state: None, country: None }),
            contacts: vec![Contact::bare(Channel::Sms, "+13125550142")],
            consents: vec![Consent::bare(true, Timestamp::UNIX_EPOCH, ConsentSource::Staff)],
            proxies: vec![Proxy::bare(ProxyPerson::Person(Box::new(person)))],
            ..Patient::bare(PatientId::parse("P1").unwrap())
        };
        let stored = serde_json::to_string(&patient).unwrap();
        assert!(!stored.contains("null"), "{stored}");
        assert!(serde_json::from_str::<Patient>(&stored).unwrap() == patient);

        // Older records say of what is unknown that it is nothing.
        let mut older: Value = serde_json::from_str(&stored).unwrap();
        let nothing = |value: &mut Value, fields: &[&str]| {
            for field in fields {
                assert!(value.as_object_mut().unwrap().insert((*field).to_owned(), Value::Null).is_none());
            }
        };
        nothing(&mut older, &["name", "birth_date", "site", "quiet_hours", "pause_until", "updated_at"]);
        nothing(&mut older["contacts"][0], &["rank", "use", "kind", "leave_message", "valid_until"]);
        nothing(&mut older["consents"][0], &["purpose", "channel", "address", "by"]);
        nothing(&mut older["proxies"][0], &["relationship", "purposes", "from"]);
        assert!(serde_json::from_value::<Patient>(older).unwrap() == patient);
    }
}
