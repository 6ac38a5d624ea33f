//! Nearly every route answers something here, as its description says (`described.rs`).

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, job, later, send};
use super::described::described_and_held;
use super::guide;
use super::operations::park;
use crate::store::replies::ask;

/// Asks until a list has such a one, and gives it.
async fn first(api: &Api, path: &str, list: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let told = api.get(path).await.expect(200);
        if let Some(one) = told[list].as_array().unwrap().iter().find(|one| is_meant(one)) {
            return one.clone();
        }
        assert!(Instant::now() < end, "waited in vain: {path}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Beside the usual house: a source whose receiver is away, and people on call who hear at once.
const MORE: &str = r#"
    [events.callbacks]
    allow = ["127.0.0.1"]
    [notify]
    every = "250ms"
    after = "0s"
    [[source]]
    name = "deaf-ehr"
    callback_url = "http://127.0.0.1:9/results"
    callback_secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"#;

/// Other tests have them answer: it takes a password, an identity provider, or a provider that fails.
const ELSEWHERE: [&str; 3] = ["DELETE /v1/session", "POST /v1/messages/{id}/next-route", "POST /v1/session"];

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_what_its_description_says() {
    let api = Api::open("", MORE).await;
    for path in ["/healthz", "/readyz", "/openapi.json", "/v1/session", "/v1/now", "/v1/providers"] {
        api.get(path).await.expect(200);
    }
    for id in ["P1", "P2", "P3"] {
        api.patient(id).await;
    }
    messages(&api).await;
    dead_ones(&api).await;
    texts(&api).await;
    campaigns(&api).await;
    // The last: the patient wants nothing more.
    patients(&api).await;
    api.get("/v1/audit").await.expect(200);
    api.get("/v1/now").await.expect(200);

    let (described, held) = described_and_held();
    assert!(ELSEWHERE.iter().all(|route| described.contains(*route)), "{described:#?}");
    let missing: Vec<&String> =
        described.difference(&held).filter(|route| !ELSEWHERE.contains(&route.as_str())).collect();
    assert!(missing.is_empty(), "nothing was asked of {missing:#?}");
    api.close().await;
}

/// Jobs in, what became of them, a hold, and a result that nobody takes.
async fn messages(api: &Api) {
    let sent = api.enqueue(&job("j1", "P1")).await;
    api.until(&sent, "sent").await;
    api.post("/v1/jobs", &job("j1", "P1")).await.expect(200);
    api.post("/v1/jobs", &json!([later("j2", "P1"), {"id": "bad"}])).await.expect(200);
    let unknown = json!({"action": "cancel", "source": "lakeside-ehr", "id": "never-there"});
    api.post("/v1/jobs", &unknown).await.expect(200);
    api.post("/v1/jobs/cancel", &unknown).await.expect(200);
    let lookup = json!({"source": "lakeside-ehr", "ids": ["j1", "j9"]});
    api.post("/v1/messages/lookup", &lookup).await.expect(200);
    api.post(&format!("/v1/messages/{sent}/reveal"), &json!({"reason": "to compare it"})).await.expect(200);

    let waits = api.enqueue(&later("j3", "P1")).await;
    let path = format!("/v1/messages/{waits}");
    api.get(&format!("{path}/explain")).await.expect(200);
    api.post(&format!("{path}/cancel"), &json!({"reason": "moved"})).await.expect(200);
    api.post(&format!("{path}/retry"), &json!({})).await.expect(202);
    let mut many = json!({"action": "cancel", "filter": {"status": "scheduled"}, "dry_run": true});
    api.post("/v1/messages/actions", &many).await.expect(200);
    many["dry_run"] = json!(false);
    api.post("/v1/messages/actions", &many).await.expect(200);

    let hold = json!({"scope": "template", "value": "appointment-reminder", "reason": "wrong phone number"});
    let hold = api.post("/v1/holds", &hold).await.expect(201);
    let held = api.enqueue(&job("j4", "P1")).await;
    api.until(&held, "held").await;
    api.get("/v1/holds?known=true").await.expect(200);
    for id in [&sent, &held] {
        api.get(&format!("/v1/messages/{id}/explain")).await.expect(200);
    }
    api.delete(&format!("/v1/holds/{}", hold["id"].as_str().unwrap())).await.expect(204);

    let mut untold = job("j5", "P1");
    untold["source"] = json!("deaf-ehr");
    let untold = api.enqueue(&untold).await;
    api.until(&untold, "sent").await;
    first(api, "/v1/callbacks", "callbacks", |one| one["tries"] != 0).await;
    api.post("/v1/callbacks/retry", &json!({"source": "deaf-ehr"})).await.expect(200);
    api.get("/v1/messages").await.expect(200);
}

/// Bodies that could not be accepted, of which people on call are told.
async fn dead_ones(api: &Api) {
    let mut bad = job("d2", "P1");
    bad["template"] = json!("nothing");
    let (good, bad) = (park(api, &job("d1", "P1")).await, park(api, &bad).await);
    first(api, "/v1/dead", "dead", |_| true).await;
    let alert = first(api, "/v1/alerts", "alerts", |alert| alert["key"] == "dead_jobs").await;
    let path = format!("/v1/alerts/{}", alert["key"].as_str().unwrap());
    api.post(&format!("{path}/acknowledge"), &json!({})).await.expect(200);
    api.post(&format!("{path}/snooze"), &json!({"minutes": 5})).await.expect(200);
    api.post("/v1/dead/replay", &json!({"dry_run": true})).await.expect(200);
    api.post("/v1/dead/replay", &json!({"ids": [good, bad]})).await.expect(200);
    api.post(&format!("/v1/dead/{bad}/reveal"), &json!({"reason": "to mend it"})).await.expect(200);
    let mended = json!({"body": job("d2", "P1").to_string(), "reason": "wrong name"});
    api.post(&format!("/v1/dead/{bad}/repair"), &mended).await.expect(200);
}

/// Templates, and who answers for them.
async fn texts(api: &Api) {
    let listed = api.get("/v1/templates").await.expect(200);
    let path = "/v1/templates/appointment-reminder";
    let all = listed["templates"].as_array().unwrap();
    let reminder = all.iter().find(|one| one["name"] == "appointment-reminder").unwrap();
    let spanish = reminder["texts"].as_array().unwrap().iter().find(|text| text["locale"] == "es").unwrap();
    api.post(&format!("{path}/preview"), &json!({"sample": "longest"})).await.expect(200);
    api.get(&format!("{path}/lint")).await.expect(200);
    let word = json!({"locale": "es", "hash": spanish["hash"], "note": "read"});
    api.post(&format!("{path}/sign-off"), &word).await.expect(200);
    api.post(&format!("{path}/take-back"), &json!({"locale": "es", "note": "a slip"})).await.expect(200);
    let mut unnamed = later("t1", "P1");
    unnamed.as_object_mut().unwrap().remove("template");
    api.post(&format!("{path}/send"), &unnamed).await.expect(202);
}

/// One from the plan to the report, those that follow it, and one that is stopped.
async fn campaigns(api: &Api) {
    let plan = |id: &str| {
        json!({"id": id, "source": "lakeside-ehr", "template": "appointment-reminder", "site": "lakeside-north",
            "canary": 1})
    };
    let list = |days: [&str; 4]| {
        let rows: Vec<String> = (1..).zip(days).map(|(n, day)| format!("P{n},{day},Dr. Chen\n")).collect();
        format!("patient_id,starts_at,practitioner\n{}", rows.concat())
    };
    let day = "2036-12-01T15:30:00-06:00";
    let audience = |id: &str| format!("/v1/campaigns/{id}/audience?refused_file=true");
    api.post("/v1/campaigns", &plan("visit")).await.expect(201);
    let text = list([day, day, day, "03/04/2036"]);
    let brought = api.post_raw(&audience("visit"), "text/csv", text.clone()).await.expect(200);
    assert_eq!((&brought["added"], &brought["refused"]), (&json!(3), &json!(1)), "{brought}");
    let act = async |what: &str, body: Value| {
        api.post(&format!("/v1/campaigns/visit/{what}"), &body).await.expect(200)
    };
    act("dry-run", json!({})).await;
    act("reveal", json!({"reason": "to read it"})).await;
    act("pace", json!({"per_minute": 60_000})).await;
    act("start", json!({})).await;
    let is = |state: &'static str| move |one: &Value| one["plan"]["id"] == "visit" && one["state"] == state;
    first(api, "/v1/campaigns", "campaigns", is("canary_hold")).await;
    assert_eq!(act("done", json!({"patient_ids": ["P3"]})).await["left_out"], 1);
    act("approve", json!({"recipients": 2})).await;
    first(api, "/v1/campaigns", "campaigns", is("done")).await;
    for path in ["", "/report", "/report?soon=true", "/recipients"] {
        api.get(&format!("/v1/campaigns/visit{path}")).await.expect(200);
    }
    for what in ["retry-failed", "retry-unanswered", "correct"] {
        api.post(&format!("/v1/campaigns/visit/{what}"), &plan(what)).await.expect(201);
    }

    let mut stopped = plan("stopped");
    stopped["canary"] = json!(0);
    stopped["waves"] = json!([{"min_age": 80}, {"tags": ["risk-1"], "gap_minutes": 120}]);
    stopped["start"] = json!({"local": "2036-11-20T10:00"});
    stopped["pace"] = json!({"per_hour": 300, "hours": "mon-fri 09:00-17:00, sat-sun closed"});
    api.post("/v1/campaigns", &stopped).await.expect(201);
    api.post_raw(&audience("stopped"), "text/csv", text).await.expect(200);
    for what in ["start", "pause", "resume", "cancel"] {
        api.post(&format!("/v1/campaigns/stopped/{what}"), &json!({})).await.expect(200);
    }
    api.get("/v1/campaigns/stopped").await.expect(200);
}

/// A patient of whom everything is known, masked and whole; what they wrote, and the work that it makes.
async fn patients(api: &Api) {
    let (path, reason) = ("/v1/patients/P0000042", json!({"reason": "nightly check"}));
    guide::tell_patients(api).await;
    let file = "id,given\nP7,Ana\n!,Eve\n";
    api.post_raw("/v1/patients/import", "text/csv", file).await.expect(200);
    api.post("/v1/patients/P7/merge", &json!({"into": "P1"})).await.expect(200);

    api.worker.store.reply(&ask("SM1", "Can I bring my son?")).await.unwrap();
    let item = first(api, "/v1/work-items?kind=reply", "work_items", |_| true).await;
    let work = format!("/v1/work-items/{}", item["id"].as_str().unwrap());
    api.get(&work).await.expect(200);
    api.post(&format!("{work}/reveal"), &reason).await.expect(200);
    for (what, body) in
        [("claim", json!({})), ("release", json!({})), ("close", json!({"outcome": "reached"}))]
    {
        api.post(&format!("{work}/{what}"), &body).await.expect(200);
    }

    api.worker.store.reply(&ask("SM2", "STOP")).await.unwrap();
    let masked = api.get(path).await.expect(200);
    assert!(masked["masked"] == true && masked["said_at_addresses"][0]["granted"] == false, "{masked}");
    let whole = send(api.request(&Method::GET, path).header("x-outreach-reason", "nightly check")).await;
    assert_eq!(whole.expect(200)["birth_date"], "1949-03-02");
    for what in ["reveal", "export"] {
        api.post(&format!("{path}/{what}"), &reason).await.expect(200);
    }
}
