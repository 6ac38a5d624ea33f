//! Publishing: every message gets its own answer, in order, and quickly.

use std::collections::BTreeSet;
use std::time::Instant;

use lapin::options::{BasicGetOptions, ExchangeDeleteOptions};
use outreachd::broker::{ConsumeOptions, PublishError, QueueRole};
use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn a_batch_arrives_whole_persistent_and_in_order_of_publishing() {
    let (broker, prefix) = on_shared_broker().await;
    let mut batch = numbered("job", 1200);
    batch[0].headers = vec![("x-outreach-reason".into(), "malformed".into())];
    batch[0].correlation_id = Some("c-9".into());
    publish_all(&broker, &batch).await;

    let (_connection, channel) = foreign_channel(&amqp_url()).await;
    let get = channel.basic_get(QueueRole::Jobs.name(&prefix).into(), BasicGetOptions::default()).await;
    let first = get.unwrap().expect("a message");
    assert_eq!(first.delivery.properties.delivery_mode(), &Some(2));
    let id = first.delivery.properties.message_id().as_ref().map(ToString::to_string);
    assert_eq!(id.as_deref(), Some("m-0"));
    channel.close(200, "done".into()).await.unwrap();

    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    // The first window: nothing has changed it yet, so the queue's order shows.
    let first = take(&mut deliveries, 32).await;
    assert!(first.iter().map(number_in).eq(0..32));
    let delivery = &first[0];
    assert_eq!(delivery.correlation_id.as_deref(), Some("c-9"));
    assert!(delivery.headers.contains(&("x-outreach-reason".into(), "malformed".into())));
    acks.committed(first.iter().map(|delivery| delivery.token));
    let rest: BTreeSet<_> = take_and_commit(&mut deliveries, &acks, 1168).await.into_iter().collect();
    assert!(rest.into_iter().eq(32..1200));
}

#[tokio::test]
async fn a_mandatory_message_without_a_queue_is_an_error_of_its_own() {
    let (broker, _) = on_shared_broker().await;
    let mut batch = numbered("job", 300);
    for number in [0, 7, 150, 299] {
        batch[number].routing_key = "nobody.listens".into();
    }
    batch[8] = Outgoing { routing_key: "nobody.listens".into(), mandatory: false, ..outgoing("", 8) };
    batch[9].routing_key = "x".repeat(256);
    let answers = broker.publisher().publish(&batch).await;
    for (number, answer) in answers.into_iter().enumerate() {
        let expected = match number {
            0 | 7 | 150 | 299 => Err(PublishError::Unroutable),
            9 => Err(PublishError::TooLong("routing_key")),
            _ => Ok(()),
        };
        assert_eq!(answer, expected, "message {number}");
    }
}

#[tokio::test]
async fn a_deleted_exchange_costs_one_batch() {
    let (broker, prefix) = on_shared_broker().await;
    let publisher = broker.publisher();
    let event = |number| Outgoing {
        exchange: ExchangeRole::Events,
        mandatory: false,
        ..outgoing("message.sent.x", number)
    };
    assert_eq!(publisher.publish(&[event(0)]).await, [Ok(())], "an event with no subscriber is delivered");

    let (_connection, channel) = foreign_channel(&amqp_url()).await;
    let events = ExchangeRole::Events.name(&prefix);
    channel.exchange_delete(events.into(), ExchangeDeleteOptions::default()).await.unwrap();
    let first = publisher.publish(&[event(1)]).await;
    assert!(first == [Err(PublishError::Unconfirmed)] || first == [Ok(())], "{first:?}");
    assert_eq!(publisher.publish(&[event(2)]).await, [Ok(())]);
}

#[tokio::test]
async fn without_a_connection_the_answer_is_quick() {
    let prefix = test_prefix();
    let broker = Broker::start(options("amqp://127.0.0.1:1", &prefix));
    let started = Instant::now();
    let answers = broker.publisher().publish(&numbered("job", 1000)).await;
    assert_eq!(answers, vec![Err(PublishError::NotConnected); 1000]);
    assert!(started.elapsed() < Duration::from_millis(100));
    timeout(Duration::from_secs(1), broker.close()).await.expect("closing does not wait for the broker");
}

/// Not a benchmark of the machine, but a guard against losing the pipeline: one message per round trip would take
/// half a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_go_out_and_in_again() {
    const COUNT: usize = 20_000;
    let (broker, _) = on_shared_broker().await;
    let publisher = broker.publisher();
    let started = Instant::now();
    for part in numbered("job.bulk", COUNT).chunks(500) {
        assert!(publisher.publish(part).await.iter().all(Result::is_ok));
    }
    let published = started.elapsed();

    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    let started = Instant::now();
    let mut seen = BTreeSet::new();
    while seen.len() < COUNT {
        let mut batch = Vec::new();
        let more = timeout(PATIENCE, deliveries.next_batch(&mut batch, 500)).await;
        assert!(more.unwrap_or_else(|_| panic!("only {} came", seen.len())));
        seen.extend(batch.iter().map(number_in));
        acks.committed(batch.iter().map(|delivery| delivery.token));
    }
    settled(&acks).await;
    let consumed = started.elapsed();
    let rate = |elapsed: Duration| COUNT as f64 / elapsed.as_secs_f64();
    println!("published {:.0}/s with confirms, consumed {:.0}/s", rate(published), rate(consumed));
    assert!(
        published < Duration::from_secs(15) && consumed < Duration::from_secs(15),
        "{published:?} {consumed:?}"
    );
}
