//! One pair of connections, from when both are up until either fails.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind, Event};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::channel::open_channel;
use super::names::Prefix;
use super::topology::{self, TopologyError};

/// Why there is no connection to the broker. The codes are for logs, metrics and readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// The first connection is not there yet.
    Starting,
    /// Nobody answers at the address.
    Unreachable,
    /// The broker knows neither this user nor this password, or not this virtual host.
    Refused,
    /// It did not answer in time.
    TimedOut,
    /// No heartbeat came.
    NoHeartbeat,
    /// The connection broke or was closed.
    Closed,
    /// A queue is missing and this user may not declare it.
    TopologyForbidden,
    /// It answered, but deliveries or confirms stood still.
    Stuck,
    /// It sent what is not AMQP as we know it.
    Protocol,
    /// We are shutting down.
    Stopped,
}

impl DownReason {
    /// The code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::NoHeartbeat => "no_heartbeat",
            Self::Closed => "closed",
            Self::TopologyForbidden => "topology_forbidden",
            Self::Stuck => "stuck",
            Self::Protocol => "protocol",
            Self::Stopped => "stopped",
        }
    }

    fn of(error: &lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::IOError(_) => Self::Unreachable,
            ErrorKind::MissingHeartbeatError => Self::NoHeartbeat,
            ErrorKind::ProtocolError(refusal) => match refusal.get_id() {
                403 | 530 => Self::Refused,
                320 => Self::Closed,
                _ => Self::Protocol,
            },
            ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => Self::Protocol,
            _ => Self::Closed,
        }
    }
}

impl From<TopologyError> for DownReason {
    fn from(error: TopologyError) -> Self {
        match error {
            TopologyError::Forbidden(_) => Self::TopologyForbidden,
            TopologyError::Lost => Self::Closed,
        }
    }
}

/// How long the steps of a session may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connecting, and any one answer.
    pub(super) answer: Duration,
    /// How often the watchdog asks.
    pub(super) watch: Duration,
}

/// Opens one connection. lapin's own recovery stays off: the supervisor replaces the whole session.
pub(super) async fn connect(uri: &AMQPUri, name: &str, limit: Duration) -> Result<Connection, DownReason> {
    let named = ConnectionProperties::default().with_connection_name(name.into());
    match timeout(limit, Connection::connect_uri(uri.clone(), named)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(DownReason::of(&error)),
        Err(_) => Err(DownReason::TimedOut),
    }
}

/// Both connections. Usable until `ended` is cancelled.
#[derive(Debug)]
pub(super) struct Session {
    /// Consumes and acknowledges.
    pub(super) intake: Connection,
    /// Publishes.
    pub(super) output: Connection,
    pub(super) prefix: Prefix,
    pub(super) limits: Limits,
    ended: CancellationToken,
    reason: OnceLock<DownReason>,
}

impl Session {
    /// Connects twice and declares what is missing.
    pub(super) async fn open(uri: &AMQPUri, prefix: &Prefix, limits: Limits) -> Result<Self, DownReason> {
        let intake = connect(uri, "outreachd intake", limits.answer).await?;
        let output = connect(uri, "outreachd output", limits.answer).await?;
        topology::declare_missing(&intake, prefix, limits.answer).await?;
        let (ended, reason) = (CancellationToken::new(), OnceLock::new());
        Ok(Self { intake, output, prefix: prefix.clone(), limits, ended, reason })
    }

    /// Ends the session: the supervisor builds the next one. The first reason counts.
    pub(super) fn fail(&self, reason: DownReason) {
        let _ = self.reason.set(reason);
        self.ended.cancel();
    }

    /// Runs a future until it is done or the session has ended.
    pub(super) async fn while_up<F: Future>(&self, future: F) -> Option<F::Output> {
        self.ended.run_until_cancelled(future).await
    }

    /// Whether the broker has stopped taking messages, for want of memory or disk.
    pub(super) fn is_blocked(&self) -> bool {
        self.output.status().blocked()
    }

    /// Declares again what has gone missing. Ends the session where that fails.
    pub(super) async fn repair(&self) {
        if let Err(error) = topology::repair(&self.intake, &self.prefix, self.limits.answer).await {
            self.fail(error.into());
        }
    }

    /// Watches both connections until one fails, and says why. lapin's own word is taken where it comes; where
    /// none comes, a question that is not answered in time is the word.
    pub(super) async fn watch(&self) -> DownReason {
        tokio::select! {
            () = self.ended.cancelled() => {}
            () = self.listen(&self.intake) => {}
            () = self.listen(&self.output) => {}
            () = self.probe_again_and_again() => {}
        }
        self.reason.get().copied().unwrap_or(DownReason::Closed)
    }

    /// Returns once the connection has failed.
    async fn listen(&self, connection: &Connection) {
        let mut events = std::pin::pin!(connection.events_listener());
        while let Some(event) = events.next().await {
            match event {
                // The end of one channel, which whoever uses it sees.
                Event::Error(error) if error.is_amqp_soft_error() => {}
                Event::Error(error) => {
                    let reason = DownReason::of(&error);
                    let lost = reason == DownReason::Unreachable;
                    return self.fail(if lost { DownReason::Closed } else { reason });
                }
                _ => {}
            }
        }
        self.fail(DownReason::Closed);
    }

    async fn probe_again_and_again(&self) {
        let mut tick = interval(self.limits.watch);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.probe().await;
        }
    }

    /// Asks both connections something that needs an answer; on the way, declares what has gone missing.
    async fn probe(&self) {
        if !self.intake.status().connected() || !self.output.status().connected() {
            return self.fail(DownReason::Closed);
        }
        self.repair().await;
        // A blocked connection sends nothing, so it cannot be asked.
        if self.is_blocked() {
            return;
        }
        let ask = async {
            let channel = open_channel(&self.output).await?;
            channel.close(200, "done".into()).await
        };
        if !matches!(timeout(self.limits.answer, ask).await, Ok(Ok(()))) && !self.is_blocked() {
            self.fail(DownReason::Stuck);
        }
    }

    /// Closes both connections, waiting only a little: the broker also notices by itself.
    pub(super) async fn close(&self) {
        for connection in [&self.intake, &self.output] {
            if connection.status().connected() {
                let _ = timeout(Duration::from_secs(1), connection.close(200, "done".into())).await;
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}
