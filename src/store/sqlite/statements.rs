//! SQLite's own words: what is one statement elsewhere is a few here, one after the other under the writer's lock.
//! What tells comes before what moves, so that all of them see the same rows.

use crate::store::engine::Statements;
use crate::store::words::{
    admitted, attempt_rank, attempt_rises, attempt_settled, attempts, begun, bound_to, buried, by_campaign,
    claimed, counted, decided, decision_is_legal, decision_is_told, facts, furthest, goes_on, handed_out,
    has_moved_on, is_free, is_guarded, is_waited_for_no_longer, may_begin, may_join, next_step, not_stopped,
    rank, reached, result_is_told, result_leaves_open, result_raises, sent_again, settled, taken_back,
    withdrawn, within_caps,
};

/// The keys of the gate with what is free of them.
macro_rules! gate {
    () => {
        concat!(
            "WITH held AS MATERIALIZED (
             SELECT g.key, input.each, input.per_day, max(min(g.tat, ",
            furthest!("input.each"),
            "), now() + $3) AS tat,
                 CASE WHEN g.day = {today} THEN max(0, g.used - $4) ELSE 0 END AS used,
                 ",
            handed_out!(),
            "
             FROM {input} JOIN rate_gate g ON g.key = input.key
         ), room AS MATERIALIZED (
             SELECT min($1, min(CASE
                 WHEN each = 0 THEN max(0, per_day - used)
                 WHEN tat > now() + $2 THEN 0
                 ELSE (now() + $2 - tat) / each + 1 END)) AS granted
             FROM held
         ) "
        )
    };
}

/// Writes the lease of what was taken by the newest token, if anything was.
macro_rules! leased {
    ($owner:literal, $time:literal) => {
        concat!(
            "INSERT INTO leases (token, owner, until) SELECT token, ",
            $owner,
            ", now() + ",
            $time,
            " FROM lease_tokens WHERE EXISTS (SELECT 1 FROM messages m WHERE m.lease_token = token)"
        )
    };
}

pub(super) const STATEMENTS: Statements = Statements {
    admit: concat!(
        "INSERT INTO job_keys (source, job_id, content_hash, message_id, created_at)
         SELECT source, job_id, content_hash, id, now() FROM {input} WHERE retry_of IS NULL
         ON CONFLICT DO NOTHING;
         UPDATE lease_tokens SET token = token + 1;
         WITH source AS MATERIALIZED (SELECT * FROM {input}),
         known AS MATERIALIZED (
             SELECT source.*, ",
        taken_back!("source", "now()"),
        " AS gone
             FROM source
             WHERE source.retry_of IS NOT NULL OR EXISTS (
                 SELECT 1 FROM job_keys k
                 WHERE k.source = source.source AND k.job_id = source.job_id AND k.message_id = source.id)
         ), i AS (
             SELECT *, (wanted AND gone IS NULL AND (due_at IS NULL OR due_at <= now())) AS lease FROM known
         ) ",
        admitted!(),
        "FROM i CROSS JOIN lease_tokens AS lease RETURNING id, status, reason, lease_token, accepted_at; ",
        leased!("$1", "$2")
    ),

    // Each source gives the oldest due ones of the class; they are taken in turns, so that a flood of one source
    // does not starve another; whose turn is first is left to chance, as there may be room for one.
    claim: concat!(
        "UPDATE lease_tokens SET token = token + 1;
         UPDATE messages AS m
         SET lease_token = (SELECT token FROM lease_tokens)
         WHERE m.id IN (
             SELECT id FROM (
                 SELECT d.id, row_number() OVER (PARTITION BY d.source ORDER BY d.claim_at) AS turn
                 FROM sources s CROSS JOIN messages d ON d.id IN (
                     SELECT x.id FROM messages x
                     WHERE x.claim_channel = $1 AND x.source = s.name AND x.priority = $2 AND x.claim_at <= now()
                     ORDER BY x.claim_at LIMIT $3)
             ) ORDER BY turn, random() LIMIT $3)
         RETURNING ",
        claimed!("", "messages"),
        "; ",
        leased!("$4", "$5")
    ),

    decide: concat!(
        "WITH i AS MATERIALIZED (SELECT * FROM {input})
         INSERT INTO events (shard, message_id, seq, routing_key, body, callback, created_at)
         SELECT i.shard, m.id, m.seq + 1, i.event_key, i.event_body, i.event_callback, now()
         FROM i JOIN messages m ON m.id = i.id
         WHERE m.lease_token = i.token AND i.event_key IS NOT NULL AND ",
        decision_is_told!(),
        ";
         WITH i AS MATERIALIZED (SELECT * FROM {input})
         UPDATE messages AS m SET ",
        decided!(),
        "FROM i WHERE m.id = i.id AND m.lease_token = i.token"
    ),

    begin: concat!(
        "WITH i AS MATERIALIZED (SELECT * FROM {input}),
         stops AS MATERIALIZED (
             SELECT scope, value, cause FROM holds WHERE released_at IS NULL AND (until IS NULL OR until > now())
         ) ",
        attempts!(),
        "FROM i JOIN messages m ON m.id = i.id WHERE ",
        may_begin!("SELECT value FROM json_each(i.others)"),
        " AND ",
        within_caps!("patient_state"),
        " AND ",
        not_stopped!(),
        " RETURNING id, now();
         WITH i AS MATERIALIZED (SELECT * FROM {input})
         UPDATE messages AS m SET ",
        begun!(),
        "FROM i WHERE m.id = i.id AND EXISTS (SELECT 1 FROM attempts a WHERE a.id = i.attempt);
         WITH i AS MATERIALIZED (
             SELECT * FROM {input} WHERE EXISTS (SELECT 1 FROM attempts a WHERE a.id = input.attempt)
         )
         UPDATE patient_state AS c SET recent_sends = n.recent FROM (",
        counted!(),
        ") n WHERE c.subject = n.subject"
    ),

    // What a provider has taken, or may have, goes on by itself, and rides on nothing: its status would fall.
    board: concat!(
        "WITH i AS MATERIALIZED (SELECT * FROM {input}),
         stops AS MATERIALIZED (
             SELECT scope, value, cause FROM holds WHERE released_at IS NULL AND (until IS NULL OR until > now())
         )
         SELECT m.id FROM i JOIN messages m ON m.id = i.id WHERE EXISTS (SELECT 1 FROM leases l WHERE l.token = i.token AND l.owner = $1)
             AND m.status IN ('accepted', 'scheduled', 'held', 'sending') AND ",
        may_begin!("SELECT value FROM json_each(i.others)"),
        " AND ",
        not_stopped!()
    ),

    // What rode on something has nothing due by itself, and does from now on: should this hand be lost, it is found again.
    take_company: concat!(
        "UPDATE lease_tokens SET token = token + 1;
         UPDATE messages AS m
         SET lease_token = (SELECT token FROM lease_tokens), merged_into = NULL, last_attempt = NULL,
             due_at = CASE WHEN m.merged_into IS NULL THEN m.due_at ELSE now() END
         WHERE m.id = ANY($1) AND ",
        may_join!(),
        " RETURNING ",
        claimed!("", "messages"),
        "; ",
        leased!("$2", "$3")
    ),

    // A lease of which nothing is had any more goes.
    left_behind: "
         DELETE FROM leases WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.lease_token = leases.token);
         SELECT m.id FROM leases l JOIN messages m ON m.lease_token = l.token
         WHERE l.until < now() OR NOT EXISTS (
             SELECT 1 FROM workers w WHERE w.id = l.owner AND w.seen_at > $2 AND w.seen_at < $3)
         LIMIT $1",

    settle: concat!(
        "WITH i AS MATERIALIZED (SELECT *, ",
        rank!("status"),
        " AS rank FROM {input})
         INSERT INTO events (shard, message_id, seq, routing_key, body, callback, created_at)
         SELECT i.shard, m.id, m.seq + 1, i.event_key, i.event_body, i.event_callback, now()
         FROM i JOIN attempts a ON a.id = i.attempt JOIN messages m ON m.id = i.message
         WHERE i.event_key IS NOT NULL AND ",
        attempt_rises!(),
        " AND ",
        result_is_told!(),
        ";
         WITH i AS MATERIALIZED (SELECT *, ",
        rank!("status"),
        " AS rank FROM {input})
         UPDATE messages AS m SET ",
        settled!(),
        "FROM i JOIN attempts a ON a.id = i.attempt WHERE m.id = i.message AND ",
        attempt_rises!(),
        ";
         INSERT INTO awaited (until, message_id)
         SELECT m.receipt_by, m.id FROM {input} JOIN messages m ON m.id = input.message WHERE m.receipt_by = input.receipt_by;
         WITH i AS MATERIALIZED (SELECT * FROM {input})
         UPDATE attempts AS a SET ",
        attempt_settled!(),
        "FROM i WHERE a.id = i.attempt AND ",
        attempt_rises!()
    ),

    reserve: concat!(
        gate!(),
        "SELECT each, tat, granted, now(), per_day > 0 AND used >= per_day, key, in_previous + in_second + granted
         FROM held CROSS JOIN room;",
        gate!(),
        "UPDATE rate_gate AS g
         SET tat = CASE WHEN held.each > 0 AND room.granted > 0 THEN held.tat + room.granted * held.each
             ELSE min(g.tat, ",
        furthest!("held.each"),
        ") END,
             day = {today}, used = held.used + room.granted,
             second = held.second, in_second = held.in_second + room.granted, in_previous = held.in_previous
         FROM held CROSS JOIN room
         WHERE g.key = held.key"
    ),

    // A lease is renewed only when half of it is over.
    outbox: concat!(
        "DELETE FROM outbox WHERE ord = ANY($2);
        UPDATE outbox_shards SET owner = $1, until = now() + $4
        WHERE ",
        is_free!("until"),
        " OR (owner = $1 AND until < now() + $4 / 2);
        SELECT e.ord, e.routing_key, e.seq, e.body, e.shard
        FROM outbox o JOIN events e ON e.ord = o.ord
        WHERE o.shard IN (SELECT shard FROM outbox_shards WHERE owner = $1)
        ORDER BY o.ord LIMIT $3"
    ),

    count_arrivals: "
        INSERT INTO arrivals (hour, source, template, count)
        SELECT $1, source, template, n FROM {input} WHERE true
        ON CONFLICT (hour, source, template) DO UPDATE SET count = arrivals.count + excluded.count;
        WITH i AS MATERIALIZED (SELECT * FROM {input})
        SELECT 'source', source, sum(count) FROM arrivals
        WHERE hour = $1 AND source IN (SELECT source FROM i) GROUP BY source HAVING sum(count) > $2
        UNION ALL
        SELECT 'template', template, sum(count) FROM arrivals
        WHERE hour = $1 AND template IN (SELECT template FROM i) GROUP BY template HAVING sum(count) > $2",

    // The hour since 1970-01-01 in which the last attempt began; 0 where there was none.
    campaign_report: "
        SELECT m.status, m.reason, m.channel, COALESCE(a.locale, '') AS locale, COALESCE(a.begun_at / 3600000000, 0) AS hour, count(*)
        FROM messages m LEFT JOIN attempts a ON a.id = m.last_attempt
        WHERE m.campaign_id = $1 AND m.copy_of IS NULL
            AND NOT EXISTS (SELECT 1 FROM messages r WHERE r.retry_of = m.id AND r.retry_of IS NOT NULL)
        GROUP BY m.status, m.reason, m.channel, COALESCE(a.locale, ''), COALESCE(a.begun_at / 3600000000, 0)
        ORDER BY 1, 2, 3, 4, 5",

    campaign_replies: "
        SELECT intent, channel, locale, at / 3600000000 AS hour, count(*) FROM (
            SELECT r.intent, m.channel, COALESCE(a.locale, '') AS locale, min(r.received_at) AS at
            FROM replies r JOIN messages m ON m.id = r.message_id LEFT JOIN attempts a ON a.id = m.last_attempt
            WHERE m.campaign_id = $1 GROUP BY m.id, r.intent
        ) AS answered
        GROUP BY intent, channel, locale, hour ORDER BY 1, 2, 3, 4",

    skip_numbers: &[
        "UPDATE lease_tokens SET token = token + 1000000000",
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'events', 0
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'events')",
        "UPDATE sqlite_sequence SET seq = seq + 1000000000 WHERE name = 'events'",
    ],
};
