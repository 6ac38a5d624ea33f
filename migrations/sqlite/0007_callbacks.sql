-- Results by HTTP: which events have still to be posted, and how each receiver is doing.

ALTER TABLE events ADD COLUMN callback TEXT;           -- the source that is told of it by HTTP too

-- What was posted is gone from here; what is dead stays until a person has it tried again.
CREATE TABLE callbacks (
    id         TEXT NOT NULL PRIMARY KEY,              -- the event's
    ord        INTEGER NOT NULL,                       -- its row
    source     TEXT NOT NULL,
    message_id TEXT,
    tries      INTEGER NOT NULL DEFAULT 0,
    since      INTEGER NOT NULL,                       -- it waits
    due_at     INTEGER NOT NULL,
    code       TEXT,                                   -- what became of the last try
    dead_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX callbacks_waiting ON callbacks (source, tries, ord) WHERE dead_at IS NULL;
CREATE INDEX callbacks_message ON callbacks (message_id, ord) WHERE message_id IS NOT NULL;

-- Whoever holds the row posts the next round to that receiver.
CREATE TABLE callback_sources (
    source      TEXT NOT NULL PRIMARY KEY,
    owner       TEXT,
    until       INTEGER,
    failures    INTEGER NOT NULL DEFAULT 0,            -- rounds in a row in which nothing got through
    rests_until INTEGER
) STRICT, WITHOUT ROWID;

-- By a trigger, so that an event and its callback are one transaction whichever statement tells it. The condition
-- costs nothing where the source has no callback.
CREATE TRIGGER events_callback AFTER INSERT ON events WHEN NEW.callback IS NOT NULL
BEGIN
    INSERT INTO callbacks (id, ord, source, message_id, since, due_at)
    VALUES (NEW.body ->> 'id', NEW.ord, NEW.callback, NEW.message_id, NEW.created_at, NEW.created_at);
END;
