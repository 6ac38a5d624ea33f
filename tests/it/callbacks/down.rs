//! A receiver that is down for a while under load: every result arrives in the end, in order, and it costs little.

use std::time::{Duration, Instant};

use outreachd::domain::status::MessageStatus;
use outreachd::simulator::SimulatorConfig;
use serde_json::{Value, json};

use super::receiver::{Got, Mode, Receiver, assert_whole, key};
use crate::support::house::{House, job, of, patient};
use crate::support::proxy::{Link, TcpProxy};

/// Every job has two results: it was sent, and it could not be taken back any more.
const EVENTS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_for_a_while_gets_every_result() {
    down("callbacks down, short", 300, Duration::from_secs(2)).await;
}

/// `jobs` for a source whose receiver answers 503 for `outage`, and then is not there for as long; and a tenth of them
/// for another source, whose receiver is well.
pub(crate) async fn down(name: &str, jobs: usize, outage: Duration) {
    let (receiver, well) = (Receiver::open().await, Receiver::open().await);
    let proxy = TcpProxy::start(receiver.address).await;
    let settings = format!(
        "[events.callbacks]\nallow = [\"127.0.0.1\"]\nfirst_pause = \"200ms\"\n\
         [[source]]\nname = \"lakeside-ehr\"\ncallback_url = \"http://{}/results\"\ncallback_secret = \"{}\"\n\
         [[source]]\nname = \"lab\"\ncallback_url = \"{}\"\ncallback_secret = \"{}\"\n",
        proxy.address(),
        key(1),
        well.url(),
        key(2),
    );
    let house = House::open(SimulatorConfig::default(), &settings).await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    publish(&house, "lakeside-ehr", "a", 0..jobs / 3).await;
    let early = jobs / 3;
    receiver.until("the first third", |got| got.len() >= early).await;

    receiver.set(Mode::Answer(503, Vec::new()));
    let went_down = Instant::now();
    publish(&house, "lakeside-ehr", "b", early..jobs).await;
    publish(&house, "lab", "c", 0..jobs / 10).await;
    house.until_status(MessageStatus::Sent, u64::try_from(jobs + jobs / 10).unwrap()).await;
    take_back(&house, "lakeside-ehr", "a", 0..early).await;
    take_back(&house, "lakeside-ehr", "b", early..jobs).await;
    let others = well.until("the other source's results", |got| got.len() >= jobs / 10).await;
    assert_whole(&others, &key(2));
    tokio::time::sleep(outage.saturating_sub(went_down.elapsed())).await;
    let during = receiver.got().iter().filter(|one| !one.taken).count();
    // As many as go at once, then one at a time after 1, 2, 4 s ... less chance's half.
    let seconds = usize::try_from(went_down.elapsed().as_secs()).unwrap();
    assert!(during <= 8 + 2 + seconds, "{during} requests to a receiver that is down, in {seconds} s");
    proxy.set(Link::Refuse);
    proxy.reset();
    tokio::time::sleep(outage).await;
    receiver.set(Mode::Take);
    proxy.set(Link::Forward);
    let back = Instant::now();

    house.until("every result taken", |counts| counts.callbacks.is_empty() && counts.outbox == 0).await;
    let took = back.elapsed();
    let got = receiver.got();
    let reached = assert_whole(&got, &key(1));
    assert_eq!(reached.len(), jobs);
    assert!(reached.values().all(|last| *last == EVENTS as u64), "a message's last result has not arrived");
    let taken = got.iter().filter(|one| one.taken).count();
    let figures = json!({
        "proof": name, "jobs": jobs, "results": jobs * EVENTS, "taken": taken, "repeats": taken - jobs * EVENTS,
        "requests_while_down": during, "outage_s": outage.as_secs() * 2, "caught_up_after_ms": took.as_millis() as u64,
        "sent": of(&house.store.counts().await.unwrap(), MessageStatus::Sent),
    });
    println!("{figures}");
    let same = |one: &Got| got.iter().filter(|other| other.taken && other.id() == one.id()).count();
    assert!(taken - jobs * EVENTS <= 16, "{figures}: {:?}", got.iter().map(same).max());
    house.close().await;
}

async fn publish(house: &House, source: &str, prefix: &str, range: std::ops::Range<usize>) {
    let jobs: Vec<Value> = range
        .map(|n| {
            let mut job = job(&format!("{prefix}{n}"), "P1");
            job["source"] = json!(source);
            job
        })
        .collect();
    house.publish("job", &jobs).await;
}

async fn take_back(house: &House, source: &str, prefix: &str, range: std::ops::Range<usize>) {
    let cancel = |n| json!({"action": "cancel", "source": source, "id": format!("{prefix}{n}")});
    house.publish("job.cancel", &range.map(cancel).collect::<Vec<_>>()).await;
}
