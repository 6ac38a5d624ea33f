//! What would become of a message, and nothing of it is written: the same policy, the same texts.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use super::asking::Asking;
use super::{budget, render, rules};
use crate::config::Config;
use crate::domain::patience::Patience;
use crate::domain::patient::Patient;
use crate::domain::words::{Channel, Reason, Recipient, SafetyMode};
use crate::policy::decide::{Decision, Gate, Verdict, decide};
use crate::policy::question::{Rules, Served};
use crate::store::rows::{Admission, DirectoryEntry};
use crate::template::{RecipientContext, RenderError, RenderRequest, Rendered, SharedCatalogue};

/// What opens and is held again, so often.
const LOOKS: usize = 2;

/// Looks ahead.
#[derive(Debug)]
pub struct Foresight {
    config: Arc<Config>,
    catalogue: Arc<SharedCatalogue>,
    rules: Rules,
    served: Vec<Served>,
    sites: render::Sites,
}

/// What would become of one message.
#[derive(Clone, Debug)]
pub struct Foreseen {
    pub gate: Gate,
    /// It goes out, at this instant at the earliest; or the reason for which it does not.
    pub outcome: Result<Sent, Reason>,
}

/// How it would go out.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Timestamp,
    /// Whose eyes it is for: a proxy may read in the patient's place.
    pub recipient: Recipient,
    /// The way that it takes first.
    pub first: ForeseenText,
    /// What follows at once, without waiting for anything: that the portal has it, or every other way in an emergency.
    pub then: Vec<ForeseenText>,
}

/// What goes out over one way.
#[derive(Clone, Debug)]
pub struct ForeseenText {
    pub channel: Channel,
    pub locale: String,
    /// Only that the portal has something.
    pub pointer: bool,
    /// In characters.
    pub length: usize,
    /// Of an SMS; 0 for other channels.
    pub segments: u32,
    /// In millionths of the configured currency.
    pub cost_micros: u64,
}

impl Foresight {
    /// Over this configuration and these templates.
    #[must_use]
    pub fn new(config: Arc<Config>, catalogue: Arc<SharedCatalogue>) -> Self {
        let (rules, served) = (rules::decisions(&config), served(&config));
        Self { sites: render::Sites::of(&config), rules, served, config, catalogue }
    }

    /// What would become of `admission` at `at`.
    #[must_use]
    pub fn of(&self, admission: &Admission, entry: &DirectoryEntry, at: Timestamp) -> Foreseen {
        let patient = entry.seen(admission.body.patient.as_deref());
        let (decision, now) = self.in_its_hours(admission, patient.as_deref(), entry, at);
        let outcome = match (&decision.verdict, patient.as_deref()) {
            (Verdict::Send { .. }, Some(patient)) => self.sent(admission, patient, entry, &decision, now),
            (Verdict::Hold { until: Some(until), .. }, _) if *until > now && !entry.unread => {
                Err(Reason::Expired)
            }
            (Verdict::Hold { reason, .. }, _) => Err(reason.unwrap_or(Reason::Paced)),
            (Verdict::Suppress(reason) | Verdict::Cancel(reason) | Verdict::GiveUp(reason), _) => {
                Err(*reason)
            }
            (Verdict::Expire | Verdict::Send { .. }, _) => Err(Reason::Expired),
        };
        Foreseen { gate: decision.gate, outcome }
    }

    /// When what becomes of `admission` at `at` is decided: then, or once the hour for it has come.
    #[must_use]
    pub fn opens(&self, admission: &Admission, entry: &DirectoryEntry, at: Timestamp) -> Timestamp {
        let patient = entry.seen(admission.body.patient.as_deref());
        self.in_its_hours(admission, patient.as_deref(), entry, at).1
    }

    /// What is held only for the hour is looked at again when it opens.
    fn in_its_hours(
        &self,
        admission: &Admission,
        patient: Option<&Patient>,
        entry: &DirectoryEntry,
        at: Timestamp,
    ) -> (Decision, Timestamp) {
        let mut now = at;
        let mut decision = self.ask(admission, patient, entry, now);
        for _ in 0..LOOKS {
            match decision.verdict {
                Verdict::Hold { until: Some(until), .. } if until > now && !entry.unread => now = until,
                _ => break,
            }
            decision = self.ask(admission, patient, entry, now);
        }
        (decision, now)
    }

    /// What goes out by this decision, and after it without a wait.
    fn sent(
        &self,
        admission: &Admission,
        patient: &Patient,
        entry: &DirectoryEntry,
        decision: &Decision,
        at: Timestamp,
    ) -> Result<Sent, Reason> {
        let text = |decision: &Decision, entry: &DirectoryEntry| {
            let Verdict::Send { route, pointer, .. } = &decision.verdict else { return Ok(None) };
            let reader = super::plan::reader(decision, patient, entry, at).ok_or(Reason::NoProxy)?;
            let (language, way) = (reader.language.as_deref(), (route.channel, *pointer));
            let rendered = self.render(admission, patient, reader.context(), language, way);
            rendered.map_err(|error| error.reason).map(|rendered| {
                let text = ForeseenText {
                    channel: route.channel,
                    pointer: *pointer,
                    length: rendered.content.text().expose().chars().count(),
                    locale: rendered.locale,
                    segments: rendered.segments,
                    cost_micros: budget::cost(
                        &self.config.limits,
                        route.channel,
                        route.address.expose(),
                        rendered.segments,
                    ),
                };
                Some((text, reader.recipient))
            })
        };
        let (first, recipient) = text(decision, entry)?.ok_or(Reason::NoContact)?;
        let (mut then, mut tried, mut last) = (Vec::new(), Cow::Borrowed(entry), decision.clone());
        while let Verdict::Send { route, patience: Some(Patience::NONE), .. } = last.verdict {
            tried.to_mut().tried.push((route, Reason::PlanExhausted));
            last = self.ask(admission, Some(patient), &tried, at);
            // One that cannot be written is not sent; those before it are.
            let Ok(Some((next, _))) = text(&last, &tried) else { break };
            then.push(next);
        }
        Ok(Sent { at, recipient, first, then })
    }

    /// The text about a patient of this name and place that whoever reads it would read over this channel in this
    /// language, or, as a pointer, only that the portal has it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn render(
        &self,
        admission: &Admission,
        patient: &Patient,
        recipient: RecipientContext<'_>,
        language: Option<&str>,
        (channel, pointer): (Channel, bool),
    ) -> Result<Rendered, RenderError> {
        let facts = &admission.facts;
        let letterhead = render::letterhead(&self.config, facts, patient, language);
        // As long as a real one.
        let public_url = self.config.http.public_url.as_deref();
        let link = public_url.map(|url| format!("{url}/u/{}", "0".repeat(22)));
        let request = RenderRequest {
            template: &facts.template,
            channel,
            languages: &letterhead.languages,
            data: &admission.body.data,
            patient: patient.name.as_ref(),
            recipient,
            site: self.sites.get(letterhead.site),
            organisation: &self.config.organisation.name,
            is_change: false,
            test: false,
            drafts: false,
            keypad: false,
            mailbox: false,
            digits: &[],
            unsubscribe_url: link.as_deref(),
            region: Some(letterhead.region),
        };
        self.catalogue.current().render_either(&request, pointer)
    }

    fn ask(
        &self,
        admission: &Admission,
        patient: Option<&Patient>,
        entry: &DirectoryEntry,
        now: Timestamp,
    ) -> Decision {
        let facts = &admission.facts;
        let catalogue = self.catalogue.current();
        let Some(template) = catalogue.get(&facts.template) else {
            return Decision::plain(Gate::Content, Verdict::Suppress(Reason::UnknownTemplate));
        };
        let manifest = &template.manifest;
        let asking = Asking {
            config: &self.config,
            rules: &self.rules,
            facts,
            body: &admission.body,
            // Who is unknown now is not waited for.
            work: None,
            along: false,
            patient,
            entry,
            manifest,
            pointers: catalogue.pointers(),
            channels: &manifest.channels,
            served: &self.served,
            hold: None,
            jitter: 0.0,
            now,
        };
        asking.ask(decide)
    }
}

/// What something can be sent over, by the configuration alone.
fn served(config: &Config) -> Vec<Served> {
    let captured = Channel::ALL.iter().map(|channel| Served { channel: *channel, baa: true });
    if config.safety.mode == SafetyMode::Capture {
        return captured.collect();
    }
    let mut served: Vec<Served> = Vec::new();
    for provider in &config.providers {
        let channel = provider.settings.channel();
        match served.iter_mut().find(|s| s.channel == channel) {
            Some(known) => known.baa |= provider.baa,
            None => served.push(Served { channel, baa: provider.baa }),
        }
    }
    if config.safety.mode == SafetyMode::AllowList {
        let real: Vec<Channel> = served.iter().map(|s| s.channel).collect();
        served.extend(captured.filter(|s| !real.contains(&s.channel)));
    }
    served
}
