//! Rows read back: one reading for both databases.

use jiff::Timestamp;
use uuid::Uuid;

use super::rows::{Hold, HoldScope, MessageFacts, OnRelease, OutboxEvent, WorkItem};
use super::{Result, StoreError};
use crate::domain::ids::{
    About, CampaignId, HoldId, JobId, MessageId, PatientId, ReplyId, SiteId, SourceName, TemplateName,
    WorkItemId,
};
use crate::domain::words::{Priority, Purpose, Reason, WorkKind, WorkOutcome, WorkState};

/// A row whose columns are read by their place.
pub trait Columns: Send + Sync + Sized {
    /// Text that may be NULL.
    ///
    /// # Errors
    /// As all of them: the column does not hold what is asked for.
    fn maybe_text(&self, column: usize) -> Result<Option<&str>>;
    /// Bytes that may be NULL.
    ///
    /// # Errors
    /// See above.
    fn maybe_bytes(&self, column: usize) -> Result<Option<&[u8]>>;
    /// A whole number that may be NULL.
    ///
    /// # Errors
    /// See above.
    fn maybe_int(&self, column: usize) -> Result<Option<i64>>;
    /// A truth.
    ///
    /// # Errors
    /// See above.
    fn flag(&self, column: usize) -> Result<bool>;
    /// An id that may be NULL.
    ///
    /// # Errors
    /// See above.
    fn maybe_id(&self, column: usize) -> Result<Option<Uuid>>;
    /// A time that may be NULL.
    ///
    /// # Errors
    /// See above.
    fn maybe_time(&self, column: usize) -> Result<Option<Timestamp>>;

    /// Text.
    ///
    /// # Errors
    /// See above.
    fn text(&self, column: usize) -> Result<&str> {
        there(column, self.maybe_text(column)?)
    }
    /// Bytes.
    ///
    /// # Errors
    /// See above.
    fn bytes(&self, column: usize) -> Result<&[u8]> {
        there(column, self.maybe_bytes(column)?)
    }
    /// A whole number.
    ///
    /// # Errors
    /// See above.
    fn int(&self, column: usize) -> Result<i64> {
        there(column, self.maybe_int(column)?)
    }
    /// An id.
    ///
    /// # Errors
    /// See above.
    fn id(&self, column: usize) -> Result<Uuid> {
        there(column, self.maybe_id(column)?)
    }
    /// A time.
    ///
    /// # Errors
    /// See above.
    fn time(&self, column: usize) -> Result<Timestamp> {
        there(column, self.maybe_time(column)?)
    }
    /// A whole number of a narrower kind.
    ///
    /// # Errors
    /// See above.
    fn count<T: TryFrom<i64>>(&self, column: usize) -> Result<T> {
        T::try_from(self.int(column)?)
            .map_err(|_| StoreError::Internal(format!("column {column} is out of range")))
    }
    /// A word of a closed set, or a name.
    ///
    /// # Errors
    /// See above.
    fn word<T>(&self, column: usize, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
        there(column, self.maybe_word(column, parse)?)
    }
    /// The same where it may be NULL or empty.
    ///
    /// # Errors
    /// See above.
    fn maybe_word<T>(&self, column: usize, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        match self.maybe_text(column)? {
            None | Some("") => Ok(None),
            Some(text) => parse(text)
                .map(Some)
                .ok_or_else(|| StoreError::Internal(format!("column {column} holds no word that is known"))),
        }
    }
}

fn there<T>(column: usize, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| StoreError::Internal(format!("column {column} is empty")))
}

/// Gives a row type its [`Columns`]: how a time and an id are stored is each database's own.
macro_rules! columns {
    ($row:ty, $time:ty => $to_time:expr, $id:ty => $to_id:expr) => {
        impl $crate::store::columns::Columns for $row {
            fn maybe_text(&self, column: usize) -> $crate::store::Result<Option<&str>> {
                self.try_get(column).map_err($crate::store::fault::fault)
            }
            fn maybe_bytes(&self, column: usize) -> $crate::store::Result<Option<&[u8]>> {
                self.try_get(column).map_err($crate::store::fault::fault)
            }
            // Unchecked, because a count is a wider number than the column that is counted; what is read is
            // checked by its length.
            fn maybe_int(&self, column: usize) -> $crate::store::Result<Option<i64>> {
                self.try_get_unchecked(column).map_err($crate::store::fault::fault)
            }
            fn flag(&self, column: usize) -> $crate::store::Result<bool> {
                self.try_get(column).map_err($crate::store::fault::fault)
            }
            fn maybe_id(&self, column: usize) -> $crate::store::Result<Option<uuid::Uuid>> {
                let id: Option<$id> = self.try_get(column).map_err($crate::store::fault::fault)?;
                id.map($to_id).transpose()
            }
            fn maybe_time(&self, column: usize) -> $crate::store::Result<Option<jiff::Timestamp>> {
                let time: Option<$time> = self.try_get(column).map_err($crate::store::fault::fault)?;
                time.map($to_time).transpose()
            }
        }
    };
}
pub(super) use columns;

/// A priority by its number.
fn priority(row: &impl Columns, column: usize) -> Result<Priority> {
    let number: usize = row.count(column)?;
    there(column, Priority::ALL.get(number).copied())
}

/// Reads the first 14 columns.
pub(super) fn facts(row: &impl Columns) -> Result<MessageFacts> {
    Ok(MessageFacts {
        id: MessageId(row.id(0)?),
        source: row.word(1, SourceName::parse)?,
        job_id: row.word(2, JobId::parse)?,
        patient_id: row.word(3, PatientId::parse)?,
        template: row.word(4, TemplateName::parse)?,
        purpose: row.word(5, Purpose::from_word)?,
        priority: priority(row, 6)?,
        about: row.maybe_word(7, About::parse)?,
        site: row.maybe_word(8, SiteId::parse)?,
        campaign_id: row.maybe_word(9, CampaignId::parse)?,
        correlation_id: row.maybe_text(10)?.map(str::to_owned),
        test: row.flag(11)?,
        is_change: row.flag(12)?,
        retry_of: row.maybe_id(13)?.map(MessageId),
    })
}

/// `id, scope, value, cause, reason, placed_by, placed_at, until, on_release`.
pub(super) fn hold(row: &impl Columns) -> Result<Hold> {
    Ok(Hold {
        id: HoldId(row.id(0)?),
        scope: row.word(1, HoldScope::from_word)?,
        value: row.text(2)?.to_owned(),
        cause: row.word(3, Reason::from_word)?,
        reason: row.text(4)?.to_owned(),
        placed_by: row.text(5)?.to_owned(),
        placed_at: row.time(6)?,
        until: row.maybe_time(7)?,
        on_release: row.word(8, OnRelease::from_word)?,
    })
}

/// The columns of [`work_item`], in their order.
pub(super) const WORK_ITEM: &str = "id, kind, priority, source, site, message_id, patient_id, hold_id, opened_at, \
    due_at, claimed_by, claimed_at, closed_at, closed_by, outcome, alerts, reply_id";

/// [`WORK_ITEM`].
pub(super) fn work_item(row: &impl Columns) -> Result<WorkItem> {
    let (claimed_at, closed_at) = (row.maybe_time(11)?, row.maybe_time(12)?);
    Ok(WorkItem {
        id: WorkItemId(row.id(0)?),
        kind: row.word(1, WorkKind::from_word)?,
        state: match (closed_at, claimed_at) {
            (Some(_), _) => WorkState::Closed,
            (None, Some(_)) => WorkState::Claimed,
            (None, None) => WorkState::Open,
        },
        priority: priority(row, 2)?,
        source: row.maybe_word(3, SourceName::parse)?,
        site: row.maybe_word(4, SiteId::parse)?,
        message_id: row.maybe_id(5)?.map(MessageId),
        patient_id: row.maybe_word(6, PatientId::parse)?,
        hold_id: row.maybe_id(7)?.map(HoldId),
        opened_at: row.time(8)?,
        due_at: row.time(9)?,
        claimed_by: row.maybe_text(10)?.map(str::to_owned),
        claimed_at,
        closed_at,
        closed_by: row.maybe_text(13)?.map(str::to_owned),
        outcome: row.maybe_word(14, WorkOutcome::from_word)?,
        alerts: row.count(15)?,
        reply_id: row.maybe_id(16)?.map(ReplyId),
    })
}

/// `ord, routing_key, seq, body, shard`.
pub(super) fn outbox_event(row: &impl Columns) -> Result<OutboxEvent> {
    Ok(OutboxEvent {
        ord: row.int(0)?,
        routing_key: row.text(1)?.to_owned(),
        seq: row.count(2)?,
        body: row.text(3)?.to_owned(),
        shard: row.count(4)?,
    })
}
