//! Answers that messages offer: "reply 1 to confirm, 2 to change".
//!
//! Several messages may wait for an answer at one number: two visits, or mother and son who share a telephone. Their
//! answers get different digits, so that a digit tells which message is meant. A word that several offer, such as YES,
//! does not tell: then the patient is asked once which one they mean, and after that people read what they write.
//!
//! What a call asks is answered by a key in the same call, and what a mail asks by the first line of the mail that comes
//! back: which message is meant is known then, and its digits are those of the template.
//!
//! An answer counts until its message expires. For a while after that its digit is given to nobody else: who answers
//! late answers the message that they have.

use jiff::{SignedDuration, Timestamp};

use super::words;
use super::{More, normalised, read};
use crate::domain::ids::{AnswerName, MessageId};
use crate::domain::reply::{Intent, MAX_CHARS};
use crate::domain::words::Channel;

/// What ends the calls when it is pressed there is no answer anywhere.
const STOP_DIGIT: u8 = 9;
/// The highest digits; longer ones are emergency numbers.
const MOST: u8 = 99;
/// For so long after its message has expired a digit is given to no other message.
pub const RESTS: SignedDuration = SignedDuration::from_hours(72);
/// Between more messages than these nobody can choose by a text.
pub const MOST_CHOICES: usize = 5;
/// Around a digit these change nothing.
const AROUND_A_DIGIT: &[&str] =
    &["number", "option", "answer", "reply", "choose", "numero", "opcion", "respuesta", "la", "el", "the"];

/// One answer that a message waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The answers of one message have this in common.
    pub message: MessageId,
    /// It has come to the number, as far as is known.
    pub has_come: bool,
    pub digit: u8,
    pub answer: AnswerName,
    /// What may be written instead, read as replies are.
    pub words: Vec<String>,
    pub asked_at: Timestamp,
    /// It counts before this instant.
    pub until: Timestamp,
    /// The message was answered before; people change their minds.
    pub answered: bool,
}

/// Which answer a reply is. Numbers are places in the list that was searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// None of them.
    Nothing,
    One(usize),
    /// One of each of these messages, in the order in which they were asked.
    Several(Vec<usize>),
    /// One whose message has expired.
    Late(usize),
}

/// What of a reply may be an answer, and whether there is more, which is for people: of a mail it is the first line, and
/// below that somebody signs, or goes on.
#[must_use]
pub fn answering_part(channel: Channel, reply: &str) -> (&str, bool) {
    if channel != Channel::Email {
        return (reply, false);
    }
    let mail = reply.trim();
    mail.split_once('\n').map_or((mail, false), |(first, _)| (first.trim_end(), true))
}

/// A word as it is compared with replies; `None` where it is read as something else before it could be an answer, such
/// as STOP.
#[must_use]
pub fn word(text: &str) -> Option<String> {
    let normal = normalised(text);
    (!normal.is_empty() && read(text, None, &More::default()).intent == Intent::Text).then_some(normal)
}

/// The lowest digits that are not `taken`; `None` where there are not so many.
#[must_use]
pub fn allot(taken: &[u8], want: usize) -> Option<Vec<u8>> {
    let free: Vec<u8> =
        (1..=MOST).filter(|digit| *digit != STOP_DIGIT && !taken.contains(digit)).take(want).collect();
    (free.len() == want).then_some(free)
}

/// The digits of answers where nothing else is waited for.
pub fn plain() -> impl Iterator<Item = u8> {
    (1..=MOST).filter(|digit| *digit != STOP_DIGIT)
}

/// Which of what was `asked` at a number, in the order of asking, a reply from there answers. `clarified_at`: when they
/// were last asked which one they mean.
#[must_use]
pub fn find(text: &str, asked: &[Asked], clarified_at: Option<Timestamp>, now: Timestamp) -> Found {
    if asked.is_empty() {
        return Found::Nothing;
    }
    let text: String = text.chars().take(MAX_CHARS).collect();
    let said = normalised(&text);
    let digit = digit(&said);
    let fits = |one: &Asked| match digit {
        Some(digit) => one.digit == digit,
        None => one.words.iter().any(|word| says(&said, word)),
    };
    let (open, late): (Vec<usize>, Vec<usize>) = (0..asked.len())
        .filter(|at| asked.get(*at).is_some_and(fits))
        .partition(|at| asked.get(*at).is_some_and(|one| one.until > now));
    let rather = |of: Vec<usize>, better: &dyn Fn(&Asked) -> bool| {
        let some: Vec<usize> = of.iter().copied().filter(|at| asked.get(*at).is_some_and(better)).collect();
        if some.is_empty() { of } else { some }
    };
    let open = rather(open, &|one| digit.is_some() || one.has_come);
    let meant = rather(open, &|one| !one.answered);
    let of: Vec<&Asked> = meant.iter().filter_map(|at| asked.get(*at)).collect();
    let twice =
        of.iter().enumerate().any(|(at, one)| of.iter().skip(at + 1).any(|o| o.message == one.message));
    match meant.as_slice() {
        [] => late.last().map_or(Found::Nothing, |at| Found::Late(*at)),
        [one] => Found::One(*one),
        _ if twice || meant.len() > MOST_CHOICES => Found::Nothing,
        _ if of.iter().all(|one| clarified_at.is_some_and(|at| at > one.asked_at)) => Found::Nothing,
        _ => Found::Several(meant),
    }
}

/// The one digit that a reply consists of, give or take courtesies; `None` where it says anything else.
fn digit(said: &str) -> Option<u8> {
    let around =
        |word: &&str| AROUND_A_DIGIT.contains(word) || words::ALL.iter().any(|w| w.around.contains(word));
    let mut numbers: Vec<u8> =
        said.split(' ').filter(|word| !around(word)).map(number).collect::<Option<_>>()?;
    numbers.dedup();
    match numbers.as_slice() {
        [one] => Some(*one),
        _ => None,
    }
}

fn number(word: &str) -> Option<u8> {
    if let Ok(number) = word.parse::<u8>() {
        return word.bytes().all(|b| b.is_ascii_digit()).then_some(number);
    }
    let spelt = words::ALL.iter().find_map(|w| w.digits.iter().position(|digit| *digit == word))?;
    u8::try_from(spelt + 1).ok()
}

/// Whether the reply is this word, or one that stands for it in any language, give or take courtesies and repetition.
fn says(said: &str, word: &str) -> bool {
    let stand_for: [fn(&words::Words) -> &'static [&'static str]; 2] = [|w| w.yes, |w| w.no];
    let alike = stand_for.iter().find(|list| words::ALL.iter().any(|w| list(w).contains(&word)));
    is_whole(said, word)
        || alike.is_some_and(|list| words::ALL.iter().flat_map(list).any(|other| is_whole(said, other)))
}

fn is_whole(said: &str, word: &str) -> bool {
    let own: Vec<&str> = word.split(' ').collect();
    // "Yes" is one around a stop word; here it is an answer.
    let answers = |said: &&str| words::ALL.iter().any(|w| w.yes.contains(said) || w.no.contains(said));
    let courtesy = |said: &&str| !answers(said) && words::ALL.iter().any(|w| w.around.contains(said));
    let mut left: Vec<&str> = said.split(' ').collect();
    while left.len() > 1 && left.first().is_some_and(courtesy) {
        left.remove(0);
    }
    while left.len() > 1 && left.last().is_some_and(courtesy) {
        left.pop();
    }
    left.chunks(own.len()).all(|part| part == own.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_never_shared_and_never_the_key_that_stops() {
        let mut taken = Vec::new();
        for want in [2, 3, 1, 4, 2] {
            let next = allot(&taken, want).unwrap();
            assert!(next.iter().all(|digit| !taken.contains(digit) && *digit != STOP_DIGIT), "{next:?}");
            taken.extend(next);
        }
        assert_eq!(taken, [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13]);
        assert_eq!(allot(&[1, 3], 3), Some(vec![2, 4, 5]), "what has become free is used again");
        assert_eq!(allot(&[], 99), None);
        assert_eq!(plain().take(9).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 10]);
    }

    #[test]
    fn courtesies_are_no_part_of_an_answer_but_may_be_one() {
        for (said, word, expected) in [
            ("book it", "book it", true),
            ("please book it", "book it", true),
            ("book it please", "book it", true),
            ("please book it please", "book it", true),
            ("book it book it", "book it", true),
            ("book it later", "book it", false),
            ("later book it", "book it", false),
            ("please", "please", true),
            ("please", "book it", false),
            ("si", "yes", true),
            ("no", "yes", false),
        ] {
            assert_eq!(says(said, word), expected, "{said:?} for {word:?}");
        }
    }

    #[test]
    fn a_word_is_asked_back_between_few_messages_and_counts_before_its_time_is_over() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let one = |message| Asked {
            message,
            has_come: true,
            digit: 1,
            answer: AnswerName::parse("yes").unwrap(),
            words: vec!["yes".to_owned()],
            asked_at: at(10),
            until: at(100),
            answered: false,
        };
        let several = |n: usize| (0..n).map(|_| one(MessageId::generate())).collect::<Vec<_>>();
        let found = |asked: &[Asked], clarified_at: Option<i64>, now| {
            find("yes", asked, clarified_at.map(at), at(now))
        };
        let all = Found::Several((0..MOST_CHOICES).collect());
        for (clarified_at, expected) in
            [(None, &all), (Some(9), &all), (Some(10), &all), (Some(11), &Found::Nothing)]
        {
            assert_eq!(found(&several(MOST_CHOICES), clarified_at, 50), *expected, "{clarified_at:?}");
        }
        assert_eq!(found(&several(MOST_CHOICES + 1), None, 50), Found::Nothing, "nobody can choose");
        let message = MessageId::generate();
        assert_eq!(found(&[one(message), one(message)], None, 50), Found::Nothing, "it means two things");
        for (now, expected) in [(99, Found::One(0)), (100, Found::Late(0))] {
            assert_eq!(found(&several(1), None, now), expected, "at {now}");
        }
    }

    #[test]
    fn a_word_that_means_something_else_is_no_answer() {
        for taken in ["STOP", "cancel", "Alto", "HELP", "call", "español", "START", "wrong number", "!", ""]
        {
            assert_eq!(word(taken), None, "{taken}");
        }
        assert_eq!(word("Sí"), Some("si".to_owned()));
        assert_eq!(word("Book it!"), Some("book it".to_owned()));
    }
}
