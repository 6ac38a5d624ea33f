//! `[retention]`: how long what has ended is kept.

use std::time::Duration;

use super::fault::Broken;
use super::kind::Span;
use super::read::Section;

/// Ages at which texts and addresses are erased, and later whole rows; `None`: never.
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
    /// Events that were published, whole: since they were told.
    pub events: Option<Duration>,
    /// Messages with all that hangs on them, replies, mended rejects, campaigns, whole: since they ended. A job that comes
    /// again later is a new job.
    pub rows: Option<Duration>,
}

const DAY: Duration = Duration::from_secs(86_400);
/// Charts are kept for two days, and whoever lost the stream of events comes back sooner.
const LEAST_EVENTS: Duration = Duration::from_secs(7 * 86_400);
/// No cap, no guard, no look-up and no recovery looks back further; the way out in a message has to work for thirty days
/// (15 USC 7704(a)(3)), in Canada for sixty (SC 2010 c. 23, 11(2)).
pub const LEAST_ROWS: Duration = Duration::from_secs(90 * 86_400);
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

impl RetentionSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let mut age = |key, least| s.optional(key, Span(least..=LONGEST));
        let section = Self {
            messages: age("messages", DAY),
            attempts: age("attempts", DAY),
            replies: age("replies", DAY),
            rejected: age("rejected", DAY),
            events: age("events", LEAST_EVENTS),
            rows: age("rows", LEAST_ROWS),
        };
        section.check(s);
        section
    }

    /// Whole rows go last.
    fn check(&self, s: &Section<'_>) {
        let Some(rows) = self.rows else { return };
        for (key, age) in [
            ("messages", self.messages),
            ("attempts", self.attempts),
            ("replies", self.replies),
            ("rejected", self.rejected),
            ("events", self.events),
        ] {
            if age.is_some_and(|age| age > rows) {
                let rule = format!("must not be shorter than `{key}`");
                s.fault("rows", Broken::new(rule, format!("raise it, or lower `{key}`")));
            }
        }
    }
}
