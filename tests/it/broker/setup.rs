//! Declaring, inspecting, and running on what others declared.

use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation};
use outreachd::broker::topology::{binding_keys, queue_arguments};
use outreachd::broker::{
    Broker, BrokerState, ConsumeOptions, DownReason, Finding, Prefix, QueueRole, Rule, declare, inspect,
};
use tokio::time::timeout;

use super::*;
use crate::support::servers::RabbitMq;

#[tokio::test]
async fn everything_missing_is_found_then_declared_then_in_order() {
    let (url, prefix) = (amqp_url(), test_prefix());
    let options = options(&url, &prefix);
    let findings = inspect(&options).await.unwrap();
    let mut names: Vec<_> =
        findings.iter().map(|finding| finding.name.strip_prefix(prefix.as_str()).unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["", ".dead", ".events", ".jobs", ".jobs.urgent", ".patients", ".returned"]);
    assert!(findings.iter().all(|finding| finding.rule == Rule::Missing && finding.is_fatal()));

    declare(&options).await.unwrap();
    declare(&options).await.unwrap();
    assert_eq!(inspect(&options).await.unwrap(), []);
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_a_finding_and_keeps_working() {
    let (url, prefix) = (amqp_url(), test_prefix());
    declare_with_limit(&url, &prefix, 5).await;

    let broker = connected(&url, &prefix).await;
    publish_all(&broker, &numbered("job", 3)).await;
    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    assert_eq!(take_and_commit(&mut deliveries, &acks, 3).await, [0, 1, 2]);

    let findings = inspect(&options(&url, &prefix)).await.unwrap();
    let [Finding { name, rule, .. }] = &findings[..] else { panic!("one finding, not {findings:?}") };
    assert_eq!(*name, QueueRole::Jobs.name(&prefix));
    assert_eq!(*rule, Rule::Differs("x-delivery-limit".into()));
    assert!(!findings[0].is_fatal());
}

#[tokio::test]
async fn what_the_broker_gives_up_on_comes_back_with_its_reason() {
    let (url, prefix) = (amqp_url(), test_prefix());
    declare_with_limit(&url, &prefix, 1).await;
    let broker = connected(&url, &prefix).await;
    publish_all(&broker, &numbered("job", 1)).await;
    // A worker that dies on this job, twice.
    for _ in 0..2 {
        let doomed = connected(&url, &prefix).await;
        let (mut deliveries, _acks) = doomed.consume(QueueRole::Jobs, ConsumeOptions::default());
        take(&mut deliveries, 1).await;
        doomed.close().await;
    }
    let (mut returned, acks) = broker.consume(QueueRole::Returned, ConsumeOptions::default());
    let delivery = take(&mut returned, 1).await.remove(0);
    assert_eq!(number_in(&delivery), 0);
    assert_eq!(delivery.routing_key, QueueRole::Returned.name(&prefix));
    let death = &delivery.deaths[0];
    assert_eq!((&*death.queue, &*death.reason), (&*QueueRole::Jobs.name(&prefix), "delivery_limit"));
    acks.committed([delivery.token]);
    settled(&acks).await;
}

#[tokio::test]
async fn without_configure_permission_it_runs_on_what_an_administrator_declared() {
    let rabbitmq = RabbitMq::start().await;
    let prefix = Prefix::default();
    rabbitmq.ctl(&["add_user", "worker", "word"]);
    rabbitmq.ctl(&["set_permissions", "worker", "^$", ".*", ".*"]);
    let worker_url = format!("amqp://worker:word@127.0.0.1:{}/%2f", rabbitmq.port());

    let broker = Broker::start(options(&worker_url, &prefix));
    let mut state = broker.state();
    let forbidden = state
        .wait_for(|state| matches!(state, BrokerState::Down { reason: DownReason::TopologyForbidden, .. }));
    timeout(PATIENCE, forbidden).await.expect("it says what is wrong").unwrap();

    declare(&options(&rabbitmq.url(), &prefix)).await.unwrap();
    assert!(broker.wait_until_up(PATIENCE).await, "and goes on by itself");
    publish_all(&broker, &numbered("job.urgent", 2)).await;
    let (mut deliveries, acks) = broker.consume(QueueRole::Urgent, ConsumeOptions::default());
    assert_eq!(take_and_commit(&mut deliveries, &acks, 2).await, [0, 1]);
    let findings = inspect(&options(&worker_url, &prefix)).await.unwrap();
    assert!(
        findings.iter().all(|finding| finding.rule == Rule::Unverified && !finding.is_fatal()),
        "{findings:?}"
    );

    the_user_id_is_the_brokers_word(&worker_url, &mut deliveries).await;
    a_queue_that_may_not_be_read_is_named_until_it_may(&rabbitmq, &broker).await;
    an_ehr_may_ask_and_nothing_else(&rabbitmq).await;

    let wrong = options(&worker_url.replace("word", "other"), &prefix);
    assert_eq!(inspect(&wrong).await.unwrap_err(), DownReason::Refused);
}

async fn a_queue_that_may_not_be_read_is_named_until_it_may(rabbitmq: &RabbitMq, broker: &Broker) {
    let until = async |expected: &[&str]| {
        while broker.refused_queues() != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    rabbitmq.ctl(&["set_permissions", "worker", "^$", ".*", "^(?!outreach[.]jobs$).*"]);
    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    timeout(PATIENCE, until(&["jobs"])).await.expect("the refusal is seen");
    assert_eq!(*broker.state().borrow(), BrokerState::Up, "and nothing else is wrong");
    rabbitmq.ctl(&["set_permissions", "worker", "^$", ".*", ".*"]);
    timeout(PATIENCE, until(&[])).await.expect("it is consumed");
    publish_all(broker, &numbered("job", 2)).await;
    assert_eq!(take_and_commit(&mut deliveries, &acks, 2).await, [0, 1]);
}

/// A producer may state its own user; another's name is refused, so `user_id` can be trusted.
async fn the_user_id_is_the_brokers_word(url: &str, deliveries: &mut Deliveries) {
    let publish = async |user: &str| {
        let (_connection, channel) = foreign_channel(url).await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let properties =
            BasicProperties::default().with_user_id(user.into()).with_correlation_id("c-1".into());
        let options = BasicPublishOptions::default();
        let sent =
            channel.basic_publish("outreach".into(), "job.urgent".into(), options, b"7", properties).await;
        sent.unwrap().await
    };
    assert!(publish("somebody-else").await.is_err());
    assert_eq!(publish("worker").await.unwrap(), Confirmation::Ack(None));
    let delivery = take(deliveries, 1).await.remove(0);
    assert_eq!(delivery.user_id.as_deref(), Some("worker"));
    assert_eq!(delivery.correlation_id.as_deref(), Some("c-1"));
}

/// By the lines of `go-live.md` that make its user.
async fn an_ehr_may_ask_and_nothing_else(rabbitmq: &RabbitMq) {
    const GO_LIVE: &str = include_str!("../../../deploy/go-live.md");
    let lines = GO_LIVE.lines().filter_map(|line| line.strip_prefix("rabbitmqctl "));
    let lines: Vec<Vec<&str>> =
        lines.map(|line| line.split(' ').map(|word| word.trim_matches('\'')).collect()).collect();
    let [user, permissions, topics, hearing] = &lines[..] else { panic!("{lines:?}") };
    let url = format!("amqp://ehr:PASSWORD@127.0.0.1:{}/%2f", rabbitmq.port());
    let publishes = async |exchange: &str, key: &str| {
        let (_connection, channel) = foreign_channel(&url).await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let properties = BasicProperties::default().with_user_id("ehr".into());
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let sent = channel.basic_publish(exchange.into(), key.into(), options, b"7", properties).await;
        matches!(sent.unwrap().await, Ok(Confirmation::Ack(None)))
    };
    let reads = async |queue: &str| {
        let (_connection, channel) = foreign_channel(&url).await;
        channel.basic_get(queue.into(), BasicGetOptions::default()).await.is_ok()
    };
    let binds = async |exchange: &str| {
        let (_connection, channel) = foreign_channel(&url).await;
        let (durable, none) =
            (QueueDeclareOptions { durable: true, ..Default::default() }, FieldTable::default());
        let options = QueueBindOptions::default();
        channel.queue_declare("ehr.results".into(), durable, none.clone()).await.is_ok()
            && channel
                .queue_bind("ehr.results".into(), exchange.into(), "#".into(), options, none)
                .await
                .is_ok()
    };

    for words in [user, permissions, topics] {
        rabbitmq.ctl(words);
    }
    for key in [QueueRole::Jobs, QueueRole::Urgent].into_iter().flat_map(binding_keys).copied() {
        assert!(publishes("outreach", key).await, "{key}");
    }
    for (exchange, key) in
        [("outreach", "patient"), ("outreach.events", "reply.stop.ehr"), ("", "outreach.jobs")]
    {
        assert!(!publishes(exchange, key).await, "{exchange} {key}");
    }
    assert!(!reads("outreach.jobs").await && !binds("outreach.events").await);

    // Whoever keeps the directory.
    let both = r"^(job|patient)(\.|$)";
    assert!(GO_LIVE.contains(&format!("`'{both}'`")));
    rabbitmq.ctl(&["set_topic_permissions", "ehr", "outreach", both, "^$"]);
    assert!(publishes("outreach", "patient").await && publishes("outreach", "job.cancel").await);

    // Whoever hears results by the broker.
    rabbitmq.ctl(hearing);
    assert!(
        binds("outreach.events").await && reads("ehr.results").await && publishes("outreach", "job").await
    );
    assert!(!binds("outreach").await && !reads("outreach.jobs").await);
    assert!(!publishes("outreach.events", "reply.stop.ehr").await);
}

#[tokio::test]
async fn a_deleted_queue_is_declared_again_and_consumed_again() {
    let (broker, prefix) = on_shared_broker().await;
    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    publish_all(&broker, &numbered("job", 10)).await;
    take_and_commit(&mut deliveries, &acks, 10).await;

    let (_connection, channel) = foreign_channel(&amqp_url()).await;
    for role in [QueueRole::Jobs, QueueRole::Dead] {
        channel.queue_delete(role.name(&prefix).into(), QueueDeleteOptions::default()).await.unwrap();
    }
    let publisher = broker.publisher();
    let published = async {
        while publisher.publish(&numbered("job", 1)).await != [Ok(())] {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(5), published).await.expect("the queue and its bindings are back");
    assert_eq!(take_and_commit(&mut deliveries, &acks, 1).await, [0]);
    let in_order = async {
        while !inspect(&options(&amqp_url(), &prefix)).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(5), in_order).await.expect("the queue that nobody consumes is back too");
}

/// The broker tells no consumer of it, and counts what comes as delivered.
#[tokio::test]
async fn a_queue_that_is_replaced_in_an_instant_is_consumed() {
    let (broker, prefix) = on_shared_broker().await;
    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    publish_all(&broker, &numbered("job", 100)).await;
    take_and_commit(&mut deliveries, &acks, 100).await;
    settled(&acks).await;

    let (_connection, channel) = foreign_channel(&amqp_url()).await;
    let name = QueueRole::Jobs.name(&prefix);
    channel.queue_delete(name.clone().into(), QueueDeleteOptions::default()).await.unwrap();
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    let arguments = queue_arguments(QueueRole::Jobs, &prefix);
    channel.queue_declare(name.clone().into(), durable, arguments).await.unwrap();
    let properties = BasicProperties::default();
    channel.basic_publish("".into(), name.into(), Default::default(), b"7", properties).await.unwrap();
    let taken = timeout(Duration::from_secs(6), take_and_commit(&mut deliveries, &acks, 1)).await;
    assert_eq!(taken.expect("the new queue is consumed"), [7]);
    settled(&acks).await;
}

/// What is missing at the start costs a channel each, whose number is of no use any more: with so few numbers each comes
/// again within a second.
#[tokio::test]
async fn channels_that_the_broker_has_closed_are_passed_over_when_their_numbers_come_again() {
    let prefix = test_prefix();
    let url = format!("{}?channel_max=24", amqp_url());
    let broker = Broker::start(options(&url, &prefix).with_watch(Duration::from_millis(50)));
    assert!(broker.wait_until_up(PATIENCE).await);
    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    let mut state = broker.state();
    let ends = state.wait_for(|state| matches!(state, BrokerState::Down { .. }));
    assert!(timeout(Duration::from_secs(4), ends).await.is_err(), "the connection was given up");
    publish_all(&broker, &numbered("job", 10)).await;
    assert_eq!(take_and_commit(&mut deliveries, &acks, 10).await, (0..10).collect::<Vec<_>>());
}

/// The queues as somebody else declared them, with another delivery limit on the job queue.
async fn declare_with_limit(url: &str, prefix: &Prefix, limit: i32) {
    let (_connection, channel) = foreign_channel(url).await;
    let mut arguments: FieldTable = queue_arguments(QueueRole::Jobs, prefix);
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(limit));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(QueueRole::Jobs.name(prefix).into(), options, arguments).await.unwrap();
}
