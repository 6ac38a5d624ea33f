-- The patient's page behind /u/{token}. The token itself is nowhere kept.

ALTER TABLE attempts ADD COLUMN page_hash text;    -- SHA-256 of the token of its link, in hexadecimal digits
CREATE INDEX attempts_page ON attempts (page_hash) WHERE page_hash IS NOT NULL;

-- What patients changed on their page: ids and words, kept for as long as the law asks for evidence.
CREATE TABLE preference_changes (
    id         uuid PRIMARY KEY,
    patient_id text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL,
    what       text NOT NULL,                      -- such as 'stop appointment sms'
    evidence   text NOT NULL                       -- where it was said, and the message that led there
);
CREATE INDEX preference_changes_patient ON preference_changes (patient_id, changed_at);

CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'preference_changes is a history: nothing in it is changed or removed'
        USING ERRCODE = 'check_violation';
END $$;

CREATE TRIGGER preference_changes_stay BEFORE UPDATE OR DELETE ON preference_changes FOR EACH ROW
    EXECUTE FUNCTION refuse_rewriting();
