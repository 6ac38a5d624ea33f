//! Which messages or calls a list asks for.

use std::sync::Arc;

use reqwest::Url;
use serde::Serialize;

use crate::simulator::config::ProviderKind;
use crate::simulator::desk::{Desk, KeptMessage};
use crate::simulator::form::Form;

/// Which messages a look-up asks for.
pub(super) struct Lookup<'a> {
    to: Option<&'a str>,
    from: Option<&'a str>,
    since_us: Option<i64>,
    before_us: Option<i64>,
    size: usize,
    page: usize,
    /// What was asked for, as the next page is asked for it again.
    filters: String,
}

impl<'a> Lookup<'a> {
    /// `To`, `From`, a date (equal, `>` or `<`; a day or an instant), `PageSize` (50, at most 1,000) and `Page`.
    pub(super) fn of(query: &'a Form<'a>, date: &str) -> Self {
        let at = |name: String| query.get(&name).and_then(instant_us);
        let day = at(date.to_owned());
        let number = |name| query.get(name).and_then(|v| v.parse::<usize>().ok());
        Self {
            to: query.get("To"),
            from: query.get("From"),
            since_us: day.or_else(|| at(format!("{date}>"))),
            before_us: day.map(|d| d + 86_400_000_000).or_else(|| at(format!("{date}<"))),
            size: number("PageSize").unwrap_or(50).clamp(1, 1_000),
            page: number("Page").unwrap_or(0).min(1_000),
            filters: filters(query, date),
        }
    }

    pub(super) fn find(&self, desk: &Desk, kind: ProviderKind) -> (Vec<Arc<KeptMessage>>, bool) {
        let skip = self.page * self.size;
        let now = desk.clock.now();
        let mut found = desk.kept.newest(skip + self.size + 1, |m| {
            m.kind == kind
                // What a patient is still writing is in no list.
                && m.at_us <= now.at_us
                && self.to.is_none_or(|to| m.to.expose() == to)
                && self.from.is_none_or(|from| m.from == from)
                && self.since_us.is_none_or(|since| m.wall_us >= since)
                && self.before_us.is_none_or(|before| m.wall_us <= before)
        });
        let more = found.len() > skip + self.size;
        found.truncate(skip + self.size);
        (found.split_off(skip.min(found.len())), more)
    }

    /// The envelope of a list.
    pub(super) fn page<T: Serialize>(
        &self,
        name: &'static str,
        uri: &str,
        items: &[T],
        more: bool,
    ) -> serde_json::Value {
        let filters = &self.filters;
        let next = more.then(|| format!("{uri}?{filters}PageSize={}&Page={}", self.size, self.page + 1));
        serde_json::json!({
            name: items, "page": self.page, "page_size": self.size, "uri": uri, "next_page_uri": next,
        })
    }
}

/// `To=...&` and so on.
fn filters(query: &Form<'_>, date: &str) -> String {
    let Ok(mut url) = Url::parse("http://127.0.0.1/") else { return String::new() };
    for name in ["To", "From", date, &format!("{date}>"), &format!("{date}<")] {
        if let Some(value) = query.get(name) {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    url.query().map_or(String::new(), |query| format!("{query}&"))
}

/// A day (its first instant in UTC) or an instant, in microseconds.
fn instant_us(text: &str) -> Option<i64> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_microsecond());
    }
    let day = text.parse::<jiff::civil::Date>().ok()?;
    day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|start| start.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_asked_for_the_same() {
        let query = Form::parse(b"To=%2B13125550100&DateSent%3E=2026-12-01T15%3A00%3A00Z&PageSize=2&Page=3");
        let page = Lookup::of(&query, "DateSent").page("messages", "/list", &[0; 2], true);
        assert_eq!(
            page["next_page_uri"],
            "/list?To=%2B13125550100&DateSent%3E=2026-12-01T15%3A00%3A00Z&PageSize=2&Page=4"
        );
    }

    #[test]
    fn look_ups_take_days_and_instants() {
        assert_eq!(instant_us("1970-01-02"), Some(86_400_000_000));
        assert_eq!(instant_us("1970-01-01T00:00:01Z"), Some(1_000_000));
        assert_eq!(instant_us("yesterday"), None);
    }
}
