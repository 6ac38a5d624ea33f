//! The proofs in small, for every run of the tests.

use std::time::Duration;

use super::drain::{Drain, Fault, drain};
use super::failover::{Outing, Trouble, failover, waits};
use super::rig::Plan;
use super::{
    bad, canary, faults, flood, hours, limits, night, orders, recover, restarts, safety, scale, spool, surge,
};

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

/// Another seed each time it is asked for by `OUTREACHD_TEST_FAULTS_SEED`.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_and_whenever_nothing_is_lost() {
    let plan = Plan { sms_limits: &["300/s"], ..Plan::default() };
    faults::suite("faults, short", plan, faults::SMALL.asked()).await;
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
async fn a_cancel_and_a_hold_hold_for_what_is_queued() {
    let plan = Plan { sms_limits: &["100/s"], ..Plan::default() };
    safety::taken_back("cancels and a hold, short", plan, 1_200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_night_somewhere() {
    night::around_the_world("night, short", Plan::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_outlives_older_upserts_and_snapshots() {
    safety::stop_stands("STOP stands", Plan::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_the_ledger_does_not_take_outlive_the_process() {
    spool::results_outlive_the_process("spool", Plan::default(), 40).await;
}

#[test]
fn quiet_hours_end_when_a_foreign_clock_says_so() {
    assert!(hours::has_python(), "Python 3.9 or later is needed here: it is the other clock");
    let zones = &[
        "America/Chicago",
        "America/Havana",
        "America/Santiago",
        "Africa/Cairo",
        "Africa/Casablanca",
        "Antarctica/Troll",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Europe/Dublin",
        "Pacific/Chatham",
    ];
    let compared = hours::compare("hours, short", &hours::Years { first: 2024, until: 2026, each: 2, zones });
    // An old or a new database of the system may differ in a zone or two.
    assert!(compared.apart.len() <= 2, "{:?}", compared.apart);
    assert!(compared.cases > 500, "{} cases", compared.cases);
    assert!(compared.wrong.is_empty(), "{:#?}", compared.wrong);
}

/// A breaker in a hurry.
const QUICK: &str = "cool_down = \"500ms\"\ncool_down_max = \"1s\"\nrecovery = \"3s\"";

const SECONDS: Outing =
    Outing { per_second: 100, before: 2, outage: 4, after: 8, trouble: Trouble::Unavailable };

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_carries_what_an_unavailable_provider_does_not() {
    let plan = Plan { sms_backup: true, breaker: QUICK, ..Plan::default() };
    failover("failover, 503, short", plan, SECONDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_unknown_is_sent_again_over_a_backup() {
    let plan = Plan { sms_backup: true, breaker: QUICK, ..Plan::default() };
    failover("failover, 500, short", plan, Outing { trouble: Trouble::Errors, ..SECONDS }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_provider_can_take_waits_without_haste() {
    let breaker = "cool_down = \"2s\"\ncool_down_max = \"2s\"";
    let plan = Plan { breaker, sms_limits: &["200/s"], ..Plan::default() };
    // Beside other tests less of the limit is used.
    waits("all providers down, short", plan, 1_500, 5, 0.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_in_surge_is_held_and_everything_else_flows() {
    let more = "[policy.surge]\nfloor = 50\n[worker]\nbatch = 50";
    surge::surge("surge, short", Plan { more, ..Plan::default() }, 2_000, 20, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_segment_of_a_long_text_counts_over_three_workers() {
    limits::long_texts("limits of long texts, short", Plan::default(), 3, 50, 0.60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_floods_the_house_starves_no_other() {
    for priorities in [["urgent", "urgent"], ["normal", "normal"], ["urgent", "normal"]] {
        flood::flood("one source floods, short", Plan::default(), priorities, 1, 12).await;
    }
}

/// The goal is another one where many tests run at once.
#[tokio::test(flavor = "multi_thread")]
async fn urgent_messages_do_not_wait_for_a_blast() {
    let size = crate::campaign::urgent::Beside {
        people: 900,
        bulk: 300,
        urgent: 30,
        each: Duration::from_millis(20),
        goal: Duration::from_secs(2),
    };
    // What a worker that is not optimised bears with a processor to spare.
    let plan = Plan { sms_limits: &["150/s"], ..Plan::default() };
    crate::campaign::urgent::beside("urgent beside a blast, short", plan, size).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_from_a_dump_sends_nothing_twice_and_forgets_no_stop() {
    let plan = Plan { sms_limits: &["25/s"], ..Plan::default() };
    recover::restored(
        "restored from a dump, short",
        plan,
        recover::Restore { jobs: 120, late: 12, stops: 5 },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_and_database_go_away_and_work_goes_on() {
    restarts::restarts("restarts, short", Plan { private: true, ..Plan::default() }, 1, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_in_one_moment_leaves_after_it() {
    let (ahead, most) = (Duration::from_secs(6), Duration::from_secs(20));
    scale::all_at_nine("all due at nine, short", Plan::default(), 300, ahead, most).await;
}
