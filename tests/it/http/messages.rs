//! Lists, look-ups, second tries.

use outreachd::store::audit::AuditFilter;
use serde_json::{Value, json};

use super::api::{Api, job, later};

fn ids(list: &Value) -> Vec<String> {
    list["messages"].as_array().unwrap().iter().map(|m| m["job_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_every_message_comes_once() {
    let api = Api::open("", "").await;
    let since = api.worker.store.ping().await.unwrap();
    let jobs: Vec<Value> = (0..7).map(|n| later(&format!("j{n}"), "P1")).collect();
    api.post("/v1/jobs", &json!(jobs)).await.expect(200);
    // A list by change ends two seconds ago; all of these changed at one instant.
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    for (order, first) in [(String::new(), "j6"), (format!("&changed_since={since}"), "j0")] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = api.get(&format!("/v1/messages?limit=3{order}{cursor}")).await.expect(200);
            let rows = ids(&page);
            assert!(rows.len() <= 3);
            seen.extend(rows);
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen[0], first, "{order}: {seen:?}");
        seen.sort();
        assert_eq!(seen, ["j0", "j1", "j2", "j3", "j4", "j5", "j6"], "{order}");
    }
    assert_eq!(ids(&api.get("/v1/messages?job_id=j3").await.expect(200)), ["j3"]);
    assert_eq!(ids(&api.get("/v1/messages?status=scheduled&patient_id=P1").await.expect(200)).len(), 7);
    assert!(ids(&api.get("/v1/messages?status=sent").await.expect(200)).is_empty());
    for bad in ["status=lost", "limit=0", "limit=1001", "cursor=xyz", "colour=red", "status=sent&status=sent"]
    {
        api.get(&format!("/v1/messages?{bad}")).await.problem(if bad.contains('&') { 400 } else { 422 });
    }
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_look_up_by_their_own_names() {
    let api = Api::open("", "").await;
    api.enqueue(&later("j1", "P1")).await;
    api.enqueue(&later("j2", "P1")).await;
    let ask = json!({"source": "lakeside-ehr", "ids": ["j2", "j9", "j1"]});
    let told = api.post("/v1/messages/lookup", &ask).await.expect(200);
    let mut found = ids(&told);
    found.sort();
    assert_eq!(found, ["j1", "j2"]);
    assert_eq!(told["missing"], json!(["j9"]));
    let many: Vec<String> = (0..1001).map(|n| format!("j{n}")).collect();
    let refused = api.post("/v1/messages/lookup", &json!({"ids": many})).await.problem(422);
    assert_eq!(refused["errors"][0]["field"], "ids");
    let nobody = "/v1/messages/018f0000-0000-7000-8000-000000000000";
    for path in ["", "/explain"] {
        api.get(&format!("{nobody}{path}")).await.problem(404);
    }
    for path in ["cancel", "retry"] {
        api.post(&format!("{nobody}/{path}"), &json!({})).await.problem(404);
    }
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_is_taken_back() {
    let api = Api::open("", "").await;
    api.patient("P1").await;
    let id = api.enqueue(&later("j1", "P1")).await;
    let path = format!("/v1/messages/{id}/cancel");
    let told = api.post(&path, &json!({"reason": "moved"})).await.expect(200);
    assert_eq!(told, json!({"result": "cancelled", "message_ids": [id]}));
    let log = api.worker.store.audit(&AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
    let why = log.iter().find(|entry| entry.subject == id).map(|entry| entry.detail.expose());
    assert_eq!(why, Some("moved"), "{log:?}");
    api.until(&id, "cancelled").await;
    assert_eq!(
        api.post(&path, &json!({})).await.expect(200)["message_ids"],
        json!([]),
        "asking twice does no harm"
    );

    let sent = api.enqueue(&job("j2", "P1")).await;
    api.until(&sent, "sent").await;
    let late = api.post(&format!("/v1/messages/{sent}/cancel"), &json!({})).await.problem(409);
    assert_eq!(late["errors"][0]["reason"], "too_late");
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_get_through_is_tried_again_as_a_new_message() {
    let api = Api::open("", "").await;
    api.put("/v1/patients/P1", &json!({"contacts": []})).await.expect(201);
    let first = api.enqueue(&job("j1", "P1")).await;
    assert_eq!(api.until(&first, "suppressed").await["reason"], "no_contact");
    api.patient("P1").await;

    let path = format!("/v1/messages/{first}/retry");
    let told = api.post(&path, &json!({})).await.expect(202);
    let second = told["message_id"].as_str().unwrap();
    assert_eq!((&told["retry_of"], &told["result"]), (&json!(first), &json!("accepted")));
    let message = api.until(second, "sent").await;
    assert_eq!((&message["retry_of"], &message["job_id"]), (&json!(first), &json!("j1")));
    api.until(&first, "suppressed").await;

    // Whoever asks twice gets one.
    let again = api.post(&path, &json!({})).await.expect(200);
    assert_eq!((&again["message_id"], &again["result"]), (&json!(second), &json!("duplicate")));
    let sent = api.post(&format!("/v1/messages/{second}/retry"), &json!({})).await.problem(409);
    assert_eq!(sent["errors"][0]["reason"], "too_late");
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_try_can_be_taken_back_too() {
    let api = Api::open("", "").await;
    let first = api.enqueue(&later("j1", "P1")).await;
    api.post(&format!("/v1/messages/{first}/cancel"), &json!({})).await.expect(200);
    let told = api.post(&format!("/v1/messages/{first}/retry"), &json!({})).await.expect(202);
    let second = told["message_id"].as_str().unwrap();
    let taken = api.post(&format!("/v1/messages/{second}/cancel"), &json!({})).await.expect(200);
    assert_eq!(taken["message_ids"], json!([second]));
    api.until(second, "cancelled").await;
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_by_the_callers_name_reaches_second_tries_and_they_stay_changes() {
    let api = Api::open("", "").await;
    api.patient("P1").await;
    let sent = api.enqueue(&job("j1", "P1")).await;
    api.until(&sent, "sent").await;
    let mut change = later("j2", "P1");
    change["replaces"] = json!("j1");
    let first = api.enqueue(&change).await;
    api.post(&format!("/v1/messages/{first}/cancel"), &json!({})).await.expect(200);
    let told = api.post(&format!("/v1/messages/{first}/retry"), &json!({})).await.expect(202);
    let second = told["message_id"].as_str().unwrap();
    assert_eq!(api.get(&format!("/v1/messages/{second}")).await.expect(200)["is_change"], true);
    let cancel = json!({"source": "lakeside-ehr", "id": "j2"});
    assert_eq!(api.post("/v1/jobs/cancel", &cancel).await.expect(200)["message_ids"], json!([second]));
    api.until(second, "cancelled").await;
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_arrived_is_repeated_only_on_purpose() {
    let api = Api::open("", "").await;
    let id = api.enqueue(&later("j1", "P1")).await;
    let path = format!("/v1/messages/{id}/retry");
    let early = api.post(&path, &json!({})).await.problem(409);
    assert_eq!(early["errors"][0]["rule"], "it is still under way");
    api.sql(format!("UPDATE messages SET status = 'unknown', due_at = NULL WHERE id = '{id}'")).await;
    let refused = api.post(&path, &json!({})).await.problem(409);
    assert_eq!(refused["errors"][0]["field"], "accept_duplicate");
    api.post(&path, &json!({"accept_duplicate": "yes"})).await.problem(422);
    api.post(&path, &json!({"accept_duplicate": true})).await.expect(202);
    api.close().await;
}
