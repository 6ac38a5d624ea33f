-- A message is written three times on its way: admitted, begun, settled. The second and third time nothing changes that an
-- index speaks of, so that they touch none (heap-only tuples), and there is room for them in the page: indexes speak of what
-- is generated below, and that is NULL for whatever somebody has in hand or is over. Programs from before this write columns
-- that are gone, and are refused.

-- A lease has a row of its own, whatever it is of: it is good until then, and the messages that were taken with it say so by
-- its token. What it was of is looked at once it has ended.
CREATE TABLE leases (
    token    bigint PRIMARY KEY,
    owner    uuid NOT NULL,
    until    timestamptz NOT NULL,
    messages uuid[] NOT NULL
);
INSERT INTO leases (token, owner, until, messages)
    SELECT lease_token, (array_agg(lease_owner))[1], max(lease_until), array_agg(id) FROM messages
    WHERE lease_until IS NOT NULL GROUP BY lease_token;
UPDATE messages SET lease_token = NULL WHERE lease_until IS NULL AND lease_token IS NOT NULL;

-- Until when a receipt is awaited: a row is good while its message says the same.
CREATE TABLE awaited (
    until      timestamptz NOT NULL,
    message_id uuid NOT NULL
);
CREATE INDEX awaited_until ON awaited (until, message_id);
INSERT INTO awaited (until, message_id) SELECT receipt_by, id FROM messages WHERE receipt_by IS NOT NULL;

DROP INDEX messages_due, messages_leased, messages_waiting, messages_held, messages_unknown, messages_trouble,
    messages_campaign, messages_riding, messages_receipt;
-- What is there already is written anew, and needs no room beside it.
ALTER TABLE messages SET (fillfactor = 100);
ALTER TABLE messages
    DROP COLUMN lease_owner,
    DROP COLUMN lease_until,
    -- over which channel and from when it can be claimed
    ADD COLUMN claim_channel text GENERATED ALWAYS AS (CASE WHEN lease_token IS NULL AND due_at IS NOT NULL THEN channel END) STORED,
    ADD COLUMN claim_at timestamptz GENERATED ALWAYS AS (CASE WHEN lease_token IS NULL THEN due_at END) STORED,
    -- the hold under which it waits
    ADD COLUMN waits_under uuid GENERATED ALWAYS AS (CASE WHEN due_at IS NOT NULL THEN held_by END) STORED,
    ADD COLUMN unknown_since timestamptz GENERATED ALWAYS AS (CASE WHEN status = 'unknown' THEN changed_at END) STORED,
    -- the status, where it is one that people look for
    ADD COLUMN trouble text GENERATED ALWAYS AS (
        CASE WHEN status IN ('failed', 'unknown', 'suppressed', 'expired', 'cancelled') THEN status END) STORED,
    ADD COLUMN campaign_status text GENERATED ALWAYS AS (CASE WHEN campaign_id IS NOT NULL THEN status END) STORED,
    -- the attempt that carries it, while that is under way
    ADD COLUMN rides_on uuid GENERATED ALWAYS AS (
        CASE WHEN merged_into IS NOT NULL AND status IN ('sending', 'unknown') THEN last_attempt END) STORED;
ALTER TABLE messages SET (fillfactor = 45);
CREATE INDEX messages_due ON messages (claim_channel, source, priority, claim_at) WHERE claim_channel IS NOT NULL;
CREATE INDEX messages_waiting ON messages (patient_id, template) WHERE claim_at IS NOT NULL;
CREATE INDEX messages_held ON messages (waits_under) WHERE waits_under IS NOT NULL;
CREATE INDEX messages_unknown ON messages (unknown_since) WHERE unknown_since IS NOT NULL;
-- What people look for among millions, newest first.
CREATE INDEX messages_trouble ON messages (trouble, id) WHERE trouble IS NOT NULL;
CREATE INDEX messages_campaign ON messages (campaign_id, campaign_status, id) WHERE campaign_id IS NOT NULL;
CREATE INDEX messages_riding ON messages (rides_on) WHERE rides_on IS NOT NULL;

-- Why it went stands with the attempt: its message is written once more, and stays short.
ALTER TABLE attempts ADD COLUMN explanation text;

-- As few as of the columns that they are made of.
ALTER TABLE messages
    ALTER COLUMN claim_channel SET STATISTICS 20,
    ALTER COLUMN claim_at SET STATISTICS 20,
    ALTER COLUMN waits_under SET STATISTICS 20,
    ALTER COLUMN unknown_since SET STATISTICS 20,
    ALTER COLUMN trouble SET STATISTICS 20,
    ALTER COLUMN campaign_status SET STATISTICS 20,
    ALTER COLUMN rides_on SET STATISTICS 20;
ALTER TABLE attempts
    ALTER COLUMN explanation SET STATISTICS 0,
    ALTER COLUMN pointer SET STATISTICS 20;
ALTER TABLE leases ALTER COLUMN messages SET STATISTICS 0;
ALTER TABLE awaited
    ALTER COLUMN until SET STATISTICS 20,
    ALTER COLUMN message_id SET STATISTICS 0;

UPDATE schema_info SET min_compatible = 40;
