-- By which the ledger knows the key again that its addresses are found by.
ALTER TABLE schema_info ADD COLUMN key_mark text;
