//! Many patients at once.

use serde_json::{Value, json};

use super::api::Api;

#[tokio::test(flavor = "multi_thread")]
async fn a_spreadsheet_comes_in_row_by_row() {
    let api = Api::open("", "").await;
    let mut csv = String::from("id,given,phone\n");
    for n in 0..1_500 {
        let phone = if n % 300 == 7 { "555".to_owned() } else { format!("+1312555{n:04}") };
        csv += &format!("P{n},Ana,{phone}\n");
    }
    let told = api.post_raw("/v1/patients/import", "text/csv; charset=utf-8", csv.clone()).await.expect(200);
    assert_eq!((&told["read"], &told["created"], &told["refused"]), (&json!(1500), &json!(1495), &json!(5)));
    let lines: Vec<u64> =
        told["refusals"].as_array().unwrap().iter().map(|r| r["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [9, 309, 609, 909, 1209]);
    let error = &told["refusals"][0]["errors"][0];
    assert_eq!((&error["field"], &error["reason"]), (&json!("phone"), &json!("invalid_address")));
    assert_eq!(api.get("/v1/patients/P1499").await.expect(200)["contacts"][0]["address"], "+***99");

    let again = api.post_raw("/v1/patients/import", "text/csv", csv).await.expect(200);
    assert_eq!(again["created"], 0);
    assert_eq!(again["updated"].as_u64().unwrap() + again["unchanged"].as_u64().unwrap(), 1495, "{again}");
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_a_line() {
    let api = Api::open("", "").await;
    let patient =
        |id: &str| json!({"id": id, "updated_at": "2026-11-20T08:00:00Z", "contacts": []}).to_string();
    let body = format!("{}\n{{\"id\":\n{}\n", patient("P1"), patient("P2"));
    let told = api.post_raw("/v1/patients/import", "application/x-ndjson", body.clone()).await.expect(200);
    assert_eq!((&told["created"], &told["refused"]), (&json!(2), &json!(1)));
    assert_eq!(told["refusals"][0]["line"], 2);
    let told = api.post_raw("/v1/patients/import", "application/x-ndjson", body).await.expect(200);
    assert_eq!(told["unchanged"], 2);
    api.post_raw("/v1/patients/import", "application/json", "[]").await.problem(415);
    api.post_raw("/v1/patients/import", "text/csv", "nonsense\n1\n").await.problem(422);
    api.post_raw("/v1/patients/import", "text/csv", "").await.problem(400);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_too_large_keeps_what_was_read_and_says_so() {
    let api = Api::open("max_import = \"1MiB\"", "").await;
    let mut csv = String::from("id,given\n");
    for n in 0..60_000 {
        csv += &format!("P{n},Maximiliano\n");
    }
    assert!(csv.len() > 1 << 20);
    let known = api.post_raw("/v1/patients/import", "text/csv", csv.clone()).await.problem(413);
    assert_eq!(known["so_far"], Value::Null, "the promised length was enough to refuse it");
    // In chunks, without a promise.
    let cut = api.post_chunked("/v1/patients/import", "text/csv", &csv).await.problem(413);
    assert!(cut["so_far"]["created"].as_u64().unwrap() > 10_000, "{cut}");
    api.get("/v1/patients/P5").await.expect(200);
    api.close().await;
}
