//! Quiet hours around the world: what is asked for in one moment goes at once to those for whom it is day, and waits for
//! everybody else. Whose day it is, is read off their own clocks here.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::time;
use outreachd::simulator::TextDigest;
use serde_json::json;
use sqlx::Row as _;

use super::auditor::{Evidence, audit};
use super::drain::{phone, reminder};
use super::late::{Hours, Rules};
use super::rig::{Plan, Rig};
use crate::support::house::patient;

/// All around the world, so that it is night somewhere and day elsewhere whenever this runs.
const ZONES: [&str; 24] = [
    "Pacific/Kiritimati",
    "Pacific/Chatham",
    "Pacific/Auckland",
    "Pacific/Noumea",
    "Australia/Lord_Howe",
    "Australia/Adelaide",
    "Asia/Tokyo",
    "Asia/Shanghai",
    "Asia/Yangon",
    "Asia/Kathmandu",
    "Asia/Karachi",
    "Asia/Dubai",
    "Africa/Nairobi",
    "Europe/Helsinki",
    "Europe/Berlin",
    "Europe/London",
    "Atlantic/Azores",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "Pacific/Honolulu",
];

/// The hours that are shipped; no state has its own where these telephones are.
const HOURS: &str = "[policy.hours]\nchannels = [\"sms\"]";

/// Two messages for somebody in each zone.
pub(crate) async fn around_the_world(name: &str, plan: Plan) {
    let mut rig = Rig::build(Plan { more: HOURS, ..plan }).await;
    let zones = ZONES.iter().enumerate();
    let hours = Hours {
        channels: vec!["sms"],
        opens: time(8, 0, 0, 0),
        closes: time(21, 0, 0, 0),
        zones: zones.map(|(n, zone)| (TextDigest::of(phone(n).as_bytes()), (*zone).to_owned())).collect(),
    };
    let people: Vec<_> = ZONES
        .iter()
        .enumerate()
        .map(|(n, zone)| {
            let mut one = patient(&format!("P{n}"), "sms", &phone(n));
            one["timezone"] = json!(zone);
            one
        })
        .collect();
    rig.know(&people).await;
    let ids: Vec<String> = (0..2 * ZONES.len()).map(|n| format!("w{n}")).collect();
    let mut worker = rig.worker();
    let begun = Timestamp::now();
    rig.publish("job", ids.iter().enumerate().map(|(n, id)| reminder(id, n % ZONES.len())).collect()).await;
    let decided = "SELECT count(*) FROM messages WHERE lease_token IS NULL AND (due_at IS NULL OR reason = 'quiet_hours')";
    rig.until("all decisions", decided, i64::try_from(ids.len()).unwrap(), Duration::from_secs(60)).await;
    rig.until("an empty outbox", "SELECT -count(*) FROM outbox", 0, Duration::from_secs(30)).await;
    let ended = Timestamp::now();
    let usage = vec![worker.usage()];
    worker.stop();

    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for row in sqlx::query("SELECT patient_id, status FROM messages").fetch_all(&rig.sql).await.unwrap() {
        let (person, status): (String, String) = (row.get(0), row.get(1));
        let zone = ZONES[person[1..].parse::<usize>().unwrap()];
        let open = |at: Timestamp| hours.are_open(zone, at.as_microsecond());
        // Where the hours began or ended meanwhile, either is right.
        if open(begun) == open(ended) {
            assert_eq!(status, if open(begun) { "sent" } else { "held" }, "{zone}");
        }
        *counts.entry(status).or_default() += 1;
    }
    assert!(counts["sent"] > 0 && counts["held"] > 0, "it is night or day everywhere: {counts:?}");
    let evidence = rig.evidence(ids, usage).await;
    let rules = Rules { hours: Some(hours), ..evidence.rules.clone() };
    let report = audit(&rig.sql, &Evidence { rules, ..evidence }).await;
    assert_eq!(report.figures["quiet_hours"]["checked"], counts["sent"], "every send was looked at");
    report.close(name, json!({ "zones": ZONES.len(), "by_status": counts }));
}
