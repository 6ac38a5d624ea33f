//! What a message that was told as delivered comes to, when more is heard of one of its attempts.
//!
//! Only mail can come back after that: its relay calls delivered what another server has taken, and that server may yet
//! find that there is no such box ([`AttemptStatus::progress`]). Whoever sends texts knows the handset, and what it has
//! once acknowledged stays delivered, whatever is said later or out of order.
//!
//! The message stays `delivered`, for a status never falls: whoever acted on it has acted. What is true from now on is said
//! beside it: its event is told once more with the reason, people are called, and the plan goes on.
//!
//! | the attempt was, and is now | another attempt has arrived | another may have it | |
//! |---|---|---|---|
//! | delivered, undelivered | no | no | it came back, and its next way is due |
//! | delivered, undelivered | no | yes | it came back; what is under way is waited for |
//! | less, undelivered | no | no | the way after a mail that came back has failed as well: the next one is due |
//! | less, delivered | no | | it came back, and has arrived another way: told once more, without a reason |
//! | anything | yes | | nothing: somebody has it |

use crate::domain::status::AttemptStatus;

/// What follows for a message that was told as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Nothing,
    /// What was told is not true any more.
    CameBack {
        /// Nothing is under way that might be with them.
        next_way: bool,
    },
    /// It came back before; another way has failed since.
    NextWay,
    /// It came back before; now they have it.
    Arrived,
}

/// What follows from an attempt that `was` so and `is` so now, the message's `others` standing as they do.
#[must_use]
pub fn turn(was: AttemptStatus, is: AttemptStatus, others: &[AttemptStatus]) -> Turn {
    use AttemptStatus::{Delivered, Failed, Undelivered};
    if others.iter().any(|other| has_arrived(*other)) {
        return Turn::Nothing;
    }
    let gone = |other: &AttemptStatus| matches!(other, Failed | Undelivered);
    let next_way = others.iter().all(gone);
    match (was, is) {
        (Delivered, Undelivered) => Turn::CameBack { next_way },
        (Undelivered, Undelivered) => Turn::Nothing,
        (_, Undelivered) if next_way => Turn::NextWay,
        (_, Delivered) => Turn::Arrived,
        _ => Turn::Nothing,
    }
}

/// Whether a message that was told as delivered has come back since: of all its attempts none has arrived.
#[must_use]
pub fn is_back(attempts: impl IntoIterator<Item = AttemptStatus>) -> bool {
    let mut came_back = false;
    for attempt in attempts {
        if has_arrived(attempt) {
            return false;
        }
        came_back |= attempt == AttemptStatus::Undelivered;
    }
    came_back
}

const fn has_arrived(attempt: AttemptStatus) -> bool {
    matches!(attempt, AttemptStatus::Delivered | AttemptStatus::Read)
}

#[cfg(test)]
mod tests {
    use super::AttemptStatus::{Delivered, Failed, Read, Sending, Sent, Undelivered, Unknown};
    use super::*;

    #[test]
    fn what_was_delivered_and_comes_back_is_told_and_goes_on() {
        for (was, is, others, expected) in [
            (Delivered, Undelivered, &[][..], Turn::CameBack { next_way: true }),
            (Delivered, Undelivered, &[Failed, Undelivered], Turn::CameBack { next_way: true }),
            (Delivered, Undelivered, &[Undelivered, Sent], Turn::CameBack { next_way: false }),
            (Delivered, Undelivered, &[Sending], Turn::CameBack { next_way: false }),
            (Delivered, Undelivered, &[Unknown], Turn::CameBack { next_way: false }),
            (Delivered, Undelivered, &[Delivered], Turn::Nothing),
            (Delivered, Undelivered, &[Sent, Read], Turn::Nothing),
            // Told once: another reason for the same is no news.
            (Undelivered, Undelivered, &[], Turn::Nothing),
            // The ways after it.
            (Sent, Undelivered, &[Undelivered], Turn::NextWay),
            (Unknown, Undelivered, &[Undelivered], Turn::NextWay),
            (Sent, Undelivered, &[Undelivered, Sent], Turn::Nothing),
            (Sent, Undelivered, &[Delivered], Turn::Nothing),
            (Sent, Delivered, &[Undelivered], Turn::Arrived),
            (Undelivered, Delivered, &[Undelivered, Sent], Turn::Arrived),
            (Sent, Delivered, &[Delivered], Turn::Nothing),
            (Unknown, Sent, &[Undelivered], Turn::Nothing),
        ] {
            assert_eq!(turn(was, is, others), expected, "{was} -> {is}, beside {others:?}");
        }
    }

    #[test]
    fn it_is_back_until_something_arrives() {
        for (attempts, expected) in [
            (&[Undelivered][..], true),
            (&[Undelivered, Sent], true),
            (&[Undelivered, Undelivered], true),
            (&[Undelivered, Unknown, Failed], true),
            (&[Undelivered, Delivered], false),
            (&[Read], false),
            (&[Sent], false),
            (&[], false),
        ] {
            assert_eq!(is_back(attempts.iter().copied()), expected, "{attempts:?}");
        }
    }
}
