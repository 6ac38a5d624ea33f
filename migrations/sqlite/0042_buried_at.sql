-- When a name was buried: what a person sends once more is bound by what is said after that.
ALTER TABLE tombstones ADD COLUMN buried_at INTEGER NOT NULL DEFAULT 0;
