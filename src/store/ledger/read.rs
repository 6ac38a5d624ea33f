//! Look-ups for people and callers.

use jiff::SignedDuration;
use uuid::Uuid;

use super::Ledger;
use crate::domain::ids::{AttemptId, HoldId, MessageId, ProviderName, WorkerId};
use crate::domain::receipt::Report;
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Channel, Reason, Recipient, WorkKind};
use crate::store::columns::{Columns, facts};
use crate::store::engine::{Args, Engine, Value, args};
use crate::store::rows::{
    AttemptRow, Counts, EventRow, Failure, JobBody, MessageCount, MessageFilter, MessageRow, MessagesPage,
    WorkerRow,
};
use crate::store::sealed::Sealed;
use crate::store::{Result, words};

/// For so long a worker that is gone is still shown.
const SHOWN: SignedDuration = SignedDuration::from_hours(24);

/// A `SELECT` that is put together condition by condition.
pub(super) struct Query<'a> {
    sql: String,
    values: Vec<Value<'a>>,
}

impl<'a> Query<'a> {
    /// `sql` ends in a `WHERE` that more conditions can follow.
    pub(super) fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), values: Vec::new() }
    }

    /// Adds a condition; `?` stands for its value.
    pub(super) fn and(&mut self, condition: &str, value: impl Into<Value<'a>>) {
        self.sql.push_str(" AND ");
        self.push(condition, value.into());
    }

    /// Adds a condition where there is a value for it.
    pub(super) fn and_if(&mut self, condition: &str, value: Option<impl Into<Value<'a>>>) {
        if let Some(value) = value {
            self.and(condition, value);
        }
    }

    /// Adds what may hold instead of the condition before it; `?` stands for its value.
    fn or(&mut self, condition: &str, value: impl Into<Value<'a>>) {
        self.sql.push_str(" OR ");
        self.push(condition, value.into());
    }

    /// Adds text that is ours.
    pub(super) fn text(&mut self, text: &str) {
        self.sql.push_str(text);
    }

    /// Ends it: in which order, and at most 1,000 rows.
    pub(super) fn limit(&mut self, order: &str, limit: u32) {
        self.push(&format!(" {order} LIMIT ?"), Value::Int(i64::from(limit.clamp(1, 1000))));
    }

    pub(super) fn parts(self) -> (String, Args<'a>) {
        (self.sql, Args { values: self.values, ..Args::none() })
    }

    /// Adds text in which `?` stands for its value.
    pub(super) fn push(&mut self, text: &str, value: Value<'a>) {
        self.values.push(value);
        self.sql.push_str(&text.replace('?', &format!("${}", self.values.len())));
    }
}

impl<E: Engine> Ledger<E> {
    pub(super) async fn page_among(&self, filter: &MessageFilter, walk: u32) -> Result<MessagesPage> {
        let looked_to = if is_walked(filter) { self.end_of_walk(filter, walk).await? } else { None };
        let rows = self.list_messages(filter, looked_to).await?;
        Ok(MessagesPage { rows, looked_to })
    }

    /// The last one of a walk, if it ends before the messages do.
    async fn end_of_walk(&self, filter: &MessageFilter, walk: u32) -> Result<Option<MessageId>> {
        let mut q = Query::new("SELECT m.id FROM messages m WHERE true");
        if let Some(status) = filter.status.filter(|status| TROUBLE.contains(status)) {
            q.text(&format!(" AND m.trouble = '{status}'"));
        }
        in_time(&mut q, "m.id", filter, None);
        // One more than the last of the walk, so that what follows is not empty.
        q.text(&format!(" ORDER BY m.id DESC LIMIT 2 OFFSET {}", walk.saturating_sub(1)));
        let (sql, args) = q.parts();
        let rows = self.engine.read(sql, args).await?;
        match rows.as_slice() {
            [last, _] => Ok(Some(MessageId(last.id(0)?))),
            _ => Ok(None),
        }
    }

    /// Those from `looked_to` on.
    pub(super) async fn list_messages(
        &self,
        filter: &MessageFilter,
        looked_to: Option<MessageId>,
    ) -> Result<Vec<MessageRow>> {
        let mut q = Query::new(select_messages("true"));
        let job_ids: Vec<&str> = filter.job_ids.iter().map(|j| j.as_str()).collect();
        let source = filter.source.as_ref().map(|x| x.as_str());
        match source {
            // By key, so that a look-up by the caller's names does not walk the messages.
            Some(source) if !job_ids.is_empty() => {
                q.and("m.id IN (SELECT message_id FROM job_keys WHERE job_id = ANY(?)", job_ids);
                q.and("source = ?)", source);
            }
            // Of every source, each by key.
            None if !job_ids.is_empty() => {
                let of_all =
                    "m.id IN (SELECT k.message_id FROM sources s JOIN job_keys k ON k.source = s.name
                    WHERE k.job_id = ANY(?))";
                q.and(of_all, job_ids);
            }
            None if filter.about.is_some() => q.text(" AND m.source IN (SELECT name FROM sources)"),
            _ => q.and_if("m.source = ?", source),
        }
        q.and_if("m.about = ?", filter.about.as_ref().map(|x| x.as_str()));
        // The word itself, so that the index of those that people look for can be used.
        if let Some(status) = filter.status {
            let column = match () {
                () if filter.campaign_id.is_some() => "campaign_status",
                () if TROUBLE.contains(&status) => "trouble",
                () => "status",
            };
            q.text(&format!(" AND m.{column} = '{status}'"));
        }
        q.and_if("m.reason = ?", filter.reason.map(Reason::as_str));
        q.and_if("m.channel = ?", filter.channel.map(Channel::as_str));
        q.and_if("m.template = ?", filter.template.as_ref().map(|x| x.as_str()));
        q.and_if("m.site = ?", filter.site.as_ref().map(|x| x.as_str()));
        let sites: Vec<&str> = filter.sites.iter().map(|site| site.as_str()).collect();
        q.and_if("m.site = ANY(?)", Some(sites).filter(|sites| !sites.is_empty()));
        if let Some(provider) = &filter.provider {
            q.and(
                "EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = m.id AND a.provider = ?",
                provider.as_str(),
            );
            // The planner may go through the attempts first: no further than through the messages.
            in_time(&mut q, "a.message_id", filter, looked_to);
            q.text(")");
        }
        q.and_if("m.campaign_id = ?", filter.campaign_id.as_ref().map(|x| x.as_str()));
        q.and_if("m.patient_id = ?", filter.patient_id.as_ref().map(|x| x.as_str()));
        if !filter.copies_of.is_empty() {
            let of: Vec<Uuid> = filter.copies_of.iter().map(|id| id.0).collect();
            q.and("m.copy_of = ANY(?)", of);
        }
        q.and_if("m.merged_into = ?", filter.merged_into.map(|id| id.0));
        in_time(&mut q, "m.id", filter, looked_to);
        if filter.untried {
            q.text(
                " AND m.expires_at > now() AND NOT EXISTS (SELECT 1 FROM messages r WHERE r.retry_of = m.id)",
            );
        }
        q.and_if("m.changed_at >= ?", filter.changed_since);
        if let (Some(since), Some(after)) = (filter.changed_since, filter.changed_after) {
            q.and("(m.changed_at > ?", since);
            q.or("m.id > ?)", after.0);
        }
        q.and_if("m.changed_at < ?", filter.changed_before);
        let order = match filter.changed_since {
            Some(_) => "ORDER BY m.changed_at, m.id",
            None => "ORDER BY m.id DESC",
        };
        q.limit(order, filter.limit);
        let (sql, args) = q.parts();
        let rows = self.engine.read(sql, args).await?;
        rows.iter().map(|row| self.message_row(row)).collect()
    }

    pub(super) async fn one_message(&self, id: MessageId) -> Result<Option<MessageRow>> {
        let rows = self.engine.read(select_messages("m.id = $1"), args![id.0]).await?;
        rows.first().map(|row| self.message_row(row)).transpose()
    }

    pub(super) async fn message_in(&self, tx: &mut E::Tx, id: Uuid) -> Result<Option<MessageRow>> {
        let rows = E::run(tx, select_messages("m.id = $1"), args![id]).await?;
        rows.first().map(|row| self.message_row(row)).transpose()
    }

    fn message_row(&self, row: &E::Row) -> Result<MessageRow> {
        // What cannot be read hides nothing else of it, nor the other rows of a page: whoever is to send it tells.
        let read = self.job_body(row, 25);
        Ok(MessageRow {
            facts: facts(row)?,
            status: row.word(14, MessageStatus::from_word)?,
            reason: row.maybe_word(15, Reason::from_word)?,
            channel: row.maybe_word(16, Channel::from_word)?,
            step: row.count(17)?,
            tries: row.count(18)?,
            seq: row.count(19)?,
            accepted_at: row.time(20)?,
            changed_at: row.time(21)?,
            expires_at: row.time(22)?,
            due_at: row.maybe_time(23)?,
            explanation: self.explained(row)?,
            copy_of: row.maybe_id(27)?.map(MessageId),
            unread: read.is_err(),
            body: read.unwrap_or_else(|_| JobBody::erased()),
            receipt_by: row.maybe_time(26)?,
            merged_into: row.maybe_id(28)?.map(MessageId),
            held_by: row.maybe_id(29)?.map(HoldId),
        })
    }

    /// Why it stands so, or why its last attempt went. What cannot be read is left out.
    fn explained(&self, row: &E::Row) -> Result<Option<String>> {
        let (place, stored) = match (row.maybe_text(24)?, row.maybe_id(30)?, row.maybe_text(31)?) {
            (Some(own), ..) => (Sealed::MessageExplanation.of(row.id(0)?), own),
            (None, Some(attempt), Some(of_attempt)) => (Sealed::AttemptExplanation.of(attempt), of_attempt),
            _ => return Ok(None),
        };
        Ok(self.sealer.read(place, stored).ok())
    }

    pub(super) async fn list_attempts(&self, id: MessageId) -> Result<Vec<AttemptRow>> {
        let rows = self
            .engine
            .read(
                "SELECT id, step, number, status, provider, channel, address, segments, locale, template_hash,
                     provider_ref, failure, code, begun_at, settled_at, recipient, report, pointer
                 FROM attempts WHERE message_id = $1 ORDER BY begun_at, id",
                args![id.0],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(AttemptRow {
                    id: AttemptId(row.id(0)?),
                    step: row.count(1)?,
                    number: row.count(2)?,
                    status: row.word(3, AttemptStatus::from_word)?,
                    provider: row.word(4, ProviderName::parse)?,
                    channel: row.word(5, Channel::from_word)?,
                    address: self.address_of(row, 0, 6)?,
                    segments: row.count(7)?,
                    locale: row.text(8)?.to_owned(),
                    pointer: row.flag(17)?,
                    template_hash: row.text(9)?.to_owned(),
                    provider_ref: row.maybe_text(10)?.map(str::to_owned),
                    failure: row.maybe_word(11, Failure::from_word)?,
                    code: row.maybe_text(12)?.map(str::to_owned),
                    begun_at: row.time(13)?,
                    settled_at: row.maybe_time(14)?,
                    recipient: row.word(15, Recipient::from_word)?,
                    report: row.maybe_word(16, Report::from_word)?,
                })
            })
            .collect()
    }

    pub(super) async fn list_events(&self, id: MessageId) -> Result<Vec<EventRow>> {
        let rows = self
            .engine
            .read(
                "SELECT seq, routing_key, created_at, NOT EXISTS (SELECT 1 FROM outbox o WHERE o.ord = events.ord)
                 FROM events WHERE message_id = $1 ORDER BY ord",
                args![id.0],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(EventRow {
                    seq: row.count(0)?,
                    routing_key: row.text(1)?.to_owned(),
                    created_at: row.time(2)?,
                    published: row.flag(3)?,
                })
            })
            .collect()
    }

    pub(super) async fn list_workers(&self) -> Result<Vec<WorkerRow>> {
        let since = self.clock().await?.checked_sub(SHOWN).unwrap_or(jiff::Timestamp::MIN);
        let rows = self
            .engine
            .read(
                "SELECT id, name, started_at, seen_at, state FROM workers WHERE seen_at > $1 ORDER BY seen_at DESC",
                args![since],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(WorkerRow {
                    id: WorkerId(row.id(0)?),
                    name: row.text(1)?.to_owned(),
                    started_at: row.time(2)?,
                    seen_at: row.time(3)?,
                    state: serde_json::from_str(row.text(4)?).unwrap_or_default(),
                })
            })
            .collect()
    }

    pub(super) async fn count(&self) -> Result<Counts> {
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

/// The statuses whose messages have an index of their own, in the order of their ids (`messages_trouble`).
const TROUBLE: [MessageStatus; 5] = [
    MessageStatus::Failed,
    MessageStatus::Unknown,
    MessageStatus::Suppressed,
    MessageStatus::Expired,
    MessageStatus::Cancelled,
];

/// Whether the messages have to be gone through one by one: the filter says more than the time, and no index answers it.
fn is_walked(filter: &MessageFilter) -> bool {
    let by_index = filter.patient_id.is_some()
        || filter.about.is_some()
        || !filter.job_ids.is_empty()
        || !filter.copies_of.is_empty()
        || filter.merged_into.is_some()
        || filter.changed_since.is_some()
        || (filter.campaign_id.is_some() && filter.status.is_some());
    let more = filter.source.is_some()
        || filter.reason.is_some()
        || filter.channel.is_some()
        || filter.template.is_some()
        || filter.site.is_some()
        || !filter.sites.is_empty()
        || filter.provider.is_some()
        || filter.campaign_id.is_some()
        || filter.untried;
    !by_index && (more || filter.status.is_some_and(|status| !TROUBLE.contains(&status)))
}

/// By the time in the id: no index on the time of acceptance is needed.
fn in_time(q: &mut Query<'_>, id: &str, filter: &MessageFilter, looked_to: Option<MessageId>) {
    let (from, to) = (format!("{id} >= ?"), format!("{id} < ?"));
    q.and_if(&to, filter.before.map(|id| id.0));
    q.and_if(&from, looked_to.map(|id| id.0));
    q.and_if(&from, filter.since.map(first_id_of));
    q.and_if(&to, filter.until.map(first_id_of));
}

/// The least id that is given out in the millisecond of an instant (RFC 9562, 5.7).
pub(super) fn first_id_of(at: jiff::Timestamp) -> Uuid {
    let millis = u128::try_from(at.as_millisecond().max(0)).unwrap_or_default();
    Uuid::from_u128(millis << 80)
}

/// The facts, and how the message stands.
fn select_messages(condition: &str) -> String {
    const SELECT: &str = concat!(
        "SELECT ",
        words::facts!("m."),
        ", m.status, m.reason, m.channel, m.step, m.tries, m.seq, m.accepted_at, m.changed_at, m.expires_at, m.due_at, ",
        "m.explanation, m.body, m.receipt_by, m.copy_of, m.merged_into, m.held_by, m.last_attempt, ",
        "(SELECT a.explanation FROM attempts a WHERE a.id = m.last_attempt AND a.message_id = m.id) FROM messages m WHERE "
    );
    format!("{SELECT}{condition}")
}
