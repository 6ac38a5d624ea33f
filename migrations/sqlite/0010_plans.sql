-- Plans: how long a step is waited for before the next one is taken as well. And the second person for emergencies.

ALTER TABLE attempts ADD COLUMN wait_us INTEGER NOT NULL DEFAULT 0; -- counted from when a provider has it
ALTER TABLE attempts ADD COLUMN awaits TEXT CHECK (awaits IN ('delivered', 'answered')); -- NULL: nothing follows by time

-- Emergencies, so that they can be counted by recipient, and whoever asked for them is known.
CREATE TABLE emergencies (
    message_id  TEXT NOT NULL PRIMARY KEY,
    source      TEXT NOT NULL,
    patient_id  TEXT NOT NULL,
    asked_by    TEXT,                                  -- NULL: nobody but the source is known
    accepted_at INTEGER NOT NULL
) STRICT;
CREATE INDEX emergencies_source ON emergencies (source, accepted_at);

-- SQLite cannot change a CHECK: the table is made anew.
CREATE TABLE holds_anew (
    id          TEXT NOT NULL PRIMARY KEY,
    scope       TEXT NOT NULL CHECK (scope IN ('all', 'source', 'site', 'template', 'purpose', 'channel', 'provider')),
    value       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    placed_by   TEXT NOT NULL,
    placed_at   INTEGER NOT NULL,
    until       INTEGER,
    on_release  TEXT NOT NULL CHECK (on_release IN ('send', 'expire', 'review')),
    released_at INTEGER,
    released_by TEXT,
    cause       TEXT NOT NULL DEFAULT 'operator_hold'
                    CHECK (cause IN ('operator_hold', 'surge_hold', 'awaiting_approval')),
    ended_as    TEXT CHECK (ended_as IN ('send', 'expire', 'review')),
    settled_at  INTEGER                                -- nothing is left of what it held
) STRICT;
INSERT INTO holds_anew
SELECT id, scope, value, reason, placed_by, placed_at, until, on_release, released_at, released_by, cause, ended_as,
    settled_at
FROM holds;
DROP TABLE holds;
ALTER TABLE holds_anew RENAME TO holds;
CREATE INDEX holds_unsettled ON holds (placed_at) WHERE settled_at IS NULL;
-- Two workers that see the same surge place one hold.
CREATE UNIQUE INDEX holds_surge ON holds (scope, value) WHERE cause = 'surge_hold' AND released_at IS NULL;
