//! Look-ups for people and callers.

use async_trait::async_trait;
use uuid::Uuid;

use super::Ledger;
use super::query::{Query, first_id_of};
use crate::domain::failure::Failure;
use crate::domain::ids::{AttemptId, HoldId, MessageId, ProviderName};
use crate::domain::receipt::Report;
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Channel, Reason, Recipient};
use crate::store::columns::{Columns, facts};
use crate::store::engine::{Engine, args};
use crate::store::rows::{AttemptRow, EventRow, JobBody, MessageFilter, MessageRow, MessagesPage};
use crate::store::sealed::Sealed;
use crate::store::{Messages, Result, words};

#[async_trait]
impl<E: Engine> Messages for Ledger<E> {
    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<MessageRow>> {
        self.list_messages(filter, None).await
    }

    async fn messages_among(&self, filter: &MessageFilter, walk: u32) -> Result<MessagesPage> {
        let looked_to = if is_walked(filter) { self.end_of_walk(filter, walk).await? } else { None };
        let rows = self.list_messages(filter, looked_to).await?;
        Ok(MessagesPage { rows, looked_to })
    }

    async fn message(&self, id: MessageId) -> Result<Option<MessageRow>> {
        let rows = self.engine.read(select_messages("m.id = $1"), args![id.0]).await?;
        rows.first().map(|row| self.message_row(row)).transpose()
    }

    async fn attempts(&self, id: MessageId) -> Result<Vec<AttemptRow>> {
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

    async fn events(&self, id: MessageId) -> Result<Vec<EventRow>> {
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
}

impl<E: Engine> Ledger<E> {
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
    async fn list_messages(
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
