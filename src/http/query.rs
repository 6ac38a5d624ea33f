//! Query strings and the cursors in them.

use axum::extract::Query;
use axum::http::Uri;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::problem::Fail;
use crate::domain::problem::Problem;
use crate::domain::reader::{Fault, Fields, Slot, fields};
use crate::domain::words::Reason;

/// Rows of a page where the caller does not say.
pub(super) const PAGE: u32 = 100;
/// Rows of a page at most.
pub(super) const MAX_PAGE: u32 = 1_000;

/// Reads the query string by name, as bodies are read: what nobody asks for is refused.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn query<T>(uri: &Uri, read: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> Result<T, Fail> {
    let refuse = |field: &str, rule: &str, cure: &str| {
        Fail::invalid(vec![Problem::new(field, Reason::Malformed, rule, cure)])
    };
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| refuse("", "the query string cannot be read", "percent-encode it as UTF-8"))?;
    let mut map = Map::new();
    for (name, value) in pairs {
        if map.insert(name, Value::String(value)).is_some() {
            return Err(refuse("", "a parameter may be given once only", "leave out one of the two"));
        }
    }
    Ok(fields(map, read)?)
}

/// How many rows.
pub(super) fn limit(fields: &mut Fields<'_>) -> u32 {
    let read = |slot: Slot<'_>| {
        slot.parsed(|text| {
            let number = text.parse::<u32>().ok().filter(|n| (1..=MAX_PAGE).contains(n));
            let rule = format!("must be a whole number from 1 to {MAX_PAGE}");
            number.ok_or_else(|| Fault::malformed(rule, "take a smaller page and follow the cursor"))
        })
    };
    fields.read("limit", read).unwrap_or(PAGE)
}

/// Whether a parameter is true; false where it is left out.
pub(super) fn truth(fields: &mut Fields<'_>, name: &'static str) -> bool {
    let read = |slot: Slot<'_>| {
        slot.parsed(|text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Fault::malformed("must be true or false", "leave it out for false")),
        })
    };
    fields.read(name, read).unwrap_or(false)
}

/// The same of the only parameter that may be given.
///
/// # Errors
/// It is neither true nor false, or there are others.
pub(super) fn flag(uri: &Uri, name: &'static str) -> Result<bool, Fail> {
    query(uri, |fields| Some(truth(fields, name)))
}

/// Where a list goes on. What callers see of it is opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The last row of the page before.
    pub(super) id: Uuid,
    /// When it changed, in lists by change.
    pub(super) at: Option<Timestamp>,
}

impl Cursor {
    /// Behind a row of a list that is not by change.
    pub(super) const fn behind(id: Uuid) -> Self {
        Self { id, at: None }
    }

    pub(super) fn write(self) -> String {
        let at = self.at.map_or_else(String::new, |at| at.as_microsecond().to_string());
        URL_SAFE_NO_PAD.encode(format!("1.{}.{at}", self.id.simple()))
    }

    /// Reads the parameter `cursor`.
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let fault =
            || Fault::malformed("is no cursor of this list", "take it as `next` gave it, or leave it out");
        fields.read("cursor", |slot| slot.parsed(|text| Self::parse(text).ok_or_else(fault)))
    }

    fn parse(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (id, at) = text.strip_prefix("1.")?.split_once('.')?;
        let at = match at {
            "" => None,
            at => Some(Timestamp::from_microsecond(at.parse().ok()?).ok()?),
        };
        Some(Self { id: Uuid::try_parse(id).ok()?, at })
    }
}

/// Where a list goes on after a page of at most `limit` rows: behind the last one, where the page is full.
pub(super) fn next<T>(rows: &[T], limit: u32, behind: impl FnOnce(&T) -> Cursor) -> Option<Cursor> {
    let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    rows.last().filter(|_| full).map(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truth_is_one_of_two_words_or_left_out() {
        let read = |query: &str| flag(&format!("/v1/list?{query}").parse().unwrap(), "open").ok();
        assert_eq!(read("open=true"), Some(true));
        assert_eq!(read("open=false"), Some(false));
        assert_eq!(read(""), Some(false));
        for bad in ["open=", "open=yes", "open=TRUE", "open=true&open=true", "closed=true"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_list_goes_on_behind_a_full_page() {
        let behind = |row: &u128| Cursor::behind(Uuid::from_u128(*row));
        assert_eq!(next(&[1, 2], 2, behind), Some(behind(&2)));
        assert_eq!(next(&[1, 2], 3, behind), None);
        assert_eq!(next(&[], 3, behind), None);
    }

    #[test]
    fn a_cursor_reads_back_what_it_wrote() {
        for at in [None, Timestamp::from_microsecond(1_764_000_000_123_456).ok()] {
            let cursor = Cursor { id: Uuid::from_u128(7), at };
            assert_eq!(Cursor::parse(&cursor.write()), Some(cursor));
        }
        for bad in ["", "x", "MS4", "1.2.3"] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
    }
}
