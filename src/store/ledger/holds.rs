//! Holds are placed, end, and let go what they held, as each says. The end itself is one row: from then on nothing more
//! is held. What was held follows in batches, so that a million messages block nobody.

use std::collections::HashSet;

use async_trait::async_trait;
use jiff::SignedDuration;
use uuid::Uuid;

use super::work::NewItem;
use super::{Ledger, Numbered};
use crate::domain::ids::HoldId;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Priority, Reason, Recipient, WorkKind};
use crate::store::columns::{Columns, facts, hold};
use crate::store::emit::Move;
use crate::store::engine::{Args, Engine, args, ids, ints, micros, texts};
use crate::store::rows::{Hold, HoldRow, HoldScope, HoldState, HoldThen, MessageFacts, OnRelease};
use crate::store::{Holds, Result, StoreError, words};

/// Messages that go in one transaction.
const AT_ONCE: u32 = 2_000;
/// Transactions that whoever ends a hold waits for; the workers do the rest.
const ROUNDS: u32 = 10;
/// A decision that was under way when a hold ended has been written by then: no statement takes longer.
const STRAGGLERS: SignedDuration = SignedDuration::from_secs(90);
/// What waits under a hold that this program cannot read is asked about again after so long: a newer one may know better.
const UNREAD: SignedDuration = SignedDuration::from_mins(1);

const END: &str = "
UPDATE holds
SET released_at = COALESCE(released_at, now()), released_by = $2, ended_as = COALESCE($3, ended_as, on_release)
WHERE id = $1 AND settled_at IS NULL
  AND ((released_at IS NULL AND (until IS NULL OR until > now()))
       OR ($3 IS NOT NULL AND COALESCE(ended_as, on_release) = 'review'))
RETURNING ended_as, cause, scope, value, placed_at";

/// Held by the hold, and in nobody's hands.
macro_rules! held {
    ($columns:expr) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM messages m WHERE m.waits_under = $1 AND m.lease_token IS NULL ",
            "LIMIT $2 {skip locked}"
        )
    };
}

const WAKE: &str = concat!(
    "UPDATE messages SET due_at = now(), held_by = NULL WHERE id IN (",
    held!("m.id"),
    ") RETURNING id"
);

/// Those of which no attempt may have reached anybody, as a cancel would take them back.
const DROP: &str = "
UPDATE messages SET status = 'expired', due_at = NULL, held_by = NULL, changed_at = now(), seq = seq + 1
WHERE id = ANY($1) AND status IN ('accepted', 'scheduled', 'held', 'sending')
  AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = messages.id AND a.status <> 'failed')
RETURNING id";

/// What had left already is followed by nothing more.
const STOP: &str = "
UPDATE messages SET held_by = NULL, due_at = CASE WHEN messages.status = 'sending' THEN now() END, status = input.status, seq = seq + input.told,
    changed_at = CASE WHEN input.told > 0 THEN now() ELSE changed_at END,
    reason = CASE WHEN messages.status = 'unknown' THEN 'outcome_unknown' ELSE reason END
FROM {input} WHERE messages.id = input.id";

/// How something under way ends that is dropped.
#[derive(Clone, Copy, Debug)]
struct End {
    status: MessageStatus,
    /// Nothing more is heard of it.
    told: bool,
}

/// A plan is over with what got through; what a provider had and could not deliver has failed; what may have arrived
/// stays unknown.
fn under_way(row: &impl Columns) -> Result<End> {
    let (status, awaits) = (row.word(17, MessageStatus::from_word)?, row.flag(18)?);
    Ok(match status {
        MessageStatus::Sent if !row.flag(20)? => End { status: MessageStatus::Failed, told: true },
        MessageStatus::Sent | MessageStatus::Delivered => End { status, told: !awaits },
        status => End { status, told: false },
    })
}

#[async_trait]
impl<E: Engine> Holds for Ledger<E> {
    async fn place_hold(&self, hold: &Hold) -> Result<()> {
        let mut tx = self.engine.begin().await?;
        Self::write_hold(&mut tx, hold).await?;
        E::commit(tx).await
    }

    async fn release_hold(&self, id: HoldId, by: &str, then: Option<HoldThen>) -> Result<bool> {
        let said = then.map(|then| match then {
            HoldThen::Send => OnRelease::Send.as_str(),
            HoldThen::Drop => OnRelease::Expire.as_str(),
        });
        let mut tx = self.engine.begin().await?;
        if then != Some(HoldThen::Drop) && Self::asked_for_it(&mut tx, id, by).await? {
            return Ok(false);
        }
        let rows = E::run(&mut tx, END, args![id.0, by, said]).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        let end = row.word(0, OnRelease::from_word)?;
        if row.text(1)? == Reason::SurgeHold.as_str() && end == OnRelease::Expire {
            let scope = row.word(2, HoldScope::from_word)?;
            Self::discount_surge(&mut tx, scope, row.text(3)?, row.time(4)?).await?;
        }
        if end != OnRelease::Review {
            self.close_items_of_hold(&mut tx, id.0, by).await?;
        }
        E::commit(tx).await?;
        for _ in 0..ROUNDS {
            if self.let_go(id.0, end, AT_ONCE).await? < AT_ONCE {
                break;
            }
        }
        Ok(true)
    }

    async fn holds(&self) -> Result<Vec<HoldRow>> {
        let rows = self
            .engine
            .read(
                "SELECT h.id, h.scope, h.value, h.cause, h.reason, h.placed_by, h.placed_at, h.until, h.on_release,
                     h.released_at IS NULL AND (h.until IS NULL OR h.until > now()),
                     (SELECT count(*) FROM messages m WHERE m.waits_under = h.id)
                 FROM holds h
                 WHERE h.settled_at IS NULL AND ((h.released_at IS NULL AND (h.until IS NULL OR h.until > now()))
                     OR COALESCE(h.ended_as, h.on_release) = 'review')
                 ORDER BY h.placed_at, h.id",
                Args::none(),
            )
            .await?;
        let mut holds = Vec::with_capacity(rows.len());
        for row in &rows {
            let state = if row.flag(9)? { HoldState::InForce } else { HoldState::Review };
            let hold = hold(row).or_else(|_| widest(row))?;
            let asked_by = self.askers(&hold).await?;
            let standing = HoldRow { hold, state, held: row.count(10)?, asked_by };
            if state == HoldState::InForce || standing.held > 0 {
                holds.push(standing);
            }
        }
        Ok(holds)
    }

    async fn settle_holds(&self, limit: u32) -> Result<u32> {
        let ended = self
            .engine
            .read(
                "SELECT id, COALESCE(ended_as, on_release), COALESCE(released_at, until) < now() - $1 * {us} FROM holds
                 WHERE settled_at IS NULL AND (released_at IS NOT NULL OR until <= now())
                     AND (COALESCE(ended_as, on_release) <> 'review' OR NOT EXISTS (
                         SELECT 1 FROM work_items w WHERE w.hold_id = holds.id AND w.kind = 'hold_review'))
                 ORDER BY placed_at LIMIT 100",
                args![micros(STRAGGLERS)],
            )
            .await?;
        let mut total = 0;
        for row in &ended {
            let id = row.id(0)?;
            let Ok(end) = row.word(1, OnRelease::from_word) else {
                tracing::warn!(hold = %id, "how a hold ends is left to a newer program");
                continue;
            };
            let moved = self.let_go(id, end, limit.min(AT_ONCE)).await?;
            total += moved;
            if moved == 0 && row.flag(2)? {
                self.settle_if_empty(id).await?;
            }
        }
        Ok(total)
    }
}

impl<E: Engine> Ledger<E> {
    /// False: the same surge is held already.
    pub(super) async fn write_hold(tx: &mut E::Tx, hold: &Hold) -> Result<bool> {
        let rows = E::run(
            tx,
            "INSERT INTO holds (id, scope, value, cause, reason, placed_by, placed_at, until, on_release)
             VALUES ($1, $2, $3, $4, $5, $6, now(), $7, $8) ON CONFLICT DO NOTHING RETURNING id",
            args![
                hold.id.0,
                hold.scope.as_str(),
                hold.value.as_str(),
                hold.cause.as_str(),
                hold.reason.as_str(),
                hold.placed_by.as_str(),
                hold.until,
                hold.on_release.as_str(),
            ],
        )
        .await?;
        Ok(!rows.is_empty())
    }

    /// One batch of what a hold that has ended held.
    async fn let_go(&self, hold: Uuid, end: OnRelease, limit: u32) -> Result<u32> {
        let moved = match end {
            OnRelease::Send => self.engine.write(WAKE, args![hold, i64::from(limit)]).await?.len(),
            OnRelease::Expire => self.drop_held(hold, limit).await?,
            OnRelease::Review => {
                self.ask_for_review(hold).await?;
                0
            }
        };
        Ok(u32::try_from(moved).unwrap_or(u32::MAX))
    }

    /// What has left, or may have, is not called expired: nothing more of it is sent.
    async fn drop_held(&self, hold: Uuid, limit: u32) -> Result<usize> {
        const HELD: &str = held!(concat!(
            words::facts!("m."),
            ", m.reason, m.seq, m.copy_of, m.status, m.receipt_by IS NOT NULL, m.channel, ",
            words::reached!("m")
        ));
        let mut tx = self.engine.begin().await?;
        let rows = E::run(&mut tx, HELD, args![hold, i64::from(limit)]).await?;
        let all = rows.iter().map(|row| row.id(0)).collect::<Result<Vec<Uuid>>>()?;
        let dropped = E::run(&mut tx, DROP, args![all]).await?;
        let dropped = dropped.iter().map(|row| row.id(0)).collect::<Result<HashSet<Uuid>>>()?;
        let now = Self::now(&mut tx).await?;
        let mut events = Vec::with_capacity(rows.len());
        let mut ends = Vec::new();
        for row in &rows {
            let facts: MessageFacts = facts(row)?;
            let end = if dropped.contains(&facts.id.0) {
                End { status: MessageStatus::Expired, told: true }
            } else {
                let end = under_way(row)?;
                ends.push((facts.id.0, end));
                end
            };
            if !end.told {
                continue;
            }
            let reason = row.maybe_word(14, Reason::from_word)?.unwrap_or(Reason::OperatorHold);
            let recipient = row.maybe_id(16)?.map_or(Recipient::Patient, |_| Recipient::Proxy);
            let channel = row.maybe_word(19, Channel::from_word)?;
            let to = Move { recipient, channel, ..Move::bare(end.status, Some(reason), now) };
            let event = self.emitter.message(&facts, &to);
            let seq = row.count::<u32>(15)?.saturating_add(1);
            events.extend(event.map(|event| Numbered { message: Some(facts.id), seq, event }));
        }
        let batch = vec![
            ids("id", &ends, |(id, _)| *id),
            texts("status", &ends, |(_, end)| end.status.as_str()),
            ints("told", &ends, |(_, end)| i64::from(end.told)),
        ];
        E::run(&mut tx, STOP, Args::none().batch(batch)).await?;
        self.insert_events(&mut tx, &events).await?;
        E::commit(tx).await?;
        Ok(rows.len())
    }

    async fn ask_for_review(&self, hold: Uuid) -> Result<()> {
        let waiting =
            self.engine.read("SELECT 1 FROM messages WHERE waits_under = $1 LIMIT 1", args![hold]).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let mut tx = self.engine.begin().await?;
        let item = NewItem { hold: Some(hold), ..NewItem::bare(WorkKind::HoldReview, Priority::Normal) };
        self.open_items(&mut tx, &[item]).await?;
        E::commit(tx).await
    }

    async fn settle_if_empty(&self, hold: Uuid) -> Result<()> {
        let mut tx = self.engine.begin().await?;
        let settled = E::run(
            &mut tx,
            "UPDATE holds SET settled_at = now() WHERE id = $1 AND settled_at IS NULL
                 AND NOT EXISTS (SELECT 1 FROM messages WHERE waits_under = $1)
             RETURNING id",
            args![hold],
        )
        .await?;
        if !settled.is_empty() {
            self.close_items_of_hold(&mut tx, hold, super::work::ITSELF).await?;
        }
        E::commit(tx).await
    }

    pub(super) async fn active_holds(&self) -> Result<Vec<Hold>> {
        let rows = self
            .engine
            .read(
                "SELECT id, scope, value, cause, reason, placed_by, placed_at, until, on_release, now() FROM holds
                 WHERE released_at IS NULL AND (until IS NULL OR until > now()) ORDER BY placed_at, id",
                Args::none(),
            )
            .await?;
        rows.iter().map(|row| hold(row).or_else(|error| unread(row, &error))).collect()
    }
}

/// A hold with a word that this program does not know, as a newer one may place it, stops all that it may be meant to stop.
fn widest(row: &impl Columns) -> Result<Hold> {
    Ok(Hold {
        id: HoldId(row.id(0)?),
        scope: row.word(1, HoldScope::from_word).unwrap_or(HoldScope::All),
        value: row.text(2)?.to_owned(),
        // It lets nothing by that its scope covers.
        cause: Reason::OperatorHold,
        reason: row.text(4)?.to_owned(),
        placed_by: row.text(5)?.to_owned(),
        placed_at: row.time(6)?,
        until: row.maybe_time(7)?,
        on_release: row.word(8, OnRelease::from_word).unwrap_or(OnRelease::Review),
    })
}

/// The same of a hold in force: nothing goes out that it may be meant to stop.
fn unread(row: &impl Columns, error: &StoreError) -> Result<Hold> {
    let hold = widest(row)?;
    tracing::error!(
        hold = %hold.id, %error,
        "a hold has a word that this program does not know, and stops more here than it is meant to"
    );
    Ok(Hold { until: row.time(9)?.checked_add(UNREAD).ok(), on_release: OnRelease::Send, ..hold })
}
