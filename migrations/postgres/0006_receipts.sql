-- What providers say later: receipts that are awaited, those that find no attempt, and addresses that fail.

ALTER TABLE messages ADD COLUMN receipt_by timestamptz; -- sent, and a receipt is awaited until then
CREATE INDEX messages_receipt ON messages (receipt_by) WHERE receipt_by IS NOT NULL;

-- Receipts for which there is no attempt (yet). Ids, words and codes only; kept some hours.
CREATE TABLE receipts (
    id           uuid PRIMARY KEY,
    provider     text NOT NULL,
    message_id   uuid NOT NULL,
    step         smallint NOT NULL,
    provider_ref text NOT NULL,                     -- empty where there is none
    status       text NOT NULL,
    failure      text,
    code         text,
    received_at  timestamptz NOT NULL DEFAULT now(),
    looked_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (message_id, step, provider, provider_ref, status)
);
CREATE INDEX receipts_look ON receipts (looked_at);

-- Attempts that failed because of their address, since something last arrived there. What they prove is judged once.
CREATE TABLE contact_faults (
    attempt_id    uuid PRIMARY KEY,
    address_index bytea NOT NULL,                   -- blind index of the address
    channel       text NOT NULL,
    failure       text NOT NULL,
    code          text,
    at            timestamptz NOT NULL DEFAULT now(),
    judged_at     timestamptz
);
CREATE INDEX contact_faults_address ON contact_faults (address_index, channel);
CREATE INDEX contact_faults_new ON contact_faults (at) WHERE judged_at IS NULL;
