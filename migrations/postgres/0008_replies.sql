-- What patients send back, and the work that it makes.

-- The last message to a number is the one that a reply from there follows.
CREATE INDEX attempts_sms_address ON attempts (address_index, begun_at) WHERE channel = 'sms';

CREATE TABLE replies (
    id            uuid PRIMARY KEY,
    provider      text NOT NULL,
    provider_ref  text NOT NULL,
    address_index bytea NOT NULL,                  -- blind index of the number that it came from
    address       bytea,                           -- sealed; NULL where the patient was erased
    message_id    uuid,                            -- that it follows
    patient_id    text,
    intent        text NOT NULL,
    body          bytea,                           -- sealed; NULL where the patient was erased
    received_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (provider, provider_ref)
);
CREATE INDEX replies_patient ON replies (patient_id) WHERE patient_id IS NOT NULL;

ALTER TABLE work_items ADD COLUMN reply_id uuid;
ALTER TABLE work_items DROP CONSTRAINT work_items_kind_check;
ALTER TABLE work_items ADD CONSTRAINT work_items_kind_check CHECK (kind IN ('plan_exhausted', 'outcome_unknown',
    'unacknowledged', 'surge_hold', 'hold_review', 'reply', 'safety', 'maybe_cancel_visit'));
-- A message calls people once for one thing, but for each reply to it.
DROP INDEX work_items_message;
CREATE UNIQUE INDEX work_items_message ON work_items (message_id, kind) WHERE message_id IS NOT NULL AND reply_id IS NULL;
CREATE UNIQUE INDEX work_items_reply ON work_items (reply_id) WHERE reply_id IS NOT NULL;
