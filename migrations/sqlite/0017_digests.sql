-- Digests: messages that another one carries.

-- The message in whose text this one is told. While that is on the wire, or a receipt is awaited, last_attempt is the
-- other's attempt: what becomes of it decides what becomes of this one.
ALTER TABLE messages ADD COLUMN merged_into TEXT;
CREATE INDEX messages_merged ON messages (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX messages_riding ON messages (last_attempt) WHERE merged_into IS NOT NULL AND status IN ('sending', 'unknown');

-- What waits and could go along.
CREATE INDEX messages_waiting ON messages (patient_id, template) WHERE due_at IS NOT NULL AND lease_until IS NULL;
