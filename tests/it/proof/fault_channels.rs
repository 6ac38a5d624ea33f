//! The fault suite's people, on one channel after the other, and its providers, none of them quite honest.

use std::collections::HashMap;

use outreachd::simulator::{Faults, Hit, ProviderKind, Simulator};
use serde_json::Value;

use super::drain::phone;
use super::rig::Rig;
use crate::support::house::patient;

/// So many jobs in a row go over as many channels.
pub(super) const CHANNELS: usize = 4;
/// How many patients the jobs are for; each channel has a quarter of them.
pub(super) const PEOPLE: usize = 100;

/// Everybody is known.
pub(super) async fn know_everybody(rig: &Rig) {
    rig.know(&(0..PEOPLE).map(person).collect::<Vec<_>>()).await;
}

/// The n-th patient, who has one way to be reached.
fn person(n: usize) -> Value {
    let (channel, address) = match n % CHANNELS {
        0 => ("sms", phone(n)),
        1 => ("email", format!("p{n}@example.org")),
        2 => ("portal", format!("Patient/{n}")),
        _ => ("voice", phone(n)),
    };
    patient(&format!("P{n}"), channel, &address)
}

/// Providers that take some and say otherwise, or say nothing, and refuse some.
///
/// A text or a call that was answered with 500 was always taken: of one that was not, a look-up tells the ledger in time
/// that nothing was sent, and the sink has counted a request. A mail server that refuses at once has not read which mail.
pub(super) fn lie(simulator: &Simulator) {
    let phones = Faults { error_taken: 0.01, lost: 0.01, unavailable: 0.02, ..Faults::default() };
    let portal = Faults { error: 0.01, ..phones.clone() };
    let mail = Faults { error: 0.01, unavailable: 0.0, ..phones.clone() };
    for (kind, faults) in [
        (ProviderKind::TwilioSms, &phones),
        (ProviderKind::TwilioVoice, &phones),
        (ProviderKind::FhirPortal, &portal),
        (ProviderKind::Smtp, &mail),
    ] {
        simulator.set_faults(Some(kind), faults).unwrap();
    }
}

/// All of them are honest again.
pub(super) fn tell_the_truth(simulator: &Simulator) {
    simulator.set_faults(None, &Faults::default()).unwrap();
}

/// Whoever was taken twice: nobody, but at a portal, which finds the first by the same key.
pub(super) fn taken_twice(hits: &[Hit]) -> Vec<String> {
    let mut taken: HashMap<&str, usize> = HashMap::new();
    for hit in hits.iter().filter(|hit| hit.taken && hit.kind != ProviderKind::FhirPortal) {
        *taken.entry(hit.send_key.as_ref().map_or("", |key| key.as_str())).or_default() += 1;
    }
    taken.into_iter().filter(|(_, times)| *times > 1).map(|(key, times)| format!("{key}: {times}")).collect()
}
