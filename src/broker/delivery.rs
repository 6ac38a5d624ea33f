//! One message as it came from the broker.

use lapin::types::{AMQPValue, FieldTable};

use super::acks::Token;
use super::names::QueueRole;

/// A message to be taken in. Its body may hold PHI, so nothing of it is printed but sizes.
#[derive(Clone, PartialEq)]
pub struct Delivery {
    /// The body, as bytes: nothing has looked at it yet.
    pub body: Vec<u8>,
    /// The key it was published with.
    pub routing_key: String,
    /// The caller's correlation id, echoed in events; none where it holds control characters, which no database takes.
    pub correlation_id: Option<String>,
    /// The user that published it. The broker has checked it: RabbitMQ refuses a `user_id` property that is not
    /// the publishing connection's own user (<https://www.rabbitmq.com/docs/validated-user-id>).
    pub user_id: Option<String>,
    /// Headers whose value is text.
    pub headers: Vec<(String, String)>,
    /// Why the broker gave up on it, the latest first (`x-death`); empty for a message that was not dead-lettered.
    pub deaths: Vec<Death>,
    /// Whether it was handed out before.
    pub redelivered: bool,
    /// The queue it came from.
    pub queue: QueueRole,
    /// What [`super::Acks::committed`] wants once the ledger holds it.
    pub token: Token,
}

/// One entry of the `x-death` header (<https://www.rabbitmq.com/docs/dlx#effects>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// The queue that gave up on it.
    pub queue: String,
    /// `delivery_limit`, `rejected`, `expired` or `maxlen`.
    pub reason: String,
    /// The key it had been published with: a dead letter gets another.
    pub routing_key: Option<String>,
}

impl Delivery {
    pub(super) fn new(from: lapin::message::Delivery, queue: QueueRole, token: Token) -> Self {
        let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
        let properties = &from.properties;
        let headers = properties.headers().as_ref();
        Self {
            routing_key: from.routing_key.to_string(),
            correlation_id: text(properties.correlation_id()).filter(|id| is_printable(id, queue)),
            user_id: text(properties.user_id()),
            headers: headers.map(text_headers).unwrap_or_default(),
            deaths: headers.map(deaths).unwrap_or_default(),
            redelivered: from.redelivered,
            queue,
            token,
            body: from.data,
        }
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("queue", &self.queue)
            .field("body_bytes", &self.body.len())
            .field("redelivered", &self.redelivered)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

fn is_printable(correlation_id: &str, queue: QueueRole) -> bool {
    let printable = !correlation_id.contains(char::is_control);
    if !printable {
        tracing::warn!(?queue, "a correlation id with control characters is left out");
    }
    printable
}

fn text_headers(table: &FieldTable) -> Vec<(String, String)> {
    let named = table.inner().iter();
    named.filter_map(|(name, value)| Some((name.to_string(), as_text(value)?))).collect()
}

fn deaths(table: &FieldTable) -> Vec<Death> {
    let Some(AMQPValue::FieldArray(entries)) = table.inner().get("x-death") else { return Vec::new() };
    let tables = entries.as_slice().iter().filter_map(|entry| match entry {
        AMQPValue::FieldTable(table) => Some(table),
        _ => None,
    });
    let text = |table: &FieldTable, name: &str| table.inner().get(name).and_then(as_text);
    tables
        .filter_map(|table| {
            let routing_key = match table.inner().get("routing-keys") {
                Some(AMQPValue::FieldArray(keys)) => keys.as_slice().first().and_then(as_text),
                _ => None,
            };
            Some(Death { queue: text(table, "queue")?, reason: text(table, "reason")?, routing_key })
        })
        .collect()
}

fn as_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{QueueRole, is_printable};

    #[test]
    fn a_correlation_id_is_kept_if_a_database_takes_it() {
        for (id, kept) in [("c-1", true), ("visite à 9 h", true), ("a\0b", false), ("a\nb", false)] {
            assert_eq!(is_printable(id, QueueRole::Jobs), kept, "{id:?}");
        }
        for (name, role) in [
            ("outreach.jobs", Some(QueueRole::Jobs)),
            ("a.b.jobs.urgent", Some(QueueRole::Urgent)),
            ("outreach.patients", Some(QueueRole::Patients)),
            ("jobs", None),
            ("somebody-elses", None),
        ] {
            assert_eq!(QueueRole::of_name(name), role, "{name}");
        }
    }
}
