//! `[replies]`: words that this clinic's patients use, on top of those that everybody's do.

use jiff::Timestamp;

use super::fault::Broken;
use super::kind::{one_of, text, word};
use super::read::Section;
use super::rules;
use crate::domain::words::words;

/// Longer ones are no words any more, in characters.
const MAX_WORD: usize = 60;

/// From this instant a stop over one channel is one over all that the rule covers, calls and texts: 31 January 2027, after
/// two delays (47 CFR 64.1200(a)(10), FCC 24-24; DA 26-12 of 6 January 2026). The earliest zone counts.
const ALL_FROM_SECONDS: i64 = 1_801_353_600;

words! {
    /// What a STOP ends at the number that it comes from.
    StopScope {
        /// Texts, where it is a text; calls, where a key is pressed in a call.
        Channel = "channel",
        /// Texts and calls.
        All = "all",
    }
}

word!(StopScope);

/// More words for each meaning, and whom to call. Case, accents and punctuation do not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepliesSection {
    pub stop: Vec<String>,
    pub start: Vec<String>,
    pub help: Vec<String>,
    pub wrong_number: Vec<String>,
    pub safety: Vec<String>,
    /// What whoever may be in danger is told to call, such as `911`.
    pub emergency_number: String,
    /// `None`: as the rule has it on the day.
    pub stop_scope: Option<StopScope>,
}

impl RepliesSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let mut list = |key| s.list(key, text(word)).unwrap_or_default();
        Self {
            stop: list("stop"),
            start: list("start"),
            help: list("help"),
            wrong_number: list("wrong_number"),
            safety: list("safety"),
            emergency_number: s.or("emergency_number", text(number), "911".to_owned()),
            stop_scope: s.optional("stop_scope", one_of()),
        }
    }

    /// From when on a stop ends texts and calls alike; `None`: never.
    #[must_use]
    pub fn stops_all_from(&self) -> Option<Timestamp> {
        match self.stop_scope {
            Some(StopScope::Channel) => None,
            Some(StopScope::All) => Some(Timestamp::MIN),
            None => Timestamp::from_second(ALL_FROM_SECONDS).ok(),
        }
    }
}

fn word(text: &str) -> Result<String, Broken> {
    if text.chars().any(char::is_alphanumeric) && text.chars().count() <= MAX_WORD {
        return rules::line(text);
    }
    let rule = format!("must be a word or a few, with a letter or digit, {MAX_WORD} characters at most");
    Err(Broken::new(rule, "write it as a patient would"))
}

fn number(text: &str) -> Result<String, Broken> {
    let plain = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b' ');
    if (2..=20).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(Broken::new(
        "must be a number to dial, of 2 to 20 characters",
        "write it as people dial it, such as \"911\"",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_scope_of_a_stop_changes_with_the_rule_unless_it_is_set() {
        for (set, expected) in [
            ("", Some("2027-01-31T00:00:00Z".parse().unwrap())),
            ("stop_scope = \"channel\"", None),
            ("stop_scope = \"all\"", Some(Timestamp::MIN)),
        ] {
            let config = Config::from_toml(&format!("[replies]\n{set}\n")).unwrap();
            assert_eq!(config.replies.stops_all_from(), expected, "{set}");
        }
    }
}
