//! The question that policy is asked of one message, made of what is known of it, its reader, its template and its place:
//! in one way, whether it is decided upon or only looked ahead to.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::Config;
use crate::domain::patient::Patient;
use crate::domain::words::{Channel, PhiClass};
use crate::policy::cap::Recent;
use crate::policy::question::{
    AddressSeen, HoldView, MessageView, Question, Rules, Served, SiteView, TemplateView, Tried,
};
use crate::policy::zones;
use crate::store::rows::{AddressState, DirectoryEntry, JobBody, MessageFacts, Work};
use crate::template::Manifest;

/// What is asked about.
pub(super) struct Asking<'a> {
    pub(super) config: &'a Config,
    pub(super) rules: &'a Rules,
    pub(super) facts: &'a MessageFacts,
    pub(super) body: &'a JobBody,
    /// How far it has come; `None`: it is not written yet, and waits for nobody.
    pub(super) work: Option<&'a Work>,
    /// Another one goes to its reader today, and its template tells a day together.
    pub(super) along: bool,
    /// As this message may see them.
    pub(super) patient: Option<&'a Patient>,
    pub(super) entry: &'a DirectoryEntry,
    pub(super) manifest: &'a Manifest,
    /// The channels over which the catalogue has a text that only points to the portal.
    pub(super) pointers: &'a [Channel],
    /// Those of the template's channels over which it fits.
    pub(super) channels: &'a [Channel],
    pub(super) served: &'a [Served],
    pub(super) hold: Option<HoldView>,
    pub(super) jitter: f64,
    pub(super) now: Timestamp,
}

impl Asking<'_> {
    /// Makes the question, and asks with it.
    pub(super) fn ask<T>(&self, with: impl FnOnce(&Question<'_>) -> T) -> T {
        let (manifest, entry) = (self.manifest, self.entry);
        let classes: Vec<(Channel, PhiClass)> =
            self.channels.iter().map(|c| (*c, manifest.phi(*c))).collect();
        let waits: Vec<_> =
            self.channels.iter().filter_map(|c| Some((*c, manifest.plan.patience(*c)?))).collect();
        let tried = entry.tried.iter().map(|(route, reason)| Tried { route: route.clone(), reason: *reason });
        let proxies: Vec<Option<&Patient>> = entry.proxies.iter().map(Option::as_deref).collect();
        let recent: Vec<Recent> = entry.recent.iter().map(|text| Recent::parse(text.as_deref())).collect();
        let addresses: Vec<AddressSeen> = entry.addresses.iter().map(seen).collect();
        with(&Question {
            message: self.message(),
            patient: self.patient,
            unread: entry.unread,
            proxies: &proxies,
            address_consents: &entry.address_consents,
            addresses: &addresses,
            recent: &recent,
            reserved: entry.reserved,
            template: TemplateView {
                channels: self.channels,
                classes: &classes,
                confidential: manifest.confidential,
                shared_address: manifest.shared_address,
                waits: &waits,
                pointers: if self.config.policy.phi.pointer { self.pointers } else { &[] },
            },
            served: self.served,
            hold: self.hold,
            tried: &tried.collect::<Vec<_>>(),
            rules: self.rules,
            zone: &self.zone(),
            site: self.site(),
            jitter: self.jitter,
            now: self.now,
        })
    }

    fn message(&self) -> MessageView<'_> {
        let work = self.work;
        MessageView {
            id: self.facts.id,
            purpose: self.facts.purpose,
            priority: self.facts.priority,
            channels: self.body.channels.as_deref(),
            accepted_at: work.map_or(Timestamp::UNIX_EPOCH, |work| work.accepted_at),
            not_before: self.body.not_before,
            expires_at: self.body.expires_at,
            cancelled: work.and_then(|work| work.cancelled),
            step: work.map_or(0, |work| work.step),
            // What is only looked ahead to has got through wherever it is thought to have been sent.
            reached: work.map_or(!self.entry.tried.is_empty(), |work| work.reached),
            disturbs: !self.facts.test,
            lifts_cap: self.body.lifts_cap,
            copy_for: self.body.copy.as_ref().map(|copy| &copy.proxy),
            along: self.along,
        }
    }

    /// The place that writes: the job's, else the patient's own.
    fn site(&self) -> SiteView<'_> {
        let id = self.facts.site.as_ref().or_else(|| self.patient.and_then(|p| p.site.as_ref()));
        id.and_then(|id| self.config.site(id)).map_or_else(SiteView::default, |site| SiteView {
            zone: site.zone(),
            quiet_hours: site.quiet_hours,
            holidays: &site.holidays,
        })
    }

    fn zone(&self) -> TimeZone {
        let own = self.patient.and_then(|p| p.timezone.as_deref()).and_then(zones::stated);
        own.or_else(|| self.site().zone.cloned()).unwrap_or_else(|| self.config.organisation.timezone.clone())
    }
}

fn seen(state: &AddressState) -> AddressSeen {
    AddressSeen {
        address: state.address.clone(),
        shared: state.shared,
        of_several: state.of_several,
        behind: state.behind.clone(),
        recent: Recent::parse(state.recent.as_deref()),
    }
}
