-- What waits for an answer at a number: each answer that a text message offers has a digit there that no other has.

CREATE TABLE questions (
    address_index bytea NOT NULL,                  -- blind index of the number
    digit         smallint NOT NULL,
    message_id    uuid NOT NULL,
    answer        text NOT NULL,                   -- its name in the template
    words         text NOT NULL,                   -- what may be written instead, one a line
    staff         boolean NOT NULL,                -- a person has to act on it
    asked_at      timestamptz NOT NULL,
    until         timestamptz NOT NULL,            -- an answer counts before
    answered_at   timestamptz,
    PRIMARY KEY (address_index, digit)
);
CREATE INDEX questions_message ON questions (message_id);
CREATE INDEX questions_until ON questions (until);

-- Which of the answers that its message offers a reply is.
ALTER TABLE replies ADD COLUMN answer text;
-- What came from a number before.
CREATE INDEX replies_address ON replies (address_index, received_at);

-- Attempts of which nobody knows whether they were taken are looked up at their provider now and then.
ALTER TABLE attempts ADD COLUMN looked_at timestamptz;
ALTER TABLE attempts ADD COLUMN looks smallint NOT NULL DEFAULT 0;
CREATE INDEX attempts_unknown ON attempts (begun_at) WHERE status = 'unknown';
