-- What people say of the texts of templates: exactly the texts with this hash.
CREATE TABLE template_sign_offs (
    template text NOT NULL,
    locale   text NOT NULL,
    hash     text NOT NULL,
    signed   boolean NOT NULL,                         -- false: it was taken back
    who      text NOT NULL,
    at       timestamptz NOT NULL,
    note     text NOT NULL,
    PRIMARY KEY (template, locale, hash)
);
