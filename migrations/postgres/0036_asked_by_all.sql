-- What a call asks is answered by a key in the same call, and what a mail asks by an answer to that mail: which message
-- is meant is known, and its digits need be no others than those of the template. Such rows have no address.

ALTER TABLE questions DROP CONSTRAINT questions_pkey;
ALTER TABLE questions ALTER COLUMN address_index DROP NOT NULL;
CREATE UNIQUE INDEX questions_digit ON questions (address_index, digit);
CREATE UNIQUE INDEX questions_own ON questions (message_id, answer) WHERE address_index IS NULL;
