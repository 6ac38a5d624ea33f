//! What comes in is counted: by the hour for the guard against surges, by the day for sources with a limit.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::PoisonError;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::Ledger;
use super::query::first_id_of;
use super::work::NewItem;
use crate::domain::ids::{HoldId, SourceName};
use crate::domain::words::{Priority, Reason, WorkKind};
use crate::policy::cap::midnight_after;
use crate::policy::surge::{History, SurgeRules, line};
use crate::store::columns::Columns;
use crate::store::engine::{Engine, args, ints, texts};
use crate::store::holds::{is_counted, is_guarded};
use crate::store::rows::{Admission, AdmitBatch, AdmitOutcome, AdmitReport, Hold, HoldScope, OnRelease};
use crate::store::words::{by_campaign, is_guarded};
use crate::store::{Result, StoreError};

/// Who places the holds of this file.
const GUARD: &str = "surge guard";

/// What a source or template has done before: the busiest hour from $2 to before $3, and since when it is known.
/// The column stands for `source` or `template`.
macro_rules! history {
    ($column:literal) => {
        concat!(
            "SELECT (SELECT CAST(COALESCE(max(hours.total), 0) AS bigint) FROM (SELECT sum(count) AS total FROM arrivals WHERE ",
            $column,
            " = $1 AND hour >= $2 AND hour < $3 AND NOT dropped GROUP BY hour) AS hours), ",
            "(SELECT min(hour) FROM arrivals WHERE ",
            $column,
            " = $1)"
        )
    };
}

/// Who is counted: a source or a template.
type Name = (HoldScope, String);

/// How many jobs of one hour are too many, by name. A line holds for its hour, so whoever
/// has not crossed it need not be looked up again.
#[derive(Debug, Default)]
pub(super) struct Lines {
    hour: i64,
    lines: HashMap<Name, u64>,
}

/// What has crossed its line, perhaps.
struct Suspect {
    name: Name,
    /// Its jobs of this hour.
    count: u64,
}

/// Surges of this hour and the last that are held, or that a person has looked at.
#[derive(Default)]
struct Known {
    /// Held, or released and so allowed.
    judged: HashSet<Name>,
    /// Sources whose jobs do not count for their templates.
    apart: HashSet<String>,
}

impl<E: Engine> Ledger<E> {
    /// Places in the batch of jobs that are more than their source may send today. The rows of the day stay locked
    /// until the end of the transaction: the limit is exact whatever the number of workers.
    pub(super) async fn beyond_the_day(&self, tx: &mut E::Tx, batch: &AdmitBatch) -> Result<HashSet<usize>> {
        let limited: Vec<(usize, &Admission)> =
            batch.admissions.iter().enumerate().filter(|(_, a)| self.day_limit(a).is_some()).collect();
        if limited.is_empty() {
            return Ok(HashSet::new());
        }
        let day = self.day(Self::now(tx).await?);
        let mut sources: Vec<&str> = limited.iter().map(|(_, a)| a.facts.source.as_str()).collect();
        sources.sort_unstable();
        sources.dedup();
        E::run(
            tx,
            "INSERT INTO source_days (source, day, accepted) SELECT source, $1, 0 FROM {input} WHERE true ORDER BY source
             ON CONFLICT DO NOTHING",
            args![day.as_str()].batch(vec![texts("source", &sources, |s| s)]),
        )
        .await?;
        let rows = E::run(
            tx,
            "SELECT source, accepted FROM source_days WHERE day = $1 AND source = ANY($2) ORDER BY source {for update}",
            args![day.as_str(), sources],
        )
        .await?;
        let mut accepted: HashMap<String, u64> = HashMap::new();
        for row in &rows {
            accepted.insert(row.text(0)?.to_owned(), row.count(1)?);
        }
        let asked: Vec<&Admission> = limited.iter().map(|(_, a)| *a).collect();
        // What is known already is a repeat and counts no more.
        let mut known: HashSet<(&str, &str)> = Self::known_keys(tx, &asked).await?.into_keys().collect();
        let mut beyond = HashSet::new();
        for (place, admission) in limited {
            let facts = &admission.facts;
            let used = accepted.entry(facts.source.as_str().to_owned()).or_default();
            if known.contains(&(facts.source.as_str(), facts.job_id.as_str())) {
                continue;
            }
            if self.day_limit(admission).is_some_and(|limit| *used >= limit) {
                beyond.insert(place);
            } else {
                *used += 1;
                known.insert((facts.source.as_str(), facts.job_id.as_str()));
            }
        }
        Ok(beyond)
    }

    /// A second try is a person's wish, not the source's.
    fn day_limit(&self, admission: &Admission) -> Option<u64> {
        self.rules
            .per_day
            .get(&admission.facts.source)
            .copied()
            .filter(|_| admission.facts.retry_of.is_none())
    }

    /// Counts what the day's limits count. Their rows are locked already.
    pub(super) async fn count_day(
        &self,
        tx: &mut E::Tx,
        batch: &AdmitBatch,
        report: &AdmitReport,
    ) -> Result<()> {
        let mut new: BTreeMap<&SourceName, i64> = BTreeMap::new();
        for (admission, outcome) in batch.admissions.iter().zip(&report.outcomes) {
            let written = matches!(outcome, AdmitOutcome::Accepted(_) | AdmitOutcome::TakenBack(..));
            if written && self.day_limit(admission).is_some() {
                *new.entry(&admission.facts.source).or_default() += 1;
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let new: Vec<(&SourceName, i64)> = new.into_iter().collect();
        let columns = vec![texts("source", &new, |(s, _)| s.as_str()), ints("n", &new, |(_, n)| *n)];
        let day = self.day(report.now);
        E::run(
            tx,
            "UPDATE source_days SET accepted = accepted + input.n FROM {input}
             WHERE source_days.source = input.source AND source_days.day = $1",
            args![day.as_str()].batch(columns),
        )
        .await?;
        Ok(())
    }

    /// The calendar day, such as `2026-11-28`.
    pub(super) fn day(&self, now: Timestamp) -> String {
        now.to_zoned(self.rules.zone.clone()).date().to_string()
    }

    /// How long the day still lasts.
    pub(super) fn left_of_day(&self, now: Timestamp) -> SignedDuration {
        midnight_after(now, &self.rules.zone).duration_since(now)
    }

    /// Counts what was accepted in this hour, and puts under a hold what has crossed its line. At the end of its
    /// transaction, so that rows that everybody counts in are locked for a moment only.
    pub(super) async fn count_arrivals(
        &self,
        tx: &mut E::Tx,
        batch: &AdmitBatch,
        report: &AdmitReport,
    ) -> Result<()> {
        let Some(rules) = self.rules.surge else { return Ok(()) };
        let mut new: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for (admission, outcome) in batch.admissions.iter().zip(&report.outcomes) {
            let facts = &admission.facts;
            if matches!(outcome, AdmitOutcome::Accepted(_)) && is_counted(facts) && facts.retry_of.is_none() {
                *new.entry((facts.source.as_str(), facts.template.as_str())).or_default() += 1;
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let new: Vec<((&str, &str), i64)> = new.into_iter().collect();
        let columns = vec![
            texts("source", &new, |((source, _), _)| source),
            texts("template", &new, |((_, template), _)| template),
            ints("n", &new, |(_, n)| *n),
        ];
        let hour = hour_of(report.now);
        let floor = i64::try_from(rules.floor).unwrap_or(i64::MAX);
        let rows = E::run(tx, E::STATEMENTS.count_arrivals, args![hour, floor].batch(columns)).await?;
        let mut suspects = Vec::new();
        for row in &rows {
            let name = (row.word(0, HoldScope::from_word)?, row.text(1)?.to_owned());
            let count = row.count(2)?;
            if !self.is_below_its_line(hour, &name, count) {
                suspects.push(Suspect { name, count });
            }
        }
        if suspects.is_empty() {
            return Ok(());
        }
        self.judge(tx, &rules, report.now, suspects).await
    }

    /// What a surge holds it holds whole: what of it is meant for later is decided upon at once, and is under the hold then.
    pub(super) async fn bring_forward(
        &self,
        tx: &mut E::Tx,
        batch: &AdmitBatch,
        report: &AdmitReport,
    ) -> Result<()> {
        let accepted = batch.admissions.iter().zip(&report.outcomes).filter_map(|(admission, outcome)| {
            let later = admission.due_at.is_some_and(|due| due > report.now);
            let guarded = later && is_guarded(&admission.facts);
            match outcome {
                AdmitOutcome::Accepted(id) if guarded => Some(id.0),
                _ => None,
            }
        });
        let later: Vec<Uuid> = accepted.collect();
        if self.rules.surge.is_none() || later.is_empty() {
            return Ok(());
        }
        let sql = "UPDATE messages SET due_at = now() WHERE id = ANY($1) AND status = 'scheduled' AND lease_token IS NULL
             AND EXISTS (SELECT 1 FROM holds h WHERE h.cause = 'surge_hold' AND h.released_at IS NULL
                 AND ((h.scope = 'source' AND h.value = messages.source)
                     OR (h.scope = 'template' AND h.value = messages.template)))";
        E::run(tx, sql, args![later]).await?;
        Ok(())
    }

    /// The same of what was accepted earlier in the hour in which the surge began.
    async fn bring_hour_forward(tx: &mut E::Tx, (scope, value): &Name, hour: i64) -> Result<()> {
        let of = match scope {
            HoldScope::Source => "source",
            _ => "template",
        };
        let sql = format!(
            "UPDATE messages SET due_at = now() WHERE id >= $1 AND {of} = $2 AND status = 'scheduled' AND lease_token IS NULL
                 AND {}",
            is_guarded!("messages")
        );
        let since = Timestamp::from_second(hour * SECONDS).unwrap_or_default();
        E::run(tx, sql, args![first_id_of(since), value.as_str()]).await?;
        Ok(())
    }

    /// As far as this process remembers.
    fn is_below_its_line(&self, hour: i64, name: &Name, count: u64) -> bool {
        let known = self.lines.read().unwrap_or_else(PoisonError::into_inner);
        known.hour == hour && known.lines.get(name).is_some_and(|line| count <= *line)
    }

    /// Sources first: what a source in surge asks for does not count for its templates, so that others can use them.
    async fn judge(
        &self,
        tx: &mut E::Tx,
        rules: &SurgeRules,
        now: Timestamp,
        mut suspects: Vec<Suspect>,
    ) -> Result<()> {
        let hour = hour_of(now);
        let mut known = Self::known_surges(tx, hour).await?;
        suspects.sort_by(|a, b| a.name.cmp(&b.name));
        for Suspect { name, count } in suspects {
            if known.judged.contains(&name) {
                continue;
            }
            let (history, line) = self.line_of(tx, rules, hour, &name).await?;
            if count <= line {
                continue;
            }
            let count = match name.0 {
                HoldScope::Template if !known.apart.is_empty() => {
                    Self::count_without(tx, hour, &name.1, &known.apart).await?
                }
                _ => count,
            };
            if count <= line {
                continue;
            }
            self.hold_surge(tx, now, &name, count, &history).await?;
            if name.0 == HoldScope::Source {
                known.apart.insert(name.1);
            }
        }
        Ok(())
    }

    /// A surge that a person has let go is allowed until the end of the next hour; from then on it is part of what the
    /// source or template has done before. One that was dropped is held again if it goes on.
    async fn known_surges(tx: &mut E::Tx, hour: i64) -> Result<Known> {
        let since = Timestamp::from_second((hour - 1) * SECONDS).unwrap_or(Timestamp::MIN);
        let rows = E::run(
            tx,
            "SELECT scope, value, released_at IS NULL OR ended_as = 'send' FROM holds
             WHERE cause = 'surge_hold' AND (released_at IS NULL OR released_at >= $1)",
            args![since],
        )
        .await?;
        let mut known = Known::default();
        for row in &rows {
            let name = (row.word(0, HoldScope::from_word)?, row.text(1)?.to_owned());
            if name.0 == HoldScope::Source {
                known.apart.insert(name.1.clone());
            }
            if row.flag(2)? {
                known.judged.insert(name);
            }
        }
        Ok(known)
    }

    async fn line_of(
        &self,
        tx: &mut E::Tx,
        rules: &SurgeRules,
        hour: i64,
        name: &Name,
    ) -> Result<(History, u64)> {
        let sql = match name.0 {
            HoldScope::Source => history!("source"),
            _ => history!("template"),
        };
        let from = hour.saturating_sub(rules.window_hours);
        let rows = E::run(tx, sql, args![name.1.as_str(), from, hour]).await?;
        let row = rows.first().ok_or_else(|| StoreError::Internal("no history".to_owned()))?;
        let history = History { busiest: row.count(0)?, since: row.maybe_int(1)?.unwrap_or(hour) };
        let line = line(&history, rules, hour);
        let mut known = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        if known.hour != hour {
            *known = Lines { hour, lines: HashMap::new() };
        }
        known.lines.insert(name.clone(), line);
        Ok((history, line))
    }

    async fn count_without(
        tx: &mut E::Tx,
        hour: i64,
        template: &str,
        apart: &HashSet<String>,
    ) -> Result<u64> {
        let rows = E::run(
            tx,
            "SELECT source, count FROM arrivals WHERE hour = $1 AND template = $2",
            args![hour, template],
        )
        .await?;
        let mut total = 0_u64;
        for row in &rows {
            if !apart.contains(row.text(0)?) {
                total = total.saturating_add(row.count(1)?);
            }
        }
        Ok(total)
    }

    async fn hold_surge(
        &self,
        tx: &mut E::Tx,
        now: Timestamp,
        name: &Name,
        count: u64,
        history: &History,
    ) -> Result<()> {
        let (scope, value) = name;
        let busiest = history.busiest;
        let hold = Hold {
            id: HoldId::generate(),
            scope: *scope,
            value: value.clone(),
            cause: Reason::SurgeHold,
            reason: format!("{count} jobs in this hour; its busiest hour before had {busiest}"),
            placed_by: GUARD.to_owned(),
            placed_at: now,
            until: None,
            on_release: OnRelease::Send,
        };
        if !Self::write_hold(tx, &hold).await? {
            return Ok(());
        }
        Self::bring_hour_forward(tx, name, hour_of(now)).await?;
        let source = (*scope == HoldScope::Source).then_some(value.as_str());
        let item =
            NewItem { source, hold: Some(hold.id.0), ..NewItem::bare(WorkKind::SurgeHold, Priority::Normal) };
        self.open_items(tx, &[item]).await
    }

    /// A surge that was dropped was not meant: it is no measure for what comes later.
    pub(super) async fn discount_surge(
        tx: &mut E::Tx,
        scope: HoldScope,
        value: &str,
        placed_at: Timestamp,
    ) -> Result<()> {
        let sql = match scope {
            HoldScope::Source => "UPDATE arrivals SET dropped = true WHERE source = $1 AND hour >= $2",
            HoldScope::Template => "UPDATE arrivals SET dropped = true WHERE template = $1 AND hour >= $2",
            _ => return Ok(()),
        };
        E::run(tx, sql, args![value, hour_of(placed_at)]).await?;
        Ok(())
    }
}

const SECONDS: i64 = 3_600;

/// Since 1970-01-01 UTC.
pub(super) fn hour_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(SECONDS)
}
