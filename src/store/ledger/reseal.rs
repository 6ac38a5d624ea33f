//! Sealed columns are walked through, and what lies there in an old form is sealed anew: under another key, or for the
//! first time. Each step is a transaction of its own and looks at the beginnings of values only, so that it may run for
//! hours beside the workers, be cut at any time, and be begun again.

use async_trait::async_trait;

use super::Ledger;
use crate::store::columns::Columns;
use crate::store::engine::{Args, Column, Data, Engine, Value, ids, ints, texts};
use crate::store::reseal::{Walk, Walked};
use crate::store::sealed::{RowAt, RowKey, Sealed};
use crate::store::sealer::{Form, KeyId};
use crate::store::{Resealing, Result, StoreError};

/// A value to be written in the place of another.
struct Anew {
    at: RowAt,
    was: Stored,
    becomes: Stored,
}

/// A value as its column holds it.
enum Stored {
    Bytes(Vec<u8>),
    Text(String),
}

#[async_trait]
impl<E: Engine> Resealing for Ledger<E> {
    fn sealing(&self) -> (Form, Vec<KeyId>) {
        (self.sealer.form(), self.sealer.key_ids())
    }

    async fn look_through(&self, ask: &Walk) -> Result<Walked> {
        let (table, column, key) = ask.column.column();
        let head = if ask.column.is_text() { Form::SPELT_HEAD } else { Form::HEAD };
        let keys = key.join(", ");
        let start = ask.after.clone().unwrap_or_else(|| RowAt::before_all(ask.column));
        let (beyond, mut values) = match start.key() {
            RowKey::Id(id) => (format!("{keys} > $1"), vec![Value::from(id)]),
            RowKey::Name(name) => (format!("{keys} > $1"), vec![Value::from(name)]),
            RowKey::Number(number) => (format!("{keys} > $1"), vec![Value::from(number)]),
            RowKey::Member(list, place) => {
                (format!("({keys}) > ($1, $2)"), vec![Value::from(list), Value::from(place)])
            }
        };
        values.push(Value::from(i64::from(ask.limit)));
        let sql = format!(
            "SELECT {keys}, substr({column}, 1, {head}) FROM {table} WHERE {beyond} ORDER BY {keys} LIMIT ${}",
            values.len()
        );
        let rows = self.engine.read(sql, Args { values, ..Args::none() }).await?;
        let mut walked = Walked::default();
        let (mut old, mut last) = (Vec::new(), None);
        for row in &rows {
            let at = RowAt::of(row, ask.column)?;
            let form = if ask.column.is_text() {
                row.maybe_text(key.len())?.map_or(Form::Empty, Form::spelt)
            } else {
                row.maybe_bytes(key.len())?.map_or(Form::Empty, Form::of)
            };
            *walked.forms.entry(form).or_default() += 1;
            if form != Form::Empty && form != self.sealer.form() {
                old.push(at.clone());
            }
            last = Some(at);
        }
        if ask.reseal && !old.is_empty() {
            (walked.resealed, walked.unreadable) = self.reseal(ask.column, &old).await?;
        }
        walked.next = last.filter(|_| u32::try_from(rows.len()).is_ok_and(|seen| seen == ask.limit));
        Ok(walked)
    }
}

impl<E: Engine> Ledger<E> {
    /// Answers how many were sealed anew, and how many could not be opened.
    async fn reseal(&self, sealed: Sealed, old: &[RowAt]) -> Result<(u64, u64)> {
        let (table, column, key) = sealed.column();
        let on = |of: &str| {
            let pairs: Vec<String> = key
                .iter()
                .zip(["key_0", "key_1"])
                .map(|(k, input)| format!("{of}.{k} = input.{input}"))
                .collect();
            pairs.join(" AND ")
        };
        let keys = key.iter().map(|k| format!("t.{k}")).collect::<Vec<_>>().join(", ");
        let mut tx = self.engine.begin().await?;
        let sql = format!("SELECT {keys}, t.{column} FROM {{input}} JOIN {table} t ON {}", on("t"));
        let rows = E::run(&mut tx, sql, Args::none().batch(key_columns(old, |at| at))).await?;
        let (mut anew, mut unreadable) = (Vec::new(), 0);
        for row in &rows {
            match self.anew(sealed, row, key.len()) {
                Ok(value) => anew.extend(value),
                // The others go on: who is damaged is told at the end.
                Err(StoreError::Internal(_) | StoreError::Key(_)) => unreadable += 1,
                Err(passing) => return Err(passing),
            }
        }
        if anew.is_empty() {
            return Ok((0, unreadable));
        }
        let mut batch = key_columns(&anew, |value| &value.at);
        batch.push(stored_column("was", &anew, |value| &value.was));
        batch.push(stored_column("becomes", &anew, |value| &value.becomes));
        let sql = format!(
            "UPDATE {table} SET {column} = input.becomes FROM {{input}}
             WHERE {} AND {table}.{column} = input.was RETURNING {table}.{}",
            on(table),
            key.first().copied().unwrap_or_default()
        );
        let written = E::run(&mut tx, sql, Args::none().batch(batch)).await?;
        E::commit(tx).await?;
        Ok((u64::try_from(written.len()).unwrap_or(u64::MAX), unreadable))
    }

    /// `None`: it was erased since it was seen.
    fn anew(&self, sealed: Sealed, row: &E::Row, column: usize) -> Result<Option<Anew>> {
        let at = RowAt::of(row, sealed)?;
        let place = sealed.of(at.key());
        if sealed.is_text() {
            let Some(was) = row.maybe_text(column)?.filter(|was| !was.is_empty()) else { return Ok(None) };
            let text = self.sealer.read(place, was)?;
            let becomes = Stored::Text(self.sealer.spell(place, &text)?.into_owned());
            let was = Stored::Text(was.to_owned());
            return Ok(Some(Anew { at, was, becomes }));
        }
        let Some(was) = row.maybe_bytes(column)?.filter(|was| !was.is_empty()) else { return Ok(None) };
        let becomes = Stored::Bytes(self.sealer.seal(place, &self.sealer.open(place, was)?)?);
        let was = Stored::Bytes(was.to_owned());
        Ok(Some(Anew { at, was, becomes }))
    }
}

impl RowAt {
    /// Before the first row of a column.
    fn before_all(sealed: Sealed) -> Self {
        match sealed.column().2 {
            ["id"] if sealed.is_named() => Self::Name(String::new()),
            ["id"] => Self::Id(uuid::Uuid::nil()),
            ["ord"] => Self::Number(i64::MIN),
            [_, _] => Self::Member(String::new(), i64::MIN),
            _ => Self::Name(String::new()),
        }
    }

    /// The key that stands first in a row.
    fn of(row: &impl Columns, sealed: Sealed) -> Result<Self> {
        Ok(match Self::before_all(sealed) {
            Self::Id(_) => Self::Id(row.id(0)?),
            Self::Name(_) => Self::Name(row.text(0)?.to_owned()),
            Self::Number(_) => Self::Number(row.int(0)?),
            Self::Member(..) => Self::Member(row.text(0)?.to_owned(), row.int(1)?),
        })
    }
}

/// The keys of rows as columns `key_0` and, where there are two, `key_1`.
fn key_columns<'a, T>(rows: &'a [T], of: impl Fn(&'a T) -> &'a RowAt + Copy) -> Vec<Column<'a>> {
    let first = rows.first().map(of);
    let name = |row: &'a T| match of(row).key() {
        RowKey::Name(name) | RowKey::Member(name, _) => name,
        RowKey::Id(_) | RowKey::Number(_) => "",
    };
    let number = |row: &'a T| match of(row).key() {
        RowKey::Number(number) | RowKey::Member(_, number) => number,
        RowKey::Id(_) | RowKey::Name(_) => 0,
    };
    let id = |row: &'a T| match of(row).key() {
        RowKey::Id(id) => id,
        _ => uuid::Uuid::nil(),
    };
    match first {
        None => Vec::new(),
        Some(RowAt::Id(_)) => vec![ids("key_0", rows, id)],
        Some(RowAt::Name(_)) => vec![texts("key_0", rows, name)],
        Some(RowAt::Number(_)) => vec![ints("key_0", rows, number)],
        Some(RowAt::Member(..)) => vec![texts("key_0", rows, name), ints("key_1", rows, number)],
    }
}

fn stored_column<'a>(
    name: &'static str,
    rows: &'a [Anew],
    of: impl Fn(&'a Anew) -> &'a Stored,
) -> Column<'a> {
    let (mut bytes, mut texts) = (Vec::new(), Vec::new());
    for row in rows {
        match of(row) {
            Stored::Bytes(value) => bytes.push(value.clone()),
            Stored::Text(value) => texts.push(Some(value.as_str())),
        }
    }
    Column { name, data: if texts.is_empty() { Data::Bytes(bytes) } else { Data::Text(texts) } }
}
