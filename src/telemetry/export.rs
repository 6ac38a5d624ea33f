//! From the queue to the collector, many spans at once.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Traces;
use crate::client::{self, NoTls};
use crate::config::telemetry::TelemetrySection;

/// Spans that wait at most: some megabytes.
const QUEUE: usize = 8_192;
/// Spans of one request at most.
const AT_ONCE: usize = 512;
/// How long spans wait for company.
const LINGER: Duration = Duration::from_secs(1);
/// A collector that takes longer is away.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What is read of an answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// That a collector is away is logged at most so often.
const SILENCE: Duration = Duration::from_secs(60);

/// Nothing can be exported.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Unusable {
    #[error(transparent)]
    Tls(#[from] NoTls),
    #[error("[telemetry] traces_url: must be a URI of ASCII only; percent-encode the rest")]
    Address,
}

/// What sends spans to the collector.
#[derive(Debug)]
pub struct Exporter {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// Starts exporting, where a collector is named. `instance` is this worker's name.
///
/// # Errors
/// TLS cannot be set up on this machine, or the collector's address is none for it.
pub fn start(settings: &TelemetrySection, instance: &str) -> Result<(Traces, Exporter), Unusable> {
    let stop = CancellationToken::new();
    let Some(url) = &settings.traces_url else {
        return Ok((Traces::default(), Exporter { stop, task: None }));
    };
    let client = client::builder(TIMEOUT).build().map_err(|_| NoTls)?;
    let key = settings.traces_authorization.as_ref();
    let headers: HashMap<String, String> =
        key.map(|key| ("authorization".to_owned(), key.expose().to_owned())).into_iter().collect();
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Wire(client))
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_timeout(TIMEOUT)
        .with_headers(headers)
        // What one request does not bring in is dropped: there is more to come.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|_| Unusable::Address)?;
    let resource = Resource::builder_empty()
        .with_service_name("outreachd")
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(opentelemetry::KeyValue::new("service.instance.id", instance.to_owned()));
    exporter.set_resource(&resource.build());
    let (hand_in, queue) = mpsc::channel(QUEUE);
    let task = tokio::spawn(run(exporter, queue, stop.clone()));
    Ok((Traces::new(hand_in, settings.traces_ratio), Exporter { stop, task: Some(task) }))
}

impl Exporter {
    /// Sends what is left, for so long at most. What is handed in from now on is dropped.
    pub async fn close(self, within: Duration) {
        self.stop.cancel();
        let Some(mut task) = self.task else { return };
        if timeout(within, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("the collector took too long: the last spans are lost");
        }
    }
}

async fn run(exporter: SpanExporter, mut queue: mpsc::Receiver<SpanData>, stop: CancellationToken) {
    let mut outage = Outage::default();
    loop {
        let batch = gather(&mut queue, &stop).await;
        if batch.is_empty() {
            return;
        }
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        // An error's text may hold what the collector answered.
        if exporter.export(batch).await.is_ok() {
            metrics::counter!("outreachd_spans_exported_total").increment(spans);
            outage.is_over();
        } else {
            metrics::counter!("outreachd_spans_dropped_total", "why" => "not_taken").increment(spans);
            if outage.goes_on(Instant::now()) {
                tracing::warn!(
                    "the collector does not take spans; they are dropped and counted until it does"
                );
            }
        }
    }
}

/// The next batch; empty: there will be none.
async fn gather(queue: &mut mpsc::Receiver<SpanData>, stop: &CancellationToken) -> Vec<SpanData> {
    let mut batch = Vec::with_capacity(AT_ONCE);
    let mut until = None;
    while batch.len() < AT_ONCE {
        let more = AT_ONCE - batch.len();
        let lingered = async move {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            taken = queue.recv_many(&mut batch, more) => match taken {
                0 => break,
                _ => until = until.or(Some(Instant::now() + LINGER)),
            },
            () = lingered => break,
            // What stands in it is still read.
            () = stop.cancelled(), if !queue.is_closed() => queue.close(),
        }
    }
    batch
}

/// Whether the collector takes spans, and when somebody was last told that it does not.
#[derive(Debug, Default)]
struct Outage {
    is_on: bool,
    told: Option<Instant>,
}

impl Outage {
    /// It has not taken some. Answers whether that is news: once an outage, and not again at once where outages are short.
    fn goes_on(&mut self, now: Instant) -> bool {
        let is_known = std::mem::replace(&mut self.is_on, true);
        let is_news = !is_known && self.told.is_none_or(|told| now.duration_since(told) > SILENCE);
        if is_news {
            self.told = Some(now);
        }
        is_news
    }

    fn is_over(&mut self) {
        self.is_on = false;
    }
}

/// Our own client: the one TLS of this program.
#[derive(Debug)]
struct Wire(reqwest::Client);

#[async_trait]
impl HttpClient for Wire {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.0.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(response.body(Bytes::from(body))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::MessageId;
    use crate::telemetry::Step;

    #[test]
    fn an_outage_is_told_of_once() {
        let mut outage = Outage::default();
        let now = Instant::now();
        assert!(outage.goes_on(now));
        assert!(!outage.goes_on(now + SILENCE * 9));
        outage.is_over();
        assert!(outage.goes_on(now + SILENCE * 10));
        outage.is_over();
        assert!(!outage.goes_on(now + SILENCE * 11));
        outage.is_over();
        assert!(outage.goes_on(now + SILENCE * 12));
    }

    #[tokio::test]
    async fn a_collector_that_never_answers_is_left_in_time() {
        // The system takes the connection; nobody reads from it.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let settings =
            TelemetrySection { traces_url: Some(url), traces_authorization: None, traces_ratio: 1.0 };
        let (traces, exporter) = start(&settings, "worker").unwrap();
        let step = || {
            let now = Instant::now();
            traces.of(MessageId::generate()).unwrap().step(Step::Send, now, now).end();
        };
        step();
        let closing = Instant::now();
        exporter.close(Duration::from_millis(200)).await;
        assert!(closing.elapsed() < Duration::from_secs(2), "{:?}", closing.elapsed());
        step();
        let off = TelemetrySection { traces_url: None, ..settings };
        let (traces, exporter) = start(&off, "worker").unwrap();
        assert!(!traces.are_on());
        exporter.close(Duration::ZERO).await;
    }
}
