use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::alert::{Alert, Way};

/// A patient in danger.
fn danger(n: u128) -> WorkItemId {
    WorkItemId(Uuid::from_u128(n))
}

fn well() -> Signs {
    Signs { workers: 1, broker: Some(true), ..Signs::default() }
}

/// What changes of all that is well, and what is found then.
type Case = (fn(&mut Signs), &'static [(Trouble, &'static str, Level)]);

#[test]
fn every_sign_has_its_finding() {
    use Level::{Bad, Look};
    let nothing: &'static [(Trouble, &'static str, Level)] = &[];
    let some = |change: fn(&mut Signs)| {
        let mut signs = well();
        change(&mut signs);
        wrong(&signs).into_iter().map(|f| (f.trouble, f.subject, f.level)).collect::<Vec<_>>()
    };
    let cases: &[Case] = &[
        (|_| (), nothing),
        (|s| s.workers = 0, &[(Trouble::NoWorker, "", Bad)]),
        (|s| s.broker = None, nothing),
        (|s| s.broker = Some(false), &[(Trouble::BrokerAway, "", Bad)]),
        (|s| (s.broker, s.broker_blocked) = (Some(false), true), &[(Trouble::BrokerAway, "", Bad)]),
        (|s| s.breakers = vec!["sms-one".into()], &[(Trouble::BreakerOpen, "sms-one", Look)]),
        (|s| s.channels_out = vec![("sms".into(), true)], &[(Trouble::ChannelOut, "sms", Bad)]),
        (|s| s.channels_out = vec![("sms".into(), false)], &[(Trouble::ChannelOut, "sms", Bad)]),
        // Two holds of one person are one trouble: each has one alert.
        (|s| s.stopped_by = vec!["ana".into(), "ana".into()], &[(Trouble::Stopped, "ana", Bad)]),
        (|s| s.oldest_urgent = 60.0, nothing),
        (|s| s.oldest_urgent = 61.0, &[(Trouble::UrgentLate, "", Bad)]),
        (|s| s.oldest = 900.0, nothing),
        (|s| s.oldest = 901.0, &[(Trouble::BacklogOld, "", Look)]),
        (|s| s.vitals.parked = 1, &[(Trouble::DeadJobs, "", Look)]),
        (|s| s.vitals.outbox = 10_000, nothing),
        (|s| s.vitals.outbox = 10_001, &[(Trouble::EventsWait, "", Look)]),
        (|s| (s.vitals.outbox, s.vitals.outbox_seconds) = (1, 600), nothing),
        (|s| (s.vitals.outbox, s.vitals.outbox_seconds) = (1, 601), &[(Trouble::EventsWait, "", Look)]),
        (|s| s.vitals.outbox_seconds = 601, nothing),
        (|s| s.vitals.unknown = 3, &[(Trouble::OutcomeUnknown, "", Look)]),
        (|s| s.vitals.work_open = 1, &[(Trouble::WorkOpen, "", Look)]),
        (
            |s| s.vitals.work_overdue = vec![(WorkKind::Reply, 3), (WorkKind::Safety, 1)],
            &[(Trouble::WorkOverdue, "reply", Bad), (Trouble::WorkOverdue, "safety", Bad)],
        ),
        (
            |s| s.vitals.safety_open = vec![danger(1), danger(2)],
            &[
                (Trouble::SafetyUnread, "00000000-0000-0000-0000-000000000001", Bad),
                (Trouble::SafetyUnread, "00000000-0000-0000-0000-000000000002", Bad),
            ],
        ),
        (|s| s.vitals.surges = vec!["source/ehr".into()], &[(Trouble::SurgeHeld, "source/ehr", Bad)]),
        (
            |s| s.vitals.results_dead = vec![(SourceName::parse("ehr").unwrap(), 4)],
            &[(Trouble::ResultsDead, "ehr", Look)],
        ),
        (|s| s.vitals.paused = vec![(CampaignId::parse("flu").unwrap(), PauseReason::Operator)], nothing),
        (
            |s| s.vitals.paused = vec![(CampaignId::parse("flu").unwrap(), PauseReason::OptOutRate)],
            &[(Trouble::CampaignPaused, "flu", Bad)],
        ),
        (|s| s.vitals.outcomes = vec![("sms-one".into(), 19, 0)], nothing),
        (
            |s| s.vitals.outcomes = vec![("sms-one".into(), 20, 0)],
            &[(Trouble::ReceiptsFailing, "sms-one", Look)],
        ),
        (|s| s.vitals.outcomes = vec![("sms-one".into(), 24, 76)], nothing),
        (
            |s| s.vitals.outcomes = vec![("sms-one".into(), 25, 75)],
            &[(Trouble::ReceiptsFailing, "sms-one", Look)],
        ),
    ];
    for (n, (change, expected)) in cases.iter().enumerate() {
        let expected: Vec<_> = expected.iter().map(|(t, s, l)| (*t, (*s).to_owned(), *l)).collect();
        assert_eq!(some(*change), expected, "case {n}");
    }
}

#[test]
fn the_most_urgent_comes_first_and_lengths_are_spoken() {
    let signs = Signs {
        workers: 0,
        oldest: 7_300.0,
        vitals: Vitals {
            parked: 2,
            safety_open: vec![danger(1)],
            work_overdue: vec![(WorkKind::OutcomeUnknown, 2)],
            surges: vec!["template/recall".into()],
            ..Vitals::default()
        },
        ..well()
    };
    let told: Vec<String> = wrong(&signs).into_iter().map(|f| f.what).collect();
    assert_eq!(
        told,
        [
            "No worker is running: nothing is sent.",
            "A patient wrote words of danger, and it is not closed.",
            "Nobody has claimed 2 work items of kind outcome unknown in time.",
            "Far more than usual was asked for by template recall, and is held.",
            "The oldest message in the queue has waited for 2 h.",
            "2 jobs could not be accepted.",
        ]
    );
}

#[test]
fn numbers_and_lengths_are_said_as_people_say_them() {
    let events = |outbox, outbox_seconds| Vitals { outbox, outbox_seconds, ..Vitals::default() };
    let items = |work_open| Vitals { work_open, ..Vitals::default() };
    for (vitals, expected) in [
        (events(1, 601), "1 event waits to be told, the oldest for 10 min."),
        (events(10_001, 5), "10001 events wait to be told, the oldest for 5 s."),
        (items(1), "1 work item is not closed."),
        (items(2), "2 work items are not closed."),
    ] {
        let told: Vec<String> = wrong(&Signs { vitals, ..well() }).into_iter().map(|f| f.what).collect();
        assert_eq!(told, [expected]);
    }
    for (seconds, expected) in [(119.0, "119 s"), (120.0, "2 min"), (7_199.0, "120 min"), (7_200.0, "2 h")] {
        assert_eq!(spoken(seconds), expected);
    }
}

#[test]
fn what_is_counted_says_how_much_of_it_there_is() {
    let ehr = SourceName::parse("ehr").unwrap();
    for (vitals, expected) in [
        (Vitals { parked: 2, ..Vitals::default() }, 2),
        (Vitals { unknown: 3, ..Vitals::default() }, 3),
        (Vitals { work_overdue: vec![(WorkKind::Reply, 4)], ..Vitals::default() }, 4),
        (Vitals { results_dead: vec![(ehr, 5)], ..Vitals::default() }, 5),
        (Vitals { work_open: 6, ..Vitals::default() }, 1),
    ] {
        let found = wrong(&Signs { vitals, ..well() });
        assert_eq!(found.iter().map(|finding| finding.extent).collect::<Vec<_>>(), [expected], "{found:?}");
    }
}

/// The people on call, and a clock.
struct Desk {
    alerts: Vec<Alert>,
    now: Timestamp,
    rules: TellRules,
    heard: Vec<String>,
}

impl Desk {
    fn new() -> Self {
        let rules = TellRules {
            after: SignedDuration::from_mins(2),
            repeat: SignedDuration::from_hours(1),
            ways: vec![Way::Webhook, MAIL],
        };
        Self { alerts: Vec::new(), now: "2026-11-20T03:00:00Z".parse().unwrap(), rules, heard: Vec::new() }
    }

    fn put(&mut self, changed: Vec<Alert>) {
        for alert in changed {
            self.alerts.retain(|known| known.key != alert.key);
            self.alerts.push(alert);
        }
    }

    /// As the ledger writes it down.
    fn acknowledge(&mut self, key: &str) {
        let alert = self.alerts.iter_mut().find(|alert| alert.key == key).unwrap();
        alert.acknowledged_by = Some("ana".into());
        alert.acknowledged_at = Some(self.now);
        alert.acknowledged_below = Some(alert.finding.extent * OUTGROWN);
    }

    /// Time passes, somebody looks, and what is owed is told by every way that works.
    fn after(&mut self, minutes: i64, signs: &Signs, ways: &[Way]) -> Vec<String> {
        self.now += SignedDuration::from_mins(minutes);
        let changed = look(&self.alerts, &wrong(signs), &self.rules, self.now);
        self.put(changed);
        let mut heard = Vec::new();
        for alert in self.alerts.clone() {
            for way in alert.owed.iter().flat_map(|(_, owed)| owed.clone()).filter(|way| ways.contains(way)) {
                let current = self.alerts.iter().find(|known| known.key == alert.key).unwrap().clone();
                let telling = current.owed.as_ref().unwrap().0;
                heard.push(format!("{telling} {} {way}", alert.key));
                self.put(vec![told(&current, way, self.now)]);
            }
        }
        self.heard.extend(heard.clone());
        heard
    }
}

const MAIL: Way = Way::Email(0);
const BOTH: &[Way] = &[Way::Webhook, MAIL];

#[test]
fn what_may_pass_is_told_once_it_has_lasted_and_told_as_over_once_it_is() {
    let mut desk = Desk::new();
    let bad = Signs { breakers: vec!["one".into()], ..well() };
    assert!(desk.after(0, &bad, BOTH).is_empty());
    assert!(desk.after(1, &well(), BOTH).is_empty());
    assert!(desk.after(5, &well(), BOTH).is_empty(), "it passed, and nobody was woken");
    assert!(desk.after(5, &bad, BOTH).is_empty());
    assert_eq!(
        desk.after(2, &bad, BOTH),
        ["raised breaker_open:one webhook", "raised breaker_open:one email 1"]
    );
    assert!(desk.after(1, &bad, BOTH).is_empty());
    // A moment without it is not its end.
    assert!(desk.after(1, &well(), BOTH).is_empty());
    assert!(desk.after(1, &bad, BOTH).is_empty());
    assert!(desk.after(1, &well(), BOTH).is_empty());
    assert_eq!(
        desk.after(2, &well(), BOTH),
        ["cleared breaker_open:one webhook", "cleared breaker_open:one email 1"]
    );
    assert!(desk.after(1, &well(), BOTH).is_empty());
}

#[test]
fn what_nobody_acknowledges_is_told_again_and_a_snooze_keeps_it_quiet() {
    let mut desk = Desk::new();
    let bad = Signs { vitals: Vitals { parked: 1, ..Vitals::default() }, ..well() };
    assert_eq!(desk.after(0, &bad, BOTH).len(), 2, "what does not pass by itself is told at once");
    assert!(desk.after(59, &bad, BOTH).is_empty());
    assert_eq!(desk.after(1, &bad, BOTH), ["again dead_jobs webhook", "again dead_jobs email 1"]);
    let snooze = desk.now + SignedDuration::from_hours(3);
    desk.alerts[0].snoozed_until = Some(snooze);
    assert!(desk.after(179, &bad, BOTH).is_empty());
    assert_eq!(desk.after(1, &bad, BOTH).len(), 2, "the snooze is over");
    // One that is shorter than the pause between two tellings ends with one, and with no more.
    desk.alerts[0].snoozed_until = Some(desk.now + SignedDuration::from_mins(30));
    assert!(desk.after(29, &bad, BOTH).is_empty());
    assert_eq!(desk.after(1, &bad, BOTH).len(), 2);
    assert!(desk.after(1, &bad, BOTH).is_empty());
    desk.acknowledge("dead_jobs");
    assert!(desk.after(600, &bad, BOTH).is_empty());
    assert_eq!(desk.after(1, &well(), BOTH), ["cleared dead_jobs webhook", "cleared dead_jobs email 1"]);
    // Another time it is another matter: the old word does not count for it.
    assert_eq!(desk.after(1, &bad, BOTH).len(), 2);
    assert_eq!(desk.alerts[0].acknowledged_at, None);
}

#[test]
fn what_comes_and_goes_stays_quiet_while_it_is_snoozed() {
    let mut desk = Desk::new();
    let bad = Signs { breakers: vec!["one".into()], ..well() };
    desk.after(0, &bad, BOTH);
    assert_eq!(desk.after(2, &bad, BOTH).len(), 2);
    desk.alerts[0].snoozed_until = Some(desk.now + SignedDuration::from_hours(8));
    desk.after(1, &well(), BOTH);
    assert_eq!(desk.after(2, &well(), BOTH).len(), 2, "whoever was told of it hears that it is over");
    for _ in 0..10 {
        assert!(desk.after(5, &bad, BOTH).is_empty() && desk.after(5, &bad, BOTH).is_empty());
        assert!(desk.after(5, &well(), BOTH).is_empty() && desk.after(5, &well(), BOTH).is_empty());
    }
    desk.after(600, &bad, BOTH);
    assert_eq!(desk.after(5, &bad, BOTH).len(), 2, "the snooze is over");
    // What begins as a snooze ends knows nothing of it.
    desk.alerts[0].snoozed_until = Some(desk.now + SignedDuration::from_mins(10));
    desk.after(1, &well(), BOTH);
    assert_eq!(desk.after(2, &well(), BOTH).len(), 2);
    desk.after(7, &bad, BOTH);
    assert_eq!(desk.alerts[0].snoozed_until, None);
}

#[test]
fn a_stop_that_is_forgotten_is_told_after_an_hour_and_each_hour_until_somebody_says_so() {
    let mut desk = Desk::new();
    let stopped = Signs { stopped_by: vec!["ana".into()], ..well() };
    assert!(desk.after(0, &stopped, BOTH).is_empty(), "whoever did it knows");
    assert!(desk.after(59, &stopped, BOTH).is_empty());
    assert_eq!(desk.after(1, &stopped, BOTH), ["raised stopped:ana webhook", "raised stopped:ana email 1"]);
    assert_eq!(desk.alerts[0].finding.told_as(), Level::Look, "and nobody is woken");
    assert!(desk.after(59, &stopped, BOTH).is_empty());
    assert_eq!(desk.after(1, &stopped, BOTH).len(), 2);
    desk.acknowledge("stopped:ana");
    assert!(desk.after(300, &stopped, BOTH).is_empty());
    assert_eq!(desk.after(1, &well(), BOTH).len(), 2, "it is over");
    // One that ends in time is nobody else's business.
    assert!(desk.after(1, &stopped, BOTH).is_empty() && desk.after(1, &well(), BOTH).is_empty());
}

#[test]
fn of_more_patients_in_danger_than_can_be_seen_none_is_called_safe() {
    let mut desk = Desk::new();
    desk.rules.ways = vec![Way::Webhook];
    let of = |ids: std::ops::Range<u128>| {
        let safety_open = ids.map(danger).collect();
        Signs { vitals: Vitals { safety_open, ..Vitals::default() }, ..well() }
    };
    let most = u128::try_from(Vitals::MOST_IN_DANGER).unwrap();
    assert_eq!(desk.after(0, &of(0..10), BOTH).len(), 10);
    let told = desk.after(1, &of(10..10 + most), BOTH);
    assert!(told.len() == Vitals::MOST_IN_DANGER && told.iter().all(|line| line.starts_with("raised")));
    let told = desk.after(1, &of(10..20), BOTH);
    assert!(told.len() == Vitals::MOST_IN_DANGER && told.iter().all(|line| line.starts_with("cleared")));
}

#[test]
fn a_way_that_fails_is_owed_and_the_other_is_not_told_twice() {
    let mut desk = Desk::new();
    let bad = Signs { vitals: Vitals { parked: 1, ..Vitals::default() }, ..well() };
    assert_eq!(desk.after(0, &bad, &[MAIL]), ["raised dead_jobs email 1"]);
    assert!(desk.after(1, &bad, &[]).is_empty());
    assert_eq!(desk.after(1, &bad, BOTH), ["raised dead_jobs webhook"]);
    // Its end is not heard before it is back: for them it has never been over.
    assert!(desk.after(1, &well(), &[]).is_empty() && desk.after(1, &bad, BOTH).is_empty());
    // One of them has heard that it was over: it begins anew for both.
    assert_eq!(desk.after(1, &well(), &[MAIL]), ["cleared dead_jobs email 1"]);
    assert_eq!(desk.after(1, &bad, BOTH), ["raised dead_jobs webhook", "raised dead_jobs email 1"]);
    let mut mute = Desk::new();
    mute.rules.ways = Vec::new();
    assert!(mute.after(0, &bad, BOTH).is_empty() && mute.alerts.len() == 1, "noted all the same");
}

#[test]
fn whoever_looks_after_one_is_told_of_the_next_and_of_many_more() {
    let mut desk = Desk::new();
    desk.rules.ways = vec![Way::Webhook];
    let of = |vitals: Vitals| Signs { vitals, ..well() };
    let mut safety = Vitals { safety_open: vec![danger(1)], ..Vitals::default() };
    assert_eq!(desk.after(0, &of(safety.clone()), BOTH).len(), 1);
    desk.acknowledge("safety_unread:00000000-0000-0000-0000-000000000001");
    assert!(desk.after(90, &of(safety.clone()), BOTH).is_empty());
    safety.safety_open.push(danger(2));
    let second = "raised safety_unread:00000000-0000-0000-0000-000000000002 webhook";
    assert_eq!(desk.after(1, &of(safety.clone()), BOTH), [second], "another patient is in danger");
    safety.safety_open.remove(0);
    let first = "cleared safety_unread:00000000-0000-0000-0000-000000000001 webhook";
    assert_eq!(desk.after(1, &of(safety), BOTH), [first]);

    // What is counted: few more are the same matter, twice as many are another.
    type Count = fn(u64) -> Vitals;
    let counted: [(&str, Count); 3] = [
        ("dead_jobs", |n| Vitals { parked: n, ..Vitals::default() }),
        ("work_overdue:reply", |n| Vitals { work_overdue: vec![(WorkKind::Reply, n)], ..Vitals::default() }),
        ("results_dead:ehr", |n| Vitals {
            results_dead: vec![(SourceName::parse("ehr").unwrap(), n)],
            ..Vitals::default()
        }),
    ];
    for (key, count) in counted {
        let mut desk = Desk::new();
        desk.rules.ways = vec![Way::Webhook];
        assert_eq!(desk.after(0, &of(count(10)), BOTH), [format!("raised {key} webhook")]);
        desk.acknowledge(key);
        assert!(desk.after(1, &of(count(19)), BOTH).is_empty(), "{key}");
        assert_eq!(desk.after(1, &of(count(20)), BOTH), [format!("again {key} webhook")], "at once");
        assert_eq!(desk.alerts[0].acknowledged_by, None, "nobody looks after {key} any more");
        assert!(
            desk.after(1, &of(count(300)), BOTH).is_empty(),
            "told, and not acknowledged: as ever, hourly"
        );
        desk.acknowledge(key);
        assert!(desk.after(120, &of(count(599)), BOTH).is_empty());
    }
}

#[test]
fn a_mailbox_that_takes_nothing_is_shown_and_keeps_nobody_else_from_hearing() {
    let mut desk = Desk::new();
    let dead = Way::Email(1);
    desk.rules.ways = vec![MAIL, dead];
    let bad = Signs { vitals: Vitals { parked: 1, ..Vitals::default() }, ..well() };
    assert_eq!(desk.after(0, &bad, &[MAIL]), ["raised dead_jobs email 1"]);
    assert!(desk.after(4, &bad, &[MAIL]).is_empty() && untold(&desk.alerts[0], desk.now).is_empty());
    desk.after(1, &bad, &[MAIL]);
    assert_eq!(untold(&desk.alerts[0], desk.now), [dead]);
    assert_eq!(desk.after(55, &bad, &[MAIL]), ["again dead_jobs email 1"], "as if the other were not there");
    assert_eq!(untold(&desk.alerts[0], desk.now), [dead]);
    assert_eq!(desk.after(1, &bad, &[MAIL, dead]), ["again dead_jobs email 2"]);
    assert!(untold(&desk.alerts[0], desk.now).is_empty() && desk.alerts[0].owed_since.is_none());
}

proptest! {
    /// Whatever comes and goes: nothing is told as over that was not told, and nothing raised twice between.
    #[test]
    fn raised_and_cleared_take_turns(steps in prop::collection::vec((0_i64..200, any::<bool>(), any::<bool>()), 1..60)) {
        let mut desk = Desk::new();
        desk.rules.ways = vec![Way::Webhook];
        for (minutes, bad, works) in steps {
            let signs = if bad { Signs { breakers: vec!["one".into()], ..well() } } else { well() };
            desk.after(minutes, &signs, if works { &[Way::Webhook] } else { &[] });
        }
        let mut open = false;
        for line in &desk.heard {
            match line.split(' ').next().unwrap() {
                "raised" => { prop_assert!(!open); open = true; }
                "again" => prop_assert!(open),
                _ => { prop_assert!(open); open = false; }
            }
        }
    }
}
