//! What is needed of a certificate (X.509, RFC 5280): the key that it names, and when it holds. Who has issued it is not
//! asked: it is fetched over TLS from the one host that may speak for the topic.

use jiff::Timestamp;
use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
/// `rsaEncryption` (RFC 8017), as it stands in a SubjectPublicKeyInfo.
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// A public key, and when it may be used.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// DER of a SubjectPublicKeyInfo, of an RSA key.
    pub(super) key: Vec<u8>,
    from: Timestamp,
    until: Timestamp,
}

impl Certificate {
    /// Reads PEM; `None` where it is no certificate of an RSA key.
    pub(super) fn from_pem(pem: &[u8]) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem).ok()?;
        let (whole, _) = take(&der, SEQUENCE)?;
        let (mut to_be_signed, _) = take(whole.content, SEQUENCE)?;
        // version, which may be left out, serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
        let mut rest = to_be_signed.content;
        rest = take(rest, VERSION).map_or(rest, |(_, rest)| rest);
        let mut validity = None;
        for (at, tag) in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE].into_iter().enumerate() {
            (to_be_signed, rest) = take(rest, tag)?;
            if at == 3 {
                validity = Some(to_be_signed.content);
            }
        }
        let (key, _) = take(rest, SEQUENCE)?;
        let (algorithm, _) = take(key.content, SEQUENCE)?;
        let (from, rest) = time(validity?)?;
        let (until, _) = time(rest)?;
        algorithm.content.starts_with(RSA).then(|| Self { key: key.whole.to_vec(), from, until })
    }

    /// Whether it holds at this moment.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        (self.from..=self.until).contains(&now)
    }
}

/// One value of DER.
#[derive(Clone, Copy)]
struct Element<'a> {
    whole: &'a [u8],
    content: &'a [u8],
}

/// The value at the start of `der`, where it has this tag, and what follows it.
fn take(der: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    let [found, first, ..] = *der else { return None };
    let more = usize::from(first & 0x7f);
    let (head, length) = match first {
        0..=0x7f => (2, usize::from(first)),
        0x81..=0x83 => {
            let bytes = der.get(2..2 + more)?;
            (2 + more, bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)))
        }
        _ => return None,
    };
    let (whole, rest) = der.split_at_checked(head + length)?;
    (found == tag).then_some((Element { whole, content: whole.get(head..)? }, rest))
}

/// `YYMMDDHHMMSSZ` up to 2049, `YYYYMMDDHHMMSSZ` after it (RFC 5280, 4.1.2.5).
fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (years, (element, rest)) =
        take(der, UTC_TIME).map(|found| (2, found)).or_else(|| Some((4, take(der, GENERALIZED_TIME)?)))?;
    let text = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    let (year, rest_of_it) = text.split_at_checked(years)?;
    let year: i16 = year.parse().ok()?;
    let year = match (years, year) {
        (2, 50..) => 1900 + year,
        (2, _) => 2000 + year,
        _ => year,
    };
    let two = |at: usize| rest_of_it.get(at..at + 2)?.parse::<i8>().ok();
    let (month, day) = (two(0)?, two(2)?);
    let whole = rest_of_it.len() == 10 && (1..=12).contains(&month);
    let day = (whole && (1..=date(year, month, 1).days_in_month()).contains(&day)).then_some(day)?;
    let moment = DateTime::new(year, month, day, two(4)?, two(6)?, two(8)?, 0).ok()?;
    Some((moment.to_zoned(TimeZone::UTC).ok()?.timestamp(), rest))
}

#[cfg(test)]
mod tests {
    use super::super::tests::fixture;
    use super::*;

    #[test]
    fn a_certificate_tells_its_key_and_its_time() {
        let certificate = Certificate::from_pem(fixture("certificate").as_bytes()).unwrap();
        for (at, expected) in [
            ("2026-11-26T12:10:21Z", false),
            ("2026-11-26T12:10:22Z", true),
            ("2046-11-21T12:10:22Z", true),
            ("2046-11-21T12:10:23Z", false),
        ] {
            assert_eq!(certificate.holds(at.parse().unwrap()), expected, "{at}");
        }
        assert!(Certificate::from_pem(fixture("elliptic").as_bytes()).is_none());
    }

    #[test]
    fn whatever_is_cut_or_changed_is_read_or_refused() {
        let pem = fixture("certificate");
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let armoured = |der: &[u8]| {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
        };
        for length in 0..der.len() {
            assert!(Certificate::from_pem(armoured(&der[..length]).as_bytes()).is_none(), "{length}");
            let mut changed = der.to_vec();
            changed[length] ^= 0x81;
            // No more is asked than that it ends.
            let _ = Certificate::from_pem(armoured(&changed).as_bytes());
        }
        for bad in ["", "-----BEGIN CERTIFICATE-----", "no certificate"] {
            assert!(Certificate::from_pem(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn times_are_read_in_both_forms() {
        let read = |tag: u8, text: &str| {
            let der = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            time(&der).map(|(at, _)| at.to_string())
        };
        for (tag, text, expected) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "20500229000000Z", None),
            (GENERALIZED_TIME, "20520229000000Z", Some("2052-02-29T00:00:00Z")),
            (UTC_TIME, "4912312359Z", None),
            (UTC_TIME, "491331235959Z", None),
            (INTEGER, "491231235959Z", None),
        ] {
            assert_eq!(read(tag, text).as_deref(), expected, "{text}");
        }
    }
}
