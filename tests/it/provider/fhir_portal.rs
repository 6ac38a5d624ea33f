//! A FHIR server with a token end point.

use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA384, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use outreachd::config::provider::{FhirPortalSettings, JwtAlgorithm, ProviderSettings};
use outreachd::config::secret::Secret;
use outreachd::domain::outbound::{Content, FailureKind, OutboundMessage, SendError};
use outreachd::domain::phi::Phi;
use outreachd::provider::registry;
use serde_json::{Value, json};

use super::http_server::{Act, HttpServer, answer, answer_with};
use super::keys::{p384, rsa};
use super::table::{Body, Case, Expect, KEY, check, message, section};

fn settings(url: &str) -> FhirPortalSettings {
    FhirPortalSettings {
        base_url: format!("{url}/fhir/"),
        token_url: Some(format!("{url}/token")),
        client_id: "client-1".to_owned(),
        private_key: Secret::new(&rsa().pem),
        key_id: "key-1".to_owned(),
        scope: "system/Communication.cru".to_owned(),
        algorithm: JwtAlgorithm::Rs384,
        sender: Some("Organization/lakeside".to_owned()),
    }
}

fn portal(url: &str) -> ProviderSettings {
    ProviderSettings::FhirPortal(settings(url))
}

fn discovering(url: &str) -> ProviderSettings {
    ProviderSettings::FhirPortal(FhirPortalSettings { token_url: None, ..settings(url) })
}

fn letter(to: &str) -> OutboundMessage {
    message(to, Content::Portal { subject: Phi::new("Your result"), text: Phi::new("canary-body is fine") })
}

fn token_asked() -> Expect {
    Expect { method: "POST", target: "/token".to_owned(), headers: vec![], body: Body::TokenRequest }
}

fn granted(token: &str) -> Act {
    answer(200, &json!({"access_token": token, "token_type": "bearer", "expires_in": 300}).to_string())
}

fn created() -> Act {
    answer_with(201, ("location", "http://h/fhir/Communication/c-1/_history/1"), "")
}

fn posted(token: &str) -> Expect {
    Expect {
        method: "POST",
        target: "/fhir/Communication".to_owned(),
        headers: vec![
            ("authorization", format!("Bearer {token}")),
            ("content-type", "application/fhir+json".to_owned()),
            ("accept", "application/fhir+json".to_owned()),
            ("if-none-exist", format!("identifier=urn:outreachd:send-key|{KEY}")),
            ("prefer", "return=minimal".to_owned()),
        ],
        body: Body::Communication(json!({
            "resourceType": "Communication",
            "language": "en-US",
            "identifier": [{ "system": "urn:outreachd:send-key", "value": KEY }],
            "status": "completed",
            "category": [{ "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/communication-category", "code": "reminder" }] }],
            "medium": [{ "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationMode", "code": "ONLINEWRIT" }] }],
            "topic": { "text": "Your result" },
            "subject": { "reference": "Patient/canary" },
            "recipient": [{ "reference": "Patient/canary" }],
            "sender": { "reference": "Organization/lakeside" },
            "payload": [{ "contentString": "canary-body is fine" }],
        })),
    }
}

fn row(name: &'static str, act: Act) -> Case {
    Case::new(name, portal)
        .message(letter("Patient/canary"))
        .answered(token_asked(), granted("canary-token"))
        .answered(posted("canary-token"), act)
}

fn outcome(code: &str) -> String {
    let text = "Patient/canary: canary-body";
    json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code, "diagnostics": text}]})
        .to_string()
}

#[tokio::test]
async fn a_message_is_created_once_however_often_it_is_sent() {
    check(vec![
        row("created", created()).accepted(Some("Communication/c-1")),
        row("there already", answer_with(200, ("location", "http://h/fhir/Communication/c-9"), ""))
            .accepted(Some("Communication/c-9")),
        row("there already, and no more said", answer(200, "")).accepted(None),
        row("there more than once", answer(412, &outcome("multiple-matches"))).accepted(None),
        row("the token is kept", created())
            .sent_times(2)
            .answered(posted("canary-token"), answer(200, ""))
            .accepted(None),
        row("a stale token is renewed once", answer(401, &outcome("login")))
            .answered(token_asked(), granted("canary-token-2"))
            .answered(posted("canary-token-2"), created())
            .accepted(Some("Communication/c-1")),
        row("and only once", answer(401, &outcome("login")))
            .answered(token_asked(), granted("canary-token-2"))
            .answered(posted("canary-token-2"), answer(401, ""))
            .fails(FailureKind::Misconfigured, "http_401"),
    ])
    .await;
}

#[tokio::test]
async fn each_refusal_is_read_by_status_and_issue() {
    check(vec![
        row("no such patient", answer(422, &outcome("not-found")))
            .fails(FailureKind::BadAddress, "not-found"),
        row("a deleted patient", answer(400, &outcome("deleted"))).fails(FailureKind::BadAddress, "deleted"),
        row("a rule of theirs", answer(422, &outcome("business-rule")))
            .fails(FailureKind::Rejected, "business-rule"),
        row("a code of their own", answer(422, &outcome("canary-body")))
            .fails(FailureKind::Rejected, "http_422"),
        row("no outcome", answer(400, "canary-body")).fails(FailureKind::Rejected, "http_400"),
        row("may not", answer(403, &outcome("forbidden"))).fails(FailureKind::Misconfigured, "http_403"),
        row("wrong base", answer(404, "")).fails(FailureKind::Misconfigured, "http_404"),
        row("a type that is not there", answer(404, &outcome("not-found")))
            .fails(FailureKind::Misconfigured, "not-found"),
        row("a type that is not supported", answer(404, &outcome("not-supported")))
            .fails(FailureKind::Misconfigured, "not-supported"),
        row("a condition that is not searched by", answer(412, &outcome("not-supported")))
            .fails(FailureKind::Misconfigured, "not-supported"),
        row("a condition, and no more said", answer(412, "")).fails(FailureKind::Misconfigured, "http_412"),
        row("gone", answer(410, &outcome("deleted"))).fails(FailureKind::BadAddress, "deleted"),
        row("gone, and no more said", answer(410, "")).fails(FailureKind::Rejected, "http_410"),
        row("not the patient in the way", answer(409, &outcome("not-found")))
            .fails(FailureKind::BadAddress, "not-found"),
        row("another request in the way", answer(409, &outcome("conflict")))
            .fails(FailureKind::Transient, "conflict"),
        row("and no more said", answer(409, "")).fails(FailureKind::Transient, "http_409"),
        row("a conflict by their rules", answer(409, &outcome("business-rule")))
            .fails(FailureKind::Transient, "business-rule"),
        row("just made by another", answer(422, &outcome("duplicate")))
            .fails(FailureKind::Transient, "duplicate"),
        row("their lock", answer(400, &outcome("lock-error"))).fails(FailureKind::Transient, "lock-error"),
        row("their store", answer(422, &outcome("no-store"))).fails(FailureKind::Transient, "no-store"),
        row("their error", answer(400, &outcome("exception"))).fails(FailureKind::Transient, "exception"),
        row("their time-out", answer(400, &outcome("timeout"))).fails(FailureKind::Transient, "timeout"),
        row("their part only", answer(422, &outcome("incomplete")))
            .fails(FailureKind::Transient, "incomplete"),
        row("for now", answer(422, &outcome("transient"))).fails(FailureKind::Transient, "transient"),
        row("too many", answer(400, &outcome("throttled")))
            .fails(FailureKind::Throttled { retry_after: None }, "throttled"),
        row("too many for a while", answer_with(400, ("retry-after", "3"), &outcome("throttled")))
            .fails(FailureKind::Throttled { retry_after: Some(SignedDuration::from_secs(3)) }, "throttled"),
        row("throttled", answer(429, "")).fails(FailureKind::Throttled { retry_after: None }, "http_429"),
        row("busy", answer(503, "")).fails(FailureKind::Transient, "http_503"),
        row("an error", answer(500, &outcome("exception"))).fails(FailureKind::Ambiguous, "http_500"),
        row("a gateway's time-out", answer(504, "")).fails(FailureKind::Ambiguous, "http_504"),
        row("closed", Act::Close).fails(FailureKind::Ambiguous, "connection_lost"),
        row("stalled", Act::Stall).fails(FailureKind::Ambiguous, "timeout"),
        Case::new("an address that is no reference", portal)
            .message(letter("Patient/canary?x=y"))
            .fails(FailureKind::BadAddress, "reference"),
    ])
    .await;
}

#[tokio::test]
async fn a_token_endpoint_is_asked_to_the_letter() {
    for path in ["/token/", "/oauth2/token?tenant=a", "/Token"] {
        // The same whether it is configured or found.
        let server = HttpServer::start(vec![granted("canary-token"), created()]).await;
        let token_url = Some(format!("{}{path}", server.url));
        let given = FhirPortalSettings { token_url, ..settings(&server.url) };
        let provider = registry::build(&section(ProviderSettings::FhirPortal(given))).unwrap();
        provider.send(&letter("Patient/canary")).await.unwrap();
        let real = HttpServer::start(vec![granted("canary-token")]).await;
        let found = json!({ "token_endpoint": format!("{}{path}", real.url) }).to_string();
        let front = HttpServer::start(vec![answer(200, &found), created()]).await;
        let provider = registry::build(&section(discovering(&front.url))).unwrap();
        provider.send(&letter("Patient/canary")).await.unwrap();
        for server in [server, real] {
            let requests = server.requests();
            assert_eq!(requests[0].target, path);
            let form = requests[0].form();
            let claims = form[3].1.split('.').nth(1).unwrap();
            let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
            assert_eq!(claims["aud"], json!(format!("{}{path}", server.url)));
        }
    }
}

#[tokio::test]
async fn without_a_token_nothing_was_sent() {
    let row =
        |name, act| Case::new(name, portal).message(letter("Patient/canary")).answered(token_asked(), act);
    check(vec![
        row("refused", answer(400, "{\"error\":\"invalid_client\"}"))
            .fails(FailureKind::Misconfigured, "token_refused"),
        row("no token in it", answer(200, "{}")).fails(FailureKind::Misconfigured, "token_answer"),
        row("an error", answer(500, "")).fails(FailureKind::Transient, "http_500"),
        row("throttled", answer(429, "")).fails(FailureKind::Throttled { retry_after: None }, "http_429"),
        row("closed", Act::Close).fails(FailureKind::Transient, "connection_lost"),
        row("stalled", Act::Stall).fails(FailureKind::Transient, "timeout"),
    ])
    .await;
}

#[tokio::test]
async fn a_discovery_that_fails_sent_nothing() {
    let asked = || Expect {
        method: "GET",
        target: "/fhir/.well-known/smart-configuration".to_owned(),
        headers: vec![],
        body: Body::Empty,
    };
    let row =
        |name, act| Case::new(name, discovering).message(letter("Patient/canary")).answered(asked(), act);
    check(vec![
        row("nothing there", answer(404, "")).fails(FailureKind::Misconfigured, "http_404"),
        row("not the document", answer(200, "{}")).fails(FailureKind::Misconfigured, "smart_configuration"),
        row(
            "credentials do not go over plain http",
            answer(200, "{\"token_endpoint\":\"http://evil.example/t\"}"),
        )
        .fails(FailureKind::Misconfigured, "smart_configuration"),
    ])
    .await;
}

#[tokio::test]
async fn an_assertion_is_signed_short_lived_and_never_used_twice() {
    let rs384: &dyn VerificationAlgorithm = &RSA_PKCS1_2048_8192_SHA384;
    let es384: &dyn VerificationAlgorithm = &ECDSA_P384_SHA384_FIXED;
    for (algorithm, pair, name, verifier) in
        [(JwtAlgorithm::Rs384, rsa(), "RS384", rs384), (JwtAlgorithm::Es384, p384(), "ES384", es384)]
    {
        let refused = || answer(503, "");
        let server = HttpServer::start(vec![refused(), refused()]).await;
        let settings =
            FhirPortalSettings { algorithm, private_key: Secret::new(&pair.pem), ..settings(&server.url) };
        let provider = registry::build(&section(ProviderSettings::FhirPortal(settings))).unwrap();
        let mut ids = Vec::new();
        for _ in 0..2 {
            let error = provider.send(&letter("Patient/canary")).await.unwrap_err();
            assert_eq!(error, SendError::new(FailureKind::Transient, "http_503"));
        }
        for request in server.requests() {
            let form = request.form();
            assert_eq!(form[0].1, "client_credentials");
            assert_eq!(form[1].1, "system/Communication.cru");
            assert_eq!(form[2].1, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
            let (signed, signature) = form[3].1.rsplit_once('.').unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            UnparsedPublicKey::new(verifier, &pair.public).verify(signed.as_bytes(), &signature).unwrap();
            let parts: Vec<Value> = signed
                .split('.')
                .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
                .collect();
            assert_eq!(parts[0], json!({"typ": "JWT", "alg": name, "kid": "key-1"}));
            let claims = &parts[1];
            assert_eq!((&claims["iss"], &claims["sub"]), (&json!("client-1"), &json!("client-1")));
            assert_eq!(claims["aud"], json!(format!("{}/token", server.url)));
            let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
            assert!((60..=300).contains(&life), "{life}");
            ids.push(claims["jti"].as_str().unwrap().to_owned());
        }
        assert_eq!(ids.len(), 2);
        assert_ne!(ids[0], ids[1]);
    }
}

#[tokio::test]
async fn many_messages_wait_for_one_token() {
    let mut script = vec![granted("canary-token")];
    script.extend(std::iter::repeat_with(created).take(8));
    let server = HttpServer::start(script).await;
    let provider = registry::build(&section(portal(&server.url))).unwrap();
    let letter = letter("Patient/canary");
    let sends = (0..8).map(|_| provider.send(&letter));
    assert!(futures_util::future::join_all(sends).await.iter().all(Result::is_ok));
    let tokens = server.requests().iter().filter(|request| request.target == "/token").count();
    assert_eq!(tokens, 1);
}

#[tokio::test]
async fn a_server_that_would_not_deduplicate_fails_its_check() {
    let statement = |said: &Value| {
        let mut resource = json!({ "type": "Communication", "pad": "x".repeat(100_000) });
        resource.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        json!({ "rest": [{ "resource": [{ "type": "Patient", "conditionalCreate": false }, resource] }] })
            .to_string()
    };
    let by = |names: &[&str]| {
        let names = names.iter().map(|name| json!({ "name": name, "type": "token" }));
        json!({ "conditionalCreate": true, "searchParam": names.collect::<Vec<_>>() })
    };
    let refused = |code: &str| Err(SendError::new(FailureKind::Misconfigured, code.to_owned()));
    for (said, expected) in [
        (json!({ "conditionalCreate": true }), Ok(())),
        (json!({}), Ok(())),
        (json!({ "conditionalCreate": false }), refused("no_conditional_create")),
        (by(&["patient", "identifier"]), Ok(())),
        (by(&[]), Ok(())),
        (by(&["patient", "sent"]), refused("no_search_by_identifier")),
    ] {
        let server = HttpServer::start(vec![granted("canary-token"), answer(200, &statement(&said))]).await;
        let provider = registry::build(&section(portal(&server.url))).unwrap();
        assert_eq!(provider.check().await, expected, "{said}");
    }
}

#[tokio::test]
async fn a_check_gets_a_token_and_reads_the_metadata() {
    let configuration = |url: &str| json!({ "token_endpoint": format!("{url}/token") }).to_string();
    let statement = "{\"resourceType\":\"CapabilityStatement\"}";
    // The discovery document names the server's own port, which is known only once it runs.
    let real = HttpServer::start(vec![granted("canary-token")]).await;
    let front = HttpServer::start(vec![answer(200, &configuration(&real.url)), answer(200, statement)]).await;
    let provider = registry::build(&section(discovering(&front.url))).unwrap();
    provider.check().await.unwrap();
    let targets: Vec<String> = front.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/fhir/.well-known/smart-configuration", "/fhir/metadata"]);
    assert_eq!(real.requests().len(), 1);
}
