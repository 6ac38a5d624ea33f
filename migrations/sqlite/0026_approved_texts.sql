-- Which templates an approval was given for: no worker sends others for it.
ALTER TABLE campaigns ADD COLUMN approved_texts TEXT;
