//! Segments as the carrier counts them (3GPP TS 23.038): GSM-7 160/153 septets, UCS-2 70/67 units. Counted here
//! again and not shared with the worker, so that the two can disagree when one is wrong.

const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// How many segments the text takes, at least one.
pub(super) fn segments(text: &str) -> usize {
    match septets(text) {
        Some(lengths) => count(lengths, 160, 153),
        None => count(text.chars().map(char::len_utf16), 70, 67),
    }
}

fn septets(text: &str) -> Option<impl Iterator<Item = usize>> {
    // Plain English needs no table.
    let length = |c: char| match c {
        ' '..='Z' if c != '`' => Some(1),
        'a'..='z' => Some(1),
        _ if BASIC.contains(c) => Some(1),
        _ if EXTENDED.contains(c) => Some(2),
        _ => None,
    };
    text.chars()
        .all(|c| length(c).is_some())
        .then(|| text.chars().filter_map(length).collect::<Vec<_>>().into_iter())
}

/// A character of two units is never split between segments.
fn count(lengths: impl Iterator<Item = usize>, single: usize, part: usize) -> usize {
    let (mut total, mut parts, mut used) = (0, 1, 0);
    for length in lengths {
        total += length;
        if used + length > part {
            parts += 1;
            used = 0;
        }
        used += length;
    }
    if total <= single { 1 } else { parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_the_reference_calculator_does() {
        for (text, expect) in [
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            (format!("{}€", "x".repeat(152)), 1),
            ("é".repeat(160), 1),
            ("👍".repeat(35), 1),
            ("👍".repeat(36), 2),
            (format!("{}👍", "a".repeat(69)), 2),
            ("á".repeat(71), 2),
            (String::new(), 1),
        ] {
            assert_eq!(segments(&text), expect, "{} of {:?}", text.chars().count(), text.chars().next());
        }
    }
}
