//! What a message went through, as a collector hears of it, and those to whom its results go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Told;
use opentelemetry_proto::tonic::trace::v1::Span;
use outreachd::config::Config;
use outreachd::domain::phi::Phi;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::simulator::{Faults, NumberRule, ProviderKind, SimulatorConfig};
use outreachd::store::rows::{MessageFilter, MessageRow};
use prost::Message as _;

use crate::proof::tap::Tap;
use crate::receipt::{calling_back, free_address, with_webhooks};
use crate::support::house::{House, job, patient};
use crate::support::shared::amqp_url;

/// A collector on loopback, which keeps all that it is sent, and takes results as well.
pub(crate) struct Collector {
    address: SocketAddr,
    kept: Kept,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Kept {
    spans: Arc<Mutex<Vec<Bytes>>>,
    /// Of every result, its header `traceparent`.
    results: Arc<Mutex<Vec<Option<String>>>>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take_spans(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if headers["authorization"] != Collector::AUTHORIZATION {
        return StatusCode::UNAUTHORIZED;
    }
    assert_eq!(headers["content-type"], "application/x-protobuf");
    kept.spans.lock().unwrap().push(body);
    StatusCode::OK
}

async fn take_result(State(kept): State<Kept>, headers: HeaderMap) -> StatusCode {
    let traceparent = headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned());
    kept.results.lock().unwrap().push(traceparent);
    StatusCode::OK
}

impl Collector {
    /// What it asks for.
    pub(crate) const AUTHORIZATION: &str = "Bearer of-the-collector";

    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Kept::default();
        let router = Router::new()
            .route("/v1/traces", post(take_spans))
            .route("/results", post(take_result))
            .with_state(kept.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, kept, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// All that was sent, as it was.
    pub(crate) fn kept(&self) -> Vec<Bytes> {
        self.kept.spans.lock().unwrap().clone()
    }

    /// The spans of one message, by name, the earliest first.
    fn of(&self, message: &MessageRow) -> BTreeMap<String, Vec<Span>> {
        let mut found: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for body in self.kept() {
            for of in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
                let attributes = &of.resource.as_ref().unwrap().attributes;
                let service = attributes.iter().find(|a| a.key == "service.name").unwrap();
                let name = service.value.as_ref().unwrap().value.as_ref().unwrap();
                assert_eq!(name, &Told::StringValue("outreachd".to_owned()));
                for span in of.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    if span.trace_id == message.facts.id.0.as_bytes() {
                        found.entry(span.name.clone()).or_default().push(span);
                    }
                }
            }
        }
        found.values_mut().for_each(|spans| spans.sort_by_key(|span| span.start_time_unix_nano));
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

/// The one other span that a span is linked to, as `traceparent` writes it.
fn linked(span: &Span) -> String {
    let [link] = &span.links[..] else { panic!("{:?}", span.links) };
    format!("00-{}-{}-01", hex::encode(&link.trace_id), hex::encode(&link.span_id))
}

fn reason(span: &Span) -> &str {
    span.status.as_ref().map_or("", |status| status.message.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_one_trace_from_its_job_to_the_providers_reference_and_receipt() {
    let collector = Collector::start().await;
    let (good, bad) = ("+17732389911", "+17732389922");
    let refuses = NumberRule { refuse: Some(21_211), ..NumberRule::default() };
    let numbers = BTreeMap::from([(Phi::new(bad), refuses)]);
    let listen = free_address();
    let simulator = calling_back(SimulatorConfig { numbers, ..SimulatorConfig::default() }, listen);
    let ours = Config::from_toml(&format!(
        "[telemetry]\ntraces_url = \"{}\"\ntraces_authorization = \"{}\"\n[policy.retry]\nfirst_delay = \"200ms\"\n\
         [events.callbacks]\nallow = [\"127.0.0.0/8\"]\n\
         [[source]]\nname = \"lakeside-ehr\"\ncallback_url = \"http://{}/results\"\ncallback_secret = \"{}\"\n",
        collector.url(),
        Collector::AUTHORIZATION,
        collector.address,
        format_args!("whsec_{}", STANDARD.encode([1; 32])),
    ))
    .unwrap();
    let house = House::open_with(simulator, |config| {
        with_webhooks(config, listen);
        (config.telemetry, config.events, config.sources) = (ours.telemetry, ours.events, ours.sources);
        config.policy.retry = ours.policy.retry;
    })
    .await;
    let tap = Tap::open(&amqp_url(), &house.config.amqp.as_ref().unwrap().prefix).await;
    house.publish("patient.upsert", &[patient("P1", "sms", good), patient("P2", "sms", bad)]).await;
    let by_broker = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    house.publish_in("job", &job("j1", "P1"), &[("traceparent", by_broker)]).await;
    house.publish("job", &[job("j2", "P2")]).await;
    house.until_status(MessageStatus::Delivered, 1).await;
    house.until_status(MessageStatus::Failed, 1).await;

    // One more, by HTTP, whose provider is away at first.
    let away = Faults { unavailable: 1.0, ..Faults::default() };
    house.simulator.set_faults(Some(ProviderKind::TwilioSms), &away).unwrap();
    let by_http = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let posted =
        client.post(format!("http://{listen}/v1/jobs")).header("traceparent", by_http).json(&job("j3", "P1"));
    assert_eq!(posted.send().await.unwrap().status(), 202);
    let third = message(&house, "j3").await;
    let refused =
        async || house.store.attempts(third.facts.id).await.unwrap().iter().any(|a| a.failure.is_some());
    while !refused().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    house.simulator.set_faults(Some(ProviderKind::TwilioSms), &Faults::default()).unwrap();
    house.until_status(MessageStatus::Delivered, 2).await;
    house.until("an empty outbox", |counts| counts.outbox == 0).await;
    let (first, second) = (message(&house, "j1").await, message(&house, "j2").await);
    let attempts = house.store.attempts(first.facts.id).await.unwrap();
    // The last of it is sent when the worker stops.
    let (heard, ()) = tokio::join!(tap.drain(), house.close());

    let steps = collector.of(&first);
    let names: Vec<&str> = steps.keys().map(String::as_str).collect();
    assert_eq!(names, ["begin", "decide", "intake", "publish", "receipt", "send", "settle"]);
    // Should its patient come after it, it is decided upon twice. Two results that are told together begin together.
    let key = "messaging.rabbitmq.destination.routing_key";
    let sent = |span: &&Span| told(span, key).as_deref() == Some("message.sent.lakeside-ehr");
    let one = |name: &str| match name {
        "publish" => steps[name].iter().find(sent).unwrap(),
        _ => steps[name].last().unwrap(),
    };
    let root = one("intake");
    assert!(root.parent_span_id.is_empty() && steps["intake"].len() == 1);
    for name in ["begin", "decide", "publish", "receipt", "send"] {
        assert_eq!(one(name).parent_span_id, root.span_id, "{name}");
    }
    assert_eq!(one("settle").parent_span_id, one("send").span_id);
    let order = ["intake", "decide", "begin", "send", "settle", "publish"].map(one);
    for pair in order.windows(2) {
        assert!(pair[0].start_time_unix_nano <= pair[1].start_time_unix_nano, "{pair:?}");
    }
    let attempt = attempts.iter().find(|attempt| attempt.status == AttemptStatus::Delivered).unwrap();
    let (id, provider) = (attempt.id.to_string(), attempt.provider.to_string());
    let (reference, number) = (attempt.provider_ref.as_deref().unwrap(), attempt.number.to_string());
    for (name, key, value) in [
        ("intake", "outreach.message_id", first.facts.id.to_string().as_str()),
        ("intake", "outreach.job_id", "j1"),
        ("intake", "outreach.source", "lakeside-ehr"),
        ("intake", "outreach.template", "appointment-reminder"),
        ("decide", "outreach.decision", "send"),
        ("begin", "outreach.channel", "sms"),
        ("begin", "outreach.attempt_id", &id),
        ("send", "outreach.attempt_id", &id),
        ("send", "outreach.attempt", &number),
        ("send", "outreach.channel", "sms"),
        ("send", "outreach.provider", &provider),
        ("send", "outreach.provider_reference", reference),
        ("send", "outreach.source", "lakeside-ehr"),
        ("send", "outreach.status", "sent"),
        ("send", "outreach.template", "appointment-reminder"),
        ("settle", "outreach.attempt_id", &id),
        ("receipt", "outreach.provider", &provider),
        ("receipt", "outreach.provider_reference", reference),
        ("receipt", "outreach.status", "delivered"),
    ] {
        assert_eq!(told(one(name), key).as_deref(), Some(value), "{name} {key}");
    }
    assert!(one("receipt").start_time_unix_nano > one("send").start_time_unix_nano);
    assert_eq!(linked(root), by_broker);

    // What its results are told with hangs on it.
    let ours = format!("00-{}-{}-01", first.facts.id.0.simple(), hex::encode(&root.span_id));
    let events: Vec<_> =
        heard.iter().filter(|event| event.json()["message_id"] == first.facts.id.to_string()).collect();
    assert!(events.len() >= 2 && events.iter().all(|event| event.properties.contains(&ours)), "{events:?}");
    assert!(collector.kept.results.lock().unwrap().contains(&Some(ours)));

    // One that its provider refuses says so.
    let steps = collector.of(&second);
    let failed = steps["send"].last().unwrap();
    assert_eq!((failed.status.as_ref().unwrap().code, reason(failed)), (2, "bad_address"), "{steps:?}");
    assert!(steps["intake"][0].links.is_empty());

    // One that is tried again has a span of each attempt, and of what became of it.
    let steps = collector.of(&third);
    assert_eq!(linked(&steps["intake"][0]), by_http);
    let sends: Vec<&Span> = steps["send"].iter().filter(|span| reason(span) != "not_sent").collect();
    let (one, last) = (sends[0], sends[sends.len() - 1]);
    assert!(sends.len() >= 2 && one.span_id != last.span_id, "{sends:?}");
    assert_eq!((reason(one), reason(last)), ("transient", ""), "{sends:?}");
    for (send, status) in [(one, "failed"), (last, "sent")] {
        assert_eq!(told(send, "outreach.status").as_deref(), Some(status), "{sends:?}");
    }
    assert!(told(one, "outreach.attempt") < told(last, "outreach.attempt"), "{sends:?}");
    for send in sends {
        assert_eq!(send.parent_span_id, steps["intake"][0].span_id);
        assert!(steps["settle"].iter().any(|settle| settle.parent_span_id == send.span_id), "{steps:?}");
    }
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
