//! Cancels and replacements, holds, campaigns that were cancelled.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::postgres::PgPool;

use super::{CONTROL_US, Lateness, Moment, SOON_US, Sending};
use crate::proof::auditor::Report;

/// What was cancelled or replaced, by its status, and by the names that were buried.
pub(super) async fn taken_back(sql: &PgPool, moments: &[Moment<'_>], report: &mut Report) {
    let rows = sqlx::query(
        "SELECT source, kind, name, (extract(epoch FROM buried_at) * 1000000)::bigint,
             (extract(epoch FROM until) * 1000000)::bigint FROM tombstones",
    );
    let rows = rows.fetch_all(sql).await.unwrap();
    let names: HashMap<(String, String, String), (i64, i64)> =
        rows.iter().map(|row| ((row.get(0), row.get(1), row.get(2)), (row.get(3), row.get(4)))).collect();
    let cancelled: i64 = sqlx::query_scalar("SELECT count(*) FROM messages WHERE status = 'cancelled'")
        .fetch_one(sql)
        .await
        .unwrap();
    let mut lateness = Lateness::default();
    for moment in moments {
        let send = moment.send;
        let own = (send.status == "cancelled").then_some(moment.at_us - send.changed_us);
        let named = [("job", Some(&send.job)), ("about", send.about.as_ref())];
        let buried = named.into_iter().filter_map(|(kind, name)| {
            let (buried_us, until_us) =
                names.get(&(send.source.clone(), kind.to_owned(), name?.clone())).copied()?;
            (send.is_bound_by(buried_us) && moment.at_us < until_us).then_some(moment.at_us - buried_us)
        });
        if let Some(after) = own.into_iter().chain(buried).filter(|after| *after > 0).max() {
            lateness.note(moment, after, SOON_US);
        }
    }
    let said = names.len() + usize::try_from(cancelled).unwrap();
    lateness.close("taken_back", "a cancel or a replacement", said, report);
}

/// A hold, and from when to when.
struct Hold {
    scope: String,
    value: String,
    cause: String,
    from_us: i64,
    /// `None`: still.
    to_us: Option<i64>,
}

impl Hold {
    fn covers(&self, send: &Sending) -> bool {
        let of_campaign = send.made_by().is_some();
        let by_cause = match self.cause.as_str() {
            "surge_hold" => send.priority > 0 && send.purpose != "emergency" && !of_campaign,
            "awaiting_approval" => send.purpose == "emergency" && !send.test,
            _ => true,
        };
        let value = Some(self.value.as_str());
        by_cause
            && match self.scope.as_str() {
                "source" => value == Some(send.source.as_str()),
                "site" => value == send.site.as_deref(),
                "template" => value == Some(send.template.as_str()),
                "purpose" => value == Some(send.purpose.as_str()),
                "channel" => value == Some(send.channel.as_str()),
                "provider" => value == Some(send.provider.as_str()),
                "campaign" => value == send.made_by(),
                _ => true,
            }
    }
}

pub(super) async fn holds(sql: &PgPool, moments: &[Moment<'_>], report: &mut Report) {
    let rows = sqlx::query(
        "SELECT scope, value, cause, (extract(epoch FROM placed_at) * 1000000)::bigint,
             (extract(epoch FROM LEAST(released_at, until)) * 1000000)::bigint FROM holds",
    );
    let rows = rows.fetch_all(sql).await.unwrap();
    let holds: Vec<Hold> = rows
        .iter()
        .map(|row| Hold {
            scope: row.get(0),
            value: row.get(1),
            cause: row.get(2),
            from_us: row.get(3),
            to_us: row.get(4),
        })
        .collect();
    let mut lateness = Lateness::default();
    for moment in moments {
        let at = moment.at_us;
        let is_under = |hold: &&Hold| {
            hold.from_us < at && hold.to_us.is_none_or(|to| at < to) && hold.covers(moment.send)
        };
        if let Some(after) = holds.iter().filter(is_under).map(|hold| at - hold.from_us).max() {
            lateness.note(moment, after, CONTROL_US);
        }
    }
    lateness.close("holds", "a hold", holds.len(), report);
}

/// Campaigns that were cancelled; those that pause are under a hold.
pub(super) async fn campaigns(sql: &PgPool, moments: &[Moment<'_>], report: &mut Report) {
    let rows = sqlx::query(
        "SELECT id, (extract(epoch FROM changed_at) * 1000000)::bigint FROM campaigns WHERE state = 'cancelled'",
    );
    let rows = rows.fetch_all(sql).await.unwrap();
    let ended: HashMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut lateness = Lateness::default();
    for moment in moments {
        let ended_us = moment.send.made_by().and_then(|campaign| ended.get(campaign)).copied();
        let ended_us = ended_us.filter(|at| moment.send.is_bound_by(*at) && *at < moment.at_us);
        if let Some(at) = ended_us {
            lateness.note(moment, moment.at_us - at, CONTROL_US);
        }
    }
    lateness.close("campaigns_cancelled", "the end of a campaign", ended.len(), report);
}
