-- People who sign in, their sessions, and who did what.

CREATE TABLE users (
    name        TEXT NOT NULL PRIMARY KEY,
    role        TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'coordinator', 'approver', 'admin')),
    sites       TEXT NOT NULL,                     -- JSON; an empty list: every site
    password    TEXT NOT NULL,                     -- Argon2id in PHC string format
    totp        BLOB NOT NULL,                     -- sealed
    totp_step   INTEGER NOT NULL DEFAULT 0,        -- of the last code that was taken: none counts twice
    created_at  INTEGER NOT NULL,
    disabled_at INTEGER
) STRICT;

CREATE TABLE sessions (
    token_hash TEXT NOT NULL PRIMARY KEY,          -- SHA-256; the token itself is with the browser alone
    user_name  TEXT NOT NULL,
    opened_at  INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_user ON sessions (user_name);

-- Append-only; each row's hash covers the hash before it.
CREATE TABLE audit (
    ord     INTEGER NOT NULL PRIMARY KEY,
    at      INTEGER NOT NULL,
    who     TEXT NOT NULL,
    act     TEXT NOT NULL,
    subject TEXT NOT NULL,                         -- ids only
    detail  BLOB NOT NULL,                         -- sealed: people write reasons in it
    hash    TEXT NOT NULL                           -- hexadecimal digits
) STRICT;

-- The end of the chain: what is cut off the audit log is missed.
CREATE TABLE audit_head (
    only_row INTEGER PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    ord      INTEGER NOT NULL,
    hash     TEXT NOT NULL
) STRICT;
INSERT INTO audit_head (ord, hash) VALUES (0, '');

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
