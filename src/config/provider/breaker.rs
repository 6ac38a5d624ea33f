//! `[provider.breaker]`: when a provider is left alone, and how it is taken back.

use std::time::Duration;

use crate::config::fault::Broken;
use crate::config::kind::{Int, Span};
use crate::config::read::Section;

/// What opens a provider's circuit, and what closes it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// The share of failed calls in `window` that opens it, in percent.
    pub failure_percent: u32,
    /// Below so many calls in `window` their share says nothing.
    pub least_calls: u32,
    pub window: Duration,
    /// So many failures in a row open it, whatever the share; above 100 times as many calls in `window`, one in a
    /// hundred of those.
    pub in_a_row: u32,
    /// An answer that takes longer counts as a failure where another provider serves the channel.
    pub slow_after: Duration,
    /// Requests to slow down count as failures once nothing else has been heard for so long.
    pub throttled_after: Duration,
    /// A message of which its provider has said nothing final for so long counts as not delivered, where another provider
    /// serves the channel and this one reports; nothing: receipts are not looked at.
    pub receipt_within: Duration,
    /// The share of the last `receipt_last` that did not arrive that opens it, in percent.
    pub receipt_percent: u32,
    pub receipt_last: u32,
    /// Nothing is sent for so long; twice as long each time it opens again before it was wholly back.
    pub cool_down: Duration,
    pub cool_down_max: Duration,
    /// Messages that may be under way at once as probes.
    pub probes: u32,
    /// So many good answers to probes close it.
    pub good_probes: u32,
    /// From closing to its full share, in ten steps.
    pub recovery: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failure_percent: 50,
            least_calls: 50,
            window: Duration::from_secs(10),
            in_a_row: 10,
            slow_after: Duration::from_secs(8),
            throttled_after: Duration::from_secs(30),
            receipt_within: Duration::from_secs(900),
            receipt_percent: 50,
            receipt_last: 50,
            cool_down: Duration::from_secs(5),
            cool_down_max: Duration::from_secs(60),
            probes: 2,
            good_probes: 5,
            recovery: Duration::from_secs(60),
        }
    }
}

impl BreakerSettings {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let default = Self::default();
        let settings = Self {
            failure_percent: s.or("failure_percent", Int(1..=100), default.failure_percent),
            least_calls: s.or("least_calls", Int(1..=10_000), default.least_calls),
            window: s.or("window", span(1_000, 600_000), default.window),
            in_a_row: s.or("in_a_row", Int(1..=10_000), default.in_a_row),
            slow_after: s.or("slow_after", span(100, 30_000), default.slow_after),
            throttled_after: s.or("throttled_after", span(1_000, 3_600_000), default.throttled_after),
            receipt_within: s.or("receipt_within", span(0, 86_400_000), default.receipt_within),
            receipt_percent: s.or("receipt_percent", Int(1..=100), default.receipt_percent),
            receipt_last: s.or("receipt_last", Int(1..=1_000), default.receipt_last),
            cool_down: s.or("cool_down", span(100, 600_000), default.cool_down),
            cool_down_max: s.or("cool_down_max", span(100, 3_600_000), default.cool_down_max),
            probes: s.or("probes", Int(1..=100), default.probes),
            good_probes: s.or("good_probes", Int(1..=1_000), default.good_probes),
            recovery: s.or("recovery", span(0, 3_600_000), default.recovery),
        };
        if settings.cool_down > settings.cool_down_max {
            let rule = "must be at least `cool_down`";
            s.fault("cool_down_max", Broken::new(rule, "raise it, or lower `cool_down`"));
        }
        settings
    }
}

fn span(low_ms: u64, high_ms: u64) -> Span {
    Span(Duration::from_millis(low_ms)..=Duration::from_millis(high_ms))
}
