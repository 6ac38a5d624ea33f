//! When a contact is given up: what failures say of an address, and how many of them are enough.
//!
//! | failure | says |
//! |---|---|
//! | `bad_address`, whatever other code: 30005, 21211, 21614, 5.1.1, 5.1.10, SIP 404 ... | gone: there is no such number, box or patient |
//! | `landline`: 30006, 21635 | gone: it takes no texts |
//! | `unreachable` with code 30003 | silent: the handset is off, or out of reach |
//! | `bad_address` with a reply code of SMTP alone: 550, 553 ... | nothing: a relay of ours may say it of every address |
//! | everything else | nothing: the text, the carrier, the provider or we were at fault |
//!
//! One failure proves nothing, carriers err. Two that say gone are enough if they are an hour apart, so that one bad
//! moment of a carrier counts once; of those that say silent it takes three, over two days at least, because handsets
//! are off for a night or a flight. What arrives in between wipes the slate, and after ninety days it is forgotten.
//!
//! What was found out is kept where the contact stands ([`keeping`]): in the record of whoever was written to, or, where the
//! job brought it along and no record of theirs has it, by the address alone, for every snapshot that brings it again. Of a
//! contact that has left the record since nothing is kept, and nobody is told: what stands there now is another one.
//! Source: Twilio's error dictionary, RFC 3463.

use jiff::{SignedDuration, Timestamp};

use crate::domain::failure::Failure;
use crate::domain::words::ContactStatus;

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
        (Failure::BadAddress, Some(code)) if is_bare_smtp(code) => None,
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

/// Where it is kept what was found out about a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    Record,
    /// By the address.
    Address,
}

/// Where it is kept that a contact was `found` so, which stands `on_record` as this (`None`: no record of theirs has it),
/// and which the job has `brought` along or not; `None`: it is known, or concerns nobody any more.
#[must_use]
pub fn keeping(found: ContactStatus, on_record: Option<ContactStatus>, brought: bool) -> Option<Keeping> {
    match on_record {
        Some(known) => is_news(found, known).then_some(Keeping::Record),
        None => brought.then_some(Keeping::Address),
    }
}

/// Whether it says more of a contact than what is `known`: that a number is somebody else's, than that it does not work.
#[must_use]
pub fn is_news(found: ContactStatus, known: ContactStatus) -> bool {
    known == ContactStatus::Ok || (known == ContactStatus::Bad && found == ContactStatus::Wrong)
}

/// Whether it is a permanent reply code without an enhanced one (RFC 3463). Codes of SIP that blame the number begin with
/// 4 or 6.
fn is_bare_smtp(code: &str) -> bool {
    code.len() == 3 && code.starts_with('5') && code.bytes().all(|b| b.is_ascii_digit())
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
            (&[(Gone, 0), (Gone, 90 * 24)], true),
            (&[(Gone, 0), (Gone, 91 * 24)], false),
        ] {
            assert_eq!(bad(failures), expected, "{failures:?}");
        }
    }

    #[test]
    fn what_was_found_out_is_kept_where_the_contact_stands() {
        use ContactStatus::{Bad, Ok, Reassigned, Wrong};
        for (found, on_record, brought, expected) in [
            (Bad, Some(Ok), false, Some(Keeping::Record)),
            (Bad, Some(Ok), true, Some(Keeping::Record)),
            (Wrong, Some(Bad), false, Some(Keeping::Record)),
            (Bad, Some(Bad), true, None),
            (Bad, Some(Wrong), true, None),
            (Wrong, Some(Reassigned), true, None),
            (Bad, None, true, Some(Keeping::Address)),
            (Wrong, None, true, Some(Keeping::Address)),
            (Bad, None, false, None),
            (Wrong, None, false, None),
        ] {
            let kept = keeping(found, on_record, brought);
            assert_eq!(kept, expected, "{found}, on record {on_record:?}, brought {brought}");
        }
    }

    #[test]
    fn only_the_address_is_blamed() {
        for (failure, code, expected) in [
            (Failure::BadAddress, Some("30005"), Some(Gone)),
            (Failure::BadAddress, Some("5.1.1"), Some(Gone)),
            (Failure::BadAddress, None, Some(Gone)),
            (Failure::BadAddress, Some("404"), Some(Gone)),
            (Failure::BadAddress, Some("604"), Some(Gone)),
            (Failure::BadAddress, Some("not-found"), Some(Gone)),
            (Failure::BadAddress, Some("550"), None),
            (Failure::BadAddress, Some("553"), None),
            (Failure::Landline, Some("30006"), Some(Gone)),
            (Failure::Unreachable, Some("30003"), Some(Silent)),
            (Failure::Unreachable, Some("30008"), None),
            (Failure::Blocked, Some("30007"), None),
            (Failure::OptedOut, Some("21610"), None),
            (Failure::NoAnswer, None, None),
            (Failure::Transient, Some("5.2.2"), None),
            (Failure::Misconfigured, None, None),
            (Failure::Rejected, Some("21612"), None),
            (Failure::NotSent, Some("30036"), None),
        ] {
            assert_eq!(sign(failure, code), expected, "{failure} {code:?}");
        }
    }
}
