//! What is wrong is told by field, rule and cure; the value itself never comes back.

use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, job, send};

/// Names nobody, reaches nobody, and stands in no template.
const CANARY: &str = "Zebulon Quxley +15550199 zq@canary.example";

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_has_its_status_and_its_field() {
    let api = Api::open("", "").await;
    let with = |field: &str, value: Value| {
        let mut job = job("j1", "P1");
        job[field] = value;
        job.to_string()
    };
    let mut no_source = job("j1", "P1");
    no_source.as_object_mut().unwrap().remove("source");
    let nul = job("j1", "P1").to_string().replace("Dr. Chen", "Dr.\\u0000Chen");
    let table: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("no JSON", b"{\"id\":".to_vec(), 400, ""),
        ("not UTF-8", b"{\"id\":\"\xff\"}".to_vec(), 400, ""),
        ("NUL bytes", b"{\"id\":\"\0\"}".to_vec(), 400, ""),
        ("no object", b"7".to_vec(), 400, ""),
        ("nothing", Vec::new(), 400, ""),
        ("NUL escaped", nul.into_bytes(), 422, "data.practitioner"),
        ("unknown field", with("colour", json!("red")).into_bytes(), 422, "colour"),
        ("no source", no_source.to_string().into_bytes(), 422, "source"),
        ("unknown source", with("source", json!("nobody")).into_bytes(), 422, "source"),
        ("unknown template", with("template", json!("nothing")).into_bytes(), 422, "template"),
        ("missing variable", with("data", json!({})).into_bytes(), 422, "data.starts_at"),
        (
            "time without offset",
            with("not_before", json!("2026-12-01T10:00:00")).into_bytes(),
            422,
            "not_before",
        ),
        ("expired", with("expires_at", json!("2020-01-01T00:00:00Z")).into_bytes(), 422, "expires_at"),
        ("unknown site", with("site", json!("elsewhere")).into_bytes(), 422, "site"),
        ("wrong purpose", with("purpose", json!("billing")).into_bytes(), 422, "purpose"),
        ("too urgent", with("priority", json!("urgent")).into_bytes(), 422, "priority"),
        ("inline patient", with("patient", json!({"id": "P1"})).into_bytes(), 422, "patient"),
        ("an array that is none", b"[{\"id\":1},".to_vec(), 400, ""),
        ("more than 256 KiB", with("about", json!("x".repeat(300_000))).into_bytes(), 413, "-"),
    ];
    for (what, body, status, field) in table {
        let answer = api.post_raw("/v1/jobs", "application/json", body).await;
        let problem = answer.problem(status);
        let fields: Vec<&str> =
            problem["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
        assert!(field == "-" || fields.contains(&field), "{what}: {problem}");
    }
    // All at once, not one after the other.
    let mut bad = job("j1", "P1");
    bad["template"] = json!(7);
    bad["site"] = json!("No Site");
    bad["channels"] = json!(["pigeon"]);
    let problem = api.post("/v1/jobs", &bad).await.problem(422);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem}");
    let counts = api.worker.store.counts().await.unwrap();
    assert!(
        counts.messages.is_empty() && counts.parked == 0,
        "whoever waits for the answer is told directly"
    );
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_methods_and_types_that_are_not_there() {
    let api = Api::open("", "").await;
    api.get("/v1/nothing").await.problem(404);
    api.get("/nothing").await.problem(404);
    let wrong = api.delete("/v1/jobs").await;
    wrong.problem(405);
    assert_eq!(wrong.headers["allow"], "POST");
    assert_eq!(api.post("/v1/messages", &json!({})).await.headers["allow"], "GET, HEAD");
    for media in ["text/plain", "application/jsonp", "application/json; charset=latin1", "nonsense"] {
        api.post_raw("/v1/jobs", media, "{}").await.problem(415);
    }
    let bare = api.request(&Method::POST, "/v1/jobs").body("{}");
    send(bare).await.problem(415);
    let packed = api.request(&Method::POST, "/v1/jobs").header("content-encoding", "gzip").json(&json!({}));
    send(packed).await.problem(415);
    api.post_raw("/v1/jobs", "Application/JSON; Charset=\"UTF-8\"", "{}").await.problem(422);
    // A form of any page on the web could send this one.
    send(api.request(&Method::POST, "/v1/messages/x/cancel")).await.problem(415);
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_repeats_what_was_sent() {
    let api = Api::open("", "").await;
    let whole = json!({"id": "j1", "source": "lakeside-ehr", "patient_id": "P1", "template": "appointment-reminder",
        "about": "x", "replaces": "x", "site": "x", "purpose": "x", "priority": "x", "channels": ["x"],
        "not_before": "x", "expires_at": "x", "test": "x", "campaign_id": "x", "override_reason": 1,
        "data": {"starts_at": "x", "practitioner": 1, "more": "x"}, "patient": {"id": "x", "name": {"given": 1},
        "birth_date": "x", "language": "x", "timezone": "x", "contacts": [{"channel": "sms", "address": "x"}],
        "consents": [{"purpose": "x", "at": "x"}], "proxies": [{"authority": "x"}]}});
    let poisoned = whole.to_string().replace("\"x\"", &format!("\"{CANARY}\""));
    let unknown_name = json!({CANARY: CANARY}).to_string();
    let cut = poisoned[..poisoned.len() - 9].to_owned();
    let bodies = [
        poisoned.as_str(),
        unknown_name.as_str(),
        cut.as_str(),
        &format!("[{poisoned},\"{CANARY}\"]"),
        CANARY,
    ];
    let mut answers = Vec::new();
    let posts = [
        "/v1/jobs",
        "/v1/jobs/cancel",
        "/v1/messages/lookup",
        "/v1/holds",
        "/v1/dead/replay",
        "/v1/callbacks/retry",
        "/v1/patients/P1/merge",
        "/v1/templates/appointment-reminder/preview",
        "/v1/templates/appointment-reminder/sign-off",
        "/v1/templates/appointment-reminder/take-back",
    ];
    for body in bodies {
        for path in posts {
            answers.push(api.post_raw(path, "application/json", body.to_owned()).await);
        }
        let put = api.request(&Method::PUT, "/v1/patients/P1").header("content-type", "application/json");
        answers.push(send(put.body(body.to_owned())).await);
        for media in ["text/csv", "application/x-ndjson"] {
            answers.push(api.post_raw("/v1/patients/import", media, body.to_owned()).await);
        }
    }
    let csv = format!("id,phone,email,birth_date,{CANARY}\n{CANARY},{CANARY},{CANARY},{CANARY},{CANARY}\n");
    answers.push(api.post_raw("/v1/patients/import", "text/csv", csv).await);
    let csv = format!("id,phone,email,birth_date\n{CANARY},{CANARY},{CANARY},{CANARY}\n");
    answers.push(api.post_raw("/v1/patients/import", "text/csv", csv).await);
    let encoded = CANARY.replace(' ', "%20").replace('+', "%2B");
    for path in [
        "/v1/messages/",
        "/v1/patients/",
        "/v1/messages?source=",
        "/v1/messages?cursor=",
        "/v1/dead?reason=",
        "/v1/messages?limit=",
        "/v1/messages?",
        "/nothing/",
    ] {
        answers.push(api.get(&format!("{path}{encoded}")).await);
    }
    let token = api.request(&Method::GET, "/v1/holds").header("authorization", format!("Bearer {CANARY}"));
    answers.push(send(token).await);
    for answer in &answers {
        assert!(answer.status.is_client_error() || answer.status.as_u16() == 200, "{answer:?}");
        for piece in ["Zebulon", "Quxley", "15550199", "canary.example"] {
            assert!(!answer.text.contains(piece), "{piece} came back: {answer:?}");
        }
    }
    assert!(answers.iter().filter(|a| a.status.is_client_error()).count() > 40, "they were refused");
    api.close().await;
}
