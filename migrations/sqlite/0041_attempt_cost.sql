-- What a try was reckoned at when it began, in millionths of the currency.
ALTER TABLE attempts ADD COLUMN cost INTEGER NOT NULL DEFAULT 0;
