use proptest::prelude::*;

use super::*;

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
        (|s| s.breakers = vec!["sms-one".into()], &[(Trouble::BreakerOpen, "sms-one", Look)]),
        (|s| s.channels_out = vec!["sms".into()], &[(Trouble::ChannelOut, "sms", Bad)]),
        (|s| s.stopped_by = vec!["ana".into()], &[(Trouble::Stopped, "ana", Bad)]),
        (|s| s.oldest_urgent = 60.0, nothing),
        (|s| s.oldest_urgent = 61.0, &[(Trouble::UrgentLate, "", Bad)]),
        (|s| s.oldest = 900.0, nothing),
        (|s| s.oldest = 901.0, &[(Trouble::BacklogOld, "", Look)]),
        (|s| s.vitals.parked = 1, &[(Trouble::DeadJobs, "", Look)]),
        (|s| s.vitals.outbox = 10_000, nothing),
        (|s| s.vitals.outbox = 10_001, &[(Trouble::EventsWait, "", Look)]),
        (|s| s.vitals.unknown = 3, &[(Trouble::OutcomeUnknown, "", Look)]),
        (|s| s.vitals.work_open = 1, &[(Trouble::WorkOpen, "", Look)]),
        (|s| s.vitals.work_overdue = 1, &[(Trouble::WorkOverdue, "", Bad)]),
        (|s| s.vitals.safety_open = 1, &[(Trouble::SafetyUnread, "", Bad)]),
        (|s| s.vitals.surges = 1, &[(Trouble::SurgeHeld, "", Bad)]),
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
        vitals: Vitals { parked: 2, safety_open: 1, ..Vitals::default() },
        ..well()
    };
    let told: Vec<String> = wrong(&signs).into_iter().map(|f| f.what).collect();
    assert_eq!(
        told,
        [
            "No worker is running: nothing is sent.",
            "A patient wrote words of danger, and it is not closed.",
            "The oldest message in the queue has been due for 2 h.",
            "2 jobs could not be accepted.",
        ]
    );
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
            ways: vec![Way::Webhook, Way::Email],
        };
        Self { alerts: Vec::new(), now: "2026-11-20T03:00:00Z".parse().unwrap(), rules, heard: Vec::new() }
    }

    fn put(&mut self, changed: Vec<Alert>) {
        for alert in changed {
            self.alerts.retain(|known| known.key != alert.key);
            self.alerts.push(alert);
        }
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

const BOTH: &[Way] = &[Way::Webhook, Way::Email];

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
        ["raised breaker_open:one webhook", "raised breaker_open:one email"]
    );
    assert!(desk.after(1, &bad, BOTH).is_empty());
    // A moment without it is not its end.
    assert!(desk.after(1, &well(), BOTH).is_empty());
    assert!(desk.after(1, &bad, BOTH).is_empty());
    assert!(desk.after(1, &well(), BOTH).is_empty());
    assert_eq!(
        desk.after(2, &well(), BOTH),
        ["cleared breaker_open:one webhook", "cleared breaker_open:one email"]
    );
    assert!(desk.after(1, &well(), BOTH).is_empty());
}

#[test]
fn what_nobody_acknowledges_is_told_again_and_a_snooze_keeps_it_quiet() {
    let mut desk = Desk::new();
    let bad = Signs { vitals: Vitals { parked: 1, ..Vitals::default() }, ..well() };
    assert_eq!(desk.after(0, &bad, BOTH).len(), 2, "what does not pass by itself is told at once");
    assert!(desk.after(59, &bad, BOTH).is_empty());
    assert_eq!(desk.after(1, &bad, BOTH), ["again dead_jobs webhook", "again dead_jobs email"]);
    let snooze = desk.now + SignedDuration::from_hours(3);
    desk.alerts[0].snoozed_until = Some(snooze);
    assert!(desk.after(179, &bad, BOTH).is_empty());
    assert_eq!(desk.after(1, &bad, BOTH).len(), 2, "the snooze is over");
    desk.alerts[0].acknowledged_at = Some(desk.now);
    assert!(desk.after(600, &bad, BOTH).is_empty());
    assert_eq!(desk.after(1, &well(), BOTH), ["cleared dead_jobs webhook", "cleared dead_jobs email"]);
    // Another time it is another matter: the old word does not count for it.
    assert_eq!(desk.after(1, &bad, BOTH).len(), 2);
    assert_eq!(desk.alerts[0].acknowledged_at, None);
}

#[test]
fn a_way_that_fails_is_owed_and_the_other_is_not_told_twice() {
    let mut desk = Desk::new();
    let bad = Signs { vitals: Vitals { parked: 1, ..Vitals::default() }, ..well() };
    assert_eq!(desk.after(0, &bad, &[Way::Email]), ["raised dead_jobs email"]);
    assert!(desk.after(1, &bad, &[]).is_empty());
    assert_eq!(desk.after(1, &bad, BOTH), ["raised dead_jobs webhook"]);
    // Its end is not heard before it is back: for them it has never been over.
    assert!(desk.after(1, &well(), &[]).is_empty() && desk.after(1, &bad, BOTH).is_empty());
    let mut mute = Desk::new();
    mute.rules.ways = Vec::new();
    assert!(mute.after(0, &bad, BOTH).is_empty() && mute.alerts.len() == 1, "noted all the same");
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
