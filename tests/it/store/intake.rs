//! What comes in is written once, whatever comes again.

use std::collections::{HashMap, HashSet};

use outreachd::domain::ids::ParkedId;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::{Priority, Reason};
use outreachd::store::StoreError;
use outreachd::store::rows::{Admission, AdmitBatch, AdmitOutcome, ParkedFilter, Reject};

use super::ledger::{Ledger, batch, rejects, worker};
use super::make::{Shape, job, job_id, reject, seconds, source};

pub(super) async fn an_accepted_job_is_on_record(ledger: Ledger) {
    let mut admission = job("a").about("visit").site("north").campaign("flu").priority(Priority::Urgent);
    admission.facts.correlation_id = Some("c-9".to_owned());
    admission.facts.test = true;
    let (facts, body) = (admission.facts.clone(), admission.body.clone());
    let expires_at = admission.expires_at;
    let before = ledger.now().await;
    let id = ledger.accept(admission).await;
    let row = ledger.row(id).await;
    assert_eq!(row.facts, facts);
    assert_eq!(row.body, body);
    assert_eq!(row.expires_at, expires_at);
    assert_eq!((row.status, row.reason, row.channel), (MessageStatus::Accepted, None, None));
    assert_eq!((row.step, row.tries, row.seq), (0, 0, 0));
    assert!(row.accepted_at >= before && row.due_at == Some(row.accepted_at));
    assert!(ledger.told(id).await.is_empty());
}

pub(super) async fn the_same_job_again_is_a_duplicate(ledger: Ledger) {
    let id = ledger.accept(job("a")).await;
    let again = ledger.admit_all(vec![job("a")], 10).await;
    assert_eq!(again.outcomes, [AdmitOutcome::Duplicate(id)]);
    assert!(again.leased.is_empty());
    // The same name of another source is another job.
    ledger.accept(job("a").asked_by("lab")).await;
    assert!(ledger.parked(&all_parked()).await.unwrap().is_empty());
}

pub(super) async fn other_content_under_the_same_name_is_a_conflict(ledger: Ledger) {
    let id = ledger.accept(job("a")).await;
    let report = ledger.admit_all(vec![job("b"), job("a").content(9)], 10).await;
    let AdmitOutcome::Conflict(parked_id) = report.outcomes[1] else { panic!("{:?}", report.outcomes) };
    assert!(matches!(report.outcomes[0], AdmitOutcome::Accepted(_)));
    assert_eq!(report.leased.iter().map(|l| l.place).collect::<Vec<_>>(), [0]);
    let parked = ledger.parked(&all_parked()).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].id, parked[0].problems[0].reason), (parked_id, Reason::Conflict));
    assert_eq!(parked[0].body, b"raw a");
    assert_eq!(rejections(&ledger).await, ["job.rejected.ehr"]);
    assert_eq!(ledger.row(id).await.facts.job_id, job_id("a"));
    // It comes once more, from the broker: neither parked nor told again.
    let redelivered = Admission { redelivered: true, ..job("a").content(9) };
    let again = ledger.admit_all(vec![redelivered], 10).await;
    assert!(matches!(again.outcomes[0], AdmitOutcome::Conflict(_)));
    assert_eq!(ledger.parked(&all_parked()).await.unwrap().len(), 1);
    assert_eq!(rejections(&ledger).await.len(), 1);
    // Its caller sends it once more: they hear of it once more.
    let again = ledger.admit_all(vec![job("a").content(9)], 10).await;
    assert!(matches!(again.outcomes[0], AdmitOutcome::Conflict(_)));
    assert_eq!(ledger.parked(&all_parked()).await.unwrap().len(), 2);
    assert_eq!(rejections(&ledger).await.len(), 2);
}

pub(super) async fn a_name_twice_in_one_batch_counts_once(ledger: Ledger) {
    let report = ledger.admit_all(vec![job("a"), job("b"), job("a"), job("b").content(7)], 10).await;
    let [AdmitOutcome::Accepted(a), AdmitOutcome::Accepted(_), ..] = report.outcomes[..] else {
        panic!("{:?}", report.outcomes)
    };
    assert_eq!(report.outcomes[2], AdmitOutcome::Duplicate(a));
    assert!(matches!(report.outcomes[3], AdmitOutcome::Conflict(_)));
    assert_eq!(report.leased.len(), 2);
}

pub(super) async fn the_worker_takes_in_hand_what_it_has_room_for(ledger: Ledger) {
    let report = ledger.admit_all(vec![job("c"), job("a"), job("b")], 2).await;
    let mut places: Vec<usize> = report.leased.iter().map(|l| l.place).collect();
    places.sort_unstable();
    assert_eq!(places, [0, 1]);
    for leased in &report.leased {
        assert_eq!(
            (leased.work.status, leased.work.step, leased.work.tries),
            (MessageStatus::Accepted, 0, 0)
        );
        assert!(!leased.is_change && leased.work.cancelled.is_none());
    }
    let claimed = ledger.claim_new(10).await;
    assert_eq!(claimed.len(), 1, "only the third was left");
    assert_eq!(claimed[0].facts.job_id, job_id("b"));
    assert!(claimed[0].work.token > report.leased[0].work.token, "a later lease has a higher token");
}

pub(super) async fn a_job_for_later_is_scheduled_and_not_in_hand(ledger: Ledger) {
    let later = ledger.now().await + seconds(3600);
    let report = ledger.admit_all(vec![job("a").due(later)], 10).await;
    let AdmitOutcome::Accepted(id) = report.outcomes[0] else { panic!("{:?}", report.outcomes) };
    assert!(report.leased.is_empty());
    let row = ledger.row(id).await;
    assert_eq!((row.status, row.due_at), (MessageStatus::Scheduled, Some(later)));
    assert!(ledger.claim_new(10).await.is_empty());
    ledger.pass(seconds(3601)).await;
    assert_eq!(ledger.claim_new(10).await.len(), 1);
}

pub(super) async fn what_is_urgent_takes_the_room_first(ledger: Ledger) {
    let bulk = |name: &str| job(name).priority(Priority::Bulk);
    let batch = vec![bulk("a"), bulk("b"), job("c").priority(Priority::Urgent), job("d")];
    let leased = ledger.admit_all(batch, 2).await.leased;
    let mut places: Vec<usize> = leased.iter().map(|one| one.place).collect();
    places.sort_unstable();
    assert_eq!(places, [2, 3], "and nothing waits behind what can wait");
}

pub(super) async fn what_cannot_be_accepted_is_parked_and_reported(ledger: Ledger) {
    let mut unreadable = reject(b"\xff\x00{", false);
    (unreadable.source, unreadable.job_id, unreadable.correlation_id) = (None, None, None);
    let readable = reject(b"{\"id\":1}", false);
    let good = job("good");
    let both = AdmitBatch {
        worker: worker(),
        admissions: vec![good],
        rejects: vec![readable.clone(), unreadable.clone()],
        room: 0,
    };
    let report = ledger.admit(&both).await.unwrap();
    assert!(matches!(report.outcomes[..], [AdmitOutcome::Accepted(_)]));
    let parked = ledger.parked(&all_parked()).await.unwrap();
    assert_eq!(parked.iter().map(|p| p.id).collect::<Vec<_>>().len(), 2);
    let kept = parked.iter().find(|p| p.id == readable.id).unwrap();
    assert_eq!(kept.problems, readable.problems);
    assert_eq!(
        (kept.source.clone(), kept.job_id.clone(), kept.origin.as_str(), kept.correlation_id.as_deref()),
        (Some(source("ehr")), Some(job_id("bad-1")), "outreach.jobs", Some("c-1"))
    );
    let kept = parked.iter().find(|p| p.id == unreadable.id).unwrap();
    assert_eq!((kept.body.as_slice(), kept.source.clone()), (b"\xff\x00{".as_slice(), None));
    let mut told = rejections(&ledger).await;
    told.sort();
    assert_eq!(told, ["job.rejected.ehr", "job.rejected.unknown"]);
}

pub(super) async fn a_body_that_comes_again_is_parked_once(ledger: Ledger) {
    ledger.admit(&rejects(vec![reject(b"bad", false)])).await.unwrap();
    ledger.admit(&rejects(vec![reject(b"bad", true), reject(b"other", true)])).await.unwrap();
    assert_eq!(ledger.parked(&all_parked()).await.unwrap().len(), 2);
    assert_eq!(rejections(&ledger).await.len(), 2);
    // The same fault, sent a second time by its caller, is a second fault.
    let again = ParkedId::generate();
    let mut second = reject(b"bad", false);
    second.id = again;
    ledger.admit(&rejects(vec![second])).await.unwrap();
    assert!(ledger.parked(&all_parked()).await.unwrap().iter().any(|p| p.id == again));
    // Somebody else's mistake that looks the same is theirs.
    let other = Reject { source: None, ..reject(b"bad", true) };
    ledger.admit(&rejects(vec![other.clone()])).await.unwrap();
    assert!(ledger.parked(&all_parked()).await.unwrap().iter().any(|p| p.id == other.id));
}

pub(super) async fn what_was_accepted_before_is_a_repeat_and_no_reject(ledger: Ledger) {
    let a = ledger.accept(job("a")).await;
    // A second try has the name and not the key: the first one is answered for.
    ledger.accept(job("a").retry_of(a)).await;
    let same = job("a").content_hash;
    let late = |name: &str, content_hash: Option<[u8; 32]>, park: bool| Reject {
        job_id: Some(job_id(name)),
        content_hash,
        park,
        ..reject(b"late", false)
    };
    let batch = AdmitBatch {
        rejects: vec![
            late("a", Some(same), true),
            late("a", Some(same), false),
            late("b", Some(job("b").content_hash), true),
            late("a", Some([9; 32]), true),
            Reject { source: Some(source("lab")), ..late("a", Some(same), true) },
            late("a", None, true),
            late("never", Some(same), true),
            late("a", Some([9; 32]), false),
        ],
        ..batch(vec![job("b")], 0)
    };
    let report = ledger.admit(&batch).await.unwrap();
    let [AdmitOutcome::Accepted(b)] = report.outcomes[..] else { panic!("{:?}", report.outcomes) };
    assert_eq!(report.repeats, HashMap::from([(0, a), (1, a), (2, b)]));
    let parked = ledger.parked(&all_parked()).await.unwrap();
    let parked: HashSet<ParkedId> = parked.iter().map(|row| row.id).collect();
    let expected: HashSet<ParkedId> = batch.rejects[3..7].iter().map(|reject| reject.id).collect();
    assert_eq!(parked, expected);
    let mut told = rejections(&ledger).await;
    told.sort();
    assert_eq!(told, ["job.rejected.ehr", "job.rejected.ehr", "job.rejected.ehr", "job.rejected.lab"]);
}

pub(super) async fn a_manual_retry_needs_no_name_of_its_own(ledger: Ledger) {
    let first = ledger.accept(job("a")).await;
    let second = ledger.accept(job("a").retry_of(first)).await;
    assert_ne!(first, second);
    assert_eq!(ledger.row(second).await.facts.retry_of, Some(first));
}

pub(super) async fn many_at_once_are_each_accepted_once(ledger: Ledger) {
    // Eight callers bring the same two hundred jobs in orders of their own, in small batches.
    let mut callers = Vec::new();
    for caller in 0..8_usize {
        let store = ledger.another();
        callers.push(tokio::spawn(async move {
            let mut accepted = 0;
            for chunk in 0..20_usize {
                let names = (0..10_usize).map(|n| (chunk * 10 + n) * (2 * caller + 1) % 200);
                let jobs = names.map(|n| job(&format!("j{n}")).asked_by(&format!("s{}", n % 5))).collect();
                let batch = batch(jobs, 5);
                let report = loop {
                    match store.admit(&batch).await {
                        Ok(report) => break report,
                        Err(StoreError::Contention) => {}
                        Err(other) => panic!("{other}"),
                    }
                };
                accepted += report.outcomes.iter().filter(|o| matches!(o, AdmitOutcome::Accepted(_))).count();
            }
            accepted
        }));
    }
    let mut accepted = 0;
    for caller in callers {
        accepted += caller.await.unwrap();
    }
    let counts = ledger.counts().await.unwrap();
    let on_record: u64 = counts.messages.iter().map(|m| m.count).sum();
    assert_eq!(on_record, accepted as u64);
    assert_eq!(on_record, distinct_names());
    assert_eq!(counts.parked, 0);
}

fn distinct_names() -> u64 {
    let mut names = std::collections::HashSet::new();
    for caller in 0..8_usize {
        names.extend((0..200_usize).map(|n| n * (2 * caller + 1) % 200));
    }
    names.len() as u64
}

fn all_parked() -> ParkedFilter {
    ParkedFilter { limit: 100, ..ParkedFilter::default() }
}

/// The routing keys of events that belong to no message.
async fn rejections(ledger: &Ledger) -> Vec<String> {
    let events = ledger.outbox(worker(), &[], 100).await.unwrap();
    events.into_iter().filter(|e| e.seq == 0).map(|e| e.routing_key).collect()
}
