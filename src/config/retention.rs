//! `[retention]`: how long what has ended is kept.

use std::time::Duration;

use super::kind::Span;
use super::read::Section;

/// Ages at which texts and addresses are erased; `None`: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionSection {
    /// Data of jobs, explanations, rows of campaigns: since the message is final, the campaign over.
    pub messages: Option<Duration>,
    /// Where attempts went: since their message is final.
    pub attempts: Option<Duration>,
    /// What patients wrote, and from where: since it came.
    pub replies: Option<Duration>,
    /// Bodies that could not be accepted: since they were parked.
    pub rejected: Option<Duration>,
}

const DAY: Duration = Duration::from_secs(86_400);

impl RetentionSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let mut age = |key| s.optional(key, Span(DAY..=DAY * 36_500));
        Self {
            messages: age("messages"),
            attempts: age("attempts"),
            replies: age("replies"),
            rejected: age("rejected"),
        }
    }
}
