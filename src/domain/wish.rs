//! What patients ask for on their own page, and what becomes of their record by it. Pure.

use jiff::Timestamp;

use super::consent::{Answer, answer, merge, records};
use super::patient::{Consent, ConsentSource, Patient, Preference, QuietHours};
use super::phi::Phi;
use super::words::{Channel, Purpose};

/// The purposes that patients choose about. An emergency is not asked about.
pub const CHOSEN: [Purpose; 7] = [
    Purpose::Appointment,
    Purpose::Care,
    Purpose::Results,
    Purpose::Billing,
    Purpose::Prevention,
    Purpose::Survey,
    Purpose::Marketing,
];

/// One thing that a patient asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing more for this purpose over this channel; `None` is every one.
    Stop { purpose: Option<Purpose>, channel: Option<Channel> },
    /// Again over this channel (`None`: over those not stopped by themselves), but for what was stopped by its
    /// purpose and what needs an agreement of its own.
    Start { channel: Option<Channel> },
    /// The channels wanted for each of these purposes; none is an opt-out of the purpose.
    Choose(Vec<(Purpose, Vec<Channel>)>),
    /// The channel that is tried first; `None`: the patient does not mind.
    First(Option<Channel>),
    /// BCP-47.
    Language(String),
    /// `None`: only what the law and the clinic keep.
    QuietHours(Option<QuietHours>),
}

/// On what terms a wish is granted.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Purposes that nothing is sent for until the patient agrees.
    pub opt_in: &'a [Purpose],
    pub now: Timestamp,
    /// Where it was said; kept with what follows from it.
    pub evidence: &'a str,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq)]
pub struct Granted {
    pub patient: Patient,
    /// What has changed, in words for the record; empty: nothing.
    pub changes: Vec<String>,
}

/// Whether the patient wants `purpose` over `channel`: by what they and others on record have said, whatever stands
/// in the way besides.
#[must_use]
pub fn is_wanted(patient: &Patient, purpose: Purpose, channel: Channel, terms: &Terms<'_>) -> bool {
    if patient.preferences.iter().any(|p| p.purpose == purpose && p.channels.is_empty()) {
        return false;
    }
    let free = !terms.opt_in.contains(&purpose);
    let said = |address: &Phi| answer(&patient.consents, purpose, channel, address, terms.now);
    let mut own = patient.contacts.iter().filter(|c| c.channel == channel).peekable();
    if own.peek().is_none() {
        return match said(&Phi::default()) {
            Answer::Granted(_) => true,
            Answer::Revoked(_) => false,
            Answer::Unsaid | Answer::Expired(_) => free,
        };
    }
    own.any(|contact| match said(&contact.address) {
        Answer::Granted(grant) => free || grant.is_of(contact),
        Answer::Revoked(_) => false,
        Answer::Unsaid | Answer::Expired(_) => free,
    })
}

impl Wish {
    /// The patient once the wish is granted.
    #[must_use]
    pub fn grant(&self, patient: &Patient, terms: &Terms<'_>) -> Granted {
        let mut draft = Draft { patient: patient.clone(), terms, said: Vec::new(), changes: Vec::new() };
        match self {
            Self::Stop { purpose, channel } => draft.stop(*purpose, *channel),
            Self::Start { channel } => draft.start(*channel),
            Self::Choose(choices) => {
                choices.iter().for_each(|(purpose, wanted)| draft.choose(*purpose, wanted));
            }
            Self::First(channel) => draft.first(*channel),
            Self::Language(tag) => draft.language(tag),
            Self::QuietHours(hours) => draft.quiet_hours(*hours),
        }
        draft.patient.consents = merge(&patient.consents, draft.said);
        Granted { patient: draft.patient, changes: draft.changes }
    }

    /// The words under which it goes on record.
    #[must_use]
    pub fn words(&self) -> String {
        let purpose = |p: Option<Purpose>| p.map_or("every purpose", Purpose::as_str);
        let channel = |c: Option<Channel>| c.map_or("every channel", Channel::as_str);
        match self {
            Self::Stop { purpose: p, channel: c } => format!("stop {} {}", purpose(*p), channel(*c)),
            Self::Start { channel: c } => format!("start {}", channel(*c)),
            Self::Choose(_) => "choose".to_owned(),
            Self::First(Some(c)) => format!("first {c}"),
            Self::First(None) => "first any".to_owned(),
            Self::Language(tag) => format!("language {tag}"),
            Self::QuietHours(Some(hours)) => {
                format!(
                    "quiet_hours {:02}:{:02} {:02}:{:02}",
                    hours.start.hour(),
                    hours.start.minute(),
                    hours.end.hour(),
                    hours.end.minute()
                )
            }
            Self::QuietHours(None) => "quiet_hours none".to_owned(),
        }
    }
}

/// A patient while a wish is granted.
struct Draft<'a> {
    patient: Patient,
    terms: &'a Terms<'a>,
    /// Consents to be joined with those on record.
    said: Vec<Consent>,
    changes: Vec<String>,
}

impl Draft<'_> {
    fn stop(&mut self, purpose: Option<Purpose>, channel: Option<Channel>) {
        let within = |p: &Purpose| purpose.is_none_or(|asked| asked == *p);
        let over = |c: &&Channel| channel.is_none_or(|asked| asked == **c);
        let anything_left = Purpose::ALL
            .iter()
            .filter(|p| within(p))
            .any(|p| Channel::ALL.iter().filter(over).any(|c| is_wanted(&self.patient, *p, *c, self.terms)));
        let stands = self.patient.consents.iter().any(|c| {
            !c.granted
                && c.source == ConsentSource::Patient
                && c.address.is_none()
                && (c.purpose.is_none() || c.purpose == purpose)
                && (c.channel.is_none() || c.channel == channel)
        });
        if anything_left || !stands {
            self.say(false, purpose, channel, None);
            self.changes.push(Wish::Stop { purpose, channel }.words());
        }
    }

    fn start(&mut self, channel: Option<Channel>) {
        let mut started = false;
        for purpose in CHOSEN.iter().copied().filter(|p| !self.terms.opt_in.contains(p)) {
            if self.is_stopped_by_itself(purpose, channel) {
                continue;
            }
            match channel {
                Some(channel) if !is_wanted(&self.patient, purpose, channel, self.terms) => {
                    self.allow(purpose, channel);
                    started = true;
                }
                None if self.everything_is_stopped() => {
                    self.say(true, Some(purpose), None, None);
                    started = true;
                }
                _ => {}
            }
        }
        if started {
            self.changes.push(Wish::Start { channel }.words());
        }
    }

    /// Whether the patient spoke against this very purpose, here or altogether: that is taken back by name only.
    fn is_stopped_by_itself(&self, purpose: Purpose, channel: Option<Channel>) -> bool {
        self.patient.preferences.iter().any(|p| p.purpose == purpose && p.channels.is_empty())
            || self.patient.consents.iter().any(|c| {
                !c.granted
                    && c.purpose == Some(purpose)
                    && c.address.is_none()
                    && (c.channel.is_none() || c.channel == channel)
            })
    }

    fn everything_is_stopped(&self) -> bool {
        let of_all =
            |c: &Consent| !c.granted && c.purpose.is_none() && c.channel.is_none() && c.address.is_none();
        self.patient.consents.iter().any(of_all)
            && CHOSEN
                .iter()
                .all(|p| Channel::ALL.iter().all(|c| !is_wanted(&self.patient, *p, *c, self.terms)))
    }

    fn choose(&mut self, purpose: Purpose, wanted: &[Channel]) {
        let before: Vec<Channel> = self.wanted_of(purpose);
        if Channel::ALL.iter().all(|c| wanted.contains(c) == before.contains(c)) {
            return;
        }
        if wanted.is_empty() {
            self.say(false, Some(purpose), None, None);
            self.prefer(purpose, Vec::new());
        } else {
            let opted_out = |p: &Preference| p.purpose == purpose && p.channels.is_empty();
            if self.patient.preferences.iter().any(opted_out) {
                self.prefer(purpose, wanted.to_vec());
            }
            for channel in Channel::ALL.iter().copied() {
                match (before.contains(&channel), wanted.contains(&channel)) {
                    (false, true) => self.allow(purpose, channel),
                    (true, false) => self.say(false, Some(purpose), Some(channel), None),
                    // Its opt-out may have ended just now, with a revocation left that nobody sees.
                    (false, false) if before.is_empty() => {
                        self.say(false, Some(purpose), Some(channel), None);
                    }
                    _ => {}
                }
            }
        }
        let list = wanted.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(",");
        let list = if list.is_empty() { "none" } else { &list };
        self.changes.push(format!("choose {purpose} {list}"));
    }

    fn wanted_of(&self, purpose: Purpose) -> Vec<Channel> {
        let wanted = |c: &Channel| is_wanted(&self.patient, purpose, *c, self.terms);
        Channel::ALL.iter().copied().filter(wanted).collect()
    }

    /// Agrees to one purpose over one channel. An agreement that the law asks for holds for the addresses as they are
    /// now: it does not move to a new number. Any other lifts what was said against single addresses, too.
    fn allow(&mut self, purpose: Purpose, channel: Channel) {
        let opt_in = self.terms.opt_in.contains(&purpose);
        let against = |address: &Phi| {
            records(&self.patient.consents).any(|c| !c.granted && c.address.as_ref() == Some(address))
        };
        let named: Vec<Phi> =
            addresses(&self.patient, channel).filter(|a| opt_in || against(a)).cloned().collect();
        if !opt_in {
            self.say(true, Some(purpose), Some(channel), None);
        }
        for address in named {
            self.say(true, Some(purpose), Some(channel), Some(address));
        }
    }

    fn first(&mut self, channel: Option<Channel>) {
        let front = |list: &[Channel], first: Channel| -> Vec<Channel> {
            std::iter::once(first).chain(list.iter().copied().filter(|c| *c != first)).collect()
        };
        let before = self.patient.clone();
        match channel {
            None => self.patient.preferred_channels.clear(),
            Some(first) => {
                self.patient.preferred_channels = front(&self.patient.preferred_channels, first);
                for own in self.patient.preferences.iter_mut().filter(|p| !p.channels.is_empty()) {
                    let order = front(&own.channels, first);
                    if order != own.channels {
                        own.channels = order;
                        own.updated_at = Some(self.terms.now);
                    }
                }
            }
        }
        if self.patient != before {
            self.patient.own_words.preferred_channels = Some(self.terms.now);
            self.changes.push(Wish::First(channel).words());
        }
    }

    fn language(&mut self, tag: &str) {
        if self.patient.language.as_deref() != Some(tag) {
            self.patient.language = Some(tag.to_owned());
            self.patient.own_words.language = Some(self.terms.now);
            self.changes.push(Wish::Language(tag.to_owned()).words());
        }
    }

    fn quiet_hours(&mut self, hours: Option<QuietHours>) {
        if self.patient.quiet_hours != hours {
            self.patient.quiet_hours = hours;
            self.patient.own_words.quiet_hours = Some(self.terms.now);
            self.changes.push(Wish::QuietHours(hours).words());
        }
    }

    fn prefer(&mut self, purpose: Purpose, channels: Vec<Channel>) {
        let stated = Preference { purpose, channels, updated_at: Some(self.terms.now) };
        match self.patient.preferences.iter_mut().find(|p| p.purpose == purpose) {
            Some(known) => *known = stated,
            None => self.patient.preferences.push(stated),
        }
        self.patient.preferences.sort_by_key(|p| p.purpose);
    }

    fn say(
        &mut self,
        granted: bool,
        purpose: Option<Purpose>,
        channel: Option<Channel>,
        address: Option<Phi>,
    ) {
        self.said.push(Consent {
            purpose,
            channel,
            address,
            granted,
            at: self.terms.now,
            source: ConsentSource::Patient,
            by: None,
            evidence: Some(self.terms.evidence.to_owned()),
            expires_at: None,
            shadow: None,
        });
    }
}

fn addresses(patient: &Patient, channel: Channel) -> impl Iterator<Item = &Phi> {
    patient.contacts.iter().filter(move |c| c.channel == channel).map(|c| &c.address)
}

#[cfg(test)]
mod tests;
