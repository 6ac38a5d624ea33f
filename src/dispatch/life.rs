//! Signs of life, and the inheritance of workers that give none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::failover::Alarm;
use super::lane::Lane;
use super::wall::Wall;
use super::{Corridor, Setting, failover, sign_off};
use crate::store::StoreError;

/// Leases taken over in one go.
const AT_ONCE: u32 = 500;

/// When the ledger last took a sign of life: who is only answered, but cannot write, does nothing for anybody.
#[derive(Debug)]
pub(super) struct Beats(Mutex<Instant>);

impl Beats {
    /// From now on there is time for the first one.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long ago it was.
    pub(super) fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

pub(super) async fn run(corridor: Arc<Corridor>) {
    let mut beat = tokio::time::interval(corridor.config.worker.heartbeat);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut alarm = Alarm::default();
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = corridor.stopping.cancelled() => {
                // The lanes still settle what is on the wire; leases stay ours until they are given back.
                if drained_or_tick(&corridor, &mut beat).await {
                    return;
                }
            }
        }
        // First: whoever watches takes a worker that has just started for none until it is on record.
        if let Err(error) = live(&corridor).await {
            tracing::warn!(%error, "no sign of life could be given");
        }
        if let Err(error) = share(&corridor).await {
            tracing::warn!(%error, "other workers could not be counted");
        }
        alarm.look(&corridor);
        if let Err(error) = failover::listen(&corridor).await {
            tracing::warn!(%error, "receipts could not be looked at");
        }
        if let Err(error) = failover::heed_holds(&corridor).await {
            tracing::warn!(%error, "holds could not be looked at");
        }
        if let Err(error) = sign_off::refresh(corridor.store.as_ref(), &corridor.catalogue).await {
            tracing::warn!(%error, "sign-offs could not be read");
        }
    }
}

/// The more workers have the same limits, the less each of them holds: who is first in the ledger waits for all of it.
async fn share(corridor: &Corridor) -> Result<(), StoreError> {
    let workers = corridor.store.living().await?;
    corridor.lanes.iter().for_each(|lane| lane.share(workers));
    Ok(())
}

async fn drained_or_tick(corridor: &Corridor, beat: &mut tokio::time::Interval) -> bool {
    tokio::select! {
        () = drained(corridor) => true,
        _ = beat.tick() => false,
    }
}

/// Resolves when this worker is stopping and holds nothing any more.
pub(super) async fn drained(corridor: &Corridor) {
    corridor.stopping.cancelled().await;
    corridor.room.all_free().await;
}

/// How much of a lane's limits is used, in segments. Of whole days the ledger keeps count, for all workers; what the lanes of
/// a provider use together is told by one of them, as whoever reads it adds lanes up.
fn limits(lane: &Lane, days: &BTreeMap<String, u64>) -> Vec<Value> {
    let of_wall = |wall: &Arc<Wall>| {
        let limit = wall.limit();
        let used = if limit.per_sender || lane.leads { wall.used() } else { 0 };
        json!({"limit": limit.to_string(), "used": used, "of": limit.count, "shared": false})
    };
    let of_day = |(key, of): (&str, u32)| {
        let used = days.get(key).copied().unwrap_or_default();
        let apart = if lane.sender.is_some() && key.matches('/').count() > 1 { " per sender" } else { "" };
        json!({"limit": format!("{of}/day{apart}"), "used": used, "of": of, "shared": true})
    };
    lane.walls.iter().map(of_wall).chain(lane.gate.days().map(of_day)).collect()
}

async fn live(corridor: &Corridor) -> Result<(), StoreError> {
    let keys: Vec<&str> =
        corridor.lanes.iter().flat_map(|lane| lane.gate.days().map(|(key, _)| key)).collect();
    let days = if keys.is_empty() { BTreeMap::new() } else { corridor.store.used_today(&keys).await? };
    let lanes: Vec<_> = corridor
        .lanes
        .iter()
        .map(|lane| {
            json!({
                "provider": lane.provider.name(),
                "channel": lane.channel,
                "sender": lane.sender,
                "live": lane.setting == Setting::Live,
                "baa": lane.baa,
                "waiting": lane.queue.len(),
                "in_flight": lane.in_flight(),
                "breaker": lane.guard.condition().as_str(),
                "share_percent": lane.guard.share(),
                "in_use": lane.guard.is_in_use(),
                "limits": limits(lane, &days),
            })
        })
        .collect();
    let state = json!({ "lanes": lanes, "room": corridor.room.free() }).to_string();
    let mut beaten: Option<Instant> = None;
    loop {
        // Much may be left to take over; whoever does it must not seem dead meanwhile.
        if beaten.is_none_or(|at| at.elapsed() >= corridor.config.worker.heartbeat) {
            let asked = Instant::now();
            let now = corridor.store.heartbeat(corridor.worker, &corridor.name, &state).await?;
            corridor.clock.read(asked, Instant::now(), now);
            corridor.beats.note();
            beaten = Some(asked);
        }
        let taken = corridor.store.take_over(AT_ONCE).await?;
        if taken.released + taken.unknown == 0 {
            break;
        }
        tracing::warn!(
            released = taken.released,
            unknown = taken.unknown,
            "took over what another worker left"
        );
        metrics::counter!("outreachd_taken_over_total", "as" => "released")
            .increment(u64::from(taken.released));
        metrics::counter!("outreachd_taken_over_total", "as" => "unknown")
            .increment(u64::from(taken.unknown));
        corridor.told.notify_one();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
