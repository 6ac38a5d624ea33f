-- How full a limit is, as in the other database.

ALTER TABLE rate_gate ADD COLUMN second INTEGER NOT NULL DEFAULT 0;     -- since 1970-01-01
ALTER TABLE rate_gate ADD COLUMN in_second INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rate_gate ADD COLUMN in_previous INTEGER NOT NULL DEFAULT 0;
