-- The guard of statuses in the words that PostgreSQL has for it. What it promises is what it promised: rank never falls;
-- suppressed, expired and cancelled are reached from rank 0 or 1 only and never left.
DROP TRIGGER messages_status_rank;
CREATE TRIGGER messages_status_rank AFTER UPDATE OF status ON messages
WHEN OLD.status <> NEW.status AND NOT CASE
    WHEN OLD.status IN ('accepted', 'scheduled', 'held') THEN true
    WHEN OLD.status = 'sending' THEN NEW.status NOT IN ('accepted', 'scheduled', 'held')
    WHEN OLD.status = 'unknown' THEN NEW.status IN ('sent', 'failed', 'delivered', 'read')
    WHEN OLD.status = 'sent' THEN NEW.status IN ('failed', 'delivered', 'read')
    WHEN OLD.status = 'failed' THEN NEW.status IN ('delivered', 'read')
    ELSE OLD.status = 'delivered' AND NEW.status = 'read' END
BEGIN
    SELECT RAISE(ABORT, 'this status may not move so');
END;
