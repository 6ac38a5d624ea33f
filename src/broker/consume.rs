//! Consuming one queue: deliveries out, commits in, acknowledgements of the committed prefix back to the broker.
//!
//! A prefetch belongs to a consumer and cannot be changed while it consumes (quorum queues refuse the limit that
//! is shared by a channel). So a new window means: cancel, take what is still on its way, wait until all of it is
//! committed and acknowledged, and consume again, on a new channel.
//!
//! A consumer that has had nothing to do for a while is replaced in the same way. A quorum queue that is deleted and
//! declared again at once takes its consumer along and tells nobody: it counts as delivered what never arrives (seen
//! with RabbitMQ 3.10, where less than some 50 ms lie between). Closing the channel hands it back.
//!
//! What the queue has sent towards a cancelled consumer and the channel has not, goes back and comes again later
//! than what follows it. So a consumer is replaced when its window is full: then nothing is on its way, and the
//! queue's order is kept. Only bodies that pass the limit of bytes stop it at once.
//!
//! While the ledger is away nothing is committed: the window fills, and no more comes. There is nothing to pause.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer as Stream, ErrorKind};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::channel::open_channel;
use super::delivery::Delivery;
use super::ends::{Acks, ConsumeOptions, Deliveries, Shared, ends};
use super::names::QueueRole;
use super::session::{DownReason, Session};
use super::window::Window;

/// Numbers the channels of this process.
static CHANNELS: AtomicU64 = AtomicU64::new(1);

/// The pause before a channel that failed is opened again; of a queue that is refused again and again it is a look.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// A queue that the broker refuses is named in the log so often.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// How long the last acknowledgement may take.
const FINISH_LIMIT: Duration = Duration::from_secs(1);

/// A queue's task, to be run, and the two ends for its users.
pub(super) fn consumer(
    queue: QueueRole,
    options: ConsumeOptions,
    sessions: watch::Receiver<Option<Arc<Session>>>,
    stop: CancellationToken,
    refused: Refused,
) -> (Consumer, Deliveries, Acks) {
    // The last window and the one before it may both be on their way.
    let room = 2 * usize::from(options.max_prefetch.max(1));
    let (deliveries, acks, shared, sender) = ends(room);
    let window = Window::new(options.max_prefetch, options.held_bytes);
    let refusals = Refusals { all: refused, in_a_row: 0, said: None };
    (Consumer { queue, sessions, stop, sender, shared, window, channel: None, refusals }, deliveries, acks)
}

/// The task behind one consumed queue.
#[derive(Debug)]
pub(super) struct Consumer {
    queue: QueueRole,
    sessions: watch::Receiver<Option<Arc<Session>>>,
    stop: CancellationToken,
    sender: mpsc::Sender<Delivery>,
    shared: Arc<Shared>,
    window: Window,
    /// The channel in use, for the end.
    channel: Option<Channel>,
    refusals: Refusals,
}

/// The queues that the broker refuses to let anybody here consume, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused(Arc<Mutex<BTreeSet<&'static str>>>);

impl Refused {
    pub(super) fn all(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn mark(&self, queue: QueueRole, is_refused: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_refused {
            all.insert(queue.word());
        } else {
            all.remove(queue.word());
        }
    }
}

/// How often in a row the broker has refused a queue, and when that was last said.
#[derive(Debug)]
struct Refusals {
    all: Refused,
    in_a_row: u32,
    said: Option<Instant>,
}

impl Refusals {
    /// The first one is mostly of a queue that is missing, and declared again at once.
    fn another(&mut self, queue: QueueRole, code: u16) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row < 2 {
            return;
        }
        self.all.mark(queue, true);
        if self.said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
            self.said = Some(Instant::now());
            let queue = queue.word();
            tracing::warn!(queue, code, "the broker refuses to let this queue be consumed; trying on");
        }
    }

    /// How long to wait for another try.
    fn pause(&self, look: Duration) -> Duration {
        if self.in_a_row < 2 { REOPEN_PAUSE } else { look.max(REOPEN_PAUSE) }
    }

    fn are_over(&mut self, queue: QueueRole) {
        self.in_a_row = 0;
        self.said = None;
        self.all.mark(queue, false);
    }
}

/// The channel is of no more use; the next one starts from the beginning.
#[derive(Debug)]
pub(super) struct ChannelLost;

impl Consumer {
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        let sender = self.sender.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = sender.closed() => {}
            () = self.run_sessions() => {}
        }
        self.finish().await;
    }

    /// Sends what is due and closes the channel, so that what was committed does not come again. Only the channel
    /// keeps this order: closing the connection could overtake the acknowledgement.
    async fn finish(&mut self) {
        let Some(channel) = self.channel.take().filter(|channel| channel.status().connected()) else {
            return;
        };
        let last = async {
            if self.acknowledge(&channel).await.is_ok() {
                let _ = channel.close(200, "done".into()).await;
            }
        };
        let _ = timeout(FINISH_LIMIT, last).await;
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
        self.window.restart();
        loop {
            self.shared.prefix().reopen(CHANNELS.fetch_add(1, Ordering::Relaxed));
            let used = match timeout(session.limits.answer, open_channel(&session.intake)).await {
                Ok(Ok(channel)) => {
                    self.channel = Some(channel.clone());
                    let used = self.use_channel(session, &channel).await;
                    // The broker hands out again what this channel held, but only once it is closed.
                    if channel.status().connected() {
                        let _ =
                            timeout(session.limits.answer, channel.close(200, "starting over".into())).await;
                    }
                    used
                }
                _ => return session.fail(DownReason::Closed),
            };
            if let Err(ChannelLost) = used {
                self.window.restart();
                sleep(self.refusals.pause(session.limits.watch)).await;
                session.repair().await;
            }
        }
    }

    /// Consumes by one window, until another consumer is due and nothing is at hand.
    async fn use_channel(&mut self, session: &Session, channel: &Channel) -> Result<(), ChannelLost> {
        let prefetch = self.window.prefetch();
        let mut stream = self.start(session, channel, prefetch).await?;
        self.take(session, channel, &mut stream, prefetch).await?;
        self.cancel(session, channel, stream).await?;
        loop {
            self.acknowledge(channel).await?;
            if self.shared.prefix().outstanding() == 0 {
                return Ok(());
            }
            self.shared.changed.notified().await;
        }
    }

    async fn start(
        &mut self,
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
        match timeout(session.limits.answer, start).await {
            Ok(Ok(stream)) => {
                self.refusals.are_over(self.queue);
                Ok(stream)
            }
            Ok(Err(error)) => {
                // Of a channel alone: a connection that is lost is told elsewhere.
                if let ErrorKind::ProtocolError(refusal) = error.kind()
                    && error.is_amqp_soft_error()
                {
                    self.refusals.another(self.queue, refusal.get_id());
                }
                Err(ChannelLost)
            }
            Err(_) => Err(ChannelLost),
        }
    }

    /// Takes deliveries until another window is due, or none comes.
    async fn take(
        &mut self,
        session: &Session,
        channel: &Channel,
        stream: &mut Stream,
        prefetch: u16,
    ) -> Result<(), ChannelLost> {
        let mut look = interval(session.limits.watch);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        let mut heard = false;
        let sender = self.sender.clone();
        loop {
            tokio::select! {
                biased;
                () = self.shared.changed.notified() => {
                    // Asked before the acknowledgement, which lets the queue send more.
                    let full = self.shared.prefix().outstanding() >= usize::from(prefetch);
                    self.window.batch_committed();
                    if full && self.window.outgrows(prefetch) {
                        return Ok(());
                    }
                    self.acknowledge(channel).await?;
                }
                next = next_with_room(&sender, stream) => {
                    let (permit, delivery) = next?;
                    heard = true;
                    permit.send(accept(&self.shared, &mut self.window, self.queue, delivery)?);
                    if self.window.is_passed(self.shared.prefix().held_bytes()) {
                        self.window.overran();
                        return Ok(());
                    }
                }
                _ = look.tick() => {
                    // What came of lost channels may still fill the room.
                    let waits = self.shared.prefix().outstanding() > 0 || sender.capacity() == 0;
                    let had_work = std::mem::take(&mut heard) || waits;
                    if !had_work {
                        return Ok(());
                    }
                }
            }
        }
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
        }
        Ok(())
    }
}

type Arrival<'a> = (mpsc::Permit<'a, Delivery>, lapin::message::Delivery);

/// The next delivery, once there is room for it. Safe to cancel: a delivery is only taken when it is returned.
async fn next_with_room<'a>(
    sender: &'a mpsc::Sender<Delivery>,
    stream: &mut Stream,
) -> Result<Arrival<'a>, ChannelLost> {
    let permit = sender.reserve().await.map_err(|_| ChannelLost)?;
    match stream.next().await {
        Some(Ok(delivery)) => Ok((permit, delivery)),
        // The channel failed; or the broker cancelled the consumer, because its queue is gone.
        Some(Err(_)) | None => Err(ChannelLost),
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
