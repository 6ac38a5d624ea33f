//! `[replies]`: words that this clinic's patients use, on top of those that everybody's do.

use super::fault::Broken;
use super::kind::text;
use super::read::Section;
use super::rules;

/// Longer ones are no words any more, in characters.
const MAX_WORD: usize = 60;

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
