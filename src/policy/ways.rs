//! One way to reach somebody: which gates it passes, and since when it may be used.
//!
//! **A pointer.** Where a contact may not have the text, and the reader's portal has it or can have it, the contact may
//! still be told that something waits there: in its own turn, by all gates that a text of class `minimal` passes, and
//! after the portal has got through. Where there is no such portal nothing of it goes there.

use std::borrow::Cow;

use jiff::Timestamp;

use super::cap::{self, Recent};
use super::decide::Gate;
use super::explanation::WaySeen;
use super::hours::{self, Answer as Hours, HoursNote, Window};
use super::person::{Addressee, stands_in};
use super::question::{AddressSeen, Behind, Question, Served};
use super::zones::{self, Known, Place};
use crate::domain::consent::{Answer, answer_of_both, ends_at};
use crate::domain::patient::{Consent, Contact, Patient, Proxy};
use crate::domain::phi::Phi;
use crate::domain::words::{Authority, Channel, ContactStatus, PhiClass, ProxyMode, Reason};

/// A contact, and what came of asking about it.
#[derive(Clone, Debug)]
pub(super) struct Way<'a> {
    pub(super) contact: &'a Contact,
    pub(super) state: State,
    /// It may have nothing but a text that points to the portal.
    pub(super) pointer: bool,
    because: Option<String>,
    hours: Option<HoursNote>,
}

/// Whether a way may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Now, until this instant.
    Open(Timestamp),
    /// Not before this instant.
    Later { gate: Gate, reason: Reason, opens: Timestamp },
    /// Not for this message.
    Never { gate: Gate, reason: Reason },
}

impl Way<'_> {
    /// Whether it may not be used for this message.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Never { .. })
    }

    /// Whether the text alone speaks against it.
    const fn is_too_much(&self) -> bool {
        matches!(self.state, State::Never { gate: Gate::Content, .. })
    }

    /// What is kept of it.
    pub(super) fn seen(&self) -> WaySeen {
        let (gate, reason, until) = match self.state {
            State::Open(_) => (None, None, None),
            State::Later { gate, reason, opens } => (Some(gate), Some(reason), Some(opens)),
            State::Never { gate, reason } => (Some(gate), Some(reason), None),
        };
        WaySeen {
            channel: self.contact.channel,
            address: self.contact.address.masked(),
            gate,
            reason,
            until,
            because: self.because.clone(),
            hours: self.hours.clone(),
        }
    }
}

/// What speaks against a contact for good.
#[derive(Debug)]
struct Stop {
    gate: Gate,
    reason: Reason,
    because: Option<String>,
}

/// The record that an answer rests on: by whose hand, of what scope, when; without what people write freely.
fn weighed(record: &Consent) -> String {
    let what = if record.granted { "granted" } else { "revoked" };
    let purpose = record.purpose.map_or("every purpose", |purpose| purpose.as_str());
    let channel = record.channel.map_or("every channel", |channel| channel.as_str());
    let place = if record.address.is_some() { "this address" } else { "every address" };
    let until = record.expires_at.map(|end| format!(", until {end}")).unwrap_or_default();
    format!("{what} by {} for {purpose}, {channel}, {place} at {}{until}", record.source, record.at)
}

/// What is asked of every way of one message.
pub(super) struct Asked<'q, 'a> {
    pub(super) q: &'q Question<'a>,
    pub(super) to: &'q Addressee<'a>,
    /// They are this one of the patient's proxies.
    pub(super) proxy: Option<&'a Proxy>,
    /// What was sent to them this week.
    pub(super) recent: &'q Recent,
    /// What anybody behind one of their addresses said.
    pub(super) at_addresses: &'q [Consent],
    pub(super) expires_at: Timestamp,
}

impl<'a> Asked<'_, 'a> {
    /// Asks the gates of one contact, in their order.
    pub(super) fn way(&self, contact: &'a Contact) -> Way<'a> {
        match self.stop(contact) {
            Some(Stop { gate, reason, because }) => {
                Way { contact, state: State::Never { gate, reason }, pointer: false, because, hours: None }
            }
            None => self.when(contact),
        }
    }

    /// Those that may not have the text and may be pointed to the portal, where that has it or can have it.
    pub(super) fn point(&self, ways: &mut [Way<'a>]) {
        let can = |way: &Way<'_>| way.contact.channel == Channel::Portal && !way.is_closed();
        let fallback = self.q.rules.purpose(self.q.message.purpose).fallback_allowed;
        if !fallback || !ways.iter().any(|way| self.q.has(way.contact) || can(way)) {
            return;
        }
        for way in ways.iter_mut().filter(|way| way.is_too_much()) {
            let channel = way.contact.channel;
            if self.q.template.pointers.contains(&channel)
                && self.content(way.contact, PhiClass::Minimal).is_none()
            {
                let why = way.because.take().unwrap_or_default();
                let pointed = Way { pointer: true, ..self.when(way.contact) };
                let weighed = pointed.because.iter().map(|weighed| format!("; {weighed}"));
                let because = format!("{why}: a pointer to the portal{}", weighed.collect::<String>());
                *way = Way { because: Some(because), ..pointed };
            }
        }
    }

    fn stop(&self, contact: &Contact) -> Option<Stop> {
        let (q, purpose) = (self.q, self.q.message.purpose);
        if self.to.wants_none(purpose) {
            let stated = self.to.preferences.iter().find(|p| p.purpose == purpose).and_then(|p| p.updated_at);
            let when = stated.map(|at| format!(", stated {at}")).unwrap_or_default();
            let because = Some(format!("the record prefers nothing for {purpose}{when}"));
            return Some(Stop { gate: Gate::OptOut, reason: Reason::OptedOut, because });
        }
        let rule = q.rules.purpose(purpose);
        let asked = (purpose, contact.channel, &contact.address);
        match answer_of_both(self.to.consents, self.at_addresses, asked, q.now) {
            Answer::Revoked(record) => {
                let because = Some(weighed(record));
                return Some(Stop { gate: Gate::OptOut, reason: Reason::OptedOut, because });
            }
            Answer::Granted(record) if record.is_of(contact) => {}
            unsaid => {
                if rule.needs_grant || (contact.channel == Channel::Voice && !rule.voice_allowed) {
                    let because = Some(match unsaid {
                        Answer::Expired(record) => weighed(record),
                        Answer::Granted(record) => {
                            format!("{}, and not of this address, which is newer", weighed(record))
                        }
                        _ => format!("nothing was said of {purpose} by {}", contact.channel),
                    });
                    return Some(Stop { gate: Gate::Consent, reason: Reason::NoConsent, because });
                }
            }
        }
        let plain = |gate| move |reason| Stop { gate, reason, because: None };
        self.confidential(contact)
            .map(plain(Gate::Confidential))
            .or_else(|| contact_fault(contact, q).map(plain(Gate::ValidContact)))
            .or_else(|| self.content(contact, q.template.class(contact.channel)))
    }

    /// What somebody asked to be kept to one contact stays there; what a template marks as confidential goes to the
    /// patient's own contact alone; and what names nobody's family does not go where a family reads it.
    fn confidential(&self, contact: &Contact) -> Option<Reason> {
        let only = self.to.contacts.iter().any(|c| c.only);
        if only && !contact.only {
            return Some(Reason::ConfidentialContact);
        }
        let seen = self.q.addresses.iter().find(|seen| seen.address == contact.address);
        let (shared, of_several) = seen.map_or((false, false), |seen| self.readers_at(seen));
        if self.q.template.confidential && (!contact.private || shared) {
            return Some(Reason::ConfidentialContact);
        }
        // Whoever is a proxy of several reads alone what is about each of them.
        (of_several && !self.q.template.shared_address).then_some(Reason::SharedContact)
    }

    /// Whether several people stand behind an address, and whether it is several people's own. Children whose guardian
    /// is whoever reads here have no telephone beside the guardian's: what they list as theirs is one with it.
    fn readers_at(&self, seen: &AddressSeen) -> (bool, bool) {
        if seen.behind.is_empty() {
            return (seen.shared, seen.of_several);
        }
        let reader: Vec<Phi> =
            self.to.id.map(Proxy::key_of).into_iter().chain(self.proxy.map(Proxy::key)).collect();
        let today = self.q.now.to_zoned(self.q.zone.clone()).date();
        let reads_for = |patient: &Patient| {
            let guards = |p: &&Proxy| p.authority == Authority::Guardian && reader.contains(&p.key());
            patient.proxies.iter().filter(guards).any(|proxy| {
                let (purpose, majority) = (self.q.message.purpose, &self.q.rules.majority);
                stands_in(proxy, patient, ProxyMode::Instead, purpose, today, majority)
            })
        };
        let with_reader =
            |b: &&Behind| reader.contains(&Proxy::key_of(&b.patient.id)) || reads_for(&b.patient);
        let several = |of: &dyn Fn(&&Behind) -> bool| {
            let (theirs, others): (Vec<_>, Vec<_>) = seen.behind.iter().filter(of).partition(with_reader);
            others.len() + usize::from(!theirs.is_empty()) > 1
        };
        (several(&|_| true), several(&|b| b.own))
    }

    /// Whether the channel, and somebody who carries it, may see a text of this class.
    fn content(&self, contact: &Contact, class: PhiClass) -> Option<Stop> {
        let (q, channel) = (self.q, contact.channel);
        let stop = |reason, why: String| {
            Some(Stop { gate: Gate::Content, reason, because: Some(format!("its text is {class}, {why}")) })
        };
        let most = q.rules.phi.most(channel);
        if class > most {
            return stop(Reason::SensitiveContent, format!("{channel} may have {most}"));
        }
        if channel != Channel::Portal && class >= q.rules.phi.verified_from && contact.verified_at.is_none() {
            return stop(Reason::ContactUnverified, "the contact is not verified".to_owned());
        }
        let trusted = |s: &Served| s.channel == channel && (s.baa || class == PhiClass::Minimal);
        if q.served.iter().any(trusted) {
            return None;
        }
        stop(Reason::SensitiveContent, format!("no provider of {channel} has a baa"))
    }

    /// The gates that answer with a time: how often, and when in the day. Each may move the other on.
    fn when(&self, contact: &'a Contact) -> Way<'a> {
        let q = self.q;
        let never = |gate, reason| State::Never { gate, reason };
        let mut way = Way {
            contact,
            state: never(Gate::Route, Reason::PlanExhausted),
            pointer: false,
            because: None,
            hours: None,
        };
        if q.tried.iter().any(|t| t.route.channel == contact.channel && t.route.address == contact.address) {
            return way;
        }
        let until = contact.valid_until.map_or(self.expires_at, |until| until.min(self.expires_at));
        // What was sent only ages: a cap that has room once has room later, so the hours have the last word.
        let free = self.cap_opens(contact, q.now);
        let mut window = None;
        if q.message.disturbs {
            let place = self.place(contact);
            let answer = self.hours(contact, &place, free);
            way.hours = Some(answer.note(&place));
            window = match answer {
                Hours::Open { closes, .. } => Some(Window { opens: free, closes }),
                Hours::Closed { opens, .. } => opens,
            };
            if window.is_none() {
                way.state = never(Gate::QuietHours, Reason::QuietHours);
                return way;
            }
        }
        let at = window.map_or(free, |window| window.opens);
        let (gate, reason) = if free > q.now {
            way.because = Some(self.used(contact));
            (Gate::Cap, Reason::FrequencyCap)
        } else {
            (Gate::QuietHours, Reason::QuietHours)
        };
        way.state = if at <= q.now {
            let closes = window.and_then(|w| w.closes).unwrap_or(until);
            let agreed = self.agreed_until(contact).unwrap_or(until);
            State::Open(closes.min(agreed).min(until))
        } else if at >= until {
            never(gate, reason)
        } else {
            let opens = window.map_or(at, |w| w.release(q.rules.hours.spread, until, q.jitter));
            State::Later { gate, reason, opens }
        };
        way
    }

    /// When what they have agreed to, or took back and granted again, may end.
    fn agreed_until(&self, contact: &Contact) -> Option<Timestamp> {
        let ends = |said: &[Consent]| {
            ends_at(said, self.q.message.purpose, contact.channel, &contact.address, self.q.now)
        };
        [ends(self.to.consents), ends(self.at_addresses)].into_iter().flatten().min()
    }

    /// Where the reader may be, by all that is known of them.
    fn place(&self, contact: &Contact) -> Place {
        let is_number = |c: &&Contact| matches!(c.channel, Channel::Sms | Channel::Voice);
        let number = Some(contact).filter(is_number).or_else(|| self.to.contacts.iter().find(is_number));
        zones::place(&Known {
            timezone: self.to.timezone,
            address: self.to.address,
            phone: number.map(|c| c.address.expose()),
            site: self.q.site.zone,
            organisation: &self.q.rules.home,
            country: &self.q.rules.country,
        })
    }

    fn hours(&self, contact: &Contact, place: &Place, at: Timestamp) -> Hours {
        hours::hours(&hours::Question {
            table: &self.q.rules.hours,
            purpose: self.q.message.purpose,
            channel: contact.channel,
            place,
            site_quiet: self.q.site.quiet_hours,
            site_holidays: self.q.site.holidays,
            own_quiet: self.to.quiet_hours,
            at,
        })
    }

    /// The first instant from `from` on at which the caps of person and address allow one more.
    fn cap_opens(&self, contact: &Contact, from: Timestamp) -> Timestamp {
        let q = self.q;
        if !q.counts(contact.channel) {
            return from;
        }
        let theirs = self.at_address(contact);
        let next = |recent: &Recent| {
            // What is reserved today counts itself by tomorrow.
            let reserved = if from == q.now { q.reserved } else { 0 };
            let of = q.rules.cap.outreach(q.message.id, q.message.step);
            cap::next_allowed(&q.rules.cap, recent, of, reserved, q.zone, from)
        };
        // What fits in at some time fits in later: it only grows old meanwhile.
        next(self.recent).max(next(&theirs))
    }

    /// How much of the caps is used: of the person's or the address's, whichever is more.
    fn used(&self, contact: &Contact) -> String {
        let (q, rules) = (self.q, &self.q.rules.cap);
        let used = self.recent.used(q.now, q.zone).max(self.at_address(contact).used(q.now, q.zone));
        let of = |limit: u32| if limit == 0 { "any".to_owned() } else { limit.to_string() };
        let (day, week) = (of(rules.per_day), of(rules.per_week));
        format!("{} of {day} today, {} of {week} in seven days", used.day, used.week)
    }

    /// What was sent to the address this week, whoever it was for.
    fn at_address(&self, contact: &Contact) -> Cow<'_, Recent> {
        let seen = self.q.addresses.iter().find(|a| a.address == contact.address);
        seen.map_or_else(|| Cow::Owned(Recent::default()), |seen| Cow::Borrowed(&seen.recent))
    }
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
        let country = zones::country_of(contact.address.expose());
        if !country.is_some_and(|country| q.rules.countries.contains(&country)) {
            return Some(Reason::CountryNotAllowed);
        }
    }
    let served = q.served.iter().any(|s| s.channel == contact.channel);
    (!served).then_some(Reason::ProviderUnavailable)
}
