//! `outreachd providers`: who works, and what each lane is doing.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::out::{Table, tame};
use super::{Desk, Failure};
use crate::store::rows::WorkerRow;

/// Shows the workers that were seen within a day, and what each of their lanes holds and sends now.
///
/// A worker that has not been seen for ten seconds is dead or cut off; its work is taken over. The state is what that
/// worker makes of the provider: closed (all is well), open (it fails, and is left alone), half_open (a few messages
/// show whether it is back), recovering (its share comes back step by step).
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  outreachd providers")]
pub(super) struct Options {}

pub(super) async fn run(desk: &mut Desk) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let now = store.ping().await?;
    let workers = store.workers().await?;
    if desk.json {
        return Ok(workers.iter().try_for_each(|worker| desk.out.json(worker))?);
    }
    let stale = i64::try_from(config.worker.heartbeat_stale.as_secs()).unwrap_or(i64::MAX);
    let mut table = Table::new(&["worker", "seen", "provider", "channel", "state", "waiting", "in flight"]);
    for worker in &workers {
        rows(&mut table, worker, now, stale);
    }
    if workers.is_empty() {
        desk.out.line("no worker was seen within a day: start one with `outreachd run`")?;
    }
    Ok(table.write(&mut desk.out)?)
}

fn rows(table: &mut Table, worker: &WorkerRow, now: Timestamp, stale: i64) {
    let age = now.duration_since(worker.seen_at).as_secs().max(0);
    let seen = if age > stale { format!("{age} s ago, dead") } else { format!("{age} s ago") };
    let lanes = worker.state.get("lanes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |lane: &Value, key: &str| match lane.get(key) {
        Some(Value::String(text)) => tame(text),
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    };
    if lanes.is_empty() || age > stale {
        table.row([tame(&worker.name), seen]);
        return;
    }
    for lane in lanes {
        let cells = ["provider", "channel", "breaker", "waiting", "in_flight"].map(|key| text(lane, key));
        table.row([tame(&worker.name), seen.clone()].into_iter().chain(cells));
    }
}
