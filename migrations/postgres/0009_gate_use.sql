-- How full a limit is: slots that were handed out in the second of the last grant, and in the one before. Whoever is
-- late may send all the same where there is room enough.

ALTER TABLE rate_gate ADD COLUMN second bigint NOT NULL DEFAULT 0;      -- since 1970-01-01
ALTER TABLE rate_gate ADD COLUMN in_second bigint NOT NULL DEFAULT 0;
ALTER TABLE rate_gate ADD COLUMN in_previous bigint NOT NULL DEFAULT 0;
