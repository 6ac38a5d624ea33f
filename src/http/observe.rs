//! What is measured and logged of every request, and the headers of every answer.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::middleware::Next;
use axum::response::Response;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::config::Config;
use crate::receipt::spooled;

/// What of a provider's webhooks tells that all of them are refused. Counted from the start: what begins with one has not
/// grown.
const OF_WEBHOOKS: [&str; 4] = ["taken", "forged", "unreadable", "later"];
/// The folder of the spool is looked at so often.
const SPOOL_LOOK: Duration = Duration::from_secs(60);
/// Upper bounds of what is measured in seconds.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The process's measures; the first call begins to measure.
pub(super) fn recorder() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new();
            // Refused only for an empty list of bounds.
            let builder = builder
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
                .unwrap_or_default();
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!(
                    "measures are kept by another recorder: /metrics shows the ledger's counts only"
                );
            }
            handle
        })
        .clone()
}

/// Begins the counters whose growth from nothing is told.
pub(super) fn begin(config: &Config) {
    for provider in &config.providers {
        for result in OF_WEBHOOKS {
            metrics::counter!("outreachd_webhooks_total", "provider" => provider.name.to_string(), "result" => result)
                .increment(0);
        }
    }
}

/// How many webhooks lie in the spool that nobody will look at again before somebody has mended why.
async fn look_at_spool(shared: &Shared) {
    let folder = shared.parts.config.worker.spool.clone();
    let waiting = tokio::task::spawn_blocking(move || spooled(&folder)).await;
    let refused = waiting.map_or(0, |waiting| u32::try_from(waiting.refused).unwrap_or(u32::MAX));
    metrics::gauge!("outreachd_webhooks_spool_refused").set(f64::from(refused));
}

/// Folds in what was measured, so that samples do not pile up between two scrapes, and lets go of callers of the
/// patients' page who have not come for a while.
pub(super) async fn upkeep(shared: Arc<Shared>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    let mut spool = tokio::time::interval(SPOOL_LOOK);
    loop {
        tokio::select! {
            _ = spool.tick() => look_at_spool(&shared).await,
            _ = tick.tick() => {
                shared.metrics.run_upkeep();
                shared.page.upkeep();
                shared.people.upkeep();
            }
            () = stop.cancelled() => return,
        }
    }
}

/// Around every request. The path is the route's pattern: ids of patients stand in paths.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    // Methods can be anything; only known ones become labels.
    let method = match request.method().as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        _ => "other",
    };
    let started = Instant::now();
    let mut response = next.run(request).await;
    let (took, status) = (started.elapsed(), response.status().as_u16());
    tracing::debug!(
        method,
        path,
        status,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "answered"
    );
    metrics::counter!("outreachd_http_requests_total", "path" => path.clone(), "method" => method,
        "status" => status.to_string())
    .increment(1);
    metrics::histogram!("outreachd_http_request_seconds", "path" => path, "method" => method)
        .record(took.as_secs_f64());
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A page for people says itself which style it has.
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}
