//! What a telephone sends when somebody has put a heart or a thumb beside a text: `Liked “...”`, with our own text in the
//! quotes. Our own text says STOP, and whom to call in an emergency: nobody has said either.
//!
//! The shapes are those in which iOS (Messages, "Tapback") and Android (Google Messages) put a reaction into words where
//! the other side has none, in English and Spanish. What is quoted is dropped; what stands behind it somebody has written.

use super::normalised;

/// What stands before the quoted text, as replies are read: of "Reacted 😂 to" that is "reacted to".
const LEADS: &[&str] = &[
    "liked",
    "loved",
    "disliked",
    "emphasized",
    "emphasised",
    "laughed at",
    "questioned",
    "reacted to",
    "reacted with a sticker to",
    "le gusto",
    "le ha gustado",
    "le encanto",
    "le ha encantado",
    "no le gusto",
    "no le ha gustado",
    "le dio risa",
    "se rio de",
    "exclamo por",
    "enfatizo",
    "destaco",
    "dudo sobre",
    "dudo de",
    "pregunto por",
    "reacciono con a",
    "reacciono con una pegatina a",
    "reacciono con un sticker a",
];
/// The same behind a picture alone: "👍 to".
const BEHIND_A_PICTURE: &[&str] = &["to", "a"];
/// A reaction is taken back: "Removed a heart from", "Quitó un corazón de".
const TAKEN_BACK: &[(&str, &str)] = &[
    ("removed", "from"),
    ("elimino", "de"),
    ("elimino", "a"),
    ("quito", "de"),
    ("quito", "a"),
    ("retiro", "de"),
];
/// Words that a reaction which is taken back has between these two at most.
const MOST_BETWEEN: usize = 4;
/// Each way to quote: how it opens, how it closes.
const QUOTES: &[(char, char)] = &[('\u{201c}', '\u{201d}'), ('"', '"'), ('\u{ab}', '\u{bb}')];

/// What somebody has written behind the reaction that `text` is, mostly nothing; `None`: it is no reaction.
pub(super) fn beside(text: &str) -> Option<&str> {
    let quotes = |c: char| QUOTES.iter().find(|(open, _)| *open == c);
    let (lead, (open, close), quoted) = text.char_indices().find_map(|(at, c)| {
        let quotes = quotes(c)?;
        Some((text.get(..at)?, *quotes, text.get(at + c.len_utf8()..)?))
    })?;
    is_lead(lead).then(|| behind(quoted, open, close))
}

fn is_lead(lead: &str) -> bool {
    let said = normalised(lead);
    let words: Vec<&str> = said.split(' ').collect();
    // Symbols, signs and pictographs; the dots, dashes and quotes that people write are none of these.
    let is_picture =
        |c: char| matches!(c, '\u{203c}' | '\u{2049}' | '\u{2100}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}');
    let is_taken_back = |(first, last): &(&str, &str)| {
        words.len() <= MOST_BETWEEN + 2 && words.first() == Some(first) && words.last() == Some(last)
    };
    LEADS.contains(&said.as_str())
        || (BEHIND_A_PICTURE.contains(&said.as_str()) && lead.chars().any(is_picture))
        || TAKEN_BACK.iter().any(is_taken_back)
}

/// What follows what is quoted. Our own text may have quotes in it; one that a carrier has cut has no end.
fn behind(quoted: &str, open: char, close: char) -> &str {
    let after = |at: usize| quoted.get(at + close.len_utf8()..).unwrap_or_default();
    let mut depth = 1_usize;
    for (at, c) in quoted.char_indices().filter(|_| open != close) {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
        }
        if depth == 0 {
            return after(at);
        }
    }
    quoted.rfind(close).map_or("", after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_ours_and_what_follows_is_theirs() {
        for (text, expected) in [
            ("Liked \u{201c}Reply STOP to opt out.\u{201d}", Some("")),
            ("Liked \"Reply \"1\" to confirm\"", Some("")),
            ("Loved \u{201c}Reply \u{201c}1\u{201d} to confirm\u{201d} STOP", Some(" STOP")),
            ("Liked \u{201c}Reply STOP to", Some("")),
            ("Liked \u{201c}a \u{201c}b\u{201d} stop", Some(" stop")),
            (
                "Liked \u{201c}Reply 1\u{201d} stop, I said \u{201c}no\u{201d}",
                Some(" stop, I said \u{201c}no\u{201d}"),
            ),
            (
                "  \u{200b}\u{1f44d}\u{200b} to \u{201c}\u{200b}Reply STOP\u{200b}\u{201d}\u{200b}",
                Some("\u{200b}"),
            ),
            ("\u{1f44d} a \u{ab}Responda ALTO\u{bb}", Some("")),
            ("\u{2764}\u{fe0f} to \u{201c}Reply STOP\u{201d}", Some("")),
            ("to \u{201c}Reply STOP\u{201d}", None),
            ("\u{2026} a \u{ab}. STOP", None),
            ("\u{2014} to \"Clinic\": STOP", None),
            ("I liked \u{201c}STOP\u{201d}", None),
            ("Liked it, stop", None),
            ("Removed a question mark from \"STOP\"", Some("")),
            ("Removed a red question mark from \"STOP\"", Some("")),
            ("Removed me and my three sons from \"STOP\"", None),
            ("\"STOP\"", None),
            ("", None),
        ] {
            assert_eq!(beside(text), expected, "{text}");
        }
    }

    #[test]
    fn the_leads_are_written_as_replies_are_read() {
        let ends = TAKEN_BACK.iter().flat_map(|(first, last)| [first, last]);
        for lead in LEADS.iter().chain(BEHIND_A_PICTURE).chain(ends) {
            assert_eq!(normalised(lead), *lead);
        }
    }
}
