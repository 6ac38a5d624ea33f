//! The broker room against a real RabbitMQ: what is declared, what is delivered, what survives which fault.

mod faults;
mod intake;
mod output;
mod setup;

use std::time::Duration;

use outreachd::broker::{
    Acks, Broker, BrokerOptions, BrokerState, ConsumeOptions, Deliveries, Delivery, ExchangeRole, Outgoing,
    Prefix,
};
use tokio::time::timeout;

use crate::support::shared::{amqp_url, unique_prefix};

/// Long enough for a busy machine, short enough to fail in good time.
const PATIENCE: Duration = Duration::from_secs(30);

fn test_prefix() -> Prefix {
    Prefix::parse(&unique_prefix()).unwrap()
}

fn options(url: &str, prefix: &Prefix) -> BrokerOptions {
    BrokerOptions::new(url, prefix.clone()).unwrap().with_watch(Duration::from_millis(500))
}

/// Connected to the shared broker under names of its own.
async fn on_shared_broker() -> (Broker, Prefix) {
    let prefix = test_prefix();
    (connected(&amqp_url(), &prefix).await, prefix)
}

async fn connected(url: &str, prefix: &Prefix) -> Broker {
    let broker = Broker::start(options(url, prefix));
    assert!(broker.wait_until_up(PATIENCE).await, "{:?}", *broker.state().borrow());
    broker
}

async fn wait_until_down(broker: &Broker, limit: Duration) {
    let mut state = broker.state();
    let down = state.wait_for(|state| matches!(state, BrokerState::Down { .. }));
    timeout(limit, down).await.expect("the loss is noticed").unwrap();
}

fn outgoing(key: &str, number: usize) -> Outgoing {
    Outgoing {
        exchange: ExchangeRole::Jobs,
        routing_key: key.to_owned(),
        body: number.to_string().into_bytes(),
        headers: Vec::new(),
        mandatory: true,
        message_id: format!("m-{number}"),
        correlation_id: None,
    }
}

fn numbered(key: &str, count: usize) -> Vec<Outgoing> {
    (0..count).map(|number| outgoing(key, number)).collect()
}

async fn publish_all(broker: &Broker, batch: &[Outgoing]) {
    for (message, answer) in batch.iter().zip(broker.publisher().publish(batch).await) {
        assert_eq!(answer, Ok(()), "{message:?}");
    }
}

fn number_in(delivery: &Delivery) -> usize {
    std::str::from_utf8(&delivery.body).unwrap().parse().unwrap()
}

/// Takes exactly `count` deliveries, without committing them.
async fn take(deliveries: &mut Deliveries, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let more = timeout(PATIENCE, deliveries.next_batch(&mut taken, count)).await;
        assert!(
            more.unwrap_or_else(|_| panic!("only {} of {count} came", taken.len())),
            "the broker was closed"
        );
    }
    taken
}

async fn take_and_commit(deliveries: &mut Deliveries, acks: &Acks, count: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let mut batch = Vec::new();
        let more = timeout(PATIENCE, deliveries.next_batch(&mut batch, count)).await;
        assert!(more.unwrap_or_else(|_| panic!("only {} of {count} came", numbers.len())));
        numbers.extend(batch.iter().map(number_in));
        acks.committed(batch.iter().map(|delivery| delivery.token));
    }
    numbers
}

/// Waits until everything committed is acknowledged.
async fn settled(acks: &Acks) {
    let settle = async {
        while acks.outstanding().0 > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, settle).await.expect("all is acknowledged");
}

/// Commits whatever still comes, repeats included, until nothing has been outstanding for half a second: after a lost
/// connection the broker hands out again what was not acknowledged, and that takes a while.
async fn drain(deliveries: &mut Deliveries, acks: &Acks) {
    let quiet = async {
        let mut batch = Vec::new();
        loop {
            let more = timeout(Duration::from_millis(500), deliveries.next_batch(&mut batch, 500)).await;
            acks.committed(batch.drain(..).map(|delivery| delivery.token));
            if more.is_err() && acks.outstanding().0 == 0 {
                return;
            }
        }
    };
    timeout(PATIENCE, quiet).await.unwrap_or_else(|_| panic!("{:?} are left", acks.outstanding()));
}

fn small_window() -> ConsumeOptions {
    ConsumeOptions { max_prefetch: 64, ..ConsumeOptions::default() }
}

/// A plain client, as a producer or an administrator would be.
pub(crate) async fn foreign_channel(url: &str) -> (lapin::Connection, lapin::Channel) {
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}
