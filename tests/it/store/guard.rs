//! What comes in is counted: surges are held, and a source sends no more in a day than it may.

use std::sync::Arc;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use outreachd::domain::ids::TemplateName;
use outreachd::domain::words::{Priority, Purpose, Reason, WorkKind};
use outreachd::policy::surge::SurgeRules;
use outreachd::store::Store;
use outreachd::store::rows::{Admission, AdmitOutcome, Hold, HoldScope, HoldThen, ParkedFilter, WorkFilter};
use outreachd::store::rules::LedgerRules;

use super::ledger::{Ledger, batch};
use super::make::{Shape, job, job_id, seconds, source};

const HOUR: i64 = 3_600;

/// Five times the busiest hour, and never fewer than ten.
fn guarded(ledger: &Ledger) -> Arc<dyn Store> {
    let surge =
        SurgeRules { factor: 5, floor: 10, window_hours: 14 * 24, learning_hours: 24, learning_factor: 10 };
    ledger.ruled(LedgerRules { surge: Some(surge), ..LedgerRules::default() })
}

/// Was seen so many hours ago, with so many jobs in that hour.
async fn seen(ledger: &Ledger, hours_ago: i64, source: &str, template: &str, count: u32) {
    let hour = ledger.now().await.as_second() / HOUR - hours_ago;
    ledger
        .execute(&format!(
            "INSERT INTO arrivals (hour, source, template, count) VALUES ({hour}, '{source}', '{template}', {count})"
        ))
        .await
        .unwrap();
}

fn using(mut admission: Admission, template: &str) -> Admission {
    admission.facts.template = TemplateName::parse(template).unwrap();
    admission
}

/// So many jobs of a source with a template, named after `name`.
fn jobs(name: &str, from: &str, template: &str, count: usize) -> Vec<Admission> {
    (0..count).map(|n| using(job(&format!("{name}-{n}")).asked_by(from), template)).collect()
}

async fn admit(store: &Arc<dyn Store>, jobs: Vec<Admission>) {
    let report = store.admit(&batch(jobs, 0)).await.unwrap();
    assert!(report.outcomes.iter().all(|o| matches!(o, AdmitOutcome::Accepted(_))), "{:?}", report.outcomes);
}

async fn holds(ledger: &Ledger) -> Vec<Hold> {
    ledger.holds().await.unwrap().into_iter().map(|row| row.hold).collect()
}

pub(super) async fn a_source_in_surge_is_held_and_its_template_is_not(ledger: Ledger) {
    seen(&ledger, 48, "ehr", "reminder", 4).await;
    seen(&ledger, 30, "lab", "reminder", 1).await;
    let store = guarded(&ledger);
    admit(&store, jobs("a", "ehr", "reminder", 20)).await;
    assert!(holds(&ledger).await.is_empty(), "five times the busiest hour passes");
    admit(&store, jobs("b", "ehr", "reminder", 1)).await;
    admit(&store, jobs("c", "lab", "reminder", 5)).await;
    admit(&store, jobs("d", "ehr", "reminder", 30)).await;
    admit(&store, jobs("e", "lab", "reminder", 5)).await;
    let held = holds(&ledger).await;
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!((held[0].scope, held[0].value.as_str()), (HoldScope::Source, "ehr"));
    assert_eq!((held[0].cause, held[0].placed_by.as_str()), (Reason::SurgeHold, "surge guard"));
    let items = ledger.work_items(&WorkFilter { limit: 10, ..WorkFilter::default() }).await.unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!((items[0].kind, items[0].hold_id), (WorkKind::SurgeHold, Some(held[0].id)));
    assert_eq!(items[0].source, Some(source("ehr")));
    // Nothing of it begins, and what others ask for does.
    let hand = ledger.lease(using(job("x"), "reminder")).await;
    assert!(!ledger.try_begin(ledger.plan(&hand).await).await);
    let hand = ledger.lease(using(job("y").asked_by("lab"), "reminder")).await;
    assert!(ledger.try_begin(ledger.plan(&hand).await).await);
}

pub(super) async fn a_template_in_surge_is_held(ledger: Ledger) {
    for n in 0..10 {
        seen(&ledger, 40, &format!("s{n}"), "reminder", 1).await;
        seen(&ledger, 30, &format!("s{n}"), "other", 10).await;
    }
    let store = guarded(&ledger);
    for n in 0..10 {
        admit(&store, jobs(&format!("j{n}"), &format!("s{n}"), "reminder", 6)).await;
    }
    let held = holds(&ledger).await;
    assert_eq!(
        held.iter().map(|h| (h.scope, h.value.as_str())).collect::<Vec<_>>(),
        [(HoldScope::Template, "reminder")]
    );
    let hand = ledger.lease(using(job("x").asked_by("s1"), "other")).await;
    assert!(ledger.try_begin(ledger.plan(&hand).await).await, "other templates flow");
}

pub(super) async fn what_is_new_is_judged_by_the_floor(ledger: Ledger) {
    let store = guarded(&ledger);
    admit(&store, jobs("a", "ehr", "reminder", 100)).await;
    seen(&ledger, 23, "lab", "notice", 1).await;
    admit(&store, jobs("b", "lab", "notice", 100)).await;
    assert!(holds(&ledger).await.is_empty(), "ten times the floor passes");
    admit(&store, jobs("e", "lab", "notice", 1)).await;
    assert_eq!(holds(&ledger).await[0].value, "lab");
    seen(&ledger, 24, "hie", "letter", 1).await;
    admit(&store, jobs("c", "hie", "letter", 200)).await;
    assert!(holds(&ledger).await.iter().any(|h| h.value == "hie"));
    // Silent for longer than anybody looks back: known, and without a busy hour.
    seen(&ledger, 24 * 20, "old", "card", 500).await;
    admit(&store, jobs("d", "old", "card", 11)).await;
    assert!(holds(&ledger).await.iter().any(|h| h.value == "old"));
}

pub(super) async fn what_is_urgent_counts_and_neither_it_nor_a_campaign_is_held(ledger: Ledger) {
    seen(&ledger, 48, "ehr", "reminder", 1).await;
    let store = guarded(&ledger);
    let urgent = |a: Admission| a.priority(Priority::Urgent);
    let emergency = |mut a: Admission| {
        a.facts.purpose = Purpose::Emergency;
        a
    };
    let campaign = |mut a: Admission| {
        a.facts.job_id = job_id(&format!("campaign:flu:{}", a.facts.job_id));
        a.campaign("flu")
    };
    let many = |name: &str| jobs(name, "ehr", "reminder", 30);
    admit(&store, many("b").into_iter().map(emergency).collect()).await;
    admit(&store, many("c").into_iter().map(campaign).collect()).await;
    assert!(holds(&ledger).await.is_empty());
    admit(&store, many("a").into_iter().map(urgent).collect()).await;
    assert_eq!(holds(&ledger).await.len(), 1, "people are called");
    let of = |name: &str| using(job(name), "reminder");
    for admission in [urgent(of("e")), emergency(of("f")), campaign(of("g"))] {
        let hold = &holds(&ledger).await[0];
        assert!(!hold.covers(&admission.facts, None, None));
        let hand = ledger.lease(admission).await;
        assert!(ledger.try_begin(ledger.plan(&hand).await).await, "{:?}", hand.facts);
    }
    let tagged = of("h").campaign("flu");
    assert!(
        holds(&ledger).await[0].covers(&tagged.facts, None, None),
        "a caller's tag makes nothing a campaign"
    );
}

pub(super) async fn what_a_surge_means_for_later_is_decided_upon_at_once(ledger: Ledger) {
    seen(&ledger, 48, "ehr", "reminder", 1).await;
    let store = guarded(&ledger);
    let tomorrow = ledger.now().await + seconds(24 * 3_600);
    let later = |name: &str, source: &str, template: &str, count| -> Vec<Admission> {
        jobs(name, source, template, count).into_iter().map(|a| a.due(tomorrow)).collect()
    };
    admit(&store, later("a", "ehr", "reminder", 5)).await;
    admit(&store, later("other", "lab", "letter", 1)).await;
    assert!(ledger.claim_new(100).await.is_empty(), "tomorrow");
    // What came before in this hour, what crosses the line, and what comes under the hold.
    admit(&store, later("b", "ehr", "reminder", 6)).await;
    assert_eq!(holds(&ledger).await.len(), 1);
    admit(&store, later("c", "ehr", "reminder", 2)).await;
    let claimed = ledger.claim_new(100).await;
    assert_eq!(claimed.len(), 13);
    assert!(claimed.iter().all(|m| m.facts.source.as_str() == "ehr"));
}

pub(super) async fn a_surge_that_was_released_is_not_held_again(ledger: Ledger) {
    seen(&ledger, 48, "ehr", "reminder", 1).await;
    let store = guarded(&ledger);
    admit(&store, jobs("a", "ehr", "reminder", 11)).await;
    let hold = holds(&ledger).await[0].id;
    assert!(store.release_hold(hold, "u1", None).await.unwrap());
    admit(&store, jobs("b", "ehr", "reminder", 300)).await;
    admit(&guarded(&ledger), jobs("c", "ehr", "reminder", 300)).await;
    assert!(holds(&ledger).await.is_empty(), "the wave goes on, and so does its template");
}

pub(super) async fn a_surge_that_was_dropped_is_held_again_and_is_no_measure(ledger: Ledger) {
    seen(&ledger, 48, "ehr", "reminder", 1).await;
    let store = guarded(&ledger);
    admit(&store, jobs("a", "ehr", "reminder", 100)).await;
    let hold = holds(&ledger).await[0].id;
    assert!(store.release_hold(hold, "u1", Some(HoldThen::Drop)).await.unwrap());
    admit(&store, jobs("b", "ehr", "reminder", 1)).await;
    let again = holds(&ledger).await;
    assert_eq!(again.len(), 1, "it goes on");
    assert_ne!(again[0].id, hold);
    assert!(store.release_hold(again[0].id, "u1", Some(HoldThen::Drop)).await.unwrap());
    // Hours later.
    ledger.execute("UPDATE arrivals SET hour = hour - 5").await.unwrap();
    admit(&guarded(&ledger), jobs("c", "ehr", "reminder", 11)).await;
    assert_eq!(holds(&ledger).await.len(), 1, "the dropped hundred are no measure");
}

pub(super) async fn workers_that_see_the_same_surge_place_one_hold(ledger: Ledger) {
    seen(&ledger, 48, "ehr", "reminder", 1).await;
    let mut workers = Vec::new();
    for n in 0..6 {
        let store = guarded(&ledger);
        workers.push(tokio::spawn(async move {
            for round in 0..5 {
                let jobs = jobs(&format!("w{n}-{round}"), "ehr", "reminder", 5);
                let jobs = batch(jobs, 0);
                while let Err(error) = store.admit(&jobs).await {
                    assert!(matches!(error, outreachd::store::StoreError::Contention), "{error}");
                }
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(holds(&ledger).await.len(), 1);
    let counted = ledger.execute("UPDATE arrivals SET count = count WHERE count = 150").await.unwrap();
    assert_eq!(counted, 1, "every job is counted once");
}

pub(super) async fn a_duplicate_is_not_counted(ledger: Ledger) {
    seen(&ledger, 48, "ehr", "reminder", 1).await;
    let store = guarded(&ledger);
    for _ in 0..5 {
        store.admit(&batch(jobs("a", "ehr", "reminder", 9), 0)).await.unwrap();
    }
    assert!(holds(&ledger).await.is_empty());
}

pub(super) async fn old_counts_are_forgotten_but_not_since_when(ledger: Ledger) {
    let store = guarded(&ledger);
    for hours_ago in [24 * 30, 24 * 20, 24 * 15, 24 * 13, 5] {
        seen(&ledger, hours_ago, "ehr", "reminder", 3).await;
    }
    seen(&ledger, 24 * 40, "old", "card", 3).await;
    seen(&ledger, 24 * 50, "old", "card", 3).await;
    assert_eq!(store.prune_arrivals(100).await.unwrap(), 4);
    assert_eq!(store.prune_arrivals(100).await.unwrap(), 0);
    let left = ledger.execute("UPDATE arrivals SET count = count").await.unwrap();
    assert_eq!(left, 3, "two of the window, and the last that is known of the silent one");
}

/// Ten a day for `ehr`, whose day ends in Chicago.
fn limited(ledger: &Ledger) -> Arc<dyn Store> {
    let zone = TimeZone::get("America/Chicago").unwrap();
    ledger.ruled(LedgerRules { per_day: [(source("ehr"), 10)].into(), zone, ..LedgerRules::default() })
}

pub(super) async fn a_source_sends_what_it_may_in_a_day(ledger: Ledger) {
    let store = limited(&ledger);
    let word = |outcome: &AdmitOutcome| match outcome {
        AdmitOutcome::Accepted(_) => "accepted",
        AdmitOutcome::Duplicate(_) => "duplicate",
        AdmitOutcome::OverLimit { wait, .. } => {
            assert!(wait.is_positive() && *wait <= SignedDuration::from_hours(25), "{wait:?}");
            "over"
        }
        other => panic!("{other:?}"),
    };
    let say = async |jobs: Vec<Admission>| {
        let report = store.admit(&batch(jobs, 0)).await.unwrap();
        report.outcomes.iter().map(word).collect::<Vec<_>>()
    };
    assert_eq!(say(jobs("a", "ehr", "reminder", 6)).await, ["accepted"; 6]);
    assert_eq!(say(jobs("a", "ehr", "reminder", 6)).await, ["duplicate"; 6], "repeats are free");
    let mut rest = jobs("b", "ehr", "reminder", 5);
    rest.insert(2, job("other").asked_by("lab"));
    rest[0].raw = Some(b"the first".to_vec());
    rest[5].raw = Some(b"the last".to_vec());
    assert_eq!(say(rest).await, ["accepted", "accepted", "accepted", "accepted", "accepted", "over"]);
    let parked = ledger.parked(&ParkedFilter { limit: 10, ..ParkedFilter::default() }).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!(
        (parked[0].body.as_slice(), parked[0].problems[0].reason),
        (&b"the last"[..], Reason::OverBudget)
    );
    assert_eq!(say(jobs("c", "lab", "reminder", 3)).await, ["accepted"; 3], "others have no limit");
    let first = ledger.sent(job("z").asked_by("lab")).await;
    let again = job("z").retry_of(first);
    assert_eq!(say(vec![again]).await, ["accepted"], "a person's second try is not the source's");
    let events = ledger.outbox(super::ledger::worker(), &[], 100).await.unwrap();
    assert_eq!(events.iter().filter(|e| e.routing_key == "job.rejected.ehr").count(), 1);
}

pub(super) async fn the_limit_of_a_day_is_exact_over_many_workers(ledger: Ledger) {
    let mut workers = Vec::new();
    for n in 0..6 {
        let store = limited(&ledger);
        workers.push(tokio::spawn(async move {
            let mut accepted = 0;
            for round in 0..4 {
                let jobs = batch(jobs(&format!("w{n}-{round}"), "ehr", "reminder", 3), 0);
                let report = loop {
                    match store.admit(&jobs).await {
                        Ok(report) => break report,
                        Err(error) => {
                            assert!(matches!(error, outreachd::store::StoreError::Contention), "{error}");
                        }
                    }
                };
                accepted += report.outcomes.iter().filter(|o| matches!(o, AdmitOutcome::Accepted(_))).count();
            }
            accepted
        }));
    }
    let mut accepted = 0;
    for worker in workers {
        accepted += worker.await.unwrap();
    }
    assert_eq!(accepted, 10);
}

pub(super) async fn a_day_ends_at_the_organisations_midnight(ledger: Ledger) {
    let store = limited(&ledger);
    admit(&store, jobs("a", "ehr", "reminder", 10)).await;
    let report = store.admit(&batch(jobs("b", "ehr", "reminder", 1), 0)).await.unwrap();
    let AdmitOutcome::OverLimit { wait, .. } = report.outcomes[0] else { panic!("{report:?}") };
    // The rest of the day passes: what was counted is yesterday's.
    let zone = TimeZone::get("America/Chicago").unwrap();
    let now = report.now;
    let ends = now + wait;
    assert_eq!(ends.to_zoned(zone.clone()).time(), jiff::civil::Time::midnight());
    let today = now.to_zoned(zone).date();
    let yesterday = today.yesterday().unwrap();
    let moved =
        ledger.execute(&format!("UPDATE source_days SET day = '{yesterday}' WHERE day = '{today}'")).await;
    assert_eq!(moved.unwrap(), 1);
    admit(&store, jobs("b", "ehr", "reminder", 1)).await;
}

/// Emergencies for so many people, the first of them `from`.
fn emergencies(name: &str, from: usize, count: usize, by: Option<&str>) -> Vec<Admission> {
    let one = |n: usize| {
        let mut admission = job(&format!("{name}-{n}")).patient(&format!("E{n}")).priority(Priority::Urgent);
        admission.facts.purpose = Purpose::Emergency;
        admission.asked_by = by.map(str::to_owned);
        admission
    };
    (from..from + count).map(one).collect()
}

pub(super) async fn emergencies_for_many_wait_for_a_second_person(ledger: Ledger) {
    let store = ledger.ruled(LedgerRules::default());
    // Fifty people pass, however often each of them is written to.
    admit(&store, emergencies("a", 0, 30, Some("nurse"))).await;
    admit(&store, emergencies("b", 0, 50, None)).await;
    admit(&store, jobs("c", "ehr", "reminder", 100)).await;
    let mut test = emergencies("t", 900, 60, Some("nurse"));
    test.iter_mut().for_each(|one| one.facts.test = true);
    admit(&store, test).await;
    assert!(holds(&ledger).await.is_empty());
    let early = ledger.lease(emergencies("early", 0, 1, Some("nurse")).remove(0)).await;
    let planned = ledger.plan(&early).await;
    // Two workers bring the fifty-first at once.
    let (one, other) = (ledger.another(), ledger.another());
    let (left, right) =
        (batch(emergencies("d", 50, 1, Some("nurse")), 0), batch(emergencies("e", 51, 1, Some("nurse")), 0));
    let (left, right) = tokio::join!(one.admit(&left), other.admit(&right));
    assert!(left.is_ok() && right.is_ok());
    let standing = ledger.holds().await.unwrap();
    assert_eq!(standing.len(), 1, "{standing:?}");
    let (hold, asked_by) = (&standing[0].hold, &standing[0].asked_by);
    assert_eq!(
        (hold.scope, hold.value.as_str(), hold.cause),
        (HoldScope::Source, "ehr", Reason::AwaitingApproval)
    );
    assert_eq!(asked_by, &["ehr", "nurse"]);
    assert!(!ledger.try_begin(planned).await, "what has not left waits with the others");
    let other = ledger.lease(job("reminder")).await;
    assert!(ledger.try_begin(ledger.plan(&other).await).await, "what is no emergency goes on");
    let items = ledger.work_items(&WorkFilter { limit: 10, ..WorkFilter::default() }).await.unwrap();
    assert_eq!((items.len(), items[0].kind, items[0].hold_id), (1, WorkKind::SurgeHold, Some(hold.id)));
    // Whoever asked, and the source, let nothing go.
    for by in ["nurse", " Nurse ", "cli:nurse", "ehr"] {
        assert!(!store.release_hold(hold.id, by, None).await.unwrap(), "{by}");
        assert!(!store.release_hold(hold.id, by, Some(HoldThen::Send)).await.unwrap(), "{by}");
    }
    ledger.pass(SignedDuration::from_secs(1)).await;
    assert!(store.release_hold(hold.id, "doctor", None).await.unwrap());
    assert!(ledger.holds().await.unwrap().is_empty());
    let again = ledger.lease(emergencies("again", 0, 1, Some("nurse")).remove(0)).await;
    assert!(ledger.try_begin(ledger.plan(&again).await).await);
    // What was approved is done with: the next fifty pass, the next fifty-one do not, and may be dropped by anybody.
    ledger.pass(SignedDuration::from_secs(1)).await;
    admit(&store, emergencies("f", 100, 49, Some("nurse"))).await;
    assert!(holds(&ledger).await.is_empty());
    admit(&store, emergencies("g", 200, 2, Some("nurse"))).await;
    let held = holds(&ledger).await;
    assert_eq!(held.len(), 1);
    assert!(store.release_hold(held[0].id, "nurse", Some(HoldThen::Drop)).await.unwrap());
    // A source has a line of its own where it is said.
    let mut rules = LedgerRules::default();
    rules.emergencies.by_source.insert(source("lab"), 0);
    let strict = ledger.ruled(rules);
    let from_lab = emergencies("l", 0, 1, None).into_iter().map(|one| one.asked_by("lab")).collect();
    admit(&strict, from_lab).await;
    assert_eq!(holds(&ledger).await.len(), 1);
}
