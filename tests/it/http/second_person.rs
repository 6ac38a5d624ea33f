//! Emergencies for many: whoever asked does not let them go.

use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::json;

use super::api::{Answer, Api, send};

/// A template for emergencies beside the product's.
fn templates(dir: &Path) {
    let product = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let storm = dir.join("storm");
    assert!(Command::new("cp").arg("-r").arg(product.join("_partials")).arg(dir).status().unwrap().success());
    assert!(Command::new("cp").arg("-r").arg(product.join("_layouts")).arg(dir).status().unwrap().success());
    let copied = Command::new("cp").arg("-r").arg(product.join("preferences-changed")).arg(&storm).status();
    assert!(copied.unwrap().success());
    let text = std::fs::read_to_string(storm.join("template.toml")).unwrap();
    let text = text.replace("purposes = [\"care\"]", "purposes = [\"emergency\"]");
    std::fs::write(storm.join("template.toml"), text).unwrap();
}

fn token(who: &str) -> String {
    format!("token-of-{who}-0123456789abcdef")
}

async fn release(api: &Api, who: &str, path: &str) -> Answer {
    send(api.request(&Method::DELETE, path).bearer_auth(token(who))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asked_for_an_emergency_for_many_does_not_let_it_go() {
    let dir = tempfile::tempdir().unwrap();
    templates(dir.path());
    let mut more = "[policy]\nsecond_person_above = 1\n".to_owned();
    let tokens = [
        ("nurse", "admin", ""),
        ("doctor", "admin", ""),
        ("machine", "admin", "sources = [\"lakeside-ehr\"]"),
        ("clerk", "jobs:write", ""),
    ];
    for (name, scope, bound) in tokens {
        let token = token(name);
        more += &format!(
            "[[api.tokens]]\nname = \"{name}\"\ntoken = \"{token}\"\nscopes = [\"{scope}\"]\n{bound}\n"
        );
    }
    let api = Api::open_templates("", &more, dir.path()).await;
    for id in ["P1", "P2"] {
        api.patient(id).await;
    }
    let storm = |patient: &str| {
        json!({"id": format!("storm-{patient}"), "source": "lakeside-ehr", "patient_id": patient, "template": "storm",
            "data": {}, "purpose": "emergency", "override_reason": "The clinic is closed by the storm"})
    };
    // Neither who may write jobs may ask for one, nor a source that is not named for it.
    for (who, source, rule) in
        [("clerk", "lakeside-ehr", "do not cover"), ("nurse", "other-ehr", "may not write for it")]
    {
        let mut job = storm("P1");
        job["source"] = json!(source);
        let asking = api.request(&Method::POST, "/v1/templates/storm/send").bearer_auth(token(who));
        job.as_object_mut().unwrap().remove("template");
        let refused = send(asking.json(&job)).await;
        let problem = refused.problem(422);
        assert!(problem.to_string().contains(rule), "{problem}");
    }
    // A campaign gives no reason for each of them.
    let all = json!({"id": "all", "source": "lakeside-ehr", "template": "storm"});
    let refused =
        send(api.request(&Method::POST, "/v1/campaigns").bearer_auth(token("nurse")).json(&all)).await;
    assert_eq!(refused.problem(422)["errors"][0]["field"], "purpose");
    // Of two that are too many the second one is meant for later.
    let mut asked = json!([storm("P1"), storm("P2")]);
    asked[1]["not_before"] =
        json!((jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string());
    let asking = api.request(&Method::POST, "/v1/jobs").bearer_auth(token("nurse")).json(&asked);
    let told = send(asking).await.expect(200);
    let ids: Vec<&str> =
        told.as_array().unwrap().iter().map(|item| item["message_id"].as_str().unwrap()).collect();
    for id in &ids {
        assert_eq!(api.until(id, "held").await["reason"], "awaiting_approval");
    }
    let listed = api.get("/v1/holds").await.expect(200);
    let hold = &listed["holds"][0];
    assert_eq!((&hold["cause"], &hold["value"]), (&json!("awaiting_approval"), &json!("lakeside-ehr")));
    assert_eq!(hold["asked_by"], json!(["lakeside-ehr", "nurse"]));
    let path = format!("/v1/holds/{}", hold["id"].as_str().unwrap());
    for who in ["nurse", "machine"] {
        release(&api, who, &path).await.problem(403);
    }
    release(&api, "doctor", &path).await.expect(204);
    api.until(ids[0], "sent").await;
    api.until(ids[1], "scheduled").await;
    api.close().await;
}

/// Whoever repairs a body has the rights of their own, not those of whom it came from.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_gives_no_rights() {
    let dir = tempfile::tempdir().unwrap();
    templates(dir.path());
    let mut more = String::new();
    for (name, scopes) in [("desk", &["messages:write"][..]), ("doctor", &["admin"])] {
        let token = token(name);
        more += &format!("[[api.tokens]]\nname = \"{name}\"\ntoken = \"{token}\"\nscopes = {scopes:?}\n");
    }
    let api = Api::open_templates("", &more, dir.path()).await;
    api.patient("P1").await;
    let park = async |key: &str| {
        let id = uuid::Uuid::now_v7();
        api.sql(format!(
            "INSERT INTO parked (id, reason, field, problems, source, origin, routing_key, body, body_hash) VALUES
             ('{id}', 'malformed', 'id', '[]', 'lakeside-ehr', '{}', '{key}', '\\x00'::bytea || '{{}}', '{id}')",
            if key == "patient" { "patients" } else { "jobs" }
        ))
        .await;
        format!("/v1/dead/{id}/repair")
    };
    let storm = json!({"id": "storm-1", "patient_id": "P1", "template": "storm", "data": {}, "purpose": "emergency",
        "override_reason": "The clinic is closed by the storm"});
    let record = json!({"id": "P9", "updated_at": "2026-11-28T09:00:00Z"});
    for (key, body) in [("job", storm), ("patient", record)] {
        let path = park(key).await;
        let ask = async |who: &str| {
            let body = json!({"body": body.to_string(), "reason": "the id was missing"});
            send(api.request(&Method::POST, &path).bearer_auth(token(who)).json(&body)).await
        };
        let refused = ask("desk").await;
        let problem = refused.problem(if key == "job" { 422 } else { 403 }).to_string();
        assert!(problem.contains(if key == "job" { "do not cover" } else { "patients:write" }), "{problem}");
        ask("doctor").await.expect(200);
    }
    api.close().await;
}
