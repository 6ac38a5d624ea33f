-- Plans: how long a step is waited for before the next one is taken as well.

ALTER TABLE attempts ADD COLUMN wait_us bigint NOT NULL DEFAULT 0; -- counted from when a provider has it
ALTER TABLE attempts ADD COLUMN awaits text CHECK (awaits IN ('delivered', 'answered')); -- NULL: nothing follows by time
