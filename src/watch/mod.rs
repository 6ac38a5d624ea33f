//! What people on call are told: that something is wrong, again until somebody has acknowledged it, and that it is over.
//!
//! ```text
//! signs.rs   what can be seen at this moment; what is wrong by it is for policy to say (policy/watch.rs)
//! tell.rs    one alert, by webhook and by mail
//! tasks.rs   what this process itself must keep running
//! ```
//!
//! Every worker looks for the watch in the ledger; one has it, and whoever finds it free takes it over where it stands. What
//! was told stands in the ledger as well: a worker that dies between the telling and the note of it has it told once more,
//! under the same id. Where the ledger is away nobody can look, so nothing is posted to the heartbeat's receiver either,
//! and that is how it is noticed.

mod signs;
mod tasks;
mod tell;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::span;
use crate::domain::alert::{Alert, Level, Way};
use crate::domain::ids::WorkerId;
use crate::policy::watch::{TellRules, look, told, wrong};
use crate::store::StoreError;
pub use signs::{Lookout, Seen};
pub use tasks::Tasks;
pub use tell::{Teller, Undeliverable};

/// Beyond two looks the watch is kept for so long: telling may take a while.
const LEASE: Duration = Duration::from_secs(30);
/// Alerts that are told between two looks.
const AT_ONCE: usize = 20;

/// Looks and tells, while this worker has the watch, until `stop`.
pub async fn run(lookout: Lookout, teller: Arc<Teller>, worker: WorkerId, stop: CancellationToken) {
    let notify = &lookout.config.notify;
    let rules = TellRules { after: span(notify.after), repeat: span(notify.repeat), ways: teller.ways() };
    let lease = span(notify.every * 2 + LEASE);
    let mut watch =
        Watch { lookout: &lookout, teller, worker, rules, lease, beaten: None, untold: HashSet::new() };
    // Who has just started is no worker yet for whoever looks.
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + notify.every, notify.every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => break,
        }
        let looked = tokio::select! {
            looked = watch.round() => looked,
            // What was told and not noted is told once more, by whoever is next.
            () = stop.cancelled() => break,
        };
        if let Err(error) = looked {
            tracing::warn!(%error, "nobody can look whether something is wrong: the ledger is away");
        }
    }
    // Whoever comes next need not wait for it.
    let _ended_by_itself = lookout.store.take_watch(worker, SignedDuration::ZERO).await;
}

struct Watch<'w> {
    lookout: &'w Lookout,
    teller: Arc<Teller>,
    worker: WorkerId,
    rules: TellRules,
    lease: SignedDuration,
    /// When the heartbeat's receiver last took one.
    beaten: Option<Instant>,
    /// Alerts that could not be told the last time. Should it be for what they say, the others come first.
    untold: HashSet<String>,
}

impl Watch<'_> {
    async fn round(&mut self) -> Result<(), StoreError> {
        let store = &self.lookout.store;
        if !store.take_watch(self.worker, self.lease).await? {
            return Ok(());
        }
        let (signs, now) = self.lookout.signs().await?;
        let known = store.standing_alerts().await?;
        let changed = look(&known, &wrong(&signs), &self.rules, now);
        changed.iter().for_each(note);
        if !changed.is_empty() && !store.keep_alerts(self.worker, &changed).await? {
            return Ok(());
        }
        // First: whoever waits for it has waited since the last one, and telling may take a while.
        self.beat(now).await;
        self.tell(now).await
    }

    /// What is owed, also of what an earlier look, or another worker, has found.
    async fn tell(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let lookout = self.lookout;
        let store = &lookout.store;
        let mut known = store.standing_alerts().await?;
        known.retain(|alert| alert.owed.is_some());
        // A mailbox that takes nothing must not stand before what nobody has heard of.
        known.sort_by_key(|alert| {
            (self.untold.contains(&alert.key), alert.told_at.is_some(), alert.finding.level == Level::Look)
        });
        self.untold.clear();
        let mut failed: HashSet<Way> = HashSet::new();
        for mut alert in known.into_iter().take(AT_ONCE) {
            let Some((telling, ways)) = alert.owed.clone() else { continue };
            for way in ways.into_iter().filter(|way| !failed.contains(way)).collect::<Vec<_>>() {
                if !store.take_watch(self.worker, self.lease).await? {
                    return Ok(());
                }
                let taken = self.teller.tell(way, &alert, telling, now).await;
                let result = if taken { "taken" } else { "failed" };
                metrics::counter!("outreachd_alerts_told_total", "way" => way.as_str(), "result" => result)
                    .increment(1);
                if !taken {
                    tracing::warn!(alert = alert.key, %way, "people on call could not be told; it is tried again");
                    failed.insert(way);
                    self.untold.insert(alert.key.clone());
                    continue;
                }
                alert = told(&alert, way, now);
                if !store.keep_alerts(self.worker, std::slice::from_ref(&alert)).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn beat(&mut self, now: Timestamp) {
        let every = self.lookout.config.notify.heartbeat_every;
        if self.beaten.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        if self.teller.beat(now).await {
            self.beaten = Some(Instant::now());
        }
    }
}

fn note(alert: &Alert) {
    let (key, level) = (&alert.key, alert.finding.level);
    match (alert.ended_at, alert.owed.is_some()) {
        (Some(_), _) => tracing::info!(alert = key, "it is over"),
        (None, true) => tracing::warn!(alert = key, %level, "people on call are told"),
        (None, false) => tracing::debug!(alert = key, %level, "it is looked at"),
    }
}
