//! Statements that are put together, and the ids that tell the time.

use uuid::Uuid;

use crate::store::engine::{Args, Value};

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
    pub(super) fn or(&mut self, condition: &str, value: impl Into<Value<'a>>) {
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

/// The least id that is given out in the millisecond of an instant (RFC 9562, 5.7).
pub(super) fn first_id_of(at: jiff::Timestamp) -> Uuid {
    let millis = u128::try_from(at.as_millisecond().max(0)).unwrap_or_default();
    Uuid::from_u128(millis << 80)
}
