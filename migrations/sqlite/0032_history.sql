-- What another record had said before it changed: the consent that was replaced, with its evidence, sealed. It may be sealed
-- anew or erased; all else of the history stays as it was written.
ALTER TABLE preference_changes ADD COLUMN superseded BLOB;
DROP TRIGGER preference_changes_stay;
CREATE TRIGGER preference_changes_stay
    BEFORE UPDATE OF id, patient_id, changed_at, changed_by, what, evidence ON preference_changes
BEGIN
    SELECT RAISE(ABORT, 'preference_changes is a history: nothing in it is changed');
END;

-- What was found out about the address of somebody who is not in the directory: their job brings their contacts along, so
-- that there is no record to mark. Those who are there have it in their record.
CREATE TABLE address_statuses (
    address_index BLOB NOT NULL,
    channel       TEXT NOT NULL,
    status        TEXT NOT NULL,                       -- bad, wrong
    at            INTEGER NOT NULL,
    evidence      TEXT NOT NULL,                       -- a reply or a message, and a word of our tables or a code
    PRIMARY KEY (address_index, channel)
) STRICT;
