//! The auditor is audited: whatever it says of a run, a fault of that kind is planted, and it has to find it. In a small
//! ledger in which all is well it finds nothing.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::time;
use jiff::tz::TimeZone;
use outreachd::simulator::{Hit, Marker, ProviderKind, Reply, TextDigest};
use serde_json::json;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::auditor::{Evidence, audit};
use super::canary::Canary;
use super::futures::FAULTS;
use super::late::Hours;
use super::rig::MAX_IN_FLIGHT;
use super::tap::Heard;
use super::worker::Usage;
use crate::support::shared::TestDatabase;

/// A message that was sent ten seconds ago, and one that waits until tomorrow.
const ALL_IS_WELL: &str = r#"
ALTER TABLE messages ENABLE TRIGGER messages_status_rank;
TRUNCATE preference_changes;
DELETE FROM sources; DELETE FROM job_keys; DELETE FROM messages; DELETE FROM attempts; DELETE FROM events; DELETE FROM outbox;
DELETE FROM leases; DELETE FROM awaited; DELETE FROM holds; DELETE FROM campaigns; DELETE FROM tombstones; DELETE FROM parked;
DELETE FROM address_consents; DELETE FROM replies; DELETE FROM work_items;
INSERT INTO sources (name) VALUES ('lakeside-ehr');
INSERT INTO messages (id, source, job_id, patient_id, template, purpose, priority, about, site, test, body, accepted_at, expires_at,
    status, seq, channel, tries, last_attempt, due_at)
VALUES ('00000000-0000-7000-8000-000000000001', 'lakeside-ehr', 'gone', 'P1', 'appointment-reminder', 'appointment', 1,
        'visit-1', 'north', false, '\x', now() - interval '1 minute', now() + interval '9 days', 'sent', 1, 'sms', 1,
        '00000000-0000-7000-8000-00000000000a', NULL),
    ('00000000-0000-7000-8000-000000000002', 'lakeside-ehr', 'later', 'P1', 'appointment-reminder', 'appointment', 1,
        'visit-2', 'north', false, '\x', now() - interval '1 minute', now() + interval '9 days', 'scheduled', 0, '', 0, NULL,
        now() + interval '1 day');
INSERT INTO job_keys (source, job_id, content_hash, message_id) SELECT source, job_id, '\x'::bytea, id FROM messages;
INSERT INTO attempts (id, message_id, step, number, status, provider, channel, address, address_index, dedupes, segments,
    template_hash, locale, worker, begun_at, settled_at)
VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-000000000001', 0, 1, 'sent', 'sms', 'sms', '\x',
    '\x01', false, 1, '', 'en', '00000000-0000-7000-8000-00000000000b', now() - interval '10 seconds',
    now() - interval '9 seconds');
INSERT INTO events (shard, message_id, seq, routing_key, body)
VALUES (0, '00000000-0000-7000-8000-000000000001', 1, 'message.sent.lakeside-ehr', '{"status":"sent","final":true}');
"#;

/// What is wrong: a statement to the ledger, something that the outside has seen, or both. And the words of the fault;
/// none where all is well nevertheless.
type Plant = (&'static str, fn(&mut Evidence), &'static str);

const NOTHING: fn(&mut Evidence) = |_| {};

const EVERY_JOB: [Plant; 6] = [
    ("", |e| e.jobs.push("lost".to_owned()), "I1: 1 jobs lost"),
    ("", |e| e.jobs.truncate(1), "I1: 1 keys of jobs that nobody published"),
    (
        "INSERT INTO messages (id, source, job_id, patient_id, template, purpose, priority, test, body, expires_at, status, due_at)
         SELECT gen_random_uuid(), source, job_id, patient_id, template, purpose, priority, test, body, expires_at, status, due_at
         FROM messages WHERE job_id = 'later'",
        NOTHING,
        "I1: 1 jobs with more than one message",
    ),
    ("DELETE FROM messages WHERE job_id = 'later'", NOTHING, "I1: 2 keys, 1 jobs"),
    ("", |e| e.bad.push(b"bad".to_vec()), "I1: a bad body of 3 bytes is parked 0 times"),
    (
        r"INSERT INTO parked (id, reason, field, problems, origin, body, body_hash)
          VALUES (gen_random_uuid(), 'malformed', '$', '[]', 'jobs', '\x', '\x07')",
        NOTHING,
        "I1: 1 good bodies were parked",
    ),
];

const EVERY_FUTURE: [Plant; 20] = [
    ("UPDATE messages SET due_at = NULL WHERE job_id = 'later'", NOTHING, "have no future"),
    (
        "UPDATE messages SET due_at = expires_at + interval '2 days' WHERE job_id = 'later'",
        NOTHING,
        "are due long after their time has passed",
    ),
    ("DELETE FROM sources", NOTHING, "are due, and no claim finds them"),
    ("UPDATE messages SET channel = 'fax' WHERE job_id = 'later'", NOTHING, "are due, and no claim finds them"),
    ("UPDATE messages SET priority = 7 WHERE job_id = 'later'", NOTHING, "are due, and no claim finds them"),
    ("UPDATE messages SET lease_token = 9 WHERE job_id = 'later'", NOTHING, "are in a hand that nobody knows"),
    (
        "INSERT INTO leases (token, owner, until, messages) VALUES (9, gen_random_uuid(), now() + interval '1 minute', '{}');
         UPDATE messages SET lease_token = 9 WHERE job_id = 'later'",
        NOTHING,
        "are in a hand that nobody knows",
    ),
    (
        "INSERT INTO leases (token, owner, until, messages)
         SELECT 9, gen_random_uuid(), now() - interval '1 minute', ARRAY[id] FROM messages WHERE job_id = 'later';
         UPDATE messages SET lease_token = 9 WHERE job_id = 'later'",
        NOTHING,
        "were left in a hand whose time is over",
    ),
    (
        "INSERT INTO leases (token, owner, until, messages)
         SELECT 9, gen_random_uuid(), now() + interval '1 minute', ARRAY[id] FROM messages WHERE job_id = 'later';
         UPDATE messages SET lease_token = 9 WHERE job_id = 'later'",
        NOTHING,
        "",
    ),
    (
        "UPDATE messages SET status = 'held', reason = 'operator_hold' WHERE job_id = 'later'",
        NOTHING,
        "wait for a hold that they do not name",
    ),
    (
        "UPDATE messages SET status = 'held', reason = 'operator_hold', held_by = gen_random_uuid() WHERE job_id = 'later'",
        NOTHING,
        "lie under a hold that is not there, or that has let go all it held",
    ),
    (
        "INSERT INTO holds (id, scope, value, reason, placed_by, on_release, settled_at)
         VALUES ('00000000-0000-7000-8000-00000000000c', 'site', 'south', 'drill', 'u17', 'send', now());
         UPDATE messages SET status = 'held', reason = 'operator_hold', held_by = '00000000-0000-7000-8000-00000000000c'
         WHERE job_id = 'later'",
        NOTHING,
        "lie under a hold that is not there, or that has let go all it held",
    ),
    ("UPDATE messages SET status = 'held' WHERE job_id = 'later'", NOTHING, "wait without a reason"),
    (
        "UPDATE messages SET receipt_by = now() + interval '1 day' WHERE job_id = 'gone'",
        NOTHING,
        "await a receipt, and nobody will miss it",
    ),
    (
        "UPDATE messages SET status = 'unknown', due_at = NULL, changed_at = now() - interval '5 hours' WHERE job_id = 'later'",
        NOTHING,
        "have an outcome that is unknown for too long, and nobody was called",
    ),
    (
        "UPDATE attempts SET status = 'unknown'",
        NOTHING,
        "have an attempt that became unknown, and it is never looked up what became of it",
    ),
    (
        r#"UPDATE events SET body = '{"status":"sent","final":false}'"#,
        NOTHING,
        "are sent for good, and nobody was told so",
    ),
    (
        "UPDATE messages SET status = 'delivered' WHERE job_id = 'gone'",
        NOTHING,
        "are delivered for good, and nobody was told so",
    ),
    ("UPDATE messages SET status = 'cancelled' WHERE job_id = 'later'", NOTHING, "have ended, and something is due of them"),
    (
        r"UPDATE attempts SET status = 'delivered', awaits = 'delivered';
          INSERT INTO attempts (id, message_id, step, number, status, provider, channel, address, address_index, dedupes, segments,
              failure, template_hash, locale, worker)
          SELECT gen_random_uuid(), message_id, 1, 1, 'failed', provider, channel, address, address_index, dedupes, segments,
              'not_sent', '', 'en', worker FROM attempts",
        NOTHING,
        "had a step begun after what their plan waited for",
    ),
];

/// The provider took it and reset the connection.
const NO_ANSWER: fn(&mut Evidence) = |e| e.hits[0].reply = Reply::Lost;

const EVERY_HIT: [Plant; 8] = [
    ("", |e| e.hits[0].send_key = None, "I3: 1 hits without a send key"),
    ("", |e| e.hits.push(e.hits[0]), "I3: 1 keys were hit more often than the ledger predicts"),
    ("", |e| e.hits.clear(), "I3: 1 keys are sent on record and were not hit as often"),
    ("", |e| e.audit.missing = 1, "I4: 1 hits without an attempt on record"),
    (
        "UPDATE attempts SET status = 'failed', failure = 'transient'",
        NO_ANSWER,
        "I3: 1 keys were taken, and the attempt has failed on record",
    ),
    (
        "UPDATE attempts SET status = 'failed', failure = 'rejected'",
        |e| e.hits[0].status = 500,
        "I3: 1 keys were taken, and the attempt has failed on record",
    ),
    // Sent once more, though nobody knew.
    (
        "INSERT INTO attempts (id, message_id, step, number, status, provider, channel, address, address_index, dedupes, segments,
             template_hash, locale, worker)
         SELECT gen_random_uuid(), message_id, step, 2, status, provider, channel, address, address_index, dedupes, segments, '',
             'en', worker FROM attempts;
         UPDATE attempts SET status = 'failed', failure = 'transient' WHERE number = 1",
        |e| {
            e.hits.push(e.hits[0]);
            NO_ANSWER(e);
        },
        "I3: 1 keys were taken, and the attempt has failed on record",
    ),
    ("UPDATE attempts SET status = 'unknown', failure = 'ambiguous', looked_at = now()", NO_ANSWER, ""),
];

const EVERY_WORD: [Plant; 12] = [
    (
        r"INSERT INTO address_consents (id, address_index, channel, granted, at, source, recorded_at)
          SELECT gen_random_uuid(), '\x01'::bytea, 'sms', false, begun_at, 'patient', begun_at - interval '2 seconds' FROM attempts",
        NOTHING,
        "I5: 2 sends too long after an opt-out",
    ),
    // What the ledger calls in time has reached the wire too late.
    (
        r"INSERT INTO address_consents (id, address_index, channel, granted, at, source, recorded_at)
          SELECT gen_random_uuid(), '\x01'::bytea, 'sms', false, begun_at, 'patient', begun_at - interval '500 milliseconds' FROM attempts",
        |e| e.hits[0].wall_us += 1_000_000,
        "I5: 1 sends too long after an opt-out",
    ),
    (
        r"INSERT INTO address_consents (id, address_index, channel, granted, at, source, recorded_at)
          SELECT gen_random_uuid(), '\x01'::bytea, 'sms', false, begun_at, 'patient', begun_at - interval '500 milliseconds' FROM attempts",
        NOTHING,
        "",
    ),
    // Of another purpose, and another channel; and one that was taken back.
    (
        r"INSERT INTO address_consents (id, address_index, channel, purpose, granted, at, source, recorded_at)
          SELECT gen_random_uuid(), '\x01'::bytea, w.way, w.purpose, w.granted, a.begun_at - w.before, 'patient', a.begun_at - w.before
          FROM attempts a, (VALUES ('sms', 'marketing', false, interval '9 seconds'), ('voice', NULL, false, interval '9 seconds'),
              ('sms', 'appointment', false, interval '9 seconds'), ('sms', 'appointment', true, interval '5 seconds'))
              AS w (way, purpose, granted, before)",
        NOTHING,
        "",
    ),
    // What a list brings takes nothing back.
    (
        r"INSERT INTO address_consents (id, address_index, channel, granted, at, source, recorded_at)
          SELECT gen_random_uuid(), '\x01'::bytea, 'sms', w.granted, a.begun_at - w.before, w.source, a.begun_at - w.before
          FROM attempts a, (VALUES (false, 'patient', interval '9 seconds'), (true, 'import', interval '5 seconds'))
              AS w (granted, source, before)",
        NOTHING,
        "I5: 2 sends too long after an opt-out",
    ),
    (
        "INSERT INTO preference_changes (id, patient_id, changed_at, changed_by, what, evidence)
         SELECT gen_random_uuid(), 'P1', begun_at - interval '2 seconds', 'patient', 'stop every purpose sms', '' FROM attempts",
        NOTHING,
        "I5: 2 sends too long after an opt-out",
    ),
    (
        "INSERT INTO tombstones (source, kind, name, reason, until, buried_at)
         SELECT 'lakeside-ehr', 'job', 'gone', 'cancelled', now() + interval '1 day', begun_at - interval '2 seconds' FROM attempts",
        NOTHING,
        "I5: 2 sends too long after a cancel or a replacement",
    ),
    (
        "INSERT INTO tombstones (source, kind, name, reason, until, buried_at)
         SELECT 'lakeside-ehr', 'about', 'visit-1', 'cancelled', now() + interval '1 day', begun_at - interval '2 seconds'
         FROM attempts",
        NOTHING,
        "I5: 2 sends too long after a cancel or a replacement",
    ),
    (
        "UPDATE messages SET status = 'cancelled', due_at = NULL, changed_at = now() - interval '1 minute' WHERE job_id = 'later';
         UPDATE attempts SET message_id = '00000000-0000-7000-8000-000000000002'",
        NOTHING,
        "I5: 2 sends too long after a cancel or a replacement",
    ),
    (
        "INSERT INTO campaigns (id, source, template, plan, state, created_by, changed_at, wave_opens_at, next_turn)
         SELECT 'flu', 'lakeside-ehr', '', ''::bytea, 'cancelled', 'u17', begun_at - interval '3 seconds', now(), now() FROM attempts;
         UPDATE messages SET campaign_id = 'flu', job_id = 'campaign:flu:1' WHERE job_id = 'gone'",
        NOTHING,
        "I5: 2 sends too long after the end of a campaign",
    ),
    ("", |e| e.rules.limits = [("sms".to_owned(), 1)].into(), ""),
    (
        "",
        |e| {
            e.rules.limits = [("sms".to_owned(), 1)].into();
            e.rules.late = Duration::from_millis(500);
            e.hits.push(Hit { at_us: e.hits[0].at_us + 999_999, ..e.hits[0] });
        },
        "I5: 2 in one second by sms, where 1 are allowed",
    ),
];

const EVERY_HOUR: [Plant; 5] = [
    ("", at_night, "I5: 1 sends into quiet hours"),
    ("UPDATE messages SET purpose = 'emergency'", at_night, ""),
    (
        r"INSERT INTO replies (id, provider, provider_ref, address_index, intent, received_at)
          SELECT gen_random_uuid(), 'sms', 'SM1', '\x01'::bytea, 'question', begun_at - interval '4 minutes' FROM attempts",
        at_night,
        "",
    ),
    (
        r"INSERT INTO replies (id, provider, provider_ref, address_index, intent, received_at)
          SELECT gen_random_uuid(), 'sms', 'SM1', '\x01'::bytea, 'question', begun_at - interval '6 minutes' FROM attempts",
        at_night,
        "I5: 1 sends into quiet hours",
    ),
    (
        "",
        |e| {
            at_night(e);
            e.rules.hours.as_mut().unwrap().zones.clear();
        },
        "I5: 1 sends to addresses whose zone the run did not tell",
    ),
];

const EVERY_RANK: [Plant; 5] = [
    (
        "ALTER TABLE messages DISABLE TRIGGER messages_status_rank",
        NOTHING,
        "I6: the database does not guard statuses",
    ),
    (
        r#"INSERT INTO events (shard, message_id, seq, routing_key, body)
           SELECT shard, message_id, 2, routing_key, '{"status":"unknown"}' FROM events;
           UPDATE messages SET seq = 2 WHERE job_id = 'gone'"#,
        NOTHING,
        "I6: the events of 1 messages fall, or have gaps",
    ),
    (
        "UPDATE messages SET seq = 5 WHERE job_id = 'gone'",
        NOTHING,
        "I6: 1 messages count other events than they have",
    ),
    ("", |e| e.heard[0] = heard(2), "I6: a subscriber heard the events of 1 messages out of order"),
    ("", |e| e.heard.clear(), "I6: 1 messages have events that no subscriber heard"),
];

const EVERY_LEAK: [Plant; 3] = [
    (
        "",
        |e| {
            e.canaries.push(Canary::new("Zqvanna-0001-Xk"));
            e.said.push(("log".to_owned(), b"to=Zqvanna-0001-Xk".to_vec()));
        },
        "I7: private data leaked in 1 places",
    ),
    ("", |e| e.usage.push(Usage { peak_rss_mb: 301, ..Usage::default() }), "I8: a worker grew beyond 300 MB"),
    ("", |e| e.usage.push(Usage { peak_files: 501, ..Usage::default() }), "I8: a worker grew beyond 300 MB"),
];

/// Holds by everything that a message can be held by, placed three seconds before it was sent.
const HOLDS: [(&str, &str); 8] = [
    ("all", ""),
    ("source", "lakeside-ehr"),
    ("site", "north"),
    ("template", "appointment-reminder"),
    ("purpose", "appointment"),
    ("channel", "sms"),
    ("provider", "sms"),
    ("campaign", "flu"),
];

#[tokio::test]
async fn the_auditor_finds_a_fault_of_every_kind() {
    let database = TestDatabase::migrated().await;
    let sql = PgPoolOptions::new().max_connections(2).connect(&database.url()).await.unwrap();
    assert_eq!(audited(&sql, "", NOTHING).await, [""; 0], "all is well");
    let groups: [&[Plant]; 7] =
        [&EVERY_JOB, &EVERY_FUTURE, &EVERY_HIT, &EVERY_WORD, &EVERY_HOUR, &EVERY_RANK, &EVERY_LEAK];
    for (statement, change, fault) in groups.into_iter().flatten() {
        let faults = audited(&sql, statement, *change).await;
        if fault.is_empty() {
            assert_eq!(faults, [""; 0], "{statement}");
        } else {
            assert!(faults.iter().any(|found| found.contains(fault)), "{statement}: {fault} in {faults:#?}");
        }
    }
    for (words, _) in FAULTS {
        assert!(EVERY_FUTURE.iter().any(|(_, _, fault)| *fault == words), "nothing is planted that {words}");
    }
}

#[tokio::test]
async fn the_auditor_finds_what_was_sent_under_a_hold() {
    let database = TestDatabase::migrated().await;
    let sql = PgPoolOptions::new().max_connections(2).connect(&database.url()).await.unwrap();
    let late = "I5: 2 sends too long after a hold";
    for (scope, value) in HOLDS {
        for (value, ended, is_fault) in [
            (value, "NULL::interval", true),
            (value, "interval '1 hour'", true),
            (value, "interval '-1 second'", false),
            ("another", "NULL::interval", scope == "all"),
        ] {
            let statement = format!(
                "UPDATE messages SET campaign_id = 'flu' WHERE '{scope}' = 'campaign';
                 UPDATE messages SET job_id = 'campaign:flu:1' WHERE '{scope}' = 'campaign' AND job_id = 'gone';
                 INSERT INTO holds (id, scope, value, reason, placed_by, placed_at, on_release, until)
                 SELECT gen_random_uuid(), '{scope}', '{value}', 'drill', 'u17', begun_at - interval '3 seconds', 'send',
                     begun_at + {ended} FROM attempts"
            );
            let faults = audited(&sql, &statement, NOTHING).await;
            let found = faults.iter().any(|found| found.starts_with(late));
            assert_eq!(found, is_fault, "{scope} {value}, ends after {ended}: {faults:#?}");
        }
    }
}

/// The faults that are found once this was done to a ledger in which all is well, and to what the outside has seen.
async fn audited(sql: &PgPool, statement: &str, change: fn(&mut Evidence)) -> Vec<String> {
    sqlx::raw_sql(ALL_IS_WELL).execute(sql).await.unwrap();
    let mut evidence = evidence(sql).await;
    if !statement.is_empty() {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(sql).await.unwrap();
    }
    change(&mut evidence);
    audit(sql, &evidence).await.faults().to_vec()
}

async fn evidence(sql: &PgPool) -> Evidence {
    let row = sqlx::query(
        "SELECT id, message_id, (extract(epoch FROM begun_at) * 1000000)::bigint AS begun_us FROM attempts",
    );
    let row = row.fetch_one(sql).await.unwrap();
    let (attempt, message): (Uuid, Uuid) = (row.get("id"), row.get("message_id"));
    let hit = Hit {
        at_us: 5_000_000,
        wall_us: row.get::<i64, _>("begun_us") + 100_000,
        kind: ProviderKind::TwilioSms,
        send_key: Some(Marker::new(&format!("{}-0", message.simple()))),
        attempt: Some(Marker::new(&attempt.to_string())),
        to: TextDigest::of(b"+13125550142"),
        body: TextDigest::of(b"Hello"),
        status: 201,
        taken: true,
        reply: Reply::Sent,
    };
    let jobs = ["gone", "later"].map(str::to_owned).to_vec();
    let in_flight = MAX_IN_FLIGHT;
    Evidence { jobs, hits: vec![hit], heard: vec![heard(1)], in_flight, ..Evidence::default() }
}

/// The event of the message that was sent, with this number.
fn heard(seq: u32) -> Heard {
    let body = json!({ "message_id": "00000000-0000-7000-8000-000000000001", "seq": seq, "status": "sent" });
    Heard {
        key: "message.sent.lakeside-ehr".to_owned(),
        properties: String::new(),
        body: body.to_string().into_bytes(),
    }
}

/// The recipient's day has an hour in which they may be disturbed, and the request came half a day from that.
fn at_night(evidence: &mut Evidence) {
    let hit = evidence.hits[0];
    let sent =
        Timestamp::from_microsecond(hit.wall_us).unwrap().to_zoned(TimeZone::get("Asia/Tokyo").unwrap());
    let opens = if sent.hour() < 12 { time(18, 0, 0, 0) } else { time(6, 0, 0, 0) };
    let closes = if sent.hour() < 12 { time(19, 0, 0, 0) } else { time(7, 0, 0, 0) };
    let zones = HashMap::from([(hit.to, "Asia/Tokyo".to_owned())]);
    evidence.rules.hours = Some(Hours { channels: vec!["sms"], opens, closes, zones });
}
