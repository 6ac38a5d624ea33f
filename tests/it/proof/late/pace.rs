//! When, and how many in one second: quiet hours and limits.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use outreachd::simulator::TextDigest;
use serde_json::json;
use sqlx::Row as _;
use sqlx::postgres::PgPool;

use super::{Moment, SECOND_US};
use crate::proof::auditor::Report;
use crate::support::measure;

/// Whoever has written to us may be answered for so long at whatever hour.
const ANSWER_US: i64 = 300 * SECOND_US;

/// What a run was set up with, and its sends are judged by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// The most in any second, by the name of the provider.
    pub(crate) limits: BTreeMap<String, u64>,
    /// What leaves within this time may arrive in one moment, because the machine was busy with something else.
    pub(crate) late: Duration,
    /// `None`: there are no quiet hours.
    pub(crate) hours: Option<Hours>,
}

/// When recipients may be disturbed, by their own clock.
#[derive(Clone, Debug)]
pub(crate) struct Hours {
    /// The channels that disturb.
    pub(crate) channels: Vec<&'static str>,
    pub(crate) opens: Time,
    /// The first moment that is not open, on the same day.
    pub(crate) closes: Time,
    /// IANA names, by address.
    pub(crate) zones: HashMap<TextDigest, String>,
}

impl Rules {
    /// Notes the limits of a provider as its configuration has them, such as `"50/s"`.
    pub(crate) fn limit(&mut self, provider: &str, limits: &[&str]) {
        for text in limits {
            let count = text.strip_suffix("/s").and_then(|count| count.parse().ok());
            let count: u64 = count.expect("a proof has limits of whole numbers by the second");
            let known = self.limits.entry(provider.to_owned()).or_insert(count);
            *known = count.min(*known);
        }
    }
}

/// What left in the last second before the hours ended may arrive in the next.
pub(super) async fn quiet_hours(
    sql: &PgPool,
    hours: Option<&Hours>,
    moments: &[Moment<'_>],
    report: &mut Report,
) {
    let (mut checked, mut night, mut nowhere) = (0_u64, Vec::new(), 0_u64);
    if let Some(hours) = hours {
        let rows = sqlx::query(
            "SELECT address_index, (extract(epoch FROM received_at) * 1000000)::bigint FROM replies",
        );
        let mut written: HashMap<Vec<u8>, Vec<i64>> = HashMap::new();
        for row in rows.fetch_all(sql).await.unwrap() {
            written.entry(row.get(0)).or_default().push(row.get(1));
        }
        for moment in moments {
            let (send, Some(hit)) = (moment.send, moment.hit) else { continue };
            if !hours.channels.contains(&send.channel.as_str()) {
                continue;
            }
            checked += 1;
            let Some(zone) = hours.zones.get(&hit.to) else {
                nowhere += 1;
                continue;
            };
            let mut replies = written.get(&send.address).into_iter().flatten();
            let is_answer = replies.any(|at| (0..=ANSWER_US).contains(&(moment.at_us - at)));
            let closed = [moment.at_us, moment.at_us - SECOND_US].iter().all(|at| !hours.are_open(zone, *at));
            if closed && send.purpose != "emergency" && !is_answer {
                night.push((send.message, zone));
            }
        }
    }
    report.check(night.is_empty(), || {
        format!("I5: {} sends into quiet hours, such as {:?}", night.len(), night.first())
    });
    report
        .check(nowhere == 0, || format!("I5: {nowhere} sends to addresses whose zone the run did not tell"));
    report.figures.insert("quiet_hours", json!({ "checked": checked }));
}

impl Hours {
    /// Whether they may be disturbed at this instant, in microseconds since 1970, whose clock is that of `zone`.
    pub(crate) fn are_open(&self, zone: &str, at_us: i64) -> bool {
        let zone = TimeZone::get(zone).expect("a zone of the IANA database");
        let local = Timestamp::from_microsecond(at_us).unwrap().to_zoned(zone).time();
        self.opens <= local && local < self.closes
    }
}

/// A text counts as many times as it has segments.
pub(super) fn rates(rules: &Rules, moments: &[Moment<'_>], report: &mut Report) {
    let mut times: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for moment in moments {
        if let Some(hit) = moment.hit {
            let weight = usize::try_from(moment.send.segments.max(1)).unwrap();
            let of = times.entry(moment.send.provider.as_str()).or_default();
            of.extend(std::iter::repeat_n(hit.at_us, weight));
        }
    }
    let mut figures = BTreeMap::new();
    for (provider, limit) in &rules.limits {
        let times = times.remove(provider.as_str()).unwrap_or_default();
        let worst = measure::worst_sliding_second(&times) as u64;
        let more = u64::try_from(u128::from(*limit) * rules.late.as_millis() / 1_000).unwrap();
        report.check(worst <= limit + more, || {
            format!("I5: {worst} in one second by {provider}, where {limit} are allowed, and {more} that come late")
        });
        figures.insert(
            provider.clone(),
            json!({ "limit": limit, "worst_second": worst, "checked": times.len() }),
        );
    }
    report.figures.insert("rates", json!(figures));
}
