//! Smart encoding: the same words in characters that GSM-7 has, so that one curly quote does not double the
//! price of a message.

use crate::domain::words::words;

use super::segments::is_gsm7;

words! {
    /// How an SMS text is fitted to the alphabets of the network.
    Alphabet {
        /// Typography gives way where that makes the whole text GSM-7; otherwise the text stays as written, while that
        /// takes no more segments than it may.
        Auto = "auto",
        /// Typography and accents give way (`á` becomes `a`); what still does not fit stays.
        Gsm7 = "gsm7",
        /// As written, whatever it costs.
        Ucs2 = "ucs2",
    }
}

/// `text` as `alphabet` wants it.
#[must_use]
pub(super) fn fit(text: String, alphabet: Alphabet) -> String {
    if alphabet == Alphabet::Ucs2 || is_gsm7(&text) {
        return text;
    }
    let plain = map(&text, typography);
    match alphabet {
        Alphabet::Auto if is_gsm7(&plain) => plain,
        Alphabet::Gsm7 => map(&plain, |c| if is_gsm7(c.encode_utf8(&mut [0; 4])) { None } else { accent(c) }),
        Alphabet::Auto | Alphabet::Ucs2 => text,
    }
}

fn map(text: &str, replace: impl Fn(char) -> Option<&'static str>) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match replace(c) {
            Some(new) => out.push_str(new),
            None => out.push(c),
        }
    }
    out
}

/// The plain twin of a typographic character.
const fn typography(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}' | '\u{2032}' | '\u{2bc}' | '\u{b4}' | '`' => "'",
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{201f}' | '\u{2033}' | '«' | '»' => "\"",
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ad}' => "-",
        '\u{2026}' => "...",
        '\u{2022}' | '\u{b7}' => "-",
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\t' => " ",
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => "",
        '\u{2044}' => "/",
        '\u{2039}' => "<",
        '\u{203a}' => ">",
        _ => return None,
    })
}

/// The base letter of an accented Latin one that GSM-7 lacks.
const fn accent(c: char) -> Option<&'static str> {
    Some(match c {
        'á' | 'â' | 'ã' | 'ā' | 'ă' | 'ą' | 'ª' => "a",
        'Á' | 'À' | 'Â' | 'Ã' | 'Ā' | 'Ă' | 'Ą' => "A",
        'ç' | 'ć' | 'č' => "c",
        'Ć' | 'Č' => "C",
        'ď' | 'đ' => "d",
        'Ď' | 'Đ' => "D",
        'ê' | 'ë' | 'ē' | 'ę' | 'ě' => "e",
        'È' | 'Ê' | 'Ë' | 'Ē' | 'Ę' | 'Ě' => "E",
        'ğ' => "g",
        'Ğ' => "G",
        'í' | 'î' | 'ï' | 'ī' | 'ı' => "i",
        'Í' | 'Ì' | 'Î' | 'Ï' | 'Ī' | 'İ' => "I",
        'ł' => "l",
        'Ł' => "L",
        'ń' | 'ň' => "n",
        'Ń' | 'Ň' => "N",
        'ó' | 'ô' | 'õ' | 'ō' | 'ő' | 'º' => "o",
        'Ó' | 'Ò' | 'Ô' | 'Õ' | 'Ō' | 'Ő' => "O",
        'ř' => "r",
        'Ř' => "R",
        'ś' | 'š' | 'ş' | 'ș' => "s",
        'Ś' | 'Š' | 'Ş' | 'Ș' => "S",
        'ť' | 'ţ' | 'ț' => "t",
        'Ť' | 'Ţ' | 'Ț' => "T",
        'ú' | 'û' | 'ū' | 'ů' | 'ű' => "u",
        'Ú' | 'Ù' | 'Û' | 'Ū' | 'Ů' | 'Ű' => "U",
        'ý' | 'ÿ' => "y",
        'Ý' | 'Ÿ' => "Y",
        'ź' | 'ż' | 'ž' => "z",
        'Ź' | 'Ż' | 'Ž' => "Z",
        'œ' => "oe",
        'Œ' => "OE",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typography_gives_way_only_where_it_saves_something() {
        let table = [
            (Alphabet::Auto, "“It’s at 3\u{202f}PM – don’t be late…”", "\"It's at 3 PM - don't be late...\""),
            (Alphabet::Auto, "“Mañana a las 3”", "\"Mañana a las 3\""),
            (Alphabet::Auto, "“Su próxima cita”", "“Su próxima cita”"),
            (Alphabet::Auto, "您好…", "您好…"),
            (Alphabet::Gsm7, "“Su próxima cita, señor Núñez”", "\"Su proxima cita, señor Nuñez\""),
            (Alphabet::Gsm7, "您好…", "您好..."),
            (Alphabet::Ucs2, "It’s", "It’s"),
        ];
        for (alphabet, text, want) in table {
            assert_eq!(fit(text.to_owned(), alphabet), want, "{alphabet} {text}");
        }
    }
}
