-- Whether anything is held is asked with every batch: what was let go long ago is not read for it.
CREATE INDEX holds_standing ON holds (placed_at) WHERE released_at IS NULL;

-- A row for each patient who is capped, written anew with each of their messages.
ALTER TABLE patient_state SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 100000);
-- Rows that soon go, as those of the outbox.
ALTER TABLE leases SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
ALTER TABLE awaited SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
