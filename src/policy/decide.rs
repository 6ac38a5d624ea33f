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
        /// Nobody has put a hold on it.
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

/// A hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldView {
    /// `None`: until it is released.
    pub until: Option<Timestamp>,
    /// What placed it: a person, or the guard against surges.
    pub cause: Reason,
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
        return stop(Gate::Hold, Verdict::Hold { until: Some(until), reason: Some(hold.cause) });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::PatientId;
    use crate::domain::patient::{ConsentSource, Preference};
    use crate::domain::phi::Phi;
    use crate::domain::phone::Region;
    use crate::domain::problem::Problem;
    use crate::domain::reader::{Expect, ParseDefaults};
    use jiff::tz::TimeZone;

    const ALL: &[Channel] = &[Channel::Sms, Channel::Email, Channel::Voice, Channel::Portal];

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ana(json: &str) -> Patient {
        let text = format!(r#"{{"id":"P1","updated_at":"2026-11-20T08:00:00Z"{json}}}"#);
        let defaults = ParseDefaults::new(None, Region::US);
        let parsed: Result<Patient, Vec<Problem>> =
            Patient::parse(text.as_bytes(), &defaults, Expect { id: None, updated_at: true });
        parsed.unwrap()
    }

    const SMS: &str = r#","contacts":[{"channel":"sms","address":"+13125550142"}]"#;
    const BOTH: &str = r#","contacts":[{"channel":"sms","address":"+13125550142"},
        {"channel":"email","address":"ana@example.org"}]"#;

    /// Asks about a reminder at noon that expires at six.
    fn ask<'a>(patient: Option<&'a Patient>, change: impl FnOnce(&mut Question<'a>)) -> Decision {
        let rules: &'static Rules = Box::leak(Box::new(Rules {
            patient_grace: SignedDuration::from_mins(2),
            countries: vec!["US".to_owned()],
        }));
        let zone: &'static TimeZone = Box::leak(Box::new(TimeZone::get("America/Chicago").unwrap()));
        let mut question = Question {
            message: MessageView {
                purpose: Purpose::Appointment,
                channels: None,
                accepted_at: at("2026-12-01T11:00:00Z"),
                not_before: None,
                expires_at: When::At(at("2026-12-01T18:00:00Z")),
                cancelled: None,
            },
            patient,
            address_consents: &[],
            template_channels: ALL,
            channels_served: ALL,
            hold: None,
            tried: &[],
            rules,
            zone,
            now: at("2026-12-01T12:00:00Z"),
        };
        change(&mut question);
        decide(&question)
    }

    fn verdict(json: &str) -> (Gate, Result<Channel, Option<Reason>>) {
        let decision = ask(Some(&ana(json)), |_| {});
        let answer = match decision.verdict {
            Verdict::Send { route, .. } => Ok(route.channel),
            Verdict::Suppress(reason) | Verdict::GiveUp(reason) | Verdict::Cancel(reason) => {
                Err(Some(reason))
            }
            Verdict::Hold { reason, .. } => Err(reason),
            Verdict::Expire => Err(Some(Reason::Expired)),
        };
        (decision.gate, answer)
    }

    #[test]
    fn what_is_known_of_the_patient_decides() {
        use Channel::{Email, Portal, Sms, Voice};
        let no = |reason| Err(Some(reason));
        let table = [
            ("a mobile number", SMS, (Gate::Route, Ok(Sms))),
            ("two contacts: the template's order", BOTH, (Gate::Route, Ok(Sms))),
            (
                "she prefers email",
                r#","preferred_channels":["email","sms"],"contacts":[{"channel":"sms","address":"+13125550142"},
                    {"channel":"email","address":"ana@example.org"}]"#,
                (Gate::Route, Ok(Email)),
            ),
            (
                "for visits she prefers a call, whatever she prefers otherwise",
                r#","preferred_channels":["email"],"preferences":{"appointment":["voice"]},"contacts":[
                    {"channel":"email","address":"ana@example.org"},{"channel":"voice","address":"+13125550142"}]"#,
                (Gate::Route, Ok(Voice)),
            ),
            (
                "a preference is an order, not a ban",
                r#","preferred_channels":["email"],"contacts":[{"channel":"portal","address":"Patient/42"}]"#,
                (Gate::Route, Ok(Portal)),
            ),
            (
                "rank decides where nothing else does",
                r#","contacts":[{"channel":"sms","address":"+13125550142","rank":2},
                    {"channel":"email","address":"ana@example.org","rank":1}]"#,
                (Gate::Route, Ok(Email)),
            ),
            ("no way to reach her", "", (Gate::Contact, no(Reason::NoContact))),
            (
                "she wants no messages about visits",
                r#","preferences":{"appointment":[]},"contacts":[{"channel":"sms","address":"+13125550142"}]"#,
                (Gate::OptOut, no(Reason::OptedOut)),
            ),
            (
                "she said STOP to texts, so the email goes",
                r#","consents":[{"channel":"sms","granted":false,"at":"2026-10-01T12:00:00Z","source":"patient"}],
                    "contacts":[{"channel":"sms","address":"+13125550142"},{"channel":"email","address":"ana@example.org"}]"#,
                (Gate::Route, Ok(Email)),
            ),
            (
                "she said STOP to everything",
                r#","consents":[{"granted":false,"at":"2026-10-01T12:00:00Z","source":"patient"}],
                    "contacts":[{"channel":"sms","address":"+13125550142"}]"#,
                (Gate::OptOut, no(Reason::OptedOut)),
            ),
            ("she has left", r#","active":false,"contacts":[]"#, (Gate::Active, no(Reason::Inactive))),
            ("she has died", r#","deceased":true"#, (Gate::Deceased, no(Reason::Deceased))),
            ("staff said no", r#","do_not_contact":"legal""#, (Gate::DoNotContact, no(Reason::DoNotContact))),
            (
                "the number belongs to somebody else",
                r#","contacts":[{"channel":"sms","address":"+13125550142","status":"wrong"}]"#,
                (Gate::ValidContact, no(Reason::WrongNumber)),
            ),
            (
                "a landline takes no texts",
                r#","contacts":[{"channel":"sms","address":"+13125550142","kind":"landline"}]"#,
                (Gate::ValidContact, no(Reason::Landline)),
            ),
            (
                "a number abroad",
                r#","contacts":[{"channel":"sms","address":"+34612345678"}]"#,
                (Gate::ValidContact, no(Reason::CountryNotAllowed)),
            ),
            (
                "confidential: only the portal, and it is the only one used",
                r#","contacts":[{"channel":"sms","address":"+13125550142"},
                    {"channel":"portal","address":"Patient/42","only":true}]"#,
                (Gate::Route, Ok(Portal)),
            ),
            (
                "confidential, and that contact is bad: nothing leaves it all the same",
                r#","contacts":[{"channel":"sms","address":"+13125550142"},
                    {"channel":"portal","address":"Patient/42","only":true,"status":"bad"}]"#,
                (Gate::ValidContact, no(Reason::InvalidAddress)),
            ),
        ];
        for (why, patient, expected) in table {
            assert_eq!(verdict(patient), expected, "{why}");
        }
    }

    #[test]
    fn the_order_of_gates_decides_the_reason() {
        let gone = ana(r#","deceased":true,"active":false"#);
        assert_eq!(ask(Some(&gone), |_| {}).gate, Gate::Active);
        let cancelled = ask(Some(&gone), |q| q.message.cancelled = Some(Reason::Cancelled));
        assert_eq!(
            cancelled,
            Decision { gate: Gate::Cancelled, verdict: Verdict::Cancel(Reason::Cancelled) }
        );
        let late = ask(Some(&gone), |q| q.now = at("2026-12-01T18:00:00Z"));
        assert_eq!(late, Decision { gate: Gate::Expired, verdict: Verdict::Expire });
    }

    #[test]
    fn an_unknown_patient_is_waited_for_and_then_given_up() {
        let early = ask(None, |q| q.now = at("2026-12-01T11:01:00Z"));
        let until = Some(at("2026-12-01T11:02:00Z"));
        assert_eq!(early.verdict, Verdict::Hold { until, reason: Some(Reason::UnknownPatient) });
        assert_eq!(ask(None, |_| {}).verdict, Verdict::Suppress(Reason::UnknownPatient));
    }

    #[test]
    fn a_local_time_is_meant_where_the_recipient_lives_and_never_read_early() {
        let ana = ana(SMS);
        let nine = When::Local("2026-12-01T09:00".parse().unwrap());
        let early = ask(Some(&ana), |q| q.message.not_before = Some(nine));
        let until = Some(at("2026-12-01T15:00:00Z"));
        assert_eq!(early.verdict, Verdict::Hold { until, reason: None });
        // 02:30 does not exist on this night in Chicago; what is meant is half an hour after two o'clock had come.
        let gap = When::Local("2026-03-08T02:30".parse().unwrap());
        assert_eq!(instant(gap, &TimeZone::get("America/Chicago").unwrap()), at("2026-03-08T08:30:00Z"));
    }

    #[test]
    fn a_stop_at_an_address_binds_whoever_stands_behind_it() {
        let stop = Consent {
            purpose: None,
            channel: Some(Channel::Sms),
            address: Some(Phi::new("+13125550142")),
            granted: false,
            at: at("2026-10-01T12:00:00Z"),
            source: ConsentSource::Patient,
            by: None,
            evidence: None,
            expires_at: None,
            shadow: None,
        };
        let ana = ana(SMS);
        let stops = [stop];
        assert_eq!(
            ask(Some(&ana), |q| q.address_consents = &stops).verdict,
            Verdict::Suppress(Reason::OptedOut)
        );
    }

    #[test]
    fn a_route_that_was_given_up_is_not_taken_again() {
        let ana = ana(BOTH);
        let sms = Route { channel: Channel::Sms, address: Phi::new("+13125550142"), extension: None };
        let email = Route { channel: Channel::Email, address: Phi::new("ana@example.org"), extension: None };
        let tried = [Tried { route: sms, reason: Reason::InvalidAddress }];
        let Verdict::Send { route, .. } = ask(Some(&ana), |q| q.tried = &tried).verdict else { panic!() };
        assert_eq!(route.channel, Channel::Email);
        let both = [tried[0].clone(), Tried { route: email, reason: Reason::InvalidAddress }];
        assert_eq!(ask(Some(&ana), |q| q.tried = &both).verdict, Verdict::GiveUp(Reason::PlanExhausted));
    }

    proptest::proptest! {
        #[test]
        fn an_opted_out_channel_is_never_routed(stopped in 0_usize..4, preferred in proptest::sample::subsequence(ALL.to_vec(), 0..4)) {
            let stopped = ALL[stopped];
            let mut patient = ana(r#","contacts":[{"channel":"sms","address":"+13125550142"},
                {"channel":"email","address":"ana@example.org"},{"channel":"voice","address":"+13125550142"},
                {"channel":"portal","address":"Patient/42"}]"#);
            patient.preferences = vec![Preference { purpose: Purpose::Appointment, channels: preferred.clone(), updated_at: None }];
            patient.consents = vec![Consent {
                purpose: None, channel: Some(stopped), address: None, granted: false,
                at: at("2026-10-01T12:00:00Z"), source: ConsentSource::Patient, by: None, evidence: None,
                expires_at: None, shadow: None,
            }];
            patient.id = PatientId::parse("P2").unwrap();
            match ask(Some(&patient), |_| {}).verdict {
                Verdict::Send { route, .. } => proptest::prop_assert_ne!(route.channel, stopped),
                other => proptest::prop_assert_eq!((preferred.is_empty(), other), (true, Verdict::Suppress(Reason::OptedOut))),
            }
        }
    }
}
