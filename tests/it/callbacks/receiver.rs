//! A caller's receiver: takes results, checks their signatures by the standard, and fails on demand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A key as it stands in a configuration.
pub(super) fn key(byte: u8) -> String {
    format!("whsec_{}", STANDARD.encode([byte; 32]))
}

/// What it does with the next requests.
#[derive(Clone, Debug)]
pub(super) enum Mode {
    /// 204.
    Take,
    /// This status, with these headers.
    Answer(u16, Vec<(&'static str, String)>),
    /// Reads the request and says nothing, for ever.
    Hang,
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) at: Instant,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) raw: String,
    pub(super) body: Value,
    /// It was answered with 2xx.
    pub(super) taken: bool,
}

impl Got {
    pub(super) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub(super) fn message(&self) -> Option<String> {
        self.body["message_id"].as_str().map(str::to_owned)
    }

    pub(super) fn seq(&self) -> u64 {
        self.body["seq"].as_u64().unwrap()
    }

    /// Whether one of its signatures is by this key (Standard Webhooks), and the rest of it is in order.
    pub(super) fn is_signed_by(&self, key: &str) -> bool {
        let bytes = STANDARD.decode(key.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&bytes).unwrap();
        mac.update(format!("{}.{}.{}", self.id(), self.headers["webhook-timestamp"], self.raw).as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let sent = self.headers["webhook-timestamp"].parse::<i64>().unwrap();
        let now = jiff::Timestamp::now().as_second();
        self.headers["webhook-signature"].split(' ').any(|one| one == expected)
            && self.headers["content-type"] == "application/json"
            && self.body["id"] == self.id()
            && (now - sent).abs() < 300
    }
}

/// Listens until dropped.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Desk {
    mode: Mutex<Mode>,
    got: Mutex<Vec<Got>>,
}

impl Receiver {
    pub(super) async fn open() -> Self {
        Self::open_at("127.0.0.1:0").await
    }

    pub(super) async fn open_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Arc::new(Desk { mode: Mutex::new(Mode::Take), got: Mutex::default() });
        let router = Router::new().route("/results", post(take)).with_state(desk.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, desk, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/results", self.address)
    }

    pub(super) fn set(&self, mode: Mode) {
        *self.desk.mode.lock().unwrap() = mode;
    }

    pub(super) fn got(&self) -> Vec<Got> {
        self.desk.got.lock().unwrap().clone()
    }

    /// Waits until `done` says so of what came.
    pub(super) async fn until(&self, what: &str, done: impl Fn(&[Got]) -> bool) -> Vec<Got> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let got = self.got();
            if done(&got) {
                return got;
            }
            assert!(Instant::now() < end, "waited in vain for {what}; {} requests came", got.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    let mode = desk.mode.lock().unwrap().clone();
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
    let raw = String::from_utf8(body.to_vec()).unwrap();
    desk.got.lock().unwrap().push(Got {
        at: Instant::now(),
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: serde_json::from_str(&raw).unwrap(),
        raw,
        taken: matches!(mode, Mode::Take) || matches!(mode, Mode::Answer(200..=299, _)),
    });
    match mode {
        Mode::Take => StatusCode::NO_CONTENT.into_response(),
        Mode::Hang => std::future::pending().await,
        Mode::Answer(status, headers) => {
            let mut response = StatusCode::from_u16(status).unwrap().into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
    }
}

/// What was taken: in order, whole, each signed by `key`. Messages with how many events each has.
pub(super) fn assert_whole(got: &[Got], key: &str) -> BTreeMap<String, u64> {
    let mut reached: BTreeMap<String, u64> = BTreeMap::new();
    for one in got {
        assert!(one.is_signed_by(key), "{one:?}");
    }
    for one in got.iter().filter(|one| one.taken) {
        let Some(message) = one.message() else { continue };
        let last = reached.entry(message).or_default();
        // A repeat is allowed, a gap is not, nor an older one after a newer.
        assert!(one.seq() == *last || one.seq() == *last + 1, "{} after {last}: {one:?}", one.seq());
        *last = one.seq();
    }
    reached
}
