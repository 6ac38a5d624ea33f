//! Why something did not get through, as it is kept with an attempt: what was answered when it was sent, or what a
//! receipt said of it later.

use super::outbound::FailureKind;
use super::words::{Reason, words};

words! {
    /// Why an attempt did not get through.
    Failure {
        Transient = "transient", Throttled = "throttled", Ambiguous = "ambiguous", BadAddress = "bad_address",
        OptedOut = "opted_out", Rejected = "rejected", Misconfigured = "misconfigured",
        /// Began, but the first byte did not leave in time; nothing was sent.
        NotSent = "not_sent",
        /// Taken, and the device or box could not be reached.
        Unreachable = "unreachable",
        /// Taken, and the number turned out to be one that takes no texts.
        Landline = "landline",
        /// Taken, and a carrier kept it back.
        Blocked = "blocked",
        /// Taken, and the mailbox had no room.
        MailboxFull = "mailbox_full",
        /// The call was not answered by anybody who could hear it.
        NoAnswer = "no_answer",
    }
}

impl Failure {
    /// What it says of the route that was given up.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::BadAddress => Reason::InvalidAddress,
            Self::OptedOut => Reason::OptedOut,
            Self::Rejected => Reason::ProviderRejected,
            Self::Misconfigured => Reason::ProviderMisconfigured,
            Self::Ambiguous => Reason::OutcomeUnknown,
            Self::Transient | Self::Throttled | Self::NotSent => Reason::ProviderUnavailable,
            Self::Unreachable => Reason::Unreachable,
            Self::Landline => Reason::Landline,
            Self::Blocked => Reason::CarrierBlocked,
            Self::MailboxFull => Reason::MailboxFull,
            Self::NoAnswer => Reason::NoAnswer,
        }
    }
}

impl Failure {
    /// Of two failures that are told of one attempt the weightier one counts, whichever comes first: what says most of
    /// the address, then of the mailbox, then of the carrier, then of us.
    #[must_use]
    pub const fn weight(self) -> u8 {
        match self {
            Self::NotSent => 0,
            Self::Ambiguous => 1,
            Self::Throttled => 2,
            Self::Transient => 3,
            Self::Misconfigured => 4,
            Self::Rejected => 5,
            Self::NoAnswer => 6,
            Self::Blocked => 7,
            Self::MailboxFull => 8,
            Self::Unreachable => 9,
            Self::Landline => 10,
            Self::BadAddress => 11,
            Self::OptedOut => 12,
        }
    }
}

impl From<FailureKind> for Failure {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Transient => Self::Transient,
            FailureKind::Throttled { .. } => Self::Throttled,
            FailureKind::Ambiguous => Self::Ambiguous,
            FailureKind::BadAddress => Self::BadAddress,
            FailureKind::OptedOut => Self::OptedOut,
            FailureKind::Rejected => Self::Rejected,
            FailureKind::Misconfigured => Self::Misconfigured,
        }
    }
}
