-- Campaigns: what is asked, how far it has come, and who is meant.

CREATE TABLE campaigns (
    id             TEXT NOT NULL PRIMARY KEY,
    source         TEXT NOT NULL,
    template       TEXT NOT NULL,
    plan           BLOB NOT NULL,                      -- sealed: what is asked, as JSON
    state          TEXT NOT NULL CHECK (state IN ('draft', 'awaiting_approval', 'approved', 'running', 'canary_hold',
                       'paused', 'done', 'cancelled')),
    reason         TEXT,                               -- why it stands still
    created_by     TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    changed_at     INTEGER NOT NULL,
    started_at     INTEGER,
    revision       INTEGER NOT NULL DEFAULT 0,         -- rises with every command
    recipients     INTEGER NOT NULL DEFAULT 0,
    audience       TEXT NOT NULL DEFAULT '',           -- the sum of the digests of all who are meant, in hexadecimal digits
    expanded       INTEGER NOT NULL DEFAULT 0,         -- recipients that have a message
    refused        INTEGER NOT NULL DEFAULT 0,         -- recipients that cannot have one
    no_longer      INTEGER NOT NULL DEFAULT 0,         -- recipients that need none any more
    approved_by    TEXT,
    approved_at    INTEGER,
    approved_hash  TEXT,
    canary_passed  INTEGER NOT NULL DEFAULT 0,
    wave           INTEGER NOT NULL DEFAULT 0,         -- that is being written to
    wave_opens_at  INTEGER NOT NULL,
    next_turn      INTEGER NOT NULL,                   -- of the next recipient, by the pace
    hold_id        TEXT,                               -- stops what is written and not begun
    lease_owner    TEXT,
    lease_until    INTEGER
) STRICT;
CREATE INDEX campaigns_open ON campaigns (id) WHERE state IN ('running', 'canary_hold', 'paused') OR hold_id IS NOT NULL;

CREATE TABLE campaign_recipients (
    campaign_id TEXT NOT NULL,
    ordinal     INTEGER NOT NULL,                      -- in the audience, from 1
    patient_id  TEXT NOT NULL,
    body        BLOB NOT NULL,                         -- sealed: data and snapshot of their own; empty: none
    wave        INTEGER,                               -- NULL: not yet sorted
    ready_at    INTEGER NOT NULL,                      -- not written to before
    state       INTEGER NOT NULL DEFAULT 0,            -- 0 waits, 1 has a message, 2 needs none any more, 3 cannot have one
    message_id  TEXT,
    reason      TEXT,
    PRIMARY KEY (campaign_id, ordinal)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX campaign_recipients_patient ON campaign_recipients (campaign_id, patient_id);
CREATE INDEX campaign_recipients_waiting ON campaign_recipients (campaign_id, wave, ready_at, ordinal) WHERE state = 0;
CREATE INDEX campaign_recipients_history ON campaign_recipients (patient_id) WHERE state = 1;

-- What a campaign has under way, and what became of the rest.
CREATE INDEX messages_campaign ON messages (campaign_id, status) WHERE campaign_id IS NOT NULL;

-- SQLite cannot change a CHECK: the table is made anew.
CREATE TABLE holds_anew (
    id          TEXT NOT NULL PRIMARY KEY,
    scope       TEXT NOT NULL CHECK (scope IN ('all', 'source', 'site', 'template', 'purpose', 'channel', 'provider',
                    'campaign')),
    value       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    placed_by   TEXT NOT NULL,
    placed_at   INTEGER NOT NULL,
    until       INTEGER,
    on_release  TEXT NOT NULL CHECK (on_release IN ('send', 'expire', 'review')),
    released_at INTEGER,
    released_by TEXT,
    cause       TEXT NOT NULL DEFAULT 'operator_hold'
                    CHECK (cause IN ('operator_hold', 'surge_hold', 'awaiting_approval', 'campaign_paused')),
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
