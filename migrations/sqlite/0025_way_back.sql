-- The one answer that a machine gives to a mail: due, begun before anything leaves, sent, failed, unknown, or none.
ALTER TABLE replies ADD COLUMN answer_state TEXT;
-- owed (a stop is confirmed, danger is answered) or courtesy.
ALTER TABLE replies ADD COLUMN answer_kind TEXT;
-- When it is next looked at: to be sent, or, where it has begun, to be given up as unknown.
ALTER TABLE replies ADD COLUMN answer_due INTEGER;
ALTER TABLE replies ADD COLUMN answer_tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE replies ADD COLUMN answered_at INTEGER;
-- Sealed: what the answer depends on, and the ids of the mails that it answers.
ALTER TABLE replies ADD COLUMN told BLOB;
CREATE INDEX replies_answer_due ON replies (answer_due) WHERE answer_due IS NOT NULL;

-- What the report that settled an attempt says beside its failure.
ALTER TABLE attempts ADD COLUMN report TEXT;
-- The text as it was sent, as a keyed hash, where its provider lists what it took: another system's text to the same
-- number is not taken for ours.
ALTER TABLE attempts ADD COLUMN text_mark BLOB;
-- Blind indexes of those whom a report names, one after the other; empty where it names nobody.
ALTER TABLE receipts ADD COLUMN named BLOB;
