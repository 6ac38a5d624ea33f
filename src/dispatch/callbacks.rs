//! Results by HTTP: one task for each source that has a callback, so that a receiver which is slow or down costs its
//! own source only. Round by round: take what is due, post it a few at a time, write what became of it.
//!
//! The ledger gives at most one event of a message into a round, and the round to one worker; so the order of a
//! message holds. A worker that dies in a round has written nothing of it: the events are posted again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Corridor;
use crate::callback::{Courier, Letter, Posted};
use crate::config::callback::Callback;
use crate::config::events::CallbacksSection;
use crate::config::span;
use crate::domain::event::with_seq;
use crate::domain::ids::SourceName;
use crate::policy::callback::{CallbackRules, Fate, Round, after_answer, after_round};
use crate::store::rows::{CallbackAsk, CallbackRound, CallbacksClaimed, DueCallback, FailedCallback};

/// Events of one round.
const AT_ONCE: u32 = 100;
/// How often a source is asked for due events while there are none.
const IDLE: Duration = Duration::from_millis(250);
/// No post is begun later in a round: it must end within the round's lease, with the longest time-out.
const ROUND: Duration = Duration::from_secs(20);

/// A source that is told by HTTP.
pub(super) struct Receiver {
    pub(super) source: SourceName,
    pub(super) callback: Arc<Callback>,
    pub(super) courier: Courier,
}

pub(super) async fn run(corridor: Arc<Corridor>, receiver: Receiver) {
    let ask = CallbackAsk { worker: corridor.worker, source: receiver.source.clone(), room: AT_ONCE };
    while !corridor.stopping.is_cancelled() {
        let began = Instant::now();
        let claimed = match corridor.store.claim_callbacks(&ask).await {
            Ok(Some(claimed)) => claimed,
            Ok(None) => {
                rest(&corridor, IDLE).await;
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, source = %receiver.source, "the callbacks could not be read");
                rest(&corridor, IDLE * 4).await;
                continue;
            }
        };
        let done = post_all(&corridor, &receiver, claimed, began).await;
        report(&receiver.source, &done);
        settle(&corridor, &done).await;
    }
}

async fn rest(corridor: &Corridor, time: Duration) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = corridor.stopping.cancelled() => {}
    }
}

/// Posts a round. What is not tried any more stays as it was.
async fn post_all(
    corridor: &Corridor,
    receiver: &Receiver,
    claimed: CallbacksClaimed,
    began: Instant,
) -> CallbackRound {
    let settings = &corridor.config.events.callbacks;
    let rules = rules(settings);
    let now = || later(claimed.now, began.elapsed());
    let mut round = Round::new(settings.in_flight);
    let (mut taken, mut failed) = (Vec::new(), Vec::new());
    let mut waiting = claimed.events.into_iter();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < usize::try_from(round.room()).unwrap_or(1)
            && began.elapsed() < ROUND
            && !corridor.stopping.is_cancelled()
        {
            let Some(event) = waiting.next() else { break };
            let trace = super::traces::of_event(corridor, &event.body);
            let traceparent = trace.map(|trace| trace.parent().to_string());
            let (courier, callback) = (receiver.courier.clone(), receiver.callback.clone());
            under_way.spawn(post(courier, callback, event, traceparent, now()));
        }
        let ended = tokio::select! {
            ended = under_way.join_next() => ended,
            // What is on the wire may have been taken: it comes again.
            () = corridor.cut.cancelled() => break,
        };
        let Some(ended) = ended else { break };
        // A post that panicked is as one that was cut.
        let Ok((event, posted)) = ended else { continue };
        round.note(posted.answer);
        match after_answer(posted.answer, event.tries + 1, event.since, &rules, now(), rand::random::<f64>())
        {
            Fate::Done => taken.push(event.id),
            Fate::Again(at) => {
                failed.push(FailedCallback { id: event.id, due_at: Some(at), code: posted.code });
            }
            Fate::Dead => failed.push(FailedCallback { id: event.id, due_at: None, code: posted.code }),
        }
    }
    CallbackRound {
        worker: corridor.worker,
        source: receiver.source.clone(),
        taken,
        failed,
        health: after_round(&round, claimed.failures, now(), rand::random::<f64>()),
        give_up_after: rules.give_up_after,
    }
}

async fn post(
    courier: Courier,
    callback: Arc<Callback>,
    event: DueCallback,
    traceparent: Option<String>,
    now: Timestamp,
) -> (DueCallback, Posted) {
    let body = with_seq(&event.body, event.seq);
    let letter = Letter { id: event.id, body: &body, traceparent: traceparent.as_deref(), now };
    let posted = courier.post(&callback, &letter).await;
    (event, posted)
}

/// A round that cannot be written is tried again until it is, or until the end: then its events are posted again.
async fn settle(corridor: &Corridor, round: &CallbackRound) {
    while let Err(error) = corridor.store.settle_callbacks(round).await {
        tracing::warn!(%error, source = %round.source, "what was posted could not be written down");
        tokio::select! {
            () = tokio::time::sleep(IDLE * 4) => {}
            () = corridor.cut.cancelled() => return,
        }
    }
}

/// Counted, and said aloud once where a receiver begins to fail, and for every event that is given up.
fn report(source: &SourceName, round: &CallbackRound) {
    let count = |result: &'static str, count: usize| {
        metrics::counter!("outreachd_callbacks_total", "source" => source.to_string(), "result" => result)
            .increment(u64::try_from(count).unwrap_or(0));
    };
    let dead = round.failed.iter().filter(|failed| failed.due_at.is_none());
    count("taken", round.taken.len());
    count("dead", dead.clone().count());
    count("failed", round.failed.len() - dead.clone().count());
    for event in dead {
        tracing::error!(%source, event = %event.id, code = event.code,
            "a result is not posted any more: `outreachd callbacks list --state dead`");
    }
    if round.health.failures == 1 {
        let code = round.failed.last().map_or("", |failed| failed.code.as_str());
        tracing::warn!(%source, code, "nothing gets through to the receiver of results; it is tried less often");
    }
}

fn rules(settings: &CallbacksSection) -> CallbackRules {
    CallbackRules {
        first_pause: span(settings.first_pause),
        longest_pause: span(settings.longest_pause),
        give_up_after: span(settings.give_up_after),
    }
}

fn later(start: Timestamp, by: Duration) -> Timestamp {
    start.checked_add(by).unwrap_or(start)
}
