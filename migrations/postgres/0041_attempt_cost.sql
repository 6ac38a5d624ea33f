-- Where workers went on while 0040 was read in, what they took in hand and what they came to await has no row of its own.
INSERT INTO leases (token, owner, until, messages)
    SELECT lease_token, '00000000-0000-0000-0000-000000000000', now(), array_agg(id) FROM messages m
    WHERE lease_token IS NOT NULL AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.token = m.lease_token)
    GROUP BY lease_token;
INSERT INTO awaited (until, message_id)
    SELECT receipt_by, id FROM messages m
    WHERE receipt_by IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM awaited w WHERE w.until = m.receipt_by AND w.message_id = m.id);

-- What a try was reckoned at when it began, in millionths of the currency.
ALTER TABLE attempts ADD COLUMN cost bigint NOT NULL DEFAULT 0;
