//! For people on call: holds, dead letters, templates, health, measures.

use std::time::Duration;

use outreachd::domain::ids::{ParkedId, SourceName, WorkerId};
use outreachd::domain::problem::Problem;
use outreachd::domain::words::Reason;
use outreachd::store::rows::{AdmitBatch, Reject};
use serde_json::{Value, json};

use super::api::{Api, job};
use crate::support::proxy::{Link, TcpProxy};
use crate::support::shared::TestDatabase;

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_stops_and_its_end_lets_go() {
    let api = Api::open("", "").await;
    api.patient("P1").await;
    let ask = json!({"scope": "template", "value": "appointment-reminder", "reason": "wrong phone number"});
    let hold = api.post("/v1/holds", &ask).await.expect(201);
    assert_eq!((&hold["placed_by"], &hold["on_release"]), (&json!("local"), &json!("send")));
    let listed = api.get("/v1/holds").await.expect(200);
    assert_eq!(listed["holds"][0]["id"], hold["id"]);

    let id = api.enqueue(&job("j1", "P1")).await;
    assert_eq!(api.until(&id, "held").await["reason"], "operator_hold");
    let explained = api.get(&format!("/v1/messages/{id}/explain")).await.expect(200);
    let stopped: Vec<&Value> =
        explained["gates"].as_array().unwrap().iter().filter(|g| g["passed"] == false).collect();
    assert_eq!(stopped, [&json!({"gate": "hold", "passed": false})]);
    assert_eq!(explained["next"]["action"], "decide_again");
    let of = &explained["hold"];
    assert_eq!(
        (&of["id"], &of["placed_by"], &of["reason"]),
        (&hold["id"], &json!("local"), &json!("wrong phone number"))
    );
    assert_eq!(of["end"], format!("outreachd release {}", hold["id"].as_str().unwrap()));
    assert_eq!(explained["message"]["held_by"], hold["id"]);

    let path = format!("/v1/holds/{}", hold["id"].as_str().unwrap());
    api.delete(&path).await.expect(204);
    api.until(&id, "sent").await;
    api.delete(&path).await.problem(404);
    assert_eq!(api.get("/v1/holds").await.expect(200), json!({"holds": []}));
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_would_hold_nothing_is_refused() {
    let api = Api::open("", "").await;
    for (ask, field) in [
        (json!({}), "scope"),
        (json!({"scope": "moon"}), "scope"),
        (json!({"scope": "channel"}), "value"),
        (json!({"scope": "channel", "value": "pigeon"}), "value"),
        (json!({"scope": "purpose", "value": "fun"}), "value"),
        (json!({"scope": "source", "value": "Not A Name"}), "value"),
        (json!({"scope": "all", "value": "x"}), "value"),
        // Well formed, and the name of nothing.
        (json!({"scope": "template", "value": "apointment-reminder"}), "value"),
        (json!({"scope": "all", "until": "2020-01-01T00:00:00Z"}), "until"),
        (json!({"scope": "all", "until": "2036-01-01T00:00:00"}), "until"),
        (json!({"scope": "all", "on_release": "burn"}), "on_release"),
    ] {
        let problem = api.post("/v1/holds", &ask).await.problem(422);
        assert_eq!(problem["errors"][0]["field"], field, "{ask}: {problem}");
    }
    let ask = json!({"scope": "template", "value": "apointment-reminder"});
    let cure = api.post("/v1/holds", &ask).await.problem(422)["errors"][0]["cure"].to_string();
    assert!(cure.contains("appointment-reminder"), "the names that there are: {cure}");
    let known = api.get("/v1/holds?known=true").await.expect(200)["known"].clone();
    assert!(known["template"].as_array().unwrap().contains(&json!("appointment-reminder")), "{known}");
    assert_eq!(known["channel"], json!(["email", "portal", "sms", "voice"]));
    assert_eq!(api.get("/v1/holds").await.expect(200), json!({"holds": []}), "nothing was placed");
    api.close().await;
}

/// Parks a body as intake does.
pub(super) async fn park(api: &Api, body: &Value) -> String {
    let id = ParkedId::generate();
    let problem = Problem::new("template", Reason::UnknownTemplate, "is not in the catalogue", "add it");
    let reject = Reject {
        id,
        problems: vec![problem],
        source: SourceName::parse("lakeside-ehr"),
        job_id: None,
        origin: "jobs".to_owned(),
        correlation_id: None,
        key: None,
        body: body.to_string().into_bytes(),
        content_hash: None,
        park: true,
        redelivered: false,
    };
    let batch =
        AdmitBatch { worker: WorkerId::generate(), admissions: Vec::new(), rejects: vec![reject], room: 0 };
    api.worker.store.admit(&batch).await.unwrap();
    id.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_without_their_bodies_and_go_in_again() {
    let api = Api::open("", "").await;
    api.patient("P1").await;
    let good = park(&api, &job("j1", "P1")).await;
    let mut still_bad = job("j2", "P1");
    still_bad["template"] = json!("nothing");
    let bad = park(&api, &still_bad).await;
    let mut foreign = job("j3", "P1");
    foreign["source"] = json!("other-ehr");
    let foreign = park(&api, &foreign).await;

    let listed = api.get("/v1/dead").await;
    assert!(!listed.text.contains("Chen"), "bodies stay in the ledger");
    let listed = listed.expect(200);
    let ids: Vec<&str> =
        listed["dead"].as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [good.as_str(), bad.as_str(), foreign.as_str()]);
    assert_eq!(listed["dead"][0]["reason"], "unknown_template");
    let page = api.get("/v1/dead?limit=2").await.expect(200);
    let rest =
        api.get(&format!("/v1/dead?limit=2&cursor={}", page["next"].as_str().unwrap())).await.expect(200);
    assert_eq!(rest["dead"][0]["id"], foreign);
    assert_eq!(api.get("/v1/dead?reason=malformed").await.expect(200)["dead"], json!([]));

    let dry = api.post("/v1/dead/replay", &json!({"dry_run": true})).await.expect(200);
    assert_eq!(dry["dead"].as_array().unwrap().len(), 3);
    let told = api.post("/v1/dead/replay", &json!({"ids": [good, bad, foreign]})).await.expect(200);
    assert_eq!((&told["replayed"], &told["refused"]), (&json!(1), &json!(2)), "{told}");
    assert_eq!(told["results"][1]["errors"][0]["field"], "template");
    assert_eq!(told["results"][2]["errors"][0]["reason"], "source_not_allowed", "replay gives no rights");
    api.until(told["results"][0]["message_id"].as_str().unwrap(), "sent").await;
    assert_eq!(api.get("/v1/dead").await.expect(200)["dead"].as_array().unwrap().len(), 2);
    api.post("/v1/dead/replay", &json!({"ids": []})).await.problem(422);
    api.post("/v1/dead/replay", &json!({"ids": ["x"]})).await.problem(422);

    // Another body in the place of one, with a reason: what is still wrong changes nothing, what is right goes out, and
    // the source stays whose it was.
    let path = format!("/v1/dead/{bad}/repair");
    let with = |body: &Value, reason: &str| json!({"body": format!("{body:#}"), "reason": reason});
    let mended = job("j2", "P1");
    assert_eq!(api.post(&path, &with(&mended, "x")).await.problem(422)["errors"][0]["field"], "reason");
    assert_eq!(
        api.post(&path, &with(&still_bad, "wrong name")).await.problem(422)["errors"][0]["field"],
        "template"
    );
    let mut stolen = mended.clone();
    stolen["source"] = json!("other-ehr");
    assert_eq!(
        api.post(&path, &with(&stolen, "wrong name")).await.problem(422)["errors"][0]["reason"],
        "source_not_allowed"
    );
    let told = api.post(&path, &with(&mended, "wrong name")).await.expect(200);
    api.until(told["message_id"].as_str().unwrap(), "sent").await;
    api.post(&path, &with(&mended, "wrong name")).await.problem(404);
    assert_eq!(api.get("/v1/dead").await.expect(200)["dead"].as_array().unwrap().len(), 1);
    assert_eq!(api.count("SELECT count(*) FROM audit WHERE act = 'dead.repair'").await, 1);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_are_listed_and_previewed() {
    let api = Api::open("", "").await;
    let listed = api.get("/v1/templates").await.expect(200);
    let reminder =
        listed["templates"].as_array().unwrap().iter().find(|t| t["name"] == "appointment-reminder").unwrap();
    assert_eq!(reminder["variables"]["starts_at"]["type"], "datetime");
    assert!(reminder["locales"].as_array().unwrap().contains(&json!("es")));
    let path = "/v1/templates/appointment-reminder/preview";
    let ask = json!({"channel": "sms", "locale": "es", "site": "lakeside-north"});
    let told = api.post(path, &ask).await.expect(200);
    let text = told["previews"][0]["texts"]["sms"].as_str().unwrap();
    assert!(text.contains("Lakeside North"), "{text}");
    assert!(told["previews"][0]["segments"].as_u64().unwrap() >= 1);
    let all = api.post(path, &json!({"sample": "longest"})).await.expect(200);
    assert!(all["previews"].as_array().unwrap().len() > 8);
    api.post("/v1/templates/nothing/preview", &json!({})).await.problem(404);
    api.post(path, &json!({"sample": "worst"})).await.problem(422);
    api.post(path, &json!({"site": "elsewhere"})).await.problem(422);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_names_what_is_away_and_callers_are_told_to_wait() {
    let database = TestDatabase::migrated().await;
    let url = database.url();
    let port: u16 = url.rsplit_once('/').unwrap().0.rsplit_once(':').unwrap().1.parse().unwrap();
    let proxy = TcpProxy::start(([127, 0, 0, 1], port).into()).await;
    let through = url.replace(&format!(":{port}/"), &format!(":{}/", proxy.address().port()));
    let api = Api::open_at(database, &through, "", "").await;
    let ready = api.get("/readyz").await.expect(200);
    assert_eq!(ready["checks"], json!({"ledger": "ok", "templates": "ok"}));
    // Somebody has asked before: it is known that nobody needs an account here.
    api.get("/v1/holds").await.expect(200);

    proxy.set(Link::Refuse);
    proxy.reset();
    let away = api.get("/readyz").await.expect(503);
    assert_eq!(away["checks"]["ledger"], "away");
    api.get("/healthz").await.expect(200);
    let refused = api.post("/v1/jobs", &job("j1", "P1")).await;
    refused.problem(503);
    assert_eq!(refused.headers["retry-after"], "2");
    let measures = api.get("/metrics").await;
    assert_eq!(measures.status, 200);
    assert!(measures.text.contains("outreachd_ledger_up 0"), "{}", measures.text);

    proxy.set(Link::Forward);
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while api.get("/readyz").await.status != 200 {
        assert!(std::time::Instant::now() < end, "the ledger is back, and nobody noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    api.enqueue(&job("j1", "P1")).await;
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_answers_and_takes_nothing_is_not_ready() {
    let more = "[worker]\nheartbeat = \"200ms\"\nheartbeat_stale = \"1s\"";
    let api = Api::open("", more).await;
    api.get("/readyz").await.expect(200);
    api.sql("ALTER TABLE workers RENAME TO workers_away".to_owned()).await;
    let until = async |status: u16| {
        let end = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let ready = api.get("/readyz").await;
            if ready.status.as_u16() == status {
                return ready.json();
            }
            assert!(std::time::Instant::now() < end, "{}", ready.text);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(until(503).await["checks"], json!({"ledger": "not_written", "templates": "ok"}));
    api.sql("ALTER TABLE workers_away RENAME TO workers".to_owned()).await;
    assert_eq!(until(200).await["checks"]["ledger"], "ok");
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn measures_speak_of_routes_and_counts_not_of_people() {
    let api = Api::open("", "").await;
    api.patient("P-secret-1").await;
    let id = api.enqueue(&job("j1", "P-secret-1")).await;
    api.until(&id, "sent").await;
    api.get("/v1/nothing/P-secret-1").await.problem(404);
    let measures = api.get("/metrics").await;
    assert!(measures.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    for line in [
        "outreachd_http_requests_total{path=\"/v1/patients/{id}\",method=\"PUT\",status=\"201\"} 1",
        "outreachd_http_requests_total{path=\"unmatched\",method=\"GET\",status=\"404\"} 1",
        "outreachd_http_request_seconds_bucket{path=\"/v1/jobs\",method=\"POST\",le=\"+Inf\"} 1",
        "outreachd_jobs_total{result=\"accepted\"} 1",
        "outreachd_ledger_up 1",
        "outreachd_backlog 0",
        "outreachd_messages{channel=\"sms\",status=\"sent\",reason=\"safety_mode\"} 1",
    ] {
        assert!(measures.text.lines().any(|l| l == line), "{line} is not in:\n{}", measures.text);
    }
    for name in ["outreachd_trouble_age_seconds ", "outreachd_webhooks_spool_refused "] {
        assert!(measures.text.lines().any(|l| l.starts_with(name)), "{name} is not in:\n{}", measures.text);
    }
    assert!(!measures.text.contains("secret"), "{}", measures.text);
    let providers = api.get("/v1/providers").await.expect(200);
    assert_eq!(providers["mode"], "capture");
    let lanes = providers["workers"][0]["state"]["lanes"].as_array().unwrap();
    assert!(lanes.iter().any(|lane| lane["provider"] == "capture-sms"), "{providers}");
    api.close().await;
}
