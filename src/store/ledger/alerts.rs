//! What is wrong with the whole of it: numbers, who watches, what was told.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::Ledger;
use super::query::first_id_of;
use crate::domain::alert::{Alert, Finding, Level, Telling, Trouble, Way};
use crate::domain::campaign::PauseReason;
use crate::domain::ids::{CampaignId, SourceName, WorkItemId, WorkerId};
use crate::domain::words::WorkKind;
use crate::policy::watch::{OUTGROWN, Vitals};
use crate::store::alerts::{AlertAnswer, Behind, SHOWN};
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, Value, args, ints, maybe_texts, micros, texts, times};
use crate::store::{Alerts, Result, StoreError, words};

/// For so many minutes back outcomes are looked at ...
const OUTCOMES: i64 = 30;
/// ... and of so many attempts of each minute at most: a look must stay cheap beside thousands a second. What was sent a moment
/// ago is not known to have arrived, and must not stand before what is.
const OF_A_MINUTE: u32 = 500;

/// The columns of an alert, in the order in which [`alert_row`] reads them.
const ROW: &str = "key, trouble, subject, level, what, since, gone_since, ended_at, told_at, owed, owed_ways, acknowledged_by, \
    acknowledged_at, snoozed_by, snoozed_until, extent, acknowledged_below, owed_mailboxes, owed_since";

/// Nobody has closed the work that an unknown outcome is: whoever does has asked, and the message stays what it is.
macro_rules! not_looked_after {
    () => {
        "NOT EXISTS (SELECT 1 FROM work_items w WHERE w.message_id = messages.id AND w.kind = 'outcome_unknown' \
         AND w.closed_at IS NOT NULL)"
    };
}

/// Many rows at once; see [`Ledger::count_up_to`].
const WAITING: &str = "SELECT DISTINCT patient_id FROM messages \
    WHERE claim_channel IS NOT NULL AND claim_at <= now() - $2 * {us} LIMIT $1";
const UNKNOWN: &str = concat!(
    "SELECT DISTINCT patient_id FROM messages WHERE unknown_since <= now() - $2 * {us} AND ",
    not_looked_after!(),
    " LIMIT $1"
);
const OVERDUE: &str = "SELECT kind, count(DISTINCT patient_id) FROM (SELECT kind, patient_id FROM work_items \
    WHERE closed_at IS NULL AND claimed_at IS NULL AND patient_id IS NOT NULL AND due_at <= now() LIMIT $1) AS found \
    GROUP BY kind ORDER BY kind";

#[async_trait]
impl<E: Engine> Alerts for Ledger<E> {
    async fn vitals(&self) -> Result<Vitals> {
        let rows = self
            .engine
            .read(
                concat!(
                    "SELECT now(), (SELECT e.created_at FROM events e WHERE e.ord = (SELECT min(ord) FROM outbox)), ",
                    "(SELECT count(*) FROM parked WHERE replayed_at IS NULL), (SELECT count(*) FROM outbox), ",
                    "(SELECT count(*) FROM messages WHERE unknown_since IS NOT NULL AND NOT test AND ",
                    not_looked_after!(),
                    "), (SELECT count(*) FROM work_items WHERE closed_at IS NULL)"
                ),
                Args::none(),
            )
            .await?;
        let row = rows.first().ok_or_else(|| StoreError::Internal("no vitals".to_owned()))?;
        let dead = "SELECT source, count(*) FROM callbacks WHERE dead_at IS NOT NULL GROUP BY source ORDER BY source";
        let dead = self.engine.read(dead, Args::none()).await?;
        let paused = "SELECT id, reason FROM campaigns WHERE state = 'paused' AND reason <> 'operator' ORDER BY id LIMIT 100";
        let paused = self.engine.read(paused, Args::none()).await?;
        let overdue = "SELECT kind, count(*) FROM work_items
             WHERE closed_at IS NULL AND claimed_at IS NULL AND due_at <= now() GROUP BY kind ORDER BY kind";
        let overdue = self.engine.read(overdue, Args::none()).await?;
        let most = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let safety = "SELECT id FROM work_items WHERE closed_at IS NULL AND kind = 'safety'
             ORDER BY claimed_at IS NOT NULL, id LIMIT $1";
        let safety = self.engine.read(safety, args![most(Vitals::MOST_IN_DANGER)]).await?;
        let surges =
            "SELECT scope || '/' || value FROM holds WHERE cause IN ('surge_hold', 'awaiting_approval') AND released_at IS NULL
             GROUP BY scope, value ORDER BY min(placed_at) LIMIT $1";
        let surges = self.engine.read(surges, args![most(Vitals::MOST)]).await?;
        let (now, oldest) = (row.time(0)?, row.maybe_time(1)?);
        let (urgent_held, held) = self.held_back().await?;
        Ok(Vitals {
            parked: row.count(2)?,
            outbox: row.count(3)?,
            outbox_seconds: seconds_since(oldest, now),
            urgent_held_seconds: seconds_since(urgent_held, now),
            held_seconds: seconds_since(held, now),
            unknown: row.count(4)?,
            work_open: row.count(5)?,
            work_overdue: kinds(&overdue)?,
            safety_open: safety.iter().map(|row| Ok(WorkItemId(row.id(0)?))).collect::<Result<_>>()?,
            surges: surges.iter().map(|row| Ok(row.text(0)?.to_owned())).collect::<Result<_>>()?,
            results_dead: dead
                .iter()
                .map(|row| Ok((row.word(0, SourceName::parse)?, row.count(1)?)))
                .collect::<Result<_>>()?,
            paused: paused.iter().filter_map(|row| paused_row(row).transpose()).collect::<Result<_>>()?,
            outcomes: self.outcomes().await?,
        })
    }

    async fn take_watch(&self, worker: WorkerId, lease: SignedDuration) -> Result<bool> {
        let sql = concat!(
            "UPDATE alert_watch SET worker = $1, until = now() + $2 * {us} WHERE worker = $1 OR ",
            words::is_free!("until"),
            " RETURNING until"
        );
        Ok(!self.engine.write(sql, args![worker.0, micros(lease)]).await?.is_empty())
    }

    /// However many there are: one that is left out would begin anew at each look, and nobody would ever hear of it.
    async fn standing_alerts(&self) -> Result<Vec<Alert>> {
        let sql = format!(
            "SELECT {ROW} FROM alerts WHERE ended_at IS NULL OR owed IS NOT NULL OR snoozed_until > now() ORDER BY since, key"
        );
        alert_rows(&self.engine.read(sql, Args::none()).await?)
    }

    async fn alerts(&self) -> Result<(Vec<Alert>, Timestamp)> {
        let sql = format!(
            "SELECT {ROW} FROM alerts WHERE ended_at IS NULL OR owed IS NOT NULL OR ended_at > now() - 86400000000 * {{us}}
             ORDER BY ended_at IS NOT NULL, since DESC, key LIMIT $1"
        );
        let rows = self.engine.read(sql, args![SHOWN]).await?;
        Ok((alert_rows(&rows)?, self.clock().await?))
    }

    async fn keep_alerts(&self, worker: WorkerId, alerts: &[Alert]) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        let watch = "SELECT 1 FROM alert_watch WHERE worker = $1 AND until >= now() {for update}";
        if E::run(&mut tx, watch, args![worker.0]).await?.is_empty() {
            return Ok(false);
        }
        let ways: Vec<(String, Option<String>)> = alerts.iter().map(ways_owed).collect::<Result<_>>()?;
        let rows: Vec<(&Alert, &(String, Option<String>))> = alerts.iter().zip(&ways).collect();
        let batch = vec![
            texts("key", &rows, |(a, _)| &a.key),
            texts("trouble", &rows, |(a, _)| a.finding.trouble.as_str()),
            texts("subject", &rows, |(a, _)| &a.finding.subject),
            texts("level", &rows, |(a, _)| a.finding.level.as_str()),
            texts("what", &rows, |(a, _)| &a.finding.what),
            times("since", &rows, |(a, _)| Some(a.since)),
            times("gone_since", &rows, |(a, _)| a.gone_since),
            times("ended_at", &rows, |(a, _)| a.ended_at),
            times("told_at", &rows, |(a, _)| a.told_at),
            maybe_texts("owed", &rows, |(a, _)| a.owed.as_ref().map(|(telling, _)| telling.as_str())),
            texts("owed_ways", &rows, |(_, (ways, _))| ways),
            maybe_texts("owed_mailboxes", &rows, |(_, (_, mailboxes))| mailboxes.as_deref()),
            times("owed_since", &rows, |(a, _)| a.owed_since),
            ints("extent", &rows, |(a, _)| a.finding.extent.cast_signed()),
        ];
        // One that begins anew has another `since`: what was said of the one before does not count for it, as it does not
        // for one that has outgrown what somebody saw. Who wants to hear nothing of it for a while has seen that it comes and
        // goes.
        E::run(
            &mut tx,
            "INSERT INTO alerts (key, trouble, subject, level, what, since, gone_since, ended_at, told_at, owed, owed_ways,
                 owed_mailboxes, owed_since, extent)
             SELECT key, trouble, subject, level, what, since, gone_since, ended_at, told_at, owed, owed_ways,
                 owed_mailboxes, owed_since, extent FROM {input}
             WHERE true ON CONFLICT (key) DO UPDATE SET
                 acknowledged_by = CASE WHEN alerts.since = excluded.since
                     AND COALESCE(excluded.extent < alerts.acknowledged_below, true) THEN alerts.acknowledged_by END,
                 acknowledged_at = CASE WHEN alerts.since = excluded.since
                     AND COALESCE(excluded.extent < alerts.acknowledged_below, true) THEN alerts.acknowledged_at END,
                 acknowledged_below = CASE WHEN alerts.since = excluded.since
                     AND COALESCE(excluded.extent < alerts.acknowledged_below, true) THEN alerts.acknowledged_below END,
                 snoozed_by = CASE WHEN alerts.since = excluded.since OR alerts.snoozed_until > now() THEN alerts.snoozed_by END,
                 snoozed_until = CASE WHEN alerts.since = excluded.since OR alerts.snoozed_until > now() THEN alerts.snoozed_until END,
                 level = excluded.level, what = excluded.what, since = excluded.since, gone_since = excluded.gone_since,
                 ended_at = excluded.ended_at, told_at = excluded.told_at, owed = excluded.owed,
                 owed_ways = excluded.owed_ways, owed_mailboxes = excluded.owed_mailboxes,
                 owed_since = excluded.owed_since, extent = excluded.extent",
            Args::none().batch(batch),
        )
        .await?;
        let forget = "DELETE FROM alerts WHERE ended_at < now() - 2592000000000 * {us} AND owed IS NULL";
        E::run(&mut tx, forget, Args::none()).await?;
        E::commit(tx).await?;
        Ok(true)
    }

    async fn answer_alert(&self, key: &str, by: &str, answer: AlertAnswer) -> Result<Option<Alert>> {
        let (set, number) = match answer {
            AlertAnswer::Acknowledge => (
                "acknowledged_by = $2, acknowledged_at = now(), acknowledged_below = extent * $3",
                OUTGROWN.cast_signed(),
            ),
            AlertAnswer::Snooze(span) => ("snoozed_by = $2, snoozed_until = now() + $3 * {us}", micros(span)),
        };
        let sql = format!("UPDATE alerts SET {set} WHERE key = $1 AND ended_at IS NULL RETURNING {ROW}");
        let rows = self.engine.write(sql, args![key, by, number]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let alert = alert_row(row)?;
        alert.map(Some).ok_or_else(|| StoreError::Internal("an alert of a newer program".to_owned()))
    }

    async fn people_behind(&self) -> Result<Behind> {
        let minute = SignedDuration::from_mins(1);
        Ok(Behind {
            waiting: self.count_up_to(WAITING, minute).await?,
            unknown: self.count_up_to(UNKNOWN, SignedDuration::ZERO).await?,
            overdue: self.overdue_people().await?,
        })
    }
}

impl<E: Engine> Ledger<E> {
    async fn outcomes(&self) -> Result<Vec<(String, u64, u64)>> {
        let now = self.clock().await?;
        // A worker's clock, by which its ids go, may be ahead.
        let at = |minute: i64| {
            now.checked_add(SignedDuration::from_mins(minute - OUTCOMES)).unwrap_or(Timestamp::MIN)
        };
        let bounds = (0..=OUTCOMES + 1).map(|minute| Value::from(first_id_of(at(minute)))).collect();
        let minutes: Vec<String> = (1..=OUTCOMES + 1)
            .map(|n| {
                format!(
                    "SELECT provider, status FROM (SELECT provider, status FROM attempts WHERE id >= ${n} AND id < ${} \
                     ORDER BY id DESC LIMIT {OF_A_MINUTE}) AS of_{n}",
                    n + 1
                )
            })
            .collect();
        let sql = format!(
            "SELECT provider, count(CASE WHEN status = 'undelivered' THEN 1 END),
                 count(CASE WHEN status IN ('delivered', 'read') THEN 1 END)
             FROM ({}) AS minutes GROUP BY provider ORDER BY provider",
            minutes.join(" UNION ALL ")
        );
        let rows = self.engine.read(sql, Args { values: bounds, ..Args::none() }).await?;
        rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.count(1)?, row.count(2)?))).collect()
    }

    /// How many rows a statement answers that takes its limit as $1 and how long it must have been so as $2.
    async fn count_up_to(&self, select: &str, after: SignedDuration) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM ({select}) AS found");
        let most = i64::try_from(Behind::MOST).unwrap_or(i64::MAX);
        let rows = self.engine.read(sql, args![most, micros(after)]).await?;
        rows.first().map_or(Ok(0), |row| row.count(0))
    }

    async fn overdue_people(&self) -> Result<Vec<(WorkKind, u64)>> {
        let most = i64::try_from(Behind::MOST).unwrap_or(i64::MAX);
        kinds(&self.engine.read(OVERDUE, args![most]).await?)
    }
}

/// The kinds of the ways on which something is owed, and the places of the mailboxes.
fn ways_owed(alert: &Alert) -> Result<(String, Option<String>)> {
    let Some((_, ways)) = &alert.owed else { return Ok(("null".to_owned(), None)) };
    let mut kinds: Vec<&str> = ways.iter().map(|way| way.as_str()).collect();
    kinds.dedup();
    let places = ways.iter().filter_map(|way| match way {
        Way::Email(place) => Some(*place),
        Way::Webhook => None,
    });
    let json = |value: serde_json::Result<String>| value.map_err(|_| super::unfit("an alert"));
    let mailboxes = json(serde_json::to_string(&places.collect::<Vec<u16>>()))?;
    Ok((json(serde_json::to_string(&kinds))?, Some(mailboxes)))
}

/// An alert of before mailboxes were told apart is owed to the first one.
fn ways_of(row: &impl Columns) -> Result<Option<Vec<Way>>> {
    let broken = |_| StoreError::Internal("the ways of an alert".to_owned());
    let kinds: Option<Vec<String>> = serde_json::from_str(row.text(10)?).map_err(broken)?;
    let mailboxes: Option<Vec<u16>> =
        row.maybe_text(17)?.map(serde_json::from_str).transpose().map_err(broken)?;
    Ok(kinds.map(|kinds| {
        let mut ways = Vec::new();
        for kind in kinds {
            match kind.as_str() {
                "webhook" => ways.push(Way::Webhook),
                _ => ways.extend(mailboxes.clone().unwrap_or_else(|| vec![0]).into_iter().map(Way::Email)),
            }
        }
        ways
    }))
}

fn alert_rows(rows: &[impl Columns]) -> Result<Vec<Alert>> {
    rows.iter().filter_map(|row| alert_row(row).transpose()).collect()
}

/// `None`: a newer program, which has other words, looks after it.
fn alert_row(row: &impl Columns) -> Result<Option<Alert>> {
    let words = (Trouble::from_word(row.text(1)?), Level::from_word(row.text(3)?));
    let (Some(trouble), Some(level)) = words else { return Ok(None) };
    let telling = row.maybe_word(9, Telling::from_word)?;
    let ways = ways_of(row)?;
    Ok(Some(Alert {
        key: row.text(0)?.to_owned(),
        finding: Finding {
            trouble,
            subject: row.text(2)?.to_owned(),
            level,
            what: row.text(4)?.to_owned(),
            extent: row.count(15)?,
        },
        since: row.time(5)?,
        gone_since: row.maybe_time(6)?,
        ended_at: row.maybe_time(7)?,
        told_at: row.maybe_time(8)?,
        owed: telling.zip(ways),
        owed_since: row.maybe_time(18)?,
        acknowledged_by: row.maybe_text(11)?.map(str::to_owned),
        acknowledged_at: row.maybe_time(12)?,
        acknowledged_below: row.maybe_int(16)?.map(i64::cast_unsigned),
        snoozed_by: row.maybe_text(13)?.map(str::to_owned),
        snoozed_until: row.maybe_time(14)?,
    }))
}

/// How much work there is of each kind; a kind of a newer program is left to that.
fn kinds(rows: &[impl Columns]) -> Result<Vec<(WorkKind, u64)>> {
    let known = rows.iter().filter_map(|row| {
        let kind = row.text(0).map(WorkKind::from_word).transpose()?;
        Some(kind.and_then(|kind| Ok((kind, row.count(1)?))))
    });
    known.collect()
}

fn paused_row(row: &impl Columns) -> Result<Option<(CampaignId, PauseReason)>> {
    let Some(reason) = PauseReason::from_word(row.text(1)?) else { return Ok(None) };
    Ok(Some((row.word(0, CampaignId::parse)?, reason)))
}

fn seconds_since(at: Option<Timestamp>, now: Timestamp) -> u64 {
    at.map_or(0, |at| u64::try_from(now.duration_since(at).as_secs()).unwrap_or_default())
}
