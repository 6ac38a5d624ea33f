-- A ledger with :messages messages of 60 days, as a clinic has it: most of them delivered, a few in trouble, some under way;
-- sources, templates, sites and providers of which some are common, some rare, and some were given up weeks ago. It is
-- written past the program, which would take minutes; the triggers that would queue a million events are passed by.

SET synchronous_commit = off;
SET session_replication_role = replica;

-- Ids by time, as the program gives them out.
CREATE FUNCTION id_at(at timestamptz, salt text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(salt), 1, 3)
        || '8' || substr(md5(salt), 4, 15))::uuid;

CREATE TABLE shape AS
SELECT n, at, id_at(at, 'message' || n) AS id, id_at(at + interval '2 seconds', 'attempt' || n) AS attempt,
    dice, CASE
        WHEN age > 0.95 AND dice2 % 100 < 12 THEN (ARRAY['accepted', 'scheduled', 'held', 'sending'])[1 + dice2 % 4]
        WHEN dice < 700 THEN 'delivered' WHEN dice < 850 THEN 'sent' WHEN dice < 905 THEN 'read'
        WHEN dice < 930 THEN 'failed' WHEN dice < 931 THEN 'unknown' WHEN dice < 985 THEN 'suppressed'
        WHEN dice < 990 THEN 'expired' ELSE 'cancelled' END AS status,
    CASE WHEN dice2 < 8 THEN 'rare-ehr' WHEN dice2 < 8000 THEN 'lakeside-ehr' WHEN dice2 < 9500 THEN 'other-ehr'
        ELSE 'ehr-' || (dice2 % 9) END AS source,
    CASE WHEN age < 0.1 AND dice2 % 50 = 0 THEN 'given-up' WHEN dice2 % 1000 = 7 THEN 'result-available'
        WHEN dice2 % 10 < 6 THEN 'appointment-reminder' WHEN dice2 % 10 < 9 THEN 'vaccine-invitation'
        ELSE 'discharge-follow-up' END AS template,
    CASE WHEN age < 0.1 AND dice2 % 40 = 1 THEN 'closed' WHEN dice2 % 5 = 0 THEN NULL
        ELSE 'site-' || lpad(((dice2 / 7) % 40)::text, 2, '0') END AS site,
    CASE WHEN dice2 % 100 < 70 THEN 'sms' WHEN dice2 % 100 < 90 THEN 'email' WHEN dice2 % 100 < 97 THEN 'voice'
        ELSE 'portal' END AS channel,
    age, dice2
FROM (SELECT n, now() - interval '60 days' * (1 - n / :messages::double precision) - interval '1 minute' AS at, n / :messages::double precision AS age,
        (hashint8(n) & 1023) * 1000 / 1024 AS dice, (hashint8(n * 31) & 65535) * 10000 / 65536 AS dice2
    FROM generate_series(1, :messages) AS n) AS rows;

INSERT INTO holds (id, scope, value, reason, placed_by, placed_at, on_release)
VALUES (id_at(now(), 'hold'), 'site', 'site-07', 'the printer of letters is broken', 'ana', now() - interval '3 hours', 'review');
INSERT INTO holds (id, scope, value, reason, placed_by, placed_at, on_release, released_at, released_by, settled_at)
SELECT id_at(now() - n * interval '6 hours', 'hold' || n), 'site', 'site-' || lpad((n % 40)::text, 2, '0'), 'over', 'ana',
    now() - n * interval '6 hours', 'send', now() - n * interval '6 hours', 'ana', now() FROM generate_series(1, 200) AS n;

INSERT INTO messages (id, source, job_id, patient_id, template, purpose, priority, about, site, campaign_id, test, body,
    accepted_at, expires_at, status, reason, seq, changed_at, channel, tries, due_at, last_attempt, explanation, held_by)
SELECT id, source, 'job-' || n, CASE WHEN dice2 % 200 = 19 THEN 'P0000001' ELSE 'P' || lpad((1 + n % (:messages / 20))::text, 7, '0') END, template,
    CASE template WHEN 'vaccine-invitation' THEN 'prevention' ELSE 'appointment' END,
    CASE template WHEN 'vaccine-invitation' THEN 2 WHEN 'result-available' THEN 0 ELSE 1 END,
    CASE WHEN template = 'appointment-reminder' THEN 'visit-' || (n / 3) END, site,
    CASE WHEN template = 'vaccine-invitation' THEN 'campaign-' || lpad(floor(power(age, 0.33) * 11.99)::text, 2, '0') END, false,
    '\x00'::bytea || convert_to('{"data":{"practitioner":"Dr. Chen","starts_at":"2036-12-15T15:30:00-06:00"},"expires_at":{"at":"2036-12-15T21:30:00Z"}}' || repeat(' ', 45), 'UTF8'),
    at, at + interval '9 days', status,
    CASE status WHEN 'failed' THEN (ARRAY['invalid_address', 'unreachable', 'landline', 'provider_rejected'])[1 + dice2 % 4]
        WHEN 'suppressed' THEN (ARRAY['opted_out', 'no_contact', 'no_consent', 'deceased'])[1 + dice2 % 4]
        WHEN 'held' THEN 'operator_hold' WHEN 'unknown' THEN 'outcome_unknown' WHEN 'expired' THEN 'expired'
        WHEN 'cancelled' THEN 'cancelled' END,
    2, at + interval '5 seconds', CASE WHEN status IN ('accepted', 'suppressed') THEN '' ELSE channel END, 1,
    CASE WHEN status IN ('accepted', 'scheduled', 'held', 'sending') THEN now() + interval '2 days' END,
    CASE WHEN status IN ('sent', 'delivered', 'read', 'failed', 'unknown', 'sending') THEN attempt END,
    '{"rules":4,"gate":"route","at":"2026-11-26T15:48:13.899627Z","until":"2026-12-15T21:30:00Z","ways":[{"channel":"sms","address":"+***39","hours":{"zones":["America/Chicago"],"from":["phone_area","site"]}},{"channel":"email","address":"***@example.org","hours":{"zones":["America/Chicago"],"from":["phone_area","site"]}}]}',
    CASE WHEN status = 'held' THEN id_at(now(), 'hold') END
FROM shape ORDER BY n;

INSERT INTO sources (name) SELECT DISTINCT source FROM shape ON CONFLICT DO NOTHING;

INSERT INTO job_keys (source, job_id, content_hash, message_id, created_at)
SELECT source, 'job-' || n, decode(md5('job' || n) || md5('k' || n), 'hex'), id, at FROM shape ORDER BY n;

INSERT INTO attempts (id, message_id, step, number, status, provider, channel, address, address_index, dedupes, segments,
    provider_ref, failure, template_hash, locale, worker, begun_at, settled_at)
SELECT attempt, id, 0, 1, CASE status WHEN 'sending' THEN 'failed' ELSE status END,
    CASE channel WHEN 'sms' THEN CASE WHEN age < 0.1 THEN 'sms-old' WHEN dice2 % 3 = 0 THEN 'sms-two' ELSE 'sms-one' END ELSE channel || '-one' END,
    channel, '\x00'::bytea || convert_to('+1312555' || lpad((n % 10000)::text, 4, '0'), 'UTF8'), decode(md5((n % (:messages / 20))::text), 'hex'), true, 1,
    'ref-' || n, CASE status WHEN 'failed' THEN 'bad_address' END, repeat('ef', 32),
    CASE WHEN dice2 % 10 < 7 THEN 'en' WHEN dice2 % 10 < 9 THEN 'es' ELSE 'zh-Hans' END, id_at(at, 'worker'),
    at + interval '2 seconds', at + interval '3 seconds'
FROM shape WHERE status IN ('sent', 'delivered', 'read', 'failed', 'unknown', 'sending') ORDER BY n;

INSERT INTO events (shard, message_id, seq, routing_key, body, created_at)
SELECT n % 16, id, 1, 'message.' || status || '.' || source,
    format('{"id":"%s","type":"message.%s","at":"2026-11-26T15:48:14.545Z","occurred_at":"2026-11-26T15:48:14.545Z","final":true,"message_id":"%s","job_id":"job-%s","source":"%s","patient_id":"P%s","recipient":"patient","channel":"%s","provider":"sms-one","status":"%s","attempt":1,"test":false}',
        attempt, status, id, n, source, 1 + n % (:messages / 20), channel, status), at + interval '3 seconds'
FROM shape ORDER BY n;
UPDATE pulse_mark SET ord = (SELECT max(ord) FROM events);

INSERT INTO pulse (minute, channel, provider, what, reason, count)
SELECT extract(epoch FROM now())::bigint / 60 - back, channel, channel || '-one', what, reason, 7
FROM generate_series(0, LEAST(48 * 60, :messages / 100)) AS back, unnest(ARRAY['sms', 'email', 'voice', 'portal']) AS channel,
    (VALUES ('sent', ''), ('delivered', ''), ('failed', 'unreachable'), ('failed', 'landline'), ('suppressed', 'opted_out'), ('suppressed', 'no_contact')) AS kinds (what, reason)
ON CONFLICT DO NOTHING;

INSERT INTO patients (id, document, updated_at)
SELECT 'P' || lpad(n::text, 7, '0'),
    '\x00'::bytea || convert_to(replace(convert_from(substr(document, 2), 'UTF8'), 'SAMPLE', 'P' || lpad(n::text, 7, '0')), 'UTF8'), updated_at
FROM generate_series(1, :messages / 20) AS n, patients WHERE id = 'SAMPLE';

INSERT INTO replies (id, provider, provider_ref, address_index, message_id, patient_id, intent, body, received_at)
SELECT id_at(at + interval '1 hour', 'reply' || n), 'sms-one', 'reply-' || n, decode(md5((n % (:messages / 20))::text), 'hex'), id,
    'P' || lpad((1 + n % (:messages / 20))::text, 7, '0'), (ARRAY['text', 'stop', 'confirm', 'safety'])[1 + n % 4], '\x00'::bytea || 'Can my daughter come along?'::bytea, at + interval '1 hour'
FROM shape WHERE dice2 % 50 = 3;

-- What people look after: nearly all of it is done, and of what is late they were told.
INSERT INTO work_items (id, kind, priority, source, site, message_id, patient_id, opened_at, due_at, closed_at, closed_by, outcome, alerts)
SELECT id_at(at + interval '1 minute', 'work' || n), CASE status WHEN 'unknown' THEN 'outcome_unknown' ELSE 'plan_exhausted' END, 1, source, site, id, 'P' || lpad((1 + n % (:messages / 20))::text, 7, '0'),
    at + interval '1 minute', at + interval '4 hours', CASE WHEN age < 0.97 OR n % 3 = 0 THEN at + interval '3 hours' END,
    CASE WHEN age < 0.97 OR n % 3 = 0 THEN 'ana' END, CASE WHEN age < 0.97 OR n % 3 = 0 THEN 'reached' END, 2
FROM shape WHERE status = 'unknown' OR (status = 'failed' AND dice2 % 2 = 0);
INSERT INTO work_items (id, kind, priority, source, site, message_id, patient_id, opened_at, due_at, closed_at, closed_by, outcome, alerts, reply_id)
SELECT id_at(r.received_at, 'answer' || r.id), CASE r.intent WHEN 'safety' THEN 'safety' ELSE 'reply' END, 0, m.source, m.site, m.id, r.patient_id,
    r.received_at, r.received_at + interval '4 hours', CASE WHEN r.received_at < now() - interval '1 day' THEN now() END,
    CASE WHEN r.received_at < now() - interval '1 day' THEN 'ana' END, CASE WHEN r.received_at < now() - interval '1 day' THEN 'reached' END, 2, r.id
FROM replies r JOIN messages m ON m.id = r.message_id WHERE r.intent IN ('text', 'safety');

INSERT INTO parked (id, reason, field, problems, source, job_id, origin, body, body_hash, parked_at, replayed_at)
SELECT id_at(at, 'parked' || n), 'unknown_template', 'template',
    '[{"field":"template","reason":"unknown_template","rule":"there is no such template","cure":"name one that is there"}]',
    source, 'dead-' || n, 'jobs', '\x00'::bytea || '{"id":"dead","template":"gone"}'::bytea, decode(md5('p' || n), 'hex'), at,
    CASE WHEN age < 0.9 THEN at + interval '1 day' END
FROM shape WHERE dice2 % 250 = 11;

INSERT INTO audit (ord, at, who, act, subject, detail, hash)
SELECT (SELECT ord FROM audit_head) + n, now() - interval '60 days' * (1 - n / (:messages / 20.0)), (ARRAY['ana', 'axel', 'cli:root'])[1 + n % 3],
    (ARRAY['session.open', 'message.reveal', 'work.close', 'session.close'])[1 + n % 4], '', '\x00'::bytea || 'patient called back'::bytea, md5(n::text)
FROM generate_series(1, :messages / 20) AS n;
UPDATE audit_head SET ord = ord + :messages / 20, hash = md5('end');

INSERT INTO campaign_recipients (campaign_id, ordinal, patient_id, body, wave, ready_at, state, message_id)
SELECT campaign_id, row_number() OVER (PARTITION BY campaign_id ORDER BY id), job_id, ''::bytea, 0, accepted_at, 1, id
FROM messages WHERE campaign_id IS NOT NULL;
UPDATE campaigns SET state = CASE id WHEN 'campaign-11' THEN 'paused' ELSE 'done' END, recipients = sums.n, expanded = sums.n, started_at = now() - interval '3 days'
FROM (SELECT campaign_id, count(*) AS n FROM campaign_recipients GROUP BY 1) AS sums WHERE sums.campaign_id = campaigns.id;

DROP TABLE shape;
DROP FUNCTION id_at;
RESET session_replication_role;
