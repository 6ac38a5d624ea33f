//! The dry run: who would get what, over which channel, in which language, when, and what it costs. Nothing is written.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::drive::subject;
use super::{Office, Refused, takes_turns};
use crate::dispatch::{Foresight, sign_off};
use crate::domain::campaign::Plan;
use crate::domain::ids::{CampaignId, SiteId};
use crate::domain::patient::{Name, Patient};
use crate::domain::phi::Phi;
use crate::domain::words::{Channel, Reason, Recipient as RecipientKind};
use crate::intake::gatekeeper::Arrival;
use crate::policy::campaign::{Line, ready_at, turns, wakes, wave_of};
use crate::store::campaigns::{CampaignRow, Recipient};
use crate::store::rows::{Admission, Subject};
use crate::template::RecipientContext;

/// Recipients that are looked at in one go.
const BATCH: u32 = 500;

/// What would come of a campaign.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Forecast {
    /// Stands for what was looked at: list, plan and texts. An approval that names it is for nothing else.
    pub hash: String,
    pub recipients: u64,
    pub needs_approval: bool,
    pub would_get: u64,
    /// Of these, how many are read by somebody else in the patient's place.
    pub by_proxy: u64,
    /// Reason and how many.
    pub excluded: BTreeMap<&'static str, u64>,
    /// By the channel that each gets it over first.
    pub by_channel: BTreeMap<&'static str, u64>,
    pub by_language: BTreeMap<String, u64>,
    /// Hour in UTC and how many.
    pub by_hour: BTreeMap<String, u64>,
    /// Of every SMS, those too that follow at once to say that the portal has it; so is the cost.
    pub segments: u64,
    /// In the configured currency.
    pub cost: String,
    pub currency: String,
    pub first_send_at: Option<Timestamp>,
    pub last_send_at: Option<Timestamp>,
    pub samples: Vec<SampleText>,
}

/// The longest text of one channel and language that somebody of the audience would get, with an invented name in place
/// of theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SampleText {
    pub channel: Channel,
    pub language: String,
    /// It says only that the portal has something.
    pub pointer: bool,
    /// `None`: masked.
    pub text: Option<Phi>,
    pub segments: u32,
}

impl Forecast {
    /// Takes the texts out: they say what stands in the rows of the audience.
    pub fn mask(&mut self) {
        for sample in &mut self.samples {
            sample.text = None;
        }
    }
}

/// Where it stands: turns go on from one recipient to the next.
struct Walk {
    forecast: Forecast,
    micros: u64,
    /// Of each channel and language, and of pointers apart, the one with the longest text, from the place that writes it.
    longest: BTreeMap<(Channel, String, bool), (usize, Admission)>,
    /// By wave, and by when they may be written to: those who may at the same time come one after the other.
    next_turns: BTreeMap<(u16, Timestamp), Timestamp>,
    waves: BTreeMap<u16, WaveForecast>,
}

/// One wave, as if it were the first.
#[derive(Default)]
struct WaveForecast {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    by_hour: BTreeMap<Timestamp, u64>,
}

impl Office {
    /// Looks at everybody who still waits, by the directory as of now. The order within a wave is that of the rows.
    ///
    /// # Errors
    /// There is no such campaign, or the ledger is away.
    pub async fn dry_run(&self, id: &CampaignId) -> Result<Forecast, Refused> {
        let (row, now) = self.one(id).await?;
        sign_off::refresh(self.store.as_ref(), &self.catalogue).await?;
        let foresight = Foresight::new(self.config.clone(), self.catalogue.clone());
        let mut walk = Walk {
            forecast: Forecast {
                hash: self.hash(&row, &row.plan_text),
                recipients: row.size(),
                needs_approval: self.needs_approval(&row),
                currency: self.config.limits.currency.clone(),
                ..Forecast::default()
            },
            micros: 0,
            longest: BTreeMap::new(),
            next_turns: BTreeMap::new(),
            waves: BTreeMap::new(),
        };
        let mut after = 0;
        loop {
            let page = self.store.recipients(id, after, BATCH).await?;
            let Some(last) = page.last() else { break };
            after = last.ordinal;
            let batch: Vec<Recipient> = page
                .into_iter()
                .filter(|r| r.message_id.is_none() && r.reason.is_none())
                .map(|r| Recipient {
                    ordinal: r.ordinal,
                    patient: r.patient_id,
                    body: r.body,
                    ready_at: r.ready_at,
                })
                .collect();
            self.look(&row, &batch, &foresight, &mut walk, now).await?;
        }
        self.finish(&row, walk, &foresight)
    }

    async fn look(
        &self,
        row: &CampaignRow,
        batch: &[Recipient],
        foresight: &Foresight,
        walk: &mut Walk,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let subjects: Vec<Subject> = batch.iter().map(subject).collect();
        let directory = self.store.directory(&subjects).await?;
        let (plan, booking) = (&row.plan, self.booking(&row.plan));
        let today = now.to_zoned(self.config.organisation.timezone.clone()).date();
        for (recipient, entry) in batch.iter().zip(&directory.entries) {
            let known = entry.seen(recipient.body.patient.as_deref());
            let wave = wave_of(&plan.waves, known.as_deref(), today);
            let ready = ready_at(plan.start, known.as_deref(), &self.home(plan, known.as_deref()));
            // Their message is written when they have their turn, and expires so long after that.
            let admitted = |turn| self.foreseen(plan, recipient, ready, turn);
            let opens = |turn| admitted(turn).map_or(turn, |a| foresight.opens(&a, entry, turn));
            let at = walk.turn(plan, &booking.line(), (wave, ready), row.next_turn.max(now), opens);
            let admitted = admitted(at);
            let outcome = match &admitted {
                Ok(admission) => foresight.of(admission, entry, at).outcome,
                Err(reason) => Err(*reason),
            };
            match (outcome, admitted) {
                (Ok(sent), Ok(admission)) => {
                    let site = known.as_deref().and_then(|known| known.site.as_ref());
                    walk.note(&sent, &admission, site, wave);
                }
                (Err(reason), _) | (_, Err(reason)) => {
                    *walk.forecast.excluded.entry(reason.as_str()).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    /// The message of a recipient, as it is written at their turn.
    fn foreseen(
        &self,
        plan: &Plan,
        recipient: &Recipient,
        ready: Timestamp,
        turn: Timestamp,
    ) -> Result<Admission, Reason> {
        let job = plan.job(recipient.ordinal, &recipient.patient, &recipient.body, Some(ready));
        let arrival = Arrival { origin: "campaign".to_owned(), ..Arrival::default() };
        let mut admission = self
            .gatekeeper
            .admit(job.ok_or(Reason::Malformed)?, &arrival, turn)
            .map_err(|problems| problems.first().map_or(Reason::Malformed, |p| p.reason))?;
        admission.body.lifts_cap = plan.lifts_cap();
        Ok(admission)
    }

    fn finish(&self, row: &CampaignRow, mut walk: Walk, foresight: &Foresight) -> Result<Forecast, Refused> {
        walk.put_in_order(row);
        // Those of one zone may still be under way when the next one begins: all of them together take their time.
        let count = usize::try_from(walk.forecast.would_get).unwrap_or(usize::MAX);
        if let (Some(first), Some(last), true) =
            (walk.forecast.first_send_at, walk.forecast.last_send_at, count > 1)
        {
            let booking = self.booking(&row.plan);
            let (_, end) = turns(row.plan.pace.as_ref(), &booking.line(), first, Timestamp::MAX, count - 1);
            walk.forecast.last_send_at = Some(last.max(end));
        }
        walk.forecast.cost = crate::config::money::Money::from_micros(walk.micros).to_string();
        let name =
            Name { given: Some(Phi::new("Maximiliano")), family: Some(Phi::new("Fernández-Castellanos")) };
        for ((channel, language, pointer), (_, admission)) in &walk.longest {
            let patient =
                Patient { name: Some(name.clone()), ..Patient::bare(admission.facts.patient_id.clone()) };
            let (to, way) = (RecipientContext::PATIENT, (*channel, *pointer));
            if let Ok(rendered) = foresight.render(admission, &patient, to, Some(language), way) {
                walk.forecast.samples.push(SampleText {
                    channel: *channel,
                    language: language.clone(),
                    pointer: *pointer,
                    text: Some(rendered.content.text().clone()),
                    segments: rendered.segments,
                });
            }
        }
        Ok(walk.forecast)
    }
}

impl Walk {
    /// The turn of somebody who may be written to from an instant on. Whoever has theirs at night has it once it `opens`,
    /// and takes nobody's before.
    fn turn(
        &mut self,
        plan: &Plan,
        line: &Line<'_>,
        (wave, mut ready): (u16, Timestamp),
        from: Timestamp,
        opens: impl Fn(Timestamp) -> Timestamp,
    ) -> Timestamp {
        loop {
            let from = self.next_turns.get(&(wave, ready)).copied().unwrap_or_else(|| ready.max(from));
            let (turn, next) = turns(plan.pace.as_ref(), line, from, Timestamp::MAX, 1);
            let at = turn.first().copied().unwrap_or(Timestamp::MAX);
            let later = if takes_turns(plan) { wakes(at, opens(at), line, &opens) } else { None };
            let Some(later) = later else {
                self.next_turns.insert((wave, ready), next);
                return at;
            };
            ready = later;
        }
    }

    /// Waves wait for each other: each is later by those before it and its gap.
    fn put_in_order(&mut self, row: &CampaignRow) {
        let mut ended: Option<Timestamp> = None;
        for (wave, own) in std::mem::take(&mut self.waves) {
            let (Some(first), Some(last)) = (own.first, own.last) else { continue };
            let gap = row.plan.waves.get(usize::from(wave)).map_or(0, |wave| wave.gap_minutes);
            let opens = ended.and_then(|end| end.checked_add(SignedDuration::from_mins(gap.into())).ok());
            let late = opens.map_or(SignedDuration::ZERO, |opens| opens.duration_since(first));
            let late = late.max(SignedDuration::ZERO);
            let shifted = |at: Timestamp| at.checked_add(late).unwrap_or(Timestamp::MAX);
            for (hour, count) in own.by_hour {
                *self.forecast.by_hour.entry(hour_of(shifted(hour.max(first))).to_string()).or_default() +=
                    count;
            }
            self.forecast.first_send_at.get_or_insert(first);
            ended = Some(shifted(last));
        }
        self.forecast.last_send_at = ended;
    }

    fn note(
        &mut self,
        sent: &crate::dispatch::Sent,
        admission: &Admission,
        site: Option<&SiteId>,
        wave: u16,
    ) {
        let of_wave = self.waves.entry(wave).or_default();
        *of_wave.by_hour.entry(hour_of(sent.at)).or_default() += 1;
        of_wave.first = Some(of_wave.first.map_or(sent.at, |at| at.min(sent.at)));
        of_wave.last = Some(of_wave.last.map_or(sent.at, |at| at.max(sent.at)));
        let forecast = &mut self.forecast;
        forecast.would_get += 1;
        forecast.by_proxy += u64::from(sent.recipient == RecipientKind::Proxy);
        *forecast.by_channel.entry(sent.first.channel.as_str()).or_default() += 1;
        *forecast.by_language.entry(sent.first.locale.clone()).or_default() += 1;
        for text in std::iter::once(&sent.first).chain(&sent.then) {
            forecast.segments += u64::from(text.segments);
            self.micros = self.micros.saturating_add(text.cost_micros);
            let longest = self.longest.entry((text.channel, text.locale.clone(), text.pointer));
            match longest {
                Entry::Occupied(kept) if kept.get().0 >= text.length => {}
                longest => {
                    let mut admission = admission.clone();
                    admission.facts.site = admission.facts.site.or_else(|| site.cloned());
                    longest.insert_entry((text.length, admission));
                }
            }
        }
    }
}

/// The hour in which it lies.
fn hour_of(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second().div_euclid(3_600) * 3_600).unwrap_or(at)
}
