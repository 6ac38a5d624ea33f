//! Keys that are pressed in calls, and calls that come in: signed as Twilio does, answered in its language.

use std::time::{Duration, Instant};

use outreachd::config::replies::StopScope;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::Reason;
use outreachd::simulator::{CallEnd, ProviderKind, SimulatorConfig, twilio_signature};
use outreachd::store::rows::WorkFilter;
use serde_json::{Value, json};

use super::stories::{call, ruled};
use super::{PUBLIC, calling_back, free_address, message, open, with_webhooks};
use crate::support::house::{House, job};

const PHONE: &str = "+13125550142";

async fn post(house: &House, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
    let token = &house.simulator.config().twilio.auth_token;
    let signature = twilio_signature(token.expose(), &format!("{PUBLIC}{path}"), fields);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", house.config.http.listen);
    let answer = client.post(url).header("x-twilio-signature", signature).form(fields).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn keys(house: &House, job: &str) -> Vec<String> {
    let (row, _) = message(house, job).await;
    let events = house.store.events(row.facts.id).await.unwrap();
    events.into_iter().map(|event| event.routing_key).filter(|key| key.starts_with("reply.")).collect()
}

fn taken(house: &House, kind: ProviderKind) -> u64 {
    house.simulator.stats().of(kind).taken
}

fn person(id: &str, contacts: &[(&str, &str)]) -> Value {
    let contacts: Vec<Value> =
        contacts.iter().map(|(channel, address)| json!({"channel": channel, "address": address})).collect();
    json!({
        "id": id, "updated_at": "2026-11-20T08:00:00Z", "language": "es", "preferred_channels": ["voice", "sms"],
        "timezone": "America/Chicago", "contacts": contacts,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_back_is_told_who_calls_and_nine_ends_the_calls() {
    let listen = free_address();
    let house = House::open_with(calling_back(SimulatorConfig::default(), listen), |config| {
        with_webhooks(config, listen);
        // Whatever day it is.
        config.replies.stop_scope = Some(StopScope::Channel);
    })
    .await;
    // Calls need an agreement; somebody else's stays.
    let consent = json!([{ "purpose": "appointment", "channel": "voice", "granted": true, "at": "2026-10-01T12:00:00Z",
        "source": "staff", "by": "u17", "evidence": "form 12" }]);
    let mut both =
        [person("P1", &[("voice", PHONE), ("sms", PHONE)]), person("P2", &[("voice", "+13125550199")])];
    for one in &mut both {
        one["consents"] = consent.clone();
    }
    house.publish("patient.upsert", &both).await;
    house.publish("job", &[job("j1", "P1"), job("j2", "P2")]).await;
    house.until("both called", |_| taken(&house, ProviderKind::TwilioVoice) == 2).await;
    for name in ["j1", "j2"] {
        assert_eq!(message(&house, name).await.1[0].provider.as_str(), "sim-voice");
    }

    // They call back: who we are, in their language, and nothing about them.
    let inbound = [
        ("CallSid", "CA1"),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
        ("From", PHONE),
        ("To", "+13125550100"),
    ];
    let (status, said) = post(&house, "/webhooks/sim-voice", &inbound).await;
    assert_eq!(status, 200, "{said}");
    assert!(
        said.contains("Lakeside Health") && said.contains("oprima el 9") && said.contains("<Gather"),
        "{said}"
    );
    assert!(
        said.contains(&format!("action=\"{PUBLIC}/webhooks/sim-voice/gather?event=stop#rc=5&amp;rp=all\"")),
        "{said}"
    );
    // Asked again, we say it again, and it is on record once.
    assert_eq!(post(&house, "/webhooks/sim-voice", &inbound).await.1, said);
    assert_eq!(keys(&house, "j1").await, ["reply.call.lakeside-ehr"]);
    let hidden = [
        ("CallSid", "CA2"),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
        ("From", "anonymous"),
        ("To", "+13125550100"),
    ];
    assert!(post(&house, "/webhooks/sim-voice", &hidden).await.1.contains("Lakeside Health"));
    let ended = [("CallSid", "CA1"), ("CallStatus", "completed"), ("Direction", "inbound"), ("From", PHONE)];
    assert_eq!(post(&house, "/webhooks/sim-voice", &ended).await.0, 200);

    // Any key but nine is none of ours.
    let pressed = |key: &'static str| [("CallSid", "CA1"), ("From", PHONE), ("Digits", key)];
    let gather = "/webhooks/sim-voice/gather?event=stop";
    assert!(!post(&house, gather, &pressed("1")).await.1.contains("<Say"));
    let (_, said) = post(&house, gather, &pressed("9")).await;
    assert!(said.contains("No recibirá más llamadas"), "{said}");
    house.publish("job", &[job("k1", "P1"), job("k2", "P2")]).await;
    house
        .until("a text and a call", |_| {
            taken(&house, ProviderKind::TwilioVoice) == 3 && taken(&house, ProviderKind::TwilioSms) == 1
        })
        .await;
    assert_eq!(message(&house, "k1").await.1[0].provider.as_str(), "sim-sms", "texts go on");
    assert_eq!(message(&house, "k2").await.1[0].provider.as_str(), "sim-voice", "the others are called");

    // Nine during a call of ours: it was heard, and it is the last one.
    let (row, call) = loop {
        let (row, attempts) = message(&house, "k2").await;
        if let Some(call) = attempts[0].provider_ref.clone() {
            break (row, call);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let own = format!("/webhooks/sim-voice/gather?send_key={}-0&event=key", row.facts.id.0.simple());
    let fields =
        [("CallSid", call.as_str()), ("From", "+13125550100"), ("To", "+13125550199"), ("Digits", "9")];
    let (status, said) = post(&house, &own, &fields).await;
    assert!(status == 200 && said.contains("No recibirá más llamadas"), "{said}");
    assert_eq!(message(&house, "k2").await.0.status, MessageStatus::Read);
    assert_eq!(keys(&house, "k2").await, ["reply.stop.lakeside-ehr"]);
    house.publish("job", &[job("l2", "P2")]).await;
    house.until_status(MessageStatus::Suppressed, 1).await;
    assert_eq!(message(&house, "l2").await.0.reason, Some(Reason::OptedOut));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_asks_is_answered_by_a_key_and_another_key_has_it_said_again() {
    let [books, declines, mispresses, silent] =
        ["+13125550101", "+13125550102", "+13125550103", "+13125550104"];
    let simulator = ruled(&[
        (books, call(CallEnd::Human, "1")),
        (declines, call(CallEnd::Human, "2")),
        (mispresses, call(CallEnd::Human, "5*1")),
        (silent, call(CallEnd::Human, "")),
    ]);
    let house = open(simulator).await;
    let consents = json!([{ "purpose": "prevention", "channel": "voice", "granted": true, "at": "2026-10-01T12:00:00Z",
        "source": "staff", "by": "u17", "evidence": "form 12" }]);
    let mut people = Vec::new();
    for (n, number) in [books, declines, mispresses, silent].into_iter().enumerate() {
        let mut one = person(&format!("P{n}"), &[("voice", number)]);
        one["consents"] = consents.clone();
        people.push(one);
    }
    house.publish("patient.upsert", &people).await;
    let invitations: Vec<Value> = (0..4)
        .map(|n| {
            json!({
                "id": format!("v{n}"), "source": "lakeside-ehr", "patient_id": format!("P{n}"),
                "template": "vaccine-invitation", "site": "lakeside-north", "data": {}, "expires_at": "2036-12-01T00:00:00Z",
            })
        })
        .collect();
    house.publish("job", &invitations).await;
    house.until_status(MessageStatus::Read, 3).await;
    house.until_status(MessageStatus::Delivered, 1).await;
    let said = house.simulator.recent(100);
    assert!(
        said.iter().all(|call| call.body.expose().contains("oprima 1. ¿Ahora no? Oprima 2.")),
        "{said:?}"
    );
    // A key is heard before it is an answer, and one of them presses another key first.
    let end = Instant::now() + Duration::from_secs(20);
    for n in 0..3 {
        while keys(&house, &format!("v{n}")).await.is_empty() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(keys(&house, &format!("v{n}")).await, ["reply.answer.lakeside-ehr"], "v{n}");
    }
    assert_eq!(keys(&house, "v3").await, [""; 0]);
    let work = house.store.work_items(&WorkFilter { limit: 10, ..WorkFilter::default() }).await.unwrap();
    let mut about: Vec<_> = work.iter().filter_map(|item| item.patient_id.clone()).collect();
    about.sort();
    assert_eq!(
        about.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        ["P0", "P2"],
        "those who want to be called"
    );

    // What each key is answered, as Twilio reads it.
    let (row, attempts) = message(&house, "v3").await;
    let own = format!("/webhooks/sim-voice/gather?send_key={}-0&event=key", row.facts.id.0.simple());
    let reference = attempts[0].provider_ref.clone().unwrap();
    let press = async |key: &str| {
        let fields =
            [("CallSid", reference.as_str()), ("From", "+13125550100"), ("To", silent), ("Digits", key)];
        post(&house, &own, &fields).await.1
    };
    for key in ["7", "#"] {
        let again = press(key).await;
        assert!(
            again.contains("vacuna") && again.contains("Oprima 2.") && again.contains("event=key"),
            "{again}"
        );
    }
    assert_eq!(keys(&house, "v3").await, [""; 0], "nothing is on record of these");
    for _ in 0..2 {
        let thanks = press("2").await;
        assert!(thanks.contains("tenemos su respuesta") && !thanks.contains("<Gather"), "{thanks}");
    }
    assert_eq!(keys(&house, "v3").await, ["reply.answer.lakeside-ehr"]);
    house.close().await;
}
