//! `[events]`: which statuses are told to whoever asked, and how results are posted by HTTP.

use std::time::Duration;

use super::fault::Broken;
use super::kind::{Int, Parsed, Span, one_of};
use super::read::Section;
use crate::domain::destination::Exception;
use crate::domain::status::MessageStatus;

/// Statuses that make an event, beside `sent` and the final ones.
#[derive(Clone, Debug)]
pub struct EventsSection {
    pub statuses: Vec<MessageStatus>,
    pub callbacks: CallbacksSection,
}

/// How every source's results are posted to its `callback_url`.
#[derive(Clone, Debug)]
pub struct CallbacksSection {
    /// What may be posted to although it is not the open internet, by plain HTTP as well.
    pub allow: Vec<Exception>,
    /// From the first byte of a request to the last of the answer's head.
    pub timeout: Duration,
    /// Requests under way at once to one receiver.
    pub in_flight: u32,
    /// Pause after an event's first failure; doubles with each further one.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
    /// An event that still fails so long after its first try is dead.
    pub give_up_after: Duration,
}

const EXCEPTION: Parsed<Exception> = Parsed {
    parse: |text| {
        Exception::parse(text).ok_or_else(|| {
            Broken::new(
                "must be a host, an address or a network",
                "write it as \"ehr.intranet\", \"10.20.0.7\" or \"10.20.0.0/16\", without scheme and port",
            )
        })
    },
    show: Exception::to_string,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

impl EventsSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self {
            statuses: s.list("statuses", one_of()).unwrap_or_default(),
            callbacks: s.section("callbacks", CallbacksSection::read),
        }
    }

    /// Whether a move to `status` makes an event.
    #[must_use]
    pub fn tells(&self, status: MessageStatus) -> bool {
        status == MessageStatus::Sent || status.is_final() || self.statuses.contains(&status)
    }
}

impl CallbacksSection {
    fn read(s: &mut Section<'_>) -> Self {
        let section = Self {
            allow: s.list("allow", EXCEPTION).unwrap_or_default(),
            timeout: s.or("timeout", Span(SECOND..=SECOND * 20), SECOND * 15),
            in_flight: s.or("in_flight", Int(1..=64), 8),
            first_pause: s.or("first_pause", Span(SECOND / 10..=HOUR), SECOND * 5),
            longest_pause: s.or("longest_pause", Span(SECOND..=DAY), HOUR),
            give_up_after: s.or("give_up_after", Span(SECOND..=DAY * 30), DAY * 3),
        };
        if section.longest_pause < section.first_pause {
            let rule = "must not be shorter than `first_pause`";
            s.fault("longest_pause", Broken::new(rule, "raise it, or lower `first_pause`"));
        }
        section
    }
}
