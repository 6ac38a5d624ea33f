//! Consuming: the committed prefix is acknowledged, the window grows, bytes are bounded, a pause is quiet.

use std::collections::BTreeSet;

use outreachd::broker::{ConsumeOptions, QueueRole};
use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn keys_lead_to_their_queues() {
    let (broker, _) = on_shared_broker().await;
    let keys =
        ["job", "job.normal", "job.bulk", "job.cancel", "job.urgent", "patient.upsert", "patient.merge"];
    for (number, key) in keys.iter().enumerate() {
        publish_all(&broker, &[outgoing(key, number)]).await;
    }
    for (queue, expected) in
        [(QueueRole::Jobs, &keys[..4]), (QueueRole::Urgent, &keys[4..5]), (QueueRole::Patients, &keys[5..])]
    {
        let (mut deliveries, _acks) = broker.consume(queue, ConsumeOptions::default());
        let taken = take(&mut deliveries, expected.len()).await;
        assert!(taken.iter().all(|delivery| delivery.queue == queue && !delivery.redelivered));
        assert_eq!(taken.iter().map(|delivery| &*delivery.routing_key).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn only_the_committed_prefix_is_gone_for_good() {
    let (broker, prefix) = on_shared_broker().await;
    publish_all(&broker, &numbered("job", 20)).await;

    let first = connected(&amqp_url(), &prefix).await;
    let (mut deliveries, acks) = first.consume(QueueRole::Jobs, ConsumeOptions::default());
    let taken = take(&mut deliveries, 20).await;
    // Out of order, with a hole at 10.
    acks.committed(taken[11..].iter().rev().map(|delivery| delivery.token));
    acks.committed(taken[..5].iter().map(|delivery| delivery.token));
    acks.committed(taken[5..10].iter().map(|delivery| delivery.token));
    // Closing right away still acknowledges what is committed.
    first.close().await;

    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
    let again = take(&mut deliveries, 10).await;
    assert_eq!(again.iter().map(number_in).collect::<BTreeSet<_>>(), (10..20).collect());
    assert!(again.iter().all(|delivery| delivery.redelivered));
    acks.committed(again.iter().map(|delivery| delivery.token));
    settled(&acks).await;
}

#[tokio::test]
async fn the_window_starts_small_and_grows_with_every_committed_batch() {
    let (broker, _) = on_shared_broker().await;
    publish_all(&broker, &numbered("job", 1000)).await;
    let (mut deliveries, acks) =
        broker.consume(QueueRole::Jobs, ConsumeOptions { max_prefetch: 200, ..small_window() });

    let mut windows = Vec::new();
    for expected in [32, 64, 128, 200, 200] {
        let mut batch = take(&mut deliveries, expected).await;
        let more = timeout(Duration::from_millis(300), deliveries.next_batch(&mut batch, usize::MAX)).await;
        windows.push(batch.len());
        assert!(more.is_err(), "no more than the window: {windows:?}");
        acks.committed(batch.iter().map(|delivery| delivery.token));
    }
    assert_eq!(windows, [32, 64, 128, 200, 200]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_grows_under_load_keeps_the_order_and_repeats_nothing() {
    let (broker, _) = on_shared_broker().await;
    for _ in 0..20 {
        publish_all(&broker, &numbered("job", 2000)).await;
        let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, ConsumeOptions::default());
        let mut seen = Vec::new();
        while seen.len() < 2000 {
            let mut batch = Vec::new();
            let more = timeout(PATIENCE, deliveries.next_batch(&mut batch, 40)).await;
            assert!(more.unwrap_or_else(|_| panic!("only {} came", seen.len())));
            seen.extend(batch.iter().map(number_in));
            acks.committed(batch.iter().map(|delivery| delivery.token));
        }
        assert!(seen.is_sorted() && seen.len() == 2000);
        settled(&acks).await;
    }
}

#[tokio::test]
async fn bytes_that_are_not_committed_stop_the_intake_until_they_are() {
    let (broker, _) = on_shared_broker().await;
    let large: Vec<_> =
        (0..200).map(|number| Outgoing { body: vec![b'x'; 10_000], ..outgoing("job", number) }).collect();
    publish_all(&broker, &large).await;
    let options = ConsumeOptions { max_prefetch: 500, held_bytes: 200_000 };
    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, options);

    let (mut taken, mut held, mut most) = (0, Vec::new(), 0);
    while taken < 200 {
        let more = timeout(Duration::from_millis(500), deliveries.next_batch(&mut held, usize::MAX)).await;
        assert_ne!(more, Ok(false));
        most = most.max(acks.outstanding().1);
        if more.is_err() {
            assert!(!held.is_empty(), "only {taken} came");
            taken += held.len();
            acks.committed(held.drain(..).map(|delivery| delivery.token));
        }
    }
    // What was pushed before the first body was seen comes on top: the first window of 32.
    assert!(most <= 200_000 + 32 * 10_000, "{most}");
    settled(&acks).await;
}

#[tokio::test]
async fn while_nothing_is_committed_no_more_than_the_window_comes() {
    let (broker, _) = on_shared_broker().await;
    let (mut deliveries, acks) = broker.consume(QueueRole::Jobs, small_window());
    publish_all(&broker, &numbered("job", 100)).await;
    let at_hand = take(&mut deliveries, 32).await;
    let more = timeout(Duration::from_millis(500), deliveries.next()).await;
    assert!(more.is_err(), "the window is full");
    // The ledger is back: what was at hand is committed without having been handed out twice.
    acks.committed(at_hand.iter().map(|delivery| delivery.token));
    let later = take(&mut deliveries, 64).await;
    assert!(later.iter().all(|delivery| !delivery.redelivered));
    assert_eq!(later.iter().map(number_in).collect::<Vec<_>>(), (32..96).collect::<Vec<_>>());
}
