-- People who sign in, their sessions, and who did what.

CREATE TABLE users (
    name        text PRIMARY KEY,
    role        text NOT NULL CHECK (role IN ('viewer', 'operator', 'coordinator', 'approver', 'admin')),
    sites       text NOT NULL,                     -- JSON; an empty list: every site
    password    text NOT NULL,                     -- Argon2id in PHC string format
    totp        bytea NOT NULL,                    -- sealed
    totp_step   bigint NOT NULL DEFAULT 0,         -- of the last code that was taken: none counts twice
    created_at  timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz
);

CREATE TABLE sessions (
    token_hash text PRIMARY KEY,                   -- SHA-256; the token itself is with the browser alone
    user_name  text NOT NULL,
    opened_at  timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sessions_user ON sessions (user_name);

-- Append-only; each row's hash covers the hash before it.
CREATE TABLE audit (
    ord     bigint PRIMARY KEY,
    at      timestamptz NOT NULL,
    who     text NOT NULL,
    act     text NOT NULL,
    subject text NOT NULL,                         -- ids only
    detail  bytea NOT NULL,                        -- sealed: people write reasons in it
    hash    text NOT NULL                           -- hexadecimal digits
);

-- The end of the chain: what is cut off the audit log is missed.
CREATE TABLE audit_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    ord      bigint NOT NULL,
    hash     text NOT NULL
);
INSERT INTO audit_head (ord, hash) VALUES (0, '');

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
