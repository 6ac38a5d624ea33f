//! The rate gate that all workers share, and the day budgets.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sqlx::Row;

use super::{PostgresStore, fault, maybe_time, time};
use crate::store::Result;
use crate::store::rows::{GateLimit, Reserve, Reserved, Spend};

/// Slots of one key lie one interval apart, counted on from its theoretical arrival time (GCRA without burst); a
/// grant is what every key has room for. The rows are locked in key order, read, and moved on in one statement.
const RESERVE: &str = "
WITH ask AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS t(key, interval_us, per_day)
), held AS (
    SELECT g.key, a.interval_us, a.per_day, GREATEST(g.tat, now()) AS tat,
        CASE WHEN g.day = (now() AT TIME ZONE 'UTC')::date THEN g.used ELSE 0 END AS used
    FROM rate_gate g JOIN ask a USING (key)
    ORDER BY g.key
    FOR UPDATE OF g
), room AS (
    SELECT LEAST($4::bigint, min(CASE
        WHEN interval_us > 0 THEN GREATEST(0, floor(
            EXTRACT(EPOCH FROM (now() + $5 * interval '1 microsecond' - tat)) * 1000000 / interval_us)::bigint + 1)
        ELSE GREATEST(0, per_day - used) END)) AS granted
    FROM held
), moved AS (
    UPDATE rate_gate g
    SET tat = CASE WHEN h.interval_us > 0 AND room.granted > 0
            THEN h.tat + room.granted * h.interval_us * interval '1 microsecond' ELSE g.tat END,
        day = (now() AT TIME ZONE 'UTC')::date,
        used = h.used + room.granted
    FROM held h, room
    WHERE g.key = h.key
)
SELECT h.key, h.interval_us, h.tat, room.granted, now(),
    CASE WHEN h.per_day > 0 AND h.used >= h.per_day
        THEN ((now() AT TIME ZONE 'UTC')::date + 1)::timestamp AT TIME ZONE 'UTC' END
FROM held h, room";

impl PostgresStore {
    pub(super) async fn reserve_slots(&self, ask: &Reserve) -> Result<Reserved> {
        self.know_keys(ask.keys.iter().map(|k| k.key.as_str())).await?;
        let interval = |limit: GateLimit| match limit {
            GateLimit::Interval(each) => i64::try_from(each.as_micros()).unwrap_or(i64::MAX).max(1),
            GateLimit::Day(_) => 0,
        };
        let per_day = |limit: GateLimit| match limit {
            GateLimit::Interval(_) => 0,
            GateLimit::Day(count) => i64::from(count),
        };
        let rows = sqlx::query(RESERVE)
            .bind(ask.keys.iter().map(|k| k.key.as_str()).collect::<Vec<_>>())
            .bind(ask.keys.iter().map(|k| interval(k.limit)).collect::<Vec<_>>())
            .bind(ask.keys.iter().map(|k| per_day(k.limit)).collect::<Vec<_>>())
            .bind(i64::from(ask.want))
            .bind(i64::try_from(ask.horizon.as_micros()).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await
            .map_err(fault)?;
        let Some(first) = rows.first() else {
            return Ok(Reserved { slots: Vec::new(), closed_until: None, now: self.clock().await? });
        };
        let now = time(first, 4)?;
        let granted: i64 = first.try_get(3).map_err(fault)?;
        let mut spaced = Vec::with_capacity(rows.len());
        let mut closed_until = None;
        for row in &rows {
            let each: i64 = row.try_get(1).map_err(fault)?;
            if each > 0 {
                spaced.push((time(row, 2)?, each));
            }
            closed_until = closed_until.max(maybe_time(row, 5)?);
        }
        let slots = (0..granted).map(|n| slot(&spaced, n, now)).collect();
        Ok(Reserved { slots, closed_until, now })
    }

    async fn know_keys(&self, keys: impl Iterator<Item = &str>) -> Result<()> {
        let fresh: Vec<String> = {
            let known = self.gate_keys.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            keys.filter(|k| !known.contains(*k)).map(str::to_owned).collect()
        };
        if fresh.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO rate_gate (key, tat, day, used)
             SELECT DISTINCT k, now(), (now() AT TIME ZONE 'UTC')::date, 0 FROM unnest($1::text[]) u(k) ORDER BY k
             ON CONFLICT DO NOTHING",
        )
        .bind(&fresh)
        .execute(&self.pool)
        .await
        .map_err(fault)?;
        self.gate_keys.write().unwrap_or_else(std::sync::PoisonError::into_inner).extend(fresh);
        Ok(())
    }

    pub(super) async fn spend_budgets(&self, entries: &[Spend]) -> Result<Vec<bool>> {
        let limits: BTreeMap<&str, i64> =
            entries.iter().flat_map(|e| &e.budgets).map(|(key, limit)| (key.as_str(), *limit)).collect();
        self.know_keys(limits.keys().copied()).await?;
        let mut tx = self.pool.begin().await.map_err(fault)?;
        let rows = sqlx::query(
            "SELECT key, CASE WHEN day = (now() AT TIME ZONE 'UTC')::date THEN used ELSE 0 END
             FROM rate_gate WHERE key = ANY($1) ORDER BY key FOR UPDATE",
        )
        .bind(limits.keys().copied().collect::<Vec<_>>())
        .fetch_all(&mut *tx)
        .await
        .map_err(fault)?;
        let mut used: BTreeMap<String, i64> = BTreeMap::new();
        for row in rows {
            used.insert(row.try_get(0).map_err(fault)?, row.try_get(1).map_err(fault)?);
        }
        let answers = entries.iter().map(|entry| crate::store::spend_one(entry, &mut used)).collect();
        sqlx::query(
            "UPDATE rate_gate g SET used = u.used, day = (now() AT TIME ZONE 'UTC')::date
             FROM unnest($1::text[], $2::bigint[]) AS u(key, used) WHERE g.key = u.key",
        )
        .bind(used.keys().map(String::as_str).collect::<Vec<_>>())
        .bind(used.values().copied().collect::<Vec<_>>())
        .execute(&mut *tx)
        .await
        .map_err(fault)?;
        tx.commit().await.map_err(fault)?;
        Ok(answers)
    }
}

/// The `n`-th slot: the latest that any key gives.
fn slot(spaced: &[(Timestamp, i64)], n: i64, now: Timestamp) -> Timestamp {
    let at = |&(tat, each): &(Timestamp, i64)| {
        tat.checked_add(SignedDuration::from_micros(each.saturating_mul(n))).unwrap_or(Timestamp::MAX)
    };
    spaced.iter().map(at).max().unwrap_or(now)
}
