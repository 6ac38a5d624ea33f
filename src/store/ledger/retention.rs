//! What has ended is erased when it is old enough, class by class. Rows are looked through once, in the order of their
//! ids, which is the order in which they came; those that had not ended by then are looked at again a day later. No index
//! is needed for it, and the corridor has no more to write.
//!
//! Statuses, reasons, times, counts, blind indexes, the history of wishes and the audit log stay.

use jiff::SignedDuration;
use uuid::Uuid;

use super::Ledger;
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args, bytes, ids, micros};
use crate::store::keeping::{Class, Erased, Expiry};
use crate::store::{Result, words};

/// How long a class belongs to a worker that does not come back.
const LEASE: SignedDuration = SignedDuration::from_secs(60);
/// When what had not ended is looked at again.
const LATER: SignedDuration = SignedDuration::from_hours(24);

/// Final, with nothing more to come: nobody has it in hand, no step, no receipt, and no work for people is about it.
macro_rules! over {
    () => {
        "m.status IN ('unknown', 'sent', 'failed', 'delivered', 'read', 'suppressed', 'expired', 'cancelled') \
         AND m.due_at IS NULL AND m.lease_token IS NULL AND m.receipt_by IS NULL AND m.changed_at <= now() - $3 * {us} \
         AND m.id NOT IN (SELECT w.message_id FROM work_items w WHERE w.closed_at IS NULL AND w.message_id IS NOT NULL)"
    };
}

/// What the statements of a class are made of.
struct Parts {
    /// The rows, and their id.
    from: &'static str,
    id: &'static str,
    /// When a row came.
    born: &'static str,
    /// Whether it has ended and is old enough; `$3` is the age.
    over: &'static str,
    /// Each takes the batch `id`, `blank`.
    erase: &'static [&'static str],
}

const fn parts(class: Class) -> Parts {
    match class {
        Class::Messages => Parts {
            from: "messages m",
            id: "m.id",
            born: "m.accepted_at",
            over: over!(),
            erase: &[
                "UPDATE messages SET body = input.blank, explanation = NULL FROM {input} WHERE messages.id = input.id",
                "UPDATE attempts SET explanation = NULL FROM {input} WHERE attempts.message_id = input.id",
            ],
        },
        Class::Attempts => Parts {
            from: "attempts a JOIN messages m ON m.id = a.message_id",
            id: "a.id",
            born: "a.begun_at",
            over: over!(),
            erase: &[
                "UPDATE attempts SET address = input.blank, text_mark = NULL FROM {input} WHERE attempts.id = input.id",
            ],
        },
        Class::Replies => Parts {
            from: "replies r",
            id: "r.id",
            born: "r.received_at",
            over: "NOT EXISTS (SELECT 1 FROM work_items w WHERE w.reply_id = r.id AND w.closed_at IS NULL) \
                   AND r.received_at <= now() - $3 * {us}",
            erase: &[
                "UPDATE replies SET body = NULL, address = NULL, told = NULL, answer_due = NULL FROM {input} WHERE replies.id = input.id",
            ],
        },
        // What is erased cannot be mended any more: it waits for nobody.
        Class::Rejected => Parts {
            from: "parked p",
            id: "p.id",
            born: "p.parked_at",
            over: "p.parked_at <= now() - $3 * {us}",
            erase: &["UPDATE parked SET body = input.blank, replayed_at = COALESCE(replayed_at, now()) \
                    FROM {input} WHERE parked.id = input.id"],
        },
    }
}

/// What a turn looks at.
#[derive(Default)]
struct Found {
    erase: Vec<Uuid>,
    /// Not over yet.
    later: Vec<Uuid>,
    /// Was put off before, and is over or gone by now.
    settled: Vec<Uuid>,
    upto: Option<Uuid>,
    more: bool,
}

impl<E: Engine> Ledger<E> {
    pub(super) async fn expire(&self, ask: &Expiry) -> Result<Erased> {
        let mut tx = self.engine.begin().await?;
        let rows = E::run(
            &mut tx,
            concat!(
                "UPDATE retention SET owner = $1, until = now() + $3 * {us} WHERE class = $2 AND (",
                words::is_free!("until"),
                " OR owner = $1) RETURNING upto"
            ),
            args![ask.worker.0, ask.class.as_str(), micros(LEASE)],
        )
        .await?;
        let Some(mark) = rows.first() else { return Ok(Erased::default()) };
        let mut found = Found::default();
        Self::put_off_before(&mut tx, ask, &mut found).await?;
        if !found.more {
            Self::come_of_age(&mut tx, ask, mark.id(0)?, &mut found).await?;
        }
        let erased = Self::wipe(&mut tx, parts(ask.class).erase, &found.erase).await?;
        Self::put_off(&mut tx, ask, &found).await?;
        let mut done = Erased { rows: erased, more: found.more };
        if ask.class == Class::Messages && !done.more {
            let campaign = Self::wipe_campaign(&mut tx, ask).await?;
            done = Erased { rows: done.rows + campaign.rows, more: campaign.more };
        }
        E::commit(tx).await?;
        Ok(done)
    }

    /// Rows whose turn came before they had ended.
    async fn put_off_before(tx: &mut E::Tx, ask: &Expiry, found: &mut Found) -> Result<()> {
        let Parts { from, id, over, .. } = parts(ask.class);
        let sql = format!(
            "SELECT l.id, (SELECT CASE WHEN {over} THEN 1 ELSE 0 END FROM {from} WHERE {id} = l.id)
             FROM retention_later l WHERE l.class = $1 AND l.look_at <= now() ORDER BY l.look_at LIMIT $2"
        );
        let args = args![ask.class.as_str(), i64::from(ask.limit), micros(ask.age)];
        let rows = E::run(tx, sql, args).await?;
        for row in &rows {
            let id = row.id(0)?;
            match row.maybe_int(1)? {
                Some(0) => found.later.push(id),
                Some(_) => {
                    found.erase.push(id);
                    found.settled.push(id);
                }
                None => found.settled.push(id),
            }
        }
        found.more = u32::try_from(rows.len()).is_ok_and(|seen| seen == ask.limit);
        Ok(())
    }

    /// The next rows that are old enough.
    async fn come_of_age(tx: &mut E::Tx, ask: &Expiry, upto: Uuid, found: &mut Found) -> Result<()> {
        let Parts { from, id, born, over, .. } = parts(ask.class);
        let sql = format!(
            "SELECT {id}, CASE WHEN {born} > now() - $3 * {{us}} THEN 0 WHEN {over} THEN 2 ELSE 1 END
             FROM {from} WHERE {id} > $1 ORDER BY {id} LIMIT $2"
        );
        let rows = E::run(tx, sql, args![upto, i64::from(ask.limit), micros(ask.age)]).await?;
        found.more = u32::try_from(rows.len()).is_ok_and(|seen| seen == ask.limit);
        for row in &rows {
            let id = row.id(0)?;
            match row.int(1)? {
                // The first one that is too young: those behind it are younger still.
                0 => {
                    found.more = false;
                    break;
                }
                1 => found.later.push(id),
                _ => found.erase.push(id),
            }
            found.upto = Some(id);
        }
        Ok(())
    }

    /// Leaves nothing of these rows' texts. Answers how many rows.
    pub(super) async fn wipe(tx: &mut E::Tx, erase: &[&'static str], rows: &[Uuid]) -> Result<u32> {
        for sql in erase.iter().filter(|_| !rows.is_empty()) {
            let batch = vec![ids("id", rows, |id| *id), bytes("blank", rows, |_| Vec::new())];
            E::run(tx, *sql, Args::none().batch(batch)).await?;
        }
        Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX))
    }

    /// How a patient's messages and attempts are wiped.
    pub(super) const fn wiping(class: Class) -> &'static [&'static str] {
        parts(class).erase
    }

    async fn put_off(tx: &mut E::Tx, ask: &Expiry, found: &Found) -> Result<()> {
        let class = ask.class.as_str();
        if !found.settled.is_empty() {
            let sql = "DELETE FROM retention_later WHERE class = $1 AND id = ANY($2)";
            E::run(tx, sql, args![class, found.settled.clone()]).await?;
        }
        if !found.later.is_empty() {
            E::run(
                tx,
                "INSERT INTO retention_later (class, id, look_at) SELECT $1, id, now() + $2 * {us} FROM {input} WHERE true
                 ON CONFLICT (class, id) DO UPDATE SET look_at = excluded.look_at",
                args![class, micros(LATER)].batch(vec![ids("id", &found.later, |id| *id)]),
            )
            .await?;
        }
        if let Some(upto) = found.upto {
            E::run(tx, "UPDATE retention SET upto = $2 WHERE class = $1", args![class, upto]).await?;
        }
        Ok(())
    }

    /// Rows of the audience of a campaign that has been over for long enough.
    async fn wipe_campaign(tx: &mut E::Tx, ask: &Expiry) -> Result<Erased> {
        let rows = E::run(
            tx,
            "SELECT id, erased_upto FROM campaigns
             WHERE state IN ('done', 'cancelled') AND erased_at IS NULL AND changed_at <= now() - $1 * {us}
             ORDER BY changed_at LIMIT 1",
            args![micros(ask.age)],
        )
        .await?;
        let Some(row) = rows.first() else { return Ok(Erased::default()) };
        let (id, from) = (row.text(0)?, row.int(1)?);
        let upto = from.saturating_add(i64::from(ask.limit));
        let blank = vec![bytes("blank", &[()], |()| Vec::new())];
        let wiped = E::run(
            tx,
            "UPDATE campaign_recipients SET body = input.blank FROM {input}
             WHERE campaign_id = $1 AND ordinal > $2 AND ordinal <= $3 RETURNING ordinal",
            args![id, from, upto].batch(blank),
        )
        .await?;
        E::run(
            tx,
            "UPDATE campaigns SET erased_upto = $2, erased_at = CASE WHEN EXISTS (
                 SELECT 1 FROM campaign_recipients r WHERE r.campaign_id = $1 AND r.ordinal > $2) THEN NULL ELSE now() END
             WHERE id = $1",
            args![id, upto],
        )
        .await?;
        Ok(Erased { rows: u32::try_from(wiped.len()).unwrap_or(u32::MAX), more: true })
    }
}
