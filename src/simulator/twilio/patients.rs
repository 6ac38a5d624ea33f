//! What patients write back to a text, decided when it is taken: answers that it offers, stops, questions, and what
//! strangers write. It comes as Twilio brings it, signed, to the address of the message's status callback without its
//! query: there a worker has the same webhook for both.

use std::borrow::Cow;

use crate::simulator::config::Answers;
use crate::simulator::dice::{Dice, Stream};

/// Words after which a text names what may be answered.
const ASKS: [&str; 3] = ["reply ", "responda ", "回复 "];

/// What the one who gets the `n`-th text writes back; `None`: nothing.
pub(super) fn writes<'a>(answers: &'a Answers, text: &str, dice: Dice, n: u64) -> Option<Cow<'a, str>> {
    let offered = offered(text);
    let mut mark = dice.share(Stream::Answer, n);
    let kinds = [
        (answers.yes, 0),
        (answers.no, 1),
        (answers.stop, 2),
        (answers.wrong_number, 3),
        (answers.help, 4),
        (answers.text, 5),
    ];
    for (share, kind) in kinds {
        if mark >= share {
            mark -= share;
            continue;
        }
        let nth = |at: usize, word: &'static str| {
            offered.get(at).map_or(Cow::Borrowed(word), |number| Cow::Owned(number.clone()))
        };
        return match kind {
            0 => Some(nth(0, "Yes")),
            1 => Some(nth(1, "No")),
            2 => Some("STOP".into()),
            3 => Some("Wrong number".into()),
            4 => Some("HELP".into()),
            _ => {
                let last = u64::try_from(answers.texts.len()).ok()?.checked_sub(1)?;
                let at = usize::try_from(dice.up_to(Stream::Words, n, last)).ok()?;
                answers.texts.get(at).map(|text| text.as_str().into())
            }
        };
    }
    None
}

/// The numbers that a text asks to be answered with, in its order.
fn offered(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let mut found: Vec<(usize, String)> = ASKS
        .iter()
        .flat_map(|ask| lower.match_indices(ask).map(|(at, word)| at + word.len()))
        .filter_map(|at| {
            let rest = lower.get(at..)?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            (1..=2).contains(&digits.len()).then_some((at, digits))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, digits)| digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_that_a_text_offers_are_found_in_its_order() {
        for (text, expected) in [
            (
                "To book, reply 3 or call (312) 555-0100. Not now? Reply 4. Reply STOP to opt out.",
                &["3", "4"][..],
            ),
            ("Para pedir cita, responda 10 o llame. ¿Ahora no? Responda 11.", &["10", "11"]),
            ("请回复 1 或致电 (312) 555-0100 预约。暂不需要请回复 2。", &["1", "2"]),
            ("Reminder: your visit. Reply STOP to opt out.", &[]),
            ("reply 3125550100", &[]),
        ] {
            assert_eq!(offered(text), expected, "{text}");
        }
    }

    #[test]
    fn each_share_of_patients_writes_its_own() {
        let answers = Answers { yes: 0.2, no: 0.1, stop: 0.1, text: 0.1, ..Answers::default() };
        let dice = Dice::new(5);
        let said: Vec<_> = (0..10_000).map(|n| writes(&answers, "Reply 7 or reply 8.", dice, n)).collect();
        let count = |word: &str| said.iter().filter(|said| said.as_deref() == Some(word)).count();
        for (word, expected) in [("7", 2_000), ("8", 1_000), ("STOP", 1_000)] {
            assert!(count(word).abs_diff(expected) < 150, "{word}: {}", count(word));
        }
        assert!(said.iter().filter(|said| said.is_none()).count().abs_diff(5_000) < 200);
        assert_eq!(writes(&Answers::default(), "Reply 1", dice, 1), None, "by default nobody writes");
        let silent = Answers { text: 1.0, texts: Vec::new(), ..Answers::default() };
        assert_eq!(writes(&silent, "", dice, 1), None);
    }
}
