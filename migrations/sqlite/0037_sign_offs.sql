-- What people say of the texts of templates: exactly the texts with this hash.
CREATE TABLE template_sign_offs (
    template TEXT NOT NULL,
    locale   TEXT NOT NULL,
    hash     TEXT NOT NULL,
    signed   INTEGER NOT NULL,                         -- false: it was taken back
    who      TEXT NOT NULL,
    at       INTEGER NOT NULL,
    note     TEXT NOT NULL,
    PRIMARY KEY (template, locale, hash)
) STRICT;
