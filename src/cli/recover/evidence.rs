//! What is known of the time that a restored ledger has forgotten: events as subscribers kept them, and logs of what left,
//! as NDJSON. A line says of one message what became of it, or of one patient what they wanted.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::domain::ids::{JobId, MessageId, PatientId, ProviderName, SendKey, SourceName};
use crate::domain::problem::Problem;
use crate::domain::reply::Intent;
use crate::domain::words::{Channel, ContactStatus, Reason};
use crate::store::recover::{Ended, LostJob, Witness, Word};

/// The longest line.
const MOST_BYTES: u64 = 64 * 1024;

/// What is read of a line, whoever wrote it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    #[serde(rename = "type")]
    kind_of_event: Option<String>,
    message_id: Option<String>,
    source: Option<String>,
    job_id: Option<String>,
    patient_id: Option<String>,
    channel: Option<String>,
    provider: Option<String>,
    reason: Option<String>,
    at: Option<String>,
    #[serde(rename = "final")]
    is_final: Option<bool>,
    #[serde(alias = "key")]
    send_key: Option<String>,
    kind: Option<String>,
    taken: Option<bool>,
    wall_us: Option<i64>,
}

/// Which provider a name in a log stands for.
pub(super) trait Providers {
    /// By its name in the configuration, or else by its kind.
    fn find(&self, name: &str) -> Option<(ProviderName, Channel)>;
}

/// A patient who has said something that the ledger no longer knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wish {
    pub(super) patient: PatientId,
    pub(super) reach: Reach,
    pub(super) at: Timestamp,
}

/// Where they may want nothing more, as far as an event tells: it does not say what was written, nor by whom of those who
/// stand in for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    One(Channel),
    /// Texts, calls, or both.
    Phones,
    /// Something was changed on their page.
    Everywhere,
    /// They were in danger, and may have said stop too.
    Unsaid,
}

impl Reach {
    /// What came over this channel is about it.
    fn of(channel: Option<Channel>) -> Self {
        match channel {
            Some(channel @ (Channel::Email | Channel::Portal)) => Self::One(channel),
            Some(Channel::Sms | Channel::Voice) | None => Self::Phones,
        }
    }

    pub(super) fn covers(self, channel: Channel) -> bool {
        match self {
            Self::One(one) => one == channel,
            Self::Phones => matches!(channel, Channel::Sms | Channel::Voice),
            Self::Everywhere => true,
            Self::Unsaid => false,
        }
    }
}

/// All that was read.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// The furthest word of each message and step.
    said: BTreeMap<(MessageId, Option<u16>), Witness>,
    jobs: BTreeMap<MessageId, (SourceName, JobId)>,
    pub(super) wishes: Vec<Wish>,
    pub(super) lines: u64,
}

impl Evidence {
    /// Reads one file; `line` of a fault counts from 1.
    pub(super) fn read(
        &mut self,
        from: impl Read,
        providers: &impl Providers,
        mut refused: impl FnMut(u64, Problem) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let mut from = std::io::BufReader::new(from);
        let mut bytes = Vec::new();
        for number in 1.. {
            bytes.clear();
            let length = (&mut from).take(MOST_BYTES + 1).read_until(b'\n', &mut bytes)?;
            if length == 0 {
                break;
            }
            if bytes.len() as u64 > MOST_BYTES {
                refused(number, bad("", "is longer than 64 KiB", "give one JSON object a line"))?;
                skip_line(&mut from)?;
                continue;
            }
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            self.lines += 1;
            if let Err(problem) = self.take(&bytes, providers) {
                refused(number, problem)?;
            }
        }
        Ok(())
    }

    /// Takes one line.
    pub(super) fn take(&mut self, bytes: &[u8], providers: &impl Providers) -> Result<(), Problem> {
        let cure =
            "give events as they were told, or {\"send_key\": ..., \"provider\": ...}, one object a line";
        let line: Line =
            serde_json::from_slice(bytes).map_err(|_| bad("", "is no JSON object with words in it", cure))?;
        let at = line.at()?;
        match (&line.kind_of_event, &line.send_key) {
            (Some(kind), _) => self.event(&line, kind, at, providers),
            (None, Some(key)) => {
                let cure = "copy it from the log: 32 hexadecimal digits, a dash, the step";
                let key = SendKey::parse(key).ok_or_else(|| bad("send_key", "is no send key", cure))?;
                if line.taken != Some(false) {
                    self.say(key.message, Some(key.step), Word::Taken, &line, at, providers);
                }
                Ok(())
            }
            (None, None) => Err(bad("type", "is missing, and so is `send_key`", cure)),
        }
    }

    fn event(
        &mut self,
        line: &Line,
        kind: &str,
        at: Option<Timestamp>,
        providers: &impl Providers,
    ) -> Result<(), Problem> {
        let (family, what) = kind.split_once('.').unwrap_or((kind, ""));
        match family {
            "message" => {
                let Some(said) = word(what, line.is_final) else { return Ok(()) };
                let id = line.message_id.as_deref().and_then(|id| Uuid::try_parse(id).ok()).map(MessageId);
                let id = id.ok_or_else(|| bad("message_id", "is no message's id", "copy the whole event"))?;
                if let (Some(source), Some(job)) = (line.source(), line.job()) {
                    self.jobs.insert(id, (source, job));
                }
                self.say(id, None, said, line, at, providers);
                Ok(())
            }
            "reply" => match Intent::from_word(what) {
                Some(Intent::Stop | Intent::Complaint | Intent::WrongNumber | Intent::Cancel) => {
                    self.wish(line, Reach::of(line.channel()), at)
                }
                Some(Intent::Safety) => self.wish(line, Reach::Unsaid, at),
                _ => Ok(()),
            },
            // An address that does not work harms nobody: it is found out again.
            "contact" => match ContactStatus::from_word(what) {
                Some(ContactStatus::Wrong | ContactStatus::Reassigned) => {
                    self.wish(line, Reach::of(line.channel()), at)
                }
                _ => Ok(()),
            },
            "preference" => self.wish(line, Reach::Everywhere, at),
            // Work, campaigns, what could not be accepted: nothing that was sent or wished.
            _ => Ok(()),
        }
    }

    fn wish(&mut self, line: &Line, reach: Reach, at: Option<Timestamp>) -> Result<(), Problem> {
        // What follows no message of ours names nobody: then the address is in the provider's own list.
        let Some(patient) = line.patient_id.as_deref().and_then(PatientId::parse) else { return Ok(()) };
        let at = at.ok_or_else(|| bad("at", "is missing", "copy the whole event"))?;
        self.wishes.push(Wish { patient, reach, at });
        Ok(())
    }

    fn say(
        &mut self,
        message: MessageId,
        step: Option<u16>,
        said: Word,
        line: &Line,
        at: Option<Timestamp>,
        providers: &impl Providers,
    ) {
        let name = line.provider.as_deref().or(line.kind.as_deref());
        let provider = name.and_then(|name| providers.find(name)).or_else(|| {
            let named = line.provider.as_deref().and_then(ProviderName::parse);
            Some((named?, line.channel()?))
        });
        let reason = line.reason.as_deref().and_then(Reason::from_word);
        let new = Witness { message, step, said, reason, provider, at };
        let known = self.said.entry((message, step)).or_insert_with(|| new.clone());
        // The same word once more is of another step, and later than the dump if the last of them is.
        let again = said == known.said && known.at.is_some_and(|before| at.is_none_or(|at| at > before));
        if said > known.said || again {
            let provider = new.provider.clone().or_else(|| known.provider.take());
            *known = Witness { provider, ..new };
        }
    }

    /// One witness a message and step. An event does not name its step: it is that of the log's last line.
    pub(super) fn witnesses(&self) -> Vec<Witness> {
        let mut all: Vec<Witness> = Vec::with_capacity(self.said.len());
        for ((message, step), witness) in &self.said {
            // Without a step sorts before all that have one.
            match all.last_mut() {
                Some(bare) if step.is_some() && bare.message == *message && bare.step.is_none() => {
                    let provider = bare.provider.take().or_else(|| witness.provider.clone());
                    let said = bare.said.max(witness.said);
                    *bare = Witness { step: *step, provider, said, ..bare.clone() };
                }
                _ => all.push(witness.clone()),
            }
        }
        all
    }

    /// The jobs of these messages, which came in after the dump, and what is known of them.
    pub(super) fn lost(&self, strange: &[MessageId]) -> Vec<LostJob> {
        let mut jobs: BTreeMap<(SourceName, JobId), (Word, Option<Reason>)> = BTreeMap::new();
        for id in strange {
            let Some(job) = self.jobs.get(id) else { continue };
            let words = self.said.range((*id, None)..=(*id, Some(u16::MAX))).map(|(_, w)| (w.said, w.reason));
            let Some(word) = words.max_by_key(|(said, _)| *said) else { continue };
            let known = jobs.entry(job.clone()).or_insert(word);
            if word.0 > known.0 {
                *known = word;
            }
        }
        let reason = |(said, reason): (Word, Option<Reason>)| match said {
            said if said.may_have_left() => Some(Reason::Duplicate),
            Word::Ended(Ended::Cancelled) => Some(reason.unwrap_or(Reason::Cancelled)),
            // Nobody was reached: whoever sends it again means it.
            _ => None,
        };
        jobs.into_iter()
            .map(|((source, job_id), word)| LostJob { source, job_id, reason: reason(word) })
            .collect()
    }
}

impl Line {
    fn at(&self) -> Result<Option<Timestamp>, Problem> {
        match (&self.at, self.wall_us) {
            (Some(text), _) => crate::domain::reader::timestamp(text)
                .map(Some)
                .map_err(|fault| bad("at", &fault.rule, &fault.cure)),
            (None, Some(us)) => Ok(Timestamp::from_microsecond(us).ok()),
            (None, None) => Ok(None),
        }
    }

    fn channel(&self) -> Option<Channel> {
        self.channel.as_deref().and_then(Channel::from_word)
    }

    fn source(&self) -> Option<SourceName> {
        self.source.as_deref().and_then(SourceName::parse)
    }

    fn job(&self) -> Option<JobId> {
        self.job_id.as_deref().and_then(JobId::parse)
    }
}

/// What the status of an event says; `None`: nothing that a ledger could have lost.
fn word(status: &str, is_final: Option<bool>) -> Option<Word> {
    Some(match status {
        "unknown" => Word::Unknown,
        "sent" if is_final == Some(true) => Word::Sent,
        "sent" => Word::Taken,
        "delivered" => Word::Delivered,
        "read" => Word::Read,
        "failed" => Word::Failed,
        "suppressed" => Word::Ended(Ended::Suppressed),
        "expired" => Word::Ended(Ended::Expired),
        "cancelled" => Word::Ended(Ended::Cancelled),
        _ => return None,
    })
}

fn bad(field: &str, rule: &str, cure: &str) -> Problem {
    Problem::new(field, Reason::Malformed, rule.to_owned(), cure)
}

fn skip_line(from: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let piece = from.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        let (used, ended) = match piece.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (piece.len(), false),
        };
        from.consume(used);
        if ended {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Providers for Known {
        fn find(&self, name: &str) -> Option<(ProviderName, Channel)> {
            matches!(name, "sms" | "twilio_sms").then(|| (ProviderName::parse("sms").unwrap(), Channel::Sms))
        }
    }

    const M: &str = "0196f3c0-0000-7000-8000-000000000001";

    fn read(text: &str) -> (Evidence, Vec<(u64, String)>) {
        let (mut evidence, mut faults) = (Evidence::default(), Vec::new());
        let refused = |line, problem: Problem| {
            faults.push((line, problem.field));
            Ok(())
        };
        evidence.read(text.as_bytes(), &Known, refused).unwrap();
        (evidence, faults)
    }

    fn event(status: &str, more: &str) -> String {
        format!(r#"{{"type":"message.{status}","message_id":"{M}","source":"ehr","job_id":"a"{more}}}"#)
    }

    #[test]
    fn of_all_lines_about_a_message_the_furthest_counts() {
        let key = format!("{}-1", M.replace('-', ""));
        let text = [
            event("sent", r#","provider":"sms","channel":"sms","final":false,"at":"2026-11-28T10:00:00Z""#),
            event("delivered", ""),
            event("sent", r#","final":true"#),
            format!(r#"{{"key":"{key}","kind":"twilio_sms","taken":true,"wall_us":1764324000000000,"status":201}}"#),
            format!(r#"{{"key":"{key}","taken":false,"status":503}}"#),
            event("accepted", ""),
            r#"{"type":"work.opened","work_item_id":"7"}"#.to_owned(),
            String::new(),
        ]
        .join("\n");
        let (evidence, faults) = read(&text);
        assert_eq!((evidence.lines, faults), (7, vec![]));
        let all = evidence.witnesses();
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!((all[0].said, all[0].step), (Word::Delivered, Some(1)));
        assert_eq!(all[0].provider.as_ref().unwrap().0.as_str(), "sms");
    }

    #[test]
    fn the_same_word_once_more_is_the_later_one() {
        let at = |time: &str| format!(r#","at":"2026-11-28T{time}Z""#);
        for (lines, expected) in [
            ([event("sent", &at("10:00:00")), event("sent", &at("12:00:00"))], Some("2026-11-28T12:00:00Z")),
            ([event("sent", &at("12:00:00")), event("sent", &at("10:00:00"))], Some("2026-11-28T12:00:00Z")),
            ([event("sent", &at("10:00:00")), event("sent", "")], None),
            (
                [event("delivered", &at("10:00:00")), event("sent", &at("12:00:00"))],
                Some("2026-11-28T10:00:00Z"),
            ),
        ] {
            let all = read(&lines.join("\n")).0.witnesses();
            let expected = expected.map(|time| time.parse().unwrap());
            assert_eq!(all.iter().map(|witness| witness.at).collect::<Vec<_>>(), [expected], "{lines:?}");
        }
    }

    #[test]
    fn a_job_that_was_lost_is_refused_where_somebody_has_it() {
        let id = MessageId(Uuid::try_parse(M).unwrap());
        for (lines, reason) in [
            (vec![event("sent", "")], Some(Reason::Duplicate)),
            (vec![event("unknown", "")], Some(Reason::Duplicate)),
            (vec![event("cancelled", r#","reason":"superseded""#)], Some(Reason::Superseded)),
            (vec![event("failed", "")], None),
            (vec![event("expired", "")], None),
            (vec![event("cancelled", ""), event("sent", "")], Some(Reason::Duplicate)),
        ] {
            let (evidence, _) = read(&lines.join("\n"));
            let lost = evidence.lost(&[id]);
            assert_eq!(lost.iter().map(|job| job.reason).collect::<Vec<_>>(), [reason], "{lines:?}");
        }
        assert_eq!(read(&event("sent", "")).0.lost(&[]), []);
    }

    #[test]
    fn wishes_are_read_from_events() {
        let line = |kind: &str, channel: &str| {
            format!(
                r#"{{"type":"{kind}","patient_id":"P1","channel":"{channel}","at":"2026-11-28T10:00:00Z"}}"#
            )
        };
        let mail = Reach::One(Channel::Email);
        for (kind, channel, expected) in [
            ("reply.stop", "sms", Some(Reach::Phones)),
            ("reply.stop", "email", Some(mail)),
            ("reply.complaint", "email", Some(mail)),
            ("reply.cancel", "sms", Some(Reach::Phones)),
            ("reply.wrong_number", "voice", Some(Reach::Phones)),
            ("reply.safety", "sms", Some(Reach::Unsaid)),
            ("contact.wrong", "sms", Some(Reach::Phones)),
            ("contact.bad", "sms", None),
            ("preference.changed", "sms", Some(Reach::Everywhere)),
            ("reply.text", "sms", None),
            ("contact.ok", "sms", None),
            ("campaign.paused", "sms", None),
        ] {
            let (evidence, faults) = read(&line(kind, channel));
            assert_eq!(faults, [], "{kind}");
            assert_eq!(evidence.wishes.first().map(|wish| wish.reach), expected, "{kind} {channel}");
        }
        let covered =
            |reach: Reach| Channel::ALL.iter().copied().filter(|c| reach.covers(*c)).collect::<Vec<_>>();
        assert_eq!(covered(Reach::Phones), [Channel::Sms, Channel::Voice]);
        assert_eq!((covered(mail), covered(Reach::Unsaid)), (vec![Channel::Email], vec![]));
        assert_eq!(covered(Reach::Everywhere), Channel::ALL);
    }

    #[test]
    fn what_cannot_be_read_is_named_by_line_and_field() {
        let text = [
            "{",
            "[]",
            "7",
            r#"{"type":"message.sent"}"#,
            r#"{"send_key":"x"}"#,
            "{}",
            r#"{"type":"message.sent","at":"soon"}"#,
        ]
        .join("\n");
        let (_, faults) = read(&text);
        let fields: Vec<(u64, &str)> = faults.iter().map(|(line, field)| (*line, field.as_str())).collect();
        assert_eq!(
            fields,
            [(1, ""), (2, "type"), (3, ""), (4, "message_id"), (5, "send_key"), (6, "type"), (7, "at")]
        );
        let long = format!("{{\"type\":\"{}\"}}\n{}", "x".repeat(70_000), event("sent", ""));
        let (evidence, faults) = read(&long);
        assert_eq!((faults.len(), evidence.witnesses().len()), (1, 1));
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_reader_panic_and_what_is_refused_says_why(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
            status in "[a-z]{0,10}", more in "(,\"(at|final|provider|taken|seq|step)\":(true|7|null|\"\\PC{0,8}\")){0,3}",
        ) {
            for line in [bytes, event(&status, &more).into_bytes()] {
                let mut evidence = Evidence::default();
                if let Err(problem) = evidence.take(&line, &Known) {
                    proptest::prop_assert!(!problem.rule.is_empty() && !problem.cure.is_empty());
                    proptest::prop_assert!(evidence.witnesses().is_empty());
                }
            }
        }
    }
}
