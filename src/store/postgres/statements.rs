//! PostgreSQL's own words: a batch is one statement, in which what is written first tells what is written next.

use crate::store::engine::Statements;
use crate::store::words::{
    admitted, attempt_rank, attempt_rises, attempt_settled, attempts, begun, bound_to, buried, by_campaign,
    claimed, counted, decided, decision_is_legal, decision_is_told, facts, furthest, goes_on, handed_out,
    has_moved_on, is_free, is_guarded, is_waited_for_no_longer, may_begin, may_join, next_step, not_stopped,
    rank, reached, result_is_told, result_leaves_open, result_raises, sent_again, settled, taken_back,
    withdrawn, within_caps,
};

/// Due messages of one source, in the words of their index.
macro_rules! due {
    ($source:literal) => {
        concat!("claim_channel = $1 AND source = ", $source, " AND priority = $2 AND claim_at <= now()")
    };
}

/// Writes the lease of what is taken.
macro_rules! leased {
    ($owner:literal, $time:literal, $taken:literal) => {
        concat!(
            "leased AS (
             INSERT INTO leases (token, owner, until, messages)
             SELECT token, ",
            $owner,
            ", now() + ",
            $time,
            " * {us}, array_agg(id) FROM ",
            $taken,
            " GROUP BY token
         ) "
        )
    };
}

pub(super) const STATEMENTS: Statements = Statements {
    // What takes a job back is looked up once a row, and the rows with their bodies are kept once: hence OFFSET.
    admit: concat!(
        "WITH source AS (SELECT * FROM {input}),
         keys AS (
             INSERT INTO job_keys (source, job_id, content_hash, message_id)
             SELECT source, job_id, content_hash, id FROM source WHERE retry_of IS NULL
             ON CONFLICT DO NOTHING
             RETURNING message_id
         ), lease AS MATERIALIZED (SELECT nextval('lease_tokens') AS token),
         i AS MATERIALIZED (
             SELECT *, (wanted AND gone IS NULL AND (due_at IS NULL OR due_at <= now())) AS lease FROM (
                 SELECT source.*, ",
        taken_back!("source", "now()"),
        " AS gone
                 FROM source LEFT JOIN keys ON keys.message_id = source.id
                 WHERE keys.message_id IS NOT NULL OR source.retry_of IS NOT NULL
                 OFFSET 0
             ) known
         ), ",
        leased!("$1", "$2", "i CROSS JOIN lease WHERE i.lease"),
        admitted!(),
        "FROM i CROSS JOIN lease RETURNING id, status, reason, lease_token, accepted_at"
    ),

    // Each source that has something due gives the oldest of the class; they are taken in turns, so that a flood of
    // one does not starve another; whose turn is first is left to chance, as there may be room for one. A fair share is
    // read of each, and more only where that is not enough; twice as many as are wanted, because another worker may have
    // the first ones. Whatever the planner has heard of the tables,
    // it must neither read a whole backlog to see that there is one (hence a row of each source), nor look through it
    // for each row that is locked (hence what only the row's id can find), nor make a hash of the whole table to join it
    // with what was locked (hence an array).
    claim: concat!(
        "WITH active AS MATERIALIZED (
             SELECT s.name FROM sources s CROSS JOIN LATERAL (SELECT 1 FROM messages WHERE ",
        due!("s.name"),
        " LIMIT 1) one
         ), share AS MATERIALIZED (
             SELECT $3 * 2 / GREATEST(count(*), 1) + 1 AS n FROM active
         ), due AS MATERIALIZED (
             SELECT m.id, row_number() OVER (PARTITION BY a.name ORDER BY m.claim_at) AS turn
             FROM active a CROSS JOIN LATERAL (
                 SELECT id, claim_at FROM messages WHERE ",
        due!("a.name"),
        " ORDER BY claim_at LIMIT (SELECT n FROM share)
             ) m
         ), more AS (
             SELECT m.id, (SELECT n FROM share) + row_number() OVER (PARTITION BY a.name ORDER BY m.claim_at) AS turn
             FROM active a CROSS JOIN LATERAL (
                 SELECT id, claim_at FROM messages WHERE ",
        due!("a.name"),
        " ORDER BY claim_at LIMIT $3 OFFSET (SELECT n FROM share)
             ) m
             WHERE (SELECT count(*) FROM due) < $3
         ), locked AS (
             SELECT m.id
             FROM (
                 SELECT id FROM (SELECT id, turn FROM due UNION ALL SELECT id, turn FROM more) offered ORDER BY turn, random()
             ) chosen
             CROSS JOIN LATERAL (
                 SELECT id FROM messages
                 WHERE id = chosen.id AND COALESCE(claim_at <= now(), false)
                 FOR UPDATE SKIP LOCKED
             ) m
             LIMIT $3
         ), lease AS MATERIALIZED (SELECT nextval('lease_tokens') AS token), ",
        leased!("$4", "$5", "locked, lease"),
        "UPDATE messages m
         SET lease_token = lease.token
         FROM lease
         WHERE m.id = ANY (ARRAY(SELECT id FROM locked))
         RETURNING ",
        claimed!("m.", "m")
    ),

    // `changed_at = now()` marks the rows that this statement moved; only those are told.
    decide: concat!(
        "WITH i AS (SELECT * FROM {input}),
         moved AS (
             UPDATE messages m SET ",
        decided!(),
        "FROM i WHERE m.id = i.id AND m.lease_token = i.token
             RETURNING m.id, m.seq, m.changed_at, i.shard, i.event_key, i.event_body, i.event_callback
         )
         INSERT INTO events (shard, message_id, seq, routing_key, body, callback)
         SELECT shard, id, seq, event_key, event_body, event_callback FROM moved WHERE event_key IS NOT NULL AND changed_at = now()"
    ),

    // The rows that the caps count on are locked first, in one order; a row that somebody else has changed meanwhile is
    // seen as it stands once the lock is ours, and only through `state`.
    begin: concat!(
        "WITH input AS (SELECT * FROM {input}),
         stops AS MATERIALIZED (
             SELECT scope, value, cause FROM holds WHERE released_at IS NULL AND (until IS NULL OR until > now())
         ), state AS MATERIALIZED (
             SELECT c.subject, c.recent_sends
             FROM (
                 SELECT person AS subject FROM input WHERE person IS NOT NULL
                 UNION SELECT addressed FROM input WHERE addressed IS NOT NULL
                 ORDER BY subject
             ) named
             CROSS JOIN LATERAL (SELECT * FROM patient_state p WHERE p.subject = named.subject FOR UPDATE) c
         ), i AS (
             UPDATE messages m SET ",
        begun!(),
        "FROM input i WHERE m.id = i.id AND ",
        may_begin!("SELECT jsonb_array_elements_text(i.others::jsonb)"),
        " AND ",
        within_caps!("state"),
        " AND ",
        not_stopped!(),
        " RETURNING i.*
         ), counted AS (
             UPDATE patient_state c SET recent_sends = n.recent FROM (",
        counted!(),
        ") n WHERE c.subject = n.subject
         ) ",
        attempts!(),
        "FROM i RETURNING id, now()"
    ),

    // What a provider has taken, or may have, goes on by itself, and rides on nothing: its status would fall.
    board: concat!(
        "WITH i AS (SELECT * FROM {input}),
         stops AS MATERIALIZED (
             SELECT scope, value, cause FROM holds WHERE released_at IS NULL AND (until IS NULL OR until > now())
         )
         SELECT m.id FROM i JOIN messages m ON m.id = i.id WHERE EXISTS (SELECT 1 FROM leases l WHERE l.token = i.token AND l.owner = $1)
             AND m.status IN ('accepted', 'scheduled', 'held', 'sending') AND ",
        may_begin!("SELECT jsonb_array_elements_text(i.others::jsonb)"),
        " AND ",
        not_stopped!(),
        " FOR UPDATE OF m SKIP LOCKED"
    ),

    // COALESCE, so that nobody walks the index of all that is due to find them. What rode on something has nothing due by
    // itself, and does from now on: should this hand be lost, it is found again.
    take_company: concat!(
        "WITH locked AS (
             SELECT m.id FROM messages m WHERE m.id = ANY($1) AND COALESCE(",
        may_join!(),
        ", false) FOR UPDATE SKIP LOCKED
         ), lease AS MATERIALIZED (SELECT nextval('lease_tokens') AS token), ",
        leased!("$2", "$3", "locked, lease"),
        "UPDATE messages m
         SET lease_token = lease.token, merged_into = NULL, last_attempt = NULL,
             due_at = CASE WHEN m.merged_into IS NULL THEN m.due_at ELSE now() END
         FROM locked, lease
         WHERE m.id = locked.id
         RETURNING ",
        claimed!("m.", "m")
    ),

    // What was had under a lease that has ended, or whose worker is silent, and still is. A lease of which nothing is had any
    // more goes.
    left_behind: "
        WITH ended AS MATERIALIZED (
            SELECT token, messages FROM leases l
            WHERE l.until < now() OR NOT EXISTS (
                SELECT 1 FROM workers w WHERE w.id = l.owner AND w.seen_at > $2 AND w.seen_at < $3)
        ), had AS MATERIALIZED (
            SELECT e.token, m.id FROM ended e CROSS JOIN LATERAL unnest(e.messages) AS one(id)
            CROSS JOIN LATERAL (SELECT id FROM messages WHERE id = one.id AND lease_token = e.token OFFSET 0) m
        ), gone AS (
            DELETE FROM leases WHERE token IN (SELECT token FROM ended EXCEPT SELECT token FROM had)
        )
        SELECT m.id FROM messages m
        WHERE m.id = ANY (ARRAY(SELECT id FROM had LIMIT $1)) AND m.lease_token = ANY (ARRAY(SELECT token FROM ended))
        FOR UPDATE SKIP LOCKED",

    settle: concat!(
        "WITH settled AS (
             UPDATE attempts a SET ",
        attempt_settled!(),
        "FROM (SELECT * FROM {input}) i WHERE a.id = i.attempt AND ",
        attempt_rises!(),
        " RETURNING i.*, a.step, ",
        rank!("i.status"),
        " AS rank
         ), moved AS (
             UPDATE messages m SET ",
        settled!(),
        "FROM settled i CROSS JOIN LATERAL (SELECT i.step) a WHERE m.id = i.message
             RETURNING m.id, m.seq, m.changed_at, m.receipt_by = i.receipt_by AS awaits, i.receipt_by, i.shard,
                 i.event_key, i.event_body, i.event_callback
         ), awaiting AS (
             INSERT INTO awaited (until, message_id) SELECT receipt_by, id FROM moved WHERE awaits
         )
         INSERT INTO events (shard, message_id, seq, routing_key, body, callback)
         SELECT shard, id, seq, event_key, event_body, event_callback FROM moved WHERE event_key IS NOT NULL AND changed_at = now()"
    ),

    // The rows are locked in key order, read, and moved on in one statement.
    reserve: concat!(
        "WITH ask AS (SELECT * FROM {input}),
        held AS (
            SELECT g.key, a.each, a.per_day, GREATEST(LEAST(g.tat, ",
        furthest!("a.each"),
        "), now() + $3 * {us}) AS tat,
                CASE WHEN g.day = {today} THEN GREATEST(0, g.used - $4) ELSE 0 END AS used,
                ",
        handed_out!(),
        "
            FROM rate_gate g JOIN ask a USING (key)
            ORDER BY g.key
            FOR UPDATE OF g
        ), room AS (
            SELECT LEAST($1, min(CASE
                WHEN each > 0 THEN GREATEST(0, floor(EXTRACT(EPOCH FROM (now() + $2 * {us} - tat)) * 1000000 / each)::bigint + 1)
                ELSE GREATEST(0, per_day - used) END)) AS granted
            FROM held
        ), moved AS (
            UPDATE rate_gate g
            SET tat = CASE WHEN h.each > 0 AND room.granted > 0 THEN h.tat + room.granted * h.each * {us}
                ELSE LEAST(g.tat, ",
        furthest!("h.each"),
        ") END,
                day = {today}, used = h.used + room.granted,
                second = h.second, in_second = h.in_second + room.granted, in_previous = h.in_previous
            FROM held h, room
            WHERE g.key = h.key
        )
        SELECT h.each, h.tat, room.granted, now(), h.per_day > 0 AND h.used >= h.per_day, h.key,
            h.in_previous + h.in_second + room.granted
        FROM held h, room"
    ),

    // What is done by this very statement is still there in its snapshot, hence the last condition; as a join, because of
    // `NOT = ANY` each row is held against each of them. A lease is renewed only when half of it is over. Arrays, so that
    // the lanes are looked up once, and the events found by their key whatever the planner believes.
    outbox: concat!(
        "WITH done AS (
            DELETE FROM outbox WHERE ord = ANY($2)
        ), taken AS (
            UPDATE outbox_shards SET owner = $1, until = now() + $4 * {us}
            WHERE shard IN (
                SELECT shard FROM outbox_shards
                WHERE ",
        is_free!("until"),
        " OR (owner = $1 AND until < now() + $4 / 2 * {us})
                FOR UPDATE SKIP LOCKED)
            RETURNING shard
        ), mine AS (
            SELECT shard FROM taken
            UNION SELECT shard FROM outbox_shards WHERE owner = $1 AND until >= now() + $4 / 2 * {us}
        )
        SELECT e.ord, e.routing_key, e.seq, e.body, e.shard
        FROM events e
        WHERE e.ord = ANY (ARRAY(
            SELECT o.ord FROM outbox o
            WHERE o.shard = ANY (ARRAY(SELECT shard FROM mine))
              AND NOT EXISTS (SELECT 1 FROM unnest($2::bigint[]) AS d(ord) WHERE d.ord = o.ord)
            ORDER BY o.ord LIMIT $3))
        ORDER BY e.ord"
    ),

    // The rows of the hour as they were before this statement, and in place of those it touches what it made of them.
    count_arrivals: "
        WITH i AS (SELECT * FROM {input}),
        counted AS (
            INSERT INTO arrivals AS a (hour, source, template, count)
            SELECT $1, source, template, n FROM i ORDER BY source, template
            ON CONFLICT (hour, source, template) DO UPDATE SET count = a.count + excluded.count
            RETURNING a.source, a.template, a.count
        ), hour AS (
            SELECT source, template, count FROM counted
            UNION ALL
            SELECT a.source, a.template, a.count FROM arrivals a
            WHERE a.hour = $1
              AND NOT EXISTS (SELECT 1 FROM counted c WHERE c.source = a.source AND c.template = a.template)
        )
        SELECT 'source', source, sum(count)::bigint FROM hour
        WHERE source IN (SELECT source FROM i) GROUP BY source HAVING sum(count) > $2
        UNION ALL
        SELECT 'template', template, sum(count)::bigint FROM hour
        WHERE template IN (SELECT template FROM i) GROUP BY template HAVING sum(count) > $2",

    // The hour since 1970-01-01 in which the last attempt began; 0 where there was none.
    campaign_report: "
        SELECT m.status, m.reason, m.channel, COALESCE(a.locale, '') AS locale, COALESCE(floor(EXTRACT(EPOCH FROM a.begun_at) / 3600)::bigint, 0) AS hour, count(*)
        -- Each attempt by its key: the planner would read all attempts there are.
        FROM messages m LEFT JOIN LATERAL (SELECT locale, begun_at FROM attempts WHERE id = m.last_attempt OFFSET 0) a ON true
        WHERE m.campaign_id = $1 AND m.copy_of IS NULL
            AND NOT EXISTS (SELECT 1 FROM messages r WHERE r.retry_of = m.id AND r.retry_of IS NOT NULL)
        GROUP BY m.status, m.reason, m.channel, COALESCE(a.locale, ''), COALESCE(floor(EXTRACT(EPOCH FROM a.begun_at) / 3600)::bigint, 0)
        ORDER BY 1, 2, 3, 4, 5",

    campaign_replies: "
        SELECT intent, channel, locale, floor(EXTRACT(EPOCH FROM at) / 3600)::bigint AS hour, count(*) FROM (
            SELECT r.intent, m.channel, COALESCE(a.locale, '') AS locale, min(r.received_at) AS at
            FROM replies r JOIN messages m ON m.id = r.message_id LEFT JOIN attempts a ON a.id = m.last_attempt
            WHERE m.campaign_id = $1 GROUP BY m.id, a.id, r.intent
        ) AS answered
        GROUP BY intent, channel, locale, hour ORDER BY 1, 2, 3, 4",

    skip_numbers: &[
        "SELECT setval('lease_tokens', nextval('lease_tokens') + 1000000000)",
        "SELECT setval(pg_get_serial_sequence('events', 'ord'), nextval(pg_get_serial_sequence('events', 'ord')) + 1000000000)",
    ],
};
