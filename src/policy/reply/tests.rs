use jiff::Timestamp;

use super::*;
use crate::domain::ids::AnswerName;

const EXAMPLES: &str = include_str!("examples.txt");

fn more() -> More {
    More {
        stop: vec!["no molestar".to_owned()],
        start: vec!["back on".to_owned()],
        help: vec!["que es esto".to_owned()],
        wrong_number: vec!["moved away".to_owned()],
        safety: vec!["code purple".to_owned()],
    }
}

/// What becomes of a reply, in the words of the table.
fn outcome(meaning: Meaning) -> String {
    let work = match meaning.work() {
        Some(WorkKind::Safety) => "staff at once",
        Some(WorkKind::MaybeCancelVisit) => "staff asks about the visit",
        Some(_) => "staff reads it",
        None => "",
    };
    let done = match meaning.intent {
        Intent::WrongNumber => "number marked wrong",
        Intent::Start => "texts again",
        Intent::Help => "who we are, how to stop",
        Intent::Language => meaning.language.unwrap_or("?"),
        Intent::Safety => "told to call for help",
        Intent::Channel => match meaning.channel {
            Some(Channel::Voice) => "calls first",
            Some(Channel::Email) => "mail first",
            _ => "texts first",
        },
        Intent::Call => "told who calls",
        Intent::Complaint => "no more of this purpose",
        Intent::Late => "told the phone",
        Intent::Answer | Intent::Unclear => unreachable!("told by what is asked"),
        Intent::Stop | Intent::Cancel | Intent::Reaction | Intent::Text => "",
        Intent::Machine => "nobody has read it",
    };
    let stop = if meaning.revokes { "no more texts" } else { "" };
    let calls = if meaning.no_calls { "no more calls" } else { "" };
    let effects: Vec<&str> =
        [stop, calls, done, work].into_iter().filter(|effect| !effect.is_empty()).collect();
    format!("{} | {}", meaning.intent, effects.join(", "))
}

/// What waits at the number, as the head of a section says it.
#[derive(Default)]
struct Waiting {
    asked: Vec<answers::Asked>,
    /// The messages' names, by the digit of an answer.
    names: Vec<(u8, String)>,
    clarified_at: Option<Timestamp>,
    purpose: Option<Purpose>,
    keyword: Option<Keyword>,
    /// It is a mail: what is said of texts is said of mails.
    by_mail: bool,
}

const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn waiting(head: &str) -> Waiting {
    let visit = head.contains("about a visit") || head.starts_with("Open: visit");
    let (purpose, by_mail) = (visit.then_some(Purpose::Appointment), head.starts_with("By mail"));
    let mut waiting = Waiting { purpose, by_mail, ..Waiting::default() };
    let mut until = at(NOW + 60);
    for part in head.split("; ") {
        let part = match (part.strip_prefix("Open: "), part.strip_prefix("Over: ")) {
            (Some(rest), _) => {
                until = at(NOW + 60);
                rest
            }
            (_, Some(rest)) => {
                until = at(NOW - 60);
                rest
            }
            _ => part,
        };
        if let Some(word) = part.strip_prefix("Twilio took it for ") {
            waiting.keyword = Keyword::from_word(word);
        } else if part == "asked which one" {
            waiting.clarified_at = Some(at(NOW - 10));
        } else if let Some(name) = part.strip_prefix("answered: ") {
            for one in &mut waiting.asked {
                one.answered |= waiting.names.iter().any(|(digit, of)| of == name && *digit == one.digit);
            }
        } else if let Some(name) = part.strip_prefix("may not have come: ") {
            for one in &mut waiting.asked {
                one.has_come &= !waiting.names.iter().any(|(digit, of)| of == name && *digit == one.digit);
            }
        } else if let Some((name, offers)) = part.split_once(' ').filter(|_| part.contains('(')) {
            let message = crate::domain::ids::MessageId::generate();
            for offer in offers.split("), ") {
                let (answer, said) = offer.trim_end_matches(')').split_once(" (").expect("its words");
                let (digit, answer) = answer.split_once(' ').expect("a digit and a name");
                let digit = digit.parse().expect("a digit");
                waiting.names.push((digit, name.to_owned()));
                waiting.asked.push(answers::Asked {
                    message,
                    has_come: true,
                    digit,
                    answer: AnswerName::parse(answer).expect("a name"),
                    words: said.split(", ").map(|word| answers::word(word).expect("a word")).collect(),
                    asked_at: at(NOW - 100 + i64::try_from(waiting.asked.len()).unwrap()),
                    until,
                    answered: false,
                });
            }
        }
    }
    waiting
}

/// What becomes of a reply while that waits.
fn becomes(text: &str, waiting: &Waiting) -> String {
    let (channel, meaning) = match waiting.by_mail {
        true => (Channel::Email, read_mail(text, waiting.keyword, &more())),
        false => (Channel::Sms, read(text, waiting.keyword, &more())),
    };
    let meaning = meaning.after(waiting.purpose);
    let (said, more) = answers::answering_part(channel, text);
    let found = match meaning.may_answer() {
        true => answers::find(said, &waiting.asked, waiting.clarified_at, at(NOW)),
        false => answers::Found::Nothing,
    };
    let digits = |places: &[usize]| -> Vec<String> {
        places.iter().map(|place| waiting.asked[*place].digit.to_string()).collect()
    };
    match found {
        answers::Found::Nothing if waiting.by_mail => {
            let said = outcome(meaning).replace("no more texts", "no more mail");
            said.replace("texts again", "mail again").replace("number marked", "address marked")
        }
        answers::Found::Nothing => outcome(meaning),
        answers::Found::One(place) => {
            let one = &waiting.asked[place];
            let (_, name) = waiting.names.iter().find(|(digit, _)| *digit == one.digit).unwrap();
            let work = |is_for_staff| meaning.answering(Intent::Answer, is_for_staff).work();
            assert_eq!((work(false), work(true)), (None, Some(WorkKind::Reply)));
            let staff = if more { ", staff reads it" } else { "" };
            format!("{} | {name}: {}{staff}", Intent::Answer, one.answer)
        }
        answers::Found::Several(places) => {
            assert_eq!(meaning.answering(Intent::Unclear, false).work(), None);
            format!("{} | asked which one: {}", Intent::Unclear, digits(&places).join(" or "))
        }
        answers::Found::Late(_) => outcome(meaning.answering(Intent::Late, false)),
    }
}

#[test]
fn a_wish_about_calls_in_a_mail_is_no_evidence_in_its_own_words() {
    let text = "Stop calling me about this";
    assert_eq!(read_mail(text, None, &more()).evidence(text), "in plain language");
}

#[test]
fn every_reply_of_the_table_has_its_outcome() {
    let (mut now, mut count) = (Waiting::default(), 0);
    let mut wrong = Vec::new();
    for line in EXAMPLES.lines().filter(|line| !line.trim().is_empty() && !is_remark(line)) {
        if let Some(head) = line.strip_prefix("== ") {
            now = waiting(head);
            continue;
        }
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let [text, intent, effects] = parts[..] else { panic!("three columns: {line}") };
        let text = text.replace("\\n", "\n");
        let found = becomes(&text, &now);
        if found != format!("{intent} | {effects}") {
            wrong.push(format!("{line}\n    is {found}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 600, "{count}");
}

/// A remark has a space after its mark, or nothing: "#1" is what somebody wrote.
fn is_remark(line: &str) -> bool {
    line.strip_prefix('#').is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

#[test]
fn the_lists_are_written_as_replies_are_read() {
    for w in words::ALL {
        let lists = [
            w.stop, w.cancel, w.start, w.help, w.language, w.voice, w.email, w.sms, w.yes, w.no, w.digits,
            w.revoking, w.ending, w.of, w.ours, w.no_calls, w.no_mail, w.visit, w.wrong, w.mistaken,
            w.safety, w.harmless, w.machine, w.not, w.links, w.around,
        ];
        for said in lists.into_iter().flatten() {
            assert_eq!(normalised(said), *said, "{}", w.tag);
        }
        // A courtesy that is a word by itself would swallow it.
        for word in w.around {
            assert!(whole(word, &More::default()).is_none(), "{word}");
        }
    }
}

/// The law's words, in every dress they come in.
#[test]
fn no_dress_hides_a_stop_word() {
    let words = [
        "stop",
        "quit",
        "end",
        "revoke",
        "opt out",
        "cancel",
        "unsubscribe",
        "alto",
        "cancelar",
        "baja",
        "parar",
    ];
    for word in words {
        let capital = word.to_uppercase();
        for said in [
            word.to_owned(),
            capital.clone(),
            format!("{capital}."),
            format!("  {word}!!! "),
            format!("\"{word}\""),
            format!("\u{201c}{capital}\u{201d}"),
            format!("{word} please"),
            format!("Por favor {word}, gracias"),
            format!("{capital} \u{1f621}\u{fe0f}"),
            format!("{word} {word} {capital}"),
            format!("\n{word}\n"),
            word.replace(' ', "-"),
            word.chars().flat_map(|c| [c, '\u{200b}']).collect(),
        ] {
            let meaning = read(&said, None, &More::default());
            assert!(meaning.revokes && meaning.intent == Intent::Stop, "{said:?}: {meaning:?}");
            assert_eq!(meaning.work(), None, "{said:?}");
        }
    }
}

#[test]
fn courtesies_go_and_one_by_itself_stays() {
    for (read, left) in [
        ("please stop now", "stop"),
        ("stop it stop it", "stop it"),
        ("ok thanks", "thanks"),
        ("please", "please"),
    ] {
        assert_eq!(bare(read), left, "{read}");
    }
}

#[test]
fn what_a_provider_took_it_for_counts_where_the_words_say_less() {
    use Keyword::{Call, Complaint, Key, Stop};
    let (plain, provider) = ("in plain language", "as the provider read it");
    for (text, keyword, intent, work, evidence) in [
        ("STOP", Stop, Intent::Stop, None, "stop"),
        ("stop texting me", Stop, Intent::Stop, Some(WorkKind::Reply), plain),
        ("Arret", Stop, Intent::Stop, None, provider),
        ("chest pain", Stop, Intent::Safety, Some(WorkKind::Safety), provider),
        ("stop", Complaint, Intent::Complaint, None, "a complaint"),
        ("stop", Call, Intent::Call, None, provider),
        // A key is no word.
        ("stop", Key, Intent::Text, Some(WorkKind::Reply), "stop"),
    ] {
        let meaning = read(text, Some(keyword), &More::default());
        let found = (meaning.intent, meaning.work(), meaning.evidence(text));
        assert_eq!(found, (intent, work, evidence.to_owned()), "{text} as {keyword}");
    }
}

#[test]
fn what_a_clinic_adds_is_read_as_replies_are() {
    let given = |word: &str| [word.to_owned(), "\u{2764} !".to_owned()];
    let lists = ["¡No molestar!", "Back-on", "¿Qué es esto?", "Moved away.", "CODE PURPLE"].map(given);
    assert_eq!(More::of(lists.each_ref().map(|list| &list[..])), more());
}

#[test]
fn what_a_clinic_adds_never_undoes_a_stop() {
    let more = More { start: vec!["stop".to_owned()], help: vec!["stop".to_owned()], ..More::default() };
    assert_eq!(read("STOP", Some(Keyword::Start), &more).intent, Intent::Stop);
}

#[test]
fn what_a_mail_says_below_its_stop_word_is_no_evidence() {
    let name = "Zyxwvu Canarissima, room 4";
    for (text, evidence) in [
        ("STOP".to_owned(), "stop"),
        (format!("STOP\n\n{name}"), "stop"),
        (format!("\n  Unsubscribe, please!\n--\n{name}\n+1 312 555 0142"), "unsubscribe"),
        (format!("...\nSTOP\n{name}"), "in plain language"),
        ("opt\nout".to_owned(), "opt out"),
        (format!("No molestar\n{name}"), "no molestar"),
        (format!("stop{}{name}", " ".repeat(MAX_CHARS)), "stop"),
    ] {
        let meaning = read_mail(&text, None, &more());
        assert_eq!((meaning.revokes, meaning.evidence(&text).as_str()), (true, evidence), "{text:?}");
    }
}
