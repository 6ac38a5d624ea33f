//! What has ended is erased when it is old enough, class by class. Rows are looked through once, in the order of their
//! ids, which is the order in which they came; those that had not ended by then are looked at again later. No index
//! is needed for it, and the corridor has no more to write.
//!
//! First texts and addresses are blanked; where that is asked for, whole rows go later ([`whole`]). The directory, what was
//! refused at addresses, the history of wishes and the audit log stay.

mod whole;

use async_trait::async_trait;
use jiff::SignedDuration;
use uuid::Uuid;

use super::Ledger;
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args, bytes, ids, micros};
use crate::store::retention::{Class, Erased, Expiry};
use crate::store::{Result, Retention, words};

/// How long a class belongs to a worker that does not come back.
const LEASE: SignedDuration = SignedDuration::from_secs(60);
/// When what had not ended is looked at again: for its texts, and for the rest of it.
const LATER: SignedDuration = SignedDuration::from_hours(24);
const MUCH_LATER: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Final, with nothing more to come: nobody has it in hand, no step, no receipt, and no work for people is about it.
macro_rules! over {
    () => {
        "m.status IN ('unknown', 'sent', 'failed', 'delivered', 'read', 'suppressed', 'expired', 'cancelled') \
         AND m.due_at IS NULL AND m.lease_token IS NULL AND m.receipt_by IS NULL AND m.changed_at <= now() - $3 * {us} \
         AND m.id NOT IN (SELECT w.message_id FROM work_items w WHERE w.closed_at IS NULL AND w.message_id IS NOT NULL)"
    };
}

/// Over, and nothing needs the row: it has expired, so that the job would be sent nowhere if it came again; nothing of it is
/// to be told; what repeats, copies or rides along with it is gone; and so long its campaign has been over, too. One row is
/// looked for, not EXISTS: of that a planner may make a table of all messages.
macro_rules! needed_no_more {
    () => {
        concat!(
            over!(),
            " AND m.expires_at <= now() AND m.ack_by IS NULL \
             AND (SELECT 1 FROM messages r WHERE r.retry_of = m.id LIMIT 1) IS NULL \
             AND (SELECT 1 FROM messages r WHERE r.copy_of = m.id LIMIT 1) IS NULL \
             AND (SELECT 1 FROM messages r WHERE r.merged_into = m.id LIMIT 1) IS NULL \
             AND (SELECT 1 FROM campaigns c WHERE c.id = m.campaign_id AND ",
            words::by_campaign!("m"),
            " AND (c.state NOT IN ('done', 'cancelled') OR c.changed_at > now() - $3 * {us}) LIMIT 1) IS NULL \
             AND (SELECT 1 FROM events e JOIN outbox o ON o.ord = e.ord WHERE e.message_id = m.id LIMIT 1) IS NULL \
             AND (SELECT 1 FROM callbacks k WHERE k.message_id = m.id AND k.since > now() - $3 * {us} LIMIT 1) IS NULL"
        )
    };
}

/// What the statements of a class are made of.
struct Parts {
    /// The rows, and their id.
    from: &'static str,
    id: &'static str,
    /// When a row came, or some time after, by which most have ended.
    born: &'static str,
    /// Whether it has ended and is old enough; `$3` is the age.
    over: &'static str,
    /// When one that has not is looked at again.
    later: SignedDuration,
    /// Each takes the batch `id`, `blank`.
    erase: &'static [&'static str],
    /// Each takes the ids, and takes whole rows away.
    remove: &'static [&'static str],
}

/// Those whose rows have ids that rise as they come; the others have ways of their own.
const fn parts(class: Class) -> Option<Parts> {
    Some(match class {
        Class::Messages => Parts {
            from: "messages m",
            id: "m.id",
            born: "m.accepted_at",
            over: over!(),
            later: LATER,
            erase: &[
                "UPDATE messages SET body = input.blank, explanation = NULL FROM {input} WHERE messages.id = input.id",
                "UPDATE attempts SET explanation = NULL FROM {input} WHERE attempts.message_id = input.id",
            ],
            remove: &[],
        },
        Class::Attempts => Parts {
            from: "attempts a JOIN messages m ON m.id = a.message_id",
            id: "a.id",
            born: "a.begun_at",
            over: over!(),
            later: LATER,
            erase: &[
                "UPDATE attempts SET address = input.blank, text_mark = NULL FROM {input} WHERE attempts.id = input.id",
            ],
            remove: &[],
        },
        Class::Replies => Parts {
            from: "replies r",
            id: "r.id",
            born: "r.received_at",
            over: "NOT EXISTS (SELECT 1 FROM work_items w WHERE w.reply_id = r.id AND w.closed_at IS NULL) \
                   AND r.received_at <= now() - $3 * {us}",
            later: LATER,
            erase: &[
                "UPDATE replies SET body = NULL, address = NULL, told = NULL, answer_due = NULL FROM {input} WHERE replies.id = input.id",
            ],
            remove: &[],
        },
        // What is erased cannot be mended any more: it waits for nobody.
        Class::Rejected => Parts {
            from: "parked p",
            id: "p.id",
            born: "p.parked_at",
            over: "p.parked_at <= now() - $3 * {us}",
            later: LATER,
            erase: &["UPDATE parked SET body = input.blank, replayed_at = COALESCE(replayed_at, now()) \
                    FROM {input} WHERE parked.id = input.id"],
            remove: &[],
        },
        Class::Rows => Parts {
            from: "messages m",
            id: "m.id",
            born: "m.accepted_at + 86400000000 * {us}",
            over: needed_no_more!(),
            later: MUCH_LATER,
            erase: &[],
            // What is read by its message goes before it.
            remove: &[
                "DELETE FROM callbacks WHERE message_id = ANY($1)",
                "DELETE FROM events WHERE message_id = ANY($1)",
                "DELETE FROM work_items WHERE message_id = ANY($1) AND reply_id IS NULL",
                "DELETE FROM campaign_stops WHERE message_id = ANY($1)",
                "DELETE FROM restored WHERE message_id = ANY($1)",
                "DELETE FROM attempts WHERE message_id = ANY($1)",
                "DELETE FROM messages WHERE id = ANY($1)",
            ],
        },
        // Who has answered is asked as long as there is the message.
        Class::ReplyRows => Parts {
            from: "replies r",
            id: "r.id",
            born: "r.received_at + 86400000000 * {us}",
            over: "NOT EXISTS (SELECT 1 FROM work_items w WHERE w.reply_id = r.id AND w.closed_at IS NULL) \
                   AND r.received_at <= now() - $3 * {us} \
                   AND (SELECT 1 FROM messages m WHERE m.id = r.message_id LIMIT 1) IS NULL",
            later: MUCH_LATER,
            erase: &[],
            remove: &[
                "DELETE FROM work_items WHERE reply_id = ANY($1)",
                "DELETE FROM replies WHERE id = ANY($1)",
            ],
        },
        // What nobody has mended waits for somebody.
        Class::RejectedRows => Parts {
            from: "parked p",
            id: "p.id",
            born: "p.parked_at",
            over: "p.replayed_at IS NOT NULL AND p.parked_at <= now() - $3 * {us}",
            later: MUCH_LATER,
            erase: &[],
            remove: &["DELETE FROM parked WHERE id = ANY($1)"],
        },
        Class::Events | Class::Workers => return None,
    })
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

#[async_trait]
impl<E: Engine> Retention for Ledger<E> {
    async fn erase_old(&self, ask: &Expiry) -> Result<Erased> {
        let mut tx = self.engine.begin().await?;
        let rows = E::run(
            &mut tx,
            concat!(
                "UPDATE retention SET owner = $1, until = now() + $3 * {us} WHERE class = $2 AND (",
                words::is_free!("until"),
                " OR owner = $1) RETURNING upto, upto_ord"
            ),
            args![ask.worker.0, ask.class.as_str(), micros(LEASE)],
        )
        .await?;
        let Some(mark) = rows.first() else { return Ok(Erased::default()) };
        let mut done = match (parts(ask.class), ask.class) {
            (Some(parts), _) => Self::go_through(&mut tx, ask, &parts, mark.id(0)?).await?,
            (None, Class::Events) => Self::remove_events(&mut tx, ask, mark.int(1)?).await?,
            (None, _) => Self::remove_workers(&mut tx, ask).await?,
        };
        if !done.more {
            let campaign = match ask.class {
                Class::Messages => Self::wipe_campaign(&mut tx, ask).await?,
                Class::Rows => Self::remove_campaign(&mut tx, ask).await?,
                _ => Erased::default(),
            };
            done = Erased { rows: done.rows + campaign.rows, more: campaign.more };
        }
        E::commit(tx).await?;
        Ok(done)
    }
}

impl<E: Engine> Ledger<E> {
    /// The next rows after `upto`, and those that were put off.
    async fn go_through(tx: &mut E::Tx, ask: &Expiry, parts: &Parts, upto: Uuid) -> Result<Erased> {
        let mut found = Found::default();
        Self::put_off_before(tx, ask, parts, &mut found).await?;
        if !found.more {
            Self::come_of_age(tx, ask, parts, upto, &mut found).await?;
        }
        if ask.class == Class::Rows {
            Self::take_leave(tx, ask, parts, &mut found).await?;
        }
        let erased = Self::wipe(tx, parts.erase, &found.erase).await?;
        for sql in parts.remove.iter().filter(|_| erased > 0) {
            E::run(tx, *sql, args![found.erase.clone()]).await?;
        }
        Self::put_off(tx, ask, parts.later, &found).await?;
        Ok(Erased { rows: erased, more: found.more })
    }

    /// Rows whose turn came before they had ended.
    async fn put_off_before(tx: &mut E::Tx, ask: &Expiry, parts: &Parts, found: &mut Found) -> Result<()> {
        let Parts { from, id, over, .. } = parts;
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
    async fn come_of_age(
        tx: &mut E::Tx,
        ask: &Expiry,
        parts: &Parts,
        upto: Uuid,
        found: &mut Found,
    ) -> Result<()> {
        let Parts { from, id, born, over, .. } = parts;
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

    /// How a patient's messages, attempts and replies are wiped.
    pub(super) const fn wiping(class: Class) -> &'static [&'static str] {
        match parts(class) {
            Some(parts) => parts.erase,
            None => &[],
        }
    }

    async fn put_off(tx: &mut E::Tx, ask: &Expiry, later: SignedDuration, found: &Found) -> Result<()> {
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
                args![class, micros(later)].batch(vec![ids("id", &found.later, |id| *id)]),
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
