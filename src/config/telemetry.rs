//! `[telemetry]`: traces for a collector (OpenTelemetry, OTLP over HTTP with protobuf).

use super::kind::{Share, text};
use super::read::Section;
use super::rules;
use super::secret::Secret;

/// Where spans go.
#[derive(Clone, Debug)]
pub struct TelemetrySection {
    /// The collector's address for traces, whole; `None`: nothing is traced.
    pub traces_url: Option<String>,
    /// The header `Authorization`, as the collector wants it.
    pub traces_authorization: Option<Secret>,
    /// The share of messages that is traced, from 0 to 1.
    pub traces_ratio: f64,
}

impl TelemetrySection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self {
            traces_url: s.optional("traces_url", text(rules::web_url)),
            traces_authorization: s.secret("traces_authorization"),
            traces_ratio: s.or("traces_ratio", Share, 1.0),
        }
    }
}
