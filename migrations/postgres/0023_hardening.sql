-- One second try of a message: found by the message that it repeats.
CREATE INDEX messages_retry_of ON messages (retry_of) WHERE retry_of IS NOT NULL;

-- By which key a body came, so that it goes in again as what it is.
ALTER TABLE parked ADD COLUMN routing_key text;

-- Who changed the plan or the audience of a campaign: none of them approves it. Names, one a line.
ALTER TABLE campaigns ADD COLUMN changed_by text NOT NULL DEFAULT '';
