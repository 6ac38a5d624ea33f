//! `[console]`: how long people stay signed in.

use std::time::Duration;

use super::fault::Broken;
use super::kind::Span;
use super::read::Section;

/// When a session ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsoleSection {
    /// Without a request for so long.
    pub idle: Duration,
    /// In any case after so long.
    pub session: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

impl ConsoleSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let section = Self {
            idle: s.or("idle", Span(MINUTE..=HOUR * 8), MINUTE * 30),
            session: s.or("session", Span(MINUTE..=HOUR * 24), HOUR * 12),
        };
        if section.session < section.idle {
            let rule = "must not be shorter than `idle`";
            s.fault("session", Broken::new(rule, "raise it, or lower `idle`"));
        }
        section
    }
}
