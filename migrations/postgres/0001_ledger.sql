-- The ledger: what was asked, what was decided, what was tried, what became of it.
-- Times are TIMESTAMPTZ; statuses and reasons are the words of src/domain; columns that hold protected health
-- information are BYTEA and pass the Sealer. A NULL due_at means: nothing more to do by itself.

CREATE TABLE schema_info (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    min_compatible bigint NOT NULL
);
INSERT INTO schema_info (min_compatible) VALUES (1);

-- A lease is good for one claim; a later claim has a higher token, so that a late hand can be told apart.
CREATE SEQUENCE lease_tokens;

CREATE FUNCTION status_rank(status text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE status
        WHEN 'accepted' THEN 0 WHEN 'scheduled' THEN 0 WHEN 'held' THEN 0
        WHEN 'sending' THEN 1 WHEN 'unknown' THEN 2 WHEN 'sent' THEN 3
        WHEN 'failed' THEN 4 WHEN 'delivered' THEN 5 WHEN 'read' THEN 6
    END;

CREATE FUNCTION attempt_rank(status text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    CASE status
        WHEN 'sending' THEN 0 WHEN 'unknown' THEN 1 WHEN 'sent' THEN 2 WHEN 'failed' THEN 3
        WHEN 'undelivered' THEN 4 WHEN 'delivered' THEN 5 WHEN 'read' THEN 6
    END;

-- The idempotency key of every job ever accepted. Apart from messages, so that those may be partitioned.
CREATE TABLE job_keys (
    source       text NOT NULL,
    job_id       text NOT NULL,
    content_hash bytea NOT NULL,
    message_id   uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, job_id)
);

CREATE TABLE messages (
    id             uuid PRIMARY KEY,
    source         text NOT NULL,
    job_id         text NOT NULL,
    patient_id     text NOT NULL,
    template       text NOT NULL,
    purpose        text NOT NULL,
    priority       smallint NOT NULL,              -- 0 urgent, 1 normal, 2 bulk
    about          text,
    site           text,
    campaign_id    text,
    correlation_id text,
    test           boolean NOT NULL,
    is_change      boolean NOT NULL DEFAULT false, -- replaces one that had been sent
    retry_of       uuid,
    body           bytea NOT NULL,                 -- sealed: the rest of the job
    accepted_at    timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    -- the furthest progress
    status         text NOT NULL CHECK (status IN ('accepted', 'scheduled', 'held', 'sending', 'unknown', 'sent',
                       'failed', 'delivered', 'read', 'suppressed', 'expired', 'cancelled')),
    reason         text,
    seq            integer NOT NULL DEFAULT 0,     -- events emitted so far
    changed_at     timestamptz NOT NULL DEFAULT now(),
    -- the work state
    channel        text NOT NULL DEFAULT '',       -- of the current step; empty until first planned
    step           smallint NOT NULL DEFAULT 0,
    tries          smallint NOT NULL DEFAULT 0,    -- attempts of this step so far
    due_at         timestamptz,
    lease_token    bigint,
    lease_owner    uuid,
    lease_until    timestamptz,
    last_attempt   uuid,
    -- how it came to be decided so
    explanation    text
) WITH (fillfactor = 70);

CREATE INDEX messages_due ON messages (channel, source, priority, due_at)
    WHERE due_at IS NOT NULL AND lease_until IS NULL;
CREATE INDEX messages_leased ON messages (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX messages_about ON messages (source, about) WHERE about IS NOT NULL;
CREATE INDEX messages_retries ON messages (source, job_id) WHERE retry_of IS NOT NULL;
CREATE INDEX messages_patient ON messages (patient_id);

CREATE FUNCTION refuse_status_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'message %: status may not move from % to %', OLD.id, OLD.status, NEW.status
        USING ERRCODE = 'check_violation';
END $$;

-- Rank never falls; suppressed, expired and cancelled are reached from rank 0 or 1 only and never left.
CREATE TRIGGER messages_status_rank BEFORE UPDATE OF status ON messages FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status AND NOT COALESCE(
        CASE WHEN status_rank(OLD.status) IS NULL THEN false
             WHEN status_rank(NEW.status) IS NULL THEN status_rank(OLD.status) <= 1
             WHEN status_rank(OLD.status) = 0 AND status_rank(NEW.status) = 0 THEN true
             ELSE status_rank(NEW.status) > status_rank(OLD.status) END, false))
    EXECUTE FUNCTION refuse_status_move();

CREATE TABLE attempts (
    id            uuid PRIMARY KEY,
    message_id    uuid NOT NULL,
    step          smallint NOT NULL,
    number        smallint NOT NULL,               -- within the step, from 1
    status        text NOT NULL CHECK (status IN ('sending', 'unknown', 'sent', 'failed', 'undelivered',
                      'delivered', 'read')),
    provider      text NOT NULL,
    channel       text NOT NULL,
    address       bytea NOT NULL,                  -- sealed
    address_index bytea NOT NULL,                  -- blind index of the address
    dedupes       boolean NOT NULL,                -- the provider knows a repeat by our send key
    segments      smallint NOT NULL,
    provider_ref  text,
    failure       text,
    code          text,
    template_hash text NOT NULL,                   -- of the bundle the text was rendered from
    locale        text NOT NULL,
    worker        uuid NOT NULL,
    begun_at      timestamptz NOT NULL DEFAULT now(),
    settled_at    timestamptz
) WITH (fillfactor = 80);
CREATE INDEX attempts_message ON attempts (message_id);

-- The outbox. Read unpublished in order; marked after the broker has confirmed.
CREATE TABLE events (
    ord          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard        smallint NOT NULL,
    message_id   uuid,
    seq          integer NOT NULL,
    routing_key  text NOT NULL,
    body         text NOT NULL,                    -- JSON without seq; ids and codes only
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX events_unpublished ON events (ord) INCLUDE (shard) WHERE published_at IS NULL;
CREATE INDEX events_message ON events (message_id) WHERE message_id IS NOT NULL;

CREATE TABLE outbox_shards (
    shard smallint PRIMARY KEY,
    owner uuid,
    until timestamptz
);
INSERT INTO outbox_shards (shard) SELECT generate_series(0, 15);

-- The directory.
CREATE TABLE patients (
    id         text PRIMARY KEY,
    document   bytea NOT NULL,                     -- sealed
    updated_at timestamptz,
    alias_of   text,                               -- merged into that one
    stored_at  timestamptz NOT NULL DEFAULT now()
);

-- Who stands behind an address.
CREATE TABLE patient_addresses (
    address_index bytea NOT NULL,
    patient_id    text NOT NULL,
    PRIMARY KEY (address_index, patient_id)
);
CREATE INDEX patient_addresses_patient ON patient_addresses (patient_id);

-- What was said at an address, binding everybody behind it. Append-only; the latest per scope counts.
CREATE TABLE address_consents (
    id            uuid PRIMARY KEY,
    address_index bytea NOT NULL,
    channel       text NOT NULL,
    purpose       text,                            -- NULL: every purpose
    granted       boolean NOT NULL,
    at            timestamptz NOT NULL,
    source        text NOT NULL,
    recorded_by   text,
    evidence      text,
    recorded_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX address_consents_address ON address_consents (address_index);

-- One narrow row a patient (and an address: 'address:<hex>'): the revision that `begin` compares.
CREATE TABLE patient_state (
    subject      text PRIMARY KEY,
    revision     bigint NOT NULL,
    recent_sends text
) WITH (fillfactor = 70);

-- A cancel or a replacement that came before its job.
CREATE TABLE tombstones (
    source text NOT NULL,
    kind   text NOT NULL CHECK (kind IN ('job', 'about')),
    name   text NOT NULL,
    reason text NOT NULL,
    until  timestamptz NOT NULL,
    PRIMARY KEY (source, kind, name)
);

-- What could not be accepted, with its reason, until a person repairs and replays it.
CREATE TABLE parked (
    id             uuid PRIMARY KEY,
    reason         text NOT NULL,
    field          text NOT NULL,
    problems       text NOT NULL,                  -- JSON: field, reason, rule, cure; never a value
    source         text,
    job_id         text,
    origin         text NOT NULL,                  -- the queue, or http, or file
    correlation_id text,
    body           bytea NOT NULL,                 -- sealed
    body_hash      bytea NOT NULL,                 -- tells a redelivery from a second fault
    parked_at      timestamptz NOT NULL DEFAULT now(),
    replayed_at    timestamptz
);
CREATE INDEX parked_body ON parked (body_hash);
CREATE INDEX parked_open ON parked (parked_at) WHERE replayed_at IS NULL;

CREATE TABLE holds (
    id          uuid PRIMARY KEY,
    scope       text NOT NULL CHECK (scope IN ('all', 'source', 'site', 'template', 'purpose', 'channel', 'provider')),
    value       text NOT NULL,
    reason      text NOT NULL,
    placed_by   text NOT NULL,
    placed_at   timestamptz NOT NULL DEFAULT now(),
    until       timestamptz,
    on_release  text NOT NULL CHECK (on_release IN ('send', 'expire', 'review')),
    released_at timestamptz,
    released_by text
);

CREATE TABLE workers (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    state      text NOT NULL DEFAULT '{}'          -- JSON: lanes, providers, broker
);

-- Theoretical arrival time of the next slot per key (GCRA), and what was used of a calendar day in UTC.
CREATE TABLE rate_gate (
    key  text PRIMARY KEY,
    tat  timestamptz NOT NULL,
    day  bigint NOT NULL,                          -- since 1970-01-01
    used bigint NOT NULL
) WITH (fillfactor = 50);

-- Everybody who ever asked: claims walk it so that no source starves another.
CREATE TABLE sources (name text PRIMARY KEY);
