//! What is wrong with the whole of it, who watches, and what people say to it.

use jiff::SignedDuration;
use outreachd::domain::alert::{Alert, Finding, Level, Telling, Trouble, Way};
use outreachd::domain::ids::{WorkItemId, WorkerId};
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Channel, Priority, Reason, WorkKind};
use outreachd::policy::watch::Vitals;
use outreachd::store::alerts::{AlertAnswer, SHOWN};
use outreachd::store::rows::{Decided, Hold, HoldScope, Then};

use super::ledger::{InHand, Ledger, rejects};
use super::make::{Shape as _, decided, hold, job, reject, seconds};

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
    assert_eq!(ledger.standing_alerts().await.unwrap(), [dead.clone(), open.clone()], "as they were written");
    assert_eq!(ledger.alerts().await.unwrap().0, [open.clone(), dead.clone()], "people see the newest first");

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
    let known = ledger.standing_alerts().await.unwrap();
    assert_eq!(
        (known[0].acknowledged_by.as_deref(), known[0].told_at),
        (Some("ana"), Some(now + seconds(2)))
    );

    let with = |extent: u64| Alert { finding: Finding { extent, ..dead.finding.clone() }, ..dead.clone() };
    for (extent, by) in [(5, Some("ana")), (6, None), (3, None)] {
        assert!(ledger.keep_alerts(one, &[with(extent)]).await.unwrap());
        let known = ledger.standing_alerts().await.unwrap();
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
    assert_eq!(
        ledger.standing_alerts().await.unwrap()[0].owed,
        Some((Telling::Cleared, vec![Way::Email(0)]))
    );
    let anew = Alert { since: now + seconds(9), ..dead };
    assert!(ledger.keep_alerts(one, std::slice::from_ref(&anew)).await.unwrap());
    assert_eq!(
        *ledger.standing_alerts().await.unwrap().last().unwrap(),
        anew,
        "nobody has said anything of it yet"
    );

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
    assert_eq!(Vitals { outbox: 0, outbox_seconds: 0, ..vitals }, expected);
    let behind = ledger.people_behind().await.unwrap();
    let people = vec![(WorkKind::Reply, 2)];
    assert_eq!((behind.overdue, behind.unknown, behind.waiting), (people, 0, 0), "people, not items");
}

/// Every look at it makes it due later: by that alone it would never be late.
pub(super) async fn what_is_held_again_and_again_is_seen_to_wait(ledger: Ledger) {
    for (priority, reason) in
        [(Priority::Urgent, Reason::Paced), (Priority::Normal, Reason::ProviderUnavailable)]
    {
        let mut hand = ledger.lease(job(priority.as_str()).priority(priority)).await;
        for _ in 0..3 {
            let now = ledger.now().await;
            let held = Decided {
                channel: Some(Channel::Sms),
                due_at: Some(now + seconds(300)),
                ..decided(&hand, MessageStatus::Held, Some(reason), now)
            };
            ledger.decide_one(held).await;
            ledger.pass(seconds(301)).await;
            hand = InHand::from(ledger.claim_as(Some(Channel::Sms), priority, 1).await.messages.remove(0));
        }
        let now = ledger.now().await;
        let held = Decided {
            due_at: Some(now + seconds(300)),
            ..decided(&hand, MessageStatus::Held, Some(reason), now)
        };
        ledger.decide_one(held).await;
        let vitals = ledger.vitals().await.unwrap();
        let seen = (vitals.urgent_held_seconds, vitals.held_seconds);
        let (late, other) = if priority == Priority::Urgent { seen } else { (seen.1, seen.0) };
        assert!((903..960).contains(&late) && other == 0, "{priority}: {seen:?}");
        assert!(ledger.oldest_due().await.unwrap().is_empty(), "it is not to be claimed");
        let counts = ledger.counts().await.unwrap();
        assert!((903.0..960.0).contains(&counts.oldest_due_seconds), "{}", counts.oldest_due_seconds);

        // What waits for somebody's word, or for the morning, waits for what was meant.
        ledger.pass(seconds(301)).await;
        hand = InHand::from(ledger.claim_as(Some(Channel::Sms), priority, 1).await.messages.remove(0));
        let now = ledger.now().await;
        let quiet = Decided {
            due_at: Some(now + seconds(100_000)),
            ..decided(&hand, MessageStatus::Held, Some(Reason::QuietHours), now)
        };
        ledger.decide_one(quiet).await;
        let vitals = ledger.vitals().await.unwrap();
        assert_eq!((vitals.urgent_held_seconds, vitals.held_seconds), (0, 0), "{priority}");
    }
}

pub(super) async fn however_many_alerts_there_are_whoever_watches_knows_all(ledger: Ledger) {
    let one = WorkerId::generate();
    assert!(ledger.take_watch(one, seconds(30)).await.unwrap());
    let now = ledger.now().await;
    let many: Vec<Alert> = (0..SHOWN + 5)
        .map(|n| alert(&format!("campaign_paused:c{n}"), now - SignedDuration::from_millis(n)))
        .collect();
    assert!(ledger.keep_alerts(one, &many).await.unwrap());
    assert_eq!(ledger.standing_alerts().await.unwrap().len(), many.len());
    let (shown, _) = ledger.alerts().await.unwrap();
    assert_eq!((shown.len(), &shown[0]), (many.len() - 5, &many[0]), "the newest");

    // What is over and told is nothing to watch, unless somebody wants to hear nothing of it for a while.
    let over = |alert: &Alert| Alert { ended_at: Some(now), owed: None, owed_since: None, ..alert.clone() };
    let snooze = AlertAnswer::Snooze(SignedDuration::from_hours(2));
    ledger.answer_alert(&many[0].key, "ben", snooze).await.unwrap().unwrap();
    let ended: Vec<Alert> = many.iter().map(over).collect();
    assert!(ledger.keep_alerts(one, &ended).await.unwrap());
    let standing = ledger.standing_alerts().await.unwrap();
    assert_eq!(standing.iter().map(|alert| alert.key.as_str()).collect::<Vec<_>>(), [&many[0].key]);
    // It comes back, as another one, and is as quiet.
    let anew = Alert { since: now + seconds(1), ended_at: None, ..standing[0].clone() };
    assert!(ledger.keep_alerts(one, std::slice::from_ref(&anew)).await.unwrap());
    assert_eq!(ledger.standing_alerts().await.unwrap(), [anew]);
}

/// A worker of the last release goes on watching beside one of the next.
pub(super) async fn words_of_a_newer_program_hide_nothing_else_that_is_wrong(ledger: Ledger) {
    let one = WorkerId::generate();
    assert!(ledger.take_watch(one, seconds(30)).await.unwrap());
    let now = ledger.now().await;
    let (dead, other) = (alert("dead_jobs", now), alert("breaker_open:sms-one", now));
    assert!(ledger.keep_alerts(one, &[dead.clone(), other]).await.unwrap());
    let sql = "UPDATE alerts SET trouble = 'of_tomorrow', key = 'of_tomorrow' WHERE trouble = 'breaker_open'";
    assert_eq!(ledger.execute(sql).await.unwrap(), 1);
    assert_eq!(ledger.standing_alerts().await.unwrap(), std::slice::from_ref(&dead));
    assert_eq!(ledger.alerts().await.unwrap().0, [dead]);
    assert!(ledger.keep_alerts(one, &[]).await.unwrap() && ledger.vitals().await.is_ok());
}

/// What was sent a moment ago is not known to have arrived, and must not hide what is known not to have.
pub(super) async fn a_provider_that_delivers_nothing_is_seen_beside_one_that_sends_much(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    let now = ledger.now().await;
    let is_postgres = ledger.execute("SELECT to_timestamp(0)").await.is_ok();
    let copies = async |provider: &str, status: &str, minutes_ago: i64, count: u32| {
        let ms = (now - SignedDuration::from_mins(minutes_ago)).as_millisecond();
        let prefix = format!("{:08x}-{:04x}-7000-8000-", ms >> 16, ms & 0xffff);
        let id = format!("'{prefix}' || (100000000000 + n)");
        let id = if is_postgres { format!("CAST({id} AS uuid)") } else { id };
        let sql = format!(
            "INSERT INTO attempts (id, message_id, step, number, status, provider, channel, address, address_index, dedupes,
                 segments, template_hash, locale, worker, begun_at)
             WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count})
             SELECT {id}, message_id, step, number, '{status}', '{provider}', channel, address, address_index, dedupes,
                 segments, template_hash, locale, worker, begun_at FROM attempts, series WHERE id = '{attempt}'"
        );
        assert_eq!(ledger.execute(&sql).await.unwrap(), u64::from(count));
    };
    copies("few", "undelivered", 10, 25).await;
    copies("few", "delivered", 20, 5).await;
    copies("old", "undelivered", 40, 25).await;
    copies("many", "sent", 0, 10_001).await;
    let outcomes = ledger.vitals().await.unwrap().outcomes;
    let known = outcomes.iter().map(|(provider, lost, arrived)| (provider.as_str(), *lost, *arrived));
    // The first attempt of all is one of too many of its minute.
    assert_eq!(known.collect::<Vec<_>>(), [("few", 25, 5), ("many", 0, 0)]);
}
