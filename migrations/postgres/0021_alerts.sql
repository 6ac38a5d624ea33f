-- What is wrong with the whole of it, what people on call were told of it and what they said. Ids and words only.

CREATE TABLE alerts (
    key             text PRIMARY KEY,                  -- the trouble, and what it is about
    trouble         text NOT NULL,
    subject         text NOT NULL,                     -- empty: the whole
    level           text NOT NULL CHECK (level IN ('bad', 'look')),
    what            text NOT NULL,
    since           timestamptz NOT NULL,
    gone_since      timestamptz,
    ended_at        timestamptz,
    told_at         timestamptz,
    owed            text CHECK (owed IN ('raised', 'again', 'cleared')),
    owed_ways       text NOT NULL,                     -- JSON
    acknowledged_by text,
    acknowledged_at timestamptz,
    snoozed_by      text,
    snoozed_until   timestamptz
);

-- One worker looks and tells.
CREATE TABLE alert_watch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    worker   uuid,
    until    timestamptz
);
INSERT INTO alert_watch (worker) VALUES (NULL);

-- Surges that a person has to look at.
CREATE INDEX holds_surge_open ON holds (placed_at) WHERE cause = 'surge_hold' AND released_at IS NULL;
CREATE INDEX work_items_due ON work_items (due_at) WHERE closed_at IS NULL AND claimed_at IS NULL;
