//! What providers post, as they post it.

use std::time::SystemTime;

use outreachd::config::callback::SigningKey;
use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Answer, Api, send};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A relay that reports by webhook, and as SES does.
pub(super) const RELAY: &str = r#"
    [safety]
    mode = "allow_list"
    allow = ["ana@example.org"]
    [[provider]]
    name = "mail"
    kind = "smtp"
    host = "127.0.0.1"
    port = 1
    tls = "none"
    from = "Lakeside Health <clinic@lakeside.example>"
    baa = true
    webhook_secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    ses_topic = "arn:aws:sns:us-east-1:123456789012:ses-events"
"#;

/// Posts what the relay has signed.
async fn report(api: &Api, media: &str, report: &Value) -> Answer {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (now, body) = (i64::try_from(now).unwrap(), report.to_string());
    let signature = SigningKey::parse(SECRET).unwrap().sign("r1", now, body.as_bytes()).unwrap();
    let request = api.request(&Method::POST, "/webhooks/mail").header("content-type", media);
    let request = request.header("webhook-id", "r1").header("webhook-timestamp", now.to_string());
    send(request.header("webhook-signature", signature).body(body)).await
}

fn delivered() -> Value {
    json!({ "send_key": format!("{}-0", "0196f3c0".repeat(4)), "status": "delivered" })
}

/// SNS calls its JSON text.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_may_be_called_text() {
    let api = Api::open("", RELAY).await;
    report(&api, "application/json", &delivered()).await.expect(204);
    report(&api, "text/plain; charset=UTF-8", &delivered()).await.expect(204);
    report(&api, "text/csv", &delivered()).await.problem(415);
    // What SNS has signed for another topic: it is read, and refused by what it says.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/provider/smtp/ses/signed.json");
    let signed: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let envelope = signed["messages"]["another_topic_2"].to_string();
    let request = api.request(&Method::POST, "/webhooks/mail");
    let request = request.header("content-type", "text/plain; charset=UTF-8");
    send(request.header("x-amz-sns-message-type", "Notification").body(envelope)).await.problem(403);
    api.close().await;
}

/// SendGrid posts up to 768 KiB at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_batch_fits() {
    let api = Api::open("", RELAY).await;
    let mut large = delivered();
    large["more"] = json!("x".repeat(768 << 10));
    report(&api, "application/json", &large).await.expect(204);
    api.close().await;
}
