//! What must exist on the broker, as data; how it is declared and inspected.
//!
//! Passive declare comes first, so that a worker without configure permission runs on what an administrator
//! declared. Passive declare does not compare arguments: a queue that differs keeps working, and [`inspect`]
//! names the difference.

use std::time::Duration;

use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use tokio::time::timeout;

use super::channel::open_channel;
use super::findings::{Finding, Rule};
use super::names::{ExchangeRole, Prefix, QueueRole};

/// How often the broker hands out a job that is never acknowledged before it gives up on it. It only guards
/// against a job that kills the process: a low limit would dead-letter the good jobs around it.
pub const DELIVERY_LIMIT: i32 = 1000;

/// How many entries the dead queue mirrors; the oldest go first. The bodies themselves are in the ledger.
pub const DEAD_LENGTH: i32 = 100_000;

/// Which routing keys of the producers' exchange lead to a queue.
#[must_use]
pub fn binding_keys(role: QueueRole) -> &'static [&'static str] {
    match role {
        QueueRole::Urgent => &["job.urgent"],
        QueueRole::Jobs => &["job", "job.normal", "job.bulk", "job.cancel"],
        QueueRole::Patients => &["patient.#"],
        QueueRole::Dead | QueueRole::Returned => &[],
    }
}

/// The arguments a queue is declared with.
#[must_use]
pub fn queue_arguments(role: QueueRole, prefix: &Prefix) -> FieldTable {
    let text = |value: &str| AMQPValue::LongString(LongString::from(value));
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    if let Some(target) = dead_letter_target(role) {
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(&target.name(prefix)));
        // The broker then keeps a dead letter until its target has confirmed it; it asks for reject-publish.
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
    }
    if role == QueueRole::Dead {
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(DEAD_LENGTH));
        arguments.insert("x-overflow".into(), text("drop-head"));
    }
    arguments
}

/// Where the broker moves what it has given up on. From the returned queue that is the dead queue, which nothing
/// of ours reads: a message that we can never take in must not be handed to us for ever.
#[must_use]
pub fn dead_letter_target(role: QueueRole) -> Option<QueueRole> {
    match role {
        QueueRole::Urgent | QueueRole::Jobs | QueueRole::Patients => Some(QueueRole::Returned),
        QueueRole::Returned => Some(QueueRole::Dead),
        QueueRole::Dead => None,
    }
}

/// Why the topology could not be brought about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Something is missing and we may not declare it.
    #[error(
        "{0} does not exist and this user may not declare it; let an administrator declare it or grant configure permission"
    )]
    Forbidden(String),
    /// The broker did not answer in time, or the connection went.
    #[error("the connection was lost while declaring")]
    Lost,
}

/// Declares what is missing, and every binding. What exists is left as it is.
///
/// # Errors
/// When something is missing and may not be declared, or the connection fails.
pub async fn declare_missing(
    connection: &Connection,
    prefix: &Prefix,
    limit: Duration,
) -> Result<(), TopologyError> {
    let declare = Declarer::open(connection, prefix).declare_missing(true);
    timeout(limit, declare).await.unwrap_or(Err(TopologyError::Lost))
}

/// Declares what has gone missing since; binds only then, so that looking often costs the broker little.
///
/// # Errors
/// When something is missing and may not be declared, or the connection fails.
pub async fn repair(connection: &Connection, prefix: &Prefix, limit: Duration) -> Result<(), TopologyError> {
    let declare = Declarer::open(connection, prefix).declare_missing(false);
    timeout(limit, declare).await.unwrap_or(Err(TopologyError::Lost))
}

/// Compares what exists with what should, and changes nothing.
///
/// # Errors
/// When the connection fails or does not answer within `limit`.
pub async fn inspect(
    connection: &Connection,
    prefix: &Prefix,
    limit: Duration,
) -> Result<Vec<Finding>, TopologyError> {
    timeout(limit, Declarer::open(connection, prefix).inspect()).await.unwrap_or(Err(TopologyError::Lost))
}

/// Deletes every queue and exchange of this prefix, with all that is in them.
///
/// # Errors
/// When something may not be deleted, or the connection fails.
pub async fn remove(connection: &Connection, prefix: &Prefix, limit: Duration) -> Result<(), TopologyError> {
    timeout(limit, Declarer::open(connection, prefix).remove()).await.unwrap_or(Err(TopologyError::Lost))
}

/// The broker's answer to one declaration. Every refusal closes the channel.
enum Answer {
    Fine,
    NotFound,
    Forbidden,
    /// The argument or property that differs.
    Differs(String),
}

#[derive(Clone, Copy)]
enum Item {
    Queue(QueueRole),
    Exchange(ExchangeRole),
}

struct Declarer<'a> {
    connection: &'a Connection,
    prefix: &'a Prefix,
    channel: Option<Channel>,
}

impl<'a> Declarer<'a> {
    fn open(connection: &'a Connection, prefix: &'a Prefix) -> Self {
        Self { connection, prefix, channel: None }
    }

    async fn declare_missing(mut self, always_bind: bool) -> Result<(), TopologyError> {
        let mut bind = always_bind;
        for item in items() {
            if matches!(self.declare(item, true).await?, Answer::NotFound) {
                bind = true;
                match self.declare(item, false).await? {
                    // Another worker may have declared it just now.
                    Answer::Fine | Answer::Differs(_) => {}
                    Answer::NotFound | Answer::Forbidden => {
                        return Err(TopologyError::Forbidden(self.name(item)));
                    }
                }
            }
        }
        if bind {
            self.bind_all().await?;
        }
        self.close().await;
        Ok(())
    }

    /// A binding cannot be looked up, only repeated. Who may not bind works with what the administrator bound.
    async fn bind_all(&mut self) -> Result<(), TopologyError> {
        for role in QueueRole::ALL {
            for key in binding_keys(role) {
                if matches!(self.bind(role, key).await?, Answer::Forbidden) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn inspect(mut self) -> Result<Vec<Finding>, TopologyError> {
        let mut findings = Vec::new();
        for item in items() {
            let exists = !matches!(self.declare(item, true).await?, Answer::NotFound);
            let (rule, cure) = if exists {
                match self.declare(item, false).await? {
                    Answer::Fine | Answer::NotFound => continue,
                    Answer::Differs(argument) => (
                        Rule::Differs(argument),
                        "drain it, delete it and let `outreachd migrate` declare it again",
                    ),
                    Answer::Forbidden => (
                        Rule::Unverified,
                        "run `outreachd check` as a user with configure permission to compare",
                    ),
                }
            } else {
                (Rule::Missing, "run `outreachd migrate` as a user with configure permission")
            };
            findings.push(Finding { name: self.name(item), rule, cure });
        }
        self.close().await;
        Ok(findings)
    }

    async fn remove(mut self) -> Result<(), TopologyError> {
        for item in items() {
            let name = self.name(item);
            let channel = self.channel().await?;
            let result = match item {
                Item::Queue(_) => {
                    channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.map(drop)
                }
                Item::Exchange(_) => {
                    channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await
                }
            };
            self.answer(result)?;
        }
        self.close().await;
        Ok(())
    }

    fn name(&self, item: Item) -> String {
        match item {
            Item::Queue(role) => role.name(self.prefix),
            Item::Exchange(role) => role.name(self.prefix),
        }
    }

    async fn declare(&mut self, item: Item, passive: bool) -> Result<Answer, TopologyError> {
        let name = self.name(item);
        let prefix = self.prefix;
        let channel = self.channel().await?;
        let result = match item {
            Item::Queue(role) => {
                let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
                let arguments = if passive { FieldTable::default() } else { queue_arguments(role, prefix) };
                channel.queue_declare(name.into(), options, arguments).await.map(drop)
            }
            Item::Exchange(_) => {
                let options = ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
                channel
                    .exchange_declare(name.into(), ExchangeKind::Topic, options, FieldTable::default())
                    .await
            }
        };
        self.answer(result)
    }

    async fn bind(&mut self, role: QueueRole, key: &str) -> Result<Answer, TopologyError> {
        let (queue, exchange) = (role.name(self.prefix), ExchangeRole::Jobs.name(self.prefix));
        let channel = self.channel().await?;
        let options = QueueBindOptions::default();
        let result = channel
            .queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default())
            .await;
        self.answer(result)
    }

    fn answer(&mut self, result: lapin::Result<()>) -> Result<Answer, TopologyError> {
        let Err(error) = result else { return Ok(Answer::Fine) };
        self.channel = None;
        let ErrorKind::ProtocolError(refusal) = error.kind() else { return Err(TopologyError::Lost) };
        match refusal.get_id() {
            403 => Ok(Answer::Forbidden),
            404 => Ok(Answer::NotFound),
            406 => Ok(Answer::Differs(differing_argument(refusal.get_message().as_str()).to_owned())),
            _ => Err(TopologyError::Lost),
        }
    }

    async fn channel(&mut self) -> Result<&Channel, TopologyError> {
        if self.channel.is_none() {
            self.channel = Some(open_channel(self.connection).await.map_err(|_| TopologyError::Lost)?);
        }
        self.channel.as_ref().ok_or(TopologyError::Lost)
    }

    async fn close(self) {
        if let Some(channel) = self.channel {
            let _ = channel.close(200, "done".into()).await;
        }
    }
}

fn items() -> impl Iterator<Item = Item> {
    let exchanges = ExchangeRole::DECLARED.into_iter().map(Item::Exchange);
    exchanges.chain(QueueRole::ALL.into_iter().map(Item::Queue))
}

/// The name in `PRECONDITION_FAILED - inequivalent arg 'NAME' for queue ...`; the values stay out of findings.
fn differing_argument(reply: &str) -> &str {
    let quoted = reply.split_once("inequivalent arg '").and_then(|(_, rest)| rest.split_once('\''));
    quoted.map_or("argument", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_that_differs_is_named_without_its_values() {
        let reply = "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'outreach.jobs' in vhost \
                     '/': received the value '1000' of type 'signedint' but current is '5'";
        assert_eq!(differing_argument(reply), "x-delivery-limit");
        assert_eq!(differing_argument("PRECONDITION_FAILED - something new"), "argument");
    }

    #[test]
    fn what_the_broker_gives_up_on_goes_to_the_returned_queue_and_from_there_to_the_dead() {
        let prefix = Prefix::default();
        for (role, target) in [
            (QueueRole::Urgent, "outreach.returned"),
            (QueueRole::Jobs, "outreach.returned"),
            (QueueRole::Patients, "outreach.returned"),
            (QueueRole::Returned, "outreach.dead"),
        ] {
            let arguments = queue_arguments(role, &prefix);
            let found = arguments.inner().get("x-dead-letter-routing-key").cloned();
            assert_eq!(found, Some(AMQPValue::LongString(target.into())));
            assert_eq!(arguments.inner().get("x-delivery-limit"), Some(&AMQPValue::LongInt(1000)));
        }
        assert!(!queue_arguments(QueueRole::Dead, &prefix).contains_key("x-dead-letter-exchange"));
    }
}
