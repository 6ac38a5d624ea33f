//! Connections to one SMTP server, and one conversation over one of them.
//!
//! Why not lettre's own transport and pool: its error does not tell a connection lost at MAIL (not sent)
//! from one lost after the final dot (unknown). And a send that is given up in the middle goes back into
//! its pool half-way through DATA, where the next message would read the answers of this one. Here every
//! command is ours, **a connection is parked only after a conversation that came to its end**, and one that
//! is dropped in the middle is closed.
//!
//! Whether a kept connection still lives is found out by using it: a loss at MAIL or RCPT, or a 421 at MAIL,
//! on a kept connection begins again once on a new one. Nothing had been sent.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Noop, Rcpt, Rset};
use lettre::transport::smtp::extension::ClientId;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::mail::Mail;
use super::reply::{Reply, Stage};
use crate::config::provider::SmtpTls;
use crate::domain::outbound::{FailureKind, SendError};

/// Servers close idle connections after a minute and more; we go first.
const IDLE: Duration = Duration::from_secs(30);
/// The system takes so much at once: whether the connection was lost before the dot or after it could not be told.
const ONE_WRITE: usize = 64 * 1024;
/// For the goodbye, which nobody waits for.
const QUIT: Duration = Duration::from_secs(2);

/// The server, the login, and the connections that are open.
pub(super) struct Pool {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: SmtpTls,
    pub(super) tls_parameters: Option<TlsParameters>,
    pub(super) credentials: Option<Credentials>,
    parked: Mutex<Vec<Parked>>,
    slots: Semaphore,
}

struct Parked {
    connection: AsyncSmtpConnection,
    since: Instant,
    /// Its last conversation was refused: set back (RSET) before the next. Done then, not at once, so that
    /// a server that is slow about it cannot turn a definite refusal into a time-out.
    reset: bool,
}

/// How a conversation ended when not well.
enum Ended {
    /// By a reply: the connection is as good as before.
    Refused(Stage, Reply),
    /// By loss, or by an answer that makes no sense: the connection is not used again.
    Lost(&'static str),
}

impl Pool {
    /// A pool of at most `size` connections, none open yet.
    pub(super) fn new(
        (host, port): (String, u16),
        (tls, tls_parameters): (SmtpTls, Option<TlsParameters>),
        credentials: Option<Credentials>,
        size: usize,
    ) -> Self {
        let slots = Semaphore::new(size.clamp(1, Semaphore::MAX_PERMITS));
        Self { host, port, tls, tls_parameters, credentials, parked: Mutex::default(), slots }
    }

    /// Delivers `mail` over a kept connection or a new one. `dot` is set before the end of the message goes
    /// out: before that, nothing has been sent (RFC 5321, 4.1.1.4), after it anything but a reply leaves it
    /// unknown.
    pub(super) async fn deliver(&self, mail: &Mail, dot: &AtomicBool) -> Result<(), SendError> {
        let _slot =
            self.slots.acquire().await.map_err(|_| SendError::new(FailureKind::Transient, "closed"))?;
        if let Some(Parked { connection: mut kept, reset, .. }) = self.take() {
            let ended = if reset && command(&mut kept, Rset, Stage::Sender, 2).await.is_err() {
                Err(Ended::Lost("connection_lost"))
            } else {
                converse(&mut kept, mail, dot).await
            };
            let stale = match &ended {
                Err(Ended::Lost(_)) => !dot.load(Ordering::SeqCst),
                Err(Ended::Refused(Stage::Sender, reply)) => reply.code == 421,
                _ => false,
            };
            if !stale {
                return self.conclude(kept, ended, dot);
            }
        }
        let mut fresh = self.connect().await?;
        let ended = converse(&mut fresh, mail, dot).await;
        self.conclude(fresh, ended, dot)
    }

    /// Connects, logs in, asks for nothing, says goodbye.
    pub(super) async fn check(&self) -> Result<(), SendError> {
        let mut connection = self.connect().await?;
        command(&mut connection, Noop, Stage::Sender, 2).await.map_err(|ended| ended.error(false))?;
        say_goodbye(connection);
        Ok(())
    }

    fn conclude(
        &self,
        connection: AsyncSmtpConnection,
        ended: Result<(), Ended>,
        dot: &AtomicBool,
    ) -> Result<(), SendError> {
        match &ended {
            Ok(()) => self.park(connection, false),
            // After a 421 the server closes.
            Err(Ended::Refused(_, reply)) if reply.code != 421 => self.park(connection, true),
            Err(_) => {}
        }
        ended.map_err(|ended| ended.error(dot.load(Ordering::SeqCst)))
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SendError> {
        let hello = ClientId::default();
        let tls_first = (self.tls == SmtpTls::Tls).then(|| self.tls_parameters.clone()).flatten();
        let opened = AsyncSmtpConnection::connect_tokio1(
            (self.host.as_str(), self.port),
            None,
            &hello,
            tls_first,
            None,
        );
        let mut connection = opened.await.map_err(|error| not_opened(&error, Stage::Greeting))?;
        if self.tls == SmtpTls::StartTls {
            if !connection.can_starttls() {
                return Err(SendError::new(FailureKind::Misconfigured, "no_starttls"));
            }
            let parameters = self
                .tls_parameters
                .clone()
                .ok_or_else(|| SendError::new(FailureKind::Misconfigured, "tls"))?;
            connection
                .starttls(parameters, &hello)
                .await
                .map_err(|error| not_opened(&error, Stage::Greeting))?;
        }
        if let Some(credentials) = &self.credentials {
            connection
                .auth(&[Mechanism::Plain, Mechanism::Login], credentials)
                .await
                .map_err(|error| not_opened(&error, Stage::Auth))?;
        }
        Ok(connection)
    }

    fn take(&self) -> Option<Parked> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one parked is the freshest: once it is too old, all are.
        let last = parked.pop()?;
        if last.since.elapsed() < IDLE {
            return Some(last);
        }
        say_goodbye(last.connection);
        parked.drain(..).for_each(|old| say_goodbye(old.connection));
        None
    }

    fn park(&self, connection: AsyncSmtpConnection, reset: bool) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.push(Parked { connection, since: Instant::now(), reset });
    }
}

/// One message, from MAIL to the reply to the final dot.
async fn converse(connection: &mut AsyncSmtpConnection, mail: &Mail, dot: &AtomicBool) -> Result<(), Ended> {
    let from = MailFrom::new(mail.sender.clone(), Vec::new());
    command(connection, from, Stage::Sender, 2).await?;
    command(connection, Rcpt::new(mail.recipient.clone(), Vec::new()), Stage::Recipient, 2).await?;
    command(connection, Data, Stage::Content, 3).await?;
    if mail.bytes.len() <= ONE_WRITE {
        dot.store(true, Ordering::SeqCst);
        return command(connection, ToTheDot(&mail.bytes), Stage::Content, 2).await;
    }
    // lettre asks for the next piece once the one before is written. That there is none is what it learns
    // right before it writes the dot.
    let end = std::iter::from_fn(|| {
        dot.store(true, Ordering::SeqCst);
        None
    });
    let reply = connection.message_iter(std::iter::once(mail.bytes.as_slice()).chain(end)).await;
    understood(reply, Stage::Content, 2)
}

/// What follows DATA: the mail, another dot before each line that begins with one (RFC 5321, 4.5.2), and the line that ends
/// it. lettre writes that line by itself: a short piece waits until the one before is acknowledged, which receivers put off
/// by 40 ms and more (RFC 1122, 4.2.3.2 and 4.2.3.4).
struct ToTheDot<'a>(&'a [u8]);

impl fmt::Display for ToTheDot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(self.0);
        let first = if text.starts_with('.') { "." } else { "" };
        write!(f, "{first}{}\r\n.\r\n", text.replace("\r\n.", "\r\n.."))
    }
}

/// Sends one command and expects a reply of the class `class` (2 or 3).
async fn command(
    connection: &mut AsyncSmtpConnection,
    command: impl fmt::Display,
    stage: Stage,
    class: u16,
) -> Result<(), Ended> {
    understood(connection.command(command).await, stage, class)
}

fn understood(
    reply: Result<lettre::transport::smtp::response::Response, Error>,
    stage: Stage,
    class: u16,
) -> Result<(), Ended> {
    match reply {
        Ok(response) if u16::from(response.code()) / 100 == class => Ok(()),
        Ok(_) => Err(Ended::Lost("protocol")),
        Err(error) => Err(match Reply::of(&error) {
            Some(reply) => Ended::Refused(stage, reply),
            None => Ended::Lost("connection_lost"),
        }),
    }
}

impl Ended {
    fn error(self, dot: bool) -> SendError {
        match self {
            Self::Refused(stage, reply) => reply.error(stage),
            Self::Lost(code) if dot => SendError::new(FailureKind::Ambiguous, code),
            Self::Lost(code) => SendError::new(FailureKind::Transient, code),
        }
    }
}

/// No mail was offered yet.
fn not_opened(error: &Error, stage: Stage) -> SendError {
    match Reply::of(error) {
        Some(reply) => reply.error(stage),
        // lettre itself would not go on: no mechanism in common with the server.
        None if error.is_client() => SendError::new(FailureKind::Misconfigured, "no_auth_mechanism"),
        None => SendError::new(FailureKind::Transient, "connect"),
    }
}

fn say_goodbye(mut connection: AsyncSmtpConnection) {
    tokio::spawn(async move {
        // Whether the server hears it or not, the connection is closed.
        drop(timeout(QUIT, connection.quit()).await);
    });
}
