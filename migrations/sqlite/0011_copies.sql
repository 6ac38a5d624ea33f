-- Copies for proxies who are written to beside the patient, and whose own an address is.

ALTER TABLE messages ADD COLUMN copy_of TEXT;                   -- the message that this one is a copy of
ALTER TABLE messages ADD COLUMN copy_for BLOB;                  -- blind index of the proxy's key
CREATE UNIQUE INDEX messages_copies ON messages (copy_of, copy_for) WHERE copy_of IS NOT NULL;

-- A contact of the patient's own, not one of a proxy's. What was written before counts as own until it is written again.
ALTER TABLE patient_addresses ADD COLUMN own INTEGER NOT NULL DEFAULT 1;
