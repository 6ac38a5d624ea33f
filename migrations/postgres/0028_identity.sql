-- Who an account is at an identity provider.
ALTER TABLE users
    ADD COLUMN issuer text,                        -- of the provider; NULL: signs in with a password alone
    ADD COLUMN subject text;                       -- NULL with an issuer: whoever first signs in there by that name
CREATE UNIQUE INDEX users_subject ON users (issuer, subject);
