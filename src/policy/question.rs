//! What a decision rests on, and the configured part of the rules.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::cap::{CapRules, Recent};
use super::person::MajorityAge;
use crate::domain::hours::HoursTable;
use crate::domain::ids::MessageId;
use crate::domain::job::When;
use crate::domain::outbound::Route;
use crate::domain::patience::Patience;
use crate::domain::patient::{Consent, Contact, Patient, QuietHours};
use crate::domain::phi::Phi;
use crate::domain::words::{Channel, PhiClass, Priority, Purpose, Reason};

/// Everything the decision rests on.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub message: MessageView<'a>,
    /// `None`: not in the directory (and no inline snapshot).
    pub patient: Option<&'a Patient>,
    /// A record that the answer would rest on is there, and cannot be read.
    pub unread: bool,
    /// Proxies' own records, in the order of the patient's proxies; `None`: no patient of ours.
    pub proxies: &'a [Option<&'a Patient>],
    /// What was said at addresses, by whomever stands behind them.
    pub address_consents: &'a [Consent],
    /// What is known of addresses; one that is missing is nobody else's and was not written to.
    pub addresses: &'a [AddressSeen],
    /// The messages of this week that were sent to the patient, then to each proxy, in the order of `proxies`.
    pub recent: &'a [Recent],
    /// Messages to them that are due within a day and go before this one.
    pub reserved: u32,
    pub template: TemplateView<'a>,
    /// What something can be sent over at all: a provider is configured.
    pub served: &'a [Served],
    /// The end of the hold that covers this message, if one does.
    pub hold: Option<HoldView>,
    /// Routes of earlier steps.
    pub tried: &'a [Tried],
    pub rules: &'a Rules,
    /// The recipient's zone, or the site's, or the organisation's: days and local times are counted in it.
    pub zone: &'a TimeZone,
    pub site: SiteView<'a>,
    /// From 0 up to 1: what opens for many at once is let go over a while.
    pub jitter: f64,
    /// The database's clock.
    pub now: Timestamp,
}

impl Question<'_> {
    /// Whether a message over this channel counts towards the caps.
    #[must_use]
    pub fn counts(&self, channel: Channel) -> bool {
        self.message.disturbs
            && !self.message.lifts_cap
            && self.rules.purpose(self.message.purpose).capped
            && self.rules.cap.counts(channel)
    }

    /// Whether it is this contact's portal, and the text got through to it.
    #[must_use]
    pub fn has(&self, contact: &Contact) -> bool {
        let is_it = |t: &Tried| {
            t.got_through() && t.route.channel == contact.channel && t.route.address == contact.address
        };
        contact.channel == Channel::Portal && self.tried.iter().any(is_it)
    }
}

/// What the decision needs of the message.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    pub id: MessageId,
    pub purpose: Purpose,
    pub priority: Priority,
    /// The caller's narrowing of channels.
    pub channels: Option<&'a [Channel]>,
    pub accepted_at: Timestamp,
    pub not_before: Option<When>,
    pub expires_at: When,
    /// A cancel has come for it.
    pub cancelled: Option<Reason>,
    /// Of its plan, from 0.
    pub step: u16,
    /// An earlier step got through, or may have: another is taken only because the plan says so.
    pub reached: bool,
    /// It disturbs somebody: a test does not.
    pub disturbs: bool,
    /// A correction that was approved as one: the caps neither count it nor hold it back.
    pub lifts_cap: bool,
    /// Of a copy: the key of the proxy that it is for.
    pub copy_for: Option<&'a Phi>,
    /// Another one goes to its reader today, and its template tells a day together: it may go along before its hour,
    /// and not before its day.
    pub along: bool,
}

/// What the decision needs of the place that writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SiteView<'a> {
    /// Its zone, where it is configured.
    pub zone: Option<&'a TimeZone>,
    /// When its patients are not disturbed.
    pub quiet_hours: Option<QuietHours>,
    /// Days on which it is closed.
    pub holidays: &'a [Date],
}

/// What the decision needs of the template.
#[derive(Clone, Copy, Debug)]
pub struct TemplateView<'a> {
    /// Its channels, in its own order.
    pub channels: &'a [Channel],
    /// What its text reveals, for each of these channels.
    pub classes: &'a [(Channel, PhiClass)],
    /// Only to contacts that are the patient's own.
    pub confidential: bool,
    /// May go to an address that several patients share.
    pub shared_address: bool,
    /// How long each channel is waited for before the next way is taken as well; empty: until it has failed.
    pub waits: &'a [(Channel, Patience)],
    /// Over which a text can go that only points to the portal; empty: none does.
    pub pointers: &'a [Channel],
}

impl TemplateView<'_> {
    /// How long a message over `channel` is waited for.
    #[must_use]
    pub fn patience(&self, channel: Channel) -> Option<Patience> {
        self.waits.iter().find(|(c, _)| *c == channel).map(|(_, patience)| *patience)
    }

    /// What the text for `channel` reveals.
    #[must_use]
    pub fn class(&self, channel: Channel) -> PhiClass {
        self.classes.iter().find(|(c, _)| *c == channel).map_or(PhiClass::Sensitive, |(_, class)| *class)
    }
}

/// A channel, and whether somebody who carries it has signed an agreement to keep health information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    pub channel: Channel,
    pub baa: bool,
}

/// What is known of an address.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressSeen {
    pub address: Phi,
    /// Several patients stand behind it.
    pub shared: bool,
    /// Several patients have it as a contact of their own. A proxy of several patients has it once.
    pub of_several: bool,
    /// Who they are, where they are several and not too many to be told apart.
    pub behind: Vec<Behind>,
    /// The messages of this week that were sent to it, whoever they were for.
    pub recent: Recent,
}

/// A patient who stands behind an address.
#[derive(Clone, Debug, PartialEq)]
pub struct Behind {
    pub patient: Arc<Patient>,
    /// It is a contact of their own, not of a proxy's.
    pub own: bool,
}

/// A hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldView {
    /// `None`: until it is released.
    pub until: Option<Timestamp>,
    /// What placed it: a person, or the guard against surges.
    pub cause: Reason,
}

/// A route that an earlier step gave up, or does not wait for any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub route: Route,
    /// `plan_exhausted`: it got through, and its plan went on.
    pub reason: Reason,
}

impl Tried {
    /// Whether somebody has it there.
    #[must_use]
    pub fn got_through(&self) -> bool {
        self.reason == Reason::PlanExhausted
    }
}

/// The configured part of the rules.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long a job waits for its patient to be told to us.
    pub patient_grace: SignedDuration,
    /// ISO 3166-1 codes of countries that phone messages may go to; empty is all.
    pub countries: Vec<String>,
    pub purposes: Vec<(Purpose, PurposeRule)>,
    pub cap: CapRules,
    pub phi: PhiRules,
    pub majority: MajorityAge,
    /// When recipients may be disturbed.
    pub hours: HoursTable,
    /// The organisation's zone and country: of those of whom nothing else is known.
    pub home: TimeZone,
    pub country: String,
}

impl Rules {
    /// What holds for a purpose.
    #[must_use]
    pub fn purpose(&self, purpose: Purpose) -> PurposeRule {
        self.purposes.iter().find(|(p, _)| *p == purpose).map_or(PurposeRule::STRICT, |(_, rule)| *rule)
    }
}

/// What one purpose is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurposeRule {
    /// Nothing is sent without their word.
    pub needs_grant: bool,
    /// A machine may call without their word.
    pub voice_allowed: bool,
    /// Another way may be tried after one has failed.
    pub fallback_allowed: bool,
    /// Held back by the caps.
    pub capped: bool,
}

impl PurposeRule {
    /// Where nothing is said.
    const STRICT: Self =
        Self { needs_grant: true, voice_allowed: false, fallback_allowed: false, capped: true };
}

/// What may be revealed where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhiRules {
    pub sms: PhiClass,
    pub email: PhiClass,
    pub voice: PhiClass,
    pub portal: PhiClass,
    /// From this class on a contact must be verified as theirs; a portal knows who reads.
    pub verified_from: PhiClass,
}

impl PhiRules {
    /// The most that may go over a channel.
    #[must_use]
    pub const fn most(&self, channel: Channel) -> PhiClass {
        match channel {
            Channel::Sms => self.sms,
            Channel::Email => self.email,
            Channel::Voice => self.voice,
            Channel::Portal => self.portal,
        }
    }
}
