-- Restores from a dump: what has been looked after, and which messages may have moved since the dump was taken.

CREATE TABLE recoveries (
    id          uuid PRIMARY KEY,
    restored_to timestamptz NOT NULL UNIQUE,       -- when the dump was taken
    down_since  timestamptz NOT NULL,              -- nothing was sent from then on
    begun_at    timestamptz NOT NULL DEFAULT now(),
    begun_by    text NOT NULL,
    hold_id     uuid NOT NULL,                     -- nothing leaves before a person releases it
    gathered_at timestamptz                        -- all that may have moved stands in `restored`
);

CREATE TABLE restored (
    message_id  uuid PRIMARY KEY,
    recovery_id uuid NOT NULL,
    step        smallint NOT NULL,                 -- that may have been sent since
    open        boolean NOT NULL                   -- nobody knows yet whether it was
);
CREATE INDEX restored_open ON restored (message_id) WHERE open;
