-- What the corridor's three large statements are given comes as one array of rows: of several arrays `unnest` keeps a table
-- each, which costs as much as writing the rows. A change of what they are given takes a type with another name, for a
-- worker of the version before goes on with this one.
CREATE TYPE admit_row AS (
    id uuid, source text, job_id text, content_hash bytea, patient_id text, template text, purpose text, priority bigint,
    about text, site text, campaign_id text, correlation_id text, test boolean, retry_of uuid, body bytea,
    expires_at timestamptz, due_at timestamptz, ack_by timestamptz, wanted boolean
);
CREATE TYPE begin_row AS (
    id uuid, token bigint, attempt uuid, step bigint, number bigint, provider text, channel text, site text, address bytea,
    address_index bytea, dedupes boolean, segments bigint, cost bigint, template_hash text, locale text, pointer boolean,
    page_hash text, subject text, others text, text_mark bytea, revision bigint, valid_until timestamptz, explanation text,
    recipient text, wait_us bigint, awaits text, person text, person_before text, person_after text, addressed text,
    addressed_before text, addressed_after text
);
CREATE TYPE settle_row AS (
    attempt uuid, attempt_status text, provider_ref text, failure text, code text, message uuid, status text, reason text,
    due_at timestamptz, receipt_by timestamptz, next_step boolean, outweighs boolean, shard bigint, event_key text,
    event_body text, event_callback text
);
