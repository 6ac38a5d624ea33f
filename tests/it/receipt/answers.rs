//! Several questions that wait at one number, and people who write when nobody is there, over the wire.

use jiff::ToSpan as _;
use jiff::civil::time;
use outreachd::config::site::OpenRange;
use outreachd::domain::status::MessageStatus;
use outreachd::simulator::{Answers, SimulatorConfig};
use serde_json::{Value, json};

use super::replies::{NOTHING, PHONE, get, open, says, told, write};
use super::{calling_back, free_address, with_webhooks};
use crate::support::house::{House, patient};

fn invitation(id: &str) -> Value {
    json!({
        "id": id, "source": "lakeside-ehr", "patient_id": "P1", "template": "vaccine-invitation",
        "site": "lakeside-north", "data": {"vaccine": "influenza"}, "expires_at": "2036-12-01T00:00:00Z",
    })
}

/// The texts that have gone out, oldest first.
fn texts(house: &House) -> Vec<String> {
    house.simulator.recent(100).iter().rev().map(|message| message.body.expose().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_open_question_is_answered_for_itself_and_at_night_people_hear_when_somebody_is_there() {
    let house = open(|config| {
        // It is open on one day of the week, and that is not today.
        let day = jiff::Zoned::now().checked_add(3.days()).unwrap().weekday();
        config.sites[0].hours = vec![OpenRange { day, start: time(8, 0, 0, 0), end: time(17, 0, 0, 0) }];
    })
    .await;
    house.publish("patient.upsert", &[patient("P1", "sms", PHONE)]).await;
    house.publish("job", &[invitation("v1")]).await;
    house.until_status(MessageStatus::Delivered, 1).await;
    house.publish("job", &[invitation("v2")]).await;
    house.until_status(MessageStatus::Delivered, 2).await;
    let sent = texts(&house);
    assert!(sent[0].contains("reply 1 or") && sent[0].contains("Reply 2."), "{}", sent[0]);
    assert!(sent[1].contains("reply 3 or") && sent[1].contains("Reply 4."), "{}", sent[1]);

    let unclear = write(&house, "SM1", "YES", &[("OptOutType", "START")]).await;
    says(&unclear, "1 = an invitation, Lakeside North; 3 = an invitation, Lakeside North");
    says(&write(&house, "SM2", "3, please", &[]).await, "we have your answer");
    assert_eq!(told(&house, "v2").await.last().unwrap(), "reply.answer.lakeside-ehr");
    house.until_status(MessageStatus::Read, 1).await;
    let booking = get(&house, "/v1/work-items?kind=reply").await;
    let item = booking["work_items"][0]["id"].as_str().unwrap();
    let one = get(&house, &format!("/v1/work-items/{item}")).await;
    assert_eq!((&one["reply"]["intent"], &one["reply"]["answer"]), (&json!("answer"), &json!("book")));
    says(&write(&house, "SM3", "no", &[]).await, "we have your answer");
    assert_eq!(told(&house, "v1").await.last().unwrap(), "reply.answer.lakeside-ehr");

    // Nobody is there: they hear when somebody is, once, and staff reads it all the same.
    let closed = write(&house, "SM4", "Is parking free?", &[]).await;
    says(&closed, "Our hours: ");
    says(&closed, "8:00 AM-5:00 PM. Call us: +13125550100. In an emergency call 911.");
    assert_eq!(write(&house, "SM5", "And is there a bus?", &[]).await, (200, NOTHING.to_owned()));
    assert_eq!(get(&house, "/v1/work-items?kind=reply").await["work_items"].as_array().unwrap().len(), 3);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_patients_write_back_and_are_understood() {
    let simulator = SimulatorConfig {
        answers: Answers { after_ms: 20, yes: 0.5, no: 0.5, ..Answers::default() },
        ..SimulatorConfig::default()
    };
    let listen = free_address();
    let house =
        House::open_with(calling_back(simulator, listen), |config| with_webhooks(config, listen)).await;
    let people: Vec<Value> =
        (0..20).map(|n| patient(&format!("P{n}"), "sms", &format!("+1312555{n:04}"))).collect();
    house.publish("patient.upsert", &people).await;
    let jobs: Vec<Value> = (0..20)
        .map(|n| {
            let mut job = invitation(&format!("v{n}"));
            job["patient_id"] = json!(format!("P{n}"));
            job
        })
        .collect();
    house.publish("job", &jobs).await;
    house.until_status(MessageStatus::Read, 20).await;
    for n in 0..20 {
        let told = told(&house, &format!("v{n}")).await;
        assert_eq!(told.last().unwrap(), "reply.answer.lakeside-ehr", "{told:?}");
    }
    house.close().await;
}
