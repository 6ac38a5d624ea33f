-- The ledger: what was asked, what was decided, what was tried, what became of it. The same tables as in
-- migrations/postgres, with the same numbers.
-- Times are INTEGER microseconds since 1970-01-01 UTC; ids are UUIDs as hyphenated TEXT; truths are 0 and 1; statuses
-- and reasons are the words of src/domain; columns that hold protected health information are BLOB and pass the
-- Sealer. A NULL due_at means: nothing more to do by itself.

CREATE TABLE schema_info (
    only_row       INTEGER PRIMARY KEY CHECK (only_row = 1),
    min_compatible INTEGER NOT NULL
) STRICT;
INSERT INTO schema_info (only_row, min_compatible) VALUES (1, 1);

-- A lease is good for one claim; a later claim has a higher token, so that a late hand can be told apart.
CREATE TABLE lease_tokens (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    token    INTEGER NOT NULL
) STRICT;
INSERT INTO lease_tokens (only_row, token) VALUES (1, 0);

-- The idempotency key of every job ever accepted. Apart from messages, so that those may be partitioned.
CREATE TABLE job_keys (
    source       TEXT NOT NULL,
    job_id       TEXT NOT NULL,
    content_hash BLOB NOT NULL,
    message_id   TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (source, job_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    id             TEXT NOT NULL PRIMARY KEY,
    source         TEXT NOT NULL,
    job_id         TEXT NOT NULL,
    patient_id     TEXT NOT NULL,
    template       TEXT NOT NULL,
    purpose        TEXT NOT NULL,
    priority       INTEGER NOT NULL,               -- 0 urgent, 1 normal, 2 bulk
    about          TEXT,
    site           TEXT,
    campaign_id    TEXT,
    correlation_id TEXT,
    test           INTEGER NOT NULL,
    is_change      INTEGER NOT NULL DEFAULT 0,     -- replaces one that had been sent
    retry_of       TEXT,
    body           BLOB NOT NULL,                  -- sealed: the rest of the job
    accepted_at    INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    -- the furthest progress
    status         TEXT NOT NULL CHECK (status IN ('accepted', 'scheduled', 'held', 'sending', 'unknown', 'sent',
                       'failed', 'delivered', 'read', 'suppressed', 'expired', 'cancelled')),
    reason         TEXT,
    seq            INTEGER NOT NULL DEFAULT 0,     -- events emitted so far
    changed_at     INTEGER NOT NULL,
    -- the work state
    channel        TEXT NOT NULL DEFAULT '',       -- of the current step; empty until first planned
    step           INTEGER NOT NULL DEFAULT 0,
    tries          INTEGER NOT NULL DEFAULT 0,     -- attempts of this step so far
    due_at         INTEGER,
    lease_token    INTEGER,
    lease_owner    TEXT,
    lease_until    INTEGER,
    last_attempt   TEXT,
    -- how it came to be decided so
    explanation    TEXT
) STRICT;

CREATE INDEX messages_due ON messages (channel, source, priority, due_at)
    WHERE due_at IS NOT NULL AND lease_until IS NULL;
CREATE INDEX messages_leased ON messages (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX messages_about ON messages (source, about) WHERE about IS NOT NULL;
CREATE INDEX messages_retries ON messages (source, job_id) WHERE retry_of IS NOT NULL;
CREATE INDEX messages_patient ON messages (patient_id);

-- Rank never falls; suppressed, expired and cancelled are reached from rank 0 or 1 only and never left.
CREATE TRIGGER messages_status_rank BEFORE UPDATE OF status ON messages
WHEN OLD.status <> NEW.status AND NOT COALESCE(
    (SELECT CASE
         WHEN rank_then IS NULL THEN rank_now <= 1
         WHEN rank_now = 0 AND rank_then = 0 THEN 1
         ELSE rank_then > rank_now END
     FROM (SELECT
        CASE OLD.status WHEN 'accepted' THEN 0 WHEN 'scheduled' THEN 0 WHEN 'held' THEN 0 WHEN 'sending' THEN 1
        WHEN 'unknown' THEN 2 WHEN 'sent' THEN 3 WHEN 'failed' THEN 4 WHEN 'delivered' THEN 5 WHEN 'read' THEN 6 END AS rank_now,
        CASE NEW.status WHEN 'accepted' THEN 0 WHEN 'scheduled' THEN 0 WHEN 'held' THEN 0 WHEN 'sending' THEN 1
        WHEN 'unknown' THEN 2 WHEN 'sent' THEN 3 WHEN 'failed' THEN 4 WHEN 'delivered' THEN 5 WHEN 'read' THEN 6 END AS rank_then)), 0)
BEGIN
    SELECT RAISE(ABORT, 'this status may not move so');
END;

CREATE TABLE attempts (
    id            TEXT NOT NULL PRIMARY KEY,
    message_id    TEXT NOT NULL,
    step          INTEGER NOT NULL,
    number        INTEGER NOT NULL,                -- within the step, from 1
    status        TEXT NOT NULL CHECK (status IN ('sending', 'unknown', 'sent', 'failed', 'undelivered',
                      'delivered', 'read')),
    provider      TEXT NOT NULL,
    channel       TEXT NOT NULL,
    address       BLOB NOT NULL,                   -- sealed
    address_index BLOB NOT NULL,                   -- blind index of the address
    dedupes       INTEGER NOT NULL,                -- the provider knows a repeat by our send key
    segments      INTEGER NOT NULL,
    provider_ref  TEXT,
    failure       TEXT,
    code          TEXT,
    template_hash TEXT NOT NULL,                   -- of the bundle the text was rendered from
    locale        TEXT NOT NULL,
    worker        TEXT NOT NULL,
    begun_at      INTEGER NOT NULL,
    settled_at    INTEGER
) STRICT;
CREATE INDEX attempts_message ON attempts (message_id);

-- The outbox. Read unpublished in order; marked after the broker has confirmed.
CREATE TABLE events (
    ord          INTEGER PRIMARY KEY AUTOINCREMENT,
    shard        INTEGER NOT NULL,
    message_id   TEXT,
    seq          INTEGER NOT NULL,
    routing_key  TEXT NOT NULL,
    body         TEXT NOT NULL,                    -- JSON without seq; ids and codes only
    created_at   INTEGER NOT NULL,
    published_at INTEGER
) STRICT;
CREATE INDEX events_unpublished ON events (ord, shard) WHERE published_at IS NULL;
CREATE INDEX events_message ON events (message_id) WHERE message_id IS NOT NULL;

CREATE TABLE outbox_shards (
    shard INTEGER NOT NULL PRIMARY KEY,
    owner TEXT,
    until INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO outbox_shards (shard) SELECT value FROM json_each('[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]');

-- The directory.
CREATE TABLE patients (
    id         TEXT NOT NULL PRIMARY KEY,
    document   BLOB NOT NULL,                      -- sealed
    updated_at INTEGER,
    alias_of   TEXT,                               -- merged into that one
    stored_at  INTEGER NOT NULL
) STRICT;

-- Who stands behind an address.
CREATE TABLE patient_addresses (
    address_index BLOB NOT NULL,
    patient_id    TEXT NOT NULL,
    PRIMARY KEY (address_index, patient_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX patient_addresses_patient ON patient_addresses (patient_id);

-- What was said at an address, binding everybody behind it. Append-only; the latest per scope counts.
CREATE TABLE address_consents (
    id            TEXT NOT NULL PRIMARY KEY,
    address_index BLOB NOT NULL,
    channel       TEXT NOT NULL,
    purpose       TEXT,                            -- NULL: every purpose
    granted       INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    source        TEXT NOT NULL,
    recorded_by   TEXT,
    evidence      TEXT,
    recorded_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX address_consents_address ON address_consents (address_index);

-- One narrow row a patient (and an address: 'address:<hex>'): the revision that `begin` compares.
CREATE TABLE patient_state (
    subject      TEXT NOT NULL PRIMARY KEY,
    revision     INTEGER NOT NULL,
    recent_sends TEXT
) STRICT, WITHOUT ROWID;

-- A cancel or a replacement that came before its job.
CREATE TABLE tombstones (
    source TEXT NOT NULL,
    kind   TEXT NOT NULL CHECK (kind IN ('job', 'about')),
    name   TEXT NOT NULL,
    reason TEXT NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (source, kind, name)
) STRICT, WITHOUT ROWID;

-- What could not be accepted, with its reason, until a person repairs and replays it.
CREATE TABLE parked (
    id             TEXT NOT NULL PRIMARY KEY,
    reason         TEXT NOT NULL,
    field          TEXT NOT NULL,
    problems       TEXT NOT NULL,                  -- JSON: field, reason, rule, cure; never a value
    source         TEXT,
    job_id         TEXT,
    origin         TEXT NOT NULL,                  -- the queue, or http, or file
    correlation_id TEXT,
    body           BLOB NOT NULL,                  -- sealed
    body_hash      BLOB NOT NULL,                  -- tells a redelivery from a second fault
    parked_at      INTEGER NOT NULL,
    replayed_at    INTEGER
) STRICT;
CREATE INDEX parked_body ON parked (body_hash);
CREATE INDEX parked_open ON parked (parked_at) WHERE replayed_at IS NULL;

CREATE TABLE holds (
    id          TEXT NOT NULL PRIMARY KEY,
    scope       TEXT NOT NULL CHECK (scope IN ('all', 'source', 'site', 'template', 'purpose', 'channel', 'provider')),
    value       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    placed_by   TEXT NOT NULL,
    placed_at   INTEGER NOT NULL,
    until       INTEGER,
    on_release  TEXT NOT NULL CHECK (on_release IN ('send', 'expire', 'review')),
    released_at INTEGER,
    released_by TEXT
) STRICT;

CREATE TABLE workers (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    state      TEXT NOT NULL DEFAULT '{}'          -- JSON: lanes, providers, broker
) STRICT;

-- Theoretical arrival time of the next slot per key (GCRA), and what was used of a calendar day in UTC.
CREATE TABLE rate_gate (
    key  TEXT NOT NULL PRIMARY KEY,
    tat  INTEGER NOT NULL,
    day  INTEGER NOT NULL,                         -- since 1970-01-01
    used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Everybody who ever asked: claims walk it so that no source starves another.
CREATE TABLE sources (name TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
