-- Who was written to: the patient, or a proxy in their place.
ALTER TABLE attempts ADD COLUMN recipient text NOT NULL DEFAULT 'patient';

-- The rows that frequency caps are counted on exist for every address: a row that does not exist cannot be locked.
INSERT INTO patient_state (subject, revision)
SELECT DISTINCT 'address:' || encode(address_index, 'hex'), 0 FROM patient_addresses
ON CONFLICT (subject) DO NOTHING;
