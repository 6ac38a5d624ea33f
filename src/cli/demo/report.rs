//! What became of the demo's jobs, as a table for people and as JSON for scripts.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::{Value, json};

use super::clinic;
use crate::cli::Failure;
use crate::cli::out::{Out, Table};
use crate::domain::ids::MessageId;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason};
use crate::store::rows::MessageRow;

/// The latest that is known of each message.
#[derive(Default)]
pub(super) struct Report {
    messages: HashMap<MessageId, Standing>,
    finished: u64,
    /// What patients wrote back, by what it was taken for.
    replies: BTreeMap<String, u64>,
}

struct Standing {
    status: MessageStatus,
    reason: Option<Reason>,
    channel: Option<Channel>,
    language: &'static str,
}

impl Report {
    /// Takes note of a change.
    pub(super) fn note(&mut self, row: &MessageRow) {
        let number = clinic::number_of(row.facts.patient_id.as_str());
        let standing = Standing {
            status: row.status,
            reason: row.reason,
            channel: row.channel,
            language: number.map_or("", clinic::language),
        };
        let before = self.messages.insert(row.facts.id, standing);
        let was = before.is_some_and(|before| is_finished(before.status));
        self.finished += u64::from(is_finished(row.status) && !was);
    }

    /// Takes note of what a patient wrote back.
    pub(super) fn note_reply(&mut self, intent: &str) {
        *self.replies.entry(intent.to_owned()).or_default() += 1;
    }

    /// How many jobs are sent or final.
    pub(super) const fn finished(&self) -> u64 {
        self.finished
    }

    fn count(&self, fits: impl Fn(&Standing) -> bool) -> u64 {
        u64::try_from(self.messages.values().filter(|standing| fits(standing)).count()).unwrap_or(0)
    }

    /// Whether all `jobs` are sent or final, and at least 95 in 100 of those that nothing forbade were sent.
    pub(super) fn is_good(&self, jobs: u64) -> bool {
        let suppressed = self.count(|s| s.status == MessageStatus::Suppressed);
        let sent = self.count(|s| is_sent(s.status));
        self.finished == jobs && sent * 100 >= jobs.saturating_sub(suppressed) * 95
    }

    fn tally<K: Ord>(&self, key: impl Fn(&Standing) -> Option<K>) -> BTreeMap<K, u64> {
        let mut tally = BTreeMap::new();
        for key in self.messages.values().filter_map(key) {
            *tally.entry(key).or_insert(0) += 1;
        }
        tally
    }

    /// Sent messages by channel and status, then who was not written to and why.
    pub(super) fn write(&self, out: &mut Out, jobs: u64, elapsed: Duration) -> Result<(), Failure> {
        let by_both = self.tally(|s| Some((s.channel.map_or("", |c| c.as_str()), s.status.as_str())));
        let mut table = Table::new(&["channel", "status", "messages"]);
        for ((channel, status), count) in &by_both {
            let channel = if channel.is_empty() { "-" } else { channel };
            table.row([channel.to_owned(), (*status).to_owned(), count.to_string()]);
        }
        out.line("")?;
        table.write(out)?;
        let reasons = self.tally(|s| Some(s.reason?.as_str()));
        for (reason, count) in &reasons {
            out.line(format!("because of {reason}: {count}"))?;
        }
        let languages = self.tally(|s| is_sent(s.status).then_some(s.language));
        let spoken: Vec<String> = languages.iter().map(|(tag, count)| format!("{tag} {count}")).collect();
        out.line(format!("languages: {}", spoken.join(", ")))?;
        if !self.replies.is_empty() {
            let wrote: Vec<String> =
                self.replies.iter().map(|(intent, count)| format!("{intent} {count}")).collect();
            out.line(format!("patients wrote back: {}", wrote.join(", ")))?;
        }
        let seconds = elapsed.as_secs_f64();
        Ok(out.line(format!("{} of {jobs} jobs sent or final in {seconds:.1} s", self.finished))?)
    }

    /// The same for scripts.
    pub(super) fn as_json(&self, jobs: u64, elapsed: Duration) -> Value {
        let seconds = elapsed.as_secs_f64();
        let finished = u32::try_from(self.finished).unwrap_or(u32::MAX);
        json!({
            "ok": self.is_good(jobs),
            "jobs": jobs,
            "finished": self.finished,
            "sent_or_delivered": self.count(|s| is_sent(s.status)),
            "by_channel": self.tally(|s| if is_sent(s.status) { Some(s.channel?.as_str()) } else { None }),
            "by_status": self.tally(|s| Some(s.status.as_str())),
            "by_reason": self.tally(|s| Some(s.reason?.as_str())),
            "by_language": self.tally(|s| is_sent(s.status).then_some(s.language)),
            "replies": self.replies,
            "elapsed_seconds": (seconds * 1000.0).round() / 1000.0,
            "jobs_per_second": if seconds > 0.0 { (f64::from(finished) / seconds).round() } else { 0.0 },
            "peak_rss_bytes": peak_rss(),
        })
    }
}

const fn is_sent(status: MessageStatus) -> bool {
    matches!(status, MessageStatus::Sent | MessageStatus::Delivered | MessageStatus::Read)
}

const fn is_finished(status: MessageStatus) -> bool {
    status.is_final() || is_sent(status)
}

/// The most memory that the process had resident, in bytes; `None` where the system does not tell (`proc(5)`).
pub(in crate::cli) fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}
