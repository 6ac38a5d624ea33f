//! How one telephone call goes, from the first ring to the hang-up, told in the callbacks that Twilio makes.

use std::sync::Arc;
use std::time::Duration;

use super::twiml::gather_action;
use crate::simulator::clock::rfc2822;
use crate::simulator::config::{CallEnd, Calls, NumberRule};
use crate::simulator::desk::{Desk, Truth};
use crate::simulator::dice::{Dice, Stream};
use crate::simulator::postman::{Fields, Letter, Target};

/// A menu deeper than this is a loop.
const MAX_ROUNDS: usize = 8;
/// A machine that whoever calls is told of records for so long: they have to think of what to leave on it.
const RECORDS_MS: u64 = 3_000;

/// A call under way. No `Debug`: it holds a telephone number and keys pressed.
pub(super) struct Call {
    pub(super) desk: Arc<Desk>,
    /// Position in the streams of chance.
    pub(super) n: u64,
    pub(super) sid: String,
    pub(super) to: String,
    pub(super) from: String,
    pub(super) end: CallEnd,
    pub(super) keys: String,
    /// Where the call's progress is told, and which steps of it.
    pub(super) progress: Option<Arc<Target>>,
    pub(super) events: Vec<String>,
    /// Told at once who answered, while the call goes on.
    pub(super) async_detection: Option<Arc<Target>>,
    pub(super) detection: Detection,
    pub(super) script: Script,
    /// See [`listens_ms`].
    pub(super) listens_ms: u64,
}

/// What is said when somebody answers.
pub(super) enum Script {
    Inline(String),
    /// Asked for once answered, with `AnsweredBy`.
    Fetched(Option<Arc<Target>>),
}

/// Whether Twilio listens for an answering machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detection {
    Off,
    /// Tells a machine as soon as it speaks.
    Enable,
    /// Tells a machine once its greeting has ended.
    DetectMessageEnd,
}

/// How the `n`-th call ends: by the number's rule, else by the shares.
pub(super) fn draw_end(calls: &Calls, rule: Option<&NumberRule>, dice: Dice, n: u64) -> CallEnd {
    if let Some(end) = rule.and_then(|rule| rule.call) {
        return end;
    }
    let mut mark = dice.share(Stream::Outcome, n);
    for (share, end) in [
        (calls.busy, CallEnd::Busy),
        (calls.no_answer, CallEnd::NoAnswer),
        (calls.failed, CallEnd::Failed),
        (calls.machine, CallEnd::Machine),
    ] {
        if mark < share {
            return end;
        }
        mark -= share;
    }
    CallEnd::Human
}

/// The keys that the one who answers presses.
pub(super) fn draw_keys(
    calls: &Calls,
    rule: Option<&NumberRule>,
    end: CallEnd,
    dice: Dice,
    n: u64,
) -> String {
    if end != CallEnd::Human {
        return String::new();
    }
    match rule.and_then(|rule| rule.keys.clone()) {
        Some(keys) => keys,
        None if dice.chance(Stream::Code, n, calls.pressing) => calls.keys.clone(),
        None => String::new(),
    }
}

/// How long whoever takes the call listens; `told`: whoever calls is told at once of a machine.
pub(super) fn listens_ms(calls: &Calls, end: CallEnd, told: bool) -> u64 {
    let least = if told && end == CallEnd::Machine { RECORDS_MS } else { 0 };
    calls.talk_ms.max(least)
}

/// Where the call stands when, for look-ups.
pub(super) fn truth(calls: &Calls, end: CallEnd, keys: &str, listens_ms: u64, now_us: u64) -> Truth {
    let at = |ms: u64| now_us.saturating_add(ms.saturating_mul(1_000));
    let answered = calls.ring_ms.saturating_add(calls.answer_ms);
    let mut steps = vec![(at(calls.ring_ms), "ringing")];
    if is_answered(end) {
        steps.push((at(answered), "in-progress"));
        let pressing = calls.key_ms.saturating_mul(keys.len() as u64);
        steps.push((at(answered.saturating_add(pressing).saturating_add(listens_ms)), "completed"));
    } else {
        steps.push((at(answered), final_word(end)));
    }
    Truth { first: "queued", steps, error_code: None }
}

impl Call {
    /// Tells the whole story; stops early when the simulator does.
    pub(super) async fn tell(self) {
        let stop = self.desk.stop.clone();
        tokio::select! {
            () = self.go() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn go(&self) {
        let calls = &self.desk.config.calls;
        let mut order = 0;
        self.report("initiated", "initiated", &mut order, None);
        wait(calls.ring_ms).await;
        self.report("ringing", "ringing", &mut order, None);
        wait(calls.answer_ms).await;
        if is_answered(self.end) {
            self.report("answered", "in-progress", &mut order, None);
            self.tell_who_answered();
            self.talk().await;
            wait(self.listens_ms).await;
        }
        let duration_ms = self.listens_ms.saturating_add(calls.key_ms * self.keys.len() as u64);
        let duration = if is_answered(self.end) { duration_ms.div_ceil(1_000) } else { 0 };
        self.report("completed", final_word(self.end), &mut order, Some(duration));
    }

    /// Plays the prompt, presses keys while it asks for them, and follows the answers.
    async fn talk(&self) {
        let mut twiml = match &self.script {
            Script::Inline(twiml) => twiml.clone(),
            Script::Fetched(target) => self.ask(target.as_ref(), "url", None).await,
        };
        for (round, key) in self.keys.chars().enumerate().take(MAX_ROUNDS) {
            let Some(action) = gather_action(&twiml) else { return };
            wait(self.desk.config.calls.key_ms).await;
            let target = match (&self.script, action.is_empty()) {
                (Script::Fetched(own), true) => own.clone(),
                _ => self.desk.postman.target(&action),
            };
            twiml = self.ask(target.as_ref(), &format!("key-{round}"), Some(key)).await;
        }
    }

    async fn ask(&self, target: Option<&Arc<Target>>, step: &str, key: Option<char>) -> String {
        let Some(target) = target else { return String::new() };
        let mut own: Fields = vec![("CallStatus", "in-progress".into())];
        own.extend(self.answered_by().map(|who| ("AnsweredBy", who.into())));
        if let Some(key) = key {
            own.extend([("Digits", key.to_string().into()), ("FinishedOnKey", "".into())]);
        }
        self.desk.postman.ask(&self.letter(target, own, step)).await.unwrap_or_default()
    }

    fn tell_who_answered(&self) {
        if let (Some(target), Some(who)) = (&self.async_detection, self.answered_by()) {
            let own = vec![
                ("CallStatus", "in-progress".into()),
                ("AnsweredBy", who.into()),
                ("MachineDetectionDuration", "20".into()),
            ];
            self.desk.postman.bring(self.letter(target, own, "amd"), Duration::ZERO);
        }
    }

    /// One progress callback, if it was asked for; the last is subject to the receipts' faults.
    fn report(&self, event: &str, status: &'static str, order: &mut u32, duration: Option<u64>) {
        let sequence = *order;
        *order += 1;
        let Some(target) = self.progress.as_ref().filter(|_| self.events.iter().any(|e| e == event)) else {
            return;
        };
        let (receipts, dice) = (&self.desk.config.receipts, self.desk.dice);
        let is_last = duration.is_some();
        let lies = is_last && dice.chance(Stream::Lie, self.n, receipts.lying);
        let status = match (lies, status) {
            (false, status) => status,
            (true, "completed") => "no-answer",
            (true, _) => "completed",
        };
        let mut own: Fields = vec![
            ("CallStatus", status.into()),
            ("SequenceNumber", sequence.to_string().into()),
            ("CallbackSource", "call-progress-events".into()),
            ("Timestamp", rfc2822(self.desk.clock.now().wall_us).into()),
        ];
        if let Some(seconds) = duration {
            own.push(("CallDuration", seconds.to_string().into()));
            own.push(("SipResponseCode", sip_code(self.end).into()));
        }
        if is_last || event == "answered" {
            own.extend(self.answered_by().map(|who| ("AnsweredBy", who.into())));
        }
        let late = is_last && dice.chance(Stream::Late, self.n, receipts.late);
        let after = Duration::from_millis(if late { receipts.late_ms } else { 0 });
        let letter = self.letter(target, own, event);
        if dice.chance(Stream::Repeat, self.n, receipts.repeated) {
            self.desk.postman.bring(letter.clone(), after + Duration::from_millis(5));
        }
        self.desk.postman.bring(letter, after);
    }

    fn letter(&self, target: &Arc<Target>, own: Fields, step: &str) -> Letter {
        let common = vec![
            ("CallSid", self.sid.clone().into()),
            ("AccountSid", self.desk.config.twilio.account_sid.clone().into()),
            ("From", self.from.clone().into()),
            ("To", self.to.clone().into()),
            ("Direction", "outbound-api".into()),
            ("ApiVersion", "2010-04-01".into()),
        ];
        let (target, token) = (Arc::clone(target), format!("{}-{step}", self.sid));
        Letter { target, common: Arc::new(common), own, token }
    }

    fn answered_by(&self) -> Option<&'static str> {
        match (self.detection, self.end) {
            (Detection::Off, _) => None,
            (_, CallEnd::Human) => Some("human"),
            (_, CallEnd::Fax) => Some("fax"),
            (Detection::Enable, CallEnd::Machine) => Some("machine_start"),
            (Detection::DetectMessageEnd, CallEnd::Machine) => Some("machine_end_beep"),
            (_, CallEnd::Busy | CallEnd::NoAnswer | CallEnd::Failed) => None,
        }
    }
}

async fn wait(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

const fn is_answered(end: CallEnd) -> bool {
    matches!(end, CallEnd::Human | CallEnd::Machine | CallEnd::Fax)
}

/// Whether a call that stands so has ended.
pub(super) fn is_over(status: &str) -> bool {
    matches!(status, "completed" | "busy" | "no-answer" | "failed")
}

const fn final_word(end: CallEnd) -> &'static str {
    match end {
        CallEnd::Human | CallEnd::Machine | CallEnd::Fax => "completed",
        CallEnd::Busy => "busy",
        CallEnd::NoAnswer => "no-answer",
        CallEnd::Failed => "failed",
    }
}

const fn sip_code(end: CallEnd) -> &'static str {
    match end {
        CallEnd::Human | CallEnd::Machine | CallEnd::Fax => "200",
        CallEnd::Busy => "486",
        CallEnd::NoAnswer => "480",
        CallEnd::Failed => "404",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_people_press_keys() {
        let calls = Calls::default();
        let keys = |end| draw_keys(&calls, None, end, Dice::new(1), 0);
        assert_eq!(keys(CallEnd::Human), "1");
        assert_eq!(keys(CallEnd::Machine), "");
        let rule = NumberRule { keys: Some("29".to_owned()), ..NumberRule::default() };
        assert_eq!(draw_keys(&calls, Some(&rule), CallEnd::Human, Dice::new(1), 0), "29");
    }

    #[test]
    fn calls_end_in_their_shares() {
        let calls = Calls { busy: 0.25, machine: 0.25, ..Calls::default() };
        let ends: Vec<CallEnd> = (0..8_000).map(|n| draw_end(&calls, None, Dice::new(5), n)).collect();
        let count = |end| ends.iter().filter(|e| **e == end).count();
        assert!((1_900..2_100).contains(&count(CallEnd::Busy)), "{}", count(CallEnd::Busy));
        assert!((1_900..2_100).contains(&count(CallEnd::Machine)), "{}", count(CallEnd::Machine));
        assert_eq!(count(CallEnd::NoAnswer), 0);
    }
}
