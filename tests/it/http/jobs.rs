//! Jobs in, one by one and many at once; and back out.

use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, job, later, send};
use crate::intake::{accepted_at, gatekeeper, passed};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_accepted_sent_and_explained() {
    let api = Api::open("", "").await;
    api.patient("P1").await;
    let accepted = api.post("/v1/jobs", &job("j1", "P1")).await;
    let told = accepted.expect(202);
    let id = told["message_id"].as_str().unwrap();
    assert_eq!(told, json!({"id": "j1", "message_id": id, "result": "accepted"}));
    assert_eq!(accepted.headers["location"], format!("/v1/messages/{id}"));

    let message = api.until(id, "sent").await;
    assert_eq!(message["job_id"], "j1");
    assert_eq!(message["channel"], "sms");
    let explained = api.get(&format!("/v1/messages/{id}/explain")).await;
    assert!(!explained.text.contains("3125550142"), "addresses are masked");
    let explained = explained.expect(200);
    assert_eq!(explained["attempts"][0]["address"], "+***42");
    assert_eq!(explained["attempts"][0]["provider"], "capture-sms");
    assert_eq!(
        explained["gates"].as_array().unwrap().last().unwrap(),
        &json!({"gate": "route", "passed": true})
    );
    assert_eq!(explained["events"][0]["routing_key"], "message.sent.lakeside-ehr");
    assert_eq!(explained["next"]["action"], "nothing");

    assert_eq!(api.post("/v1/jobs", &job("j1", "P1")).await.expect(200)["result"], "duplicate");
    let mut other = job("j1", "P1");
    other["data"]["practitioner"] = json!("Dr. Osei");
    let conflict = api.post("/v1/jobs", &other).await.problem(409);
    assert_eq!(conflict["errors"][0]["reason"], "conflict");
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_accepted_is_a_duplicate_after_its_time_too() {
    let token = "token-of-other-0123456789abcdef";
    let api = Api::open(
        "",
        &format!(
            "[[api.tokens]]\nname = \"other\"\ntoken = \"{token}\"\nscopes = [\"admin\"]\nsources = [\"other-ehr\"]"
        ),
    )
    .await;
    let now = api.worker.store.ping().await.unwrap();
    let mut body = job("j1", "P1");
    body["expires_at"] = passed(now);
    let before = now - jiff::SignedDuration::from_secs(20);
    let sources = gatekeeper("[[source]]\nname = \"lakeside-ehr\"\n");
    let id = accepted_at(before, &api.worker.store, &sources, &body).await.to_string();

    let again = api.post("/v1/jobs", &body).await;
    assert_eq!(again.expect(200), json!({"id": "j1", "message_id": id, "result": "duplicate"}));
    assert_eq!(again.headers["location"], format!("/v1/messages/{id}"));
    let mut other = body.clone();
    other["data"]["practitioner"] = json!("Dr. Osei");
    let refused = api.post("/v1/jobs", &other).await.problem(422);
    assert_eq!(refused["errors"][0]["reason"], "expired");
    let results = api.post("/v1/jobs", &json!([body, other])).await.expect(200);
    assert_eq!((&results[0]["result"], &results[1]["result"]), (&json!("duplicate"), &json!("refused")));
    // Whoever names a source that is not theirs hears nothing of its jobs.
    let foreign = send(api.request(&Method::POST, "/v1/jobs").bearer_auth(token).json(&body)).await;
    assert_eq!(foreign.problem(422)["errors"][0]["reason"], "source_not_allowed");
    assert!(!foreign.text.contains(&id), "{}", foreign.text);

    assert_eq!(api.count("SELECT count(*) FROM parked").await, 0);
    let measures = api.get("/metrics").await.text;
    for line in
        ["outreachd_jobs_total{result=\"duplicate\"} 2", "outreachd_rejected_total{reason=\"expired\"} 2"]
    {
        assert!(measures.lines().any(|l| l == line), "{line} is not in:\n{measures}");
    }
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_are_answered_in_order_and_a_bad_one_sinks_no_other() {
    let api = Api::open("", "").await;
    api.patient("P1").await;
    api.enqueue(&job("old", "P1")).await;
    let mut conflict = job("old", "P1");
    conflict["data"]["practitioner"] = json!("Dr. Osei");
    let mut wrong = job("j2", "P1");
    wrong["data"] = json!({});
    let body = json!([job("j1", "P1"), wrong, job("j3", "P1"), job("old", "P1"), conflict, 7]);
    let results = api.post("/v1/jobs", &body).await.expect(200);
    let words: Vec<&str> =
        results.as_array().unwrap().iter().map(|r| r["result"].as_str().unwrap()).collect();
    assert_eq!(words, ["accepted", "refused", "accepted", "duplicate", "conflict", "refused"]);
    let ids: Vec<&Value> = results.as_array().unwrap().iter().map(|r| &r["id"]).collect();
    assert_eq!(
        ids,
        ["j1", "j2", "j3", "old", "old"].map(Value::from).iter().chain([&Value::Null]).collect::<Vec<_>>()
    );
    assert_eq!(results[1]["problem"]["status"], 422);
    assert_eq!(results[1]["problem"]["errors"][0]["field"], "data.starts_at");
    assert_eq!(results[4]["problem"]["status"], 409);
    for at in [0, 2] {
        api.until(results[at]["message_id"].as_str().unwrap(), "sent").await;
    }

    let lines = format!("{}\n\n not json \n{}\n", job("n1", "P1"), job("n2", "P1"));
    let results = api.post_raw("/v1/jobs", "application/x-ndjson", lines).await.expect(200);
    let words: Vec<&str> =
        results.as_array().unwrap().iter().map(|r| r["result"].as_str().unwrap()).collect();
    assert_eq!(words, ["accepted", "refused", "accepted"]);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_taken_back_by_its_callers_names() {
    let api = Api::open("", "").await;
    api.patient("P1").await;
    let waiting = api.enqueue(&later("j1", "P1")).await;
    let cancel = json!({"source": "lakeside-ehr", "id": "j1", "reason": "moved"});
    let told = api.post("/v1/jobs/cancel", &cancel).await.expect(200);
    assert_eq!(told, json!({"result": "cancelled", "message_ids": [waiting]}));
    assert_eq!(api.until(&waiting, "cancelled").await["reason"], "cancelled");

    // The cancel overtakes its job.
    let early = json!({"source": "lakeside-ehr", "id": "j2"});
    assert_eq!(api.post("/v1/jobs/cancel", &early).await.expect(200)["result"], "remembered");
    let told = api.post("/v1/jobs", &job("j2", "P1")).await.expect(202);
    assert_eq!((&told["result"], &told["reason"]), (&json!("accepted"), &json!("cancelled")));
    api.until(told["message_id"].as_str().unwrap(), "cancelled").await;

    let sent = api.enqueue(&job("j3", "P1")).await;
    api.until(&sent, "sent").await;
    let late = api.post("/v1/jobs/cancel", &json!({"source": "lakeside-ehr", "id": "j3"})).await.problem(409);
    assert_eq!(late["errors"][0]["reason"], "too_late");
    assert_eq!(late["message_ids"], json!([sent]));
    api.until(&sent, "sent").await;
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_among_jobs_takes_back_what_came_before_it() {
    let api = Api::open("", "").await;
    let cancel = json!({"action": "cancel", "source": "lakeside-ehr", "id": "j1"});
    let results = api.post("/v1/jobs", &json!([later("j1", "P1"), cancel])).await.expect(200);
    assert_eq!(results[1]["result"], "accepted");
    api.until(results[0]["message_id"].as_str().unwrap(), "cancelled").await;

    api.patient("P1").await;
    let sent = api.enqueue(&job("j2", "P1")).await;
    api.until(&sent, "sent").await;
    let late = json!({"action": "cancel", "source": "lakeside-ehr", "id": "j2"});
    let results = api.post("/v1/jobs", &json!([late])).await.expect(200);
    assert_eq!((&results[0]["result"], &results[0]["problem"]["status"]), (&json!("conflict"), &json!(409)));
    assert_eq!(results[0]["problem"]["errors"][0]["reason"], "too_late");
    api.close().await;
}
