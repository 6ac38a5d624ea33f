//! `[worker]`: how one process takes work, keeps it and lets it go.

use std::path::PathBuf;
use std::time::Duration;

use super::fault::Broken;
use super::kind::{Int, Size, Span};
use super::read::Section;
use super::rules;

/// The worker's batches and clocks.
#[derive(Clone, Debug)]
pub struct WorkerSection {
    /// Rows per batch at every edge.
    pub batch: u32,
    /// How long a claim holds, on the database's clock.
    pub lease: Duration,
    /// How long the worker itself trusts a claim, on its own clock from before the claim was asked for.
    pub lease_local: Duration,
    /// How often the worker says that it lives.
    pub heartbeat: Duration,
    /// A worker silent for so long may lose its leases early.
    pub heartbeat_stale: Duration,
    /// How often the ledger is asked for due work while there is none.
    pub poll: Duration,
    /// The least that a lane may hold; one second of its provider's rate where that is more.
    pub lane: u32,
    /// From the commit of an attempt to its first byte; later it is settled as not sent.
    pub first_byte: Duration,
    /// After SIGTERM: what is in flight then is settled as unknown.
    pub shutdown_grace: Duration,
    /// The folder that keeps results which the ledger has not taken at the end, and webhooks while it is away.
    pub spool: PathBuf,
    /// Bytes of webhooks that are kept there at most.
    pub spool_most: usize,
}

impl WorkerSection {
    /// [`Self::batch`], as a count of things in memory.
    #[must_use]
    pub fn batch(&self) -> usize {
        usize::try_from(self.batch).unwrap_or(usize::MAX)
    }

    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let section = Self {
            batch: s.or("batch", Int(1..=1_000), 500),
            lease: s.or("lease", span(10_000, 600_000), Duration::from_secs(60)),
            lease_local: s.or("lease_local", span(5_000, 600_000), Duration::from_secs(40)),
            heartbeat: s.or("heartbeat", span(200, 60_000), Duration::from_secs(2)),
            heartbeat_stale: s.or("heartbeat_stale", span(1_000, 300_000), Duration::from_secs(10)),
            poll: s.or("poll", span(10, 10_000), Duration::from_millis(250)),
            lane: s.or("lane", Int(1..=100_000), 1_000),
            first_byte: s.or("first_byte", span(50, 5_000), Duration::from_millis(500)),
            shutdown_grace: s.or("shutdown_grace", span(1_000, 60_000), Duration::from_secs(8)),
            spool: s.context.cwd.join(s.or("spool", rules::PATH, PathBuf::from("."))),
            spool_most: s.or("spool_most", Size((1 << 20)..=(16 << 30)), 256 << 20),
        };
        section.check(s);
        section
    }

    fn check(&self, s: &Section<'_>) {
        if self.lease_local + Duration::from_secs(5) > self.lease {
            let rule = "must end at least 5s before `lease`: clocks differ and statements take time";
            s.fault("lease_local", Broken::new(rule, "lower it, or raise `lease`"));
        }
        if self.heartbeat * 3 > self.heartbeat_stale {
            let rule = "must be at least three times `heartbeat`: one late beat is no death";
            s.fault("heartbeat_stale", Broken::new(rule, "raise it, or lower `heartbeat`"));
        }
        if self.heartbeat_stale > self.lease {
            let rule = "must be at most `lease`";
            s.fault("heartbeat_stale", Broken::new(rule, "lower it, or raise `lease`"));
        }
    }
}

fn span(low_ms: u64, high_ms: u64) -> Span {
    Span(Duration::from_millis(low_ms)..=Duration::from_millis(high_ms))
}
