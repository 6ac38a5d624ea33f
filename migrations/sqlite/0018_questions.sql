-- What waits for an answer at a number: each answer that a text message offers has a digit there that no other has.

CREATE TABLE questions (
    address_index BLOB NOT NULL,                       -- blind index of the number
    digit         INTEGER NOT NULL,
    message_id    TEXT NOT NULL,
    answer        TEXT NOT NULL,                       -- its name in the template
    words         TEXT NOT NULL,                       -- what may be written instead, one a line
    staff         INTEGER NOT NULL,                    -- 1: a person has to act on it
    asked_at      INTEGER NOT NULL,
    until         INTEGER NOT NULL,                    -- an answer counts before
    answered_at   INTEGER,
    PRIMARY KEY (address_index, digit)
) STRICT;
CREATE INDEX questions_message ON questions (message_id);
CREATE INDEX questions_until ON questions (until);

-- Which of the answers that its message offers a reply is.
ALTER TABLE replies ADD COLUMN answer TEXT;
-- What came from a number before.
CREATE INDEX replies_address ON replies (address_index, received_at);

-- Attempts of which nobody knows whether they were taken are looked up at their provider now and then.
ALTER TABLE attempts ADD COLUMN looked_at INTEGER;
ALTER TABLE attempts ADD COLUMN looks INTEGER NOT NULL DEFAULT 0;
CREATE INDEX attempts_unknown ON attempts (begun_at) WHERE status = 'unknown';
