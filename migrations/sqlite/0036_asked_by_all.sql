-- What a call asks is answered by a key in the same call, and what a mail asks by an answer to that mail: which message
-- is meant is known, and its digits need be no others than those of the template. Such rows have no address.

CREATE TABLE questions_of_all (
    address_index BLOB,                                -- blind index of the number
    digit         INTEGER NOT NULL,
    message_id    TEXT NOT NULL,
    answer        TEXT NOT NULL,                       -- its name in the template
    words         TEXT NOT NULL,                       -- what may be written instead, one a line
    staff         INTEGER NOT NULL,                    -- 1: a person has to act on it
    asked_at      INTEGER NOT NULL,
    until         INTEGER NOT NULL,                    -- an answer counts before
    answered_at   INTEGER
) STRICT;
INSERT INTO questions_of_all SELECT address_index, digit, message_id, answer, words, staff, asked_at, until, answered_at
    FROM questions;
DROP TABLE questions;
ALTER TABLE questions_of_all RENAME TO questions;
CREATE INDEX questions_message ON questions (message_id);
CREATE INDEX questions_until ON questions (until);
CREATE UNIQUE INDEX questions_digit ON questions (address_index, digit);
CREATE UNIQUE INDEX questions_own ON questions (message_id, answer) WHERE address_index IS NULL;
