//! Good jobs with bad ones among them: the good are sent, each bad one is parked and reported.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

use super::auditor::{Evidence, audit};
use super::drain::{phone, reminder};
use super::rig::{MAX_IN_FLIGHT, Plan, Rig};
use crate::support::house::{job, patient};

/// A source that may not use everything, so that there is something to refuse.
pub(crate) const SOURCES: &str = r#"
    [[source]]
    name = "lakeside-ehr"
    templates = ["appointment-reminder", "result-available"]
    allow_inline = true
"#;

/// The kinds of bad bodies, by name; each differs from every other by `n`.
pub(crate) fn bad(n: usize) -> Vec<(&'static str, Vec<u8>)> {
    let with = |field: &str, value: Value| {
        let mut body = job(&format!("bad-{field}-{n}"), "P1");
        body[field] = value;
        body.to_string().into_bytes()
    };
    let data = |name: &str, value: Value| {
        let mut body = job(&format!("bad-data-{n}"), "P1");
        body["data"][name] = value;
        body.to_string().into_bytes()
    };
    let inline = |field: &str, value: Value| {
        let mut body = job(&format!("bad-inline-{n}"), "P1");
        body["patient"] = patient("P1", "sms", "+13125550142");
        body["patient"][field] = value;
        body.to_string().into_bytes()
    };
    let text = |text: &str| text.replace("NUMBER", &n.to_string()).into_bytes();
    let mut latin1 = with("about", json!("visit"));
    latin1.splice(2..2, [b'"', 0xe9, b'"', b':', b'1', b',']);
    let mut nul = with("about", json!("visit"));
    nul.insert(1, 0);
    vec![
        ("not json", text("{\"id\": \"broken-NUMBER\", ")),
        ("no object", text("[NUMBER]")),
        ("an unknown field", with("pateint_id", json!("P1"))),
        ("oversize", with("about", json!("x".repeat(300_000)))),
        ("a time without offset", with("not_before", json!("2036-11-28T09:00:00"))),
        ("a zone that is none", inline("timezone", json!("America/Springfield"))),
        (
            "a telephone number that is none",
            inline("contacts", json!([{ "channel": "sms", "address": "12" }])),
        ),
        ("an unknown template", with("template", json!("no-such-template"))),
        ("a template it may not use", with("template", json!("vaccine-invitation"))),
        ("a missing variable", {
            let mut body = job(&format!("bad-missing-{n}"), "P1");
            body["data"] = json!({ "practitioner": "Dr. Chen" });
            body.to_string().into_bytes()
        }),
        ("a null variable", data("starts_at", Value::Null)),
        ("a variable of another type", data("starts_at", json!(17))),
        ("an unknown source", with("source", json!("somebody-else"))),
        ("a NUL byte", nul),
        ("a NUL character", with("about", json!("visit\u{0}"))),
        ("bytes that are no UTF-8", latin1),
        (
            "no id",
            text("{\"source\":\"lakeside-ehr\",\"patient_id\":\"P1\",\"template\":\"x\",\"n\":NUMBER}"),
        ),
        ("expired", with("expires_at", json!("2020-01-01T00:00:00Z"))),
        // The good job 0 has come first, with other content.
        ("a conflict", {
            let mut body = job("good-0", "P1");
            body["data"]["practitioner"] = json!(format!("Dr. Other {n}"));
            body.to_string().into_bytes()
        }),
    ]
}

/// `good` jobs and `each` of every bad kind.
pub(crate) async fn mixed(name: &str, plan: Plan, good: usize, each: usize) {
    let mut rig = Rig::build(Plan { more: SOURCES, ..plan }).await;
    rig.know(&[patient("P1", "sms", &phone(1)), patient("P2", "sms", &phone(2))]).await;
    let ids: Vec<String> = (0..good).map(|n| format!("good-{n}")).collect();
    let bad: Vec<(&str, Vec<u8>)> = (0..each).flat_map(bad).collect();
    let mut bodies: Vec<Vec<u8>> = ids.iter().skip(1).map(|id| reminder(id, 2)).collect();
    bodies.extend(bad.iter().map(|(_, body)| body.clone()));
    bodies.shuffle(&mut StdRng::seed_from_u64(6));
    bodies.insert(0, reminder(&ids[0], 2));

    let mut worker = rig.worker();
    rig.publish("job", bodies).await;
    let parked = i64::try_from(bad.len()).unwrap();
    rig.until("parked bodies", "SELECT count(*) FROM parked", parked, Duration::from_secs(60)).await;
    rig.until_quiet(i64::try_from(good).unwrap(), Duration::from_secs(120)).await;
    let usage = vec![worker.usage()];
    worker.stop();

    let heard = rig.tap.drain().await;
    let mut rejected: BTreeMap<String, u32> = BTreeMap::new();
    let mut reported = std::collections::BTreeSet::new();
    for event in heard.iter().filter(|event| event.key.starts_with("job.rejected.")) {
        let json = event.json();
        reported.insert(json["parked_id"].as_str().unwrap().to_owned());
        *rejected.entry(json["reason"].as_str().unwrap_or("none").to_owned()).or_default() += 1;
    }
    let listed: Vec<String> =
        sqlx::query_scalar("SELECT id::text FROM parked").fetch_all(&rig.sql).await.unwrap();
    assert_eq!(reported, listed.into_iter().collect(), "each parked body is reported, and no other");
    let faultless =
        rig.number("SELECT count(*) FROM parked WHERE problems NOT LIKE '%\"rule\":%\"cure\":%'").await;
    assert_eq!(faultless, 0, "each says the rule and the cure");

    let evidence = Evidence {
        jobs: ids,
        bad: bad.iter().map(|(_, body)| body.clone()).collect(),
        hits: rig.simulator.hits(),
        audit: rig.simulator.stats().audit,
        heard,
        usage,
        in_flight: MAX_IN_FLIGHT,
        ..Evidence::default()
    };
    assert_eq!(evidence.hits.len(), good, "every good job is sent");
    let kinds = bad.len() / each;
    let report = audit(&rig.sql, &evidence).await;
    report.close(name, json!({ "good": good, "bad_kinds": kinds, "bad": bad.len(), "rejected": rejected }));
}
