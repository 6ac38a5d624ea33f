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

/// So many jobs reach somebody over every channel and in every language.
const ENOUGH: u64 = 100;

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

    /// What is missing: all `jobs` are to be sent or final, at least 95 in 100 of those that nothing forbade sent, and
    /// where they are enough for it, over every channel and in every language.
    pub(super) fn missing(&self, jobs: u64) -> Vec<String> {
        let mut missing = Vec::new();
        if self.finished != jobs {
            missing.push(format!("{} of {jobs} jobs are sent or final", self.finished));
        }
        let suppressed = self.count(|s| s.status == MessageStatus::Suppressed);
        let (sent, free) = (self.count(|s| is_sent(s.status)), jobs.saturating_sub(suppressed));
        if sent * 100 < free * 95 {
            missing.push(format!("{sent} of {free} that nothing forbade were sent, fewer than 95 in 100"));
        }
        if jobs >= ENOUGH {
            let unused = Channel::ALL
                .iter()
                .filter(|c| self.count(|s| is_sent(s.status) && s.channel == Some(**c)) == 0);
            missing.extend(unused.map(|channel| format!("none was sent by {channel}")));
            let unheard = clinic::LANGUAGES
                .iter()
                .filter(|l| self.count(|s| is_sent(s.status) && s.language == **l) == 0);
            missing.extend(unheard.map(|language| format!("none was sent in {language}")));
        }
        missing
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
        let missing = self.missing(jobs);
        json!({
            "ok": missing.is_empty(),
            "missing": missing,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As many messages, all sent but those that `change` makes otherwise.
    fn report(jobs: u64, change: impl Fn(usize, &mut Standing)) -> Report {
        let mut report = Report::default();
        for number in 0..usize::try_from(jobs).unwrap() {
            let mut standing = Standing {
                status: MessageStatus::Sent,
                reason: None,
                channel: Some(Channel::ALL[number % Channel::ALL.len()]),
                language: clinic::LANGUAGES[number % clinic::LANGUAGES.len()],
            };
            change(number, &mut standing);
            report.finished += u64::from(is_finished(standing.status));
            report.messages.insert(MessageId::generate(), standing);
        }
        report
    }

    #[test]
    fn what_the_demo_falls_short_of_is_named() {
        assert!(report(100, |_, _| ()).missing(100).is_empty());
        let none: [&str; 0] = [];
        let becomes = |status, of: usize| {
            report(100, move |n, s| s.status = if n < of { status } else { MessageStatus::Sent }).missing(100)
        };
        assert_eq!(becomes(MessageStatus::Suppressed, 20), none);
        assert_eq!(becomes(MessageStatus::Failed, 5), none);
        assert_eq!(
            becomes(MessageStatus::Failed, 6),
            ["94 of 100 that nothing forbade were sent, fewer than 95 in 100"]
        );
        assert_eq!(becomes(MessageStatus::Held, 1), ["99 of 100 jobs are sent or final"]);
        let silent = |jobs| {
            let quiet = |_: usize, s: &mut Standing| {
                s.channel = s.channel.filter(|c| *c != Channel::Voice);
                s.language = if s.language == "es" { "en" } else { s.language };
            };
            report(jobs, quiet).missing(jobs)
        };
        assert_eq!(silent(100), ["none was sent by voice", "none was sent in es"]);
        assert_eq!(silent(99), none, "so few need not reach everybody's");
    }
}
