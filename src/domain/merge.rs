//! Two records of one person become one.

use super::consent;
use super::patient::Patient;

/// What is kept of `kept` once `other` turns out to be the same person: everything of `kept`, the contacts that only
/// `other` had, and of all wishes the stricter one.
#[must_use]
pub fn combine(kept: &Patient, other: &Patient) -> Patient {
    let mut patient = kept.clone();
    patient.consents = consent::merge(&kept.consents, other.consents.clone());
    patient.active = kept.active && other.active;
    patient.deceased = kept.deceased || other.deceased;
    patient.do_not_contact = kept.do_not_contact.clone().or_else(|| other.do_not_contact.clone());
    patient.pause_until = kept.pause_until.max(other.pause_until);
    patient.updated_at = kept.updated_at.max(other.updated_at);
    for preference in &other.preferences {
        match patient.preferences.iter_mut().find(|p| p.purpose == preference.purpose) {
            // An empty list is an opt-out: it wins over an order.
            Some(known) if preference.channels.is_empty() => known.channels.clear(),
            Some(_) => {}
            None => patient.preferences.push(preference.clone()),
        }
    }
    for contact in &other.contacts {
        match patient
            .contacts
            .iter_mut()
            .find(|c| c.channel == contact.channel && c.address == contact.address)
        {
            Some(known) => {
                known.only |= contact.only;
                known.status = known.status.max(contact.status);
            }
            None => patient.contacts.push(contact.clone()),
        }
    }
    for proxy in &other.proxies {
        if !patient.proxies.contains(proxy) {
            patient.proxies.push(proxy.clone());
        }
    }
    patient
}
