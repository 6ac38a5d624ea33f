//! Messages in hand are decided upon, in batches: one read of the directory, one pure decision each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::{Corridor, InHand, Planned};
use crate::domain::consent::narrow;
use crate::domain::job::When;
use crate::domain::patient::Patient;
use crate::domain::phi::Phi;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason};
use crate::policy::decide::{Decision, Gate, HoldView, MessageView, Question, Tried, Verdict, decide};
use crate::store::rows::{Decided, Directory, DirectoryEntry, Hold, HoldScope, Release, Subject};

pub(super) async fn run(
    corridor: Arc<Corridor>,
    mut urgent: mpsc::Receiver<InHand>,
    mut normal: mpsc::Receiver<InHand>,
) {
    let most = usize::try_from(corridor.config.worker.batch).unwrap_or(500);
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            first = urgent.recv() => batch.extend(first),
            first = normal.recv() => batch.extend(first),
            () = super::life::drained(&corridor) => return,
        }
        for queue in [&mut urgent, &mut normal] {
            while batch.len() < most
                && let Ok(hand) = queue.try_recv()
            {
                batch.push(hand);
            }
        }
        if corridor.stopping.is_cancelled() {
            let leases = batch.iter().map(|hand| release(hand, None)).collect();
            corridor.release(leases).await;
        } else {
            plan(&corridor, batch).await;
        }
    }
}

async fn plan(corridor: &Corridor, batch: Vec<InHand>) {
    let subjects: Vec<Subject> = batch.iter().map(subject).collect();
    let Some(directory) = read(corridor, &subjects).await else {
        // The lease is left to run out: the ledger is away, or this worker is stopping.
        return;
    };
    let mut decided = Vec::new();
    let mut back = Vec::new();
    for (hand, entry) in batch.into_iter().zip(&directory.entries) {
        match settle_one(corridor, hand, entry, &directory) {
            Outcome::Queued => {}
            Outcome::Decided(row) => decided.push(*row),
            Outcome::NoRoom(lease) => back.push(lease),
        }
    }
    if !decided.is_empty() {
        if let Err(error) = corridor.store.decide(&decided).await {
            tracing::warn!(%error, messages = decided.len(), "decisions could not be written; they are made again");
        }
        corridor.told.notify_one();
    }
    corridor.release(back).await;
}

/// Asks until the ledger answers: what is in hand stays in hand through a short outage.
async fn read(corridor: &Corridor, subjects: &[Subject]) -> Option<Directory> {
    let give_up = Instant::now() + corridor.config.worker.lease_local;
    loop {
        let asked = Instant::now();
        match corridor.store.directory(subjects).await {
            Ok(directory) => {
                corridor.clock.read(asked, Instant::now(), directory.now);
                return Some(directory);
            }
            Err(error) => {
                tracing::warn!(%error, messages = subjects.len(), "the directory could not be read")
            }
        }
        if Instant::now() > give_up || corridor.stopping.is_cancelled() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

enum Outcome {
    Queued,
    Decided(Box<Decided>),
    NoRoom(Release),
}

fn settle_one(corridor: &Corridor, hand: InHand, entry: &DirectoryEntry, directory: &Directory) -> Outcome {
    let patient = person(&hand, entry);
    let hold = covering(&hand, directory);
    let decision = judge(corridor, &hand, patient.as_deref(), entry, directory, hold);
    let explanation = kept(&decision, directory.now);
    let (Verdict::Send { route, valid_until, .. }, Some(patient)) = (decision.verdict.clone(), patient)
    else {
        let mut row = row(&hand, &decision, directory.now, explanation);
        row.held_by = hold.filter(|_| decision.gate == Gate::Hold).map(|hold| hold.id);
        return Outcome::Decided(Box::new(row));
    };
    let planned = Planned { hand, route, patient, state: entry.state.clone(), valid_until, explanation };
    let Some(lane) = super::lane::choose(corridor, &planned) else {
        let none = Decision { gate: Gate::Route, verdict: Verdict::Suppress(Reason::ProviderUnavailable) };
        let explanation = kept(&none, directory.now);
        return Outcome::Decided(Box::new(row(&planned.hand, &none, directory.now, explanation)));
    };
    let facts = &planned.hand.facts;
    let stop =
        directory.holds.iter().find(|h| h.covers(facts, Some(lane.channel), Some(lane.provider.name())));
    if let Some(hold) = stop {
        let held = held_by(hold, &planned.hand);
        let explanation = kept(&held, directory.now);
        let mut row = row(&planned.hand, &held, directory.now, explanation);
        row.channel = Some(lane.channel);
        row.held_by = Some(hold.id);
        return Outcome::Decided(Box::new(row));
    }
    let (priority, channel) = (facts.priority, lane.channel);
    match lane.queue.offer(priority, planned) {
        Ok(()) => Outcome::Queued,
        Err(planned) => Outcome::NoRoom(release(&planned.hand, Some(channel))),
    }
}

fn judge(
    corridor: &Corridor,
    hand: &InHand,
    patient: Option<&Patient>,
    entry: &DirectoryEntry,
    directory: &Directory,
    hold: Option<&Hold>,
) -> Decision {
    let catalogue = corridor.catalogue.current();
    let Some(template) = catalogue.get(&hand.facts.template) else {
        return Decision { gate: Gate::Route, verdict: Verdict::Suppress(Reason::UnknownTemplate) };
    };
    let of_template = &template.manifest.channels;
    let fitting: Vec<Channel> =
        of_template.iter().copied().filter(|c| !hand.unfit.iter().any(|(unfit, _)| unfit == c)).collect();
    if let (true, Some((_, reason))) = (fitting.is_empty(), hand.unfit.first()) {
        return Decision { gate: Gate::Route, verdict: Verdict::GiveUp(*reason) };
    }
    let served = super::lane::channels_served(corridor, &hand.facts);
    let hold = hold.map(|h| HoldView { until: h.asks_again(), cause: h.cause });
    let tried: Vec<Tried> =
        entry.tried.iter().map(|(route, reason)| Tried { route: route.clone(), reason: *reason }).collect();
    decide(&Question {
        message: MessageView {
            purpose: hand.facts.purpose,
            channels: hand.body.channels.as_deref(),
            accepted_at: hand.work.accepted_at,
            not_before: hand.body.not_before,
            expires_at: hand.body.expires_at,
            cancelled: hand.work.cancelled,
        },
        patient,
        address_consents: &entry.address_consents,
        template_channels: &fitting,
        channels_served: &served,
        hold,
        tried: &tried,
        rules: &corridor.rules,
        zone: &zone(corridor, hand, patient),
        now: directory.now,
    })
}

/// The hold that stops the message whichever way it would go.
fn covering<'d>(hand: &InHand, directory: &'d Directory) -> Option<&'d Hold> {
    directory.holds.iter().find(|h| {
        !matches!(h.scope, HoldScope::Channel | HoldScope::Provider) && h.covers(&hand.facts, None, None)
    })
}

/// What is kept of a decision with its message. Words, numbers and times always serialise.
fn kept(decision: &Decision, now: Timestamp) -> String {
    serde_json::to_string(&decision.explanation(now)).unwrap_or_default()
}

fn held_by(hold: &Hold, hand: &InHand) -> Decision {
    let expires = match hand.body.expires_at {
        When::At(at) => at,
        When::Local(_) => Timestamp::MAX,
    };
    let until = hold.asks_again().map_or(expires, |until| until.min(expires));
    Decision { gate: Gate::Hold, verdict: Verdict::Hold { until: Some(until), reason: Some(hold.cause) } }
}

/// The patient as this message may see them: an inline snapshot narrows, and never widens.
fn person(hand: &InHand, entry: &DirectoryEntry) -> Option<Arc<Patient>> {
    match &hand.body.patient {
        Some(inline) => Some(Arc::new(narrow(entry.patient.as_deref(), inline))),
        None => entry.patient.clone(),
    }
}

fn zone(corridor: &Corridor, hand: &InHand, patient: Option<&Patient>) -> TimeZone {
    let of_patient = patient.and_then(|p| p.timezone.as_deref()).and_then(|name| TimeZone::get(name).ok());
    let place = hand.facts.site.as_ref().or_else(|| patient.and_then(|p| p.site.as_ref()));
    of_patient
        .or_else(|| place.and_then(|id| corridor.config.site(id)).map(|site| site.timezone.clone()))
        .unwrap_or_else(|| corridor.config.organisation.timezone.clone())
}

fn subject(hand: &InHand) -> Subject {
    let inline = hand.body.patient.iter().flat_map(|p| p.contacts.iter().map(|c| c.address.clone()));
    Subject {
        message: hand.facts.id,
        patient: hand.facts.patient_id.clone(),
        inline_addresses: inline.collect::<Vec<Phi>>(),
        step: hand.work.step,
    }
}

/// The decision as the ledger keeps it. A message whose status has left rank 0 keeps it: only its due time moves.
fn row(hand: &InHand, decision: &Decision, now: Timestamp, explanation: String) -> Decided {
    let under_way = hand.work.status.rank().is_some_and(|rank| rank > 0);
    let (status, reason, due_at) = match decision.verdict {
        Verdict::Hold { until, reason } => {
            let status = if reason.is_none() { MessageStatus::Scheduled } else { MessageStatus::Held };
            (if under_way { hand.work.status } else { status }, reason, Some(until.unwrap_or(Timestamp::MAX)))
        }
        Verdict::GiveUp(reason) => (MessageStatus::Failed, Some(reason), None),
        // What may have reached somebody can no longer be called suppressed.
        _ if hand.work.status == MessageStatus::Unknown => {
            (MessageStatus::Unknown, Some(Reason::OutcomeUnknown), None)
        }
        Verdict::Suppress(reason) => (MessageStatus::Suppressed, Some(reason), None),
        Verdict::Cancel(reason) => (MessageStatus::Cancelled, Some(reason), None),
        Verdict::Expire => (MessageStatus::Expired, Some(Reason::Expired), None),
        Verdict::Send { .. } => (MessageStatus::Failed, Some(Reason::NoContact), None),
    };
    Decided {
        facts: (*hand.facts).clone(),
        token: hand.work.token,
        status,
        reason,
        due_at,
        channel: None,
        held_by: None,
        explanation,
        at: now,
    }
}

pub(super) fn release(hand: &InHand, channel: Option<Channel>) -> Release {
    Release { message: hand.facts.id, token: hand.work.token, channel, due_at: None }
}
