//! The log: JSON or pretty, on standard error, without the chatter of libraries, some of which print frames and
//! bodies at their lower levels.

use std::io::{self, IsTerminal};

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::Failure;
use crate::config::log::{LogFormat, LogSection};

/// Overrides the level: `debug`, or by module, such as `outreachd::broker=debug`.
const VARIABLE: &str = "OUTREACHD_LOG";

/// Starts logging. A second start in one process changes nothing.
///
/// # Errors
/// The variable cannot be read.
pub(super) fn start(log: LogSection) -> Result<(), Failure> {
    let filter = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(text).map_err(|_| {
            let cure = "write a level such as `debug`, or `outreachd::broker=debug`";
            Failure::said(format!("{VARIABLE} is not a filter"), cure)
        })?,
        // The broker's library calls it an error when we ask whether a queue exists; our own lines tell of outages.
        _ => EnvFilter::new(format!("warn,lapin=off,outreachd={}", log.level)),
    };
    let filter = filter.and(filter_fn(is_fit_to_print));
    let layer =
        tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let layer = match log.format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Pretty => layer.with_target(false).boxed(),
    };
    // Only a second start fails, and that one may keep the first's settings.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    log_panics();
    Ok(())
}

/// Whatever the filter says: libraries from `warn` up only. Their lower levels hold frames, queries and headers.
fn is_fit_to_print(line: &Metadata<'_>) -> bool {
    line.target().starts_with("outreachd") || *line.level() <= LevelFilter::WARN
}

/// A panic's text may quote what it met, so only its place is told.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a task failed by a fault of ours; report this to the maintainers");
    }));
}
