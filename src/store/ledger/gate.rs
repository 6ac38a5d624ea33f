//! The rate gate that all workers share, and the day budgets.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::Ledger;
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args, ints, micros, texts};
use crate::store::rows::{GateKey, GateLimit, Reserve, Reserved, Spend};
use crate::store::{RateGate, Result, StoreError};

const DAY_SECONDS: i64 = 86_400;

#[async_trait]
impl<E: Engine> RateGate for Ledger<E> {
    /// Slots of one key lie one interval apart, counted on from its theoretical arrival time (GCRA without burst); a
    /// grant is what every key has room for. Where a slower key puts slots off, the faster one moves on by its own interval
    /// all the same: senders of one account that have slower limits of their own, in several processes, may come to a few
    /// more in one second than the account has. In one process the walls hold them. Takes want, horizon, lead, what was not used, and the keys; answers `each, tat, granted, now,
    /// is_closed, key, recent` for each key, and moves the keys on.
    async fn reserve(&self, ask: &Reserve) -> Result<Reserved> {
        let keys = ask.keys.as_slice();
        if keys.is_empty() {
            let now = self.clock().await?;
            return Ok(Reserved {
                slots: Vec::new(),
                recent: Vec::new(),
                closed_until: None,
                next: now,
                now,
            });
        }
        self.know_keys(keys.iter().map(|k| k.key.as_str())).await?;
        let each = |k: &GateKey| match k.limit {
            GateLimit::Interval(each) => micros(each).max(1),
            GateLimit::Day(_) => 0,
        };
        let per_day = |k: &GateKey| match k.limit {
            GateLimit::Interval(_) => 0,
            GateLimit::Day(count) => i64::from(count),
        };
        let batch =
            vec![texts("key", keys, |k| &k.key), ints("each", keys, each), ints("per_day", keys, per_day)];
        let args = args![i64::from(ask.want), micros(ask.horizon), micros(ask.lead), i64::from(ask.unused)]
            .batch(batch);
        let rows = self.engine.write(E::STATEMENTS.reserve, args).await?;
        let Some(first) = rows.first().filter(|_| rows.len() == keys.len()) else {
            // The rows are gone, as after a restore of the database: they are written down again.
            Self::forget(&self.gate_keys);
            return Err(StoreError::Contention);
        };
        let (granted, now) = (first.int(2)?, first.time(3)?);
        let mut spaced = Vec::with_capacity(rows.len());
        let mut is_closed = false;
        let mut recent = BTreeMap::new();
        for row in &rows {
            let each = row.int(0)?;
            if each > 0 {
                spaced.push((row.time(1)?, each));
            }
            is_closed |= row.flag(4)?;
            recent.insert(row.text(5)?, u64::try_from(row.int(6)?).unwrap_or_default());
        }
        let recent = keys.iter().map(|k| recent.get(k.key.as_str()).copied().unwrap_or_default()).collect();
        let slots = (0..granted).map(|n| slot(&spaced, n, now)).collect();
        let closed_until = is_closed.then(|| next_day(now));
        Ok(Reserved { slots, recent, closed_until, next: slot(&spaced, granted, now), now })
    }

    async fn used_today(&self, keys: &[&str]) -> Result<BTreeMap<String, u64>> {
        let sql = "SELECT key, used FROM rate_gate WHERE key = ANY($1) AND day = {today}";
        let rows = self.engine.read(sql, args![keys.to_vec()]).await?;
        rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.count(1)?))).collect()
    }

    async fn spend(&self, entries: &[Spend]) -> Result<Vec<bool>> {
        let limits: BTreeMap<&str, i64> =
            entries.iter().flat_map(|e| &e.budgets).map(|(key, limit)| (key.as_str(), *limit)).collect();
        let keys: Vec<&str> = limits.keys().copied().collect();
        self.know_keys(keys.iter().copied()).await?;
        let mut tx = self.engine.begin().await?;
        let rows = E::run(
            &mut tx,
            "SELECT key, used FROM rate_gate WHERE key = ANY($1) ORDER BY key {for update}",
            args![keys.clone()],
        )
        .await?;
        if rows.len() != keys.len() {
            Self::forget(&self.gate_keys);
            return Err(StoreError::Contention);
        }
        let mut used: BTreeMap<String, i64> = BTreeMap::new();
        for row in &rows {
            used.insert(row.text(0)?.to_owned(), row.int(1)?);
        }
        let answers = entries.iter().map(|entry| spend_one(entry, &mut used)).collect();
        for (key, used) in &used {
            let args = args![key.as_str(), *used];
            E::run(&mut tx, "UPDATE rate_gate SET used = $2 WHERE key = $1", args).await?;
        }
        E::commit(tx).await?;
        Ok(answers)
    }
}

impl<E: Engine> Ledger<E> {
    async fn know_keys(&self, keys: impl Iterator<Item = &str> + Send) -> Result<()> {
        let fresh = Self::unknown(&self.gate_keys, keys);
        if fresh.is_empty() {
            return Ok(());
        }
        self.engine
            .write(
                "INSERT INTO rate_gate (key, tat, day, used) SELECT key, now(), {today}, 0 FROM {input} WHERE true ORDER BY key
                 ON CONFLICT DO NOTHING",
                Args::none().batch(vec![texts("key", &fresh, |k| k)]),
            )
            .await?;
        Self::remember(&self.gate_keys, &fresh);
        Ok(())
    }
}

/// Takes an amount from every budget of the entry, or from none.
fn spend_one(entry: &Spend, used: &mut BTreeMap<String, i64>) -> bool {
    let spent = |key: &str| used.get(key).copied().unwrap_or(0);
    let fits = entry.budgets.iter().all(|(key, limit)| spent(key).saturating_add(entry.amount) <= *limit);
    if fits || entry.amount < 0 {
        for (key, _) in &entry.budgets {
            let total = used.entry(key.clone()).or_default();
            *total = total.saturating_add(entry.amount).max(0);
        }
    }
    fits || entry.amount < 0
}

/// The `n`-th slot: the latest that any key gives.
fn slot(spaced: &[(Timestamp, i64)], n: i64, now: Timestamp) -> Timestamp {
    let at = |&(tat, each): &(Timestamp, i64)| {
        tat.checked_add(SignedDuration::from_micros(each.saturating_mul(n))).unwrap_or(Timestamp::MAX)
    };
    spaced.iter().map(at).max().unwrap_or(now)
}

/// The coming midnight, UTC.
fn next_day(now: Timestamp) -> Timestamp {
    let today = now.as_second().div_euclid(DAY_SECONDS);
    Timestamp::from_second((today + 1) * DAY_SECONDS).unwrap_or(Timestamp::MAX)
}
