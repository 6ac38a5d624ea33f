-- Restores from a dump: what has been looked after, and which messages may have moved since the dump was taken.

CREATE TABLE recoveries (
    id          TEXT PRIMARY KEY,
    restored_to INTEGER NOT NULL UNIQUE,           -- when the dump was taken
    down_since  INTEGER NOT NULL,                  -- nothing was sent from then on
    begun_at    INTEGER NOT NULL,
    begun_by    TEXT NOT NULL,
    hold_id     TEXT NOT NULL,                     -- nothing leaves before a person releases it
    gathered_at INTEGER                            -- all that may have moved stands in `restored`
) STRICT;

CREATE TABLE restored (
    message_id  TEXT PRIMARY KEY,
    recovery_id TEXT NOT NULL,
    step        INTEGER NOT NULL,                  -- that may have been sent since
    open        INTEGER NOT NULL                   -- nobody knows yet whether it was
) STRICT;
CREATE INDEX restored_open ON restored (message_id) WHERE open;
