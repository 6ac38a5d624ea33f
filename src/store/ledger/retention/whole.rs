//! Whole rows that nothing needs any more.
//!
//! | row | goes |
//! |---|---|
//! | a message, its attempts, events, job key, closed work items | final for so long and expired, after all that points at it |
//! | an event | published for so long, and posted where it was to be; else with its message |
//! | a reply, its closed work items | after its message |
//! | a body that could not be accepted | mended or erased |
//! | a campaign, its audience | over for so long, after its messages |
//! | a worker | silent for so long |
//!
//! A job's key is in no other place: a job that comes again after its message is gone is a new one. A campaign's messages
//! count for its reports and for those who follow it, and so do not go one by one while it lasts.
//!
//! Not by partitions of time: rows are found by ids that are no times, statuses move for as long as receipts come, and what
//! is over is not what is old. A few hundred rows at a time cost what writing them did, and leave room for new ones.

use std::collections::HashSet;

use uuid::Uuid;

use super::{Found, Ledger, Parts};
use crate::store::columns::Columns;
use crate::store::engine::{Engine, args, micros};
use crate::store::retention::{Erased, Expiry};
use crate::store::{Result, words};

/// The next events, and whether they are too young or unpublished (0), still to be posted (1), or done with (2).
const EVENTS: &str = "
SELECT e.ord, CASE
    WHEN e.created_at > now() - $3 * {us} OR (SELECT 1 FROM outbox o WHERE o.ord = e.ord LIMIT 1) IS NOT NULL THEN 0
    WHEN e.callback IS NULL THEN 2
    WHEN e.message_id IS NULL AND e.ord IN (SELECT c.ord FROM callbacks c WHERE c.message_id IS NULL) THEN 1
    WHEN e.message_id IS NOT NULL
        AND (SELECT 1 FROM callbacks c WHERE c.ord = e.ord AND c.message_id = e.message_id LIMIT 1) IS NOT NULL THEN 1
    ELSE 2 END
FROM events e WHERE e.ord > $1 ORDER BY e.ord LIMIT $2";

/// The campaign that has been over for longest, and has no message any more.
const CAMPAIGN: &str = concat!(
    "SELECT c.id FROM campaigns c
     WHERE c.state IN ('done', 'cancelled') AND c.hold_id IS NULL AND c.changed_at <= now() - $1 * {us}
       AND (SELECT 1 FROM messages m WHERE m.campaign_id = c.id AND ",
    words::by_campaign!("m"),
    " LIMIT 1) IS NULL
     ORDER BY c.changed_at LIMIT 1 {for update}"
);

const RECIPIENTS: &str = "
DELETE FROM campaign_recipients WHERE campaign_id = $1 AND ordinal IN (
    SELECT r.ordinal FROM campaign_recipients r WHERE r.campaign_id = $1 ORDER BY r.ordinal LIMIT $2)
RETURNING ordinal";

const DONE: &str = "
DELETE FROM campaign_done WHERE campaign_id = $1 AND patient_id IN (
    SELECT d.patient_id FROM campaign_done d WHERE d.campaign_id = $1 ORDER BY d.patient_id LIMIT $2)
RETURNING patient_id";

impl<E: Engine> Ledger<E> {
    /// Holds the messages that are to go, puts off those of which something has come meanwhile, and takes the job keys of
    /// the others away.
    pub(super) async fn take_leave(
        tx: &mut E::Tx,
        ask: &Expiry,
        parts: &Parts,
        found: &mut Found,
    ) -> Result<()> {
        if found.erase.is_empty() {
            return Ok(());
        }
        let lock = "SELECT id FROM messages WHERE id = ANY($1) ORDER BY id {for update}";
        E::run(tx, lock, args![found.erase.clone()]).await?;
        let still = format!(
            "SELECT m.id, m.source, m.job_id FROM messages m WHERE m.id = ANY($1) AND {} LIMIT $2",
            parts.over
        );
        let room = i64::try_from(found.erase.len()).unwrap_or(i64::MAX);
        let rows = E::run(tx, still, args![found.erase.clone(), room, micros(ask.age)]).await?;
        let sure = rows.iter().map(|row| row.id(0)).collect::<Result<HashSet<Uuid>>>()?;
        found.later.extend(found.erase.iter().filter(|id| !sure.contains(id)));
        found.erase.retain(|id| sure.contains(id));
        let sources = rows.iter().map(|row| row.text(1)).collect::<Result<HashSet<&str>>>()?;
        let jobs = rows.iter().map(|row| row.text(2)).collect::<Result<HashSet<&str>>>()?;
        let (sources, jobs): (Vec<&str>, Vec<&str>) =
            (sources.into_iter().collect(), jobs.into_iter().collect());
        let keys =
            "DELETE FROM job_keys WHERE source = ANY($1) AND job_id = ANY($2) AND message_id = ANY($3)";
        E::run(tx, keys, args![sources, jobs, found.erase.clone()]).await?;
        Ok(())
    }

    /// Events after `upto`, as far as they are old and published. One that is still to be posted is passed by: it goes with
    /// its message.
    pub(super) async fn remove_events(tx: &mut E::Tx, ask: &Expiry, upto: i64) -> Result<Erased> {
        let rows = E::run(tx, EVENTS, args![upto, i64::from(ask.limit), micros(ask.age)]).await?;
        let mut more = u32::try_from(rows.len()).is_ok_and(|seen| seen == ask.limit);
        let (mut last, mut gone) = (upto, Vec::new());
        for row in &rows {
            let ord = row.int(0)?;
            match row.int(1)? {
                0 => {
                    more = false;
                    break;
                }
                1 => {}
                _ => gone.push(ord),
            }
            last = ord;
        }
        let erased = u32::try_from(gone.len()).unwrap_or(u32::MAX);
        if last > upto {
            E::run(tx, "DELETE FROM events WHERE ord = ANY($1)", args![gone]).await?;
            let mark = "UPDATE retention SET upto_ord = $2 WHERE class = $1";
            E::run(tx, mark, args![ask.class.as_str(), last]).await?;
        }
        Ok(Erased { rows: erased, more })
    }

    /// Some of the audience of a campaign, and the campaign itself once nobody is left.
    pub(super) async fn remove_campaign(tx: &mut E::Tx, ask: &Expiry) -> Result<Erased> {
        let rows = E::run(tx, CAMPAIGN, args![micros(ask.age)]).await?;
        let Some(row) = rows.first() else { return Ok(Erased::default()) };
        let id = row.text(0)?;
        for sql in [RECIPIENTS, DONE] {
            let gone = E::run(tx, sql, args![id, i64::from(ask.limit)]).await?;
            if !gone.is_empty() {
                return Ok(Erased { rows: u32::try_from(gone.len()).unwrap_or(u32::MAX), more: true });
            }
        }
        E::run(tx, "DELETE FROM campaigns WHERE id = $1", args![id]).await?;
        Ok(Erased { rows: 1, more: true })
    }

    /// Whoever lives is seen every few seconds, and written anew should it come back all the same.
    pub(super) async fn remove_workers(tx: &mut E::Tx, ask: &Expiry) -> Result<Erased> {
        let sql = "DELETE FROM workers WHERE id IN (
             SELECT w.id FROM workers w WHERE w.seen_at <= now() - $1 * {us} ORDER BY w.seen_at LIMIT $2) RETURNING id";
        let gone = E::run(tx, sql, args![micros(ask.age), i64::from(ask.limit)]).await?;
        let rows = u32::try_from(gone.len()).unwrap_or(u32::MAX);
        Ok(Erased { rows, more: rows == ask.limit })
    }
}
