//! One attempt on the wire, and what its answer means.

use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::OwnedSemaphorePermit;

use super::gate::Wall;
use super::{Corridor, Planned};
use crate::domain::ids::{AttemptId, SendKey};
use crate::domain::outbound::{Accepted, Content, FailureKind, OutboundMessage, SendError, Sender};
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Channel, Reason};
use crate::policy::retry::{Next, after_failure};
use crate::provider::Provider;
use crate::store::rows::{Decided, Failure, Settlement, Spend, Then};
use crate::template::Rendered;

/// An attempt that stands in the ledger and may go out.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) planned: Planned,
    pub(super) attempt: AttemptId,
    pub(super) number: u16,
    pub(super) content: Content,
    pub(super) locale: String,
    pub(super) segments: u32,
    pub(super) sender: Option<Sender>,
    /// Its slot of the rate gate.
    pub(super) at: Instant,
    /// When the ledger had it.
    pub(super) committed: Instant,
    pub(super) walls: Vec<Arc<Wall>>,
}

/// What came of it.
enum Outcome {
    Answer(Result<Accepted, SendError>),
    /// The first byte did not leave in time.
    NotSent,
    /// Stopped while under way.
    Cut,
}

/// Sends at its slot, and hands the result to be settled.
pub(super) async fn carry(
    corridor: Arc<Corridor>,
    provider: Arc<dyn Provider>,
    written: Written,
    wire: OwnedSemaphorePermit,
) {
    tokio::time::sleep_until(written.at.into()).await;
    for wall in &written.walls {
        for _ in 0..written.segments.max(1) {
            wall.pass().await;
        }
    }
    let started = Instant::now();
    let outcome = if started > written.committed + corridor.config.worker.first_byte {
        Outcome::NotSent
    } else {
        let message = outbound(&corridor, &written);
        tokio::select! {
            answer = provider.send(&message) => Outcome::Answer(answer),
            () = corridor.cut.cancelled() => Outcome::Cut,
        }
    };
    drop(wire);
    let channel = written.planned.route.channel;
    metrics::histogram!("outreachd_send_seconds", "provider" => provider.name().to_string())
        .record(started.elapsed().as_secs_f64());
    let settlement = settle(&corridor, provider.as_ref(), &written, outcome);
    count(&settlement, channel);
    if settlement.status == AttemptStatus::Failed {
        give_back(&corridor, &written).await;
    }
    let room = written.planned.hand.room;
    // The settler outlives every send.
    let _ = corridor.to_settle.send((settlement, room)).await;
}

fn outbound(corridor: &Corridor, written: &Written) -> OutboundMessage {
    let planned = &written.planned;
    let facts = &planned.hand.facts;
    let now = corridor.clock.timestamp(Instant::now());
    OutboundMessage {
        attempt_id: written.attempt,
        send_key: SendKey { message: facts.id, step: planned.hand.work.step },
        to: planned.route.address.clone(),
        to_name: planned.patient.name.clone(),
        from: written.sender.clone(),
        language: written.locale.clone(),
        purpose: facts.purpose,
        site: facts.site.clone(),
        valid_for: planned.valid_until.duration_since(now),
        content: written.content.clone(),
    }
}

fn settle(corridor: &Corridor, provider: &dyn Provider, written: &Written, outcome: Outcome) -> Settlement {
    let now = corridor.clock.timestamp(Instant::now());
    let settled = |status, provider_ref, failure, code, then| Settlement {
        facts: written.planned.hand.facts.clone(),
        attempt: written.attempt,
        number: written.number,
        channel: written.planned.route.channel,
        provider: provider.name().clone(),
        status,
        provider_ref,
        failure,
        code,
        then,
        at: now,
    };
    match outcome {
        Outcome::Answer(Ok(accepted)) => {
            settled(AttemptStatus::Sent, accepted.reference, None, None, Then::Sent)
        }
        Outcome::Answer(Err(error)) => {
            let next = next(corridor, provider, written, error.kind, now);
            let status = if error.kind == FailureKind::Ambiguous {
                AttemptStatus::Unknown
            } else {
                AttemptStatus::Failed
            };
            settled(status, None, Some(failure(error.kind)), error.code, next)
        }
        Outcome::NotSent => {
            settled(AttemptStatus::Failed, None, Some(Failure::NotSent), None, Then::Retry(now))
        }
        Outcome::Cut => settled(AttemptStatus::Unknown, None, Some(Failure::Ambiguous), None, Then::Unknown),
    }
}

fn next(
    corridor: &Corridor,
    provider: &dyn Provider,
    written: &Written,
    kind: FailureKind,
    now: Timestamp,
) -> Then {
    let jitter = rand::random::<f64>();
    match after_failure(kind, written.number, provider.dedupes(), &corridor.retry, now, jitter) {
        Next::Retry(at) if kind == FailureKind::Ambiguous => Then::UnknownRetry(at),
        Next::Retry(at) => Then::Retry(at.min(written.planned.valid_until)),
        Next::NextRoute(reason) => Then::NextStep(reason),
        Next::Unknown => Then::Unknown,
    }
}

fn failure(kind: FailureKind) -> Failure {
    match kind {
        FailureKind::Transient => Failure::Transient,
        FailureKind::Throttled { .. } => Failure::Throttled,
        FailureKind::Ambiguous => Failure::Ambiguous,
        FailureKind::BadAddress => Failure::BadAddress,
        FailureKind::OptedOut => Failure::OptedOut,
        FailureKind::Rejected => Failure::Rejected,
        FailureKind::Misconfigured => Failure::Misconfigured,
    }
}

/// Counts and logs what became of an attempt, with ids and codes only.
fn count(settlement: &Settlement, channel: Channel) {
    let failure = settlement.failure.map_or("none", Failure::as_str);
    metrics::counter!("outreachd_attempts_total", "provider" => settlement.provider.to_string(),
        "channel" => channel.as_str(), "status" => settlement.status.as_str(), "failure" => failure)
    .increment(1);
    if settlement.status == AttemptStatus::Sent {
        tracing::debug!(message = %settlement.facts.id, provider = %settlement.provider, "sent");
    } else {
        tracing::info!(message = %settlement.facts.id, source = %settlement.facts.source, job = %settlement.facts.job_id,
            provider = %settlement.provider, status = %settlement.status, failure,
            code = settlement.code.as_deref().unwrap_or(""), "not through");
    }
}

/// Takes each message's cost from its budgets; those that would cross one are held until the next day.
pub(super) async fn afford(
    corridor: &Corridor,
    ready: Vec<(Planned, Rendered, Instant)>,
) -> Vec<(Planned, Rendered, Instant)> {
    let costs: Vec<Option<Spend>> =
        ready.iter().map(|(planned, rendered, _)| spend(corridor, planned, rendered.segments)).collect();
    let spends: Vec<Spend> = costs.iter().flatten().cloned().collect();
    if spends.is_empty() {
        return ready;
    }
    let answers = match corridor.store.spend(&spends).await {
        Ok(answers) => answers,
        Err(error) => {
            tracing::warn!(%error, messages = ready.len(), "budgets could not be read; the messages wait");
            let back =
                ready.iter().map(|(p, _, _)| super::plan::release(&p.hand, Some(p.route.channel))).collect();
            corridor.release(back).await;
            return Vec::new();
        }
    };
    let mut answers = answers.into_iter();
    let (mut allowed, mut over) = (Vec::new(), Vec::new());
    for ((planned, rendered, at), cost) in ready.into_iter().zip(costs) {
        if cost.is_none() || answers.next() == Some(true) {
            allowed.push((planned, rendered, at));
        } else {
            over.push(over_budget(corridor, &planned));
        }
    }
    if let Err(error) = corridor.store.decide(&over).await {
        tracing::warn!(%error, messages = over.len(), "decisions could not be written; they are made again");
    }
    allowed
}

/// What the message costs, and the budgets that pay. Nothing where no budget is set, or it costs nothing.
fn spend(corridor: &Corridor, planned: &Planned, segments: u32) -> Option<Spend> {
    let (facts, limits) = (&planned.hand.facts, &corridor.config.limits);
    if facts.test || matches!(planned.route.channel, Channel::Email | Channel::Portal) {
        return None;
    }
    let whole = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
    let day = corridor
        .clock
        .timestamp(Instant::now())
        .to_zoned(corridor.config.organisation.timezone.clone())
        .date();
    let of_source = corridor.config.source(&facts.source).and_then(|s| s.budget_per_day);
    let of_site = facts.site.as_ref().and_then(|id| corridor.config.site(id)).and_then(|s| s.budget_per_day);
    let all = limits.budget_per_day;
    let mut budgets = Vec::new();
    if let Some(limit) = all.total {
        budgets.push((format!("budget/{day}/total"), whole(limit.micros)));
    }
    if let Some(limit) = of_source.or(all.per_source) {
        budgets.push((format!("budget/{day}/source/{}", facts.source), whole(limit.micros)));
    }
    if let (Some(site), Some(limit)) = (&facts.site, of_site.or(all.per_site)) {
        budgets.push((format!("budget/{day}/site/{site}"), whole(limit.micros)));
    }
    if budgets.is_empty() {
        return None;
    }
    // Only now: reading a number's country costs more than all of the above.
    let region = crate::domain::phone::region_of(planned.route.address.expose());
    let cost = limits.cost_to(region.as_ref().map_or("", |r| r.as_str()));
    let amount = match planned.route.channel {
        Channel::Sms => whole(cost.per_segment.micros).saturating_mul(i64::from(segments.max(1))),
        Channel::Voice => whole(cost.per_minute.micros),
        Channel::Email | Channel::Portal => 0,
    };
    (amount != 0).then_some(Spend { budgets, amount })
}

/// A message that did not go out costs nothing.
async fn give_back(corridor: &Corridor, written: &Written) {
    if let Some(mut spend) = spend(corridor, &written.planned, written.segments) {
        spend.amount = -spend.amount;
        if let Err(error) = corridor.store.spend(&[spend]).await {
            tracing::warn!(%error, "a budget keeps what was not spent");
        }
    }
}

fn over_budget(corridor: &Corridor, planned: &Planned) -> Decided {
    let now = corridor.clock.timestamp(Instant::now());
    let zoned = now.to_zoned(corridor.config.organisation.timezone.clone());
    let tomorrow = zoned
        .date()
        .tomorrow()
        .ok()
        .and_then(|date| date.to_zoned(corridor.config.organisation.timezone.clone()).ok())
        .map_or_else(
            || now.saturating_add(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX),
            |z| z.timestamp(),
        );
    let hand = &planned.hand;
    let under_way = hand.work.status.rank().is_some_and(|rank| rank > 0);
    Decided {
        facts: (*hand.facts).clone(),
        token: hand.work.token,
        status: if under_way { hand.work.status } else { MessageStatus::Held },
        reason: Some(Reason::OverBudget),
        due_at: Some(tomorrow.min(planned.valid_until)),
        channel: Some(planned.route.channel),
        held_by: None,
        explanation: planned.explanation.clone(),
        at: now,
    }
}
