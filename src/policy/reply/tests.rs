use super::*;

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
        Intent::Stop | Intent::Cancel | Intent::Text => "",
    };
    let stop = if meaning.revokes { "no more texts" } else { "" };
    let effects: Vec<&str> = [stop, done, work].into_iter().filter(|effect| !effect.is_empty()).collect();
    format!("{} | {}", meaning.intent, effects.join(", "))
}

#[test]
fn every_reply_of_the_table_has_its_outcome() {
    let (mut purpose, mut keyword, mut count) = (None, None, 0);
    let mut wrong = Vec::new();
    for line in EXAMPLES.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if let Some(section) = line.strip_prefix("== ") {
            purpose = section.contains("about a visit").then_some(Purpose::Appointment);
            keyword = section.strip_prefix("Twilio took it for ").and_then(Keyword::from_word);
            continue;
        }
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let [text, intent, effects] = parts[..] else { panic!("three columns: {line}") };
        let text = text.replace("\\n", "\n");
        let found = outcome(read(&text, keyword, &more()).after(purpose));
        if found != format!("{intent} | {effects}") {
            wrong.push(format!("{line}\n    is {found}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 200, "{count}");
}

#[test]
fn the_lists_are_written_as_replies_are_read() {
    for w in words::ALL {
        let lists = [
            w.stop, w.cancel, w.start, w.help, w.language, w.voice, w.email, w.sms, w.revoking, w.visit,
            w.wrong, w.safety, w.harmless, w.not, w.around,
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
fn what_a_clinic_adds_never_undoes_a_stop() {
    let more = More { start: vec!["stop".to_owned()], help: vec!["stop".to_owned()], ..More::default() };
    assert_eq!(read("STOP", Some(Keyword::Start), &more).intent, Intent::Stop);
}
