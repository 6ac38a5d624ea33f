//! How far a message or an attempt has come, and which moves are legal.
//!
//! A status is the **furthest progress** that is known. It never falls in rank, whatever the order in which
//! receipts come; work state (when to try next, who holds the lease) stands apart from it.

use super::words::{Channel, words};

words! {
    /// The furthest progress of a message.
    MessageStatus {
        /// In the ledger, nothing decided yet.
        Accepted = "accepted",
        /// Waits for its time.
        Scheduled = "scheduled",
        /// Waits for a reason that is named.
        Held = "held",
        /// An attempt has begun.
        Sending = "sending",
        /// A provider may or may not have taken it.
        Unknown = "unknown",
        /// A provider has taken it.
        Sent = "sent",
        /// Every route was tried.
        Failed = "failed",
        /// It reached the recipient's device or box.
        Delivered = "delivered",
        /// The recipient opened it in the portal, pressed a key, answered or acted on our page.
        Read = "read",
        /// A rule forbade it.
        Suppressed = "suppressed",
        /// Its time passed first.
        Expired = "expired",
        /// Its caller, or staff, took it back.
        Cancelled = "cancelled",
    }
}

impl MessageStatus {
    /// Progress as a number; the last three stand outside the ladder and have none.
    #[must_use]
    pub const fn rank(self) -> Option<u8> {
        match self {
            Self::Accepted | Self::Scheduled | Self::Held => Some(0),
            Self::Sending => Some(1),
            Self::Unknown => Some(2),
            Self::Sent => Some(3),
            Self::Failed => Some(4),
            Self::Delivered => Some(5),
            Self::Read => Some(6),
            Self::Suppressed | Self::Expired | Self::Cancelled => None,
        }
    }

    /// Whether the move to `next` is legal. `begun` says whether any attempt has begun whose outcome is not
    /// known to be "not sent": such a message can no longer be cancelled, suppressed or expired.
    #[must_use]
    pub const fn may_become(self, next: Self, begun: bool) -> bool {
        match (self.rank(), next.rank()) {
            (Some(0), Some(0)) => true,
            (Some(now), Some(then)) => then > now,
            (Some(0), None) => true,
            (Some(1), None) => !begun,
            (Some(_), None) | (None, _) => false,
        }
    }

    /// Nothing more will happen by itself. A sent message is final only where no receipt is awaited, which
    /// the ledger knows and the status alone does not.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Delivered | Self::Read | Self::Suppressed | Self::Expired | Self::Cancelled
        )
    }
}

words! {
    /// How one try over one route went. The order of declaration is the rank: the highest wins.
    AttemptStatus {
        /// Written down before the first byte went out.
        Sending = "sending",
        /// The provider may or may not have taken it.
        Unknown = "unknown",
        /// The provider has taken it.
        Sent = "sent",
        /// The provider has refused it, or it never left.
        Failed = "failed",
        /// The provider took it and could not deliver it.
        Undelivered = "undelivered",
        /// It arrived.
        Delivered = "delivered",
        /// It was opened.
        Read = "read",
    }
}

impl AttemptStatus {
    /// It has come to where it went, as far as its provider says.
    #[must_use]
    pub const fn has_come(self) -> bool {
        matches!(self, Self::Sent | Self::Delivered | Self::Read)
    }

    /// Progress over this channel as a number; the higher one stands, whatever came before. A mail that its relay calls
    /// delivered has reached the other side's server, which may yet send it back: there a bounce says more.
    #[must_use]
    pub const fn progress(self, channel: Channel) -> u8 {
        match (self, channel) {
            (Self::Undelivered, Channel::Email) => Self::Delivered as u8,
            (Self::Delivered, Channel::Email) => Self::Undelivered as u8,
            (status, _) => status as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_status_ever_falls() {
        for &from in MessageStatus::ALL {
            for &to in MessageStatus::ALL {
                if from.may_become(to, false)
                    && let (Some(a), Some(b)) = (from.rank(), to.rank())
                {
                    assert!(b > a || (a == 0 && b == 0), "{from} -> {to}");
                }
            }
        }
    }

    #[test]
    fn what_stands_outside_the_ladder_is_final() {
        for from in [MessageStatus::Suppressed, MessageStatus::Expired, MessageStatus::Cancelled] {
            for &to in MessageStatus::ALL {
                assert!(!from.may_become(to, false), "{from} -> {to}");
            }
        }
    }

    #[test]
    fn what_is_final_and_what_has_come_is_known_by_its_status() {
        use MessageStatus::{Cancelled, Delivered, Expired, Failed, Read, Suppressed};
        let over: Vec<MessageStatus> = MessageStatus::ALL.iter().copied().filter(|s| s.is_final()).collect();
        assert_eq!(over, [Failed, Delivered, Read, Suppressed, Expired, Cancelled]);
        let come: Vec<AttemptStatus> = AttemptStatus::ALL.iter().copied().filter(|s| s.has_come()).collect();
        assert_eq!(come, [AttemptStatus::Sent, AttemptStatus::Delivered, AttemptStatus::Read]);
    }

    #[test]
    fn a_message_under_way_cannot_be_taken_back() {
        assert!(MessageStatus::Sending.may_become(MessageStatus::Cancelled, false));
        assert!(!MessageStatus::Sending.may_become(MessageStatus::Cancelled, true));
        assert!(!MessageStatus::Unknown.may_become(MessageStatus::Cancelled, false));
    }

    #[test]
    fn a_bounce_says_more_than_a_server_that_took_a_mail() {
        for channel in Channel::ALL {
            let progress = |status: AttemptStatus| status.progress(*channel);
            let mut ranks: Vec<u8> = AttemptStatus::ALL.iter().map(|status| progress(*status)).collect();
            ranks.sort_unstable();
            assert_eq!(ranks, [0, 1, 2, 3, 4, 5, 6], "no two are alike");
            let bounced = progress(AttemptStatus::Undelivered) > progress(AttemptStatus::Delivered);
            assert_eq!(bounced, *channel == Channel::Email);
            assert!(progress(AttemptStatus::Read) > progress(AttemptStatus::Undelivered));
        }
    }
}
