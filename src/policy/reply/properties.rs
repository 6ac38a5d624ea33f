//! Whatever is written, and around whatever, in whatever letters: a reply is read to its end in time, and the words by
//! which people stop are heard. `PROPTEST_CASES` says how many cases.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Every word by which a whole reply stops.
fn stops() -> Vec<&'static str> {
    words::ALL.iter().flat_map(|w| w.stop.iter().chain(w.cancel)).copied().collect()
}

/// Words of every table, as people mix them.
fn known() -> Vec<&'static str> {
    let lists = |w: &'static Words| {
        [
            w.stop, w.cancel, w.start, w.help, w.language, w.voice, w.email, w.sms, w.yes, w.no, w.revoking,
            w.ending, w.of, w.ours, w.no_calls, w.no_mail, w.visit, w.wrong, w.mistaken, w.safety,
            w.harmless, w.machine, w.not, w.links, w.around,
        ]
    };
    words::ALL.iter().flat_map(lists).flatten().copied().collect()
}

/// What stands around a word and is none.
fn dressing() -> impl Strategy<Value = String> {
    prop::collection::vec(
        select(vec![
            " ", "\n", "\t", "!", ".", "?", ",", "*", "\"", "(", ")", "…", "❤", "👍", "\u{fe0f}", "\u{200b}",
            "。", "！",
        ]),
        0..6,
    )
    .prop_map(|parts| parts.concat())
}

/// The courtesies of all languages.
fn courtesies() -> impl Strategy<Value = String> {
    let all: Vec<&str> = words::ALL.iter().flat_map(|w| w.around).copied().collect();
    prop::collection::vec(select(all), 0..3).prop_map(|said| said.join(" "))
}

/// `text` as some keyboards write it: capitals, full width.
fn written(text: &str, how: &[u8]) -> String {
    let letter = |(c, how): (char, u8)| match how % 3 {
        0 => c.to_uppercase().to_string(),
        1 if c.is_ascii_graphic() => {
            char::from_u32(u32::from(c) + 0xfee0).map_or_else(String::new, String::from)
        }
        _ => c.to_string(),
    };
    text.chars().zip(how.iter().copied().cycle()).map(letter).collect()
}

/// Letters of every script, and the words of the tables among them.
fn anything() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => select(known()).prop_map(str::to_owned),
        2 => dressing(),
        1 => any::<String>(),
        1 => "\\PC{0,40}",
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_in_time_and_nothing_of_it_becomes_evidence(text in anything(), times in 1_usize..20) {
        let text = text.repeat(if text.len() > 400 { 1 } else { times });
        let started = Instant::now();
        for keyword in [None, Some(Keyword::Stop), Some(Keyword::Start), Some(Keyword::Help), Some(Keyword::Complaint)] {
            for meaning in [read(&text, keyword, &More::default()), read_mail(&text, keyword, &More::default())] {
                let _ = (meaning.work(), meaning.may_answer(), meaning.after(Some(Purpose::Appointment)));
                if keyword == Some(Keyword::Stop) {
                    prop_assert!(meaning.revokes, "the provider has stopped them");
                }
                if keyword == Some(Keyword::Complaint) {
                    prop_assert_eq!(meaning.intent, Intent::Complaint);
                }
            }
        }
        prop_assert!(started.elapsed() < Duration::from_secs(5), "{:?} for {} bytes", started.elapsed(), text.len());
        let meaning = read(&text, None, &More::default());
        if meaning.revokes {
            let (evidence, known) = (meaning.evidence(&text), known());
            let ours = evidence == "in plain language"
                || evidence.split(' ').all(|word| known.iter().any(|said| said.split(' ').any(|known| known == word)));
            prop_assert!(ours, "evidence holds what no table has");
        }
    }

    #[test]
    fn a_stop_word_stops_whatever_stands_around_it(
        word in select(stops()), how in prop::collection::vec(any::<u8>(), 1..20),
        (before, after) in (courtesies(), courtesies()), (open, close) in (dressing(), dressing()),
    ) {
        let text = format!("{open}{before} {} {after}{close}", written(word, &how));
        let own = More { start: vec![word.to_owned()], help: vec![word.to_owned()], ..More::default() };
        for meaning in [read(&text, None, &More::default()), read(&text, None, &own), read_mail(&text, None, &own)] {
            prop_assert!(meaning.revokes && meaning.intent == Intent::Stop, "{text:?} is {meaning:?}");
        }
    }

    #[test]
    fn what_stands_below_a_word_is_no_evidence(word in select(stops()), below in "\\PC{1,60}", courtesy in courtesies()) {
        let text = format!("{word} {courtesy}\nzyxwvu {below}");
        let meaning = read_mail(&text, None, &More::default());
        prop_assert!(meaning.revokes && !meaning.evidence(&text).contains("zyxwvu"), "{}", meaning.evidence(&text));
    }

    #[test]
    fn a_clear_word_is_heard_as_the_first_or_the_last_sentence_of_anything(
        clear in select(CLEAR.to_vec()), how in prop::collection::vec(any::<u8>(), 1..20),
        end in select(vec![".", "!", "?", ",", ";", ":", "\n", "\u{2014}", "。", "，", "！"]), rest in anything(),
    ) {
        let rest: String = rest.chars().take(1_000).collect();
        let word = written(clear, &how);
        // Behind a comma or a colon some words are said of other things.
        let joins = matches!(end, "," | ":" | "，") && OF_OTHER_THINGS.contains(&clear);
        let last = (!joins).then(|| format!("{rest}{end}{word}"));
        for text in [format!("{word}{end}{rest}")].into_iter().chain(last) {
            // Two sentences may be one word of another table; whoever says that has said that. And what stands in the
            // open quotes of a reaction is ours.
            if reaction::beside(&text).is_none() && whole(&bare(&normalised(&text)), &More::default()).is_none() {
                let meaning = read(&text, None, &More::default());
                prop_assert!(meaning.revokes, "{text:?} is {meaning:?}");
            }
        }
    }

    #[test]
    fn danger_is_heard_in_every_position(
        (w, said) in select(words::ALL.iter().flat_map(|w| w.safety.iter().map(move |s| (w.tag, *s))).collect::<Vec<_>>()),
        (before, after) in ("[a-z ]{0,60}", "[a-z ]{0,60}"), no in any::<bool>(),
    ) {
        let no = if no { " no" } else { "" };
        let text = format!("x {before}{no} {said} {after} x");
        let harmless = words::ALL.iter().flat_map(|w| w.harmless).any(|calm| holds(&normalised(&text), calm));
        if !harmless {
            prop_assert_eq!(read(&text, None, &More::default()).intent, Intent::Safety, "{} {:?}", w, text);
            let mail = read_mail(&format!("STOP\n\n{text}"), None, &More::default());
            prop_assert!(mail.intent == Intent::Safety && mail.revokes, "{w} {text:?} in a mail is {mail:?}");
        }
    }
}
