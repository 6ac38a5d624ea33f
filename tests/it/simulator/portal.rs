//! The portal: tokens for a signed assertion used once, and a Communication created once.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use outreachd::simulator::{FhirServer, ProviderKind, Simulator, SimulatorConfig};
use serde_json::{Value, json};

use super::{client, start};
use crate::support::measure::repeats_by_send_key;

/// Made for this test; it opens nothing.
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDAwBfIQB5wBApfii1EM
hKqWUyFmUJRo9zHPwugjAvl/qgCqAYbIaTdceUm2+vhz9f2hZANiAAQIjxoU2eOn
HfRYOSsAOHby3dQ0HP4kq/Noqb/oN/ZgTe8sre+sOnYn9bikZYCfohG332be+vWa
CFbPVW0SO6GlekivFHxP57Rrnt5LJtq4HdHXov/1c0LiREf5+r3SH/o=
-----END PRIVATE KEY-----
";
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAECI8aFNnjpx30WDkrADh28t3UNBz+JKvz
aKm/6Df2YE3vLK3vrDp2J/W4pGWAn6IRt99m3vr1mghWz1VtEjuhpXpIrxR8T+e0
a57eSybauB3R16L/9XNC4kRH+fq90h/6
-----END PUBLIC KEY-----
";

async fn portal() -> Simulator {
    let fhir = FhirServer {
        client_id: Some("outreach".to_owned()),
        public_key_pem: Some(PUBLIC_KEY.to_owned()),
        ..FhirServer::default()
    };
    start(SimulatorConfig { fhir, ..SimulatorConfig::default() }).await
}

/// Good claims, which a test may spoil.
fn claims(simulator: &Simulator, jti: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({ "iss": "outreach", "sub": "outreach", "aud": simulator.token_url(), "exp": now + 240, "jti": jti })
}

fn sign(claims: &Value) -> String {
    let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::ES384) };
    encode(&header, claims, &EncodingKey::from_ec_pem(PRIVATE_KEY.as_bytes()).unwrap()).unwrap()
}

async fn ask_token(simulator: &Simulator, assertion: &str) -> (u16, Value) {
    let response = client()
        .post(simulator.token_url())
        .form(&[
            ("grant_type", "client_credentials"),
            ("scope", "system/Communication.cru"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
        ])
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn token(simulator: &Simulator, jti: &str) -> String {
    let (status, body) = ask_token(simulator, &sign(&claims(simulator, jti))).await;
    assert_eq!(status, 200, "{body}");
    body["access_token"].as_str().unwrap().to_owned()
}

fn communication(key: &str) -> Value {
    json!({
        "resourceType": "Communication", "status": "completed",
        "identifier": [{ "system": "urn:outreachd:send-key", "value": key }],
        "recipient": [{ "reference": "Patient/42" }],
        "payload": [{ "contentString": "Your results are ready." }],
    })
}

async fn create(simulator: &Simulator, token: &str, key: &str) -> reqwest::Response {
    client()
        .post(format!("{}/Communication", simulator.fhir_url()))
        .bearer_auth(token)
        .header("content-type", "application/fhir+json")
        .header("if-none-exist", format!("identifier=urn:outreachd:send-key|{key}"))
        .body(communication(key).to_string())
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_communication_is_created_once_however_often_it_is_posted() {
    let simulator = portal().await;
    let found: Value = client()
        .get(format!("{}/.well-known/smart-configuration", simulator.fhir_url()))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(found["token_endpoint"], simulator.token_url());
    let token = token(&simulator, "j1").await;

    let first = create(&simulator, &token, "k-0").await;
    assert_eq!(first.status(), 201);
    let location = first.headers()["location"].to_str().unwrap().to_owned();
    let again = create(&simulator, &token, "k-0").await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.headers()["location"], location);

    let posts = (0..20).map(|_| create(&simulator, &token, "k-1"));
    let statuses: Vec<u16> =
        futures_util::future::join_all(posts).await.iter().map(|r| r.status().as_u16()).collect();
    assert_eq!(statuses.iter().filter(|s| **s == 201).count(), 1, "{statuses:?}");

    let bundle: Value = client()
        .get(format!("{}/Communication", simulator.fhir_url()))
        .query(&[("identifier", "urn:outreachd:send-key|k-1")])
        .bearer_auth(&token)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!((bundle["type"].as_str(), bundle["total"].as_u64()), (Some("searchset"), Some(1)));
    // Deduplicated on the shelf, never in the log.
    assert_eq!(simulator.stats().of(ProviderKind::FhirPortal).hits, 22);
    let repeats = repeats_by_send_key(&simulator.hits());
    assert_eq!((repeats.keys, repeats.extra()), (2, 20));
}

#[tokio::test]
async fn an_assertion_serves_once_and_must_be_whole() {
    let simulator = portal().await;
    let good = sign(&claims(&simulator, "once"));
    assert_eq!(ask_token(&simulator, &good).await.0, 200);
    let (status, error) = ask_token(&simulator, &good).await;
    assert_eq!((status, error["error"].as_str()), (401, Some("invalid_client")));
    assert!(error["error_description"].as_str().unwrap().contains("jti"), "{error}");

    let spoiled: [(&str, Value); 7] = [
        ("iss", json!("somebody")),
        ("sub", json!("somebody")),
        ("aud", json!("https://elsewhere.example.org/token")),
        ("exp", json!(claims(&simulator, "")["exp"].as_u64().unwrap() + 600)),
        ("exp", json!(1_700_000_000)),
        ("jti", json!("")),
        ("jti", Value::Null),
    ];
    for (number, (claim, value)) in spoiled.into_iter().enumerate() {
        let mut claims = claims(&simulator, &format!("bad-{number}"));
        claims[claim] = value;
        assert_eq!(ask_token(&simulator, &sign(&claims)).await.0, 401, "{claims}");
    }
    // Another's signature under good claims.
    let (head, _) = good.rsplit_once('.').unwrap();
    let other = sign(&claims(&simulator, "other"));
    let forged = format!("{head}.{}", other.rsplit_once('.').unwrap().1);
    assert_eq!(ask_token(&simulator, &forged).await.0, 401);
    assert_eq!(ask_token(&simulator, "not a token").await.0, 401);
}

#[tokio::test]
async fn only_a_live_token_creates() {
    let simulator = portal().await;
    assert_eq!(create(&simulator, "made-up", "k-0").await.status(), 401);
    let token = token(&simulator, "j1").await;
    assert_eq!(create(&simulator, &token, "k-0").await.status(), 201);
    simulator.revoke_tokens();
    assert_eq!(create(&simulator, &token, "k-1").await.status(), 401);
    assert_eq!(simulator.stats().of(ProviderKind::FhirPortal).taken, 1);
}

#[tokio::test]
async fn what_is_no_communication_is_refused() {
    let simulator = portal().await;
    let token = token(&simulator, "j1").await;
    for (body, condition, status) in [
        ("{", "identifier=a|b", 400),
        (r#"{"resourceType":"Patient"}"#, "identifier=a|b", 400),
        (r#"{"resourceType":"Communication","status":"sent"}"#, "identifier=a|b", 422),
        (r#"{"resourceType":"Communication","status":"completed"}"#, "patient=1", 412),
    ] {
        let response = client()
            .post(format!("{}/Communication", simulator.fhir_url()))
            .bearer_auth(&token)
            .header("if-none-exist", condition)
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{body}");
        assert_eq!(response.json::<Value>().await.unwrap()["resourceType"], "OperationOutcome");
    }
}
