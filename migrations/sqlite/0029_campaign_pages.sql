-- What a campaign has in one status is listed newest first: in a large campaign nothing else can be sorted in time. It stands in
-- the place of the index on campaign and status, so that no message has one entry more.
DROP INDEX messages_campaign;
CREATE INDEX messages_campaign ON messages (campaign_id, status, id) WHERE campaign_id IS NOT NULL;
