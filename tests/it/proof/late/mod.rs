//! I5: nothing is sent later than a second after an opt-out or a cancel was written down, two after a hold or the end of a
//! campaign; nothing into quiet hours; nothing over a limit.
//!
//! Sends are judged by what the ledger keeps of them and by the wire, against the history of what was said. The rules are
//! written down once more here: no function that decides whether something may be sent is asked. Times are those at which
//! the transaction began that wrote a word down, a little before its commit, so that the allowance is never wider than
//! it is said to be. The confirmation of a stop is no message, and is no send here.

mod control;
mod opt_outs;
mod pace;

use std::collections::HashMap;

use outreachd::simulator::Hit;
use serde_json::json;
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};
use uuid::Uuid;

pub(crate) use self::pace::{Hours, Rules};
use super::auditor::{Evidence, Report, parse_key};

const SECOND_US: i64 = 1_000_000;
/// After an opt-out or a cancel.
const SOON_US: i64 = SECOND_US;
/// After a hold, or a command to a campaign.
const CONTROL_US: i64 = 2 * SECOND_US;

/// An attempt, and what its message is.
#[derive(Debug)]
struct Sending {
    attempt: Uuid,
    message: Uuid,
    step: i16,
    begun_us: i64,
    address: Vec<u8>,
    channel: String,
    provider: String,
    recipient: String,
    segments: i16,
    purpose: String,
    priority: i16,
    source: String,
    job: String,
    about: Option<String>,
    template: String,
    site: Option<String>,
    campaign: Option<String>,
    patient: String,
    /// A person had it sent once more.
    again: bool,
    accepted_us: i64,
    status: String,
    changed_us: i64,
    test: bool,
}

const SENDS: &str = "
SELECT a.id AS attempt, a.message_id, a.step, (extract(epoch FROM a.begun_at) * 1000000)::bigint AS begun_us, a.address_index,
    a.channel, a.provider, a.recipient, a.segments, m.purpose, m.priority, m.source, m.job_id, m.about, m.template, m.site,
    m.campaign_id, m.patient_id, m.retry_of IS NOT NULL AS again, (extract(epoch FROM m.accepted_at) * 1000000)::bigint AS accepted_us,
    m.status, (extract(epoch FROM m.changed_at) * 1000000)::bigint AS changed_us, m.test
FROM attempts a JOIN messages m ON m.id = a.message_id ORDER BY a.begun_at, a.id";

impl Sending {
    fn read(row: &PgRow) -> Self {
        Self {
            attempt: row.get("attempt"),
            message: row.get("message_id"),
            step: row.get("step"),
            begun_us: row.get("begun_us"),
            address: row.get("address_index"),
            channel: row.get("channel"),
            provider: row.get("provider"),
            recipient: row.get("recipient"),
            segments: row.get("segments"),
            purpose: row.get("purpose"),
            priority: row.get("priority"),
            source: row.get("source"),
            job: row.get("job_id"),
            about: row.get("about"),
            template: row.get("template"),
            site: row.get("site"),
            campaign: row.get("campaign_id"),
            patient: row.get("patient_id"),
            again: row.get("again"),
            accepted_us: row.get("accepted_us"),
            status: row.get("status"),
            changed_us: row.get("changed_us"),
            test: row.get("test"),
        }
    }

    /// The campaign that made its job; a job of a caller may bear a campaign's name as well.
    fn made_by(&self) -> Option<&str> {
        self.campaign.as_deref().filter(|_| self.job.starts_with("campaign:"))
    }

    /// Whether a word of this time binds it: of what was sent once more only what came after that.
    const fn is_bound_by(&self, word_us: i64) -> bool {
        !self.again || word_us > self.accepted_us
    }
}

/// A moment at which something was sent: an attempt began, or a request arrived.
struct Moment<'s> {
    send: &'s Sending,
    at_us: i64,
    hit: Option<&'s Hit>,
}

/// Checks all of it.
pub(super) async fn nothing_is_late(sql: &PgPool, evidence: &Evidence, report: &mut Report) {
    let rows = sqlx::query(SENDS).fetch_all(sql).await.unwrap();
    let sends: Vec<Sending> = rows.iter().map(Sending::read).collect();
    let moments = moments(&sends, &evidence.hits);
    opt_outs::check(sql, &moments, report).await;
    control::taken_back(sql, &moments, report).await;
    control::holds(sql, &moments, report).await;
    control::campaigns(sql, &moments, report).await;
    pace::quiet_hours(sql, evidence.rules.hours.as_ref(), &moments, report).await;
    pace::rates(&evidence.rules, &moments, report);
}

/// A request is of the attempt that it names, else of the latest of its step that had begun by then.
fn moments<'s>(sends: &'s [Sending], hits: &'s [Hit]) -> Vec<Moment<'s>> {
    let by_attempt: HashMap<Uuid, &Sending> = sends.iter().map(|send| (send.attempt, send)).collect();
    let mut by_step: HashMap<(Uuid, i16), Vec<&Sending>> = HashMap::new();
    for send in sends {
        by_step.entry((send.message, send.step)).or_default().push(send);
    }
    let of = |hit: &Hit| -> Option<&'s Sending> {
        let named = hit.attempt.as_ref().and_then(|attempt| Uuid::try_parse(attempt.as_str()).ok());
        if let Some(send) = named.and_then(|attempt| by_attempt.get(&attempt)) {
            return Some(*send);
        }
        let tries = by_step.get(&parse_key(hit.send_key.as_ref()?.as_str())?)?;
        tries.iter().rev().find(|send| send.begun_us <= hit.wall_us).or(tries.first()).copied()
    };
    let begun = sends.iter().map(|send| Moment { send, at_us: send.begun_us, hit: None });
    let arrived =
        hits.iter().filter_map(|hit| Some(Moment { send: of(hit)?, at_us: hit.wall_us, hit: Some(hit) }));
    begun.chain(arrived).collect()
}

/// How long after what forbids them sends came.
#[derive(Default)]
struct Lateness {
    /// Sends that came after something that forbids them.
    after: u64,
    latest_us: i64,
    late: Vec<(Uuid, i64)>,
}

impl Lateness {
    /// So long after the word that forbids it the send came.
    fn note(&mut self, moment: &Moment<'_>, after_us: i64, allowed_us: i64) {
        self.after += 1;
        self.latest_us = self.latest_us.max(after_us);
        if after_us > allowed_us {
            self.late.push((moment.send.message, after_us));
        }
    }

    /// `what` was said so often.
    fn close(self, key: &'static str, what: &str, said: usize, report: &mut Report) {
        let (latest_ms, late) = (self.latest_us / 1_000, self.late);
        report.check(late.is_empty(), || {
            let (message, us) = late[0];
            format!(
                "I5: {} sends too long after {what}, such as {message} after {} ms",
                late.len(),
                us / 1_000
            )
        });
        report
            .figures
            .insert(key, json!({ "checked": said, "sent_after": self.after, "latest_ms": latest_ms }));
    }
}
