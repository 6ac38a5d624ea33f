-- Plans: how long a step is waited for before the next one is taken as well. And the second person for emergencies.

ALTER TABLE attempts ADD COLUMN wait_us bigint NOT NULL DEFAULT 0; -- counted from when a provider has it
ALTER TABLE attempts ADD COLUMN awaits text CHECK (awaits IN ('delivered', 'answered')); -- NULL: nothing follows by time

-- Emergencies, so that they can be counted by recipient, and whoever asked for them is known.
CREATE TABLE emergencies (
    message_id  uuid PRIMARY KEY,
    source      text NOT NULL,
    patient_id  text NOT NULL,
    asked_by    text,                                  -- NULL: nobody but the source is known
    accepted_at timestamptz NOT NULL
);
CREATE INDEX emergencies_source ON emergencies (source, accepted_at);

ALTER TABLE holds DROP CONSTRAINT holds_cause_check;
ALTER TABLE holds ADD CONSTRAINT holds_cause_check CHECK (cause IN ('operator_hold', 'surge_hold', 'awaiting_approval'));
