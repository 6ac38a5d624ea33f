//! What happens when the broker or the network fails in the middle.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use outreachd::broker::{ConsumeOptions, PublishError, QueueRole};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::support::proxy::{CORRUPTED, Link, TcpProxy};
use crate::support::servers::RabbitMq;

/// Goes on publishing numbers, each until it is confirmed, until told to stop; returns how many were confirmed.
struct Producer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Producer {
    fn start(broker: &Broker) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, publisher) = (Arc::clone(&stop), broker.publisher());
        let task = tokio::spawn(async move {
            let mut next = 0;
            while !stopped.load(Ordering::Relaxed) {
                let batch: Vec<_> = (next..next + 20).map(|number| outgoing("job", number)).collect();
                // What is not confirmed is published again, as the outbox would: repeats, never a gap.
                if publisher.publish(&batch).await.iter().all(Result::is_ok) {
                    next += 20;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            next
        });
        Self { stop, task }
    }

    async fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Commits whatever comes until every number below `count` was seen.
async fn consume_all(deliveries: &mut Deliveries, acks: &Acks, seen: &mut BTreeSet<usize>, count: usize) {
    while seen.len() < count {
        let mut batch = Vec::new();
        let more = timeout(PATIENCE, deliveries.next_batch(&mut batch, 100)).await;
        assert!(more.unwrap_or_else(|_| panic!("only {} of {count} came", seen.len())));
        seen.extend(batch.iter().map(number_in));
        acks.committed(batch.iter().map(|delivery| delivery.token));
    }
}

#[tokio::test]
async fn a_broker_that_stops_or_crashes_loses_nothing_and_intake_resumes_within_five_seconds() {
    let mut rabbitmq = RabbitMq::start().await;
    let broker = connected(&rabbitmq.url(), &test_prefix()).await;
    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    let producer = Producer::start(&broker);
    let mut seen = BTreeSet::new();
    for fault in [RabbitMq::stop, RabbitMq::crash] {
        let target = seen.len() + 100;
        consume_all(&mut deliveries, &acks, &mut seen, target).await;
        fault(&mut rabbitmq);
        wait_until_down(&broker, Duration::from_secs(2)).await;
        rabbitmq.start_again().await;
        let opened = Instant::now();
        let before = seen.len();
        while seen.len() == before {
            consume_all(&mut deliveries, &acks, &mut seen, before + 1).await;
        }
        let resumed = opened.elapsed();
        println!("intake again {resumed:?} after the port opened");
        assert!(resumed <= Duration::from_secs(5), "{resumed:?}");
    }
    let confirmed = producer.finish().await;
    consume_all(&mut deliveries, &acks, &mut seen, confirmed).await;
    assert!((0..confirmed).all(|number| seen.contains(&number)));
    drain(&mut deliveries, &acks).await;
    let returned = rabbitmq.ctl(&["list_queues", "name", "messages", "--no-table-headers"]);
    assert!(
        returned.lines().all(|line| line.ends_with("\t0")),
        "all acknowledged, none dead-lettered: {returned}"
    );
}

#[tokio::test]
async fn closed_and_reset_connections_are_rebuilt() {
    let rabbitmq = RabbitMq::start().await;
    let proxy = TcpProxy::start(([127, 0, 0, 1], rabbitmq.port()).into()).await;
    let broker = connected(&rabbitmq.url_through(proxy.address().port()), &test_prefix()).await;
    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    let producer = Producer::start(&broker);
    let mut seen = BTreeSet::new();
    for round in 0..6 {
        let target = seen.len() + 50;
        consume_all(&mut deliveries, &acks, &mut seen, target).await;
        if round % 2 == 0 {
            rabbitmq.ctl(&["close_all_connections", "maintenance"]);
        } else {
            proxy.reset();
        }
    }
    let confirmed = producer.finish().await;
    consume_all(&mut deliveries, &acks, &mut seen, confirmed).await;
    drain(&mut deliveries, &acks).await;
}

#[tokio::test]
async fn a_broker_short_of_memory_blocks_publishing_but_not_acknowledging() {
    let rabbitmq = RabbitMq::start().await;
    let broker =
        Broker::start(options(&rabbitmq.url(), &test_prefix()).with_heartbeat(Duration::from_secs(2)));
    assert!(broker.wait_until_up(PATIENCE).await);
    publish_all(&broker, &numbered("job", 50)).await;
    rabbitmq.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);

    let publisher = broker.publisher();
    let blocked = async {
        while publisher.publish(&numbered("job", 1)).await != [Err(PublishError::Blocked)] {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(15), blocked).await.expect("the broker says that it is blocked");
    assert!(broker.is_blocked() && *broker.state().borrow() == BrokerState::Up);
    let started = Instant::now();
    publisher.publish(&numbered("job", 1000)).await;
    assert!(started.elapsed() < Duration::from_millis(200), "later answers are quick");
    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    take_and_commit(&mut deliveries, &acks, 50).await;
    drain(&mut deliveries, &acks).await;

    rabbitmq.ctl(&["set_vm_memory_high_watermark", "absolute", "1GB"]);
    let freed = async {
        while publisher.publish(&numbered("job", 1)).await != [Ok(())] {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, freed).await.expect("publishing goes on");
}

#[tokio::test]
async fn a_silent_network_is_noticed_within_two_heartbeats_and_leaves_no_thread_behind() {
    let target = amqp_url().rsplit_once('@').unwrap().1.split_once('/').unwrap().0.parse().unwrap();
    let proxy = TcpProxy::start(target).await;
    let url = amqp_url().replace(&target.to_string(), &proxy.address().to_string());
    let heartbeat = Duration::from_secs(1);
    let broker = Broker::start(options(&url, &test_prefix()).with_heartbeat(heartbeat));
    assert!(broker.wait_until_up(PATIENCE).await);
    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, small_window());
    let producer = Producer::start(&broker);
    let mut seen = BTreeSet::new();
    consume_all(&mut deliveries, &acks, &mut seen, 50).await;
    let threads = thread_count();

    for _ in 0..3 {
        proxy.set(Link::HalfOpen);
        // Two heartbeats, and the half second of the watchdog.
        wait_until_down(&broker, heartbeat * 2 + Duration::from_millis(1000)).await;
        proxy.set(Link::Forward);
        let target = seen.len() + 50;
        consume_all(&mut deliveries, &acks, &mut seen, target).await;
    }
    proxy.set(Link::Latency(Duration::from_millis(200)));
    let target = seen.len() + 50;
    consume_all(&mut deliveries, &acks, &mut seen, target).await;
    proxy.set(Link::Forward);
    let confirmed = producer.finish().await;
    consume_all(&mut deliveries, &acks, &mut seen, confirmed).await;
    drain(&mut deliveries, &acks).await;

    let calm = async {
        while thread_count() > threads {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(10), calm)
        .await
        .unwrap_or_else(|_| panic!("{} threads, were {threads}", thread_count()));
}

fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[tokio::test]
async fn messages_that_the_library_cannot_read_are_moved_out_of_the_way() {
    let prefix = test_prefix();
    let broker = connected(&amqp_url(), &prefix).await;
    let target = amqp_url().rsplit_once('@').unwrap().1.split_once('/').unwrap().0.parse().unwrap();
    let proxy = TcpProxy::start(target).await;
    proxy.set(Link::Corrupt);
    let producer =
        connected(&amqp_url().replace(&target.to_string(), &proxy.address().to_string()), &prefix).await;
    for number in 0..100 {
        let mut message = outgoing("job.normal", number);
        if number % 10 == 5 {
            message.correlation_id = Some(CORRUPTED.to_owned());
        }
        publish_all(&producer, &[message]).await;
    }

    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    let (mut returned, returned_acks) = broker.consume(QueueRole::Returned, ConsumeOptions::default());
    let mut good = BTreeSet::new();
    consume_all(&mut deliveries, &acks, &mut good, 90).await;
    assert!(good.iter().all(|number| number % 10 != 5));
    let mut bad = BTreeSet::new();
    while bad.len() < 10 {
        let delivery = take(&mut returned, 1).await.remove(0);
        let headers = [
            ("x-outreach-key", "job.normal"),
            ("x-outreach-queue", "jobs"),
            ("x-outreach-reason", "malformed"),
        ];
        assert_eq!(delivery.headers, headers.map(|(name, text)| (name.to_owned(), text.to_owned())));
        assert_eq!(delivery.deaths, [], "not one of the broker's own");
        bad.insert(number_in(&delivery));
        returned_acks.committed([delivery.token]);
    }
    assert!(bad.iter().all(|number| number % 10 == 5));
    drain(&mut deliveries, &acks).await;
    drain(&mut returned, &returned_acks).await;
    assert_eq!(*broker.state().borrow(), BrokerState::Up);
}

#[tokio::test]
async fn a_network_that_stalls_and_recovers_loses_nothing() {
    let target = amqp_url().rsplit_once('@').unwrap().1.split_once('/').unwrap().0.parse().unwrap();
    let proxy = TcpProxy::start(target).await;
    let url = amqp_url().replace(&target.to_string(), &proxy.address().to_string());
    let broker = Broker::start(options(&url, &test_prefix()).with_heartbeat(Duration::from_secs(1)));
    assert!(broker.wait_until_up(PATIENCE).await);
    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    let producer = Producer::start(&broker);
    let mut seen = BTreeSet::new();
    for link in [Link::Trickle, Link::Pause, Link::Refuse] {
        proxy.set(link);
        if link == Link::Refuse {
            proxy.reset();
        }
        wait_until_down(&broker, Duration::from_secs(6)).await;
        proxy.set(Link::Forward);
        let target = seen.len() + 50;
        consume_all(&mut deliveries, &acks, &mut seen, target).await;
    }
    let confirmed = producer.finish().await;
    consume_all(&mut deliveries, &acks, &mut seen, confirmed).await;
    drain(&mut deliveries, &acks).await;
}
