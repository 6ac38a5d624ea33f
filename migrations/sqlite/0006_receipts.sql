-- What providers say later: receipts that are awaited, those that find no attempt, and addresses that fail.

ALTER TABLE messages ADD COLUMN receipt_by INTEGER;    -- sent, and a receipt is awaited until then
CREATE INDEX messages_receipt ON messages (receipt_by) WHERE receipt_by IS NOT NULL;

-- Receipts for which there is no attempt (yet). Ids, words and codes only; kept some hours.
CREATE TABLE receipts (
    id           TEXT NOT NULL PRIMARY KEY,
    provider     TEXT NOT NULL,
    message_id   TEXT NOT NULL,
    step         INTEGER NOT NULL,
    provider_ref TEXT NOT NULL,                        -- empty where there is none
    status       TEXT NOT NULL,
    failure      TEXT,
    code         TEXT,
    received_at  INTEGER NOT NULL,
    looked_at    INTEGER NOT NULL,
    UNIQUE (message_id, step, provider, provider_ref, status)
) STRICT;
CREATE INDEX receipts_look ON receipts (looked_at);

-- Attempts that failed because of their address, since something last arrived there. What they prove is judged once.
CREATE TABLE contact_faults (
    attempt_id    TEXT NOT NULL PRIMARY KEY,
    address_index BLOB NOT NULL,                       -- blind index of the address
    channel       TEXT NOT NULL,
    failure       TEXT NOT NULL,
    code          TEXT,
    at            INTEGER NOT NULL,
    judged_at     INTEGER
) STRICT;
CREATE INDEX contact_faults_address ON contact_faults (address_index, channel);
CREATE INDEX contact_faults_new ON contact_faults (at) WHERE judged_at IS NULL;
