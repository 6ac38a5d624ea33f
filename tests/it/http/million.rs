//! The console's questions beside a million messages: each page must answer in a tenth of a second.

use std::time::{Duration, Instant};

use super::api::Api;

const GOAL: Duration = Duration::from_millis(100);
const TIMES: usize = 40;

/// Statuses as a clinic has them: most are delivered, one in a thousand failed.
const FILL: &[&str] = &[
    "INSERT INTO sources (name) VALUES ('lakeside-ehr'), ('other-ehr') ON CONFLICT DO NOTHING",
    "INSERT INTO messages (id, source, job_id, patient_id, template, purpose, priority, site, body, accepted_at, changed_at,
         expires_at, status, reason, channel, test)
     SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n), 19, '0'))::uuid,
         CASE WHEN n % 5 = 0 THEN 'other-ehr' ELSE 'lakeside-ehr' END, 'j' || n, 'P' || n % 50000,
         (ARRAY['appointment-reminder', 'result-available', 'discharge-follow-up'])[1 + n % 3], 'appointment', 1 + n % 2,
         'lakeside-north', '\\x00'::bytea || convert_to('{\"data\":{},\"expires_at\":\"2036-01-01T00:00:00Z\"}', 'UTF8'), at, at,
         at + interval '3 days', CASE WHEN n % 1000 = 0 THEN 'failed' WHEN n % 100 = 0 THEN 'suppressed' ELSE 'sent' END,
         CASE WHEN n % 1000 = 0 THEN 'invalid_address' WHEN n % 100 = 0 THEN 'opted_out' END,
         (ARRAY['sms', 'email', 'voice'])[1 + n % 3], false
     FROM (SELECT n, now() - (1000000 - n) * interval '80 milliseconds' AS at FROM generate_series(1, 1000000) AS n) AS all_of_them",
    "INSERT INTO attempts (id, message_id, step, number, status, provider, channel, address, address_index, dedupes, segments,
         template_hash, locale, worker)
     SELECT gen_random_uuid(), id, 0, 1, 'sent', 'twilio-' || channel, channel, '\\x00', '\\x00', false, 1, 'h', 'en', id FROM messages",
    "INSERT INTO pulse (minute, channel, provider, what, reason, count)
     SELECT floor(extract(epoch FROM now()) / 60)::bigint - n, c, 'twilio-' || c, w, '', 700
     FROM generate_series(1, 2800) AS n, unnest(ARRAY['sms', 'email', 'voice', 'portal']) AS c,
         unnest(ARRAY['sent', 'delivered', 'failed', 'suppressed']) AS w",
    "VACUUM ANALYZE",
];

pub(crate) async fn million(name: &str) {
    let api = Api::open("", "").await;
    for statement in FILL {
        api.sql((*statement).to_owned()).await;
    }
    let failed = api.get("/v1/messages?status=failed&limit=1").await.expect(200);
    let id = failed["messages"][0]["id"].as_str().unwrap().to_owned();
    let mut slow = Vec::new();
    let mut told = serde_json::Map::new();
    for (page, path) in [
        ("now", "/v1/now".to_owned()),
        ("log", "/v1/messages?limit=100".to_owned()),
        ("log, failed", "/v1/messages?status=failed&limit=100".to_owned()),
        (
            "log, failed for a reason",
            "/v1/messages?status=failed&reason=invalid_address&channel=sms&limit=100".to_owned(),
        ),
        ("log, by provider", "/v1/messages?provider=twilio-voice&limit=100".to_owned()),
        (
            "log, by template and site",
            "/v1/messages?template=result-available&site=lakeside-north&limit=100".to_owned(),
        ),
        (
            "log, an hour",
            "/v1/messages?since=2020-01-01T00:00:00Z&until=2036-01-01T00:00:00Z&limit=100".to_owned(),
        ),
        ("log, a job", "/v1/messages?source=lakeside-ehr&about=nothing&limit=100".to_owned()),
        ("message", format!("/v1/messages/{id}/explain")),
        ("patient", "/v1/messages?patient_id=P77&limit=50".to_owned()),
        ("work", "/v1/work-items?limit=200".to_owned()),
        ("dead", "/v1/dead?limit=500".to_owned()),
        ("holds", "/v1/holds".to_owned()),
        ("audit", "/v1/audit".to_owned()),
    ] {
        let mut times = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let begun = Instant::now();
            let answer = api.get(&path).await;
            times.push(begun.elapsed());
            assert!(answer.status.is_success() || page == "message", "{page}: {answer:?}");
        }
        times.sort_unstable();
        let p95 = times[TIMES * 95 / 100];
        told.insert(page.to_owned(), format!("{:.1} ms", p95.as_secs_f64() * 1e3).into());
        if p95 > GOAL {
            slow.push(page);
        }
    }
    println!("{}", serde_json::json!({"test": name, "p95": told}));
    assert!(slow.is_empty(), "slower than {GOAL:?}: {slow:?}");
    api.close().await;
}
