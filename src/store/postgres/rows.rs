//! A batch as one array of rows. The types stand in the schema: the names of their columns and the order of these are those
//! of the batch.

use std::marker::PhantomData;

use jiff_sqlx::ToSqlx as _;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::PgRecordEncoder;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgBindIterExt as _, PgHasArrayType, PgTypeInfo};
use sqlx::query::Query;
use sqlx::{Encode, Postgres, Type};

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

impl<N: Named> Encode<'_, Postgres> for Row<'_, N> {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let place = self.place;
        let mut record = PgRecordEncoder::new(buf);
        for column in self.batch {
            match &column.data {
                Data::Text(texts) => record.encode(texts.get(place).copied().flatten())?,
                Data::Int(numbers) => record.encode(numbers.get(place).copied())?,
                Data::Flag(truths) => record.encode(truths.get(place).copied())?,
                Data::Id(ids) => record.encode(ids.get(place).copied().flatten())?,
                Data::Time(times) => {
                    record.encode(times.get(place).copied().flatten().map(|time| time.to_sqlx()))?
                }
                Data::Bytes(bytes) => record.encode(bytes.get(place).map(Vec::as_slice))?,
            };
        }
        record.finish();
        Ok(IsNull::No)
    }
}
