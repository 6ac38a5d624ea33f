//! What is wrong now, and what people on call have to be told of it. Both are pure: signs in, findings out; findings and
//! what was known before in, what is known then out.

use jiff::{SignedDuration, Timestamp};

use crate::domain::alert::{Alert, Finding, Level, Telling, Trouble, Way};
use crate::domain::campaign::PauseReason;
use crate::domain::ids::{CampaignId, SourceName};

/// Urgent messages are on their way within a second; so late, something is wrong.
const URGENT_LATE: f64 = 60.0;
/// The others may wait their turn.
const LATE: f64 = 15.0 * 60.0;
/// Events wait for the broker, mostly for a moment.
const OUTBOX: u64 = 10_000;
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
    /// Providers that some worker leaves alone or has on trial.
    pub breakers: Vec<String>,
    /// Channels without a provider that can be used.
    pub channels_out: Vec<String>,
    /// Who has stopped everything.
    pub stopped_by: Vec<String>,
    /// How long the oldest urgent message has been due, in seconds; 0: none is.
    pub oldest_urgent: f64,
    pub oldest: f64,
    pub vitals: Vitals,
}

/// Numbers of the ledger by which it shows that something is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    pub parked: u64,
    pub outbox: u64,
    pub unknown: u64,
    pub work_open: u64,
    /// Work items whose time has come and that nobody has claimed.
    pub work_overdue: u64,
    /// Words of danger that are not dealt with.
    pub safety_open: u64,
    pub surges: u64,
    /// Results that their receivers did not take, by source; only where there are some.
    pub results_dead: Vec<(SourceName, u64)>,
    /// Campaigns that have stopped by themselves.
    pub paused: Vec<(CampaignId, PauseReason)>,
    /// Provider, attempts that did not arrive, and those that did, among the newest of the last half hour.
    pub outcomes: Vec<(String, u64, u64)>,
}

/// Everything that is wrong, the most urgent first.
#[must_use]
pub fn wrong(signs: &Signs) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |trouble, level, subject: &str, what: String| {
        found.push(Finding { trouble, subject: subject.to_owned(), level, what });
    };
    if signs.workers == 0 {
        add(Trouble::NoWorker, Level::Bad, "", "No worker is running: nothing is sent.".to_owned());
    }
    if signs.broker == Some(false) {
        let what = "The broker is away: jobs wait there, results wait here.";
        add(Trouble::BrokerAway, Level::Bad, "", what.to_owned());
    }
    for by in &signs.stopped_by {
        add(Trouble::Stopped, Level::Bad, by, format!("Everything is stopped, by {by}."));
    }
    for channel in &signs.channels_out {
        let what = format!("No provider can be used for {channel}: its messages wait.");
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
    found.sort_by_key(|finding| finding.trouble);
    found
}

fn of_waiting(signs: &Signs, add: &mut impl FnMut(Trouble, Level, &str, String)) {
    if signs.oldest_urgent > URGENT_LATE {
        let what = format!("An urgent message has been due for {}.", spoken(signs.oldest_urgent));
        add(Trouble::UrgentLate, Level::Bad, "", what);
    }
    if signs.oldest > LATE {
        let what = format!("The oldest message in the queue has been due for {}.", spoken(signs.oldest));
        add(Trouble::BacklogOld, Level::Look, "", what);
    }
    if signs.vitals.outbox > OUTBOX {
        add(Trouble::EventsWait, Level::Look, "", format!("{} events wait to be told.", signs.vitals.outbox));
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
    if signs.vitals.safety_open > 0 {
        let what = "A patient wrote words of danger, and it is not closed.";
        add(Trouble::SafetyUnread, Level::Bad, "", what.to_owned());
    }
    if signs.vitals.surges > 0 {
        let what = "Far more than usual was asked for, and is held.";
        add(Trouble::SurgeHeld, Level::Bad, "", what.to_owned());
    }
    if signs.vitals.work_overdue > 0 {
        let what = format!("Nobody has claimed {} in time.", counted(signs.vitals.work_overdue, "work item"));
        add(Trouble::WorkOverdue, Level::Bad, "", what);
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

/// When people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TellRules {
    /// What may pass by itself is told, and told as over, once it has lasted so long.
    pub after: SignedDuration,
    /// What nobody has acknowledged is told again so often.
    pub repeat: SignedDuration,
    /// How; none: it is noted, and nobody is told.
    pub ways: Vec<Way>,
}

/// What is known after a look: the alerts that are new or have changed. An alert is told once, whoever looks and however
/// often; what is owed stays owed until it is told.
#[must_use]
pub fn look(known: &[Alert], findings: &[Finding], rules: &TellRules, now: Timestamp) -> Vec<Alert> {
    let mut after = Vec::new();
    for finding in findings.iter().filter(|finding| finding.trouble.is_told()) {
        let key = finding.key();
        let standing = known.iter().find(|alert| alert.key == key && stands(alert, rules));
        let mut alert = standing.cloned().unwrap_or_else(|| begun(&key, finding, now));
        alert.finding = finding.clone();
        alert.gone_since = None;
        if alert.ended_at.take().is_some() {
            alert.owed = None;
        }
        owe(&mut alert, rules, now);
        if standing != Some(&alert) {
            after.push(alert);
        }
    }
    for alert in known.iter().filter(|alert| alert.ended_at.is_none()) {
        if !findings.iter().any(|finding| finding.key() == alert.key) {
            let passed = ended(alert, rules, now);
            if passed != *alert {
                after.push(passed);
            }
        }
    }
    after
}

/// It is not over; or it is, and nobody has heard so: then it has never been over for them.
fn stands(alert: &Alert, rules: &TellRules) -> bool {
    let unheard = alert
        .owed
        .as_ref()
        .is_some_and(|(telling, ways)| *telling == Telling::Cleared && ways.len() == rules.ways.len());
    alert.ended_at.is_none() || unheard
}

fn begun(key: &str, finding: &Finding, now: Timestamp) -> Alert {
    Alert {
        key: key.to_owned(),
        finding: finding.clone(),
        since: now,
        gone_since: None,
        ended_at: None,
        told_at: None,
        owed: None,
        acknowledged_by: None,
        acknowledged_at: None,
        snoozed_by: None,
        snoozed_until: None,
    }
}

fn owe(alert: &mut Alert, rules: &TellRules, now: Timestamp) {
    if alert.owed.is_some() || rules.ways.is_empty() || alert.snoozed_until.is_some_and(|until| now < until) {
        return;
    }
    let lasted = !alert.finding.trouble.may_pass() || now.duration_since(alert.since) >= rules.after;
    let telling = match alert.told_at {
        None => lasted.then_some(Telling::Raised),
        Some(_) if alert.acknowledged_at.is_some() => None,
        Some(told) => {
            let woken = alert.snoozed_until.is_some_and(|until| told < until);
            (woken || now.duration_since(told) >= rules.repeat).then_some(Telling::Again)
        }
    };
    alert.owed = telling.map(|telling| (telling, rules.ways.clone()));
}

fn ended(alert: &Alert, rules: &TellRules, now: Timestamp) -> Alert {
    let mut alert = alert.clone();
    let gone = *alert.gone_since.get_or_insert(now);
    if !alert.finding.trouble.may_pass() || now.duration_since(gone) >= rules.after {
        alert.ended_at = Some(now);
        // Whoever was told hears that it is over; who was not, need not.
        alert.owed = (alert.told_at.is_some() && !rules.ways.is_empty())
            .then(|| (Telling::Cleared, rules.ways.clone()));
    }
    alert
}

/// The alert once one way has taken what is owed.
#[must_use]
pub fn told(alert: &Alert, way: Way, now: Timestamp) -> Alert {
    let mut alert = alert.clone();
    if let Some((telling, ways)) = alert.owed.take() {
        let left: Vec<Way> = ways.into_iter().filter(|owed| *owed != way).collect();
        if telling != Telling::Cleared {
            alert.told_at = Some(now);
        }
        alert.owed = (!left.is_empty()).then_some((telling, left));
    }
    alert
}

#[cfg(test)]
mod tests;
