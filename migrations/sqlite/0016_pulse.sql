-- What happened in each minute, for the charts of the console: narrow, so that it stays cheap beside a million messages.

CREATE TABLE pulse (
    minute   INTEGER NOT NULL,                     -- since 1970-01-01 UTC
    channel  TEXT NOT NULL,                        -- empty: none yet
    provider TEXT NOT NULL,                        -- empty: none
    what     TEXT NOT NULL,                        -- a message's status, or the type of another event
    reason   TEXT NOT NULL,                        -- empty: none
    count    INTEGER NOT NULL,
    PRIMARY KEY (minute, channel, provider, what, reason)
) STRICT;

-- Up to which event was counted.
CREATE TABLE pulse_mark (
    only_row INTEGER PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    ord      INTEGER NOT NULL
) STRICT;
-- What lies far back is not counted afterwards.
INSERT INTO pulse_mark (ord) SELECT COALESCE(max(ord), 0) FROM events;

-- What people look for among millions, newest first.
CREATE INDEX messages_trouble ON messages (status, id)
    WHERE status IN ('failed', 'unknown', 'suppressed', 'expired', 'cancelled');
