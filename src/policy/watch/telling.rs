//! When people on call are told of what is wrong, told again, and told that it is over.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::Vitals;
use crate::domain::alert::{Alert, Finding, Telling, Trouble, Way};

/// An acknowledgement holds until there is so many times as much.
pub const OUTGROWN: u64 = 2;
/// A receiver that is well takes what it is told in less.
pub const UNTOLD: SignedDuration = SignedDuration::from_mins(5);

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
        let before = known.iter().find(|alert| alert.key == key);
        let standing = before.filter(|alert| stands(alert, rules));
        let mut alert = standing.cloned().unwrap_or_else(|| begun(&key, finding, before, now));
        alert.finding = finding.clone();
        alert.gone_since = None;
        if alert.ended_at.take().is_some() {
            (alert.owed, alert.owed_since) = (None, None);
        }
        let outgrown = alert.acknowledged_below.is_some_and(|below| finding.extent >= below);
        if outgrown {
            (alert.acknowledged_by, alert.acknowledged_at, alert.acknowledged_below) = (None, None, None);
        }
        owe(&mut alert, rules, outgrown, now);
        if standing != Some(&alert) {
            after.push(alert);
        }
    }
    // Of more than can be seen at once nobody knows who is out of danger.
    let in_danger = findings.iter().filter(|finding| finding.trouble == Trouble::SafetyUnread).count();
    let is_seen =
        |alert: &&Alert| alert.finding.trouble != Trouble::SafetyUnread || in_danger < Vitals::MOST_IN_DANGER;
    let found: HashSet<String> = findings.iter().map(Finding::key).collect();
    for alert in known.iter().filter(|alert| alert.ended_at.is_none()).filter(is_seen) {
        if !found.contains(&alert.key) {
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

/// What comes and goes stays quiet for as long as somebody wanted it to.
fn begun(key: &str, finding: &Finding, before: Option<&Alert>, now: Timestamp) -> Alert {
    let snoozed = before.filter(|alert| alert.snoozed_until.is_some_and(|until| now < until));
    Alert {
        key: key.to_owned(),
        finding: finding.clone(),
        since: now,
        gone_since: None,
        ended_at: None,
        told_at: None,
        owed: None,
        owed_since: None,
        acknowledged_by: None,
        acknowledged_at: None,
        acknowledged_below: None,
        snoozed_by: snoozed.and_then(|alert| alert.snoozed_by.clone()),
        snoozed_until: snoozed.and_then(|alert| alert.snoozed_until),
    }
}

fn owe(alert: &mut Alert, rules: &TellRules, outgrown: bool, now: Timestamp) {
    if rules.ways.is_empty() || alert.snoozed_until.is_some_and(|until| now < until) {
        return;
    }
    // A mailbox that takes nothing must not keep the others from hearing it again.
    if alert.owed.is_some() && alert.told_at.is_none() {
        return;
    }
    let trouble = alert.finding.trouble;
    let least = match () {
        () if trouble.may_be_forgotten() => rules.repeat,
        () if trouble.may_pass() => rules.after,
        () => SignedDuration::ZERO,
    };
    let lasted = least.is_zero() || now.duration_since(alert.since) >= least;
    let telling = match alert.told_at {
        None => lasted.then_some(Telling::Raised),
        Some(_) if alert.acknowledged_at.is_some() => None,
        Some(told) => {
            let woken = alert.snoozed_until.is_some_and(|until| told < until);
            (woken || outgrown || now.duration_since(told) >= rules.repeat).then_some(Telling::Again)
        }
    };
    if let Some(telling) = telling {
        alert.owed = Some((telling, rules.ways.clone()));
        alert.owed_since.get_or_insert(now);
    }
}

fn ended(alert: &Alert, rules: &TellRules, now: Timestamp) -> Alert {
    let mut alert = alert.clone();
    let gone = *alert.gone_since.get_or_insert(now);
    if !alert.finding.trouble.may_pass() || now.duration_since(gone) >= rules.after {
        alert.ended_at = Some(now);
        // Whoever was told hears that it is over; who was not, need not.
        alert.owed = (alert.told_at.is_some() && !rules.ways.is_empty())
            .then(|| (Telling::Cleared, rules.ways.clone()));
        alert.owed_since = alert.owed.as_ref().map(|_| alert.owed_since.unwrap_or(now));
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
        alert.owed_since = alert.owed_since.filter(|_| alert.owed.is_some());
    }
    alert
}

/// Which ways have taken nothing of an alert for longer than a receiver that is well needs.
#[must_use]
pub fn untold(alert: &Alert, now: Timestamp) -> &[Way] {
    let late = alert.owed_since.is_some_and(|since| now.duration_since(since) >= UNTOLD);
    alert.owed.as_ref().filter(|_| late).map_or(&[], |(_, ways)| ways)
}
