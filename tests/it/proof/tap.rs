//! A subscriber: a quorum queue that hears every event, and what stood in it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;
use tokio::time::timeout;

/// An event as a subscriber saw it.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) key: String,
    /// Properties and headers, as text.
    pub(crate) properties: String,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("an event is JSON")
    }
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Tap {
    url: String,
    prefix: String,
}

impl Tap {
    /// Declares the queue and binds it to every event.
    pub(crate) async fn open(url: &str, prefix: &str) -> Self {
        let tap = Self { url: url.to_owned(), prefix: prefix.to_owned() };
        let (_connection, channel) = tap.connect().await;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(tap.queue().into(), durable, arguments).await.unwrap();
        let events = format!("{prefix}.events");
        channel
            .queue_bind(
                tap.queue().into(),
                events.into(),
                "#".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        tap
    }

    /// Publishes to the exchange of events, as nobody but a test does.
    pub(crate) async fn plant(&self, key: &str, body: &[u8]) {
        let (_connection, channel) = self.connect().await;
        let events = format!("{}.events", self.prefix);
        let options = BasicPublishOptions::default();
        let sent =
            channel.basic_publish(events.into(), key.into(), options, body, BasicProperties::default());
        let _ = sent.await.unwrap().await.unwrap();
    }

    /// Everything that waits in the queue, until nothing more comes for a second.
    pub(crate) async fn drain(&self) -> Vec<Heard> {
        self.drain_queue(&self.queue()).await
    }

    /// Everything that waits in one of our own queues, by the last word of its name.
    pub(crate) async fn drain_own(&self, word: &str) -> Vec<Heard> {
        self.drain_queue(&format!("{}.{word}", self.prefix)).await
    }

    async fn drain_queue(&self, queue: &str) -> Vec<Heard> {
        let (_connection, channel) = self.connect().await;
        let consume = BasicConsumeOptions::default();
        let mut deliveries = channel
            .basic_consume(queue.into(), "reader".into(), consume, FieldTable::default())
            .await
            .unwrap();
        let mut heard = Vec::new();
        while let Ok(Some(delivery)) = timeout(Duration::from_secs(1), deliveries.next()).await {
            let delivery = delivery.unwrap();
            heard.push(Heard {
                key: delivery.routing_key.to_string(),
                properties: as_text(&delivery.properties),
                body: delivery.data.clone(),
            });
            // A quorum queue hands out no more than 2,000 that are not acknowledged, whatever the prefetch.
            delivery.ack(BasicAckOptions::default()).await.unwrap();
        }
        heard
    }

    /// How many messages wait in our own queues, by the last word of their names.
    pub(crate) async fn depths(&self, words: &[&str]) -> BTreeMap<String, u32> {
        let (_connection, channel) = self.connect().await;
        let mut depths = BTreeMap::new();
        for word in words {
            let passive = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
            let name = format!("{}.{word}", self.prefix);
            let queue = channel.queue_declare(name.into(), passive, FieldTable::default()).await.unwrap();
            depths.insert((*word).to_owned(), queue.message_count());
        }
        depths
    }

    fn queue(&self) -> String {
        format!("{}.tap", self.prefix)
    }

    async fn connect(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }
}

/// `Debug` shows the bytes of a header as numbers, among which nobody finds a text.
fn as_text(properties: &BasicProperties) -> String {
    let headers = properties.headers().iter().flat_map(FieldTable::inner);
    let read = headers.map(|(name, value)| match value {
        AMQPValue::LongString(text) => format!(" {name}: {}", String::from_utf8_lossy(text.as_bytes())),
        other => format!(" {name}: {other:?}"),
    });
    format!("{properties:?}{}", read.collect::<String>())
}
