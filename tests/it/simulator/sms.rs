//! SMS: what Twilio Messages answers, and the receipts that follow.

use outreachd::simulator::{NumberRule, Receipts, SimulatorConfig, SmsEnd};
use serde_json::Value;

use super::{PATIENT, SENDER, Webhooks, client, look_up, send, start};

const ATTEMPT: &str = "0192e4a0-0000-7000-8000-000000000001";

#[tokio::test]
async fn a_message_is_taken_and_its_receipts_come_signed_and_in_order() {
    let simulator = start(SimulatorConfig::default()).await;
    let mut webhooks = Webhooks::start("").await;
    let callback = format!("{}/webhooks/twilio-main?attempt={ATTEMPT}", webhooks.url);

    let text = "Hola Ana, su cita es el martes. Responda STOP para no recibir más.";
    let fields = [("To", PATIENT), ("From", SENDER), ("Body", text), ("StatusCallback", &callback)];
    let response = send(&simulator, &fields).await.unwrap();

    assert_eq!(response.status(), 201);
    let message: Value = response.json().await.unwrap();
    let sid = message["sid"].as_str().unwrap();
    assert!(sid.len() == 34 && sid.starts_with("SM"), "{sid}");
    assert!(sid.bytes().skip(2).all(|b| b.is_ascii_hexdigit()), "{sid}");
    assert_eq!(message["status"], "queued");
    assert_eq!(message["num_segments"], "1");
    assert_eq!(message["body"], text);
    assert_eq!(message["price"], Value::Null);
    assert_eq!(message["uri"].as_str().unwrap().rsplit('/').next().unwrap(), format!("{sid}.json"));

    let key = simulator.config().twilio.auth_token.expose().to_owned();
    for status in ["sent", "delivered"] {
        let receipt = webhooks.next().await;
        assert_eq!(receipt.get("MessageStatus"), status);
        assert_eq!(receipt.get("MessageSid"), sid);
        assert_eq!(receipt.get("To"), PATIENT);
        assert!(receipt.is_signed_for(&callback, &key), "the signature must cover the URL as given");
        assert!(!receipt.is_signed_for(&callback, "another key"));
    }
    let found = look_up(&simulator, "/Messages.json?To=%2B13125550142&PageSize=5").await;
    assert_eq!(found["messages"][0]["sid"], sid);
    assert_eq!(found["messages"][0]["status"], "delivered");
    assert_eq!(
        look_up(&simulator, "/Messages.json?To=%2B13125550199").await["messages"],
        serde_json::json!([])
    );
    assert_eq!(look_up(&simulator, &format!("/Messages/{sid}.json")).await["sid"], sid);
    assert_eq!(look_up(&simulator, ".json").await["status"], "active");

    let hits = simulator.hits();
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].attempt.unwrap().as_str(), ATTEMPT);
    assert!(hits[0].taken);
    assert_eq!(simulator.recent(10)[0].body.expose(), text);
}

#[tokio::test]
async fn what_twilio_would_refuse_is_refused_with_its_code() {
    let landline = NumberRule { refuse: Some(21635), ..NumberRule::default() };
    let numbers = [(outreachd::domain::phi::Phi::new("+442071838750"), landline)].into();
    let simulator = start(SimulatorConfig { numbers, ..SimulatorConfig::default() }).await;
    let long = "x".repeat(1_601);
    for (to, from, body, code) in [
        ("", SENDER, "Hi", 21604),
        (PATIENT, "", "Hi", 21603),
        (PATIENT, SENDER, "", 21602),
        ("555-0142", SENDER, "Hi", 21211),
        ("+15005550004", SENDER, "Hi", 21610),
        ("+442071838750", SENDER, "Hi", 21635),
        (PATIENT, "+15005550007", "Hi", 21606),
        (PATIENT, SENDER, &*long, 21617),
    ] {
        let response = send(&simulator, &[("To", to), ("From", from), ("Body", body)]).await.unwrap();
        assert_eq!(response.status(), 400, "{code}");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["code"], code);
        assert_eq!(error["status"], 400);
    }
    let account = &simulator.config().twilio.account_sid;
    let stranger = client()
        .post(format!("{}/2010-04-01/Accounts/{account}/Messages.json", simulator.twilio_url()))
        .basic_auth(account, Some("guessed"))
        .form(&[("To", PATIENT), ("From", SENDER), ("Body", "Hi")])
        .send()
        .await
        .unwrap();
    assert_eq!(stranger.status(), 401);
    assert_eq!(stranger.json::<Value>().await.unwrap()["code"], 20003);

    let stats = simulator.stats().of(outreachd::simulator::ProviderKind::TwilioSms);
    assert_eq!((stats.hits, stats.rejected, stats.taken), (9, 9, 0));
}

#[tokio::test]
async fn receipts_may_lie_and_repeat_while_a_look_up_tells_the_truth() {
    let receipts = Receipts { lying: 1.0, repeated: 1.0, ..Receipts::default() };
    let rule =
        NumberRule { sms: Some(SmsEnd::Undelivered), error_code: Some(30005), ..NumberRule::default() };
    let numbers = [(outreachd::domain::phi::Phi::new(PATIENT), rule)].into();
    let simulator = start(SimulatorConfig { receipts, numbers, ..SimulatorConfig::default() }).await;
    let mut webhooks = Webhooks::start("").await;
    let callback = format!("{}/r", webhooks.url);

    let fields = [("To", PATIENT), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", &callback)];
    send(&simulator, &fields).await.unwrap();

    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(webhooks.next().await.get("MessageStatus").to_owned());
    }
    told.sort();
    assert_eq!(told, ["delivered", "delivered", "sent", "sent"]);
    let truth = look_up(&simulator, "/Messages.json").await;
    assert_eq!(truth["messages"][0]["status"], "undelivered");
    assert_eq!(truth["messages"][0]["error_code"], 30005);
}

#[tokio::test]
async fn receipts_never_leave_this_machine() {
    let simulator = start(SimulatorConfig::default()).await;
    let public = "https://outreach.example.org/webhooks/sms";
    let fields = [("To", PATIENT), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", public)];
    assert_eq!(send(&simulator, &fields).await.unwrap().status(), 201);
    assert_eq!(simulator.stats().receipts.refused, 1);
    assert_eq!(simulator.stats().receipts.pending, 0);
}

#[tokio::test]
async fn a_public_callback_can_be_brought_to_a_local_worker_signed_as_given() {
    let mut webhooks = Webhooks::start("").await;
    let receipts = Receipts { deliver_to: Some(webhooks.url.clone()), ..Receipts::default() };
    let simulator = start(SimulatorConfig { receipts, ..SimulatorConfig::default() }).await;
    let public = "https://outreach.example.org/webhooks/sms?attempt=a-1";
    let fields = [("To", PATIENT), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", public)];
    send(&simulator, &fields).await.unwrap();

    let receipt = webhooks.next().await;
    assert_eq!(receipt.target, "/webhooks/sms?attempt=a-1");
    assert!(receipt.is_signed_for(public, simulator.config().twilio.auth_token.expose()));
}

#[tokio::test]
async fn a_refused_receipt_is_brought_again_and_known_as_the_same() {
    let receipts = Receipts { retries: Some(1), retry_ms: 1, sent_ms: 0, silent: 1.0, ..Receipts::default() };
    let simulator = start(SimulatorConfig { receipts, ..SimulatorConfig::default() }).await;
    let mut webhooks = Webhooks::start_refusing(1, "").await;
    let callback = format!("{}/r", webhooks.url);
    let fields = [("To", PATIENT), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", &callback)];
    send(&simulator, &fields).await.unwrap();

    let (first, second) = (webhooks.next().await, webhooks.next().await);
    assert!(!first.token.is_empty());
    assert_eq!(first.token, second.token);
    assert_eq!(first.fields, second.fields);
    let stats = simulator.shutdown().await.unwrap().receipts;
    assert_eq!(stats.failed, 0);
}

#[tokio::test]
async fn too_many_waiting_receipts_are_dropped_and_counted() {
    let receipts = Receipts { max_pending: 3, sent_ms: 60_000, final_ms: 60_000, ..Receipts::default() };
    let simulator = start(SimulatorConfig { receipts, ..SimulatorConfig::default() }).await;
    let callback = "http://127.0.0.1:9/r";
    for _ in 0..3 {
        let fields = [("To", PATIENT), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", callback)];
        send(&simulator, &fields).await.unwrap();
    }
    let stats = simulator.stats().receipts;
    assert_eq!((stats.pending, stats.dropped), (3, 3));
}
