-- What went instead of a text that is too much for its way: a text that only points to the portal.
ALTER TABLE attempts ADD COLUMN pointer boolean NOT NULL DEFAULT false;
