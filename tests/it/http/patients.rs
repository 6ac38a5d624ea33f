//! The directory over HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, job, send};

fn ana() -> Value {
    json!({
        "updated_at": "2026-11-20T08:00:00Z", "name": {"given": "Ana", "family": "López"},
        "birth_date": "1949-03-02", "language": "es-US", "address": {"postal_code": "60601"},
        "identifiers": [{"system": "urn:mrn", "value": "77120"}],
        "contacts": [{"channel": "sms", "address": "(312) 555-0142"}, {"channel": "email", "address": "ana@example.org"}],
        "consents": [{"purpose": "marketing", "channel": "sms", "granted": true, "at": "2026-10-01T12:00:00Z",
            "source": "staff", "evidence": "form 12, signed by Ana"}],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_is_told_shown_changed_and_erased() {
    let api = Api::open("", "").await;
    api.get("/v1/patients/P1").await.problem(404);
    let told = api.put("/v1/patients/P1", &ana()).await.expect(201);
    assert_eq!(told, json!({"id": "P1", "result": "created"}));
    // Masked by default; whole for whoever says why, which goes on record before anything is shown.
    assert_eq!(api.get("/v1/patients/P1").await.expect(200)["masked"], true);
    let with = |path: &str, reason: &str| api.request(&Method::GET, path).header("x-outreach-reason", reason);
    send(with("/v1/patients/P1", "x")).await.problem(422);
    let masked = send(with("/v1/patients/P1?masked=true", "nightly check")).await.expect(200);
    assert_eq!(masked["masked"], true);
    assert_eq!(api.count("SELECT count(*) FROM audit WHERE act = 'patient.reveal'").await, 0);
    let shown = send(with("/v1/patients/P1", "nightly check")).await.expect(200);
    assert_eq!(api.count("SELECT count(*) FROM audit WHERE act = 'patient.reveal'").await, 1);
    assert_eq!(shown["name"]["family"], "López");
    let addresses: Vec<&Value> =
        shown["contacts"].as_array().unwrap().iter().map(|c| &c["address"]).collect();
    assert!(addresses.contains(&&json!("+13125550142")), "{shown}");
    // What is shown can be sent back as it is.
    assert_eq!(api.put("/v1/patients/P1", &shown).await.expect(200)["result"], "unchanged");

    let mut older = ana();
    older["updated_at"] = json!("2026-11-19T08:00:00Z");
    older["language"] = json!("en");
    assert_eq!(api.put("/v1/patients/P1", &older).await.expect(200)["result"], "stale");
    older.as_object_mut().unwrap().remove("updated_at");
    assert_eq!(
        api.put("/v1/patients/P1", &older).await.expect(200)["result"],
        "updated",
        "without a time: now"
    );
    assert_eq!(api.get("/v1/patients/P1").await.expect(200)["language"], "en");

    let other = api.put("/v1/patients/P1", &json!({"id": "P2"})).await.problem(422);
    assert_eq!(other["errors"][0]["field"], "id");
    api.delete("/v1/patients/P1").await.expect(204);
    api.get("/v1/patients/P1").await.problem(404);
    api.delete("/v1/patients/P1").await.problem(404);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_read_patients_sees_a_mask() {
    let tokens = "[[api.tokens]]\nname = \"desk\"\ntoken = \"desk-0123456789abcdef0123\"\nscopes = [\"messages:read\"]\n";
    let api = Api::open("", tokens).await;
    api.put("/v1/patients/P1", &ana()).await.expect(201);
    let asked = || api.request(&Method::GET, "/v1/patients/P1").bearer_auth("desk-0123456789abcdef0123");
    send(asked().header("x-outreach-reason", "nightly check")).await.problem(403);
    // A STOP by text binds the address, not the record; staff see it all the same.
    let stop = outreachd::store::rows::AddressConsent {
        channel: outreachd::domain::words::Channel::Sms,
        address: outreachd::domain::phi::Phi::new("+13125550142"),
        purpose: None,
        granted: false,
        at: "2026-11-21T08:00:00Z".parse().unwrap(),
        source: outreachd::domain::patient::ConsentSource::Patient,
        by: Some("sms-one".to_owned()),
        evidence: Some("STOP please, Ana".to_owned()),
    };
    let store = outreachd::app::open_store(&api.worker.config).await.unwrap();
    store.record_address_consents(&[stop]).await.unwrap();
    let seen = send(asked()).await;
    for private in ["Ana", "López", "1949", "60601", "77120", "5550142", "ana@", "form 12"] {
        assert!(!seen.text.contains(private), "{private}: {}", seen.text);
    }
    let seen = seen.expect(200);
    assert_eq!(seen["masked"], true);
    let masked: Vec<&Value> = seen["contacts"].as_array().unwrap().iter().map(|c| &c["address"]).collect();
    assert!(masked.contains(&&json!("+***42")) && masked.contains(&&json!("***@example.org")), "{seen}");
    assert_eq!(seen["consents"][0]["granted"], true);
    assert_eq!((&seen["birth_date"], &seen["identifiers"][0]["value"]), (&json!("***"), &json!("***")));
    let stop = json!({"purpose": null, "channel": "sms", "address": "+***42", "granted": false,
        "at": "2026-11-21T08:00:00Z", "source": "patient"});
    assert_eq!(seen["said_at_addresses"], json!([stop]));
    assert_eq!(seen["changes"], json!([]));
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_patients_become_one() {
    let api = Api::open("", "").await;
    api.put("/v1/patients/P1", &json!({"contacts": []})).await.expect(201);
    let missing = api.post("/v1/patients/P1/merge", &json!({"into": "P2"})).await.problem(404);
    assert_eq!(missing["errors"][0]["reason"], "unknown_patient");
    api.patient("P2").await;
    let told = api.post("/v1/patients/P1/merge", &json!({"into": "P2"})).await.expect(200);
    assert_eq!(told, json!({"id": "P1", "into": "P2", "result": "merged"}));
    assert_eq!(api.get("/v1/patients/P1").await.expect(200)["id"], "P2", "the old id stays good");
    let id = api.enqueue(&job("j1", "P1")).await;
    api.until(&id, "sent").await;
    api.post("/v1/patients/P1/merge", &json!({"into": "P1"})).await.problem(422);
    api.post("/v1/patients/P1/merge", &json!({})).await.problem(422);
    api.close().await;
}
