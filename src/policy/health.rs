//! When a contact is given up: what failures say of an address, and how many of them are enough.
//!
//! | failure | says |
//! |---|---|
//! | `bad_address`, whatever the code: 30005, 21211, 21614, 5.1.1, 5.1.10, SIP 404 ... | gone: there is no such number, box or patient |
//! | `landline`: 30006, 21635 | gone: it takes no texts |
//! | `unreachable` with code 30003 | silent: the handset is off, or out of reach |
//! | everything else | nothing: the text, the carrier, the provider or we were at fault |
//!
//! One failure proves nothing, carriers err. Two that say gone are enough if they are an hour apart, so that one bad
//! moment of a carrier counts once; of those that say silent it takes three, over two days at least, because handsets
//! are off for a night or a flight. What arrives in between wipes the slate, and after ninety days it is forgotten.
//! Source: Twilio's error dictionary, RFC 3463.

use jiff::{SignedDuration, Timestamp};

use crate::domain::failure::Failure;

/// Older failures count for nothing.
pub const MEMORY: SignedDuration = SignedDuration::from_hours(90 * 24);

/// (how many, over how long at least)
const GONE: (usize, SignedDuration) = (2, SignedDuration::from_hours(1));
const SILENT: (usize, SignedDuration) = (3, SignedDuration::from_hours(48));

/// What a failure says of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// There is no such address.
    Gone,
    /// Nobody is there, for now.
    Silent,
}

/// What this failure says of the address; `None`: nothing.
#[must_use]
pub fn sign(failure: Failure, code: Option<&str>) -> Option<Sign> {
    match (failure, code) {
        (Failure::BadAddress | Failure::Landline, _) => Some(Sign::Gone),
        (Failure::Unreachable, Some("30003")) => Some(Sign::Silent),
        _ => None,
    }
}

/// Whether an address with these failures, since something last arrived there, is to be given up.
#[must_use]
pub fn is_bad(failures: &[(Sign, Timestamp)], now: Timestamp) -> bool {
    let enough = |least: Sign, (count, over): (usize, SignedDuration)| {
        let times = failures.iter().filter(|(sign, at)| {
            (*sign == Sign::Gone || *sign == least) && now.duration_since(*at) <= MEMORY
        });
        let times: Vec<Timestamp> = times.map(|(_, at)| *at).collect();
        let span =
            times.iter().max().zip(times.iter().min()).map(|(last, first)| last.duration_since(*first));
        times.len() >= count && span.is_some_and(|span| span >= over)
    };
    enough(Sign::Gone, GONE) || enough(Sign::Silent, SILENT)
}

#[cfg(test)]
mod tests {
    use super::Sign::{Gone, Silent};
    use super::*;

    /// Hours before now.
    fn bad(failures: &[(Sign, i64)]) -> bool {
        let now = Timestamp::UNIX_EPOCH;
        let ago = |hours: i64| now - SignedDuration::from_hours(hours);
        is_bad(&failures.iter().map(|(sign, hours)| (*sign, ago(*hours))).collect::<Vec<_>>(), now)
    }

    #[test]
    fn it_takes_repeated_failures_over_some_time() {
        for (failures, expected) in [
            (&[][..], false),
            (&[(Gone, 0)], false),
            (&[(Gone, 0), (Gone, 0), (Gone, 0)], false),
            (&[(Gone, 0), (Gone, 1)], true),
            (&[(Gone, 1), (Gone, 0)], true),
            (&[(Silent, 0), (Silent, 100)], false),
            (&[(Silent, 0), (Silent, 1), (Silent, 2)], false),
            (&[(Silent, 0), (Silent, 24), (Silent, 48)], true),
            (&[(Silent, 0), (Gone, 24), (Silent, 48)], true),
            (&[(Gone, 0), (Silent, 24)], false),
            (&[(Gone, 0), (Gone, 91 * 24)], false),
        ] {
            assert_eq!(bad(failures), expected, "{failures:?}");
        }
    }

    #[test]
    fn only_the_address_is_blamed() {
        for (failure, code, expected) in [
            (Failure::BadAddress, Some("30005"), Some(Gone)),
            (Failure::BadAddress, Some("5.1.1"), Some(Gone)),
            (Failure::BadAddress, None, Some(Gone)),
            (Failure::Landline, Some("30006"), Some(Gone)),
            (Failure::Unreachable, Some("30003"), Some(Silent)),
            (Failure::Unreachable, Some("30008"), None),
            (Failure::Blocked, Some("30007"), None),
            (Failure::OptedOut, Some("21610"), None),
            (Failure::NoAnswer, None, None),
            (Failure::Transient, Some("5.2.2"), None),
            (Failure::Misconfigured, None, None),
        ] {
            assert_eq!(sign(failure, code), expected, "{failure} {code:?}");
        }
    }
}
