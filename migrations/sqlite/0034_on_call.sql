-- An acknowledgement holds for as much as somebody saw; each mailbox is told by itself; work is listed by when it is due.

ALTER TABLE alerts ADD COLUMN extent INTEGER NOT NULL DEFAULT 1;     -- how many things are wrong
ALTER TABLE alerts ADD COLUMN acknowledged_below INTEGER;            -- with so many, what was said counts no more
ALTER TABLE alerts ADD COLUMN owed_mailboxes TEXT;                   -- JSON: places in the list of mailboxes
ALTER TABLE alerts ADD COLUMN owed_since INTEGER;

-- Words of danger first, then what has waited longest.
CREATE INDEX work_items_order ON work_items ((CASE kind WHEN 'safety' THEN 0 ELSE 1 END), due_at, id) WHERE closed_at IS NULL;
