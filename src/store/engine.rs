//! What the two databases have to offer to the ledger that is written on top of them.
//!
//! Statements are written once wherever both databases understand them. What they spell differently stands in the
//! text as a mark that each engine replaces:
//!
//! | mark | PostgreSQL | SQLite |
//! |---|---|---|
//! | `now()` | the start of the transaction, by the server | the injected clock, read once a transaction |
//! | `= ANY($n)` | as it stands, `$n` is an array | `IN (SELECT value FROM json_each($n))` |
//! | `{input}` | `unnest` of one array a column, or of one array of a row type, named `input` | `json_each` of one array of rows, named `input` |
//! | `{us}` | `interval '1 microsecond'` | `1` |
//! | `{today}` | the day of `now()` in UTC, counted from 1970-01-01 | the same |
//! | `{second}` | the second of `now()`, counted from 1970-01-01 | the same |
//! | `{for update}`, `{skip locked}`, `{skip locked, with its attempt}` | row locks, the second one on `m`, the third on `m` and `a` | nothing: there is one writer |
//!
//! Parameters come in this order: the single values `$1` and on, then the batch. Statements that only one database
//! can run in one piece stand in [`Statements`].

use std::borrow::Cow;
use std::fmt::Debug;

use jiff::Timestamp;
use uuid::Uuid;

use super::Result;
use super::columns::Columns;

/// The text of a statement.
pub type Sql = Cow<'static, str>;

/// A database.
pub trait Engine: Debug + Send + Sync + 'static {
    /// What a statement answers.
    type Row: Columns;
    /// An open transaction.
    type Tx: Send;

    /// The statements that are this database's own.
    const STATEMENTS: &'static Statements;

    /// The newest schema that this program knows.
    const NEWEST: i64;

    /// Brings the schema up to date; safe to run from several processes at once.
    fn migrate(&self) -> impl Future<Output = Result<()>> + Send;

    /// Runs one statement that only reads.
    fn read(
        &self,
        sql: impl Into<Sql> + Send,
        args: Args<'_>,
    ) -> impl Future<Output = Result<Vec<Self::Row>>> + Send;

    /// Runs one statement as a transaction of its own.
    fn write(
        &self,
        sql: impl Into<Sql> + Send,
        args: Args<'_>,
    ) -> impl Future<Output = Result<Vec<Self::Row>>> + Send;

    /// Opens a transaction; dropped, it is rolled back.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx>> + Send;

    /// Runs one statement within it.
    fn run(
        tx: &mut Self::Tx,
        sql: impl Into<Sql> + Send,
        args: Args<'_>,
    ) -> impl Future<Output = Result<Vec<Self::Row>>> + Send;

    /// Makes it last.
    fn commit(tx: Self::Tx) -> impl Future<Output = Result<()>> + Send;
}

/// The statements that each database has in words of its own. What each takes and answers is said where it is
/// called.
#[derive(Debug)]
pub struct Statements {
    pub admit: &'static str,
    pub claim: &'static str,
    pub decide: &'static str,
    pub begin: &'static str,
    pub board: &'static str,
    pub take_company: &'static str,
    /// Takes room, and between which times a worker that lives was seen; answers the messages of leases that have ended,
    /// locked.
    pub left_behind: &'static str,
    pub settle: &'static str,
    pub reserve: &'static str,
    pub outbox: &'static str,
    pub count_arrivals: &'static str,
    pub campaign_report: &'static str,
    pub campaign_replies: &'static str,
    /// Has lease tokens and the numbers of events go on far beyond any that were given out before a restore.
    pub skip_numbers: &'static [&'static str],
}

/// The parameters of a statement.
#[derive(Debug, Default)]
pub struct Args<'a> {
    pub values: Vec<Value<'a>>,
    pub batch: Vec<Column<'a>>,
    /// Under which a database may know the rows of the batch.
    pub row_type: Option<RowType>,
}

/// The rows of a batch that is written at full speed.
#[derive(Clone, Copy, Debug)]
pub enum RowType {
    Admit,
    Begin,
    Settle,
}

/// A single parameter, or a list for `= ANY`.
#[derive(Debug)]
pub enum Value<'a> {
    Text(Option<&'a str>),
    Int(i64),
    Flag(bool),
    Id(Option<Uuid>),
    Time(Option<Timestamp>),
    Texts(Vec<&'a str>),
    Ids(Vec<Uuid>),
    Ints(Vec<i64>),
}

/// One column of a batch. All columns of a batch have the same length.
#[derive(Debug)]
pub struct Column<'a> {
    pub name: &'static str,
    pub data: Data<'a>,
}

/// The values of a column, from the first row on.
#[derive(Debug)]
pub enum Data<'a> {
    Text(Vec<Option<&'a str>>),
    Int(Vec<i64>),
    Flag(Vec<bool>),
    Id(Vec<Option<Uuid>>),
    Time(Vec<Option<Timestamp>>),
    Bytes(Vec<Vec<u8>>),
}

impl Data<'_> {
    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Int(values) => values.len(),
            Self::Flag(values) => values.len(),
            Self::Id(values) => values.len(),
            Self::Time(values) => values.len(),
            Self::Bytes(values) => values.len(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> Args<'a> {
    /// No parameters.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Single values only.
    #[must_use]
    pub fn of<const N: usize>(values: [Value<'a>; N]) -> Self {
        Self { values: values.into(), ..Self::default() }
    }

    /// Adds a batch.
    #[must_use]
    pub fn batch(mut self, batch: Vec<Column<'a>>) -> Self {
        self.batch = batch;
        self
    }

    /// Adds a batch of these rows, with all of their columns in their order.
    #[must_use]
    pub fn rows(self, row_type: RowType, batch: Vec<Column<'a>>) -> Self {
        Self { batch, row_type: Some(row_type), ..self }
    }
}

/// Single values as parameters, in order.
macro_rules! args {
    ($($value:expr),* $(,)?) => {
        $crate::store::engine::Args::of([$($crate::store::engine::Value::from($value)),*])
    };
}
pub(super) use args;

macro_rules! from {
    ($($type:ty => $value:ident => $into:expr;)+) => {
        $(impl<'a> From<$type> for Value<'a> {
            fn from($value: $type) -> Self {
                $into
            }
        })+
    };
}

from! {
    &'a str => value => Self::Text(Some(value));
    Option<&'a str> => value => Self::Text(value);
    i64 => value => Self::Int(value);
    bool => value => Self::Flag(value);
    Uuid => value => Self::Id(Some(value));
    Option<Uuid> => value => Self::Id(value);
    Timestamp => value => Self::Time(Some(value));
    Option<Timestamp> => value => Self::Time(value);
    Vec<&'a str> => value => Self::Texts(value);
    Vec<Uuid> => value => Self::Ids(value);
    Vec<i64> => value => Self::Ints(value);
}

/// The cells of a column. By reference to what reads them: it is compiled once for each kind of row, not for each column.
fn cells<'a, T, C>(rows: &'a [T], of: &dyn Fn(&'a T) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}

/// A column of texts.
pub fn texts<'a, T>(name: &'static str, rows: &'a [T], of: impl Fn(&'a T) -> &'a str) -> Column<'a> {
    maybe_texts(name, rows, |row| Some(of(row)))
}

/// A column of texts, some of them NULL.
pub fn maybe_texts<'a, T>(
    name: &'static str,
    rows: &'a [T],
    of: impl Fn(&'a T) -> Option<&'a str>,
) -> Column<'a> {
    Column { name, data: Data::Text(cells(rows, &of)) }
}

/// A column of whole numbers.
pub fn ints<'a, T>(name: &'static str, rows: &'a [T], of: impl Fn(&'a T) -> i64) -> Column<'a> {
    Column { name, data: Data::Int(cells(rows, &of)) }
}

/// A column of truths.
pub fn flags<'a, T>(name: &'static str, rows: &'a [T], of: impl Fn(&'a T) -> bool) -> Column<'a> {
    Column { name, data: Data::Flag(cells(rows, &of)) }
}

/// A column of ids.
pub fn ids<'a, T>(name: &'static str, rows: &'a [T], of: impl Fn(&'a T) -> Uuid) -> Column<'a> {
    maybe_ids(name, rows, |row| Some(of(row)))
}

/// A column of ids, some of them NULL.
pub fn maybe_ids<'a, T>(name: &'static str, rows: &'a [T], of: impl Fn(&'a T) -> Option<Uuid>) -> Column<'a> {
    Column { name, data: Data::Id(cells(rows, &of)) }
}

/// A column of times, some of them NULL.
pub fn times<'a, T>(
    name: &'static str,
    rows: &'a [T],
    of: impl Fn(&'a T) -> Option<Timestamp>,
) -> Column<'a> {
    Column { name, data: Data::Time(cells(rows, &of)) }
}

/// A column of bytes.
pub fn bytes<'a, T>(name: &'static str, rows: &'a [T], of: impl Fn(&'a T) -> Vec<u8>) -> Column<'a> {
    Column { name, data: Data::Bytes(cells(rows, &of)) }
}

/// A column of bytes that may fail to be made.
///
/// # Errors
/// The first that fails.
pub fn try_bytes<'a, T>(
    name: &'static str,
    rows: &'a [T],
    of: impl Fn(&'a T) -> Result<Vec<u8>>,
) -> Result<Column<'a>> {
    Ok(Column { name, data: Data::Bytes(rows.iter().map(of).collect::<Result<_>>()?) })
}

/// A span in microseconds, as statements add it to a time.
pub fn micros(span: jiff::SignedDuration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
