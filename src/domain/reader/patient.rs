//! A patient, and the order to merge two, as they come in.

use serde_json::{Map, Value};

use super::contact::{CONSENTS, channel, consent, contacts};
use super::people::{PROXIES, identifier, name, postal_address, proxy};
use super::place::{Fault, Faults, Path};
use super::slot::{Fields, Slot, day, flag, instant};
use super::{ParseDefaults, decode, leaf};
use crate::domain::consent;
use crate::domain::ids::{PatientId, SiteId};
use crate::domain::job::MAX_JOB_BYTES;
use crate::domain::patient::{DirectoryField, OwnWords, Patient, Preference, QuietHours, Unsaid};
use crate::domain::phone::Region;
use crate::domain::problem::Problem;
use crate::domain::words::{Channel, Purpose};

/// Labels of one patient.
const TAGS: usize = 50;
/// Characters of a label.
const TAG: usize = 64;
/// Ids in other systems.
const IDENTIFIERS: usize = 20;
/// Characters of the reason in `do_not_contact`.
const DO_NOT_CONTACT: usize = 500;

/// What an input must say beside what it always must.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expect<'a> {
    /// The id that is known from elsewhere, such as the path of a request: the body may leave it out, and may
    /// not name another.
    pub id: Option<&'a PatientId>,
    /// Whether `updated_at` must be given, as on the queue, where order is not kept.
    pub updated_at: bool,
}

/// An order to make one patient of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatientMerge {
    /// The patient that becomes an alias.
    pub id: PatientId,
    /// The patient that stays.
    pub into: PatientId,
}

impl Patient {
    /// Reads a patient of at most [`MAX_JOB_BYTES`].
    ///
    /// # Errors
    /// All that is wrong with it, by JSON path.
    pub fn parse(bytes: &[u8], defaults: &ParseDefaults, expect: Expect<'_>) -> Result<Self, Vec<Problem>> {
        Self::from_map(decode::object(bytes, MAX_JOB_BYTES)?, defaults, expect)
    }

    /// The same of an object that is in memory already.
    ///
    /// # Errors
    /// All that is wrong with it, by JSON path.
    pub fn from_map(
        map: Map<String, Value>,
        defaults: &ParseDefaults,
        expect: Expect<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let mut faults = Faults::default();
        let mut fields = Fields::new(map, Path::ROOT, &mut faults);
        let patient = read(&mut fields, defaults, None, expect);
        fields.finish();
        faults.settle(patient)
    }
}

impl PatientMerge {
    /// Reads `{"id", "into"}`; `id` may be known from elsewhere and then be left out.
    ///
    /// # Errors
    /// All that is wrong with it, by JSON path.
    pub fn parse(bytes: &[u8], id: Option<&PatientId>) -> Result<Self, Vec<Problem>> {
        let mut faults = Faults::default();
        let mut fields = Fields::new(decode::object(bytes, MAX_JOB_BYTES)?, Path::ROOT, &mut faults);
        let _ = fields.read("action", |slot| slot.word(&["merge"], |word| word));
        let id = patient_id(&mut fields, id);
        let into = fields.need("into", |slot| slot.name(PatientId::parse, PatientId::RULE));
        if id.is_some() && id == into {
            fields.refuse("into", Fault::malformed("must be another patient", "name the one that stays"));
        }
        fields.finish();
        let merge = id.zip(into).map(|(id, into)| Self { id, into });
        faults.settle(merge)
    }
}

/// Reads the fields of a patient. `site` is where the patient belongs if they do not say so themselves.
pub(super) fn read(
    fields: &mut Fields<'_>,
    defaults: &ParseDefaults,
    site: Option<&SiteId>,
    expect: Expect<'_>,
) -> Option<Patient> {
    let unsaid = unsaid(fields);
    let id = patient_id(fields, expect.id);
    let updated_at = if expect.updated_at {
        fields.need("updated_at", instant)
    } else {
        fields.read("updated_at", instant)
    };
    let own_site = fields.read("site", |slot| slot.name(SiteId::parse, SiteId::RULE));
    let region = defaults.region_of(own_site.as_ref().or(site));
    let patient = Patient {
        updated_at,
        name: fields.read("name", name),
        birth_date: fields.read("birth_date", day),
        language: fields.read("language", |slot| slot.parsed(leaf::language)),
        timezone: fields.read("timezone", |slot| slot.parsed(leaf::home_zone)),
        address: fields.read("address", postal_address),
        site: own_site,
        tags: fields.read("tags", |slot| slot.set(TAGS, |slot| slot.text(TAG))).unwrap_or_default(),
        identifiers: fields.read("identifiers", |slot| slot.set(IDENTIFIERS, identifier)).unwrap_or_default(),
        active: fields.read("active", flag).unwrap_or(true),
        deceased: fields.read("deceased", flag).unwrap_or(false),
        do_not_contact: fields.read("do_not_contact", |slot| slot.text(DO_NOT_CONTACT)),
        pause_until: fields.read("pause_until", instant),
        preferred_channels: fields
            .read("preferred_channels", |slot| slot.set(Channel::ALL.len(), channel))
            .unwrap_or_default(),
        preferences: fields.read("preferences", preferences).unwrap_or_default(),
        quiet_hours: fields.read("quiet_hours", quiet_hours),
        contacts: fields.read("contacts", |slot| contacts(slot, region)).unwrap_or_default(),
        consents: consents(fields, region),
        proxies: fields
            .read("proxies", |slot| slot.list(PROXIES, |slot| proxy(slot, id.as_ref(), region)))
            .unwrap_or_default(),
        own_words: OwnWords::default(),
        former_channels: Vec::new(),
        unsaid,
        id: id?,
    };
    Some(stamped(patient))
}

/// The id that is expected, or the one given.
fn patient_id(fields: &mut Fields<'_>, expected: Option<&PatientId>) -> Option<PatientId> {
    let read = |slot: Slot<'_>| slot.name(PatientId::parse, PatientId::RULE);
    let Some(expected) = expected else {
        return fields.need("id", read);
    };
    if fields.read("id", read).is_some_and(|id| id != *expected) {
        let fault = Fault::malformed(
            "another patient is named beside it",
            "name the same patient, or leave this out",
        );
        fields.refuse("id", fault);
    }
    Some(expected.clone())
}

/// A preference was stated when the record that holds it was changed. They are kept in the order of purposes.
fn stamped(mut patient: Patient) -> Patient {
    patient.preferences.sort_by_key(|preference| preference.purpose);
    for preference in &mut patient.preferences {
        preference.updated_at = patient.updated_at;
    }
    patient
}

/// Channels per purpose: `{"appointment": ["sms"], "marketing": []}`.
fn preferences(slot: Slot<'_>) -> Option<Vec<Preference>> {
    slot.entries(|name, slot| {
        let Some(purpose) = Purpose::from_word(name) else {
            let words: Vec<_> = Purpose::ALL.iter().map(|purpose| purpose.as_str()).collect();
            let cure = format!("use one of: {}", words.join(", "));
            return slot.refuse(Fault::malformed("unknown purpose", cure));
        };
        let channels = slot.set(Channel::ALL.len(), channel)?;
        Some(Preference { purpose, channels, updated_at: None })
    })
}

fn quiet_hours(slot: Slot<'_>) -> Option<QuietHours> {
    slot.object(|fields| {
        let start = fields.need("start", |slot| slot.parsed(leaf::time_of_day));
        let end = fields.need("end", |slot| slot.parsed(leaf::time_of_day));
        if start.is_some() && start == end {
            let fault =
                Fault::malformed("must not be the same as start", "give two times, or leave quiet_hours out");
            fields.refuse("end", fault);
        }
        Some(QuietHours { start: start?, end: end? })
    })
}

fn consents(fields: &mut Fields<'_>, region: Region) -> Vec<crate::domain::patient::Consent> {
    let given = fields.read("consents", |slot| slot.list(CONSENTS, |slot| consent(slot, region)));
    consent::merge(&[], given.unwrap_or_default())
}

/// What the input leaves out altogether; null is an answer.
fn unsaid(fields: &Fields<'_>) -> Unsaid {
    let mut unsaid = Unsaid::default();
    for (name, field) in [
        ("name", DirectoryField::Name),
        ("birth_date", DirectoryField::BirthDate),
        ("language", DirectoryField::Language),
        ("timezone", DirectoryField::Timezone),
        ("address", DirectoryField::Address),
        ("site", DirectoryField::Site),
        ("tags", DirectoryField::Tags),
        ("identifiers", DirectoryField::Identifiers),
        ("active", DirectoryField::Active),
        ("deceased", DirectoryField::Deceased),
        ("do_not_contact", DirectoryField::DoNotContact),
        ("pause_until", DirectoryField::PauseUntil),
        ("preferred_channels", DirectoryField::PreferredChannels),
        ("quiet_hours", DirectoryField::QuietHours),
        ("contacts", DirectoryField::Contacts),
        ("proxies", DirectoryField::Proxies),
    ] {
        if !fields.mentions(name) {
            unsaid.add(field);
        }
    }
    unsaid
}
