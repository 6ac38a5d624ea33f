//! A batch as one array of rows. The types stand in the schema: the names of their columns and the order of these are those
//! of the batch.

use std::marker::PhantomData;
use std::num::TryFromIntError;

use jiff::Timestamp;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgBindIterExt as _, PgHasArrayType, PgTypeInfo};
use sqlx::query::Query;
use sqlx::{Encode, Postgres, Type};
use uuid::Uuid;

use crate::store::engine::{Column, Data, RowType};

impl RowType {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Admit => Admit::NAME,
            Self::Begin => Begin::NAME,
            Self::Settle => Settle::NAME,
        }
    }
}

/// Adds the batch to the parameters.
pub(super) fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    of: RowType,
    batch: &[Column<'_>],
) -> Query<'q, Postgres, PgArguments> {
    match of {
        RowType::Admit => query.bind(rows::<Admit>(batch).bind_iter()),
        RowType::Begin => query.bind(rows::<Begin>(batch).bind_iter()),
        RowType::Settle => query.bind(rows::<Settle>(batch).bind_iter()),
    }
}

fn rows<'a, N>(batch: &'a [Column<'a>]) -> impl Iterator<Item = Row<'a, N>> {
    let many = batch.first().map_or(0, |column| column.data.len());
    (0..many).map(|place| Row { batch, place, of: PhantomData })
}

/// A type of the schema.
trait Named {
    const NAME: &'static str;
}

macro_rules! named {
    ($($of:ident = $name:literal),*) => {
        $(
            struct $of;

            impl Named for $of {
                const NAME: &'static str = $name;
            }
        )*
    };
}

named!(Admit = "admit_row", Begin = "begin_row", Settle = "settle_row");

struct Row<'a, N> {
    batch: &'a [Column<'a>],
    place: usize,
    of: PhantomData<N>,
}

impl<N: Named> Type<Postgres> for Row<'_, N> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name(N::NAME)
    }
}

impl<N: Named> PgHasArrayType for Row<'_, N> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of(N::NAME)
    }
}

/// As PostgreSQL's `record_send` writes it: how many columns, then the type, the length and the value of each; a length of
/// -1 is NULL. Source: PostgreSQL 15, `src/backend/utils/adt/rowtypes.c`; the types' numbers: `pg_type.dat`.
impl<N: Named> Encode<'_, Postgres> for Row<'_, N> {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let place = self.place;
        buf.extend_from_slice(&u32::try_from(self.batch.len())?.to_be_bytes());
        for column in self.batch {
            match &column.data {
                Data::Text(texts) => put(buf, TEXT, texts.get(place).copied().flatten().map(str::as_bytes))?,
                Data::Int(numbers) => put(buf, INT8, numbers.get(place).map(|number| number.to_be_bytes()))?,
                Data::Flag(truths) => put(buf, BOOL, truths.get(place).map(|truth| [u8::from(*truth)]))?,
                Data::Id(ids) => put(buf, UUID, ids.get(place).copied().flatten().map(Uuid::into_bytes))?,
                Data::Time(times) => {
                    put(buf, TIMESTAMPTZ, times.get(place).copied().flatten().map(since_2000))?
                }
                Data::Bytes(bytes) => put(buf, BYTEA, bytes.get(place).map(Vec::as_slice))?,
            }
        }
        Ok(IsNull::No)
    }
}

const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const INT8: u32 = 20;
const TEXT: u32 = 25;
const TIMESTAMPTZ: u32 = 1184;
const UUID: u32 = 2950;

fn put(buf: &mut PgArgumentBuffer, of: u32, value: Option<impl AsRef<[u8]>>) -> Result<(), TryFromIntError> {
    buf.extend_from_slice(&of.to_be_bytes());
    match &value {
        Some(value) => {
            buf.extend_from_slice(&i32::try_from(value.as_ref().len())?.to_be_bytes());
            buf.extend_from_slice(value.as_ref());
        }
        None => buf.extend_from_slice(&(-1_i32).to_be_bytes()),
    }
    Ok(())
}

/// Microseconds.
fn since_2000(time: Timestamp) -> [u8; 8] {
    (time.as_microsecond() - 946_684_800_000_000).to_be_bytes()
}
