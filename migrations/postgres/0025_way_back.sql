-- The one answer that a machine gives to a mail: due, begun before anything leaves, sent, failed, unknown, or none.
ALTER TABLE replies ADD COLUMN answer_state text;
-- owed (a stop is confirmed, danger is answered) or courtesy.
ALTER TABLE replies ADD COLUMN answer_kind text;
-- When it is next looked at: to be sent, or, where it has begun, to be given up as unknown.
ALTER TABLE replies ADD COLUMN answer_due timestamptz;
ALTER TABLE replies ADD COLUMN answer_tries integer NOT NULL DEFAULT 0;
ALTER TABLE replies ADD COLUMN answered_at timestamptz;
-- Sealed: what the answer depends on, and the ids of the mails that it answers.
ALTER TABLE replies ADD COLUMN told bytea;
CREATE INDEX replies_answer_due ON replies (answer_due) WHERE answer_due IS NOT NULL;

-- What the report that settled an attempt says beside its failure.
ALTER TABLE attempts ADD COLUMN report text;
-- The text as it was sent, as a keyed hash, where its provider lists what it took: another system's text to the same
-- number is not taken for ours.
ALTER TABLE attempts ADD COLUMN text_mark bytea;
-- Blind indexes of those whom a report names, one after the other; empty where it names nobody.
ALTER TABLE receipts ADD COLUMN named bytea;
