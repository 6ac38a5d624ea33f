//! Why a message is where it is: the decision that stands, what was tried, what was told, what comes next. The
//! command line and the API show the same.

use std::fmt::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::ids::MessageId;
use crate::domain::patience::{Patience, Until};
use crate::domain::receipt::Report;
use crate::domain::status::{AttemptStatus, MessageStatus};
use crate::domain::words::{Channel, Reason, Recipient, words};
use crate::policy::came_back::is_back;
use crate::policy::decide::Gate;
use crate::policy::explanation::{Explanation, WaySeen};
use crate::store::rows::{AttemptRow, EventRow, Hold, HoldRow, HoldState, MessageFilter, MessageRow};
use crate::store::{Store, StoreError};

/// Everything that is known of how a message came to its status. Ids, words and masked addresses; no name, no
/// text.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    pub message: MessageRow,
    /// What became of its copies for proxies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<ExplainedCopy>,
    /// What its text tells as well, or told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub carries: Vec<ExplainedCopy>,
    /// `None`: nothing was decided yet.
    pub decision: Option<Explanation>,
    /// The gates in their order, as far as the last decision came.
    pub gates: Vec<GateStep>,
    /// The hold that it waits for, while that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<ExplainedHold>,
    /// Oldest first.
    pub attempts: Vec<ExplainedAttempt>,
    /// In order of `seq`.
    pub events: Vec<EventRow>,
    /// It was told as delivered, and has come back since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub came_back: bool,
    pub next: Next,
}

/// A copy for a proxy, or what is told with a message: each is a message with an explanation of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedCopy {
    pub id: MessageId,
    pub status: MessageStatus,
    pub reason: Option<Reason>,
}

/// One gate of the last decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GateStep {
    pub gate: Gate,
    pub passed: bool,
}

/// Whose hold it is, why it is there, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedHold {
    #[serde(flatten)]
    pub hold: Hold,
    pub state: HoldState,
    /// The command that ends it.
    pub end: String,
}

impl ExplainedHold {
    fn of(row: HoldRow) -> Self {
        let end = row.end_command();
        let HoldRow { hold, state, .. } = row;
        Self { hold, state, end }
    }
}

/// An attempt with as much of its address as helps to recognise it.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedAttempt {
    #[serde(flatten)]
    pub attempt: AttemptRow,
    /// Masked: the last two digits, or the domain.
    pub address: String,
}

words! {
    /// What happens to the message by itself.
    NextAction {
        /// It is decided upon for the first time.
        Plan = "plan",
        /// It is decided upon again: its time comes, or its hold ends.
        DecideAgain = "decide_again",
        /// The same route is tried again, or the next one is.
        Send = "send",
        /// It got through; the plan's next way is taken as well, unless what it waits for comes first.
        NextStep = "next_step",
        /// A worker has it in hand.
        InHand = "in_hand",
        /// Another message carries it: what becomes of that becomes of it.
        Carried = "carried",
        /// The provider may say more; nothing is sent.
        AwaitReceipt = "await_receipt",
        /// Nobody knows whether it arrived; a person decides.
        AwaitPerson = "await_person",
        /// It has ended.
        Nothing = "nothing",
    }
}

/// The next action, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Next {
    pub action: NextAction,
    /// `None`: not tied to a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Of a next step: what would end the plan before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unless: Option<Until>,
    /// Of a next step: the channel it would take, as things stood at the last decision; all is decided anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
}

impl Next {
    const fn plain(action: NextAction, at: Option<Timestamp>) -> Self {
        Self { action, at, unless: None, channel: None }
    }
}

/// A patient has few proxies.
const COPIES: u32 = 100;

/// Explains a message; `None` where there is none of that id.
///
/// # Errors
/// The ledger could not be read.
pub async fn explain(store: &dyn Store, id: MessageId) -> Result<Option<Explained>, StoreError> {
    let Some(message) = store.message(id).await? else { return Ok(None) };
    let attempts = store.attempts(id).await?;
    let events = store.events(id).await?;
    let of_it = MessageFilter { copies_of: vec![id], limit: COPIES, ..MessageFilter::default() };
    let copies = store.messages(&of_it).await?;
    let with_it = MessageFilter { merged_into: Some(id), limit: COPIES, ..MessageFilter::default() };
    let carries = store.messages(&with_it).await?;
    let brief = |rows: &[MessageRow]| {
        let brief =
            |row: &MessageRow| ExplainedCopy { id: row.facts.id, status: row.status, reason: row.reason };
        rows.iter().map(brief).collect()
    };
    let decision = match message.explanation.as_deref() {
        None => None,
        Some(text) => Some(
            serde_json::from_str::<Explanation>(text)
                .map_err(|_| StoreError::Internal("explanation of a message".to_owned()))?,
        ),
    };
    let hold = match message.held_by.filter(|_| message.due_at.is_some()) {
        Some(id) => store.holds().await?.into_iter().find(|row| row.hold.id == id).map(ExplainedHold::of),
        None => None,
    };
    Ok(Some(Explained {
        hold,
        came_back: came_back(&message, &attempts),
        gates: decision.as_ref().map(gates).unwrap_or_default(),
        next: next(&message, decision.as_ref(), &attempts),
        attempts: attempts.into_iter().map(masked).collect(),
        copies: brief(&copies),
        carries: brief(&carries),
        message,
        decision,
        events,
    }))
}

/// Every gate before the deciding one was passed; that one let the message through only if it gave no reason
/// and no waiting time.
fn gates(decision: &Explanation) -> Vec<GateStep> {
    let through = decision.gate == Gate::Route && decision.reason.is_none();
    let before = Gate::ALL.iter().copied().take_while(|gate| *gate != decision.gate);
    before
        .map(|gate| GateStep { gate, passed: true })
        .chain(std::iter::once(GateStep { gate: decision.gate, passed: through }))
        .collect()
}

fn came_back(message: &MessageRow, attempts: &[AttemptRow]) -> bool {
    message.status == MessageStatus::Delivered && is_back(attempts.iter().map(|attempt| attempt.status))
}

fn masked(attempt: AttemptRow) -> ExplainedAttempt {
    ExplainedAttempt { address: attempt.address.masked(), attempt }
}

fn next(message: &MessageRow, decision: Option<&Explanation>, attempts: &[AttemptRow]) -> Next {
    use MessageStatus as Status;
    let at = message.due_at.filter(|at| *at < Timestamp::MAX);
    if message.merged_into.is_some() && message.status == Status::Sending && at.is_none() {
        return Next::plain(NextAction::Carried, None);
    }
    if let (Some(_), Some(next)) = (at, decision.and_then(|d| next_step(message, d, attempts))) {
        return Next { at, ..next };
    }
    let action = match (message.status, at) {
        (Status::Delivered, Some(_)) if came_back(message, attempts) => NextAction::Send,
        (Status::Delivered, Some(_)) => NextAction::NextStep,
        (status, _) if status.is_final() => return Next::plain(NextAction::Nothing, None),
        (Status::Accepted, Some(_)) => NextAction::Plan,
        (Status::Scheduled | Status::Held, _) => NextAction::DecideAgain,
        (Status::Sent, None) => {
            let action =
                if message.receipt_by.is_some() { NextAction::AwaitReceipt } else { NextAction::Nothing };
            return Next::plain(action, message.receipt_by);
        }
        (Status::Unknown, None) => NextAction::AwaitPerson,
        (_, Some(_)) => NextAction::Send,
        (_, None) => NextAction::InHand,
    };
    Next::plain(action, at)
}

/// What follows the step that the decision sent, where its plan waits for something.
fn next_step(message: &MessageRow, decision: &Explanation, attempts: &[AttemptRow]) -> Option<Next> {
    let patience = decision.patience?;
    let last = attempts.last().filter(|last| last.step < message.step)?;
    if !matches!(last.status, AttemptStatus::Sent | AttemptStatus::Delivered | AttemptStatus::Unknown) {
        return None;
    }
    let taken = |way: &&WaySeen| way.channel == last.channel && way.address == last.address.masked();
    let usable = |way: &&WaySeen| way.gate.is_none() || way.until.is_some();
    let channel = decision.ways.iter().filter(usable).find(|way| !taken(way)).map(|way| way.channel);
    Some(Next { action: NextAction::NextStep, at: None, unless: Some(patience.until), channel })
}

impl Explained {
    /// The explanation for people to read, a line a fact.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let message = &self.message;
        let facts = &message.facts;
        write!(out, "message  {}  {}", facts.id, message.status)?;
        writeln!(out, "{}", because(message.reason))?;
        writeln!(out, "job      {} of {}, for patient {}", facts.job_id, facts.source, facts.patient_id)?;
        write!(out, "content  {}, {}, {}", facts.template, facts.purpose, facts.priority)?;
        if facts.is_change {
            write!(out, ", a change")?;
        }
        if facts.test {
            write!(out, ", a test")?;
        }
        writeln!(out)?;
        if let Some(first) = facts.retry_of {
            writeln!(out, "retry of {first}")?;
        }
        if let Some(first) = message.copy_of {
            writeln!(out, "copy of  {first}")?;
        }
        for copy in &self.copies {
            writeln!(out, "copy     {}  {}{}", copy.id, copy.status, because(copy.reason))?;
        }
        if let Some(by) = message.merged_into {
            writeln!(out, "merged   into {by}")?;
        }
        for rider in &self.carries {
            writeln!(out, "carries  {}  {}{}", rider.id, rider.status, because(rider.reason))?;
        }
        writeln!(out, "accepted {}, expires {}", message.accepted_at, message.expires_at)?;
        self.write_decision(out)?;
        self.write_attempts(out)?;
        for event in &self.events {
            write!(out, "told     {} {} at {}", event.seq, event.routing_key, event.created_at)?;
            writeln!(out, "{}", if event.published { "" } else { ", not yet published" })?;
        }
        if self.came_back {
            writeln!(out, "back     it was told as delivered and came back: a status never falls")?;
        }
        write!(out, "next     {}", self.next.action)?;
        if let Some(channel) = self.next.channel {
            write!(out, " over {channel}")?;
        }
        if let Some(at) = self.next.at {
            write!(out, " at {at}")?;
        }
        match self.next.unless {
            Some(until) => writeln!(out, ", unless {until} before"),
            None => writeln!(out),
        }
    }

    fn write_decision(&self, out: &mut String) -> fmt::Result {
        let Some(decision) = &self.decision else { return writeln!(out, "decided  not yet") };
        let passed: Vec<&str> = self.gates.iter().filter(|g| g.passed).map(|g| g.gate.as_str()).collect();
        if !passed.is_empty() {
            writeln!(out, "passed   {}", passed.join(", "))?;
        }
        for stop in self.gates.iter().filter(|g| !g.passed) {
            write!(out, "stopped  {}", stop.gate)?;
            writeln!(out, "{}", because(decision.reason))?;
        }
        self.write_hold(out)?;
        if decision.recipient == Some(Recipient::Proxy) {
            let how =
                if self.message.copy_of.is_some() { "beside the patient" } else { "in the patient's place" };
            writeln!(out, "reader   a proxy, {how}")?;
        }
        for way in &decision.ways {
            write_way(out, way)?;
        }
        write!(out, "decided  {} by rules {}", decision.at, decision.rules)?;
        match decision.until {
            Some(until) if until < Timestamp::MAX => writeln!(out, ", good until {until}")?,
            _ => writeln!(out)?,
        }
        match decision.patience {
            Some(Patience { wait, .. }) if wait.is_zero() => {
                writeln!(out, "plan     the next way is taken at once")?;
            }
            Some(Patience { wait, until }) => {
                writeln!(out, "plan     the next way is taken unless it is {until} within {wait:#}")?;
            }
            None => {}
        }
        Ok(())
    }

    fn write_hold(&self, out: &mut String) -> fmt::Result {
        let Some(ExplainedHold { hold, state, end }) = &self.hold else { return Ok(()) };
        let what = if hold.value.is_empty() { String::new() } else { format!(" {}", hold.value) };
        write!(
            out,
            "held     {}{what}, by {} at {}: {}",
            hold.scope, hold.placed_by, hold.placed_at, hold.reason
        )?;
        match (state, hold.until) {
            (HoldState::Review, _) => write!(out, "; it has ended, and somebody's word is waited for")?,
            (HoldState::InForce, Some(until)) => write!(out, "; until {until}")?,
            (HoldState::InForce, None) => {}
        }
        writeln!(out, "; end it with: {end}")
    }

    fn write_attempts(&self, out: &mut String) -> fmt::Result {
        for ExplainedAttempt { attempt, address } in &self.attempts {
            write!(out, "attempt  {}.{} ", attempt.step.saturating_add(1), attempt.number)?;
            write!(
                out,
                "{} by {} to {address} at {}: ",
                attempt.channel, attempt.provider, attempt.begun_at
            )?;
            write!(
                out,
                "{}{}",
                attempt.status,
                if attempt.pointer { ", a pointer to the portal" } else { "" }
            )?;
            if let Some(failure) = attempt.failure {
                write!(out, ", {failure}")?;
            }
            if let Some(code) = &attempt.code {
                write!(out, " ({code})")?;
            }
            if attempt.report == Some(Report::AnotherRecipient) {
                write!(out, ", of another recipient, to whom this one hands on")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// One contact that was weighed: what spoke against it, and which clocks were asked.
fn write_way(out: &mut String, way: &WaySeen) -> fmt::Result {
    write!(out, "way      {} to {}: ", way.channel, way.address)?;
    match way.gate {
        None => write!(out, "open")?,
        Some(gate) => write!(out, "{gate}{}", because(way.reason))?,
    }
    if let Some(weighed) = &way.because {
        write!(out, ", {weighed}")?;
    }
    if let Some(until) = way.until {
        write!(out, ", opens {until}")?;
    }
    if let Some(hours) = &way.hours {
        let from: Vec<&str> = hours.from.iter().map(|from| from.as_str()).collect();
        write!(out, "; by the clock of {} ({})", hours.zones.join(", "), from.join(", "))?;
        if let Some(by) = &hours.by {
            write!(out, ", rule {}", by.rule)?;
        }
    }
    writeln!(out)
}

fn because(reason: Option<Reason>) -> String {
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(gate: Gate, reason: Option<Reason>) -> Explanation {
        Explanation {
            rules: 1,
            gate,
            at: Timestamp::UNIX_EPOCH,
            reason,
            until: None,
            recipient: None,
            patience: None,
            ways: Vec::new(),
        }
    }

    #[test]
    fn the_gates_before_the_one_that_stopped_it_were_passed() {
        let steps = gates(&decision(Gate::Deceased, Some(Reason::Deceased)));
        let stopped: Vec<Gate> = steps.iter().filter(|s| !s.passed).map(|s| s.gate).collect();
        assert_eq!(stopped, [Gate::Deceased]);
        assert!(steps.iter().any(|s| s.gate == Gate::Active && s.passed));
        assert!(!steps.iter().any(|s| s.gate == Gate::ValidContact), "later gates were not asked");
    }

    #[test]
    fn a_way_says_what_spoke_against_it() {
        let way: WaySeen = serde_json::from_str(
            r#"{"channel":"sms","address":"***42","gate":"quiet_hours","reason":"quiet_hours",
                "until":"2026-12-02T14:03:00Z","hours":{"zones":["America/Chicago"],"from":["stated"],
                "by":{"rule":"us-tx","zone":"America/Chicago"}}}"#,
        )
        .unwrap();
        let mut text = String::new();
        write_way(&mut text, &way).unwrap();
        assert_eq!(
            text,
            "way      sms to ***42: quiet_hours (quiet_hours), opens 2026-12-02T14:03:00Z; by the clock of \
             America/Chicago (stated), rule us-tx\n"
        );
    }

    #[test]
    fn a_message_that_may_be_sent_has_passed_them_all() {
        let steps = gates(&decision(Gate::Route, None));
        assert_eq!(steps.len(), Gate::ALL.len());
        assert!(steps.iter().all(|s| s.passed));
    }
}
