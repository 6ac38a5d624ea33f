//! People on call are told once, by one of two workers, of what is wrong, and that it is over.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use outreachd::app::{self, Worker};
use outreachd::config::Config;
use outreachd::config::callback::{Callback, SigningKey};
use outreachd::config::provider::ProviderSettings;
use outreachd::simulator::{Simulator, SimulatorConfig};
use serde_json::{Value, json};

use crate::support::shared::TestDatabase;

type Got = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn receiver() -> (String, Got) {
    async fn take(State(got): State<Got>, headers: HeaderMap, body: Bytes) {
        got.lock().unwrap().push((headers, serde_json::from_slice(&body).unwrap()));
    }
    let got = Got::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(take)).with_state(got.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, got)
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_on_call_are_told_once_and_that_it_is_over() {
    let database = TestDatabase::migrated().await;
    let (url, got) = receiver().await;
    let (heartbeat, beats) = receiver().await;
    let outside = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let text = format!(
        "[organisation]\nname = \"Lakeside Health\"\n[store]\nurl = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [templates]\ndir = \"{}/templates\"\n\
         [notify]\nevery = \"250ms\"\nafter = \"0s\"\nheartbeat_every = \"1s\"\nrunbook = \"https://wiki.example.org/outreach\"\n",
        database.url(),
        env!("CARGO_MANIFEST_DIR"),
    );
    let mut config = Config::from_toml(&text).unwrap();
    let keys = vec![SigningKey::parse(KEY).unwrap()];
    config.notify.webhook = Some(Callback { url, keys: keys.clone() });
    config.notify.heartbeat = Some(Callback { url: heartbeat, keys: Vec::new() });
    config.notify.email = vec!["oncall@example.org".to_owned(), "second@example.org".to_owned()];
    config.notify.smtp =
        outside.providers("sim").unwrap().into_iter().find_map(|section| match section.settings {
            ProviderSettings::Smtp(settings) => Some(settings),
            _ => None,
        });
    let config = Arc::new(config);
    let store = app::open_store(&config).await.unwrap();
    let catalogue = app::load_catalogue(&config.templates.dir).unwrap();
    let one = Worker::start(config.clone(), store.clone(), catalogue.clone()).await.unwrap();
    let two =
        Worker::start(config.clone(), app::open_store(&config).await.unwrap(), catalogue).await.unwrap();
    until("silence is noticed by whoever expects a heartbeat", || beats.lock().unwrap().len() >= 2).await;
    assert!(got.lock().unwrap().is_empty(), "nothing is wrong: {got:?}");

    // A job that cannot be accepted, with a name in it.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = format!("http://{}", two.http);
    let bad = json!({"id": "a1", "template": "no-such", "patient_id": "P1", "data": {"name": "Zebulonia"}});
    let put = store.admit(&parked(&bad.to_string())).await.unwrap();
    assert!(put.outcomes.is_empty());
    until("a webhook and a mail", || got.lock().unwrap().len() == 1 && outside.hits().len() == 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let told = got.lock().unwrap().clone();
    assert_eq!((told.len(), outside.hits().len()), (1, 2), "two workers look; each mailbox is told once");
    let (headers, notice) = &told[0];
    let header = |name: &str| headers[name].to_str().unwrap();
    let body = serde_json::to_string(notice).unwrap();
    assert_eq!((&notice["type"], &notice["key"]), (&json!("alert.raised"), &json!("dead_jobs")), "{notice}");
    assert_eq!(notice["runbook"], "https://wiki.example.org/outreach#dead_jobs");
    assert!(
        notice["text"].as_str().unwrap().starts_with("[look] Lakeside Health: 1 job could not be accepted.")
    );
    assert!(!body.contains("Zebulonia") && !body.contains("P1"), "{body}");
    assert!(header("webhook-signature").starts_with("v1,") && !header("webhook-id").is_empty());

    let measures = client.get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
    for line in [
        "outreachd_trouble{kind=\"dead_jobs\",subject=\"\",level=\"look\"} 1",
        "outreachd_alerts_undelivered 0",
    ] {
        assert!(measures.lines().any(|known| known == line), "{line} is not in {measures}");
    }

    // Somebody says that they look after it; it is over; both ways hear it once.
    let list: Value = get(&client, &format!("{base}/v1/alerts")).await;
    assert_eq!(
        (&list["alerts"][0]["key"], &list["alerts"][0]["page"]),
        (&json!("dead_jobs"), &json!("dead")),
        "{list}"
    );
    let said =
        client.post(format!("{base}/v1/alerts/dead_jobs/acknowledge")).json(&json!({})).send().await.unwrap();
    assert_eq!(said.status(), 200);
    let missing = client
        .post(format!("{base}/v1/alerts/no_worker/snooze"))
        .json(&json!({"minutes": 5}))
        .send()
        .await
        .unwrap();
    assert_eq!(missing.status(), 404);
    let ids: Vec<_> = store.parked(&Default::default()).await.unwrap().iter().map(|row| row.id).collect();
    store.mark_replayed(&ids).await.unwrap();
    // Whoever has the watch stops; the other goes on where it stood.
    one.stop().await;
    until("the end is told", || got.lock().unwrap().len() == 2 && outside.hits().len() == 4).await;
    assert_eq!(got.lock().unwrap()[1].1["type"], "alert.cleared");
    let list: Value = get(&client, &format!("{base}/v1/alerts")).await;
    assert_eq!(list["alerts"][0]["acknowledged_by"], "local");
    assert!(list["alerts"][0]["ended_at"].is_string(), "{list}");
    two.stop().await;
}

async fn get(client: &reqwest::Client, url: &str) -> Value {
    serde_json::from_str(&client.get(url).send().await.unwrap().text().await.unwrap()).unwrap()
}

fn parked(body: &str) -> outreachd::store::rows::AdmitBatch {
    use outreachd::domain::ids::{ParkedId, WorkerId};
    use outreachd::domain::problem::Problem;
    use outreachd::domain::words::Reason;
    let problem =
        Problem::new("template", Reason::UnknownTemplate, "there is no such template", "use another");
    let reject = outreachd::store::rows::Reject {
        id: ParkedId::generate(),
        problems: vec![problem],
        source: None,
        job_id: None,
        origin: "jobs".to_owned(),
        correlation_id: None,
        key: None,
        body: body.as_bytes().to_vec(),
        content_hash: None,
        park: true,
        redelivered: false,
    };
    outreachd::store::rows::AdmitBatch {
        worker: WorkerId::generate(),
        admissions: Vec::new(),
        rejects: vec![reject],
        room: 0,
    }
}
