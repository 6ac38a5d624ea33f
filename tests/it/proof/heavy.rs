//! The proofs at full size. They want the machine for themselves.

use std::time::Duration;

use super::drain::{Drain, Fault, drain};
use super::failover::{Outing, Trouble, failover, waits};
use super::rig::Plan;
use super::{
    bad, canary, faults, flood, hang, hours, limits, orders, pressure, recover, restarts, safety, scale,
    surge,
};
use crate::receipt::{bounces, forged, lost, outage};

pub(super) const PRIVATE: Plan = Plan {
    private: true,
    sms_limits: &["50000/s"],
    voice_limits: &[],
    sms_backup: false,
    every_channel: false,
    breaker: "",
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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn orders_of_jobs_replacements_and_cancels() {
    orders::orders("orders", PRIVATE, 10_000, Duration::from_secs(150), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn bad_input_among_good() {
    bad::mixed("bad input", PRIVATE, 1_000, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn limits_over_two_workers() {
    limits::limits("limits", Plan { private: true, ..Plan::default() }, 2, 60, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn limits_over_three_workers() {
    limits::limits("limits, three workers", Plan { private: true, ..Plan::default() }, 3, 60, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn limits_of_long_texts_over_three_workers() {
    limits::long_texts("limits of long texts", PRIVATE, 3, 300, 0.80).await;
}

/// Thirty seconds without, thirty with it, five times.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn hang_of_one_provider() {
    hang::hang("one provider hangs", PRIVATE, 5, 30, 0.10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn backpressure_at_five_times_the_limit() {
    pressure::pressure("five times the limit", PRIVATE, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn canaries_in_everything_that_is_said() {
    canary::search("canaries", PRIVATE, 2_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn stops_while_thousands_wait() {
    safety::stops("stops", Plan { sms_limits: &["200/s"], ..PRIVATE }, 10_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn cancels_and_a_hold_while_thousands_wait() {
    safety::taken_back("cancels and a hold", Plan { sms_limits: &["200/s"], ..PRIVATE }, 10_000).await;
}

#[test]
#[ignore = "heavy: tests/proof"]
fn hours_by_a_foreign_clock_in_every_zone() {
    let years = hours::Years { first: 2020, until: 2038, each: 4, zones: &[] };
    let compared = hours::compare("hours", &years);
    assert!(compared.apart.is_empty(), "the databases differ, nothing is shown of: {:?}", compared.apart);
    assert!(compared.cases > 400_000, "{} cases", compared.cases);
    assert!(compared.wrong.is_empty(), "{:#?}", compared.wrong.iter().take(20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn failover_while_the_primary_is_unavailable() {
    failover("failover, 503", Plan { sms_backup: true, ..PRIVATE }, MINUTE).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn failover_while_the_primary_breaks_off() {
    let outing = Outing { trouble: Trouble::Errors, ..MINUTE };
    failover("failover, 500", Plan { sms_backup: true, ..PRIVATE }, outing).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn failover_has_nowhere_to_go() {
    waits("all providers down", Plan { sms_limits: &["400/s"], ..PRIVATE }, 10_000, 20, 0.95).await;
}

/// By `tests/faults`, which gives the numbers.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/faults"]
async fn faults() {
    let plan = Plan { sms_limits: &["2000/s"], voice_limits: &[], audit_every: 10, ..PRIVATE };
    faults::suite("faults", plan, faults::FULL.asked()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn restarts_of_broker_and_database() {
    restarts::restarts("restarts", PRIVATE, 30, 500).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn grown_to_ten_million_messages() {
    scale::grown("ten million messages", PRIVATE, 10_000_000, 50_000, 4, 0.8).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn all_due_at_nine() {
    let (ahead, most) = (Duration::from_secs(90), Duration::from_secs(60));
    scale::all_at_nine("all due at nine", PRIVATE, 100_000, ahead, most).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn restored_from_a_dump() {
    let plan = Plan { sms_limits: &["500/s"], ..PRIVATE };
    recover::restored(
        "restored from a dump",
        plan,
        recover::Restore { jobs: 20_000, late: 2_000, stops: 200 },
    )
    .await;
}

const MINUTE: Outing =
    Outing { per_second: 200, before: 10, outage: 60, after: 90, trouble: Trouble::Unavailable };

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn receipts_forged_or_altered() {
    forged::forgeries("forgeries", 10_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn receipts_after_lost_answers() {
    lost::lost_answers("lost answers", 20_000, Duration::from_secs(300)).await;
}

/// Postfix on loopback, by LMTP and by a pipe, the database away for some of them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn bounces_of_a_real_mail_server() {
    bounces::real_server("bounces", 40).await;
}

/// 500 receipts a second, two for each message.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn receipts_while_the_database_is_stopped() {
    outage::stopped("database stopped", 15_000, Duration::from_secs(60), Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn surge_of_a_source() {
    surge::surge("surge", PRIVATE, 40_000, 800, 4_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn callbacks_of_a_receiver_that_is_down() {
    crate::callbacks::down("callbacks down", 5_000, Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn campaign_million() {
    crate::campaign::million::million("campaign of a million", 1_000_000, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn campaign_blast() {
    crate::campaign::blast::blast("blast with pauses and kills", PRIVATE, 100_000, 120_000, 20, 5).await;
}

/// Publish to sink, while the blast of a million runs and the bulk queue is full. The provider takes as much as leaves the
/// machine, which broker, ledger and sink share, some air.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn flood_of_one_source() {
    for priorities in [["urgent", "urgent"], ["normal", "normal"], ["urgent", "normal"]] {
        flood::flood("one source floods", PRIVATE, priorities, 3, 60).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn campaign_beside_urgent() {
    urgent("urgent beside a blast", 1_000_000, &["1000/s"]).await;
}

/// The same where the provider takes as much as the machine can send.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn campaign_beside_urgent_without_air() {
    urgent("urgent beside a blast that takes all of the machine", 200_000, &["2000/s"]).await;
}

async fn urgent(title: &str, people: u32, sms_limits: &'static [&'static str]) {
    let size = crate::campaign::urgent::Beside {
        people,
        bulk: 100_000,
        urgent: 3_000,
        each: Duration::from_millis(15),
        goal: Duration::from_millis(250),
    };
    let plan = Plan { sms_limits, audit_every: 1_000, ..PRIVATE };
    crate::campaign::urgent::beside(title, plan, size).await;
}

/// A goal of 100 ms in release; `OUTREACHD_TEST_LIMIT_MS` sets another one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: tests/proof"]
async fn pages_over_a_million_messages() {
    let usual = if cfg!(debug_assertions) { 250 } else { 100 };
    let limit = std::env::var("OUTREACHD_TEST_LIMIT_MS").map_or(usual, |text| text.parse().unwrap());
    crate::http::pages::over("pages over a million", 1_000_000, 40, Duration::from_millis(limit)).await;
}

/// In a browser: `tests/console` clicks through, takes pictures, and tells how the live log bears 1,000 lines a second.
#[test]
#[ignore = "heavy: tests/proof"]
fn console_in_a_browser() {
    let (root, pictures) = (env!("CARGO_MANIFEST_DIR"), concat!(env!("CARGO_TARGET_TMPDIR"), "/console"));
    let script = format!("{root}/tests/console");
    let ended = std::process::Command::new(script).args([env!("CARGO_BIN_EXE_outreachd"), pictures]).status();
    assert!(ended.unwrap().success(), "its pictures are in {pictures}");
}
