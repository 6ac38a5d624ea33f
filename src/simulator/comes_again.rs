//! When Twilio calls a webhook again that has failed, by the overrides in the fragment of its URL.
//!
//! | parameter | says | by default | at most |
//! |---|---|---|---|
//! | `rc` | how often it comes again | 1 | 5 |
//! | `rp` | after what: `4xx`, `5xx`, `ct` (could not connect), `rt` (no answer in time), `all`; several with commas | `ct` | |
//! | `tt` | milliseconds for all tries together | 15000 | 15000 |
//!
//! Source: Twilio, "Webhooks (HTTP callbacks): Connection Overrides".

use std::time::Duration;

/// What has become of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    Connecting,
    Reading,
    Answered(u16),
}

/// The policy of one URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ComesAgain {
    retries: u32,
    after: Vec<String>,
    within: Duration,
}

impl ComesAgain {
    /// Reads what follows the `#`; what is not understood is let be.
    pub(super) fn of(overrides: &str) -> Self {
        let value = |name: &str| {
            overrides.split('&').filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name)
        };
        let number = |name, default: u64, most: u64| {
            value(name).and_then(|(_, text)| text.parse().ok()).unwrap_or(default).min(most)
        };
        let after = value("rp").map_or("ct", |(_, text)| text);
        Self {
            retries: u32::try_from(number("rc", 1, 5)).unwrap_or(1),
            after: after.split(',').map(str::to_owned).collect(),
            within: Duration::from_millis(number("tt", 15_000, 15_000)),
        }
    }

    /// Whether it is tried again after `tries` that failed before this one, `at` this time since the first.
    pub(super) fn is_due(&self, tries: u32, failed: Failed, at: Duration) -> bool {
        let word = match failed {
            Failed::Connecting => "ct",
            Failed::Reading => "rt",
            Failed::Answered(400..=499) => "4xx",
            Failed::Answered(_) => "5xx",
        };
        tries < self.retries
            && at < self.within
            && self.after.iter().any(|known| known == word || known == "all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_again_as_the_url_asks_and_no_longer_than_15_seconds() {
        let (busy, gone) = (Failed::Answered(503), Failed::Connecting);
        for (overrides, tries, failed, ms, expected) in [
            ("", 0, gone, 500, true),
            ("", 1, gone, 1_000, false),
            ("", 0, busy, 500, false),
            ("", 0, Failed::Reading, 500, false),
            ("rc=5&rp=all", 4, busy, 14_999, true),
            ("rc=5&rp=all", 5, busy, 2_500, false),
            ("rc=5&rp=all", 2, busy, 15_000, false),
            ("rc=5&rp=all", 0, Failed::Reading, 1, true),
            ("rc=9&rp=all", 5, busy, 1, false),
            ("rc=2&rp=5xx,ct", 1, busy, 1, true),
            ("rc=2&rp=5xx,ct", 1, Failed::Answered(404), 1, false),
            ("rc=2", 1, busy, 1, false),
            ("rc=2&rp=5xx&tt=1000", 1, busy, 1_000, false),
            ("rc=0", 0, gone, 1, false),
        ] {
            let policy = ComesAgain::of(overrides);
            let due = policy.is_due(tries, failed, Duration::from_millis(ms));
            assert_eq!(due, expected, "{overrides} {tries} {failed:?} {ms}");
        }
    }
}
