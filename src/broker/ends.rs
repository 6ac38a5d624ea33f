//! The two ends of a consumed queue that its users hold: deliveries out, commits in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::acks::{AckPrefix, Token};
use super::delivery::Delivery;

/// How far the broker may run ahead of the ledger.
#[derive(Clone, Copy, Debug)]
pub struct ConsumeOptions {
    /// The most deliveries that are not committed, once the window has grown.
    pub max_prefetch: u16,
    /// The most body bytes that are not committed; beyond it no more are taken.
    pub held_bytes: usize,
}

impl Default for ConsumeOptions {
    /// 2,000 deliveries and 64 MiB.
    fn default() -> Self {
        Self { max_prefetch: 2000, held_bytes: 64 << 20 }
    }
}

/// Where deliveries come out. Dropping it ends the consumer.
#[derive(Debug)]
pub struct Deliveries {
    receiver: mpsc::Receiver<Delivery>,
    shared: Arc<Shared>,
}

impl Deliveries {
    /// The next delivery; `None` once the broker was closed.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.receiver.recv().await?;
            if self.shared.is_current(delivery.token) {
                return Some(delivery);
            }
        }
    }

    /// Waits for at least one delivery, then adds to `batch` what is there, up to `limit` in all. `false` once the
    /// broker was closed and nothing is left. Safe to cancel: nothing is lost.
    pub async fn next_batch(&mut self, batch: &mut Vec<Delivery>, limit: usize) -> bool {
        loop {
            let room = limit.saturating_sub(batch.len()).max(1);
            if self.receiver.recv_many(batch, room).await == 0 {
                return false;
            }
            // Those of a lost channel come again by themselves.
            batch.retain(|delivery| self.shared.is_current(delivery.token));
            if !batch.is_empty() {
                return true;
            }
        }
    }
}

/// Where commits go in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acks(Arc<Shared>);

impl Acks {
    /// The ledger holds these deliveries (accepted, duplicate or parked). Acknowledged as soon as everything before
    /// them is committed too. Tokens of a channel that was lost are ignored: those deliveries come again.
    pub fn committed(&self, tokens: impl IntoIterator<Item = Token>) {
        let mut prefix = self.0.prefix();
        for token in tokens {
            prefix.committed(token);
        }
        drop(prefix);
        self.0.changed.notify_one();
    }

    /// How many deliveries are not acknowledged yet, and their body bytes.
    #[must_use]
    pub fn outstanding(&self) -> (usize, usize) {
        let prefix = self.0.prefix();
        (prefix.outstanding(), prefix.held_bytes())
    }
}

/// What the consumer's task and its users share.
#[derive(Debug)]
pub(super) struct Shared {
    prefix: Mutex<AckPrefix>,
    /// Something was committed.
    pub(super) changed: Notify,
}

impl Shared {
    pub(super) fn prefix(&self) -> MutexGuard<'_, AckPrefix> {
        self.prefix.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_current(&self, token: Token) -> bool {
        token.generation() == self.prefix().generation()
    }
}

/// Both ends, what they share with the task, and where the task puts deliveries in.
pub(super) fn ends(room: usize) -> (Deliveries, Acks, Arc<Shared>, mpsc::Sender<Delivery>) {
    let (sender, receiver) = mpsc::channel(room);
    let shared = Arc::new(Shared { prefix: Mutex::default(), changed: Notify::new() });
    let deliveries = Deliveries { receiver, shared: Arc::clone(&shared) };
    (deliveries, Acks(Arc::clone(&shared)), shared, sender)
}
