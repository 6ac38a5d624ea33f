//! Invariant 10: what a provider has answered is not forgotten, though the ledger is away and the process must end.

use std::time::Duration;

use outreachd::simulator::{Faults, ProviderKind};
use serde_json::json;

use super::auditor::audit;
use super::drain::{phone, reminder};
use super::rig::{Plan, Rig};
use crate::support::house::patient;
use crate::support::proxy::{Link, TcpProxy};

/// `jobs` are with the provider when the ledger goes silent and the worker is told to stop.
pub(crate) async fn results_outlive_the_process(name: &str, plan: Plan, jobs: usize) {
    let mut rig = Rig::build(plan).await;
    rig.know(&[patient("P0", "sms", &phone(0))]).await;
    let slow = Faults { latency_ms: 1_500, ..Faults::default() };
    rig.simulator.set_faults(Some(ProviderKind::TwilioSms), &slow).unwrap();
    let url = rig.database_url();
    let target = url.rsplit_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    let proxy = TcpProxy::start(target.parse().unwrap()).await;
    let through = url.replace(&target, &proxy.address().to_string());
    let mut worker =
        rig.worker_with(&[("OUTREACHD_STORE__URL", &through), ("OUTREACHD_WORKER__SHUTDOWN_GRACE", "3s")]);
    let ids: Vec<String> = (0..jobs).map(|n| format!("k{n}")).collect();
    rig.publish("job", ids.iter().map(|id| reminder(id, 0)).collect()).await;
    rig.simulator.wait_for_hits(jobs as u64).await;
    // The provider has them all and has not answered; from now on the ledger hears nothing.
    proxy.set(Link::HalfOpen);
    let stopped = worker.stop();
    assert!(stopped < Duration::from_secs(5), "the grace and two seconds: {stopped:?}");
    let open = rig.number("SELECT count(*) FROM attempts WHERE status = 'sending'").await;
    assert_eq!(open, i64::try_from(jobs).unwrap(), "the ledger was not told");
    assert!(!kept(&rig).is_empty(), "the results are in a file");

    let mut next = rig.worker();
    rig.until_quiet(i64::try_from(jobs).unwrap(), Duration::from_secs(30)).await;
    let sent = "SELECT count(*) FROM messages WHERE status = 'sent'";
    rig.until("sent messages", sent, i64::try_from(jobs).unwrap(), Duration::from_secs(10)).await;
    assert!(kept(&rig).is_empty(), "and in the ledger now");
    next.stop();
    let evidence = rig.evidence(ids, vec![worker.usage(), next.usage()]).await;
    audit(&rig.sql, &evidence).await.close(name, json!({ "stop_ms": stopped.as_millis() as u64 }));
}

fn kept(rig: &Rig) -> Vec<String> {
    let names = std::fs::read_dir(rig.dir.path()).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("results-"))
        .collect()
}
