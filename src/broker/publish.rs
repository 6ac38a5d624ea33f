//! Publishing with confirms: a batch is pipelined, and every message gets its own answer.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::Poll;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::channel::open_channel;
use super::names::{ExchangeRole, Prefix};
use super::session::Session;

/// How many messages are on their way to the broker at once.
const IN_FLIGHT: usize = 500;

/// One message to be published. Always persistent and always confirmed.
#[derive(Clone)]
pub struct Outgoing {
    /// Where to.
    pub exchange: ExchangeRole,
    /// The routing key; on [`ExchangeRole::Default`] a queue's name. At most 255 bytes.
    pub routing_key: String,
    /// The body.
    pub body: Vec<u8>,
    /// Text headers.
    pub headers: Vec<(String, String)>,
    /// Whether it is an error that no queue takes it.
    pub mandatory: bool,
    /// Its id, at most 255 bytes. Unique within a batch where `mandatory`.
    pub message_id: String,
    /// The caller's correlation id, echoed.
    pub correlation_id: Option<String>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("exchange", &self.exchange)
            .field("message_id", &self.message_id)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why a message does not count as published. The outbox tries it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is no connection. It was not sent.
    #[error("no connection to the message broker")]
    NotConnected,
    /// The broker takes nothing, for want of memory or disk. It was not sent.
    #[error("the message broker takes no messages: it is short of memory or disk")]
    Blocked,
    /// Mandatory, and no queue takes it.
    #[error("no queue takes this message; declare the queue or correct the binding")]
    Unroutable,
    /// The broker said no; a queue may be full.
    #[error("the message broker refused the message")]
    Refused,
    /// Sent, but not confirmed: it may or may not have arrived.
    #[error("the message broker did not confirm the message")]
    Unconfirmed,
    /// A field is longer than AMQP allows. Trying again is of no use.
    #[error("{0} is longer than 255 bytes; shorten it")]
    TooLong(&'static str),
}

/// Publishes batches over a channel of its own, one batch at a time.
#[derive(Debug)]
pub struct Publisher {
    sessions: watch::Receiver<Option<Arc<Session>>>,
    channel: Mutex<Option<OpenChannel>>,
}

/// A channel in confirm mode, and the session it belongs to.
type OpenChannel = (Weak<Session>, Channel);

impl Publisher {
    pub(super) fn new(sessions: watch::Receiver<Option<Arc<Session>>>) -> Self {
        Self { sessions, channel: Mutex::new(None) }
    }

    /// Publishes in order and answers in order. Returns at once while there is no connection, and within two
    /// heartbeats when confirms stay out: what stands behind those is not sent.
    pub async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        let mut slot = self.channel.lock().await;
        let mut answers = Vec::with_capacity(batch.len());
        for part in batch.chunks(IN_FLIGHT) {
            // Nothing is to arrive before what may have to be sent again.
            if answers.iter().any(is_cut) {
                answers.extend(part.iter().map(|_| Err(PublishError::NotConnected)));
                continue;
            }
            let Some(session) = self.sessions.borrow().clone() else {
                answers.extend(part.iter().map(|_| Err(PublishError::NotConnected)));
                continue;
            };
            if session.is_blocked() {
                answers.extend(part.iter().map(|_| Err(PublishError::Blocked)));
                continue;
            }
            // Taken out, so that a cancelled or failed batch leaves no channel with answers of its own behind.
            let Some(channel) = open(slot.take(), &session).await else {
                answers.extend(part.iter().map(|_| Err(PublishError::NotConnected)));
                continue;
            };
            answers.extend(publish_part(&session, &channel, part).await);
            if channel.status().connected() && !answers.contains(&Err(PublishError::Unconfirmed)) {
                *slot = Some((Arc::downgrade(&session), channel));
            } else {
                // A missing exchange closes the channel; whatever is missing is declared again.
                session.while_up(session.repair()).await;
            }
        }
        answers
    }
}

/// Whether the way to the broker was gone, or closed.
fn is_cut(answer: &Result<(), PublishError>) -> bool {
    matches!(answer, Err(PublishError::NotConnected | PublishError::Blocked | PublishError::Unconfirmed))
}

/// The channel at hand if it is good and of this session, else a new one in confirm mode.
async fn open(at_hand: Option<OpenChannel>, session: &Arc<Session>) -> Option<Channel> {
    if let Some((of, channel)) = at_hand
        && std::ptr::eq(of.as_ptr(), Arc::as_ptr(session))
        && channel.status().connected()
    {
        return Some(channel);
    }
    let open = async {
        let channel = open_channel(&session.output).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok::<_, lapin::Error>(channel)
    };
    let opened = session.while_up(timeout(session.limits.answer, open)).await;
    opened?.ok()?.ok()
}

async fn publish_part(
    session: &Session,
    channel: &Channel,
    part: &[Outgoing],
) -> Vec<Result<(), PublishError>> {
    let deadline = Instant::now() + session.limits.answer;
    let mut sends = Vec::with_capacity(part.len());
    for message in part {
        sends.push(match Frame::of(message, &session.prefix) {
            Ok(frame) => Ok(started(frame.send(channel, &message.body)).await),
            Err(error) => Err(error),
        });
    }
    let mut answers = Vec::with_capacity(part.len());
    let mut returned = HashSet::new();
    for send in sends {
        let confirm = match send {
            Ok(send) => session.while_up(timeout_at(deadline, async { send.await?.await })).await,
            Err(error) => {
                answers.push(Err(error));
                continue;
            }
        };
        answers.push(match confirm {
            Some(Ok(Ok(Confirmation::Ack(message)))) => {
                note_return(&mut returned, message);
                Ok(())
            }
            Some(Ok(Ok(Confirmation::Nack(message)))) => {
                note_return(&mut returned, message);
                Err(PublishError::Refused)
            }
            _ => Err(PublishError::Unconfirmed),
        });
    }
    mark_returned(part, &mut answers, &returned);
    answers
}

/// lapin hands a returned message over with whichever confirm comes next, so it is known by its id only.
fn note_return(returned: &mut HashSet<String>, message: Option<lapin::message::BasicReturnMessage>) {
    if let Some(id) = message.and_then(|message| message.delivery.properties.message_id().clone()) {
        returned.insert(id.to_string());
    }
}

fn mark_returned(part: &[Outgoing], answers: &mut [Result<(), PublishError>], returned: &HashSet<String>) {
    for (message, answer) in part.iter().zip(answers) {
        if message.mandatory && answer.is_ok() && returned.contains(&message.message_id) {
            *answer = Err(PublishError::Unroutable);
        }
    }
}

/// What stands before a body on the wire.
struct Frame {
    exchange: ShortString,
    routing_key: ShortString,
    options: BasicPublishOptions,
    properties: BasicProperties,
}

impl Frame {
    fn of(message: &Outgoing, prefix: &Prefix) -> Result<Self, PublishError> {
        let short = |text: &str, field| ShortString::try_new(text).map_err(|_| PublishError::TooLong(field));
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(2)
            .with_message_id(short(&message.message_id, "message_id")?);
        if let Some(id) = &message.correlation_id {
            properties = properties.with_correlation_id(short(id, "correlation_id")?);
        }
        if !message.headers.is_empty() {
            let mut table = FieldTable::default();
            for (name, value) in &message.headers {
                table.insert(short(name, "a header's name")?, AMQPValue::LongString(value.as_str().into()));
            }
            properties = properties.with_headers(table);
        }
        Ok(Self {
            exchange: short(&message.exchange.name(prefix), "the exchange's name")?,
            routing_key: short(&message.routing_key, "routing_key")?,
            options: BasicPublishOptions { mandatory: message.mandatory, ..Default::default() },
            properties,
        })
    }

    async fn send(self, channel: &Channel, body: &[u8]) -> lapin::Result<PublisherConfirm> {
        channel.basic_publish(self.exchange, self.routing_key, self.options, body, self.properties).await
    }
}

type Started<'a> = Pin<Box<dyn Future<Output = lapin::Result<PublisherConfirm>> + Send + 'a>>;

/// Polls a publish once: that puts it into the connection's queue, so a batch keeps its order without waiting for
/// each message to be written.
async fn started<'a>(send: impl Future<Output = lapin::Result<PublisherConfirm>> + Send + 'a) -> Started<'a> {
    let mut send: Started<'a> = Box::pin(send);
    let mut ready = None;
    std::future::poll_fn(|context| {
        if let Poll::Ready(result) = send.as_mut().poll(context) {
            ready = Some(result);
        }
        Poll::Ready(())
    })
    .await;
    match ready {
        Some(result) => Box::pin(std::future::ready(result)),
        None => send,
    }
}
