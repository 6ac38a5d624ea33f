//! `[log]`: how the program speaks to its operators. Never of patients.

use super::kind::{one_of, word};
use super::read::Section;
use crate::domain::words::words;

words! {
    /// How a log line looks.
    LogFormat { Json = "json", Pretty = "pretty" }
}

words! {
    /// The least severe line that is written.
    LogLevel { Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace" }
}

word!(LogFormat, LogLevel);

/// The log.
#[derive(Clone, Copy, Debug)]
pub struct LogSection {
    pub format: LogFormat,
    /// Of this program's own lines; those of its libraries are written from `warn` up.
    pub level: LogLevel,
}

impl LogSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self {
            format: s.or("format", one_of(), LogFormat::Json),
            level: s.or("level", one_of(), LogLevel::Info),
        }
    }
}
