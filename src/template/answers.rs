//! `answers` and `[answer.NAME]`: what recipients may answer, each by a digit that is given out when the message is sent,
//! or by words.

use std::collections::BTreeSet;

use crate::domain::ids::AnswerName;
use crate::domain::reply::Offer;
use crate::domain::words::Channel;
use crate::policy::reply::answers::word;

use super::section::Section;

/// More answers than these nobody reads.
const MOST: usize = 4;
/// Characters of a word.
const MOST_CHARS: usize = 40;

/// Reads both; what is wrong is named. `channels` are the template's.
pub(super) fn read(top: &Section<'_, '_>, channels: &[Channel]) -> Vec<Offer> {
    let want = format!("names of {}", AnswerName::RULE);
    let names = top.list("answers", &want, AnswerName::parse).unwrap_or_default();
    let sections = top.tables("answer");
    let unique: BTreeSet<&AnswerName> = names.iter().collect();
    if unique.len() < names.len() || names.len() > MOST {
        top.fault("answers", format_args!("must be {MOST} different names at most"), "offer fewer");
    }
    if !names.is_empty() && channels.iter().all(|channel| *channel == Channel::Portal) {
        let cure = "add \"sms\", \"voice\" or \"email\" to `channels`, or remove this key";
        top.fault("answers", "are given by text message, by a key in a call, or by mail", cure);
    }
    for (name, _) in &sections {
        if !names.iter().any(|known| known.as_str() == name) {
            let rule = format_args!("{name} is not one of `answers`");
            top.fault("answer", rule, format!("add \"{name}\" to `answers`, or remove the section"));
        }
    }
    let mut taken = BTreeSet::new();
    names
        .into_iter()
        .map(|name| {
            let section =
                sections.iter().find(|(known, _)| known == name.as_str()).map(|(_, section)| section);
            let offer = section.map(|section| one(name.clone(), section, &mut taken));
            offer.unwrap_or(Offer { name, words: Vec::new(), staff: false })
        })
        .collect()
}

fn one(name: AnswerName, section: &Section<'_, '_>, taken: &mut BTreeSet<String>) -> Offer {
    let words = section.list("words", "words that mean nothing else, unlike STOP or CALL", |text| {
        word(text).filter(|word| word.chars().count() <= MOST_CHARS)
    });
    let words = words.unwrap_or_default();
    if words.iter().any(|word| !taken.insert(word.clone())) {
        section.fault("words", "are offered twice", "let each word stand for one answer");
    }
    let staff = section.flag("staff").unwrap_or(false);
    section.finish();
    Offer { name, words, staff }
}
