//! The rules of single values. Each answers with the value, or with rule and cure.

use icu::locale::{Locale, LocaleCanonicalizer};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::place::Fault;

/// The longest email address (RFC 5321, 4.5.3.1.3, without its angle brackets).
const MAX_EMAIL: usize = 254;
/// The longest local part (RFC 5321, 4.5.3.1.1).
const MAX_LOCAL_PART: usize = 64;
/// Names of the zone database that are no place's: hours that are quiet by them are not those of the people who were meant.
const NOWHERE: &[&str] = &[
    "EST",
    "MST",
    "HST",
    "UTC",
    "UCT",
    "GMT",
    "GMT0",
    "GMT+0",
    "GMT-0",
    "Greenwich",
    "Universal",
    "Zulu",
    "Factory",
    "Etc/UTC",
    "Etc/UCT",
    "Etc/GMT",
    "Etc/Zulu",
    "Etc/Universal",
    "Etc/Greenwich",
    "Etc/Unknown",
];

/// 1 to `limit` characters, not all blank, no control characters: such a text can stand in a header, a row or a
/// line of speech without breaking it.
pub(super) fn text(text: &str, limit: usize) -> Result<String, Fault> {
    if text.trim().is_empty() {
        return Err(Fault::malformed("must not be empty", "leave the field out instead"));
    }
    if text.chars().count() > limit {
        return Err(Fault::malformed(format!("at most {limit} characters"), "shorten it"));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::malformed("must not hold control characters", "take out line breaks and tabs"));
    }
    Ok(text.to_owned())
}

/// An instant with its offset, as RFC 3339 writes it: `2026-11-28T09:00:00-06:00`.
///
/// # Errors
/// Another form, no offset, or an instant that does not exist.
pub fn timestamp(text: &str) -> Result<Timestamp, Fault> {
    const CURE: &str = "write it as 2026-11-28T09:00:00-06:00 or 2026-11-28T15:00:00Z";
    let form = || Fault::malformed("must be an RFC 3339 time", CURE);
    let (day_and_time, rest) = text.split_at_checked(19).ok_or_else(form)?;
    if !has_shape(day_and_time, "dddd-dd-ddTdd:dd:dd") {
        return Err(form());
    }
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=9).contains(&digits) {
                return Err(form());
            }
            fraction.get(digits..).unwrap_or_default()
        }
        None => rest,
    };
    if offset.is_empty() {
        return Err(Fault::malformed("a time needs its offset from UTC", CURE));
    }
    if offset != "Z" && !has_shape(offset, "+dd:dd") && !has_shape(offset, "-dd:dd") {
        return Err(form());
    }
    text.parse().map_err(|_| Fault::malformed("there is no such day or time", CURE))
}

/// A wall-clock time whose zone is not known yet: `2026-11-28T09:00`.
pub(super) fn local_time(text: &str) -> Result<DateTime, Fault> {
    const CURE: &str = "write it as 2026-11-28T09:00, without an offset";
    if !has_shape(text, "dddd-dd-ddTdd:dd") && !has_shape(text, "dddd-dd-ddTdd:dd:dd") {
        return Err(Fault::malformed("must be a local day and time", CURE));
    }
    text.parse().map_err(|_| Fault::malformed("there is no such day or time", CURE))
}

/// A calendar day: `1949-03-02`.
pub(super) fn date(text: &str) -> Result<Date, Fault> {
    const CURE: &str = "write it as year-month-day, such as 1949-03-02";
    if !has_shape(text, "dddd-dd-dd") {
        return Err(Fault::malformed("must be a calendar day", CURE));
    }
    text.parse().map_err(|_| Fault::malformed("there is no such day", CURE))
}

/// A wall-clock time of day: `20:00` or `20:00:30`.
///
/// # Errors
/// Another form, or a time that no day has.
pub fn time_of_day(text: &str) -> Result<Time, Fault> {
    const CURE: &str = "write it as 20:00, from 00:00 to 23:59";
    if !has_shape(text, "dd:dd") && !has_shape(text, "dd:dd:dd") {
        return Err(Fault::malformed("must be a time of day", CURE));
    }
    text.parse().map_err(|_| Fault::malformed("there is no such time of day", CURE))
}

/// A language tag (BCP-47), in its canonical spelling: `ES-us` and `spa-US` become `es-US`.
///
/// # Errors
/// A tag that is not well formed, or a language's name in place of its code.
pub fn language(text: &str) -> Result<String, Fault> {
    let fault = || {
        Fault::malformed(
            "must be a BCP-47 language tag",
            "write a code such as es, es-US or zh-Hant, with hyphens",
        )
    };
    let primary = text.split('-').next().unwrap_or_default();
    // Longer first parts are well formed, but none was ever registered: it is the language's name.
    if text.len() > 35 || text.contains('_') || !(2..=3).contains(&primary.len()) {
        return Err(fault());
    }
    let mut tag = Locale::try_from_str(text).map_err(|_| fault())?;
    LocaleCanonicalizer::new_extended().canonicalize(&mut tag);
    Ok(tag.to_string())
}

/// A zone of the IANA database, in its own spelling: `america/chicago` becomes `America/Chicago`.
///
/// # Errors
/// A name that the database does not hold.
pub fn zone(text: &str) -> Result<String, Fault> {
    let known = (text.len() <= 64).then(|| TimeZone::get(text).ok()).flatten();
    known
        .as_ref()
        .filter(|zone| !zone.is_unknown())
        .and_then(TimeZone::iana_name)
        .filter(|name| *name != "Factory")
        .map(str::to_owned)
        .ok_or_else(|| {
            Fault::malformed(
                "must be a zone of the IANA time zone database",
                "write it as America/Chicago; offsets and abbreviations do not know daylight saving",
            )
        })
}

/// The same of somebody's home: the zone of a place.
pub(super) fn home_zone(text: &str) -> Result<String, Fault> {
    let name = zone(text)?;
    if is_place(&name) {
        Ok(name)
    } else {
        Err(Fault::malformed(
            "must be the IANA zone of a place",
            "write it as America/New_York; abbreviations do not know daylight saving, and nobody lives by UTC",
        ))
    }
}

/// Whether a zone of the IANA database is one that somebody may live by.
#[must_use]
pub fn is_place(zone: &str) -> bool {
    !NOWHERE.contains(&zone)
}

/// An email address that every mail server takes: `local@domain` in ASCII (RFC 5321, dot-string form), the
/// domain in lower case.
///
/// # Errors
/// Another form: display names, quoted local parts, address literals, characters beyond ASCII.
pub fn email(text: &str) -> Result<String, Fault> {
    let form =
        || Fault::address("must be an email address", "write it as name@example.org, nothing around it");
    if !text.is_ascii() {
        return Err(Fault::address(
            "an email address holds ASCII characters only",
            "write an international domain in its xn-- form",
        ));
    }
    let (local, domain) = text.split_once('@').ok_or_else(form)?;
    if text.len() > MAX_EMAIL || !(1..=MAX_LOCAL_PART).contains(&local.len()) {
        return Err(form());
    }
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    };
    if !local.split('.').all(is_atom) || !is_domain(domain) {
        return Err(form());
    }
    Ok(format!("{local}@{}", domain.to_ascii_lowercase()))
}

/// At least two labels of letters, digits and hyphens; the last is no number.
fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = domain.rsplit('.').next().unwrap_or_default();
    domain.contains('.')
        && domain.split('.').all(is_label)
        && last.len() >= 2
        && !last.bytes().all(|b| b.is_ascii_digit())
}

/// A reference to a person in the portal: `Patient/42`, a FHIR resource type and id.
///
/// # Errors
/// Another form.
pub fn portal_reference(text: &str) -> Result<String, Fault> {
    let fits = text.split_once('/').is_some_and(|(kind, id)| {
        (1..=64).contains(&kind.len())
            && kind.bytes().all(|b| b.is_ascii_alphabetic())
            && (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
    });
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Fault::address("must be a portal reference", "write it as Patient/42: the kind, a slash, the id"))
    }
}

/// An ISO 3166-1 alpha-2 code, in upper case.
pub(super) fn country(text: &str) -> Result<String, Fault> {
    if text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic()) {
        Ok(text.to_ascii_uppercase())
    } else {
        Err(Fault::malformed("must be a two-letter country code (ISO 3166-1)", "write it as US or MX"))
    }
}

/// Whether `text` looks like `shape`, where `d` stands for a digit and all else for itself.
fn has_shape(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(b, s)| if s == b'd' { b.is_ascii_digit() } else { b == s })
}
