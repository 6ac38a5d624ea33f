//! Telephone numbers as people write them, and E.164 as the ledger keeps them.
//!
//! How people punctuate is decided here; which digits make a number, and of what kind, in [`plan`].

mod plan;

use super::words::words;

/// The longest text that is read as a number.
const MAX_WRITTEN: usize = 64;

/// The country whose way of writing numbers applies: an ISO 3166-1 alpha-2 code with a numbering plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region([u8; 2]);

impl Region {
    /// The United States.
    pub const US: Self = Self(*b"US");

    /// Parses an ISO 3166-1 alpha-2 code in either case; `None` when it has no numbering plan.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        let code = code.to_ascii_uppercase();
        let bytes = <[u8; 2]>::try_from(code.as_bytes()).ok()?;
        (bytes.iter().all(u8::is_ascii_uppercase) && plan::knows(&code)).then_some(Self(bytes))
    }

    /// The code, in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Display for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

words! {
    /// What a number is, as far as its numbering plan tells.
    PhoneKind {
        FixedLine = "fixed_line",
        Mobile = "mobile",
        /// The plan does not tell the two apart, as in North America.
        FixedLineOrMobile = "fixed_line_or_mobile",
        TollFree = "toll_free",
        PremiumRate = "premium_rate",
        SharedCost = "shared_cost",
        PersonalNumber = "personal_number",
        Voip = "voip",
        Pager = "pager",
        /// A company's number for all its places.
        Uan = "uan",
        Voicemail = "voicemail",
    }
}

/// A number that can be dialled from anywhere. It is PHI: wrap what is kept of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Phone {
    /// E.164, with its plus.
    pub e164: String,
    /// What the plan says the number is.
    pub kind: PhoneKind,
    /// Keys to press after the call is answered, where they were written behind the number.
    pub extension: Option<String>,
}

impl std::fmt::Debug for Phone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Phone").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Why a text is not a telephone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhoneFault {
    /// `1.31E+10`: the digits are gone.
    #[error("a spreadsheet has rounded this number")]
    Rounded,
    #[error("a telephone number holds digits and ordinary punctuation only")]
    NotANumber,
    #[error("there is no such country calling code")]
    CountryCode,
    #[error("the number has too few digits")]
    TooShort,
    #[error("the number has too many digits")]
    TooLong,
    /// Right in length, but no such number is given out.
    #[error("no such number is given out")]
    NotAssigned,
}

impl PhoneFault {
    /// What to do about it; `region` is the one the number was read with.
    #[must_use]
    pub fn cure(self, region: Region) -> String {
        match self {
            Self::Rounded => "format the column as text and export it again".to_owned(),
            Self::NotANumber => format!("write it as +CCNNN… or the way it is dialled in {region}"),
            Self::CountryCode | Self::TooShort | Self::TooLong | Self::NotAssigned => format!(
                "write it with + and the country code; without one it is read as a number of {region}"
            ),
        }
    }
}

/// Reads `written` as it would be dialled in `region`, or anywhere when it begins with a plus.
///
/// Accepts ordinary punctuation, `tel:` (RFC 3966) and an extension (`;ext=12`, `ext. 12`, `x12`). Only numbers
/// that the plan gives out pass.
///
/// # Errors
/// The first rule that the text breaks.
pub fn parse(written: &str, region: Region) -> Result<Phone, PhoneFault> {
    if written.len() > MAX_WRITTEN {
        return Err(PhoneFault::TooLong);
    }
    if is_rounded(written) {
        return Err(PhoneFault::Rounded);
    }
    let (number, extension) = split_extension(written)?;
    let dialled = digits(number)?;
    let plan::Located { calling_code, national, kind } = plan::locate(&dialled, region.as_str())?;
    Ok(Phone { e164: format!("+{calling_code}{national}"), kind, extension })
}

/// As spreadsheets write numbers: `1.31E+10`, `1,31E10`, `13125550142.0`.
fn is_rounded(written: &str) -> bool {
    let written = written.trim();
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if written.strip_suffix(".0").or_else(|| written.strip_suffix(",0")).is_some_and(are_digits) {
        return true;
    }
    let Some((mantissa, exponent)) = written.split_once(['E', 'e']) else {
        return false;
    };
    let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
    !mantissa.is_empty()
        && mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b',')
        && exponent.len() <= 2
        && are_digits(exponent)
}

/// Parts the number from the keys to press once answered.
fn split_extension(written: &str) -> Result<(&str, Option<String>), PhoneFault> {
    let text = written.trim_matches(|c| matches!(c, ' ' | '\u{a0}'));
    let text = match text.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => text.get(4..).unwrap_or_default(),
        _ => text,
    };
    let Some(at) = text.find(|c: char| c.is_ascii_alphabetic() || matches!(c, ';' | '#')) else {
        return Ok((text, None));
    };
    let (number, rest) = text.split_at(at);
    let keys = [";ext=", "extension", "ext.", "ext", "x", "#"]
        .iter()
        .find_map(|mark| {
            let head = rest.get(..mark.len())?;
            head.eq_ignore_ascii_case(mark).then(|| rest.get(mark.len()..)).flatten()
        })
        .map(str::trim)
        .ok_or(PhoneFault::NotANumber)?;
    if (1..=8).contains(&keys.len()) && keys.bytes().all(|b| b.is_ascii_digit()) {
        Ok((number, Some(keys.to_owned())))
    } else {
        Err(PhoneFault::NotANumber)
    }
}

/// The digits in ASCII, after one plus where there was one.
fn digits(number: &str) -> Result<String, PhoneFault> {
    let mut out = String::with_capacity(16);
    for c in number.chars() {
        match c {
            '+' | '\u{ff0b}' if out.is_empty() => out.push('+'),
            ' ' | '-' | '.' | '(' | ')' | '/' | '[' | ']' | '~' => {}
            '\u{a0}' | '\u{ad}' | '\u{2000}'..='\u{200b}' | '\u{2010}'..='\u{2015}' => {}
            '\u{202f}' | '\u{2060}' | '\u{2212}' | '\u{3000}' | '\u{ff08}' | '\u{ff09}' | '\u{ff0d}' => {}
            _ => out.push(ascii_digit(c).ok_or(PhoneFault::NotANumber)?),
        }
    }
    match out.bytes().filter(u8::is_ascii_digit).count() {
        0 => Err(PhoneFault::NotANumber),
        1..=2 => Err(PhoneFault::TooShort),
        3..=20 => Ok(out),
        _ => Err(PhoneFault::TooLong),
    }
}

/// Digits of the scripts that number keyboards write.
fn ascii_digit(c: char) -> Option<char> {
    const ZEROS: [u32; 7] = [0x30, 0x660, 0x6f0, 0x966, 0x9e6, 0xe50, 0xff10];
    let zero = ZEROS.into_iter().find(|zero| (*zero..*zero + 10).contains(&u32::from(c)))?;
    char::from_digit(u32::from(c) - zero, 10)
}

/// The country that an E.164 number belongs to, where the numbering plan tells.
#[must_use]
pub fn region_of(e164: &str) -> Option<Region> {
    Region::parse(phonenumber::parse(None, e164).ok()?.country().id()?.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(written: &str, region: &str) -> Result<(String, &'static str, Option<String>), PhoneFault> {
        let phone = parse(written, Region::parse(region).unwrap())?;
        Ok((phone.e164, phone.kind.as_str(), phone.extension))
    }

    /// Answers checked against libphonenumber (its Python port, same metadata version).
    #[test]
    fn numbers_are_read_as_libphonenumber_reads_them() {
        for (written, region, e164, kind) in [
            ("+13125550142", "US", "+13125550142", "fixed_line_or_mobile"),
            ("(312) 555-0142", "US", "+13125550142", "fixed_line_or_mobile"),
            ("1-312-555-0142", "US", "+13125550142", "fixed_line_or_mobile"),
            ("312.555.0142", "US", "+13125550142", "fixed_line_or_mobile"),
            ("tel:+1-312-555-0142", "GB", "+13125550142", "fixed_line_or_mobile"),
            ("8002345678", "US", "+18002345678", "toll_free"),
            ("011 52 55 1234 5678", "US", "+525512345678", "fixed_line_or_mobile"),
            ("07911 123456", "GB", "+447911123456", "mobile"),
            ("+44 (0)20 7946 0018", "US", "+442079460018", "fixed_line"),
            // The zero belongs to the number in Italy and not in Germany.
            ("02 3661 8300", "IT", "+390236618300", "fixed_line"),
            ("+390236618300", "US", "+390236618300", "fixed_line"),
            ("030 123456", "DE", "+4930123456", "fixed_line"),
            // A 1 behind a foreign calling code is no trunk prefix, whatever the caller's own country does.
            ("+431234567890", "US", "+431234567890", "fixed_line"),
            ("+46193532592", "US", "+46193532592", "fixed_line"),
            ("+541123456789", "US", "+541123456789", "fixed_line"),
            ("011 15-2345-6789", "AR", "+5491123456789", "mobile"),
            ("(11) 96123-4567", "BR", "+5511961234567", "mobile"),
            ("091234 56789", "IN", "+919123456789", "mobile"),
            ("٠٩١٢٣٤٥٦٧٨٩", "IR", "+989123456789", "mobile"),
            ("＋１ ３１２ ５５５ ０１４２", "JP", "+13125550142", "fixed_line_or_mobile"),
        ] {
            assert_eq!(read(written, region), Ok((e164.to_owned(), kind, None)), "{written} in {region}");
        }
    }

    #[test]
    fn what_is_no_number_is_told_apart() {
        for (written, region, fault) in [
            ("", "US", PhoneFault::NotANumber),
            ("call me", "US", PhoneFault::NotANumber),
            ("+1 312 CALL NOW", "US", PhoneFault::NotANumber),
            ("3125550142\r\n", "US", PhoneFault::NotANumber),
            ("+1+3125550142", "US", PhoneFault::NotANumber),
            ("1.31E+10", "US", PhoneFault::Rounded),
            ("1,31e10", "US", PhoneFault::Rounded),
            ("3125550142.0", "US", PhoneFault::Rounded),
            (" 13125550142,0 ", "US", PhoneFault::Rounded),
            ("+0123456789", "US", PhoneFault::CountryCode),
            ("+999123456789", "US", PhoneFault::CountryCode),
            ("5550142", "US", PhoneFault::TooShort),
            ("911", "US", PhoneFault::TooShort),
            ("31255501421", "US", PhoneFault::TooLong),
            ("+1312555014212345678901", "US", PhoneFault::TooLong),
            ("+11125550142", "US", PhoneFault::NotAssigned),
            // A Mexican number that lost its plus.
            ("525512345678", "US", PhoneFault::TooLong),
        ] {
            assert_eq!(read(written, region), Err(fault), "{written}");
        }
    }

    #[test]
    fn extensions_are_keys_to_press_later() {
        for written in
            ["312-555-0142 x123", "312-555-0142 ext. 123", "3125550142#123", "+13125550142;ext=123"]
        {
            let (e164, _, keys) = read(written, "US").unwrap();
            assert_eq!((e164.as_str(), keys.as_deref()), ("+13125550142", Some("123")), "{written}");
        }
        assert_eq!(read("312-555-0142 x", "US"), Err(PhoneFault::NotANumber));
    }

    #[test]
    fn a_region_has_a_numbering_plan() {
        assert_eq!(Region::parse("us"), Some(Region::US));
        for bad in ["", "USA", "ZZ", "001", "U1", "ü"] {
            assert_eq!(Region::parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_it_does_not_panic(written in "\\PC{0,40}", digits in "[+0-9x ]{0,24}", region in "[A-Z]{2}") {
            if let Some(region) = Region::parse(&region) {
                let _ = parse(&written, region);
                if let Ok(phone) = parse(&digits, region) {
                    // What was read once is read the same everywhere.
                    let again = parse(&phone.e164, Region::US);
                    proptest::prop_assert_eq!(again.map(|p| p.e164), Ok(phone.e164));
                }
            }
        }
    }
}
