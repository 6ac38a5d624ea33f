-- The patient's page behind /u/{token}. The token itself is nowhere kept.

ALTER TABLE attempts ADD COLUMN page_hash TEXT;    -- SHA-256 of the token of its link, in hexadecimal digits
CREATE INDEX attempts_page ON attempts (page_hash) WHERE page_hash IS NOT NULL;

-- What patients changed on their page: ids and words, kept for as long as the law asks for evidence.
CREATE TABLE preference_changes (
    id         TEXT NOT NULL PRIMARY KEY,
    patient_id TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    changed_by TEXT NOT NULL,
    what       TEXT NOT NULL,                      -- such as 'stop appointment sms'
    evidence   TEXT NOT NULL                       -- where it was said, and the message that led there
) STRICT;
CREATE INDEX preference_changes_patient ON preference_changes (patient_id, changed_at);

CREATE TRIGGER preference_changes_stay BEFORE UPDATE ON preference_changes
BEGIN
    SELECT RAISE(ABORT, 'preference_changes is a history: nothing in it is changed');
END;

CREATE TRIGGER preference_changes_remain BEFORE DELETE ON preference_changes
BEGIN
    SELECT RAISE(ABORT, 'preference_changes is a history: nothing in it is removed');
END;
