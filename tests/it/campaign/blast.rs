//! A blast that is paused, resumed and whose worker is killed, at random times: nobody has two messages, and nothing leaves
//! in a pause.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outreachd::app;
use outreachd::campaign::{Office, Wish};
use outreachd::config::Config;
use outreachd::domain::campaign::CampaignState;
use serde_json::json;

use super::{bring, name, plan};
use crate::proof::rig::{Plan, Rig};

/// Writes to `count` people at `per_minute`, with so many pauses and kills.
pub(crate) async fn blast(title: &str, rig: Plan, count: u32, per_minute: u32, pauses: u32, kills: u32) {
    let mut rig = Rig::build(rig).await;
    let text = std::fs::read_to_string(rig.dir.path().join("outreachd.toml")).unwrap();
    let config = Arc::new(Config::from_toml(&text).unwrap());
    let catalogue = app::load_catalogue(&config.templates.dir).unwrap();
    let gatekeeper = outreachd::intake::Gatekeeper::new(config.clone(), catalogue.clone());
    let store = app::open_store(&config).await.unwrap();
    let office = Office { store, config, catalogue, gatekeeper, dispatcher: None };
    let more = json!({"canary": 0, "pace": {"per_minute": per_minute}, "auto_pause": {"error_percent": 100, "after": 1_000_000}});
    let asked = plan("blast", more);
    office.create(&asked, "ann").await.unwrap();
    assert_eq!(bring(&office, &asked, &audience(count), "ann").await.0.added, u64::from(count));
    let id = name("blast");
    office.wish(&id, "bob", &Wish::Approve(u64::from(count), None)).await.unwrap();
    office.wish(&id, "ann", &Wish::Start).await.unwrap();

    let began = Instant::now();
    let mut worker = rig.worker();
    let whole = Duration::from_secs_f64(f64::from(count) * 60.0 / f64::from(per_minute));
    let mut stops: Vec<(i64, i64)> = Vec::new();
    let (mut paused, mut killed) = (0, 0);
    while paused < pauses || killed < kills {
        tokio::time::sleep(whole.mul_f64(rand::random::<f64>() * 1.2 / f64::from(pauses + kills))).await;
        if office.one(&id).await.unwrap().0.state != CampaignState::Running {
            break;
        }
        if killed < kills && rand::random::<f64>() * f64::from(pauses + kills) < f64::from(kills) {
            worker.kill();
            worker = rig.worker();
            killed += 1;
        } else if paused < pauses {
            if office.wish(&id, "ann", &Wish::Pause).await.is_err() {
                break;
            }
            let from = jiff::Timestamp::now().as_microsecond();
            tokio::time::sleep(Duration::from_millis(2_100 + rand::random::<u64>() % 900)).await;
            let until = jiff::Timestamp::now().as_microsecond();
            office.wish(&id, "ann", &Wish::Resume).await.unwrap();
            stops.push((from, until));
            paused += 1;
        }
    }
    while office.one(&id).await.unwrap().0.state != CampaignState::Done {
        assert!(began.elapsed() < whole * 4 + Duration::from_secs(120), "it does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = began.elapsed();
    let hits = rig.simulator.hits();
    let after_a_cancel = cancelled(&rig, &office, count / 10, per_minute).await;
    worker.kill();
    let mut by_key: BTreeMap<String, u32> = BTreeMap::new();
    for hit in &hits {
        *by_key.entry(format!("{:?}", hit.send_key)).or_default() += 1;
    }
    let late = |from: i64, until: i64| {
        hits.iter().filter(|h| h.wall_us > from && h.wall_us < until).map(|h| h.wall_us - from).max()
    };
    let worst = stops.iter().filter_map(|(from, until)| late(*from, *until)).max().unwrap_or(0);
    let twice = by_key.values().filter(|n| **n > 1).count();
    let report = office.store.campaign_report(&id).await.unwrap();
    let unknown: u64 = report.lines.iter().filter(|l| l.status.as_str() == "unknown").map(|l| l.count).sum();
    println!(
        "{}",
        json!({
            "proof": title, "people": count, "hits": hits.len(), "send_keys": by_key.len(), "hit_twice": twice, "unknown": unknown,
            "pauses": paused, "kills": killed, "latest_send_after_a_pause_ms": worst / 1_000,
            "latest_send_after_a_cancel_ms": after_a_cancel / 1_000, "seconds": took.as_secs_f64(),
        })
    );
    assert_eq!(twice, 0, "nobody has two messages");
    assert!(worst < 2_000_000, "a send {worst} us after a pause");
    assert!(after_a_cancel < 2_000_000, "a send {after_a_cancel} us after a cancel");
    // What a killed worker had on the wire may have arrived or not, and the ledger says of which.
    let reached = u64::try_from(by_key.len()).unwrap();
    assert!(
        reached <= u64::from(count) && reached + unknown >= u64::from(count),
        "{reached} and {unknown} unknown"
    );
}

/// Another one, cancelled when a third has gone out. Answers how long after it the last message left, in microseconds.
async fn cancelled(rig: &Rig, office: &Office, count: u32, per_minute: u32) -> i64 {
    let more = json!({"canary": 0, "pace": {"per_minute": per_minute}, "auto_pause": {"error_percent": 100, "after": 1_000_000}});
    let asked = plan("cancelled", more);
    office.create(&asked, "ann").await.unwrap();
    // They had a message from the first one, and may have a second.
    assert_eq!(bring(office, &asked, &audience(count), "ann").await.0.added, u64::from(count));
    let id = name("cancelled");
    office.wish(&id, "bob", &Wish::Approve(u64::from(count), None)).await.unwrap();
    office.wish(&id, "ann", &Wish::Start).await.unwrap();
    let (before, third) = (rig.simulator.hits().len(), usize::try_from(count / 3).unwrap());
    let end = Instant::now() + Duration::from_secs(120);
    while rig.simulator.hits().len() < before + third {
        assert!(Instant::now() < end, "the second one does not get under way");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    office.wish(&id, "ann", &Wish::Cancel).await.unwrap();
    let at = jiff::Timestamp::now().as_microsecond();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let hits = rig.simulator.hits();
    assert!(hits.len() < before + usize::try_from(count).unwrap(), "it was still under way");
    hits.iter().map(|hit| hit.wall_us - at).max().unwrap_or(0).max(0)
}

/// So many people, each with a number of their own.
pub(super) fn audience(count: u32) -> String {
    let mut people = "patient_id,sms,language,timezone\n".to_owned();
    for n in 0..count {
        people += &format!("P{n},+1312{},en,America/Chicago\n", 2_000_000 + n);
    }
    people
}
