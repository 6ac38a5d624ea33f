-- Campaigns: what is asked, how far it has come, and who is meant.

CREATE TABLE campaigns (
    id             text PRIMARY KEY,
    source         text NOT NULL,
    template       text NOT NULL,
    plan           bytea NOT NULL,                     -- sealed: what is asked, as JSON
    state          text NOT NULL CHECK (state IN ('draft', 'awaiting_approval', 'approved', 'running', 'canary_hold',
                       'paused', 'done', 'cancelled')),
    reason         text,                               -- why it stands still
    created_by     text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    changed_at     timestamptz NOT NULL DEFAULT now(),
    started_at     timestamptz,
    revision       bigint NOT NULL DEFAULT 0,          -- rises with every command
    recipients     bigint NOT NULL DEFAULT 0,
    audience       text NOT NULL DEFAULT '',           -- the sum of the digests of all who are meant, in hexadecimal digits
    expanded       bigint NOT NULL DEFAULT 0,          -- recipients that have a message
    refused        bigint NOT NULL DEFAULT 0,          -- recipients that cannot have one
    no_longer      bigint NOT NULL DEFAULT 0,          -- recipients that need none any more
    approved_by    text,
    approved_at    timestamptz,
    approved_hash  text,
    canary_passed  boolean NOT NULL DEFAULT false,
    wave           smallint NOT NULL DEFAULT 0,        -- that is being written to
    wave_opens_at  timestamptz NOT NULL,
    next_turn      timestamptz NOT NULL,               -- of the next recipient, by the pace
    hold_id        uuid,                               -- stops what is written and not begun
    lease_owner    uuid,
    lease_until    timestamptz
) WITH (fillfactor = 50);
CREATE INDEX campaigns_open ON campaigns (id) WHERE state IN ('running', 'canary_hold', 'paused') OR hold_id IS NOT NULL;

CREATE TABLE campaign_recipients (
    campaign_id text NOT NULL,
    ordinal     bigint NOT NULL,                       -- in the audience, from 1
    patient_id  text NOT NULL,
    body        bytea NOT NULL,                        -- sealed: data and snapshot of their own; empty: none
    wave        smallint,                              -- NULL: not yet sorted
    ready_at    timestamptz NOT NULL,                  -- not written to before
    state       smallint NOT NULL DEFAULT 0,           -- 0 waits, 1 has a message, 2 needs none any more, 3 cannot have one
    message_id  uuid,
    reason      text,
    PRIMARY KEY (campaign_id, ordinal)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX campaign_recipients_patient ON campaign_recipients (campaign_id, patient_id);
CREATE INDEX campaign_recipients_waiting ON campaign_recipients (campaign_id, wave, ready_at, ordinal) WHERE state = 0;
CREATE INDEX campaign_recipients_history ON campaign_recipients (patient_id) WHERE state = 1;

-- What a campaign has under way, and what became of the rest.
CREATE INDEX messages_campaign ON messages (campaign_id, status) WHERE campaign_id IS NOT NULL;

ALTER TABLE holds DROP CONSTRAINT holds_scope_check;
ALTER TABLE holds ADD CONSTRAINT holds_scope_check
    CHECK (scope IN ('all', 'source', 'site', 'template', 'purpose', 'channel', 'provider', 'campaign'));
ALTER TABLE holds DROP CONSTRAINT holds_cause_check;
ALTER TABLE holds ADD CONSTRAINT holds_cause_check
    CHECK (cause IN ('operator_hold', 'surge_hold', 'awaiting_approval', 'campaign_paused'));
