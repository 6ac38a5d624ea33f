//! What happened in each minute is counted from the events, a little later, by one worker at a time: the corridor has no
//! statement of its own for it, and the pages of the console need not walk the messages.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::Ledger;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Priority, Reason, WorkKind};
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args, ints, micros, texts};
use crate::store::pulse::{OldestDue, PulseRow};
use crate::store::rows::{Counts, MessageCount};
use crate::store::{Pulse, Result, StoreError};

/// An event is counted once it is so old: those with lower numbers have been committed by then. A statement that takes
/// longer is missing in the charts, and nowhere else.
const SETTLED: SignedDuration = SignedDuration::from_secs(5);
/// So long the counts are kept.
const KEPT_MINUTES: i64 = 48 * 60;
const MINUTE_US: i64 = 60_000_000;

/// What is counted of an event.
#[derive(Debug, Deserialize)]
struct Counted<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    channel: Option<&'a str>,
    provider: Option<&'a str>,
    reason: Option<&'a str>,
}

/// The number of [`Priority::Urgent`] in the ledger.
const URGENT: i64 = 0;

/// Every channel, empty for none yet, with the number of every priority.
fn lines() -> Vec<(&'static str, i64)> {
    let channels = std::iter::once("").chain(Channel::ALL.iter().map(|channel| channel.as_str()));
    channels.flat_map(|channel| (0_i64..).zip(Priority::ALL).map(move |(n, _)| (channel, n))).collect()
}

/// Minute, channel, provider, what, reason.
type Key<'a> = (i64, &'a str, &'a str, &'a str, &'a str);

#[async_trait]
impl<E: Engine> Pulse for Ledger<E> {
    async fn count_pulse(&self, limit: u32) -> Result<u32> {
        // Looked at without writing: mostly there is nothing.
        let next = "SELECT created_at <= now() - $1 * {us} FROM events
            WHERE ord > (SELECT ord FROM pulse_mark) ORDER BY ord LIMIT 1";
        let next = self.engine.read(next, args![micros(SETTLED)]).await?;
        if !next.first().map_or(Ok(false), |row| row.flag(0))? {
            return Ok(0);
        }
        let mut tx = self.engine.begin().await?;
        let mark = E::run(&mut tx, "SELECT ord FROM pulse_mark {for update}", Args::none()).await?;
        let mark = mark.first().ok_or_else(|| StoreError::Internal("pulse_mark".to_owned()))?.int(0)?;
        let rows = E::run(
            &mut tx,
            "SELECT ord, created_at, body, created_at > now() - $2 * {us} FROM events WHERE ord > $1 ORDER BY ord LIMIT $3",
            args![mark, micros(SETTLED), i64::from(limit)],
        )
        .await?;
        let mut counts: BTreeMap<Key<'_>, i64> = BTreeMap::new();
        let (mut seen, mut last) = (0_u32, mark);
        for row in &rows {
            if row.flag(3)? {
                break;
            }
            last = row.int(0)?;
            seen += 1;
            let minute = row.time(1)?.as_microsecond().div_euclid(MINUTE_US);
            if let Ok(event) = serde_json::from_str::<Counted<'_>>(row.text(2)?) {
                let [channel, provider, reason] =
                    [event.channel, event.provider, event.reason].map(Option::unwrap_or_default);
                let what = event.kind.strip_prefix("message.").unwrap_or(event.kind);
                *counts.entry((minute, channel, provider, what, reason)).or_default() += 1;
            }
        }
        if seen == 0 {
            return Ok(0);
        }
        self.add_counts(&mut tx, &counts.into_iter().collect::<Vec<_>>()).await?;
        E::run(&mut tx, "UPDATE pulse_mark SET ord = $1", args![last]).await?;
        E::commit(tx).await?;
        Ok(seen)
    }

    async fn pulse(&self, minutes: u32, step: u32) -> Result<Vec<PulseRow>> {
        let now = self.clock().await?.as_microsecond().div_euclid(MINUTE_US);
        let step = i64::from(step.max(1));
        let rows = self
            .engine
            .read(
                "SELECT minute - minute % $2, channel, provider, what, reason, CAST(sum(count) AS BIGINT) FROM pulse
                 WHERE minute > $1 GROUP BY 1, 2, 3, 4, 5 ORDER BY 1",
                args![now - i64::from(minutes), step],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let at = Timestamp::from_microsecond(row.int(0)?.saturating_mul(MINUTE_US));
                Ok(PulseRow {
                    at: at.map_err(|_| StoreError::Internal("a minute".to_owned()))?,
                    channel: row.text(1)?.to_owned(),
                    provider: row.text(2)?.to_owned(),
                    what: row.text(3)?.to_owned(),
                    reason: row.text(4)?.to_owned(),
                    count: row.count(5)?,
                })
            })
            .collect()
    }

    /// One look into the index of due messages for each channel, source and priority.
    async fn oldest_due(&self) -> Result<Vec<OldestDue>> {
        let kinds = lines();
        let batch = vec![texts("channel", &kinds, |kind| kind.0), ints("priority", &kinds, |kind| kind.1)];
        let rows = self
            .engine
            .read(
                "SELECT input.channel, input.priority, now(), min((SELECT m.claim_at FROM messages m WHERE m.claim_channel = input.channel
                     AND m.source = s.name AND m.priority = input.priority ORDER BY m.claim_at LIMIT 1)) FROM {input} CROSS JOIN sources s GROUP BY 1, 2 ORDER BY 1, 2",
                Args::none().batch(batch),
            )
            .await?;
        let mut found = Vec::new();
        for row in &rows {
            let (now, oldest) = (row.time(2)?, row.maybe_time(3)?);
            let priority = usize::try_from(row.int(1)?).ok().and_then(|number| Priority::ALL.get(number));
            if let (Some(due), Some(priority)) = (oldest.filter(|due| *due <= now), priority) {
                let seconds = now.duration_since(due).as_secs_f64();
                found.push(OldestDue { channel: row.text(0)?.to_owned(), priority: *priority, seconds });
            }
        }
        Ok(found)
    }

    async fn counts(&self) -> Result<Counts> {
        let rows = self
            .engine
            .read(
                "SELECT channel, status, reason, count(*) FROM messages GROUP BY 1, 2, 3 ORDER BY 4 DESC",
                Args::none(),
            )
            .await?;
        let mut counts = Counts::default();
        for row in &rows {
            counts.messages.push(MessageCount {
                channel: row.text(0)?.to_owned(),
                status: row.word(1, MessageStatus::from_word)?,
                reason: row.maybe_word(2, Reason::from_word)?,
                count: row.count(3)?,
            });
        }
        let rows = self
            .engine
            .read(
                "SELECT count(*), min(claim_at), now(), (SELECT count(*) FROM parked WHERE replayed_at IS NULL),
                     (SELECT count(*) FROM outbox),
                     (SELECT count(*) FROM (SELECT 1 AS one FROM address_consents LIMIT 1) AS any_said)
                 FROM messages WHERE claim_channel IS NOT NULL AND claim_at <= now()",
                Args::none(),
            )
            .await?;
        if let Some(row) = rows.first() {
            counts.backlog = row.count(0)?;
            let now = row.time(2)?;
            let (urgent, others) = self.held_back().await?;
            let oldest = [row.maybe_time(1)?, urgent, others].into_iter().flatten().min();
            counts.oldest_due_seconds =
                oldest.map_or(0.0, |at| now.duration_since(at).as_secs_f64().max(0.0));
            counts.parked = row.count(3)?;
            counts.outbox = row.count(4)?;
            counts.address_consents_known = row.count::<u64>(5)? > 0;
        }
        let open =
            "SELECT kind, count(*) FROM work_items WHERE closed_at IS NULL GROUP BY kind ORDER BY kind";
        for row in &self.engine.read(open, Args::none()).await? {
            counts.work.push((row.word(0, WorkKind::from_word)?, row.count(1)?));
        }
        counts.callbacks = self.count_callbacks().await?;
        Ok(counts)
    }
}

impl<E: Engine> Ledger<E> {
    async fn add_counts(&self, tx: &mut E::Tx, counts: &[(Key<'_>, i64)]) -> Result<()> {
        let batch = vec![
            ints("minute", counts, |(key, _)| key.0),
            texts("channel", counts, |(key, _)| key.1),
            texts("provider", counts, |(key, _)| key.2),
            texts("what", counts, |(key, _)| key.3),
            texts("reason", counts, |(key, _)| key.4),
            ints("count", counts, |(_, count)| *count),
        ];
        E::run(
            tx,
            "INSERT INTO pulse (minute, channel, provider, what, reason, count)
             SELECT minute, channel, provider, what, reason, count FROM {input}
             WHERE true ON CONFLICT (minute, channel, provider, what, reason)
             DO UPDATE SET count = pulse.count + excluded.count",
            Args::none().batch(batch),
        )
        .await?;
        let newest = counts.iter().map(|(key, _)| key.0).max().unwrap_or_default();
        E::run(tx, "DELETE FROM pulse WHERE minute < $1", args![newest - KEPT_MINUTES]).await?;
        Ok(())
    }

    /// Since when the oldest urgent message, and the oldest of the others, is held by what is in the way of all of its kind.
    /// Each look at such a one makes it due a little later, so how long it has been due says nothing; when it was first held
    /// is kept for as long as the reason stays. That a large blast lasts for days under a daily limit is as planned. Looked at are those that are due next: they come round before long.
    pub(super) async fn held_back(&self) -> Result<(Option<Timestamp>, Option<Timestamp>)> {
        let batch = lines();
        let rows = self
            .engine
            .read(
                "SELECT input.priority, min((SELECT soon.changed_at FROM (
                     SELECT m.status, m.reason, m.changed_at FROM messages m WHERE m.claim_channel = input.channel
                         AND m.source = s.name AND m.priority = input.priority ORDER BY m.claim_at LIMIT 100) AS soon
                     WHERE soon.status = 'held' AND (soon.reason IN ('provider_unavailable', 'unknown_template')
                         OR (soon.reason IN ('paced', 'over_budget') AND input.priority < 2))
                     ORDER BY soon.changed_at LIMIT 1))
                 FROM {input} CROSS JOIN sources s GROUP BY 1 ORDER BY 1",
                Args::none().batch(vec![
                    texts("channel", &batch, |line| line.0),
                    ints("priority", &batch, |line| line.1),
                ]),
            )
            .await?;
        let (mut urgent, mut others) = (None, None);
        for row in &rows {
            let since = row.maybe_time(1)?;
            let slot = if row.int(0)? == URGENT { &mut urgent } else { &mut others };
            *slot = [*slot, since].into_iter().flatten().min();
        }
        Ok((urgent, others))
    }
}
