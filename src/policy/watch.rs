//! What is wrong now, and what people on call have to be told of it. Both are pure: signs in, findings out; findings and
//! what was known before in, what is known then out.

mod telling;

use std::collections::HashSet;

use crate::domain::alert::{Finding, Level, Trouble};
use crate::domain::campaign::PauseReason;
use crate::domain::ids::{CampaignId, SourceName, WorkItemId};
use crate::domain::words::WorkKind;
pub use telling::{OUTGROWN, TellRules, UNTOLD, look, told, untold};

/// Urgent messages are on their way within a second; so late, something is wrong.
const URGENT_LATE: f64 = 60.0;
/// The others may wait their turn.
const LATE: f64 = 15.0 * 60.0;
/// Events wait for the broker, mostly for a moment.
const OUTBOX: u64 = 10_000;
/// One that has waited for so many seconds waits for more than a moment.
const OUTBOX_LATE: u64 = 10 * 60;
/// Of fewer outcomes nothing can be said of a provider ...
const OUTCOMES: u64 = 20;
/// ... and of so many in a hundred that did not arrive, something is wrong.
const LOST_PERCENT: u64 = 25;

/// What can be seen of the whole at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signs {
    /// Workers that gave a sign of life.
    pub workers: usize,
    /// Whether the broker is reached; `None`: none is configured, or whoever looks has no connection of their own.
    pub broker: Option<bool>,
    /// It is reached, and takes nothing for want of memory or disk.
    pub broker_blocked: bool,
    /// Providers that some worker leaves alone or has on trial.
    pub breakers: Vec<String>,
    /// Channels without a provider that can be used.
    /// True: for any message; false: for those that tell of health, which only a provider with an agreement carries.
    pub channels_out: Vec<(String, bool)>,
    /// Who has stopped everything.
    pub stopped_by: Vec<String>,
    /// How long the oldest urgent message could have gone and has not, in seconds; 0: none has waited.
    pub oldest_urgent: f64,
    /// The same of all others.
    pub oldest: f64,
    pub vitals: Vitals,
}

/// Numbers of the ledger by which it shows that something is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    pub parked: u64,
    pub outbox: u64,
    /// How long the oldest of those events has waited, in seconds.
    pub outbox_seconds: u64,
    /// For how long something in the way of all of its kind has held the oldest urgent message, in seconds: a limit or a
    /// budget that is used up, providers that fail, a template that is missing. Each look at it makes it due later.
    pub urgent_held_seconds: u64,
    /// The same of all others.
    pub held_seconds: u64,
    pub unknown: u64,
    pub work_open: u64,
    /// Work items whose time has come and that nobody has claimed, by kind; only where there are some.
    pub work_overdue: Vec<(WorkKind, u64)>,
    /// Words of danger that are not dealt with, those first that nobody has claimed, the oldest first; at most
    /// [`Vitals::MOST_IN_DANGER`].
    pub safety_open: Vec<WorkItemId>,
    /// What is held because far more than usual was asked for, such as `source/ehr`; at most [`Vitals::MOST`].
    pub surges: Vec<String>,
    /// Results that their receivers did not take, by source; only where there are some.
    pub results_dead: Vec<(SourceName, u64)>,
    /// Campaigns that have stopped by themselves.
    pub paused: Vec<(CampaignId, PauseReason)>,
    /// Provider, attempts that did not arrive, and those that did, among the newest of the last half hour.
    pub outcomes: Vec<(String, u64, u64)>,
}

impl Vitals {
    /// No more surges are named.
    pub const MOST: usize = 100;
    /// No more patients in danger are: each has an alert of its own.
    pub const MOST_IN_DANGER: usize = 1_000;
}

/// Everything that is wrong, the most urgent first.
#[must_use]
pub fn wrong(signs: &Signs) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |trouble, level, subject: &str, what: String| {
        found.push(Finding { trouble, subject: subject.to_owned(), level, what, extent: 1 });
    };
    if signs.workers == 0 {
        add(Trouble::NoWorker, Level::Bad, "", "No worker is running: nothing is sent.".to_owned());
    }
    if signs.broker == Some(false) {
        let what = match signs.broker_blocked {
            true => "The broker takes nothing, for want of memory or disk: results wait here.",
            false => "The broker is away: jobs wait there, results wait here.",
        };
        add(Trouble::BrokerAway, Level::Bad, "", what.to_owned());
    }
    for by in &signs.stopped_by {
        add(Trouble::Stopped, Level::Bad, by, format!("Everything is stopped, by {by}."));
    }
    for (channel, wholly) in &signs.channels_out {
        let what = match wholly {
            true => format!("No provider can be used for {channel}: its messages wait."),
            false => format!(
                "No provider with an agreement (baa) can be used for {channel}: what tells of health waits."
            ),
        };
        add(Trouble::ChannelOut, Level::Bad, channel, what);
    }
    for provider in &signs.breakers {
        let what = format!("Provider {provider} fails and is left alone, or is on trial.");
        add(Trouble::BreakerOpen, Level::Look, provider, what);
    }
    for (provider, lost, arrived) in &signs.vitals.outcomes {
        let all = lost + arrived;
        if all >= OUTCOMES && lost * 100 >= all * LOST_PERCENT {
            let what =
                format!("Of {all} messages over {provider} in the last half hour, {lost} did not arrive.");
            add(Trouble::ReceiptsFailing, Level::Look, provider, what);
        }
    }
    for (campaign, reason) in &signs.vitals.paused {
        let why = match reason {
            PauseReason::ErrorRate => "too many could not be sent",
            PauseReason::OptOutRate => "too many said stop",
            PauseReason::ComplaintRate => "too many complained",
            PauseReason::ApprovalVoid => "what was approved is no longer what would be sent",
            PauseReason::Operator => continue,
        };
        let what = format!("Campaign {campaign} has stopped by itself: {why}.");
        add(Trouble::CampaignPaused, Level::Bad, campaign.as_str(), what);
    }
    for (source, dead) in &signs.vitals.results_dead {
        add(
            Trouble::ResultsDead,
            Level::Look,
            source.as_str(),
            format!("The receiver of {source} did not take {}.", counted(*dead, "result")),
        );
    }
    of_waiting(signs, &mut add);
    of_people(signs, &mut add);
    for finding in &mut found {
        finding.extent = extent(finding, &signs.vitals);
    }
    found.sort_by_key(|finding| finding.trouble);
    let mut named = HashSet::new();
    found.retain(|finding| named.insert(finding.key()));
    found
}

/// How many things are wrong, where more of them are another matter than a few.
fn extent(finding: &Finding, vitals: &Vitals) -> u64 {
    let of = |found: Option<u64>| found.unwrap_or(1);
    match finding.trouble {
        Trouble::DeadJobs => vitals.parked,
        Trouble::OutcomeUnknown => vitals.unknown,
        Trouble::WorkOverdue => {
            of(vitals.work_overdue.iter().find(|(kind, _)| kind.as_str() == finding.subject).map(|(_, n)| *n))
        }
        Trouble::ResultsDead => of(vitals
            .results_dead
            .iter()
            .find(|(source, _)| source.as_str() == finding.subject)
            .map(|(_, n)| *n)),
        _ => 1,
    }
}

fn of_waiting(signs: &Signs, add: &mut impl FnMut(Trouble, Level, &str, String)) {
    if signs.oldest_urgent > URGENT_LATE {
        let what = format!("An urgent message has waited for {}.", spoken(signs.oldest_urgent));
        add(Trouble::UrgentLate, Level::Bad, "", what);
    }
    if signs.oldest > LATE {
        let what = format!("The oldest message in the queue has waited for {}.", spoken(signs.oldest));
        add(Trouble::BacklogOld, Level::Look, "", what);
    }
    let (events, waited) = (signs.vitals.outbox, signs.vitals.outbox_seconds);
    if events > OUTBOX || (events > 0 && waited > OUTBOX_LATE) {
        #[expect(clippy::cast_precision_loss, reason = "seconds stay far below 2^53")]
        let waited = spoken(waited as f64);
        let (events, wait) = (counted(events, "event"), if events == 1 { "waits" } else { "wait" });
        let what = format!("{events} {wait} to be told, the oldest for {waited}.");
        add(Trouble::EventsWait, Level::Look, "", what);
    }
    if signs.vitals.parked > 0 {
        let what = format!("{} could not be accepted.", counted(signs.vitals.parked, "job"));
        add(Trouble::DeadJobs, Level::Look, "", what);
    }
    if signs.vitals.unknown > 0 {
        let what =
            format!("Of {} nobody knows whether they arrived.", counted(signs.vitals.unknown, "message"));
        add(Trouble::OutcomeUnknown, Level::Look, "", what);
    }
}

fn of_people(signs: &Signs, add: &mut impl FnMut(Trouble, Level, &str, String)) {
    // Each patient in danger, and each surge, is a matter of its own: whoever looks after one may know nothing of the next.
    for item in &signs.vitals.safety_open {
        let what = "A patient wrote words of danger, and it is not closed.";
        add(Trouble::SafetyUnread, Level::Bad, &item.to_string(), what.to_owned());
    }
    for held in &signs.vitals.surges {
        let what = format!("Far more than usual was asked for by {}, and is held.", held.replace('/', " "));
        add(Trouble::SurgeHeld, Level::Bad, held, what);
    }
    for (kind, overdue) in &signs.vitals.work_overdue {
        let what = format!(
            "Nobody has claimed {} of kind {} in time.",
            counted(*overdue, "work item"),
            kind.as_str().replace('_', " ")
        );
        add(Trouble::WorkOverdue, Level::Bad, kind.as_str(), what);
    }
    if signs.vitals.work_open > 0 {
        let what = format!("{} not closed.", counted_is(signs.vitals.work_open, "work item"));
        add(Trouble::WorkOpen, Level::Look, "", what);
    }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn counted_is(count: u64, what: &str) -> String {
    format!("{} {}", counted(count, what), if count == 1 { "is" } else { "are" })
}

/// A length of time as people say it.
fn spoken(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7_200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.0} h", seconds / 3_600.0)
    }
}

#[cfg(test)]
mod tests;
