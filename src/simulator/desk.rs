//! What every protocol shares: the clock, the switches, the log, and the one way a request ends.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::response::Response;
use tokio_util::sync::CancellationToken;

use super::audit::{Auditor, Sampler};
use super::clock::Clock;
use super::config::{NumberRule, ProviderKind, SimulatorConfig};
use super::dice::{Dice, Stream};
use super::faults::{Fate, Plan, Switchboard};
use super::hits::{Hit, HitLog, Reply};
use super::postman::Postman;
use super::wire::Peer;
use crate::domain::phi::Phi;

/// Shared by all handlers.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) config: SimulatorConfig,
    pub(super) clock: Clock,
    pub(super) dice: Dice,
    pub(super) hits: HitLog,
    pub(super) switches: Switchboard,
    pub(super) postman: Postman,
    pub(super) kept: Kept,
    pub(super) sampler: Sampler,
    pub(super) stop: CancellationToken,
    /// Requests that send nothing: look-ups, tokens, control.
    pub(super) side_requests: AtomicU64,
    numbers: HashMap<String, NumberRule>,
    ids: Dice,
    next_id: AtomicU64,
}

impl Desk {
    pub(super) fn new(
        config: SimulatorConfig,
        auditor: Option<Arc<dyn Auditor>>,
        stop: CancellationToken,
    ) -> Result<Self, super::SimulatorError> {
        let hits = HitLog::open(config.keep_hits, config.hit_log.as_deref())
            .map_err(super::SimulatorError::HitLog)?;
        let clock = Clock::start();
        // Ids must not come back when a ledger outlives a simulator, so unlike the fates they do not replay.
        let run = clock.now().wall_us.unsigned_abs();
        Ok(Self {
            dice: Dice::new(config.seed),
            hits,
            switches: Switchboard::new(&config),
            postman: Postman::new(&config.receipts, config.twilio.auth_token.clone(), stop.clone())?,
            kept: Kept::new(config.keep_messages),
            sampler: Sampler::new(auditor, config.audit_every),
            stop,
            side_requests: AtomicU64::new(0),
            numbers: config.numbers.iter().map(|(n, rule)| (n.expose().to_owned(), rule.clone())).collect(),
            ids: Dice::new(config.seed ^ run),
            next_id: AtomicU64::new(0),
            clock,
            config,
        })
    }

    /// The rule for a number, if there is one.
    pub(super) fn rule(&self, number: &str) -> Option<&NumberRule> {
        self.numbers.get(number)
    }

    /// A position in the streams of chance, and 32 hexadecimal digits never given before.
    pub(super) fn next_id(&self) -> (u64, String) {
        let n = self.next_id.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}{:016x}", self.ids.bits(Stream::Id, n), self.ids.bits(Stream::Code, n));
        (n, id)
    }

    /// Ends a request to send: writes the hit down, shows it to the auditor, waits as long as the plan says, and
    /// then answers, goes silent, or cuts the connection.
    pub(super) async fn conclude(&self, peer: &Peer, hit: &Hit, plan: &Plan, response: Response) -> Response {
        self.hits.record(hit);
        self.sampler.look(hit).await;
        self.finish(peer, plan, response).await
    }

    /// Ends a request that sends nothing.
    pub(super) async fn conclude_side(&self, peer: &Peer, plan: &Plan, response: Response) -> Response {
        self.side_requests.fetch_add(1, Ordering::Relaxed);
        self.finish(peer, plan, response).await
    }

    async fn finish(&self, peer: &Peer, plan: &Plan, response: Response) -> Response {
        self.pause(plan).await;
        match reply_of(plan.fate) {
            Reply::Sent => {}
            Reply::Lost => peer.cut(),
            Reply::Stalled => {
                // The future is dropped here when the client gives up first.
                self.stop.cancelled().await;
                peer.cut();
            }
        }
        response
    }

    /// The latency, cut short by a shutdown.
    pub(super) async fn pause(&self, plan: &Plan) {
        if !plan.delay.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(plan.delay) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}

/// What a fate does to the answer.
pub(super) const fn reply_of(fate: Fate) -> Reply {
    match fate {
        Fate::Lost { .. } => Reply::Lost,
        Fate::Stalled { .. } => Reply::Stalled,
        _ => Reply::Sent,
    }
}

/// One message that was taken, as the console shows it and a look-up finds it.
#[derive(Clone, Debug)]
pub struct KeptMessage {
    pub kind: ProviderKind,
    /// The id given to the sender.
    pub reference: String,
    pub to: Phi,
    pub from: String,
    /// SMS text, TwiML or its URL, FHIR JSON, or the whole mail as it came.
    pub body: Phi,
    /// Microseconds since the simulator started.
    pub at_us: u64,
    /// Microseconds since 1970.
    pub wall_us: i64,
    pub(super) truth: Truth,
}

/// What really becomes of a message, whatever its receipts say. Times in microseconds of the monotonic clock.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) first: &'static str,
    pub(super) steps: Vec<(u64, &'static str)>,
    pub(super) error_code: Option<u32>,
}

impl Truth {
    /// Over as soon as it began.
    pub(super) const fn at_once(status: &'static str) -> Self {
        Self { first: status, steps: Vec::new(), error_code: None }
    }

    /// When it arrives, if it does.
    pub(super) fn arrived_us(&self) -> Option<u64> {
        self.steps.iter().find(|(_, status)| *status == "delivered").map(|(at, _)| *at)
    }
}

impl KeptMessage {
    /// A patient wrote it to us.
    #[must_use]
    pub fn is_inbound(&self) -> bool {
        self.truth.first == RECEIVED
    }

    /// Where the message stands at an instant of the simulator's monotonic clock, in the provider's word.
    #[must_use]
    pub fn status_at(&self, now_us: u64) -> &'static str {
        self.truth.steps.iter().rev().find(|(at, _)| *at <= now_us).map_or(self.truth.first, |(_, word)| word)
    }

    /// The provider's code, once it has failed.
    #[must_use]
    pub fn error_code_at(&self, now_us: u64) -> Option<u32> {
        let over = self.truth.steps.last().is_some_and(|(at, _)| *at <= now_us);
        self.truth.error_code.filter(|_| over)
    }
}

/// How what a patient wrote stands, from the first to the last.
pub(super) const RECEIVED: &str = "received";

/// Texts kept at once, in bytes, however few the messages.
const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;

/// The last messages taken, in memory only.
#[derive(Debug)]
pub(super) struct Kept {
    shelf: Mutex<KeptShelf>,
    room: usize,
}

#[derive(Debug, Default)]
struct KeptShelf {
    messages: VecDeque<Arc<KeptMessage>>,
    bytes: usize,
}

impl Kept {
    fn new(room: usize) -> Self {
        Self { shelf: Mutex::default(), room }
    }

    /// Keeps a message, and forgets the oldest where there is no room.
    pub(super) fn keep(&self, message: KeptMessage) {
        let size = message.body.expose().len();
        let message = Arc::new(message);
        let mut forgotten = Vec::new();
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.bytes += size;
        shelf.messages.push_back(message);
        while shelf.messages.len() > self.room || shelf.bytes > MAX_KEPT_BYTES {
            let Some(oldest) = shelf.messages.pop_front() else { break };
            shelf.bytes -= oldest.body.expose().len();
            forgotten.push(oldest);
        }
        // Freed outside the lock.
        drop(shelf);
        drop(forgotten);
    }

    /// Those that match, the newest first, at most `limit`.
    pub(super) fn newest(
        &self,
        limit: usize,
        matches: impl Fn(&KeptMessage) -> bool,
    ) -> Vec<Arc<KeptMessage>> {
        let shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.messages.iter().rev().filter(|m| matches(m)).take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> KeptMessage {
        KeptMessage {
            kind: ProviderKind::Smtp,
            reference: bytes.to_string(),
            to: Phi::new("ana@example.org"),
            from: String::new(),
            body: Phi::new("x".repeat(bytes)),
            at_us: 0,
            wall_us: 0,
            truth: Truth::at_once("delivered"),
        }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_much_of_them() {
        let left = |room, sizes: &[usize]| {
            let kept = Kept::new(room);
            sizes.iter().for_each(|size| kept.keep(message(*size)));
            kept.newest(9, |_| true).iter().map(|m| m.body.expose().len()).collect::<Vec<_>>()
        };
        assert_eq!(left(2, &[1, 2, 3]), [3, 2]);
        assert!(left(0, &[1]).is_empty());
        let half = MAX_KEPT_BYTES / 2;
        assert_eq!(left(9, &[1, half, half]), [half, half]);
    }
}
