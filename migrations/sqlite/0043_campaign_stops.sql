-- Messages of campaigns by which somebody came to say stop, by whatever way: text, page, the button beside a mail.
CREATE TABLE campaign_stops (
    message_id  TEXT PRIMARY KEY,
    campaign_id TEXT NOT NULL,
    at          INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX campaign_stops_at ON campaign_stops (campaign_id, at);
INSERT INTO campaign_stops (message_id, campaign_id, at)
    SELECT m.id, m.campaign_id, min(r.received_at) FROM replies r JOIN messages m ON m.id = r.message_id
    WHERE r.intent = 'stop' AND m.campaign_id IS NOT NULL GROUP BY m.id;
