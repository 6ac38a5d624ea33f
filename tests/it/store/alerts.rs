//! What is wrong with the whole of it, who watches, and what people say to it.

use jiff::SignedDuration;
use outreachd::domain::alert::{Alert, Finding, Level, Telling, Trouble, Way};
use outreachd::domain::ids::{WorkItemId, WorkerId};
use outreachd::domain::words::{Reason, WorkKind};
use outreachd::store::alerts::{AlertAnswer, Vitals};
use outreachd::store::rows::{Hold, HoldScope};

use super::ledger::{Ledger, rejects};
use super::make::{hold, reject, seconds};

fn alert(key: &str, since: jiff::Timestamp) -> Alert {
    let (trouble, subject) = key.split_once(':').unwrap_or((key, ""));
    Alert {
        key: key.to_owned(),
        finding: Finding {
            trouble: Trouble::from_word(trouble).unwrap(),
            subject: subject.to_owned(),
            level: Level::Look,
            what: "It is so.".to_owned(),
            extent: 3,
        },
        since,
        gone_since: None,
        ended_at: None,
        told_at: None,
        owed: Some((Telling::Raised, vec![Way::Webhook, Way::Email(0), Way::Email(2)])),
        owed_since: Some(since),
        acknowledged_by: None,
        acknowledged_at: None,
        acknowledged_below: None,
        snoozed_by: None,
        snoozed_until: None,
    }
}

pub(super) async fn one_worker_watches_and_what_people_say_is_kept(ledger: Ledger) {
    let (one, other) = (WorkerId::generate(), WorkerId::generate());
    let lease = seconds(30);
    assert!(ledger.take_watch(one, lease).await.unwrap());
    assert!(!ledger.take_watch(other, lease).await.unwrap(), "one at a time");
    assert!(ledger.take_watch(one, lease).await.unwrap(), "and again, while it lasts");
    let now = ledger.now().await;
    let (dead, open) = (alert("dead_jobs", now), alert("breaker_open:sms-one", now + seconds(1)));
    assert!(
        !ledger.keep_alerts(other, std::slice::from_ref(&dead)).await.unwrap(),
        "only who watches writes"
    );
    assert!(ledger.keep_alerts(one, &[dead.clone(), open.clone()]).await.unwrap());
    assert_eq!(ledger.alerts().await.unwrap().0, [dead.clone(), open.clone()], "as they were written");

    // What somebody says between two looks is not undone by the second.
    let said = ledger.answer_alert("dead_jobs", "ana", AlertAnswer::Acknowledge).await.unwrap().unwrap();
    assert_eq!((said.acknowledged_by.as_deref(), said.acknowledged_at.is_some()), (Some("ana"), true));
    let snooze = AlertAnswer::Snooze(SignedDuration::from_hours(2));
    let said = ledger.answer_alert("breaker_open:sms-one", "ben", snooze).await.unwrap().unwrap();
    assert!(
        said.snoozed_until.unwrap() > now + SignedDuration::from_mins(119)
            && said.snoozed_by.as_deref() == Some("ben")
    );
    assert!(ledger.answer_alert("no_worker", "ana", snooze).await.unwrap().is_none());
    let later = Alert { owed: None, told_at: Some(now + seconds(2)), ..dead.clone() };
    assert!(ledger.keep_alerts(one, &[later]).await.unwrap());
    let known = ledger.alerts().await.unwrap().0;
    assert_eq!(
        (known[0].acknowledged_by.as_deref(), known[0].told_at),
        (Some("ana"), Some(now + seconds(2)))
    );

    let with = |extent: u64| Alert { finding: Finding { extent, ..dead.finding.clone() }, ..dead.clone() };
    for (extent, by) in [(5, Some("ana")), (6, None), (3, None)] {
        assert!(ledger.keep_alerts(one, &[with(extent)]).await.unwrap());
        let known = ledger.alerts().await.unwrap().0;
        assert_eq!(known[0].acknowledged_by.as_deref(), by, "three were acknowledged; now it is {extent}");
    }

    // It ends, and begins anew as another matter.
    let over = Alert {
        ended_at: Some(now + seconds(3)),
        owed: Some((Telling::Cleared, vec![Way::Email(0)])),
        ..dead.clone()
    };
    assert!(ledger.keep_alerts(one, &[over]).await.unwrap());
    assert!(
        ledger.answer_alert("dead_jobs", "ana", AlertAnswer::Acknowledge).await.unwrap().is_none(),
        "it is over"
    );
    assert_eq!(ledger.alerts().await.unwrap().0[0].owed, Some((Telling::Cleared, vec![Way::Email(0)])));
    let anew = Alert { since: now + seconds(9), ..dead };
    assert!(ledger.keep_alerts(one, std::slice::from_ref(&anew)).await.unwrap());
    assert_eq!(*ledger.alerts().await.unwrap().0.last().unwrap(), anew, "nobody has said anything of it yet");

    // Who gives the watch back, or dies, is followed by whoever looks next.
    assert!(ledger.take_watch(one, SignedDuration::ZERO).await.unwrap());
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    assert!(ledger.take_watch(other, lease).await.unwrap());
    assert!(!ledger.keep_alerts(one, &[anew]).await.unwrap());
}

pub(super) async fn what_is_wrong_shows_in_a_few_numbers(ledger: Ledger) {
    assert_eq!(ledger.vitals().await.unwrap(), Vitals::default());
    ledger.admit(&rejects(vec![reject(b"{}", false), reject(b"[]", false)])).await.unwrap();
    ledger.place_hold(&hold(HoldScope::Site, "north")).await.unwrap();
    let surge = Hold { cause: Reason::SurgeHold, ..hold(HoldScope::Source, "ehr") };
    ledger.place_hold(&surge).await.unwrap();
    let now = if ledger.execute("SELECT to_timestamp(0)").await.is_ok() { "now()" } else { "1" };
    let item = |n: u32, kind: &str, due: &str, claimed: &str| {
        format!(
            "INSERT INTO work_items (id, kind, priority, patient_id, opened_at, due_at, claimed_by, claimed_at)
             VALUES ('0196f3c0-0000-7000-8000-{n:012}', '{kind}', 0, 'P{}', {now}, {due}, {claimed})",
            n % 2
        )
    };
    let (far, free) =
        (if now == "1" { "9000000000000000" } else { "now() + interval '1 day'" }, "NULL, NULL");
    let taken = format!("'ana', {now}");
    for sql in [
        item(1, "reply", now, free),
        item(2, "safety", far, free),
        item(3, "reply", now, &taken),
        item(4, "reply", now, free),
        item(5, "reply", now, free),
    ] {
        ledger.execute(&sql).await.unwrap();
    }
    let vitals = ledger.vitals().await.unwrap();
    let danger = "0196f3c0-0000-7000-8000-000000000002".parse().map(WorkItemId).unwrap();
    let expected = Vitals {
        parked: 2,
        work_open: 5,
        work_overdue: vec![(WorkKind::Reply, 3)],
        safety_open: vec![danger],
        surges: vec!["source/ehr".to_owned()],
        ..Vitals::default()
    };
    assert_eq!(Vitals { outbox: 0, ..vitals }, expected);
    let behind = ledger.people_behind().await.unwrap();
    let people = vec![(WorkKind::Reply, 2)];
    assert_eq!((behind.overdue, behind.unknown, behind.waiting), (people, 0, 0), "people, not items");
}
