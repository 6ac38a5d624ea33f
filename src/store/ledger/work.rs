//! Work items: opened with what causes them or when a deadline passes, told, claimed, closed. A round may run in several
//! workers at once: each row is taken by one of them, and a message or a hold calls people once for one thing.

use std::sync::{MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::query::Query;
use super::{Ledger, Numbered};
use crate::domain::ids::{MessageId, WorkItemId};
use crate::domain::status::MessageStatus;
use crate::domain::words::{Priority, WorkEvent, WorkKind, WorkOutcome, WorkState};
use crate::store::columns::{Columns, WORK_ITEM, facts, work_item};
use crate::store::emit::Emitter;
use crate::store::engine::{Args, Engine, args, ids, ints, maybe_ids, maybe_texts, micros, texts, times};
use crate::store::rows::{Decided, MessageFacts, WorkFilter, WorkItem, WorkMove, WorkMoved, WorkSwept};
use crate::store::{Result, WorkItems, words};

/// Who closes what has settled itself.
pub(super) const ITSELF: &str = "outreachd";

/// Whether the plan of a message waits, or waited, for an answer.
macro_rules! asks {
    ($message:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = ",
            $message,
            " AND a.awaits = 'answered')"
        )
    };
}

/// Words of danger come before everything else.
macro_rules! rank {
    () => {
        "CASE kind WHEN 'safety' THEN 0 ELSE 1 END"
    };
}

const UNACKNOWLEDGED: &str = concat!(
    "SELECT ",
    words::facts!("m."),
    ", m.status, m.due_at IS NOT NULL OR ",
    asks!("m.id"),
    " FROM messages m WHERE m.ack_by <= now() ORDER BY m.ack_by LIMIT $1 {skip locked}"
);

/// What has become unknown since `$3`: all from before has its item, or needs none.
const UNKNOWN: &str = concat!(
    "SELECT ",
    words::facts!("m."),
    " FROM messages m WHERE m.unknown_since <= now() - $2 * {us} AND m.unknown_since > $3 AND NOT m.test ",
    "AND NOT EXISTS (SELECT 1 FROM work_items w WHERE w.message_id = m.id AND w.kind = 'outcome_unknown' ",
    "AND w.reply_id IS NULL) ",
    "LIMIT $1 {skip locked}"
);

const NEW: &str = "SELECT m.id FROM work_items m WHERE m.alerts = 0 ORDER BY m.id LIMIT $1 {skip locked}";

const OVERDUE: &str = "
SELECT m.id FROM work_items m
WHERE m.closed_at IS NULL AND m.claimed_at IS NULL AND m.alerts = 1 AND m.due_at <= now()
ORDER BY m.due_at LIMIT $1 {skip locked}";

/// Those that are looked at next: thousands may be open, and nothing has become of most of them.
const NEXT: &str = "
SELECT kind, id FROM work_items WHERE closed_at IS NULL AND (kind, id) > ($2, $3) ORDER BY kind, id LIMIT $1";

/// Of these, whose message has come so far that nobody need look after it.
const RESOLVED: &str = concat!(
    "SELECT m.id FROM work_items m JOIN messages x ON x.id = m.message_id
WHERE m.id = ANY($1) AND m.closed_at IS NULL AND m.alerts > 0 AND m.reply_id IS NULL AND (x.status = 'read'
    OR (x.status = 'delivered' AND x.due_at IS NULL AND m.kind <> 'came_back' AND NOT (m.kind = 'unacknowledged' AND ",
    asks!("x.id"),
    "))
    OR (m.kind = 'came_back' AND EXISTS (
        SELECT 1 FROM attempts a WHERE a.message_id = x.id AND a.status IN ('delivered', 'read')))
    OR (m.kind = 'unacknowledged' AND x.status = 'cancelled')
    OR (m.kind = 'outcome_unknown' AND x.status <> 'unknown'
        AND NOT (x.status = 'sent' AND COALESCE(x.reason, '') = 'outcome_unknown')))
{skip locked}"
);

/// How far the rounds of housekeeping have come, so that each looks at what is new or next, and not at all there is.
#[derive(Debug)]
pub(super) struct Rounds {
    /// The kind and the id of the open item that was looked at last.
    item: (String, Uuid),
    /// What had become unknown by then needs no item any more.
    unknown: Timestamp,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { item: (String::new(), Uuid::nil()), unknown: Timestamp::UNIX_EPOCH }
    }
}

/// A transaction that moved a message is seen by everybody within this time.
const SEEN: SignedDuration = SignedDuration::from_mins(5);

/// An item that is about to be opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewItem<'a> {
    pub(super) kind: WorkKind,
    pub(super) priority: Priority,
    pub(super) source: Option<&'a str>,
    pub(super) site: Option<&'a str>,
    pub(super) message: Option<Uuid>,
    pub(super) patient: Option<&'a str>,
    pub(super) hold: Option<Uuid>,
    pub(super) reply: Option<Uuid>,
}

impl<'a> NewItem<'a> {
    /// About nothing yet.
    pub(super) const fn bare(kind: WorkKind, priority: Priority) -> Self {
        Self {
            kind,
            priority,
            source: None,
            site: None,
            message: None,
            patient: None,
            hold: None,
            reply: None,
        }
    }

    pub(super) fn about(kind: WorkKind, facts: &'a MessageFacts) -> Self {
        Self {
            source: Some(facts.source.as_str()),
            site: facts.site.as_ref().map(|site| site.as_str()),
            message: Some(facts.id.0),
            patient: Some(facts.patient_id.as_str()),
            ..Self::bare(kind, facts.priority)
        }
    }
}

#[async_trait]
impl<E: Engine> WorkItems for Ledger<E> {
    async fn work_items(&self, filter: &WorkFilter) -> Result<Vec<WorkItem>> {
        let stands = match filter.state {
            None => "closed_at IS NULL",
            Some(WorkState::Open) => "closed_at IS NULL AND claimed_at IS NULL",
            Some(WorkState::Claimed) => "closed_at IS NULL AND claimed_at IS NOT NULL",
            Some(WorkState::Closed) => "closed_at IS NOT NULL",
        };
        let mut q = Query::new(format!("SELECT {WORK_ITEM} FROM work_items WHERE {stands}"));
        q.and_if("kind = ?", filter.kind.map(WorkKind::as_str));
        q.and_if("site = ?", filter.site.as_ref().map(|site| site.as_str()));
        let sites: Vec<&str> = filter.sites.iter().map(|site| site.as_str()).collect();
        q.and_if("site = ANY(?)", Some(sites).filter(|sites| !sites.is_empty()));
        let sources: Vec<&str> = filter.sources.iter().map(|source| source.as_str()).collect();
        q.and_if("source = ANY(?)", Some(sources).filter(|sources| !sources.is_empty()));
        q.and_if("message_id = ?", filter.message.map(|id| id.0));
        let closed = filter.state == Some(WorkState::Closed);
        match filter.after {
            Some(id) if closed => q.and("id < ?", id.0),
            Some(id) => {
                let Some(last) = self.work_item(id).await? else { return Ok(Vec::new()) };
                q.text(&format!(
                    " AND ({}, due_at, id) > ({}",
                    rank!(),
                    i32::from(last.kind != WorkKind::Safety)
                ));
                q.push(", ?", last.due_at.into());
                q.push(", ?)", id.0.into());
            }
            None => {}
        }
        let order = if closed { "ORDER BY id DESC" } else { concat!("ORDER BY ", rank!(), ", due_at, id") };
        q.limit(order, filter.limit);
        let (sql, args) = q.parts();
        self.engine.read(sql, args).await?.iter().map(work_item).collect()
    }

    async fn work_item(&self, id: WorkItemId) -> Result<Option<WorkItem>> {
        let sql = format!("SELECT {WORK_ITEM} FROM work_items WHERE id = $1");
        self.engine.read(sql, args![id.0]).await?.first().map(work_item).transpose()
    }

    async fn move_work(&self, id: WorkItemId, by: &str, to: WorkMove) -> Result<WorkMoved> {
        let mut tx = self.engine.begin().await?;
        let find = format!("SELECT {WORK_ITEM} FROM work_items WHERE id = $1 {{for update}}");
        let rows = E::run(&mut tx, find, args![id.0]).await?;
        let Some(item) = rows.first().map(work_item).transpose()? else { return Ok(WorkMoved::Unknown) };
        let (what, told, args) = match (to, item.state) {
            (WorkMove::Claim, WorkState::Claimed) if item.claimed_by.as_deref() == Some(by) => {
                return Ok(WorkMoved::Done(item));
            }
            (WorkMove::Claim, WorkState::Open) => {
                ("claimed_by = $2, claimed_at = now()", WorkEvent::Claimed, args![id.0, by])
            }
            (WorkMove::Release, WorkState::Claimed) => {
                ("claimed_by = NULL, claimed_at = NULL", WorkEvent::Released, args![id.0])
            }
            (WorkMove::Close(outcome), WorkState::Open | WorkState::Claimed) => {
                let what = "closed_by = $2, closed_at = now(), outcome = $3";
                (what, WorkEvent::Closed, args![id.0, by, outcome.as_str()])
            }
            _ => return Ok(WorkMoved::Refused(item)),
        };
        let now = Self::now(&mut tx).await?;
        // Whoever takes it before the first round has told of it is the first to know.
        if item.alerts == 0 {
            Self::change(&mut tx, "alerts = 1", "$1", args![id.0]).await?;
            self.tell(&mut tx, WorkEvent::Opened, std::slice::from_ref(&item), now).await?;
        }
        let moved = Self::change(&mut tx, what, "$1", args).await?;
        self.tell(&mut tx, told, &moved, now).await?;
        E::commit(tx).await?;
        Ok(moved.into_iter().next().map_or(WorkMoved::Unknown, WorkMoved::Done))
    }

    async fn sweep_work(&self, limit: u32) -> Result<WorkSwept> {
        let limit = i64::from(limit);
        let mut tx = self.engine.begin().await?;
        self.open_unacknowledged(&mut tx, limit).await?;
        self.open_unknown(&mut tx, limit).await?;
        let now = Self::now(&mut tx).await?;
        let mut swept = WorkSwept {
            opened: Self::change(&mut tx, "alerts = 1", NEW, args![limit]).await?,
            overdue: Self::change(&mut tx, "alerts = 2", OVERDUE, args![limit]).await?,
            resolved: Vec::new(),
        };
        self.tell(&mut tx, WorkEvent::Opened, &swept.opened, now).await?;
        self.tell(&mut tx, WorkEvent::Overdue, &swept.overdue, now).await?;
        let (kind, id) = self.rounds().item.clone();
        let next = E::run(&mut tx, NEXT, args![limit, kind.as_str(), id]).await?;
        let asked = next.iter().map(|row| row.id(1)).collect::<Result<Vec<Uuid>>>()?;
        swept.resolved = Self::close(&mut tx, RESOLVED, asked).await?;
        self.tell(&mut tx, WorkEvent::Closed, &swept.resolved, now).await?;
        E::commit(tx).await?;
        let last = next.last().filter(|_| next.len() as i64 == limit);
        let last = last.map(|row| Ok((row.text(0)?.to_owned(), row.id(1)?))).transpose()?;
        self.rounds().item = last.unwrap_or_else(|| Rounds::default().item);
        Ok(swept)
    }
}

impl<E: Engine> Ledger<E> {
    /// What is open already, or was, is left as it is.
    pub(super) async fn open_items(&self, tx: &mut E::Tx, items: &[NewItem<'_>]) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let now = Self::now(tx).await?;
        let batch = vec![
            ids("id", items, |_| WorkItemId::generate().0),
            texts("kind", items, |i| i.kind.as_str()),
            ints("priority", items, |i| i.priority as i64),
            maybe_texts("source", items, |i| i.source),
            maybe_texts("site", items, |i| i.site),
            maybe_ids("message_id", items, |i| i.message),
            maybe_texts("patient_id", items, |i| i.patient),
            maybe_ids("hold_id", items, |i| i.hold),
            maybe_ids("reply_id", items, |i| i.reply),
            times("due_at", items, |i| Some(self.rules.work.at(i.kind, i.priority, now))),
        ];
        E::run(
            tx,
            "INSERT INTO work_items (id, kind, priority, source, site, message_id, patient_id, hold_id, reply_id, opened_at,
                 due_at)
             SELECT id, kind, priority, source, site, message_id, patient_id, hold_id, reply_id, now(), due_at FROM {input}
             WHERE true ON CONFLICT DO NOTHING",
            Args::none().batch(batch),
        )
        .await?;
        Ok(())
    }

    /// Of these decisions, those that have ended a message with nobody reached, and those about what cannot be read.
    pub(super) async fn open_exhausted(&self, tx: &mut E::Tx, failed: &[&Decided]) -> Result<()> {
        let asked: Vec<Uuid> = failed.iter().map(|d| d.facts.id.0).collect();
        let rows = E::run(
            tx,
            "SELECT id FROM messages WHERE id = ANY($1) AND (reason = 'malformed' OR (changed_at = now()
                 AND (status = 'failed' OR (status = 'suppressed' AND copy_of IS NULL))))",
            args![asked],
        )
        .await?;
        let moved = rows.iter().map(|row| row.id(0)).collect::<Result<Vec<Uuid>>>()?;
        let items: Vec<NewItem<'_>> = failed
            .iter()
            .filter(|d| moved.contains(&d.facts.id.0))
            .map(|d| NewItem::about(WorkKind::PlanExhausted, &d.facts))
            .collect();
        self.open_items(tx, &items).await
    }

    /// Each message is looked at once, at its deadline. One that has failed has an item already, and one that was taken
    /// back needs none.
    async fn open_unacknowledged(&self, tx: &mut E::Tx, limit: i64) -> Result<()> {
        let rows = E::run(tx, UNACKNOWLEDGED, args![limit]).await?;
        let mut late = Vec::new();
        let mut looked_at = Vec::with_capacity(rows.len());
        for row in &rows {
            let facts: MessageFacts = facts(row)?;
            looked_at.push(facts.id.0);
            let status = row.word(14, MessageStatus::from_word)?;
            // What arrived is acknowledged, unless its plan asked for an answer, and whether or not that goes on.
            let waits = status == MessageStatus::Delivered && row.flag(15)?;
            use MessageStatus::{Cancelled, Delivered, Failed, Read};
            if !facts.test && (waits || !matches!(status, Delivered | Read | Failed | Cancelled)) {
                late.push(facts);
            }
        }
        if looked_at.is_empty() {
            return Ok(());
        }
        E::run(tx, "UPDATE messages SET ack_by = NULL WHERE id = ANY($1)", args![looked_at]).await?;
        let items: Vec<NewItem<'_>> =
            late.iter().map(|facts| NewItem::about(WorkKind::Unacknowledged, facts)).collect();
        self.open_items(tx, &items).await
    }

    async fn open_unknown(&self, tx: &mut E::Tx, limit: i64) -> Result<()> {
        let (deadline, from) = (self.rules.unknown_deadline, self.rounds().unknown);
        let rows = E::run(tx, UNKNOWN, args![limit, micros(deadline), from]).await?;
        if rows.is_empty() {
            let now = Self::now(tx).await?;
            self.rounds().unknown = now.checked_sub(deadline + SEEN).unwrap_or(from).max(from);
        }
        let lost = rows.iter().map(facts).collect::<Result<Vec<MessageFacts>>>()?;
        let items: Vec<NewItem<'_>> =
            lost.iter().map(|facts| NewItem::about(WorkKind::OutcomeUnknown, facts)).collect();
        self.open_items(tx, &items).await
    }

    /// Changes the items that `which` finds.
    async fn change(tx: &mut E::Tx, what: &str, which: &str, args: Args<'_>) -> Result<Vec<WorkItem>> {
        let sql = format!("UPDATE work_items SET {what} WHERE id IN ({which}) RETURNING {WORK_ITEM}");
        E::run(tx, sql, args).await?.iter().map(work_item).collect()
    }

    async fn close(tx: &mut E::Tx, which: &str, of: Vec<Uuid>) -> Result<Vec<WorkItem>> {
        let what = "closed_at = now(), closed_by = $2, outcome = $3";
        Self::change(tx, what, which, args![of, ITSELF, WorkOutcome::Resolved.as_str()]).await
    }

    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hold has ended, and with it what people had to look after.
    pub(super) async fn close_items_of_hold(&self, tx: &mut E::Tx, hold: Uuid, by: &str) -> Result<()> {
        let what = "closed_at = now(), closed_by = $2, outcome = $3, alerts = CASE alerts WHEN 0 THEN 1 ELSE alerts END";
        let which = "SELECT m.id FROM work_items m WHERE m.hold_id = $1 AND m.closed_at IS NULL";
        let closed = Self::change(tx, what, which, args![hold, by, WorkOutcome::Resolved.as_str()]).await?;
        let now = Self::now(tx).await?;
        self.tell(tx, WorkEvent::Closed, &closed, now).await
    }

    /// What is about a message takes its place in that message's sequence of events.
    async fn tell(&self, tx: &mut E::Tx, told: WorkEvent, items: &[WorkItem], now: Timestamp) -> Result<()> {
        let mut items: Vec<&WorkItem> = items.iter().collect();
        items.sort_by_key(|item| (item.message_id, item.id));
        let about: Vec<MessageId> = items.iter().filter_map(|item| item.message_id).collect();
        let mut places = Self::next_seqs(tx, &about).await?.into_iter();
        let numbered = |item: &WorkItem| Numbered {
            message: item.message_id,
            seq: item.message_id.and_then(|_| places.next()).unwrap_or(0),
            event: Emitter::work(item, told, now),
        };
        let events: Vec<Numbered> = items.into_iter().map(numbered).collect();
        self.insert_events(tx, &events).await
    }
}
