//! One attempt on the wire, and what its answer means.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::berths::Berth;
use super::gate::Permit;
use super::lane::{Lane, Setting};
use super::{Corridor, PAUSES, Planned, budget, failover, render};
use crate::domain::failure::Failure;
use crate::domain::ids::{AttemptId, SendKey};
use crate::domain::outbound::{Accepted, FailureKind, OutboundMessage, SendError};
use crate::domain::status::AttemptStatus;
use crate::policy::retry::{Next, after_failure, costs_no_try};
use crate::store::again_if_contended;
use crate::store::rows::{Charge, Settlement, Spend, Then};
use crate::template::Rendered;

/// An attempt that stands in the ledger and may go out.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) planned: Planned,
    pub(super) message: OutboundMessage,
    pub(super) number: u16,
    pub(super) charge: Charge,
    /// What was taken from budgets for it.
    pub(super) spend: Option<Spend>,
    /// Its first byte leaves by then, or not at all: what the ledger knew of stops and opt-outs is older than that.
    pub(super) latest: Instant,
}

/// What came of it.
enum Outcome {
    Answer(Result<Accepted, SendError>),
    /// The first byte did not leave in time.
    NotSent,
    /// Stopped while under way.
    Cut,
}

/// How it went on the wire.
struct Sent {
    written: Written,
    outcome: Outcome,
    started: Instant,
    took: Duration,
    /// A breaker has opened.
    opened: bool,
}

/// Sends at its slot, and hands the result to be settled; should it panic, the message stands in the ledger as begun, and is
/// unknown once its lease has run out. All of it on the threads of the wire, but for what waits for the ledger.
pub(super) async fn carry(
    corridor: Arc<Corridor>,
    lane: Arc<Lane>,
    written: Written,
    permit: Permit,
    berth: Berth,
) {
    let Sent { written, outcome, started, took, opened } =
        send(&corridor, &lane, written, permit, berth).await;
    crate::faults::fault_point!("answered");
    lane.took(took);
    let settlement = settle(&corridor, &lane, &written, outcome);
    count(&lane.sent, &settlement);
    super::traces::sent(&corridor, &settlement, started, started + took);
    let home = corridor.wire.home().clone();
    let failed = settlement.status == AttemptStatus::Failed;
    let follow = async move {
        if failed {
            budget::give_back(&corridor, written.spend).await;
            uncount(&corridor, &written.planned).await;
        }
        // The settler outlives every send.
        corridor.room.answered();
        let _ = corridor.to_settle.send((settlement, written.planned.hand.place)).await;
        if opened {
            failover::empty(&corridor, lane.provider.name()).await;
        }
    };
    if failed || opened {
        let _ = home.spawn(follow).await;
    } else {
        follow.await;
    }
}

async fn send(
    corridor: &Corridor,
    lane: &Arc<Lane>,
    mut written: Written,
    permit: Permit,
    berth: Berth,
) -> Sent {
    let provider = lane.provider.as_ref();
    let place = berth.place(written.latest).await;
    let slot = match place {
        Some(_) => lane.leave(permit, written.charge.segments.into(), written.latest).await,
        None => None,
    };
    let started = Instant::now();
    let ticket = lane.guard.start(written.planned.probe.take());
    let slot = slot.filter(|_| ticket.is_some() && !corridor.cut.is_cancelled());
    let outcome = if let Some(slot) = slot {
        slot.use_up();
        let now = corridor.clock.timestamp(Instant::now());
        written.message.valid_for = written.planned.valid_until.duration_since(now);
        tokio::select! {
            answer = provider.send(&written.message) => Outcome::Answer(answer),
            () = corridor.cut.cancelled() => Outcome::Cut,
        }
    } else {
        Outcome::NotSent
    };
    // The connection goes back to its pool first: whoever has the place next finds it there, and opens none.
    tokio::task::yield_now().await;
    match place {
        Some(place) => berth.leave(place),
        None => berth.give_back(),
    }
    let took = started.elapsed();
    let opened = match (&outcome, ticket) {
        (Outcome::Answer(answer), Some(ticket)) => ticket.record(answer, took),
        _ => false,
    };
    if provider.reports() && matches!(outcome, Outcome::Answer(Ok(_))) {
        lane.guard.taken(written.message.attempt_id);
    }
    Sent { written, outcome, started, took, opened }
}

/// Nobody was disturbed: the caps forget it. Should the ledger be away they remember too much, never too little.
pub(super) async fn uncount(corridor: &Corridor, planned: &Planned) {
    if let Some(count) = &planned.count
        && let Err(error) = again_if_contended(PAUSES, || corridor.store.uncount(count)).await
    {
        tracing::warn!(%error, message = %planned.hand.facts.id, "a cap counts a message that was not sent");
    }
}

/// What goes to the provider.
pub(super) fn outbound(
    corridor: &Corridor,
    lane: &Lane,
    attempt: AttemptId,
    planned: &Planned,
    rendered: Rendered,
) -> OutboundMessage {
    let facts = &planned.hand.facts;
    OutboundMessage {
        attempt_id: attempt,
        send_key: SendKey { message: facts.id, step: planned.hand.work.step },
        to: planned.route.address.clone(),
        to_name: planned.reader.name.clone().filter(|_| !planned.unnamed),
        from: render::sender(corridor, planned, &lane.senders),
        language: rendered.locale,
        purpose: facts.purpose,
        // Known once it leaves.
        valid_for: SignedDuration::ZERO,
        content: render::addressed(rendered.content, planned),
        answers: None,
    }
}

fn settle(corridor: &Corridor, lane: &Lane, written: &Written, outcome: Outcome) -> Settlement {
    let now = corridor.clock.timestamp(Instant::now());
    let settled = |status, provider_ref, failure, code, then| Settlement {
        facts: written.planned.hand.facts.clone(),
        attempt: written.message.attempt_id,
        number: written.number,
        channel: written.planned.route.channel,
        provider: lane.provider.name().clone(),
        status,
        provider_ref,
        failure,
        code,
        recipient: written.planned.reader.recipient,
        charge: written.charge,
        then,
        patience: written.planned.patience,
        at: now,
    };
    match outcome {
        Outcome::Answer(Ok(accepted)) => {
            let then = match lane.setting {
                Setting::Capture => Then::Captured,
                Setting::Live | Setting::Test if lane.provider.reports() => Then::Awaits,
                Setting::Live | Setting::Test => Then::Sent,
            };
            settled(AttemptStatus::Sent, accepted.reference, None, None, then)
        }
        Outcome::Answer(Err(error)) => {
            let next = next(corridor, lane, written, error.kind, now);
            let status = if error.kind == FailureKind::Ambiguous {
                AttemptStatus::Unknown
            } else {
                AttemptStatus::Failed
            };
            settled(status, None, Some(error.kind.into()), error.code, next)
        }
        // It goes before what has become due since it was taken in hand.
        Outcome::NotSent => {
            let due = written.planned.hand.taken.unwrap_or(now);
            settled(AttemptStatus::Failed, None, Some(Failure::NotSent), None, Then::Retry(due))
        }
        Outcome::Cut => settled(AttemptStatus::Unknown, None, Some(Failure::Ambiguous), None, Then::Unknown),
    }
}

fn next(corridor: &Corridor, lane: &Lane, written: &Written, kind: FailureKind, now: Timestamp) -> Then {
    let jitter = rand::random::<f64>();
    match after_failure(kind, written.number, lane.provider.dedupes(), &corridor.retry, now, jitter) {
        Next::Retry(at) if kind == FailureKind::Ambiguous => Then::UnknownRetry(at),
        Next::Retry(at) => {
            let asks_for_time = costs_no_try(kind);
            if asks_for_time {
                lane.guard.set_aside(corridor.clock.instant(at));
            }
            // The pause is for the provider, not for the patient: where another can carry the message it does so now. What
            // has failed by that one as well waits.
            let moves = asks_for_time || written.number == 1 || lane.guard.share() == 0;
            if moves && failover::another_carries(corridor, lane, &written.planned) {
                Then::Retry(now)
            } else {
                Then::Retry(at.min(written.planned.valid_until))
            }
        }
        Next::NextRoute(reason) => Then::NextStep(reason),
        Next::Unknown => Then::Unknown,
    }
}

/// Counts and logs what became of an attempt, with ids and codes only. `sent` is its lane's.
fn count(sent: &OnceLock<metrics::Counter>, settlement: &Settlement) {
    let failure = settlement.failure.map_or("none", Failure::as_str);
    let counter = || {
        metrics::counter!("outreachd_attempts_total", "provider" => settlement.provider.to_string(),
            "channel" => settlement.channel.as_str(), "status" => settlement.status.as_str(), "failure" => failure)
    };
    if settlement.status == AttemptStatus::Sent {
        sent.get_or_init(counter).increment(1);
        tracing::debug!(message = %settlement.facts.id, provider = %settlement.provider, "sent");
    } else {
        counter().increment(1);
        tracing::info!(message = %settlement.facts.id, source = %settlement.facts.source, job = %settlement.facts.job_id,
            provider = %settlement.provider, status = %settlement.status, failure,
            code = settlement.code.as_deref().unwrap_or(""), "not through");
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::dispatch::result_of_a_test;

    #[test]
    fn every_attempt_is_counted_by_what_became_of_it() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let sent = OnceLock::new();
        let failed = |failure| Settlement {
            status: AttemptStatus::Failed,
            failure: Some(failure),
            ..result_of_a_test()
        };
        metrics::with_local_recorder(&recorder, || {
            count(&sent, &result_of_a_test());
            count(&sent, &failed(Failure::Transient));
            count(&sent, &result_of_a_test());
            count(&sent, &failed(Failure::Rejected));
            count(&sent, &failed(Failure::Transient));
        });
        let told = recorder.handle().render();
        let name = "outreachd_attempts_total{provider=\"sms\",channel=\"sms\",";
        let mut counts: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix(name)).collect();
        counts.sort_unstable();
        let of = |status: &str, failure: &str, attempts: u32| {
            format!("status=\"{status}\",failure=\"{failure}\"}} {attempts}")
        };
        let (transient, rejected) = (Failure::Transient.as_str(), Failure::Rejected.as_str());
        let mut expected = [of("failed", transient, 2), of("failed", rejected, 1), of("sent", "none", 2)];
        expected.sort_unstable();
        assert_eq!(counts, expected, "{told}");
    }
}
