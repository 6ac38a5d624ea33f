//! How a provider misbehaves: shares of bad answers, a pace it enforces, and outages switched while it runs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::check::{ConfigFault, check_shares};
use super::config::{ProviderKind, SimulatorConfig};
use super::dice::{Dice, Stream};

/// Faults of one provider kind. Shares run from 0 to 1 and may not add up to more than 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Before every answer.
    pub latency_ms: u64,
    /// Up to this much is added to the latency.
    pub jitter_ms: u64,
    /// 429, not taken.
    pub throttled: f64,
    /// Sent as Retry-After with every 429.
    pub retry_after_s: Option<u32>,
    /// 503, not taken.
    pub unavailable: f64,
    /// 500, not taken.
    pub error: f64,
    /// 500, although it was taken.
    pub error_taken: f64,
    /// Taken, and never answered.
    pub stalled: f64,
    /// Taken, and the connection reset instead of an answer.
    pub lost: f64,
    /// Answers 429 to what would be more than this in any second.
    pub limit_per_s: Option<u32>,
}

impl Faults {
    /// The shares that divide the answers among them.
    pub(super) const fn shares(&self) -> [f64; 6] {
        [self.throttled, self.unavailable, self.error, self.error_taken, self.stalled, self.lost]
    }
}

/// A provider that is down, one way or another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Outage {
    /// Up.
    #[default]
    None = 0,
    /// Answers 503 to everything.
    Unavailable = 1,
    /// Reads requests and answers none of them; takes none either.
    Hang = 2,
    /// Resets the connection after each request; takes none.
    Reset = 3,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Serve,
    Throttled { retry_after_s: Option<u32> },
    Unavailable,
    Error { taken: bool },
    Stalled { taken: bool },
    Lost { taken: bool },
}

impl Fate {
    /// Whether the request is looked at, and perhaps taken.
    pub(super) const fn is_served(self) -> bool {
        matches!(
            self,
            Self::Serve
                | Self::Error { taken: true }
                | Self::Stalled { taken: true }
                | Self::Lost { taken: true }
        )
    }
}

/// What becomes of one request, and how long it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) fate: Fate,
    pub(super) delay: Duration,
}

/// The switches of all kinds; read by every request without a lock (but for the pace, where one is set).
#[derive(Debug)]
pub(super) struct Switchboard {
    dice: Dice,
    kinds: [Switches; 4],
}

#[derive(Debug)]
struct Switches {
    faults: ArcSwap<Faults>,
    outage: AtomicU8,
    requests: AtomicU64,
    pace: Mutex<Pace>,
}

impl Switchboard {
    pub(super) fn new(config: &SimulatorConfig) -> Self {
        Self {
            dice: Dice::new(config.seed),
            kinds: ProviderKind::ALL.map(|kind| Switches {
                faults: ArcSwap::from_pointee(config.faults_of(kind).clone()),
                outage: AtomicU8::new(Outage::None as u8),
                requests: AtomicU64::new(0),
                pace: Mutex::default(),
            }),
        }
    }

    fn of(&self, kind: ProviderKind) -> &Switches {
        let [sms, voice, portal, smtp] = &self.kinds;
        match kind {
            ProviderKind::TwilioSms => sms,
            ProviderKind::TwilioVoice => voice,
            ProviderKind::FhirPortal => portal,
            ProviderKind::Smtp => smtp,
        }
    }

    /// The fate of a request to send.
    pub(super) fn plan(&self, kind: ProviderKind, now_us: u64) -> Plan {
        let switches = self.of(kind);
        let n = switches.requests.fetch_add(1, Ordering::Relaxed);
        // Kinds draw from places of their own, far apart, so that traffic on one does not change another.
        let n = n | (kind as u64) << 56;
        let faults = switches.faults.load();
        let delay = self.delay(&faults, n);
        let fate = switches.outage().unwrap_or_else(|| {
            let within = faults.limit_per_s.is_none_or(|limit| switches.within_pace(limit, now_us));
            if within { self.draw(&faults, n) } else { throttled(&faults) }
        });
        Plan { fate, delay }
    }

    /// The fate of a request that sends nothing (a look-up, a token): outages and latency only.
    pub(super) fn side_plan(&self, kind: ProviderKind) -> Plan {
        let switches = self.of(kind);
        let faults = switches.faults.load();
        Plan {
            fate: switches.outage().unwrap_or(Fate::Serve),
            delay: Duration::from_millis(faults.latency_ms),
        }
    }

    fn delay(&self, faults: &Faults, n: u64) -> Duration {
        let jitter = match faults.jitter_ms {
            0 => 0,
            max => self.dice.up_to(Stream::Jitter, n, max),
        };
        Duration::from_millis(faults.latency_ms.saturating_add(jitter))
    }

    fn draw(&self, faults: &Faults, n: u64) -> Fate {
        let mut mark = self.dice.share(Stream::Fate, n);
        for (share, fate) in [
            (faults.throttled, throttled(faults)),
            (faults.unavailable, Fate::Unavailable),
            (faults.error, Fate::Error { taken: false }),
            (faults.error_taken, Fate::Error { taken: true }),
            (faults.stalled, Fate::Stalled { taken: true }),
            (faults.lost, Fate::Lost { taken: true }),
        ] {
            if mark < share {
                return fate;
            }
            mark -= share;
        }
        Fate::Serve
    }

    /// Switches an outage on or off; `None` for all kinds.
    pub(super) fn set_outage(&self, kind: Option<ProviderKind>, outage: Outage) {
        for kind in ProviderKind::ALL.into_iter().filter(|k| kind.is_none_or(|only| only == *k)) {
            self.of(kind).outage.store(outage as u8, Ordering::Relaxed);
        }
    }

    /// Replaces the faults; `None` for all kinds.
    pub(super) fn set_faults(
        &self,
        kind: Option<ProviderKind>,
        faults: &Faults,
    ) -> Result<(), Vec<ConfigFault>> {
        let mut wrong = Vec::new();
        check_shares(&mut wrong, "faults", &faults.shares());
        if !wrong.is_empty() {
            return Err(wrong);
        }
        for kind in ProviderKind::ALL.into_iter().filter(|k| kind.is_none_or(|only| only == *k)) {
            self.of(kind).faults.store(Arc::new(faults.clone()));
        }
        Ok(())
    }
}

impl Switches {
    fn outage(&self) -> Option<Fate> {
        match self.outage.load(Ordering::Relaxed) {
            1 => Some(Fate::Unavailable),
            2 => Some(Fate::Stalled { taken: false }),
            3 => Some(Fate::Lost { taken: false }),
            _ => None,
        }
    }

    fn within_pace(&self, limit: u32, now_us: u64) -> bool {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).admit(limit, now_us)
    }
}

fn throttled(faults: &Faults) -> Fate {
    Fate::Throttled { retry_after_s: faults.retry_after_s }
}

/// The times of the requests let through in the last second: an exact sliding window, because a bucket would
/// let a burst pass that a strict provider refuses.
#[derive(Debug, Default)]
struct Pace(VecDeque<u64>);

impl Pace {
    fn admit(&mut self, limit: u32, now_us: u64) -> bool {
        while self.0.front().is_some_and(|first| now_us.saturating_sub(*first) >= 1_000_000) {
            self.0.pop_front();
        }
        let within = self.0.len() < limit as usize;
        if within {
            self.0.push_back(now_us);
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(faults: Faults) -> Switchboard {
        Switchboard::new(&SimulatorConfig { faults, seed: 9, ..SimulatorConfig::default() })
    }

    #[test]
    fn fates_come_in_their_shares_and_replay() {
        let faults =
            Faults { throttled: 0.1, unavailable: 0.05, stalled: 0.02, lost: 0.05, ..Faults::default() };
        let fates = |board: &Switchboard| -> Vec<Fate> {
            (0..20_000).map(|n| board.plan(ProviderKind::TwilioSms, n).fate).collect()
        };
        let seen = fates(&board(faults.clone()));
        let share = |fate: Fate| {
            f64::from(u32::try_from(seen.iter().filter(|f| **f == fate).count()).unwrap()) / 20_000.0
        };
        for (fate, expect) in [
            (Fate::Throttled { retry_after_s: None }, 0.1),
            (Fate::Unavailable, 0.05),
            (Fate::Stalled { taken: true }, 0.02),
            (Fate::Lost { taken: true }, 0.05),
            (Fate::Serve, 0.78),
        ] {
            assert!((share(fate) - expect).abs() < 0.01, "{fate:?}: {}", share(fate));
        }
        assert_eq!(seen, fates(&board(faults)));
    }

    #[test]
    fn the_pace_is_kept_in_every_second() {
        let board = board(Faults { limit_per_s: Some(3), ..Faults::default() });
        let times = [0, 10, 500_000, 600_000, 999_999, 1_000_000, 1_000_009, 1_000_010, 1_400_000, 1_500_000];
        let served: Vec<u64> =
            times.into_iter().filter(|at| board.plan(ProviderKind::Smtp, *at).fate == Fate::Serve).collect();
        assert_eq!(served, [0, 10, 500_000, 1_000_000, 1_000_010, 1_500_000]);
    }

    #[test]
    fn an_outage_holds_until_it_is_lifted() {
        let board = board(Faults::default());
        board.set_outage(Some(ProviderKind::Smtp), Outage::Unavailable);
        assert_eq!(board.plan(ProviderKind::Smtp, 0).fate, Fate::Unavailable);
        assert_eq!(board.plan(ProviderKind::TwilioSms, 0).fate, Fate::Serve);
        assert_eq!(board.side_plan(ProviderKind::Smtp).fate, Fate::Unavailable);
        board.set_outage(None, Outage::None);
        assert_eq!(board.plan(ProviderKind::Smtp, 0).fate, Fate::Serve);
    }
}
