//! Brings receipts: signed form posts to loopback URLs, each at its time, retried, bounded, counted.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use serde::Serialize;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::comes_again::{ComesAgain, Failed};
use super::config::Receipts;
use super::signature::twilio_signature;
use super::{SimulatorError, loopback};
use crate::config::secret::Secret;

/// Twilio gives a webhook 15 s.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Names and values of a callback.
pub(super) type Fields = Vec<(&'static str, Cow<'static, str>)>;

/// Where a callback goes: the URL as the client gave it, which is what is signed, and as it is reached.
#[derive(Clone, Debug)]
pub(super) struct Target {
    given: Arc<str>,
    reached: Url,
    comes_again: ComesAgain,
}

/// One callback to bring.
#[derive(Clone)]
pub(super) struct Letter {
    pub(super) target: Arc<Target>,
    /// The same in every callback about one message or call.
    pub(super) common: Arc<Fields>,
    /// What this one says.
    pub(super) own: Fields,
    /// Sent as `I-Twilio-Idempotency-Token`, the same for every retry.
    pub(super) token: String,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The fields hold a telephone number.
        f.debug_struct("Letter").field("token", &self.token).finish_non_exhaustive()
    }
}

/// What became of the receipts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReceiptStats {
    /// Answered with 2xx.
    pub delivered: u64,
    /// Given up after the last retry.
    pub failed: u64,
    /// Not even queued: too many were waiting.
    pub dropped: u64,
    /// Asked for at an address that is not loopback, and therefore not sent.
    pub refused: u64,
    /// Waiting for their time, or under way.
    pub pending: u64,
}

#[derive(Debug)]
pub(super) struct Postman {
    shared: Arc<Shared>,
    deliver_to: Option<Url>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    client: reqwest::Client,
    key: Secret,
    queue: Mutex<BinaryHeap<Reverse<Due>>>,
    changed: Notify,
    room: Arc<Semaphore>,
    max_pending: usize,
    retries: Option<u32>,
    retry_after: Duration,
    order: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    under_way: AtomicU64,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    /// Those due at the same time leave in the order they came.
    order: u64,
    tries: u32,
    /// When it was tried first.
    first: Option<Instant>,
    letter: Letter,
}

impl Postman {
    pub(super) fn new(
        receipts: &Receipts,
        key: Secret,
        stop: CancellationToken,
    ) -> Result<Self, SimulatorError> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // Loopback whatever the resolver thinks.
            .resolve("localhost", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .pool_max_idle_per_host(receipts.max_in_flight)
            .build()
            .map_err(|_| SimulatorError::Client)?;
        let deliver_to = match &receipts.deliver_to {
            None => None,
            Some(base) => Some(loopback(base).ok_or(SimulatorError::DeliverTo)?),
        };
        let shared = Shared {
            client,
            key,
            queue: Mutex::default(),
            changed: Notify::new(),
            room: Arc::new(Semaphore::new(receipts.max_in_flight)),
            max_pending: receipts.max_pending,
            retries: receipts.retries,
            retry_after: Duration::from_millis(receipts.retry_ms),
            order: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared), deliver_to, stop })
    }

    /// Works the queue until the simulator stops.
    pub(super) async fn run(&self) {
        tokio::select! {
            () = self.shared.work() => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Where a callback URL leads, or `None` (counted) when that is not loopback.
    pub(super) fn target(&self, given: &str) -> Option<Arc<Target>> {
        // Twilio keeps its connection overrides in the fragment and signs without them.
        let (given, overrides) = given.split_once('#').unwrap_or((given, ""));
        let comes_again = ComesAgain::of(overrides);
        let reached = match &self.deliver_to {
            None => loopback(given),
            Some(base) => Url::parse(given).ok().map(|url| {
                let mut reached = base.clone();
                reached.set_path(url.path());
                reached.set_query(url.query());
                reached
            }),
        };
        if reached.is_none() {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
        }
        Some(Arc::new(Target { given: given.into(), reached: reached?, comes_again }))
    }

    /// Queues a callback.
    pub(super) fn bring(&self, letter: Letter, after: Duration) {
        self.shared.put(letter, after, (0, None));
    }

    /// Posts now and reads the answer: for the steps of a call that depend on what comes back. At most 64 KiB of
    /// it; `None` when there is no 2xx.
    pub(super) async fn ask(&self, letter: &Letter) -> Option<String> {
        self.shared.under_way.fetch_add(1, Ordering::Relaxed);
        let answer = self.shared.post(letter).await;
        let text = match answer {
            Ok(mut response) if response.status().is_success() => {
                let mut body = Vec::new();
                while let Ok(Some(chunk)) = response.chunk().await {
                    if body.len() + chunk.len() > 64 * 1024 {
                        break;
                    }
                    body.extend_from_slice(&chunk);
                }
                Some(String::from_utf8_lossy(&body).into_owned())
            }
            _ => None,
        };
        self.shared.under_way.fetch_sub(1, Ordering::Relaxed);
        let counter = if text.is_some() { &self.shared.delivered } else { &self.shared.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        text
    }

    pub(super) fn stats(&self) -> ReceiptStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReceiptStats {
            delivered: read(&self.shared.delivered),
            failed: read(&self.shared.failed),
            dropped: read(&self.shared.dropped),
            refused: read(&self.shared.refused),
            pending: self.shared.lock().len() as u64 + read(&self.shared.under_way),
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, BinaryHeap<Reverse<Due>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, letter: Letter, after: Duration, (tries, first): (u32, Option<Instant>)) {
        let due = Due {
            at: Instant::now() + after,
            order: self.order.fetch_add(1, Ordering::Relaxed),
            tries,
            first,
            letter,
        };
        let mut queue = self.lock();
        if queue.len() >= self.max_pending {
            drop(queue);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_next = queue.peek().is_none_or(|Reverse(first)| due.at < first.at);
        queue.push(Reverse(due));
        drop(queue);
        if is_next {
            self.changed.notify_one();
        }
    }

    async fn work(self: &Arc<Self>) {
        loop {
            let (due, next) = self.take_due();
            for item in due {
                // Closed never; were it, the receipt would go without a place.
                let place = Arc::clone(&self.room).acquire_owned().await.ok();
                let shared = Arc::clone(self);
                tokio::spawn(async move {
                    shared.deliver(item).await;
                    drop(place);
                });
            }
            match next {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Those due now (a few at a time, so that the lock is short), and when to look again.
    fn take_due(&self) -> (Vec<Due>, Option<Instant>) {
        let now = Instant::now();
        let mut due = Vec::new();
        let mut queue = self.lock();
        while due.len() < 256 && queue.peek().is_some_and(|Reverse(first)| first.at <= now) {
            due.extend(queue.pop().map(|Reverse(item)| item));
        }
        self.under_way.fetch_add(due.len() as u64, Ordering::Relaxed);
        (due, queue.peek().map(|Reverse(first)| first.at))
    }

    async fn deliver(&self, due: Due) {
        let first = due.first.unwrap_or_else(Instant::now);
        let failed = match self.post(&due.letter).await {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(Failed::Answered(answer.status().as_u16())),
            Err(error) if error.is_connect() => Some(Failed::Connecting),
            Err(_) => Some(Failed::Reading),
        };
        let again = |failed| match self.retries {
            Some(retries) => due.tries < retries,
            None => {
                due.letter.target.comes_again.is_due(due.tries, failed, first.elapsed() + self.retry_after)
            }
        };
        match failed {
            None => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Some(failed) if again(failed) => {
                self.put(due.letter, self.retry_after, (due.tries + 1, Some(first)));
            }
            Some(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    async fn post(&self, letter: &Letter) -> reqwest::Result<reqwest::Response> {
        let all = letter.common.iter().chain(&letter.own);
        let fields: Vec<(&str, &str)> = all.map(|(name, value)| (*name, &**value)).collect();
        let signature = twilio_signature(self.key.expose(), &letter.target.given, &fields);
        self.client
            .post(letter.target.reached.clone())
            .header("X-Twilio-Signature", signature)
            .header("I-Twilio-Idempotency-Token", &letter.token)
            .form(&fields)
            .send()
            .await
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
