//! `outreachd doctor`: for whoever is woken: what is wrong, since when, how many patients are behind it, what to do; the most
//! urgent first.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::check::{self, Standing};
use super::messages::short;
use super::out::tame;
use super::{Desk, Failure};
use crate::config::Config;
use crate::domain::alert::{Alert, Finding, Level, Trouble};
use crate::domain::campaign::CampaignState;
use crate::policy::watch::{untold, wrong};
use crate::receipt::{Spooled, spooled};
use crate::store::alerts::Behind;
use crate::store::campaigns::CampaignFilter;
use crate::store::rows::{Hold, HoldRow, HoldScope, HoldState};
use crate::store::{Store, StoreError};
use crate::watch::Lookout;

/// Failures of so many minutes are told.
const MINUTES: u32 = 60;
/// Kinds of failure that are told.
const LAST: usize = 5;
/// With less room a ledger or a spool may stop, in KiB ...
const ROOM_LEAST: u64 = 256 * 1024;
/// ... and so full a disk is looked after today, in percent.
const ROOM_FULL: u64 = 90;

/// Tells what is wrong now, the most urgent first: since when, how many patients are behind it, and what to do.
///
/// Looks at the configuration, the ledger and its schema, the broker, the providers, the clock, the disk, and at what
/// waits, is held, fails, or waits for a person. Changes nothing and sends nothing. The exit code is 1 if something is
/// urgent.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outreachd doctor\n  outreachd doctor --json | jq '.findings[0]'")]
pub(super) struct Options {}

/// How soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Urgency {
    /// Patients wait, or will.
    Now,
    Today,
    /// Good to know.
    Note,
}

impl Urgency {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Now => "NOW",
            Self::Today => "today",
            Self::Note => "note",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct Ill {
    urgency: Urgency,
    what: String,
    since: Option<Timestamp>,
    /// How many are behind it, where that can be counted.
    patients: Option<u64>,
    cure: String,
    runbook: Option<String>,
}

impl Ill {
    fn new(urgency: Urgency, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { urgency, what: what.into(), since: None, patients: None, cure: cure.into(), runbook: None }
    }
}

pub(super) async fn run(desk: &mut Desk) -> Result<(), Failure> {
    let (report, config) = check::examine(desk).await?;
    let mut ills: Vec<Ill> = report.lines().iter().filter_map(of_check).collect();
    let passed: Vec<&str> =
        report.lines().iter().filter(|l| l.standing == Standing::Good).map(|l| l.subject.as_str()).collect();
    if let Some(config) = &config {
        // Why the ledger cannot be asked stands among the findings of the check.
        if let Ok(store) = Desk::unasked_store(config).await
            && let Err(error) = of_ledger(config, store, &mut ills).await
        {
            let cure = "ask again; what its own line above says comes first. A program that is older than the ledger \
                        does not know all of its words: use the worker's";
            let what = format!("the ledger could not be asked how the messages are: {error}");
            ills.push(Ill::new(Urgency::Now, what, cure));
        }
        ills.extend(of_disk(config).await);
        ills.extend(of_spool(spooled(&config.worker.spool)));
    }
    ills.sort_by_key(|ill| ill.urgency);
    let urgent = ills.iter().filter(|ill| ill.urgency == Urgency::Now).count();
    if desk.json {
        desk.out.pretty(&json!({"healthy": urgent == 0, "findings": ills, "passed": passed}))?;
    } else {
        check::place(desk, config.as_deref())?;
        write(desk, &ills, urgent, &passed)?;
    }
    if urgent > 0 { Err(Failure::Reported) } else { Ok(()) }
}

fn write(desk: &mut Desk, ills: &[Ill], urgent: usize, passed: &[&str]) -> Result<(), Failure> {
    for (n, ill) in ills.iter().enumerate() {
        let head = format!("{:>2}. {:<5}  {}", n + 1, ill.urgency.as_str(), tame(&ill.what));
        let head = if ill.urgency == Urgency::Now { desk.out.strong(&head) } else { head };
        desk.out.line(head)?;
        let since = ill.since.map(|at| format!("since {}", short(at)));
        let most = |n: u64| if n >= Behind::MOST { format!("{n} and more") } else { n.to_string() };
        let patients =
            ill.patients.map(|n| format!("{} {}", most(n), if n == 1 { "patient" } else { "patients" }));
        let about: Vec<String> = since.into_iter().chain(patients).collect();
        if !about.is_empty() {
            desk.out.line(format!("           {}", about.join(", ")))?;
        }
        if !ill.cure.is_empty() {
            desk.out.line(format!("           do: {}", tame(&ill.cure)))?;
        }
        if let Some(runbook) = &ill.runbook {
            desk.out.line(format!("           see: {runbook}"))?;
        }
    }
    Ok(desk.out.line(if ills.is_empty() {
        format!("all is well: {}", passed.join(", "))
    } else {
        format!("{urgent} urgent, {} to look at; all else is well", ills.len() - urgent)
    })?)
}

fn of_check(line: &check::Line) -> Option<Ill> {
    let urgency = match line.standing {
        Standing::Bad => Urgency::Now,
        // What a text could do better is no matter for the night.
        Standing::Warning if line.subject != "templates" => Urgency::Note,
        Standing::Warning | Standing::Good => return None,
    };
    Some(Ill::new(urgency, format!("{}: {}", line.subject, line.what), &line.cure))
}

async fn of_ledger(
    config: &std::sync::Arc<Config>,
    store: std::sync::Arc<dyn Store>,
    ills: &mut Vec<Ill>,
) -> Result<(), StoreError> {
    let lookout = Lookout { store: store.clone(), config: config.clone(), broker: None };
    let (signs, now) = lookout.signs().await?;
    let alerts = store.standing_alerts().await?;
    let behind = store.people_behind().await;
    let people = behind.as_ref().ok();
    let holds = store.holds().await?;
    ills.extend(wrong(&signs).iter().map(|finding| of_finding(finding, &alerts, people, &holds, config)));
    ills.extend(alerts.iter().filter_map(|alert| of_untold(alert, now)));
    behind?;
    of_holds(&holds, ills);
    of_campaigns(store.as_ref(), ills).await?;
    of_failures(store.as_ref(), ills).await
}

/// What somebody should have been told of, and was not.
fn of_untold(alert: &Alert, now: Timestamp) -> Option<Ill> {
    let ways: Vec<String> = untold(alert, now).iter().map(ToString::to_string).collect();
    let urgency = match (ways.is_empty(), alert.finding.level) {
        (true, _) => return None,
        (false, Level::Bad) => Urgency::Now,
        (false, Level::Look) => Urgency::Today,
    };
    let what = format!("people on call could not be told of {}: {}", alert.key, ways.join(", "));
    let cure =
        "see [notify]: the receiver, the relay and each mailbox; the worker's log says what they answer";
    Some(Ill { since: alert.owed_since, ..Ill::new(urgency, what, cure) })
}

fn of_finding(
    finding: &Finding,
    alerts: &[Alert],
    behind: Option<&Behind>,
    holds: &[HoldRow],
    config: &Config,
) -> Ill {
    let trouble = finding.trouble;
    let urgency = match finding.level {
        Level::Bad => Urgency::Now,
        Level::Look => Urgency::Today,
    };
    let key = finding.key();
    let known = alerts.iter().find(|alert| alert.key == key && alert.ended_at.is_none());
    let patients = match trouble {
        Trouble::NoWorker | Trouble::ChannelOut | Trouble::UrgentLate | Trouble::BacklogOld => {
            behind.map(|behind| behind.waiting)
        }
        Trouble::OutcomeUnknown => behind.map(|behind| behind.unknown),
        Trouble::WorkOverdue => behind.map(|behind| {
            let of_kind = behind.overdue.iter().find(|(kind, _)| kind.as_str() == finding.subject);
            of_kind.map_or(0, |(_, people)| *people)
        }),
        Trouble::SafetyUnread => Some(1),
        _ => None,
    };
    let by = known.and_then(|alert| alert.acknowledged_by.as_ref());
    let by = by.map(|name| format!(" ({name} looks after it)")).unwrap_or_default();
    Ill {
        urgency,
        what: format!("{}{by}", finding.what),
        since: known.map(|alert| alert.since),
        // What is claimed again and again, or lies under a hold, is not seen to wait.
        patients: patients.filter(|people| *people > 0),
        cure: cure_of(finding, holds),
        runbook: Some(config.runbook_of(trouble)),
    }
}

/// The first step, with the ids of the holds behind it: whoever is woken has nothing to look up.
fn cure_of(finding: &Finding, holds: &[HoldRow]) -> String {
    let is_behind = |hold: &Hold| match finding.trouble {
        Trouble::Stopped => hold.scope == HoldScope::All && hold.placed_by == finding.subject,
        Trouble::SurgeHeld => {
            hold.is_by_guard() && format!("{}/{}", hold.scope, hold.value) == finding.subject
        }
        _ => false,
    };
    let behind = holds.iter().filter(|row| row.state == HoldState::InForce && is_behind(&row.hold));
    let release = behind.map(|row| format!("`{}`", row.end_command())).collect::<Vec<_>>();
    let first = finding.trouble.first_step();
    if release.is_empty() {
        first.to_owned()
    } else {
        first.replace("`outreachd release ID`", &release.join(", "))
    }
}

/// Everything under one hold is an alarm, and told above; the narrower ones may be forgotten.
fn of_holds(holds: &[HoldRow], ills: &mut Vec<Ill>) {
    for row in holds {
        let hold = &row.hold;
        if hold.scope == HoldScope::All && row.state == HoldState::InForce {
            continue;
        }
        let what = match row.state {
            HoldState::InForce => {
                format!("{} {} is held by {}: {} messages", hold.scope, hold.value, hold.placed_by, row.held)
            }
            HoldState::Review => format!(
                "a hold of {} {} has ended: {} messages wait for a word",
                hold.scope, hold.value, row.held
            ),
        };
        let when = match (row.state, hold.scope) {
            (_, HoldScope::Campaign) => ", or end it",
            (HoldState::InForce, _) => ", once its cause is gone",
            (HoldState::Review, _) => "",
        };
        let cure = format!("{}{when}", row.end_command());
        let urgency = if row.state == HoldState::Review { Urgency::Today } else { Urgency::Note };
        ills.push(Ill { since: Some(hold.placed_at), ..Ill::new(urgency, what, cure) });
    }
}

async fn of_campaigns(store: &dyn Store, ills: &mut Vec<Ill>) -> Result<(), StoreError> {
    let open = CampaignFilter { open: true, limit: 1_000, ..CampaignFilter::default() };
    for row in store.campaigns(&open).await? {
        let id = &row.plan.id;
        let (what, cure) = match row.state {
            CampaignState::CanaryHold => (
                format!("campaign {id} waits: somebody has to look at its first messages"),
                format!("outreachd campaign report {id}, then campaign approve"),
            ),
            CampaignState::AwaitingApproval => (
                format!("campaign {id} waits for another person's approval"),
                format!("outreachd campaign dry-run {id}, then campaign approve"),
            ),
            _ => continue,
        };
        ills.push(Ill { since: Some(row.changed_at), ..Ill::new(Urgency::Today, what, cure) });
    }
    Ok(())
}

/// What has failed within the hour, the most frequent first.
async fn of_failures(store: &dyn Store, ills: &mut Vec<Ill>) -> Result<(), StoreError> {
    let mut sums = std::collections::BTreeMap::<(String, String, String), u64>::new();
    for row in store.pulse(MINUTES, MINUTES).await?.into_iter().filter(|row| row.what == "failed") {
        *sums.entry((row.channel, row.provider, row.reason)).or_default() += row.count;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for ((channel, provider, reason), count) in sums.into_iter().take(LAST) {
        let way =
            [channel, provider].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" by ");
        let what = format!("in the last hour {count} failed over {way}: {}", reason.replace('_', " "));
        ills.push(Ill::new(
            Urgency::Note,
            what,
            "outreachd messages list --status failed; explain tells of each",
        ));
    }
    Ok(())
}

/// Where this machine writes: the spool of results, and the ledger where it is a file.
async fn of_disk(config: &Config) -> Vec<Ill> {
    let mut places = vec![("the spool of results", config.worker.spool.clone())];
    if let Some(file) = config.store.file() {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        places.push(("the ledger", folder.unwrap_or(Path::new(".")).to_owned()));
    }
    let looked = tokio::task::spawn_blocking(move || {
        places.into_iter().filter_map(|(what, folder)| full(what, &folder)).collect()
    });
    looked.await.unwrap_or_default()
}

/// What providers have brought on this machine while the ledger was away.
fn of_spool(spooled: Spooled) -> Vec<Ill> {
    let mut ills = Vec::new();
    if spooled.webhooks > 0 {
        let what =
            format!("{} webhooks of providers wait for the ledger in [worker] spool", spooled.webhooks);
        let cure = "bring the ledger back, and let a worker run in this folder: receipts, stops and words of danger \
            may be among them";
        ills.push(Ill::new(Urgency::Now, what, cure));
    }
    if spooled.refused > 0 {
        let what = format!(
            "{} webhooks of providers in [worker] spool could not be read or written",
            spooled.refused
        );
        let cure = "see the log for why (a sealing key that was taken out?), mend it, and restart the worker: it tries \
            them again";
        ills.push(Ill::new(Urgency::Now, what, cure));
    }
    ills
}

/// As `df` tells it (POSIX); where there is none, nothing is said.
fn full(what: &str, folder: &Path) -> Option<Ill> {
    let told = std::process::Command::new("df").arg("-Pk").arg("--").arg(folder).output().ok()?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let (left, used) = room(&told)?;
    let urgency = match (left < ROOM_LEAST, used >= ROOM_FULL) {
        (true, _) => Urgency::Now,
        (false, true) => Urgency::Today,
        (false, false) => return None,
    };
    let what = format!("the disk of {what} is {used} % full: {} MiB are left", left / 1_024);
    Some(Ill::new(urgency, what, "make room; a ledger that cannot write takes no jobs and sends nothing"))
}

/// What is left, in KiB, and how full it is, in percent, by the output of `df -Pk`.
fn room(told: &str) -> Option<(u64, u64)> {
    let mut cells = told.lines().nth(1)?.split_ascii_whitespace().skip(3);
    let left = cells.next()?.parse().ok()?;
    Some((left, cells.next()?.trim_end_matches('%').parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_a_disk_is_read() {
        let told = "Filesystem     1024-blocks     Used Available Capacity Mounted on\n\
                    /dev/sda1         10218772  9216000    102400      99% /var\n";
        assert_eq!(room(told), Some((102_400, 99)));
        assert_eq!(room("df: no such folder\n"), None);
    }

    #[test]
    fn what_waits_for_the_ledger_is_told() {
        assert_eq!(of_spool(Spooled::default()).len(), 0);
        let told = of_spool(Spooled { webhooks: 12, files: 1, bytes: 900, refused: 3 });
        let told: Vec<&str> = told.iter().map(|ill| ill.what.as_str()).collect();
        assert!(told[0].starts_with("12 webhooks") && told[1].starts_with("3 webhooks"), "{told:?}");
    }

    #[test]
    fn what_a_check_finds_comes_first_and_texts_can_wait() {
        let line = |standing, subject: &str| check::Line {
            standing,
            subject: subject.to_owned(),
            what: "x".to_owned(),
            cure: "y".to_owned(),
        };
        assert_eq!(of_check(&line(Standing::Bad, "broker")).unwrap().urgency, Urgency::Now);
        assert_eq!(of_check(&line(Standing::Warning, "clock")).unwrap().urgency, Urgency::Note);
        assert!(of_check(&line(Standing::Warning, "templates")).is_none());
        assert!(of_check(&line(Standing::Good, "ledger")).is_none());
    }
}
