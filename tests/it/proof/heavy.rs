//! The proofs at full size. They want the machine for themselves.

use super::drain::{Drain, Fault, drain};
use super::rig::Plan;

const PRIVATE: Plan = Plan {
    private: true,
    sms_limits: &["50000/s"],
    voice_limits: &[],
    more: "",
    log_level: "info",
    audit_every: 100,
};

const FULL: Drain = Drain { jobs: 100_000, times: 1, fault: Fault::None, foreign: true };

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn drain_of_a_full_queue() {
    drain("drain", PRIVATE, FULL).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn drain_over_a_restart_of_the_broker() {
    drain("drain, broker restarted", PRIVATE, Drain { fault: Fault::BrokerRestart, ..FULL }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn drain_with_ten_kills() {
    drain("drain, ten kills", PRIVATE, Drain { fault: Fault::Kills(10), ..FULL }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn drain_of_the_same_jobs_three_times() {
    drain("same jobs three times", PRIVATE, Drain { jobs: 10_000, times: 3, ..FULL }).await;
}
