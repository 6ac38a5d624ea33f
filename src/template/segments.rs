//! How many segments an SMS takes (3GPP TS 23.038 for the alphabet, 23.040 for concatenation).
//!
//! One segment holds 160 septets of GSM-7 or 70 UTF-16 units of UCS-2. A longer text gives up six octets of each
//! segment to the user data header: 153 septets, or 67 units. One character outside GSM-7 turns the whole
//! message into UCS-2. Neither an escape pair nor a surrogate pair is split between two segments.

use crate::domain::words::words;

words! {
    /// The alphabet in which a text travels.
    Encoding { Gsm7 = "gsm7", Ucs2 = "ucs2" }
}

/// What a text costs on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Segments {
    pub encoding: Encoding,
    /// Septets for GSM-7 (the extension characters count two), UTF-16 units for UCS-2.
    pub units: u32,
    /// Parts that are sent and paid for; an empty text still takes one.
    pub segments: u32,
}

/// Counts the segments of `text`.
#[must_use]
pub fn segments(text: &str) -> Segments {
    match pack(text.chars().map(septets), 160, 153) {
        Some((units, segments)) => Segments { encoding: Encoding::Gsm7, units, segments },
        None => {
            let widths = text.chars().map(|c| Some(if c.len_utf16() == 2 { 2 } else { 1 }));
            let (units, segments) = pack(widths, 70, 67).unwrap_or((0, 1));
            Segments { encoding: Encoding::Ucs2, units, segments }
        }
    }
}

/// Whether every character of `text` is in the GSM-7 alphabet or its extension.
#[must_use]
pub(super) fn is_gsm7(text: &str) -> bool {
    text.chars().all(|c| septets(c).is_some())
}

/// Fills segments one character at a time; `None` when a character has no width in this alphabet.
fn pack(widths: impl Iterator<Item = Option<u32>>, single: u32, part: u32) -> Option<(u32, u32)> {
    let (mut units, mut parts, mut filled) = (0_u32, 1_u32, 0_u32);
    for width in widths {
        let width = width?;
        units = units.saturating_add(width);
        filled += width;
        if filled > part {
            parts = parts.saturating_add(1);
            filled = width;
        }
    }
    Some((units, if units <= single { 1 } else { parts }))
}

/// Septets of one character; `None` outside the alphabet.
const fn septets(c: char) -> Option<u32> {
    match c {
        '\u{c}' | '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' | '€' => Some(2),
        '`' | '\u{7f}' => None,
        '\n' | '\r' | ' '..='~' => Some(1),
        '£' | '¥' | 'è' | 'é' | 'ù' | 'ì' | 'ò' | 'Ç' | 'Ø' | 'ø' | 'Å' | 'å' | 'Δ' | 'Φ' | 'Γ' | 'Λ'
        | 'Ω' | 'Π' | 'Ψ' | 'Σ' | 'Θ' | 'Ξ' | 'Æ' | 'æ' | 'ß' | 'É' | '¤' | '¡' | 'Ä' | 'Ö' | 'Ñ' | 'Ü'
        | '§' | '¿' | 'ä' | 'ö' | 'ñ' | 'ü' | 'à' => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_texts_count_as_the_reference_counts_them() {
        use Encoding::{Gsm7, Ucs2};
        let curly = "“hi”".to_owned();
        let table = [
            ("a".repeat(160), Gsm7, 160, 1),
            ("a".repeat(161), Gsm7, 161, 2),
            ("a".repeat(306), Gsm7, 306, 2),
            ("a".repeat(307), Gsm7, 307, 3),
            ("€".repeat(80), Gsm7, 160, 1),
            ("€".repeat(81), Gsm7, 162, 2),
            ("a".repeat(152) + "€", Gsm7, 154, 1),
            ("é".repeat(160), Gsm7, 160, 1),
            ("👍".repeat(35), Ucs2, 70, 1),
            ("👍".repeat(36), Ucs2, 72, 2),
            ("a".repeat(69) + "👍", Ucs2, 71, 2),
            ("á".repeat(70), Ucs2, 70, 1),
            ("á".repeat(71), Ucs2, 71, 2),
            (curly, Ucs2, 4, 1),
            (String::new(), Gsm7, 0, 1),
        ];
        for (text, encoding, units, count) in table {
            let want = Segments { encoding, units, segments: count };
            assert_eq!(segments(&text), want, "{text}");
        }
    }

    #[test]
    fn a_pair_is_never_split() {
        // 152 septets leave room for one in the first part; the escape pair moves to the second as a whole.
        assert_eq!(segments(&("a".repeat(152) + "€" + &"a".repeat(152))).segments, 3);
        assert_eq!(segments(&("a".repeat(153) + "€" + &"a".repeat(151))).segments, 2);
        // 66 units leave room for one; the surrogate pair moves on.
        assert_eq!(segments(&("á".repeat(66) + "👍" + &"á".repeat(66))).segments, 3);
    }

    #[test]
    fn the_alphabet_is_the_standard_one() {
        for yes in "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà^{}\\[~]|€".chars()
        {
            assert!(septets(yes).is_some(), "{yes}");
        }
        for no in "áíóúêçć`“–…\u{a0}\0\t\u{7f}".chars() {
            assert!(septets(no).is_none(), "{no:?}");
        }
    }

    proptest! {
        #[test]
        fn parts_hold_all_units_and_no_fewer_parts_would(text in "\\PC{0,400}") {
            let s = segments(&text);
            let (single, part) = match s.encoding { Encoding::Gsm7 => (160, 153), Encoding::Ucs2 => (70, 67) };
            prop_assert_eq!(s.encoding == Encoding::Gsm7, is_gsm7(&text));
            if s.units <= single {
                prop_assert_eq!(s.segments, 1);
            } else {
                prop_assert!(s.segments * part >= s.units);
                // At most one unit is lost at the end of each part.
                prop_assert!((s.segments - 1) * (part - 1) < s.units);
            }
        }

        #[test]
        fn a_longer_text_never_takes_fewer(text in "[a-z€áéñ👍 ]{0,200}", more in "[a-z€áéñ👍 ]{0,200}") {
            let longer = format!("{text}{more}");
            prop_assert!(segments(&longer).segments >= segments(&text).segments);
        }
    }
}
