//! What comes by the broker, as far as the ledger: whose it is, what becomes of what cannot be accepted, and how it goes
//! in again.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use outreachd::app;
use outreachd::config::Config;
use outreachd::domain::campaign::Plan;
use outreachd::domain::ids::{MessageId, SiteId, SourceName, WorkerId};
use outreachd::domain::job::Job;
use outreachd::domain::problem::Problem;
use outreachd::domain::words::Reason;
use outreachd::intake::again::Again;
use outreachd::intake::gatekeeper::Arrival;
use outreachd::intake::{Gatekeeper, Incoming, Intake, Outcome};
use outreachd::store::Store;
use outreachd::store::audit::AuditFilter;
use outreachd::store::rows::{
    AdmitBatch, AdmitOutcome, CancelOutcome, MessageFilter, ParkedFilter, ParkedRow,
};
use serde_json::{Value, json};

use crate::support::shared::TestDatabase;

fn source(name: &str) -> Option<SourceName> {
    SourceName::parse(name)
}

fn by_broker(user_stands_for: &str, key: &str, body: &Value) -> Incoming {
    Incoming {
        body: body.to_string().into_bytes(),
        arrival: Arrival {
            source: source(user_stands_for),
            by_broker: true,
            origin: if key.starts_with("patient") { "patients" } else { "jobs" }.to_owned(),
            ..Arrival::default()
        },
        key: Some(key.to_owned()),
        redelivered: false,
        park: true,
    }
}

fn job(id: &str, source: &str) -> Value {
    json!({"id": id, "source": source, "patient_id": "P1", "template": "preferences-changed", "data": {},
        "not_before": "2036-01-01T00:00:00Z", "expires_at": "2036-02-01T00:00:00Z"})
}

fn patient(id: &str) -> Value {
    json!({"id": id, "updated_at": "2026-01-01T00:00:00Z", "contacts": []})
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(_) => "accepted".to_owned(),
        Outcome::Cancel(CancelOutcome::Cancelled(_)) => "cancelled".to_owned(),
        Outcome::Patient(_) => "patient".to_owned(),
        Outcome::Merged => "merged".to_owned(),
        Outcome::Refused { parked, problems, .. } => format!("{} {}", problems[0].reason, parked.is_some()),
        other => format!("{other:?}"),
    }
}

async fn parked(intake: &Intake, reason: Reason) -> Vec<ParkedRow> {
    let filter = ParkedFilter { reason: Some(reason), limit: 100, ..ParkedFilter::default() };
    intake.store.parked(&filter).await.unwrap()
}

/// A source with a broker user, and one without.
async fn open() -> (Intake, TestDatabase) {
    let database = TestDatabase::migrated().await;
    let text = format!(
        "[store]\nurl = \"{}\"\n[[source]]\nname = \"ehr\"\namqp_user = \"ehr-user\"\n[[source]]\nname = \"lab\"\nsite = \"north\"\n[[site]]\nid = \"north\"\nname = \"North\"\n",
        database.url()
    );
    let config = Arc::new(Config::from_toml(&text).unwrap());
    let store = app::open_store(&config).await.unwrap();
    store.migrate().await.unwrap();
    let catalogue = app::load_catalogue(&config.templates.dir).unwrap();
    let gatekeeper = Gatekeeper::new(config, catalogue);
    (Intake { store, gatekeeper, dispatcher: None, worker: WorkerId::generate() }, database)
}

/// A gatekeeper under these sections.
pub(crate) fn gatekeeper(sections: &str) -> Gatekeeper {
    let config = Arc::new(Config::from_toml(sections).unwrap());
    let catalogue = app::load_catalogue(&config.templates.dir).unwrap();
    Gatekeeper::new(config, catalogue)
}

/// The job as it would have been accepted at that time.
pub(crate) async fn accepted_at(
    at: Timestamp,
    store: &Arc<dyn Store>,
    gatekeeper: &Gatekeeper,
    body: &Value,
) -> MessageId {
    let arrival = Arrival::default();
    let job = Job::parse(body.to_string().as_bytes(), &gatekeeper.defaults(&arrival)).unwrap();
    let admissions = vec![gatekeeper.admit(job, &arrival, at).unwrap()];
    let batch = AdmitBatch { worker: WorkerId::generate(), admissions, rejects: Vec::new(), room: 0 };
    let report = store.admit(&batch).await.unwrap();
    let [AdmitOutcome::Accepted(id)] = report.outcomes[..] else { panic!("{:?}", report.outcomes) };
    id
}

/// Ten seconds ago, as a job says it.
pub(crate) fn passed(now: Timestamp) -> Value {
    json!(Timestamp::from_second(now.as_second() - 10).unwrap().to_string())
}

async fn rejections(intake: &Intake) -> Vec<String> {
    let events = intake.store.outbox(intake.worker, &[], 100).await.unwrap();
    let mut keys: Vec<String> = events.into_iter().map(|event| event.routing_key).collect();
    keys.retain(|key| key.starts_with("job.rejected."));
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_a_duplicate_after_its_time_and_parked_is_what_only_looks_like_it() {
    let (intake, _database) = open().await;
    let now = intake.store.ping().await.unwrap();
    let mut body = job("j1", "ehr");
    body.as_object_mut().unwrap().remove("not_before");
    body["expires_at"] = passed(now);
    let before = now - SignedDuration::from_secs(20);
    let id = accepted_at(before, &intake.store, &intake.gatekeeper, &body).await;

    let again = Incoming { redelivered: true, ..by_broker("ehr", "job", &body) };
    let asked = Incoming { park: false, ..again.clone() };
    let told = intake.submit(vec![again, asked]).await.unwrap();
    assert!(told.iter().all(|one| matches!(one, Outcome::Duplicate(of) if *of == id)), "{told:?}");
    assert_eq!((told.len(), parked(&intake, Reason::Expired).await.len()), (2, 0));
    assert!(rejections(&intake).await.is_empty());

    // Other content under the name, another source's word, and the word of somebody who is nobody.
    let mut other = body.clone();
    other["about"] = json!("visit-1");
    let items = [("ehr", &other, true), ("ehr", &other, false), ("lab", &body, true), ("", &body, true)];
    let items =
        items.map(|(user, body, park)| Incoming { redelivered: true, park, ..by_broker(user, "job", body) });
    let told: Vec<String> = intake.submit(items.into()).await.unwrap().iter().map(word).collect();
    assert_eq!(told, ["expired true", "expired false", "source_not_allowed true", "source_not_allowed true"]);
    assert_eq!(parked(&intake, Reason::Expired).await.len(), 1);
    assert_eq!(parked(&intake, Reason::SourceNotAllowed).await.len(), 2);
    assert_eq!(rejections(&intake).await, ["job.rejected.ehr", "job.rejected.lab", "job.rejected.unknown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_a_duplicate_whatever_was_configured_since() {
    let (intake, _database) = open().await;
    let mut body = job("j1", "ehr");
    body["site"] = json!("north");
    let id = accepted_at(Timestamp::UNIX_EPOCH, &intake.store, &intake.gatekeeper, &body).await;
    let mut other = body.clone();
    other["about"] = json!("visit-1");
    for (sections, refused) in [
        ("[[source]]\nname = \"ehr\"\ntemplates = [\"appointment-reminder\"]\n", "source_not_allowed true"),
        ("[[source]]\nname = \"lab\"\n", "unknown_source true"),
        ("[[source]]\nname = \"ehr\"\n[[site]]\nid = \"south\"\nname = \"South\"\n", "bad_data true"),
    ] {
        let since = Intake { gatekeeper: gatekeeper(sections), ..intake.clone() };
        let items = [&body, &other].map(|body| by_broker("ehr", "job", body));
        let told = since.submit(items.into()).await.unwrap();
        assert!(matches!(told[0], Outcome::Duplicate(of) if of == id), "{sections}: {told:?}");
        assert_eq!(word(&told[1]), refused, "{sections}");
    }
    assert_eq!(rejections(&intake).await.len(), 3);
}

#[test]
fn where_no_site_is_configured_any_is_a_label_of_a_job_and_of_a_campaign() {
    for (sites, expected) in [("", false), ("[[site]]\nid = \"north\"\nname = \"North\"\n", true)] {
        let gatekeeper = gatekeeper(sites);
        let is_wrong = |problems: Option<Vec<Problem>>| problems.iter().flatten().any(|p| p.field == "site");
        let mut body = job("j1", "lab");
        body["site"] = json!("south");
        let arrival = Arrival::default();
        let job = Job::parse(body.to_string().as_bytes(), &gatekeeper.defaults(&arrival)).unwrap();
        let now = "2026-11-20T08:00:00Z".parse().unwrap();
        assert_eq!(is_wrong(gatekeeper.admit(job, &arrival, now).err()), expected, "{sites}");
        let plan = json!({"id": "flu", "source": "lab", "template": "vaccine-invitation", "site": "south"});
        let plan = Plan::parse(plan.to_string().as_bytes(), None, 0).unwrap();
        assert_eq!(is_wrong(gatekeeper.plan(&plan).err()), expected, "{sites}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_a_broker_user_is_that_users_alone_and_nothing_is_lost_or_stops_the_rest() {
    let (intake, _database) = open().await;
    let merge = json!({"id": "P1", "into": "P2"});
    let table = [
        ("", "job", job("j1", "ehr"), "source_not_allowed true"),
        ("lab", "job", job("j1", "ehr"), "source_not_allowed true"),
        ("ehr", "job", job("j1", "ehr"), "accepted"),
        ("", "job", job("j1", "lab"), "accepted"),
        ("", "job.cancel", json!({"source": "ehr", "id": "j1"}), "source_not_allowed true"),
        ("ehr", "job.cancel", json!({"source": "ehr", "id": "j1"}), "cancelled"),
        ("", "patient.merge", merge, "unknown_patient true"),
        ("", "patient.upsert", patient("P1"), "patient"),
    ];
    let items = table.iter().map(|(user, key, body, _)| by_broker(user, key, body)).collect();
    let told: Vec<String> = intake.submit(items).await.unwrap().iter().map(word).collect();
    let expected: Vec<&str> = table.iter().map(|(.., expected)| *expected).collect();
    assert_eq!(told, expected);
    // Only what is a job is told by a job's id: `j1` goes its way, whoever was refused its cancel.
    let events = intake.store.outbox(intake.worker, &[], 100).await.unwrap();
    let rejected = events.iter().filter(|event| event.routing_key.starts_with("job.rejected."));
    let bodies = rejected.map(|event| serde_json::from_str::<Value>(&event.body).unwrap());
    let mut named: Vec<[Option<String>; 2]> =
        bodies.map(|body| ["job_id", "patient_id"].map(|id| body[id].as_str().map(str::to_owned))).collect();
    named.sort();
    let [j1, p1] = ["j1", "P1"].map(|id| Some(id.to_owned()));
    assert_eq!(named, [[None, None], [None, p1], [j1.clone(), None], [j1, None]]);

    let filter = MessageFilter { site: SiteId::parse("north"), limit: 9, ..MessageFilter::default() };
    let of_site = intake.store.messages(&filter).await.unwrap();
    let of_site: Vec<&str> = of_site.iter().map(|row| row.facts.source.as_str()).collect();
    assert_eq!(of_site, ["lab"], "the site of its source, where the job names none");

    // Whoever named a source that is not theirs is not taken for it, now or when it goes in again.
    let refused = parked(&intake, Reason::SourceNotAllowed).await;
    // One whose body cannot be opened is refused, in its place, unless another body is given for it.
    let closed = ParkedRow { body: Vec::new(), unread: true, ..refused[0].clone() };
    let again = intake.replay(vec![closed.clone(), refused[1].clone()], "ana", None).await.unwrap();
    assert_eq!(again.iter().map(|one| one.id).collect::<Vec<_>>(), [refused[0].id, refused[1].id]);
    let Outcome::Refused { parked: kept, problems, .. } = &again[0].outcome else { panic!("{again:?}") };
    assert_eq!((*kept, problems.as_slice()), (Some(closed.id), &[ParkedRow::closed()][..]));
    assert_eq!(word(&again[1].outcome), "source_not_allowed false");
    let owners: Vec<Option<SourceName>> = refused.iter().map(|row| row.source.clone()).collect();
    assert_eq!(owners, [None, source("lab"), None]);
    let again = intake.replay(refused, "ana", None).await.unwrap();
    assert!(again.iter().all(|one| word(&one.outcome) == "source_not_allowed false"), "{again:?}");

    // A merge goes in again as a merge, once both are known.
    intake.submit(vec![by_broker("", "patient.upsert", &patient("P2"))]).await.unwrap();
    let again = intake.replay(parked(&intake, Reason::UnknownPatient).await, "ana", None).await.unwrap();
    assert_eq!(word(&again[0].outcome), "merged");

    // What PostgreSQL refuses is parked alone; those beside it go in.
    let mut nul = by_broker("", "job", &job("j2", "lab"));
    nul.arrival.correlation_id = Some("a\0b".to_owned());
    let mut nul_and_bad = by_broker("", "job", &json!({"source": "lab"}));
    nul_and_bad.arrival.correlation_id = Some("a\0b".to_owned());
    let items = vec![
        by_broker("", "job", &job("j3", "lab")),
        nul,
        nul_and_bad,
        by_broker("", "job", &job("j4", "lab")),
    ];
    let told: Vec<String> = intake.submit(items).await.unwrap().iter().map(word).collect();
    assert_eq!(told[0], "accepted");
    assert_eq!(told[1], "malformed true");
    assert_eq!(told[3], "accepted");
    let rows = parked(&intake, Reason::Malformed).await;
    assert!(rows.iter().filter(|row| row.problems[0].rule.contains("22021")).count() == 2, "{rows:?}");
    assert!(rows.iter().all(|row| row.correlation_id.is_none() && !row.body.is_empty()));

    // Two who try again at once get one second try.
    let Outcome::Cancel(CancelOutcome::Cancelled(ids)) = &intake
        .submit(vec![by_broker(
            "",
            "job.cancel",
            &json!({"source": "lab", "id": "j3", "reason": "the visit was moved"}),
        )])
        .await
        .unwrap()[0]
    else {
        panic!("not cancelled")
    };
    let log = intake.store.audit(&AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
    let [kept] = log.as_slice() else { panic!("{log:?}") };
    assert_eq!(
        (kept.who.as_str(), kept.act.as_str(), kept.subject.as_str(), kept.detail.expose()),
        ("source:lab", "job.cancel", "lab:j3", "the visit was moved")
    );
    let message = intake.store.message(ids[0]).await.unwrap().unwrap();
    let tries = (0..4).map(|_| intake.again(&message, false, "ana"));
    let tries = futures_util::future::join_all(tries).await;
    let accepted = tries.iter().filter(|one| matches!(one, Ok(Again::Accepted(_)))).count();
    let already = tries.iter().filter(|one| matches!(one, Ok(Again::Already(_)))).count();
    assert_eq!((accepted, already), (1, 3), "{tries:?}");
    let untried = outreachd::store::rows::MessageFilter {
        source: source("lab"),
        status: Some(outreachd::domain::status::MessageStatus::Cancelled),
        limit: 10,
        ..Default::default()
    };
    assert_eq!(intake.store.messages(&untried).await.unwrap().len(), 1);
    let untried = outreachd::store::rows::MessageFilter { untried: true, ..untried };
    assert!(intake.store.messages(&untried).await.unwrap().is_empty(), "it has its second try");
}
