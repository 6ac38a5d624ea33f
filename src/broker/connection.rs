//! The supervisor: keeps a session up for as long as the program runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::uri::AMQPUri;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::consume::{self, Refused};
use super::ends::{Acks, ConsumeOptions, Deliveries};
use super::findings::Finding;
use super::names::{Prefix, QueueRole};
use super::publish::Publisher;
use super::quarantine;
use super::session::{DownReason, Limits, Session};
use super::topology::{self, TopologyError};

/// The first pause between two attempts to connect; it doubles up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Short enough that intake resumes within five seconds after the broker's port opens.
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Where the broker is and how patient we are with it.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    uri: AMQPUri,
    prefix: Prefix,
    /// Seconds without a sign of life, twice over, until the connection counts as lost.
    heartbeat: Duration,
    watch: Duration,
}

/// What is wrong with a broker URL, without the URL: it holds a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an AMQP address; write it as amqp://user:password@host:5672/vhost, or amqps:// for TLS")]
pub struct UrlError;

impl BrokerOptions {
    /// Options for an `amqp://` or `amqps://` URL, with a heartbeat of 10 s unless the URL sets one.
    ///
    /// # Errors
    /// When it is no such URL.
    pub fn new(url: &str, prefix: Prefix) -> Result<Self, UrlError> {
        let uri: AMQPUri = url.parse().map_err(|_| UrlError)?;
        let heartbeat = Duration::from_secs(uri.query.heartbeat.filter(|&s| s > 0).unwrap_or(10).into());
        Ok(Self { uri, prefix, heartbeat, watch: Duration::from_millis(2_500) })
    }

    /// Another heartbeat, of at least a second: a silent connection is given up after two of them.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat.max(Duration::from_secs(1));
        self
    }

    /// How often the watchdog asks both connections for an answer, and declares again what was deleted.
    #[must_use]
    pub fn with_watch(mut self, watch: Duration) -> Self {
        self.watch = watch.max(Duration::from_millis(50));
        self
    }

    fn uri(&self) -> AMQPUri {
        let mut uri = self.uri.clone();
        uri.query.heartbeat = Some(u16::try_from(self.heartbeat.as_secs()).unwrap_or(u16::MAX));
        uri
    }

    fn limits(&self) -> Limits {
        Limits { answer: self.heartbeat * 2, watch: self.watch }
    }
}

/// Whether the broker can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerState {
    /// Both connections stand and everything is declared.
    Up,
    /// They do not; we keep trying.
    Down {
        /// Since when.
        since: Instant,
        /// The latest reason.
        reason: DownReason,
    },
}

/// The connection to RabbitMQ, kept up by a task of its own. Cheap to clone; lives until [`Broker::close`].
#[derive(Clone, Debug)]
pub struct Broker {
    sessions: watch::Receiver<Option<Arc<Session>>>,
    state: watch::Receiver<BrokerState>,
    stop_consumers: CancellationToken,
    consumers: TaskTracker,
    refused: Refused,
    stop: CancellationToken,
    supervisor: TaskTracker,
}

impl Broker {
    /// Starts to connect, and never stops trying. Needs a Tokio runtime.
    #[must_use]
    pub fn start(options: BrokerOptions) -> Self {
        let (session_sender, sessions) = watch::channel(None);
        let down = BrokerState::Down { since: Instant::now(), reason: DownReason::Starting };
        let (state_sender, state) = watch::channel(down);
        let (stop, supervisor) = (CancellationToken::new(), TaskTracker::new());
        supervisor.spawn(supervise(options, session_sender, state_sender, stop.clone()));
        let (stop_consumers, consumers) = (CancellationToken::new(), TaskTracker::new());
        Self { sessions, state, stop_consumers, consumers, refused: Refused::default(), stop, supervisor }
    }

    /// Whether it is up, and every change of that.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.clone()
    }

    /// Waits until it is up; `false` when that takes longer than `limit`.
    pub async fn wait_until_up(&self, limit: Duration) -> bool {
        let mut state = self.state();
        timeout(limit, state.wait_for(|state| *state == BrokerState::Up)).await.is_ok_and(|seen| seen.is_ok())
    }

    /// Whether the broker has stopped taking messages, for want of memory or disk.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.sessions.borrow().as_ref().is_some_and(|session| session.is_blocked())
    }

    /// Consumes a queue, through every reconnect, until the [`Deliveries`] are dropped.
    #[must_use]
    pub fn consume(&self, queue: QueueRole, options: ConsumeOptions) -> (Deliveries, Acks) {
        let (sessions, stop) = (self.sessions.clone(), self.stop_consumers.clone());
        let (consumer, deliveries, acks) =
            consume::consumer(queue, options, sessions, stop, self.refused.clone());
        self.consumers.spawn(consumer.run());
        (deliveries, acks)
    }

    /// Queues that the broker does not let us consume, though it is up.
    #[must_use]
    pub fn refused_queues(&self) -> Vec<&'static str> {
        self.refused.all()
    }

    /// A publisher with a channel of its own. One publishes one batch at a time; several run side by side.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(self.sessions.clone())
    }

    /// Stops consuming, acknowledges what was committed, closes the connections, and waits for that: for five
    /// seconds at most. Commits that come later are not acknowledged; those deliveries come again.
    pub async fn close(&self) {
        self.stop_consumers.cancel();
        self.consumers.close();
        let _ = timeout(Duration::from_secs(2), self.consumers.wait()).await;
        self.stop.cancel();
        self.supervisor.close();
        let _ = timeout(Duration::from_secs(3), self.supervisor.wait()).await;
    }
}

/// Compares what exists on the broker with what should, over a connection of its own.
///
/// # Errors
/// Why the broker cannot be asked.
pub async fn inspect(options: &BrokerOptions) -> Result<Vec<Finding>, DownReason> {
    once(options, topology::inspect).await
}

/// Declares what is missing, over a connection of its own.
///
/// # Errors
/// Why the broker cannot be asked, or [`DownReason::TopologyForbidden`].
pub async fn declare(options: &BrokerOptions) -> Result<(), DownReason> {
    once(options, topology::declare_missing).await
}

/// Deletes every exchange and queue of the prefix, with all that is in them.
///
/// # Errors
/// Why the broker cannot be reached.
pub async fn remove(options: &BrokerOptions) -> Result<(), DownReason> {
    once(options, topology::remove).await
}

async fn once<T>(
    options: &BrokerOptions,
    ask: impl AsyncFnOnce(&lapin::Connection, &Prefix, Duration) -> Result<T, TopologyError>,
) -> Result<T, DownReason> {
    let limits = options.limits();
    let connection = super::session::connect(&options.uri(), "outreachd check", limits.answer).await?;
    let answer = ask(&connection, &options.prefix, limits.answer).await;
    let _ = timeout(Duration::from_secs(1), connection.close(200, "done".into())).await;
    answer.map_err(DownReason::from)
}

async fn supervise(
    options: BrokerOptions,
    sessions: watch::Sender<Option<Arc<Session>>>,
    state: watch::Sender<BrokerState>,
    stop: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    let uri = options.uri();
    loop {
        let attempt = Session::open(&uri, &options.prefix, options.limits());
        let Some(attempt) = stop.run_until_cancelled(attempt).await else { break };
        match attempt {
            Ok(session) => {
                let session = Arc::new(session);
                sessions.send_replace(Some(Arc::clone(&session)));
                state.send_replace(BrokerState::Up);
                tracing::info!("connected to the message broker");
                pause = FIRST_PAUSE;
                let ended = stop.run_until_cancelled(session.watch()).await;
                session.fail(DownReason::Stopped);
                sessions.send_replace(None);
                let reason = ended.unwrap_or(DownReason::Stopped);
                report_down(&state, reason);
                session.close().await;
                if reason == DownReason::Protocol {
                    move_unreadable(&uri, &options).await;
                }
            }
            Err(reason) => report_down(&state, reason),
        }
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            break;
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
    report_down(&state, DownReason::Stopped);
}

/// Connecting again would only fail again while a message that cannot be read stands first.
async fn move_unreadable(uri: &AMQPUri, options: &BrokerOptions) {
    match quarantine::sweep(uri, &options.prefix, options.limits().answer).await {
        Ok(0) => {}
        Ok(moved) => {
            tracing::warn!(moved, "messages with unreadable properties were moved to the returned queue")
        }
        Err(error) => {
            tracing::warn!(kind = %error.kind(), "could not look for messages with unreadable properties")
        }
    }
}

/// Keeps the first moment of an outage, and logs only what is new.
fn report_down(state: &watch::Sender<BrokerState>, reason: DownReason) {
    state.send_if_modified(|state| {
        let since = match *state {
            BrokerState::Up => Instant::now(),
            BrokerState::Down { reason: before, .. } if before == reason => return false,
            BrokerState::Down { since, .. } => since,
        };
        if reason != DownReason::Stopped {
            tracing::warn!(reason = reason.code(), "no connection to the message broker; trying on");
        }
        *state = BrokerState::Down { since, reason };
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_refused_without_being_repeated() {
        for bad in ["", "http://host", "amqp//x:secret@host"] {
            let error = BrokerOptions::new(bad, Prefix::default()).unwrap_err();
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn the_heartbeat_comes_from_the_url_or_is_ten_seconds() {
        let heartbeat = |url| BrokerOptions::new(url, Prefix::default()).unwrap().uri().query.heartbeat;
        assert_eq!(heartbeat("amqp://h"), Some(10));
        assert_eq!(heartbeat("amqp://h?heartbeat=3"), Some(3));
        assert_eq!(heartbeat("amqp://h?heartbeat=0"), Some(10));
    }
}
