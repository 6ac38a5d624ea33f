//! What is wrong with the whole of it, and what people on call were told of it.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Result;
use crate::domain::alert::Alert;
use crate::domain::ids::WorkerId;
use crate::domain::words::WorkKind;
use crate::policy::watch::Vitals;

/// What is wrong, who watches, and what was told of it.
#[async_trait]
pub trait Alerts {
    /// The few numbers by which it shows that something is wrong: each from an index of what is open.
    async fn vitals(&self) -> Result<Vitals>;

    /// Gives the watch to one worker for `lease`: true where it is this one, which may look and tell until then.
    async fn take_watch(&self, worker: WorkerId, lease: SignedDuration) -> Result<bool>;

    /// Every alert that stands, of which something is still to be told, or which somebody wants to hear nothing of: for
    /// whoever watches.
    async fn standing_alerts(&self) -> Result<Vec<Alert>>;

    /// Alerts for people to see, [`SHOWN`] at most: those that stand come first, then those of which something is still to be
    /// told and those that have ended within a day; of each the newest first. And the clock.
    async fn alerts(&self) -> Result<(Vec<Alert>, Timestamp)>;

    /// Writes alerts as they are known after a look, as far as `worker` still has the watch: what people said of them stays
    /// as it stands here, unless an alert begins anew or has outgrown what was acknowledged. Forgets those that have ended a month ago. False: it has it no more.
    async fn keep_alerts(&self, worker: WorkerId, alerts: &[Alert]) -> Result<bool>;

    /// What somebody says of an alert that stands. `None`: none of that key stands.
    async fn answer_alert(&self, key: &str, by: &str, answer: AlertAnswer) -> Result<Option<Alert>>;

    /// How many people are behind what is wrong; counted up to [`Behind::MOST`] each.
    async fn people_behind(&self) -> Result<Behind>;
}

/// So many alerts are shown at most.
pub const SHOWN: i64 = 1_000;

/// What somebody on call says of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertAnswer {
    /// They look after it: it is not told again before there is [`OUTGROWN`](crate::policy::watch::OUTGROWN) times as much.
    Acknowledge,
    /// Nothing is told of it for so long.
    Snooze(SignedDuration),
}

/// How many patients are behind what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// A message to them has been due for a minute and more.
    pub waiting: u64,
    /// Nobody knows whether their message arrived.
    pub unknown: u64,
    /// There is work about them that nobody has claimed in time; by its kind.
    pub overdue: Vec<(WorkKind, u64)>,
}

impl Behind {
    /// No more are counted.
    pub const MOST: u64 = 100_000;
}
