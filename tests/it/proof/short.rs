//! The proofs in small, for every run of the tests.

use super::drain::{Drain, Fault, drain};
use super::rig::Plan;

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_drained_once_though_all_jobs_came_three_times() {
    let three = Drain { jobs: 300, times: 3, fault: Fault::None, foreign: false };
    drain("short drain", Plan::default(), three).await;
}
