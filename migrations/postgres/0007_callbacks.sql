-- Results by HTTP: which events have still to be posted, and how each receiver is doing.

ALTER TABLE events ADD COLUMN callback text;           -- the source that is told of it by HTTP too

-- What was posted is gone from here; what is dead stays until a person has it tried again.
CREATE TABLE callbacks (
    id         uuid PRIMARY KEY,                       -- the event's
    ord        bigint NOT NULL,                        -- its row
    source     text NOT NULL,
    message_id uuid,
    tries      integer NOT NULL DEFAULT 0,
    since      timestamptz NOT NULL,                   -- it waits
    due_at     timestamptz NOT NULL,
    code       text,                                   -- what became of the last try
    dead_at    timestamptz
) WITH (fillfactor = 70);
CREATE INDEX callbacks_waiting ON callbacks (source, tries, ord) WHERE dead_at IS NULL;
CREATE INDEX callbacks_message ON callbacks (message_id, ord) WHERE message_id IS NOT NULL;

-- Whoever holds the row posts the next round to that receiver.
CREATE TABLE callback_sources (
    source      text PRIMARY KEY,
    owner       uuid,
    until       timestamptz,
    failures    integer NOT NULL DEFAULT 0,            -- rounds in a row in which nothing got through
    rests_until timestamptz
);

-- By a trigger, so that an event and its callback are one transaction whichever statement tells it. The condition
-- costs nothing where the source has no callback.
CREATE FUNCTION queue_callback() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO callbacks (id, ord, source, message_id, since, due_at)
    VALUES ((NEW.body::jsonb ->> 'id')::uuid, NEW.ord, NEW.callback, NEW.message_id, NEW.created_at, NEW.created_at);
    RETURN NULL;
END $$;
CREATE TRIGGER events_callback AFTER INSERT ON events FOR EACH ROW
    WHEN (NEW.callback IS NOT NULL) EXECUTE FUNCTION queue_callback();
