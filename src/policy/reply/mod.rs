//! What a reply means. People write as people do: in capitals, with accents or without, politely, with a heart behind
//! it, with a finger beside the key.
//!
//! 0. A reaction to a text of ours ("Liked “...”") says nothing of what it quotes: `reaction.rs` drops that first.
//! 1. The whole reply is a stop word, give or take courtesies: it stops, whatever else is configured. Then the words for
//!    starting again, for help, for a language and for another way.
//! 2. Otherwise it is searched: for danger first, then for a wrong number, for a visit that is off, and for a wish to be
//!    left alone in plain language ("any reasonable means", 47 CFR 64.1200(a)(10)). Such a wish is granted whatever else
//!    the reply is, and people read it all the same: plain language can be misread. A "not" before it takes it back, in
//!    the same clause and the same language: "No. Stop texting me" is none. Words that are said of medicines as well count
//!    where they end their clause, or speak of what we send.
//! 3. What is left may be an answer that a message has offered: `answers.rs` finds which message is meant.
//! 4. Everything else is for people to read.
//!
//! **A false alarm costs a call, a missed one a life**: words of safety are found in every position, and "no" before
//! them takes nothing back. The words stand in `words.rs`, and what becomes of some six hundred replies in `examples.txt`.

pub mod answers;
mod reaction;
mod words;

use crate::domain::reply::{Intent, Keyword, MAX_CHARS};
use crate::domain::words::{Channel, Purpose, WorkKind};
use words::Words;

/// A line of so many characters that ends in no mark was wrapped.
const WRAPS: usize = 50;
/// A reply of more words that speaks of a wrong number may speak of another one.
const WRONG_MOST_WORDS: usize = 12;
/// As the first or the last sentence of a longer reply, these say what they say alone.
const CLEAR: &[&str] = &[
    "stop",
    "no stop",
    "stopall",
    "stop all",
    "unsubscribe",
    "opt out",
    "optout",
    "quit",
    "alto",
    "basta",
    "no texts",
    "退订",
];
/// These are said of medicines and of readings, too: "Metformin: stop?", "250, alto".
const OF_OTHER_THINGS: &[&str] = &["stop", "quit", "alto"];

/// The same of calls: within a sentence they are said of other things.
const CLEAR_OF_CALLS: &[&str] =
    &["dont call", "do not call", "no call", "no calls", "no llamar", "no llamen", "no llame", "no llamadas"];

/// What a clinic adds to the words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct More {
    /// The whole reply.
    pub stop: Vec<String>,
    /// The whole reply.
    pub start: Vec<String>,
    /// The whole reply.
    pub help: Vec<String>,
    /// Anywhere in a short reply.
    pub wrong_number: Vec<String>,
    /// Anywhere in the reply.
    pub safety: Vec<String>,
}

/// What a reply means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    pub intent: Intent,
    /// Nothing more is to go to this address.
    pub revokes: bool,
    /// No more calls are to go to this number.
    pub no_calls: bool,
    /// The word is one that is said of visits, too.
    is_visits_word: bool,
    /// How the wish to stop or to start was known.
    by: By,
    /// A person has to act on it, though it is understood.
    is_for_staff: bool,
    /// The channel that is asked for.
    pub channel: Option<Channel>,
    /// BCP-47: the language it is in, or the one that is asked for; `None` where the words do not tell.
    pub language: Option<&'static str>,
}

/// By what a wish was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The whole reply is a word of the tables.
    Word,
    /// Plain language, which can be misread.
    Plain,
    /// The provider's word for it.
    Provider,
}

impl More {
    /// These lists, each read as replies are; what has neither letter nor digit is no word.
    #[must_use]
    pub fn of([stop, start, help, wrong_number, safety]: [&[String]; 5]) -> Self {
        let list = |given: &[String]| {
            given.iter().map(|text| normalised(text)).filter(|text| !text.is_empty()).collect()
        };
        Self {
            stop: list(stop),
            start: list(start),
            help: list(help),
            wrong_number: list(wrong_number),
            safety: list(safety),
        }
    }
}

impl Meaning {
    const fn of(intent: Intent, language: Option<&'static str>) -> Self {
        let revokes = matches!(intent, Intent::Stop);
        Self {
            intent,
            revokes,
            no_calls: false,
            is_visits_word: false,
            by: By::Word,
            is_for_staff: false,
            channel: None,
            language,
        }
    }

    /// What goes on record as evidence of the wish: the word itself, which is one of the tables; never a text of the
    /// patient's own.
    #[must_use]
    pub fn evidence(self, text: &str) -> String {
        match self.by {
            By::Word => said(text),
            By::Plain => "in plain language".to_owned(),
            By::Provider if self.intent == Intent::Complaint => "a complaint".to_owned(),
            By::Provider => "as the provider read it".to_owned(),
        }
    }

    /// What it means as the answer to a message for this purpose; `None`: no message is known.
    #[must_use]
    pub fn after(self, purpose: Option<Purpose>) -> Self {
        let visit = self.is_visits_word && purpose == Some(Purpose::Appointment);
        Self { intent: if visit { Intent::Cancel } else { self.intent }, ..self }
    }

    /// Whether it may be an answer that a message has offered: nothing else is known of it, or its provider has taken a
    /// word such as YES for a start.
    #[must_use]
    pub const fn may_answer(self) -> bool {
        matches!((self.intent, self.by), (Intent::Text, By::Plain | By::Word) | (Intent::Start, By::Provider))
    }

    /// What it means as the answer to a question: `intent` is one of answer, unclear and late.
    #[must_use]
    pub const fn answering(self, intent: Intent, is_for_staff: bool) -> Self {
        Self { intent, is_for_staff, ..self }
    }

    /// What people have to do about it.
    #[must_use]
    pub const fn work(self) -> Option<WorkKind> {
        match self.intent {
            Intent::Safety => Some(WorkKind::Safety),
            Intent::Cancel => Some(WorkKind::MaybeCancelVisit),
            Intent::Text | Intent::Late => Some(WorkKind::Reply),
            Intent::Answer if self.is_for_staff => Some(WorkKind::Reply),
            Intent::Stop | Intent::WrongNumber if matches!(self.by, By::Plain) => Some(WorkKind::Reply),
            Intent::Stop
            | Intent::Start
            | Intent::Help
            | Intent::WrongNumber
            | Intent::Complaint
            | Intent::Reaction
            | Intent::Machine
            | Intent::Call
            | Intent::Channel
            | Intent::Language
            | Intent::Answer
            | Intent::Unclear => None,
        }
    }
}

/// Reads a reply. `keyword` is what its provider took it for: a provider that has stopped a number will not carry
/// anything there, whatever we make of the words.
#[must_use]
pub fn read(text: &str, keyword: Option<Keyword>, more: &More) -> Meaning {
    let meaning = by_words(text, more);
    let told = |intent| Meaning { by: By::Provider, ..Meaning::of(intent, meaning.language) };
    match (keyword, meaning.intent) {
        (Some(Keyword::Complaint), _) => told(Intent::Complaint),
        (Some(Keyword::Call), _) => told(Intent::Call),
        // A key is one of the answers that the call offers, or nothing.
        (Some(Keyword::Key), _) => Meaning::of(Intent::Text, None),
        (Some(Keyword::Stop), _) if meaning.revokes => meaning,
        (
            Some(Keyword::Stop),
            Intent::Text
            | Intent::Reaction
            | Intent::Machine
            | Intent::Start
            | Intent::Help
            | Intent::Channel
            | Intent::Language,
        ) => told(Intent::Stop),
        (Some(Keyword::Stop), _) => Meaning { revokes: true, by: By::Provider, ..meaning },
        (Some(Keyword::Start), Intent::Text) => told(Intent::Start),
        (Some(Keyword::Help), Intent::Text) => told(Intent::Help),
        _ => meaning,
    }
}

/// Reads a mail. Below what somebody wants there often is who they are: a stop word on the first line is one by itself.
/// Danger is heard below it all the same. No mail tells a number that could be called no more: people read what it says of
/// calls.
#[must_use]
pub fn read_mail(text: &str, keyword: Option<Keyword>, more: &More) -> Meaning {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let (first, meaning) = (read(first, keyword, more), read(text, keyword, more));
    if first.revokes && first.intent == Intent::Stop {
        return match meaning.intent {
            Intent::Safety => Meaning { revokes: true, no_calls: false, ..meaning },
            _ => Meaning { no_calls: false, ..first },
        };
    }
    let clauses = Clauses::of(&text.chars().take(MAX_CHARS).collect::<String>());
    let meaning = match meaning.intent {
        Intent::Stop if meaning.no_calls && !meaning.revokes => {
            Meaning { by: By::Plain, ..Meaning::of(Intent::Text, None) }
        }
        _ => Meaning { no_calls: false, ..meaning },
    };
    if meaning.intent == Intent::Reaction {
        return meaning;
    }
    let off = words::ALL.iter().find(|w| w.no_mail.iter().any(|no| clauses.say(no, w)));
    match (off, meaning.intent) {
        (Some(w), Intent::Text) => Meaning { by: By::Plain, ..Meaning::of(Intent::Stop, Some(w.tag)) },
        (Some(_), _) => Meaning { revokes: true, ..meaning },
        (None, _) => meaning,
    }
}

fn by_words(text: &str, more: &More) -> Meaning {
    let text: String = text.chars().take(MAX_CHARS).collect();
    match reaction::beside(&text) {
        Some(behind) if normalised(behind).is_empty() => Meaning::of(Intent::Reaction, None),
        Some(behind) => Meaning { by: By::Plain, ..own_words(behind, more) },
        None => own_words(&text, more),
    }
}

fn own_words(text: &str, more: &More) -> Meaning {
    let read = normalised(text);
    let meaning = whole(&bare(&read), more).unwrap_or_else(|| within(text, &read, more));
    match meaning.intent {
        Intent::Text if is_by_machine(&read) => Meaning::of(Intent::Machine, None),
        _ => meaning,
    }
}

/// Whether a telephone says this by itself.
fn is_by_machine(read: &str) -> bool {
    let starts =
        |said: &&str| read.strip_prefix(said).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    words::ALL.iter().any(|w| w.machine.iter().any(starts))
}

/// The word that a reply is. Of a mail it may be the first line alone, and what follows is the patient's own.
fn said(text: &str) -> String {
    let read = |text: &str| bare(&normalised(&text.chars().take(MAX_CHARS).collect::<String>()));
    let all = read(text);
    if whole(&all, &More::default()).is_some() {
        return all;
    }
    text.lines().map(read).find(|line| !line.is_empty()).unwrap_or_default()
}

/// The reply is one word, or one of the known pairs and phrases.
fn whole(bare: &str, more: &More) -> Option<Meaning> {
    let says = |added: &[String]| added.iter().any(|word| word == bare);
    let known = |list: fn(&Words) -> &'static [&'static str]| {
        words::ALL.iter().find(|w| list(w).contains(&bare)).map(|w| Some(w.tag))
    };
    if let Some(tag) = known(|w| w.stop).or_else(|| says(&more.stop).then_some(None)) {
        return Some(Meaning::of(Intent::Stop, tag));
    }
    if let Some(tag) = known(|w| w.cancel) {
        return Some(Meaning { is_visits_word: true, ..Meaning::of(Intent::Stop, tag) });
    }
    if let Some(tag) = all_stop(bare) {
        return Some(Meaning::of(Intent::Stop, tag));
    }
    if let Some(tag) = known(|w| w.start).or_else(|| says(&more.start).then_some(None)) {
        return Some(Meaning::of(Intent::Start, tag));
    }
    if let Some(tag) = known(|w| w.help).or_else(|| says(&more.help).then_some(None)) {
        return Some(Meaning::of(Intent::Help, tag));
    }
    let wrong = known(|w| w.wrong).or_else(|| known(|w| w.mistaken));
    if let Some(tag) = wrong.or_else(|| says(&more.wrong_number).then_some(None)) {
        return Some(Meaning::of(Intent::WrongNumber, tag));
    }
    if let Some(tag) = known(|w| w.language) {
        return Some(Meaning::of(Intent::Language, tag));
    }
    let way = |channel, tag| Meaning { channel: Some(channel), ..Meaning::of(Intent::Channel, tag) };
    known(|w| w.voice)
        .map(|tag| way(Channel::Voice, tag))
        .or_else(|| known(|w| w.email).map(|tag| way(Channel::Email, tag)))
        .or_else(|| known(|w| w.sms).map(|tag| way(Channel::Sms, tag)))
}

/// Several stop words and nothing else, in whatever languages.
fn all_stop(bare: &str) -> Option<Option<&'static str>> {
    let mut said = bare.split(' ');
    let stops = |word: &str| words::ALL.iter().find(|w| w.stop.contains(&word) || w.cancel.contains(&word));
    let first = stops(said.next()?)?;
    said.all(|word| stops(word).is_some()).then_some(Some(first.tag))
}

/// What is found in a reply that is no word by itself.
fn within(text: &str, read: &str, more: &More) -> Meaning {
    let (wary, clauses) = (wary(text), Clauses::of(text));
    let any = |list: fn(&Words) -> &'static [&'static str]| {
        words::ALL.iter().find(|w| list(w).iter().any(|said| clauses.say(said, w))).map(|w| Some(w.tag))
    };
    let ending = || words::ALL.iter().find(|w| w.ending.iter().any(|said| clauses.end(said, w)));
    let danger =
        words::ALL.iter().find(|w| w.safety.iter().any(|said| holds(&wary, said))).map(|w| Some(w.tag));
    let danger = danger.or_else(|| more.safety.iter().any(|said| holds(&wary, said)).then_some(None));
    let short = read.split(' ').count() <= WRONG_MOST_WORDS;
    // Of what a clinic adds the language is not known.
    let added = |said: &String| words::ALL.iter().all(|w| clauses.say(said, w));
    let wrong = any(|w| w.wrong).or_else(|| more.wrong_number.iter().any(added).then_some(None));
    let wrong = wrong.filter(|_| short);
    let visit = any(|w| w.visit).or_else(|| first(text, |s| tag_of(s, |w| w.cancel)));
    let clear = |s: &str| CLEAR.contains(&s).then(|| tag_of(s, |w| w.stop)).flatten();
    let clearer = |s: &str| clear(s).filter(|_| !OF_OTHER_THINGS.contains(&s));
    let revoking = any(|w| w.revoking)
        .or_else(|| ending().map(|w| Some(w.tag)))
        .or_else(|| first(text, clear))
        .or_else(|| last(text, FULL_ENDS, clear))
        .or_else(|| last(text, ENDS, clearer));
    let of_calls = |s: &str| CLEAR_OF_CALLS.contains(&s).then_some(None);
    let no_calls =
        any(|w| w.no_calls).or_else(|| first(text, of_calls)).or_else(|| last(text, ENDS, of_calls));
    let found = [
        (Intent::Safety, danger),
        (Intent::WrongNumber, wrong),
        (Intent::Cancel, visit),
        (Intent::Stop, revoking.or(no_calls)),
    ];
    let first = found.into_iter().find_map(|(intent, tag)| tag.map(|tag| Meaning::of(intent, tag)));
    let meaning = first.unwrap_or_else(|| Meaning::of(Intent::Text, None));
    Meaning { revokes: revoking.is_some(), no_calls: no_calls.is_some(), by: By::Plain, ..meaning }
}

fn tag_of(said: &str, list: fn(&Words) -> &'static [&'static str]) -> Option<Option<&'static str>> {
    words::ALL.iter().find(|w| list(w).contains(&said)).map(|w| Some(w.tag))
}

/// What the first clause says by itself.
fn first<T>(text: &str, says: impl Fn(&str) -> Option<T>) -> Option<T> {
    parts(text, MARKS).next().and_then(|part| says(&bare(&part)))
}

/// What the last part between such marks says by itself.
fn last<T>(text: &str, marks: &'static [char], says: impl Fn(&str) -> Option<T>) -> Option<T> {
    parts(text, marks).last().and_then(|part| says(&bare(&part)))
}

/// What is searched for danger. What is harmless is so within its clause: "An emergency. Contact my wife" is not.
fn wary(text: &str) -> String {
    let harmless = |part: String, w: &Words| w.harmless.iter().fold(part, |part, calm| without(&part, calm));
    let calm = |part: String| words::ALL.iter().fold(part, harmless);
    parts(&unwrapped(text), MARKS).map(calm).collect::<Vec<String>>().join(" ")
}

/// Whether `said` stands in `text`, whole words only. Chinese has no spaces between words.
fn holds(text: &str, said: &str) -> bool {
    if said.is_ascii() {
        format!(" {text} ").contains(&format!(" {said} "))
    } else {
        text.replace(' ', "").contains(said)
    }
}

fn without(text: &str, said: &str) -> String {
    let cut = format!(" {text} ").replace(&format!(" {said} "), " ");
    cut.trim().to_owned()
}

/// A reply in which plain language is looked for. What is said may go over several clauses, as the lines of a mail do; a
/// "not" is one of its own clause.
struct Clauses {
    /// As replies are read, a space around it.
    text: String,
    /// Where in it a clause begins.
    begins: Vec<usize>,
    /// The clauses without spaces, as Chinese is written.
    closed: Vec<String>,
}

impl Clauses {
    fn of(text: &str) -> Self {
        let mut clauses = Self { text: " ".to_owned(), begins: Vec::new(), closed: Vec::new() };
        for part in parts(&unwrapped(text), MARKS) {
            clauses.begins.push(clauses.text.len());
            clauses.text.push_str(&part);
            clauses.text.push(' ');
            clauses.closed.push(part.replace(' ', ""));
        }
        clauses
    }

    /// Whether `said` stands there and no "not" of its language takes it back. One that begins with a "not" is only
    /// underlined by another: "no no me manden".
    fn say(&self, said: &str, w: &Words) -> bool {
        if said.is_ascii() {
            return !self.ends_of(said, w).is_empty();
        }
        let denies = w.not.iter().any(|no| said.starts_with(no));
        let denied = |before: &str| !denies && w.not.iter().any(|no| before.ends_with(no));
        self.closed.iter().any(|clause| {
            clause.match_indices(said).any(|(at, _)| !denied(clause.get(..at).unwrap_or_default()))
        })
    }

    /// As [`Self::say`], where nothing follows in the clause, or something that we send.
    fn end(&self, said: &str, w: &Words) -> bool {
        self.ends_of(said, w).into_iter().any(|at| {
            let end = self.begins.iter().copied().find(|begin| *begin > at).unwrap_or(self.text.len());
            let mut rest = self.text.get(at..end).unwrap_or_default().split_whitespace();
            let next = rest.find(|word| !w.of.contains(word) && !w.around.contains(word));
            next.is_none_or(|word| w.ours.contains(&word))
        })
    }

    /// Where `said` ends, each time that nothing takes it back.
    fn ends_of(&self, said: &str, w: &Words) -> Vec<usize> {
        let denies = said.split(' ').next().is_some_and(|first| w.not.contains(&first));
        let searched = format!(" {said} ");
        let places = self.text.match_indices(&searched).map(|(at, _)| at + 1);
        places
            .filter(|at| denies || !is_denied(self.before(*at), said, w))
            .map(|at| at + said.len())
            .collect()
    }

    /// What stands before this place in its clause.
    fn before(&self, at: usize) -> &str {
        let begin = self.begins.iter().rev().find(|begin| **begin <= at);
        begin.and_then(|begin| self.text.get(*begin..at)).unwrap_or_default()
    }
}

/// Whether a "not" stands before `said`, or before what links the two: "not want to", "no need to".
fn is_denied(before: &str, said: &str, w: &Words) -> bool {
    let (mut before, mut said) = (before.trim_end(), said);
    let link = |before: &str| -> Option<(usize, &'static str)> {
        w.links.iter().find_map(|link| Some((before.strip_suffix(*link)?.strip_suffix(' ')?.len(), *link)))
    };
    while let Some((end, link)) = link(before) {
        (before, said) = (before.get(..end).unwrap_or_default(), link);
    }
    let last = before.rsplit(' ').next().unwrap_or_default();
    w.not.contains(&last) || (last == "no" && said.starts_with("need "))
}

/// What ends a sentence.
const ENDS: &[char] = &['.', '!', '?', ',', ';', ':', '\n', '\u{2014}', '\u{2026}', '\u{3002}'];
/// The same but what joins two halves of one.
const FULL_ENDS: &[char] = &['.', '!', '?', ';', '\n', '\u{2014}', '\u{2026}', '\u{3002}'];
/// What ends a clause.
const MARKS: &[char] =
    &['.', '!', '?', ',', ';', ':', '\n', '\u{2014}', '\u{2026}', '\u{3002}', '\u{2013}', '(', ')'];

/// What stands between marks, each as replies are read. A hyphen is as good as a dash where it stands by itself.
fn parts(text: &str, marks: &'static [char]) -> impl Iterator<Item = String> {
    let dashes = text.replace(" - ", " \u{2013} ");
    let parts: Vec<String> = dashes.split(|c: char| marks.contains(&full_width(c))).map(normalised).collect();
    parts.into_iter().filter(|part| !part.is_empty())
}

/// A mail's lines, where one only goes on in the next.
fn unwrapped(text: &str) -> String {
    let goes_on = |line: &str| line.chars().count() >= WRAPS && !line.ends_with(MARKS);
    text.split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n').map(str::trim_end) {
            Some(line) if goes_on(line) => format!("{line} "),
            _ => line.to_owned(),
        })
        .collect()
}

/// Small letters and digits without accents, Chinese in simplified characters, one space between words; apostrophes go
/// ("can't" is "cant"), and so does everything that is neither letter nor digit.
fn normalised(text: &str) -> String {
    let mut read = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' | '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2bc}' | '`' | '\u{b4}' => {}
            // Accents by themselves, and what is not seen.
            '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}' => {}
            c => {
                for plain in full_width(c).to_lowercase().map(without_accent).map(simplified) {
                    let gap = !plain.is_alphanumeric();
                    if !gap {
                        read.push(plain);
                    } else if !read.is_empty() && !read.ends_with(' ') {
                        read.push(' ');
                    }
                }
            }
        }
    }
    read.truncate(read.trim_end().len());
    read
}

/// Letters as East Asian keyboards write them are those of ASCII.
fn full_width(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        c => c,
    }
}

const fn without_accent(c: char) -> char {
    match c {
        'á' | 'à' | 'â' | 'ä' | 'ã' | 'å' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'í' | 'ì' | 'î' | 'ï' => 'i',
        'ó' | 'ò' | 'ô' | 'ö' | 'õ' => 'o',
        'ú' | 'ù' | 'û' | 'ü' => 'u',
        'ñ' => 'n',
        'ç' => 'c',
        c => c,
    }
}

/// The traditional characters of what stands in the tables.
const fn simplified(c: char) -> char {
    match c {
        '來' => '来',
        '們' => '们',
        '別' => '别',
        '動' => '动',
        '對' => '对',
        '幫' => '帮',
        '復' | '覆' | '複' => '复',
        '悶' => '闷',
        '殺' => '杀',
        '氣' => '气',
        '沒' => '没',
        '發' => '发',
        '碼' => '码',
        '簡' => '简',
        '約' => '约',
        '給' => '给',
        '臟' => '脏',
        '藥' => '药',
        '號' => '号',
        '訂' => '订',
        '話' => '话',
        '說' => '说',
        '請' => '请',
        '謝' => '谢',
        '護' => '护',
        '車' => '车',
        '過' => '过',
        '郵' => '邮',
        '錯' => '错',
        '開' => '开',
        '閱' => '阅',
        '難' => '难',
        '電' => '电',
        '預' => '预',
        '體' => '体',
        c => c,
    }
}

/// Without courtesies around it, and said once where it is said twice.
fn bare(read: &str) -> String {
    let around = |word: &&str| words::ALL.iter().any(|w| w.around.contains(word));
    let mut said: Vec<&str> = read.split(' ').collect();
    while said.len() > 1 && said.first().is_some_and(around) {
        said.remove(0);
    }
    while said.len() > 1 && said.last().is_some_and(around) {
        said.pop();
    }
    said.dedup();
    let times = |n: &usize| {
        let mut parts = said.chunks(*n);
        parts.next().is_some_and(|first| parts.all(|part| part == first))
    };
    let once = (1..=said.len()).find(times).unwrap_or(said.len());
    said.truncate(once);
    said.join(" ")
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
