//! Finds, in the languages we know, the few phrases on which carriers and the law insist.
//!
//! These are searches for words, not understanding: they catch the common mistake and say where to look.

use crate::policy::reply::{More, read};

/// How a text asks for an answer.
const REPLY: &[&str] = &[
    "reply",
    "text back",
    "respond with",
    "answer",
    "responda",
    "conteste",
    "responder",
    "envíe",
    "回复",
    "回覆",
    "أجب",
    "رد ",
    "ردّ",
    "répondez",
    "trả lời",
    "ответьте",
];

/// How a text says that messages can be ended.
const OPT_OUT: &[&str] = &[
    "opt out",
    "opt-out",
    "unsubscribe",
    "stop these",
    "stop getting",
    "stop receiving",
    "no recibir",
    "dejar de recibir",
    "darse de baja",
    "退订",
    "退訂",
    "不再接收",
    "不想再",
    "取消订阅",
    "إلغاء الاشتراك",
    "لإيقاف",
    "désabonner",
    "ne plus recevoir",
    "отписаться",
];

/// Hosts that anybody can hide anything behind; carriers filter them.
const SHORTENERS: &[&str] = &[
    "bit.ly",
    "tinyurl.com",
    "goo.gl",
    "t.co",
    "ow.ly",
    "is.gd",
    "buff.ly",
    "rebrand.ly",
    "cutt.ly",
    "t.ly",
    "rb.gy",
    "shorturl.at",
    "tiny.cc",
    "bl.ink",
    "short.io",
    "v.gd",
    "lnkd.in",
    "soo.gd",
    "s2r.co",
    "clck.ru",
];

/// Whether the text asks for an answer to something else than that messages can be ended.
pub(super) fn has_reply(text: &str) -> bool {
    let asks = |clause: &str| {
        contains_any(&clause.to_lowercase(), REPLY) && !offered(clause).iter().any(|word| stops(word))
    };
    sentences(text).any(|sentence| clauses(sentence).take_while(|clause| !has_opt_out(clause)).any(asks))
}

/// Whether the text says how to end such messages.
pub(super) fn has_opt_out(text: &str) -> bool {
    contains_any(&text.to_lowercase(), OPT_OUT)
}

/// A word by which replies end the messages, offered as an answer to something else.
pub(super) fn offered_stop_word(text: &str) -> Option<String> {
    let other = |sentence: &&str| {
        let lower = sentence.to_lowercase();
        contains_any(&lower, REPLY) && !contains_any(&lower, OPT_OUT)
    };
    sentences(text).filter(other).find_map(|sentence| offered(sentence).into_iter().find(|word| stops(word)))
}

/// Whether a reply of this word ends the messages. "Para" is Spanish for "to", too.
fn stops(word: &str) -> bool {
    !word.eq_ignore_ascii_case("para") && read(word, None, &More::default()).revokes
}

/// What stands in capitals or quotes, or right after the word that asks for the answer.
fn offered(text: &str) -> Vec<String> {
    const QUOTES: &[char] = &['"', '\'', '“', '‘', '«', '「'];
    let lower = text.to_lowercase();
    let is_capital = |word: &&str| word.chars().count() > 1 && !word.contains(char::is_lowercase);
    let capitals = words(text).filter(is_capital).map(str::to_owned);
    let first = |rest: &str| words(rest.trim_start()).next().unwrap_or_default().to_owned();
    let quoted = text.split(QUOTES).skip(1).map(first);
    let asked = REPLY.iter().flat_map(|reply| lower.split(reply).skip(1)).map(first);
    capitals.chain(quoted).chain(asked).collect()
}

/// What stands between marks and spaces; nothing at the beginning of a text that begins with one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
}

/// The public shortener that the text links to.
pub(super) fn shortener(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    SHORTENERS.iter().copied().find(|host| {
        lower.match_indices(host).any(|(at, _)| {
            let before = lower.get(..at).and_then(|t| t.chars().next_back());
            let after = lower.get(at + host.len()..).and_then(|t| t.chars().next());
            !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
                && !after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')
                || lower.get(..at).is_some_and(|t| t.ends_with("www."))
        })
    })
}

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['.', '!', '?', '\n', '。', '！', '？', '؟', ';', '；'])
}

fn clauses(sentence: &str) -> impl Iterator<Item = &str> {
    let by_comma = sentence.split([',', '，']);
    by_comma
        .flat_map(|part| part.split(" or "))
        .flat_map(|part| part.split(" o "))
        .flat_map(|part| part.split('或'))
}

fn contains_any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_word_is_an_opt_out_and_no_answer() {
        let table = [
            ("Reply YES to confirm or CANCEL to cancel.", Some("CANCEL")),
            ("Reply C to confirm. Reply STOP to opt out.", None),
            ("Reply stop to cancel your visit.", Some("stop")),
            ("To cancel or move it, call us or reply.", None),
            ("Responda CANCEL para anular la cita.", Some("CANCEL")),
            ("Responda STOP para no recibir más mensajes.", None),
            ("回复 END 取消预约。", Some("END")),
            ("回复 STOP 退订。", None),
            ("Reply \"quit\" if you cannot come.", Some("quit")),
            ("Responda CANCELAR para anular la cita.", Some("CANCELAR")),
            ("Responda SI para venir o BAJA para no venir.", Some("BAJA")),
            ("Responda para confirmar su cita.", None),
            ("RESPONDA SI PARA CONFIRMAR.", None),
            ("回复 取消 以取消预约。", Some("取消")),
            ("回复“取消”以取消预约。", Some("取消")),
            ("如需取消，请回复本消息。", None),
            ("Reply STOP ALL to cancel your visits.", Some("STOP")),
            ("Reply ENDOSCOPY for details.", None),
            ("The visit will END at 3 PM. Reply YES.", None),
        ];
        for (text, want) in table {
            assert_eq!(offered_stop_word(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_way_to_end_the_messages_is_no_way_back() {
        for (text, want) in [
            ("Reply STOP to opt out.", false),
            ("Reply STOP or END to opt out.", false),
            ("To opt out of messages like this one, reply to this message.", false),
            ("Responda STOP para darse de baja.", false),
            ("回复 STOP 退订。", false),
            ("To change it, reply to this message. Reply STOP to opt out.", true),
            ("Reply C to confirm or STOP to opt out.", true),
            ("Reply C to confirm, STOP to opt out.", true),
            ("请回复本消息。回复 STOP 退订。", true),
        ] {
            assert_eq!(has_reply(text), want, "{text}");
        }
    }

    #[test]
    fn public_shorteners_are_known_by_their_host() {
        assert_eq!(shortener("See https://bit.ly/abc"), Some("bit.ly"));
        assert_eq!(shortener("See www.tinyurl.com/abc"), Some("tinyurl.com"));
        assert_eq!(shortener("See https://habit.ly/x and https://t.com and https://at.co.uk"), None);
    }
}
