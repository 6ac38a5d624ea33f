//! What becomes of a result, by what its receiver says, on SQLite and without a broker.

use std::time::Duration;

use outreachd::store::rows::{CallbackFilter, CallbackState};
use serde_json::{Value, json};

use super::desk::Desk;
use super::receiver::{Got, Mode, Receiver, assert_whole, key};
use crate::proof::worker::WorkerProcess;

#[tokio::test(flavor = "multi_thread")]
async fn results_arrive_signed_and_in_order_without_a_broker() {
    let receiver = Receiver::open().await;
    let mut desk = Desk::open(&receiver, "").await;
    let messages = desk.jobs(50).await;
    desk.submit("job", &[json!({"id": "bad", "source": "lakeside-ehr", "template": "none"})]).await;
    desk.start().await;
    receiver.until("51 results", |got| got.len() >= 51).await;
    desk.cancel(50).await;
    receiver.until("101 results", |got| got.len() >= 101).await;
    desk.until_all_taken().await;
    let got = receiver.got();
    assert_eq!(got.len(), 101, "where nothing fails nothing is repeated");
    let reached = assert_whole(&got, &key(1));
    for message in messages {
        assert_eq!(reached[&message.to_string()], 2);
    }
    let refused: Vec<&Got> = got.iter().filter(|one| one.body["type"] == "job.rejected").collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].body["job_id"], "bad");
    for one in &got {
        assert_eq!(one.body["source"], "lakeside-ehr");
        assert!(
            !one.raw.contains("3125550142") && !one.raw.contains("Ana") && !one.raw.contains("Chen"),
            "{one:?}"
        );
    }
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_dead_at_once_and_comes_after_a_retry() {
    let receiver = Receiver::open().await;
    let mut desk = Desk::open(&receiver, "").await;
    receiver.set(Mode::Answer(410, Vec::new()));
    let message = desk.jobs(1).await[0];
    desk.start().await;
    receiver.until("the result", |got| !got.is_empty()).await;
    desk.cancel(1).await;
    let dead = CallbackFilter { state: Some(CallbackState::Dead), limit: 10, ..CallbackFilter::default() };
    while desk.store.callbacks(&dead).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    receiver.set(Mode::Take);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(receiver.got().len(), 1, "neither the dead one nor the one behind it is posted");

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let text = client.get(desk.url("/v1/callbacks?state=dead")).send().await.unwrap().text().await.unwrap();
    let listed: Value = serde_json::from_str(&text).unwrap();
    let row = &listed["callbacks"][0];
    assert_eq!((&row["message_id"], &row["seq"]), (&json!(message), &json!(1)));
    assert_eq!((&row["code"], &row["type"]), (&json!("http_410"), &json!("message.sent")));
    let metrics = client.get(desk.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("outreachd_callbacks{source=\"lakeside-ehr\",state=\"dead\"} 1"), "{metrics}");
    let retry = client.post(desk.url("/v1/callbacks/retry")).header("content-type", "application/json");
    let text =
        retry.body(json!({"ids": [row["id"]]}).to_string()).send().await.unwrap().text().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"retried": 1}));
    desk.until_all_taken().await;
    assert_eq!(assert_whole(&receiver.got(), &key(1))[&message.to_string()], 2);
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_too_long_is_dead() {
    let receiver = Receiver::open().await;
    let timing = "first_pause = \"100ms\"\nlongest_pause = \"1s\"\ngive_up_after = \"2s\"";
    let mut desk = Desk::open(&receiver, timing).await;
    receiver.set(Mode::Answer(400, Vec::new()));
    desk.jobs(1).await;
    desk.start().await;
    let dead = CallbackFilter { state: Some(CallbackState::Dead), limit: 10, ..CallbackFilter::default() };
    let row = loop {
        if let Some(row) = desk.store.callbacks(&dead).await.unwrap().pop() {
            break row;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let tries = receiver.got().len();
    assert!((2..=6).contains(&tries), "{tries} tries in two seconds");
    assert_eq!((usize::try_from(row.tries).unwrap(), row.code.as_deref()), (tries, Some("http_400")));
    let waited = row.dead_at.unwrap().duration_since(row.since);
    assert!(waited.as_secs() >= 2, "{waited}");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_a_receiver_asks_for_is_kept() {
    let receiver = Receiver::open().await;
    let mut desk = Desk::open(&receiver, "first_pause = \"100ms\"").await;
    receiver.set(Mode::Answer(429, vec![("retry-after", "3".to_owned())]));
    desk.jobs(20).await;
    desk.start().await;
    receiver.until("the first", |got| !got.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    receiver.set(Mode::Take);
    let asked = receiver.got();
    assert!(asked.len() <= 8, "{} requests, no more than go at once", asked.len());
    let got = receiver.until("all", |got| got.iter().filter(|one| one.taken).count() >= 20).await;
    let pause = got[asked.len()].at.duration_since(asked.last().unwrap().at);
    assert!(pause >= Duration::from_millis(2_900), "{pause:?}");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_result_that_always_fails_does_not_hold_up_the_others() {
    let receiver = Receiver::open().await;
    let mut desk = Desk::open(&receiver, "first_pause = \"1h\"").await;
    desk.jobs(1).await;
    receiver.set(Mode::Answer(500, Vec::new()));
    desk.start().await;
    receiver.until("the first", |got| !got.is_empty()).await;
    receiver.set(Mode::Take);
    let jobs: Vec<Value> = (1..=30).map(|n| crate::support::house::job(&format!("k{n}"), "P1")).collect();
    desk.submit("job", &jobs).await;
    let got = receiver.until("the others", |got| got.iter().filter(|one| one.taken).count() >= 30).await;
    assert_eq!(got.iter().filter(|one| one.id() == got[0].id()).count(), 1, "it waits for its own hour");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_whose_worker_was_killed_before_it_noted_the_answer_comes_again() {
    let receiver = Receiver::open().await;
    let desk = Desk::open(&receiver, "").await;
    let message = desk.jobs(1).await[0];
    receiver.set(Mode::Hang);
    let log = |name: &str| desk.folder.path().join(name);
    let mut first = WorkerProcess::start(&desk.file(), &log("first.log"), &[]);
    // It has arrived, and the worker cannot know.
    receiver.until("the result", |got| got.len() == 1).await;
    first.kill();
    receiver.set(Mode::Take);
    let mut second = WorkerProcess::start(&desk.file(), &log("second.log"), &[]);
    let got = receiver.until("the result again", |got| got.len() >= 2).await;
    desk.until_all_taken().await;
    second.stop();
    assert_eq!(receiver.got().len(), 2);
    assert_eq!((got[0].id(), &got[0].raw), (got[1].id(), &got[1].raw), "a repeat is known by its id");
    assert_eq!(got[1].message(), Some(message.to_string()));
    assert!(got.iter().all(|one| one.is_signed_by(&key(1))));
}
