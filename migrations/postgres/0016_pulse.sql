-- What happened in each minute, for the charts of the console: narrow, so that it stays cheap beside a million messages.

CREATE TABLE pulse (
    minute   bigint NOT NULL,                      -- since 1970-01-01 UTC
    channel  text NOT NULL,                        -- empty: none yet
    provider text NOT NULL,                        -- empty: none
    what     text NOT NULL,                        -- a message's status, or the type of another event
    reason   text NOT NULL,                        -- empty: none
    count    bigint NOT NULL,
    PRIMARY KEY (minute, channel, provider, what, reason)
) WITH (fillfactor = 50);

-- Up to which event was counted.
CREATE TABLE pulse_mark (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    ord      bigint NOT NULL
);
-- What lies far back is not counted afterwards.
INSERT INTO pulse_mark (ord) SELECT COALESCE(max(ord), 0) FROM events;

-- What people look for among millions, newest first.
CREATE INDEX messages_trouble ON messages (status, id)
    WHERE status IN ('failed', 'unknown', 'suppressed', 'expired', 'cancelled');
