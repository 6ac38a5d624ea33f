//! `GET /v1/now`: whether it is well, and if not, why: what somebody on call wants to know at a glance.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::health::counted;
use super::problem::Answer;
use super::route::{Call, json as answer};
use crate::broker::BrokerState;
use crate::domain::words::Priority;
use crate::store::pulse::OldestDue;
use crate::store::rows::{Counts, HoldScope, HoldState, WorkerRow};

/// The charts show so many minutes ...
const MINUTES: u32 = 6 * 60;
/// ... in spans of so many.
const STEP: u32 = 5;
/// A first count of a small ledger is waited for so long.
const FIRST: Duration = Duration::from_millis(80);
/// Urgent messages are on their way within a second; so late, something is wrong.
const URGENT_LATE: f64 = 60.0;
/// The others may wait their turn.
const LATE: f64 = 15.0 * 60.0;
/// Events wait for the broker, mostly for a moment.
const OUTBOX: u64 = 10_000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// Patients wait, or nobody knows whether they do.
    Bad,
    /// Somebody should look at it today.
    Look,
}

/// One thing that is not as it should be.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// What it is, in words of ours.
    what: String,
    /// The page that shows more.
    page: &'static str,
}

fn finding(level: Level, page: &'static str, what: impl Into<String>) -> Finding {
    Finding { level, what: what.into(), page }
}

/// `GET /v1/now`.
pub(super) async fn now(call: Call) -> Answer {
    let shared = &call.shared;
    let (parts, config) = (&shared.parts, &shared.parts.config);
    let store = parts.intake.store.as_ref();
    let counting = tokio::spawn({
        let shared = Arc::clone(shared);
        async move { counted(&shared).await }
    });
    if shared.counts.seen().is_none() {
        let _in_time = tokio::time::timeout(FIRST, counting).await;
    }
    let at = store.ping().await?;
    let workers = store.workers().await?;
    let oldest = store.oldest_due().await?;
    let pulse = store.pulse(MINUTES, STEP).await?;
    let seen = shared.counts.seen();
    let counts = seen.as_ref().map(|(counts, _)| counts);
    let broker = parts.broker.as_ref().map(|broker| *broker.state().borrow() == BrokerState::Up);
    let stale = config.worker.heartbeat_stale;
    let mut findings = Vec::new();
    if broker == Some(false) {
        findings.push(finding(Level::Bad, "now", "The broker is away: jobs wait there, results wait here."));
    }
    of_workers(&workers, at, stale, &mut findings);
    let out = parts.intake.dispatcher.as_ref().map(crate::dispatch::Dispatcher::channels_out);
    for channel in out.unwrap_or_default() {
        let what = format!("No provider can be used for {channel}: its messages wait.");
        findings.push(finding(Level::Bad, "providers", what));
    }
    for row in store
        .holds()
        .await?
        .iter()
        .filter(|row| row.hold.scope == HoldScope::All && row.state == HoldState::InForce)
    {
        let what = format!("Everything is stopped, by {}: {}", row.hold.placed_by, row.hold.reason);
        findings.push(finding(Level::Bad, "holds", what));
    }
    of_waiting(&oldest, &mut findings);
    if let Some(counts) = counts {
        of_counts(counts, &mut findings);
    }
    let providers: Vec<Value> = config
        .providers
        .iter()
        .map(|p| {
            let limits: Vec<String> = p.limits.iter().map(ToString::to_string).collect();
            json!({"name": p.name, "channel": p.settings.channel(), "weight": p.weight, "limits": limits})
        })
        .collect();
    answer(
        StatusCode::OK,
        &json!({
            "at": at, "mode": config.safety.mode, "findings": findings,
            "healthy": !findings.iter().any(|finding| finding.level == Level::Bad),
            "broker": broker, "oldest": oldest, "workers": workers, "providers": providers,
            "stale_seconds": stale.as_secs(), "pulse": {"step_minutes": STEP, "minutes": MINUTES, "rows": pulse},
            "counts": counts, "counted_seconds_ago": seen.as_ref().map(|(_, age)| age.as_secs()),
        }),
    )
}

fn of_workers(workers: &[WorkerRow], at: Timestamp, stale: Duration, findings: &mut Vec<Finding>) {
    let alive = |worker: &&WorkerRow| at.duration_since(worker.seen_at).unsigned_abs() <= stale;
    if !workers.iter().any(|worker| alive(&worker)) {
        findings.push(finding(Level::Bad, "providers", "No worker is running: nothing is sent."));
    }
    let mut open: Vec<&str> = Vec::new();
    for worker in workers.iter().filter(alive) {
        let lanes =
            worker.state.get("lanes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for lane in lanes {
            let text = |name: &str| lane.get(name).and_then(Value::as_str).unwrap_or_default();
            if text("breaker") != "closed" && !open.contains(&text("provider")) {
                open.push(text("provider"));
            }
        }
    }
    for provider in open {
        let what = format!("Provider {provider} fails and is left alone, or is on trial.");
        findings.push(finding(Level::Look, "providers", what));
    }
}

fn of_waiting(oldest: &[OldestDue], findings: &mut Vec<Finding>) {
    let oldest_of = |urgent: bool| {
        let of_kind = oldest.iter().filter(|due| (due.priority == Priority::Urgent) == urgent);
        of_kind.map(|due| due.seconds).fold(0.0_f64, f64::max)
    };
    if oldest_of(true) > URGENT_LATE {
        let what = format!("An urgent message has been due for {}.", spoken(oldest_of(true)));
        findings.push(finding(Level::Bad, "log", what));
    }
    if oldest_of(false) > LATE {
        let what = format!("The oldest message in the queue has been due for {}.", spoken(oldest_of(false)));
        findings.push(finding(Level::Look, "log", what));
    }
}

fn of_counts(counts: &Counts, findings: &mut Vec<Finding>) {
    let unknown: u64 = counts
        .messages
        .iter()
        .filter(|group| group.status == crate::domain::status::MessageStatus::Unknown)
        .map(|group| group.count)
        .sum();
    let work: u64 = counts.work.iter().map(|(_, open)| open).sum();
    let dead: u64 = counts.callbacks.iter().map(|count| count.dead).sum();
    for (count, page, what) in [
        (unknown, "log", "messages whose outcome nobody knows"),
        (counts.parked, "dead", "jobs that could not be accepted"),
        (work, "work", "work items that are not closed"),
        (dead, "now", "results that their receiver did not take"),
    ] {
        if count > 0 {
            findings.push(finding(Level::Look, page, format!("{count} {what}.")));
        }
    }
    if counts.outbox > OUTBOX {
        findings.push(finding(Level::Look, "now", format!("{} events wait to be told.", counts.outbox)));
    }
}

/// A length of time as people say it.
fn spoken(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7_200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.0} h", seconds / 3_600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_too_long_is_told() {
        let due = |priority, seconds| OldestDue { channel: "sms".to_owned(), priority, seconds };
        let told = |oldest: &[OldestDue]| {
            let mut findings = Vec::new();
            of_waiting(oldest, &mut findings);
            findings.into_iter().map(|finding| (finding.level, finding.what)).collect::<Vec<_>>()
        };
        assert!(told(&[due(Priority::Urgent, 59.0), due(Priority::Bulk, 800.0)]).is_empty());
        let late = told(&[due(Priority::Urgent, 90.0), due(Priority::Normal, 7_200.0)]);
        assert_eq!(late[0], (Level::Bad, "An urgent message has been due for 90 s.".to_owned()));
        assert_eq!(late[1].1, "The oldest message in the queue has been due for 2 h.");
    }
}
