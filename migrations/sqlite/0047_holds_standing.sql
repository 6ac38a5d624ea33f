-- Whether anything is held is asked with every batch: what was let go long ago is not read for it.
CREATE INDEX holds_standing ON holds (placed_at) WHERE released_at IS NULL;
