-- What is still to be published stands apart from what was told: an event is written once and never touched again.
-- A program from before this would look for `published_at`.
CREATE TABLE outbox (
    ord   bigint PRIMARY KEY,
    shard smallint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
INSERT INTO outbox (ord, shard) SELECT ord, shard FROM events WHERE published_at IS NULL;
DROP INDEX events_unpublished;
ALTER TABLE events DROP COLUMN published_at;
UPDATE schema_info SET min_compatible = 27;

-- By a trigger, so that no statement can tell an event that is not published.
CREATE FUNCTION queue_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (ord, shard) SELECT ord, shard FROM told;
    RETURN NULL;
END $$;
CREATE TRIGGER events_outbox AFTER INSERT ON events REFERENCING NEW TABLE AS told
    FOR EACH STATEMENT EXECUTE FUNCTION queue_event();

-- `looked_at`: when the provider was last asked what became of an attempt, at first when it began; nothing where that is
-- known. No index speaks of an attempt's status, so that a result rewrites none of them.
DROP INDEX attempts_unknown;
UPDATE attempts SET looked_at = NULL WHERE status <> 'unknown' AND looked_at IS NOT NULL;
UPDATE attempts SET looked_at = begun_at WHERE status = 'unknown' AND looked_at IS NULL;
CREATE INDEX attempts_lost ON attempts (looked_at) WHERE looked_at IS NOT NULL;

-- The tables through which every job goes are looked through by ANALYZE every minute of a busy day, which took an eighth
-- of the database's time. A small sample will do for what statements choose by, and of the rest none is needed.
DO $$
DECLARE
    seen record;
BEGIN
    FOR seen IN SELECT attrelid::regclass AS name, attname FROM pg_attribute
        WHERE attrelid IN ('job_keys'::regclass, 'messages'::regclass, 'attempts'::regclass, 'events'::regclass)
          AND attnum > 0 AND NOT attisdropped
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER %I SET STATISTICS %s', seen.name, seen.attname,
            CASE WHEN seen.attname IN ('content_hash', 'correlation_id', 'body', 'explanation', 'address', 'lease_token',
                'lease_owner', 'provider_ref', 'template_hash', 'worker') THEN 0 ELSE 20 END);
    END LOOP;
END $$;
