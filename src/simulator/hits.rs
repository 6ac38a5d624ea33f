//! The raw hit log: every request that fully arrived is one hit, whatever was answered, never deduplicated.
//! Counts are kept for ever, the last hits in memory, all of them in a file where one is set. A hit holds no
//! address and no text, only digests.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::ProviderKind;
use super::hit_file::HitFile;
use super::marker::{Marker, TextDigest};

/// One request at the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Arrival, in microseconds of the monotonic clock since the simulator started.
    #[serde(rename = "us")]
    pub at_us: u64,
    /// Arrival, in microseconds since 1970 by the machine's wall clock.
    pub wall_us: i64,
    pub kind: ProviderKind,
    /// The send key, where the request names one: `X-Outreach-Send-Key`, `?send_key=` of the status callback,
    /// `If-None-Exist`, or `Message-ID`.
    #[serde(rename = "key", default, skip_serializing_if = "Option::is_none")]
    pub send_key: Option<Marker>,
    /// The attempt, where the status callback names one: `?attempt=`, or a UUID as last path segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Marker>,
    /// Digest of the recipient's address.
    pub to: TextDigest,
    /// Digest of the text.
    pub body: TextDigest,
    /// HTTP or SMTP status answered, or that would have been.
    pub status: u16,
    /// Whether the provider took the message, whatever it answered.
    pub taken: bool,
    pub reply: Reply,
}

/// What became of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Sent,
    /// The connection was reset instead.
    Lost,
    /// Never answered.
    Stalled,
}

impl Reply {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Lost => "lost",
            Self::Stalled => "stalled",
        }
    }
}

/// What one provider kind has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KindStats {
    /// Requests that fully arrived.
    pub hits: u64,
    /// Messages taken, whatever was answered.
    pub taken: u64,
    /// Answered 429 (SMTP 454).
    pub throttled: u64,
    /// Answered 5xx (SMTP 421 and 451), taken or not.
    pub errored: u64,
    /// Refused for what they said or who said it.
    pub rejected: u64,
    /// Taken or not, and the connection reset.
    pub lost: u64,
    /// Taken or not, and never answered.
    pub stalled: u64,
}

#[derive(Debug, Default)]
struct Counters([AtomicU64; 7]);

impl Counters {
    fn count(&self, hit: &Hit) {
        let [hits, taken, throttled, errored, rejected, lost, stalled] = &self.0;
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        add(hits);
        if hit.taken {
            add(taken);
        }
        match (hit.reply, hit.kind, hit.status) {
            (Reply::Lost, ..) => add(lost),
            (Reply::Stalled, ..) => add(stalled),
            (_, ProviderKind::Smtp, 454) | (_, _, 429) => add(throttled),
            (_, ProviderKind::Smtp, 421 | 451) => add(errored),
            (_, ProviderKind::Smtp, 400..) => add(rejected),
            (_, _, 500..) => add(errored),
            (_, _, 400..) => add(rejected),
            _ => 0,
        };
    }

    fn read(&self) -> KindStats {
        let [hits, taken, throttled, errored, rejected, lost, stalled] =
            self.0.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        KindStats { hits, taken, throttled, errored, rejected, lost, stalled }
    }
}

/// How often who waits for a count looks. To be woken by each hit would cost the hits more than they do.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Takes in hits from every connection.
#[derive(Debug)]
pub(super) struct HitLog {
    counters: [Counters; 4],
    ring: Mutex<VecDeque<Hit>>,
    keep: usize,
    file: Option<HitFile>,
}

impl HitLog {
    pub(super) fn open(keep: usize, path: Option<&Path>) -> std::io::Result<Self> {
        Ok(Self {
            counters: Default::default(),
            ring: Mutex::default(),
            keep,
            file: path.map(HitFile::open).transpose()?,
        })
    }

    pub(super) fn record(&self, hit: &Hit) {
        if let Some(file) = &self.file {
            file.append(|line| write_line(line, hit));
        }
        if self.keep > 0 {
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            if ring.len() >= self.keep {
                ring.pop_front();
            }
            ring.push_back(*hit);
        }
        if let Some(counters) = self.counters.get(hit.kind as usize) {
            counters.count(hit);
        }
    }

    pub(super) fn stats(&self, kind: ProviderKind) -> KindStats {
        self.counters.get(kind as usize).map(Counters::read).unwrap_or_default()
    }

    pub(super) fn total(&self) -> u64 {
        ProviderKind::ALL.into_iter().map(|kind| self.stats(kind).hits).sum()
    }

    pub(super) fn recent(&self) -> Vec<Hit> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    pub(super) async fn wait_for(&self, count: u64) {
        while self.total() < count {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Returns once every hit so far is in the file.
    pub(super) fn flush(&self) -> std::io::Result<()> {
        self.file.as_ref().map_or(Ok(()), HitFile::flush)
    }
}

/// The same shape as serde would give, at a fraction of the cost: markers and digests need no escaping.
fn write_line(line: &mut Vec<u8>, hit: &Hit) -> std::io::Result<()> {
    write!(line, r#"{{"us":{},"wall_us":{},"kind":"{}""#, hit.at_us, hit.wall_us, hit.kind.as_str())?;
    if let Some(key) = &hit.send_key {
        write!(line, r#","key":"{}""#, key.as_str())?;
    }
    if let Some(attempt) = &hit.attempt {
        write!(line, r#","attempt":"{}""#, attempt.as_str())?;
    }
    writeln!(
        line,
        r#","to":"{}","body":"{}","status":{},"taken":{},"reply":"{}"}}"#,
        hit.to,
        hit.body,
        hit.status,
        hit.taken,
        hit.reply.as_str()
    )
}

/// Reads a hit log written by [`SimulatorConfig::hit_log`](super::SimulatorConfig::hit_log).
///
/// # Errors
/// The file cannot be read, or a line is not a hit (the error names the line, not its content).
pub fn read_hit_log(path: &Path) -> std::io::Result<Vec<Hit>> {
    let text = std::fs::read_to_string(path)?;
    text.lines()
        .enumerate()
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|_| {
                std::io::Error::other(format!("line {} is not a hit: was the file cut?", at + 1))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit() -> Hit {
        Hit {
            at_us: 17,
            wall_us: 1_700_000_000_000_000,
            kind: ProviderKind::TwilioSms,
            send_key: Some(Marker::new("0192-0")),
            attempt: None,
            to: TextDigest::of(b"+13125550142"),
            body: TextDigest::of(b"Hello"),
            status: 201,
            taken: true,
            reply: Reply::Lost,
        }
    }

    #[test]
    fn the_hand_written_line_is_what_serde_reads_and_writes() {
        let mut line = Vec::new();
        write_line(&mut line, &hit()).unwrap();
        assert_eq!(serde_json::from_slice::<Hit>(&line).unwrap(), hit());
        assert_eq!(String::from_utf8(line).unwrap().trim_end(), serde_json::to_string(&hit()).unwrap());
    }

    #[test]
    fn counts_outlive_the_ring() {
        let log = HitLog::open(3, None).unwrap();
        for _ in 0..10 {
            log.record(&hit());
        }
        assert_eq!(log.recent().len(), 3);
        assert_eq!(
            log.stats(ProviderKind::TwilioSms),
            KindStats { hits: 10, taken: 10, lost: 10, ..KindStats::default() }
        );
    }
}
