//! Voice: how a call goes, told in callbacks.

use std::time::Duration;

use outreachd::domain::phi::Phi;
use outreachd::simulator::{CallEnd, NumberRule, ProviderKind, Simulator, SimulatorConfig};
use serde_json::Value;

use super::{PATIENT, SENDER, Webhooks, look_up, post, start};

const EVENTS: [(&str, &str); 4] = [
    ("StatusCallbackEvent", "initiated"),
    ("StatusCallbackEvent", "ringing"),
    ("StatusCallbackEvent", "answered"),
    ("StatusCallbackEvent", "completed"),
];

fn with_rule(rule: NumberRule) -> SimulatorConfig {
    SimulatorConfig { numbers: [(Phi::new(PATIENT), rule)].into(), ..SimulatorConfig::default() }
}

#[tokio::test]
async fn a_person_answers_and_presses_a_key() {
    let simulator =
        start(with_rule(NumberRule { keys: Some("19".to_owned()), ..NumberRule::default() })).await;
    let mut webhooks = Webhooks::start("<Response><Say>Thank you</Say><Hangup/></Response>").await;
    let status = format!("{}/status?attempt=a-7", webhooks.url);
    let twiml = format!(
        r#"<Response><Gather numDigits="1" action="{}/keys?m=1&amp;n=2"><Say>Press 1</Say></Gather></Response>"#,
        webhooks.url
    );
    let mut fields =
        vec![("To", PATIENT), ("From", SENDER), ("Twiml", &*twiml), ("StatusCallback", &*status)];
    fields.extend([("MachineDetection", "Enable")]);
    fields.extend(EVENTS);
    let response = post(&simulator, "Calls", &fields).await.unwrap();
    assert_eq!(response.status(), 201);
    let call: Value = response.json().await.unwrap();
    assert!(call["sid"].as_str().unwrap().starts_with("CA"));
    assert_eq!(call["status"], "queued");

    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(webhooks.next().await);
    }
    let keys = told.iter().position(|c| c.target.starts_with("/keys")).map(|at| told.remove(at)).unwrap();
    assert_eq!(keys.target, "/keys?m=1&n=2");
    assert_eq!((keys.get("Digits"), keys.get("CallSid")), ("1", call["sid"].as_str().unwrap()));
    let url = format!("{}/keys?m=1&n=2", webhooks.url);
    assert!(keys.is_signed_for(&url, simulator.config().twilio.auth_token.expose()));
    // The answer asked for no second key, so the 9 was never pressed.

    told.sort_by_key(|c| c.get("SequenceNumber").parse::<u32>().unwrap());
    let statuses: Vec<&str> = told.iter().map(|c| c.get("CallStatus")).collect();
    assert_eq!(statuses, ["initiated", "ringing", "in-progress", "completed"]);
    assert_eq!(told[3].get("AnsweredBy"), "human");
    assert_eq!(simulator.hits()[0].attempt.unwrap().as_str(), "a-7");
    // A look-up answers by the plan of the call, in which both keys were pressed.
    let ended = async {
        while look_up(&simulator, "/Calls.json?To=%2B13125550142").await["calls"][0]["status"] != "completed"
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("it ends");
}

#[tokio::test]
async fn a_machine_is_told_and_the_text_may_be_fetched_for_it() {
    let simulator =
        start(with_rule(NumberRule { call: Some(CallEnd::Machine), ..NumberRule::default() })).await;
    let mut webhooks = Webhooks::start("<Response><Say>Message</Say></Response>").await;
    let (url, status) = (format!("{}/twiml", webhooks.url), format!("{}/status", webhooks.url));
    let fields = [
        ("To", PATIENT),
        ("From", SENDER),
        ("Url", &*url),
        ("StatusCallback", &*status),
        ("MachineDetection", "DetectMessageEnd"),
    ];
    assert_eq!(post(&simulator, "Calls", &fields).await.unwrap().status(), 201);

    let asked = webhooks.next().await;
    assert_eq!((&*asked.target, asked.get("AnsweredBy")), ("/twiml", "machine_end_beep"));
    let over = webhooks.next().await;
    // Without StatusCallbackEvent only the end is told.
    assert_eq!((&*over.target, over.get("CallStatus")), ("/status", "completed"));
    assert_eq!(over.get("AnsweredBy"), "machine_end_beep");
}

/// Asks for other words in a call, or for its end; gives the status, and Twilio's code where it refuses.
async fn change(simulator: &Simulator, sid: &str, fields: &[(&str, &str)]) -> (u16, Option<u64>) {
    let answer = post(simulator, &format!("Calls/{sid}"), fields).await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json::<Value>().await.unwrap()["code"].as_u64())
}

#[tokio::test]
async fn a_call_is_given_other_words_only_while_it_goes_on() {
    let mut config = SimulatorConfig::default();
    config.calls.ring_ms = 60_000;
    let simulator = start(config).await;
    let fields = [("To", PATIENT), ("From", SENDER), ("Twiml", "<Response/>")];
    let call: Value = post(&simulator, "Calls", &fields).await.unwrap().json().await.unwrap();
    let sid = call["sid"].as_str().unwrap();
    assert_eq!(change(&simulator, sid, &[("Twiml", "<Response/>")]).await, (200, None));
    assert_eq!(change(&simulator, sid, &[("Status", "completed")]).await, (200, None));
    assert_eq!(change(&simulator, sid, &[("Method", "POST")]).await, (400, Some(21205)));
    assert_eq!(change(&simulator, "CA0", &[("Status", "completed")]).await, (404, Some(20404)));

    let busy = start(with_rule(NumberRule { call: Some(CallEnd::Busy), ..NumberRule::default() })).await;
    let call: Value = post(&busy, "Calls", &fields).await.unwrap().json().await.unwrap();
    let sid = call["sid"].as_str().unwrap();
    let over = async {
        while look_up(&busy, &format!("/Calls/{sid}.json")).await["status"] != "busy" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), over).await.expect("it ends");
    assert_eq!(change(&busy, sid, &[("Twiml", "<Response/>")]).await, (400, Some(21220)));
}

#[tokio::test]
async fn calls_that_nobody_answers_end_with_their_word() {
    for (end, word) in
        [(CallEnd::Busy, "busy"), (CallEnd::NoAnswer, "no-answer"), (CallEnd::Failed, "failed")]
    {
        let simulator = start(with_rule(NumberRule { call: Some(end), ..NumberRule::default() })).await;
        let mut webhooks = Webhooks::start("").await;
        let status = format!("{}/status", webhooks.url);
        let fields =
            [("To", PATIENT), ("From", SENDER), ("Twiml", "<Response/>"), ("StatusCallback", &*status)];
        post(&simulator, "Calls", &fields).await.unwrap();
        let over = webhooks.next().await;
        assert_eq!(
            (over.get("CallStatus"), over.get("AnsweredBy"), over.get("CallDuration")),
            (word, "", "0")
        );
    }
}

#[tokio::test]
async fn more_calls_than_lines_are_refused_with_429() {
    let mut config = SimulatorConfig::default();
    config.calls.max_under_way = 1;
    config.calls.ring_ms = 60_000;
    let simulator = start(config).await;
    let fields = [("To", PATIENT), ("From", SENDER), ("Twiml", "<Response/>")];
    assert_eq!(post(&simulator, "Calls", &fields).await.unwrap().status(), 201);
    assert_eq!(post(&simulator, "Calls", &fields).await.unwrap().status(), 429);
    let no_text = post(&simulator, "Calls", &[("To", PATIENT), ("From", SENDER)]).await.unwrap();
    assert_eq!(no_text.status(), 400);
    let stats = simulator.stats().of(ProviderKind::TwilioVoice);
    assert_eq!((stats.hits, stats.taken, stats.throttled, stats.rejected), (3, 1, 1, 1));
    // The ringing call must not hold up the end.
    simulator.shutdown().await.unwrap();
}
