//! The proofs in small, for every run of the tests.

use std::time::Duration;

use super::drain::{Drain, Fault, drain};
use super::rig::Plan;
use super::{bad, canary, orders, safety, surge};

const SMALL: Drain = Drain { jobs: 300, times: 1, fault: Fault::None, foreign: false };

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_drained_once_though_all_jobs_came_three_times() {
    drain("three times, short", Plan::default(), Drain { times: 3, ..SMALL }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_loses_nothing() {
    // Slow enough to be killed in the middle.
    let plan = Plan { sms_limits: &["150/s"], ..Plan::default() };
    drain("kills, short", plan, Drain { fault: Fault::Kills(2), ..SMALL }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_of_jobs_replacements_and_cancels_ends_by_the_rules() {
    orders::orders("orders, short", Plan::default(), 150, Duration::from_secs(12), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_parked_and_reported_and_the_good_are_sent() {
    bad::mixed("bad input, short", Plan::default(), 100, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_private_is_said_anywhere() {
    canary::search("canaries, short", Plan::default(), 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_holds_for_what_is_queued() {
    let plan = Plan { sms_limits: &["100/s"], ..Plan::default() };
    safety::stops("stops, short", plan, 600).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_outlives_older_upserts_and_snapshots() {
    safety::stop_stands("STOP stands", Plan::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_in_surge_is_held_and_everything_else_flows() {
    let more = "[policy.surge]\nfloor = 50\n[worker]\nbatch = 50";
    surge::surge("surge, short", Plan { more, ..Plan::default() }, 2_000, 20, 100).await;
}
