//! I2: every row has ended and was told as that, or something is due of it that somebody will find, or it lies under a hold
//! that is there.
//!
//! To have a time is not enough. A message is found by the source, the class and the channel it is claimed by, what is in
//! hand by its lease, a receipt that does not come by the row that awaits it, an unknown outcome by its deadline, and what
//! is held by the end of the hold that it names: each of these ways is looked at.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::Row as _;
use sqlx::postgres::PgPool;

use super::auditor::Report;

/// What may not be: the words for it, and the ids of those of which it is so. `unknown_deadline` of the configuration is
/// the shipped one, four hours.
pub(super) const FAULTS: [(&str, &str); 15] = [
    (
        "have no future",
        "SELECT id::text FROM messages
         WHERE status IN ('accepted', 'scheduled', 'held', 'sending') AND due_at IS NULL",
    ),
    (
        "are due long after their time has passed",
        "SELECT id::text FROM messages
         WHERE status IN ('accepted', 'scheduled', 'held', 'sending') AND held_by IS NULL
           AND due_at > expires_at + interval '1 day'",
    ),
    (
        "are due, and no claim finds them",
        "SELECT id::text FROM messages m
         WHERE due_at IS NOT NULL AND lease_token IS NULL
           AND (claim_channel NOT IN ('', 'sms', 'email', 'voice', 'portal') OR priority NOT BETWEEN 0 AND 2
               OR NOT EXISTS (SELECT 1 FROM sources s WHERE s.name = m.source))",
    ),
    (
        "are in a hand that nobody knows",
        "SELECT id::text FROM messages m
         WHERE lease_token IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM leases l WHERE l.token = m.lease_token AND m.id = ANY (l.messages))",
    ),
    (
        "were left in a hand whose time is over",
        "SELECT m.id::text FROM messages m JOIN leases l ON l.token = m.lease_token
         WHERE l.until < now() - interval '15 seconds'",
    ),
    // What a campaign that goes on again lets go has the reason of its pause still, and waits for its turn.
    (
        "wait for a hold that they do not name",
        "SELECT id::text FROM messages
         WHERE status = 'held' AND reason IN ('operator_hold', 'surge_hold', 'awaiting_approval')
           AND held_by IS NULL AND lease_token IS NULL AND due_at > now()",
    ),
    (
        "lie under a hold that is not there, or that has let go all it held",
        "SELECT m.id::text FROM messages m LEFT JOIN holds h ON h.id = m.waits_under
         WHERE m.waits_under IS NOT NULL AND m.lease_token IS NULL AND (h.id IS NULL OR h.settled_at IS NOT NULL)",
    ),
    (
        "wait without a reason",
        "SELECT id::text FROM messages WHERE status = 'held' AND reason IS NULL",
    ),
    (
        "await a receipt, and nobody will miss it",
        "SELECT id::text FROM messages m
         WHERE receipt_by IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM awaited a WHERE a.message_id = m.id AND a.until = m.receipt_by)",
    ),
    (
        "have an outcome that is unknown for too long, and nobody was called",
        "SELECT id::text FROM messages m
         WHERE status = 'unknown' AND due_at IS NULL AND NOT test AND changed_at < now() - interval '4 hours 10 minutes'
           AND NOT EXISTS (SELECT 1 FROM work_items w WHERE w.message_id = m.id AND w.kind = 'outcome_unknown')",
    ),
    (
        "have an attempt that became unknown, and it is never looked up what became of it",
        "SELECT DISTINCT message_id::text FROM attempts WHERE status = 'unknown' AND looked_at IS NULL",
    ),
    // `sent` has ended where no receipt is awaited and no step is due; so has `delivered`, where its plan is over.
    (
        "are sent for good, and nobody was told so",
        "SELECT id::text FROM messages m
         WHERE status = 'sent' AND due_at IS NULL AND receipt_by IS NULL AND NOT EXISTS (
             SELECT 1 FROM events e WHERE e.message_id = m.id AND e.body::jsonb ->> 'status' = 'sent'
                 AND (e.body::jsonb ->> 'final')::boolean)",
    ),
    (
        "are delivered for good, and nobody was told so",
        "SELECT id::text FROM messages m
         WHERE status = 'delivered' AND due_at IS NULL AND receipt_by IS NULL AND NOT EXISTS (
             SELECT 1 FROM events e WHERE e.message_id = m.id AND e.body::jsonb ->> 'status' = 'delivered'
                 AND (e.body::jsonb ->> 'final')::boolean)",
    ),
    (
        "have ended, and something is due of them",
        "SELECT id::text FROM messages m
         WHERE due_at IS NOT NULL AND (status IN ('read', 'failed', 'suppressed', 'expired', 'cancelled')
             OR (status IN ('sent', 'delivered') AND step = 0)
             OR (status = 'delivered' AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.message_id = m.id
                 AND (a.awaits IS NOT NULL OR a.status = 'undelivered'))))",
    ),
    (
        "had a step begun after what their plan waited for",
        "SELECT DISTINCT b.message_id::text
         FROM attempts b JOIN attempts a ON a.message_id = b.message_id AND a.step < b.step
         WHERE a.awaits = 'delivered' AND a.status = 'delivered' AND a.settled_at < b.begun_at - interval '1 second'",
    ),
];

/// Checks all of it, and counts the messages by how they stand.
pub(super) async fn every_row_has_a_future(sql: &PgPool, report: &mut Report) {
    for (words, query) in FAULTS {
        let found: Vec<String> = sqlx::query_scalar(query).fetch_all(sql).await.unwrap();
        report.check(found.is_empty(), || {
            format!("I2: {} messages {words}, such as {:?}", found.len(), found.first())
        });
    }
    let rows = sqlx::query("SELECT status, COALESCE(reason, ''), count(*) FROM messages GROUP BY 1, 2");
    let mut statuses = BTreeMap::new();
    for row in rows.fetch_all(sql).await.unwrap() {
        let (status, reason): (String, String) = (row.get(0), row.get(1));
        let key = if reason.is_empty() { status } else { format!("{status}/{reason}") };
        statuses.insert(key, row.get::<i64, _>(2));
    }
    report.figures.insert("statuses", json!(statuses));
}
