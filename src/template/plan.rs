//! `[plan]` of `template.toml`: how long each channel is waited for before the next way is taken as well.
//!
//! ```toml
//! [plan]
//! sms = { wait = "4h", until = "delivered" }
//! email = { wait = "24h", until = "answered" }
//! ```
//!
//! The order of the ways is the patient's. A wait belongs to a channel, wherever that stands in their order.

use jiff::SignedDuration;

use crate::domain::patience::{Patience, Until};
use crate::domain::words::{Channel, Purpose, words};

use super::manifest::{join, word};
use super::section::Section;

words! {
    /// Whether ways follow one another by waits, or all are taken.
    PlanMode {
        /// The next is taken where the one before does not do in time.
        First = "first",
        /// Every way is taken, one right after the other.
        All = "all",
    }
}

/// By default no message is worth sending for longer.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(7 * 24);
const SHORTEST_WAIT: SignedDuration = SignedDuration::from_secs(1);

/// The waits of a template. By default there are none: the next way is taken once one has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    waits: Vec<(Channel, Patience)>,
}

impl Plan {
    /// How long a message over `channel` is waited for; `None`: until it has failed.
    #[must_use]
    pub fn patience(&self, channel: Channel) -> Option<Patience> {
        self.waits.iter().find(|(c, _)| *c == channel).map(|(_, patience)| *patience)
    }

    pub(super) fn read(top: &Section<'_, '_>, purposes: &[Purpose], channels: &[Channel]) -> Self {
        let Some(section) = top.table("plan") else { return Self::default() };
        let mode = word(&section, "mode", PlanMode::from_word, PlanMode::ALL).unwrap_or(PlanMode::First);
        let waits = Channel::ALL.iter().filter_map(|c| Some((*c, wait(&section, *c)?))).collect();
        section.finish();
        match mode {
            PlanMode::First => {
                check(&section, channels);
                Self { waits }
            }
            PlanMode::All => {
                check_all(&section, purposes);
                Self { waits: channels.iter().map(|c| (*c, Patience::NONE)).collect() }
            }
        }
    }
}

fn wait(plan: &Section<'_, '_>, channel: Channel) -> Option<Patience> {
    let step = plan.table(channel.as_str())?;
    let want = "a span from \"1s\" to \"168h\", such as \"30m\" or \"4h\"";
    let wait = step.text("wait").and_then(|text| text.parse::<SignedDuration>().ok());
    let wait = wait.filter(|wait| (SHORTEST_WAIT..=LONGEST_WAIT).contains(wait));
    if wait.is_none() {
        step.fault("wait", format_args!("must be {want}"), format!("write it as {want}"));
    }
    let until = word(&step, "until", Until::from_word, Until::ALL);
    if step.get("until").is_none() {
        step.fault("until", "is required", format!("say what is waited for: {}", join(Until::ALL)));
    }
    step.finish();
    Some(Patience { wait: wait?, until: until? })
}

/// The patient's order may put any channel first: each says how long it is waited for.
fn check(plan: &Section<'_, '_>, channels: &[Channel]) {
    for channel in Channel::ALL {
        let key = channel.as_str();
        match (channels.contains(channel), plan.get(key).is_some()) {
            (true, false) => {
                let cure = format!("add {key} = {{ wait = \"4h\", until = \"delivered\" }}, or what fits");
                plan.fault(key, "is required: the patient's order may put any of `channels` first", cure);
            }
            (false, true) => {
                plan.fault(key, "is not one of `channels`", "remove it, or add the channel there")
            }
            _ => {}
        }
    }
}

fn check_all(plan: &Section<'_, '_>, purposes: &[Purpose]) {
    if purposes.iter().any(|purpose| *purpose != Purpose::Emergency) {
        let cure = "write mode = \"first\", or give emergencies a template of their own";
        plan.fault("mode", "`all` is for templates whose only purpose is emergency", cure);
    }
    for channel in Channel::ALL.iter().map(|channel| channel.as_str()) {
        if plan.get(channel).is_some() {
            plan.fault(channel, "has no use with mode = \"all\": nothing is waited for", "remove it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Manifest;
    use super::*;

    fn manifest(purposes: &str, plan: &str) -> Result<Manifest, Vec<String>> {
        let text = format!(
            "title = \"T\"\npurposes = {purposes}\nphi = \"minimal\"\nchannels = [\"sms\", \"email\"]\n\
             default_locale = \"en\"\n{plan}"
        );
        let found = Manifest::parse("template.toml", &text);
        found.map_err(|findings| findings.into_iter().map(|f| f.message).collect())
    }

    #[test]
    fn each_channel_says_how_long_it_is_waited_for() {
        let plan = "[plan]\nsms = { wait = \"4h\", until = \"delivered\" }\nemail = { wait = \"24h\", until = \"answered\" }";
        let plan = manifest("[\"care\"]", plan).unwrap().plan;
        let hours = |hours, until| Some(Patience { wait: SignedDuration::from_hours(hours), until });
        assert_eq!(plan.patience(Channel::Sms), hours(4, Until::Delivered));
        assert_eq!(plan.patience(Channel::Email), hours(24, Until::Answered));
        assert_eq!(plan.patience(Channel::Voice), None);
        assert_eq!(manifest("[\"care\"]", "").unwrap().plan, Plan::default());
        let all = manifest("[\"emergency\"]", "[plan]\nmode = \"all\"").unwrap().plan;
        assert_eq!(all.patience(Channel::Email), Some(Patience::NONE));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let email = "email = { wait = \"24h\", until = \"answered\" }\n";
        for (purposes, plan, expected) in [
            ("care", email.to_owned(), "plan.sms: is required"),
            ("care", format!("{email}sms = {{ until = \"delivered\" }}"), "plan.sms.wait: must be a span"),
            (
                "care",
                format!("{email}sms = {{ wait = \"169h\", until = \"delivered\" }}"),
                "plan.sms.wait: must be a span",
            ),
            (
                "care",
                format!("{email}sms = {{ wait = \"0s\", until = \"delivered\" }}"),
                "plan.sms.wait: must be a span",
            ),
            ("care", format!("{email}sms = {{ wait = \"4h\" }}"), "plan.sms.until: is required"),
            (
                "care",
                format!("{email}sms = {{ wait = \"4h\", until = \"seen\" }}"),
                "plan.sms.until: must be one of",
            ),
            ("care", format!("{email}sms = \"4h\""), "plan.sms: must be a table"),
            (
                "care",
                format!(
                    "{email}sms = {{ wait = \"4h\", until = \"delivered\" }}\nvoice = {{ wait = \"4h\", until = \"answered\" }}"
                ),
                "plan.voice: is not one of",
            ),
            ("care", "mode = \"all\"".to_owned(), "plan.mode: `all` is for templates"),
            ("emergency", format!("mode = \"all\"\n{email}"), "plan.email: has no use"),
            ("care", "mode = \"some\"".to_owned(), "plan.mode: must be one of"),
            ("care", "pause = 1".to_owned(), "plan.pause: unknown key"),
        ] {
            let found = manifest(&format!("[\"{purposes}\"]"), &format!("[plan]\n{plan}")).unwrap_err();
            assert!(found.iter().any(|message| message.starts_with(expected)), "{expected}: {found:?}");
        }
    }
}
