-- Who needs nothing of a campaign any more, whenever they are named: before they stand in its audience, while they wait, or
-- after they were written to.
CREATE TABLE campaign_done (
    campaign_id text NOT NULL,
    patient_id  text NOT NULL,
    PRIMARY KEY (campaign_id, patient_id)
);
INSERT INTO campaign_done (campaign_id, patient_id)
    SELECT campaign_id, patient_id FROM campaign_recipients WHERE state = 2;

-- Those who were merged into a patient.
CREATE INDEX patients_merged ON patients (alias_of) WHERE alias_of IS NOT NULL;
