//! What a patient said holds: at once for what is queued, and against whatever an older or careless sender says.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use outreachd::domain::patient::ConsentSource;
use outreachd::domain::phi::Phi;
use outreachd::domain::words::Channel;
use outreachd::simulator::TextDigest;
use outreachd::store::rows::{AddressConsent, HoldScope};
use serde_json::{Value, json};
use sqlx::Row as _;

use super::auditor::audit;
use super::drain::{SOURCE, phone, reminder};
use super::rig::{Plan, Rig};
use crate::store::make::hold;
use crate::support::house::{job, patient};

/// No send may be later than this after the commit of an opt-out.
const SOON: i64 = 1_000_000;

/// The n-th patient says stop.
pub(crate) fn stop(n: usize, at: Timestamp) -> AddressConsent {
    AddressConsent {
        channel: Channel::Sms,
        address: Phi::new(phone(n)),
        purpose: None,
        granted: false,
        at,
        source: ConsentSource::Patient,
        by: None,
        evidence: Some("STOP".to_owned()),
    }
}

fn now_us() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// `jobs` wait for a slow provider when half of the patients stop, by address, by their own record, or by a cancel.
pub(crate) async fn stops(name: &str, plan: Plan, jobs: usize) {
    let people = 60;
    let mut rig = Rig::build(plan).await;
    rig.know_everybody(people).await;
    let ids: Vec<String> = (0..jobs).map(|n| format!("s{n}")).collect();
    rig.publish("job", ids.iter().enumerate().map(|(n, id)| reminder(id, n % people)).collect()).await;
    let mut worker = rig.worker();
    rig.simulator.wait_for_hits(jobs as u64 / 10).await;

    // By address, each with the moment after its commit.
    let mut stopped: HashMap<TextDigest, i64> = HashMap::new();
    for n in 0..10 {
        rig.store.record_address_consents(&[stop(n, Timestamp::now())]).await.unwrap();
        stopped.insert(TextDigest::of(phone(n).as_bytes()), now_us());
    }
    for n in 10..20 {
        let mut own = patient(&format!("P{n}"), "sms", &phone(n));
        own["updated_at"] = json!(Timestamp::now().to_string());
        own["consents"] = json!([{ "purpose": "appointment", "channel": "sms", "granted": false,
            "at": Timestamp::now().to_string(), "source": "patient" }]);
        rig.know(&[own]).await;
        stopped.insert(TextDigest::of(phone(n).as_bytes()), now_us());
    }
    for n in 20..30 {
        let mut own = patient(&format!("P{n}"), "sms", &phone(n));
        own["updated_at"] = json!(Timestamp::now().to_string());
        own["deceased"] = json!(true);
        rig.know(&[own]).await;
        stopped.insert(TextDigest::of(phone(n).as_bytes()), now_us());
    }
    let before = rig.simulator.stats().kinds.values().map(|k| k.hits).sum::<u64>();
    assert!(before < jobs as u64 / 2, "too few were left for the test to mean anything");
    rig.until_quiet(i64::try_from(jobs).unwrap(), Duration::from_secs(300)).await;
    let usage = vec![worker.usage()];
    worker.stop();

    let hits = rig.simulator.hits();
    let late: Vec<i64> = hits
        .iter()
        .filter_map(|hit| Some(hit.wall_us - stopped.get(&hit.to)?))
        .filter(|after| *after > 0)
        .collect();
    let latest = late.iter().max().copied().unwrap_or(0);
    assert!(latest <= SOON, "sent {latest} us after the commit of an opt-out");
    let suppressed = rig.number("SELECT count(*) FROM messages WHERE status = 'suppressed'").await;
    assert!(suppressed > 0);
    let evidence = rig.evidence(ids, usage).await;
    let report = audit(&rig.sql, &evidence).await;
    assert!(report.figures["opt_outs"]["checked"].as_i64() >= Some(20), "the stops were looked at");
    report.close(
        name,
        json!({ "jobs": jobs, "stopped_patients": stopped.len(), "suppressed": suppressed,
            "sent_after_commit": late.len(), "latest_after_commit_ms": latest / 1000 }),
    );
}

/// `jobs` wait for a slow provider when half of them are taken back, by their names and by what they are about, and all the rest
/// is put under a hold for some seconds.
pub(crate) async fn taken_back(name: &str, plan: Plan, jobs: usize) {
    let people = 60;
    let mut rig = Rig::build(plan).await;
    rig.know_everybody(people).await;
    let ids: Vec<String> = (0..jobs).map(|n| format!("t{n}")).collect();
    let about = |n: usize| format!("visit-{n}");
    let bodies = ids.iter().enumerate().map(|(n, id)| {
        let mut body = job(id, &format!("P{}", n % people));
        body["about"] = json!(about(n));
        body.to_string().into_bytes()
    });
    rig.publish("job", bodies.collect()).await;
    let mut worker = rig.worker();
    rig.simulator.wait_for_hits(jobs as u64 / 10).await;
    // The last first: however slow the machine is, they meet what is being sent.
    let cancels = ids.iter().enumerate().rev().filter_map(|(n, id)| match n % 4 {
        0 => Some(json!({ "action": "cancel", "source": SOURCE, "id": id })),
        1 => Some(json!({ "action": "cancel", "source": SOURCE, "about": about(n) })),
        _ => None,
    });
    rig.publish("job.cancel", cancels.map(|cancel| cancel.to_string().into_bytes()).collect()).await;
    let cancelled = "SELECT count(*) FROM messages WHERE status = 'cancelled'";
    rig.until("many cancels", cancelled, i64::try_from(jobs).unwrap() / 8, Duration::from_secs(60)).await;

    let stop = hold(HoldScope::Template, "appointment-reminder");
    rig.store.place_hold(&stop).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let under = rig.simulator.now_hits();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.simulator.now_hits(), under, "it goes on under the hold");
    let left = rig.number("SELECT count(*) FROM messages WHERE due_at IS NOT NULL").await;
    assert!(left > 0, "too few were left for the hold to mean anything");
    assert!(rig.store.release_hold(stop.id, "u17", None).await.unwrap());
    rig.until_quiet(i64::try_from(jobs).unwrap(), Duration::from_secs(300)).await;
    let usage = vec![worker.usage()];
    worker.stop();
    let cancelled = rig.number(cancelled).await;
    let evidence = rig.evidence(ids, usage).await;
    let report = audit(&rig.sql, &evidence).await;
    assert!(
        report.figures["taken_back"]["checked"].as_i64() >= Some(cancelled),
        "the cancels were looked at"
    );
    assert_eq!(report.figures["holds"]["checked"], 1, "so was the hold");
    report.close(name, json!({ "jobs": jobs, "cancelled": cancelled, "under_the_hold": left }));
}

/// STOP, then an older upsert that knows nothing of it, then a snapshot in the job that claims consent.
pub(crate) async fn stop_stands(name: &str, plan: Plan) {
    let mut rig = Rig::build(plan).await;
    let consent = |granted: bool, at: &str, by: &str| json!([{ "purpose": "appointment", "channel": "sms", "granted": granted, "at": at, "source": by }]);
    let mut own = patient("P2", "sms", &phone(2));
    own["consents"] = consent(false, "2026-11-21T08:00:00Z", "patient");
    rig.know(&[patient("P1", "sms", &phone(1)), own, patient("P3", "sms", &phone(3))]).await;
    rig.store.record_address_consents(&[stop(1, Timestamp::now())]).await.unwrap();

    let older = |id: &str, n: usize| -> Value {
        let mut older = patient(id, "sms", &phone(n));
        older["updated_at"] = json!("2026-11-01T08:00:00Z");
        older["consents"] = consent(true, "2026-11-01T08:00:00Z", "import");
        older
    };
    let newer = |id: &str, n: usize| -> Value {
        let mut newer = older(id, n);
        newer["updated_at"] = json!("2026-11-22T08:00:00Z");
        newer["consents"] = consent(true, "2026-11-22T08:00:00Z", "import");
        newer
    };
    let mut worker = rig.worker();
    let upserts = [older("P1", 1), older("P2", 2), newer("P1", 1), newer("P2", 2)];
    rig.publish("patient.upsert", upserts.iter().map(|p| p.to_string().into_bytes()).collect()).await;
    let heard_of = "SELECT count(*) FROM patients WHERE updated_at >= '2026-11-22T08:00:00Z'";
    rig.until("both upserts", heard_of, 2, Duration::from_secs(30)).await;

    let with_snapshot = |id: &str, person: &str, n: usize| {
        let mut body = job(id, person);
        body["patient"] = newer(person, n);
        body.to_string().into_bytes()
    };
    // Somebody else's snapshot that names the stopped address reaches nobody either.
    let bodies = vec![
        reminder("plain-1", 1),
        reminder("plain-2", 2),
        with_snapshot("inline-1", "P1", 1),
        with_snapshot("inline-2", "P2", 2),
        with_snapshot("inline-new", "P9", 1),
        reminder("control", 3),
    ];
    let jobs =
        ["plain-1", "plain-2", "inline-1", "inline-2", "inline-new", "control"].map(str::to_owned).to_vec();
    rig.publish("job", bodies).await;
    rig.until_quiet(6, Duration::from_secs(30)).await;
    let usage = vec![worker.usage()];
    worker.stop();
    let rows = sqlx::query("SELECT job_id, status, COALESCE(reason, '') FROM messages ORDER BY job_id");
    let ends: Vec<(String, String, String)> =
        rows.fetch_all(&rig.sql).await.unwrap().iter().map(|r| (r.get(0), r.get(1), r.get(2))).collect();
    for (job, status, reason) in &ends {
        let expected = if job == "control" { ("sent", "") } else { ("suppressed", "opted_out") };
        assert_eq!((status.as_str(), reason.as_str()), expected, "{job}");
    }
    let evidence = rig.evidence(jobs, usage).await;
    audit(&rig.sql, &evidence).await.close(name, json!({ "suppressed": 5, "control_sent": 1 }));
}
