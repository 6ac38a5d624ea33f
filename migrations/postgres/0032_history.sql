-- What another record had said before it changed: the consent that was replaced, with its evidence, sealed. It may be sealed
-- anew or erased; all else of the history stays as it was written.
ALTER TABLE preference_changes ADD COLUMN superseded bytea;
DROP TRIGGER preference_changes_stay ON preference_changes;
CREATE TRIGGER preference_changes_stay
    BEFORE UPDATE OF id, patient_id, changed_at, changed_by, what, evidence OR DELETE ON preference_changes FOR EACH ROW
    EXECUTE FUNCTION refuse_rewriting();

-- What was found out about the address of somebody who is not in the directory: their job brings their contacts along, so
-- that there is no record to mark. Those who are there have it in their record.
CREATE TABLE address_statuses (
    address_index bytea NOT NULL,
    channel       text NOT NULL,
    status        text NOT NULL,                       -- bad, wrong
    at            timestamptz NOT NULL,
    evidence      text NOT NULL,                       -- a reply or a message, and a word of our tables or a code
    PRIMARY KEY (address_index, channel)
);
