-- What is wrong with the whole of it, what people on call were told of it and what they said. Ids and words only.

CREATE TABLE alerts (
    key             TEXT NOT NULL PRIMARY KEY,         -- the trouble, and what it is about
    trouble         TEXT NOT NULL,
    subject         TEXT NOT NULL,                     -- empty: the whole
    level           TEXT NOT NULL CHECK (level IN ('bad', 'look')),
    what            TEXT NOT NULL,
    since           INTEGER NOT NULL,
    gone_since      INTEGER,
    ended_at        INTEGER,
    told_at         INTEGER,
    owed            TEXT CHECK (owed IN ('raised', 'again', 'cleared')),
    owed_ways       TEXT NOT NULL,                     -- JSON
    acknowledged_by TEXT,
    acknowledged_at INTEGER,
    snoozed_by      TEXT,
    snoozed_until   INTEGER
) STRICT;

-- One worker looks and tells.
CREATE TABLE alert_watch (
    only_row INTEGER PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    worker   TEXT,
    until    INTEGER
) STRICT;
INSERT INTO alert_watch (worker) VALUES (NULL);

-- Surges that a person has to look at.
CREATE INDEX holds_surge_open ON holds (placed_at) WHERE cause = 'surge_hold' AND released_at IS NULL;
CREATE INDEX work_items_due ON work_items (due_at) WHERE closed_at IS NULL AND claimed_at IS NULL;
