//! Names, places and those who stand in for a patient.

use super::contact::{contacts, purpose};
use super::leaf;
use super::place::Fault;
use super::slot::{Fields, Slot, day};
use crate::domain::ids::PatientId;
use crate::domain::patient::{Identifier, Name, Person, PostalAddress, Proxy, ProxyPerson};
use crate::domain::phi::Phi;
use crate::domain::phone::Region;
use crate::domain::words::{Authority, ProxyMode, Purpose};

/// Proxies of one patient.
pub(super) const PROXIES: usize = 10;
/// Characters of a given or family name.
const NAME: usize = 200;
/// Characters of a postal code.
const POSTAL_CODE: usize = 20;
/// Characters of a state or province.
const STATE: usize = 50;
/// Characters of an identifier's system.
const SYSTEM: usize = 256;
/// Characters of an identifier's value.
const IDENTIFIER: usize = 128;
/// Characters of a proxy's relationship.
const RELATIONSHIP: usize = 64;
/// Characters of a proxy's evidence.
const EVIDENCE: usize = 500;

/// Given and family name.
pub(super) fn name(slot: Slot<'_>) -> Option<Name> {
    slot.object(|fields| {
        let given = fields.read("given", |slot| slot.text(NAME)).map(Phi::new);
        let family = fields.read("family", |slot| slot.text(NAME)).map(Phi::new);
        Some(Name { given, family })
    })
}

/// As much of a postal address as decisions need.
pub(super) fn postal_address(slot: Slot<'_>) -> Option<PostalAddress> {
    slot.object(|fields| {
        let postal_code = fields.read("postal_code", |slot| slot.text(POSTAL_CODE)).map(Phi::new);
        let state = fields.read("state", |slot| slot.text(STATE));
        let country = fields.read("country", |slot| slot.parsed(leaf::country));
        Some(PostalAddress { postal_code, state, country })
    })
}

/// An id in another system.
pub(super) fn identifier(slot: Slot<'_>) -> Option<Identifier> {
    slot.object(|fields| {
        let system = fields.need("system", |slot| slot.text(SYSTEM));
        let value = fields.need("value", |slot| slot.text(IDENTIFIER)).map(Phi::new);
        Some(Identifier { system: system?, value: value? })
    })
}

/// Somebody who may be written to for the patient `of`.
pub(super) fn proxy(slot: Slot<'_>, of: Option<&PatientId>, region: Region) -> Option<Proxy> {
    slot.object(|fields| {
        let person = proxy_person(fields, of, region);
        let relationship = fields.read("relationship", |slot| slot.text(RELATIONSHIP));
        let authority = fields.need("authority", |slot| slot.word(Authority::ALL, Authority::as_str));
        let mode = fields.need("mode", |slot| slot.word(ProxyMode::ALL, ProxyMode::as_str));
        let purposes = fields.need("purposes", purposes);
        let from = fields.read("from", day);
        let until = fields.read("until", day);
        let evidence = fields.read("evidence", |slot| slot.text(EVIDENCE));
        if let (Some(from), Some(until)) = (from, until)
            && until < from
        {
            fields.refuse("until", Fault::malformed("must not be before from", "correct one of the two"));
        }
        Some(Proxy {
            person: person?,
            relationship,
            authority: authority?,
            mode: mode?,
            purposes: purposes?,
            from,
            until,
            evidence,
        })
    })
}

fn proxy_person(fields: &mut Fields<'_>, of: Option<&PatientId>, region: Region) -> Option<ProxyPerson> {
    let neither = !fields.gives("patient_id") && !fields.gives("person");
    let patient_id = fields.read("patient_id", |slot| slot.name(PatientId::parse, PatientId::RULE));
    let person = fields.read("person", |slot| slot.object(|fields| self::person(fields, region)));
    match (patient_id, person) {
        (Some(_), Some(_)) => {
            let fault =
                Fault::malformed("a proxy is a patient or a person, not both", "leave out one of the two");
            fields.refuse("person", fault);
            None
        }
        (Some(id), None) if of == Some(&id) => {
            let fault =
                Fault::malformed("nobody is their own proxy", "name another patient or take the proxy out");
            fields.refuse("patient_id", fault);
            None
        }
        (Some(id), None) => Some(ProxyPerson::Patient(id)),
        (None, Some(person)) => Some(ProxyPerson::Person(Box::new(person))),
        (None, None) if neither => {
            fields.refuse("patient_id", Fault::malformed("is required", "give patient_id, or person"));
            None
        }
        (None, None) => None,
    }
}

fn person(fields: &mut Fields<'_>, region: Region) -> Option<Person> {
    let name = fields.read("name", name);
    let language = fields.read("language", |slot| slot.parsed(leaf::language));
    let timezone = fields.read("timezone", |slot| slot.parsed(leaf::home_zone));
    let contacts = fields.read("contacts", |slot| contacts(slot, region));
    Some(Person { name, language, timezone, contacts: contacts.unwrap_or_default() })
}

/// `["*"]` is every purpose: `Some(None)`.
#[expect(clippy::option_option, reason = "not readable, every one, and these are three answers")]
fn purposes(slot: Slot<'_>) -> Option<Option<Vec<Purpose>>> {
    let every = slot.value.as_array().is_some_and(|list| matches!(list.as_slice(), [one] if *one == "*"));
    if every {
        return Some(None);
    }
    slot.set(Purpose::ALL.len(), purpose).map(Some)
}
