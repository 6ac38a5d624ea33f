//! The one decision: what to do with a message now. Its gates stand in a fixed order, and the first that does
//! not let the message through gives the reason.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use std::borrow::Cow;

use super::routes;
use crate::domain::consent::{Answer, answer};
use crate::domain::job::When;
use crate::domain::outbound::Route;
use crate::domain::patient::{Consent, Contact, Patient};
use crate::domain::words::{Channel, ContactStatus, Purpose, Reason, words};

/// The order of gates and what they ask; raised whenever either changes, so that an old explanation is read
/// by the rules that made it.
pub const RULES_VERSION: u32 = 1;

words! {
    /// The gates, in the order in which they are passed.
    Gate {
        /// The caller has not taken it back.
        Cancelled = "cancelled",
        /// Its time has not passed.
        Expired = "expired",
        /// Its time has come.
        Due = "due",
        /// No person has put a hold on it.
        Hold = "hold",
        /// The patient is in the directory.
        Known = "known",
        /// They are with us.
        Active = "active",
        /// They are alive.
        Deceased = "deceased",
        /// They may be contacted at all, and now.
        DoNotContact = "do_not_contact",
        /// There is a contact on an allowed channel.
        Contact = "contact",
        /// They have not told us to stop.
        OptOut = "opt_out",
        /// The contact works, is confirmed as theirs, and is in a country we send to.
        ValidContact = "valid_contact",
        /// A route is left that was not tried.
        Route = "route",
    }
}

/// Everything the decision rests on.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub message: MessageView<'a>,
    /// `None`: not in the directory (and no inline snapshot).
    pub patient: Option<&'a Patient>,
    /// What was said at the patient's addresses, by whomever stands behind them.
    pub address_consents: &'a [Consent],
    /// The template's channels, in its own order.
    pub template_channels: &'a [Channel],
    /// Channels over which something can be sent at all: a provider is configured.
    pub channels_served: &'a [Channel],
    /// The end of the hold that covers this message, if one does.
    pub hold: Option<HoldView>,
    /// Routes given up in earlier steps.
    pub tried: &'a [Tried],
    pub rules: &'a Rules,
    /// The recipient's zone, or the organisation's.
    pub zone: &'a jiff::tz::TimeZone,
    /// The database's clock.
    pub now: Timestamp,
}

/// What the decision needs of the message.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    pub purpose: Purpose,
    /// The caller's narrowing of channels.
    pub channels: Option<&'a [Channel]>,
    pub accepted_at: Timestamp,
    pub not_before: Option<When>,
    pub expires_at: When,
    /// A cancel has come for it.
    pub cancelled: Option<Reason>,
}

/// A hold placed by a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldView {
    /// `None`: until it is released.
    pub until: Option<Timestamp>,
}

/// A route that an earlier step gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub route: Route,
    pub reason: Reason,
}

/// The configured part of the rules.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long a job waits for its patient to be told to us.
    pub patient_grace: SignedDuration,
    /// ISO 3166-1 codes of countries that phone messages may go to; empty is all.
    pub countries: Vec<String>,
}

/// What to do with the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send over `route`, unless the answer could have changed by `valid_until`.
    Send { route: Route, of_routes: usize, valid_until: Timestamp },
    /// Ask again at `until` (`None`: when a person releases it).
    Hold { until: Option<Timestamp>, reason: Option<Reason> },
    /// A rule forbids it.
    Suppress(Reason),
    /// Taken back.
    Cancel(Reason),
    /// Too late.
    Expire,
    /// Every route was tried.
    GiveUp(Reason),
}

/// The verdict, and the gate that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub gate: Gate,
}

/// The short form that is kept with the message; gates before `gate` were passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub rules: u32,
    pub gate: Gate,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Decision {
    /// What is kept of it.
    #[must_use]
    pub fn explanation(&self, now: Timestamp) -> Explanation {
        let (reason, until) = match &self.verdict {
            Verdict::Send { valid_until, .. } => (None, Some(*valid_until)),
            Verdict::Hold { until, reason } => (*reason, *until),
            Verdict::Suppress(reason) | Verdict::Cancel(reason) | Verdict::GiveUp(reason) => {
                (Some(*reason), None)
            }
            Verdict::Expire => (Some(Reason::Expired), None),
        };
        Explanation { rules: RULES_VERSION, gate: self.gate, at: now, reason, until }
    }
}

/// Decides.
#[must_use]
pub fn decide(q: &Question<'_>) -> Decision {
    let stop = |gate, verdict| Decision { gate, verdict };
    let message = &q.message;
    if let Some(reason) = message.cancelled {
        return stop(Gate::Cancelled, Verdict::Cancel(reason));
    }
    let expires_at = instant(message.expires_at, q.zone);
    if q.now >= expires_at {
        return stop(Gate::Expired, Verdict::Expire);
    }
    if let Some(start) = message.not_before.map(|w| instant(w, q.zone))
        && q.now < start
    {
        let until = start.min(expires_at);
        return stop(Gate::Due, Verdict::Hold { until: Some(until), reason: None });
    }
    if let Some(hold) = q.hold {
        let until = hold.until.map_or(expires_at, |u| u.min(expires_at));
        return stop(Gate::Hold, Verdict::Hold { until: Some(until), reason: Some(Reason::OperatorHold) });
    }
    let Some(patient) = q.patient else { return unknown_patient(q) };
    if let Some(decision) = person_gates(q, patient, expires_at) {
        return decision;
    }
    route_gates(q, patient, expires_at)
}

/// Two queues have no order between them: the patient may be told to us after the job.
fn unknown_patient(q: &Question<'_>) -> Decision {
    let grace_ends = q.message.accepted_at.checked_add(q.rules.patient_grace).unwrap_or(Timestamp::MAX);
    let verdict = if q.now < grace_ends {
        Verdict::Hold { until: Some(grace_ends), reason: Some(Reason::UnknownPatient) }
    } else {
        Verdict::Suppress(Reason::UnknownPatient)
    };
    Decision { gate: Gate::Known, verdict }
}

fn person_gates(q: &Question<'_>, patient: &Patient, expires_at: Timestamp) -> Option<Decision> {
    let suppress = |gate, reason| Some(Decision { gate, verdict: Verdict::Suppress(reason) });
    if !patient.active {
        return suppress(Gate::Active, Reason::Inactive);
    }
    if patient.deceased {
        return suppress(Gate::Deceased, Reason::Deceased);
    }
    if patient.do_not_contact.is_some() {
        return suppress(Gate::DoNotContact, Reason::DoNotContact);
    }
    match patient.pause_until {
        Some(until) if q.now < until => {
            let verdict = if until < expires_at {
                Verdict::Hold { until: Some(until), reason: Some(Reason::Paused) }
            } else {
                Verdict::Suppress(Reason::Paused)
            };
            Some(Decision { gate: Gate::DoNotContact, verdict })
        }
        _ => None,
    }
}

fn route_gates(q: &Question<'_>, patient: &Patient, expires_at: Timestamp) -> Decision {
    let suppress = |gate, reason| Decision { gate, verdict: Verdict::Suppress(reason) };
    let purpose = q.message.purpose;
    let allowed: Vec<Channel> = q
        .template_channels
        .iter()
        .copied()
        .filter(|c| q.message.channels.is_none_or(|narrowed| narrowed.contains(c)))
        .collect();
    let mut contacts = routes::ordered(patient, purpose, &allowed, q.template_channels);
    if contacts.is_empty() {
        return suppress(Gate::Contact, Reason::NoContact);
    }
    // Confidential communication: where one contact is marked `only`, nothing leaves it, not even as a fallback.
    if patient.contacts.iter().any(|c| c.only) {
        contacts.retain(|c| c.only);
        if contacts.is_empty() {
            return suppress(Gate::Contact, Reason::ConfidentialContact);
        }
    }
    if patient.preferences.iter().any(|p| p.purpose == purpose && p.channels.is_empty()) {
        return suppress(Gate::OptOut, Reason::OptedOut);
    }
    let said = said(patient, q.address_consents);
    let open: Vec<&Contact> = contacts
        .into_iter()
        .filter(|c| !matches!(answer(&said, purpose, c.channel, &c.address, q.now), Answer::Revoked(_)))
        .collect();
    if open.is_empty() {
        return suppress(Gate::OptOut, Reason::OptedOut);
    }
    let faults: Vec<Option<Reason>> = open.iter().map(|c| contact_fault(c, q)).collect();
    let good: Vec<&Contact> =
        open.iter().zip(&faults).filter(|(_, fault)| fault.is_none()).map(|(c, _)| *c).collect();
    if good.is_empty() {
        let reason = faults.into_iter().flatten().next().unwrap_or(Reason::NoContact);
        return suppress(Gate::ValidContact, reason);
    }
    let mut left = good.iter().filter(|c| !was_tried(c, q.tried));
    match left.next() {
        Some(contact) => Decision {
            gate: Gate::Route,
            verdict: Verdict::Send {
                route: Route {
                    channel: contact.channel,
                    address: contact.address.clone(),
                    extension: contact.extension.clone(),
                },
                of_routes: left.count() + 1,
                valid_until: contact.valid_until.map_or(expires_at, |until| until.min(expires_at)),
            },
        },
        None => {
            let reason = match q.tried {
                [one] => one.reason,
                _ => Reason::PlanExhausted,
            };
            Decision { gate: Gate::Route, verdict: Verdict::GiveUp(reason) }
        }
    }
}

/// What the patient said, and what anybody behind one of their addresses said.
fn said<'a>(patient: &'a Patient, at_addresses: &[Consent]) -> Cow<'a, [Consent]> {
    if at_addresses.is_empty() {
        return Cow::Borrowed(&patient.consents);
    }
    Cow::Owned(patient.consents.iter().chain(at_addresses).cloned().collect())
}

fn contact_fault(contact: &Contact, q: &Question<'_>) -> Option<Reason> {
    match contact.status {
        ContactStatus::Bad => return Some(Reason::InvalidAddress),
        ContactStatus::Wrong => return Some(Reason::WrongNumber),
        ContactStatus::Reassigned => return Some(Reason::Reassigned),
        ContactStatus::Ok => {}
    }
    if contact.valid_until.is_some_and(|until| until <= q.now) {
        return Some(Reason::InvalidAddress);
    }
    if contact.channel == Channel::Sms && matches!(contact.kind.as_deref(), Some("landline" | "fixed_line")) {
        return Some(Reason::Landline);
    }
    if matches!(contact.channel, Channel::Sms | Channel::Voice) && !q.rules.countries.is_empty() {
        let region = crate::domain::phone::region_of(contact.address.expose());
        if !region.is_some_and(|r| q.rules.countries.iter().any(|allowed| allowed == r.as_str())) {
            return Some(Reason::CountryNotAllowed);
        }
    }
    if !q.channels_served.contains(&contact.channel) {
        return Some(Reason::ProviderUnavailable);
    }
    None
}

fn was_tried(contact: &Contact, tried: &[Tried]) -> bool {
    tried.iter().any(|t| t.route.channel == contact.channel && t.route.address == contact.address)
}

/// The instant meant; a wall-clock time that does not exist, or exists twice, is the later reading: never early.
fn instant(when: When, zone: &jiff::tz::TimeZone) -> Timestamp {
    match when {
        When::At(at) => at,
        When::Local(local) => zone.to_ambiguous_timestamp(local).later().unwrap_or(Timestamp::MAX),
    }
}
