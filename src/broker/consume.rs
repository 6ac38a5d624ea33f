//! Consuming one queue: deliveries out, commits in, acknowledgements of the committed prefix back to the broker.
//!
//! A prefetch belongs to a consumer and cannot be changed while it consumes (quorum queues refuse the limit that
//! is shared by a channel). So a new window means: cancel, take what is still on its way, consume again *on the
//! same channel*. The tags go on counting, and acknowledgements of earlier deliveries stay good.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer as Stream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::acks::{AckPrefix, Token};
use super::delivery::Delivery;
use super::names::QueueRole;
use super::session::{DownReason, Session};
use super::window::{Room, Window};

/// Numbers the channels of this process.
static CHANNELS: AtomicU64 = AtomicU64::new(1);

/// The pause before a channel that failed is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

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

    /// Takes no more deliveries until [`Self::resume`]; the ledger cannot be written. What is at hand stays at
    /// hand, so that it can still be committed; nothing is handed back, nothing spins.
    pub fn pause(&self) {
        self.0.paused.send_replace(true);
    }

    /// Takes deliveries again, beginning with a small window.
    pub fn resume(&self) {
        self.0.paused.send_replace(false);
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
struct Shared {
    prefix: Mutex<AckPrefix>,
    changed: Notify,
    paused: watch::Sender<bool>,
}

impl Shared {
    fn prefix(&self) -> MutexGuard<'_, AckPrefix> {
        self.prefix.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_current(&self, token: Token) -> bool {
        token.generation() == self.prefix().generation()
    }
}

pub(super) fn consumer(
    queue: QueueRole,
    options: ConsumeOptions,
    sessions: watch::Receiver<Option<Arc<Session>>>,
    stop: CancellationToken,
) -> (Consumer, Deliveries, Acks) {
    // The last window and the one before it may both be on their way.
    let (sender, receiver) = mpsc::channel(2 * usize::from(options.max_prefetch.max(1)));
    let (paused, paused_seen) = watch::channel(false);
    let shared = Arc::new(Shared { prefix: Mutex::default(), changed: Notify::new(), paused });
    let window = Window::new(options.max_prefetch, options.held_bytes);
    let acks = Acks(Arc::clone(&shared));
    let deliveries = Deliveries { receiver, shared: Arc::clone(&shared) };
    (Consumer { queue, sessions, stop, sender, shared, paused: paused_seen, window }, deliveries, acks)
}

/// The task behind one consumed queue.
#[derive(Debug)]
pub(super) struct Consumer {
    queue: QueueRole,
    sessions: watch::Receiver<Option<Arc<Session>>>,
    stop: CancellationToken,
    sender: mpsc::Sender<Delivery>,
    shared: Arc<Shared>,
    paused: watch::Receiver<bool>,
    window: Window,
}

/// The channel is of no more use; the next one starts from the beginning.
struct ChannelLost;

/// Why a consumer was stopped on a channel that is still good.
enum Stopped {
    /// Another window is due, or a pause.
    ByUs,
    /// The broker cancelled it: its queue is gone.
    ByBroker,
}

impl Consumer {
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        let sender = self.sender.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = sender.closed() => {}
            () = self.run_sessions() => {}
        }
    }

    async fn run_sessions(&mut self) {
        loop {
            let session = match self.sessions.wait_for(Option::is_some).await {
                Ok(session) => session.clone(),
                Err(_) => return,
            };
            let Some(session) = session else { continue };
            session.while_up(self.run_channels(&session)).await;
            // The same session may still be on show for a moment.
            let ended =
                |now: &Option<Arc<Session>>| now.as_ref().is_none_or(|now| !Arc::ptr_eq(now, &session));
            if self.sessions.wait_for(ended).await.is_err() {
                return;
            }
        }
    }

    /// One channel after the other, as long as the session stands.
    async fn run_channels(&mut self, session: &Session) {
        loop {
            self.shared.prefix().reopen(CHANNELS.fetch_add(1, Ordering::Relaxed));
            self.window.restart();
            match timeout(session.limits.answer, session.intake.create_channel()).await {
                Ok(Ok(channel)) => {
                    let Err(ChannelLost) = self.use_channel(session, &channel).await;
                    // The broker hands out again what this channel held, but only once it is closed.
                    if channel.status().connected() {
                        let _ =
                            timeout(session.limits.answer, channel.close(200, "starting over".into())).await;
                    }
                }
                _ => return session.fail(DownReason::Closed),
            }
            sleep(REOPEN_PAUSE).await;
            session.repair().await;
        }
    }

    async fn use_channel(
        &mut self,
        session: &Session,
        channel: &Channel,
    ) -> Result<std::convert::Infallible, ChannelLost> {
        loop {
            self.wait_for_room(channel).await?;
            let prefetch = self.window.prefetch();
            let mut stream = self.start(session, channel, prefetch).await?;
            match self.take(session, channel, &mut stream, prefetch).await? {
                Stopped::ByUs => self.cancel(session, channel, stream).await?,
                Stopped::ByBroker => return Err(ChannelLost),
            }
        }
    }

    /// Keeps acknowledging while paused or full.
    async fn wait_for_room(&mut self, channel: &Channel) -> Result<(), ChannelLost> {
        let mut room = Room::Full;
        loop {
            self.acknowledge(channel).await?;
            let paused = *self.paused.borrow_and_update();
            room = self.window.room(self.shared.prefix().held_bytes(), room);
            if !paused && room == Room::Open {
                return Ok(());
            }
            if paused {
                self.window.restart();
            }
            tokio::select! {
                () = self.shared.changed.notified() => {}
                changed = self.paused.changed() => changed.map_err(|_| ChannelLost)?,
            }
        }
    }

    async fn start(
        &self,
        session: &Session,
        channel: &Channel,
        prefetch: u16,
    ) -> Result<Stream, ChannelLost> {
        let name = self.queue.name(&session.prefix);
        let start = async {
            channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
            channel
                .basic_consume(name.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
                .await
        };
        timeout(session.limits.answer, start).await.map_err(|_| ChannelLost)?.map_err(|_| ChannelLost)
    }

    /// Takes deliveries until another window or a pause is due.
    async fn take(
        &mut self,
        session: &Session,
        channel: &Channel,
        stream: &mut Stream,
        prefetch: u16,
    ) -> Result<Stopped, ChannelLost> {
        let mut look = interval(session.limits.watch);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        let mut silence = Silence::default();
        let sender = self.sender.clone();
        loop {
            tokio::select! {
                biased;
                () = self.shared.changed.notified() => self.acknowledge(channel).await?,
                changed = self.paused.changed() => changed.map_err(|_| ChannelLost)?,
                next = next_with_room(&sender, stream) => {
                    let (permit, delivery) = match next {
                        Ok(arrival) => arrival,
                        Err(Ended::Cancelled) => return Ok(Stopped::ByBroker),
                        Err(Ended::Failed) => return Err(ChannelLost),
                    };
                    silence.heard();
                    permit.send(accept(&self.shared, &mut self.window, self.queue, delivery)?);
                }
                _ = look.tick() => {
                    let idle = self.shared.prefix().outstanding() == 0;
                    if silence.is_suspicious(idle) && session.waiting(self.queue).await != Some(0) {
                        silence.confirm()?;
                    }
                }
            }
            if self.wants_other_window(prefetch) {
                return Ok(Stopped::ByUs);
            }
        }
    }

    /// A pause, too many bytes, or a window that has doubled or halved.
    fn wants_other_window(&mut self, prefetch: u16) -> bool {
        if *self.paused.borrow() {
            return true;
        }
        let held = self.shared.prefix().held_bytes();
        if self.window.room(held, Room::Open) == Room::Full {
            self.window.overran();
            return true;
        }
        self.window.outgrows(prefetch)
    }

    /// Stops a consumer and takes what was on its way, so that no tag is missing.
    async fn cancel(
        &mut self,
        session: &Session,
        channel: &Channel,
        mut stream: Stream,
    ) -> Result<(), ChannelLost> {
        let drain = async {
            channel
                .basic_cancel(stream.tag(), BasicCancelOptions::default())
                .await
                .map_err(|_| ChannelLost)?;
            while let Some(delivery) = stream.next().await {
                let delivery = delivery.map_err(|_| ChannelLost)?;
                let delivery = accept(&self.shared, &mut self.window, self.queue, delivery)?;
                // Only stale deliveries of lost channels can have filled it.
                self.sender.try_send(delivery).map_err(|_| ChannelLost)?;
            }
            Ok(())
        };
        timeout(session.limits.answer, drain).await.unwrap_or(Err(ChannelLost))
    }

    async fn acknowledge(&mut self, channel: &Channel) -> Result<(), ChannelLost> {
        let due = self.shared.prefix().take_due();
        if let Some(due) = due {
            channel.basic_ack(due.tag, BasicAckOptions { multiple: true }).await.map_err(|_| ChannelLost)?;
            self.window.batch_committed();
        }
        Ok(())
    }
}

/// Notices a consumer that gets nothing although messages wait.
#[derive(Debug, Default)]
struct Silence {
    looks: u8,
    confirmed: bool,
}

impl Silence {
    fn heard(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing came since the look before while nothing was outstanding.
    fn is_suspicious(&mut self, idle: bool) -> bool {
        if !idle {
            self.heard();
            return false;
        }
        self.looks = self.looks.saturating_add(1);
        self.looks > 1
    }

    /// Messages wait: the second time in a row it is no accident.
    fn confirm(&mut self) -> Result<(), ChannelLost> {
        if self.confirmed {
            tracing::warn!("a consumer got nothing although messages wait; opening its channel again");
            return Err(ChannelLost);
        }
        self.confirmed = true;
        Ok(())
    }
}

/// Why no more deliveries come.
enum Ended {
    /// The broker cancelled the consumer.
    Cancelled,
    /// The channel failed.
    Failed,
}

type Arrival<'a> = (mpsc::Permit<'a, Delivery>, lapin::message::Delivery);

/// The next delivery, once there is room for it. Safe to cancel: a delivery is only taken when it is returned.
async fn next_with_room<'a>(
    sender: &'a mpsc::Sender<Delivery>,
    stream: &mut Stream,
) -> Result<Arrival<'a>, Ended> {
    let permit = sender.reserve().await.map_err(|_| Ended::Failed)?;
    match stream.next().await {
        Some(Ok(delivery)) => Ok((permit, delivery)),
        Some(Err(_)) => Err(Ended::Failed),
        None => Err(Ended::Cancelled),
    }
}

fn accept(
    shared: &Shared,
    window: &mut Window,
    queue: QueueRole,
    delivery: lapin::message::Delivery,
) -> Result<Delivery, ChannelLost> {
    let bytes = delivery.data.len();
    window.saw(bytes);
    let token = shared.prefix().delivered(delivery.delivery_tag, bytes).map_err(|_| ChannelLost)?;
    Ok(Delivery::new(delivery, queue, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_given_up_when_messages_wait_at_two_looks_in_silence() {
        let mut silence = Silence::default();
        assert!(!silence.is_suspicious(true), "the first look only starts the watch");
        assert!(silence.is_suspicious(true));
        assert!(silence.confirm().is_ok());
        assert!(silence.is_suspicious(true));
        assert!(silence.confirm().is_err());
    }

    #[test]
    fn a_delivery_or_one_that_is_not_committed_ends_the_suspicion() {
        let mut silence = Silence::default();
        for end in [
            |silence: &mut Silence| silence.heard(),
            |silence: &mut Silence| assert!(!silence.is_suspicious(false)),
        ] {
            silence.is_suspicious(true);
            assert!(silence.is_suspicious(true) && silence.confirm().is_ok());
            end(&mut silence);
            assert!(!silence.is_suspicious(true));
        }
    }
}
