-- How long what is kept: sealed values are sealed anew under other keys, and what has ended is erased class by class.

-- What an entry says is covered by its hash: how it lies sealed may change, and nothing else of it.
DROP TRIGGER audit_no_update;
CREATE TRIGGER audit_no_update BEFORE UPDATE OF ord, at, who, act, subject, hash ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- How far the rows of each class were looked through, in the order of their ids, and which worker does it at present.
CREATE TABLE retention (
    class TEXT NOT NULL PRIMARY KEY,
    upto  TEXT NOT NULL,
    owner TEXT,
    until INTEGER
) STRICT;
INSERT INTO retention (class, upto) VALUES
    ('messages', '00000000-0000-0000-0000-000000000000'), ('attempts', '00000000-0000-0000-0000-000000000000'),
    ('replies', '00000000-0000-0000-0000-000000000000'), ('rejected', '00000000-0000-0000-0000-000000000000');

-- What had not ended when its turn came.
CREATE TABLE retention_later (
    class   TEXT NOT NULL,
    id      TEXT NOT NULL,
    look_at INTEGER NOT NULL,
    PRIMARY KEY (class, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX retention_later_turn ON retention_later (class, look_at);

ALTER TABLE campaigns ADD COLUMN erased_upto INTEGER NOT NULL DEFAULT 0; -- the rows of recipients up to this one were erased
ALTER TABLE campaigns ADD COLUMN erased_at INTEGER;                      -- all of them
CREATE INDEX campaigns_ended ON campaigns (changed_at) WHERE state IN ('done', 'cancelled') AND erased_at IS NULL;
