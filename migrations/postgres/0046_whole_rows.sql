-- What is final and old goes as a whole, where that is asked for. Events have numbers for ids.
ALTER TABLE retention ADD COLUMN upto_ord bigint NOT NULL DEFAULT 0;
INSERT INTO retention (class, upto) VALUES
    ('events', '00000000-0000-0000-0000-000000000000'), ('rows', '00000000-0000-0000-0000-000000000000'),
    ('reply_rows', '00000000-0000-0000-0000-000000000000'), ('rejected_rows', '00000000-0000-0000-0000-000000000000'),
    ('workers', '00000000-0000-0000-0000-000000000000');

-- The large tables are swept once a twentieth of them is dead, not once a fifth is: of a hundred million rows that would be
-- weeks of deleting. Of a million it comes to much the same, and of fewer it is done less often.
ALTER TABLE job_keys SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 100000);
ALTER TABLE messages SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 100000);
ALTER TABLE attempts SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 100000);
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 100000);
