//! Messages in hand are decided upon, in batches: one read of the directory, one pure decision each.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::asking::Asking;
use super::choice::{Choice, choose};
use super::{Corridor, InHand, Outliving, Planned, Reader, company, sign_off};
use crate::config::span;
use crate::domain::ids::MessageId;
use crate::domain::job::When;
use crate::domain::patient::Patient;
use crate::domain::phi::Phi;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, PhiClass, Priority, Purpose, Reason, Recipient};
use crate::policy::cap::{Outreach, Recent};
use crate::policy::decide::{Decision, Gate, UNREAD, Verdict, copies, decide, instant, only_along};
use crate::policy::person::Addressee;
use crate::policy::question::HoldView;
use crate::store::rows::{
    Count, Counted, Decided, Directory, DirectoryEntry, Hold, HoldScope, OnRelease, Over, Release, Subject,
};
use crate::template::Within;

/// For so long others go first.
pub(super) const PASSED_OVER: SignedDuration = SignedDuration::from_millis(250);
/// A message whose campaign was approved with other templates is looked at again after so long, half of it more or less:
/// after one and the same time for all, whoever gave them back would be the one that looks just when they are due.
const UNAPPROVED: SignedDuration = SignedDuration::from_millis(500);
/// A message whose template this worker lacks is looked at again after so long.
const UNKNOWN_TEMPLATE: SignedDuration = SignedDuration::from_secs(5);
/// Where every provider of a channel is held, whether one was released is looked at again after so long, and up to twice
/// as long, so that they do not all come at once.
const ANOTHER_RELEASED: Duration = Duration::from_secs(300);

pub(super) async fn run(corridor: Arc<Corridor>, handed: Outliving<Vec<InHand>>) {
    let mut handed = handed.lock().await;
    let most = corridor.config.worker.batch();
    // Handed over with others, and more than a batch takes.
    let mut rest = Vec::new();
    // They look for company again in a moment.
    let mut aside: Vec<(Instant, InHand)> = Vec::new();
    loop {
        if rest.is_empty() {
            let next = aside.iter().map(|(at, _)| *at).min();
            tokio::select! {
                first = handed.recv() => rest.extend(first.into_iter().flatten()),
                () = super::until(next) => {}
                () = super::life::drained(&corridor) => return,
            }
        }
        let mut batch = next_batch(&mut rest, &mut handed, most);
        let (ready, later): (Vec<_>, Vec<_>) = aside.into_iter().partition(|(at, _)| *at <= Instant::now());
        aside = later;
        batch.extend(ready.into_iter().map(|(_, hand)| hand));
        if corridor.stopping.is_cancelled() {
            let leases = batch.iter().map(|hand| hand.release(None)).collect();
            corridor.release(leases).await;
        } else {
            aside.extend(plan(&corridor, batch).await);
        }
    }
}

/// As many as a batch takes, in the order in which they were handed over.
fn next_batch<T>(rest: &mut Vec<T>, handed: &mut mpsc::Receiver<Vec<T>>, most: usize) -> Vec<T> {
    while rest.len() < most
        && let Ok(more) = handed.try_recv()
    {
        rest.extend(more);
    }
    let behind = rest.split_off(rest.len().min(most));
    std::mem::replace(rest, behind)
}

/// Answers those that look again, and when.
async fn plan(corridor: &Corridor, batch: Vec<InHand>) -> Vec<(Instant, InHand)> {
    let mut round = Round::default();
    let ours: HashSet<MessageId> = batch.iter().map(|hand| hand.facts.id).collect();
    if !decide_all(corridor, batch, &mut round).await {
        return Vec::new();
    }
    let mut aside = company::Aside::default();
    let found = company::find(corridor, &round.waiting).await;
    let company = company::step_aside(corridor, &ours, &mut round.waiting, found, &mut aside);
    if !company.is_empty() {
        decide_all(corridor, company, &mut round).await;
    }
    round.back.extend(company::seat(corridor, round.waiting));
    if !round.decided.is_empty() {
        corridor.decide(&round.decided).await;
        corridor.told.notify_one();
    }
    round.back.extend(aside.back);
    corridor.release(round.back).await;
    aside.later
}

/// What came of a batch, beside what stands in its lane already.
#[derive(Default)]
struct Round {
    /// May be sent, and others with it.
    waiting: Vec<company::Waiting>,
    decided: Vec<Decided>,
    back: Vec<Release>,
}

/// False: the ledger is away, or this worker is stopping; the leases are left to run out.
async fn decide_all(corridor: &Corridor, batch: Vec<InHand>, round: &mut Round) -> bool {
    let subjects: Vec<Subject> = batch.iter().map(subject).collect();
    let Some(directory) = read(corridor, &subjects).await else { return false };
    if !corridor.approved.look_up(corridor, &batch).await || !signed_off_is_known(corridor).await {
        round.back.extend(batch.iter().map(|hand| hand.release(None)));
        return true;
    }
    let from = Instant::now();
    let uncopied = super::copies::write(corridor, &batch, &directory).await;
    for (n, (hand, entry)) in batch.into_iter().zip(&directory.entries).enumerate() {
        super::breathe(n).await;
        if uncopied.contains(&hand.facts.id) {
            round.back.push(hand.release(None));
            continue;
        }
        let id = hand.facts.id;
        // One message with which this program cannot cope must not take the others of its batch with it each time, nor one
        // whose campaign cannot be read.
        let back = Release { due_at: directory.now.checked_add(UNREAD).ok(), ..hand.release(None) };
        if corridor.approved.is_unread(&hand.facts) {
            round.back.push(back);
            continue;
        }
        let decided = catch_unwind(AssertUnwindSafe(|| decide_one(corridor, hand, entry, &directory)));
        let Ok(outcome) = decided else {
            tracing::error!(message = %id, "a message could not be decided upon, by a fault of this program; it waits");
            round.back.push(back);
            continue;
        };
        let (came_of_it, reason) = match outcome {
            Outcome::Queued => ("send", None),
            Outcome::Waits(waiting) => {
                round.waiting.push(*waiting);
                ("send_in_company", None)
            }
            Outcome::Decided(row) => {
                corridor.demand.went(None);
                let told = (row.status.as_str(), row.reason);
                round.decided.push(*row);
                told
            }
            Outcome::NoRoom(lease) => {
                round.back.push(lease);
                ("no_room", None)
            }
        };
        super::traces::decided(corridor, id, (came_of_it, reason), from);
    }
    true
}

/// What people have signed off is read before the first text is chosen: what is not known would count as refused.
async fn signed_off_is_known(corridor: &Corridor) -> bool {
    let known = sign_off::known(corridor.store.as_ref(), &corridor.catalogue).await;
    known.inspect_err(|error| tracing::warn!(%error, "sign-offs could not be read")).is_ok()
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
    /// It may go, and others with it.
    Waits(Box<company::Waiting>),
    Decided(Box<Decided>),
    NoRoom(Release),
}

fn decide_one(
    corridor: &Corridor,
    mut hand: InHand,
    entry: &DirectoryEntry,
    directory: &Directory,
) -> Outcome {
    if entry.unread {
        tracing::error!(
            message = %hand.facts.id,
            "a record of the patient, or of somebody who reads with them, cannot be read: nothing is sent before it can be; \
             put the key that sealed it back into [security] seal_keys, or restore it from a dump"
        );
    }
    let patient = entry.seen(hand.body.patient.as_deref());
    adopt_site(&mut hand, patient.as_deref());
    let hold = covering(&hand, directory);
    let judged = judge(corridor, &hand, patient.as_deref(), entry, directory, hold);
    let decision = &judged.decision;
    let explanation = kept(decision, directory.now);
    let (Verdict::Send { route, valid_until, patience, pointer }, Some(patient)) =
        (decision.verdict.clone(), patient)
    else {
        let mut row = row(&hand, decision, Some(entry), directory.now, explanation);
        row.held_by = hold.filter(|_| decision.gate == Gate::Hold).map(|hold| hold.id);
        return Outcome::Decided(Box::new(row));
    };
    let Some(reader) = reader(decision, &patient, entry, directory.now) else {
        let none = Decision::plain(Gate::Proxy, Verdict::Suppress(Reason::NoProxy));
        let explanation = kept(&none, directory.now);
        return Outcome::Decided(Box::new(row(&hand, &none, Some(entry), directory.now, explanation)));
    };
    let count = judged.counts.then(|| {
        let recent = entry.recent.get(decision.proxy.map_or(0, |place| place + 1));
        let of = corridor.rules.cap.outreach(hand.facts.id, hand.work.step);
        count(of, &reader, &route.address, recent.and_then(Option::as_deref), entry, directory.now)
    });
    let count = count.flatten();
    let class = if pointer { PhiClass::Minimal } else { judged.class };
    let state = entry.state.clone();
    let mut planned = Planned {
        hand,
        route,
        class,
        pointer,
        patient,
        reader,
        state,
        valid_until,
        count,
        patience,
        explanation,
        probe: None,
        riders: Vec::new(),
        unnamed: false,
    };
    let last = entry.last.as_ref().map(|(_, provider)| provider);
    let lane = match choose(corridor, &mut planned, last, &directory.holds) {
        Choice::Lane(lane) => lane,
        Choice::Later(pause) => return later(&planned, pause, directory.now),
        Choice::Closed(until) => {
            // Somebody may raise the limit meanwhile.
            let soon = directory.now.checked_add(span(ANOTHER_RELEASED)).unwrap_or(Timestamp::MAX);
            let until = corridor.clock.timestamp(until).min(soon);
            return waits(&planned, until, Reason::Paced, directory.now);
        }
        Choice::Held { by, one_of_several } => return stopped(&planned, by, one_of_several, directory.now),
        Choice::Nobody => {
            // With an allow list it depends on the address who carries it, and whether they may see it.
            let (gate, reason) = match planned.class {
                PhiClass::Minimal => (Gate::Route, Reason::ProviderUnavailable),
                PhiClass::Limited | PhiClass::Sensitive => (Gate::Content, Reason::SensitiveContent),
            };
            let none = Decision::plain(gate, Verdict::Suppress(reason));
            let explanation = kept(&none, directory.now);
            return Outcome::Decided(Box::new(row(
                &planned.hand,
                &none,
                Some(entry),
                directory.now,
                explanation,
            )));
        }
    };
    corridor.demand.went(Some(lane.channel));
    let priority = planned.hand.facts.priority;
    if planned.hand.line.is_none() && lane.is_for_others(priority) {
        return Outcome::NoRoom(Release { due_at: None, ..planned.release() });
    }
    if company::travels(corridor, &planned, lane) {
        return Outcome::Waits(Box::new(company::Waiting::of(planned, lane, judged.only_along)));
    }
    if judged.only_along {
        return Outcome::NoRoom(Release { due_at: None, ..planned.release() });
    }
    match lane.queue.offer(priority, planned) {
        Ok(()) => Outcome::Queued,
        Err(planned) => Outcome::NoRoom(no_room(&planned, directory.now)),
    }
}

/// What no job and no source has placed belongs to its patient's site, and stays there: holds, work items and whoever
/// may see a site go by it.
fn adopt_site(hand: &mut InHand, patient: Option<&Patient>) {
    if hand.facts.site.is_none()
        && let Some(site) = patient.and_then(|patient| patient.site.clone())
    {
        Arc::make_mut(&mut hand.facts).site = Some(site);
    }
}

/// Given back. Where its channel had room and its own lane has none, as where each sender has a lane, others behind it
/// may find some: it is not the first to be claimed again.
fn no_room(planned: &Planned, now: Timestamp) -> Release {
    let passed_over = planned.hand.line == Some(planned.route.channel);
    let due_at = passed_over.then(|| now.checked_add(PASSED_OVER).unwrap_or(now));
    Release { due_at, ..planned.release() }
}

/// A decision, and what of the question is needed further on.
pub(super) struct Judged {
    decision: Decision,
    /// Proxies who get a copy.
    pub(super) copies: Vec<Phi>,
    /// Where it is sent: whether it counts towards the caps, and what its text reveals.
    counts: bool,
    class: PhiClass,
    /// A decision to send holds only in company.
    only_along: bool,
}

impl Judged {
    fn plain(gate: Gate, verdict: Verdict) -> Self {
        let decision = Decision::plain(gate, verdict);
        Self { decision, copies: Vec::new(), counts: false, class: PhiClass::Sensitive, only_along: false }
    }
}

/// Whoever admitted it has its template. It waits until this worker has read its templates again, or another takes it.
fn without_template(corridor: &Corridor, hand: &InHand, now: Timestamp) -> Verdict {
    let expires = instant(hand.body.expires_at, &corridor.rules.home);
    if expires <= now {
        return Verdict::Expire;
    }
    let until = now.checked_add(UNKNOWN_TEMPLATE).unwrap_or(Timestamp::MAX).min(expires);
    Verdict::Hold { until: Some(until), reason: Some(Reason::UnknownTemplate) }
}

/// Held until a provider of the channel may be probed, and at most five seconds longer, so that they do not all come
/// back to ask at once.
fn later(planned: &Planned, pause: Duration, now: Timestamp) -> Outcome {
    let pause = pause.max(Duration::from_secs(1));
    let pause = pause + pause.min(Duration::from_secs(5)).mul_f64(rand::random::<f64>());
    let until = now.checked_add(span(pause)).unwrap_or(Timestamp::MAX);
    waits(planned, until, Reason::ProviderUnavailable, now)
}

/// Held until then, as long as a decision to send it is good.
fn waits(planned: &Planned, until: Timestamp, reason: Reason, now: Timestamp) -> Outcome {
    let until = until.min(planned.valid_until);
    // What may have reached somebody waits for the one provider that would recognise it.
    let unknown = planned.hand.work.status == MessageStatus::Unknown;
    let reason = if unknown { Reason::OutcomeUnknown } else { reason };
    let held = Decision::plain(Gate::Route, Verdict::Hold { until: Some(until), reason: Some(reason) });
    let explanation = kept(&held, now);
    let mut row = row(&planned.hand, &held, None, now, explanation);
    row.channel = Some(planned.route.channel);
    Outcome::Decided(Box::new(row))
}

/// Held with the provider that would carry it. Where another one could, it may be released first: it is asked again,
/// unless somebody has to say what becomes of the held.
fn stopped(planned: &Planned, hold: &Hold, one_of_several: bool, now: Timestamp) -> Outcome {
    let held = held_by(hold, &planned.hand);
    let mut row = row(&planned.hand, &held, None, now, kept(&held, now));
    row.channel = Some(planned.route.channel);
    row.held_by = Some(hold.id);
    if one_of_several && hold.scope == HoldScope::Provider && hold.on_release == OnRelease::Send {
        let pause = ANOTHER_RELEASED.mul_f64(1.0 + rand::random::<f64>());
        row.due_at = row.due_at.min(now.checked_add(span(pause)).ok());
    }
    Outcome::Decided(Box::new(row))
}

pub(super) fn judge(
    corridor: &Corridor,
    hand: &InHand,
    patient: Option<&Patient>,
    entry: &DirectoryEntry,
    directory: &Directory,
    hold: Option<&Hold>,
) -> Judged {
    let catalogue = corridor.catalogue.current();
    let Some(template) = catalogue.get(&hand.facts.template) else {
        return Judged::plain(Gate::Content, without_template(corridor, hand, directory.now));
    };
    let manifest = &template.manifest;
    let fitting: Vec<Channel> = manifest
        .channels
        .iter()
        .copied()
        .filter(|c| !hand.unfit.iter().any(|(unfit, _)| unfit == c))
        .collect();
    if let (true, Some((_, reason))) = (fitting.is_empty(), hand.unfit.first()) {
        return Judged::plain(Gate::Content, Verdict::GiveUp(*reason));
    }
    let jitter = rand::random::<f64>();
    let other = corridor.approved.is_other(&hand.facts, &catalogue);
    let unapproved = other.then(|| HoldView {
        until: directory.now.checked_add(UNAPPROVED.mul_f64(0.5 + jitter)).ok(),
        cause: Reason::AwaitingApproval,
    });
    let asking = Asking {
        config: &corridor.config,
        rules: &corridor.rules,
        facts: &hand.facts,
        body: &hand.body,
        work: Some(&hand.work),
        along: hand.along && manifest.digest_within == Within::Day && hand.facts.campaign_id.is_none(),
        patient,
        entry,
        manifest,
        pointers: catalogue.pointers(),
        channels: &fitting,
        served: &super::lane::served(corridor, &hand.facts),
        hold: hold.map(|h| HoldView { until: h.asks_again(), cause: h.cause }).or(unapproved),
        jitter,
        now: directory.now,
    };
    asking.ask(|question| {
        let decision = decide(question);
        let channel = match &decision.verdict {
            Verdict::Send { route, .. } => Some(route.channel),
            _ => None,
        };
        Judged {
            copies: copies(question, &decision),
            counts: channel.is_some_and(|channel| question.counts(channel)),
            class: channel.map_or(PhiClass::Sensitive, |channel| question.template.class(channel)),
            only_along: only_along(question),
            decision,
        }
    })
}

/// Who reads it; `None` where that is a proxy whose record is gone.
pub(super) fn reader(
    decision: &Decision,
    patient: &Patient,
    entry: &DirectoryEntry,
    now: Timestamp,
) -> Option<Reader> {
    let proxy = decision.proxy.and_then(|place| patient.proxies.get(place));
    let known = decision.proxy.and_then(|place| entry.proxies.get(place)).and_then(Option::as_deref);
    let addressee = match proxy {
        None => Addressee::patient(patient),
        Some(proxy) => Addressee::proxy(proxy, known, now)?,
    };
    Some(Reader::of(&addressee, proxy))
}

/// What the caps count, should it be sent. What an earlier step or attempt counted stays as it is: a failure of this
/// one does not take it back.
fn count(
    of: Outreach,
    reader: &Reader,
    address: &Phi,
    recent: Option<&str>,
    entry: &DirectoryEntry,
    now: Timestamp,
) -> Option<Count> {
    let counted = |subject: String, before: Option<&str>| {
        let recent = Recent::parse(before);
        let (before, entry) = (before.map(str::to_owned), Recent::entry(now, of));
        (!recent.has(of)).then(|| Counted { subject, before, after: recent.with(of, now), entry })
    };
    let at_address = entry.addresses.iter().find(|state| state.address == *address);
    Some(Count {
        address: Some(counted(
            at_address.map_or_else(String::new, |state| state.subject.clone()),
            at_address.and_then(|state| state.recent.as_deref()),
        )?),
        person: reader.id.as_ref().and_then(|id| counted(id.as_str().to_owned(), recent)),
        others: Vec::new(),
    })
}

/// The hold that stops the message whichever way it would go: the guard's, whatever others there are, else the oldest.
pub(super) fn covering<'d>(hand: &InHand, directory: &'d Directory) -> Option<&'d Hold> {
    let covers = |h: &&Hold| {
        !matches!(h.scope, HoldScope::Channel | HoldScope::Provider) && h.covers(&hand.facts, None, None)
    };
    let holds = || directory.holds.iter().filter(covers);
    holds().find(|h| h.is_by_guard()).or_else(|| holds().next())
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
    Decision::plain(Gate::Hold, Verdict::Hold { until: Some(until), reason: Some(hold.cause) })
}

fn subject(hand: &InHand) -> Subject {
    let inline = hand.body.patient.iter().flat_map(|p| p.addresses().cloned());
    Subject {
        message: hand.facts.id,
        patient: hand.facts.patient_id.clone(),
        inline_addresses: inline.collect(),
        step: hand.work.step,
        tried: hand.work.step > 0 || hand.work.tries > 0,
        yields: hand.facts.priority == Priority::Bulk
            || matches!(hand.facts.purpose, Purpose::Marketing | Purpose::Survey),
    }
}

/// The decision as the ledger keeps it. A message whose status has left rank 0 keeps it: only its due time moves. One
/// that got through keeps it whatever forbids another step: its plan is over.
fn row(
    hand: &InHand,
    decision: &Decision,
    entry: Option<&DirectoryEntry>,
    now: Timestamp,
    explanation: String,
) -> Decided {
    // Why the last route was given up.
    let tried = entry.and_then(|entry| entry.tried.last()).map(|(_, reason)| *reason);
    let under_way = hand.work.status.rank().is_some_and(|rank| rank > 0);
    let ends = hand.work.reached && !matches!(decision.verdict, Verdict::Hold { .. });
    let over = ends && hand.work.status != MessageStatus::Unknown;
    let (status, reason, due_at) = match decision.verdict {
        _ if over => (hand.work.status, Some(over_because(&decision.verdict)), None),
        // Followed up, because nobody knows whether it got through: nor does anybody now.
        _ if ends => (MessageStatus::Unknown, Some(Reason::OutcomeUnknown), None),
        Verdict::Hold { until, reason } => {
            let status = if reason.is_none() { MessageStatus::Scheduled } else { MessageStatus::Held };
            (if under_way { hand.work.status } else { status }, reason, Some(until.unwrap_or(Timestamp::MAX)))
        }
        // It was told as delivered and has come back: no status is left to fall to, and people know.
        _ if hand.work.status == MessageStatus::Delivered => {
            (MessageStatus::Delivered, tried.or(Some(over_because(&decision.verdict))), None)
        }
        Verdict::GiveUp(reason) => (MessageStatus::Failed, Some(reason), None),
        // What may have reached somebody can no longer be called suppressed.
        _ if hand.work.status == MessageStatus::Unknown => {
            (MessageStatus::Unknown, Some(Reason::OutcomeUnknown), None)
        }
        // A provider had it and could not deliver it; whatever forbids another way, that is how it ended.
        Verdict::Suppress(reason) | Verdict::Cancel(reason) if hand.work.status == MessageStatus::Sent => {
            (MessageStatus::Failed, tried.or(Some(reason)), None)
        }
        Verdict::Expire if hand.work.status == MessageStatus::Sent => {
            (MessageStatus::Failed, tried.or(Some(Reason::Expired)), None)
        }
        Verdict::Suppress(reason) => (MessageStatus::Suppressed, Some(reason), None),
        Verdict::Cancel(reason) => (MessageStatus::Cancelled, Some(reason), None),
        Verdict::Expire => (MessageStatus::Expired, Some(Reason::Expired), None),
        Verdict::Send { .. } => (MessageStatus::Failed, Some(Reason::NoContact), None),
    };
    // What ends, ends with what it went by last, if it went at all.
    let last = entry.and_then(|entry| entry.last.clone()).filter(|_| due_at.is_none());
    let (channel, provider) = last.unzip();
    Decided {
        facts: (*hand.facts).clone(),
        token: hand.work.token,
        status,
        reason,
        due_at,
        channel,
        provider,
        recipient: if decision.proxy.is_some() || hand.body.copy.is_some() {
            Recipient::Proxy
        } else {
            Recipient::Patient
        },
        held_by: None,
        over: over.then_some(Over { awaits: hand.work.awaits }),
        explanation,
        at: now,
    }
}

/// Why a message that got through is followed up no more.
fn over_because(verdict: &Verdict) -> Reason {
    match verdict {
        Verdict::Suppress(reason) | Verdict::GiveUp(reason) => *reason,
        Verdict::Cancel(_) => Reason::TooLate,
        Verdict::Expire => Reason::Expired,
        Verdict::Send { .. } | Verdict::Hold { .. } => Reason::PlanExhausted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_handed_over_together_is_one_batch_and_no_batch_is_larger_than_it_may_be() {
        const MOST: usize = 500;
        let (planner, mut handed) = mpsc::channel(9);
        let mut rest = Vec::new();
        for part in [0..300, 300..800, 800..801, 801..2_000] {
            planner.send(part.collect::<Vec<u32>>()).await.unwrap();
        }
        let mut next = || next_batch(&mut rest, &mut handed, MOST);
        for expected in [0..500, 500..1_000, 1_000..1_500, 1_500..2_000, 0..0] {
            assert_eq!(next(), expected.collect::<Vec<u32>>());
        }
        planner.send((0..500).collect()).await.unwrap();
        assert_eq!((next().len(), next().len()), (MOST, 0));
    }
}
