-- Work for people, the guard against surges, the day's limit of a source, and holds that end as they say.

ALTER TABLE messages ADD COLUMN held_by TEXT;          -- the hold that it waits for
ALTER TABLE messages ADD COLUMN ack_by INTEGER;        -- people are called unless it is acknowledged by then
CREATE INDEX messages_held ON messages (held_by) WHERE held_by IS NOT NULL AND due_at IS NOT NULL;
CREATE INDEX messages_ack ON messages (ack_by) WHERE ack_by IS NOT NULL;
CREATE INDEX messages_unknown ON messages (changed_at) WHERE status = 'unknown';

-- What was held before does not say by which hold: it is decided upon anew.
UPDATE messages SET due_at = accepted_at
WHERE status = 'held' AND reason = 'operator_hold' AND due_at IS NOT NULL AND lease_until IS NULL;

ALTER TABLE holds ADD COLUMN cause TEXT NOT NULL DEFAULT 'operator_hold'
    CHECK (cause IN ('operator_hold', 'surge_hold'));
ALTER TABLE holds ADD COLUMN ended_as TEXT CHECK (ended_as IN ('send', 'expire', 'review'));
ALTER TABLE holds ADD COLUMN settled_at INTEGER;       -- nothing is left of what it held
UPDATE holds SET ended_as = 'send', settled_at = released_at WHERE released_at IS NOT NULL;
CREATE INDEX holds_unsettled ON holds (placed_at) WHERE settled_at IS NULL;
-- Two workers that see the same surge place one hold.
CREATE UNIQUE INDEX holds_surge ON holds (scope, value) WHERE cause = 'surge_hold' AND released_at IS NULL;

-- Jobs accepted by the hour (since 1970-01-01 UTC).
CREATE TABLE arrivals (
    hour     INTEGER NOT NULL,
    source   TEXT NOT NULL,
    template TEXT NOT NULL,
    count    INTEGER NOT NULL,
    dropped  INTEGER NOT NULL DEFAULT 0,               -- a surge that a person dropped: no measure for later ones
    PRIMARY KEY (hour, source, template)
) STRICT, WITHOUT ROWID;
CREATE INDEX arrivals_source ON arrivals (source, hour);
CREATE INDEX arrivals_template ON arrivals (template, hour);

-- Jobs accepted of a source with a limit, by calendar day of the organisation's zone.
CREATE TABLE source_days (
    source   TEXT NOT NULL,
    day      TEXT NOT NULL,                            -- 2026-11-28
    accepted INTEGER NOT NULL,
    PRIMARY KEY (source, day)
) STRICT, WITHOUT ROWID;

-- What a person has to do. Ids and words only.
CREATE TABLE work_items (
    id         TEXT NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL CHECK (kind IN ('plan_exhausted', 'outcome_unknown', 'unacknowledged', 'surge_hold',
                   'hold_review')),
    priority   INTEGER NOT NULL,
    source     TEXT,
    site       TEXT,
    message_id TEXT,
    patient_id TEXT,
    hold_id    TEXT,
    opened_at  INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    claimed_by TEXT,
    claimed_at INTEGER,
    closed_at  INTEGER,
    closed_by  TEXT,
    outcome    TEXT,
    alerts     INTEGER NOT NULL DEFAULT 0              -- 1: told that it is open; 2: told that nobody took it in time
) STRICT;
-- A message or a hold calls people once for one thing.
CREATE UNIQUE INDEX work_items_message ON work_items (message_id, kind) WHERE message_id IS NOT NULL;
CREATE UNIQUE INDEX work_items_hold ON work_items (hold_id, kind) WHERE hold_id IS NOT NULL;
CREATE INDEX work_items_open ON work_items (kind, id) WHERE closed_at IS NULL;
CREATE INDEX work_items_new ON work_items (id) WHERE alerts = 0;
CREATE INDEX work_items_unclaimed ON work_items (due_at) WHERE closed_at IS NULL AND claimed_at IS NULL AND alerts = 1;
