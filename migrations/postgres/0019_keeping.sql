-- How long what is kept: sealed values are sealed anew under other keys, and what has ended is erased class by class.

-- What an entry says is covered by its hash: how it lies sealed may change, and nothing else of it.
DROP TRIGGER audit_append_only ON audit;
CREATE TRIGGER audit_append_only BEFORE DELETE OR UPDATE OF ord, at, who, act, subject, hash ON audit
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();

-- How far the rows of each class were looked through, in the order of their ids, and which worker does it at present.
CREATE TABLE retention (
    class text PRIMARY KEY,
    upto  uuid NOT NULL,
    owner uuid,
    until timestamptz
);
INSERT INTO retention (class, upto) VALUES
    ('messages', '00000000-0000-0000-0000-000000000000'), ('attempts', '00000000-0000-0000-0000-000000000000'),
    ('replies', '00000000-0000-0000-0000-000000000000'), ('rejected', '00000000-0000-0000-0000-000000000000');

-- What had not ended when its turn came.
CREATE TABLE retention_later (
    class   text NOT NULL,
    id      uuid NOT NULL,
    look_at timestamptz NOT NULL,
    PRIMARY KEY (class, id)
);
CREATE INDEX retention_later_turn ON retention_later (class, look_at);

ALTER TABLE campaigns ADD COLUMN erased_upto bigint NOT NULL DEFAULT 0; -- the rows of recipients up to this one were erased
ALTER TABLE campaigns ADD COLUMN erased_at timestamptz;                 -- all of them
CREATE INDEX campaigns_ended ON campaigns (changed_at) WHERE state IN ('done', 'cancelled') AND erased_at IS NULL;
