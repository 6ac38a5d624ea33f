//! The rules of texts: addresses of machines, languages, zones, numbers, names.

use std::net::IpAddr;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use reqwest::Url;

use super::fault::Broken;
use super::kind::Parsed;
use crate::domain::reader::is_place;

/// The longest line that a setting may hold, in characters.
const MAX_LINE: usize = 512;
/// The name before the @ has 64 octets (RFC 5321, 4.5.3.1.1), of which a mark takes 56.
const MAX_SHORT_NAME: usize = 8;

/// One line of text, not empty, without control characters.
pub(super) fn line(text: &str) -> Result<String, Broken> {
    let long = text.chars().count() > MAX_LINE;
    if text.trim().is_empty() || long || text.chars().any(char::is_control) {
        return Err(Broken::new(
            format!("must be one line of 1 to {MAX_LINE} characters"),
            "remove line breaks and control characters",
        ));
    }
    Ok(text.to_owned())
}

/// A path. Relative ones count from the working directory.
pub(super) const PATH: Parsed<PathBuf> =
    Parsed { parse: |text| line(text).map(PathBuf::from), show: |path| path.display().to_string() };

/// The zone of a place.
pub(super) const ZONE: Parsed<TimeZone> = Parsed { parse: zone, show: zone_name };

/// The zone of an organisation, which may count its days by UTC.
pub(super) const HOME_ZONE: Parsed<TimeZone> = Parsed {
    parse: |text| match text {
        "UTC" | "Etc/UTC" => Ok(TimeZone::UTC),
        text => zone(text),
    },
    show: zone_name,
};

fn zone(text: &str) -> Result<TimeZone, Broken> {
    let place = |zone: &TimeZone| zone.iana_name().is_some_and(is_place);
    TimeZone::get(text).ok().filter(place).ok_or_else(|| {
        Broken::new(
            "must be the IANA zone of a place",
            "write it as \"America/Chicago\"; abbreviations do not know daylight saving",
        )
    })
}

fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("UTC").to_owned()
}

/// BCP-47, in its canonical case.
pub(super) fn language(text: &str) -> Result<String, Broken> {
    icu::locale::LanguageIdentifier::try_from_str(text)
        .ok()
        .filter(|id| !id.language.is_unknown())
        .map(|id| id.to_string())
        .ok_or_else(|| {
            Broken::new("must be a BCP-47 language", "write it as \"en\", \"es-MX\" or \"zh-Hans\"")
        })
}

/// ISO 3166-1 alpha-2, one that has telephone numbers.
pub(super) fn region(text: &str) -> Result<String, Broken> {
    text.parse::<phonenumber::country::Id>()
        .ok()
        .filter(|_| text.len() == 2)
        .map(|id| id.as_ref().to_owned())
        .ok_or_else(|| {
            Broken::new("must be an ISO 3166-1 alpha-2 country", "write two capitals, such as \"US\"")
        })
}

/// A telephone number in full.
pub(super) fn e164(text: &str) -> Result<String, Broken> {
    let digits = text.strip_prefix('+').unwrap_or_default();
    if (7..=15).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0')
    {
        return Ok(text.to_owned());
    }
    Err(Broken::new("must be a number in E.164", "write + and the country code, such as \"+13125550100\""))
}

/// What an SMS may come from: a number, a short code, or up to 11 letters and digits with at least one letter.
pub(super) fn sms_sender(text: &str) -> Result<String, Broken> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let short_code = digits && (3..=8).contains(&text.len());
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ');
    let name = plain && !digits && (1..=11).contains(&text.len()) && text.trim() == text;
    if short_code || name || e164(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err(Broken::new(
        "must be a number in E.164, a short code, or a sender name of up to 11 letters and digits",
        "write it as \"+13125550100\", \"55512\" or \"LAKESIDE\"",
    ))
}

/// `Name <address>` or an address (RFC 5322).
pub(super) fn mailbox(text: &str) -> Result<String, Broken> {
    line(text)?
        .parse::<lettre::message::Mailbox>()
        .map(|_| text.to_owned())
        .map_err(|_| Broken::new("must be an email address", "write \"Name <address>\" or the address alone"))
}

/// A bare email address (RFC 5321).
pub(super) fn email(text: &str) -> Result<String, Broken> {
    text.parse::<lettre::Address>().map(|_| text.to_owned()).map_err(|_| {
        Broken::new("must be a bare email address", "write it without a name, such as \"a@example.org\"")
    })
}

/// A bare email address, in ASCII, whose name leaves room for a mark behind it.
pub(super) fn short_email(text: &str) -> Result<String, Broken> {
    let address = email(text)?;
    let name = text.rsplit_once('@').map_or("", |(name, _)| name);
    if name.len() <= MAX_SHORT_NAME
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    {
        return Ok(address);
    }
    let rule = format!("must have a name of 1 to {MAX_SHORT_NAME} letters and digits before the @");
    Err(Broken::new(rule, "a mark is put behind it: write it as \"bounces@example.org\""))
}

/// A FHIR reference, such as `Organization/7`.
pub(super) fn fhir_reference(text: &str) -> Result<String, Broken> {
    let id = |part: &str| {
        (1..=64).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
    };
    match text.split_once('/') {
        Some((kind, rest))
            if id(rest) && !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphabetic()) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(Broken::new("must be a FHIR reference", "write it as \"Organization/7\"")),
    }
}

/// A host: a name of dotted labels or an IP address.
pub(super) fn host(text: &str) -> Result<String, Broken> {
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(label)) {
        return Ok(text.to_owned());
    }
    Err(Broken::new("must be a host name or an IP address", "leave out scheme, port and path"))
}

/// Whether a host is this machine itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// An address on the web: https, or http to this machine; no user, no query; without a slash at the end.
pub(super) fn web_base(text: &str) -> Result<String, Broken> {
    let url = web(text)?;
    if url.query().is_some() {
        return Err(Broken::new("must have no query", "remove everything from the ? on"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// An address on the web: https, or http to this machine; no user, no fragment.
pub(super) fn web_url(text: &str) -> Result<String, Broken> {
    web(text).map(|_| text.to_owned())
}

/// Where results are posted. Whether it may be posted to depends on `[events.callbacks] allow` and is judged with it.
pub(super) fn callback_url(text: &str) -> Result<String, Broken> {
    let url = any_web(text)?;
    if url.fragment().is_some() {
        return Err(Broken::new("must have no fragment", "remove everything from the # on"));
    }
    Ok(url.into())
}

fn any_web(text: &str) -> Result<Url, Broken> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| Broken::new("must be a web address", "write it as \"https://host/path\""))
}

fn web(text: &str) -> Result<Url, Broken> {
    let url = any_web(text)?;
    if url.scheme() == "http" && !url.host_str().is_some_and(is_loopback) {
        return Err(Broken::new(
            "must be https: patients' data goes there",
            "write https://; http serves loopback only",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Broken::new(
            "must hold no user or password",
            "give the credentials in settings of their own",
        ));
    }
    if url.fragment().is_some() {
        return Err(Broken::new("must have no fragment", "remove everything from the # on"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Result<String, Broken>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(rule(text).is_ok(), "{text}");
        }
        for text in bad {
            assert!(rule(text).is_err(), "{text}");
        }
    }

    #[test]
    fn texts_keep_their_rules() {
        check(line, &["Lakeside Health"], &["", "  ", "a\nb", "a\0b", &"x".repeat(513)]);
        check(language, &["en", "es-MX", "zh-Hans", "ht"], &["", "english please", "und", "e"]);
        check(region, &["US", "DE"], &["", "us1", "USA", "XX", "840"]);
        check(e164, &["+13125550100"], &["13125550100", "+1", "+0312555010", "+1 312 555 0100", ""]);
        check(
            sms_sender,
            &["+13125550100", "55512", "LAKESIDE"],
            &["", "12", "123456789", "A name too long", "A_B"],
        );
        check(
            mailbox,
            &["Lakeside <a@example.org>", "a@example.org"],
            &["", "Lakeside", "a@b@c", "a@example.org\r\nBcc: x@y.z"],
        );
        check(email, &["a@example.org"], &["A <a@example.org>", "a", ""]);
        check(
            host,
            &["smtp.example.org", "127.0.0.1", "::1", "db"],
            &["", "a b", "https://x", "x/y", "x:25"],
        );
        check(
            web_base,
            &["https://api.example.org", "http://127.0.0.1:9000/x", "http://[::1]:9/", "http://localhost"],
            &[
                "http://api.example.org",
                "https://u:p@example.org",
                "https://e.org/?a=1",
                "ftp://e.org",
                "e.org",
                "",
            ],
        );
    }

    #[test]
    fn this_machine_is_known_by_its_name_and_its_addresses() {
        for here in ["localhost", "LocalHost", "127.0.0.1", "127.8.0.1", "::1", "[::1]"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in ["", "localhost.example.org", "127.0.0.1.example.org", "10.0.0.1", "[::2]"] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_language_is_kept_in_its_canonical_case() {
        assert_eq!(language("ES-mx").unwrap(), "es-MX");
    }

    #[test]
    fn a_zone_is_one_of_the_database_and_a_place() {
        for rule in [ZONE, HOME_ZONE] {
            assert_eq!((rule.show)(&(rule.parse)("america/chicago").unwrap()), "America/Chicago");
            for bad in ["", "Chicago", "UTC+1", "Mars/Olympus", "EST", "hst", "GMT", "Etc/GMT"] {
                assert!((rule.parse)(bad).is_err(), "{bad}");
            }
        }
        for utc in ["UTC", "Etc/UTC"] {
            assert!((ZONE.parse)(utc).is_err(), "{utc}");
            assert_eq!((HOME_ZONE.show)(&(HOME_ZONE.parse)(utc).unwrap()), "UTC");
        }
    }
}
