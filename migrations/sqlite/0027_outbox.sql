-- What is still to be published stands apart from what was told: an event is written once and never touched again.
-- A program from before this would look for `published_at`.
CREATE TABLE outbox (
    ord   INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL
) STRICT;
INSERT INTO outbox (ord, shard) SELECT ord, shard FROM events WHERE published_at IS NULL;
DROP INDEX events_unpublished;
ALTER TABLE events DROP COLUMN published_at;
UPDATE schema_info SET min_compatible = 27;

-- By a trigger, so that no statement can tell an event that is not published.
CREATE TRIGGER events_outbox AFTER INSERT ON events
BEGIN
    INSERT INTO outbox (ord, shard) VALUES (NEW.ord, NEW.shard);
END;

-- `looked_at`: when the provider was last asked what became of an attempt, at first when it began; nothing where that is
-- known. No index speaks of an attempt's status, so that a result rewrites none of them.
DROP INDEX attempts_unknown;
UPDATE attempts SET looked_at = NULL WHERE status <> 'unknown' AND looked_at IS NOT NULL;
UPDATE attempts SET looked_at = begun_at WHERE status = 'unknown' AND looked_at IS NULL;
CREATE INDEX attempts_lost ON attempts (looked_at) WHERE looked_at IS NOT NULL;
