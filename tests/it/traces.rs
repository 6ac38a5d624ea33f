//! What a message went through, as a collector hears of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Told;
use opentelemetry_proto::tonic::trace::v1::Span;
use outreachd::domain::phi::Phi;
use outreachd::domain::status::MessageStatus;
use outreachd::simulator::{NumberRule, SimulatorConfig};
use outreachd::store::rows::{MessageFilter, MessageRow};
use prost::Message as _;
use serde_json::json;

use crate::proof::canary::{Canary, find};
use crate::support::house::{House, job, patient};

/// A collector on loopback, which keeps all that it is sent.
struct Collector {
    address: SocketAddr,
    kept: Arc<Mutex<Vec<Bytes>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(kept): State<Arc<Mutex<Vec<Bytes>>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if headers["authorization"] != "Bearer of-the-collector" {
        return StatusCode::UNAUTHORIZED;
    }
    assert_eq!(headers["content-type"], "application/x-protobuf");
    kept.lock().unwrap().push(body);
    StatusCode::OK
}

impl Collector {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&kept));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, kept, task }
    }

    /// Every span, with the attributes of what sent it.
    fn spans(&self) -> Vec<(Span, String)> {
        let mut spans = Vec::new();
        for body in self.kept.lock().unwrap().iter() {
            for of in ExportTraceServiceRequest::decode(body.clone()).unwrap().resource_spans {
                let attributes = &of.resource.as_ref().unwrap().attributes;
                let service = attributes.iter().find(|a| a.key == "service.name").unwrap();
                let Some(Told::StringValue(service)) = service.value.clone().unwrap().value else { panic!() };
                spans.extend(of.scope_spans.into_iter().flat_map(|s| s.spans).map(|s| (s, service.clone())));
            }
        }
        spans
    }

    /// Those of one message, by name.
    fn of(&self, message: &MessageRow) -> BTreeMap<String, Vec<Span>> {
        let mut found: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for (span, service) in self.spans() {
            assert_eq!(service, "outreachd");
            if span.trace_id == message.facts.id.0.as_bytes() {
                found.entry(span.name.clone()).or_default().push(span);
            }
        }
        found
    }
}

fn told(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Told::StringValue(text) => Some(text),
        Told::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

async fn message(house: &House, job: &str) -> MessageRow {
    let all = house.store.messages(&MessageFilter { limit: 100, ..MessageFilter::default() }).await.unwrap();
    all.into_iter().find(|row| row.facts.job_id.as_str() == job).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_one_trace_from_its_job_to_the_providers_reference() {
    let collector = Collector::start().await;
    let more = format!(
        "[telemetry]\ntraces_url = \"http://{}/v1/traces\"\ntraces_authorization = \"Bearer of-the-collector\"\n",
        collector.address
    );
    let (good, bad) = ("+17732389911", "+17732389922");
    let refuses = NumberRule { refuse: Some(21_211), ..NumberRule::default() };
    let numbers = BTreeMap::from([(Phi::new(bad), refuses)]);
    let house = House::open(SimulatorConfig { numbers, ..SimulatorConfig::default() }, &more).await;
    let mut person = patient("P1", "sms", good);
    person["name"] = json!({"given": "Zebulonissima", "family": "Quxleywinkle"});
    house.publish("patient.upsert", &[person, patient("P2", "sms", bad)]).await;
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut with_data = job("j1", "P1");
    with_data["data"]["practitioner"] = json!("Dr. Querzelbichler");
    house.publish_in("job", &with_data, &[("traceparent", caller)]).await;
    house.publish("job", &[job("j2", "P2")]).await;
    house.until_status(MessageStatus::Sent, 1).await;
    house.until_status(MessageStatus::Failed, 1).await;
    house.until("an empty outbox", |counts| counts.outbox == 0).await;
    let (first, second) = (message(&house, "j1").await, message(&house, "j2").await);
    let attempts = house.store.attempts(first.facts.id).await.unwrap();
    // The last of it is sent when the worker stops.
    house.close().await;

    let steps = collector.of(&first);
    let names: Vec<&str> = steps.keys().map(String::as_str).collect();
    assert_eq!(names, ["begin", "decide", "intake", "publish", "send", "settle"]);
    // Should its patient come after it, it is decided upon twice.
    let one = |name: &str| steps[name].iter().max_by_key(|span| span.start_time_unix_nano).unwrap();
    let root = one("intake");
    assert!(root.parent_span_id.is_empty() && steps["intake"].len() == 1);
    for name in ["begin", "decide", "publish", "send"] {
        assert_eq!(one(name).parent_span_id, root.span_id, "{name}");
    }
    assert_eq!(one("settle").parent_span_id, one("send").span_id);
    let order = ["intake", "decide", "begin", "send", "settle", "publish"].map(one);
    for pair in order.windows(2) {
        assert!(pair[0].start_time_unix_nano <= pair[1].start_time_unix_nano, "{pair:?}");
    }
    for (name, key, value) in [
        ("intake", "outreach.job_id", "j1"),
        ("intake", "outreach.source", "lakeside-ehr"),
        ("intake", "outreach.template", "appointment-reminder"),
        ("decide", "outreach.decision", "send"),
        ("begin", "outreach.channel", "sms"),
        ("send", "outreach.status", "sent"),
        ("send", "outreach.template", "appointment-reminder"),
        ("publish", "messaging.rabbitmq.destination.routing_key", "message.sent.lakeside-ehr"),
    ] {
        assert_eq!(told(one(name), key).as_deref(), Some(value), "{name} {key}");
    }
    let attempt = &attempts[0];
    for name in ["begin", "send", "settle"] {
        assert_eq!(told(one(name), "outreach.attempt_id"), Some(attempt.id.to_string()), "{name}");
    }
    assert_eq!(told(one("send"), "outreach.provider"), Some(attempt.provider.to_string()));
    assert!(attempt.provider_ref.is_some());
    assert_eq!(told(one("send"), "outreach.provider_reference"), attempt.provider_ref);
    let linked = &root.links[0];
    assert_eq!(hex::encode(&linked.trace_id) + &hex::encode(&linked.span_id), caller[3..52].replace('-', ""));

    // One that its provider refuses says so.
    let steps = collector.of(&second);
    let failed = steps["send"][0].status.as_ref().unwrap();
    assert_eq!((failed.code, failed.message.as_str()), (2, "bad_address"), "{steps:?}");
    assert!(steps["intake"][0].links.is_empty());

    let mut canaries = [Canary::phone(good), Canary::phone(bad)].concat();
    canaries
        .extend(["Zebulonissima", "Quxleywinkle", "Dr. Querzelbichler", "of-the-collector"].map(Canary::new));
    let said: Vec<_> =
        collector.kept.lock().unwrap().iter().map(|body| ("spans".to_owned(), body.to_vec())).collect();
    assert!(said.iter().map(|(_, body)| body.len()).sum::<usize>() > 1_000);
    let found = find(&canaries, &said);
    assert!(found.is_empty(), "{found:?}");
    let planted = [("spans".to_owned(), format!("x{}", &good[1..]).into_bytes())];
    assert!(!find(&canaries, &planted).is_empty(), "the search has eyes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_up_nothing() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let more = format!("[telemetry]\ntraces_url = \"http://{closed}/v1/traces\"\n");
    let house = House::open(SimulatorConfig::default(), &more).await;
    house.publish("patient.upsert", &[patient("P1", "sms", "+13125550142")]).await;
    let jobs: Vec<_> = (0..200).map(|n| job(&format!("j{n}"), "P1")).collect();
    house.publish("job", &jobs).await;
    house.until_status(MessageStatus::Sent, 200).await;
    house.until("an empty outbox", |counts| counts.outbox == 0).await;
    let end = Instant::now() + Duration::from_secs(20);
    while !house.metrics().await.contains("outreachd_spans_dropped_total{why=\"not_taken\"}") {
        assert!(Instant::now() < end, "what is dropped is counted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let closing = Instant::now();
    house.close().await;
    assert!(closing.elapsed() < Duration::from_secs(5), "{:?}", closing.elapsed());
}
