-- Who was written to: the patient, or a proxy in their place.
ALTER TABLE attempts ADD COLUMN recipient TEXT NOT NULL DEFAULT 'patient';

-- The rows that frequency caps are counted on exist for every address, as in the other database.
INSERT INTO patient_state (subject, revision)
SELECT DISTINCT 'address:' || lower(hex(address_index)), 0 FROM patient_addresses WHERE true
ON CONFLICT (subject) DO NOTHING;
