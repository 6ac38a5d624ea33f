//! The one decision: what to do with a message now. Its gates stand in a fixed order, and the first that does
//! not let the message through gives the reason.

use jiff::{SignedDuration, Timestamp};

use super::cap::Recent;
use super::explanation::{Explanation, RULES_VERSION, WaySeen};
use super::person::{Addressee, back_at, changes_on, stands_in};
use super::question::Question;
use super::routes;
use super::ways::{Asked, State, Way};
use crate::domain::job::When;
use crate::domain::outbound::Route;
use crate::domain::patience::Patience;
use crate::domain::patient::{Patient, Proxy};
use crate::domain::phi::Phi;
use crate::domain::words::{Channel, Priority, ProxyMode, Purpose, Reason, Recipient, words};

/// What cannot be read is looked at again after so long, and up to twice as long: somebody has to mend it first.
pub const UNREAD: SignedDuration = SignedDuration::from_mins(15);

words! {
    /// The gates, in the order in which they are passed.
    Gate {
        /// Its time has come.
        Due = "due",
        /// The patient is in the directory.
        Known = "known",
        /// They are with us.
        Active = "active",
        /// They are alive.
        Deceased = "deceased",
        /// They may be contacted at all, and now.
        DoNotContact = "do_not_contact",
        /// The caller has not taken it back.
        Cancelled = "cancelled",
        /// Its time has not passed.
        Expired = "expired",
        /// Nobody has put a hold on it.
        Hold = "hold",
        /// Somebody may be written to in the patient's place, where the patient is not to be.
        Proxy = "proxy",
        /// They have not told us to stop.
        OptOut = "opt_out",
        /// They have agreed, where the purpose asks for it.
        Consent = "consent",
        /// It stays where the patient, or the template, wants it kept.
        Confidential = "confidential",
        /// There is a contact that works and that we send to.
        ValidContact = "valid_contact",
        /// The channel and its provider may see what the text reveals.
        Content = "content",
        /// They were not disturbed too often.
        Cap = "cap",
        /// They are not disturbed at this hour.
        QuietHours = "quiet_hours",
        /// A route is left that was not tried.
        Route = "route",
    }
}

/// What to do with the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send over `route`, unless the answer could have changed by `valid_until`; where there is `patience`, and it ends,
    /// the next way is taken as well. As a `pointer` it says only that the portal has something.
    Send { route: Route, valid_until: Timestamp, patience: Option<Patience>, pointer: bool },
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

/// The verdict, the gate that gave it, and what it weighed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub gate: Gate,
    /// Who is written to; the place among the patient's proxies, where it is one of them.
    pub proxy: Option<usize>,
    ways: Vec<WaySeen>,
}

impl Decision {
    /// A decision that weighed no contact.
    #[must_use]
    pub fn plain(gate: Gate, verdict: Verdict) -> Self {
        Self { verdict, gate, proxy: None, ways: Vec::new() }
    }

    /// Whether no contact of theirs works, or none is left that was not tried. Whoever has refused is within reach.
    fn is_out_of_reach(&self) -> bool {
        let out = |gate| matches!(gate, Gate::ValidContact | Gate::Route);
        out(self.gate) && self.ways.iter().all(|way| way.gate.is_some_and(out))
    }

    /// Whether it goes, now or later.
    const fn goes(&self) -> bool {
        matches!(self.verdict, Verdict::Send { .. } | Verdict::Hold { .. })
    }

    /// What is kept of it.
    #[must_use]
    pub fn explanation(&self, now: Timestamp) -> Explanation {
        let patience = match &self.verdict {
            Verdict::Send { patience, .. } => *patience,
            _ => None,
        };
        let (reason, until) = match &self.verdict {
            Verdict::Send { valid_until, .. } => (None, Some(*valid_until)),
            Verdict::Hold { until, reason } => (*reason, *until),
            Verdict::Suppress(reason) | Verdict::Cancel(reason) | Verdict::GiveUp(reason) => {
                (Some(*reason), None)
            }
            Verdict::Expire => (Some(Reason::Expired), None),
        };
        Explanation {
            rules: RULES_VERSION,
            gate: self.gate,
            at: now,
            reason,
            until,
            recipient: self.proxy.map(|_| Recipient::Proxy),
            patience,
            ways: self.ways.clone(),
        }
    }
}

/// Decides.
#[must_use]
pub fn decide(q: &Question<'_>) -> Decision {
    let message = &q.message;
    let expires_at = instant(message.expires_at, q.zone);
    if let Some(start) = starts_later(q)
        && !(message.along && is_same_day(q, start))
    {
        let until = Some(start.min(expires_at));
        let waits = || Decision::plain(Gate::Due, Verdict::Hold { until, reason: None });
        return flood(q, expires_at).unwrap_or_else(waits);
    }
    if q.unread {
        return unread(q, expires_at);
    }
    let Some(patient) = q.patient else { return unknown_patient(q) };
    if let Some(decision) = person_gates(q, patient, expires_at).or_else(|| message_gates(q, expires_at)) {
        return decision;
    }
    let back = proxies_back(q, patient);
    let (proxy, to) = match addressee(q, patient) {
        Ok(found) => found,
        Err((gate, reason)) => {
            let back = back.filter(|back| gate == Gate::Proxy && *back < expires_at);
            let waits = |until| Verdict::Hold { until: Some(until), reason: Some(Reason::Paused) };
            return Decision::plain(gate, back.map_or(Verdict::Suppress(reason), waits));
        }
    };
    let mut decision = reading(q, patient, (proxy, &to), expires_at);
    // Where nothing reaches the first who stands in, the next one does.
    if proxy.is_some() && q.message.copy_for.is_none() && !q.message.reached && decision.is_out_of_reach() {
        let others = reached(q, patient, ProxyMode::Instead).filter(|(place, ..)| Some(*place) > proxy);
        let mut others =
            others.filter_map(|(place, _, to)| Some(reading(q, patient, (Some(place), &to?), expires_at)));
        decision = others.find(Decision::goes).unwrap_or(decision);
    }
    if let Verdict::Send { valid_until, .. } = &mut decision.verdict {
        let changes = next_day_of_proxies(q, patient).into_iter().chain(back);
        *valid_until = changes.fold(*valid_until, |first, other| first.min(other));
    }
    decision
}

/// The decision where they are the one who reads.
fn reading<'a>(
    q: &Question<'a>,
    patient: &'a Patient,
    (proxy, to): (Option<usize>, &Addressee<'a>),
    expires_at: Timestamp,
) -> Decision {
    let nobody = Recent::default();
    let recent = q.recent.get(proxy.map_or(0, |place| place + 1)).unwrap_or(&nobody);
    let of = proxy.and_then(|place| patient.proxies.get(place));
    let asked = Asked { q, to, proxy: of, recent, at_addresses: q.address_consents, expires_at };
    Decision { proxy, ..route_gates(&asked) }
}

/// What the guard stopped is stopped whole, whatever its hour: whoever looks sees all of it, and drops all of it.
fn flood(q: &Question<'_>, expires_at: Timestamp) -> Option<Decision> {
    let is_flood = q.hold.is_some_and(|hold| match hold.cause {
        Reason::SurgeHold => true,
        Reason::AwaitingApproval => q.message.purpose == Purpose::Emergency,
        _ => false,
    });
    is_flood.then(|| message_gates(q, expires_at)).flatten()
}

/// When somebody else may be the one who reads, for the patient, or for those with whom they share an address.
fn next_day_of_proxies(q: &Question<'_>, patient: &Patient) -> Option<Timestamp> {
    let today = q.now.to_zoned(q.zone.clone()).date();
    let others = q.addresses.iter().flat_map(|seen| &seen.behind).map(|behind| behind.patient.as_ref());
    let days = std::iter::once(patient).chain(others).filter_map(|p| changes_on(p, today, &q.rules.majority));
    days.min()?.to_zoned(q.zone.clone()).ok().map(|midnight| midnight.timestamp())
}

/// When the first of the proxies is back who want to be left in peace for a while.
fn proxies_back(q: &Question<'_>, patient: &Patient) -> Option<Timestamp> {
    let known = |place: usize| q.proxies.get(place).copied().flatten();
    let all = patient.proxies.iter().enumerate();
    all.filter_map(|(place, proxy)| back_at(proxy, known(place), q.now)).min()
}

/// When its time comes, where that is still to come.
fn starts_later(q: &Question<'_>) -> Option<Timestamp> {
    q.message.not_before.map(|when| instant(when, q.zone)).filter(|start| q.now < *start)
}

fn is_same_day(q: &Question<'_>, start: Timestamp) -> bool {
    let day = |at: Timestamp| at.to_zoned(q.zone.clone()).date();
    day(start) == day(q.now)
}

/// Whether a decision to send holds only in company: alone the message goes at its own hour.
#[must_use]
pub fn only_along(q: &Question<'_>) -> bool {
    q.message.along && starts_later(q).is_some()
}

/// Two queues have no order between them: the patient may be told to us after the job.
fn unknown_patient(q: &Question<'_>) -> Decision {
    if let Some(reason) = q.message.cancelled {
        return Decision::plain(Gate::Cancelled, Verdict::Cancel(reason));
    }
    let grace_ends = q.message.accepted_at.checked_add(q.rules.patient_grace).unwrap_or(Timestamp::MAX);
    let verdict = if q.now < grace_ends {
        Verdict::Hold { until: Some(grace_ends), reason: Some(Reason::UnknownPatient) }
    } else {
        Verdict::Suppress(Reason::UnknownPatient)
    };
    Decision::plain(Gate::Known, verdict)
}

/// Nobody is written to on what is left of records one of which cannot be read: it may be the one that forbids it.
fn unread(q: &Question<'_>, expires_at: Timestamp) -> Decision {
    message_gates(q, expires_at).unwrap_or_else(|| {
        let until =
            q.now.checked_add(UNREAD.mul_f64(1.0 + q.jitter.clamp(0.0, 1.0))).unwrap_or(Timestamp::MAX);
        let until = Some(until.min(expires_at));
        Decision::plain(Gate::Known, Verdict::Hold { until, reason: Some(Reason::Malformed) })
    })
}

fn person_gates(q: &Question<'_>, patient: &Patient, expires_at: Timestamp) -> Option<Decision> {
    let suppress = |gate, reason| Some(Decision::plain(gate, Verdict::Suppress(reason)));
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
            Some(Decision::plain(Gate::DoNotContact, verdict))
        }
        _ => None,
    }
}

fn message_gates(q: &Question<'_>, expires_at: Timestamp) -> Option<Decision> {
    if let Some(reason) = q.message.cancelled {
        return Some(Decision::plain(Gate::Cancelled, Verdict::Cancel(reason)));
    }
    if q.now >= expires_at {
        return Some(Decision::plain(Gate::Expired, Verdict::Expire));
    }
    q.hold.map(|hold| {
        let until = hold.until.map_or(expires_at, |u| u.min(expires_at));
        let reason = Some(hold.cause);
        Decision::plain(Gate::Hold, Verdict::Hold { until: Some(until), reason })
    })
}

/// Who is written to: of a copy the proxy that it is for; else the first proxy who stands in for the patient, else the
/// patient. What is confidential, or what the patient wants kept to one contact, goes to nobody else.
///
/// # Errors
/// Nobody: somebody stands in, and nobody can be reached; or the proxy may not be written to any more.
fn addressee<'a>(
    q: &Question<'a>,
    patient: &'a Patient,
) -> Result<(Option<usize>, Addressee<'a>), (Gate, Reason)> {
    let own = || Ok((None, Addressee::patient(patient)));
    let nobody = || (Gate::Proxy, Reason::NoProxy);
    if let Some(key) = q.message.copy_for {
        if stays_with(q, patient) {
            return Err((Gate::Confidential, Reason::ConfidentialContact));
        }
        let mut also = reached(q, patient, ProxyMode::Also);
        return also
            .find(|(_, proxy, _)| proxy.key() == *key)
            .and_then(|(place, _, to)| Some((Some(place), to?)))
            .ok_or_else(nobody);
    }
    if stays_with(q, patient) {
        return own();
    }
    let mut any = false;
    let found = reached(q, patient, ProxyMode::Instead).find_map(|(place, _, to)| {
        any = true;
        Some((Some(place), to?))
    });
    if any { found.ok_or_else(nobody) } else { own() }
}

/// Whether nobody but the patient is written to.
fn stays_with(q: &Question<'_>, patient: &Patient) -> bool {
    q.template.confidential || patient.contacts.iter().any(|c| c.only)
}

/// The proxies who stand in for the patient in this mode today, with their places; `None`: one who cannot be reached.
fn reached<'a>(
    q: &Question<'a>,
    patient: &'a Patient,
    mode: ProxyMode,
) -> impl Iterator<Item = (usize, &'a Proxy, Option<Addressee<'a>>)> {
    let today = q.now.to_zoned(q.zone.clone()).date();
    let (purpose, majority, known, now) = (q.message.purpose, &q.rules.majority, q.proxies, q.now);
    let proxies = patient.proxies.iter().enumerate();
    proxies.filter(move |(_, proxy)| stands_in(proxy, patient, mode, purpose, today, majority)).map(
        move |(place, proxy)| {
            let theirs = known.get(place).copied().flatten();
            (place, proxy, Addressee::proxy(proxy, theirs, now))
        },
    )
}

/// The proxies who get a copy of the message about which `decision` was made, by their keys: those who are written to
/// beside the patient, can be reached, and are not whom the message itself goes to. What the patient has said of
/// themselves binds the patient; a copy passes all gates for whoever reads it. Nobody gets one before the message's
/// time has come, or of one that nobody may write about.
#[must_use]
pub fn copies(q: &Question<'_>, decision: &Decision) -> Vec<Phi> {
    let Some(patient) = q.patient.filter(|_| decision.gate >= Gate::Proxy) else { return Vec::new() };
    if q.message.copy_for.is_some() || stays_with(q, patient) {
        return Vec::new();
    }
    let reader = decision.proxy.and_then(|place| patient.proxies.get(place)).map(Proxy::key);
    let also = reached(q, patient, ProxyMode::Also).filter(|(.., to)| to.is_some());
    let mut keys: Vec<Phi> =
        also.map(|(_, proxy, _)| proxy.key()).filter(|key| Some(key) != reader.as_ref()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn route_gates(asked: &Asked<'_, '_>) -> Decision {
    let (q, to) = (asked.q, asked.to);
    let purpose = q.message.purpose;
    let allowed: Vec<Channel> = q
        .template
        .channels
        .iter()
        .copied()
        .filter(|c| q.message.channels.is_none_or(|narrowed| narrowed.contains(c)))
        .collect();
    let mut ways: Vec<Way<'_>> = routes::ordered(to, purpose, &allowed, q.template.channels)
        .into_iter()
        .map(|contact| asked.way(contact))
        .collect();
    asked.point(&mut ways);
    let seen = ways.iter().map(Way::seen).collect();
    let (gate, verdict) = weigh(q, to, &ways);
    Decision { verdict, gate, proxy: None, ways: seen }
}

/// The first way that is open; one that opens later is waited for where it comes first in their own order, unless the
/// matter is urgent. Where that would be a pointer, the portal comes first, and the pointer follows at once.
fn weigh(q: &Question<'_>, to: &Addressee<'_>, ways: &[Way<'_>]) -> (Gate, Verdict) {
    let fallback = q.rules.purpose(q.message.purpose).fallback_allowed;
    // Whoever has it already is written to again only because the plan says so, or to be told that the portal has it.
    let has_plan = || ways.iter().any(|way| q.template.patience(way.contact.channel).is_some());
    if q.message.reached && !(fallback && (has_plan() || is_untold(q, ways))) {
        return (Gate::Route, Verdict::GiveUp(Reason::PlanExhausted));
    }
    let gave_up = q.tried.last().map(|last| match q.tried {
        [one] => one.reason,
        _ if fallback => Reason::PlanExhausted,
        _ => last.reason,
    });
    if let Some(reason) = gave_up
        && !fallback
    {
        return (Gate::Route, Verdict::GiveUp(reason));
    }
    let usable = || ways.iter().filter(|way| !way.is_closed());
    let opens = |way: &Way<'_>| match way.state {
        State::Later { opens, .. } => opens,
        State::Open(_) | State::Never { .. } => q.now,
    };
    let chosen = if q.message.priority == Priority::Urgent {
        usable().min_by_key(|way| opens(way))
    } else {
        usable().next()
    };
    let in_portal = ways.iter().any(|way| q.has(way.contact));
    let before = chosen.filter(|way| way.pointer && !in_portal).and_then(|_| {
        let portal = |way: &&Way<'_>| way.contact.channel == Channel::Portal;
        usable().find(portal)
    });
    match before.or(chosen).map(|way| (way.contact, way.state, way.pointer)) {
        Some((contact, State::Open(valid_until), pointer)) => {
            let route = Route {
                channel: contact.channel,
                address: contact.address.clone(),
                extension: contact.extension.clone(),
            };
            let planned = q.template.patience(contact.channel).filter(|_| fallback);
            let patience = if before.is_some() { Some(Patience::NONE) } else { planned };
            (Gate::Route, Verdict::Send { route, valid_until, patience, pointer })
        }
        Some((_, State::Later { gate, reason, opens }, _)) => {
            (gate, Verdict::Hold { until: Some(opens), reason: Some(reason) })
        }
        // The way that came furthest says why there is none.
        _ => match (ways.iter().rev().filter_map(stopped).max_by_key(|(gate, _)| *gate), gave_up) {
            (_, Some(reason)) => (Gate::Route, Verdict::GiveUp(reason)),
            (Some((gate, reason)), None) => (gate, Verdict::Suppress(reason)),
            (None, None) if to.wants_none(q.message.purpose) => {
                (Gate::OptOut, Verdict::Suppress(Reason::OptedOut))
            }
            (None, None) => (Gate::ValidContact, Verdict::Suppress(Reason::NoContact)),
        },
    }
}

/// Whether nobody but the portal has it, and somebody is to be told so, or was and it failed.
fn is_untold(q: &Question<'_>, ways: &[Way<'_>]) -> bool {
    let told = q.tried.iter().any(|tried| tried.got_through() && tried.route.channel != Channel::Portal);
    !told && ways.iter().any(|way| way.pointer)
}

fn stopped(way: &Way<'_>) -> Option<(Gate, Reason)> {
    match way.state {
        State::Never { gate, reason } => Some((gate, reason)),
        State::Open(_) | State::Later { .. } => None,
    }
}

/// The instant meant; a wall-clock time that does not exist, or exists twice, is the later reading: never early.
#[must_use]
pub fn instant(when: When, zone: &jiff::tz::TimeZone) -> Timestamp {
    match when {
        When::At(at) => at,
        When::Local(local) => zone.to_ambiguous_timestamp(local).later().unwrap_or(Timestamp::MAX),
    }
}

#[cfg(test)]
mod tests;
