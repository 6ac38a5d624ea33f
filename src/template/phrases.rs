//! Finds, in the languages we know, the few phrases on which carriers and the law insist.
//!
//! These are searches for words, not understanding: they catch the common mistake and say where to look.

/// Words that carriers, providers and the FCC's list (47 CFR 64.1200(a)(10)) take as an opt-out when they are the
/// whole of a reply.
const STOP_WORDS: &[&str] = &[
    "STOP",
    "STOPALL",
    "STOP ALL",
    "END",
    "QUIT",
    "CANCEL",
    "UNSUBSCRIBE",
    "REVOKE",
    "OPTOUT",
    "OPT OUT",
    "OPT-OUT",
    "REMOVE",
    "ARRET",
];

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

/// Whether the text asks for an answer.
pub(super) fn has_reply(text: &str) -> bool {
    contains_any(&text.to_lowercase(), REPLY)
}

/// Whether the text says how to end such messages.
pub(super) fn has_opt_out(text: &str) -> bool {
    contains_any(&text.to_lowercase(), OPT_OUT)
}

/// A stop word that is offered as an answer to something else than ending the messages.
pub(super) fn offered_stop_word(text: &str) -> Option<&'static str> {
    sentences(text).find_map(|sentence| {
        let lower = sentence.to_lowercase();
        if !contains_any(&lower, REPLY) || contains_any(&lower, OPT_OUT) {
            return None;
        }
        STOP_WORDS.iter().copied().find(|word| is_offered(sentence, &lower, word))
    })
}

/// The word stands in capitals or quotes, or right after the word that asks for the answer.
fn is_offered(sentence: &str, lower: &str, word: &str) -> bool {
    let small = word.to_lowercase();
    whole_words(sentence, word)
        || ["\"", "'", "“", "‘", "«", "「"].iter().any(|quote| lower.contains(&format!("{quote}{small}")))
        || REPLY.iter().any(|reply| {
            lower.split(reply).skip(1).any(|rest| {
                rest.trim_start().strip_prefix(small.as_str()).is_some_and(|after| !starts_with_letter(after))
            })
        })
}

fn whole_words(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        let after = text.get(at + word.len()..).unwrap_or_default();
        !before.is_some_and(char::is_alphanumeric) && !starts_with_letter(after)
    })
}

fn starts_with_letter(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric())
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
            ("Reply stop to cancel your visit.", Some("STOP")),
            ("To cancel or move it, call us or reply.", None),
            ("Responda CANCEL para anular la cita.", Some("CANCEL")),
            ("Responda STOP para no recibir más mensajes.", None),
            ("回复 END 取消预约。", Some("END")),
            ("回复 STOP 退订。", None),
            ("Reply \"quit\" if you cannot come.", Some("QUIT")),
            ("Reply ENDOSCOPY for details.", None),
            ("The visit will END at 3 PM. Reply YES.", None),
        ];
        for (text, want) in table {
            assert_eq!(offered_stop_word(text), want, "{text}");
        }
    }

    #[test]
    fn public_shorteners_are_known_by_their_host() {
        assert_eq!(shortener("See https://bit.ly/abc"), Some("bit.ly"));
        assert_eq!(shortener("See www.tinyurl.com/abc"), Some("tinyurl.com"));
        assert_eq!(shortener("See https://habit.ly/x and https://t.com and https://at.co.uk"), None);
    }
}
