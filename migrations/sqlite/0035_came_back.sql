-- People are called when a mail comes back that was told as delivered. SQLite cannot change a CHECK: the table is made anew.
CREATE TABLE work_items_anew (
    id         TEXT NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL CHECK (kind IN ('plan_exhausted', 'outcome_unknown', 'came_back', 'unacknowledged', 'surge_hold',
                   'hold_review', 'reply', 'safety', 'maybe_cancel_visit')),
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
    alerts     INTEGER NOT NULL DEFAULT 0,             -- 1: told that it is open; 2: told that nobody took it in time
    reply_id   TEXT
) STRICT;
INSERT INTO work_items_anew
SELECT id, kind, priority, source, site, message_id, patient_id, hold_id, opened_at, due_at, claimed_by, claimed_at,
    closed_at, closed_by, outcome, alerts, reply_id
FROM work_items;
DROP TABLE work_items;
ALTER TABLE work_items_anew RENAME TO work_items;
CREATE UNIQUE INDEX work_items_message ON work_items (message_id, kind) WHERE message_id IS NOT NULL AND reply_id IS NULL;
CREATE UNIQUE INDEX work_items_reply ON work_items (reply_id) WHERE reply_id IS NOT NULL;
CREATE UNIQUE INDEX work_items_hold ON work_items (hold_id, kind) WHERE hold_id IS NOT NULL;
CREATE INDEX work_items_open ON work_items (kind, id) WHERE closed_at IS NULL;
CREATE INDEX work_items_new ON work_items (id) WHERE alerts = 0;
CREATE INDEX work_items_unclaimed ON work_items (due_at) WHERE closed_at IS NULL AND claimed_at IS NULL AND alerts = 1;
CREATE INDEX work_items_due ON work_items (due_at) WHERE closed_at IS NULL AND claimed_at IS NULL;
CREATE INDEX work_items_order ON work_items ((CASE kind WHEN 'safety' THEN 0 ELSE 1 END), due_at, id) WHERE closed_at IS NULL;
