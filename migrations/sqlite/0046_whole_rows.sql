-- What is final and old goes as a whole, where that is asked for. Events have numbers for ids.
ALTER TABLE retention ADD COLUMN upto_ord INTEGER NOT NULL DEFAULT 0;
INSERT INTO retention (class, upto) VALUES
    ('events', '00000000-0000-0000-0000-000000000000'), ('rows', '00000000-0000-0000-0000-000000000000'),
    ('reply_rows', '00000000-0000-0000-0000-000000000000'), ('rejected_rows', '00000000-0000-0000-0000-000000000000'),
    ('workers', '00000000-0000-0000-0000-000000000000');
