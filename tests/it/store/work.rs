//! What becomes work for people, how often they are called, and how it ends.

use outreachd::domain::ids::WorkItemId;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::domain::words::{Priority, Reason, WorkKind, WorkOutcome, WorkState};
use outreachd::store::rows::{Admission, Then, WorkFilter, WorkItem, WorkMove, WorkMoved};

use super::ledger::Ledger;
use super::make::{Shape, decided, job, seconds, source};

async fn list(ledger: &Ledger, filter: WorkFilter) -> Vec<WorkItem> {
    ledger.work_items(&WorkFilter { limit: 100, ..filter }).await.unwrap()
}

async fn open(ledger: &Ledger) -> Vec<WorkItem> {
    list(ledger, WorkFilter::default()).await
}

/// The routing keys of the events that are not about a message's status.
async fn told(ledger: &Ledger) -> Vec<String> {
    let events = ledger.outbox(super::ledger::worker(), &[], 100).await.unwrap();
    events.into_iter().map(|e| e.routing_key).filter(|key| key.starts_with("work.")).collect()
}

/// Gives the message up, as when every route was tried.
async fn fail(ledger: &Ledger, admission: Admission) {
    let hand = ledger.lease(admission).await;
    let now = ledger.now().await;
    ledger.decide_one(decided(&hand, MessageStatus::Failed, Some(Reason::PlanExhausted), now)).await;
}

pub(super) async fn a_plan_that_is_exhausted_calls_people(ledger: Ledger) {
    fail(&ledger, job("a").site("north")).await;
    fail(&ledger, job("b").priority(Priority::Bulk)).await;
    let mut test = job("c");
    test.facts.test = true;
    fail(&ledger, test).await;
    let suppress = async |admission: Admission, reason| {
        let hand = ledger.lease(admission).await;
        let now = ledger.now().await;
        ledger.decide_one(decided(&hand, MessageStatus::Suppressed, Some(reason), now)).await;
    };
    for reason in [Reason::OptedOut, Reason::NoConsent, Reason::Deceased, Reason::FrequencyCap] {
        suppress(job(reason.as_str()), reason).await;
    }
    suppress(job("d").priority(Priority::Bulk), Reason::NoContact).await;
    let items = open(&ledger).await;
    assert_eq!(items.len(), 1, "neither bulk, nor tests, nor who wants it so: {items:?}");
    let item = &items[0];
    assert_eq!((item.kind, item.state, item.alerts), (WorkKind::PlanExhausted, WorkState::Open, 0));
    assert_eq!(item.patient_id.as_ref().unwrap().as_str(), "P1");
    assert_eq!(item.site.as_ref().unwrap().as_str(), "north");
    assert_eq!(item.due_at.duration_since(item.opened_at), seconds(4 * 3_600));
    assert_eq!(ledger.counts().await.unwrap().work, [(WorkKind::PlanExhausted, 1)]);

    let swept = ledger.sweep_work(10).await.unwrap();
    assert_eq!(swept.opened.iter().map(|i| i.id).collect::<Vec<_>>(), [item.id]);
    assert!(ledger.sweep_work(10).await.unwrap().is_empty(), "once");
    assert_eq!(told(&ledger).await, ["work.opened.ehr"]);

    // Whom no contact of theirs may be told by, somebody tells otherwise.
    let untold = [
        Reason::NoContact,
        Reason::ConfidentialContact,
        Reason::SharedContact,
        Reason::SensitiveContent,
        Reason::ContactUnverified,
    ];
    for reason in untold {
        suppress(job(reason.as_str()), reason).await;
    }
    assert_eq!(ledger.counts().await.unwrap().work, [(WorkKind::PlanExhausted, 1 + untold.len() as u64)]);
}

pub(super) async fn an_urgent_message_that_nobody_acknowledges_calls_people(ledger: Ledger) {
    let deadline = ledger.now().await + seconds(60);
    let urgent = |name: &str| Admission { ack_by: Some(deadline), ..job(name).priority(Priority::Urgent) };
    let sent = ledger.sent(urgent("a")).await;
    let read = ledger.sent(urgent("b")).await;
    ledger.execute("UPDATE messages SET status = 'read' WHERE job_id = 'b'").await.unwrap();
    let waiting = ledger.accept(urgent("c")).await;
    // It arrived, and its plan ended without the answer that it asked for.
    let unanswered = ledger.sent(urgent("d")).await;
    ledger
        .execute("UPDATE messages SET status = 'delivered', due_at = NULL WHERE job_id = 'd'")
        .await
        .unwrap();
    let asks = "UPDATE attempts SET awaits = 'answered' WHERE message_id = (SELECT id FROM messages WHERE job_id = 'd')";
    ledger.execute(asks).await.unwrap();
    assert!(ledger.sweep_work(10).await.unwrap().is_empty(), "there is time left");
    ledger.execute("UPDATE messages SET ack_by = accepted_at WHERE ack_by IS NOT NULL").await.unwrap();
    let swept = ledger.sweep_work(10).await.unwrap();
    let mut late: Vec<_> = swept.opened.iter().map(|i| (i.kind, i.message_id.unwrap())).collect();
    late.sort();
    let mut expected = [sent, waiting, unanswered].map(|id| (WorkKind::Unacknowledged, id));
    expected.sort();
    assert_eq!(late, expected);
    assert!(ledger.sweep_work(10).await.unwrap().is_empty(), "each is looked at once");
    assert_ne!(read, sent);

    // It is read after all.
    ledger.execute("UPDATE messages SET status = 'delivered' WHERE job_id = 'a'").await.unwrap();
    let swept = ledger.sweep_work(10).await.unwrap();
    assert_eq!(swept.resolved.iter().map(|i| i.message_id.unwrap()).collect::<Vec<_>>(), [sent]);
    let item = &swept.resolved[0];
    assert_eq!((item.outcome, item.closed_by.as_deref()), (Some(WorkOutcome::Resolved), Some("outreachd")));
    assert_eq!(told(&ledger).await[3..], ["work.closed.ehr"]);
    assert_eq!(open(&ledger).await.len(), 2, "the unanswered one too");
}

pub(super) async fn what_is_open_is_looked_at_in_turns(ledger: Ledger) {
    let deadline = ledger.now().await;
    for n in 0..7 {
        let name = format!("j{n}");
        ledger.sent(Admission { ack_by: Some(deadline), ..job(&name).priority(Priority::Urgent) }).await;
    }
    while !ledger.sweep_work(3).await.unwrap().is_empty() {}
    assert_eq!(open(&ledger).await.len(), 7);
    // Wherever the round is, it comes to each of them.
    for n in [6, 0, 3] {
        let read = format!("UPDATE messages SET status = 'read' WHERE job_id = 'j{n}'");
        assert_eq!(ledger.execute(&read).await.unwrap(), 1);
        let mut resolved = 0;
        for _ in 0..3 {
            resolved += ledger.sweep_work(3).await.unwrap().resolved.len();
        }
        assert_eq!(resolved, 1, "j{n}");
    }
    assert_eq!(open(&ledger).await.len(), 4);
}

pub(super) async fn an_outcome_that_stays_unknown_calls_people(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::Unknown).await;
    ledger.pass(seconds(4 * 3_600 - 60)).await;
    assert!(ledger.sweep_work(10).await.unwrap().is_empty(), "news may still come");
    ledger.pass(seconds(120)).await;
    let swept = ledger.sweep_work(10).await.unwrap();
    assert_eq!(swept.opened.iter().map(|i| i.kind).collect::<Vec<_>>(), [WorkKind::OutcomeUnknown]);

    // Closed by a person it stays closed, though the outcome is still unknown.
    let id = swept.opened[0].id;
    let to = WorkMove::Close(WorkOutcome::Reached);
    assert!(matches!(ledger.move_work(id, "u1", to).await.unwrap(), WorkMoved::Done(_)));
    assert!(ledger.sweep_work(10).await.unwrap().is_empty());
    assert!(open(&ledger).await.is_empty());
}

pub(super) async fn news_closes_what_was_unknown(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("a")).await;
    ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::Unknown).await;
    ledger.pass(seconds(5 * 3_600)).await;
    ledger.sweep_work(10).await.unwrap();
    ledger.settle_one(&hand, attempt, AttemptStatus::Sent, Then::Sent).await;
    assert_eq!(ledger.sweep_work(10).await.unwrap().resolved.len(), 1);
}

pub(super) async fn nobody_in_time_and_people_are_called_again(ledger: Ledger) {
    fail(&ledger, job("a")).await;
    fail(&ledger, job("b")).await;
    let opened = ledger.sweep_work(10).await.unwrap().opened;
    let claimed = opened.iter().find(|i| i.message_id != opened[0].message_id).unwrap().id;
    assert!(matches!(ledger.move_work(claimed, "u1", WorkMove::Claim).await.unwrap(), WorkMoved::Done(_)));
    ledger.pass(seconds(5 * 3_600)).await;
    let swept = ledger.sweep_work(10).await.unwrap();
    assert_eq!(swept.overdue.iter().map(|i| (i.id, i.alerts)).collect::<Vec<_>>(), [(opened[0].id, 2)]);
    assert!(ledger.sweep_work(10).await.unwrap().is_empty(), "twice, and no more");
    assert!(told(&ledger).await.contains(&"work.overdue.ehr".to_owned()));
}

pub(super) async fn one_at_a_time_has_a_work_item(ledger: Ledger) {
    fail(&ledger, job("a")).await;
    let id = open(&ledger).await[0].id;
    let state = |moved: WorkMoved| match moved {
        WorkMoved::Done(item) => Ok((item.state, item.claimed_by)),
        WorkMoved::Refused(item) => Err(item.state),
        WorkMoved::Unknown => panic!("unknown"),
    };
    let step = async |by: &str, to: WorkMove| state(ledger.move_work(id, by, to).await.unwrap());
    let close = WorkMove::Close(WorkOutcome::Reached);
    assert_eq!(step("u1", WorkMove::Release).await, Err(WorkState::Open));
    assert_eq!(step("u1", WorkMove::Claim).await, Ok((WorkState::Claimed, Some("u1".to_owned()))));
    assert_eq!(step("u1", WorkMove::Claim).await, Ok((WorkState::Claimed, Some("u1".to_owned()))), "again");
    assert_eq!(step("u2", WorkMove::Claim).await, Err(WorkState::Claimed));
    assert_eq!(step("u2", WorkMove::Release).await, Ok((WorkState::Open, None)));
    assert_eq!(step("u2", WorkMove::Claim).await, Ok((WorkState::Claimed, Some("u2".to_owned()))));
    assert_eq!(step("u2", close).await, Ok((WorkState::Closed, Some("u2".to_owned()))));
    assert_eq!(step("u2", close).await, Err(WorkState::Closed));
    assert_eq!(step("u2", WorkMove::Claim).await, Err(WorkState::Closed));
    let item = ledger.work_item(id).await.unwrap().unwrap();
    assert_eq!((item.outcome, item.closed_by.as_deref()), (Some(WorkOutcome::Reached), Some("u2")));
    assert_eq!(
        told(&ledger).await,
        ["work.opened.ehr", "work.claimed.ehr", "work.released.ehr", "work.claimed.ehr", "work.closed.ehr"]
    );
    let nothing = ledger.move_work(WorkItemId::generate(), "u1", WorkMove::Claim).await.unwrap();
    assert_eq!(nothing, WorkMoved::Unknown);
    assert!(ledger.work_item(WorkItemId::generate()).await.unwrap().is_none());
}

pub(super) async fn work_items_are_found_by_every_filter(ledger: Ledger) {
    for (name, who, site) in [("a", "ehr", "north"), ("b", "lab", "north"), ("c", "ehr", "south")] {
        fail(&ledger, job(name).asked_by(who).site(site)).await;
    }
    let items = open(&ledger).await;
    let (a, b, c) = (items[0].id, items[1].id, items[2].id);
    assert!(items.is_sorted_by_key(|item| item.due_at) && c > b && b > a, "what is due first");
    ledger.move_work(b, "u1", WorkMove::Claim).await.unwrap();
    ledger.move_work(c, "u1", WorkMove::Close(WorkOutcome::NotNeeded)).await.unwrap();
    let ids =
        async |filter: WorkFilter| list(&ledger, filter).await.into_iter().map(|i| i.id).collect::<Vec<_>>();
    let all = WorkFilter::default;
    assert_eq!(ids(all()).await, [a, b]);
    assert_eq!(ids(WorkFilter { state: Some(WorkState::Open), ..all() }).await, [a]);
    assert_eq!(ids(WorkFilter { state: Some(WorkState::Claimed), ..all() }).await, [b]);
    assert_eq!(ids(WorkFilter { state: Some(WorkState::Closed), ..all() }).await, [c]);
    assert_eq!(ids(WorkFilter { sources: vec![source("lab")], ..all() }).await, [b]);
    assert_eq!(ids(WorkFilter { sources: vec![source("lab"), source("ehr")], ..all() }).await, [a, b]);
    assert_eq!(ids(WorkFilter { site: items[2].site.clone(), ..all() }).await, []);
    assert_eq!(ids(WorkFilter { kind: Some(WorkKind::PlanExhausted), ..all() }).await, [a, b]);
    assert_eq!(ids(WorkFilter { kind: Some(WorkKind::SurgeHold), ..all() }).await, []);
    assert_eq!(ids(WorkFilter { message: items[0].message_id, ..all() }).await, [a]);
    assert_eq!(ids(WorkFilter { after: Some(a), ..all() }).await, [b]);
    // Words of danger come before everything, however late they are due; each page goes on where the last one ended.
    ledger
        .execute("UPDATE work_items SET due_at = opened_at WHERE claimed_by = 'u1' AND closed_at IS NULL")
        .await
        .unwrap();
    assert_eq!(ids(all()).await, [b, a]);
    let danger = format!("UPDATE work_items SET kind = 'safety' WHERE id = '{a}'");
    ledger.execute(&danger).await.unwrap();
    assert_eq!(ids(all()).await, [a, b]);
    for (after, rest) in
        [(None, vec![a, b]), (Some(a), vec![b]), (Some(b), vec![]), (Some(WorkItemId::generate()), vec![])]
    {
        let page = WorkFilter { after, limit: 1, ..all() };
        let found = ledger.work_items(&page).await.unwrap().into_iter().map(|i| i.id).collect::<Vec<_>>();
        assert_eq!(found, rest.into_iter().take(1).collect::<Vec<_>>());
    }
    assert_eq!(ids(WorkFilter { after: Some(c), state: Some(WorkState::Closed), ..all() }).await, []);
}

pub(super) async fn many_workers_call_people_once(ledger: Ledger) {
    for n in 0..20 {
        fail(&ledger, job(&format!("f{n}"))).await;
        let (hand, attempt) = ledger.begun(job(&format!("u{n}"))).await;
        ledger.settle_one(&hand, attempt, AttemptStatus::Unknown, Then::Unknown).await;
    }
    ledger.pass(seconds(5 * 3_600)).await;
    let mut rounds = Vec::new();
    for _ in 0..8 {
        let store = ledger.another();
        rounds.push(tokio::spawn(async move {
            let mut opened = 0;
            for _ in 0..10 {
                match store.sweep_work(7).await {
                    Ok(swept) => opened += swept.opened.len(),
                    Err(outreachd::store::StoreError::Contention) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            opened
        }));
    }
    let mut opened = 0;
    for round in rounds {
        opened += round.await.unwrap();
    }
    assert_eq!(opened, 40);
    assert_eq!(open(&ledger).await.len(), 40);
}
