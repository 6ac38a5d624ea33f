-- In step with PostgreSQL, where a message that is begun or settled touches no index: indexes speak of what is generated
-- below, and that is NULL for whatever somebody has in hand or is over. Programs from before this write columns that are
-- gone, and are refused.

-- A lease has a row of its own, whatever it is of: it is good until then, and the messages that were taken with it say so by
-- its token.
CREATE TABLE leases (
    token INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT;
INSERT INTO leases (token, owner, until)
    SELECT lease_token, min(lease_owner), max(lease_until) FROM messages WHERE lease_until IS NOT NULL GROUP BY lease_token;
UPDATE messages SET lease_token = NULL WHERE lease_until IS NULL AND lease_token IS NOT NULL;

-- Until when a receipt is awaited: a row is good while its message says the same.
CREATE TABLE awaited (
    until      INTEGER NOT NULL,
    message_id TEXT NOT NULL
) STRICT;
CREATE INDEX awaited_until ON awaited (until, message_id);
INSERT INTO awaited (until, message_id) SELECT receipt_by, id FROM messages WHERE receipt_by IS NOT NULL;

DROP INDEX messages_due;
DROP INDEX messages_leased;
DROP INDEX messages_waiting;
DROP INDEX messages_held;
DROP INDEX messages_unknown;
DROP INDEX messages_trouble;
DROP INDEX messages_campaign;
DROP INDEX messages_riding;
DROP INDEX messages_receipt;
ALTER TABLE messages DROP COLUMN lease_owner;
ALTER TABLE messages DROP COLUMN lease_until;
-- over which channel and from when it can be claimed
ALTER TABLE messages ADD COLUMN claim_channel TEXT GENERATED ALWAYS AS (CASE WHEN lease_token IS NULL AND due_at IS NOT NULL THEN channel END) VIRTUAL;
ALTER TABLE messages ADD COLUMN claim_at INTEGER GENERATED ALWAYS AS (CASE WHEN lease_token IS NULL THEN due_at END) VIRTUAL;
-- the hold under which it waits
ALTER TABLE messages ADD COLUMN waits_under TEXT GENERATED ALWAYS AS (CASE WHEN due_at IS NOT NULL THEN held_by END) VIRTUAL;
ALTER TABLE messages ADD COLUMN unknown_since INTEGER GENERATED ALWAYS AS (CASE WHEN status = 'unknown' THEN changed_at END) VIRTUAL;
-- the status, where it is one that people look for
ALTER TABLE messages ADD COLUMN trouble TEXT GENERATED ALWAYS AS (
    CASE WHEN status IN ('failed', 'unknown', 'suppressed', 'expired', 'cancelled') THEN status END) VIRTUAL;
ALTER TABLE messages ADD COLUMN campaign_status TEXT GENERATED ALWAYS AS (CASE WHEN campaign_id IS NOT NULL THEN status END) VIRTUAL;
-- the attempt that carries it, while that is under way
ALTER TABLE messages ADD COLUMN rides_on TEXT GENERATED ALWAYS AS (
    CASE WHEN merged_into IS NOT NULL AND status IN ('sending', 'unknown') THEN last_attempt END) VIRTUAL;
CREATE INDEX messages_due ON messages (claim_channel, source, priority, claim_at) WHERE claim_channel IS NOT NULL;
CREATE INDEX messages_leased ON messages (lease_token) WHERE lease_token IS NOT NULL;
CREATE INDEX messages_waiting ON messages (patient_id, template) WHERE claim_at IS NOT NULL;
CREATE INDEX messages_held ON messages (waits_under) WHERE waits_under IS NOT NULL;
CREATE INDEX messages_unknown ON messages (unknown_since) WHERE unknown_since IS NOT NULL;
-- What people look for among millions, newest first.
CREATE INDEX messages_trouble ON messages (trouble, id) WHERE trouble IS NOT NULL;
CREATE INDEX messages_campaign ON messages (campaign_id, campaign_status, id) WHERE campaign_id IS NOT NULL;
CREATE INDEX messages_riding ON messages (rides_on) WHERE rides_on IS NOT NULL;

-- Why it went stands with the attempt: its message is written once more, and stays short.
ALTER TABLE attempts ADD COLUMN explanation TEXT;

UPDATE schema_info SET min_compatible = 40;
